"""Generators at equal time: each is trained for the same CPU time on one thread, then scored on the development side.

    python benchmarks/ablation.py CORPUS RESULTS.jsonl MINUTES VARIANT [VARIANT ...]

A variant is NAME:SIZE:CONDITIONING, optionally followed by loss weights: `spectral:small:degraded+noisy:compressed=20`.
No discriminators; batches of 8, cosine learning rate over the budget. Only the CPU time of the steps is counted, so
other load on the machine matters little. Appends one line per variant to RESULTS: steps, the curve of the validation
loss, and over-suppression, residual noise, LSD, SI-SDR and PESQ (if installed) of the averaged weights on 240 items of
the development side, at strengths 0 (the suppressor) to 1.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from timbre_restore import losses
from timbre_restore.audio import from_pcm, to_pcm
from timbre_restore.loading import EpochBatches, Loader, TimbreRestoreDataset
from timbre_restore.losses import Waveform
from timbre_restore.metrics import DEFAULT_SET, item_gain, score_pair
from timbre_restore.models import GeneratorSettings
from timbre_restore.training.schedule import learning_rate_factor
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState, create_state
from timbre_restore.training.steps import accumulate_gradients, update, update_ema

BATCH = 8
RATE = 1e-3
WATCHED_ITEMS, SCORED_ITEMS = 96, 240
STRENGTHS = (0.0, 0.5, 1.0)
MEASURES = ("osr", "osr_hf", "resid", "lsd", "sisdr", "pesq")


def settings_of(variant: str, corpus: Path) -> TrainSettings:
    name, size, conditioning, *rest = variant.split(":")
    weights = TrainSettings(corpus, corpus).loss_weights
    weights |= {key: float(value) for key, _, value in (word.partition("=") for word in rest)}
    generator = GeneratorSettings(name, size, conditioning)
    return TrainSettings(corpus, corpus, generator=generator, loss_weights=weights, learning_rate=RATE)


def items_of(corpus: Path, count: int, hints: bool) -> list[tuple[torch.Tensor, ...]]:
    data = TimbreRestoreDataset(corpus / "val.txt", with_noisy=True, with_hints=hints)
    return [data[i * len(data) // count] for i in range(count)]


def restored(state: TrainState, item: tuple[torch.Tensor, ...]) -> torch.Tensor:
    degraded, _, *given = item
    with torch.no_grad():
        out: torch.Tensor = state.ema(degraded[None], *(x[None] for x in given))[0]
    return out


def validation(state: TrainState, items: list[tuple[torch.Tensor, ...]]) -> float:
    values = []
    for item in items:
        gain = losses.item_gain(item[1][None])
        values.append(float(state.objective.multi_stft(restored(state, item)[None] * gain, item[1][None] * gain)))
    return float(np.mean(values))


def scores(state: TrainState, items: list[tuple[torch.Tensor, ...]]) -> dict[str, dict[str, float]]:
    metrics = [metric for metric in DEFAULT_SET if metric.key in MEASURES]
    table: dict[float, dict[str, list[float]]] = {s: {m.key: [] for m in metrics} for s in STRENGTHS}
    for item in items:
        degraded, clean, ours = (x[0].numpy() for x in (item[0], item[1], restored(state, item)))
        gain = np.float32(item_gain(clean)) if np.any(clean) else np.float32(1.0)
        for strength in STRENGTHS:
            mixed = degraded + np.float32(strength) * (ours - degraded)
            for key, score in score_pair(from_pcm(to_pcm(mixed)) * gain, clean * gain, metrics).items():
                if score.value is not None:
                    table[strength][key].append(score.value)
    return {
        f"{s:g}": {key: round(float(np.mean(values)), 4) for key, values in row.items() if values}
        for s, row in table.items()
    }


def train(variant: str, corpus: Path, minutes: float) -> dict[str, Any]:
    settings = settings_of(variant, corpus)
    state, accelerator = create_state(settings), Accelerator(cpu=True)
    hints = state.ema.takes_hints
    data = TimbreRestoreDataset(corpus / "train.txt", with_noisy=True, with_hints=hints)
    batches = EpochBatches(len(data), BATCH, seed=0)
    loader = Loader(data, batches, num_workers=1)
    watched, curve = items_of(corpus, WATCHED_ITEMS, hints), []
    budget, used, epoch = 60.0 * minutes, 0.0, 0
    while used < budget:
        batches.set_epoch(epoch)
        for degraded, clean, *given in loader:
            started = time.process_time()
            rate = RATE * learning_rate_factor(
                int(1000 * used / budget), total_steps=1000, warmup_steps=20, final_factor=0.02
            )
            for group in state.generator_optimizer.param_groups:
                group["lr"] = rate
            gain = losses.item_gain(clean)
            out = state.generator(degraded, *given) * gain
            terms = state.objective(Waveform(out), Waveform(clean * gain))
            state.generator_optimizer.zero_grad(set_to_none=True)
            accumulate_gradients(accelerator, state.generator, terms, settings.loss_weights, len(clean))
            update(accelerator, state.generator, state.generator_optimizer, settings.gradient_clip)
            update_ema(state, state.generator, 0.99)
            state.step += 1
            used += time.process_time() - started
            if used >= (len(curve) + 1) * budget / 6:
                curve.append((state.step, round(validation(state, watched), 4)))
                print(f"{variant}: {used:.0f} s, step {state.step}, val {curve[-1][1]}", file=sys.stderr, flush=True)
            if used >= budget:
                break
        epoch += 1
    parameters = sum(p.numel() for p in state.generator.parameters())
    result = {"variant": variant, "minutes": minutes, "parameters": parameters, "steps": state.step, "curve": curve}
    return result | {"scores": scores(state, items_of(corpus, SCORED_ITEMS, hints))}


def main(corpus: Path, results: Path, minutes: float, variants: list[str]) -> None:
    torch.set_num_threads(1)
    for variant in variants:
        line = json.dumps(train(variant, corpus, minutes))
        with results.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")
        print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
