"""What goes wrong in a run is found, by the right rule and in time, and a healthy run is left alone."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runs import fresh_state, in_process, lines, make_corpus, settings
from timbre_restore import losses
from timbre_restore.errors import TrainingStopped
from timbre_restore.loading import TimbreRestoreDataset
from timbre_restore.models import Discriminators, DiscriminatorSettings
from timbre_restore.training import TrainSettings, find_checkpoint, loop, steps, train
from timbre_restore.training.monitors import Monitor, is_out_of_memory, machine
from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.look import Machine, Still
from timbre_restore.training.monitors.weights import Movement
from timbre_restore.training.optimizers import Muon
from timbre_restore.training.schedule import plan_of

HEALTHY = {"l1": 0.03, "multi_stft": 0.6, "gradient_norm": 4.0, "clipped": 0.4}
GAME = HEALTHY | {"d_real": 0.9, "d_fake": 0.8, "score_real": 0.2, "score_fake": -0.3, "adversarial": 0.3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    fresh_state()


def watch(**changes: Any) -> TrainSettings:
    return settings(Path(), Path(), **({"log_every_steps": 10, "epochs": 60, "warmup_epochs": 5} | changes))


def monitor_of(run: TrainSettings) -> Monitor:
    return Monitor(run, plan_of(run))


def shown(looks: Sequence[dict[str, Any]], monitor: Monitor | None = None, *, start: int = 0) -> list[Finding]:
    """What a monitor finds in intervals of ten steps."""
    monitor = monitor or monitor_of(watch())
    found = []
    for number, means in enumerate(looks, start=start + 1):
        local = {name: value for name, value in means.items() if name in ("machine", "still")}
        numbers = {name: value for name, value in means.items() if name not in local}
        found += monitor.look(10 * number, 0, numbers, **local)
    return found


def first(found: list[Finding]) -> tuple[str, int, bool]:
    return found[0].rule, found[0].step, found[0].stops


def test_healthy_numbers_are_left_alone() -> None:
    assert shown([HEALTHY] * 50 + [GAME] * 50) == []


@pytest.mark.parametrize(
    ("wrong", "rule", "after_steps", "stops"),
    [
        (HEALTHY | {"gradient_norm": math.nan}, "nan", 10, True),
        (GAME | {"d_fake": math.inf}, "nan", 10, True),
        (GAME | {"l1": 0.31}, "leap", 10, True),
        (GAME | {"d_real": 10.5}, "discriminators_explode", 10, True),
        (GAME | {"d_real": 0.04, "d_fake": 0.04, "score_real": 1, "score_fake": -1}, "discriminators_win", 100, True),
        (GAME | {"d_real": 0.001, "d_fake": 1.0, "score_real": 1, "score_fake": 0, "adversarial": 0},
         "discriminators_stuck", 100, True),
        (GAME | {"d_real": 1.0, "d_fake": 1.0, "score_real": 0, "score_fake": 0, "adversarial": 0, "multi_stft": 0.8},
         "generator_wins", 200, True),
        (GAME | {"d_real": 0.3, "d_fake": 1.1, "score_real": 0.8, "score_fake": 0.1, "adversarial": -0.1},
         "discriminators_apart", 110, False),
        (GAME | {"score_real": -0.3, "score_fake": 0.2, "adversarial": -0.2}, "labels_swapped", 20, True),
        (GAME | {"adversarial": -0.2}, "labels_swapped", 160, True),
        (GAME | {"d_real": 1.4, "d_fake": 1.3, "score_real": -0.3, "score_fake": 0.2, "adversarial": -0.2},
         "labels_swapped", 200, True),
        (GAME | {"gradient_norm": 0.03}, "gradient_vanishes", 50, True),
        (GAME | {"gradient_norm": 410.0}, "gradient_explodes", 10, False),
        (GAME | {"gradient_norm": 16.0, "clipped": 1.0}, "gradient_clipped", 200, False),
        (GAME | {"still": {"discriminators": Still(2, ("a", "b"))}}, "discriminators_frozen", 30, True),
        (GAME | {"still": {"generator": Still(2, (), only_decayed=True)}}, "generator_frozen", 30, True),
        (GAME | {"still": {"discriminators": Still(2, ("b",))}}, "partly_frozen", 30, False),
        (GAME | {"machine": Machine(11.0, 4.0, 0.9)}, "data_starvation", 30, False),
        (GAME | {"machine": Machine(11.0, 3.2, 0.45)}, "device_idle", 30, False),
        (GAME | {"machine": Machine(11.0, 1.0, 0.4, "cuda")}, "device_idle", 30, False),
    ],
)  # fmt: skip
def test_each_rule_speaks_in_time(wrong: dict[str, Any], rule: str, after_steps: int, stops: bool) -> None:
    """In a run that was healthy for 300 steps without and 300 with discriminators: alone, and at the stated step."""
    monitor = monitor_of(watch())
    assert shown([HEALTHY] * 30 + [GAME] * 30, monitor) == []
    found = shown([wrong] * 40, monitor, start=60)
    assert first(found) == (rule, 600 + after_steps, stops)
    assert [finding.rule for finding in found if finding.step == found[0].step] == [rule]


@pytest.mark.parametrize(
    ("scores", "change"),
    [((-0.45, -0.48), "raise training.discriminator_learning_rate"), ((0.3, -0.6), "lower training.discriminator_lea")],
)
def test_discriminators_that_drift_are_told_from_those_that_judge_by_one_side(
    scores: tuple[float, float], change: str
) -> None:
    """Both have been seen: a real run's discriminators gave -0.45 and -0.48, at D_real 1.45 and D_fake 0.52."""
    real, fake = scores
    game = {"d_real": 1.45, "d_fake": 0.52, "score_real": real, "score_fake": fake, "adversarial": -fake}
    found = [finding for finding in shown([HEALTHY | game] * 40) if finding.rule == "discriminators_apart"]
    assert found[0].step == 200
    assert found[0].change.startswith(change)


