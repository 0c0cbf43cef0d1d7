"""The exported model over signals, files and folders."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from numpy.typing import NDArray

from tests.test_models import network
from tests.voices import noise, voice
from timbre_restore import processes
from timbre_restore.audio import lag_samples, rms
from timbre_restore.errors import AudioFileError, ModelError
from timbre_restore.export import export_generator
from timbre_restore.runtime import Chain, Restorer, Treatment, restore_path
from timbre_restore.suppressors import load_suppressor

FloatArray = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_generator(network(), tmp_path_factory.mktemp("model") / "m.onnx").path


@pytest.fixture(scope="module")
def restorer(model: Path) -> Restorer:
    return Restorer.load(model)


def halve(noisy: FloatArray) -> FloatArray:
    """A suppressor whose work is easy to predict."""
    return np.float32(0.5) * noisy


def pair(seconds: float = 2.0) -> tuple[FloatArray, FloatArray]:
    noisy = voice(seconds) + noise(seconds)
    return halve(noisy), noisy


def test_strength_mixes_from_the_suppressor_in_alignment(restorer: Restorer) -> None:
    degraded, noisy = pair()
    full, half = restorer(degraded, noisy, strength=1.0), restorer(degraded, noisy, strength=0.5)
    assert np.array_equal(restorer(degraded, noisy, strength=0.0), degraded)
    assert rms(full - degraded) > 0.01
    assert np.abs(half - 0.5 * (full + degraded)).max() < 1e-6
    assert lag_samples(full, degraded) == 0


@pytest.mark.parametrize("samples", [0, 1, 479, 480, 481, 240_001])
def test_any_length_comes_back_as_long(restorer: Restorer, samples: int) -> None:
    noisy = np.resize(noise(1.0), samples).astype(np.float32)
    assert len(restorer(halve(noisy), noisy)) == samples


def test_the_length_of_a_stretch_changes_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    degraded, noisy = pair(3.0)
    whole = Restorer.load(model)(degraded, noisy)
    monkeypatch.setattr("timbre_restore.runtime.restorer.STRETCH_HOPS", 7)
    assert np.abs(Restorer.load(model)(degraded, noisy) - whole).max() < 1e-5


def test_misuse_is_a_sentence(restorer: Restorer) -> None:
    degraded, noisy = pair(0.1)
    spoiled = noisy.copy()
    spoiled[7] = np.nan
    for arguments, words in [
        ((degraded,), "conditioned on the noisy signal"),
        ((degraded[None], noisy), "float32 array"),
        ((degraded.astype(np.float64), noisy), "float64"),
        ((degraded.tolist(), noisy), "list"),
        ((degraded, noisy[:-1]), "at least as many"),
        ((degraded, spoiled), "NaN"),
    ]:
        with pytest.raises(ModelError, match=words):
            restorer(*arguments)
    with pytest.raises(ModelError, match=r"strength is 1\.5"):
        restorer(degraded, noisy, strength=1.5)


def test_files_that_are_no_model_of_ours(model: Path, tmp_path: Path) -> None:
    text, cut, foreign = tmp_path / "text.onnx", tmp_path / "cut.onnx", tmp_path / "foreign.onnx"
    text.write_text("no model")
    cut.write_bytes(model.read_bytes()[:5000])
    graph = onnx.load(model)
    del graph.metadata_props[:]
    onnx.save(graph, foreign)
    for path, words in [
        (tmp_path / "none.onnx", "can't be read"),
        (text, "ONNX Runtime can open"),
        (cut, "ONNX Runtime can open"),
        (foreign, "not one of this project's"),
    ]:
        with pytest.raises(ModelError, match=words):
            Restorer.load(path)


@pytest.mark.parametrize(
    ("rate", "channels", "subtype", "suffix"),
    [(48_000, 1, "PCM_16", ".wav"), (44_100, 2, "PCM_24", ".flac"), (16_000, 1, "FLOAT", ".wav")],
)
def test_a_file_keeps_rate_channels_length_and_format(
    restorer: Restorer, tmp_path: Path, rate: int, channels: int, subtype: str, suffix: str
) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    samples = np.stack([voice(1.3, seed)[: rate + 7] for seed in range(channels)], axis=1)
    soundfile.write(source, samples, rate, subtype=subtype)
    summary = restore_path(source, target, Treatment(restorer, halve))
    before, after = soundfile.info(source), soundfile.info(target)
    for name in ("samplerate", "channels", "frames", "subtype", "format"):
        assert getattr(before, name) == getattr(after, name), name
    assert summary.seconds == pytest.approx((rate + 7) / rate)


def test_channels_are_restored_each_for_itself(restorer: Restorer, tmp_path: Path) -> None:
    left, right = voice(1.0, 1), voice(1.0, 2)
    soundfile.write(tmp_path / "both.wav", np.stack([left, right], axis=1), 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "right.wav", right, 48_000, subtype="FLOAT")
    for name in ("both", "right"):
        restore_path(tmp_path / f"{name}.wav", tmp_path / f"{name}-out.wav", Treatment(restorer, halve))
    both, alone = soundfile.read(tmp_path / "both-out.wav")[0], soundfile.read(tmp_path / "right-out.wav")[0]
    assert np.array_equal(both[:, 1], alone)


def test_strength_zero_is_the_suppressor_alone(restorer: Restorer, tmp_path: Path) -> None:
    samples = voice(1.0)
    soundfile.write(tmp_path / "in.wav", samples, 48_000, subtype="FLOAT")
    restore_path(tmp_path / "in.wav", tmp_path / "out.wav", Treatment(restorer, halve, 0.0))
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], halve(samples))


def test_a_chain_restores_inside_of_the_suppressor(restorer: Restorer, tmp_path: Path) -> None:
    samples = voice(1.0) + noise(1.0, level=0.02)
    soundfile.write(tmp_path / "in.wav", samples, 48_000, subtype="FLOAT")
    chain = Chain(load_suppressor(), restorer)
    restore_path(tmp_path / "in.wav", tmp_path / "out.wav", Treatment(restorer, chain, 1.0))
    expected = np.clip(chain(samples, strength=1.0), -1, 1)
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], expected)


def test_already_suppressed_input_is_its_own_noisy(restorer: Restorer, tmp_path: Path) -> None:
    samples = voice(1.0)
    soundfile.write(tmp_path / "in.wav", samples, 48_000, subtype="FLOAT")
    restore_path(tmp_path / "in.wav", tmp_path / "out.wav", Treatment(restorer, None))
    expected = np.clip(restorer(samples, samples), -1, 1)
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], expected)


def test_a_folder_keeps_its_tree_and_a_bad_file_does_not_stop_it(restorer: Restorer, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "in" / "restored"
    (source / "b c").mkdir(parents=True)
    soundfile.write(source / "one.wav", voice(0.5), 48_000)
    soundfile.write(source / "b c" / "zwei|ü.flac", voice(0.5), 48_000)
    (source / "bad.wav").write_text("no audio")
    (source / "notes.txt").write_text("not a sound")
    (source / "loop").symlink_to(source)
    for _ in range(2):  # the second time the first one's output lies inside the input
        summary = restore_path(source, target, Treatment(restorer, halve))
        assert len(summary.done) == 2
        assert len(summary.failed) == 1
        assert "bad.wav" in summary.failed[0]
        found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
        assert found == ["b c/zwei|ü.flac", "one.wav"]


def test_what_would_overwrite_the_input_is_refused(restorer: Restorer, tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, voice(0.2), 48_000)
    before = path.read_bytes()
    for source, target in [(path, path), (path, tmp_path), (tmp_path, tmp_path)]:
        with pytest.raises(AudioFileError, match="nothing is overwritten"):
            restore_path(source, target, Treatment(restorer, halve))
    assert path.read_bytes() == before


def test_loud_results_are_limited_and_counted(restorer: Restorer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", voice(0.5), 48_000, subtype="PCM_24")
    loud = restore_path(tmp_path / "in.wav", tmp_path / "out.wav", Treatment(restorer, lambda x: 20 * x, 0.0))
    assert np.abs(soundfile.read(tmp_path / "out.wav")[0]).max() <= 1.0
    assert loud.done[0].limited_samples > 100


@pytest.mark.parametrize(("name", "words"), [("none.wav", "no such file"), ("out.txt", "name ending in")])
def test_paths_that_can_not_work(restorer: Restorer, tmp_path: Path, name: str, words: str) -> None:
    soundfile.write(tmp_path / "in.wav", voice(0.2), 48_000)
    source = tmp_path / (name if name == "none.wav" else "in.wav")
    with pytest.raises(AudioFileError, match=words):
        restore_path(source, tmp_path / name, Treatment(restorer, halve))


def test_an_empty_folder_and_an_empty_file(restorer: Restorer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(AudioFileError, match="holds no sound file"):
        restore_path(tmp_path / "in", tmp_path / "out", Treatment(restorer, halve))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 48_000)
    with pytest.raises(AudioFileError, match="holds no samples"):
        restore_path(tmp_path / "empty.wav", tmp_path / "out.wav", Treatment(restorer, halve))


def test_hidden_files_and_folders_are_no_recordings(restorer: Restorer, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / ".trash").mkdir(parents=True)
    for name in ("one.wav", ".trash/old.wav"):
        soundfile.write(source / name, voice(0.2), 48_000)
    (source / "._one.wav").write_bytes(b"side file")
    (source / ".x.1.tmp.wav").write_bytes(b"torn")
    summary = restore_path(source, tmp_path / "out", Treatment(restorer, halve))
    assert [result.target.name for result in summary.done] == ["one.wav"]
    assert summary.failed == []


def test_a_folder_that_can_not_be_listed_is_reported(
    restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    (source / "closed").mkdir(parents=True)
    soundfile.write(source / "one.wav", voice(0.2), 48_000)
    plain = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    summary = restore_path(source, tmp_path / "out", Treatment(restorer, halve))
    assert len(summary.done) == 1
    assert summary.failed == [f"{source / 'closed'}: can't be listed (Permission denied); fix its permissions."]
    (source / "one.wav").unlink()
    with pytest.raises(AudioFileError, match="closed: can't be listed"):
        restore_path(source, tmp_path / "out", Treatment(restorer, halve))


def test_a_target_that_can_not_be_written_is_one_sentence(restorer: Restorer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", voice(0.2), 48_000)
    target = tmp_path / "in.wav" / "out.wav"  # below a file no folder can be made, whoever tries
    with pytest.raises(AudioFileError, match=r"out\.wav: can't be written \(.*\); check the folder") as caught:
        restore_path(tmp_path / "in.wav", target, Treatment(restorer, halve))
    assert "\n" not in str(caught.value)
    assert "tmp" not in str(caught.value).replace(str(tmp_path), "")


def test_a_name_that_is_neither_file_nor_voice_is_told_the_voices() -> None:
    with pytest.raises(ModelError, match=r"bse: no such file, and no packaged voice has that name \(base, small, supp"):
        Restorer.load("bse")
    with pytest.raises(ModelError, match=r"there/bse\.onnx: can't be read \(No such file or directory\)"):
        Restorer.load(Path("there/bse.onnx"))


def test_cores_are_those_that_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(processes, "_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1, 2, 5, 6})
    found = []
    for content in ("max 100000\n", "250000 100000\n", "5000 100000\n", "900000 100000\n", "torn"):
        quota.write_text(content)
        found.append(processes.usable_cores())
    quota.unlink()
    assert [*found, processes.usable_cores()] == [5, 3, 1, 5, 5, 5]
