"""The run: what it leaves, what a resumed one equals, what it refuses, what stops it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from tests.runs import fresh_state, in_process, lines, make_corpus, settings, weights_of
from timbre_restore import atomic
from timbre_restore.errors import CheckpointError, CorpusError, TrainingStopped
from timbre_restore.loading import EpochBatches
from timbre_restore.losses import objective
from timbre_restore.models import GeneratorSettings
from timbre_restore.training import advice, find_checkpoint, loop, train
from timbre_restore.training.checkpoints.checkpoint import forget_later, restore_state, save_checkpoint
from timbre_restore.training.checkpoints.resume import changed_order, place_in_epoch
from timbre_restore.training.data import _fingerprint
from timbre_restore.training.device import threads_of_process
from timbre_restore.training.state import TrainState, create_state
from timbre_restore.training.tally import count, from_record, join

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """accelerate keeps its state in class attributes: each run starts without the last one's."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def test_a_run_leaves_what_it_promises(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    summary = train(settings(corpus, tmp_path / "run", trackers=("tensorboard",)), say=said.append)
    run = summary.run
    assert summary.steps == 3 * 3
    assert [line["epoch"] for line in lines(run, "epoch")] == [1, 2, 3]
    phases = {line["epoch"]: "d_real" in line for line in lines(run, "train")}
    assert phases == {1: False, 2: True, 3: True}
    assert all(math.isfinite(value) for line in lines(run, "train") for value in line.values() if value != "train")
    assert list((run / "tensorboard").rglob("events.*"))
    last = find_checkpoint(run)
    assert last.content["epoch"] == 3
    assert last.content["settings"] == {"note": "test"}
    best = min(lines(run, "epoch"), key=lambda line: line["val_multi_stft"])
    assert find_checkpoint(run, "best").content["metrics"]["val_multi_stft"] == best["val_multi_stft"]
    kept = {"step-00000006", last.folder.name, find_checkpoint(run, "best").folder.name}  # the last two, and the best
    assert {path.name for path in (run / "checkpoints").glob("step-*")} == kept


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 3e-3), ("muon", 1e-2)])
def test_losses_fall_on_a_corpus_that_can_be_learned(corpus: Path, tmp_path: Path, optimizer: str, rate: float) -> None:
    changes = {"epochs": 15, "gan_start_epoch": 99, "optimizer": optimizer, "learning_rate": rate}
    train(settings(corpus, tmp_path / "run", **changes))
    epochs = lines(tmp_path / "run", "epoch")
    assert epochs[-1]["multi_stft"] < 0.9 * epochs[0]["multi_stft"]
    assert epochs[-1]["l1"] < epochs[0]["l1"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resume_equals_an_uninterrupted_run(corpus: Path, tmp_path: Path, optimizer: str) -> None:
    """Stopped after an epoch and continued: bit-equal weights, equal log, with pictures and sounds on the way."""
    watched = {"trackers": ("tensorboard",), "optimizer": optimizer}
    train(settings(corpus, tmp_path / "whole", **watched))

    def stop(text: str) -> None:
        if text.startswith("epoch 2/3"):
            raise KeyboardInterrupt  # after two epochs; the second one's checkpoint is not written yet

    with pytest.raises(KeyboardInterrupt):
        train(settings(corpus, tmp_path / "cut", **watched), say=stop)
    fresh_state()
    train(settings(corpus, tmp_path / "cut", **watched), resume="auto")
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert lines(tmp_path / "whole", "train") == lines(tmp_path / "cut", "train")
    assert lines(tmp_path / "whole", "epoch") == lines(tmp_path / "cut", "epoch")


CUT = """
import multiprocessing, os, signal, subprocess, sys, time
from pathlib import Path
from tests.runs import settings
from timbre_restore.errors import TrainingInterrupted
from timbre_restore.training import loop, train
step, number = int(sys.argv[3]), int(sys.argv[4])
whole = loop.train_step
def cut(state, *args, **more):
    scalars = whole(state, *args, **more)
    if state.step + 1 == step:
        if number == signal.SIGTERM:  # every process of the job, as a cluster does
            for child in multiprocessing.active_children():
                subprocess.run(["kill", str(child.pid)])  # torch lets a worker off that its parent ends
            time.sleep(0.5)
        os.kill(0, number)  # the whole group, as a terminal does
    return scalars
loop.train_step = cut
changes = {"batch_size": 1, "epochs": 2, "log_every_steps": 3, "num_workers": 1, "checkpoint_minutes": 1e-9}
try:
    train(settings(Path(sys.argv[1]), Path(sys.argv[2]), **changes), resume="auto", say=print)
except TrainingInterrupted as exc:
    print(exc)
    sys.exit(exc.exit_code)
"""


def test_a_run_that_is_ended_and_killed_within_epochs_equals_an_uninterrupted_one(corpus: Path, tmp_path: Path) -> None:
    """SIGTERM after 2 of 14 steps, SIGKILL after 5, Ctrl-C after 9: each amid an epoch and between lines of the log."""
    (tmp_path / "cut.py").write_text(CUT)

    def run(name: str, step: int, number: int, status: int) -> str:
        command = [sys.executable, str(tmp_path / "cut.py"), str(corpus), str(tmp_path / name), str(step), str(number)]
        return in_process(command, status)

    run("whole", 0, 0, 0)
    said = run("cut", 2, signal.SIGTERM, 143)
    assert "interrupted after step 2 (batch 2 of 7 in epoch 1 of 2); a checkpoint was written" in said
    run("cut", 5, signal.SIGKILL, -signal.SIGKILL)
    run("cut", 9, signal.SIGINT, 130)
    run("cut", 0, 0, 0)
    one, two = (find_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    for name in ("generator", "ema", "discriminators"):
        file = f"{name}.safetensors"
        assert (one.folder / file).read_bytes() == (two.folder / file).read_bytes()
    for kind in ("train", "epoch"):
        assert lines(tmp_path / "whole", kind) == lines(tmp_path / "cut", kind)


def test_a_new_run_keeps_the_older_one(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(settings(corpus, run, epochs=1))
    before = (run / "log.jsonl").read_bytes()
    fresh_state()
    train(settings(corpus, run, epochs=1))
    assert (tmp_path / "run.1" / "log.jsonl").read_bytes() == before


def test_resume_auto_without_a_checkpoint_starts_anew(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert train(settings(corpus, tmp_path / "run", epochs=1), resume="auto", say=said.append).epochs == 1
    assert f"{tmp_path / 'run'}: holds no run to resume, so a new one starts." in said


def test_another_models_checkpoint_is_one_sentence_with_both_origins(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    wider = GeneratorSettings(size="small")
    with pytest.raises(CheckpointError, match=r"generator\.size: checkpoint 'tiny', configuration 'small'") as caught:
        train(settings(corpus, tmp_path / "run", generator=wider, epochs=2), resume="auto")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "cut", "not json", "lacking"])
def test_a_damaged_checkpoint_is_named(corpus: Path, tmp_path: Path, damage: str) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    folder = find_checkpoint(tmp_path / "run").folder
    if damage == "missing":
        (folder / "generator.safetensors").unlink()
    elif damage == "cut":
        path = folder / "generator.safetensors"
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "lacking":
        path = folder / "checkpoint.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "tally"}))
    else:
        (folder / "checkpoint.json").write_text("{")
    with pytest.raises(CheckpointError, match="can't be read"):
        train(settings(corpus, tmp_path / "run", epochs=2), resume="auto")


def test_a_checkpoint_that_was_kept_under_another_name_is_gone_on_from(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(settings(corpus, run, epochs=1))
    fresh_state()
    kept = find_checkpoint(run).folder.rename(run / "checkpoints" / "kept")
    forget_later(run, find_checkpoint(kept), create_state(settings(corpus, run)))
    assert find_checkpoint(run).folder.samefile(kept)
    assert train(settings(corpus, run, epochs=2), resume="auto").steps == 6


def test_the_checkpoint_before_a_damaged_one_takes_its_place(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(settings(corpus, tmp_path / "run"))
    whole = weights_of(tmp_path / "run")
    fresh_state()
    path = find_checkpoint(tmp_path / "run").folder / "optimizers.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    train(settings(corpus, tmp_path / "run"), resume="auto", say=said.append)
    assert "step-00000009/optimizers.pt: can't be read (its checksum does not match); the previous " in said[0]
    assert "step-00000006, is used instead" in said[0]
    again = weights_of(tmp_path / "run")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_no_checkpoint_at_a_named_path(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        train(settings(corpus, tmp_path / "run"), resume=str(tmp_path / "nothing"))


def test_odd_but_allowed_settings_are_said(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", train_items=2, val_items=0)
    odd = {"warmup_epochs": 5, "gan_start_epoch": 15, "batch_size": 16, "optimizer": "muon"}
    summary = train(settings(corpus, tmp_path / "run", epochs=1, **odd))
    text = " ".join(summary.warnings)
    for part in (
        "warm-up is cut",
        "GAN never starts",
        "single short batch",
        "validation list is empty",
        "matrices grow",
    ):
        assert part in text
    assert summary.steps == 1
    assert find_checkpoint(tmp_path / "run", "best").content["epoch"] == 1
    fresh_state()
    usual = {"gan_start_epoch": 1, "optimizer": "muon", "weight_decay": 0.2}
    text = " ".join(train(settings(corpus, tmp_path / "run", epochs=1, **usual)).warnings)
    assert "GAN" not in text  # which is how a run without it is written
    assert "matrices" not in text


@pytest.mark.parametrize("slow", [True, False])
def test_short_floats_on_a_cpu_without_them_are_said(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    monkeypatch.setattr(advice, "bf16_is_slow", lambda device: device.type == "cpu" and slow)
    changes = {"discriminator_precision": "bf16", "epochs": 1, "warmup_epochs": 0}
    played = train(settings(corpus, tmp_path / "game", gan_start_epoch=0, **changes)).warnings
    fresh_state()
    alone = train(settings(corpus, tmp_path / "alone", **changes)).warnings
    said = (
        "discriminators.precision is bf16, but this CPU has no instructions for it: a step takes several times as long "
        "as with same; use --set discriminators.precision=same."
    )
    assert (said in played) == slow
    assert not [warning for warning in alone if "bf16" in warning], "without a game nobody computes with them"


def test_an_empty_training_list_is_an_error(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", train_items=0)
    with pytest.raises(CorpusError, match="lists no pair"):
        train(settings(corpus, tmp_path / "run"))


def test_a_leap_at_the_border_of_two_epochs_is_seen(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level of the last epoch is remembered in the next one, and by a resumed run."""
    train(settings(corpus, tmp_path / "run", epochs=2, gan_start_epoch=9))
    fresh_state()
    plain = objective.l1
    monkeypatch.setattr(objective, "l1", lambda estimate, reference: 1000 * plain(estimate, reference))
    with pytest.raises(TrainingStopped, match=r"l1 is .* over 10 times its recent level"):
        train(settings(corpus, tmp_path / "run", epochs=3, gan_start_epoch=9), resume="auto")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_missing_file_is_one_sentence_through_any_number_of_workers(tmp_path: Path, num_workers: int) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    (corpus / "train" / "clean" / "3.wav").unlink()
    with pytest.raises(CorpusError, match=r"train\.txt.*line 4.*3\.wav") as caught:
        train(settings(corpus, tmp_path / "run", epochs=1, num_workers=num_workers))
    assert "\n" not in str(caught.value)


def test_a_run_that_can_not_start_leaves_the_older_one_alone(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    with pytest.raises(CorpusError):
        train(settings(tmp_path / "nothing", tmp_path / "run", epochs=1))
    assert find_checkpoint(tmp_path / "run").content["epoch"] == 1


def test_continuing_elsewhere_keeps_the_run_that_is_there(corpus: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(settings(corpus, tmp_path / name, epochs=2))
        fresh_state()
    before = (tmp_path / "b" / "log.jsonl").read_bytes()
    train(settings(corpus, tmp_path / "b", epochs=3), resume=str(tmp_path / "a"))
    assert (tmp_path / "b.1" / "log.jsonl").read_bytes() == before
    assert find_checkpoint(tmp_path / "b").content["epoch"] == 3


def test_resuming_in_another_order_is_said(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    summary = train(settings(corpus, tmp_path / "run", epochs=2, batch_size=2), resume="auto")
    assert any(
        "joined_batch (training.batch_size times processes) is 2 and was 3" in warning for warning in summary.warnings
    )


def test_another_corpus_is_refused_and_the_same_elsewhere_is_not(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    other = make_corpus(tmp_path / "other", train_items=8)
    with pytest.raises(
        CheckpointError, match="trained on a different list of 7 items from the one with 8 items given here"
    ):
        train(settings(other, tmp_path / "run", epochs=2), resume="auto")
    fresh_state()
    moved = make_corpus(tmp_path / "moved")
    assert train(settings(moved, tmp_path / "run", epochs=2), resume="auto").steps == 6


@pytest.mark.parametrize(
    ("batch", "then", "now", "left_from"),
    [
        (6, (1, 1), (2, 1), 3),
        (3, (3, 1), (1, 1), 7),
        (7, (1, 1), (2, 1), 4),
        (3, (3, 1), (6, 1), 2),
        (1, (3, 1), (3, 1), 1),
        (3, (3, 1), (2, 3), 1),
        (2, (1, 3), (3, 1), 2),
    ],
)
def test_a_run_goes_on_within_an_epoch_with_batches_of_another_size(
    batch: int, then: tuple[int, int], now: tuple[int, int], left_from: int, corpus: Path, tmp_path: Path
) -> None:
    """By items (batch size, items per segment): six of seven seen one by one leave the fourth pair; all leave nothing.

    Three batches of three, of which the last one is short, are more than seven items.
    """
    (size, run), (new_size, new_run) = then, now
    state = create_state(settings(corpus, tmp_path))
    state.batch, state.step = batch, 6
    order = {"corpus": "x", "items": 7, "joined_batch": size, "seed": 0, "run": run}
    save_checkpoint(tmp_path, state, settings(corpus, tmp_path), {}, best=False, order=order)
    found, batches = find_checkpoint(tmp_path), EpochBatches(7, new_size, seed=0, run=new_run)
    assert place_in_epoch(found, batches) == left_from <= len(batches)
    batches.set_epoch(0, left_from)
    assert len(changed_order(found, order | {"joined_batch": new_size})) == (size != new_size)
    with pytest.raises(CheckpointError, match="has no best checkpoint until an epoch is completed; use the last one"):
        find_checkpoint(tmp_path, "best")


def test_a_run_that_was_ended_in_a_validation_goes_on_in_other_batches(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step of its epoch is left in any of them."""

    def interrupted(*_: Any, **__: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    run = settings(corpus, tmp_path / "run", epochs=2, checkpoint_minutes=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(run)
    assert find_checkpoint(tmp_path / "run").content["batch"] == 3
    fresh_state()
    summary = train(replace(run, batch_size=2), resume="auto")
    assert (summary.epochs, summary.steps) == (2, 3 + 4)


def test_what_a_run_drops_to_go_on_from_an_earlier_checkpoint_is_said(corpus: Path, tmp_path: Path) -> None:
    run = settings(corpus, tmp_path / "run", epochs=2)
    train(run)
    fresh_state()
    earlier = tmp_path / "run" / "checkpoints" / "step-00000003"
    said: list[str] = []
    train(run, resume=str(earlier), say=said.append)
    (dropped,) = (line for line in said if "is deleted" in line)
    assert dropped.startswith("warning: everything after it is deleted: ") and "step-00000006" in dropped


def test_a_pointer_that_was_never_renamed_hinders_nothing(corpus: Path, tmp_path: Path) -> None:
    """What a process that was killed in the middle of a rename leaves behind."""
    run = settings(corpus, tmp_path / "run", epochs=1)
    train(run)
    fresh_state()
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = f".{'0' * 12}.{atomic._machine()}.{gone.pid}.tmp.json"
    (tmp_path / "run" / "checkpoints" / left).touch()
    assert train(replace(run, epochs=2), resume="auto").steps == 6
    assert not (tmp_path / "run" / "checkpoints" / left).exists()


def test_the_best_that_lies_after_where_a_run_goes_back_to_is_forgotten(corpus: Path, tmp_path: Path) -> None:
    """Else no later epoch would be the best, and there would be none to export."""
    own, order = settings(corpus, tmp_path), {"corpus": "x", "items": 7, "joined_batch": 1, "seed": 0}
    state = create_state(own)
    for step, best in ((1, 0.5), (2, 0.4)):
        state.step, state.best = step, best
        save_checkpoint(tmp_path, state, own, {}, best=True, order=order)
        if step == 1:
            healthy = find_checkpoint(tmp_path)
    restore_state(healthy, state, own)
    assert state.best == 0.5
    forget_later(tmp_path, healthy, state)
    assert state.best == math.inf and not (tmp_path / "checkpoints" / "best.json").exists()


def test_a_run_that_goes_on_calls_nothing_healthy_that_was_suspected(corpus: Path, tmp_path: Path) -> None:
    """The healthy checkpoint stays where it was; only one that lies after the place is given up."""
    own, order = settings(corpus, tmp_path), {"corpus": "x", "items": 7, "joined_batch": 1, "seed": 0}
    state = create_state(own)
    places = {}
    for step in (1, 2, 3):
        state.step = step
        save_checkpoint(tmp_path, state, own, {}, best=False, healthy=step != 2, order=order)
        places[step] = find_checkpoint(tmp_path)
        if step == 2:
            forget_later(tmp_path, places[2], state)
            assert find_checkpoint(tmp_path, "healthy").content["step"] == 1
    forget_later(tmp_path, places[2], state)
    assert find_checkpoint(tmp_path, "healthy").content["step"] == 2


def test_sums_of_a_resumed_run_join_those_of_the_device() -> None:
    class Far:
        device = torch.device("meta")

        def reduce(self, values: torch.Tensor, reduction: str) -> torch.Tensor:
            return values

    restored = from_record({"sums": {"a": 1.0}, "items": {"a": 1}, "steps": 1, "logged_sums": {}, "logged_items": {}})
    count(restored, {"b": torch.zeros((), device="meta")}, 1)
    join(restored, Far())
    assert {value.device.type for value in restored.sums.values()} == {"meta"}


def test_another_corpus_under_the_same_names_is_refused(corpus: Path, tmp_path: Path) -> None:
    first = make_corpus(tmp_path / "corpus")
    (first / "items.tsv").write_text("item\tnoise\na\train\n")
    train(settings(first, tmp_path / "run", epochs=1))
    fresh_state()
    (first / "items.tsv").write_text("item\tnoise\na\twind\n")
    with pytest.raises(
        CheckpointError, match="trained on a different list of 7 items from the one with 7 items given here"
    ):
        train(settings(first, tmp_path / "run", epochs=2), resume="auto")


def test_a_list_of_whole_and_relative_paths_has_a_mark_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("/a/degraded/x.wav|/a/clean/x.wav\nb/degraded/y.wav|b/clean/y.wav\n")
    assert len(_fingerprint(tmp_path)) == 16


def test_what_has_diverged_is_not_saved(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is no number between two lines of the log leaves the last healthy checkpoint the last."""
    plain = loop.train_step

    def spoiled(state: TrainState, *args: Any, **more: Any) -> Any:
        scalars = plain(state, *args, **more)
        return scalars | {"l1": scalars["l1"] * math.nan} if state.step == 3 else scalars

    monkeypatch.setattr(loop, "train_step", spoiled)
    changes = {"batch_size": 1, "log_every_steps": 100, "checkpoint_minutes": 1e-9}
    with pytest.raises(TrainingStopped, match="step 4: l1 is nan"):
        train(settings(corpus, tmp_path / "run", **changes))
    assert find_checkpoint(tmp_path / "run").content["step"] == 3


def test_a_torn_checkpoint_of_a_killed_process_is_cleared(corpus: Path, tmp_path: Path) -> None:
    torn = tmp_path / "run" / "checkpoints" / f".step-00000001.{os.getpid()}.tmp"
    torn.mkdir(parents=True)
    (torn / "generator.safetensors").write_bytes(b"torn")
    train(settings(corpus, tmp_path / "run", epochs=1), resume="auto")
    assert not torn.exists()


def test_a_diverging_run_stops_and_keeps_its_last_healthy_checkpoint(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    with pytest.raises(TrainingStopped, match=r"over 10 times|the run has diverged"):
        train(
            settings(corpus, tmp_path / "run", epochs=40, learning_rate=1e12, gradient_clip=1e30, warmup_epochs=0),
            resume="auto",
        )
    assert find_checkpoint(tmp_path / "run").content["epoch"] >= 1
    assert all(torch.isfinite(w).all() for w in weights_of(tmp_path / "run").values())


@pytest.mark.parametrize(("processes", "share"), [(None, 4), ("2", 2), ("8", 1)])
def test_processes_share_the_threads(monkeypatch: pytest.MonkeyPatch, processes: str | None, share: int) -> None:
    if processes is None:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert threads_of_process(4) == share


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.runs import settings
from timbre_restore.errors import CheckpointError
from timbre_restore.training import loop, train
plain = loop.train_step
def full(state, *args, **more):
    if state.step == 4:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    return plain(state, *args, **more)
loop.train_step = full
try:
    train(settings(Path(sys.argv[1]), Path(sys.argv[2]), trackers=()))
except CheckpointError as exc:
    print(exc)
    sys.exit(exc.exit_code)
"""


def test_a_disk_that_takes_no_checkpoint_leaves_the_one_before(corpus: Path, tmp_path: Path) -> None:
    """No file may grow beyond 100 kB after the fourth step: the second checkpoint fails, and nothing is lost."""
    (tmp_path / "full.py").write_text(FULL)
    said = in_process([sys.executable, str(tmp_path / "full.py"), str(corpus), str(tmp_path / "run")], 1)
    assert "step-00000006: the checkpoint can't be written" in said
    assert "the previous one is intact. Free some disk space, or choose another training.output_dir" in said
    assert len(said.strip().splitlines()) == 1
    assert find_checkpoint(tmp_path / "run").content["step"] == 3
    assert not list((tmp_path / "run" / "checkpoints").glob(".*tmp"))
    train(settings(corpus, tmp_path / "run", trackers=()), resume="auto")
    fresh_state()
    train(settings(corpus, tmp_path / "whole", trackers=()))
    one, two = weights_of(tmp_path / "run"), weights_of(tmp_path / "whole")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_folder_that_can_not_be_written_is_a_sentence(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("a file where a folder belongs")
    with pytest.raises(CheckpointError, match=r"the checkpoint can't be written .*choose another training\.output_dir"):
        train(settings(corpus, tmp_path / "run"))


def test_the_mean_of_two_runs_is_a_checkpoint(corpus: Path, tmp_path: Path) -> None:
    for name, rate in (("first", 1e-3), ("second", 5e-3)):
        train(settings(corpus, tmp_path / name, epochs=1, learning_rate=rate))
        fresh_state()
    line = [sys.executable, "scripts/mean_weights.py", *(str(tmp_path / name) for name in ("first", "second", "mean"))]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = find_checkpoint(tmp_path / "mean")  # its files are what it says
    parts = [load_file(find_checkpoint(tmp_path / name).folder / "ema.safetensors") for name in ("first", "second")]
    for file in ("ema", "generator"):
        mean = load_file(found.folder / f"{file}.safetensors")
        assert mean.keys() == parts[0].keys()
        assert all(torch.equal(value, 0.5 * (parts[0][name] + parts[1][name])) for name, value in mean.items())
    assert any(not torch.equal(value, parts[1][name]) for name, value in mean.items())
    again = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (
        1,
        f"error: {tmp_path / 'mean'}: already exists; give a folder that does not.\n",
    )
