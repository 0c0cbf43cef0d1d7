"""Discriminators by name, combined into one ensemble with a common output type.

Each takes waveforms `[B, 1, T]` and returns a score map and its inner features. Sources: MPD and MSD after HiFi-GAN
(Kong et al. 2020, §2.3); MRD, complex STFTs at several resolutions, after EnCodec (Défossez et al. 2022, §3.4) and
UnivNet (Jang et al. 2021, §2.2). The widths and strides are our own.

What a suppressor removes is quiet: the upper octaves lie 30 to 60 dB below a vowel. On plain waveforms and spectra,
with the default initialisation of convolutions, no member learned to tell the two voices apart (docs/lab-log.md,
"Discriminators that heard nothing"). So quiet parts are amplified before they are judged, and the initial weights
preserve the scale of the signal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
UNIT = 10.0
"""Gain from the level to which losses normalise voices (`losses.item_gain`: RMS 0.1) to about 1."""
FLOOR_POWER = 1e-8
"""Floor of a cell's power, 80 dB below white noise at unit level: quieter cells are not told apart."""


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Which discriminators to use, and how wide they are; see `config.Discriminators`."""

    names: tuple[str, ...] = ("mpd", "mrd")
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    windows: tuple[int, ...] = (2048, 1024, 512)
    channels: int = 32


@dataclass(frozen=True)
class DiscriminatorOutput:
    """One discriminator's output: a score map `[B, 1, …]` (higher is 'clean') and the features of each layer before it,
    `[B, channels, …]`."""

    score: Tensor
    features: list[Tensor]


_Conv = nn.Conv1d | nn.Conv2d


class _Judge(nn.Module):
    """A stack of convolutions; each output is a feature, and the last one is the score map."""

    def __init__(self, layers: Sequence[_Conv], score: _Conv) -> None:
        super().__init__()
        for layer in (*layers, score):
            # The scale is the same after a layer as before it (He et al. 2015, eq. 15); a bias would drown out quiet
            # parts.
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.score = weight_norm(score)

    def judge(self, x: Tensor) -> DiscriminatorOutput:
        """Input of the first layer `[B, channels, …]` to the verdict."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return DiscriminatorOutput(self.score(x), features)


def companded(x: Tensor) -> Tensor:
    """`[B, 1, T]` with its upper octaves emphasised (x[n] - 0.97 x[n-1]) and its magnitude to the power of a half."""
    x = 4.0 * UNIT * (x - 0.97 * F.pad(x, (1, -1)))
    return x * (x.abs() + 0.01).rsqrt()  # the slope at 0 is 10, not infinite


def levelled(spectrum: Tensor) -> Tensor:
    """Complex `[B, F, N]` to `[B, 3, F, N]`: log10 of the magnitude, and real and imaginary parts, compressed.

    Compression raises the magnitude to the power of 0.3, as in the compressed loss (`losses.CompressedSpectrum`).
    """
    real, imag = spectrum.real, spectrum.imag
    power = real.square() + imag.square() + FLOOR_POWER
    shrink = power.pow(-0.35)
    return torch.stack([0.5 * power.log10() + 1.0, real * shrink, imag * shrink], dim=1)


class PeriodDiscriminator(_Judge):
    """Sees the companded waveform folded by `period`: `[B, 1, T]` → `[B, 1, ceil(T / period), period]`."""

    def __init__(self, period: int, channels: int) -> None:
        widths = [1, channels, 2 * channels, 4 * channels, 4 * channels]
        layers = [nn.Conv2d(a, b, (5, 1), stride=(3, 1), padding=(2, 0)) for a, b in pairwise(widths)]
        super().__init__(layers, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))
        self.period = period

    def fold(self, x: Tensor) -> Tensor:
        """`[B, 1, T]` to `[B, 1, ceil(T / period), period]`, zero-padded to the next whole period if necessary."""
        missing = -x.shape[-1] % self.period
        x = F.pad(x, (0, missing))
        return x.reshape(x.shape[0], 1, -1, self.period)

    def forward(self, x: Tensor, _: Mapping[int, Tensor]) -> DiscriminatorOutput:
        """Waveforms `[B, 1, T]` to a score map `[B, 1, T', period]` with its features; spectra are not used."""
        return self.judge(self.fold(companded(x)))


class SpectrumDiscriminator(_Judge):
    """Sees the STFT (Hann, hop = window / 4) as three channels `[B, 3, F, N]`: level and compressed complex values."""

    window: Tensor

    def __init__(self, window: int, channels: int) -> None:
        layers = [nn.Conv2d(3, channels, (7, 3), stride=(2, 1), padding=(3, 1))]
        layers += [nn.Conv2d(channels, channels, (5, 3), stride=(2, 1), padding=(2, 1)) for _ in range(3)]
        super().__init__(layers, nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))
        self.size = window
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, x: Tensor, spectra: Mapping[int, Tensor]) -> DiscriminatorOutput:
        """Waveforms `[B, 1, T]` to a score map `[B, 1, F', N]` with its features.

        `spectra` are complex STFTs `[B, F, N]` of `x` that already exist, by window length; a missing one is computed.
        """
        spectrum = spectra.get(self.size)
        if spectrum is None:
            spectrum = torch.stft(
                x[:, 0].float(), self.size, self.size // 4, window=self.window, center=False, return_complex=True
            )
        # After this scaling, cells of white noise at unit level have a power of 3/8.
        return self.judge(levelled(spectrum * (UNIT * self.size**-0.5)))


class ScaleDiscriminator(_Judge):
    """Sees the companded waveform averaged down by `scale` (1, 2, 4), like the MSD of the reference recipe."""

    def __init__(self, scale: int, channels: int) -> None:
        layers = [nn.Conv1d(1, channels, 15, padding=7)]
        layers += [nn.Conv1d(channels * k, channels * k * 2, 41, stride=4, padding=20, groups=4 * k) for k in (1, 2, 4)]
        super().__init__(layers, nn.Conv1d(channels * 8, 1, 3, padding=1))
        self.scale = scale

    def forward(self, x: Tensor, _: Mapping[int, Tensor]) -> DiscriminatorOutput:
        """Waveforms `[B, 1, T]` to a score map `[B, 1, T']` with its features; spectra are not used."""
        x = companded(x)
        return self.judge(F.avg_pool1d(x, self.scale) if self.scale > 1 else x)


class Discriminators(nn.Module):
    """The ensemble; `forward` returns one `DiscriminatorOutput` per member, in a fixed order."""

    def __init__(self, settings: DiscriminatorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.members = nn.ModuleDict(dict(_members(settings)))

    def forward(self, x: Tensor, spectra: Mapping[int, Tensor] | None = None) -> list[DiscriminatorOutput]:
        """Waveforms `x` `[B, 1, T]` to one verdict per member.

        `spectra` are complex STFTs `[B, F, N]` of `x` that already exist, by window length (Hann, hop = window / 4);
        missing ones are computed.
        """
        return [member(x, spectra or {}) for member in self.members.values()]


def _members(settings: DiscriminatorSettings) -> Iterator[tuple[str, nn.Module]]:
    for name in settings.names:
        if name == "mpd":
            yield from ((f"mpd_{p}", PeriodDiscriminator(p, settings.channels)) for p in settings.periods)
        elif name == "mrd":
            yield from ((f"mrd_{w}", SpectrumDiscriminator(w, settings.channels)) for w in settings.windows)
        elif name == "msd":
            yield from ((f"msd_{s}", ScaleDiscriminator(s, settings.channels)) for s in (1, 2, 4))
        else:
            raise ValueError(f"unknown discriminator '{name}'; known: mpd, mrd, msd")
