"""Small runs on a small corpus, for the tests of training."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from tests.processes import ended
from tests.voices import noise, voice
from timbre_restore.audio import write_audio
from timbre_restore.models import DiscriminatorSettings, GeneratorSettings
from timbre_restore.training import TrainSettings, find_checkpoint, load_generator
from timbre_restore.training.record.journal import TIMES

SEGMENT = 9600
EVERY_JUDGE = DiscriminatorSettings(names=("mpd", "mrd", "msd"), periods=(2, 3), windows=(512,), channels=4)
"""Runs have fewer: the multi-scale one alone is half of a step."""


WEIGHTS = {
    "l1": 3.0, "multi_stft": 3.0, "adversarial": 1.0, "feature_matching": 2.0,
    "compressed": 1.0, "over_attenuation": 1.0, "silence": 1.0, "mel": 1.0, "perceptual": 1.0,
    "cells": 1.0,
}  # fmt: skip


def make_corpus(folder: Path, train_items: int = 7, val_items: int = 2) -> Path:
    """Pairs in the layout of a corpus: the degraded side is the clean one without its upper octaves."""
    for split, count in (("train", train_items), ("val", val_items)):
        (folder / split).mkdir(parents=True)
        lines = []
        for index in range(count):
            clean = voice(1.0, seed=index)[: SEGMENT + 1440]
            dull = np.convolve(clean, np.ones(8, dtype=np.float32) / 8, "same").astype(np.float32)
            noisy = clean + noise(1.0, seed=index, level=0.003)[: SEGMENT + 1440]
            paths = {kind: folder / split / kind / f"{index}.wav" for kind in ("degraded", "clean", "noisy")}
            write_audio(paths["degraded"], dull[:SEGMENT], 48_000)
            write_audio(paths["clean"], clean[:SEGMENT], 48_000)
            write_audio(paths["noisy"], noisy, 48_000)
            lines.append(f"{paths['degraded']}|{paths['clean']}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def settings(corpus: Path, out: Path, **changes: object) -> TrainSettings:
    base = TrainSettings(
        corpus=corpus,
        output_dir=out,
        generator=GeneratorSettings(size="tiny"),
        discriminators=DiscriminatorSettings(names=("mpd", "mrd"), periods=(2,), windows=(512,), channels=4),
        epochs=3,
        batch_size=3,
        gan_start_epoch=1,
        warmup_epochs=1,
        num_workers=0,
        segment=SEGMENT,
        log_every_steps=1,
        trackers=(),  # pictures for TensorBoard take longer than such a run
        record={"note": "test"},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def lines(run: Path, kind: str) -> list[dict[str, float]]:
    """Of the log, without what two equal runs may differ in."""
    entries = [json.loads(text) for text in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k not in TIMES} for e in entries if e["kind"] == kind]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_generator(find_checkpoint(run)).state_dict()


def fresh_state() -> None:
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def in_process(command: list[str], status: int = 0) -> str:
    """What a process says on standard output, which ends with this status."""
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "OMP_NUM_THREADS": "1"}
    done = ended(command, environment)
    assert done.returncode == status, done.stderr[-20000:]
    assert "Traceback" not in done.stderr
    return done.stdout
