"""Streaming layers: layers that keep their past in an explicit state.

Training and live processing share one code path: offline processing is one long chunk from a zero state, and streaming
is the same call with shorter chunks, passing the state from one chunk to the next. So the two cannot diverge, and every
state is visible to tests and to an exported graph.

The layers are frame-causal, not sample-causal: audio arrives in whole hops, so an output may depend on its input up to
the end of its own stride block. A strided layer therefore pads `kernel - stride` on the left, which adds no latency as
long as chunks are multiples of the hop.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HOP_SAMPLES = 480


def _last(x: Tensor, count: int, dim: int) -> Tensor:
    """The last `count` steps along `dim`, counted from the end, so that a traced graph does not need the length."""
    return x.narrow(dim, 0, 0) if count == 0 else x[(slice(None),) * dim + (slice(-count, None),)]


def added(base: Tensor, x: Tensor, layer: nn.Linear) -> Tensor:
    """base + layer(x) for rows `[rows, channels]` and a layer without bias; the addition is fused into the product."""
    return torch.addmm(base, x, layer.weight.T)


class Remembering(Protocol):
    """A layer with a state."""

    def initial_state(self, like: Tensor) -> Tensor:
        """The state before any sound, for the batch size, device and dtype of `like` `[B, …]`."""
        ...


class StreamingConv1d(nn.Module):
    """Convolution `[B, C, T]` to `[B, C', T / stride]`; its state is the last `(kernel - 1)·dilation + 1 - stride`
    input samples `[B, C, context]`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.context = (kernel - 1) * dilation + 1 - stride
        if self.context < 0:
            raise ValueError(f"kernel {kernel} is too short for stride {stride}: it must cover the stride")
        self.inputs = inputs
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, dilation=dilation, bias=bias)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[B, C, context]` for the batch size, device and dtype of `like` `[B, …]`."""
        return like.new_zeros(like.shape[0], self.inputs, self.context)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`x` `[B, C, T]`, T a multiple of the stride, to `[B, C', T / stride]` and the new state `[B, C, context]`."""
        padded = torch.cat([state, x], dim=-1)
        return self.conv(padded), _last(padded, self.context, 2)


class BlockUpsample(nn.Module):
    """`[B, C, T]` to `[B, C', T·stride]`: each input step writes its own block of `stride` outputs.

    A transposed convolution with kernel = stride has no overlap, hence no state and no tail to wait for; smoothing
    across blocks is left to the convolution that follows, which has a state.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to `[B, C', T·stride]`."""
        return self.conv(x)  # type: ignore[no-any-return]


class StreamingGRU(nn.Module):
    """GRU over `[B, C, T]`; its state is the hidden vector `[1, B, H]`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gru = nn.GRU(inputs, hidden, batch_first=True)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[1, B, H]` for the batch size, device and dtype of `like` `[B, …]`."""
        return like.new_zeros(1, like.shape[0], self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, T]` to `[B, H, T]` and the new state `[1, B, H]`."""
        out, state = self.gru(x.transpose(1, 2), state)
        return out.transpose(1, 2), state


class RunningPower(nn.Module):
    """The running power of a voice: an exponentially weighted mean of the power per hop, one value per hop.

        power[t] = max(sum_k a^k p[t-k] / sum_k a^k, floor),  k from 0 to `hops - 1` and only hops already heard

    with a = exp(-hop / time). Hops before the first one have zero weight, so the mean is correct from the start (the
    bias correction of Adam, Kingma & Ba 2015, §3). It uses a finite window instead of a recursion, because a
    convolution runs for any length in torch and in an exported graph. State `[B, 2, hops - 1]`: powers, and which hops
    were heard.
    """

    kernel: Tensor

    def __init__(self, time_s: float = 0.7, hops: int = 200, floor: float = 1e-8) -> None:
        super().__init__()
        self.hops = hops
        self.floor = floor
        age = torch.arange(hops - 1, -1, -1, dtype=torch.float64)
        weights = torch.exp(-age * HOP_SAMPLES / 48_000 / time_s)
        self.register_buffer("kernel", weights.float().expand(2, 1, hops).contiguous(), persistent=False)

    def initial_state(self, like: Tensor) -> Tensor:
        """Nothing heard yet: zeros `[B, 2, hops - 1]`."""
        return like.new_zeros(like.shape[0], 2, self.hops - 1)

    def forward(self, power: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Power per hop `[B, 1, N]` to running power `[B, 1, N]`, and the new state `[B, 2, hops - 1]`."""
        heard = torch.cat([state, F.pad(power, (0, 0, 0, 1), value=1.0)], dim=-1)
        sums = F.conv1d(heard, self.kernel, groups=2)
        # A bound rather than an added constant: the exporter's optimiser treats one as small as this as zero.
        mean = (sums[:, :1] / sums[:, 1:]).clamp(min=self.floor)
        return mean, _last(heard, self.hops - 1, 2)


def hop_power(x: Tensor) -> Tensor:
    """Mean square of each hop: `[B, 1, T]` to `[B, 1, T / 480]`."""
    return F.avg_pool1d(x * x, HOP_SAMPLES, HOP_SAMPLES)


class StreamingConv2d(nn.Module):
    """Convolution over time and bands: `[B, C, N, F]` to `[B, C', N, F / stride]`; causal in time, centred in bands.

    Its state is the last `kernel[0] - 1` frames `[B, C, frames, F]`. `kernel` is (frames, bands); bands must be odd.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], *, bands: int, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.bands = inputs, bands
        self.context = kernel[0] - 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=(1, stride), padding=(0, kernel[1] // 2))

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[B, C, frames, F]` for the batch size, device and dtype of `like` `[B, …]`."""
        return like.new_zeros(like.shape[0], self.inputs, self.context, self.bands)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, N, F]` to `[B, C', N, F / stride]` and the new state `[B, C, frames, F]`."""
        padded = torch.cat([state, x], dim=2)
        return self.conv(padded), _last(padded, self.context, 2)


class BandGRU(nn.Module):
    """One recurrence with the same weights in every band: x + W GRU(x) over rows `[N·B·F, C]`; state `[1, B·F, H]`.

    What it learns for one band applies to all of them, so it cannot memorise the spectrum of a noise. Rows are ordered
    by time, then signal, then band, so that recurrences, matrix products over channels and merging of neighbouring
    bands can all use them as they are, and an exported graph moves no data in between.
    """

    def __init__(self, channels: int, hidden: int, *, bands: int) -> None:
        super().__init__()
        self.channels, self.hidden, self.bands = channels, hidden, bands
        self.gru = nn.GRU(channels, hidden)
        self.out = nn.Linear(hidden, channels, bias=False)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[1, B·F, H]` for the batch size, device and dtype of `like` `[B, …]`."""
        return like.new_zeros(1, like.shape[0] * self.bands, self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Rows `[N·B·F, C]` to rows of the same shape, and the new state `[1, B·F, H]`."""
        rows = int(state.shape[1])  # a plain number: a traced graph keeps it constant, and only time is dynamic
        y, state = self.gru(x.reshape(-1, rows, self.channels), state)
        return added(x, y.reshape(-1, self.hidden), self.out), state


class AllBandsGRU(nn.Module):
    """One recurrence over all bands at once: x + W widen(GRU(narrow(x))) over rows `[N·B·F, C]`; state `[1, B, H]`.

    `narrow` is the number of channels per band that it reads and writes, with the same weights in every band; only the
    recurrence distinguishes between bands. The bias of `widen`, which it always adds, differs from band to band: from
    it, a body with shared weights knows the position of a band.
    """

    def __init__(self, channels: int, narrow: int, hidden: int, *, bands: int) -> None:
        super().__init__()
        self.hidden, self.channels, self.inputs = hidden, narrow, narrow * bands
        self.narrow = nn.Linear(channels, narrow)
        self.gru = nn.GRU(self.inputs, hidden)
        self.widen = nn.Linear(hidden, self.inputs)
        self.spread = nn.Linear(narrow, channels, bias=False)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[1, B, H]` for the batch size, device and dtype of `like` `[B, …]`."""
        return like.new_zeros(1, like.shape[0], self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Rows `[N·B·F, C]` to rows of the same shape, and the new state `[1, B, H]`."""
        y, state = self.gru(self.narrow(x).reshape(-1, int(state.shape[1]), self.inputs), state)
        y = self.widen(y.reshape(-1, self.hidden)).reshape(-1, self.channels)
        return added(x, y, self.spread), state


class Delay(nn.Module):
    """Prepends the last `count` frames: `[B, C, N, F]` to `[B, C, count + N, F]`; those frames are its state."""

    def __init__(self, count: int, channels: int, bins: int) -> None:
        super().__init__()
        self.count, self.channels, self.bins = count, channels, bins

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[B, C, count, F]`."""
        return like.new_zeros(like.shape[0], self.channels, self.count, self.bins)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, N, F]` to `[B, C, count + N, F]`, all frames from `count` ago on, and the new state."""
        seen = torch.cat([state, x], dim=2)
        return seen, _last(seen, self.count, 2)


class ChannelNorm(nn.Module):
    """x / rms over the channels of each step, with a gain per channel; causal, because it never averages over time.

    RMSNorm (Zhang & Sennrich 2019, eq. 4) over dimension 1 of `[B, C, T]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to `[B, C, T]`."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6) * self.gain
