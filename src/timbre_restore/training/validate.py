"""Evaluation of the averaged generator on the validation split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from timbre_restore import losses

if TYPE_CHECKING:
    from timbre_restore.training.state import TrainState


def validate(state: TrainState, accelerator: Any, batches: Iterable[list[torch.Tensor]]) -> dict[str, float]:
    """Means over all items of all processes: `val_l1`, `val_multi_stft`, and those of the suppressor as `*_degraded`.

    Empty if there are no items. Levels are normalised per item as in training.
    """
    names = ("val_l1", "val_multi_stft", "val_l1_degraded", "val_multi_stft_degraded")
    sums = torch.zeros(len(names) + 1, device=accelerator.device)
    with torch.no_grad():
        for batch in batches:
            degraded, clean, *given = (x.to(accelerator.device) for x in batch)
            restored = state.ema(degraded, *given)
            gain = losses.item_gain(clean)
            values = [
                measure(estimate * gain, clean * gain).sum()
                for estimate in (restored, degraded)
                for measure in (losses.l1, state.objective.multi_stft)
            ]
            sums += torch.stack([*values, torch.tensor(float(len(clean)), device=sums.device)])
    sums = accelerator.reduce(sums, reduction="sum")
    count = float(sums[-1])
    return {name: float(value) / count for name, value in zip(names, sums, strict=False)} if count else {}


def listen(
    state: TrainState, accelerator: Any, items: list[tuple[torch.Tensor, ...]]
) -> dict[str, dict[str, torch.Tensor]]:
    """Signals `[T]` of the fixed validation items, by item and by name (noisy, degraded, restored, clean)."""
    sounds: dict[str, dict[str, torch.Tensor]] = {}
    for index, (degraded, clean, noisy, *hints) in enumerate(items):
        with torch.no_grad():
            restored = state.ema(*(x[None].to(accelerator.device) for x in (degraded, noisy, *hints)))[0]
        waves = {"noisy": noisy[..., : degraded.shape[-1]], "degraded": degraded, "restored": restored, "clean": clean}
        sounds[f"item_{index}"] = {name: wave[0].float().cpu() for name, wave in waves.items()}
    return sounds