def test_voices_swapped_in_the_discriminators_loss_are_seen_before_the_scores_part() -> None:
    """Figures of a real run in which they were; and of one with scores as near, and each loss of its own voice."""
    scores = {"score_real": 0.08386, "score_fake": 0.08459, "adversarial": -0.08459}
    swapped = HEALTHY | scores | {"d_real": 1 - 0.08459, "d_fake": 1.08386}
    right = HEALTHY | scores | {"d_real": 1 - 0.08386, "d_fake": 1.08459}
    assert shown([HEALTHY] * 10 + [right] * 30) == []
    assert first(shown([HEALTHY] * 10 + [swapped] * 30)) == ("labels_swapped", 120, True)


def test_discriminators_that_learn_in_every_fiftieth_step_are_not_called_frozen() -> None:
    still = GAME | {"still": {"discriminators": Still(2, ("a", "b"))}}
    moved = GAME | {"still": {"discriminators": Still(2, ())}}
    monitor = monitor_of(watch(discriminator_every=50))
    assert shown([*[still] * 4, moved] * 10, monitor) == []
    assert first(shown([still] * 200, monitor, start=50)) == ("discriminators_frozen", 500 + 50 * 30, True)


@pytest.mark.parametrize(("threads", "change"), [(1, None), (4, "lower training.threads from 4")])
def test_a_cpu_that_others_use_is_said_where_the_run_can_change_it(
    monkeypatch: pytest.MonkeyPatch, threads: int, change: str | None
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = shown([GAME | {"machine": Machine(11.0, 0.2, 0.34)}] * 5)
    assert [change in finding.change for finding in found if change] == [True] * len(found)
    assert bool(found) == bool(change)


def test_a_break_begins_the_window_anew() -> None:
    won = GAME | {"d_real": 0.04, "d_fake": 0.04, "score_real": 1, "score_fake": -1}
    assert shown([HEALTHY] * 30 + ([won] * 9 + [GAME]) * 5) == []


def test_a_term_that_enters_and_a_phase_that_changes_begin_a_level_of_their_own() -> None:
    """Feature matching of 20 is no leap from nothing, nor what the new phase is used to from the old one."""
    entered = GAME | {"feature_matching": 20.0}
    assert shown([HEALTHY] * 30 + [entered] * 30) == []
    settled = GAME | {"l1": 0.29}
    assert shown([HEALTHY] * 30 + [settled] * 10 + [GAME | {"l1": 2.8}]) == []
    assert first(shown([HEALTHY] * 30 + [settled] * 10 + [GAME | {"l1": 3.0}])) == ("leap", 410, True)
    assert first(shown([HEALTHY] * 30 + [GAME | {"l1": 0.31}])) == ("leap", 310, True)


def test_least_squares_have_a_chance_of_a_quarter() -> None:
    monitor = monitor_of(watch(adversarial_loss="lsgan"))
    even = HEALTHY | {"d_real": 0.25, "d_fake": 0.25, "score_real": 0.5, "score_fake": 0.5, "adversarial": 0.25}
    healthy = HEALTHY | {"d_real": 0.15, "d_fake": 0.1, "score_real": 0.7, "score_fake": 0.25, "adversarial": 0.6}
    assert shown([HEALTHY] * 10 + [healthy] * 30, monitor) == []
    assert first(shown([even | {"multi_stft": 0.9}] * 40, monitor, start=40))[0] == "generator_wins"
    batches = healthy | {"adversarial": 0.1}
    assert (
        first(shown([HEALTHY] * 10 + [batches] * 10, monitor_of(watch(adversarial_loss="lsgan"))))[0]
        == "labels_swapped"
    )


def test_no_progress_is_counted_in_each_phase() -> None:
    monitor = monitor_of(watch(epochs=99, warmup_epochs=0))
    found = []
    for epoch in range(20):
        gan = {"d_real": 0.9} if epoch >= 4 else {}
        value = 0.5 if epoch >= 4 else 0.4  # worse with the GAN, and a level of its own
        found += monitor.epoch(100 * epoch, epoch, {"val_multi_stft": value + (0.1 if epoch == 4 else 0.0)} | gan)
    assert [(finding.rule, finding.step) for finding in found] == [("no_progress", 1000), ("no_progress", 1500)]
    assert "training.learning_rate from 0.0005 to 0.00017" in found[0].change


def test_phases_end_within_their_bands() -> None:
    changes: dict[str, Any] = {"epochs": 4, "warmup_epochs": 2, "gan_start_epoch": 3}

    def ended(steps: int, **metrics: float) -> list[str]:
        monitor = monitor_of(watch(**changes))
        monitor.look(steps, 1, HEALTHY)
        return [
            f"{f.rule} {f.seen.split()[0]}" for f in monitor.epoch(steps, 1, {"l1": 0.03, "multi_stft": 0.6} | metrics)
        ]

    gained = {"val_multi_stft": 0.7, "val_multi_stft_degraded": 0.8}
    assert ended(200, **gained) == []
    assert ended(200, **gained | {"multi_stft": 0.9}) == ["outside_band multi_stft"]
    assert ended(200, **gained | {"val_multi_stft": 0.8}) == ["nothing_gained val_multi_stft"]
    assert ended(190, l1=9.0) == []  # too short to be judged
    monitor = monitor_of(watch(**changes))
    monitor.look(300, 3, GAME)
    assert [f.seen.split()[0] for f in monitor.epoch(300, 3, GAME | {"d_real": 0.1})] == ["d_real"]


def test_a_phase_that_ends_within_an_epoch_is_held_against_its_band_there() -> None:
    """By the training means of that epoch's part, once; a short one is left alone."""

    def ended(steps: int, multi_stft: float) -> list[str]:
        monitor = monitor_of(watch(epochs=4, warmup_epochs=1.5, gan_start_epoch=4))
        numbers = HEALTHY | {"multi_stft": multi_stft}
        monitor.look(steps // 2, 0.9, HEALTHY | {"multi_stft": 99.0})
        monitor.epoch(steps // 2, 0, HEALTHY)
        found = monitor.look(steps, 1.4, numbers)
        found += monitor.look(steps + 10, 1.6, numbers) + monitor.look(steps + 20, 1.9, numbers)
        return [f"{f.rule} {f.step} {f.seen.split(' is ')[0]}" for f in found if f.rule == "outside_band"]

    assert ended(300, 0.9) == ["outside_band 300 multi_stft"]
    assert ended(300, 0.8) == []
    assert ended(180, 0.9) == []


def test_a_tensor_is_known_to_move_or_not() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1), torch.nn.Linear(1, 1))
    net[1].requires_grad_(False)
    torch.nn.init.zeros_(net[2].bias)  # and nothing reaches it
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.1)
    movement = Movement()

    def look(*, gradient: float | None, rate: float = 1e-3) -> Still | None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        for p in net.parameters():
            p.grad = (
                None if gradient is None or not p.requires_grad or p is net[2].bias else torch.full_like(p, gradient)
            )
        for _ in range(10):
            optimizer.step()
        return movement.look("generator", net, optimizer, 10)

    assert look(gradient=1.0) is None
    torch.nn.init.zeros_(net[2].weight)
    optimizer.state.clear()
    assert look(gradient=0.0) == Still(2, (), only_decayed=True)
    assert look(gradient=1.0) == Still(3, ())
    assert look(gradient=None) == Still(3, ("0.weight", "0.bias", "2.weight"))
    optimizer.state.clear()
    assert look(gradient=0.0) == Still(3, (), only_decayed=True)
    assert look(gradient=None, rate=1e-9) == Still(0, ())  # too small a step to be seen


