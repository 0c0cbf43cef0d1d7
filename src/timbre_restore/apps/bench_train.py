"""The `bench train` command: how fast a run would train on this machine, compared with the usual reference recipe.

It needs neither corpus nor configuration: synthetic voices in noise go through the real suppressor into a small corpus
in the project's format, which the run's own loader reads. Rounds of the project's step without and with the GAN, of the
reference recipe's step and of the loader alone take turns, so that other load on the machine affects all of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timbre_restore.apps.console import STDOUT, give_json, progress_bar, show
from timbre_restore.apps.options import ConfigFile, Overrides, check_targets, configure
from timbre_restore.apps.train import need_torch, train_settings
from timbre_restore.config import Config

if TYPE_CHECKING:
    from rich.table import Table

SECONDS = 12.0
EPOCH_BATCHES = 32
PITCHES_HZ = (110.0, 210.0)


def train(
    rounds: Annotated[int, typer.Option(min=2, help="How often each subject is measured; subjects take turns.")] = 5,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JSON; '-' is stdout.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Measure how fast training runs on this machine, next to the reference recipe, and where a step's time goes."""
    settings = configure(config, overrides)
    check_targets({"--json": json})
    need_torch("bench train")
    from timbre_restore.training.bench import bench_training

    with tempfile.TemporaryDirectory(prefix="timbre-bench-") as folder:
        corpus = make_corpus(Path(folder), settings)
        with progress_bar("rounds") as progress:
            report = bench_training(train_settings(settings, corpus=corpus), rounds=rounds, progress=progress)
    for table in (rates_table(report), parts_table(report)):
        show(table, aside=json == STDOUT)
    if json is not None:
        give_json(report, json)


def make_corpus(folder: Path, config: Config, *, seconds: float = SECONDS) -> Path:
    """A corpus in `folder` whose training list repeats its items to fill whole batches; the validation list is empty.

    Synthetic voices and noise through the default suppressor, in the format and length that the configuration asks for.
    """
    import numpy as np

    from timbre_restore.apps.made_voice import Speaker, made_voice
    from timbre_restore.audio import SAMPLE_RATE_HZ, write_audio
    from timbre_restore.corpus import CorpusSpec, SourceSpec, Variety, Work, prepare

    speech, noise, out = folder / "speech", folder / "noise", folder / "corpus"
    for number, pitch_hz in enumerate(PITCHES_HZ):
        voice = made_voice(Speaker(pitch_hz, 1.0 + 0.05 * number, 4.5), seconds, seed=number)
        write_audio(speech / f"speaker_{number}" / "voice.wav", voice, SAMPLE_RATE_HZ)
    hiss = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE_HZ))
    write_audio(noise / "hiss.wav", np.asarray(np.clip(hiss, -0.9, 0.9), np.float32), SAMPLE_RATE_HZ)
    spec = CorpusSpec(
        (SourceSpec(speech),), noise,
        segment=config.data.segment, format=config.data.format, val_fraction=0.0,
        variety=Variety(made_noise=0.0, silent_items=1.0),
    )  # fmt: skip
    prepare(spec, out, Work(num_workers=0, progress=False))
    listed = (out / "train.txt").read_text(encoding="utf-8").splitlines()
    wanted = EPOCH_BATCHES * config.training.batch_size
    whole = [listed[number % len(listed)] for number in range(wanted)]
    (out / "train.txt").write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    return out


def rates_table(report: dict[str, Any]) -> Table:
    """Rates of everything that was measured, with the lowest and highest round."""
    from rich.table import Table

    size, seconds = report["batch_size"], report["item_samples"] / 48_000
    table = Table(title=f"Training, batches of {size} items of {seconds:g} s", title_justify="left")
    table.add_column("")
    for heading in ("batches/s", "items/s", "lowest to highest", "items per step", "steps"):
        table.add_column(heading, justify="right")
    for name, rate in report["measured"].items():
        spread = f"{rate['items_per_s_lowest']:g} to {rate['items_per_s_highest']:g}"
        batches = f"{rate['items_per_s'] / size:.3g}" if name != "loader" else ""
        table.add_row(
            name, batches, f"{rate['items_per_s']:g}", spread, str(rate["items_per_step"]), str(rate["steps"])
        )
    table.caption = (
        f"with the GAN {report['ratio_gan']:.1f} × the reference; {report['device_name']}, "
        f"{report['threads']} threads, {report['loader_workers']} loader workers, mixed precision "
        f"{report['mixed_precision']}, torch {report['torch']}, {report['rounds']} rounds, at most "
        f"{report['peak_memory_bytes'] / 1e9:.1f} GB of memory"
    )
    return table


def parts_table(report: dict[str, Any]) -> Table:
    """Where a training step with the GAN spends its time."""
    from rich.table import Table

    profile = report["profile"]
    table = Table(title="A step with the GAN, by part, in ms", title_justify="left")
    table.add_column("")
    for heading in ("forward", "backward", "share"):
        table.add_column(heading, justify="right")
    for name, times in profile["parts"].items():
        forward, backward = (times.get(key, 0.0) for key in ("forward_ms", "backward_ms"))
        share = (forward + backward) / max(profile["sum_ms"], 1e-9)
        table.add_row(name, f"{forward:.1f}", f"{backward:.1f}" if "backward_ms" in times else "", f"{share:.1%}")
    table.caption = (
        f"sum {profile['sum_ms']:.0f}; the step {profile['profiled_step_ms']:.0f} while profiled, "
        f"{profile['step_ms']:.0f} in the rounds"
    )
    return table
