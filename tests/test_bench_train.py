"""`bench train`: the reference recipe is the published one and learns, rates are arithmetic, parts make the step."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from rich.console import Console

from timbre_restore import losses
from timbre_restore.apps import bench_train
from timbre_restore.apps.cli import main
from timbre_restore.apps.train import train_settings
from timbre_restore.audio import read_list
from timbre_restore.config import load_config
from timbre_restore.loading import TimbreRestoreDataset
from timbre_restore.losses import objective
from timbre_restore.models import DiscriminatorSettings, GeneratorSettings, make_generator
from timbre_restore.training import TrainSettings
from timbre_restore.training.bench import bench_training, measure, rounds
from timbre_restore.training.bench.parts import MARK, NODE, Profile, _sorted_out, profile_steps
from timbre_restore.training.bench.recipe import (
    PERIODS,
    SCALE_LAYERS,
    Plain,
    PlainDiscriminators,
    make_plain,
    plain_step,
)
from timbre_restore.training.bench.rounds import Rate, Series, Subject, measure_rates, steps_of_round
from timbre_restore.training.device import open_accelerator

SEGMENT = 9600
CPU = torch.device("cpu")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_S", 0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verb's own corpus, of short items in batches of two."""
    config = load_config(None, [f"data.segment={SEGMENT}", "training.batch_size=2"])
    return bench_train.make_corpus(tmp_path_factory.mktemp("bench"), config, seconds=1.0)


def tiny_settings(corpus: Path) -> TrainSettings:
    return TrainSettings(
        corpus=corpus,
        output_dir=corpus,
        generator=GeneratorSettings(size="tiny"),
        discriminators=DiscriminatorSettings(names=("mpd", "mrd"), periods=(2,), windows=(512,), channels=4),
        batch_size=2,
        num_workers=0,
        segment=SEGMENT,
    )


def tiny_plain(device: torch.device) -> Plain:
    return make_plain(device, size="tiny", divisor=16)


def test_the_recipe_has_the_published_layers() -> None:
    """Counted by hand from the paper's appendix; 41.1 and 29.6 million are also what others count."""
    widths = (1, 32, 128, 512, 1024)
    period = sum(a * b * 5 + 2 * b for a, b in pairwise(widths))
    period += 1024 * 1024 * 5 + 2 * 1024 + 1024 * 3 + 2
    before, scale, scales = 1, 0, 0
    for channels, kernel, _, groups in SCALE_LAYERS:
        scale += before // groups * channels * kernel + channels
        scales += channels
        before = channels
    scale, scales = scale + before * 3 + 1, scales + 1
    with torch.device("meta"):  # shapes without numbers
        judges, generator = PlainDiscriminators(), make_generator(GeneratorSettings("reference", "base", "degraded"))
    assert sum(p.numel() for p in judges.periods.parameters()) == len(PERIODS) * period
    # Weight normalisation adds a length per channel, spectral normalisation no parameter.
    assert sum(p.numel() for p in judges.scales.parameters()) == 3 * scale + 2 * scales
    assert round(len(PERIODS) * period / 1e6, 1) == 41.1
    assert round((3 * scale + 2 * scales) / 1e6, 1) == 29.6
    assert [layer.conv.out_channels for layer in vars(generator)["_modules"]["encode"]] == [64, 128, 256, 512]


def test_a_plain_step_moves_everything_and_runs_as_often_as_a_plain_loop() -> None:
    torch.manual_seed(0)
    plain = tiny_plain(CPU)
    before = {id(p): p.detach().clone() for net in (plain.generator, plain.discriminators) for p in net.parameters()}
    runs: list[str] = []
    plain.generator.register_forward_hook(lambda *_: runs.append("g, free" if not torch.is_grad_enabled() else "g"))
    plain.discriminators.register_forward_hook(lambda *_: runs.append("d"))
    wave = 0.1 * torch.randn(2, 1, SEGMENT)
    values = plain_step(plain, wave, wave.roll(7, -1), contextlib.nullcontext)
    assert runs == ["g, free", "d", "d", "g", "d", "d"]
    assert set(values) == {"d_real", "d_fake", "l1", "multi_stft", "adversarial", "feature_matching"}
    for net in (plain.generator, plain.discriminators):
        for name, p in net.named_parameters():
            assert not torch.equal(p, before[id(p)]), name


