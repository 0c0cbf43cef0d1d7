"""A folder of recordings becomes a corpus: whole, listed, the same however it was made, and only once at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore.audio import read_audio
from timbre_restore.corpus import CorpusSpec, PrepareSummary, SourceSpec, prepare
from timbre_restore.corpus import items as items_module
from timbre_restore.corpus.folder import CorpusFolder
from timbre_restore.corpus.manifest import read_table
from timbre_restore.errors import CorpusError, LockedError
from timbre_restore.suppressors import load_suppressor
from timbre_restore.suppressors.base import one_by_one

PREPARE_MODULE = "timbre_restore.corpus.prepare"
Run = Callable[..., PrepareSummary]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers of two short recordings each, four noises, two rooms."""
    root = tmp_path_factory.mktemp("sounds")
    for folder in ("speech/ann", "speech/bob", "speech/cy", "noise", "rooms"):
        (root / folder).mkdir(parents=True)
    for number, speaker in enumerate(("ann", "bob", "cy")):
        for take in (0, 1):
            samples = voice(2.2 + 0.3 * take, seed=10 * number + take)
            soundfile.write(root / "speech" / speaker / f"say {take}|ä.wav", samples, 48000)
    for number in range(4):
        soundfile.write(root / "noise" / f"hum{number}.wav", noise(1.5, seed=number), 48000)
        tail = np.random.default_rng(number).standard_normal(9600) * np.exp(-np.arange(9600) / 2000) * 0.05
        tail[100] = 1.0
        soundfile.write(root / "rooms" / f"hall{number}.wav", 0.5 * tail, 48000)
    return root


def spec_of(sounds: Path) -> CorpusSpec:
    return CorpusSpec((SourceSpec(sounds / "speech"),), sounds / "noise", sounds / "rooms", val_fraction=0.3)


@dataclass(frozen=True)
class Nothing:
    """Suppresses nothing, at once."""

    name: str = "nothing"
    sample_rate_hz: int = 48000
    latency_samples: int = 1440
    licence: str = "Apache-2.0"
    build: str = "nothing 1"

    def __call__(self, noisy: FloatArray) -> FloatArray:
        return noisy

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, None]:
        return self(noisy), None

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, None]]:
        return one_by_one(self.with_hints, signals)


