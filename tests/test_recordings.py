"""`scripts/recordings.py`: packages of Debian, by checksum, to folders of one speaker each."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import read_info, read_mono
from timbre_restore.config import load_config
from timbre_restore.corpus.table import read_table

SCRIPT = Path(__file__).parent.parent / "scripts" / "recordings.py"


@pytest.fixture
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("recordings_script", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def packed(files: dict[str, bytes]) -> bytes:
    """A Debian package of them: an `ar` archive with an odd member before data.tar.xz."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    parts = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data.getvalue())]
    whole = b"!<arch>\n"
    for name, content in parts:
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        whole += content + b"\n" * (len(content) % 2)
    return whole


def encoded(sound: FloatArray, rate_hz: int, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate_hz, format=kind, subtype="PCM_16" if kind == "WAV" else "VORBIS")
    return buffer.getvalue()


@pytest.fixture
def package(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    both = np.stack([0 * noise(4), voice(4, seed=7)], axis=1)
    content = packed(
        {f"usr/x/aa/{i}.ogg": encoded(voice(4, seed=i), 44_100) for i in range(4)}
        | {"usr/x/aa/9_stereo.ogg": encoded(both, 48_000), "usr/x/bb/loud.ogg": encoded(voice(3) * 9, 44_100)}
        | {"usr/x/aa/low.ogg": encoded(voice(2), 16_000), "usr/x/aa/silent.ogg": encoded(0 * voice(2), 44_100)}
        | {"usr/x/aa/short.ogg": encoded(voice(0.1), 44_100), "usr/x/aa/torn.ogg": b"OggS", "usr/x/cc/0.ogg": b""}
    )
    one = replace(
        script.PACKAGES[0], name="made", version="1:2", sha256=hashlib.sha256(content).hexdigest(),
        pattern=r"usr/x/(?P<speaker>\w+)/.*\.ogg", speakers={"aa": "made_aa", "bb": "made_bb"},
    )  # fmt: skip
    monkeypatch.setattr(script, "PACKAGES", (one,))
    place = tmp_path / "packages" / "made_1%3a2_all.deb"
    place.parent.mkdir()
    place.write_bytes(content)
    return place


Run = Callable[..., int]


@pytest.fixture
def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The script with these words, in this process; its status."""

    def with_words(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["recordings.py", *map(str, words)])
        return int(script.main())

    return with_words


def test_short_recordings_become_pieces_of_one_speaker(run: Run, package: Path, tmp_path: Path) -> None:
    out = tmp_path / "speech"
    assert run(out, "--packages", package.parent) == 0
    rows = {row["piece"]: row for row in read_table(out / "SOURCES.tsv")}
    assert sorted(rows) == ["made_aa/made_aa_000.flac", "made_aa/made_aa_001.flac", "made_bb/made_bb_000.flac"]
    assert rows["made_aa/made_aa_000.flac"]["recordings"] == "usr/x/aa/0.ogg; usr/x/aa/1.ogg; usr/x/aa/2.ogg"
    assert rows["made_aa/made_aa_001.flac"]["recordings"] == "usr/x/aa/3.ogg; usr/x/aa/9_stereo.ogg"
    for piece, row in rows.items():
        info = read_info(out / piece)
        assert (info.sample_rate_hz, info.channels) == (48_000, 1)
        assert float(row["seconds"]) == pytest.approx(info.samples / 48_000, abs=0.01)
        assert 0 < int(row["bandwidth_hz"]) <= 24_000
        assert 80 < int(row["pitch_hz"]) < 200, "tests.voices speaks like a man"
    last = read_mono(out / "made_aa" / "made_aa_001.flac")
    assert np.abs(last[-3 * 48_000 :]).max() > 0.1, "the channel with the voice, where the first holds none"
    assert np.abs(read_mono(out / "made_bb" / "made_bb_000.flac")).max() <= 0.991
    first = {path.name: path.read_bytes() for path in out.rglob("*.*")}
    assert run(out, "--packages", package.parent) == 0
    assert {path.name: path.read_bytes() for path in out.rglob("*.*")} == first, "the same files each time"
    assert run(tmp_path / "b", "--packages", package.parent, "--only", "made_bb") == 0
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == ["made_bb"]


def test_no_more_than_so_many_minutes_of_anyone(run: Run, package: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "out", "--packages", package.parent, "--minutes", 0.2) == 0
    rows = read_table(tmp_path / "out" / "SOURCES.tsv")
    assert [row["piece"] for row in rows] == ["made_aa/made_aa_000.flac", "made_bb/made_bb_000.flac"]
    assert run(tmp_path / "none", "--minutes", 0) == 2


@pytest.mark.parametrize("kept, most_s", [([0, 1, 2, 3, 4, 5], 99), ([0, 2, 4], 30), ([0, 3], 29.9), ([0], 1)])
def test_few_pieces_are_spread_over_all_of_them(script: ModuleType, kept: list[int], most_s: float) -> None:
    pieces = [([str(number)], np.zeros(480_000, np.float32)) for number in range(6)]
    assert [names for names, _ in script.spread(pieces, most_s)] == [[str(number)] for number in kept]
    long = [(["long"], np.zeros(2_880_000, np.float32)), *pieces]
    assert sum(len(sound) for _, sound in script.spread(long, 71)) <= 71 * 48_000


@pytest.mark.parametrize("pitch_hz", [82, 120, 233, 390])
def test_the_pitch_is_the_fundamental(script: ModuleType, pitch_hz: int) -> None:
    """Of a pulse train, weakest at the fundamental itself, over rumble; noise and rumble alone have none."""
    time_s = np.arange(96_000) / 48_000
    voiced = sum(min(k, 4) * np.cos(2 * np.pi * k * pitch_hz * time_s + k * k) for k in range(1, 9)).astype(np.float32)
    rumble = 3 * np.cos(2 * np.pi * 11 * time_s).astype(np.float32)
    assert script.pitch_hz(0.02 * (voiced + rumble)) == pytest.approx(pitch_hz, rel=0.05)
    assert script.pitch_hz(noise(2)) == 0 and script.pitch_hz(rumble) == 0 and script.pitch_hz(0 * rumble) == 0


def test_another_package_than_the_one_meant_is_refused(
    run: Run, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package.write_bytes(package.read_bytes() + b"\n")
    assert run(tmp_path / "out", "--packages", package.parent) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: made_1%3a2_all.deb: ") and "has the checksum" in said and "remove it" in said
    assert not (tmp_path / "out").exists()


def test_what_can_not_be_had_is_said_in_one_line(
    run: Run, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", "--only", "nobody") == 2
    assert capsys.readouterr().err == "error: --only nobody: expected some of made_aa, made_bb.\n"
    package.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(tmp_path / "out", "--packages", package.parent) == 2
    assert "there is no apt-get to download it" in capsys.readouterr().err


def test_the_speakers_held_out_for_the_packaged_voice_keep_their_names(script: ModuleType) -> None:
    held_out = {"gcin_chulo", "klettres_ar", "klettres_cs", "klettres_uk", "tuxpaint_bg"}
    known = {speaker for package in script.PACKAGES for speaker in package.speakers.values()}
    configs = SCRIPT.parent.parent / "configs"
    assert held_out < known and held_out < set(load_config(configs / "voice.yaml").data.val_speakers or ())


def test_speech_from_packages_is_all_that_a_corpus_needs(run: Run, package: Path, tmp_path: Path) -> None:
    """`configs/packages.yaml`: noises and rooms are made, and those held out are speakers of the packages."""
    config = SCRIPT.parent.parent / "configs" / "packages.yaml"
    data = load_config(config).data
    assert (data.noise_path, data.ir_path, data.variety.made_room) == (None, None, 1.0)
    assert run(tmp_path / "speech", "--packages", package.parent) == 0
    overrides = [f"data.sources=[{{path: {tmp_path / 'speech'}}}]", f"data.output_dir={tmp_path / 'corpus'}",
                 "data.val_speakers=[made_bb]", "data.passes=6", "data.num_workers=0"]  # fmt: skip
    assert main(["prepare", "--config", str(config), *(w for o in overrides for w in ("--set", o))]) == 0
    rows = read_table(tmp_path / "corpus" / "plan.tsv")
    rooms = {row["rooms"] for row in rows if row["split"] == "train"}
    assert any("made:room:" in names for names in rooms)
    assert all('"made:' in row["noises"] for row in rows if row["noises"] != "[]")
    items = read_table(tmp_path / "corpus" / "items.tsv")
    assert any(row["room"].startswith("made:room:") for row in items)
