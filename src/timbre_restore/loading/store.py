"""Batches of stored samples, and the shared memory in which worker processes pass them on."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
import torch

from timbre_restore.audio import HINT_VALUES, Int16Array

LOW_VALUES = HINT_VALUES - 33
"""Real and imaginary parts of the low bins, at the end of a row of hints."""


class Slots:
    """Room for `count` batches of up to `batch_size` items, shared by this process and those forked from it later.

    The memory is anonymous, so it does not count towards the limit of /dev/shm. Where torch would create one file there
    per tensor and batch, this is a fixed buffer that is reused.
    """

    def __init__(self, count: int, batch_size: int, lengths: Sequence[int]) -> None:
        self.count = count
        self.batch_size = batch_size
        self.lengths = tuple(lengths)
        self._samples = np.frombuffer(mmap.mmap(-1, max(1, 2 * count * batch_size * sum(lengths))), dtype=np.int16)

    def __reduce__(self) -> tuple[object, ...]:
        # A copy would look like the shared memory but would not be.
        raise TypeError("slots are inherited by forked processes and can't be pickled")

    def signals(self, slot: int, items: int) -> list[Int16Array]:
        """One array `[items, T]` per signal of the batch in `slot`."""
        return split(self._samples[slot * self.batch_size * sum(self.lengths) :], items, self.lengths)


def split(samples: Int16Array, items: int, lengths: Sequence[int]) -> list[Int16Array]:
    """Views `[items, T]` into flat `samples`, one per length, one after another."""
    ends = np.cumsum([items * length for length in lengths])
    return [
        samples[end - items * length : end].reshape(items, length) for end, length in zip(ends, lengths, strict=True)
    ]


def to_tensor(stored: Int16Array, scale: torch.Tensor, device: torch.device) -> torch.Tensor:
    """16-bit `[B, T]` times `scale` `[B, 1, 1]` as float32 `[B, 1, T]` on `device`; no longer refers to `stored`."""
    samples = _sent(torch.from_numpy(stored), device).unsqueeze(1)
    return samples * _sent(scale, device)


def _sent(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`x` on `device`. For a GPU, the copy is asynchronous, from pinned memory, so computation continues."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def joined(tensors: list[torch.Tensor], run: int) -> list[torch.Tensor]:
    """Join each `run` consecutive items into a segment: `[B·run, …]` to `[B, …]`, `run` times as long.

    The noisy signal extends beyond its item, so it extends beyond the last item of the segment.
    """
    if run == 1:
        return tensors
    length, out = tensors[0].shape[-1], []
    for x in tensors:
        by_segment = x.reshape(-1, run, *x.shape[1:])
        if x.shape[1] != 1:  # hints [B·run, N, 225]
            out.append(by_segment.flatten(1, 2))
        else:
            whole = by_segment[..., :length].flatten(1).unsqueeze(1)
            out.append(torch.cat([whole, by_segment[:, -1, :, length:]], dim=-1))
    return out


def hints_tensor(stored: Int16Array, gain: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Hints `[B, N·225]` stored as float16, as float32 `[B, N, 225]` on `device`.

    The low bins are multiplied by `gain` `[B, 1, 1]`; band gains and local SNR are ratios and stay unchanged.
    """
    values = _sent(torch.from_numpy(stored.view(np.float16)), device).reshape(len(stored), -1, HINT_VALUES).float()
    values[..., -LOW_VALUES:] *= _sent(gain, device)
    return values
