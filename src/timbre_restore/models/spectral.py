"""The spectral generator: a gate per band and frame on what the suppressor took, on the suppressor's own spectrum.

    residual = gate · (noisy − degraded)  +  voiced · tanh(correction) · noisy / |noisy|

The gate is in [0, 1]: what was taken comes back or does not. The second term is small, bounded by the voice's running
level, and complex: it turns what came back into place, and puts something where noise covers the voice. With the gate
shut and no correction the suppressor's output passes untouched; with it open the noisy input comes back.

The body is a U-Net over frequency with weights shared by all bands, one recurrence per band and one over all. It sees
levels relative to the voice's running level. Sharing and relative levels are what keeps it from learning the training
noises by heart.

Three frames are in play: the one that is restored, of noisy and of degraded, and noisy two frames later, which the
suppressor has already heard when it hands over the first. So a stream takes the newest noisy frame beside a degraded
frame two older, and its states hold the noisy ones in between. Behind the suppressor, before its synthesis, nothing is
waited for. Behind a black box the degraded frame ends one hop after the hop that it restores: one hop of latency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbre_restore.audio import HOP_SAMPLES
from timbre_restore.audio.frames import BINS, ERB_BANDS
from timbre_restore.models.generator import GeneratorSettings, State
from timbre_restore.models.spectrum import Frames
from timbre_restore.models.streaming import BandGRU, Delay, Remembering, RunningLevel, StreamingConv2d, StreamingGRU

SINGLE_BINS, GROUPED_BINS = 80, 5  # harmonics are told apart below 4 kHz; above it, 250 Hz a band
BANDS = SINGLE_BINS + (BINS - 1 - SINGLE_BINS) // GROUPED_BINS
LOOKAHEAD_FRAMES = 2
LEVEL_FLOOR = 2.3e-6  # what white noise of -80 dBFS has in a bin of this scaling
FEATURE_FLOOR = 1e-7  # of the voice's running power per bin: -70 dB counts as nothing
FEATURE_SCALE = 0.15
PHASE_FLOOR = 1e-5  # of the voice's running power per bin
HEAD_SCALE = 10.0  # as in `unet`: so that a gate can move within some dozen steps of Adam
CORRECTION = 0.3  # of the voice's running level in a band, at most
DEGRADED_BOOST = 3.0  # without noisy, what may come back is so many times what is left: 12 dB
NEUTRAL_SNR_DB = 10.0
PLACES = 4  # numbers that tell a band where it lies


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


class _Merge(nn.Module):
    """`[B, C, N, F]` to twice the bands, with what the way down had there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, (1, 2), stride=(1, 2))
        self.skip = nn.Conv2d(outputs, outputs, 1)
        self.mix = nn.Conv2d(outputs, outputs, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = _act(self.up(x) + self.skip(skip))
        return x + _act(self.mix(x))


class Spectral(nn.Module):
    """Generator `spectral`. Waves: degraded `[B, 1, T]`, noisy `[B, 1, T + 1440]`, restored `[B, 1, T]`; T whole hops.

    Spectra are `[B, N, 481, 2]`, real and imaginary, scaled as `audio.frames` has them.
    """

    sample_rate_hz = 48_000
    hop_samples = HOP_SAMPLES
    latency_samples = HOP_SAMPLES
    """Behind a black box; in one process with the suppressor it is 0."""
    domain = "spectrum"
    takes_hints = True
    band_means: Tensor
    erb_means: Tensor
    band_of_bin: Tensor

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.uses_noisy, self.uses_hints = settings.uses_noisy, settings.uses_hints
        self.lookahead_samples = (LOOKAHEAD_FRAMES + 1) * HOP_SAMPLES if self.uses_noisy else 0
        widths = SIZES[settings.size]
        one, two, three, four = widths.channels
        views = (4 if self.uses_noisy else 1) + (2 if self.uses_hints else 0)
        self.frames = Frames()
        self.level = RunningLevel(floor=LEVEL_FLOOR)
        self.late = Delay(LOOKAHEAD_FRAMES, (BINS, 2))
        self.places = nn.Parameter(_places())
        self.enter = StreamingConv2d(views + PLACES, one, (3, 3), bands=BANDS)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, (1, 5), stride=(1, 2), padding=(0, 2)) for a, b in ((one, two), (two, three), (three, four))
        )
        self.by_band = BandGRU(four, widths.band_hidden, bands=BANDS // 8)
        self.narrow = nn.Conv2d(four, widths.narrow, 1)
        self.over_all = StreamingGRU(widths.narrow * BANDS // 8, widths.all_hidden)
        self.widen = nn.Conv1d(widths.all_hidden, four * BANDS // 8, 1)
        self.up = nn.ModuleList(_Merge(a, b) for a, b in ((four, three), (three, two), (two, one)))
        self.fine = BandGRU(one, one // 2, bands=BANDS)
        self.heads = nn.Conv2d(one, 3, (1, 3), padding=(0, 1))
        self.reach = nn.Parameter(_reach())
        means = _band_means()
        self.register_buffer("band_means", means, persistent=False)
        self.register_buffer("erb_means", F.one_hot(self.frames.band_of_bin).float().T @ means, persistent=False)
        self.register_buffer("band_of_bin", _band_of_bin(), persistent=False)
        self._start()
        self.to(torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload]  # two thirds of the time

    def _start(self) -> None:
        """A gate that is nearly shut and no correction: training starts from the suppressor."""
        assert self.heads.bias is not None
        with torch.no_grad():
            self.heads.weight.mul_(0.1 / HEAD_SCALE)
            self.heads.bias.copy_(torch.tensor([-2.0, 0.0, 0.0]) / HEAD_SCALE)
            self.widen.weight.mul_(0.5)

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
        shapes: dict[str, tuple[int, ...]] = {"degraded": (1, hops, BINS, 2)}
        if self.uses_noisy:
            shapes["noisy"] = (1, hops, BINS, 2)
        if self.uses_hints:
            shapes["hints"] = (1, hops, ERB_BANDS + 1)
        return shapes

    def forward(self, degraded: Tensor, noisy: Tensor | None = None, hints: Tensor | None = None) -> Tensor:
        """Restored waves `[B, 1, T]` of a segment, from a zero state.

        `hints` `[B, T / 480, 225]` are what a corpus keeps of the suppressor: with them the spectrum is its own.
        Without them, or where they are NaN, it is the analysis of the degraded wave, as behind a black box.
        """
        spectra = self.frames.analyse(F.pad(degraded, (0, HOP_SAMPLES)))
        given = None
        if self.uses_noisy:
            if noisy is None:
                raise ValueError(f"this generator is conditioned on {self.settings.conditioning}: noisy is missing")
            given = self.frames.analyse(noisy)
            if hints is not None:
                spectra = self.frames.suppressed(given[:, :-LOOKAHEAD_FRAMES], hints, spectra)
        known = None if hints is None or not self.uses_hints else hints[..., : ERB_BANDS + 1]
        residual, *_ = self.residual(spectra, given, known)
        return degraded + self.frames.synthesise(residual)

    def residual(
        self, degraded: Tensor, noisy: Tensor | None = None, hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Residual `[B, N, 481, 2]` and gate `[B, N, 160]` of whole signals, from a zero state.

        `noisy` `[B, N + 2, 481, 2]` begins with the frame of the first degraded one. A stream hears its first two
        frames before there is any degraded one; so does this.
        """
        ahead = LOOKAHEAD_FRAMES if self.uses_noisy else 0
        chunk = {"degraded": F.pad(degraded, (0, 0, 0, 0, ahead, 0))}
        if noisy is not None:
            chunk["noisy"] = noisy
        if self.uses_hints:
            known = _neutral_hints(degraded) if hints is None else hints.where(~hints.isnan(), _neutral_hints(degraded))
            chunk["hints"] = torch.cat([_neutral_hints(degraded[:, :ahead]), known], dim=1)
        out, _ = self.stream(chunk, self.initial_state(degraded))
        return out["residual"][:, ahead:], out["gate"][:, ahead:]

    def stream(self, chunk: dict[str, Tensor], state: State) -> tuple[dict[str, Tensor], State]:
        """`residual` and `gate` of the next frames, and the state that those after them need.

        Of a chunk, `degraded` `[B, N, 481, 2]`; `noisy`, as many frames, each two later than its degraded one; `hints`
        `[B, N, 33]`, ERB gains and local SNR in dB of the degraded ones. Which of them, `settings.conditioning` says.
        """
        state = dict(state)
        degraded = chunk["degraded"]
        count = degraded.shape[1]
        power = _power(degraded)
        level, state["level"] = self.level(power.mean(dim=-1).unsqueeze(1), state["level"])
        level = level[:, 0, :, None]  # [B, N, 1]
        views = {"degraded": power}
        own = degraded
        if self.uses_noisy:
            seen, state["noisy"] = self.late(chunk["noisy"], state["noisy"])
            powers = _power(seen)
            views |= {f"noisy_{k}": powers[:, k : k + count] for k in range(LOOKAHEAD_FRAMES + 1)}
            own = seen[:, :count]
        logits, correction = self._body(views, chunk.get("hints"), level, state)
        gate = torch.sigmoid(logits)
        taken = own - degraded if self.uses_noisy else DEGRADED_BOOST * degraded
        # A bin with next to nothing in it has no phase to speak of, only rounding.
        phase = own * torch.rsqrt(_power(own) + PHASE_FLOOR * level * level).unsqueeze(-1)
        bound = CORRECTION * level * torch.exp(self.reach)  # [B, N, 160]
        real, imaginary = ((bound * torch.tanh(c))[..., self.band_of_bin].unsqueeze(-1) for c in correction)
        turned = torch.cat([-phase[..., 1:], phase[..., :1]], dim=-1)
        residual = gate[..., self.band_of_bin].unsqueeze(-1) * taken + real * phase + imaginary * turned
        return {"residual": residual, "gate": gate}, state

    def _body(
        self, views: dict[str, Tensor], hints: Tensor | None, level: Tensor, state: State
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Gate logits `[B, N, 160]` and both parts of the correction; writes new states."""
        square = level * level
        rows = [FEATURE_SCALE * torch.log(p @ self.band_means / square + FEATURE_FLOOR) for p in views.values()]
        if self.uses_hints:
            assert hints is not None
            rows += [hints[..., :ERB_BANDS] @ self.erb_means, 0.0 * rows[0] + hints[..., ERB_BANDS:] / 35.0]
        batch, count = rows[0].shape[:2]
        x = torch.stack(rows, dim=1)
        # Times zero instead of expanded: in a graph the latter is a dozen nodes that look shapes up.
        x = torch.cat([x, 0.0 * x[:, :1] + self.places[None, :, None]], dim=1)
        x, state["enter"] = self.enter(x, state["enter"])
        skips = [_act(x)]
        for down in self.down:
            skips.append(_act(down(skips[-1])))
        x = skips.pop()
        x, state["by_band"] = self.by_band(x, state["by_band"])
        y = self.narrow(x).permute(0, 1, 3, 2).reshape(batch, -1, count)
        y, state["over_all"] = self.over_all(y, state["over_all"])
        x = x + self.widen(y).reshape(batch, x.shape[1], x.shape[3], count).permute(0, 1, 3, 2)
        for up in self.up:
            x = up(x, skips.pop())
        x, state["fine"] = self.fine(x, state["fine"])
        logits, real, imaginary = (HEAD_SCALE * self.heads(x)).unbind(dim=1)
        return logits, (real, imaginary)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def _power(spectra: Tensor) -> Tensor:
    return spectra[..., 0].square() + spectra[..., 1].square()


def _band_of_bin() -> Tensor:
    """`[481]`: the band that a bin lies in; 24 kHz has that of the last band."""
    grouped = torch.arange(SINGLE_BINS, BANDS).repeat_interleave(GROUPED_BINS)
    return torch.cat([torch.arange(SINGLE_BINS), grouped, torch.tensor([BANDS - 1])])


def _band_means() -> Tensor:
    """`[481, 160]`: a product with it takes means over bands. 24 kHz is in none."""
    means = F.one_hot(_band_of_bin(), BANDS).float()
    means[-1] = 0.0
    return means / means.sum(dim=0)


def _neutral_hints(like: Tensor) -> Tensor:
    """`[B, N, 33]` for `like` `[B, N, …]`: what says the least, gains of 1 and the middle of the range of local SNR."""
    neutral = like.new_ones(*like.shape[:2], ERB_BANDS + 1)
    neutral[..., ERB_BANDS] = NEUTRAL_SNR_DB
    return neutral


def _places() -> Tensor:
    """`[4, 160]`: slow waves over the bands, so that neighbours are alike; learned from there."""
    at = torch.linspace(0.0, 1.0, BANDS)
    return torch.stack([at - 0.5, torch.cos(math.pi * at), torch.sin(2 * math.pi * at), torch.cos(2 * math.pi * at)])


def _reach() -> Tensor:
    """`[160]`: log of how far a band's correction may reach at first: a voice falls by some 40 dB up to 20 kHz."""
    first = torch.cat(
        [torch.arange(SINGLE_BINS).float(), torch.arange(SINGLE_BINS, BINS - 1, GROUPED_BINS).float() + 2.0]
    )
    return torch.log(0.01 + 1.0 / (1.0 + (first / 20.0) ** 2))
