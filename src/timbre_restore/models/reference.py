"""The reference recipe, for comparisons only: a U-Net with 64-128-256-512 channels and stride 2 from 48 kHz down.

It costs tens of times as much as the other generators, because its widest layers run at thousands of steps per second.
It is causal like them, with the same residual gate over time: restored = degraded + gate · correction.
"""

from __future__ import annotations

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
from timbre_restore.models.streaming import HOP_SAMPLES, BlockUpsample, Remembering, StreamingConv1d

SIZES = {"tiny": (8, 16, 32, 64), "small": (16, 32, 64, 128), "base": (64, 128, 256, 512)}
KERNEL = 8


class Reference(nn.Module):
    """Generator `reference`.

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
            raise ValueError("the reference recipe takes no hints; expected degraded or degraded+noisy")
        self.settings = settings
        self.lookahead_samples = LOOKAHEAD_SAMPLES if settings.uses_noisy else 0
        widths = SIZES[settings.size]
        ins = (3 if settings.uses_noisy else 1, *widths[:-1])
        self.encode = nn.ModuleList(StreamingConv1d(a, b, KERNEL, stride=2) for a, b in zip(ins, widths, strict=True))
        self.middle = StreamingConv1d(widths[-1], widths[-1], 3, dilation=2)
        self.up = nn.ModuleList(BlockUpsample(a, b, 2) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.decode = nn.ModuleList(StreamingConv1d(2 * b, b, 3) for b in widths[-2::-1])
        self.last = BlockUpsample(widths[0], widths[0], 2)
        self.heads = StreamingConv1d(widths[0], 2, 7)
        with torch.no_grad():
            assert self.heads.conv.bias is not None
            self.heads.conv.weight.mul_(0.1)
            self.heads.conv.bias.copy_(torch.tensor([-2.0, 0.0]))

    def _remembering(self) -> dict[str, Remembering]:
        parts: dict[str, Any] = {f"encode_{i}": layer for i, layer in enumerate(self.encode)}
        parts |= {f"decode_{i}": layer for i, layer in enumerate(self.decode)}
        return parts | {"middle": self.middle, "heads": self.heads}

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
        """`restored` `[B, 1, T]` of one chunk of whole hops, and the state that the next chunk needs.

        `degraded` is `[B, 1, T]`; `noisy` `[B, 1, T + 1440]` covers the chunk and the 1440 samples after it.
        """
        state = dict(state)
        degraded = chunk["degraded"]
        x = degraded
        if self.settings.uses_noisy:
            noisy, length = chunk["noisy"], degraded.shape[-1]
            x = torch.cat([degraded, noisy[..., :length], noisy[..., LOOKAHEAD_SAMPLES:]], dim=1)
        skips = []
        for i, layer in enumerate(self.encode):
            x, state[f"encode_{i}"] = layer(x, state[f"encode_{i}"])
            x = nn.functional.leaky_relu(x, 0.1)
            skips.append(x)
        y, state["middle"] = self.middle(skips.pop(), state["middle"])
        x = x + nn.functional.leaky_relu(y, 0.1)
        for i, (up, layer) in enumerate(zip(self.up, self.decode, strict=True)):
            x, state[f"decode_{i}"] = layer(torch.cat([up(x), skips.pop()], dim=1), state[f"decode_{i}"])
            x = nn.functional.leaky_relu(x, 0.1)
        both, state["heads"] = self.heads(self.last(x), state["heads"])
        gate, correction = both.chunk(2, dim=1)
        return {"restored": degraded + torch.sigmoid(gate) * torch.tanh(correction)}, state
