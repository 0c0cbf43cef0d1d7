"""Where results go: names that could be mistaken, folders that are made, links, and what may not be replaced."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from tests.test_restore_formats import RATE, Untouched, left_in, write
from tests.voices import voice
from timbre_restore import atomic
from timbre_restore.apps.cli import main
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime import PIPE, Recipe, Treatment, restore_path

UNTOUCHED = cast(Treatment, Untouched())
QUICK = ["--already-suppressed", "--strength", "0"]
TORN = f".0123456789ab.{atomic._machine()}.999999999.tmp.wav"  # of no process that can be
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "in.wav", voice(0.1))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A source that is found out only in its second block."""
    samples = voice(6.0)
    samples[5 * RATE + 4800] = np.nan
    return write(tmp_path / "in.wav", samples, "FLOAT")


# Names


def test_a_file_whose_name_is_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.wav", voice(0.1)).rename("-")
    assert main(["restore", "./-", "-o", "out.wav", *QUICK]) == 0
    assert capsys.readouterr().out == "out.wav: 0.1 s\n"
    assert soundfile.info("out.wav").frames == 4800
    Path("-").unlink()
    for output in ("-/", "./-"):  # one that is new, and the same when it is there
        assert main(["restore", "out.wav", "-o", output, *QUICK]) == 0
        assert capsys.readouterr().out == f"{tmp_path}/-/out.wav: 0.1 s\n"
    assert main(["restore", "./-", "-o", "there", *QUICK]) == 0
    assert left_in(tmp_path / "there") == ["out.wav"]
    assert main(["restore", "./-", "-o", "there", "--raw", "s16le"]) == 2
    assert (
        f"--raw describes standard input, but the input is {tmp_path}/-; give - as the input" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("line", "which"), [(["", "-o", "x.wav"], "IN"), (["in.wav", "-o", ""], "--output")])
def test_a_name_that_is_empty_is_not_this_folder(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, line: list[str], which: str
) -> None:
    """As a shell makes of a variable that is not set."""
    monkeypatch.chdir(source.parent)
    assert main(["restore", *line, *QUICK]) == 2
    assert capsys.readouterr().err == f"error: {which} is empty; name a file or a folder (. is this one).\n"
    assert left_in(source.parent) == ["in.wav"]


def test_a_name_that_is_no_text_is_said(source: Path) -> None:
    """On a terminal that takes nothing but UTF-8; the file is kept by the name that it has."""
    folder = source.parent
    name = os.fsencode(source).replace(b"in.wav", b"caf\xe9.wav")
    source.rename(os.fsdecode(name))
    code = "import sys; from timbre_restore.apps.entry import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "restore", str(folder), "-o", str(folder / "out"), *QUICK],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().endswith("caf\\udce9.wav: 0.1 s\n")
    assert os.listdir(os.fsencode(folder / "out")) == [b"caf\xe9.wav"]  # noqa: PTH208 - names as bytes


def test_a_name_with_a_slash_behind_is_a_folders(source: Path, tmp_path: Path, capsys: Capture) -> None:
    new = tmp_path / "new" / "deep"
    assert main(["restore", str(source), "-o", f"{new}/", "--format", "flac", *QUICK]) == 0
    assert capsys.readouterr().out == f"{new}/in.flac: 0.1 s\n"
    for name, output, words in [
        (str(source), f"{source}/", "in.wav: is a file, but a folder was asked for; give another, or omit the slash"),
        ("-", f"{tmp_path}/other/", f"{tmp_path}/other: is a folder, but audio from a pipe has no name"),
    ]:
        assert main(["restore", name, "-o", output, *QUICK]) == 1
        assert words in capsys.readouterr().err
    assert left_in(tmp_path) == ["in.wav", "new"]


# Folders that are made