def test_the_plain_recipe_learns() -> None:
    """A recipe that did not would be no reference, however long it takes."""
    torch.manual_seed(0)
    plain = make_plain(CPU, size="tiny", divisor=32)
    for group in (*plain.generator_optimizer.param_groups, *plain.discriminator_optimizer.param_groups):
        group["lr"] = 5e-3
    with torch.no_grad():  # an open gate, or it would take thousands of steps
        plain.generator.heads.conv.weight.mul_(10.0)
        plain.generator.heads.conv.bias[0] = 1.0
    t = torch.arange(4800) / 48_000
    clean = (0.2 * torch.sin(2 * torch.pi * 440 * t) + 0.1 * torch.sin(2 * torch.pi * 3000 * t)).reshape(1, 1, -1)
    values = [plain_step(plain, 0.3 * clean, clean, contextlib.nullcontext) for _ in range(9)]
    assert values[0]["d_real"] > 0.5  # of untrained scores, about 0
    assert values[-1]["multi_stft"] < 0.8 * values[0]["multi_stft"]
    assert values[-1]["l1"] < values[0]["l1"]
    assert values[-1]["d_real"] + values[-1]["d_fake"] < 0.7 * (values[0]["d_real"] + values[0]["d_fake"])


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(rounds, "time", found)
    return found


