"""A run over time: rates, phases, lengths, long segments, what it begins from and what stays frozen."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from tests.runs import SEGMENT, fresh_state, lines, make_corpus, settings, weights_of
from timbre_restore import runtime, training
from timbre_restore.apps.cli import main
from timbre_restore.config.schema import Config, Discriminators, Model
from timbre_restore.errors import CheckpointError, ConfigError, CorpusError, TrainingStopped
from timbre_restore.loading import EpochBatches, Loader, RandomGain, TimbreRestoreDataset
from timbre_restore.models import DiscriminatorSettings, GeneratorSettings
from timbre_restore.training import (
    Checkpoint,
    StepTimes,
    TrainSettings,
    TrainSummary,
    find_checkpoint,
    loop,
    time_steps,
    train,
)
from timbre_restore.training.ahead import timing
from timbre_restore.training.checkpoints.checkpoint import begin_from
from timbre_restore.training.length import epochs_in, length_of
from timbre_restore.training.schedule import learning_rate_factor, plan_of, set_learning_rates
from timbre_restore.training.state import TrainState, create_state


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """accelerate keeps its state in class attributes: each run starts without the last one's."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def test_learning_rate_rises_then_falls() -> None:
    def at(step: int) -> float:
        return learning_rate_factor(step, total_steps=100, warmup_steps=10, final_factor=0.1)

    assert at(0) == pytest.approx(0.1)
    assert at(9) == at(10) == pytest.approx(1.0)
    assert at(55) == pytest.approx(0.55)
    assert at(100) == pytest.approx(0.1)
    assert learning_rate_factor(2, total_steps=3, warmup_steps=50, final_factor=0.1) == pytest.approx(1.0)


