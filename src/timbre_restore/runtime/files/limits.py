"""Rate and channel limits of formats, so that a source that does not fit is refused before the work starts.

libsndfile rejects most of them itself, but without saying why; Vorbis at too high a rate crashes the process.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files.formats import CHANNELS, RATES_HZ


@dataclass(frozen=True)
class _Limits:
    """The limits of a format; `rates` is the text that follows "holds" in the message."""

    rates_hz: tuple[Container[int], ...] = (RATES_HZ,)
    rates: str = ""
    channels: int = CHANNELS[-1]


_OPUS_HZ = (8000, 12000, 16000, 24000, 48000)
_MP3_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_ALAC = _Limits(channels=8)
_LIMITS = {
    "OPUS": _Limits((_OPUS_HZ,), f"{', '.join(map(str, _OPUS_HZ))} Hz"),
    "MPEG_LAYER_III": _Limits((_MP3_HZ,), f"{', '.join(map(str, _MP3_HZ))} Hz", 2),
    "VORBIS": _Limits((range(200_001),), "rates up to 200000 Hz"),
    "FLAC": _Limits(
        (range(65_536), range(0, 655_351, 10)), "rates up to 65535 Hz, and multiples of 10 up to 655350 Hz", 8
    ),
    "ALAC_16": _ALAC, "ALAC_20": _ALAC, "ALAC_24": _ALAC, "ALAC_32": _ALAC,
}  # fmt: skip
"""Container or sample format → limits: RFC 6716, 2.1.3; ISO 11172-3 and 13818-3, MPEG 2.5; the others as far as
libsndfile 1.2.2 goes."""


def check_fits(target: Path, container: str, subtype: str, rate_hz: int, channels: int) -> None:
    """Raise `AudioFileError` for a rate or a channel count that the target's format does not support."""
    for name in (container, subtype):
        limits = _LIMITS.get(name, _Limits())
        if not any(rate_hz in rates_hz for rates_hz in limits.rates_hz):
            raise AudioFileError(
                f"{target}: {name} holds {limits.rates}, but the source has {rate_hz} Hz; choose another format."
            )
        if channels > limits.channels:
            raise AudioFileError(
                f"{target}: {name} holds up to {limits.channels} channels, but the source has {channels}; choose "
                "another format."
            )
