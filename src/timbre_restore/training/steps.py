"""One training step, as plain functions that return named scalars. Nothing in it is computed twice.

The generator runs once for both updates. So do the discriminators: their outputs for the clean and the restored voice
give their own loss, whose gradients only they receive, and then the generator's loss, whose gradients only the
generator receives; both networks are updated after both backward passes. Feature matching reuses the clean features.

`items` is the average number of items per process in this step (all items divided by the number of processes). Losses
are sums over the items of the process divided by `items`: processes average their gradients, so together they produce
the gradient of a single process with the joined batch, even if their numbers of items differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from timbre_restore import losses
from timbre_restore.audio import HOP_SAMPLES
from timbre_restore.losses import Waveform
from timbre_restore.models import DiscriminatorOutput
from timbre_restore.training.schedule import ema_decay

if TYPE_CHECKING:
    from timbre_restore.loading import EpochBatches
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState

GAME = ("adversarial", "feature_matching")
Scalars = dict[str, Tensor]
PerItem = dict[str, Tensor]
"""Losses by name, one value per item `[B]`."""


def train_step(
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
    """Train on one batch; return the losses and gradient norms by name.

    `signals` are degraded and clean `[B, 1, T]`, noisy `[B, 1, T + 1440]` and optionally hints; `ramp` in [0, 1] scales
    the weights of the adversarial losses. A segment longer than `batches.window` is processed in windows: the generator
    continues in each from the state of the previous one, gradients stay within a window and are accumulated, and the
    networks are updated once (truncated backpropagation through time, Williams & Peng 1990, without overlap).
    """
    degraded, clean, *given = (x.to(accelerator.device, non_blocking=True) for x in signals)
    items = batches.joined_items(batch) / batches.world
    if batches.own_items(batch) == 0:
        items = float("inf")  # a placeholder item has zero weight
    clean = clean * (gain := losses.item_gain(clean))
    learning = gan and state.step % settings.discriminator_every == 0
    state.generator_optimizer.zero_grad(set_to_none=True)
    if learning:
        state.discriminator_optimizer.zero_grad(set_to_none=True)
    windows, carried = _windows(degraded.shape[-1], batches.window), None
    scalars: Scalars = {}
    for window in windows:
        with _reduced(state, accelerator, window is windows[-1]):
            restored, carried = _restored(state, accelerator, (degraded, *given), window, len(windows) > 1, carried)
            ours, theirs = Waveform(restored.float() * gain), Waveform(clean[..., slice(*window)])
            terms, weights = state.objective(ours, theirs), dict(settings.loss_weights)
            shares: Scalars = {}
            if gan:
                ours, theirs = _cut(settings, batches, batch, window, ours, theirs)
                outputs = discriminate(state, accelerator, settings, ours, theirs, learning=learning)
                shares = _mean_scores(*outputs, items * len(windows))
                d_terms = discriminator_terms(*outputs, settings.adversarial_loss)
                if learning:
                    accumulate_gradients(
                        accelerator, state.discriminators, d_terms, {}, items * len(windows), keep=True
                    )
                shares |= {name: x.detach().sum() / (items * len(windows)) for name, x in d_terms.items()}
                wanted = {name: ramp * weights[name] for name in GAME if weights[name] > 0}
                terms |= generator_terms(*outputs, settings.adversarial_loss, wanted)
                weights |= wanted
            total, own = accumulate_gradients(accelerator, state.generator, terms, weights, items * len(windows))
            for name, value in (shares | own | {"total": total}).items():
                scalars[name] = scalars[name] + value if name in scalars else value
    if learning:
        norm = update(accelerator, state.discriminators, state.discriminator_optimizer, settings.gradient_clip)
        scalars["discriminator_gradient_norm"] = norm
    scalars["gradient_norm"] = update(accelerator, state.generator, state.generator_optimizer, settings.gradient_clip)
    update_ema(state, accelerator.unwrap_model(state.generator), settings.ema_decay)
    return scalars


def discriminate(
    state: TrainState, accelerator: Any, settings: TrainSettings, ours: Waveform, theirs: Waveform, *, learning: bool
) -> tuple[list[DiscriminatorOutput], list[DiscriminatorOutput]]:
    """Outputs for the restored and for the clean voice; without `learning`, no graph is kept for the weights."""
    precision = torch.bfloat16 if settings.discriminator_precision == "bf16" else None
    judges = state.discriminators if learning else accelerator.unwrap_model(state.discriminators)
    with _autocast(accelerator, precision):
        with torch.set_grad_enabled(learning):
            clean = judges(theirs.wave, theirs.quarter_hop_spectra)
        with _frozen(judges, not learning):
            restored = judges(ours.wave, ours.quarter_hop_spectra)
    return restored, clean


def discriminator_terms(restored: list[DiscriminatorOutput], clean: list[DiscriminatorOutput], kind: str) -> PerItem:
    """Losses of the discriminators: `d_real` on the clean voice, `d_fake` on the restored one."""
    return {
        "d_real": losses.discriminator_real([v.score.float() for v in clean], kind),
        "d_fake": losses.discriminator_fake([v.score.float() for v in restored], kind),
    }


def generator_terms(
    restored: list[DiscriminatorOutput], clean: list[DiscriminatorOutput], kind: str, names: Mapping[str, float]
) -> PerItem:
    """Losses of the generator from the outputs of the discriminators, limited to `names`."""
    terms: PerItem = {}
    if "adversarial" in names:
        terms["adversarial"] = losses.generator_adversarial([v.score.float() for v in restored], kind)
    if "feature_matching" in names:
        terms["feature_matching"] = losses.feature_matching([v.features for v in restored], [v.features for v in clean])
    return terms


def accumulate_gradients(
    accelerator: Any,
    network: nn.Module,
    terms: PerItem,
    weights: Mapping[str, float],
    items: float,
    *,
    keep: bool = False,
) -> tuple[Tensor, Scalars]:
    """Add the gradients of the weighted sum of `terms` to `network`, and to no other network.

    A weight is 1 unless given. Returns the sum and the means of the terms. `keep` retains the graph for another
    backward pass.
    """
    scalars = {name: values.sum() / items for name, values in terms.items()}
    total = torch.stack([weights.get(name, 1.0) * value for name, value in scalars.items()]).sum()
    accelerator.backward(total, inputs=_trainable(network), retain_graph=keep)
    return total.detach(), {name: value.detach() for name, value in scalars.items()}


def update(accelerator: Any, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    """Clip the gradient and step the network's optimiser; return the gradient norm before clipping."""
    norm = accelerator.clip_grad_norm_(_trainable(network), clip)
    optimizer.step()
    return torch.as_tensor(norm)


