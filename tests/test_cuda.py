"""What a GPU computes is what a CPU computes: networks, streams, steps, batches, whole runs, and a lack of memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")
if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

from accelerate import Accelerator  # noqa: E402

from tests.runs import EVERY_JUDGE, SEGMENT, WEIGHTS, fresh_state, lines, make_corpus, settings, weights_of  # noqa: E402
from tests.test_models import KINDS, chunk_of, network, part, run, sounds  # noqa: E402
from timbre_restore.errors import TrainingInterrupted, TrainingStopped  # noqa: E402
from timbre_restore.loading import EpochBatches, Loader, TimbreRestoreDataset  # noqa: E402
from timbre_restore.training import find_checkpoint, loop, train  # noqa: E402
from timbre_restore.training.monitors.machine import Meter  # noqa: E402
from timbre_restore.training.state import create_state, place_state  # noqa: E402
from timbre_restore.training.steps import train_step  # noqa: E402

GPU = torch.device("cuda")
EXACT = 1e-5
"""Of float32 sums in another order. A GPU's own short floats (TF32) are off for it: they are good to a thousandth."""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Whole float32, and an accelerate that doesn't know of the last run."""
    fresh_state()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    fresh_state()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def far(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value."""
    ours, theirs = ours.detach().cpu().double(), theirs.detach().cpu().double()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))


@pytest.mark.parametrize(("name", "conditioning"), KINDS)
def test_a_network_is_the_same_function_there(name: str, conditioning: str) -> None:
    net, (degraded, noisy) = network(name, conditioning), sounds(100, batch=3)
    given = [x for x, used in ((degraded, True), (noisy, "noisy" in conditioning)) if used]
    here = net(*given)
    assert far(net.to(GPU)(*(x.to(GPU) for x in given)), here) < EXACT


@pytest.mark.parametrize("name", ["spectral", "unet"])
def test_a_stream_there_is_the_whole(name: str) -> None:
    net = network(name)
    chunk = chunk_of(net, 60)
    whole = run(net, chunk, [60])
    net.to(GPU)
    there = {key: value.to(GPU) for key, value in chunk.items()}
    state, out, at = net.initial_state(torch.zeros(1, 1, 1, device=GPU)), [], 0
    for hops in (1, 7, 30, 22):
        given, state = net.stream(part(net, there, at, at + hops), state)
        out.append(given["residual" if net.domain == "spectrum" else "restored"])
        at += hops
    assert far(torch.cat(out, dim=2), whole) < EXACT


@pytest.mark.parametrize("kind", ["hinge", "lsgan"])
def test_a_step_has_the_same_losses_and_gradients(kind: str) -> None:
    """Generator and discriminators learn the same from the same batch, losses of all kinds among them."""
    plan = settings(Path(), Path(), learning_rate=1e-3, adversarial_loss=kind, discriminators=EVERY_JUDGE)
    found: dict[str, Any] = {}
    for cpu in (True, False):
        fresh_state()
        accelerator, state = Accelerator(cpu=cpu), create_state(plan)
        assert accelerator.device.type == ("cpu" if cpu else "cuda")
        place_state(state, accelerator)
        torch.manual_seed(0)
        noisy = 0.1 * torch.randn(2, 1, SEGMENT + 1440)
        signals = (0.5 * noisy[..., :SEGMENT], noisy[..., :SEGMENT], noisy)
        scalars = train_step(state, accelerator, plan, EpochBatches(2, 2, seed=0), 0, signals, gan=True)
        gradients = {
            f"{role}.{name}": p.grad
            for role, net in (("generator", state.generator), ("discriminators", state.discriminators))
            for name, p in net.named_parameters()
        }
        found[accelerator.device.type] = ({name: float(x) for name, x in scalars.items()}, gradients)
    (here, ours), (there, theirs) = found["cpu"], found["cuda"]
    assert there == pytest.approx(here, rel=1e-3)
    largest = {role: max(float(g.abs().max()) for n, g in ours.items() if n.startswith(role)) for role in
               ("generator", "discriminators")}  # fmt: skip
    for name, gradient in ours.items():
        off = float((theirs[name].cpu() - gradient).abs().max()) / largest[name.split(".")[0]]
        assert off < 1e-3, name


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")  # it says so when used
def test_a_step_never_waits_for_the_device(corpus: Path) -> None:
    """What is launched runs behind: a wait within the step would leave the device idle while the next part is made."""
    plan = settings(corpus, Path(), discriminator_segment=4800, loss_weights=WEIGHTS)
    accelerator, state = Accelerator(), create_state(plan)
    place_state(state, accelerator)
    data = TimbreRestoreDataset(corpus / "train.txt", with_noisy=True, with_hints=True, segment=SEGMENT)
    order = EpochBatches(len(data.pairs), 3, seed=1)
    try:
        for batch, signals in enumerate(Loader(data, order, device=accelerator.device)):
            train_step(state, accelerator, plan, order, batch, signals, gan=True)
            torch.cuda.set_sync_debug_mode("error")  # but not in the first step, in which libraries set themselves up
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_there_are_the_same_bits(corpus: Path, workers: int) -> None:
    data = TimbreRestoreDataset(corpus / "train.txt", with_noisy=True, with_hints=True, segment=SEGMENT)
    order = EpochBatches(len(data.pairs), 3, seed=1)
    here = [[x.clone() for x in batch] for batch in Loader(data, order, num_workers=workers)]
    there = [[x.clone() for x in batch] for batch in Loader(data, order, num_workers=workers, device=GPU)]
    assert all(x.is_cuda for batch in there for x in batch)
    for ours, theirs in zip(here, there, strict=True):
        assert all(torch.equal(a.nan_to_num(7.0), b.cpu().nan_to_num(7.0)) for a, b in zip(ours, theirs, strict=True))


