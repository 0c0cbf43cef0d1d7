"""Names of containers and sample formats, and which of them a result gets.

Internally, containers and sample formats (subtypes) have libsndfile's names; users name a container by its suffix, and
a sample format in lower case without an underscore: `pcm16`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import soundfile

from timbre_restore.errors import FormatError

PIPE = Path("-")
"""Standard input as a source, standard output as a target."""
STDOUT = "standard output"

CONTAINERS = {
    ".wav": "WAV", ".rf64": "RF64", ".w64": "W64", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG",
    ".mp3": "MP3", ".aiff": "AIFF", ".aif": "AIFF", ".au": "AU", ".snd": "AU", ".caf": "CAF",
}  # fmt: skip
"""Suffix → container, for everything that can be written."""
WAVS = ("WAV", "WAVEX", "RF64")
"""Containers of one family: each may be found in a `.wav` file."""
READ_ONLY = (".aifc", ".voc", ".sph", ".nist", ".avr", ".ircam", ".sf", ".8svx", ".paf", ".mp1", ".mp2")
"""Further suffixes that libsndfile can read."""
BY_FFMPEG = (
    ".aac", ".ac3", ".amr", ".ape", ".dsf", ".m4a", ".m4b", ".mka", ".spx", ".tak", ".tta", ".wma", ".wv",
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip
"""Suffixes of audio and video files that ffmpeg reads, if it is installed."""
SUFFIXES = frozenset({*CONTAINERS, *READ_ONLY, *BY_FFMPEG})
"""Suffixes of the files that count as recordings in a folder."""

RAW_FORMATS = {
    "u8": "PCM_U8", "s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT", "f64le": "DOUBLE",
}  # fmt: skip
"""Headerless formats by their sox and ffmpeg names → subtype. A pipe carries no others."""
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
"""Bits of the integer formats; all others are written from floats."""
INVERTING = ("G721_32", "G723_24", "G723_40")
"""Sample formats that are only read: libsndfile's coders give steep or clipped peaks back with the opposite sign."""
RATES_HZ = range(1_000, 768_001)
"""Valid sample rates; a header with another one is damaged."""
CHANNELS = range(1, 65)
UNLIMITED = ("FLOAT", "DOUBLE")
"""Formats that can hold peaks over full scale."""


@dataclass(frozen=True)
class Raw:
    """Headerless samples on standard input: interleaved channels, little-endian."""

    subtype: str
    sample_rate_hz: int = 48_000
    channels: int = 1


@dataclass(frozen=True)
class OutputFormat:
    """How results are written. None keeps the source's format, as far as the target can hold it."""

    container: str | None = None
    """A suffix without the dot, or `raw` for a pipe."""
    subtype: str | None = None


AS_IT_WAS = OutputFormat()


def known_subtype(name: str) -> str:
    """libsndfile's name of a sample format: 'pcm16' → 'PCM_16'. Raises `FormatError` if it is unknown."""
    names = {known.replace("_", "").lower(): known for known in soundfile.available_subtypes()}
    plain = name.replace("_", "").replace("-", "").lower()
    if plain not in names:
        raise FormatError(
            f"'{name}' is not a known sample format; expected one like pcm16, pcm24, pcm32, float, vorbis or opus."
        )
    return str(names[plain])


def written_suffix(source: Path, wanted: OutputFormat) -> str:
    """The suffix of a source's result: the requested one, else its own if that can be written, else `.wav`."""
    if wanted.container is not None:
        return f".{wanted.container}"
    return source.suffix if source.suffix.lower() in CONTAINERS else ".wav"


def check_wanted(wanted: OutputFormat, target: Path) -> None:
    """Raise `FormatError` if no source can be given what is wanted: names that are unknown or do not go together.

    Only checks whether the target is the pipe, not its file name.
    """
    if target == PIPE:
        _check_piped(wanted)
        return
    if wanted.container is not None and f".{wanted.container}" not in CONTAINERS:
        known = ", ".join(suffix[1:] for suffix in CONTAINERS)
        raise FormatError(f"'{wanted.container}' can't be written; expected one of {known}.")
    if wanted.subtype is not None and wanted.container is not None:
        subtype = _able(CONTAINERS[f".{wanted.container}"], wanted.subtype)
        if wanted.container == "opus" and subtype != "OPUS":
            raise FormatError(f"the format opus can't hold {wanted.subtype}; omit the sample format, or choose ogg.")
    elif wanted.subtype is not None:
        known_subtype(wanted.subtype)


def _check_piped(wanted: OutputFormat) -> None:
    if wanted.container not in (None, "wav", "raw"):
        raise FormatError(
            f"{STDOUT}: carries wav or raw, not {wanted.container}; write to a file, or convert the wav with ffmpeg."
        )
    if wanted.subtype is not None and known_subtype(wanted.subtype) not in RAW_FORMATS.values():
        known = ", ".join(name.replace("_", "").lower() for name in RAW_FORMATS.values())
        raise FormatError(f"{STDOUT}: can't carry {wanted.subtype}; expected one of {known}.")


def able_subtypes(container: str) -> list[str]:
    """The sample formats that a container can be written with."""
    return [subtype for subtype in soundfile.available_subtypes(container) if subtype not in INVERTING]


def _able(container: str, name: str) -> str:
    """The sample format of that name. Raises `FormatError` when the container does not support it."""
    subtype, able = known_subtype(name), able_subtypes(container)
    if subtype not in able:
        names = ", ".join(sorted(known.replace("_", "").lower() for known in able))
        raise FormatError(f"{container} can't hold {name}; expected one of {names}.")
    return subtype


def container_of(target: Path, wanted: OutputFormat) -> str:
    """The container that the target's name implies. Raises `FormatError` if it implies none, or not the wanted one.

    Opus may be in a file named `.ogg`, since it is Ogg (RFC 7845); a file named `.opus` may hold nothing else.
    """
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise FormatError(f"{target}: expected a name ending in one of {', '.join(CONTAINERS)}.")
    asked = suffix if wanted.container is None else f".{wanted.container}"
    if CONTAINERS[asked] != CONTAINERS[suffix] or (suffix == ".opus" and asked != ".opus"):
        raise FormatError(f"{target}: ends in {suffix}, but the requested format is {wanted.container}; choose one.")
    return CONTAINERS[suffix]


def subtype_of(target: Path, container: str, wanted: OutputFormat, source_container: str, source_subtype: str) -> str:
    """The sample format of a result in `container`; 24-bit if the source's own can't be kept.

    Raises `FormatError` when the container does not support the one that is wanted.
    """
    opus = target.suffix.lower() == ".opus"
    if wanted.subtype is not None:
        subtype = _able(container, wanted.subtype)
        if opus and subtype != "OPUS":
            raise FormatError(
                f"{target}: ends in .opus, but the requested sample format is {wanted.subtype}; choose one, or .ogg."
            )
        return subtype
    if opus or wanted.container == "opus":
        return "OPUS"
    able = able_subtypes(container)
    if container == "MP3":  # layers I and II can only be read
        return "MPEG_LAYER_III"
    if source_subtype.startswith("ALAC"):  # libsndfile crashes the process when it can't write one
        source_subtype = source_subtype.replace("ALAC", "PCM").replace("PCM_20", "PCM_24")
    alike = source_container == container or (source_container in WAVS and container in WAVS)
    if source_subtype in able and (alike or source_subtype in BITS or source_subtype in UNLIMITED):
        return source_subtype
    return "PCM_24" if "PCM_24" in able else str(soundfile.default_subtype(container))
