"""The time of each part of a step, from the profile of a real step.

Parts are labelled from outside while the profile runs: modules by hooks, functions of the step by wrappers. The step
itself is not aware of this, so the table stays correct when the step changes; anything without a label is `other`. A
node of the backward pass belongs to the part whose forward pass created it: autograd gives both the same number.

On a CPU, the parts are exclusive times and add up to the profiled step. On CUDA, they are kernel times, which exclude
the time in which the device waits; `loader` is then the time for which the program waited for it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from timbre_restore import losses
from timbre_restore.training import steps as steps_module

if TYPE_CHECKING:
    from timbre_restore.training.state import TrainState

MARK = "part: "
NODE = "autograd::engine::evaluate_function"
STEP, LOADER, OTHER = "step", "loader", "other"
FORWARD, BACKWARD = "forward_ms", "backward_ms"


@dataclass
class Profile:
    """Milliseconds per step by part: forward (including everything that has no backward pass) and backward."""

    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    profiled_step_ms: float = 0.0
    """The whole step while it was profiled, including the profiler's overhead."""

    steps: int = 1
    """Number of steps that were averaged."""

    @property
    def sum_ms(self) -> float:
        """Sum over all parts."""
        return sum(sum(times.values()) for times in self.parts.values())

    def record(self) -> dict[str, Any]:
        """The profile as a JSON object."""
        parts = {
            part: {direction: round(value, 3) for direction, value in times.items()}
            for part, times in self.parts.items()
        }
        return {
            "parts": parts,
            "steps": self.steps,
            "sum_ms": round(self.sum_ms, 3),
            "profiled_step_ms": round(self.profiled_step_ms, 3),
        }


def profile_steps(
    state: TrainState,
    accelerator: Any,
    load: Callable[[], Any],
    step: Callable[[Any], None],
    *,
    count: int,
) -> Profile:
    """Profile `count` steps, each on a batch from `load`, and return their means."""
    # Silence the tracer's messages on stderr. It reads this variable once, when it starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    on_cuda = accelerator.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as watched, named_parts(state, accelerator):
        for _ in range(count):
            with record_function(MARK + STEP):
                with record_function(MARK + LOADER):
                    batch = load()
                step(batch)
                if on_cuda:
                    torch.cuda.synchronize()
    return _sorted_out(watched.events(), count, on_cuda=on_cuda)


@contextmanager
def named_parts(state: TrainState, accelerator: Any) -> Iterator[None]:
    """Label the parts of the step by name in profiles taken within this block."""
    with ExitStack() as stack:
        for name, module in _modules(state, accelerator):
            stack.enter_context(_watched(module, name))
        for name, optimizer in (
            ("generator's optimiser", state.generator_optimizer),
            ("discriminators' optimiser", state.discriminator_optimizer),
        ):
            inner = getattr(optimizer, "optimizer", optimizer)
            before, after = _marks(name)
            for handle in (inner.register_step_pre_hook(before), inner.register_step_post_hook(after)):
                stack.callback(handle.remove)
        for owner, name, function in _loss_functions():
            stack.enter_context(_wrapped(owner, name, f"loss {name}", function))
        stack.enter_context(_wrapped(losses.Waveform, "spectrum", "spectra", losses.Waveform.spectrum))
        stack.enter_context(_wrapped(steps_module, "update_ema", "EMA", steps_module.update_ema))
        clip = accelerator.clip_grad_norm_
        stack.enter_context(_wrapped(accelerator, "clip_grad_norm_", "clipping", clip))
        yield


def _loss_functions() -> list[tuple[Any, str, Callable[..., Any]]]:
    """The public loss functions, in every module of the package that imports them by name."""
    public = {name: value for name in losses.__all__ if inspect.isfunction(value := getattr(losses, name))}
    room = [module for name, module in sys.modules.items() if name.startswith(losses.__name__) and module]
    return [
        (module, name, function)
        for module in room
        for name, function in public.items()
        if vars(module).get(name) is function and module.__name__ != function.__module__
    ]


def _modules(state: TrainState, accelerator: Any) -> Iterator[tuple[str, nn.Module]]:
    """The networks, each discriminator, and the losses that are modules, by name."""
    judges = accelerator.unwrap_model(state.discriminators)
    yield "generator", accelerator.unwrap_model(state.generator)
    yield "discriminators, in common", judges
    yield from ((f"discriminator {name}", member) for name, member in judges.members.named_children())
    networks = (state.generator, state.discriminators, state.ema)
    for name, value in vars(state).items():
        if isinstance(value, nn.Module) and all(value is not network for network in networks):
            yield f"{name}, in common", value
            yield from ((f"loss {child}", module) for child, module in value.named_children())


def _marks(name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Two hooks, before and after a part; the part may be recursive."""
    open_marks: list[Any] = []

    def before(*_: Any) -> None:
        mark: Any = record_function(MARK + name)
        mark.__enter__()
        open_marks.append(mark)

    def after(*_: Any) -> None:
        open_marks.pop().__exit__(None, None, None)

    return before, after


@contextmanager
def _watched(module: nn.Module, name: str) -> Iterator[None]:
    before, after = _marks(name)
    handles = (module.register_forward_pre_hook(before), module.register_forward_hook(after, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _wrapped(owner: Any, attribute: str, name: str, inner: Callable[..., Any]) -> Iterator[None]:
    def marked(*arguments: Any, **named: Any) -> Any:
        with record_function(MARK + name):
            return inner(*arguments, **named)

    setattr(owner, attribute, marked)
    try:
        yield
    finally:
        setattr(owner, attribute, inner)


def _kernels_us(event: Any) -> float:
    """Device time of the kernels that an event launched itself; a label's own device range is left out."""
    return sum(
        float(kernel.duration)
        for kernel in event.kernels
        if not (event.is_user_annotation and kernel.name == event.name)
    )


def _sorted_out(events: Iterable[Any], count: int, *, on_cuda: bool) -> Profile:
    """Attribute each event's own time to the part that contains it, or whose forward pass it is the backward of."""
    made_by: dict[int, str] = {}
    places: dict[int, tuple[str, str]] = {}
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    whole, latest = 0.0, (OTHER, BACKWARD)
    # Parents start before their children. The last event with a number is the one that created the node.
    own = [event for event in events if event.device_type.name == "CPU"]
    for event in sorted(own, key=lambda event: (event.time_range.start, -event.time_range.end)):
        place = places.get(id(event.cpu_parent), (OTHER, FORWARD))
        number = event.sequence_nr
        if event.name.startswith(MARK):
            name = event.name.removeprefix(MARK)
            if name == STEP:
                whole += event.time_range.elapsed_us()
            place = (OTHER if name == STEP else name, FORWARD)
        elif event.name.startswith(NODE):
            # Accumulating a gradient into its parameter has no number, and follows the node that made the gradient.
            place = latest = (made_by.get(number, OTHER), BACKWARD) if number >= 0 else latest
        elif place[1] == FORWARD and number >= 0:
            made_by[number] = place[0]
        places[id(event)] = place
        own_us = event.self_cpu_time_total
        if on_cuda and place[0] != LOADER:
            own_us = _kernels_us(event)
        sums[place[0]][place[1]] += own_us / 1000.0 / count
    sums[OTHER] = sums.pop(OTHER, sums[OTHER])  # last in the table
    return Profile({part: dict(times) for part, times in sums.items()}, whole / 1000.0 / count, count)
