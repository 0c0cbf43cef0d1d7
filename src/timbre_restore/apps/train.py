"""The commands `train` and `export`: from a corpus to a checkpoint, from a checkpoint to one ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timbre_restore.apps.console import note, say
from timbre_restore.apps.options import ConfigFile, Overrides, check_targets, configure
from timbre_restore.apps.suppressing import suppressor_of
from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, is_text, read_mono, rms, to_db
from timbre_restore.config import Config
from timbre_restore.errors import ConfigError, CorpusError, MissingExtraError, extra_command

if TYPE_CHECKING:
    from timbre_restore.training import TrainSettings


SHORTEST_PROOF_S, LONGEST_PROOF_S, QUIETEST_PROOF_DBFS = 0.1, 30, -90.0
"""A proof on anything shorter says nothing about the graph's states, and one on silence says nothing at all. The proof
holds the activations of the whole recording at once, 130 kB per hop with `small`."""


class OnAnomaly(StrEnum):
    """What to do on an anomaly in a run."""

    stop = "stop"
    rollback = "rollback"
    warn = "warn"


def train(
    config: ConfigFile = None,
    resume: Annotated[
        str | None, typer.Option(metavar="PATH|auto", help="Continue a run; 'auto' takes the last one in this folder.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="VOICE|RUN", help="Start from a packaged voice or a run, with its model settings."),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Generator tensors to freeze, '*' allowed; repeatable."),
    ] = None,
    skip_audit: Annotated[
        bool, typer.Option("--skip-audit", help="Train even on a corpus that fails the audit.")
    ] = False,
    trial: Annotated[
        bool, typer.Option("--trial", help="Only judge a small run (10 recordings, 3 epochs); predict the whole one.")
    ] = False,
    overfit: Annotated[
        bool, typer.Option("--overfit", help="Only test whether a single batch, repeated, can be learned.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the --trial or --overfit result as JSON; '-' is stdout.")
    ] = None,
    on_anomaly: Annotated[
        OnAnomaly,
        typer.Option(
            "--on-anomaly",
            help="On an anomaly: stop with the last healthy checkpoint, roll back to it, or only warn.",
        ),
    ] = OnAnomaly.stop,
    overrides: Overrides = None,
) -> int:
    """Train generator and discriminators on a prepared corpus; also under torchrun."""
    settings = configure(config, [*_begun_from(init), *_frozen(freeze), *(overrides or ())])
    _check_ways(resume=resume is not None, trial=trial, overfit=overfit, json=json)
    _check_places(settings)
    need_torch("training")
    from timbre_restore.training import require_trackers

    require_trackers(settings.training.trackers)
    if not skip_audit:
        _require_sound(settings)
    if trial or overfit:
        from timbre_restore.apps.trial import make_trial, overfit_one_batch

        told = train_settings(settings)
        if trial:
            return make_trial(settings, told, json, on_anomaly.value)
        overfit_one_batch(told, json)
        return 0
    from timbre_restore.training import train as run

    summary = run(train_settings(settings), resume=resume, on_anomaly=on_anomaly.value, say=note)
    if os.environ.get("RANK", "0") == "0":
        epochs, minutes = round(summary.epochs, 2), summary.seconds / 60.0
        say(f"{summary.run}: {epochs:g} epochs, {summary.steps} steps, {minutes:.1f} minutes; see run.html there")
    return 0


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or one of its checkpoints.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="ONNX", help="The file to write.")],
    which: Annotated[str, typer.Option(help="The run's checkpoint to export: best or last.")] = "best",
    default_strength: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The strength that restoring uses when none is given.")
    ] = 1.0,
    proof: Annotated[
        Path | None,
        typer.Option(metavar="WAV", help="A noisy recording to verify with (30 s at most); default: synthetic sound."),
    ] = None,
    about: Annotated[str, typer.Option(help="What it was trained on, with licences; stored in the file.")] = "",
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Write the averaged generator as ONNX, after proving that ONNX Runtime gives the same numbers."""
    settings = configure(config, overrides)
    if which not in ("best", "last"):
        raise ConfigError([f"--which {which}: expected best or last."])
    if output.suffix.lower() != ".onnx":
        raise ConfigError([f"--output {output}: expected a name ending in .onnx, which other programs look for."])
    if not is_text(about):
        raise ConfigError(["--about: is not valid UTF-8; give it as text."])
    check_targets({"--output": output})
    need_torch("export")
    from timbre_restore.export import export_generator
    from timbre_restore.training import find_checkpoint, load_generator

    found = find_checkpoint(checkpoint, which)
    sound = None
    if proof is not None:
        noisy = read_mono(proof)[: LONGEST_PROOF_S * SAMPLE_RATE_HZ]
        if len(noisy) < SHORTEST_PROOF_S * SAMPLE_RATE_HZ or to_db(rms(noisy)) < QUIETEST_PROOF_DBFS:
            short = f"is shorter than {SHORTEST_PROOF_S:g} s, or silent in its first {LONGEST_PROOF_S} s"
            raise ConfigError([f"--proof {proof}: {short}; expected a noisy recording."])
        sound = suppressor_of(settings)(noisy), noisy
    facts = {
        "suppressor": _suppressors_of(found.content["settings"]),
        "strength": f"{default_strength:g}",
        "about": about,
        "epoch": str(found.content["epoch"]),
        "step": str(found.content["step"]),
    }
    report = export_generator(load_generator(found), output, metadata=facts, sound=sound)
    say(
        f"{report.path}: {report.bytes / 1e6:.2f} MB, {report.parameters / 1e6:.2f} M parameters; over {report.hops} "
        f"hops ONNX Runtime differs from the network by at most {report.error_whole:.1e} (whole) and "
        f"{report.error_hops:.1e} (hop by hop)"
    )


