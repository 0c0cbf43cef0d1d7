"""A step: what moves in it, what is computed once, and what several processes agree on."""

from __future__ import annotations

import copy
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from tests.runs import EVERY_JUDGE, SEGMENT, WEIGHTS, in_process, lines, make_corpus, settings
from timbre_restore.audio import HOP_SAMPLES
from timbre_restore.loading import EpochBatches
from timbre_restore.loading.draws import draw_cut
from timbre_restore.losses import Waveform, item_gain
from timbre_restore.training import TrainSettings
from timbre_restore.training.schedule import ema_decay
from timbre_restore.training.state import TrainState, create_state
from timbre_restore.training.steps import (
    _windows,
    accumulate_gradients,
    discriminate,
    discriminator_terms,
    generator_terms,
    train_step,
    update,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """accelerate keeps its state in class attributes: each run starts without the last one's."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def test_each_trainable_tensor_moves_and_only_in_its_own_step() -> None:
    """Each optimiser alone takes its step: its network moves, every tensor of it, and the other one does not."""
    torch.manual_seed(0)
    run = settings(Path(), Path(), learning_rate=1e-3, discriminators=EVERY_JUDGE)
    state, accelerator = create_state(run), Accelerator(cpu=True)
    noisy = 0.1 * torch.randn(2, 1, SEGMENT + 1440)
    clean = 0.1 * torch.randn(2, 1, SEGMENT)
    gain = item_gain(clean)
    ours, theirs = Waveform(state.generator(noisy[..., :SEGMENT] * 0.5, noisy) * gain), Waveform(clean * gain)
    verdicts = discriminate(state, accelerator, run, ours, theirs, learning=True)
    nets = {"generator": state.generator, "discriminators": state.discriminators}
    before = {name: copy.deepcopy(net.state_dict()) for name, net in nets.items()}
    accumulate_gradients(accelerator, state.discriminators, discriminator_terms(*verdicts, "hinge"), {}, 2, keep=True)
    assert all(p.grad is None for p in state.generator.parameters())
    judged_before = {name: p.grad.clone() for name, p in state.discriminators.named_parameters()}
    terms = state.objective(ours, theirs) | generator_terms(*verdicts, "hinge", WEIGHTS)
    accumulate_gradients(accelerator, state.generator, terms, WEIGHTS, 2)
    for name, p in state.discriminators.named_parameters():
        assert torch.equal(p.grad, judged_before[name]), "the generator's loss taught a discriminator"
    update(accelerator, state.discriminators, state.discriminator_optimizer, 5.0)
    assert unmoved(before["discriminators"], state.discriminators) == []
    assert len(unmoved(before["generator"], state.generator)) == len(list(state.generator.parameters()))
    between = copy.deepcopy(state.discriminators.state_dict())
    update(accelerator, state.generator, state.generator_optimizer, 5.0)
    assert unmoved(before["generator"], state.generator) == []
    assert len(unmoved(between, state.discriminators)) == len(list(state.discriminators.parameters()))


def unmoved(before: dict[str, torch.Tensor], net: torch.nn.Module) -> list[str]:
    return [name for name, p in net.named_parameters() if torch.equal(before[name], p)]


def a_step(run: TrainSettings, state: TrainState, *, gan: bool = True, **more: Any) -> dict[str, torch.Tensor]:
    """One step of two made items."""
    torch.manual_seed(state.step)
    noisy = 0.1 * torch.randn(2, 1, SEGMENT + 1440)
    signals = (0.5 * noisy[..., :SEGMENT], noisy[..., :SEGMENT], noisy)
    return train_step(
        state, Accelerator(cpu=True), run, EpochBatches(2, 2, seed=0, window=run.window), 0, signals, gan=gan, **more
    )


def test_a_loss_at_weight_zero_is_neither_built_nor_computed() -> None:
    weights = WEIGHTS | {
        "multi_stft": 0.0,
        "feature_matching": 0.0,
        "over_attenuation": 0.0,
        "mel": 0.0,
        "perceptual": 0.0,
        "cells": 0.0,
    }
    run = settings(Path(), Path(), loss_weights=weights)
    state = create_state(run)
    scalars = a_step(run, state)
    scored = {"d_real", "d_fake", "score_real", "score_fake", "discriminator_gradient_norm"}
    assert set(scalars) == {"l1", "adversarial", "compressed", "silence", "total", "gradient_norm"} | scored
    assert not any(hasattr(state.objective, name) for name in ("mel", "perceptual", "cells"))


def test_a_step_runs_each_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator once, each discriminator once per voice: what feature matching needs is there already."""
    run = settings(Path(), Path())
    state, calls = create_state(run), Counter[str]()
    nets = {"generator": state.generator, **dict(state.discriminators.members.items())}
    for name, net in nets.items():
        net.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
    plain = torch.stft
    monkeypatch.setattr(
        torch, "stft", lambda x, size, *a, **k: calls.update([f"stft {size}"]) or plain(x, size, *a, **k)
    )
    a_step(run, state)
    members = dict.fromkeys(state.discriminators.members, 2)
    assert calls == {"generator": 1, **members, **{f"stft {size}": 2 for size in (2048, 1024, 512)}}


def test_discriminators_learn_in_every_nth_step_and_teach_in_each() -> None:
    run = settings(Path(), Path(), discriminator_every=2)
    state = create_state(run)
    for state.step, learns in ((0, True), (1, False), (2, True)):
        before = {name: copy.deepcopy(net.state_dict()) for name, net in nets_of(state).items()}
        scalars = a_step(run, state)
        assert (unmoved(before["discriminators"], state.discriminators) == []) == learns
        assert unmoved(before["generator"], state.generator) == []
        assert ("discriminator_gradient_norm" in scalars) == learns
        assert "d_real" in scalars  # what they would pay is logged all the same
        assert all(p.requires_grad for p in state.discriminators.parameters())


def nets_of(state: TrainState) -> dict[str, torch.nn.Module]:
    return {"generator": state.generator, "discriminators": state.discriminators}


def test_the_ramp_scales_the_game_alone() -> None:
    run = settings(Path(), Path())
    totals = {ramp: a_step(run, create_state(run), ramp=ramp)["total"].item() for ramp in (0.0, 0.5, 1.0)}
    plain = a_step(run, create_state(run), gan=False)["total"].item()
    assert totals[0.0] == pytest.approx(plain, rel=1e-6)
    assert totals[0.5] == pytest.approx((totals[0.0] + totals[1.0]) / 2, rel=1e-5)
    assert totals[1.0] > plain


def test_what_the_discriminators_hear_is_cut_by_seed_epoch_and_item() -> None:
    batches = EpochBatches(4, 2, seed=3)
    halves = [EpochBatches(4, 1, seed=3, rank=rank, world=2) for rank in (0, 1)]
    joined = dict(zip(batches.firsts(0), batches.cuts(0, 48_000, 24_576), strict=True))
    apart = {half.firsts(0)[0]: half.cuts(0, 48_000, 24_576)[0] for half in halves}
    assert joined == apart
    assert all(start % 512 == 0 and 0 <= start <= 48_000 - 24_576 for start in joined.values())
    batches.set_epoch(1)
    assert len({tuple(batches.cuts(0, 48_000, 24_576)), tuple(joined.values())}) == 2
    starts = {draw_cut(0, epoch, 0, 48_000, 24_576) for epoch in range(300)}
    assert len(starts) == (48_000 - 24_576) // 512 + 1


GRADIENTS = """
import sys, torch
from pathlib import Path
from accelerate import Accelerator
from tests.runs import settings, SEGMENT, WEIGHTS
from timbre_restore.loading import EpochBatches
from timbre_restore.losses import objective
from timbre_restore.training.state import create_state, place_state
from timbre_restore.training.steps import train_step
torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
slow = {"learning_rate": 1e-7, "discriminator_learning_rate": 1e-7, "gradient_clip": 1e9}
run = settings(Path(), Path(), batch_size=6 // accelerator.num_processes, **slow)
state = create_state(run)
place_state(state, accelerator)
torch.manual_seed(0)
noisy = 0.1 * torch.randn(7, 1, SEGMENT + 1440); clean = 0.5 * noisy[..., :SEGMENT].roll(1, -1)
degraded = 0.3 * noisy[..., :SEGMENT]
batches = EpochBatches(7, run.batch_size, seed=0, rank=accelerator.process_index, world=accelerator.num_processes)
for batch, own in enumerate(batches):
    train_step(state, accelerator, run, batches, batch, (degraded[own], clean[own], noisy[own]), gan=True)
    state.step += 1
    if accelerator.is_main_process:
        nets = [accelerator.unwrap_model(state.generator), accelerator.unwrap_model(state.discriminators)]
        named = [(f"{i}.{n}", p.grad) for i, net in enumerate(nets) for n, p in net.named_parameters()]
        torch.save({n: grad.clone() for n, grad in named if grad is not None}, f"{sys.argv[1]}-{batch}.pt")
accelerator.wait_for_everyone()
if torch.distributed.is_initialized(): torch.distributed.destroy_process_group()
"""


TWO_PROCESSES = """
import sys
from pathlib import Path
from tests.runs import settings
from timbre_restore.training import train
slow = {"learning_rate": 1e-7, "discriminator_learning_rate": 1e-7}
train(settings(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=int(sys.argv[3]), epochs=2, **slow))
"""


def test_a_run_of_two_processes_logs_what_one_with_the_joined_batch_does(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for command, name, batch in (([sys.executable], "one", "4"), (torchrun, "two", "2")):
        in_process([*command, str(tmp_path / "run.py"), str(corpus), str(tmp_path / name), batch])
    for kind in ("train", "epoch"):
        one, two = lines(tmp_path / "one", kind), lines(tmp_path / "two", kind)
        assert len(one) == len(two) == (4 if kind == "train" else 2)
        for a, b in zip(one, two, strict=True):
            assert a.keys() == b.keys()
            for key in a.keys() - {"kind"}:
                assert a[key] == pytest.approx(b[key], rel=1e-3, abs=1e-5), key


def test_two_processes_give_the_gradient_of_one_with_the_joined_batch(tmp_path: Path) -> None:
    """Six items over two processes, then a tail of one item, of which the second process has none."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for command, name in (([sys.executable], "one"), (torchrun, "two")):
        in_process([*command, str(script), str(tmp_path / name)])
    for batch in (0, 1):
        one, two = (torch.load(tmp_path / f"{name}-{batch}.pt", weights_only=True) for name in ("one", "two"))
        assert one.keys() == two.keys()
        largest = max(grad.abs().max().item() for grad in one.values())
        for name, grad in one.items():
            assert torch.allclose(grad, two[name], rtol=1e-3, atol=1e-6 * largest), (batch, name)


def test_a_step_in_windows_has_the_gradient_of_each_window_from_the_state_before() -> None:
    """Against a slow way: the whole segment in one graph, each window's loss with the past cut off."""
    run = settings(
        Path(), Path(), window=SEGMENT // 2, loss_weights=WEIGHTS | dict.fromkeys(("mel", "multi_stft"), 0.0)
    )
    state, slow = create_state(run), create_state(run)
    a_step(run, state, gan=False)
    torch.manual_seed(0)
    noisy = 0.1 * torch.randn(2, 1, SEGMENT + 1440)
    degraded, clean = 0.5 * noisy[..., :SEGMENT], noisy[..., :SEGMENT]
    gain, memory, half, total = item_gain(clean), None, SEGMENT // 2, torch.zeros(())
    for k in range(2):
        out, memory = slow.generator(degraded, noisy, span=(k * half // 480, (k + 1) * half // 480), memory=memory)
        memory = {name: tensor.detach() for name, tensor in memory.items()}
        part = Waveform(clean[..., k * half : (k + 1) * half] * gain)
        terms = slow.objective(Waveform(out * gain), part)
        total = total + sum(WEIGHTS[name] * value.mean() for name, value in terms.items()) / 2
    total.backward()
    torch.nn.utils.clip_grad_norm_(slow.generator.parameters(), run.gradient_clip)
    for (name, ours), theirs in zip(state.generator.named_parameters(), slow.generator.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7), name


def test_the_mean_of_weights_forgets_its_start() -> None:
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999


@pytest.mark.parametrize("seconds", [1, 4, 8, 30])
@pytest.mark.parametrize("window_s", [0.5, 3.33, 4.0, 5.0, 29.97, 100.0])
def test_windows_of_a_segment_are_of_like_length(seconds: int, window_s: float) -> None:
    """A rest of one hop would be too short for the losses, and weigh as much as the others."""
    samples, longest = 48_000 * seconds, round(window_s * 100) * HOP_SAMPLES
    windows = _windows(samples, longest)
    lengths = [stop - start for start, stop in windows]
    assert windows[0][0] == 0 and windows[-1][1] == samples and sum(lengths) == samples
    assert [stop for _, stop in windows[:-1]] == [start for start, _ in windows[1:]]
    assert max(lengths) <= longest and max(lengths) - min(lengths) <= HOP_SAMPLES
    assert all(length % HOP_SAMPLES == 0 for length in lengths) and len(windows) == math.ceil(samples / longest)
