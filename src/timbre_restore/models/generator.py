"""What every generator promises, and the generators by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, overload

from torch import Tensor

from timbre_restore.audio import HOP_SAMPLES, LEAD_SAMPLES

State = dict[str, Tensor]
Span = tuple[int, int]
"""Of a signal: its first hop, and the one after its last."""

CONDITIONINGS = ("degraded", "degraded+noisy", "degraded+noisy+hints")
SIZES = ("tiny", "small", "base")
LOOKAHEAD_SAMPLES = LEAD_SAMPLES
"""The suppressor's own delay: when it hands over a hop, so much later noisy is already there."""


@dataclass(frozen=True)
class GeneratorSettings:
    """Which generator; see `config.Model`."""

    name: str = "spectral"
    size: str = "small"
    conditioning: str = "degraded+noisy+hints"

    @property
    def uses_noisy(self) -> bool:
        """Whether it looks at the noisy signal."""
        return "noisy" in self.conditioning

    @property
    def uses_hints(self) -> bool:
        """Whether it looks at the suppressor's own gains and local SNR."""
        return "hints" in self.conditioning


class Generator(Protocol):
    """A network, `torch.nn.Module`, that gives a suppressed voice back what was taken."""

    settings: GeneratorSettings
    sample_rate_hz: int
    hop_samples: int
    domain: str
    """What it works on: `waveform`, or `spectrum` (the suppressor's own frames)."""
    latency_samples: int
    """What it waits for behind a black box; in one process with the suppressor nothing is waited for."""
    lookahead_samples: int
    """How much later noisy it looks at than the sample that it restores."""
    takes_hints: bool
    """Whether what a corpus keeps of the suppressor makes a difference to it."""

    @overload
    def __call__(self, degraded: Tensor, noisy: Tensor | None = None, hints: Tensor | None = None) -> Tensor:
        """Restored `[B, 1, T]` of a segment from a zero state; T whole hops, noisy 1440 longer, hints a row per hop."""
        ...

    @overload
    def __call__(
        self,
        degraded: Tensor,
        noisy: Tensor | None = None,
        hints: Tensor | None = None,
        *,
        span: Span,
        memory: State | None = None,
    ) -> tuple[Tensor, State]:
        """The same of one span of the segment alone, and what the next span needs to go on from there.

        Without `memory` the span is the segment's first. Spans one after another give what the whole gives.
        """
        ...

    def stream(self, chunk: dict[str, Tensor], state: State) -> tuple[dict[str, Tensor], State]:
        """Named outputs of the next stretch, and the state that the one after it needs."""
        ...

    def initial_state(self, like: Tensor) -> State:
        """The state before any sound, for the batch, device and type of `like` `[B, …]`."""
        ...

    def inputs(self, hops: int) -> dict[str, tuple[int, ...]]:
        """Shapes of what `stream` takes for so many hops of one signal."""
        ...

    def parameters(self) -> Iterator[Any]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, weights: Mapping[str, Any], strict: bool = True) -> Any: ...
    def requires_grad_(self, requires_grad: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, device: Any) -> Any: ...


def make_generator(settings: GeneratorSettings) -> Generator:
    """A fresh generator; its weights follow from torch's random state. Raises `ValueError` on an unknown name."""
    from timbre_restore.models.reference import Reference
    from timbre_restore.models.spectral import Spectral
    from timbre_restore.models.unet import UNet

    known: dict[str, Any] = {"spectral": Spectral, "unet": UNet, "reference": Reference}
    for value, values in ((settings.name, known), (settings.size, SIZES), (settings.conditioning, CONDITIONINGS)):
        if value not in values:
            raise ValueError(f"'{value}' is not known; expected one of {', '.join(values)}")
    return known[settings.name](settings)  # type: ignore[no-any-return]


def wave_inputs(settings: GeneratorSettings, hops: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what a generator on waves takes for so many hops of one signal."""
    length = hops * HOP_SAMPLES
    noisy = {"noisy": (1, 1, length + LOOKAHEAD_SAMPLES)} if settings.uses_noisy else {}
    return {"degraded": (1, 1, length), **noisy}


def forward_in_waves(
    generator: Any, degraded: Tensor, noisy: Tensor | None, span: Span | None, memory: State | None
) -> Any:
    """`Generator.__call__` of a generator whose `stream` takes waves."""
    first, stop = (HOP_SAMPLES * hop for hop in span or (0, degraded.shape[-1] // HOP_SAMPLES))
    later = None if noisy is None else noisy[..., first : stop + LOOKAHEAD_SAMPLES]
    chunk = wave_chunk(generator.settings, degraded[..., first:stop], later)
    out, memory = generator.stream(chunk, memory or generator.initial_state(degraded))
    return out["restored"] if span is None else (out["restored"], memory)


def wave_chunk(settings: GeneratorSettings, degraded: Tensor, noisy: Tensor | None) -> dict[str, Tensor]:
    """The signals that it looks at, by name. Raises `ValueError` when noisy is needed and missing."""
    if not settings.uses_noisy:
        return {"degraded": degraded}
    if noisy is None:
        raise ValueError(f"this generator is conditioned on {settings.conditioning}: noisy is missing")
    return {"degraded": degraded, "noisy": noisy}
