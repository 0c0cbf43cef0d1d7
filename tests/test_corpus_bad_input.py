"""What people point `prepare` at by mistake: each gets its sentence, and nothing is lost or half-written."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.corpora import Nothing
from tests.voices import noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import read_list
from timbre_restore.corpus.planning.plan import read_plan
from timbre_restore.corpus.table import read_table
from timbre_restore.corpus.writing import items as items_module

PREPARE_MODULE = "timbre_restore.corpus.prepare"


@dataclass
class Desk:
    """A copy of the small sounds, and the command line over them."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def out(self) -> Path:
        return self.root / "out"

    def add(self, name: str, samples: np.ndarray, rate: int = 48000, subtype: str = "PCM_16") -> Path:
        path = self.root / "speech" / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype, format="WAV" if name.endswith(".wav") else "FLAC")
        return path

    def prepare(self, *options: str) -> tuple[int, str, str]:
        settings = {
            "data.sources": f"[{{path: {self.root / 'speech'}}}]",
            "data.noise_path": self.root / "noise",
            "data.ir_path": self.root / "rooms",
            "data.output_dir": self.out,
            "data.variety.pause": 0,
            "data.variety.silent_items": 1,
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        status = main(["prepare", "--num-workers", "0", *words, *options])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    def reasons(self) -> dict[str, str]:
        return {row["path"]: row["reason"] for row in read_table(self.out / "skipped.tsv")}


@pytest.fixture
def desk(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    monkeypatch.setattr(items_module, "load_suppressor", lambda settings: Nothing())
    for name in ("speech", "noise", "rooms"):
        shutil.copytree(sounds / name, tmp_path / name)
    return Desk(tmp_path, capsys)


def truncated(desk: Desk) -> None:
    path = desk.add("ann/bad.flac", voice(2.0))
    path.write_bytes(path.read_bytes()[:20_000])


def text(desk: Desk) -> None:
    (desk.root / "speech" / "ann" / "bad.wav").write_text("this is no sound")


def with_nan(desk: Desk) -> None:
    samples = voice(2.0).copy()
    samples[5000] = np.nan
    desk.add("ann/bad.wav", samples, subtype="FLOAT")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncated, "unreadable"),
        (text, "unreadable"),
        (lambda desk: (desk.root / "speech" / "ann" / "bad.wav").touch(), "unreadable"),
        (lambda desk: desk.add("ann/bad.wav", voice(2.0), 8000), "sampled at 8000 Hz; expected 32000 Hz or more"),
        (lambda desk: desk.add("ann/bad.wav", voice(2.0), 16000), "sampled at 16000 Hz; expected 32000 Hz or more"),
        (with_nan, "holds samples that are NaN, infinite or beyond ±65536"),
        (lambda desk: desk.add("ann/bad.wav", np.zeros(0)), "too short: 0.00 s do not fill one item"),
        (lambda desk: desk.add("ann/bad.wav", voice(1.0)[:960]), "too short: 0.02 s do not fill one item"),
        (lambda desk: desk.add("ann/bad.wav", np.zeros(96000)), "silent: its active level is -200 dBFS"),
    ],
)
def test_a_recording_that_can_not_be_used_is_listed_and_costs_nothing_else(
    desk: Desk, spoil: Callable[[Desk], object], reason: str
) -> None:
    spoil(desk)
    status, said, _ = desk.prepare()
    assert status == 0
    assert "12 items" in said and "1 takes skipped; the reasons are in" in said
    ((path, why),) = desk.reasons().items()
    assert path.startswith("ann/bad.") and reason in why and str(desk.root) not in why


def test_a_file_that_does_not_say_how_long_it_is_costs_only_itself(desk: Desk) -> None:
    path = desk.add("ann/bad.flac", voice(2.0))
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # STREAMINFO, RFC 9639, section 8.2
    path.write_bytes(content)
    status, _, _ = desk.prepare()
    ((_, why),) = desk.reasons().items()
    assert status == 0 and "does not state its length" in why


def test_a_silent_first_channel_is_not_what_is_learned_from(desk: Desk) -> None:
    assert desk.prepare()[0] == 0
    items = {path.relative_to(desk.out): path.read_bytes() for path in desk.out.rglob("*.wav")}
    shutil.rmtree(desk.out)
    for path in [path for room in ("speech", "noise", "rooms") for path in (desk.root / room).rglob("*.wav")]:
        sound, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, np.stack([0 * sound, sound], axis=1), rate, subtype=soundfile.info(path).subtype)
    assert desk.prepare()[0] == 0 and desk.reasons() == {}
    assert items
    assert {path.relative_to(desk.out): path.read_bytes() for path in desk.out.rglob("*.wav")} == items


@pytest.mark.parametrize(
    ("rate", "subtype", "channels"),
    [(44100, "PCM_16", 1), (48000, "PCM_24", 2), (96000, "FLOAT", 1), (32000, "PCM_16", 2)],
)
def test_other_rates_depths_and_channels_are_accepted(desk: Desk, rate: int, subtype: str, channels: int) -> None:
    count = 3 * rate
    samples = np.interp(np.arange(count) / rate, np.arange(3 * 48000) / 48000, voice(3.0, seed=4))
    desk.add("ann/good.wav", np.stack([samples] * channels, axis=1), rate, subtype)
    status, _, _ = desk.prepare()
    assert (status, desk.reasons()) == (0, {})
    rows = [row for row in read_table(desk.out / "items.tsv") if "good" in row["item"]]
    assert len(rows) >= 2 and rows[0]["native_rate_hz"] == str(rate)


