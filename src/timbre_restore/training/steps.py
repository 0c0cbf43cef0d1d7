"""One step of the game, as plain functions that return named scalars. Nothing in it is computed twice.

The generator runs once and serves both updates. So do the discriminators: their verdicts on clean and on restored give
their own loss, from which only they learn, and then the generator's, from which only it learns; both networks move
after both have learned. What feature matching needs of the clean voice is there already.

`items` is the number of items that one process holds on average in this step (all items over the number of
processes). Losses are sums over the process's items divided by it: processes average their gradients, so together
they make the gradient of one process with the joined batch, also when their numbers of items differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from timbre_restore import losses
from timbre_restore.losses import Sound
from timbre_restore.models import Verdict
from timbre_restore.training.schedule import ema_decay

if TYPE_CHECKING:
    from timbre_restore.loading import EpochBatches
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState

Scalars = dict[str, Tensor]
PerItem = dict[str, Tensor]
"""Losses by name, a value per item `[B]`."""


def whole_step(
    state: TrainState,
    accelerator: Any,
    settings: TrainSettings,
    batches: EpochBatches,
    batch: int,
    signals: Sequence[Tensor],
    *,
    gan: bool,
    ramp: float = 1.0,
) -> Scalars:
    """One batch, degraded, clean, noisy and perhaps hints; `ramp` in [0, 1] scales the weights of the game."""
    degraded, clean, *given = (x.to(accelerator.device, non_blocking=True) for x in signals)
    items = batches.joined_items(batch) / batches.world
    if batches.own_items(batch) == 0:
        items = float("inf")  # a stand-in item weighs nothing
    with accelerator.autocast():
        restored = state.generator(degraded, *given)
    gain = losses.item_gain(clean)
    ours, theirs = Sound(restored.float() * gain), Sound(clean * gain)
    terms, weights = state.objective(ours, theirs), dict(settings.loss_weights)
    scalars: Scalars = {}
    if gan:
        length = settings.discriminator_segment
        if 0 < length < clean.shape[-1]:
            starts = batches.cuts(batch, clean.shape[-1], length)
            ours, theirs = ours.cut(starts, length), theirs.cut(starts, length)
        learning = state.step % settings.discriminator_every == 0
        restored_verdicts, clean_verdicts = judged(state, accelerator, settings, ours, theirs, learning=learning)
        if learning:
            charges = discriminator_terms(restored_verdicts, clean_verdicts, settings.adversarial_loss)
            scalars = learn_discriminators(state, accelerator, charges, items=items, clip=settings.gradient_clip)
        wanted = {name: weights[name] for name in ("adversarial", "feature_matching") if weights[name] > 0}
        terms |= generator_terms(restored_verdicts, clean_verdicts, settings.adversarial_loss, wanted)
        weights |= {name: ramp * weight for name, weight in wanted.items()}
        scalars |= _mean_scores(restored_verdicts, clean_verdicts, items)
    scalars |= learn_generator(state, accelerator, terms, weights, items=items, clip=settings.gradient_clip)
    if gan and learning:
        state.discriminator_optimizer.step()
    state.generator_optimizer.step()
    update_ema(state, accelerator.unwrap_model(state.generator), settings.ema_decay)
    return scalars


def judged(
    state: TrainState, accelerator: Any, settings: TrainSettings, ours: Sound, theirs: Sound, *, learning: bool
) -> tuple[list[Verdict], list[Verdict]]:
    """Verdicts on the restored voice and on the clean one; without `learning` nothing is kept for the weights."""
    precision = torch.bfloat16 if settings.discriminator_precision == "bf16" else None
    judges = state.discriminators if learning else accelerator.unwrap_model(state.discriminators)
    with _autocast(accelerator, precision):
        with torch.set_grad_enabled(learning):
            clean = judges(theirs.wave, theirs.quarter_hop_spectra)
        with _frozen(judges, not learning):
            restored = judges(ours.wave, ours.quarter_hop_spectra)
    return restored, clean


def discriminator_terms(restored: list[Verdict], clean: list[Verdict], kind: str) -> PerItem:
    """What the discriminators pay: `d_real` for the clean voice, `d_fake` for the restored one."""
    return {
        "d_real": losses.discriminator_real([v.score.float() for v in clean], kind),
        "d_fake": losses.discriminator_fake([v.score.float() for v in restored], kind),
    }


def generator_terms(restored: list[Verdict], clean: list[Verdict], kind: str, names: Mapping[str, float]) -> PerItem:
    """What the generator pays for the verdicts, of the losses that have a weight."""
    terms: PerItem = {}
    if "adversarial" in names:
        terms["adversarial"] = losses.generator_adversarial([v.score.float() for v in restored], kind)
    if "feature_matching" in names:
        terms["feature_matching"] = losses.feature_matching([v.features for v in restored], [v.features for v in clean])
    return terms


def learn_discriminators(state: TrainState, accelerator: Any, terms: PerItem, *, items: float, clip: float) -> Scalars:
    """Gradients of the discriminators' loss, in the discriminators alone. The graph stays for the generator's."""
    state.discriminator_optimizer.zero_grad(set_to_none=True)
    scalars = {name: values.sum() / items for name, values in terms.items()}
    own = _trainable(state.discriminators)
    accelerator.backward(torch.stack(list(scalars.values())).sum(), inputs=own, retain_graph=True)
    norm = accelerator.clip_grad_norm_(own, clip)
    return {name: value.detach() for name, value in scalars.items()} | {
        "discriminator_gradient_norm": torch.as_tensor(norm)
    }


def learn_generator(
    state: TrainState, accelerator: Any, terms: PerItem, weights: Mapping[str, float], *, items: float, clip: float
) -> Scalars:
    """Gradients of the weighted sum of `terms`, in the generator alone."""
    state.generator_optimizer.zero_grad(set_to_none=True)
    scalars = {name: values.sum() / items for name, values in terms.items()}
    total = torch.stack([weights[name] * value for name, value in scalars.items()]).sum()
    own = _trainable(state.generator)
    accelerator.backward(total, inputs=own)
    norm = accelerator.clip_grad_norm_(own, clip)
    return {name: value.detach() for name, value in scalars.items()} | {
        "total": total.detach(),
        "gradient_norm": torch.as_tensor(norm),
    }


def update_ema(state: TrainState, generator: nn.Module, decay: float) -> None:
    """Move the averaged generator towards `generator` (unwrapped)."""
    keep = ema_decay(state.step, decay)
    with torch.no_grad():
        torch._foreach_lerp_(list(state.ema.parameters()), list(generator.parameters()), 1.0 - keep)


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


@contextmanager
def _autocast(accelerator: Any, precision: torch.dtype | None) -> Iterator[None]:
    """The run's own precision, or another one for the discriminators."""
    kind = accelerator.device.type
    with accelerator.autocast() if precision is None else torch.autocast(kind, precision):
        yield


@contextmanager
def _frozen(module: nn.Module, frozen: bool) -> Iterator[None]:
    """Gradients pass through to the input, and nothing is kept for the weights."""
    trainable = _trainable(module) if frozen else []
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def _mean_scores(restored: list[Verdict], clean: list[Verdict], items: float) -> Scalars:
    return {
        name: torch.stack([v.score.detach().float().flatten(1).mean(dim=1) for v in verdicts]).mean(dim=0).sum() / items
        for name, verdicts in (("score_real", clean), ("score_fake", restored))
    }
