"""One step of the game, as plain functions that return named scalars.

`items` is the number of items that one process holds on average in this step (all items over the number of
processes). Losses are sums over the process's items divided by it: processes average their gradients, so together
they make the gradient of one process with the joined batch, also when their numbers of items differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from timbre_restore import losses
from timbre_restore.models import Verdict
from timbre_restore.training.schedule import ema_decay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timbre_restore.loading import EpochBatches
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState

Scalars = dict[str, Tensor]


def whole_step(
    state: TrainState,
    accelerator: Any,
    settings: TrainSettings,
    batches: EpochBatches,
    batch: int,
    signals: Sequence[Tensor],
    *,
    gan: bool,
) -> Scalars:
    """One batch, degraded, clean, noisy and perhaps hints: the generator runs once and serves both updates."""
    degraded, clean, *given = (x.to(accelerator.device, non_blocking=True) for x in signals)
    items = batches.joined_items(batch) / batches.world
    if batches.own_items(batch) == 0:
        items = float("inf")  # a stand-in item weighs nothing
    with accelerator.autocast():
        restored = state.generator(degraded, *given)
    gain = losses.item_gain(clean)
    restored, clean = restored.float() * gain, clean * gain
    kind, clip = settings.adversarial_loss, settings.gradient_clip
    scalars: Scalars = {}
    if gan:
        scalars = discriminator_step(state, accelerator, restored, clean, items=items, kind=kind, clip=clip)
    scalars |= generator_step(
        state, accelerator, restored, clean,
        items=items, weights=settings.loss_weights, gan=gan, kind=kind, clip=clip,
    )  # fmt: skip
    update_ema(state, accelerator.unwrap_model(state.generator), settings.ema_decay)
    return scalars


def discriminator_step(
    state: TrainState, accelerator: Any, restored: Tensor, clean: Tensor, *, items: float, kind: str, clip: float
) -> Scalars:
    """Update the discriminators on the given clean and restored voices `[B, 1, T]`."""
    state.discriminator_optimizer.zero_grad(set_to_none=True)
    count = clean.shape[0]
    with accelerator.autocast():
        # One pass over both: several processes synchronise per pass, and two would synchronise twice.
        verdicts = state.discriminators(torch.cat([clean, restored.detach()]))
        real = losses.discriminator_real([v.score[:count] for v in verdicts], kind).sum() / items
        fake = losses.discriminator_fake([v.score[count:] for v in verdicts], kind).sum() / items
    accelerator.backward(real + fake)
    accelerator.clip_grad_norm_(state.discriminators.parameters(), clip)
    state.discriminator_optimizer.step()
    return {
        "d_real": real.detach(),
        "d_fake": fake.detach(),
        "score_real": _mean_score(verdicts, slice(None, count), items),
        "score_fake": _mean_score(verdicts, slice(count, None), items),
    }


def generator_step(
    state: TrainState,
    accelerator: Any,
    restored: Tensor,
    clean: Tensor,
    *,
    items: float,
    weights: Mapping[str, float],
    gan: bool,
    kind: str,
    clip: float,
) -> Scalars:
    """Update the generator that made `restored`; a loss at weight 0 is not computed."""
    state.generator_optimizer.zero_grad(set_to_none=True)
    with accelerator.autocast():
        terms = _generator_terms(state, accelerator, restored, clean, weights, gan, kind)
        scalars = {name: values.sum() / items for name, values in terms.items()}
        total = torch.stack([weights[name] * value for name, value in scalars.items()]).sum()
    accelerator.backward(total)
    norm = accelerator.clip_grad_norm_([p for p in state.generator.parameters() if p.requires_grad], clip)
    state.generator_optimizer.step()
    return {name: value.detach() for name, value in scalars.items()} | {
        "total": total.detach(),
        "gradient_norm": torch.as_tensor(norm),
    }


def update_ema(state: TrainState, generator: nn.Module, decay: float) -> None:
    """Move the averaged generator towards `generator` (unwrapped)."""
    keep = ema_decay(state.step, decay)
    with torch.no_grad():
        for mean, now in zip(state.ema.parameters(), generator.parameters(), strict=True):
            mean.lerp_(now, 1.0 - keep)


def _generator_terms(
    state: TrainState,
    accelerator: Any,
    restored: Tensor,
    clean: Tensor,
    weights: Mapping[str, float],
    gan: bool,
    kind: str,
) -> Scalars:
    terms: Scalars = {}
    if weights["l1"] > 0:
        terms["l1"] = losses.l1(restored, clean)
    if weights["multi_stft"] > 0:
        terms["multi_stft"] = state.multi_stft(restored, clean)
    wanted = tuple(name for name in ("compressed", "over_attenuation") if weights[name] > 0)
    if wanted:
        terms |= state.compressed_spectrum(restored, clean, wanted)
    if not gan:
        return terms
    judges = accelerator.unwrap_model(state.discriminators)
    with _frozen(judges):
        ours = judges(restored)
        if weights["adversarial"] > 0:
            terms["adversarial"] = losses.generator_adversarial([v.score for v in ours], kind)
        if weights["feature_matching"] > 0:
            with torch.no_grad():
                theirs = judges(clean)
            terms["feature_matching"] = losses.feature_matching(
                [v.features for v in ours], [v.features for v in theirs]
            )
    return terms


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through to the input, and none is kept for the weights."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def _mean_score(verdicts: list[Verdict], part: slice, items: float) -> Tensor:
    per_item = torch.stack([v.score[part].detach().flatten(1).mean(dim=1) for v in verdicts]).mean(dim=0)
    return per_item.sum() / items
