"""The game: what generator and discriminators pay, averaged over the ensemble, a value per item `[B]`.

Scores are one score map per discriminator, features one list of layers per discriminator; their first dimension is
the item.
`kind` is `hinge` (Lim & Ye 2017) or `lsgan` (Mao et al. 2017). The health bands speak of the hinge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_SIZE = 0.25


def discriminator_real(scores: Sequence[Tensor], kind: str) -> Tensor:
    """hinge: mean relu(1 - D(clean)); lsgan: mean (1 - D(clean))²."""
    return _mean([_per_item(F.relu(1 - s) if kind == "hinge" else (1 - s).square()) for s in scores])


def discriminator_fake(scores: Sequence[Tensor], kind: str) -> Tensor:
    """hinge: mean relu(1 + D(restored)); lsgan: mean D(restored)²."""
    return _mean([_per_item(F.relu(1 + s) if kind == "hinge" else s.square()) for s in scores])


def generator_adversarial(scores: Sequence[Tensor], kind: str) -> Tensor:
    """hinge: -mean D(restored); lsgan: mean (1 - D(restored))²."""
    return _mean([_per_item(-s if kind == "hinge" else (1 - s).square()) for s in scores])


def feature_matching(restored: Sequence[Sequence[Tensor]], clean: Sequence[Sequence[Tensor]]) -> Tensor:
    """mean |f(restored) - f(clean)| / mean |f(clean)| over layers and members (after Défossez et al. 2022, eq. 4).

    Divided by the feature's own size, so that no layer rules by its scale. Where the clean side is silent its features
    are nearly nothing, and one such item would outweigh all others: the size is `LEAST_SIZE` of the restored one's at
    least, so no value passes 1 / `LEAST_SIZE` + 1. The clean side gives no gradient.
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
