"""The time-domain generator: a causal U-Net that decides, per band and step, how much of the voice comes back.

What the suppressor removed is known: `taken = noisy - degraded`. A learned analysis with 16-sample steps splits it into
bands; the U-Net gives each band and step a gate in [0, 1] and a small bounded correction for what noise covers; the
learned synthesis turns the gated bands into the residual that is added to the degraded voice. With the gate closed, the
suppressor's output passes unchanged; with it open and no correction, the noisy input comes back: the worst case is
what the user already had.

The analysis starts as an orthonormal cosine transform (DCT-II) over the last `bands` samples and the synthesis as its
inverse on the newest 16, so that an open gate reconstructs exactly even before training. No wide layer runs at 48 kHz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from timbre_restore.models.generator import (
    LOOKAHEAD_SAMPLES,
    GeneratorSettings,
    Span,
    State,
    forward_in_waves,
    wave_inputs,
)
from timbre_restore.models.streaming import (
    HOP_SAMPLES,
    BlockUpsample,
    ChannelNorm,
    Remembering,
    RunningPower,
    StreamingConv1d,
    StreamingGRU,
    hop_power,
)

STRIDE = 16
DOWN = (5, 6)  # 3000 steps per second, then 600, then 100: one per hop
HEAD_SCALE = 10.0  # Adam steps are as large as the learning rate for any gradient: at 1 a gate needs hundreds of steps
FEATURE_FLOOR = 0.01  # relative to the voice's running level: below it, a band counts as silent


@dataclass(frozen=True)
class _Widths:
    bands: int
    """Channels of the learned analysis."""
    channels: tuple[int, int, int]
    """At 3000, 600 and 100 steps per second."""
    recurrent: int


SIZES = {
    "tiny": _Widths(96, (24, 48, 96), 96),
    "small": _Widths(160, (48, 96, 192), 192),
    "base": _Widths(160, (80, 160, 320), 320),
}


def cosine_basis(size: int) -> Tensor:
    """The orthonormal DCT-II matrix `[size, size]` (rows are bands; Ahmed, Natarajan & Rao 1974)."""
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * (n + 0.5) * n[:, None]) * math.sqrt(2.0 / size)
    basis[0] *= math.sqrt(0.5)
    return basis.float()


class _Block(nn.Module):
    """x + conv(act(conv(norm(x)))): one residual block at one step rate, over `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.look = StreamingConv1d(channels, channels, 3, dilation=dilation)
        self.act = nn.PReLU(channels)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, T]` to `[B, C, T]`, and the new state of the convolution `[B, C, context]`."""
        y, state = self.look(self.norm(x), state)
        return x + self.mix(self.act(y)), state


class UNet(nn.Module):
    """Generator `unet`.

    Degraded `[B, 1, T]`, noisy `[B, 1, T + 1440]`, restored `[B, 1, T]`; T is a multiple of the hop.
    """

    sample_rate_hz = 48_000
    hop_samples = HOP_SAMPLES
    latency_samples = 0
    domain = "waveform"
    takes_hints = False

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__()
        if settings.uses_hints:
            raise ValueError("the unet takes no hints; expected degraded or degraded+noisy")
        self.settings = settings
        self.uses_noisy = settings.uses_noisy
        self.lookahead_samples = LOOKAHEAD_SAMPLES if self.uses_noisy else 0
        widths = SIZES[settings.size]
        self.bands = bands = widths.bands
        wide, middle, narrow = widths.channels
        views = 3 if self.uses_noisy else 1
        self.level = RunningPower()
        self.analysis = StreamingConv1d(1, bands, bands, stride=STRIDE, bias=False)
        self.synthesis = nn.ConvTranspose1d(bands, 1, STRIDE, stride=STRIDE, bias=False)
        self.enter = nn.Conv1d(views * bands, wide, 1)
        self.encode = nn.ModuleDict({"wide": _Block(wide, 1), "middle": _Block(middle, 1)})
        self.down = nn.ModuleDict(
            {
                "middle": StreamingConv1d(wide, middle, 2 * DOWN[0], stride=DOWN[0]),
                "narrow": StreamingConv1d(middle, narrow, 2 * DOWN[1], stride=DOWN[1]),
            }
        )
        self.recur = StreamingGRU(narrow, widths.recurrent)
        self.leave = nn.Conv1d(widths.recurrent, narrow, 1)
        self.up = nn.ModuleDict(
            {
                "middle": BlockUpsample(narrow, middle, DOWN[1]),
                "wide": BlockUpsample(middle, wide, DOWN[0]),
            }
        )
        self.decode = nn.ModuleDict({"middle": _Block(middle, 1), "wide": _Block(wide, 3)})
        self.heads = nn.Sequential(ChannelNorm(wide), nn.PReLU(wide), nn.Conv1d(wide, 2 * bands, 1))
        self._start()

    def _start(self) -> None:
        """Exact reconstruction, a nearly closed gate and no correction: training starts at the suppressor's output."""
        bands = self.bands
        basis = cosine_basis(bands)
        with torch.no_grad():
            self.analysis.conv.weight.copy_(basis[:, None])
            self.synthesis.weight.copy_(basis[:, None, bands - STRIDE :])
            head = self.heads[-1]
            assert isinstance(head, nn.Conv1d) and head.bias is not None
            head.weight.mul_(0.1 / HEAD_SCALE)
            head.bias.zero_()
            head.bias[:bands] = -2.0 / HEAD_SCALE

    def _remembering(self) -> dict[str, Remembering]:
        """The layers that have a state, by the name of that state."""
        parts: dict[str, Any] = {"level": self.level}
        for view in ("degraded", "noisy", "ahead") if self.uses_noisy else ("degraded",):
            parts[f"analysis_{view}"] = self.analysis
        parts |= {
            "encode_wide": self.encode["wide"].look,
            "down_middle": self.down["middle"],
            "encode_middle": self.encode["middle"].look,
            "down_narrow": self.down["narrow"],
            "recur": self.recur,
            "decode_middle": self.decode["middle"].look,
            "decode_wide": self.decode["wide"].look,
        }
        return parts

    def initial_state(self, like: Tensor) -> State:
        """The state before any sound, for the batch size, device and dtype of `like` `[B, 1, T]`."""
        return {name: part.initial_state(like) for name, part in self._remembering().items()}

    def inputs(self, hops: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs of `stream` for `hops` hops of one signal, by name."""
        return wave_inputs(self.settings, hops)

    def forward(
        self,
        degraded: Tensor,
        noisy: Tensor | None = None,
        hints: Tensor | None = None,
        *,
        span: Span | None = None,
        memory: State | None = None,
    ) -> Any:
        """Restored `[B, 1, T]` of one long chunk from a zero state, or of a span with its state; hints are ignored."""
        return forward_in_waves(self, degraded, noisy, span, memory)

    def stream(self, chunk: dict[str, Tensor], state: State) -> tuple[dict[str, Tensor], State]:
        """Process one chunk of whole hops; return its outputs and the state that the next chunk needs.

        `degraded` is `[B, 1, T]`; `noisy` `[B, 1, T + 1440]` covers the chunk and the 1440 samples after it. The
        outputs are `restored` `[B, 1, T]` and `gate` `[B, bands, T / 16]` in [0, 1].
        """
        state = dict(state)
        degraded = chunk["degraded"]
        power, state["level"] = self.level(hop_power(degraded), state["level"])
        level = torch.sqrt(power)
        steps = level.repeat_interleave(HOP_SAMPLES // STRIDE, dim=-1)
        views = {"degraded": degraded}
        if self.uses_noisy:
            noisy, length = chunk["noisy"], degraded.shape[-1]
            views |= {"noisy": noisy[..., :length], "ahead": noisy[..., LOOKAHEAD_SAMPLES:]}
        spectra = {}
        for view, wave in views.items():
            spectra[view], state[f"analysis_{view}"] = self.analysis(wave, state[f"analysis_{view}"])
        features = [torch.log(s.abs() / steps + FEATURE_FLOOR) for s in spectra.values()]
        logits, correction = (HEAD_SCALE * self._body(torch.cat(features, dim=1), state)).chunk(2, dim=1)
        gate = torch.sigmoid(logits)
        bands = steps * 0.1 * torch.tanh(correction)
        if self.uses_noisy:
            bands = bands + spectra["noisy"] - spectra["degraded"]
        return {"restored": degraded + self.synthesis(gate * bands), "gate": gate}, state

    def _body(self, x: Tensor, state: State) -> Tensor:
        """Features `[B, views·bands, S]` to gate logits and correction `[B, 2·bands, S]`; writes the new states."""
        x = self.enter(x)
        wide, state["encode_wide"] = self.encode["wide"](x, state["encode_wide"])
        x, state["down_middle"] = self.down["middle"](wide, state["down_middle"])
        middle, state["encode_middle"] = self.encode["middle"](x, state["encode_middle"])
        x, state["down_narrow"] = self.down["narrow"](middle, state["down_narrow"])
        y, state["recur"] = self.recur(x, state["recur"])
        x = x + self.leave(y)
        x, state["decode_middle"] = self.decode["middle"](middle + self.up["middle"](x), state["decode_middle"])
        x, state["decode_wide"] = self.decode["wide"](wide + self.up["wide"](x), state["decode_wide"])
        return self.heads(x)  # type: ignore[no-any-return]
