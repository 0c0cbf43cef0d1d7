"""The spectral generator: on the suppressor's own spectrum, a gate per band and frame on what the suppressor removed.

    residual = gate · (noisy − degraded)  +  voiced · tanh(correction) · noisy / |noisy|

The gate is in [0, 1]: it decides how much of what was removed comes back. The second term is small, bounded by the
voice's running level, and complex: it corrects the phase of what came back, and fills in where noise covers the voice.
With the gate closed and no correction, the suppressor's output passes unchanged; with it open, the noisy input comes
back. If the noisy signal is available, no correction is made below 8 kHz, where it costs PESQ and gains nothing.

The body is a U-Net over frequency with weights shared by all bands, one recurrence per band and one over all bands;
below 4 kHz, where a band is a single bin and harmonics come and go, there is another one per bin. It sees levels
relative to the voice's running level. Shared weights and relative levels keep it from memorising the training noises.

After the first convolution, its layers work on rows `[N·B·F, C]` with the channels of a band side by side: neighbouring
bands are merged (and split) by viewing the same numbers as half (twice) as many rows, like patches in a Swin
Transformer (Liu et al. 2021, §3.1). An addition is fused into the matrix product before it, which then has no bias. So
a frame costs a few matrix products and hardly any memory traffic.

Three frames are involved: the noisy and the degraded frame to be restored, and the noisy frame two frames later, which
the suppressor has already heard when it outputs the first. So a stream takes the newest noisy frame together with a
degraded frame that is two frames older, and its state holds the noisy frames in between. Between the suppressor and its
synthesis, this adds no latency. Behind a black box, the degraded frame ends one hop after the hop that it restores: one
hop of latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ
from timbre_restore.audio.frames import BINS, ERB_BANDS, NEUTRAL_SNR_DB, WINDOW
from timbre_restore.models.generator import LOOKAHEAD_SAMPLES, GeneratorSettings, Span, State
from timbre_restore.models.spectrum import Frames
from timbre_restore.models.streaming import (
    AllBandsGRU,
    BandGRU,
    Delay,
    Remembering,
    RunningPower,
    StreamingConv2d,
    added,
)

SINGLE_BINS, GROUPED_BINS = 80, 5  # harmonics are resolved below 4 kHz; above it, a band is 250 Hz wide
BANDS = SINGLE_BINS + (BINS - 1 - SINGLE_BINS) // GROUPED_BINS
LOOKAHEAD_FRAMES = 2
LEVEL_FLOOR = 5e-12  # power of white noise at -80 dBFS in a bin with this scaling
FEATURE_FLOOR = 1e-7  # relative to the voice's running power per bin: below -70 dB, a band counts as silent
FEATURE_SCALE = 0.15
PHASE_FLOOR = 1e-5  # relative to the voice's running power per bin
HEAD_SCALE = 10.0  # as in `unet`: so that a gate can move within a few dozen steps of Adam
CORRECTION = 0.3  # bound relative to the running level, along and across the noisy bin, times a learned band factor
DEGRADED_BOOST = 3.0  # without the noisy signal, up to 3 times the degraded signal is added: 12 dB in total
CORRECTED_HZ = 8_000.0
HEADS = 3  # gate, real and imaginary part of the correction


@dataclass(frozen=True)
class _Widths:
    channels: tuple[int, int, int, int]
    """At 160, 80, 40 and 20 bands."""
    band_hidden: int
    narrow: int
    """Channels per band that the recurrence over all bands sees."""
    all_hidden: int


SIZES = {
    "tiny": _Widths((12, 16, 24, 32), 32, 4, 64),
    "small": _Widths((24, 32, 48, 64), 64, 8, 128),
    "base": _Widths((40, 56, 80, 112), 112, 12, 256),
}


class Spectral(nn.Module):
    """Generator `spectral`.

    Waveforms: degraded `[B, 1, T]`, noisy `[B, 1, T + 1440]`, restored `[B, 1, T]`; T is a multiple of the hop.
    Spectra are `[B, 2, N, 481]`, real and imaginary parts, scaled as in `audio.frames`.
    """

    sample_rate_hz = 48_000
    hop_samples = HOP_SAMPLES
    latency_samples = HOP_SAMPLES
    """Latency behind a black-box suppressor; in one process with the suppressor it is 0."""
    domain = "spectrum"
    takes_hints = True
    corrected: Tensor
    hint_rows: Tensor
    band_of_bin: Tensor
    head_rows: Tensor
    head_signs: Tensor
    other_part: Tensor

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.uses_noisy, self.uses_hints = settings.uses_noisy, settings.uses_hints
        self.lookahead_samples = (LOOKAHEAD_FRAMES + 1) * HOP_SAMPLES if self.uses_noisy else 0
        widths = SIZES[settings.size]
        self.channels = one, two, three, four = widths.channels
        views = (4 if self.uses_noisy else 1) + (2 if self.uses_hints else 0)
        self.frames = Frames()
        self.level = RunningPower(floor=LEVEL_FLOOR)
        self.late = Delay(LOOKAHEAD_FRAMES, 2, BINS)
        self.enter = StreamingConv2d(views, one, (3, 7), bands=BANDS)
        levels = ((one, two), (two, three), (three, four))
        self.down = nn.ModuleList(nn.Linear(2 * fine, coarse) for fine, coarse in levels)
        self.by_band = BandGRU(four, widths.band_hidden, bands=BANDS // 8)
        self.over_all = AllBandsGRU(four, widths.narrow, widths.all_hidden, bands=BANDS // 8)
        self.up = nn.ModuleList(nn.Linear(coarse, 2 * fine, bias=False) for fine, coarse in reversed(levels))
        self.fine = BandGRU(one, one // 2, bands=SINGLE_BINS)
        self.heads = nn.Linear(one, HEADS)
        self.reach = nn.Parameter(_reach())
        self.register_buffer("corrected", _corrected(self.uses_noisy), persistent=False)
        self.register_buffer("hint_rows", _hint_rows(self.frames.band_of_bin), persistent=False)
        self.register_buffer("band_of_bin", _band_of_bin(), persistent=False)
        # i · (a + ib) = −b + ia: the imaginary part of the correction multiplies the swapped parts of the noisy bin.
        self.register_buffer("head_rows", torch.tensor([0, 1, 2, 2]), persistent=False)
        self.register_buffer("head_signs", torch.tensor([1.0, -1.0, 1.0]).reshape(3, 1, 1), persistent=False)
        self.register_buffer("other_part", torch.tensor([1, 0]), persistent=False)
        self._start()

    def _start(self) -> None:
        """Start with a nearly closed gate and no correction, so that training begins at the suppressor's output."""
        with torch.no_grad():
            self.heads.weight.mul_(0.1 / HEAD_SCALE)
            self.heads.bias.copy_(torch.tensor([-2.0, 0.0, 0.0]) / HEAD_SCALE)
            self.over_all.spread.weight.mul_(0.5)

    def _remembering(self) -> dict[str, Remembering]:
        """The layers that have a state, by the name of that state."""
        parts: dict[str, Any] = {"level": self.level, "enter": self.enter, "by_band": self.by_band}
        parts |= {"over_all": self.over_all, "fine": self.fine}
        return parts | ({"noisy": self.late} if self.uses_noisy else {})

    def initial_state(self, like: Tensor) -> State:
        """The state before any sound, for the batch size, device and dtype of `like` `[B, …]`."""
        return {name: part.initial_state(like) for name, part in self._remembering().items()}

    def inputs(self, hops: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs of `stream` for `hops` hops of one signal, by name."""
        shapes: dict[str, tuple[int, ...]] = {"degraded": (1, 2, hops, BINS)}
        if self.uses_noisy:
            shapes["noisy"] = (1, 2, hops, BINS)
        if self.uses_hints:
            shapes["hints"] = (1, hops, ERB_BANDS + 1)
        return shapes

    def forward(
        self,
        degraded: Tensor,
        noisy: Tensor | None = None,
        hints: Tensor | None = None,
        *,
        span: Span | None = None,
        memory: State | None = None,
    ) -> Any:
        """Restored waveforms `[B, 1, T]` of a segment from a zero state, or of a span with the state for the next one.

        `degraded` is `[B, 1, T]`, `noisy` `[B, 1, T + 1440]`. `hints` `[B, T / 480, 225]` are what a corpus stores
        about the suppressor: with them, the degraded spectrum is the suppressor's own. Without them, or where they are
        NaN, it is the analysis of the degraded waveform, as behind a black box.
        """
        first, stop = span or (0, degraded.shape[-1] // HOP_SAMPLES)
        begin, end = first * HOP_SAMPLES, stop * HOP_SAMPLES
        spectra = self.frames.analyse(F.pad(degraded, (0, HOP_SAMPLES))[..., begin : end + HOP_SAMPLES])
        given = None
        hints = None if hints is None else hints[:, first:stop]
        if self.uses_noisy:
            if noisy is None:
                raise ValueError(
                    f"this generator is conditioned on {self.settings.conditioning}: the noisy signal is missing"
                )
            given = self.frames.analyse(noisy[..., begin : end + LOOKAHEAD_SAMPLES])
            if hints is not None:
                spectra = self.frames.suppressed(given[:, :, :-LOOKAHEAD_FRAMES], hints, spectra)
        known = None if hints is None or not self.uses_hints else hints[..., : ERB_BANDS + 1]
        out, state = self._from(memory, spectra, given, known)
        residual = out["residual"]
        if memory is not None:
            residual = torch.cat([memory["residual"], residual], dim=2)
        restored = degraded[..., begin:end] + self.frames.synthesise(residual)[..., -(end - begin) :]
        return restored if span is None else (restored, state | {"residual": residual[:, :, -1:]})

    def residual(
        self, degraded: Tensor, noisy: Tensor | None = None, hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Residual `[B, 2, N, 481]` and gate `[B, 1, N, 481]` of complete signals, from a zero state.

        `degraded` is `[B, 2, N, 481]`, `hints` `[B, N, 33]`. `noisy` `[B, 2, N + 2, 481]` starts at the same frame as
        `degraded`. Like a stream, this processes the first two noisy frames before the first degraded frame arrives.
        """
        out, _ = self._from(None, degraded, noisy, hints)
        return out["residual"], out["gate"]

    def _from(
        self, memory: State | None, degraded: Tensor, noisy: Tensor | None, hints: Tensor | None
    ) -> tuple[dict[str, Tensor], State]:
        """Outputs by name for frames as in `residual`, from the state of an earlier span or from a zero state."""
        ahead = LOOKAHEAD_FRAMES if self.uses_noisy and memory is None else 0
        chunk = {"degraded": F.pad(degraded, (0, 0, ahead, 0))}
        if noisy is not None:
            chunk["noisy"] = noisy if memory is None else noisy[:, :, LOOKAHEAD_FRAMES:]
        if self.uses_hints:
            neutral = _neutral_hints(chunk["degraded"])
            known = neutral[:, ahead:] if hints is None else hints.where(~hints.isnan(), neutral[:, ahead:])
            chunk["hints"] = torch.cat([neutral[:, :ahead], known], dim=1)
        out, state = self.stream(chunk, memory or self.initial_state(degraded))
        return {name: frames[:, :, ahead:] for name, frames in out.items()}, state

    def stream(self, chunk: dict[str, Tensor], state: State) -> tuple[dict[str, Tensor], State]:
        """`residual` `[B, 2, N, 481]` and `gate` `[B, 1, N, 481]` of the next frames, and the state for later ones.

        A chunk has `degraded` `[B, 2, N, 481]` and, depending on `settings.conditioning`, `noisy` of the same shape,
        each frame two frames later than its degraded one, and `hints` `[B, N, 33]`, ERB gains and local SNR in dB of
        the degraded frames.
        """
        state = dict(state)
        degraded = own = chunk["degraded"]
        power = own_power = degraded.square().sum(dim=1, keepdim=True)
        level, state["level"] = self.level(power.mean(dim=-1), state["level"])
        level = level.unsqueeze(-1)  # [B, 1, N, 1], a power
        if self.uses_noisy:
            seen, state["noisy"] = self.late(chunk["noisy"], state["noisy"])
            heard = seen.square().sum(dim=1, keepdim=True)
            views = [heard[:, :, k : k - LOOKAHEAD_FRAMES or None] for k in range(LOOKAHEAD_FRAMES + 1)]
            own, own_power = seen[:, :, :-LOOKAHEAD_FRAMES], views[0]
            power = torch.cat([power, *views], dim=1)
        heads = self._body(power, level, chunk.get("hints"), state)  # [B, 4, N, 481]
        gate, amounts = torch.split(heads, [1, len(self.head_signs)], dim=1)
        gate = torch.sigmoid(gate)
        reach = CORRECTION * (self.corrected * torch.exp(self.reach))[self.band_of_bin] * self.head_signs
        along, across = torch.split(reach * torch.tanh(amounts), [1, 2], dim=1)
        correction = along * own + across * own[:, self.other_part]
        taken = own - degraded if self.uses_noisy else DEGRADED_BOOST * degraded
        # A nearly empty bin has no meaningful phase, only rounding errors.
        residual = gate * taken + correction * torch.rsqrt(own_power / level + PHASE_FLOOR)
        return {"residual": residual, "gate": gate}, state

    def _body(self, powers: Tensor, level: Tensor, hints: Tensor | None, state: State) -> Tensor:
        """Powers `[B, views, N, 481]`, taken relative to the voice's running level, to logits `[B, 4, N, 481]`.

        The logits are those of the gate, of the real part of the correction and, twice, of its imaginary part. Writes
        the new states to `state`.
        """
        bands = torch.cat([powers[..., :SINGLE_BINS], _group_means(powers)], dim=-1)
        x = FEATURE_SCALE * torch.log(bands / level + FEATURE_FLOOR)
        if self.uses_hints:
            assert hints is not None
            x = torch.cat([x, hints.unsqueeze(1) @ self.hint_rows], dim=1)
        x, state["enter"] = self.enter(x, state["enter"])
        batch = int(x.shape[0])  # a plain number, as in the recurrences: a traced graph keeps it constant
        x = F.relu(x).permute(0, 2, 3, 1)  # moving one axis costs an exported graph a third of moving two
        x = (x if batch == 1 else x.transpose(0, 1)).reshape(-1, self.channels[0])
        skips = []
        for width, down in zip(self.channels, self.down, strict=False):
            skips.append(x.reshape(-1, 2 * width))
            x = F.relu(down(skips[-1]))
        x, state["by_band"] = self.by_band(x, state["by_band"])
        x, state["over_all"] = self.over_all(x, state["over_all"])
        for width, up in zip(self.channels[-2::-1], self.up, strict=True):
            x = F.relu(added(skips.pop(), x, cast(nn.Linear, up))).reshape(-1, width)
        x = x.reshape(-1, BANDS, self.channels[0])
        low, high = torch.split(x, [SINGLE_BINS, BANDS - SINGLE_BINS], dim=1)
        low, state["fine"] = self.fine(low.reshape(-1, self.channels[0]), state["fine"])
        x = torch.cat([low.reshape(-1, SINGLE_BINS, self.channels[0]), high], dim=1)
        # From bands to bins while the channels of a band are contiguous, then a product that makes the bins contiguous.
        x = x[:, self.band_of_bin].reshape(-1, self.channels[0])
        weight, bias = self.heads.weight[self.head_rows], self.heads.bias[self.head_rows].unsqueeze(1)
        heads = torch.addmm(bias, weight, x.T, beta=HEAD_SCALE, alpha=HEAD_SCALE)
        if batch == 1:
            return heads.reshape(1, len(weight), -1, BINS)
        return heads.reshape(len(weight), -1, batch, BINS).permute(2, 0, 1, 3)


def _group_means(powers: Tensor) -> Tensor:
    """`[…, 481]` to means over the bands that have several bins `[…, 80]`; the bin at 24 kHz is in none of them."""
    return F.avg_pool2d(powers[..., SINGLE_BINS : BINS - 1], (1, GROUPED_BINS))


def _band_of_bin() -> Tensor:
    """`[481]`: the band of each bin; the bin at 24 kHz is assigned to the last band."""
    grouped = torch.arange(SINGLE_BINS, BANDS).repeat_interleave(GROUPED_BINS)
    return torch.cat([torch.arange(SINGLE_BINS), grouped, torch.tensor([BANDS - 1])])


def _hint_rows(erb_of_bin: Tensor) -> Tensor:
    """`[2, 33, 160]`: matrices that map hints to bands, first the gains, then the local SNR in units of 35 dB."""
    gains = F.one_hot(erb_of_bin, ERB_BANDS).float().T
    rows = torch.zeros(2, ERB_BANDS + 1, BANDS)
    rows[0, :ERB_BANDS] = torch.cat([gains[:, :SINGLE_BINS], _group_means(gains[None])[0]], dim=-1)
    rows[1, ERB_BANDS] = 1.0 / 35.0
    return rows


def _neutral_hints(like: Tensor) -> Tensor:
    """`[B, N, 33]` for `like` `[B, 2, N, …]`: uninformative hints, with gains of 1 and a local SNR of 10 dB."""
    neutral = like.new_ones(like.shape[0], like.shape[2], ERB_BANDS + 1)
    neutral[..., ERB_BANDS] = NEUTRAL_SNR_DB
    return neutral


def _centres() -> Tensor:
    """`[160]`: the bin in the middle of each band."""
    return torch.cat(
        [torch.arange(SINGLE_BINS).float(), torch.arange(SINGLE_BINS, BINS - 1, GROUPED_BINS).float() + 2.0]
    )


def _reach() -> Tensor:
    """`[160]`: log of the initial bound of a band's correction: a voice falls by about 40 dB up to 20 kHz."""
    return torch.log(0.01 + 1.0 / (1.0 + (_centres() / 20.0) ** 2))


def _corrected(uses_noisy: bool) -> Tensor:
    """`[160]`: 1 where a band is corrected, else 0."""
    return (_centres() * (SAMPLE_RATE_HZ / WINDOW) >= (CORRECTED_HZ if uses_noisy else 0.0)).float()