def test_orthogonal_steps_without_a_gradient_only_decay() -> None:
    """The matrices shrink, and what is no matrix stays: of such a network nothing learns."""
    net = torch.nn.Linear(8, 8)
    optimizer, movement = Muon(net, 0.01, betas=(0.9, 0.99), weight_decay=0.2), Movement()

    def look(gradient: float) -> Still | None:
        for p in net.parameters():
            p.grad = torch.full_like(p, gradient)
        for _ in range(10):
            optimizer.step()
        return movement.look("generator", net, optimizer, 10)

    assert look(1.0) is None
    assert look(1.0) == Still(2, ())
    optimizer.state.clear()
    assert look(0.0) == Still(2, ("bias",), only_decayed=True)


# Planted in real runs.

SMALL = DiscriminatorSettings(names=("mpd", "mrd"), periods=(2,), windows=(512,), channels=4)
QUICK: dict[str, Any] = {
    "discriminators": SMALL, "batch_size": 1, "log_every_steps": 5,
    "warmup_epochs": 0, "gan_start_epoch": 0, "epochs": 40,
    "threads": 1,  # how busy the machine is with other things is not what is tested
}  # fmt: skip


def events(run: Path) -> list[dict[str, Any]]:
    return lines(run, "event")  # type: ignore[return-value]


