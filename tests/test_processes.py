"""A run of several processes, with real ones under gloo: who sees what, who writes, what one's death does to the rest,
and how a run goes on in another number of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import ended
from tests.runs import SEGMENT, fresh_state, lines, make_corpus
from timbre_restore.apps.cli import main
from timbre_restore.errors import ProcessLostError
from timbre_restore.training import find_checkpoint
from timbre_restore.training.companions import companions

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 7
Capture = pytest.CaptureFixture[str]
OPTIONS = (
    "model.size=tiny", "discriminators.names=[mpd]", "discriminators.periods=[2]", "discriminators.windows=[512]",
    "discriminators.channels=4", f"data.segment={SEGMENT}", "data.num_workers=0", "training.epochs=2",
    "training.gan_start_epoch=9", "training.scheduler.warmup_epochs=1", "training.log_every_steps=1",
    "training.checkpoint_minutes=1e-9",
)  # fmt: skip

SCRIPT = """
import hashlib, json, os, signal, sys, time
from pathlib import Path
rank = os.environ["RANK"]
out, step, *options = (word.replace("RANK", rank) for word in sys.argv[1:])
run = os.path.abspath(out)
written, seen = [], []

def watch(event, args):
    if event == "open":
        path, _, flags = args
        paths = [path] if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else []
    else:
        paths = args[:2] if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") else []
    written.extend(str(path) for path in paths if str(path).startswith(run))

sys.addaudithook(watch)
from timbre_restore.training import loop
whole = loop.train_step

def watched(state, accelerator, settings, batches, batch, signals, **more):
    scalars = whole(state, accelerator, settings, batches, batch, signals, **more)
    for item in signals[1][: batches.own_items(batch)]:
        seen.append([state.epoch, hashlib.sha256(item.numpy().tobytes()).hexdigest()])
    if state.step + 1 == int(step) and rank == "1":
        Path(out + ".killed").write_text(str(time.time()))
        os.kill(os.getpid(), int(os.environ["KILLED_BY"]))
    return scalars

validated, validating_seen = loop.validate, []

def validating(state, accelerator, batches):
    if state.step == -int(step) and rank == "1":
        os.kill(os.getpid(), int(os.environ["KILLED_BY"]))
    return validated(state, accelerator, (validating_seen.append(1) or batch for batch in batches))

loop.train_step, loop.validate = watched, validating
from timbre_restore.apps.cli import main
status = main(["train", "--resume", "auto", *options])
Path(f"{out}.{rank}.json").write_text(json.dumps({"written": written, "seen": seen, "validated": len(validating_seen)}))
sys.exit(status)
"""


@dataclass(frozen=True)
class Runs:
    """Two processes and three items each per step, over seven items: the second step of an epoch has one item."""

    corpus: Path
    whole: Path
    """Not interrupted."""
    killed: Path
    """Its second process was killed in the second epoch's first step."""
    said: str
    status: int
    seconds: float
    """From the kill to the end of the last process."""


def options(corpus: Path, run: Path, *more: str) -> list[str]:
    values = (*OPTIONS, f"data.output_dir={corpus}", f"training.output_dir={run}", *more)
    return [word for value in values for word in ("--set", value)]


