"""What a resumed run may be told anew, and what a checkpoint says of the code that made it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runs import SEGMENT, fresh_state, lines, make_corpus, settings
from timbre_restore import __version__
from timbre_restore.config import Config
from timbre_restore.errors import CheckpointError
from timbre_restore.models import DiscriminatorSettings
from timbre_restore.training import TrainSettings, find_checkpoint, loop, train
from timbre_restore.training.checkpoints import changes, checkout_state
from timbre_restore.training.checkpoints.changes import changed_keys
from timbre_restore.training.checkpoints.checkpoint import Checkpoint
from timbre_restore.training.state import TrainState

JUDGES = DiscriminatorSettings(names=("mpd",), periods=(2,), channels=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), train_items=3, val_items=1)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    fresh_state()


def told(key: str, value: Any, epoch: int = 7) -> list[str]:
    """What is said when a run of the default configuration is resumed with one key changed."""
    before, now = (Config().model_dump(mode="json") for _ in range(2))
    *sections, name = key.split(".")
    place = now
    for section in sections:
        place = place[section]
    assert name in place, "the configuration has another name for it now"
    place[name] = value
    return changed_keys(Checkpoint(Path("step"), {"settings": before, "epoch": epoch}), now)


@pytest.mark.parametrize(
    ("key", "value", "effect"),
    [
        ("training.learning_rate", 1e-3, "the new value applies from here on"),
        ("training.loss_weights.l1", 1.0, "the new value applies from here on"),
        ("training.betas", [0.5, 0.9], "the new value applies from here on"),
        ("training.mixed_precision", "bf16", "the new value applies from here on"),
        ("data.random_gain_db", 6.0, "the new value applies from here on"),
        ("training.epochs", 80, "follow the curves of the new length"),
        ("training.gan_start_epoch", 3, "the GAN is on or off from here"),
        ("training.validation_batches", 3, "`best` compares values that are not comparable"),
        ("discriminators.loss", "lsgan", "were trained for the other loss"),
    ],
)
def test_a_change_is_said_with_both_values_and_its_effect(key: str, value: Any, effect: str) -> None:
    (sentence,) = told(key, value)
    assert sentence.startswith(f"{key} is {value!r} and was ")
    assert effect in sentence


def test_a_warm_up_that_is_over_can_not_be_changed_in_earnest() -> None:
    assert "the warm-up is over" in told("training.scheduler.warmup_epochs", 2)[0]
    assert "as if the new value had applied from the start" in told("training.scheduler.warmup_epochs", 2, epoch=3)[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.output_dir", "/elsewhere"), ("data.num_workers", 9), ("training.threads", 3), ("data.val_fraction", 0.5),
        ("training.log_every_steps", 1), ("training.checkpoint_minutes", 1.0), ("suppressor.name", "rnnoise"),
        ("seed", 3), ("training.batch_size", 3), ("model.size", "base"),
    ],
)  # fmt: skip
def test_what_changes_nothing_here_or_is_said_elsewhere_is_not_said(key: str, value: Any) -> None:
    assert told(key, value) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.segment", 9600), ("training.best_metric", "val_l1"), ("training.optimizer", "muon")],
)
def test_what_can_not_change_is_refused_in_one_sentence(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=rf"resumed, because {key} is {value!r} and was .*--set") as caught:
        told(key, value)
    assert "\n" not in str(caught.value)


def test_keys_of_another_version_are_no_change() -> None:
    before = {"settings": {"training": {"gone": 1}}, "epoch": 0}
    assert changed_keys(Checkpoint(Path("step"), before), {"training": {"new": 1}, "note": "x"}) == []


def test_every_key_that_is_named_is_one_of_the_configuration() -> None:
    known = dict(changes._flat(Config().model_dump(mode="json")))
    named = {*changes.REFUSED, *changes.FREE, *changes.ELSEWHERE, *changes.OF_TRAINING, *changes.EFFECTS}
    assert all(any(changes._within(key, (name,)) for key in known) for name in named | {changes.WARMUP})


def short(corpus: Path, run: Path, **more: Any) -> TrainSettings:
    return settings(corpus, run, gan_start_epoch=0, discriminators=JUDGES, **more)


def test_a_changed_decay_holds_and_the_moments_stay(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an optimiser saves of its settings would undo the change."""
    record = Config().model_dump(mode="json")
    train(short(corpus, tmp_path / "run", epochs=1, record=record))
    fresh_state()
    seen: list[tuple[Any, Any, int]] = []
    whole = loop.train_step

    def look(state: TrainState, *args: Any, **more: Any) -> Any:
        for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
            group = optimizer.param_groups[0]
            seen.append((group["betas"], group["weight_decay"], len(optimizer.state)))
        return whole(state, *args, **more)

    monkeypatch.setattr(loop, "train_step", look)
    changed = record | {"training": record["training"] | {"weight_decay": 0.5}}
    again = short(corpus, tmp_path / "run", epochs=2, record=changed, weight_decay=0.5, betas=(0.5, 0.6))
    summary = train(again, resume="auto")
    assert [(betas, decay) for betas, decay, _ in seen] == [((0.5, 0.6), 0.5)] * 2
    assert all(moments > 0 for _, _, moments in seen)
    assert any(warning.startswith("training.weight_decay is 0.5 and was 0.01") for warning in summary.warnings)
    assert [line["step"] for line in lines(tmp_path / "run", "train")] == [1, 2]