def _suppressors_of(settings: Mapping[str, Any]) -> str:
    """Names of the suppressors that the corpus of these settings was made with, without duplicates."""
    drawn = settings["data"].get("suppressors") or [settings["suppressor"]]
    return ", ".join(dict.fromkeys(str(one["name"]) for one in drawn))


def train_settings(config: Config, *, corpus: Path | None = None) -> TrainSettings:
    """The run's settings in the form the `training` package takes; `corpus` replaces the configured one."""
    from timbre_restore.models import DiscriminatorSettings, GeneratorSettings
    from timbre_restore.training import TrainSettings

    training, model, judges = config.training, config.model, config.discriminators
    long = training.long_segments
    return TrainSettings(
        corpus=corpus or config.data.output_dir,
        output_dir=training.output_dir,
        generator=GeneratorSettings(model.name, model.size, model.conditioning),
        discriminators=DiscriminatorSettings(
            tuple(judges.names), tuple(judges.periods), tuple(judges.windows), judges.channels
        ),
        adversarial_loss=judges.loss,
        discriminator_segment=judges.segment,
        discriminator_every=judges.every,
        discriminator_precision=judges.precision,
        discriminator_layout=judges.layout,
        loss_weights=training.loss_weights.model_dump(),
        seed=config.seed,
        epochs=training.epochs,
        steps=training.steps,
        hours=training.hours,
        batch_size=training.batch_size,
        gan_start_epoch=training.gan_start_epoch,
        gan_ramp_epochs=training.gan_ramp_epochs,
        long_epochs=long.epochs,
        long_run=max(1, round(long.seconds * config.data.sample_rate / config.data.segment)),
        long_batch_size=long.batch_size,
        window=max(1, round(long.window_s * config.data.sample_rate / HOP_SAMPLES)) * HOP_SAMPLES,
        freeze=tuple(training.freeze),
        start_from=training.start_from,
        warmup_epochs=training.scheduler.warmup_epochs,
        final_factor=training.scheduler.final_factor,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        discriminator_learning_rate=training.discriminator_learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
        gradient_clip=training.gradient_clip,
        ema_decay=training.ema_decay,
        mixed_precision=training.mixed_precision,
        threads=training.threads,
        best_metric=training.best_metric,
        log_every_steps=training.log_every_steps,
        checkpoint_minutes=training.checkpoint_minutes,
        validation_batches=training.validation_batches,
        num_workers=config.data.num_workers,
        segment=config.data.segment,
        random_gain_db=config.data.random_gain_db,
        black_box_share=training.black_box_share,
        trackers=tuple(training.trackers),
        record=config.model_dump(mode="json"),
        defaults=Config().model_dump(mode="json"),
    )


