"""Streaming bricks: layers whose past is an explicit state.

One code path serves training and the live product: offline is one long chunk from a zero state, and a stream is the
same call with shorter chunks and the state handed from one to the next. So the two can't drift apart, and every state
is visible to tests and to an exported graph.

Frame-causal, not sample-causal: audio arrives in whole hops, so an output may depend on its input up to the end of
its own stride block. A strided layer therefore pads `kernel - stride` on the left, which costs no latency as long as
chunks are whole multiples of the hop.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HOP_SAMPLES = 480


def _last(x: Tensor, count: int, dim: int) -> Tensor:
    """The last `count` steps along `dim`. Counted from the end: a traced graph then looks no length up."""
    return x.narrow(dim, 0, 0) if count == 0 else x[(slice(None),) * dim + (slice(-count, None),)]


def added(base: Tensor, x: Tensor, layer: nn.Linear) -> Tensor:
    """base + layer(x) over rows, for a layer without bias: a sum that costs nothing where its product ends."""
    return torch.addmm(base, x, layer.weight.T)


class Remembering(Protocol):
    """A layer with a state."""

    def initial_state(self, like: Tensor) -> Tensor:
        """The state before any sound, for the batch, device and type of `like` `[B, …]`."""
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
            raise ValueError(f"kernel {kernel} must reach over its stride {stride}")
        self.inputs = inputs
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, dilation=dilation, bias=bias)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros for the batch, device and type of `like` `[B, …]`."""
        return like.new_zeros(like.shape[0], self.inputs, self.context)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        padded = torch.cat([state, x], dim=-1)
        return self.conv(padded), _last(padded, self.context, 2)


class BlockUpsample(nn.Module):
    """`[B, C, T]` to `[B, C', T·stride]`: each input step writes its own block of `stride` outputs.

    A transposed convolution with kernel = stride has no overlap, hence no state and no tail to wait for; the
    smoothing across blocks is left to the convolution that follows, which has one.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class StreamingGRU(nn.Module):
    """Gated recurrence over `[B, C, T]`; its state is the hidden vector `[1, B, H]`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gru = nn.GRU(inputs, hidden, batch_first=True)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[1, B, H]` for the batch of `like`."""
        return like.new_zeros(1, like.shape[0], self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, state = self.gru(x.transpose(1, 2), state)
        return out.transpose(1, 2), state


class RunningPower(nn.Module):
    """The running power of a voice: an exponentially weighted mean of what each hop has, one value per hop.

        power[t] = max(sum_k a^k p[t-k] / sum_k a^k, floor),  k from 0 to `hops - 1` and only hops already heard

    with a = exp(-hop / time). The weights of hops before the first one count as zero, so the mean is right from the
    start (the bias correction of Adam, Kingma & Ba 2015, §3). A finite window instead of a recursion: a convolution
    runs for any length in torch and in an exported graph. State `[B, 2, hops - 1]`: powers, and which were heard.
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
        """Power per hop `[B, 1, N]` to running power `[B, 1, N]`."""
        heard = torch.cat([state, F.pad(power, (0, 0, 0, 1), value=1.0)], dim=-1)
        sums = F.conv1d(heard, self.kernel, groups=2)
        # A bound and no addend: one as small as this, the exporter's optimiser takes for zero.
        mean = (sums[:, :1] / sums[:, 1:]).clamp(min=self.floor)
        return mean, _last(heard, self.hops - 1, 2)


def hop_power(x: Tensor) -> Tensor:
    """Mean square of each hop: `[B, 1, T]` to `[B, 1, T / 480]`."""
    return F.avg_pool1d(x * x, HOP_SAMPLES, HOP_SAMPLES)


class StreamingConv2d(nn.Module):
    """Convolution over time and bands: `[B, C, N, F]` to `[B, C', N, F / stride]`; causal in time, centred in bands.

    Its state is the last `kernel[0] - 1` frames `[B, C, frames, F]`. `kernel` is (frames, bands), bands odd.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], *, bands: int, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.bands = inputs, bands
        self.context = kernel[0] - 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=(1, stride), padding=(0, kernel[1] // 2))

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros for the batch, device and type of `like` `[B, …]`."""
        return like.new_zeros(like.shape[0], self.inputs, self.context, self.bands)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        padded = torch.cat([state, x], dim=2)
        return self.conv(padded), _last(padded, self.context, 2)


class BandGRU(nn.Module):
    """One recurrence with the same weights in every band: x + W GRU(x) over rows `[N·B·F, C]`; state `[1, B·F, H]`.

    What it learns of one band holds in all of them, so it can't keep the spectrum of a noise by heart. Rows are in
    order of time, then signal, then band: so a recurrence, a product over channels and a merging of neighbouring bands
    all take them as they lie, and a graph moves nothing between them.
    """

    def __init__(self, channels: int, hidden: int, *, bands: int) -> None:
        super().__init__()
        self.channels, self.hidden, self.bands = channels, hidden, bands
        self.gru = nn.GRU(channels, hidden)
        self.out = nn.Linear(hidden, channels, bias=False)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros for the batch, device and type of `like` `[B, …]`."""
        return like.new_zeros(1, like.shape[0] * self.bands, self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        rows = int(state.shape[1])  # a plain number: a traced graph keeps it, and only time is free
        y, state = self.gru(x.reshape(-1, rows, self.channels), state)
        return added(x, y.reshape(-1, self.hidden), self.out), state


class AllBandsGRU(nn.Module):
    """One recurrence over all bands at once: x + W widen(GRU(narrow(x))) over rows `[N·B·F, C]`; state `[1, B, H]`.

    `narrow` is how many channels of a band it sees and sets, by the same weights in every band; only the recurrence
    tells bands apart. What it always adds, the bias of `widen`, differs from band to band: by it a body with shared
    weights knows where a band lies.
    """

    def __init__(self, channels: int, narrow: int, hidden: int, *, bands: int) -> None:
        super().__init__()
        self.hidden, self.channels, self.inputs = hidden, narrow, narrow * bands
        self.narrow = nn.Linear(channels, narrow)
        self.gru = nn.GRU(self.inputs, hidden)
        self.widen = nn.Linear(hidden, self.inputs)
        self.spread = nn.Linear(narrow, channels, bias=False)

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[1, B, H]` for the batch, device and type of `like` `[B, …]`."""
        return like.new_zeros(1, like.shape[0], self.hidden)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.gru(self.narrow(x).reshape(-1, int(state.shape[1]), self.inputs), state)
        y = self.widen(y.reshape(-1, self.hidden)).reshape(-1, self.channels)
        return added(x, y, self.spread), state


class Delay(nn.Module):
    """The frames of `count` steps ago: `[B, C, N, F]` in, `count` more out; its state is the last `count` frames."""

    def __init__(self, count: int, channels: int, bins: int) -> None:
        super().__init__()
        self.count, self.channels, self.bins = count, channels, bins

    def initial_state(self, like: Tensor) -> Tensor:
        """Zeros `[B, C, count, F]`."""
        return like.new_zeros(like.shape[0], self.channels, self.count, self.bins)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """All frames from `count` ago on, `[B, C, count + N, F]`, and the new state."""
        seen = torch.cat([state, x], dim=2)
        return seen, _last(seen, self.count, 2)


class ChannelNorm(nn.Module):
    """x / rms over the channels of each step, with a gain per channel: causal, because time is never averaged.

    RMSNorm (Zhang & Sennrich 2019, eq. 4) over dimension 1 of `[B, C, T]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6) * self.gain
