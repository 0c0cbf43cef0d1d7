"""The `restore` command: files, folders and pipes, noisy in, restored out."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from timbre_restore.apps.console import STDOUT, note, say
from timbre_restore.apps.options import ConfigFile, ModelFile, Overrides, Strength, configure
from timbre_restore.apps.restore_progress import restore_progress
from timbre_restore.apps.suppressing import settings_of
from timbre_restore.errors import ConfigError
from timbre_restore.processes import ENDINGS, usable_cores

if TYPE_CHECKING:
    from timbre_restore.config import Config
    from timbre_restore.runtime import Raw, Recipe, RestoreSummary

SLASHES = ("/", os.sep)
"""Endings that mark a name as a folder's."""


def restore(
    source: Annotated[str, typer.Argument(metavar="IN", help="An audio file, a folder of them, or - for stdin.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="File, folder (a new one ends in /), or - for stdout.")
    ],
    already_suppressed: Annotated[
        bool, typer.Option("--already-suppressed", help="The input has already been through the suppressor.")
    ] = False,
    strength: Strength = None,
    attenuation_limit: Annotated[
        float | None,
        typer.Option(metavar="DB", help="The most that the suppressor may attenuate; 100 means no limit."),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="wav, flac, ogg, opus, mp3 …, raw for stdout; default: as input."
        ),
    ] = None,
    subtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Sample format: pcm16, pcm24, pcm32, float …; default: as input."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Worker processes for a folder; defaults to the number of processors."),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip files whose result already exists.")
    ] = False,
    raw: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Format of headerless stdin: u8, s16le, s24le, s32le, f32le or f64le."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1_000, max=768_000, metavar="HZ", help="Sample rate of --raw; defaults to 48000.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Channels of --raw; defaults to 1.")
    ] = None,
    model: ModelFile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Suppress noise, then restore the voice."""
    from timbre_restore.runtime import SUPPRESSED_VOICE, InputEnd, OutputFormat, Restorer, packaged_voices, restore_path

    if not source or not output:
        raise ConfigError([f"{'IN' if not source else '--output'} is empty; name a file or a folder (. is this one)."])
    if attenuation_limit is not None and not 0.0 < attenuation_limit <= 100.0:
        raise ConfigError([f"--attenuation-limit {attenuation_limit:g}: expected a number above 0 and at most 100 dB."])
    if attenuation_limit is not None:
        overrides = [*(overrides or ()), f"suppressor.attenuation_limit_db={attenuation_limit}"]
    settings = configure(config, overrides)
    _refuse_deaf(overrides or [])
    if already_suppressed:
        _refuse_suppressor(overrides or [])
    if already_suppressed and model is None:
        model = packaged_voices().get(SUPPRESSED_VOICE)
    if already_suppressed and strength != 0.0 and Restorer.load(model).needs_noisy:
        note(
            "warning: this voice needs the noisy recording to tell what to give back; from the suppressed one alone, "
            "next to nothing comes back. Restore the noisy recording, or use a model trained with "
            "model.conditioning=degraded."
        )
    recipe = _recipe(settings, model, strength, already_suppressed)
    form = _raw(_path(source), raw, rate, channels)
    ending = InputEnd()
    with _interruptible(ending.ask if _path(source) == STDOUT else None), restore_progress() as progress:
        summary = restore_path(
            _path(source),
            _path(output),
            recipe,
            wanted=OutputFormat(container and container.lower().removeprefix("."), subtype),
            raw=form,
            ending=ending,
            jobs=jobs or usable_cores(),
            skip_existing=skip_existing,
            into_folder=output.endswith(SLASHES),
            progress=progress,
        )
    if ending.asked:
        note("recording ended by the user: what had come in is kept.")
    _report(summary)
    return 1 if summary.failed else 0


def _refuse_suppressor(overrides: list[str]) -> None:
    """Raise `ConfigError` for settings of a suppressor that is not run."""
    if any(word.startswith("suppressor.") for word in overrides):
        raise ConfigError(
            ["--attenuation-limit and --set suppressor.… have no effect with --already-suppressed; drop one of them."]
        )


def _refuse_deaf(overrides: list[str]) -> None:
    """Raise `ConfigError` for keys that restoring does not use."""
    for word in overrides:
        key = word.partition("=")[0]
        if not key.startswith("suppressor"):
            raise ConfigError(
                [f"--set {key}: is not used by restore, which reads only suppressor.…; choose a voice with --model."]
            )


def _path(word: str) -> Path:
    """The path of an argument: only `-` itself is the pipe, although `Path` would shorten `./-` to it."""
    path = Path(word)
    return path.absolute() if path == STDOUT and word != str(STDOUT) else path


def _recipe(settings: Config, model: Path | None, strength: float | None, already_suppressed: bool) -> Recipe:
    from timbre_restore.runtime import Recipe

    return Recipe(model, None if already_suppressed else settings_of(settings), strength)


def _raw(source: Path, name: str | None, rate: int | None, channels: int | None) -> Raw | None:
    """The format of stdin if it is not WAV. Raises `ConfigError` for options that would have no effect."""
    from timbre_restore.runtime import PIPE, Raw
    from timbre_restore.runtime.files import RAW_FORMATS

    if name is None:
        if rate is not None or channels is not None:
            raise ConfigError(["--rate and --channels describe headerless input; give --raw too."])
        return None
    if source != PIPE:
        raise ConfigError([f"--raw describes standard input, but the input is {source}; give - as the input."])
    if name not in RAW_FORMATS:
        raise ConfigError([f"--raw {name}: expected one of {', '.join(RAW_FORMATS)}."])
    return Raw(RAW_FORMATS[name], rate or 48_000, channels or 1)


@contextmanager
def _interruptible(ask: Callable[[], None] | None) -> Iterator[None]:
    """Treat the signals in `ENDINGS` like Ctrl-C, so that nothing half-written stays; `ask`, if given, handles all.

    Whoever records from a pipe has no other way to say that the recording is over.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if ask is None:
            raise KeyboardInterrupt
        ask()

    heard = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup sets it
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(summary: RestoreSummary) -> None:
    """Results on stdout, unless the sound itself went there."""
    from timbre_restore.audio import INVALID_SAMPLES

    for result in summary.done:
        piped = result.target == STDOUT
        name = "standard output" if piped else str(result.target)
        (note if piped else say)(f"{name}: {result.seconds:.1f} s")
        if result.limited_samples:
            note(f"warning: {name}: {result.limited_samples} samples exceeded full scale and were limited.")
        if result.repaired_samples:
            note(f"warning: {result.repaired_samples} {INVALID_SAMPLES} were read and replaced with silence.")
        if result.dropped_bytes:
            note(f"warning: {name}: the input ended within a sample, whose {result.dropped_bytes} bytes were dropped.")
    for link in summary.unfollowed:
        note(f"warning: {link}: is a link to a folder and was skipped; restore that folder separately.")
    for file in summary.in_output[:1]:
        others = f" and {len(summary.in_output) - 1} more" if summary.in_output[1:] else ""
        note(
            f"warning: {file}{others}: lies in the output folder and was skipped; give an output folder outside "
            "the input folder, or restore it separately."
        )
    if summary.skipped:
        note(f"skipped, because the result already exists: {summary.skipped}")
    for failure in summary.failed:
        note(f"error: {failure}")
    if summary.failed:
        note(f"{len(summary.failed)} of {len(summary.failed) + len(summary.done)} files were not restored.")
