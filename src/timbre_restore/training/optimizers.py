"""Optimisers: AdamW, or Muon for the generator's matrices with AdamW for the rest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

ADAM_RMS = 0.2
"""Root mean square of an AdamW step relative to the learning rate (Liu et al. 2025, "Muon is Scalable for LLM
Training", §2.2): Muon steps are scaled to the same size, so that rate and decay mean the same for both."""
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""a, b, c of X ← aX + (bA + cA²)X with A = XXᵀ: five rounds bring singular values near 1 (Jordan et al. 2024, "Muon: An
optimizer for hidden layers in neural networks", kellerjordan.github.io/posts/muon)."""
ROUNDS = 5
FEWEST_ROWS = 4
"""A layer with fewer outputs, such as the heads, has next to nothing to orthogonalise."""
GATES = 3
"""Matrices that a weight of a GRU consists of."""
LEAST_DECAY_OF_MUON = 0.05
"""Only decay limits the growth caused by orthogonal steps: with 0.01 matrices grew for thousands of steps, with 0.2
they kept learning (docs/lab-log.md). Nothing in between was tried."""


def make_optimizer(
    kind: str, module: nn.Module, learning_rate: float, *, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """The optimiser `adamw` or `muon` for the trainable parameters of `module`."""
    if kind == "muon":
        return Muon(module, learning_rate, betas=betas, weight_decay=weight_decay)
    trainable = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(trainable, lr=learning_rate, betas=betas, weight_decay=weight_decay)


class Muon(torch.optim.Optimizer):
    """Moves a matrix by its orthogonalised momentum: equally in all directions, however small the gradient is in some.

        M ← 0.95 M + 0.05 G        U Σ Vᵀ = 0.95 M + 0.05 G
        W ← (1 − rate · decay) W − rate · 0.2 √max(rows, columns) U Vᵀ

    A convolution is treated as a matrix of outputs by everything else, a recurrence as one matrix per gate
    (`torch.optim.Muon`, which does not accept convolutions, uses one for all gates; docs/lab-log.md compares the cost).
    Parameters that are not matrices, or that have fewer than `FEWEST_ROWS` rows, are updated with AdamW at the same
    rate and without decay.
    """

    def __init__(
        self, module: nn.Module, learning_rate: float, *, betas: tuple[float, float], weight_decay: float
    ) -> None:
        gated = {id(p) for part in module.modules() if isinstance(part, nn.GRU) for p in part.parameters()}
        kinds: dict[int, list[nn.Parameter]] = {0: [], 1: [], GATES: []}
        for p in module.parameters():
            if p.requires_grad:
                matrix = p.ndim >= 2 and len(p) >= FEWEST_ROWS
                kinds[0 if not matrix else GATES if id(p) in gated else 1].append(p)
        groups = [
            {"params": params, "matrices": matrices, "weight_decay": weight_decay if matrices else 0.0}
            for matrices, params in kinds.items()
            if params
        ]
        super().__init__(groups, {"lr": learning_rate, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if not group["matrices"]:
                self._step_of_adamw(group, moving)
                continue
            for p in moving:
                self._step_of_matrices(group, p)

    def _step_of_adamw(self, group: dict[str, Any], moving: list[Tensor]) -> None:
        for p in moving:
            if not self.state[p]:
                self.state[p] |= {"step": torch.tensor(0.0), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        means, squares, steps = ([self.state[p][name] for p in moving] for name in ("mean", "square", "step"))
        beta1, beta2 = group["betas"]
        adamw(
            moving, [p.grad for p in moving if p.grad is not None], means, squares, [], steps,
            amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=group["weight_decay"],
            eps=1e-8, maximize=False,
        )  # fmt: skip

    def _step_of_matrices(self, group: dict[str, Any], p: Tensor) -> None:
        assert p.grad is not None
        if not self.state[p]:
            self.state[p]["momentum"] = torch.zeros_like(p)
        momentum = self.state[p]["momentum"].lerp_(p.grad, 1.0 - MOMENTUM)
        matrices = p.grad.lerp(momentum, MOMENTUM).reshape(group["matrices"], len(p) // group["matrices"], -1)
        size = ADAM_RMS * math.sqrt(max(matrices.shape[1:]))
        p.mul_(1.0 - group["lr"] * group["weight_decay"])
        p.add_(orthogonal(matrices).reshape(p.shape), alpha=-group["lr"] * size)


def orthogonal(matrices: Tensor) -> Tensor:
    """UVᵀ of each matrix UΣVᵀ `[N, rows, columns]`, approximately: singular values near 1; zero matrices stay zero."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