def _begun_from(init: str | None) -> list[str]:
    """The overrides that `--init` implies: the source of the weights and its network settings; `--set` may change them.

    Discriminators with other settings would start from scratch. How they judge is up to the new run.
    """
    if init is None:
        return []
    need_torch("training")
    from timbre_restore.models import DiscriminatorSettings
    from timbre_restore.runtime import packaged_weights
    from timbre_restore.training import find_checkpoint

    packaged = packaged_weights()
    place = Path(init)
    if not place.exists():
        if init not in packaged:
            raise ConfigError(
                [f"--init {init}: expected a run, a checkpoint or a packaged voice ({', '.join(packaged)})."]
            )
        place = packaged[init]
    told = find_checkpoint(place).content["settings"]
    judges = {field.name for field in fields(DiscriminatorSettings)}
    taken = {f"model.{name}": value for name, value in told.get("model", {}).items()}
    taken |= {
        f"discriminators.{name}": value for name, value in told.get("discriminators", {}).items() if name in judges
    }
    return [f"{key}={_yaml(value)}" for key, value in (taken | {"training.start_from": str(place)}).items()]


def _yaml(value: Any) -> str:
    """A value as YAML. JSON is valid YAML except for escaped surrogate pairs, hence `ensure_ascii=False`."""
    return json_text(value, ensure_ascii=False)


def _frozen(names: list[str] | None) -> list[str]:
    return [] if names is None else [f"training.freeze={_yaml(names)}"]


def _check_ways(*, resume: bool, trial: bool, overfit: bool, json: Path | None) -> None:
    """Raise `ConfigError` for options that contradict each other."""
    ways = {"--trial": trial, "--overfit": overfit, "--resume": resume}
    given = [name for name, wanted in ways.items() if wanted]
    small = trial or overfit
    if len(given) > 1:
        raise ConfigError([f"{' and '.join(given)}: can't be combined; give only one of them."])
    if json is not None and not small:
        raise ConfigError(["--json: only applies to --trial or --overfit; a run writes its figures to its own folder."])
    if small and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError([f"{given[0]}: runs in a single process; start it without torchrun."])
    check_targets({"--json": json})


def _check_places(config: Config) -> None:
    """Raise `ConfigError` for unsuitable folders: the next run moves this run's folder aside with all its contents."""
    run, corpus = config.training.output_dir, config.data.output_dir
    if run.resolve() in (corpus.resolve(), *corpus.resolve().parents):
        raise ConfigError(
            [f"data.output_dir {corpus}: is inside training.output_dir {run}, which a new run moves aside; move it."]
        )
    if not is_text(str(run)):
        raise ConfigError(
            [f"training.output_dir {str(run)!a}: is not valid UTF-8, which a run's record needs; rename the folder."]
        )


def _require_sound(config: Config) -> None:
    """Raise `CorpusError` in every process when the corpus is not ready; only the first process checks.

    The others must be told: otherwise they would wait for the first one until a timeout.
    """
    refusal: list[CorpusError | None] = [None]
    if os.environ.get("RANK", "0") == "0":
        from timbre_restore.audit import require_sound

        try:
            require_sound(config.data.output_dir, config.data.segment)
        except CorpusError as exc:
            refusal = [exc]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        PartialState(cpu=not torch.accelerator.is_available())
        broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise refusal[0]


def need_torch(purpose: str) -> None:
    """Raise `MissingExtraError` if the training packages are not installed."""
    try:
        import accelerate  # noqa: F401
        import torch  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("torch", extra_command("train"), purpose) from exc
