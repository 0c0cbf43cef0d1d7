"""`train --trial` and `train --overfit`: checks that are worth a few minutes before a run of days."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from timbre_restore.apps.console import STDOUT, give_json, note, say, show
from timbre_restore.config import Config
from timbre_restore.errors import TrainingStopped

if TYPE_CHECKING:
    from timbre_restore.audit import Report, Run
    from timbre_restore.training import OnAnomaly, Overfit, TrainSettings, Trial

TRIAL_STEPS = 8
"""Steps of each kind that a prediction is based on, unless they take too long."""


def make_trial(config: Config, settings: TrainSettings, json: Path | None, on_anomaly: OnAnomaly) -> int:
    """Run, judge and show the small trial, and predict what the whole run will take. Returns the exit status."""
    from timbre_restore.audit import as_json
    from timbre_restore.training import run_trial
    from timbre_restore.training.ahead.trial import MARKER

    trial = run_trial(settings, TRIAL_STEPS, on_anomaly=on_anomaly, say=note)
    report = _prediction(config, trial)
    aside = json == STDOUT
    show(_criteria_table(trial), aside=aside)
    (note if aside else say)("\n".join(_prediction_lines(trial, report)))
    content = {
        "passed": trial.passed,
        "run": str(trial.run),
        "steps": trial.steps,
        "criteria": {criterion.name: asdict(criterion) for criterion in trial.criteria},
        "metrics": trial.metrics,
        "prediction": as_json(report)["facts"].get("prediction", {}),
        "warnings": report.warnings,
    }
    for path in (trial.run / MARKER, *([] if json is None else [json])):
        give_json(content, path)
    return 0 if trial.passed else TrainingStopped.exit_code


def overfit_one_batch(settings: TrainSettings, json: Path | None) -> None:
    """Overfit, and show each loss at the start and the end. Raises `TrainingStopped` if the batch was not learned."""
    from timbre_restore.training import overfit

    found = overfit(settings, say=note)
    aside = json == STDOUT
    show(_losses_table(found), aside=aside)
    if json is not None:
        # JSON can't represent infinity or NaN.
        ends = {name: value if math.isfinite(value) else None for name, value in found.end.items()}
        give_json(asdict(found) | {"end": ends, "passed": found.passed}, json)
    if not found.passed:
        raise TrainingStopped(found.sentence)


def run_on_machine(config: Config) -> Run:
    """The training settings that affect time and memory."""
    from timbre_restore.audit import Run

    training, weights = config.training, config.training.loss_weights
    gan = max(0, training.epochs - training.gan_start_epoch)
    return Run(
        batch_size=training.batch_size,
        epochs=training.epochs,
        gan_epochs=gan if weights.adversarial > 0 or weights.feature_matching > 0 else 0,
        steps=training.steps,
        hours=training.hours,
        items_per_step=_items_per_long_step(config),
        validation_batches=training.validation_batches,
        output_dir=training.output_dir,
    )


def _items_per_long_step(config: Config) -> int | None:
    long = config.training.long_segments
    if long.epochs < config.training.epochs:
        return None
    return long.batch_size * max(1, round(long.seconds * config.data.sample_rate / config.data.segment))


def _prediction(config: Config, trial: Trial) -> Report:
    """The audit's prediction, from the steps of the trial."""
    from timbre_restore.audit import Report, Timing, check_duration, read_corpus

    corpus = read_corpus(config.data.output_dir)
    report = Report(corpus.root, corpus.items)
    times = trial.times
    if times is None:
        report.fact("prediction", "the whole run", "not made, because the trial failed")
        return report
    epochs = check_duration(corpus, run_on_machine(config), lambda: Timing(**asdict(times)), report)
    logs = trial.log_bytes_per_epoch * math.ceil(config.training.epochs if epochs is None else epochs)
    report.fact("prediction", "log and curves on disk", f"about {logs / 1e6:.0f} MB", logs)
    return report


def _criteria_table(trial: Trial) -> Table:
    table = Table(title=f"Small trial, {trial.steps} steps", title_justify="left")
    for heading in ("criterion", "expected", "found", "verdict"):
        table.add_column(heading, overflow="fold")
    verdicts: dict[bool | None, str] = {True: "PASS", False: "FAIL", None: "–"}
    for criterion in trial.criteria:
        table.add_row(criterion.name, criterion.expected, criterion.found, verdicts[criterion.passed])
    return table


def _prediction_lines(trial: Trial, report: Report) -> list[str]:
    facts = [f"  {fact.name}: {fact.text}" for fact in report.facts]
    warnings = [f"warning: {warning}" for warning in report.warnings]
    return [f"the trial's run is kept in {trial.run}", "", "the whole run", *facts, *warnings]


def _losses_table(found: Overfit) -> Table:
    table = Table(title=f"One batch of {found.items} items, {found.steps} steps", title_justify="left")
    for heading in ("loss", "start", "end", "share"):
        table.add_column(heading, justify="left" if heading == "loss" else "right")
    for name, start in found.start.items():
        end: Any = found.end[name]
        table.add_row(name, f"{start:.4f}", f"{end:.4f}", f"{end / start:.2f}" if start else "–")
    return table
