"""Recognises out-of-memory errors, whatever the allocator calls them."""

from __future__ import annotations

import torch

from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.settings import TrainSettings

PHRASES = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc",
           "alloc_failed")  # fmt: skip
"""Phrases in the messages of general errors: the CPU allocator, the system, cuDNN and cuBLAS have no error class for
it."""

LONGEST_REASON = 160


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an error in a step means that memory ran out."""
    if isinstance(exc, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(exc, RuntimeError | OSError) and any(phrase in str(exc).lower() for phrase in PHRASES)


def reason_of(exc: BaseException) -> str:
    """The allocator's message as one short line."""
    text = " ".join(str(exc).split()) or type(exc).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def out_of_memory(step: int, settings: TrainSettings, reason: str, *, gan: bool) -> Finding:
    """The finding for a step that ran out of memory; `reason` is the allocator's message."""
    half = max(1, settings.batch_size // 2)
    changes = [f"halve training.batch_size to {half}"] if settings.batch_size > 1 else []
    if gan:
        changes.append(f"lower discriminators.channels from {settings.discriminators.channels}")
    if settings.generator.size != "tiny":
        changes.append(f"choose a smaller model.size than {settings.generator.size}")
    if not changes:
        changes.append("lower data.segment (and run prepare again), or end other programs")
    return Finding(
        "out_of_memory",
        step,
        f"memory ran out ({reason})",
        f"a step of {settings.batch_size} items does not fit, or another program took the free memory",
        ", or ".join(changes),
        stops=True,
    )
