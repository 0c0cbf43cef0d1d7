"""Verb `restore`: files, folders and pipes, noisy in, restored out."""

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
"""Ends of a name that say that it is a folder's."""


def restore(
    source: Annotated[str, typer.Argument(metavar="IN", help="A sound file, a folder of them, or - for stdin.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="File, folder (new with a / behind), or - for stdout.")
    ],
    already_suppressed: Annotated[
        bool, typer.Option("--already-suppressed", help="The input went through the suppressor before.")
    ] = False,
    strength: Strength = None,
    attenuation_limit: Annotated[
        float | None,
        typer.Option(metavar="DB", help="The most that the suppressor may take away; 100 is no limit."),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="wav, flac, ogg, opus, mp3 …; raw for stdout; else as it was."),
    ] = None,
    subtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Sample format: pcm16, pcm24, pcm32, float …; as it was without it."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes for a folder; as many as processors without it.")
    ] = None,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave out what is there already.")] = False,
    raw: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Stdin is headerless: u8, s16le, s24le, s32le, f32le or f64le."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1_000, max=768_000, metavar="HZ", help="Of --raw; 48000 without it.")
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, max=64, metavar="N", help="Of --raw; 1 without it.")] = None,
    model: ModelFile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Suppress noise, then give the voice back."""
    from timbre_restore.runtime import SUPPRESSED_VOICE, Ending, Restorer, Wanted, packaged_voices, restore_path

    if not source or not output:
        raise ConfigError([f"{'IN' if not source else '--output'} is empty; name a file or a folder (. is this one)."])
    if attenuation_limit is not None and not 0.0 < attenuation_limit <= 100.0:
        raise ConfigError([f"--attenuation-limit {attenuation_limit:g}: expected a number above 0, up to 100 dB."])
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
            "warning: this voice tells by the noisy recording what to give back; of the suppressed one alone next to "
            "nothing comes back. Restore the noisy one, or give a model trained with model.conditioning=degraded."
        )
    recipe = _recipe(settings, model, strength, already_suppressed)
    form = _raw(_path(source), raw, rate, channels)
    ending = Ending()
    with _interruptible(ending.ask if _path(source) == STDOUT else None), restore_progress() as progress:
        summary = restore_path(
            _path(source),
            _path(output),
            recipe,
            wanted=Wanted(container and container.lower().removeprefix("."), subtype),
            raw=form,
            ending=ending,
            jobs=jobs or usable_cores(),
            skip_existing=skip_existing,
            into_folder=output.endswith(SLASHES),
            progress=progress,
        )
    if ending.asked:
        note("ended by hand: what had come in is kept.")
    _report(summary)
    return 1 if summary.failed else 0


def _refuse_suppressor(overrides: list[str]) -> None:
    """Raise `ConfigError` for what would be said to a suppressor that is left out."""
    if any(word.startswith("suppressor.") for word in overrides):
        raise ConfigError(
            ["--attenuation-limit and --set suppressor.… are out of use with --already-suppressed; drop one."]
        )


def _refuse_deaf(overrides: list[str]) -> None:
    """Raise `ConfigError` for what nobody here would listen to."""
    for word in overrides:
        key = word.partition("=")[0]
        if not key.startswith("suppressor"):
            raise ConfigError(
                [f"--set {key}: says nothing to restore, which reads suppressor.… alone; a voice is chosen by --model."]
            )


def _path(word: str) -> Path:
    """What a word names: `-` is the pipe and nothing else is, though `Path` would shorten `./-` to it."""
    path = Path(word)
    return path.absolute() if path == STDOUT and word != str(STDOUT) else path


def _recipe(settings: Config, model: Path | None, strength: float | None, already_suppressed: bool) -> Recipe:
    from timbre_restore.runtime import Recipe

    return Recipe(model, None if already_suppressed else settings_of(settings), strength)


def _raw(source: Path, name: str | None, rate: int | None, channels: int | None) -> Raw | None:
    """What stdin holds, when it is no WAV. Raises `ConfigError` for options that would say nothing."""
    from timbre_restore.runtime import PIPE, Raw
    from timbre_restore.runtime.files import RAW_FORMATS

    if name is None:
        if rate is not None or channels is not None:
            raise ConfigError(["--rate and --channels describe samples without a header; give --raw too."])
        return None
    if source != PIPE:
        raise ConfigError([f"--raw describes standard input, and the input is {source}; give - instead."])
    if name not in RAW_FORMATS:
        raise ConfigError([f"--raw {name}: expected one of {', '.join(RAW_FORMATS)}."])
    return Raw(RAW_FORMATS[name], rate or 48_000, channels or 1)


@contextmanager
def _interruptible(ask: Callable[[], None] | None) -> Iterator[None]:
    """Take other ends (`ENDINGS`) for Ctrl-C, so that nothing half-written stays. All are for `ask` where it is given.

    Whoever records from a pipe has no other way to say that the recording is over.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if ask is None:
            raise KeyboardInterrupt
        ask()

    heard = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(summary: RestoreSummary) -> None:
    """Results on stdout, unless the sound itself went there."""
    from timbre_restore.audio import NO_SOUND

    for result in summary.done:
        piped = result.target == STDOUT
        name = "standard output" if piped else str(result.target)
        (note if piped else say)(f"{name}: {result.seconds:.1f} s")
        if result.limited_samples:
            note(f"warning: {name}: {result.limited_samples} samples passed full scale and were limited.")
        if result.mended_samples:
            note(f"warning: {result.mended_samples} {NO_SOUND} came in, and were taken for silence.")
        if result.dropped_bytes:
            note(f"warning: {name}: the sound ended within a sample, whose {result.dropped_bytes} bytes were dropped.")
    for link in summary.unfollowed:
        note(f"warning: {link}: is a link to a folder, and was left out; restore that folder by itself.")
    for file in summary.in_output[:1]:
        others = f" and {len(summary.in_output) - 1} more" if summary.in_output[1:] else ""
        note(
            f"warning: {file}{others}: lies in the output folder, and was left out; give an output folder outside of "
            "the input's, or restore that one by itself."
        )
    if summary.skipped:
        note(f"already there, and left: {summary.skipped}")
    for failure in summary.failed:
        note(f"error: {failure}")
    if summary.failed:
        note(f"{len(summary.failed)} of {len(summary.failed) + len(summary.done)} files were not restored.")
