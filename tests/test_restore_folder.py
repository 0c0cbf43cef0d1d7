"""Folders: what is planned, worker processes, runs that are ended, and runs that go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from tests.test_restore_formats import RATE, Untouched, write
from tests.voices import voice
from timbre_restore import atomic
from timbre_restore.apps.cli import main
from timbre_restore.apps.restore_progress import in_words, restore_progress
from timbre_restore.errors import AudioFileError, ModelError
from timbre_restore.runtime import PIPE, OutputFormat, Recipe, Standing, Treatment, restore_path
from timbre_restore.runtime.files import crew

ROOT = Path(__file__).resolve().parent.parent
UNTOUCHED = cast(Treatment, Untouched())
Capture = pytest.CaptureFixture[str]


def files_in(folder: Path) -> list[str]:
    """Everything, hidden files too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    write(folder / "one.wav", voice(0.3, 1))
    write(folder / "b" / "two.flac", voice(0.3, 2))
    write(folder / "b" / "three.aiff", voice(0.3, 3))
    return folder


def test_a_folder_in_another_form(source: Path, tmp_path: Path) -> None:
    summary = restore_path(source, tmp_path / "out", UNTOUCHED, wanted=OutputFormat("flac", "pcm24"))
    assert files_in(tmp_path / "out") == ["b/three.flac", "b/two.flac", "one.flac"]
    assert [result.target.name for result in summary.done] == ["three.flac", "two.flac", "one.flac"]
    assert {soundfile.info(result.target).subtype for result in summary.done} == {"PCM_24"}


@pytest.mark.parametrize(
    ("other", "wanted"),
    [("one.flac", OutputFormat("flac")), ("one.m4a", OutputFormat()), ("one.aiff", OutputFormat("ogg"))],
)
def test_two_recordings_that_would_become_one_file(
    source: Path, tmp_path: Path, other: str, wanted: OutputFormat
) -> None:
    (source / other).write_bytes(b"")
    with pytest.raises(AudioFileError, match=r"one\.\w+ and .*one\.\w+ would both become .*one\.\w+; rename one"):
        restore_path(source, tmp_path / "out", UNTOUCHED, wanted=wanted)
    assert not (tmp_path / "out").exists()


def test_a_result_that_would_fall_on_a_recording(source: Path, tmp_path: Path) -> None:
    inner = source / "b" / "b"
    inner.mkdir()
    write(inner / "two.flac", voice(0.1))
    before = (source / "b" / "two.flac").read_bytes()
    with pytest.raises(AudioFileError, match=r"two\.flac: is one of the recordings itself"):
        restore_path(source / "b", source, UNTOUCHED)
    with pytest.raises(AudioFileError, match="can't be written to a pipe"):
        restore_path(source, PIPE, UNTOUCHED)
    assert (source / "b" / "two.flac").read_bytes() == before


