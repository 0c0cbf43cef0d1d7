"""The page of a run: its figures are the log's, whatever the log lacks; and it is there however the run ended."""

from __future__ import annotations

import json
import math
import re
import shlex
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.runs import fresh_state, make_corpus, settings
from timbre_restore.apps.cli import main
from timbre_restore.apps.train import train_settings
from timbre_restore.config import Config, load_config
from timbre_restore.errors import TrainingStopped
from timbre_restore.pages import Area, Line, curves
from timbre_restore.training import loop, train, write_page
from timbre_restore.training.record.account import bundled, read_account
from timbre_restore.training.record.run_record import differences, read_record

GAN = {"adversarial": 0.4, "feature_matching": 1.2, "d_real": 0.9, "d_fake": 0.8, "score_real": 0.1, "score_fake": -0.2}


@pytest.fixture(autouse=True)
def own_state() -> None:
    fresh_state()


def train_line(step: int, epoch: int, **values: Any) -> dict[str, Any]:
    means = {"l1": 0.1 / step, "multi_stft": 1.0 / step, "total": 3.0, "gradient_norm": 2.0, "learning_rate": 1e-3}
    return {
        "kind": "train",
        "step": step,
        **means,
        "epoch": epoch,
        "place": epoch - 1,
        "seconds": 2.0 * step,
        "batches_per_s": 0.5,
    } | values


def epoch_line(step: int, epoch: int, **values: Any) -> dict[str, Any]:
    said = {"l1": 0.07, "val_multi_stft": 0.5 / epoch, "val_multi_stft_degraded": 0.8, "val_l1": 0.02}
    return {"kind": "epoch", "step": step, "epoch": epoch, **said, "seconds": 2.0 * step} | values


def make_run(
    folder: Path, lines: list[dict[str, Any]], *, tail: str = "", record: dict[str, Any] | None = None
) -> Path:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    if record is not None:
        (folder / "run.json").write_text(json.dumps(record))
    return folder


PLAN = {"epochs": 2, "epoch_steps": 4, "warmup_epochs": 1, "gan_start_epoch": 1, "best_metric": "val_multi_stft"}
ORDER = {"corpus": "0123456789abcdef", "items": 7, "joined_batch": 2, "seed": 3}


def whole_run(folder: Path, **more: Any) -> Path:
    """Two epochs of four steps, the GAN in the second, with all that a run leaves but weights."""
    lines = [train_line(step, 1) for step in (1, 2, 3, 4)] + [epoch_line(4, 1)]
    lines += [train_line(step, 2, batches_per_s=0.125, **GAN) for step in (5, 6, 7, 8)] + [epoch_line(8, 2)]
    record = {
        "plan": PLAN,
        "order": ORDER,
        "corpus": "/data/x",
        "parameters": {"generator": 1234567},
        "software": {"torch": "2.13.0"},
        "changed": {"training.epochs": {"default": 60, "value": 2}},
        "place": str(folder.resolve()),
        "parts": 2,
        "ended": {"how": "finished", "said": "", "step": 8},
    }
    run = make_run(folder, lines, record=record | more)
    for which in ("best", "last"):
        point(run, which, "step-00000008", epoch=2, metrics={"val_multi_stft": 0.25, "val_multi_stft_degraded": 0.8})
    (run / "config.yaml").write_text("seed: 0\n")
    return run


def point(run: Path, which: str, folder: str, **content: Any) -> None:
    place = run / "checkpoints" / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "checkpoint.json").write_text(json.dumps({"step": 8, **content}))
    (run / "checkpoints" / f"{which}.json").write_text(json.dumps({"folder": folder}))


