"""The run: what moves in a step, what two processes agree on, what a resumed run equals, what stops it."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from tests.voices import noise, voice
from timbre_restore.audio import write_audio
from timbre_restore.errors import CheckpointError, ConfigError, CorpusError, TrainingStopped
from timbre_restore.loading import EpochBatches, Loader, RandomGain, TimbreRestoreDataset
from timbre_restore.loading.draws import draw_cut
from timbre_restore.losses import Sound, item_gain, objective
from timbre_restore.models import DiscriminatorSettings, GeneratorSettings
from timbre_restore.training import Checkpoint, StepTimes, TrainSettings, find_checkpoint, load_generator, loop, train
from timbre_restore.training.checkpoints.checkpoint import forget_later, save_checkpoint
from timbre_restore.training.checkpoints.resume import place_in_epoch
from timbre_restore.training.length import epochs_in, length_of
from timbre_restore.training.record.journal import TIMES
from timbre_restore.training.schedule import ema_decay, learning_rate_factor, plan_of, set_learning_rates
from timbre_restore.training.state import TrainState, create_state
from timbre_restore.training.steps import (
    charge,
    discriminator_terms,
    generator_terms,
    judged,
    move,
    whole_step,
)

SEGMENT = 9600
WEIGHTS = {
    "l1": 3.0, "multi_stft": 3.0, "adversarial": 1.0, "feature_matching": 2.0,
    "compressed": 1.0, "over_attenuation": 1.0, "silence": 1.0, "mel": 1.0,
}  # fmt: skip


def make_corpus(folder: Path, train_items: int = 7, val_items: int = 2) -> Path:
    """Pairs in the layout of a corpus: the degraded side is the clean one without its upper octaves."""
    for split, count in (("train", train_items), ("val", val_items)):
        (folder / split).mkdir(parents=True)
        lines = []
        for index in range(count):
            clean = voice(1.0, seed=index)[: SEGMENT + 1440]
            dull = np.convolve(clean, np.ones(8, dtype=np.float32) / 8, "same").astype(np.float32)
            noisy = clean + noise(1.0, seed=index, level=0.003)[: SEGMENT + 1440]
            paths = {kind: folder / split / kind / f"{index}.wav" for kind in ("degraded", "clean", "noisy")}
            write_audio(paths["degraded"], dull[:SEGMENT], 48_000)
            write_audio(paths["clean"], clean[:SEGMENT], 48_000)
            write_audio(paths["noisy"], noisy, 48_000)
            lines.append(f"{paths['degraded']}|{paths['clean']}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """accelerate keeps its state in class attributes: each run starts without the last one's."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def settings(corpus: Path, out: Path, **changes: object) -> TrainSettings:
    base = TrainSettings(
        corpus=corpus,
        output_dir=out,
        generator=GeneratorSettings(size="tiny"),
        discriminators=DiscriminatorSettings(names=("mpd", "mrd", "msd"), periods=(2, 3), windows=(512,), channels=4),
        epochs=3,
        batch_size=3,
        gan_start_epoch=1,
        warmup_epochs=1,
        num_workers=0,
        segment=SEGMENT,
        log_every_steps=1,
        record={"note": "test"},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def lines(run: Path, kind: str) -> list[dict[str, float]]:
    """Of the log, without what two equal runs may differ in."""
    entries = [json.loads(text) for text in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in e.items() if k not in TIMES} for e in entries if e["kind"] == kind]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_generator(find_checkpoint(run)).state_dict()


