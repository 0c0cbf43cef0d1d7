"""The interface of all generators, and a factory that makes them by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, overload

from torch import Tensor

from timbre_restore.audio import HOP_SAMPLES, LEAD_SAMPLES

State = dict[str, Tensor]
Span = tuple[int, int]
"""Part of a signal: its first hop, and the hop after its last one."""

CONDITIONINGS = ("degraded", "degraded+noisy", "degraded+noisy+hints")
SIZES = ("tiny", "small", "base")
LOOKAHEAD_SAMPLES = LEAD_SAMPLES
"""The suppressor's own delay: when it outputs a hop, this much of the noisy signal after it is already available."""


@dataclass(frozen=True)
class GeneratorSettings:
    """Which generator to build; see `config.Model`."""

    name: str = "spectral"
    size: str = "small"
    conditioning: str = "degraded+noisy+hints"

    @property
    def uses_noisy(self) -> bool:
        """Whether the generator uses the noisy signal."""
        return "noisy" in self.conditioning

    @property
    def uses_hints(self) -> bool:
        """Whether the generator uses the suppressor's own gains and local SNR."""
        return "hints" in self.conditioning


class Generator(Protocol):
    """A network (`torch.nn.Module`) that restores what the suppressor removed from a voice."""

    settings: GeneratorSettings
    sample_rate_hz: int
    hop_samples: int
    domain: str
    """What `stream` operates on: `waveform`, or `spectrum` (the suppressor's own frames)."""
    latency_samples: int
    """Latency that it adds behind a black-box suppressor; in one process with the suppressor it adds none."""
    lookahead_samples: int
    """How far the noisy signal that it uses extends beyond the sample that it restores."""
    takes_hints: bool
    """Whether its output depends on the hints that a corpus stores about the suppressor."""

    @overload
    def __call__(self, degraded: Tensor, noisy: Tensor | None = None, hints: Tensor | None = None) -> Tensor:
        """Restore a segment from a zero state.

        `degraded` `[B, 1, T]` (T a multiple of the hop), `noisy` `[B, 1, T + 1440]`, `hints` `[B, T / hop, values]`;
        returns the restored voice `[B, 1, T]`.
        """
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
        """Restore one span of the segment; also return the state that the next span needs.

        Without `memory`, the span is the segment's first. Consecutive spans give the same result as the whole segment.
        """
        ...

    def stream(self, chunk: dict[str, Tensor], state: State) -> tuple[dict[str, Tensor], State]:
        """Process the next chunk; return its outputs by name and the state that the following chunk needs."""
        ...

    def initial_state(self, like: Tensor) -> State:
        """The state before any sound, for the batch size, device and dtype of `like` `[B, …]`."""
        ...

    def inputs(self, hops: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs of `stream` for `hops` hops of one signal, by name."""
        ...

    def parameters(self) -> Iterator[Any]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, weights: Mapping[str, Any], strict: bool = True) -> Any: ...
    def requires_grad_(self, requires_grad: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, device: Any) -> Any: ...


def make_generator(settings: GeneratorSettings) -> Generator:
    """A new generator, initialised from torch's random state. Raises `ValueError` for an unknown name."""
    from timbre_restore.models.reference import Reference
    from timbre_restore.models.spectral import Spectral
    from timbre_restore.models.unet import UNet

    known: dict[str, Any] = {"spectral": Spectral, "unet": UNet, "reference": Reference}
    for value, values in ((settings.name, known), (settings.size, SIZES), (settings.conditioning, CONDITIONINGS)):
        if value not in values:
            raise ValueError(f"'{value}' is not known; expected one of {', '.join(values)}")
    return known[settings.name](settings)  # type: ignore[no-any-return]


def wave_inputs(settings: GeneratorSettings, hops: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs of a waveform generator for `hops` hops of one signal, by name."""
    length = hops * HOP_SAMPLES
    noisy = {"noisy": (1, 1, length + LOOKAHEAD_SAMPLES)} if settings.uses_noisy else {}
    return {"degraded": (1, 1, length), **noisy}


def forward_in_waves(
    generator: Any, degraded: Tensor, noisy: Tensor | None, span: Span | None, memory: State | None
) -> Any:
    """`Generator.__call__` for a generator whose `stream` takes waveforms `[B, 1, T]`."""
    first, stop = (HOP_SAMPLES * hop for hop in span or (0, degraded.shape[-1] // HOP_SAMPLES))
    later = None if noisy is None else noisy[..., first : stop + LOOKAHEAD_SAMPLES]
    chunk = wave_chunk(generator.settings, degraded[..., first:stop], later)
    out, memory = generator.stream(chunk, memory or generator.initial_state(degraded))
    return out["restored"] if span is None else (out["restored"], memory)


def wave_chunk(settings: GeneratorSettings, degraded: Tensor, noisy: Tensor | None) -> dict[str, Tensor]:
    """The input signals of a waveform generator by name. Raises `ValueError` if `noisy` is required and missing."""
    if not settings.uses_noisy:
        return {"degraded": degraded}
    if noisy is None:
        raise ValueError(f"this generator is conditioned on {settings.conditioning}: the noisy signal is missing")
    return {"degraded": degraded, "noisy": noisy}
