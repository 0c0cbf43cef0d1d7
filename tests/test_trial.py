"""The small trial and the one batch: what they take, what fails them, and that neither touches a run or a corpus."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.corpora import Run, contents, spec_of
from tests.runs import SEGMENT, fresh_state, make_corpus, settings
from timbre_restore import losses
from timbre_restore.apps.cli import main
from timbre_restore.corpus.recordings import first_items
from timbre_restore.errors import CheckpointError, CorpusError, TrainingInterrupted
from timbre_restore.losses import objective
from timbre_restore.models import DiscriminatorSettings
from timbre_restore.training import TrainSettings, overfit, run_trial
from timbre_restore.training.ahead import timing, trial
from timbre_restore.training.ahead.one_batch import SHARE, STEPS

Capture = pytest.CaptureFixture[str]
JUDGES = DiscriminatorSettings(names=("mpd",), periods=(2,), channels=4)
SMALLEST = {"epochs": 10, "gan_start_epoch": 9, "batch_size": 5, "discriminators": JUDGES}
SMALL = (
    "model.size=tiny", "discriminators.names=[mpd]", "discriminators.periods=[2]", "discriminators.windows=[512]",
    "discriminators.channels=4", "training.batch_size=4", "data.num_workers=0", f"data.segment={SEGMENT}",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), train_items=12, val_items=2)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    fresh_state()


@pytest.fixture
def one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "EPOCHS", 1)


def verdicts(found: trial.Trial) -> dict[str, bool | None]:
    return {criterion.name: criterion.passed for criterion in found.criteria}


def line(verb: list[str], corpus: Path, run: Path) -> list[str]:
    values = (*SMALL, f"data.output_dir={corpus}", f"training.output_dir={run}")
    return [*verb, *(word for value in values for word in ("--set", value))]


@pytest.mark.parametrize("recordings", [1, 2, 5, 99])
def test_the_first_recordings_are_those_of_max_files(quick: Run, sounds: Path, tmp_path: Path, recordings: int) -> None:
    """Of a corpus that draws each twice, the items that a corpus of so many recordings, drawn once, begins with."""
    whole, few = tmp_path / "whole", tmp_path / "few"
    quick(whole, replace(spec_of(sounds), passes=2))
    quick(few, max_files=recordings)
    for split, count in first_items(whole, recordings).items():
        theirs, ours = ((root / f"{split}.txt").read_text().splitlines() for root in (few, whole))
        assert [text.replace(str(few), str(whole)) for text in theirs] == ours[:count]


def test_a_corpus_without_tables_gives_so_many_items(corpus: Path, tmp_path: Path) -> None:
    assert first_items(corpus, 10) == {"train": 10, "val": 10}
    (tmp_path / "items.tsv").write_text("split\tpass\nx\t0\n")
    with pytest.raises(CorpusError, match=r"items\.tsv: can't be read"):
        first_items(tmp_path, 10)


def test_a_trial_is_judged_and_leaves_run_and_corpus_alone(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 of 12 items in batches of 5, three epochs; the real run's folder and the corpus stay as they are."""
    told = settings(corpus, tmp_path / "run", **SMALLEST)
    (tmp_path / "run").mkdir()
    before = contents(corpus)
    said: list[str] = []
    found = run_trial(told, 2, say=said.append)
    assert found.steps == 3 * 2
    assert verdicts(found) == {"errors": True, "NaN": True, "l1": True, "multi_stft": True}
    assert found.passed
    assert not any("warning" in text for text in said)
    assert found.times is not None
    assert len(found.times.plain_s) == len(found.times.gan_wait_s) == 2
    assert all(wait < whole for wait, whole in zip(found.times.gan_wait_s, found.times.gan_s, strict=True))
    assert contents(corpus) == before
    assert not list((tmp_path / "run").iterdir())
    left = tmp_path / "run-trial" / "left"
    left.touch()
    monkeypatch.setattr(trial, "EPOCHS", 1)
    fresh_state()
    run_trial(told, 1)
    assert not left.exists()
    assert not (tmp_path / "run-trial.1").exists()


@pytest.mark.usefixtures("one_epoch")
def test_a_checkpoint_on_the_disk_is_as_large_as_predicted(corpus: Path, tmp_path: Path) -> None:
    found = run_trial(settings(corpus, tmp_path / "run", **SMALLEST | {"gan_start_epoch": 0}), 1)
    assert found.times is not None
    sizes = {
        folder: sum(path.stat().st_size for path in folder.iterdir())
        for folder in (tmp_path / "run-trial" / "checkpoints").glob("step-*")
    }
    assert found.times.checkpoints_bytes / 4 == pytest.approx(max(sizes.values()), rel=0.2)


