"""The spectral generator: a gate per band and frame on what the suppressor took, on the suppressor's own spectrum.

    residual = gate · (noisy − degraded)  +  voiced · tanh(correction) · noisy / |noisy|

The gate is in [0, 1]: what was taken comes back or does not. The second term is small, bounded by the voice's running
level, and complex: it turns what came back into place, and puts something where noise covers the voice. With the gate
shut and no correction the suppressor's output passes untouched; with it open the noisy input comes back. Where there
is noisy, no correction is made below 8 kHz: there it costs PESQ and brings nothing.

The body is a U-Net over frequency with weights shared by all bands, one recurrence per band and one over all; below
4 kHz, where a band is a bin and harmonics come and go, another one per bin. It sees levels relative to the voice's
running level. Sharing and relative levels are what keeps it from learning the training noises by heart.

After the first convolution its layers work on rows `[N·B·F, C]`, a band's channels side by side: neighbouring bands
merge (and part) by reading the same numbers as half (twice) as many rows, as patches do in a Swin Transformer (Liu et
al. 2021, §3.1). A sum is the addend of the product before it, which then has no bias. So a frame costs a few products
and hardly any moving of memory.

Three frames are in play: the one that is restored, of noisy and of degraded, and noisy two frames later, which the
suppressor has already heard when it hands over the first. So a stream takes the newest noisy frame beside a degraded
frame two older, and its states hold the noisy ones in between. Behind the suppressor, before its synthesis, nothing is
waited for. Behind a black box the degraded frame ends one hop after the hop that it restores: one hop of latency.
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

SINGLE_BINS, GROUPED_BINS = 80, 5  # harmonics are told apart below 4 kHz; above it, 250 Hz a band
BANDS = SINGLE_BINS + (BINS - 1 - SINGLE_BINS) // GROUPED_BINS
LOOKAHEAD_FRAMES = 2
LEVEL_FLOOR = 5e-12  # power that white noise of -80 dBFS has in a bin of this scaling
FEATURE_FLOOR = 1e-7  # of the voice's running power per bin: -70 dB counts as nothing
FEATURE_SCALE = 0.15
PHASE_FLOOR = 1e-5  # of the voice's running power per bin
HEAD_SCALE = 10.0  # as in `unet`: so that a gate can move within some dozen steps of Adam
CORRECTION = 0.3  # of the voice's running level, along and across the noisy bin each, times what a band has learned
DEGRADED_BOOST = 3.0  # without noisy, what may come back is so many times what is left: 12 dB
CORRECTED_HZ = 8_000.0
HEADS = 3  # gate, real and imaginary part of the correction


@dataclass(frozen=True)
class _Widths:
    channels: tuple[int, int, int, int]
    """At 160, 80, 40 and 20 bands."""
    band_hidden: int
    narrow: int
    """Channels per band that the recurrence over all sees."""
    all_hidden: int


SIZES = {
    "tiny": _Widths((12, 16, 24, 32), 32, 4, 64),
    "small": _Widths((24, 32, 48, 64), 64, 8, 128),
    "base": _Widths((40, 56, 80, 112), 112, 12, 256),
}


class Spectral(nn.Module):
    """Generator `spectral`. Waves: degraded `[B, 1, T]`, noisy `[B, 1, T + 1440]`, restored `[B, 1, T]`; T whole hops.

    Spectra are `[B, 2, N, 481]`, real and imaginary parts, scaled as `audio.frames` has them.
    """

    sample_rate_hz = 48_000
    hop_samples = HOP_SAMPLES
    latency_samples = HOP_SAMPLES
    """Behind a black box; in one process with the suppressor it is 0."""
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
        # i · (a + ib) = −b + ia: the imaginary part of the correction meets the parts of noisy in turn.
        self.register_buffer("head_rows", torch.tensor([0, 1, 2, 2]), persistent=False)
        self.register_buffer("head_signs", torch.tensor([1.0, -1.0, 1.0]).reshape(3, 1, 1), persistent=False)
        self.register_buffer("other_part", torch.tensor([1, 0]), persistent=False)
        self._start()

    def _start(self) -> None:
        """A gate that is nearly shut and no correction: training starts from the suppressor."""
        with torch.no_grad():
            self.heads.weight.mul_(0.1 / HEAD_SCALE)
            self.heads.bias.copy_(torch.tensor([-2.0, 0.0, 0.0]) / HEAD_SCALE)
            self.over_all.spread.weight.mul_(0.5)

    def _remembering(self) -> dict[str, Remembering]:
        """The parts that remember, by the names of their states."""
        parts: dict[str, Any] = {"level": self.level, "enter": self.enter, "by_band": self.by_band}
        parts |= {"over_all": self.over_all, "fine": self.fine}
        return parts | ({"noisy": self.late} if self.uses_noisy else {})

    def initial_state(self, like: Tensor) -> State:
        """The state before any sound, for the batch, device and type of `like` `[B, …]`."""
        return {name: part.initial_state(like) for name, part in self._remembering().items()}

    def inputs(self, hops: int) -> dict[str, tuple[int, ...]]:
        """Shapes of what `stream` takes for so many hops of one signal."""
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
        """Restored waves `[B, 1, T]` of a segment, from a zero state; or of a span, and what the next one needs.

        `hints` `[B, T / 480, 225]` are what a corpus keeps of the suppressor: with them the spectrum is its own.
        Without them, or where they are NaN, it is the analysis of the degraded wave, as behind a black box.
        """
        first, stop = span or (0, degraded.shape[-1] // HOP_SAMPLES)
        begin, end = first * HOP_SAMPLES, stop * HOP_SAMPLES
        spectra = self.frames.analyse(F.pad(degraded, (0, HOP_SAMPLES))[..., begin : end + HOP_SAMPLES])
        given = None
        hints = None if hints is None else hints[:, first:stop]
        if self.uses_noisy:
            if noisy is None:
                raise ValueError(f"this generator is conditioned on {self.settings.conditioning}: noisy is missing")
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
        """Residual `[B, 2, N, 481]` and gate `[B, 1, N, 481]` of whole signals, from a zero state.

        `noisy` `[B, 2, N + 2, 481]` begins with the frame of the first degraded one. A stream hears its first two
        frames before there is any degraded one; so does this.
        """
        out, _ = self._from(None, degraded, noisy, hints)
        return out["residual"], out["gate"]

    def _from(
        self, memory: State | None, degraded: Tensor, noisy: Tensor | None, hints: Tensor | None
    ) -> tuple[dict[str, Tensor], State]:
        """Named outputs of these frames, `residual`'s, from what an earlier span left, or from the beginning."""
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
        """`residual` and `gate` of the next frames, and the state that those after them need.

        Of a chunk, `degraded` `[B, 2, N, 481]`; `noisy`, as many frames, each two later than its degraded one; `hints`
        `[B, N, 33]`, ERB gains and local SNR in dB of the degraded ones. Which of them, `settings.conditioning` says.
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
        # A bin with next to nothing in it has no phase to speak of, only rounding.
        residual = gate * taken + correction * torch.rsqrt(own_power / level + PHASE_FLOOR)
        return {"residual": residual, "gate": gate}, state

    def _body(self, powers: Tensor, level: Tensor, hints: Tensor | None, state: State) -> Tensor:
        """Logits `[B, 4, N, 481]`: the gate's, the correction's real part's and, twice, its imaginary part's.

        Writes the new states. From powers `[B, views, N, 481]`, seen relative to the voice's running level.
        """
        bands = torch.cat([powers[..., :SINGLE_BINS], _group_means(powers)], dim=-1)
        x = FEATURE_SCALE * torch.log(bands / level + FEATURE_FLOOR)
        if self.uses_hints:
            assert hints is not None
            x = torch.cat([x, hints.unsqueeze(1) @ self.hint_rows], dim=1)
        x, state["enter"] = self.enter(x, state["enter"])
        batch = int(x.shape[0])  # a plain number, as in the recurrences: a traced graph keeps it
        x = F.relu(x).permute(0, 2, 3, 1)  # one axis moves, which costs a graph a third of moving two
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
        # From bands to bins while a band's channels lie side by side, then a product that puts them one after another.
        x = x[:, self.band_of_bin].reshape(-1, self.channels[0])
        weight, bias = self.heads.weight[self.head_rows], self.heads.bias[self.head_rows].unsqueeze(1)
        heads = torch.addmm(bias, weight, x.T, beta=HEAD_SCALE, alpha=HEAD_SCALE)
        if batch == 1:
            return heads.reshape(1, len(weight), -1, BINS)
        return heads.reshape(len(weight), -1, batch, BINS).permute(2, 0, 1, 3)


def _group_means(powers: Tensor) -> Tensor:
    """`[…, 481]` to means over the bands of several bins `[…, 80]`; 24 kHz is in none."""
    return F.avg_pool2d(powers[..., SINGLE_BINS : BINS - 1], (1, GROUPED_BINS))


def _band_of_bin() -> Tensor:
    """`[481]`: the band that a bin lies in; 24 kHz has that of the last band."""
    grouped = torch.arange(SINGLE_BINS, BANDS).repeat_interleave(GROUPED_BINS)
    return torch.cat([torch.arange(SINGLE_BINS), grouped, torch.tensor([BANDS - 1])])


def _hint_rows(erb_of_bin: Tensor) -> Tensor:
    """`[2, 33, 160]`: products with them put hints on the bands, gains first, then local SNR, in 35 dB."""
    gains = F.one_hot(erb_of_bin, ERB_BANDS).float().T
    rows = torch.zeros(2, ERB_BANDS + 1, BANDS)
    rows[0, :ERB_BANDS] = torch.cat([gains[:, :SINGLE_BINS], _group_means(gains[None])[0]], dim=-1)
    rows[1, ERB_BANDS] = 1.0 / 35.0
    return rows


def _neutral_hints(like: Tensor) -> Tensor:
    """`[B, N, 33]` for `like` `[B, 2, N, …]`: what says the least, gains of 1 and a local SNR of 10 dB."""
    neutral = like.new_ones(like.shape[0], like.shape[2], ERB_BANDS + 1)
    neutral[..., ERB_BANDS] = NEUTRAL_SNR_DB
    return neutral


def _centres() -> Tensor:
    """`[160]`: the bin in the middle of each band."""
    return torch.cat(
        [torch.arange(SINGLE_BINS).float(), torch.arange(SINGLE_BINS, BINS - 1, GROUPED_BINS).float() + 2.0]
    )


def _reach() -> Tensor:
    """`[160]`: log of how far a band's correction may reach at first: a voice falls by some 40 dB up to 20 kHz."""
    return torch.log(0.01 + 1.0 / (1.0 + (_centres() / 20.0) ** 2))


def _corrected(uses_noisy: bool) -> Tensor:
    """`[160]`: 1 where a band is corrected, else 0."""
    return (_centres() * (SAMPLE_RATE_HZ / WINDOW) >= (CORRECTED_HZ if uses_noisy else 0.0)).float()
