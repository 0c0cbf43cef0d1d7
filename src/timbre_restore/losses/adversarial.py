"""Adversarial losses of the generator and the discriminators, averaged over the ensemble, one value per item `[B]`.

Scores are one score map `[B, …]` per discriminator, features one list of layer outputs `[B, …]` per discriminator.
`kind` is `hinge` (Lim & Ye 2017) or `lsgan` (Mao et al. 2017). The health bands refer to the hinge loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_SIZE = 0.25
"""Lower bound of a feature's size in `feature_matching`, as a share of the restored side's."""


def discriminator_real(scores: Sequence[Tensor], kind: str) -> Tensor:
    """Discriminator loss on the clean voice `[B]`: hinge mean relu(1 - D(clean)), lsgan mean (1 - D(clean))²."""
    return _mean([_per_item(F.relu(1 - s) if kind == "hinge" else (1 - s).square()) for s in scores])


def discriminator_fake(scores: Sequence[Tensor], kind: str) -> Tensor:
    """Discriminator loss on the restored voice `[B]`: hinge mean relu(1 + D(restored)), lsgan mean D(restored)²."""
    return _mean([_per_item(F.relu(1 + s) if kind == "hinge" else s.square()) for s in scores])


def generator_adversarial(scores: Sequence[Tensor], kind: str) -> Tensor:
    """Adversarial loss of the generator `[B]`: hinge -mean D(restored), lsgan mean (1 - D(restored))²."""
    return _mean([_per_item(-s if kind == "hinge" else (1 - s).square()) for s in scores])


def feature_matching(restored: Sequence[Sequence[Tensor]], clean: Sequence[Sequence[Tensor]]) -> Tensor:
    """mean |f(restored) - f(clean)| / mean |f(clean)| over layers and members, `[B]` (Défossez et al. 2022, eq. 4).

    Each difference is divided by the feature's own size, so that no layer dominates by its scale. Where the clean side
    is silent, its features are close to zero, and one such item would outweigh all others: the size is therefore at
    least `LEAST_SIZE` times that of the restored side, so no value exceeds 1 / `LEAST_SIZE` + 1. No gradient flows
    through the clean side.
    """
    values = [
        _per_item((ours - theirs.detach()).abs()) / _sizes(ours.detach(), theirs.detach())
        for r, c in zip(restored, clean, strict=True)
        for ours, theirs in zip(r, c, strict=True)
    ]
    return _mean(values)


def _sizes(ours: Tensor, theirs: Tensor) -> Tensor:
    return torch.maximum(_per_item(theirs.abs()), LEAST_SIZE * _per_item(ours.abs())) + 1e-4


def _per_item(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(1, x.ndim)))


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(dim=0)
