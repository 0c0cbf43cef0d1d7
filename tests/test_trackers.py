"""Trackers: what TensorBoard's files hold when read back, what W&B is given, and what is said where it is missing."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.runs import SEGMENT, fresh_state, lines, make_corpus, settings
from timbre_restore.apps.cli import main
from timbre_restore.config import load_config
from timbre_restore.errors import ConfigError, MissingExtraError, TrainingInterrupted
from timbre_restore.loading import TimbreRestoreDataset
from timbre_restore.training import loop, require_trackers, train
from timbre_restore.training.record.listened import choose, voiced_share
from timbre_restore.training.record.pictures import spectrograms
from timbre_restore.training.record.trackers import give_sounds

RATE = 48_000
SIDES = ("noisy", "degraded", "restored", "clean")


@pytest.fixture(autouse=True)
def own_state() -> None:
    fresh_state()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("trackers"))


def test_tensorboard_holds_the_logs_curves_and_the_items_sounds(corpus: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(settings(corpus, tmp_path / "run", epochs=2, trackers=("tensorboard",))).run
    (file,) = (run / "tensorboard").rglob("events.*")
    events = EventAccumulator(str(file.parent), size_guidance={"audio": 0, "images": 0, "scalars": 0})
    events.Reload()
    for kind in ("train", "epoch"):
        for name in ("l1", "multi_stft") if kind == "train" else ("val_l1", "val_multi_stft_degraded"):
            curve = [(event.step, event.value) for event in events.Scalars(f"{kind}/{name}")]
            assert curve == [(line["step"], pytest.approx(line[name])) for line in lines(run, kind)]
    validation = TimbreRestoreDataset(corpus / "val.txt", with_noisy=True, segment=SEGMENT)
    for number in range(2):
        heard = {}
        for side in SIDES:
            sounds = events.Audio(f"item_{number}/{side}")
            assert [sound.step for sound in sounds] == [3, 6]
            samples, rate = soundfile.read(io.BytesIO(sounds[0].encoded_audio_string), dtype="float32")
            assert rate == RATE and len(samples) == SEGMENT
            heard[side] = samples
        degraded, clean, noisy = (side[0, :SEGMENT].numpy() for side in validation[number])
        for side, stored in (("degraded", degraded), ("clean", clean), ("noisy", noisy)):
            assert np.abs(heard[side] - stored).max() < 1e-4, side
        assert np.abs(heard["restored"]).max() > 0.01
        pictures = events.Images(f"item_{number}/spectrograms")
        picture = Image.open(io.BytesIO(pictures[0].encoded_image_string))
        assert [image.step for image in pictures] == [3, 6]
        assert picture.mode == "RGB" and picture.width > 3 * picture.height


def test_a_spectrogram_has_high_tones_above_low_ones_and_one_scale_for_all() -> None:
    torch.manual_seed(0)
    spectrum = torch.fft.rfft(torch.randn(RATE))
    hz = torch.arange(len(spectrum))
    low, high = (torch.fft.irfft(spectrum * ((hz > middle - 1000) & (hz < middle + 1000))) for middle in (3000, 21000))
    picture = spectrograms({"low": low, "high": high, "quiet": 0.03 * high}, RATE).astype(int).sum(axis=2)
    height, width = picture.shape

    def line(column: float) -> tuple[float, int]:
        """Where the brightest row of a panel lies, from 0 at its top to 1, and how bright it is."""
        left, right = (int((column + side) * width) for side in (-0.05, 0.05))
        strip = picture[int(0.13 * height) : int(0.8 * height), left:right]
        rows = strip.mean(axis=1)
        return float(rows.argmax() / len(rows)), int(rows.max())

    (low_at, low_level), (high_at, high_level), (quiet_at, quiet_level) = (line(at) for at in (0.2, 0.48, 0.8))
    assert low_at > 0.7 and high_at < 0.3 and quiet_at < 0.3
    assert low_level == pytest.approx(high_level, rel=0.1)
    assert quiet_level < 0.8 * high_level


def test_items_to_listen_to_have_a_voice_in_them() -> None:
    torch.manual_seed(0)
    syllables = torch.sin(torch.arange(RATE) / 20.0) * (torch.arange(RATE) // 6000 % 4 > 0)
    silence, floor, hum = torch.zeros(RATE), 1e-4 * torch.randn(RATE), 0.1 * torch.randn(RATE)
    items = [(None, sound[None]) for sound in (silence, floor, syllables, hum, hum, silence, floor, 0.02 * syllables)]
    assert choose(items, range(8), 2) == [2, 7]
    assert choose(items, [5], 2) == [5]
    assert [voiced_share(items[i][1]) for i in (0, 1, 2, 3)] == pytest.approx([0.0, 0.0, 0.75, 1.0], abs=0.02)


def test_a_run_that_is_asked_to_end_in_its_validation_draws_nothing_more(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds are all that a cluster gives. What was left out is made after the resume."""
    validate = loop.validate
    drawn: list[int] = []

    def asked(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*args[:2], [])

    monkeypatch.setattr(loop, "validate", asked)
    monkeypatch.setattr(loop.Journal, "sounds", lambda self, step, *rest: drawn.append(step))
    with pytest.raises(TrainingInterrupted, match=r"after step 3 \(batch 3 of 3 in epoch 1 of 1\)"):
        train(settings(corpus, tmp_path / "run", epochs=1))
    assert drawn == []
    assert '<span class="warm">interrupted</span>' in (tmp_path / "run" / "run.html").read_text()
    fresh_state()
    monkeypatch.setattr(loop, "validate", validate)
    train(settings(corpus, tmp_path / "run", epochs=1), resume="auto")
    assert drawn == [3]
    assert [line["epoch"] for line in lines(tmp_path / "run", "epoch")] == [1]


