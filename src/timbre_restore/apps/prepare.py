"""The `prepare` command: makes a corpus of training pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from timbre_restore.apps.console import say
from timbre_restore.apps.options import CORPUS_FOLDERS, ConfigFile, Overrides, configure
from timbre_restore.config import Config
from timbre_restore.errors import ConfigError

if TYPE_CHECKING:
    from timbre_restore.corpus import CorpusSpec


def prepare(
    config: ConfigFile = None,
    max_files: Annotated[int | None, typer.Option(min=1, help="Process at most this many recordings.")] = None,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Keep takes that are complete.")] = False,
    num_workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; defaults to data.num_workers.")
    ] = None,
    shard_idx: Annotated[int, typer.Option(min=0, help="The shard this process makes, counted from 0.")] = 0,
    shard_count: Annotated[int, typer.Option(min=1, help="Total number of shards.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ray", help="Run on a cluster, on all its processors unless --num-workers is given."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept settings other than the folder's, and remake what they change.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Make training pairs with the real suppressor."""
    settings = configure(config, overrides, folders=CORPUS_FOLDERS)
    if shard_idx >= shard_count:
        raise ConfigError(
            [f"--shard-idx {shard_idx}: expected 0 to {shard_count - 1}, as --shard-count is {shard_count}."]
        )
    if cluster not in (None, "ray"):
        raise ConfigError([f"--cluster {cluster}: expected ray."])
    from timbre_restore.corpus import Work, make_on_ray
    from timbre_restore.corpus import prepare as make_corpus

    work = Work(
        max_files=max_files,
        shard_idx=shard_idx,
        shard_count=shard_count,
        num_workers=num_workers if num_workers is not None else 0 if cluster else settings.data.num_workers,
        skip_existing=skip_existing,
        force=force,
    )
    how = {"execute": make_on_ray} if cluster else {}
    summary = make_corpus(corpus_spec(settings), settings.data.output_dir, work, **how)
    say(str(summary))


def corpus_spec(config: Config) -> CorpusSpec:
    """What the corpus is made of, in the form the `corpus` package takes."""
    from timbre_restore.corpus import CorpusSpec, SourceSpec, Variety
    from timbre_restore.suppressors import SuppressorSettings

    data = config.data
    suppressors = [(SuppressorSettings(**config.suppressor.model_dump()), 1.0)]
    if data.suppressors is not None:
        suppressors = [
            (SuppressorSettings(**drawn.model_dump(exclude={"weight"})), drawn.weight) for drawn in data.suppressors
        ]
    return CorpusSpec(
        sources=tuple(SourceSpec(source.path, source.weight, source.pattern) for source in data.sources),
        noise_path=data.noise_path,
        ir_path=data.ir_path,
        seed=config.seed,
        passes=data.passes,
        segment=data.segment,
        snr_db=data.snr_db,
        speech_level_dbfs=data.speech_level_dbfs,
        room_probability=data.room_probability,
        val_fraction=data.val_fraction,
        val_speakers=data.val_speakers,
        val_noises=data.val_noises,
        val_rooms=data.val_rooms,
        format=data.format,
        variety=Variety(**data.variety.model_dump()),
        suppressors=tuple(suppressors),
    )