def test_a_refused_source_leaves_no_folder(bad: Path, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.wav", voice(0.1)[:0])
    for source, target in [(empty, "new/deep/out.wav"), (bad, "new/deep/out.wav"), (bad, "new/out.flac")]:
        with pytest.raises(AudioFileError, match=r"holds no samples|holds samples that are NaN"):
            restore_path(source, tmp_path / target, UNTOUCHED)
    with pytest.raises(AudioFileError, match="holds samples that are NaN"):
        restore_path(bad, tmp_path / "new", UNTOUCHED, into_folder=True)
    assert left_in(tmp_path) == ["empty.wav", "in.wav"]


def test_a_folder_of_refused_sources_leaves_none(tmp_path: Path) -> None:
    """Beside one that is good; and what was there before stays, though it is empty."""
    for name in ("a/bad.wav", "b/c/bad.wav", "d/bad.wav", "d/good.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "in" / name, voice(0.1)[: 0 if "bad" in name else None])
    (tmp_path / "out" / "a").mkdir(parents=True)
    summary = restore_path(tmp_path / "in", tmp_path / "out", UNTOUCHED)
    assert (len(summary.done), len(summary.failed)) == (1, 3)
    assert left_in(tmp_path / "out") == ["a", "d"]
    assert left_in(tmp_path / "out" / "d") == ["good.wav"]
    crew = restore_path(tmp_path / "in" / "b", tmp_path / "new" / "out", Recipe(None, None, 0.0), jobs=2)
    assert len(crew.failed) == 1
    assert left_in(tmp_path) == ["in", "out"]


def test_folders_vanish_with_what_was_to_be_in_them(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "new" / "deep" / "x.txt"
    with pytest.raises(ZeroDivisionError), atomic.replacing(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert left_in(tmp_path / "there") == []
    with pytest.raises(ZeroDivisionError), atomic.replacing(target) as temporary:
        (target.parent.parent / "another's.txt").write_text("whole")
        raise ZeroDivisionError
    assert left_in(tmp_path / "there" / "new") == ["another's.txt"]
    with pytest.raises(OSError, match="File name too long"):
        atomic.write_text(tmp_path / "there" / "half" / ("n" * 300) / "x.txt", "")
    assert left_in(tmp_path / "there") == ["new"]


# Links, and what is no file


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_file_is_written(source: Path, tmp_path: Path, there: bool) -> None:
    """Beside which a killed run's torn file is swept away."""
    (tmp_path / "far").mkdir()
    if there:
        (tmp_path / "far" / "real.wav").write_bytes(b"old")
    (tmp_path / "far" / TORN).write_bytes(b"torn")
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / "in.wav"
    link.symlink_to(Path("..") / "far" / "real.wav")
    restore_path(source, link, UNTOUCHED)
    assert link.is_symlink()
    assert soundfile.info(tmp_path / "far" / "real.wav").frames == 4800
    assert left_in(tmp_path / "far") == ["real.wav"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_what_is_replaced_keeps_its_permissions(source: Path, tmp_path: Path, mode: int) -> None:
    """A recording that nobody else may read stays one."""
    target = tmp_path / "private.wav"
    target.write_bytes(b"earlier")
    target.chmod(mode)
    restore_path(source, target, UNTOUCHED)
    assert target.stat().st_mode & 0o777 == mode
    assert target.read_bytes() != b"earlier"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_what_replaces_a_private_file_is_private_while_it_is_written(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.touch(mode=0o600)
    with atomic.replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.stat().st_mode & 0o777 == 0o600
    assert target.read_bytes() == b"new"


def test_a_new_folder_may_be_named_like_a_sound(source: Path, tmp_path: Path, capsys: Capture) -> None:
    """With a slash behind, which is how one says that it is a folder."""
    (tmp_path / "in").mkdir()
    source.rename(tmp_path / "in" / "in.wav")
    assert main(["restore", str(tmp_path / "in"), "-o", str(tmp_path / "takes.ts"), *QUICK]) == 1
    assert "takes.ts" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "in"), "-o", f"{tmp_path / 'takes.ts'}/", *QUICK]) == 0
    assert left_in(tmp_path / "takes.ts") == ["in.wav"]


def test_links_in_a_folder_of_results_are_swept_behind_too(source: Path, tmp_path: Path) -> None:
    for name in ("far", "out", "from"):
        (tmp_path / name).mkdir()
    source.rename(tmp_path / "from" / "in.wav")
    (tmp_path / "far" / TORN).write_bytes(b"torn")
    (tmp_path / "out" / TORN).write_bytes(b"torn")
    (tmp_path / "out" / "in.wav").symlink_to(tmp_path / "far" / "real.wav")
    restore_path(tmp_path / "from", tmp_path / "out", UNTOUCHED)
    assert left_in(tmp_path / "far") == ["real.wav"]
    assert left_in(tmp_path / "out") == ["in.wav"]


def test_links_of_one_name_to_one_folder_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "x.wav").symlink_to(tmp_path / f"real{number}")
    with atomic.replacing(tmp_path / "d1" / "x.wav") as one, atomic.replacing(tmp_path / "d2" / "x.wav") as two:
        one.write_text("1")
        two.write_text("2")
        assert one.suffix == two.suffix == ".wav"
    assert [(tmp_path / f"real{number}").read_text() for number in (1, 2)] == ["1", "2"]


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.txt").symlink_to("x.txt")
    atomic.write_text(tmp_path / "x.txt", "text")
    assert (tmp_path / "x.txt").read_text() == "text"


def test_what_is_no_file_is_not_replaced_by_one(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipe, folder, link, plug = (tmp_path / name for name in ("pipe.wav", "folder.wav", "link.wav", "plug.wav"))
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(pipe)  # a device would not survive the mistake that is looked for
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(plug.name)  # which may not be long
    before = {path: os.lstat(path).st_ino for path in tmp_path.iterdir()}
    for target in (pipe, folder, link, plug):
        with pytest.raises(OSError, match=r"exists and is not a regular file, so it can't be replaced: .*\.wav"):
            atomic.write_bytes(target, b"x")
        if target != folder:  # into which a result may go
            with pytest.raises(
                AudioFileError, match=rf"{target}: exists but is not a regular file; give another output"
            ):
                restore_path(source, target, UNTOUCHED)
    assert {path: os.lstat(path).st_ino for path in tmp_path.iterdir()} == before


def test_a_pipe_by_a_devices_name_is_not_replaced(tmp_path: Path) -> None:
    """Its link leads to a name that is none."""
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="exists and is not a regular file"):
            atomic.write_bytes(Path(f"/dev/fd/{writer}"), b"x")
    finally:
        os.close(reader)
        os.close(writer)


def test_the_pipe_has_no_folder(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is swept where the sound goes to standard output."""
    swept = list[Path]()
    monkeypatch.setattr(atomic, "sweep", swept.append)
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(AudioFileError, match="standard output: is closed"):
        restore_path(source, PIPE, UNTOUCHED)
    assert swept == []