def update_ema(state: TrainState, generator: nn.Module, decay: float) -> None:
    """Update the averaged generator (EMA) with the weights of `generator` (unwrapped)."""
    keep = ema_decay(state.step, decay)
    with torch.no_grad():
        torch._foreach_lerp_(list(state.ema.parameters()), list(generator.parameters()), 1.0 - keep)


def _windows(samples: int, longest: int) -> list[tuple[int, int]]:
    """First sample, and the sample after the last, of each window of a segment; as few windows as `longest` allows.

    Their lengths differ by no more than a hop, so that they have equal weight and none is too short for a loss.
    """
    count = max(1, -(-samples // longest)) if longest > 0 else 1
    ends = [round(n * samples / count / HOP_SAMPLES) * HOP_SAMPLES for n in range(count)] + [samples]
    return list(pairwise(ends))


def _restored(
    state: TrainState,
    accelerator: Any,
    signals: Sequence[Tensor],
    window: tuple[int, int],
    goes_on: bool,
    carried: dict[str, Tensor] | None,
) -> tuple[Tensor, dict[str, Tensor] | None]:
    """The generator's output in the window, and the detached state for the next window."""
    with accelerator.autocast():
        if not goes_on:
            return state.generator(*signals), None
        first, stop = (at // HOP_SAMPLES for at in window)
        restored, carried = state.generator(*signals, span=(first, stop), memory=carried)
    assert carried is not None
    return restored, {name: tensor.detach() for name, tensor in carried.items()}


def _cut(
    settings: TrainSettings,
    batches: EpochBatches,
    batch: int,
    window: tuple[int, int],
    ours: Waveform,
    theirs: Waveform,
) -> tuple[Waveform, Waveform]:
    """The part of a window that the discriminators hear."""
    heard, length = ours.wave.shape[-1], settings.discriminator_segment
    if not 0 < length < heard:
        return ours, theirs
    starts = batches.cuts(batch, heard, length, item=window[0] // settings.segment)
    return ours.cut(starts, length), theirs.cut(starts, length)


@contextmanager
def _reduced(state: TrainState, accelerator: Any, last: bool) -> Iterator[None]:
    """Synchronise gradients between processes only once per step, in the last window."""
    with ExitStack() as stack:
        if not last:
            for network in (state.generator, state.discriminators):
                stack.enter_context(accelerator.no_sync(network))
        yield


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


@contextmanager
def _autocast(accelerator: Any, precision: torch.dtype | None) -> Iterator[None]:
    """Autocast with the precision of the run, or with `precision` if given."""
    kind = accelerator.device.type
    with accelerator.autocast() if precision is None else torch.autocast(kind, precision):
        yield


@contextmanager
def _frozen(module: nn.Module, frozen: bool) -> Iterator[None]:
    """Freeze the weights if `frozen`: gradients still reach the input, but nothing is kept for the weights."""
    trainable = _trainable(module) if frozen else []
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def _mean_scores(restored: list[DiscriminatorOutput], clean: list[DiscriminatorOutput], items: float) -> Scalars:
    return {
        name: torch.stack([v.score.detach().float().flatten(1).mean(dim=1) for v in outputs]).mean(dim=0).sum() / items
        for name, outputs in (("score_real", clean), ("score_fake", restored))
    }