def stopped(corpus: Path, run: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    """The event that ended a run, and what was said."""
    with pytest.raises(TrainingStopped) as caught:
        train(settings(corpus, run, **QUICK | changes))
    text = str(caught.value)
    assert "\n" not in text
    assert f"The last healthy checkpoint is {find_checkpoint(run).folder}; after the change, " in text
    assert "; after the change, continue from it with --resume auto." in text
    assert events(run)[-1]["action"] == "stopped"
    return events(run)[-1], text


def test_a_healthy_run_with_discriminators_raises_nothing(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(settings(corpus, tmp_path / "run", **QUICK | {"gan_start_epoch": 10}), say=said.append)
    assert events(tmp_path / "run") == []
    assert not any("warning" in line for line in said)
    assert lines(tmp_path / "run", "epoch")[-1]["step"] == 280


def test_a_learning_rate_times_a_thousand(corpus: Path, tmp_path: Path) -> None:
    event, text = stopped(corpus, tmp_path / "run", learning_rate=0.5)
    assert event["rule"] in ("gradient_vanishes", "leap", "nan")
    assert event["step"] <= 100
    assert "lower training.learning_rate from 0.5 to 0.05" in text


@pytest.mark.parametrize("how", ["batches", "generator", "targets"])
def test_labels_swapped(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    real, fake = losses.discriminator_real, losses.discriminator_fake
    if how == "batches":
        of_both = steps.discriminator_terms
        monkeypatch.setattr(steps, "discriminator_terms", lambda ours, theirs, kind: of_both(theirs, ours, kind))
    elif how == "generator":
        of_ours = steps.generator_terms
        monkeypatch.setattr(steps, "generator_terms", lambda ours, theirs, *more: of_ours(theirs, ours, *more))
    else:
        monkeypatch.setattr(losses, "discriminator_real", fake)
        monkeypatch.setattr(losses, "discriminator_fake", real)
    # Where the generator soon gives the clean voice itself, there is nothing to swap.
    rates = {"learning_rate": 1e-5, "discriminator_learning_rate": 2e-3}
    event, _ = stopped(corpus, tmp_path / "run", **rates)
    assert event["rule"] == "labels_swapped"
    assert event["step"] <= (200 if how == "generator" else 20)
    assert "gan_start_epoch" in event["change"]


def test_discriminators_that_are_not_stepped(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loop.train_step

    def idle(state: Any, *args: Any, **more: Any) -> Any:
        state.discriminator_optimizer.step = lambda *_: None
        return plain(state, *args, **more)

    monkeypatch.setattr(loop, "train_step", idle)
    event, _ = stopped(corpus, tmp_path / "run")
    assert (event["rule"], event["step"]) == ("discriminators_frozen", 35)


def test_one_discriminator_that_the_optimiser_does_not_know(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = loop.create_state

    def forgetful(run: TrainSettings) -> Any:
        state = plain(run)
        known = state.discriminators.members["mrd_512"].parameters()
        state.discriminator_optimizer = torch.optim.AdamW(known, lr=1e-3)
        return state

    monkeypatch.setattr(loop, "create_state", forgetful)
    train(settings(corpus, tmp_path / "run", **QUICK | {"epochs": 6}))
    assert [(event["rule"], event["action"]) for event in events(tmp_path / "run")] == [("partly_frozen", "said")]
    assert "mpd_2" in events(tmp_path / "run")[0]["seen"]


def slow_reading(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    plain = TimbreRestoreDataset.read_into

    def slow(self: Any, *args: Any) -> None:
        machine.time.sleep(seconds)
        plain(self, *args)

    monkeypatch.setattr(TimbreRestoreDataset, "read_into", slow)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_slow_loader(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int) -> None:
    monkeypatch.setattr(machine, "WINDOW_S", 1.0)
    slow_reading(monkeypatch, 0.3)
    said: list[str] = []
    changes = {"epochs": 4, "gan_start_epoch": 99, "num_workers": num_workers}
    train(settings(corpus, tmp_path / "run", **QUICK | changes), say=said.append)
    found = {event["rule"]: event for event in events(tmp_path / "run")}
    assert found["data_starvation"]["action"] == "said"
    assert found["data_starvation"]["step"] <= 20
    assert "raise data.num_workers" in found["data_starvation"]["change"]
    assert sum("was spent waiting for items" in line for line in said) == 1


def spoil(monkeypatch: pytest.MonkeyPatch, steps_to_spoil: Sequence[int]) -> None:
    """Items that hold no numbers, in these steps of the session."""
    plain, count = loop.train_step, iter(range(1, 10**6))

    def spoiled(state: Any, accelerator: Any, run: Any, batches: Any, batch: int, signals: Any, **more: Any) -> Any:
        if next(count) in steps_to_spoil:
            signals = [signals[0].clone().index_fill_(2, torch.tensor([5]), math.nan), *signals[1:]]
        return plain(state, accelerator, run, batches, batch, signals, **more)

    monkeypatch.setattr(loop, "train_step", spoiled)


def test_an_item_that_holds_no_number(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, [17])
    event, text = stopped(corpus, tmp_path / "run")
    assert (event["rule"], event["step"]) == ("nan", 20)
    assert "audit the corpus" in text
    assert find_checkpoint(tmp_path / "run").content["step"] == 14


def test_it_goes_back_to_the_item_that_it_came_from(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of seven items were seen one by one; in pairs, the first of which is spoiled, three pairs are left."""
    run = settings(corpus, tmp_path / "run", epochs=1, batch_size=1, checkpoint_minutes=1e-9)
    plain = loop.train_step

    def ended(state: Any, *words: Any, **more: Any) -> Any:
        if state.step == 3:
            raise KeyboardInterrupt
        return plain(state, *words, **more)

    monkeypatch.setattr(loop, "train_step", ended)
    with pytest.raises(KeyboardInterrupt):
        train(run)
    monkeypatch.undo()
    fresh_state()
    spoil(monkeypatch, [1])
    pairs = replace(run, batch_size=2, checkpoint_minutes=0.0)
    assert train(pairs, resume="auto", on_anomaly="rollback").steps == 3 + 3
    assert [event["back_to"] for event in events(tmp_path / "run")] == [3]


def test_it_goes_back_and_on_at_half_the_rate(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item spoils a run once; and a run that is resumed from where it went back to equals it."""
    spoil(monkeypatch, [17])
    changes = QUICK | {"epochs": 4, "gan_start_epoch": 1}
    said: list[str] = []
    train(settings(corpus, tmp_path / "run", **changes), on_anomaly="rollback", say=said.append)
    assert [(event["rule"], event["step"], event["back_to"]) for event in events(tmp_path / "run")] == [("nan", 20, 14)]
    assert sum("rolled back to step 14, learning rates now × 0.5 (rollback 1 of 3)" in line for line in said) == 1
    logged = lines(tmp_path / "run", "train")
    assert [line["step"] for line in logged] == [1, 5, 7, 10, 14, 15, 20, 21, 25, 28]
    last = find_checkpoint(tmp_path / "run").content
    assert (last["rate_factor"], last["rollbacks"], last["step"]) == (0.5, 1, 28)
    monkeypatch.undo()
    fresh_state()
    train(settings(corpus, tmp_path / "plain", **changes))
    rates = {line["step"]: line["learning_rate"] for line in lines(tmp_path / "plain", "train")}
    factors = {line["step"]: line["learning_rate"] / rates[line["step"]] for line in logged}
    assert factors == {step: pytest.approx(1.0 if step <= 14 else 0.5) for step in factors}


def test_a_run_killed_after_a_rollback_equals_one_that_was_not(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = QUICK | {"epochs": 4}
    for name in ("whole", "cut"):
        with monkeypatch.context() as patch:
            spoil(patch, [17])

            def kill(text: str, name: str = name) -> None:
                if name == "cut" and "rolled back" in text:
                    raise KeyboardInterrupt

            try:
                train(settings(corpus, tmp_path / name, **changes), on_anomaly="rollback", say=kill)
            except KeyboardInterrupt:
                assert name == "cut"
        fresh_state()
    train(settings(corpus, tmp_path / "cut", **changes), resume="auto", on_anomaly="rollback")
    one, two = (find_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert (one.folder / "generator.safetensors").read_bytes() == (two.folder / "generator.safetensors").read_bytes()
    for kind in ("train", "epoch", "event"):
        assert lines(tmp_path / "whole", kind) == lines(tmp_path / "cut", kind)


def test_the_fourth_time_it_stops(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, range(3, 10**4))
    with pytest.raises(TrainingStopped, match="It happened again after 3 rollbacks"):
        train(settings(corpus, tmp_path / "run", **QUICK), on_anomaly="rollback")
    assert find_checkpoint(tmp_path / "run").content["step"] == 0
    assert find_checkpoint(tmp_path / "run").content["rate_factor"] == 0.125
    assert len(events(tmp_path / "run")) == 4


def test_a_warning_is_said_once_and_what_is_no_number_is_never_saved(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, [17])
    said: list[str] = []
    summary = train(settings(corpus, tmp_path / "run", **QUICK | {"epochs": 5}), on_anomaly="warn", say=said.append)
    assert summary.steps == 35
    assert [(event["rule"], event["action"]) for event in events(tmp_path / "run")] == [("nan", "said")]
    assert sum("warning" in line for line in said) == 1
    assert find_checkpoint(tmp_path / "run").content["step"] == 14


def test_what_is_saved_under_suspicion_is_not_called_healthy(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discriminators stop moving after step 14; the checkpoint of step 28 is written before anybody can be sure."""
    plain = loop.train_step

    def idle(state: Any, *args: Any, **more: Any) -> Any:
        if state.step >= 14:
            state.discriminator_optimizer.step = lambda *_: None
        return plain(state, *args, **more)

    monkeypatch.setattr(loop, "train_step", idle)
    event, _ = stopped(corpus, tmp_path / "run")
    assert event["rule"] == "discriminators_frozen"
    assert find_checkpoint(tmp_path / "run").content["step"] in (14, 21)
    assert (tmp_path / "run" / "checkpoints" / "step-00000035").is_dir()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_amid_a_step(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The discriminators are updated already, and the generator is not: nothing of it is kept, whatever the option."""
    whole, plain, at = loop.train_step, steps.update, [0]

    def step(state: Any, *args: Any, **more: Any) -> Any:
        at[0] = state.step
        return whole(state, *args, **more)

    def greedy(accelerator: Any, network: Any, *more: Any) -> Any:
        if at[0] == 9 and not isinstance(network, Discriminators):
            raise error
        return plain(accelerator, network, *more)

    monkeypatch.setattr(loop, "train_step", step)
    monkeypatch.setattr(steps, "update", greedy)
    with pytest.raises(
        TrainingStopped, match=r"halve training\.batch_size to 1, or lower discriminators\.channels"
    ) as no:
        train(settings(corpus, tmp_path / "run", **QUICK | {"batch_size": 2}), on_anomaly="warn")
    assert no.value.exit_code == 3
    assert [(event["rule"], event["step"]) for event in events(tmp_path / "run")] == [("out_of_memory", 10)]
    assert find_checkpoint(tmp_path / "run").content["step"] == 8


def test_other_errors_are_not_taken_for_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


EXHAUSTED = """
import resource, sys
from pathlib import Path
import torch
from tests.test_monitors import QUICK
from tests.runs import settings
from timbre_restore.errors import TrainingStopped
from timbre_restore.training import loop, train
plain = loop.train_step
def step(state, *args, **more):
    if state.step == 7:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
        torch.empty(2**26)  # what was freed before may be enough for a step
    return plain(state, *args, **more)
loop.train_step = step
try:
    train(settings(Path(sys.argv[1]), Path(sys.argv[2]), **QUICK | {"batch_size": 7, "segment": 9600}))
except TrainingStopped as exc:
    print(exc)
    sys.exit(exc.exit_code)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_that_the_system_refuses(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(EXHAUSTED)
    said = in_process([sys.executable, str(tmp_path / "run.py"), str(corpus), str(tmp_path / "run")], 3)
    assert "memory ran out" in said
    assert "halve training.batch_size to 3" in said
    assert find_checkpoint(tmp_path / "run").content["step"] <= 8


TWO = """
import os, sys
from pathlib import Path
from tests import test_monitors
from tests.runs import settings
from timbre_restore.training import loop, train
from timbre_restore.training.monitors import Monitor
plain = loop.train_step
def spoiled(state, accelerator, run, batches, batch, signals, **more):
    scalars = plain(state, accelerator, run, batches, batch, signals, **more)
    if state.step == 5 and accelerator.process_index == 1 and state.rollbacks == 0:
        scalars["l1"] = scalars["l1"] * float("nan")
    return scalars
loop.train_step = spoiled
if os.environ["RANK"] == "1":
    Monitor.look = lambda *_, **__: []  # as if its clocks and sums had shown nothing
run = settings(Path(sys.argv[1]), Path(sys.argv[2]), **test_monitors.QUICK | {"epochs": 3})
summary = train(run, on_anomaly="rollback")
os.write(1, f"{summary.steps}\\n".encode())  # at once: two processes write here
"""


def test_two_processes_go_back_together(corpus: Path, tmp_path: Path) -> None:
    """What the losses of one of them show, and the other's monitor misses, both act on."""
    (tmp_path / "run.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    said = in_process([*command, str(tmp_path / "run.py"), str(corpus), str(tmp_path / "run")])
    assert re.findall(r"\d+", said) == ["12", "12"]
    assert [event["rule"] for event in events(tmp_path / "run")] == ["nan"]