def test_a_refused_change_leaves_the_run_as_it_is(corpus: Path, tmp_path: Path) -> None:
    record = Config().model_dump(mode="json")
    record["data"]["segment"] = SEGMENT
    run = short(corpus, tmp_path / "run", epochs=1, record=record)
    train(run)
    fresh_state()
    before = (tmp_path / "run" / "log.jsonl").read_bytes()
    changed = record | {"data": record["data"] | {"segment": 2 * SEGMENT}}
    with pytest.raises(CheckpointError, match=r"data\.segment is 19200 and was 9600"):
        train(replace(run, epochs=2, record=changed), resume="auto")
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == before


def test_a_checkpoint_says_which_code_made_it(corpus: Path, tmp_path: Path) -> None:
    import platform

    import torch

    train(short(corpus, tmp_path / "run", epochs=1))
    code = find_checkpoint(tmp_path / "run").content["code"]
    assert (code["version"], code["torch"]) == (__version__, torch.__version__)
    assert code["python"] == platform.python_version()
    assert set(code) == {"version", "commit", "uncommitted_changes", "torch", "python"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit, and the package's folder in it."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    package = tmp_path / "checkout" / "src" / "package"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1\n")
    (tmp_path / "checkout" / "note").write_text("1\n")
    git(package.parent.parent, "init", "-q")
    git(package.parent.parent, "add", ".")
    git(package, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first")
    return package


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_changes_of_a_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the surroundings point git elsewhere; what is changed outside the package does not count."""
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert checkout_state._checkout(checkout) == (commit, False)
    (checkout.parent.parent / "note").write_text("2\n")
    assert checkout_state._checkout(checkout) == (commit, False)
    (checkout / "new.py").write_text("1\n")
    assert checkout_state._checkout(checkout) == (commit, True)
    (checkout / "new.py").unlink()
    (checkout / "a.py").write_text("2\n")
    assert checkout_state._checkout(checkout) == (commit, True)


def test_an_installed_package_says_nothing_of_the_repository_around_it(checkout: Path) -> None:
    installed = checkout.parent.parent / "lib" / "package"
    installed.mkdir(parents=True)
    assert checkout_state._checkout(installed) == (None, None)


def test_without_git_or_with_a_slow_one_nothing_fails(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent) + ":/usr/bin:/bin")
    monkeypatch.setattr(checkout_state, "LONGEST_S", 0.2)
    assert checkout_state._checkout(checkout) == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_state._checkout(checkout) == (None, None)
