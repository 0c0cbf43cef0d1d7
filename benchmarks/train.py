"""The effect of options on training speed: several configurations doing equal work, in rounds within one run.

    python benchmarks/train.py RESULTS.jsonl ROUNDS VARIANT [VARIANT ...]

A variant is `key=value,key=value` as with `--set`, `default` for none, or `reference` for the recipe that others train
(at whatever batch size it can take). Each has a process of its own, because precision, threads and compiled code are
per process; they take turns, and only one works at a time. All read one synthetic corpus, made for the batch size and
segment of the first variant's configuration. Appends one line per variant to RESULTS: items/s and batches/s before the
GAN and with it, their lowest and highest round, memory, and both rates relative to the first variant's, as the median
of the rounds' ratios.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import statistics
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from timbre_restore.apps.bench_train import make_corpus
from timbre_restore.apps.train import train_settings
from timbre_restore.config import load_config
from timbre_restore.training.bench.measure import (
    GAN,
    PLAIN,
    REFERENCE,
    OwnStep,
    describe_machine,
    reference_subject,
)
from timbre_restore.training.bench.recipe import make_plain
from timbre_restore.training.bench.rounds import Series, Subject
from timbre_restore.training.device import open_accelerator

RECIPE = "reference"


def overrides_of(variant: str) -> list[str]:
    """`a.b=1,c.d=[2,3]` split into its overrides, at commas that are followed by a key."""
    return [] if variant in ("default", RECIPE) else re.split(r",(?=[a-z_.]+=)", variant)


def subjects_of(variant: str, own: OwnStep) -> list[Subject]:
    if variant == RECIPE:
        return [reference_subject(own, make_plain(own.accelerator.device))]
    return [own.subject(PLAIN, gan=False), own.subject(GAN, gan=True)]


def work(variant: str, corpus: Path, pipe: Connection) -> None:
    """Run rounds of one variant on request, and send the machine's description at the end."""
    settings = train_settings(load_config(None, overrides_of(variant)), corpus=corpus)
    accelerator = open_accelerator(settings)
    own = OwnStep(settings, accelerator)
    all_series: list[Series] = []
    while pipe.recv() == "round":
        if not all_series:
            all_series = [Series(subject, accelerator.device) for subject in subjects_of(variant, own)]
        for series in all_series:
            series.round()
        pipe.send({series.subject.name: series.rate().record() | {"rounds": series.values} for series in all_series})
    pipe.send(describe_machine(settings, accelerator.device) | {"batch_size": settings.batch_size})


def line_of(
    variant: str, rates: dict[str, Any], first: dict[str, list[float]], machine: dict[str, Any]
) -> dict[str, Any]:
    """The line for RESULTS. The reference has one rate, compared with the first variant's rate with the GAN."""
    line: dict[str, Any] = {"variant": variant}
    for name, rate in rates.items():
        beside = first.get(GAN if name == REFERENCE else name) or next(iter(first.values()))
        ratios = [ours / theirs for ours, theirs in zip(rate.pop("rounds"), beside, strict=True)]
        line[name] = rate | {
            "batches_per_s": rate["items_per_s"] / machine["batch_size"],
            "beside_first": round(statistics.median(ratios), 4),
        }
    return line | machine


def in_turns(corpus: Path, rounds: int, variants: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rates by name of each variant, and the machine as each saw it."""
    spawn = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    rates: list[dict[str, Any]] = [{} for _ in variants]
    try:
        for variant in variants:
            ours, theirs = spawn.Pipe()
            spawn.Process(target=work, args=(variant, corpus, theirs)).start()
            theirs.close()  # otherwise the end of a failed process would go unnoticed
            pipes.append(ours)
        for number in range(rounds):
            for index, pipe in enumerate(pipes):
                pipe.send("round")
                rates[index] = pipe.recv()
                print(f"round {number + 1}/{rounds}: {variants[index]}", file=sys.stderr, flush=True)
        for pipe in pipes:
            pipe.send("end")
        return rates, [pipe.recv() for pipe in pipes]
    finally:
        for pipe in pipes:
            pipe.close()


def main(results: Path, rounds: int, variants: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder), load_config(None, overrides_of(variants[0])))
        rates, machines = in_turns(corpus, rounds, variants)
    first = {name: list(rate["rounds"]) for name, rate in rates[0].items()}
    with results.open("a", encoding="utf-8") as out:
        for variant, own, machine in zip(variants, rates, machines, strict=True):
            line = json.dumps(line_of(variant, own, first, machine))
            out.write(f"{line}\n")
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