def test_no_tracker_leaves_the_log_and_the_page_alone(corpus: Path, tmp_path: Path) -> None:
    run = train(settings(corpus, tmp_path / "run", epochs=1)).run
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints", "config.yaml", "log.jsonl", "run.html", "run.json",
    ]  # fmt: skip
    assert len(lines(run, "train")) == 3


@pytest.mark.parametrize("word", ["[wandb, wandbx]", "tensorboard", "[tensorboard, mlflow]"])
def test_trackers_that_are_none_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.trackers"):
        load_config(None, [f"training.trackers={word}"])


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_missing_wandb_is_a_sentence_before_anything_starts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # W&B leaves a folder of its own name, which Python takes for a package without content.
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    words = (f"data.output_dir={corpus}", f"training.output_dir={tmp_path / 'run'}", "training.trackers=[wandb]")
    assert main(["train", *(part for word in words for part in ("--set", word))]) == 1
    said = capsys.readouterr().err
    assert "training.trackers: wandb needs the package 'wandb', which is not installed" in said
    assert "pip install '.[wandb]'" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
    with pytest.raises(MissingExtraError):
        train(settings(corpus, tmp_path / "run", trackers=("wandb",)))


class FakeWandb(SimpleNamespace):
    """As much of the package as is used; `logged_in` is a boolean or an error."""

    class Error(Exception):
        pass

    def __init__(self, logged_in: Any) -> None:
        super().__init__(
            Audio=lambda samples, sample_rate: ("audio", samples.shape, sample_rate),
            Image=lambda picture: ("image", picture.ndim),
            __spec__=ModuleSpec("wandb", None, origin="here"),
        )
        self._logged_in = logged_in

    def setup(self) -> Any:
        return SimpleNamespace(settings=SimpleNamespace(mode="online"))

    def login(self, *, prompt: bool) -> bool:
        assert not prompt, "nobody may be there to answer"
        if isinstance(self._logged_in, Exception):
            raise self._logged_in
        return bool(self._logged_in)


@pytest.mark.parametrize(
    ("logged_in", "said"),
    [(False, "has no API key"), (FakeWandb.Error("no\nnetwork"), r"can't start \(no network\)")],
)
def test_wandb_that_can_not_log_in_is_a_sentence(monkeypatch: pytest.MonkeyPatch, logged_in: Any, said: str) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(logged_in))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(ConfigError, match=said + ".*set WANDB_MODE=offline"):
        require_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    require_trackers(["wandb"])


def test_wandb_is_given_sounds_and_pictures_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(True))
    given: list[tuple[dict[str, Any], int]] = []
    tracker = SimpleNamespace(name="wandb", run=SimpleNamespace(log=lambda values, step: given.append((values, step))))
    give_sounds([tracker], 7, {"item_0": {side: torch.randn(SEGMENT) for side in SIDES}}, RATE)
    ((values, step),) = given
    assert step == 7
    assert values.pop("item_0/spectrograms") == ("image", 3)
    assert values == {f"item_0/{side}": ("audio", (SEGMENT,), RATE) for side in SIDES}


OFFLINE = """
import sys
from pathlib import Path
from tests.runs import settings
from timbre_restore.training import train
train(settings(Path(sys.argv[1]), Path(sys.argv[2]), epochs=1, trackers=("wandb",)))
"""


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed (extra `wandb`)")
def test_the_real_wandb_keeps_curves_and_sounds_offline(corpus: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"WANDB_MODE": "offline", "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    command = [sys.executable, "-c", OFFLINE, str(corpus), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (kept,) = folder.glob("run-*.wandb")
    content = kept.read_bytes()
    for name in (b"train/l1", b"epoch/val_multi_stft"):
        assert name in content, name
    assert {path.name.split("_")[0] for path in folder.glob("files/media/audio/item_0/*.wav")} == set(SIDES)
