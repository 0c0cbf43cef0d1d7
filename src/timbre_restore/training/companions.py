"""The other processes of a run: all begin from the same, none goes on alone when one has died, all end in peace."""

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
"""Of a message: what the exchange of gradients says when there is nobody at its other end."""
SHOWN_CHARACTERS = 160
PARTING_S = 0.2
"""Exchanges are over for gloo's threads so much later than for Python, on a machine with much else to do."""


def require_alike(accelerator: Any, found: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` in every process where one found another checkpoint or list than the first one.

    Each machine reads its own disks. Left alone, processes that begin from unlike states would train a mixture.
    """
    if accelerator.num_processes == 1:
        return
    everyone = gather_object([(socket.gethostname(), dict(found))])
    (first_host, first), *others = everyone
    for number, (host, theirs) in enumerate(others, start=1):
        unlike = [f"{name} {theirs[name]} instead of {value}" for name, value in first.items() if theirs[name] != value]
        if unlike:
            raise CheckpointError(
                f"process {number} on {host} found {', '.join(unlike)} of process 0 on {first_host}; put "
                "data.output_dir and training.output_dir where every machine sees the same files."
            )


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


def part(accelerator: Any) -> None:
    """End trackers and the exchange with the other processes, in each of them.

    Threads of gloo outlive the process group wherever gradients were exchanged, and may still hold the tensors of the
    last exchange. One that lets go of them while the interpreter ends aborts the process (pytorch/pytorch#179291), and
    a run that is whole would count as failed.
    """
    accelerator.end_training()
    if accelerator.num_processes > 1:
        time.sleep(PARTING_S)
