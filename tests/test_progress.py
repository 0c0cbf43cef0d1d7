"""What is said while it trains: phase, losses against their bands, and a time left that knows what the GAN costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.runs import fresh_state, lines, make_corpus, settings
from timbre_restore.training import train
from timbre_restore.training.monitors.bands import outside
from timbre_restore.training.record import clock as clock_room
from timbre_restore.training.record.clock import Clock, Left, duration
from timbre_restore.training.record.progress import Progress
from timbre_restore.training.schedule import plan_of
from timbre_restore.training.state import TrainState, create_state


class Time:
    """A clock that only goes where it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr(clock_room, "time", found)
    return found


def work(clock: Clock, time: Time, steps: int, step_s: float, *, gan: bool) -> dict[str, float]:
    for _ in range(steps):
        time.now += step_s
        clock.step_done()
    return clock.interval(gan=gan)


def test_what_is_done_beside_steps_is_in_the_seconds_and_not_in_the_rate(time: Time) -> None:
    clock = Clock()
    time.now += 4.0
    clock.step_done()
    with clock.beside():
        time.now += 60.0  # a checkpoint within an interval
    assert work(clock, time, 3, 4.0, gan=False) == {"seconds": 76.0, "batches_per_s": 0.25}
    with clock.beside():
        time.now += 30.0
    assert work(clock, time, 2, 2.0, gan=True) == {"seconds": 110.0, "batches_per_s": 0.5}


def test_a_resumed_run_goes_on_with_the_seconds_and_the_rates_of_the_log(time: Time) -> None:
    before = [{"batches_per_s": 2.0}, {"batches_per_s": 0.5, "d_real": 1.0}, {}]
    clock = Clock(before, earlier_s=1000.0)
    assert work(clock, time, 2, 0.5, gan=False) == {"seconds": 1001.0, "batches_per_s": 2.0}
    assert clock.left(10, 10, 1) == Left(10 * 0.5 + 10 * 2.0)


def test_time_left_counts_both_kinds_of_steps_and_what_is_beside_them(time: Time) -> None:
    clock = Clock()
    assert clock.left(10, 10, 2) == Left(None)
    work(clock, time, 5, 1.0, gan=False)
    assert clock.left(10, 20, 2) == Left(10.0, to_gan=True)
    assert clock.left(10, 0, 2) == Left(10.0)
    assert clock.left(0, 20, 2) == Left(None)
    work(clock, time, 5, 6.0, gan=True)
    with clock.beside():
        time.now += 50.0
    clock.epoch_done()
    assert clock.left(10, 20, 2) == Left(10 * 1.0 + 20 * 6.0 + 2 * 50.0)


def test_one_slow_interval_does_not_move_the_time_left(time: Time) -> None:
    clock = Clock()
    for step_s in (30.0, 1.0, 1.0, 1.0, 1.0):
        work(clock, time, 2, step_s, gan=False)
    assert clock.left(10, 0, 0) == Left(10.0)


@pytest.mark.parametrize(
    ("seconds", "said"), [(12.4, "12 s"), (150.0, "2 min"), (5400, "90 min"), (7500.0, "2 h 05 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("phase", "name", "value", "side"),
    [
        ("warm-up", "l1", 0.2, "↑"), ("warm-up", "l1", 0.05, ""), ("warm-up", "l1", 0.01, ""), ("GAN", "l1", 0.06, "↑"),
        ("GAN", "d_real", 0.3, "↓"), ("GAN", "d_real", 0.7, ""), ("GAN", "d_fake", 1.3, "↑"), ("GAN", "total", 9.0, ""),
        ("before GAN", "multi_stft", math.nan, "↑"), ("before GAN", "d_real", 5.0, ""),
    ],
)  # fmt: skip
def test_sides_of_a_band(phase: str, name: str, value: float, side: str) -> None:
    assert outside(phase, name, value) == side


class Sight:
    """A progress over four epochs of ten steps, the GAN in the last two."""

    def __init__(self, tmp_path: Path, *, visible: bool = False) -> None:
        self.said: list[str] = []
        self.run = settings(tmp_path, tmp_path, epochs=4, gan_start_epoch=2, warmup_epochs=1)
        self.state: TrainState = create_state(self.run)
        self.clock = Clock()
        self.progress = Progress(plan_of(self.run), 10, self.state, self.clock, self.said.append, visible=visible)


def test_a_line_per_epoch_has_phase_marks_and_time_left(tmp_path: Path, time: Time) -> None:
    sight = Sight(tmp_path)
    work(sight.clock, time, 10, 2.0, gan=False)
    sight.progress.show(1.0, {}, batches_per_s=0.5, gan=False)
    sight.progress.epoch_done(1, {"l1": 0.2, "multi_stft": 1.0}, gan=False)
    work(sight.clock, time, 10, 6.0, gan=True)
    sight.progress.epoch_done(3, {"l1": 0.03, "d_real": 0.1, "val_l1": 0.03}, gan=True)
    sight.progress.epoch_done(4, {"l1": 0.03}, gan=True)
    first = "epoch 1/4: warm-up: l1 0.2000↑ multi_stft 1.0000  0.50 batches/s, "
    assert sight.said == [
        first + "20 s to the GAN, whose steps are not timed yet",
        "epoch 3/4: GAN: l1 0.0300 d_real 0.1000↓ val_l1 0.0300  0.50 batches/s, 60 s left",
        "epoch 4/4: GAN: l1 0.0300  0.50 batches/s",
    ]


def test_the_bar_has_it_all_on_one_line(tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(width=140, force_terminal=True, record=True, file=(tmp_path / "screen").open("w"))
    monkeypatch.setattr("timbre_restore.training.record.progress.Console", lambda **_: shown)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    sight = Sight(tmp_path, visible=True)
    with sight.progress:
        work(sight.clock, time, 4, 5.0, gan=True)
        means: dict[str, Any] = {"l1": 0.2, "multi_stft": 0.4, "d_real": 0.8, "d_fake": 0.7, "feature_matching": 1.0}
        sight.progress.show(2.4, means, batches_per_s=0.2, gan=True)
        sight.progress._bar.refresh()
    text = shown.export_text().strip().splitlines()[-1]
    words = ("epoch 3/4 GAN", "l1 0.2000↑ multi_stft 0.4000 d_real 0.8000 d_fake 0.7000", "0.20 batches/s", "80 s left")
    assert all(word in text for word in words), text
    shown.file.close()


def test_the_log_of_a_run_has_its_times(tmp_path: Path) -> None:
    import json

    fresh_state()
    corpus = make_corpus(tmp_path / "corpus")
    run = train(settings(corpus, tmp_path / "run", epochs=2)).run
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    seconds = [entry["seconds"] for entry in entries]
    assert seconds == sorted(seconds) and seconds[0] > 0.0
    for entry in entries:
        assert ("batches_per_s" in entry) == (entry["kind"] == "train")
    assert all("seconds" not in line for line in lines(run, "train"))