def two(
    folder: Path, corpus: Path, name: str, step: int, killed_by: int = signal.SIGKILL
) -> subprocess.CompletedProcess[str]:
    (folder / "watched.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    environment["KILLED_BY"] = str(int(killed_by))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    more = options(corpus, folder / name, "training.batch_size=3")
    return ended([*torchrun, str(folder / "watched.py"), str(folder / name), str(step), *more], environment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    corpus = make_corpus(folder / "corpus", train_items=ITEMS)
    done = two(folder, corpus, "whole", 0)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr
    done = two(folder, corpus, "killed", 3)
    seconds = time.time() - float((folder / "killed.killed").read_text())
    return Runs(corpus, folder / "whole", folder / "killed", done.stderr, done.returncode, seconds)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    fresh_state()


def watched(run: Path) -> list[dict[str, Any]]:
    return [json.loads(Path(f"{run}.{rank}.json").read_text()) for rank in (0, 1)]


def kept(run: Path) -> bytes:
    return (find_checkpoint(run).folder / "generator.safetensors").read_bytes()


def test_each_item_is_seen_once_per_epoch(runs: Runs) -> None:
    one, other = (Counter(map(tuple, found["seen"])) for found in watched(runs.whole))
    assert (one + other).total() == 2 * ITEMS
    assert set((one + other).values()) == {1}
    assert {epoch: sum(1 for e, _ in one + other if e == epoch) for epoch in (0, 1)} == {0: ITEMS, 1: ITEMS}
    assert other.total() == 2 * 3  # of the short step it has none


def test_one_alone_writes(runs: Runs) -> None:
    one, other = watched(runs.whole)
    assert any("checkpoints" in path for path in one["written"])
    assert other["written"] == []
    assert [line["step"] for line in lines(runs.whole, "train")] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(runs.whole, "epoch")] == [2, 4]


def test_the_death_of_one_ends_all_with_the_reason(runs: Runs) -> None:
    assert runs.status != 0
    assert runs.seconds < 25.0  # under load; a fraction of a second otherwise
    assert "SIGKILL" in runs.said
    assert "[rank0]: Traceback" not in runs.said
    assert find_checkpoint(runs.killed).content["step"] == 2


def test_one_that_is_asked_to_end_ends_both_at_the_same_step(runs: Runs, tmp_path: Path) -> None:
    """With a checkpoint of that step, from which both go on to the end of the run that nobody asked."""
    done = two(tmp_path, runs.corpus, "ended", 3, signal.SIGTERM)
    assert done.returncode != 0
    assert all(Path(f"{tmp_path / 'ended'}.{rank}.json").is_file() for rank in (0, 1)), "neither was killed"
    assert find_checkpoint(tmp_path / "ended").content["step"] == 3
    done = two(tmp_path, runs.corpus, "ended", 0)
    assert done.returncode == 0, done.stderr[-2000:]
    assert kept(tmp_path / "ended") == kept(runs.whole)


def test_one_that_is_asked_to_end_in_the_validation_ends_it_in_both(runs: Runs, tmp_path: Path) -> None:
    """At the same batch: what is missing of it is done when the run goes on."""
    done = two(tmp_path, runs.corpus, "ended", -2, signal.SIGTERM)
    assert done.returncode != 0
    assert all(Path(f"{tmp_path / 'ended'}.{rank}.json").is_file() for rank in (0, 1)), "neither was killed"
    assert find_checkpoint(tmp_path / "ended").content["step"] == 2
    assert [found["validated"] for found in watched(tmp_path / "ended")] == [0, 0]
    assert [line["step"] for line in lines(tmp_path / "ended", "epoch")] == []
    ending = json.loads((tmp_path / "ended" / "run.json").read_text(encoding="utf-8"))
    assert "interrupted" in ending["ended"]["how"], ending["ended"]
    done = two(tmp_path, runs.corpus, "ended", 0)
    assert done.returncode == 0, done.stderr[-2000:]
    assert kept(tmp_path / "ended") == kept(runs.whole)
    assert lines(tmp_path / "ended", "epoch") == lines(runs.whole, "epoch")


def test_a_process_that_fails_before_the_first_step_leaves_no_traceback_in_the_other(
    runs: Runs, tmp_path: Path
) -> None:
    shutil.copytree(runs.corpus, tmp_path / "corpus-0")
    done = two(tmp_path, tmp_path / "corpus-RANK", "none", 0)
    assert done.returncode != 0
    assert "corpus-1" in done.stderr
    assert "[rank0]: Traceback" not in done.stderr, done.stderr[-3000:]


def test_what_is_left_says_that_another_is_gone() -> None:
    class Two:
        num_processes, process_index = 2, 0

    class One(Two):
        num_processes = 1

    closed = RuntimeError("[gloo/transport/tcp/pair.cc:553]\nConnection closed by peer [127.0.0.1]:1")
    sentence = r"process 0: another process .* \[127.0.0.1\]:1\).*--resume auto"
    with pytest.raises(ProcessLostError, match=sentence), companions(Two()):
        raise closed
    for others, exc in ((One(), closed), (Two(), RuntimeError("shapes differ"))):
        with pytest.raises(RuntimeError) as caught, companions(others):
            raise exc
        assert caught.value is exc
    with pytest.raises(ProcessLostError), companions(Two()):
        raise torch.distributed.DistNetworkError("no answer")


def test_after_a_death_the_run_goes_on_to_the_same_end(runs: Runs, tmp_path: Path) -> None:
    """In two processes: the weights of the whole run, and its log without a double."""
    shutil.copytree(runs.killed, tmp_path / "again")
    done = two(tmp_path, runs.corpus, "again", 0)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "continuing from" in done.stderr
    assert kept(tmp_path / "again") == kept(runs.whole)
    for kind in ("train", "epoch"):
        assert lines(tmp_path / "again", kind) == lines(runs.whole, kind)


def test_one_process_with_the_joined_batch_goes_on_in_the_same_order(
    runs: Runs, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(runs.killed, tmp_path / "run")
    line = ["train", "--resume", "auto", *options(runs.corpus, tmp_path / "run", "training.batch_size=6")]
    assert main(line) == 0
    assert "different order" not in capsys.readouterr().err
    for ours, theirs in zip(lines(tmp_path / "run", "train"), lines(runs.whole, "train"), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["l1"] == pytest.approx(theirs["l1"], rel=1e-3)


def test_one_process_with_another_joined_batch_says_so(runs: Runs, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(runs.killed, tmp_path / "run")
    line = ["train", "--resume", "auto", *options(runs.corpus, tmp_path / "run", "training.batch_size=3")]
    assert main(line) == 0
    said = capsys.readouterr().err
    assert "joined_batch (training.batch_size times processes) is 3 and was 6" in said
    assert "the run continues with its items in a different order; 6 would keep the order." in said


def test_machines_that_see_unlike_checkpoints_refuse(runs: Runs, tmp_path: Path) -> None:
    """The second process has no run in its folder, as on a machine that does not share the first one's disk."""
    shutil.copytree(runs.killed, tmp_path / "run0")
    done = two(tmp_path, runs.corpus, "runRANK", 0)
    assert done.returncode != 0
    assert "process 1 on " in done.stderr
    assert "found step None instead of 2, unlike process 0" in done.stderr
    assert "[rank1]: Traceback" not in done.stderr
    assert not (tmp_path / "run1").exists()
    assert lines(tmp_path / "run0", "train") == lines(runs.killed, "train")