@pytest.fixture
def quick(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`prepare` in this process with a suppressor that costs nothing, into `tmp_path / 'out'` unless told."""
    monkeypatch.setattr(items_module, "load_suppressor", lambda settings: Nothing())

    def run(out: Path = tmp_path / "out", spec: CorpusSpec | None = None, **settings: Any) -> PrepareSummary:
        return prepare(spec or spec_of(sounds), out, num_workers=0, progress=False, **settings)

    return run


def contents(out: Path) -> dict[str, str]:
    """Checksums of everything outside `.state`, with the folder's own name taken out of the lists."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and ".state" not in path.parts:
            data = path.read_bytes().replace(os.fsencode(out), b"OUT")
            found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture(scope="module")
def real(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of all six recordings by the real suppressor, in two worker processes."""
    out = tmp_path_factory.mktemp("real") / "corpus"
    summary = prepare(spec_of(sounds), out, num_workers=2, progress=False)
    assert (summary.takes, summary.skipped, summary.rendered, summary.lists_written) == (6, 0, 6, True)
    assert (summary.items_train, summary.items_val) == (8, 4)
    return out


def test_lists_name_pairs_that_exist(real: Path) -> None:
    for split, count in (("train", 8), ("val", 4)):
        text = (real / f"{split}.txt").read_text(encoding="utf-8")
        assert text.endswith("\n")
        lines = text.splitlines()
        assert len(lines) == count
        for line in lines:
            degraded, clean = map(Path, line.split("|"))
            assert degraded.is_absolute() and clean.is_absolute()
            assert (degraded.parent.name, clean.parent.name) == ("degraded", "clean")
            for path, length in ((degraded, 48000), (clean, 48000), (real / split / "noisy" / clean.name, 49440)):
                info = soundfile.info(path)
                assert (info.frames, info.samplerate, info.channels, info.subtype) == (length, 48000, 1, "PCM_16")
            assert set(clean.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_degraded_is_what_the_suppressor_makes_of_stored_noisy(real: Path) -> None:
    """Aligned by the constant, whole take at once: items joined and suppressed again are the degraded items."""
    rows = read_table(real / "items.tsv")
    take = [row for row in rows if row["recording"] == rows[0]["recording"]]
    first = np.concatenate([read_audio(real / row["noisy"])[0][0][:48000] for row in take[:-1]])
    noisy = np.concatenate([first, read_audio(real / take[-1]["noisy"])[0][0]])
    degraded = np.concatenate([read_audio(real / row["degraded"])[0][0] for row in take])
    again = load_suppressor()(noisy)[: len(degraded)]
    assert np.max(np.abs(again - degraded)) <= 0.5 / 32768 + 1e-7


def test_rows_hold_what_was_drawn(real: Path) -> None:
    rows = read_table(real / "items.tsv")
    listed = [line for split in ("train", "val") for line in (real / f"{split}.txt").read_text().splitlines()]
    assert len(rows) == len(listed)
    for row in rows:
        assert f"{real / row['degraded']}|{real / row['clean']}" in listed
        assert -5 <= float(row["snr_db"]) <= 40
        assert -45 <= float(row["speech_level_dbfs"]) <= -15
        assert row["suppressor_build"].startswith("graphs (rules of libDF v0.5.6")
        assert row["noise"].startswith("hum")
    by_split = {split: {row["speaker"] for row in rows if row["split"] == split} for split in ("train", "val")}
    assert len(by_split["val"]) == 1 and not by_split["val"] & by_split["train"]


def test_shards_in_other_processes_give_the_same_bytes(real: Path, sounds: Path, tmp_path: Path) -> None:
    """Three shards at once, each a process without workers, against one process with two."""
    out = tmp_path / "corpus"
    code = SCRIPT.format(sounds=str(sounds), out=str(out))
    shards = [subprocess.Popen([sys.executable, "-c", code, str(index), "3", "0"]) for index in range(3)]
    assert [shard.wait() for shard in shards] == [0, 0, 0]
    assert contents(out) == contents(real)


SCRIPT = """
import sys
from pathlib import Path
from timbre_restore.corpus import CorpusSpec, SourceSpec, prepare
sounds = Path({sounds!r})
spec = CorpusSpec((SourceSpec(sounds / "speech"),), sounds / "noise", sounds / "rooms", val_fraction=0.3)
index, count, workers = map(int, sys.argv[1:])
settings = dict(num_workers=workers, skip_existing=True, progress=False)
prepare(spec, Path({out!r}), shard_idx=index, shard_count=count, **settings)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_killed_run_leaves_no_worker_and_is_finished_by_the_next(real: Path, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", SCRIPT.format(sounds=str(sounds), out=str(out)), "0", "1", "2"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not any(out.glob(".state/takes/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = [int(pid) for pid in workers.read_text().split()] if workers.is_file() else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if Path(f"/proc/{pid}/cmdline").exists()]
    assert not (out / "train.txt").exists()
    subprocess.run(command, check=True)
    assert contents(out) == contents(real)


def test_two_shards_list_only_when_both_are_there(quick: Run, tmp_path: Path) -> None:
    assert not quick(shard_idx=1, shard_count=2).lists_written
    assert not (tmp_path / "out" / "train.txt").exists()
    assert quick(shard_idx=0, shard_count=2).lists_written
    quick(tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_of_different_plans_do_not_list(quick: Run) -> None:
    quick(shard_idx=0, shard_count=2, max_files=4)
    assert not quick(shard_idx=1, shard_count=2, max_files=6).lists_written


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
        patch.setattr(sys.modules[PREPARE_MODULE], "make_all", interrupted)
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


def test_a_larger_number_of_files_only_adds(quick: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick(max_files=2)
    few, listed = contents(out), (out / "train.txt").read_text()
    assert quick(skip_existing=True).rendered == 4
    many = contents(out)
    assert {name: many[name] for name in few if name.endswith(".wav")} == {
        name: few[name] for name in few if name.endswith(".wav")
    }
    assert (out / "train.txt").read_text().startswith(listed)
    quick(tmp_path / "at once")
    assert contents(tmp_path / "at once") == many


def test_more_passes_only_add(quick: Run, sounds: Path, tmp_path: Path) -> None:
    quick()
    assert quick(spec=replace(spec_of(sounds), passes=2), skip_existing=True).rendered == 6
    assert len((tmp_path / "out" / "train.txt").read_text().splitlines()) == 16


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


def test_bad_recordings_are_listed_with_their_reason(quick: Run, sounds: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    (speech / "bob" / "torn.wav").write_bytes(b"RIFF")
    spec = replace(spec_of(sounds), sources=(SourceSpec(speech),))
    summary = quick(spec=spec)
    assert (summary.skipped, summary.takes) == (1, 7)
    rows = read_table(tmp_path / "out" / "skipped.tsv")
    assert [(row["kind"], row["path"]) for row in rows] == [("recording", "bob/torn.wav")]
    assert "unreadable" in rows[0]["reason"]
    soundfile.write(speech / "bob" / "torn.wav", voice(2.0), 48000)
    assert quick(spec=spec, skip_existing=True).skipped == 0  # mended, so tried again


def test_too_many_bad_recordings_fail_after_everything_is_written(quick: Run, sounds: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    for index in range(3):
        soundfile.write(speech / "cy" / f"short{index}.wav", voice(0.5), 48000)
    spec = replace(spec_of(sounds), sources=(SourceSpec(speech),))
    with pytest.raises(CorpusError, match="listed when the other shards are done") as caught:
        quick(tmp_path / "half", spec, shard_idx=1, shard_count=2)
    assert "skipped.tsv" not in str(caught.value)
    with pytest.raises(CorpusError, match=r"3 of 9 takes were skipped.*skipped\.tsv\. The rest is prepared and listed"):
        quick(spec=spec)
    assert len(read_table(tmp_path / "out" / "skipped.tsv")) == 3
    assert len((tmp_path / "out" / "train.txt").read_text().splitlines()) > 0


def test_flac_holds_the_same_samples(quick: Run, sounds: Path, tmp_path: Path) -> None:
    quick(max_files=2)
    quick(tmp_path / "flac", replace(spec_of(sounds), format="flac"), max_files=2)
    for path in (tmp_path / "out").rglob("*.wav"):
        other = tmp_path / "flac" / path.relative_to(tmp_path / "out").with_suffix(".flac")
        assert np.array_equal(read_audio(path)[0], read_audio(other)[0])


def test_an_output_folder_that_no_list_can_hold_is_refused(quick: Run, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="without '\\|'"):
        quick(tmp_path / "a|b")


def test_file_names_that_are_no_text_are_prepared(quick: Run, sounds: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    try:
        shutil.copy(speech / "bob" / "say 0|ä.wav", os.fsencode(speech / "bob") + b"/x\xff\t.wav")
    except OSError:
        pytest.skip("this file system holds only names that are text")
    assert quick(spec=replace(spec_of(sounds), sources=(SourceSpec(speech),))).skipped == 0
    assert len({len(line.split("\t")) for line in (tmp_path / "out" / "items.tsv").read_text().splitlines()}) == 1


def test_state_alone_holds_times(quick: Run, tmp_path: Path) -> None:
    quick()
    marker = json.loads((tmp_path / "out" / ".state" / "shards" / "0-of-1.json").read_text())
    assert marker["seconds"] > 0


def test_real_recordings_in_shards_equal_one_process(shared_data: Path, quick: Run, tmp_path: Path) -> None:
    spec = CorpusSpec((SourceSpec(shared_data / "speech"),), shared_data / "noise", shared_data / "rir")
    quick(tmp_path / "one", spec, max_files=4)
    for index in (1, 0):
        quick(tmp_path / "two", spec, max_files=4, shard_idx=index, shard_count=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


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
