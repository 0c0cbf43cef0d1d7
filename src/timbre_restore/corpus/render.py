"""From a take to its items: a pure function of the spec, the draw and the files it names.

Order of things: speech to 48 kHz; the room, cut at its direct path; the speech in it to its level, because rooms differ
by twenty decibels in what they add to a peak of 1; noise at its SNR; one gain if anything would clip; 16 bit; the
suppressor on exactly those 16-bit samples. So what is stored as noisy, put through the suppressor, is what is stored as
degraded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, active_rms, from_db, read_audio, read_info, resample, rms, stft, to_db
from timbre_restore.corpus.draw import Draw
from timbre_restore.errors import AudioFileError, CorpusError
from timbre_restore.suppressors import Suppressor

FloatArray = NDArray[np.float32]
Int16Array = NDArray[np.int16]

EARLY_SAMPLES = 2400  # 50 ms of a room stay in the target
CEILING = 0.99
TRIES = 4  # of a gain under which the suppressor's output stays below the ceiling
LOWEST_RATE_HZ = 32_000
SILENCE_DBFS = -80.0
NOISE_SILENCE_DBFS = -70.0  # a stretch below it would be raised by tens of dB, and its dither with it
FULL_SCALE = 32768.0


class TakeSkipped(CorpusError):
    """This recording makes no items; the message is the reason."""


@dataclass(frozen=True)
class Applied:
    """What was done to a take, for its row: candidates resolved, gains computed."""

    native_rate_hz: int
    bandwidth_hz: int
    speech_gain_db: float
    noise: str
    noise_offset: int
    """First sample of the stretch, at 48 kHz."""
    noise_gain_db: float
    room: str
    gain_db: float
    """The common gain against clipping."""


@dataclass(frozen=True)
class Rendered:
    """A take's items as int16: degraded and clean `[N, segment]`, noisy `[N, segment + latency]`."""

    degraded: Int16Array
    clean: Int16Array
    noisy: Int16Array
    applied: Applied
    rejected: tuple[tuple[str, str, str], ...]
    """(kind, relative path, reason) of noises and rooms that could not be used."""


def render(
    recording: Path, draw: Draw, noise_root: Path, room_root: Path | None, suppressor: Suppressor, segment: int
) -> Rendered:
    """Make the items of one take. Raises `TakeSkipped` with the reason when the recording gives none."""
    speech, native_rate, bandwidth = load_speech(recording, segment)
    rejected: list[tuple[str, str, str]] = []
    room, response = _first_room(draw, room_root, rejected)
    reverberant, clean = (speech, speech) if response is None else in_room(speech, response)
    speech_gain = from_db(draw.speech_level_dbfs) / active_rms(reverberant)
    reverberant, clean = reverberant * np.float32(speech_gain), clean * np.float32(speech_gain)
    noise, offset, stretch = _first_noise(draw, noise_root, len(speech), rejected)
    noise_gain = rms(reverberant) / (rms(stretch) * from_db(draw.snr_db))
    noisy = reverberant + stretch * np.float32(noise_gain)

    count = len(speech) // segment
    lead = suppressor.latency_samples
    gain = min(1.0, CEILING / max(_peak(noisy), _peak(clean)))
    for _ in range(TRIES):
        noisy_pcm = to_pcm(np.pad(noisy * np.float32(gain), (0, lead)))
        # What follows the last item reaches it only as far as the suppressor looks ahead.
        degraded = suppressor(from_pcm(noisy_pcm[: count * segment + lead]))[: count * segment]
        if _peak(degraded) <= CEILING:
            break
        gain *= 0.98 * CEILING / _peak(degraded)
    else:
        raise TakeSkipped("its suppressed side passes full scale however far the take is turned down")
    applied = Applied(native_rate, bandwidth, to_db(speech_gain), noise, offset, to_db(noise_gain), room, to_db(gain))
    clean_pcm = to_pcm(clean[: count * segment] * np.float32(gain))
    windows = np.lib.stride_tricks.sliding_window_view(noisy_pcm, segment + lead)[::segment][:count]
    return Rendered(
        to_pcm(degraded).reshape(count, segment),
        clean_pcm.reshape(count, segment),
        np.ascontiguousarray(windows),
        applied,
        tuple(rejected),
    )


def to_pcm(samples: FloatArray) -> Int16Array:
    """Full scale ±1 to 16 bit: round(x · 2¹⁵), limited to the range."""
    rounded: Int16Array = np.clip(np.rint(samples * FULL_SCALE), -32768, 32767).astype(np.int16)
    return rounded


