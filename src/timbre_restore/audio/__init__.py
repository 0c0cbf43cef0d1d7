"""Sound as numbers, numpy only: files and lists of them, spectra, levels, alignment."""

from timbre_restore.audio.alignment import lag_samples
from timbre_restore.audio.files import (
    AUDIO_SUFFIXES,
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioInfo,
    FloatArray,
    encoded,
    read_audio,
    read_channel,
    read_info,
    read_mono,
    sounding_channel,
    sounds_in,
    write_audio,
)
from timbre_restore.audio.levels import active_rms, from_db, rms, to_db
from timbre_restore.audio.packed import (
    HINT_VALUES,
    LEAD_SAMPLES,
    PACKED_SUFFIX,
    locate_packed,
    packed_name,
    packed_segment,
    packed_stride,
    read_packed,
)
from timbre_restore.audio.pairs import Pair, parse_list, read_list
from timbre_restore.audio.pcm import FULL_SCALE, Int16Array, from_pcm, is_16_bit, to_pcm
from timbre_restore.audio.resampling import Resampler, resample
from timbre_restore.audio.stft import bandwidth_hz, fast_length, hann, stft
from timbre_restore.audio.stored import read_hints_into, read_stored, read_stored_into

__all__ = [
    "AUDIO_SUFFIXES",
    "FULL_SCALE",
    "HINT_VALUES",
    "HOP_SAMPLES",
    "LEAD_SAMPLES",
    "PACKED_SUFFIX",
    "SAMPLE_RATE_HZ",
    "AudioInfo",
    "FloatArray",
    "Int16Array",
    "Pair",
    "Resampler",
    "active_rms",
    "bandwidth_hz",
    "encoded",
    "fast_length",
    "from_db",
    "from_pcm",
    "hann",
    "is_16_bit",
    "lag_samples",
    "locate_packed",
    "packed_name",
    "packed_segment",
    "packed_stride",
    "parse_list",
    "read_audio",
    "read_channel",
    "read_hints_into",
    "read_info",
    "read_list",
    "read_mono",
    "read_packed",
    "read_stored",
    "read_stored_into",
    "resample",
    "rms",
    "sounding_channel",
    "sounds_in",
    "stft",
    "to_db",
    "to_pcm",
    "write_audio",
]