@pytest.mark.usefixtures("one_epoch")
def test_a_loss_over_its_limit_fails_alone(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trial.LIMITS, "multi_stft", 1e-3)
    found = run_trial(settings(corpus, tmp_path / "run", **SMALLEST), 1)
    assert verdicts(found) == {"errors": True, "NaN": True, "l1": True, "multi_stft": False}
    assert not found.passed


@pytest.mark.usefixtures("one_epoch")
def test_a_loss_that_is_not_trained_on_is_judged_by_its_validation(corpus: Path, tmp_path: Path) -> None:
    told = settings(corpus, tmp_path / "run", **SMALLEST)
    found = run_trial(replace(told, loss_weights=told.loss_weights | {"l1": 0.0}), 1)
    assert verdicts(found) == {"errors": True, "NaN": True, "val_l1": True, "multi_stft": True}


def test_nan_in_training_fails_with_its_name(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = objective.l1
    monkeypatch.setattr(objective, "l1", lambda estimate, reference: math.nan * plain(estimate, reference))
    found = run_trial(settings(corpus, tmp_path / "run", **SMALLEST), 1)
    assert not found.passed
    assert verdicts(found) == {"errors": False, "NaN": False, "l1": None, "multi_stft": None}
    assert "l1" in found.criteria[1].found
    assert found.times is None


@pytest.mark.usefixtures("one_epoch")
def test_nan_in_the_gan_steps_that_are_only_timed_fails(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = losses.discriminator_real
    monkeypatch.setattr(losses, "discriminator_real", lambda scores, kind: math.nan * plain(scores, kind))
    found = run_trial(settings(corpus, tmp_path / "run", **SMALLEST), 1)
    assert verdicts(found) == {"errors": True, "NaN": False, "l1": True, "multi_stft": True}
    assert "d_real" in found.criteria[1].found


def test_an_item_that_can_not_be_read_fails_with_its_sentence(tmp_path: Path) -> None:
    broken = make_corpus(tmp_path / "corpus", train_items=4)
    (broken / "train" / "clean" / "3.wav").unlink()
    found = run_trial(settings(broken, tmp_path / "run", **SMALLEST), 1)
    assert verdicts(found)["errors"] is False
    assert "3.wav" in found.criteria[0].found


@pytest.mark.usefixtures("one_epoch")
def test_memory_that_runs_out_fails(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("out of memory\nall of it")

    monkeypatch.setattr(timing, "train_step", exhausted)
    found = run_trial(settings(corpus, tmp_path / "run", **SMALLEST), 1)
    assert found.criteria[0].found == "out of memory all of it"
    assert not found.passed


def test_an_interrupted_trial_is_not_judged(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise TrainingInterrupted("interrupted", 15)

    monkeypatch.setattr(trial, "train", interrupted)
    with pytest.raises(TrainingInterrupted):
        run_trial(settings(corpus, tmp_path / "run"), 1)


def test_what_is_no_trials_folder_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "run-trial" / "log.jsonl"
    other.parent.mkdir()
    other.write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not the folder of a trial; move it"):
        run_trial(settings(corpus, tmp_path / "run"), 1)
    assert other.read_text() == "mine"


@pytest.mark.usefixtures("one_epoch")
def test_the_verb_says_verdict_and_prediction(corpus: Path, tmp_path: Path, capsys: Capture) -> None:
    """The contract's 60 epochs, warm-up of 5, GAN from the 15th."""
    path = tmp_path / "trial.json"
    assert main(line(["train", "--trial", "--json", str(path)], corpus, tmp_path / "run")) == 0
    out = capsys.readouterr().out
    for word in ("errors", "NaN", "< 0.1", "PASS", "60 epochs of 3 steps", "with the GAN", "waiting for the loader"):
        assert word in out
    found = json.loads(path.read_text())
    assert found["passed"] is True
    assert found["prediction"]["60 epochs of 3 steps"]["value"] > 0
    assert found["prediction"]["waiting for the loader"]["limit"]["with the GAN"] in ("loader", "step")
    assert found["prediction"]["log and curves on disk"] > 0
    assert json.loads((tmp_path / "run-trial" / "trial.json").read_text()) == found


@pytest.mark.usefixtures("one_epoch")
def test_logs_are_predicted_for_the_length_that_the_run_will_have(corpus: Path, tmp_path: Path) -> None:
    sizes = []
    for more in ([], ["--set", "training.steps=3"]):
        path = tmp_path / "trial.json"
        assert main(line(["train", "--trial", "--json", str(path), *more], corpus, tmp_path / "run")) == 0
        sizes.append(json.loads(path.read_text())["prediction"]["log and curves on disk"])
    assert sizes[0] == pytest.approx(60 * sizes[1], rel=0.1), "60 epochs, and one of three steps"


@pytest.mark.usefixtures("one_epoch")
def test_the_verb_fails_with_its_own_status(
    corpus: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trial.LIMITS, "l1", 1e-9)
    assert main(line(["train", "--trial", "--json", "-"], corpus, tmp_path / "run")) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["criteria"]["l1"]["passed"] is False
    assert "FAIL" in said.err


def test_a_broken_corpus_is_refused_before_the_trial(tmp_path: Path, capsys: Capture) -> None:
    broken = make_corpus(tmp_path / "corpus", train_items=4)
    (broken / "train" / "clean" / "3.wav").unlink()
    assert main(line(["train", "--trial"], broken, tmp_path / "run")) == 1
    assert "is not ready for training" in capsys.readouterr().err
    assert not (tmp_path / "run-trial").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--trial", "--overfit"], "--trial and --overfit: can't be combined"),
        (["--trial", "--resume", "auto"], "--trial and --resume: can't be combined"),
        (["--overfit", "--resume", "x"], "--overfit and --resume: can't be combined"),
        (["--json", "x.json"], "--json: only applies to --trial or --overfit"),
    ],
)
def test_options_that_exclude_each_other(capsys: Capture, options: list[str], sentence: str) -> None:
    assert main(["train", *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_trial_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "--trial"]) == 2
    assert "--trial: runs in a single process" in capsys.readouterr().err


def learner(corpus: Path, **changes: object) -> TrainSettings:
    return settings(corpus, Path("nowhere"), batch_size=2, learning_rate=2e-3, **changes)


def test_one_batch_is_learned_and_nothing_is_written(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = overfit(learner(corpus))
    assert found.passed
    assert found.steps < STEPS
    assert set(found.start) == set(found.end) == {"l1", "multi_stft", "total"}
    assert found.end["total"] <= SHARE * found.start["total"]
    assert not list(tmp_path.iterdir())


def test_the_batch_is_of_items_where_a_run_has_long_segments_alone(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timbre_restore.training.ahead.one_batch.STEPS", 1)
    long = {"epochs": 1, "gan_start_epoch": 1, "long_epochs": 1, "long_run": 2, "long_batch_size": 1}
    assert overfit(learner(corpus, **long)).items == 2


def test_a_network_that_can_not_learn_fails(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate of nothing, one that leaps, and a gate without a gradient, in the steps that others need."""
    steps = overfit(learner(corpus)).steps
    assert steps < STEPS
    monkeypatch.setattr("timbre_restore.training.ahead.one_batch.STEPS", steps)
    fresh_state()
    still = overfit(replace(learner(corpus), learning_rate=0.0))
    assert not still.passed
    assert still.end == pytest.approx(still.start, rel=1e-5)
    assert f"after {steps} steps the total is 1.000 of its initial value, expected at most" in still.sentence
    assert "training.learning_rate" in still.sentence
    fresh_state()
    assert not overfit(replace(learner(corpus), learning_rate=1e6, gradient_clip=1e9)).passed
    sigmoid = torch.sigmoid
    monkeypatch.setattr(torch, "sigmoid", lambda x: sigmoid(x).detach())  # the gate
    fresh_state()
    assert not overfit(learner(corpus)).passed


def test_learned_weights_are_not_asked_whether_they_can_learn(corpus: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["--set", f"training.start_from={tmp_path}"]
    assert main([*line(["train", "--overfit"], corpus, tmp_path / "run"), *words]) == 2
    assert "--overfit: tests whether fresh weights can learn" in capsys.readouterr().err


def test_the_verb_shows_each_loss_at_both_ends(
    corpus: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timbre_restore.training.ahead.one_batch.STEPS", 2)
    assert main(line(["train", "--overfit", "--json", "-"], corpus, tmp_path / "run")) == 3
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["passed"] is False
    assert found["steps"] == 2
    assert "multi_stft" in said.err
    assert "error: one batch could not be learned" in said.err