ODD = [
    "two  words.wav",
    'it\'s "quoted".wav',
    "a|b.wav",
    "line\nbreak.wav",
    "tab\tbed.wav",
    "说话.wav",
    "-x.wav",
    "\\u0041.wav",
]


def test_odd_names_are_prepared_and_every_list_has_one_line_an_item(desk: Desk) -> None:
    for number, name in enumerate(ODD):
        desk.add(f"p|q\n{number % 2}/{name}", voice(1.2, seed=number))
    status, _, _ = desk.prepare()
    assert (status, desk.reasons()) == (0, {})
    rows = read_table(desk.out / "items.tsv")
    pairs = [pair for split in ("train", "val") for pair in read_list(desk.out / f"{split}.txt")]
    assert len(pairs) == len(rows) == 12 + len(ODD)
    assert all(pair.degraded.is_file() and pair.clean.is_file() and pair.noisy.is_file() for pair in pairs)
    assert {Path(row["recording"]).name for row in rows} >= set(ODD)
    assert {take.recording.stem + ".wav" for take in read_plan(desk.out / "plan.tsv")} >= set(ODD)


def test_link_loops_end(desk: Desk) -> None:
    (desk.root / "speech" / "ann" / "up").symlink_to(desk.root / "speech")
    (desk.root / "noise" / "self").symlink_to(desk.root / "noise")
    (desk.root / "speech" / "broken.wav").symlink_to(desk.root / "nowhere.wav")
    status, said, _ = desk.prepare()
    assert status == 0 and "12 items" in said


def test_an_unreadable_folder_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, locked = os.scandir, str(desk.root / "speech" / "bob")

    def scandir(folder: str) -> object:
        if folder == locked:
            raise PermissionError(13, "Permission denied", folder)
        return plain(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    status, _, err = desk.prepare()
    assert status == 1
    assert err == f"error: {locked}: can't be listed (Permission denied); fix its permissions, or put it back.\n"
    assert not (desk.out / "train.txt").exists()


@pytest.mark.parametrize(("folder", "reason"), [("speech", "no such file"), ("noise", "drawn noises could be used")])
def test_a_folder_that_vanishes_on_the_way_is_said_and_nothing_is_half_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, folder: str, reason: str
) -> None:
    module = sys.modules[PREPARE_MODULE]
    plan = module.scan_and_plan

    def then_gone(*args: object) -> object:
        made = plan(*args)
        shutil.rmtree(desk.root / folder)
        return made

    monkeypatch.setattr(module, "scan_and_plan", then_gone)
    status, _, err = desk.prepare("--set", "data.variety.clean_input=0", "--set", "data.variety.made_noise=0")
    assert status == 1
    last = err.splitlines()[-1]
    assert "6 of 6 takes were skipped, more than a fifth" in last and reason in last
    assert (desk.out / "train.txt").read_text() == ""
    assert not list(desk.out.rglob("*.tmp*")) and not list(desk.out.rglob("*.wav"))


def test_a_read_only_output_is_one_sentence(desk: Desk) -> None:
    status, _, err = desk.prepare("--set", "data.output_dir=/proc/corpus")
    assert status == 1
    assert err.startswith("error: /proc/corpus") and "check data.output_dir" in err and err.count("\n") == 1


def test_no_items_after_filtering_is_an_error(desk: Desk) -> None:
    for path in (desk.root / "speech").glob("*/*.wav"):
        click = np.zeros(96_000)
        click[100:400] = 0.5
        soundfile.write(path, click, 48000)
    only_first = (
        "--set",
        "data.variety.silent_items=0",
        "--set",
        "data.room_probability=0",
        "--set",
        "data.segment=96000",
    )
    status, _, err = desk.prepare(*only_first)
    assert status == 1
    assert "6 takes gave no item" in err.splitlines()[-1] and "silent_items" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--shard-idx", "4", "--shard-count", "4"), "expected 0 to 3"),
        (("--shard_idx", "1"), "expected 0 to 0"),
        (("--shard-idx", "-1", "--shard-count", "4"), "greater than or equal to 0"),
        (("--max_files", "0"), "max-files"),
        (("--cluster", "slurm"), "expected ray"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_made(
    desk: Desk, options: tuple[str, ...], told: str
) -> None:
    status, _, err = desk.prepare(*options)
    assert status == 2 and told in err
    assert not desk.out.exists()


def test_a_noise_or_room_that_can_not_be_used_is_listed(desk: Desk) -> None:
    for number in range(1, 4):
        (desk.root / "noise" / f"hum{number}.wav").write_text("no sound")
        soundfile.write(desk.root / "rooms" / f"hall{number}.wav", np.zeros(100), 48000)
    soundfile.write(desk.root / "noise" / "hum4.wav", noise(1.0), 48000)
    status, said, _ = desk.prepare("--set", "data.variety.made_noise=0", "--set", "data.val_fraction=0")
    assert status == 0
    assert {path: reason for path, reason in desk.reasons().items() if path.startswith("hall")}
    assert any("can't be read" in reason for path, reason in desk.reasons().items() if path.startswith("hum"))
    assert "warning: noise hum" in said