def test_the_input_by_another_name_is_still_the_input(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.wav").hardlink_to(source / "one.wav")
    (tmp_path / "soft").symlink_to(source)
    for first, second in [(source / "one.wav", tmp_path / "link.wav"), (source, tmp_path / "soft")]:
        with pytest.raises(AudioFileError, match="nothing is overwritten"):
            restore_path(first, second, UNTOUCHED)


def test_what_is_there_is_left(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    out_file = write(out / "b" / "two.flac", voice(0.1))
    mine = out_file.read_bytes()
    summary = restore_path(source, out, UNTOUCHED, skip_existing=True)
    assert (summary.skipped, [result.target.name for result in summary.done]) == (1, ["three.aiff", "one.wav"])
    assert out_file.read_bytes() == mine
    assert restore_path(source / "one.wav", out, UNTOUCHED, skip_existing=True).skipped == 1
    assert restore_path(source, out, UNTOUCHED, skip_existing=True).skipped == 3
    assert restore_path(source, out, UNTOUCHED).skipped == 0
    assert out_file.read_bytes() != mine


def test_torn_files_of_a_killed_run_are_swept(source: Path, tmp_path: Path) -> None:
    """Only those: another process's file stays while it lives, and nothing else is ours."""
    out = tmp_path / "out" / "b"
    out.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here, elsewhere = atomic._machine(), "0" * 8
    names = [
        f".0123456789ab.{here}.{gone.pid}.tmp.wav",
        f".0123456789ac.{elsewhere}.{gone.pid}.tmp.wav",  # a day old, as the next one is not
        f".0123456789ab.{elsewhere}.{gone.pid}.tmp.wav",
        f".0123456789ab.{here}.{os.getppid()}.tmp.wav",
        ".notes.tmp",
        "x.1.tmp.wav",
    ]
    for name in names:
        (out / name).write_bytes(b"torn")
    day_ago = time.time() - atomic.FORSAKEN_S - 1
    os.utime(out / names[1], (day_ago, day_ago))
    restore_path(source, tmp_path / "out", UNTOUCHED)
    left = [name for name in names if (out / name).exists()]
    assert left == names[2:]
    atomic.sweep(out)
    assert [name for name in names if (out / name).exists()] == left


def test_what_may_not_be_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, in a folder like /tmp."""
    (tmp_path / f".0123456789ab.{atomic._machine()}.999999999.tmp.wav").write_bytes(b"torn")

    def refused(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    atomic.sweep(tmp_path)
    assert len(files_in(tmp_path)) == 1


def test_links_to_folders_are_left_out_and_said(source: Path, tmp_path: Path, capsys: Capture) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere / "four.wav", voice(0.1))
    (source / "linked").symlink_to(elsewhere)
    (source / "b" / "loop").symlink_to(source)
    (source / "file.wav").symlink_to(elsewhere / "four.wav")
    assert main(["restore", str(source), "-o", str(tmp_path / "out"), "--already-suppressed", "--strength", "0"]) == 0
    assert files_in(tmp_path / "out") == ["b/three.aiff", "b/two.flac", "file.wav", "one.wav"]
    said = capsys.readouterr().err
    for link in ("b/loop", "linked"):
        words = f"warning: {source / link}: is a link to a folder and was skipped; restore that folder separately.\n"
        assert words in said


def test_what_lies_in_the_output_folder_is_left_out_and_said(source: Path, capsys: Capture) -> None:
    """Its results from last time are no recordings; a recording there is one that nobody would miss in silence."""
    out = source / "out"
    line = ["restore", str(source), "-o", str(out), "--already-suppressed", "--strength", "0"]
    for _ in range(2):
        assert main(line) == 0
        assert "skipped" not in capsys.readouterr().err
    for name in ("mine.wav", "yours.wav"):
        write(out / name, voice(0.1))
    assert main(line) == 0
    assert (
        f"warning: {out / 'mine.wav'} and 1 more: lies in the output folder and was skipped" in capsys.readouterr().err
    )


def test_a_folder_with_nothing_but_a_link_says_what_it_is(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path)
    assert main(["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert (
        f"holds no sound file except behind links to folders, which are not followed ({tmp_path / 'in' / 'linked'})"
        in said
    )


def test_what_would_be_misunderstood_is_refused(source: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["restore", str(source), "-o", str(tmp_path / "out.wav")]) == 1
    assert "out.wav: is a file name, but the input is a folder; give a folder" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()
    assert main(["restore", str(source), "-o", str(tmp_path / "out"), "--set", "model.size=base"]) == 2
    said = "--set model.size: is not used by restore, which reads only suppressor.…; choose a voice with --model."
    assert said in capsys.readouterr().err


def test_paths_may_be_text(source: Path, tmp_path: Path) -> None:
    summary = restore_path(str(source / "one.wav"), str(tmp_path / "out.wav"), UNTOUCHED)
    assert [result.target for result in summary.done] == [tmp_path / "out.wav"]


def test_what_is_closed_does_not_keep_the_others(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "out" / "b"
    closed.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed)
    summary = restore_path(source, tmp_path / "out", UNTOUCHED, skip_existing=True)
    assert summary.failed == [f"{closed}: can't be entered; check its permissions, or give another output."]
    assert files_in(tmp_path / "out") == ["one.wav"]


def test_an_error_of_the_system_is_one_files(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = crew.restore_file

    def refusing(path: Path, target: Path, *given: Any, **named: Any) -> Any:
        if path.name == "one.wav":
            raise PermissionError(13, "Permission denied", str(target))
        return whole(path, target, *given, **named)

    monkeypatch.setattr(crew, "restore_file", refusing)
    out = tmp_path / "out"
    summary = restore_path(source, out, UNTOUCHED)
    (said,) = summary.failed
    assert said.startswith(f"{source / 'one.wav'}: can't be restored (Permission denied: {out / 'one.wav'}); check")
    assert files_in(out) == ["b/three.aiff", "b/two.flac"]


def test_a_script_without_a_guard_is_told_so(source: Path, tmp_path: Path) -> None:
    """Each worker imports the script that began it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom timbre_restore.runtime import Recipe, restore_path\n"
        f"restore_path(Path({str(source)!r}), Path({str(tmp_path / 'out')!r}), Recipe(), jobs=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("since each worker imports the script.)")


def test_an_output_that_can_not_be_made_is_said_before_any_work(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AudioFileError, match=r"file/out: can't be created \(Not a directory\); check its permissions"):
        restore_path(source, tmp_path / "file" / "out", Recipe("no-model.onnx"))


def test_workers_give_what_one_process_gives(source: Path, tmp_path: Path) -> None:
    """Real models, a bad file among good ones, and the sound counted as it goes in."""
    (source / "bad.wav").write_text("no sound")
    recipe, told = Recipe(None, None, 1.0), list[Standing]()
    alone = restore_path(source, tmp_path / "one", recipe)
    crew = restore_path(source, tmp_path / "two", recipe, jobs=2, progress=told.append)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two") == ["b/three.aiff", "b/two.flac", "one.wav"]
    for name in files_in(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert crew.failed == alone.failed
    assert "bad.wav: can't be read" in crew.failed[0]
    assert [result.target.name for result in crew.done] == ["three.aiff", "two.flac", "one.wav"]
    assert told[-1].files == told[-1].all_files == 4
    assert told[-1].seconds == pytest.approx(0.9)
    assert told[-1].all_s == pytest.approx(1.2)  # the bad one is taken for as long as the others


def test_a_model_that_can_not_be_opened_ends_the_crew(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no-model\.onnx: no such file, and no packaged voice"):
        restore_path(source, tmp_path / "out", Recipe("no-model.onnx", None), jobs=2)
    assert files_in(tmp_path / "out") == []


def test_progress_in_words(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_words(Standing(3, 12, 820.0, 6000.0), 20.0) == "3 of 12 files, 41.0 times real time, 2:06 left"
    assert in_words(Standing(0, 1, 30.0, None), 10.0) == "30 s, 3.0 times real time"
    assert in_words(Standing(0, 2, 0.0, 60.0), 0.0) == "0 of 2 files"
    with restore_progress() as progress:
        progress(Standing(0, 2, 1.0, 60.0))
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("timbre_restore.apps.restore_progress.LINE_EVERY_S", 0.0)
        progress(Standing(1, 2, 30.0, 60.0))
    assert capsys.readouterr().err.startswith("1 of 2 files, ")


# Runs that are ended


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short file first, then two that take a while."""
    folder = tmp_path_factory.mktemp("long") / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 400 * RATE).astype(np.float32)
    write(folder / "a.wav", noise[:RATE])
    write(folder / "b.wav", noise)
    write(folder / "c.wav", noise)
    return folder


@pytest.fixture
def run(long_folder: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run that has finished the short file and is at the long ones, in two workers."""
    out = tmp_path / "out"
    code = "import sys; from timbre_restore.apps.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, "restore", str(long_folder), "-o", str(out), "--jobs=2", "--already-suppressed"]
    process = subprocess.Popen(line, stdout=-1, stderr=-1, text=True, cwd=ROOT, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not ((out / "a.wav").exists() and len(files_in(out)) == 3):
        assert process.poll() is None
        time.sleep(0.05)
    yield process, out
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, True)])
def test_an_interrupted_run_leaves_whole_files_alone(
    run: tuple[subprocess.Popen[str], Path], number: int, group: bool
) -> None:
    """Ctrl-C goes to every process of the terminal, and so does its end; a polite one to one."""
    process, out = run
    (os.killpg if group else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    if number != signal.SIGHUP:  # with the terminal, Python's own tracker of semaphores is gone, and nobody listens
        assert said == "interrupted; what was already written is kept.\n"
    assert files_in(out) == ["a.wav"]
    assert soundfile.info(out / "a.wav").frames == RATE


def test_after_a_kill_the_same_command_goes_on(
    run: tuple[subprocess.Popen[str], Path], long_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    process, out = run
    process.kill()
    process.communicate()
    torn = [name for name in files_in(out) if name != "a.wav"]
    assert len(torn) == 2
    owners = {int(name.split(".")[3]) for name in torn}
    end = time.monotonic() + 20
    while time.monotonic() < end and any(Path(f"/proc/{owner}").exists() for owner in owners):
        time.sleep(0.05)  # workers die with their parent
    short = tmp_path / "short"
    short.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):  # as the first run's, so that this does not take long
        write(short / name, soundfile.read(long_folder / name, frames=RATE, dtype="float32")[0])
    first = (out / "a.wav").stat().st_mtime_ns
    line = ["restore", str(short), "-o", str(out), "--jobs", "1", "--already-suppressed", "--skip-existing"]
    assert main(line) == 0
    assert files_in(out) == ["a.wav", "b.wav", "c.wav"]
    assert (out / "a.wav").stat().st_mtime_ns == first
    assert "skipped, because the result already exists: 1" in capsys.readouterr().err