def test_a_run_leaves_what_it_promises(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    summary = train(settings(corpus, tmp_path / "run"), say=said.append)
    run = summary.run
    assert summary.steps == 3 * 3
    assert [line["epoch"] for line in lines(run, "epoch")] == [1, 2, 3]
    phases = {line["epoch"]: "d_real" in line for line in lines(run, "train")}
    assert phases == {1: False, 2: True, 3: True}
    assert all(math.isfinite(value) for line in lines(run, "train") for value in line.values() if value != "train")
    assert list((run / "tensorboard").rglob("events.*"))
    last = find_checkpoint(run)
    assert last.content["epoch"] == 3
    assert last.content["settings"] == {"note": "test"}
    best = min(lines(run, "epoch"), key=lambda line: line["val_multi_stft"])
    assert find_checkpoint(run, "best").content["metrics"]["val_multi_stft"] == best["val_multi_stft"]
    kept = {"step-00000006", last.folder.name, find_checkpoint(run, "best").folder.name}  # the last two, and the best
    assert {path.name for path in (run / "checkpoints").glob("step-*")} == kept


def test_losses_fall_on_a_corpus_that_can_be_learned(corpus: Path, tmp_path: Path) -> None:
    changes = {"epochs": 15, "gan_start_epoch": 99, "learning_rate": 3e-3}
    train(settings(corpus, tmp_path / "run", **changes))
    epochs = lines(tmp_path / "run", "epoch")
    assert epochs[-1]["multi_stft"] < 0.9 * epochs[0]["multi_stft"]
    assert epochs[-1]["l1"] < epochs[0]["l1"]


def test_resume_equals_an_uninterrupted_run(corpus: Path, tmp_path: Path) -> None:
    """Stopped after an epoch and continued: bit-equal weights, equal log."""
    train(settings(corpus, tmp_path / "whole"))

    def stop(text: str) -> None:
        if text.startswith("epoch 2/3"):
            raise KeyboardInterrupt  # after two epochs; the second one's checkpoint is not written yet

    with pytest.raises(KeyboardInterrupt):
        train(settings(corpus, tmp_path / "cut"), say=stop)
    fresh_state()
    train(settings(corpus, tmp_path / "cut"), resume="auto")
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert lines(tmp_path / "whole", "train") == lines(tmp_path / "cut", "train")
    assert lines(tmp_path / "whole", "epoch") == lines(tmp_path / "cut", "epoch")


CUT = """
import multiprocessing, os, signal, subprocess, sys, time
from pathlib import Path
from tests.test_training import settings
from timbre_restore.errors import TrainingInterrupted
from timbre_restore.training import loop, train
step, number = int(sys.argv[3]), int(sys.argv[4])
whole = loop.whole_step
def cut(state, *args, **more):
    scalars = whole(state, *args, **more)
    if state.step + 1 == step:
        if number == signal.SIGTERM:  # every process of the job, as a cluster does
            for child in multiprocessing.active_children():
                subprocess.run(["kill", str(child.pid)])  # torch lets a worker off that its parent ends
            time.sleep(0.5)
        os.kill(0, number)  # the whole group, as a terminal does
    return scalars
loop.whole_step = cut
changes = {"batch_size": 1, "epochs": 2, "log_every_steps": 3, "num_workers": 1, "checkpoint_minutes": 1e-9}
try:
    train(settings(Path(sys.argv[1]), Path(sys.argv[2]), **changes), resume="auto", say=print)
except TrainingInterrupted as exc:
    print(exc)
    sys.exit(exc.exit_code)
"""


def test_a_run_that_is_ended_and_killed_within_epochs_equals_an_uninterrupted_one(corpus: Path, tmp_path: Path) -> None:
    """SIGTERM after 2 of 14 steps, SIGKILL after 5, Ctrl-C after 9: each amid an epoch and between lines of the log."""
    (tmp_path / "cut.py").write_text(CUT)

    def run(name: str, step: int, number: int, status: int) -> str:
        command = [sys.executable, str(tmp_path / "cut.py"), str(corpus), str(tmp_path / name), str(step), str(number)]
        return in_process(command, status)

    run("whole", 0, 0, 0)
    said = run("cut", 2, signal.SIGTERM, 143)
    assert "interrupted after step 2 (batch 2 of 7 in epoch 1 of 2); a checkpoint is written" in said
    run("cut", 5, signal.SIGKILL, -signal.SIGKILL)
    run("cut", 9, signal.SIGINT, 130)
    run("cut", 0, 0, 0)
    one, two = (find_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    for name in ("generator", "ema", "discriminators"):
        file = f"{name}.safetensors"
        assert (one.folder / file).read_bytes() == (two.folder / file).read_bytes()
    for kind in ("train", "epoch"):
        assert lines(tmp_path / "whole", kind) == lines(tmp_path / "cut", kind)


def fresh_state() -> None:
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def test_a_new_run_keeps_the_older_one(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(settings(corpus, run, epochs=1))
    before = (run / "log.jsonl").read_bytes()
    fresh_state()
    train(settings(corpus, run, epochs=1))
    assert (tmp_path / "run.1" / "log.jsonl").read_bytes() == before


def test_resume_auto_without_a_checkpoint_starts_anew(corpus: Path, tmp_path: Path) -> None:
    assert train(settings(corpus, tmp_path / "run", epochs=1), resume="auto").epochs == 1


def test_another_models_checkpoint_is_one_sentence_with_both_origins(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    wider = GeneratorSettings(size="small")
    with pytest.raises(CheckpointError, match=r"generator\.size: checkpoint 'tiny', configuration 'small'") as caught:
        train(settings(corpus, tmp_path / "run", generator=wider, epochs=2), resume="auto")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "cut", "not json", "lacking"])
def test_a_damaged_checkpoint_is_named(corpus: Path, tmp_path: Path, damage: str) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    folder = find_checkpoint(tmp_path / "run").folder
    if damage == "missing":
        (folder / "generator.safetensors").unlink()
    elif damage == "cut":
        path = folder / "generator.safetensors"
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "lacking":
        path = folder / "checkpoint.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "tally"}))
    else:
        (folder / "checkpoint.json").write_text("{")
    with pytest.raises(CheckpointError, match="can't be read"):
        train(settings(corpus, tmp_path / "run", epochs=2), resume="auto")


def test_a_checkpoint_that_was_kept_under_another_name_is_gone_on_from(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(settings(corpus, run, epochs=1))
    fresh_state()
    kept = find_checkpoint(run).folder.rename(run / "checkpoints" / "kept")
    forget_later(run, find_checkpoint(kept))
    assert find_checkpoint(run).folder.samefile(kept)
    assert train(settings(corpus, run, epochs=2), resume="auto").steps == 6


def test_the_checkpoint_before_a_damaged_one_takes_its_place(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(settings(corpus, tmp_path / "run"))
    whole = weights_of(tmp_path / "run")
    fresh_state()
    path = find_checkpoint(tmp_path / "run").folder / "optimizers.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    train(settings(corpus, tmp_path / "run"), resume="auto", say=said.append)
    assert "step-00000009/optimizers.pt: can't be read (it is not what was written); the one before it," in said[0]
    assert "step-00000006, takes its place" in said[0]
    again = weights_of(tmp_path / "run")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_no_checkpoint_at_a_named_path(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        train(settings(corpus, tmp_path / "run"), resume=str(tmp_path / "nothing"))


def test_odd_but_allowed_settings_are_said(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", train_items=2, val_items=0)
    summary = train(settings(corpus, tmp_path / "run", epochs=1, warmup_epochs=5, gan_start_epoch=15, batch_size=16))
    text = " ".join(summary.warnings)
    for part in ("warm-up is cut", "GAN never starts", "one short batch", "validation list is empty"):
        assert part in text
    assert summary.steps == 1
    assert find_checkpoint(tmp_path / "run", "best").content["epoch"] == 1


def test_an_empty_training_list_is_an_error(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", train_items=0)
    with pytest.raises(CorpusError, match="lists no pair"):
        train(settings(corpus, tmp_path / "run"))


def test_each_trainable_tensor_moves_and_only_in_its_own_step() -> None:
    """Each optimiser alone takes its step: its network moves, every tensor of it, and the other one does not."""
    torch.manual_seed(0)
    state, accelerator = create_state(settings(Path(), Path(), learning_rate=1e-3)), Accelerator(cpu=True)
    noisy = 0.1 * torch.randn(2, 1, SEGMENT + 1440)
    clean = 0.1 * torch.randn(2, 1, SEGMENT)
    gain = item_gain(clean)
    ours, theirs = Sound(state.generator(noisy[..., :SEGMENT] * 0.5, noisy) * gain), Sound(clean * gain)
    verdicts = judged(state, accelerator, settings(Path(), Path()), ours, theirs, learning=True)
    nets = {"generator": state.generator, "discriminators": state.discriminators}
    before = {name: copy.deepcopy(net.state_dict()) for name, net in nets.items()}
    charge(accelerator, state.discriminators, discriminator_terms(*verdicts, "hinge"), {}, 2, keep=True)
    assert all(p.grad is None for p in state.generator.parameters())
    judged_before = {name: p.grad.clone() for name, p in state.discriminators.named_parameters()}
    terms = state.objective(ours, theirs) | generator_terms(*verdicts, "hinge", WEIGHTS)
    charge(accelerator, state.generator, terms, WEIGHTS, 2)
    for name, p in state.discriminators.named_parameters():
        assert torch.equal(p.grad, judged_before[name]), "the generator's loss taught a discriminator"
    move(accelerator, state.discriminators, state.discriminator_optimizer, 5.0)
    assert unmoved(before["discriminators"], state.discriminators) == []
    assert len(unmoved(before["generator"], state.generator)) == len(list(state.generator.parameters()))
    between = copy.deepcopy(state.discriminators.state_dict())
    move(accelerator, state.generator, state.generator_optimizer, 5.0)
    assert unmoved(before["generator"], state.generator) == []
    assert len(unmoved(between, state.discriminators)) == len(list(state.discriminators.parameters()))


def unmoved(before: dict[str, torch.Tensor], net: torch.nn.Module) -> list[str]:
    return [name for name, p in net.named_parameters() if torch.equal(before[name], p)]


def a_step(run: TrainSettings, state: TrainState, *, gan: bool = True, **more: Any) -> dict[str, torch.Tensor]:
    """One step of two made items."""
    torch.manual_seed(state.step)
    noisy = 0.1 * torch.randn(2, 1, SEGMENT + 1440)
    signals = (0.5 * noisy[..., :SEGMENT], noisy[..., :SEGMENT], noisy)
    return whole_step(state, Accelerator(cpu=True), run, EpochBatches(2, 2, seed=0), 0, signals, gan=gan, **more)


def test_a_loss_at_weight_zero_is_neither_built_nor_computed() -> None:
    weights = WEIGHTS | {"multi_stft": 0.0, "feature_matching": 0.0, "over_attenuation": 0.0, "mel": 0.0}
    run = settings(Path(), Path(), loss_weights=weights)
    state = create_state(run)
    scalars = a_step(run, state)
    scored = {"d_real", "d_fake", "score_real", "score_fake", "discriminator_gradient_norm"}
    assert set(scalars) == {"l1", "adversarial", "compressed", "silence", "total", "gradient_norm"} | scored
    assert not hasattr(state.objective, "mel")


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
from tests.test_training import settings, SEGMENT, WEIGHTS
from timbre_restore.loading import EpochBatches
from timbre_restore.losses import objective
from timbre_restore.training.state import create_state, place_state
from timbre_restore.training.steps import whole_step
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
    whole_step(state, accelerator, run, batches, batch, (degraded[own], clean[own], noisy[own]), gan=True)
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
from tests.test_training import settings
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


def in_process(command: list[str], status: int = 0) -> str:
    """What a process says on standard output, which ends with this status."""
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == status, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done.stdout


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


def test_a_leap_at_the_border_of_two_epochs_is_seen(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level of the last epoch is remembered in the next one, and by a resumed run."""
    train(settings(corpus, tmp_path / "run", epochs=2, gan_start_epoch=9))
    fresh_state()
    plain = objective.l1
    monkeypatch.setattr(objective, "l1", lambda estimate, reference: 1000 * plain(estimate, reference))
    with pytest.raises(TrainingStopped, match=r"l1 is .* over 10 times its recent level"):
        train(settings(corpus, tmp_path / "run", epochs=3, gan_start_epoch=9), resume="auto")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_missing_file_is_one_sentence_through_any_number_of_workers(tmp_path: Path, num_workers: int) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    (corpus / "train" / "clean" / "3.wav").unlink()
    with pytest.raises(CorpusError, match=r"train\.txt.*line 4.*3\.wav") as caught:
        train(settings(corpus, tmp_path / "run", epochs=1, num_workers=num_workers))
    assert "\n" not in str(caught.value)


def test_a_run_that_can_not_start_leaves_the_older_one_alone(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    with pytest.raises(CorpusError):
        train(settings(tmp_path / "nothing", tmp_path / "run", epochs=1))
    assert find_checkpoint(tmp_path / "run").content["epoch"] == 1


def test_continuing_elsewhere_keeps_the_run_that_is_there(corpus: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(settings(corpus, tmp_path / name, epochs=2))
        fresh_state()
    before = (tmp_path / "b" / "log.jsonl").read_bytes()
    train(settings(corpus, tmp_path / "b", epochs=3), resume=str(tmp_path / "a"))
    assert (tmp_path / "b.1" / "log.jsonl").read_bytes() == before
    assert find_checkpoint(tmp_path / "b").content["epoch"] == 3


def test_resuming_in_another_order_is_said(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    summary = train(settings(corpus, tmp_path / "run", epochs=2, batch_size=2), resume="auto")
    assert any(
        "joined_batch (training.batch_size times processes) is 2 and was 3" in warning for warning in summary.warnings
    )


def test_another_corpus_is_refused_and_the_same_elsewhere_is_not(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    other = make_corpus(tmp_path / "other", train_items=8)
    with pytest.raises(CheckpointError, match="was trained on another list of 7 items than the one of 8 given here"):
        train(settings(other, tmp_path / "run", epochs=2), resume="auto")
    fresh_state()
    moved = make_corpus(tmp_path / "moved")
    assert train(settings(moved, tmp_path / "run", epochs=2), resume="auto").steps == 6


def test_a_run_goes_on_within_an_epoch_at_another_batch_size(corpus: Path, tmp_path: Path) -> None:
    """Six of seven items were seen in batches of one; in batches of two, the fourth batch is left."""
    state = create_state(settings(corpus, tmp_path))
    state.batch, state.step = 6, 6
    order = {"corpus": "x", "items": 7, "joined_batch": 1, "seed": 0}
    save_checkpoint(tmp_path, state, settings(corpus, tmp_path), {}, best=False, order=order)
    batch, changed = place_in_epoch(find_checkpoint(tmp_path), order | {"joined_batch": 2})
    assert batch == 3
    assert len(changed) == 1
    with pytest.raises(CheckpointError, match="has no best checkpoint before an epoch is done; take the last one"):
        find_checkpoint(tmp_path, "best")


def test_what_has_diverged_is_not_saved(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is no number between two lines of the log leaves the last healthy checkpoint the last."""
    plain = loop.whole_step

    def spoiled(state: TrainState, *args: Any, **more: Any) -> Any:
        scalars = plain(state, *args, **more)
        return scalars | {"l1": scalars["l1"] * math.nan} if state.step == 3 else scalars

    monkeypatch.setattr(loop, "whole_step", spoiled)
    changes = {"batch_size": 1, "log_every_steps": 100, "checkpoint_minutes": 1e-9}
    with pytest.raises(TrainingStopped, match="step 4: l1 is nan"):
        train(settings(corpus, tmp_path / "run", **changes))
    assert find_checkpoint(tmp_path / "run").content["step"] == 3


def test_a_torn_checkpoint_of_a_killed_process_is_cleared(corpus: Path, tmp_path: Path) -> None:
    torn = tmp_path / "run" / "checkpoints" / f".step-00000001.{os.getpid()}.tmp"
    torn.mkdir(parents=True)
    (torn / "generator.safetensors").write_bytes(b"torn")
    train(settings(corpus, tmp_path / "run", epochs=1), resume="auto")
    assert not torn.exists()


def test_a_diverging_run_stops_and_keeps_its_last_healthy_checkpoint(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "run", epochs=1))
    fresh_state()
    with pytest.raises(TrainingStopped, match=r"over 10 times|the run has diverged"):
        train(
            settings(corpus, tmp_path / "run", epochs=40, learning_rate=1e12, gradient_clip=1e30, warmup_epochs=0),
            resume="auto",
        )
    assert find_checkpoint(tmp_path / "run").content["epoch"] >= 1
    assert all(torch.isfinite(w).all() for w in weights_of(tmp_path / "run").values())


@pytest.mark.parametrize(("processes", "share"), [(None, 4), ("2", 2), ("8", 1)])
def test_processes_share_the_threads(monkeypatch: pytest.MonkeyPatch, processes: str | None, share: int) -> None:
    if processes is None:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert loop.threads_of_process(4) == share


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


def test_the_mean_of_weights_forgets_its_start() -> None:
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999


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


def test_a_run_of_so_many_steps_ends_within_its_epoch(corpus: Path, tmp_path: Path) -> None:
    """One step into the second epoch, of which there are a mean, a validation and a checkpoint all the same."""
    summary = train(settings(corpus, tmp_path / "run", steps=4))
    assert summary.steps == 4
    found = find_checkpoint(tmp_path / "run")
    assert (found.content["step"], found.content["epoch"], found.content["batch"]) == (4, 2, 0)
    cut = lines(tmp_path / "run", "epoch")[-1]
    (only,) = (line for line in lines(tmp_path / "run", "train") if line["step"] == 4)
    assert cut["l1"] == pytest.approx(only["l1"])
    assert "val_multi_stft" in cut


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
        part = Sound(clean[..., k * half : (k + 1) * half] * gain)
        terms = slow.objective(Sound(out * gain), part)
        total = total + sum(WEIGHTS[name] * value.mean() for name, value in terms.items()) / 2
    total.backward()
    torch.nn.utils.clip_grad_norm_(slow.generator.parameters(), run.gradient_clip)
    for (name, ours), theirs in zip(state.generator.named_parameters(), slow.generator.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7), name


def test_the_last_epochs_take_long_segments_and_resume_exactly(corpus: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"epochs": 2, "long_epochs": 1, "long_run": 3, "long_batch_size": 1, "window": SEGMENT}
    whole = settings(corpus, tmp_path / "whole", **changes)
    assert train(whole).steps == 3 + 2  # three batches of items, then two segments of three
    fresh_state()
    stopped = settings(corpus, tmp_path / "stopped", checkpoint_minutes=1e-9, **changes)
    plain, steps = loop.whole_step, []

    def until_four(state: TrainState, *args: Any, **more: Any) -> Any:
        steps.append(state.step)
        if state.step == 4 and len(steps) == 5:
            raise RuntimeError("the power went off")
        return plain(state, *args, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(loop, "whole_step", until_four)
        train(stopped)
    fresh_state()
    assert train(stopped, resume="auto").steps == 5
    for name, tensor in weights_of(tmp_path / "whole").items():
        assert torch.equal(tensor, weights_of(tmp_path / "stopped")[name]), name


def test_segments_longer_than_the_corpus_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"lists 7 items and training\.long_segments\.seconds takes 8"):
        train(settings(corpus, tmp_path / "run", epochs=1, long_epochs=1, long_run=8))


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
    assert any(line.startswith("beginning from") and "others" not in line for line in said)
    before, after = weights_of(tmp_path / "first"), weights_of(tmp_path / "tuned")
    for name, tensor in after.items():
        frozen = name.startswith(("enter", "by_band"))
        assert torch.equal(tensor, before[name]) == (
            frozen or name not in dict(create_state(tuned).generator.named_parameters())
        ), name


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (("entre*",), "'entre\\*' names no tensor of the generator; its parts are .*enter\\*"),
        (("*",), "leaves nothing to train"),
    ],
)
def test_a_freeze_that_can_not_be_is_a_sentence(tmp_path: Path, patterns: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        create_state(settings(tmp_path, tmp_path, freeze=patterns))


def test_starting_from_another_generator_is_refused(corpus: Path, tmp_path: Path) -> None:
    train(settings(corpus, tmp_path / "first", epochs=1))
    fresh_state()
    other = GeneratorSettings(size="tiny", conditioning="degraded")
    with pytest.raises(CheckpointError, match=r"start_from is of another generator.*conditioning"):
        train(settings(corpus, tmp_path / "other", generator=other, start_from=tmp_path / "first"))


def test_steps_that_are_left_are_counted_before_the_gan_and_with_it() -> None:
    plan = plan_of(settings(Path(), Path(), epochs=4, gan_start_epoch=2), 3.0)  # the GAN begins at 1.5
    assert [plan.steps_left(place, 10) for place in (0.0, 1.2, 1.5, 2.9, 3.0)] == [
        (15, 15), (3, 15), (0, 15), (0, 1), (0, 0),
    ]  # fmt: skip