class _Page(HTMLParser):
    """Text, tables, and that whatever is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + "\n"


def read(run: Path) -> tuple[str, str]:
    """The page as HTML and as text, on lines of its own each."""
    html = write_page(run).read_text(encoding="utf-8")
    page = _Page(html)
    assert page.open == []
    assert "http" not in re.sub(r'http-equiv="Content', "", html), "the page asks nothing of a network"
    assert "nan" not in "".join(re.findall(r'(?:points|c?[xy]|width|height)="([^"]*)"', html))
    return html, page.text


def fact(text: str, name: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[lines.index(name) + 1]


def test_figures_are_those_of_the_log(tmp_path: Path) -> None:
    html, text = read(whole_run(tmp_path / "run"))
    assert '<span class="good">finished</span>' in html
    assert "2 of 2 epochs completed, 8 steps in 16 s and 2 parts." in text
    assert (
        "epoch 2 (step-00000008), val_multi_stft 0.2500; the suppressor's own is 0.8000, so this is 69 % less" in text
    )
    assert fact(text, "items seen") == "14"  # seven in each epoch: the last batch is a short one
    assert fact(text, "batches/s before the GAN") == "0.50"
    assert fact(text, "batches/s with the GAN") == "0.12"
    assert fact(text, "parameters, generator") == "1,234,567"
    assert fact(text, "fingerprint of the list") == ORDER["corpus"]
    assert fact(text, "torch") == "2.13.0"
    assert fact(text, "training.epochs") == "2"
    assert "2 ← best" in text and "1 ← best" not in text
    for title in ("l1", "multi_stft", "adversarial", "feature_matching", "d_real, d_fake", "gradient_norm"):
        assert f"<figcaption>{title}</figcaption>" in html
    assert text.count("warm-up") == html.count("<svg") == 9


def test_a_curve_goes_where_the_values_are_and_its_band_where_its_phase_is() -> None:
    line = Line("x", [0, 50, 100], [0.0, 5.0, 99.0])
    html = curves("t", [line], ("steps", ""), across=(0, 100), up=(0, 10), areas=[Area((50, 100), (5, 10))],
                  borders=[(50, "GAN")])  # fmt: skip
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r'points="([^"]*)"', html)[0].split()]
    left, middle, right = points
    assert middle[0] - left[0] == pytest.approx(right[0] - middle[0], abs=0.2)
    # Upwards is towards 0 in a drawing: 5 of 10 is half way, and what is beyond lies on the edge.
    assert left[1] - middle[1] == pytest.approx(middle[1] - right[1], abs=0.2)
    band = {name: float(value) for name, value in re.findall(r'(\w+)="([\d.]+)"', html.split('class="band"')[1])[:4]}
    x, y, width, height = (band[name] for name in ("x", "y", "width", "height"))
    assert (x, x + width) == pytest.approx((middle[0], right[0]), abs=0.2)
    assert (y, y + height) == pytest.approx((right[1], middle[1]), abs=0.2)
    assert float(re.search(r'class="border" x1="([\d.]+)"', html)[1]) == middle[0]  # type: ignore[index]


def test_a_logarithmic_axis_has_equal_ways_for_equal_ratios() -> None:
    line = Line("x", [0, 1, 2], [1.0, 10.0, 100.0])
    html = curves("t", [line], ("", ""), across=(0, 2), up=(1, 100), logarithmic=True)
    y = [float(pair.split(",")[1]) for pair in re.findall(r'points="([^"]*)"', html)[0].split()]
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2)


def test_a_leap_and_a_nan_do_not_vanish_where_a_long_log_is_bundled() -> None:
    steps, values = list(range(1000)), [1.0] * 1000
    values[500], values[700] = 50.0, math.nan
    x, means, spread = bundled(steps, values, 100)
    assert len(x) == 100 and x[-1] == 999.0
    assert max(high for _, high in spread if math.isfinite(high)) == 50.0
    assert [index for index, mean in enumerate(means) if math.isnan(mean)] == [70]
    assert bundled(steps[:100], values[:100], 100) == ([float(i) for i in range(100)], values[:100], [])


def test_odd_names_are_escaped(tmp_path: Path) -> None:
    name = "<b>&\"'"
    lines = [train_line(1, 1, **{name: 1.0}), {"kind": "event", "step": 1, "rule": name, "seen": name}]
    run = make_run(
        tmp_path / name, lines, record={"plan": PLAN, "corpus": name, "ended": {"how": "failed", "said": name}}
    )
    html, text = read(run)
    assert "<b>" not in html
    assert text.count(name) >= 5


def test_one_line_is_enough(tmp_path: Path) -> None:
    html, text = read(make_run(tmp_path / "run", [train_line(1, 1)]))
    assert "0 epochs completed, 1 steps in 2 s." in text
    assert "No checkpoint was written" in text
    assert "<circle" in html  # a line of one point would be nothing to see


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    lines = [train_line(1, 1), train_line(2, 1)]
    whole, torn = make_run(tmp_path / "a" / "run", lines), make_run(tmp_path / "b" / "run", lines, tail='{"kind": "tr')
    assert read(whole)[0] == read(torn)[0]


def test_events_are_a_table(tmp_path: Path) -> None:
    event = {"kind": "event", "step": 6, "rule": "leap", "seen": "l1 is 9, its median 0.1", "likely": "a bad item",
             "change": "training.learning_rate: 0.0003", "action": "stop"}  # fmt: skip
    run = whole_run(tmp_path / "run", ended={"how": "stopped", "said": "step 6: l1 is 9", "step": 6})
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
    html, text = read(run)
    assert '<span class="bad">stopped by a rule</span>' in html
    assert "step 6: l1 is 9" in text
    row = [line for line in text.splitlines() if line.strip()]
    at = row.index("leap")
    assert row[at - 1 : at + 5] == ["6", *(event[key] for key in ("rule", "seen", "likely", "change", "action"))]
    assert fact(text, "events") == "1"


def test_a_log_without_validation(tmp_path: Path) -> None:
    lines = [train_line(1, 1), {"kind": "epoch", "step": 1, "epoch": 1, "l1": 0.25}]
    html, text = read(make_run(tmp_path / "run", lines, record={"plan": PLAN, "ended": None}))
    assert "validation" not in html
    assert "0.2500" in text
    assert "was killed or is still running" in text


def test_a_nan_leaves_a_gap_and_a_word(tmp_path: Path) -> None:
    lines = [train_line(1, 1), train_line(2, 1), train_line(3, 1, l1=math.nan), train_line(4, 1), train_line(5, 1)]
    html, text = read(make_run(tmp_path / "run", lines))
    assert "l1 is NaN or infinite at step 3." in text
    figure = html.split("<figcaption>l1</figcaption>")[1].split("</figure>")[0]
    assert figure.count("<polyline") == 2


def test_a_log_of_nothing_but_nan(tmp_path: Path) -> None:
    _, text = read(make_run(tmp_path / "run", [train_line(1, 1, l1=math.nan, multi_stft=math.inf)]))
    assert "l1 is NaN or infinite at step 1." in text


def test_commands_name_the_run(tmp_path: Path) -> None:
    """Where the folder is called by an odd name, and where it was moved since."""
    run = whole_run(tmp_path / "my run")
    assert f"--config {shlex.quote(str(run / 'config.yaml'))} --resume auto --set training.epochs=4" in read(run)[1]
    for given, said in (
        ({"steps": 8}, "--resume auto --set training.steps=16"),
        ({"steps": 6}, "--resume auto --set training.steps=12"),
        ({"hours": 0.2}, "--resume auto --set training.hours=null --set training.steps=16"),
    ):
        plan = PLAN | {"epochs": given.get("steps", 8) / 4}
        other = whole_run(tmp_path / f"run of {given}", settings={"training": given}, plan=plan)
        assert said in read(other)[1] and "training.epochs=" not in read(other)[1]
    moved = run.rename(tmp_path / "moved")
    _, text = read(moved)
    assert f"--set 'training.output_dir=\"{moved}\"'" in text
    assert f"timbre-restore export {moved} -o {moved / 'voice.onnx'}" in text
    assert f"--list /data/x/val.txt --model {moved / 'voice.onnx'}" in text


def test_runs_of_several_processes_go_on_with_as_many(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run", plan=PLAN | {"processes": 4, "epochs": 3})
    assert "torchrun --nproc_per_node=4 train.py --config" in read(run)[1]
    assert "Continue from step 8" in read(run)[1]


def test_an_older_run_has_what_its_checkpoint_says(tmp_path: Path) -> None:
    lines = [{k: v for k, v in train_line(1, 1).items() if k not in ("seconds", "batches_per_s")}]
    run = make_run(tmp_path / "run", lines)
    training = {"epochs": 9, "scheduler": {"warmup_epochs": 4}, "best_metric": "val_l1"}
    point(
        run, "last", "epoch-0001", epoch=1, order=ORDER, settings={"training": training, "data": {"output_dir": "/c"}}
    )
    _, text = read(run)
    assert "0 of 9 epochs completed" in text
    assert (fact(text, "time"), fact(text, "corpus"), fact(text, "items seen")) == ("–", "/c", "about 2")


def test_differences_from_the_defaults() -> None:
    config = load_config(None, ["training.epochs=3", "training.loss_weights.l1=1", "suppressor.name=rnnoise"])
    run = train_settings(config)
    assert differences(run.defaults, run.record) == {
        "training.epochs": {"default": 60, "value": 3},
        "training.loss_weights.l1": {"default": 3.0, "value": 1.0},
        "suppressor.name": {"default": "dfn3", "value": "rnnoise"},
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("page"))


def test_a_run_that_ends_well_is_resumed_and_is_stopped_has_its_page(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Config().model_dump(mode="json")
    changes = {"epochs": 1, "record": record, "defaults": record}
    run = train(settings(corpus, tmp_path / "run", **changes)).run
    account = read_account(run)
    assert "1 of 1 epochs completed, 3 steps" in (run / "run.html").read_text()
    assert read_record(run)["ended"] == {"how": "finished", "said": "", "step": 3}
    first_s = account.seconds
    assert first_s is not None and 0.0 < account.train[0]["seconds"] <= account.train[1]["seconds"] <= first_s
    assert load_config(run / "config.yaml").training.output_dir == run
    fresh_state()
    whole = loop.train_step

    def spoiled(*args: Any, **more: Any) -> Any:
        return {name: value * math.nan for name, value in whole(*args, **more).items()}

    monkeypatch.setattr(loop, "train_step", spoiled)
    with pytest.raises(TrainingStopped):
        train(settings(corpus, run, **(changes | {"epochs": 2})), resume="auto")
    text = unescape((run / "run.html").read_text())
    assert '<span class="bad">stopped by a rule</span>' in text and "the run has diverged" in text
    assert "is NaN or infinite at step 4" in text and "and 2 parts" in text
    again = read_account(run)
    assert again.train[-1]["seconds"] > first_s - 0.01, "seconds go on from those of the part before"


def test_the_page_of_a_run_that_was_moved_aside_names_its_new_place(corpus: Path, tmp_path: Path) -> None:
    for _ in range(2):
        train(settings(corpus, tmp_path / "run", epochs=1))
        fresh_state()
    for name in ("run", "run.1"):
        assert f"timbre-restore export {tmp_path / name} -o" in (tmp_path / name / "run.html").read_text()


def test_an_interrupted_run_has_its_page(corpus: Path, tmp_path: Path) -> None:
    def cut(text: str) -> None:
        if text.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings(corpus, tmp_path / "run", epochs=2), say=cut)
    assert '<span class="warm">interrupted</span>' in (tmp_path / "run" / "run.html").read_text()


def test_a_page_that_can_not_be_written_costs_a_warning_and_no_run(corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = tmp_path / "run"
    (run / "run.html").mkdir(parents=True)
    assert train(settings(corpus, run, epochs=1), say=said.append).epochs == 1
    assert any("run.html: can't be written" in line for line in said)


def test_train_points_to_the_page(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = (f"data.output_dir={corpus}", f"training.output_dir={tmp_path / 'run'}")
    words = ("data.segment=9600", "model.size=tiny", "model.conditioning=degraded+noisy", "data.num_workers=0",
             "training.epochs=1", "training.batch_size=8", "training.trackers=[]", *places)  # fmt: skip
    assert main(["train", "--skip-audit", *(part for word in words for part in ("--set", word))]) == 0
    assert "see run.html there" in capsys.readouterr().out
    assert not (tmp_path / "run" / "tensorboard").exists()
    html = (tmp_path / "run" / "run.html").read_text()
    assert "training.epochs" in html and "tensorboard --logdir" not in html
