"""Rules on the machine during training: how long the loop waits for items, and how busy the device is.

On a CPU, both come from clocks around the iteration. A GPU keeps working while the loop waits, so there the device
itself records when it ran out of work and when it received the next batch; between the two it was idle.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.look import Look, Machine
from timbre_restore.training.settings import TrainSettings

STARVED = 0.3
IDLE = 0.5
WINDOW_S = 30.0
"""Minimum length of the observed window: shorter ones say more about other load on the machine."""
LOOKS = 3
"""Minimum number of intervals in the window."""


class Meter:
    """Clocks of the loop: `timed` wraps the batches, `look` ends an interval."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._cuda = accelerator.device.type == "cuda"
        self._marks: list[tuple[Any, Any]] = []
        self._restart()

    def timed(self, batches: Iterable[list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
        """The batches; the time between two iterations, and the wait for the first batch, are not measured."""
        iterator = iter(batches)
        batch = next(iterator, None)  # workers start or restart
        self._restart()
        while batch is not None:
            yield batch
            began = self._mark()
            batch = next(iterator, None)
            if batch is not None:
                self._ended(began)

    def look(self) -> Machine:
        """Timing of the interval that ends here, over all processes."""
        wall = time.perf_counter() - self._began
        waited = self._waited_s()
        used, known = self._used(wall)
        sums = torch.tensor([wall, waited, used, known], dtype=torch.float32, device=self._accelerator.device)
        wall, waited, used, known = self._accelerator.reduce(sums, reduction="mean").tolist()
        self._restart()
        return Machine(wall, waited, used / known if known else None, self._accelerator.device.type)

    def _restart(self) -> None:
        self._began = time.perf_counter()
        self._cpu_began = time.process_time()
        self._waited = 0.0
        self._marks.clear()

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _ended(self, began: Any) -> None:
        if self._cuda:
            self._marks.append((began, self._mark()))
        else:
            self._waited += time.perf_counter() - began

    def _waited_s(self) -> float:
        if self._marks:
            torch.cuda.synchronize()
            self._waited = sum(before.elapsed_time(after) for before, after in self._marks) / 1000.0
        return self._waited

    def _used(self, wall: float) -> tuple[float, float]:
        """Share of the device's time that was used, and 1.0; 0.0 and 0.0 if it can't be determined."""
        if self._accelerator.device.type == "cpu":
            threads = wall * torch.get_num_threads()
            return (time.process_time() - self._cpu_began) / max(threads, 1e-9), 1.0
        if self._cuda:
            try:
                return torch.cuda.utilization(self._accelerator.device) / 100.0, 1.0
            except Exception:  # noqa: BLE001 - the library has many error types, and a check must not end a run
                return 0.0, 0.0
        return 0.0, 0.0


class _Window:
    """The intervals of this session that cover the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[Machine] = deque()

    def add(self, machine: Machine) -> list[Machine]:
        """Add an interval; return those of the window, or none while it isn't full."""
        self._seen.append(machine)
        while len(self._seen) > LOOKS and sum(m.wall_s for m in list(self._seen)[1:]) >= WINDOW_S:
            self._seen.popleft()
        full = len(self._seen) >= LOOKS and sum(m.wall_s for m in self._seen) >= WINDOW_S
        return list(self._seen) if full else []


class Starved:
    """The loop waits for the loader for more than 30 % of the time."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._window = _Window()

    def look(self, look: Look) -> Iterator[Finding]:
        if look.machine is None or not (seen := self._window.add(look.machine)):
            return
        share = sum(m.waited_s for m in seen) / sum(m.wall_s for m in seen)
        if share > STARVED:
            workers = self._settings.num_workers
            yield Finding(
                "data_starvation",
                look.step,
                f"{share:.0%} of the last {sum(m.wall_s for m in seen):.0f} s was spent waiting for items",
                "reading them is slower than training on them",
                f"raise data.num_workers from {workers} to {max(2, 2 * workers)}, prepare with data.format packed, or "
                "put data.output_dir on a faster disk",
            )


class IdleDevice:
    """The device is busy for less than half of the time."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._window = _Window()

    def look(self, look: Look) -> Iterator[Finding]:
        if look.machine is None or look.machine.used is None or not (seen := self._window.add(look.machine)):
            return
        wall = sum(m.wall_s for m in seen)
        used = sum((m.used or 0.0) * m.wall_s for m in seen) / wall
        if used >= IDLE:
            return
        waited, size = sum(m.waited_s for m in seen) / wall, self._settings.batch_size
        waits = waited > (1.0 - used) / 2
        change = "check data loading (data.num_workers, data.format packed)"
        if not waits and look.machine.device == "cpu":
            if (threads := torch.get_num_threads()) == 1:
                return  # other programs occupy the core, and the run can't change that
            change = f"lower training.threads from {threads} to the number of cores that other programs leave free"
        elif not waits:
            change += f", or raise training.batch_size from {size} to {2 * size}"
        yield Finding(
            "device_idle",
            look.step,
            f"the device was busy for {used:.0%} of the last {wall:.0f} s; waiting for the loader took {waited:.0%}",
            "it waits for items" if waits else "steps are too small for it, or other programs use it",
            change,
        )