def test_discriminators_start_with_their_whole_rate() -> None:
    run = settings(Path(), Path(), epochs=10, gan_start_epoch=8, learning_rate=1.0, discriminator_learning_rate=0.5)
    state = create_state(run)
    rates = []
    for state.epoch, batch in ((0, 0), (8, 0), (9, 9)):
        set_learning_rates(state, run, plan_of(run), state.epoch + batch / 10, epoch_steps=10)
        rates.append((rate_of(state.generator_optimizer), rate_of(state.discriminator_optimizer)))
    assert rates[1][0] < 0.2
    assert rates[1][1] == 0.5
    assert rates[2][1] < 0.02


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def test_a_run_keeps_its_shape_at_another_length() -> None:
    plan = plan_of(settings(Path(), Path(), epochs=60, warmup_epochs=5, gan_start_epoch=15, gan_ramp_epochs=1.0), 6.0)
    assert (plan.length, plan.warmup, plan.gan_start, plan.gan_ramp) == pytest.approx((6.0, 0.5, 1.5, 0.1))
    assert [plan.gan(place) for place in (1.49, 1.5)] == [False, True]
    assert [plan.ramp(place) for place in (1.0, 1.5, 1.55, 1.6, 3.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [plan_of(settings(Path(), Path(), epochs=4), 2.3).last_batch(epoch, 10) for epoch in range(4)] == [
        10,
        10,
        3,
        0,
    ]


def test_long_segments_come_by_the_whole_epochs_nearest_to_their_share() -> None:
    """A run that is too short for one has none: it would be long from its beginning on, or for half of its steps."""
    run = settings(Path(), Path(), epochs=8, long_epochs=2)
    starts = {length: plan_of(run, length).long_start for length in (8.0, 4.0, 3.0, 2.1, 1.94, 0.9)}
    assert starts == {8.0: 6, 4.0: 3, 3.0: 2, 2.1: 2, 1.94: math.inf, 0.9: math.inf}


def test_a_run_without_room_for_long_segments_says_so(corpus: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"epochs": 8, "steps": 2, "long_epochs": 2, "long_run": 3, "long_batch_size": 1}
    said = train(settings(corpus, tmp_path / "run", **changes)).warnings
    assert [warning for warning in said if "no long segments are used" in warning]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_of_long_segments_alone_is_counted_in_them(corpus: Path, tmp_path: Path, steps: int) -> None:
    """Two segments of three items make an epoch, where three batches of items would."""
    changes: dict[str, Any] = {"epochs": 8, "long_epochs": 8, "long_run": 3, "long_batch_size": 1, "window": SEGMENT}
    summary = train(settings(corpus, tmp_path / "run", steps=steps, **changes))
    assert summary.steps == steps and not [said for said in summary.warnings if "no long segments are used" in said]
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert (plan["epochs"], plan["epoch_steps"]) == (steps / 2, 2)


def test_a_run_of_so_many_steps_ends_within_its_epoch(corpus: Path, tmp_path: Path) -> None:
    """One step into the second epoch, of which there are a mean, a validation and a checkpoint all the same."""
    summary = train(settings(corpus, tmp_path / "run", steps=4))
    assert summary.steps == 4
    found = find_checkpoint(tmp_path / "run")
    assert (found.content["step"], found.content["epoch"], found.content["batch"]) == (4, 1, 1)
    cut = lines(tmp_path / "run", "epoch")[-1]
    (only,) = (line for line in lines(tmp_path / "run", "train") if line["step"] == 4)
    assert cut["l1"] == pytest.approx(only["l1"])
    assert "val_multi_stft" in cut
    assert cut["epoch"] == summary.epochs == pytest.approx(4 / 3)


def test_a_longer_run_goes_on_with_the_rest_of_the_epoch(corpus: Path, tmp_path: Path) -> None:
    """At a constant rate: the weights of a run that was as long from the begin. After its end comes no step."""
    changes: dict[str, Any] = {"epochs": 8, "gan_start_epoch": 8, "final_factor": 1.0, "warmup_epochs": 0}
    train(settings(corpus, tmp_path / "whole", steps=8, **changes))
    for steps in (4, 4, 5, 8):
        fresh_state()
        assert train(settings(corpus, tmp_path / "cut", steps=steps, **changes), resume="auto").steps == steps
    for name in ("generator", "ema"):
        one, two = (find_checkpoint(tmp_path / run).folder / f"{name}.safetensors" for run in ("whole", "cut"))
        assert one.read_bytes() == two.read_bytes()
    epochs = [line["epoch"] for line in lines(tmp_path / "cut", "epoch")]
    assert epochs == [1, pytest.approx(4 / 3), pytest.approx(5 / 3), 2, pytest.approx(8 / 3)]
    text = (tmp_path / "cut" / "run.html").read_text(encoding="utf-8")
    assert "2.67 of 2.67 epochs completed" in text


def test_hours_are_planned_once(corpus: Path, tmp_path: Path) -> None:
    times = StepTimes((1.0,), (3.0,), (0.0,), (0.0,), 2.0, "cpu", 0, 0, 0, ())
    run = settings(corpus, tmp_path / "run", epochs=2, gan_start_epoch=1, hours=36 / 3600)
    # An epoch: five steps, half of them plain at 1 s, half at 3 s, and two batches of validation: 14 s. 36 s hold two,
    # and 4 s of steps before the last validation, which are two steps.
    assert epochs_in(run, times, epoch_steps=5, validation_batches=2) == pytest.approx(2.4)
    said: list[str] = []
    measured = [length_of(run, None, epoch_steps=5, validation_batches=2, talk=said.append, measure=lambda *_: times)]
    assert "is planned as 12 steps (2.4 epochs)" in said[0]
    kept = Checkpoint(tmp_path, {"planned": measured[0].planned})
    again = replace(run, hours=72 / 3600)
    never = pytest.fail
    assert length_of(again, kept, epoch_steps=5, validation_batches=2, talk=said.append, measure=never) == measured[0]
    assert "its length stays 2.4 epochs" in said[1]


def test_a_run_of_hours_measures_trains_and_goes_on_as_planned(corpus: Path, tmp_path: Path) -> None:
    run = settings(corpus, tmp_path / "run", hours=1e-4, checkpoint_minutes=1e-9)
    summary = train(run)
    found = find_checkpoint(tmp_path / "run")
    assert summary.steps == round(found.content["planned"]["epochs"] * 3) >= 1
    fresh_state()
    assert train(run, resume="auto").steps == summary.steps


def test_steps_that_are_left_are_counted_before_the_gan_and_with_it() -> None:
    plan = plan_of(settings(Path(), Path(), epochs=4, gan_start_epoch=2), 3.0)  # the GAN begins at 1.5
    assert [plan.steps_left(place, 10) for place in (0.0, 1.2, 1.5, 2.9, 3.0)] == [
        (15, 15), (3, 15), (0, 15), (0, 1), (0, 0),
    ]  # fmt: skip


def test_long_segments_follow_the_list_and_share_their_draws(corpus: Path) -> None:
    batches = EpochBatches(7, 1, seed=1, run=3)
    assert (len(batches), batches.length, batches.most_items) == (2, 2, 3)
    begins = set()
    for epoch in range(20):
        batches.set_epoch(epoch)
        segments = sorted(batches)
        begins.add(segments[0][0])
        assert all(b - a == 1 for segment in segments for a, b in pairwise(segment))
        assert segments[1][0] == segments[0][0] + 3
    assert begins == {0, 1}
    batches.set_epoch(0)
    data = TimbreRestoreDataset(corpus / "train.txt", with_noisy=True, segment=SEGMENT)
    loader = Loader(data, batches, gain=RandomGain(6.0, 0))
    for segment, (degraded, clean, noisy) in zip(batches, loader, strict=True):
        items = [data[index] for index in segment]
        gain = (degraded[0, 0, :SEGMENT] / items[0][0][0]).nanmedian()
        assert gain != 1.0
        for ours, name in ((degraded, 0), (clean, 1)):
            assert torch.allclose(ours[0], gain * torch.cat([item[name] for item in items], dim=-1), atol=1e-5)
        heard = torch.cat([item[2][:, :SEGMENT] for item in items] + [items[-1][2][:, SEGMENT:]], dim=-1)
        assert torch.allclose(noisy[0], gain * heard, atol=1e-5)


def test_the_last_epochs_take_long_segments_and_resume_exactly(corpus: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"epochs": 2, "long_epochs": 1, "long_run": 3, "long_batch_size": 1, "window": SEGMENT}
    whole = settings(corpus, tmp_path / "whole", **changes)
    assert train(whole).steps == 3 + 2  # three batches of items, then two segments of three
    fresh_state()
    stopped = settings(corpus, tmp_path / "stopped", checkpoint_minutes=1e-9, **changes)
    plain, steps = loop.train_step, []

    def until_four(state: TrainState, *args: Any, **more: Any) -> Any:
        steps.append(state.step)
        if state.step == 4 and len(steps) == 5:
            raise RuntimeError("the power went off")
        return plain(state, *args, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(loop, "train_step", until_four)
        train(stopped)
    fresh_state()
    assert train(stopped, resume="auto").steps == 5
    for name, tensor in weights_of(tmp_path / "whole").items():
        assert torch.equal(tensor, weights_of(tmp_path / "stopped")[name]), name


def test_segments_longer_than_the_corpus_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"lists 7 items, but training\.long_segments\.seconds needs 8"):
        train(settings(corpus, tmp_path / "run", epochs=1, long_epochs=1, long_run=8))
    fresh_state()
    with pytest.raises(CorpusError, match=r"lists 7 items, but training\.long_segments\.seconds needs 8"):
        train(settings(corpus, tmp_path / "run", epochs=3, long_epochs=1, long_run=8))
    assert not (tmp_path / "run").exists(), "said before the epochs that come first"


def test_memory_that_runs_out_while_hours_are_measured_is_told(corpus: Path, tmp_path: Path) -> None:
    def measure(*_: Any) -> StepTimes:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    run = settings(corpus, tmp_path / "run", hours=1.0)
    with pytest.raises(TrainingStopped, match=r"memory ran out .*halve training\.batch_size"):
        length_of(run, None, epoch_steps=5, validation_batches=2, talk=lambda _: None, measure=measure)


def test_a_run_without_discriminators_is_measured_without_them(corpus: Path, tmp_path: Path) -> None:
    plain = settings(corpus, tmp_path / "run", epochs=2, gan_start_epoch=2, hours=1.0)
    times = time_steps(plain, 1)
    assert len(times.plain_s) == 1 and times.gan_s == ()
    said: list[str] = []
    length_of(plain, None, epoch_steps=5, validation_batches=2, talk=said.append, measure=lambda *_: times)
    assert "s per step." in said[0] and "GAN" not in said[0]
    fresh_state()
    assert len(time_steps(replace(plain, gan_start_epoch=1), 1).gan_s) == 1


def test_steps_in_which_discriminators_rest_are_measured_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whole rounds, as a run has them."""
    learned: list[bool] = []
    plain = timing.train_step

    def seen(*args: Any, **more: Any) -> dict[str, torch.Tensor]:
        scalars = plain(*args, **more)
        if more["gan"]:
            learned.append("discriminator_gradient_norm" in scalars)
        return scalars

    monkeypatch.setattr(timing, "train_step", seen)
    run = settings(corpus, tmp_path / "run", epochs=2, gan_start_epoch=1, discriminator_every=2)
    assert len(time_steps(run, 3).gan_s) == 4
    assert learned == [True, True, False, True, False]  # the first one warms up
    learned.clear()
    fresh_state()
    assert len(time_steps(replace(run, discriminator_every=50), 2).gan_s) == 2
    assert learned == [True, True, False]


def test_an_item_is_learned_from_whole(corpus: Path, tmp_path: Path) -> None:
    """Windows are of long segments."""
    for name, window in (("whole", 0), ("windows", SEGMENT // 2)):
        train(settings(corpus, tmp_path / name, epochs=1, window=window))
        fresh_state()
    one, two = (find_checkpoint(tmp_path / name).folder / "ema.safetensors" for name in ("whole", "windows"))
    assert one.read_bytes() == two.read_bytes()


def test_frozen_parts_stay_and_the_rest_moves(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "first", epochs=1))
    fresh_state()
    said: list[str] = []
    tuned = settings(
        corpus,
        tmp_path / "tuned",
        epochs=1,
        start_from=tmp_path / "first",
        freeze=("enter*", "by_band*"),
        learning_rate=1e-3,
    )
    train(tuned, say=said.append)
    assert any(line.startswith("starting from") and "different settings" not in line for line in said)
    before, after = weights_of(tmp_path / "first"), weights_of(tmp_path / "tuned")
    for name, tensor in after.items():
        frozen = name.startswith(("enter", "by_band"))
        assert torch.equal(tensor, before[name]) == (
            frozen or name not in dict(create_state(tuned).generator.named_parameters())
        ), name


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (("entre*",), "'entre\\*' matches no tensor of the generator; its parts are .*enter\\*"),
        (("*",), "leaves nothing to train"),
    ],
)
def test_a_freeze_that_can_not_be_is_a_sentence(tmp_path: Path, patterns: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        create_state(settings(tmp_path, tmp_path, freeze=patterns))


@pytest.mark.parametrize("channels", [4, 8])
def test_a_run_begins_with_all_three_networks(corpus: Path, tmp_path: Path, channels: int) -> None:
    """Discriminators too, where they are of one kind; others begin anew, and that is said."""
    run = settings(corpus, tmp_path / "run", epochs=1, gan_start_epoch=0)
    train(run)
    fresh_state()
    own = replace(run, seed=5, discriminators=replace(run.discriminators, channels=channels))
    state, anew, said = create_state(own), create_state(own), list[str]()
    begin_from(tmp_path / "run", state, own, said.append)
    folder = find_checkpoint(tmp_path / "run", "best").folder
    for name, network in (("ema", state.generator), ("ema", state.ema), ("discriminators", state.discriminators)):
        expected = load_file(folder / f"{name}.safetensors")
        if name == "discriminators" and channels != run.discriminators.channels:
            expected = anew.discriminators.state_dict()
        found = network.state_dict()
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    assert ("its discriminators have different settings" in said[0]) == (channels != run.discriminators.channels)


def test_starting_from_another_generator_is_refused(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "first", epochs=1))
    fresh_state()
    other = GeneratorSettings(size="tiny", conditioning="degraded")
    with pytest.raises(CheckpointError, match=r"start_from holds a different generator.*conditioning"):
        train(settings(corpus, tmp_path / "other", generator=other, start_from=tmp_path / "first"))


def test_init_takes_weights_and_both_networks_settings(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run by its path, or of a packaged voice by its name; what --set says comes after it."""
    record = Config(
        model=Model(size="tiny", conditioning="degraded+noisy"),
        discriminators=Discriminators(names=["mpd"], periods=[2], windows=[512], channels=4),
    ).model_dump(mode="json")
    judges = DiscriminatorSettings(names=("mpd",), periods=(2,), windows=(512,), channels=4)
    run = settings(corpus, tmp_path / "run", epochs=1, record=record, discriminators=judges)
    train(replace(run, generator=GeneratorSettings("spectral", "tiny", "degraded+noisy")))
    asked: list[TrainSettings] = []

    def noted(told: TrainSettings, **_: Any) -> TrainSummary:
        asked.append(told)
        return TrainSummary(told.output_dir, 0, 0, {}, 0.0, [])

    monkeypatch.setattr(training, "train", noted)
    checkpoint = find_checkpoint(tmp_path / "run").folder
    monkeypatch.setattr(runtime, "packaged_weights", lambda: {"small": checkpoint})
    line = ["train", "--skip-audit", "--freeze", "enter*", "--freeze", "down*"]
    for place, named in ((str(tmp_path / "run"), tmp_path / "run"), ("small", checkpoint)):
        assert main([*line, "--init", place]) == 0
        told = asked.pop()
        assert told.generator == GeneratorSettings("spectral", "tiny", "degraded+noisy")
        assert told.discriminators == judges
        assert (told.start_from, told.freeze) == (named, ("enter*", "down*"))
    (tmp_path / "mine.yaml").write_text("discriminators: {loss: lsgan, every: 2, precision: bf16, channels: 16}\n")
    assert main([*line, "--init", "small", "--config", str(tmp_path / "mine.yaml")]) == 0
    told = asked.pop()
    assert (told.adversarial_loss, told.discriminator_every, told.discriminator_precision) == ("lsgan", 2, "bf16")
    assert told.discriminators == judges, "weights fit no others"
    assert main([*line, "--init", "small", "--set", "model.size=base", "--set", "discriminators.channels=8"]) == 0
    told = asked.pop()
    assert (told.generator.size, told.discriminators.channels) == ("base", 8)
    capsys.readouterr()
    assert main([*line, "--init", "smal"]) == 2
    assert "--init smal: expected a run, a checkpoint or a packaged voice (small)." in capsys.readouterr().err
    assert not asked


def test_a_last_part_too_short_for_a_step_is_left_out(corpus: Path, tmp_path: Path) -> None:
    """A third of an epoch is one of three batches, and less than half of one of two segments."""
    changes: dict[str, Any] = {"epochs": 2, "long_epochs": 1, "long_run": 6, "long_batch_size": 1, "window": SEGMENT}
    run = settings(corpus, tmp_path / "run", steps=4, **changes)
    assert train(run).steps == 3
    assert [line["step"] for line in lines(tmp_path / "run", "epoch")] == [3]
    fresh_state()
    assert train(run, resume="auto").steps == 3


def test_a_corpus_within_the_runs_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next run moves this one's folder aside, and with it all that lies there."""
    for corpus in ("run", "run/corpus"):
        line = ["--set", f"data.output_dir={tmp_path / corpus}", "--set", f"training.output_dir={tmp_path / 'run'}"]
        assert main(["train", *line]) == 2
        assert "which a new run moves aside; move it." in capsys.readouterr().err
