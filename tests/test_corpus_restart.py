"""A corpus that was interrupted, killed, harmed, locked or given other settings."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpora import SCRIPT, Run, contents, spec_of
from tests.processes import children_of, lives
from timbre_restore.corpus import SourceSpec
from timbre_restore.corpus.writing import items as items_module
from timbre_restore.corpus.writing.folder import CorpusFolder
from timbre_restore.errors import CorpusError, LockedError

PREPARE_MODULE = "timbre_restore.corpus.prepare"


@contextmanager
def unlisted(out: Path) -> Iterator[None]:
    """From a run's first take on: however quick it is, it comes to no lists, for which it needs this lock."""
    until(lambda: (out / "plan.tsv").is_file())
    with CorpusFolder(out).folder_lock():
        until(lambda: any(out.glob(".state/takes/*/*.json")))
        yield


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_killed_run_leaves_no_worker_and_is_finished_by_the_next(real: Path, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", SCRIPT.format(sounds=str(sounds), out=str(out)), "0", "1", "2"]
    process = subprocess.Popen(command)
    with unlisted(out):
        children = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(children) >= 2
    deadline = time.monotonic() + 20
    while any(map(lives, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if lives(pid)]
    assert not (out / "train.txt").exists()
    subprocess.run(command, check=True)
    assert contents(out) == contents(real)


def test_rerun_is_identical_and_touches_nothing(quick: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick()
    before, times = contents(out), {p: p.stat().st_mtime_ns for p in out.rglob("*.wav")}
    summary = quick(skip_existing=True)
    assert (summary.rendered, summary.takes) == (0, 6)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.wav")} == times
    assert quick().rendered == 6
    assert contents(out) == before


def test_a_disk_that_fills_at_the_lists_is_one_sentence(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys.modules[PREPARE_MODULE], "write_lists", full)
    with pytest.raises(CorpusError, match="No space left on device"):
        quick()


def test_a_shard_that_is_being_made_again_counts_as_missing(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    quick(shard_idx=0, shard_count=2)
    with monkeypatch.context() as patch:
        patch.setattr(items_module, "render", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick(shard_idx=0, shard_count=2)
    assert not quick(shard_idx=1, shard_count=2).lists_written
    assert quick(shard_idx=0, shard_count=2).lists_written


@pytest.mark.parametrize("harm", ["remove", "cut", "forget"])
def test_skip_existing_mends_what_is_broken(quick: Run, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    quick()
    before = contents(out)
    victim = sorted(out.glob("train/degraded/*.wav"))[0]
    if harm == "remove":
        victim.unlink()
    elif harm == "cut":
        victim.write_bytes(victim.read_bytes()[:1000])
    else:
        shutil.rmtree(out / ".state" / "takes")
    summary = quick(skip_existing=True)
    assert summary.rendered == (6 if harm == "forget" else 1)
    assert contents(out) == before


def test_other_settings_are_refused_by_name(quick: Run, sounds: Path) -> None:
    quick(max_files=2)
    with pytest.raises(CorpusError, match=r"seed: 0 there, 7 now; snr_db: \[-5.0, 40.0\] there, \[0.0, 10.0\] now"):
        quick(spec=replace(spec_of(sounds), seed=7, snr_db=(0.0, 10.0)))


def test_the_same_shard_or_another_number_of_shards_waits(quick: Run, tmp_path: Path) -> None:
    with CorpusFolder(tmp_path / "out").shard_lock(1, 4):
        with pytest.raises(LockedError, match="shard 1 of 4"):
            quick(shard_idx=1, shard_count=4)
        with pytest.raises(LockedError, match="another number"):
            quick()
        quick(shard_idx=0, shard_count=4)
    quick()


def test_torn_files_of_a_killed_run_go_unless_somebody_works(quick: Run, tmp_path: Path) -> None:
    torn = tmp_path / "out" / "train" / "noisy" / ".x_0000.99999.tmp.wav"
    torn.parent.mkdir(parents=True)
    torn.touch()
    with CorpusFolder(tmp_path / "out").shard_lock(1, 2):
        torn.touch()
        quick(shard_idx=0, shard_count=2)
        assert torn.exists()
    quick(shard_idx=0, shard_count=2)
    assert not torn.exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing_torn(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, written = Path.write_bytes, []

    def filling(self: Path, data: bytes) -> int:
        written.append(self)
        if len(written) > 10:
            plain(self, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(self, data)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", filling)
        with pytest.raises(CorpusError, match="No space left on device"):
            quick()
    assert not [path for path in out.rglob("*") if ".tmp" in path.name]
    assert not (out / "train.txt").exists()
    assert quick(skip_existing=True).rendered < 6
    quick(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_force_makes_anew_what_changed_and_nothing_else(quick: Run, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick()
    assert quick(skip_existing=True, force=True).rendered == 0
    for other in (
        replace(spec_of(sounds), seed=7),
        replace(spec_of(sounds), format="flac"),
        replace(spec_of(sounds), sources=(SourceSpec(sounds / "speech" / "ann"),)),
        replace(spec_of(sounds), format="packed", passes=2),
        replace(spec_of(sounds), passes=2),
    ):
        with pytest.raises(CorpusError, match="with --force"):
            quick(spec=other)
        quick(spec=other, skip_existing=True, force=True)
        quick(tmp_path / "fresh", other)
        assert contents(out) == contents(tmp_path / "fresh")
        shutil.rmtree(tmp_path / "fresh")


@pytest.mark.parametrize("form", ["wav", "packed"])
def test_force_with_fewer_files_takes_no_others_away(quick: Run, sounds: Path, tmp_path: Path, form: str) -> None:
    out, spec = tmp_path / "out", replace(spec_of(sounds), format=form)
    quick(spec=spec)
    before = contents(out)
    quick(spec=spec, skip_existing=True, force=True, max_files=2)
    assert quick(spec=spec, skip_existing=True).rendered == 0
    assert contents(out) == before
    other = replace(spec, seed=7, format="flac")
    quick(spec=other, force=True, max_files=2)
    quick(spec=other, skip_existing=True)
    quick(tmp_path / "fresh", other)
    assert contents(out) == contents(tmp_path / "fresh"), "and what was left goes when it is made"


def test_fewer_passes_are_other_settings(quick: Run, sounds: Path) -> None:
    quick(spec=replace(spec_of(sounds), passes=2), max_files=2)
    with pytest.raises(CorpusError, match="passes: 2 there, 1 now"):
        quick()


def test_need_is_told_and_a_disk_that_is_too_small_refused(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=67 * 10**6))
    with pytest.raises(
        CorpusError, match=r"needs 4\.\d MB, but only 67.0 MB are free; free disk space, use fewer files"
    ):
        quick()
    with pytest.raises(CorpusError, match=r"needs 4\.\d MB, but only 67.0 MB are free"):
        quick(shard_idx=0, shard_count=2)  # the other one, which may run beside it, needs the rest
    assert not list((tmp_path / "out").rglob("*.wav"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=72 * 10**6))
    assert quick().lists_written
    taken = sum(path.stat().st_blocks * 512 for path in (tmp_path / "out").rglob("*.*") if path.is_file())
    assert 3.0e6 < taken < 4.0e6
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert quick(skip_existing=True).rendered == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_an_interrupt_stops_the_workers_and_leaves_whole_takes(real: Path, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", SCRIPT.format(sounds=str(sounds), out=str(out)), "0", "1", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with unlisted(out):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
    assert not [path for path in out.rglob("*") if ".tmp" in path.name]
    assert not (out / "train.txt").exists()
    subprocess.run(command, check=True)
    assert contents(out) == contents(real)


def test_a_shard_takes_its_marker_back_only_when_nobody_is_listing(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(max_files=2)
    done = tmp_path / "out" / ".state" / "shards" / "0-of-1.json"
    held: list[bool] = []
    plain, folder_lock = Path.unlink, CorpusFolder.folder_lock

    @contextmanager
    def noted(self: CorpusFolder) -> Iterator[None]:
        with folder_lock(self):
            held.append(True)
            yield
            held.pop()

    def unlink(self: Path, missing_ok: bool = False) -> None:
        assert self != done or held
        plain(self, missing_ok=missing_ok)

    monkeypatch.setattr(CorpusFolder, "folder_lock", noted)
    monkeypatch.setattr(Path, "unlink", unlink)
    quick(max_files=2)
    assert done.exists()


def test_moved_recording_leaves_no_stale_file(quick: Run, sounds: Path, tmp_path: Path) -> None:
    """A new speaker may move another one to the other side; the old side's files go."""
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    spec = replace(spec_of(sounds), sources=(SourceSpec(speech),), val_fraction=0.5)
    quick(spec=spec)
    for index in range(5):
        shutil.copytree(speech / "ann", speech / f"more{index}")
    quick(spec=spec, skip_existing=True)
    out = tmp_path / "out"
    lines = [line for split in ("train", "val") for line in (out / f"{split}.txt").read_text().splitlines()]
    listed = {Path(line.split("|")[0]) for line in lines}
    assert set(out.glob("*/degraded/*.wav")) == listed
