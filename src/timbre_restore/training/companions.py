"""The other processes of a run: when one has died, each of the rest ends with a sentence that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from timbre_restore.errors import ProcessLostError

SIGNS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""Of a message: what the exchange of gradients says when there is nobody at its other end."""
SHOWN_CHARACTERS = 160


@contextmanager
def companions(accelerator: Any) -> Iterator[None]:
    """Raise `ProcessLostError` for what an exchange in this block raises because another process is gone."""
    try:
        yield
    except RuntimeError as exc:
        lost = isinstance(exc, torch.distributed.DistError) or any(sign in str(exc) for sign in SIGNS)
        if accelerator.num_processes == 1 or not lost:
            raise
        reason = " ".join(str(exc).split())[-SHOWN_CHARACTERS:]
        raise ProcessLostError(
            f"process {accelerator.process_index}: another process of the run is gone (…{reason}); look for its own "
            "words, and for its signal in torchrun's. The last checkpoint is whole: go on with --resume auto."
        ) from exc
