"""The other processes of a run: all start from the same state, none continues after one has died, all end cleanly."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object

from timbre_restore.errors import CheckpointError, ProcessLostError

SIGNS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""Parts of error messages that the gradient exchange raises when its peer is gone."""
SHOWN_CHARACTERS = 160
PARTING_S = 0.2
"""How much later than for Python an exchange ends for gloo's threads, on a busy machine."""


def require_alike(accelerator: Any, found: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` in every process if one found a different checkpoint or list from the first process.

    Each machine reads its own disks; without this check, processes that start from different states would train a
    mixture of them.
    """
    if accelerator.num_processes == 1:
        return
    everyone = gather_object([(socket.gethostname(), dict(found))])
    (first_host, first), *others = everyone
    for number, (host, theirs) in enumerate(others, start=1):
        unlike = [f"{name} {theirs[name]} instead of {value}" for name, value in first.items() if theirs[name] != value]
        if unlike:
            raise CheckpointError(
                f"process {number} on {host} found {', '.join(unlike)}, unlike process 0 on {first_host}; put "
                "data.output_dir and training.output_dir where every machine sees the same files."
            )


@contextmanager
def companions(accelerator: Any) -> Iterator[None]:
    """Turn errors that an exchange in this block raises because another process is gone into `ProcessLostError`."""
    try:
        yield
    except RuntimeError as exc:
        lost = isinstance(exc, torch.distributed.DistError) or any(sign in str(exc) for sign in SIGNS)
        if accelerator.num_processes == 1 or not lost:
            raise
        reason = " ".join(str(exc).split())[-SHOWN_CHARACTERS:]
        raise ProcessLostError(
            f"process {accelerator.process_index}: another process of the run is gone (…{reason}); look for its own "
            "error message, and for its signal in torchrun's output. The last checkpoint is intact: continue with "
            "--resume auto."
        ) from exc


def part(accelerator: Any) -> None:
    """End the trackers and the communication between processes; called in each process.

    After an exchange of gradients, gloo threads outlive the process group and may still hold the tensors of the last
    exchange. A thread that releases them while the interpreter shuts down aborts the process (pytorch/pytorch#179291),
    and a complete run would count as failed.
    """
    accelerator.end_training()
    if accelerator.num_processes > 1:
        time.sleep(PARTING_S)
