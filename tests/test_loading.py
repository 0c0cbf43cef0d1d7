"""Pairs as tensors, and every way in which a list or its files can let one down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from data.dataset import TimbreRestoreDataset  # noqa: E402

from tests.conftest import ROOT  # noqa: E402
from timbre_restore.errors import CorpusError  # noqa: E402
from timbre_restore.loading import read_list  # noqa: E402


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Three pairs of a ramp each; item n of a role begins with n."""
    lines = []
    for number in range(3):
        for role, length in (("degraded", 48000), ("clean", 48000), ("noisy", 49440)):
            path = tmp_path / "train" / role / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = (np.arange(length) % 30000).astype(np.int16)
            samples[0] = 100 * number + len(role)
            soundfile.write(path, samples, 48000)
        folder = tmp_path / "train"
        lines.append(f"{folder / 'degraded' / f'{number}.wav'}|{folder / 'clean' / f'{number}.wav'}\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    return tmp_path / "train.txt"


def test_items_are_float32_of_the_stated_shape(listed: Path) -> None:
    dataset = TimbreRestoreDataset(str(listed))
    degraded, clean = dataset[0]
    assert len(dataset) == 3
    assert degraded.shape == clean.shape == (1, 48000)
    assert degraded.dtype == clean.dtype == torch.float32


def test_samples_are_the_files_own(listed: Path) -> None:
    degraded, clean, noisy = TimbreRestoreDataset(listed, with_noisy=True)[2]
    assert [round(float(x[0, 0]) * 32768) for x in (degraded, clean, noisy)] == [208, 205, 205]
    assert noisy.shape == (1, 49440)
    assert torch.equal(noisy[0, 1:] * 32768, torch.arange(1, 49440).remainder(30000).float())


def test_every_line_has_its_pair(listed: Path) -> None:
    dataset = TimbreRestoreDataset(listed)
    assert [round(float(dataset[i][0][0, 0]) * 32768) // 100 for i in range(3)] == [0, 1, 2]


def test_other_segment(listed: Path) -> None:
    with pytest.raises(CorpusError, match=r"line 1: .*48000 samples, expected 24000"):
        TimbreRestoreDataset(listed, segment=24000)[0]


@pytest.mark.parametrize("role", ["degraded", "clean", "noisy"])
def test_broken_files_name_list_and_line(listed: Path, role: str) -> None:
    dataset = TimbreRestoreDataset(listed, with_noisy=True)
    path = listed.parent / "train" / role / "1.wav"
    length = 49440 if role == "noisy" else 48000
    for samples, rate, reason in [
        (np.zeros(length), 44100, "44100 Hz"),
        (np.zeros((length, 2)), 48000, "2 channels"),
        (np.zeros(length - 1), 48000, f"{length - 1} samples"),
    ]:
        soundfile.write(path, samples, rate)
        with pytest.raises(CorpusError, match=reason) as caught:
            dataset[1]
        assert f"{listed}, line 2: {path}" in str(caught.value)
    path.write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match=r"line 2.*can't be read"):
        dataset[1]
    path.unlink()
    with pytest.raises(CorpusError, match=r"line 2.*no such file"):
        dataset[1]
    dataset[0]


@pytest.mark.parametrize("line", ["one path", "a|b|c", "|b", "a|", ""])
def test_malformed_lines_are_named(listed: Path, line: str) -> None:
    listed.write_text(listed.read_text() + line + "\n")
    with pytest.raises(CorpusError, match="line 4: expected 'degraded_path\\|clean_path'"):
        read_list(listed)


def test_empty_and_absent_lists(tmp_path: Path) -> None:
    (tmp_path / "val.txt").touch()
    assert read_list(tmp_path / "val.txt") == []
    with pytest.raises(CorpusError, match=r"val.txt: lists no pair"):
        TimbreRestoreDataset(tmp_path / "val.txt")
    with pytest.raises(CorpusError, match=r"train.txt: can't be read"):
        TimbreRestoreDataset(tmp_path / "train.txt")


def test_the_door_opens_from_the_root_of_the_repository() -> None:
    code = "from data.dataset import TimbreRestoreDataset; assert TimbreRestoreDataset.__module__.startswith('timbre_')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