def test_rounds_take_turns_and_leave_out_the_first_step(clock: Clock) -> None:
    calls: list[str] = []

    def step(name: str, seconds: float) -> Callable[[], None]:
        def work() -> None:
            # The first one is slow, as a step is for which kernels are chosen.
            clock.sleep(0.3 if name not in calls else seconds)
            calls.append(name)

        return work

    subjects = [Subject("slow", 8, step("slow", 0.04), 2), Subject("fast", 4, step("fast", 0.02))]
    rates = measure_rates(subjects, 2, CPU)
    # Warm-up and the step that says how many make a round, of each; then rounds.
    assert calls[:4] == ["slow", "slow", "fast", "fast"]
    counts = {name: rate.steps // 2 for name, rate in rates.items()}
    assert calls[4:] == (["slow"] * counts["slow"] + ["fast"] * counts["fast"]) * 2
    assert rates["slow"].median == pytest.approx(200.0)
    assert rates["fast"].median == pytest.approx(200.0)
    assert (rates["slow"].items, rates["slow"].device_bytes) == (8, None)


def test_no_further_round_after_the_time_is_up() -> None:
    rates = measure_rates([Subject("x", 1, lambda: None)], 9, CPU, longest_s=0.0)
    assert len(rates["x"].items_per_s) == 2


def test_series_begin_with_a_step_that_is_not_counted(clock: Clock) -> None:
    series = Series(Subject("x", 3, lambda: clock.sleep(0.2)), CPU)
    series.round()
    assert series.rate().steps == 1
    assert series.values == [pytest.approx(15.0)]


@pytest.mark.parametrize(
    ("seconds", "fewest", "steps"), [(30.0, 1, 1), (30.0, 2, 2), (0.4, 2, 4), (0.4, 1, 3), (0.001, 3, 102)]
)
def test_steps_of_a_round(seconds: float, fewest: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_S", 1.0)
    assert steps_of_round(seconds, fewest) == steps


@pytest.mark.parametrize(
    ("seconds", "most", "items"), [(0.1, 16, 16), (1.9, 16, 8), (9.0, 16, 2), (40.0, 16, 1), (9.0, 6, 3)]
)
def test_the_reference_takes_what_fits_half_a_minute(seconds: float, most: int, items: int) -> None:
    assert measure.fitting_items(seconds, most) == items


@pytest.mark.parametrize(("every", "steps"), [(1, 2), (2, 2), (3, 3)])
def test_a_round_has_whole_turns_of_the_discriminators(every: int, steps: int, made: Path) -> None:
    settings = replace(tiny_settings(made), discriminator_every=every)
    assert measure.OwnStep(settings, open_accelerator(settings)).subject("x", gan=True).fewest_steps == steps


def test_a_reference_that_does_not_fit_the_device_takes_fewer_items(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def step(plain: Plain, degraded: torch.Tensor, *_: Any) -> None:
        tried.append(len(degraded))
        if len(degraded) > 1:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(measure, "plain_step", step)
    settings = tiny_settings(made)
    own = measure.OwnStep(settings, open_accelerator(settings))
    assert measure.reference_subject(own, tiny_plain(CPU)).items == 1
    assert tried == [1, 1, 2, 1]


def test_rates_follow_from_items() -> None:
    """A reference that was measured in batches of 2 is compared by what an item takes."""
    settings = TrainSettings(Path(), Path())
    rates = {
        measure.PLAIN: Rate(16, (30.0, 32.0, 90.0), 6, None),
        measure.GAN: Rate(16, (16.0, 15.0, 17.0), 6, None),
        measure.REFERENCE: Rate(2, (0.7, 0.9, 0.8), 3, None),
        measure.LOADER: Rate(512, (1000.0, 1001.0), 2, None),
    }
    report = measure.report(settings, CPU, rates, Profile({"a": {"forward_ms": 1.0, "backward_ms": 2.0}}, 4.0))
    assert (report["batches_per_s"], report["batches_per_s_gan"]) == (2.0, 1.0)
    assert report["reference_batches_per_s_gan"] == 0.05
    assert report["ratio_gan"] == 20.0
    assert report["loader_items_per_s"] == 1000.5
    assert report["measured"][measure.PLAIN]["items_per_s_highest"] == 90.0
    assert (report["batch_size"], report["reference_batch_size_measured"], report["rounds"]) == (16, 2, 3)
    assert report["profile"]["steps"] == 1
    assert (report["profile"]["sum_ms"], report["profile"]["step_ms"]) == (3.0, 1000.0)


def event(name: str, start: float, end: float, parent: Any = None, number: int = -1, **more: Any) -> Any:
    inner = more.pop("inner", 0.0)
    span = SimpleNamespace(start=start, end=end, elapsed_us=lambda: end - start)
    values = {"device_type": SimpleNamespace(name="CPU"), "kernels": [], "self_cpu_time_total": end - start - inner}
    values["is_user_annotation"] = name.startswith(MARK)
    return SimpleNamespace(name=name, time_range=span, cpu_parent=parent, sequence_nr=number, **(values | more))


def planted() -> list[Any]:
    """A step in microseconds: part a makes node 5, part b node 6; backward runs both, and adds a gradient."""
    step = event(f"{MARK}step", 0, 10_000, inner=9_000)
    a = event(f"{MARK}a", 0, 2_000, step, inner=2_000)
    b = event(f"{MARK}b", 2_000, 3_000, step, inner=1_000)
    return [
        step, a, b,
        event("early", 0, 500, a, 5), event("op", 500, 1_500, a, 5), event("makes none", 1_500, 2_000, a, 6),
        event("op", 2_000, 3_000, b, 6),
        event(f"{NODE}: B", 3_000, 4_000, step, 6),
        event(f"{NODE}: A", 4_000, 8_000, step, 5),
        event(f"{NODE}: torch::autograd::AccumulateGrad", 8_000, 9_000, step),
    ]  # fmt: skip


def test_backward_goes_to_the_part_whose_forward_it_undoes() -> None:
    profile = _sorted_out(planted(), 1, on_cuda=False)
    assert profile.parts == {
        "a": {"forward_ms": 2.0, "backward_ms": 5.0},
        "b": {"forward_ms": 1.0, "backward_ms": 1.0},
        "other": {"forward_ms": 1.0},
    }
    assert list(profile.parts)[-1] == "other"
    assert (profile.sum_ms, profile.profiled_step_ms) == (10.0, 10.0)
    assert _sorted_out(planted(), 2, on_cuda=False).sum_ms == 5.0


def test_on_cuda_a_part_is_its_kernels_and_the_loader_what_it_was_waited_for() -> None:
    step = event(f"{MARK}step", 0, 9_000)
    loader = event(f"{MARK}loader", 0, 3_000, step)
    a = event(f"{MARK}a", 3_000, 3_020, step, kernels=[SimpleNamespace(name=f"{MARK}a", duration=4_500)])
    op = event("op", 3_000, 3_010, a, 1, kernels=[SimpleNamespace(name="gemm", duration=4_000)])
    kernel = event("kernel", 3_020, 7_020, device_type=SimpleNamespace(name="CUDA"))
    # What runs on the device's own thread has no parent.
    undone = event(f"{NODE}: A", 5_000, 5_010, None, 1, kernels=[SimpleNamespace(name="gemm", duration=2_000)])
    parts = _sorted_out([step, loader, a, op, kernel, undone], 1, on_cuda=True).parts
    assert parts["a"] == {"forward_ms": 4.0, "backward_ms": 2.0}
    assert parts["loader"] == {"forward_ms": 3.0}


def test_a_profile_names_the_step_and_leaves_no_trace(made: Path) -> None:
    settings = tiny_settings(made)
    accelerator = open_accelerator(settings)
    own = measure.OwnStep(settings, accelerator)
    clip, whole = accelerator.clip_grad_norm_, (losses.l1, objective.l1, losses.Waveform.spectrum)
    profile = profile_steps(own.state, accelerator, own.load, lambda batch: own.step(batch, gan=True), count=1)
    parts = profile.parts
    for name in ("generator", "discriminator mpd_2", "discriminator mrd_512", "loss l1", "loss multi_stft", "spectra"):
        assert parts[name]["forward_ms"] > 0, name
        assert parts[name]["backward_ms"] > 0, name
    for name in (
        "loader",
        "loss feature_matching",
        "generator's optimiser",
        "discriminators' optimiser",
        "EMA",
        "clipping",
    ):
        assert parts[name]["forward_ms"] > 0, name
    assert profile.sum_ms == pytest.approx(profile.profiled_step_ms, rel=0.01)
    assert sum(parts["other"].values()) < 0.4 * profile.sum_ms
    assert accelerator.clip_grad_norm_ == clip
    assert not own.state.generator._forward_hooks
    assert (losses.l1, objective.l1, losses.Waveform.spectrum) == whole
    assert own.state.step == 1  # what is done in every n-th step has its turn
    again = profile_steps(own.state, accelerator, own.load, lambda batch: own.step(batch, gan=False), count=1)
    assert not any(name.startswith("discriminator") for name in again.parts)


def test_the_made_corpus_is_whole_batches_of_the_project_s_format(made: Path) -> None:
    pairs = read_list(made / "train.txt")
    assert len(pairs) == bench_train.EPOCH_BATCHES * 2
    assert len({pair.clean for pair in pairs}) > 2
    degraded, clean, noisy, hints = TimbreRestoreDataset(
        made / "train.txt", with_noisy=True, with_hints=True, segment=SEGMENT
    )[0]
    assert degraded.shape == clean.shape == (1, SEGMENT)
    assert noisy.shape[-1] > SEGMENT
    assert clean.abs().max() > 0
    assert torch.isfinite(hints).any()
    assert not read_list(made / "val.txt")


def test_a_report_holds_what_is_promised(made: Path) -> None:
    seen: list[object] = []
    report = bench_training(
        tiny_settings(made), rounds=2, plain=tiny_plain, progress=lambda done, total, name: seen.append(name)
    )
    assert json.loads(json.dumps(report)) == report
    for key in ("batches_per_s", "batches_per_s_gan", "reference_batches_per_s_gan", "loader_items_per_s"):
        assert report[key] > 0
    assert report["ratio_gan"] == pytest.approx(
        report["batches_per_s_gan"] / report["reference_batches_per_s_gan"], rel=0.01
    )
    assert report["batches_per_s"] > report["batches_per_s_gan"]
    names = {measure.PLAIN, measure.GAN, measure.REFERENCE, measure.LOADER}
    assert set(report["measured"]) == names <= set(seen)
    assert all(rate["steps"] >= 2 for rate in report["measured"].values())
    items = {name: rate["items_per_step"] for name, rate in report["measured"].items()}
    assert items == {measure.PLAIN: 2, measure.GAN: 2, measure.REFERENCE: 2, measure.LOADER: 64}
    assert (report["device"], report["torch"], report["threads"]) == ("cpu", torch.__version__, torch.get_num_threads())
    assert report["peak_memory_bytes"] > 1e8
    console = Console(width=120, record=True, quiet=False, file=StringIO())
    for table in (bench_train.rates_table(report), bench_train.parts_table(report)):
        console.print(table)
    text = console.export_text()
    assert f"with the GAN {report['ratio_gan']:.1f} × the reference" in text
    assert "discriminator mpd_2" in text


def test_the_verb_writes_json_alone_on_stdout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    """With a measurement that takes no time; it gets the configured run on a corpus that is gone afterwards."""
    given: list[TrainSettings] = []
    rates = {name: Rate(8, (8.0, 8.0), 2, None) for name in (measure.PLAIN, measure.GAN, measure.REFERENCE)}
    rates[measure.LOADER] = Rate(64, (100.0, 100.0), 2, None)

    def measured(settings: TrainSettings, **_: Any) -> dict[str, Any]:
        assert read_list(settings.corpus / "train.txt")
        given.append(settings)
        return measure.report(settings, CPU, rates, Profile({"generator": {"forward_ms": 1.0}}, 1.0))

    monkeypatch.setattr("timbre_restore.training.bench.bench_training", measured)
    monkeypatch.setattr(bench_train, "SECONDS", 1.0)
    monkeypatch.setattr(
        bench_train,
        "make_corpus",
        lambda folder, config, make=bench_train.make_corpus: make(folder, config, seconds=2.0),
    )
    assert main(["bench", "train", "--json", "-", "--set", "training.batch_size=8"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["batches_per_s_gan"] == 1.0
    assert "reference, with the GAN" in printed.err
    assert given[0].batch_size == 8
    assert not given[0].corpus.exists()
    assert main(["bench", "train", "--json", str(tmp_path / "deep" / "r.json")]) == 0
    assert "batches/s" in capsys.readouterr().out
    assert json.loads((tmp_path / "deep" / "r.json").read_text(encoding="utf-8"))["batch_size"] == 16
    expected = train_settings(load_config(None, []), corpus=given[1].corpus)
    assert replace(given[1], record={}) == replace(expected, record={})


@pytest.mark.parametrize("verb", ["bench", "bench frame", "bench train"])
def test_what_can_t_be_written_is_refused_before_any_work(verb: str, tmp_path: Path, capsys: Capture) -> None:
    started = time.monotonic()
    assert main([*verb.split(), "--json", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: --json {tmp_path}: is a folder; give a file name.\n"
    assert printed.out == ""
    assert time.monotonic() - started < 5.0


def test_bench_alone_is_bench_frame(capsys: Capture) -> None:
    assert main(["bench", "--help"]) == 0
    alone = capsys.readouterr().out
    assert main(["bench", "frame", "--help"]) == 0
    assert capsys.readouterr().out == alone
    assert "--model ONNX" in alone
    assert main(["bench", "train", "--help"]) == 0
    assert "--model" not in capsys.readouterr().out
    assert main(["bench", "trian"]) == 2
    assert "No such command 'trian'" in capsys.readouterr().err
    assert main(["bench", "--rounds", "3", "train"]) == 2
    assert "unexpected extra argument" in capsys.readouterr().err
