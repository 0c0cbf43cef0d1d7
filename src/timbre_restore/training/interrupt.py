"""Graceful shutdown on SIGTERM (from a cluster or a shell) or SIGINT (Ctrl-C): the run ends between two steps.

A second signal ends it immediately, as it would without this module.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether the run was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal was received."""
        return self.signal is not None

    def ask(self, number: int, _frame: FrameType | None = None) -> None:
        """Signal handler: record the first signal, raise `KeyboardInterrupt` on a second one."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Handle the signals in this block; signals that are already ignored, as under `nohup`, stay ignored."""
    ending, before = StopRequest(), {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, ending.ask)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def agreed(accelerator: Any, *wishes: bool) -> list[bool]:
    """For each wish, whether any process has it: signals arrive at different steps, but all must end at the same."""
    if accelerator.num_processes == 1:
        return list(wishes)
    joined = accelerator.reduce(torch.tensor(wishes, dtype=torch.float32, device=accelerator.device), reduction="sum")
    return [count > 0 for count in joined.tolist()]