def from_pcm(samples: Int16Array) -> FloatArray:
    """16 bit to full scale ±1, as a reader of the file gets it."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def load_speech(path: Path, segment: int) -> tuple[FloatArray, int, int]:
    """The first channel `[T]` at 48 kHz, the native rate and the bandwidth in hertz, or `TakeSkipped`."""
    try:
        info = read_info(path)
        if info.sample_rate_hz < LOWEST_RATE_HZ:
            raise TakeSkipped(f"sampled at {info.sample_rate_hz} Hz; expected {LOWEST_RATE_HZ} Hz or more")
        if info.samples * SAMPLE_RATE_HZ < segment * info.sample_rate_hz:
            raise TakeSkipped(f"too short: {info.samples / info.sample_rate_hz:.2f} s do not fill one item")
        samples, rate = read_audio(path)
    except AudioFileError as exc:
        raise TakeSkipped(f"unreadable: {_without(path, exc)}") from exc
    speech = resample(samples[0], rate, SAMPLE_RATE_HZ)
    if len(speech) < segment:
        raise TakeSkipped(f"too short: {len(speech) / SAMPLE_RATE_HZ:.2f} s do not fill one item")
    level = to_db(active_rms(speech))
    if level < SILENCE_DBFS:
        raise TakeSkipped(f"silent: its active level is {level:.0f} dBFS")
    return speech, rate, bandwidth_hz(samples[0], rate)


def bandwidth_hz(samples: FloatArray, rate_hz: int, *, range_db: float = 80.0) -> int:
    """The highest frequency whose mean power lies within `range_db` of the strongest one's."""
    size = 2048
    power = np.zeros(size // 2 + 1)
    for start in range(0, max(1, len(samples) - size), 1 << 20):  # in stretches, so that an hour fits in memory
        power += np.sum(np.abs(stft(samples[start : start + (1 << 20)], size, size)) ** 2, axis=1)
    audible = np.flatnonzero(power >= power.max() * 10.0 ** (-range_db / 10.0))
    return int(audible[-1] * rate_hz / size)


def in_room(speech: FloatArray, response: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Speech in the whole room, and in its first 50 ms; both `[T]`, both starting with the direct sound."""
    return convolve(speech, response), convolve(speech, response[:EARLY_SAMPLES])


def direct_path_first(response: FloatArray) -> FloatArray:
    """A room response `[R]` cut at its largest peak, which becomes 1 and positive."""
    peak = int(np.argmax(np.abs(response)))
    return np.asarray(response[peak:] / response[peak], dtype=np.float32)


def convolve(signal: FloatArray, response: FloatArray) -> FloatArray:
    """The first `len(signal)` samples of the convolution, by overlapping blocks: an hour must not need one FFT."""
    size = 1 << max(17, int(np.ceil(np.log2(4 * len(response)))))
    block = size - len(response) + 1
    spectrum = np.fft.rfft(response.astype(np.float64), size)
    out = np.zeros(len(signal) + size)
    for start in range(0, len(signal), block):
        part = np.fft.rfft(signal[start : start + block].astype(np.float64), size)
        out[start : start + size] += np.fft.irfft(part * spectrum, size)
    return out[: len(signal)].astype(np.float32)


def _first_room(draw: Draw, root: Path | None, rejected: list[tuple[str, str, str]]) -> tuple[str, FloatArray | None]:
    if root is None:
        return "", None
    for name in draw.rooms:
        try:
            return name, _load_room(root / name)
        except AudioFileError as exc:
            rejected.append(("room", name, _without(root / name, exc)))
    return "", None


@lru_cache(maxsize=64)
def _load_room(path: Path) -> FloatArray:
    samples, rate = read_audio(path)
    response = resample(samples[0], rate, SAMPLE_RATE_HZ)
    if not np.any(response):
        raise AudioFileError("silent")
    return direct_path_first(response)


def _first_noise(
    draw: Draw, root: Path, length: int, rejected: list[tuple[str, str, str]]
) -> tuple[str, int, FloatArray]:
    """Name, first sample and stretch `[length]` of the first candidate that can be used."""
    for name in draw.noises:
        try:
            offset, stretch = load_noise(root / name, draw.noise_position, length)
        except AudioFileError as exc:
            rejected.append(("noise", name, _without(root / name, exc)))
            continue
        level = to_db(rms(stretch))
        if level >= NOISE_SILENCE_DBFS:
            return name, offset, stretch
        rejected.append(("noise", name, f"silent where it was drawn: {level:.0f} dBFS"))
    raise TakeSkipped(f"none of its {len(draw.noises)} drawn noises could be used (first: {draw.noises[0]})")


def load_noise(path: Path, position: float, length: int) -> tuple[int, FloatArray]:
    """A stretch of a noise, beginning at `position` in [0, 1) of what is possible; a shorter noise goes in a circle."""
    info = read_info(path)
    whole = info.samples * SAMPLE_RATE_HZ // info.sample_rate_hz
    if whole <= 0:
        raise AudioFileError("holds no samples")
    if whole > length:
        offset = int(position * (whole - length))
        first = offset * info.sample_rate_hz // SAMPLE_RATE_HZ
        wanted = -(-length * info.sample_rate_hz // SAMPLE_RATE_HZ) + 2
        samples, rate = read_audio(path, start=first, length=min(wanted, info.samples - first))
        stretch = resample(samples[0], rate, SAMPLE_RATE_HZ)[:length]
        return offset, np.pad(stretch, (0, length - len(stretch)))
    samples, rate = read_audio(path)
    circle = resample(samples[0], rate, SAMPLE_RATE_HZ)
    offset = int(position * len(circle))
    return offset, np.resize(np.roll(circle, -offset), length)


def _without(path: Path, exc: AudioFileError) -> str:
    """The reason without the path, which stands beside it and differs between machines."""
    return str(exc).removeprefix(f"{path}: ").replace(repr(str(path)), "it").replace(str(path), "it")


def _peak(samples: FloatArray) -> float:
    return max(float(np.max(np.abs(samples), initial=0.0)), 1e-12)