def test_a_run_is_that_of_a_cpu(corpus: Path, tmp_path: Path) -> None:
    """Three epochs, two of them with the game: the log agrees line by line, as far as sums in another order do."""
    train(settings(corpus, tmp_path / "gpu"))
    fresh_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        train(settings(corpus, tmp_path / "cpu"))
    ours, theirs = lines(tmp_path / "cpu", "train"), lines(tmp_path / "gpu", "train")
    assert [line["step"] for line in theirs] == [line["step"] for line in ours]
    for here, there in zip(ours, theirs, strict=True):
        for name in ("l1", "multi_stft", "total", "d_real", "d_fake"):
            if name in here:
                assert there[name] == pytest.approx(here[name], rel=0.01), (here["step"], name)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_run_is_interrupted_and_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Weights, averages, optimisers and counters all come back to the device: what follows is as without a break."""
    changes: dict[str, Any] = {"mixed_precision": precision, "num_workers": 1}
    if precision == "bf16":
        changes["discriminator_precision"] = "bf16"
    train(settings(corpus, tmp_path / "whole", **changes))
    fresh_state()
    plain = loop.train_step

    def ended(state: Any, *args: Any, **more: Any) -> Any:
        if state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(state, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", ended)
        with pytest.raises(TrainingInterrupted):
            train(settings(corpus, tmp_path / "cut", **changes))
    fresh_state()
    train(settings(corpus, tmp_path / "cut", **changes), resume="auto")
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    worst = max(far(cut[name], whole[name]) for name in whole)
    assert worst < (1e-3 if precision == "no" else 3e-2)
    last = [lines(tmp_path / name, "epoch")[-1] for name in ("whole", "cut")]
    assert last[1]["val_multi_stft"] == pytest.approx(last[0]["val_multi_stft"], rel=1e-3)


def test_memory_that_the_device_has_not(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loop.train_step

    def greedy(state: Any, *args: Any, **more: Any) -> Any:
        if state.step == 2:
            torch.empty(1 << 45, dtype=torch.uint8, device=GPU)
        return plain(state, *args, **more)

    monkeypatch.setattr(loop, "train_step", greedy)
    with pytest.raises(TrainingStopped, match=r"batch_size"):
        train(settings(corpus, tmp_path / "run", checkpoint_minutes=1e-9))
    assert find_checkpoint(tmp_path / "run").content["step"] == 2


def test_the_device_says_how_long_it_waited() -> None:
    """A loader that takes 50 ms a batch, and next to no work: nearly all of the time is waiting."""

    def slow() -> Iterator[list[Any]]:
        for _ in range(8):
            time.sleep(0.05)
            yield [torch.ones(4, device=GPU)]

    meter = Meter(Accelerator())
    for (x,) in meter.timed(slow()):
        x.square_()
    machine = meter.look()
    assert machine.device == "cuda"
    assert 0.3 < machine.waited_s <= machine.wall_s
    assert machine.used is None or 0.0 <= machine.used <= 1.0
