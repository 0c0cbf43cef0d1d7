"""PESQ and ESTOI: listener models from optional packages. Both are deaf above 8 kHz.

PESQ's C code crashes on long input, and a crash would bring down the whole evaluation. So it runs in a process of its
own on pieces of at most 20 s: a crash costs one value, which is then n/a with that reason.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, resample
from timbre_restore.errors import extra_command
from timbre_restore.metrics.base import is_silent, require_speech
from timbre_restore.metrics.frames import equal_pieces, spoken_pieces
from timbre_restore.metrics.sharing import NotComputableError, PassingError, failures_of, once_per_pair, require_package

PESQ_RATE_HZ = 16_000
PESQ_PIECE_S = 20
PESQ_COMMAND = "pip install pesq (needs a C compiler)"
ESTOI_RATE_HZ = 10_000
ESTOI_SHORTEST_S = 0.4
# The package holds every segment of a signal at once: gigabytes for ten minutes.
ESTOI_PIECE_S = 60
ESTOI_COMMAND = extra_command("eval")
TIMEOUT_S_PER_PIECE = 60

_WORKER = Path(__file__).with_name("pesq_worker.py")


@once_per_pair
def at_16_khz(samples: FloatArray) -> FloatArray:
    """`[T]` at 48 kHz, resampled to 16 kHz."""
    return resample(samples, SAMPLE_RATE_HZ, PESQ_RATE_HZ)


@once_per_pair
def pesq_wb(estimate: FloatArray, reference: FloatArray) -> float:
    """PESQ-WB as MOS-LQO, about 1.04 to 4.64, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    ITU-T P.862 with the wide-band mapping of P.862.2, from the package `pesq`. A longer item is cut into equal pieces
    of at most 20 s and the values are averaged; pieces in which the reference pauses are left out. Deaf above 7 kHz
    and to level; made for telephone codecs, and blind to what a restorer adds above their band.
    """
    require_package("pesq", PESQ_COMMAND)
    require_speech(estimate, reference)
    wanted, given = at_16_khz(reference), at_16_khz(estimate)
    return float(np.mean(_pesq_pieces(spoken_pieces(wanted, given, PESQ_PIECE_S * PESQ_RATE_HZ))))


def _pesq_pieces(pieces: list[tuple[FloatArray, FloatArray]]) -> list[float]:
    """PESQ of (reference, estimate) pieces, computed in one child process."""
    lengths = ",".join(str(len(wanted)) for wanted, _ in pieces)
    sound = b"".join(np.asarray(x, dtype="<f4").tobytes() for piece in pieces for x in piece)
    command = [sys.executable, "-P", str(_WORKER), str(PESQ_RATE_HZ), lengths]  # -P: don't import from this folder
    try:
        done = subprocess.run(command, input=sound, capture_output=True, timeout=TIMEOUT_S_PER_PIECE * len(pieces))
    except subprocess.TimeoutExpired as exc:
        raise PassingError(f"PESQ did not end within {exc.timeout:.0f} s") from exc
    if done.returncode != 0:
        raise PassingError(_death(done.returncode, done.stderr))
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise NotComputableError(f"PESQ: {answer['error']}")
    return [float(value) for value in answer["values"]]


def _death(status: int, stderr: bytes) -> str:
    if status < 0:
        return f"PESQ's process died of {signal.Signals(-status).name}"
    last = stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    return f"PESQ's process ended with status {status}: {last[0]}"


def estoi(estimate: FloatArray, reference: FloatArray) -> float:
    """Extended short-time objective intelligibility, −1 to 1, higher is better. `[T]` at 48 kHz; listens at 10 kHz.

    Jensen and Taal 2016, from the package `pystoi`: the correlation of third-octave envelopes up to 4.3 kHz over
    384 ms, leaving out pauses of the reference. Deaf above 5 kHz, to level, and to pauses. Less than 0.4 s of speech
    has no value (the package would return 0.00001 and warn). Above 60 s it is the mean over equal pieces.
    """
    require_package("pystoi", ESTOI_COMMAND)
    if len(reference) < ESTOI_SHORTEST_S * SAMPLE_RATE_HZ:
        raise NotComputableError(f"shorter than {ESTOI_SHORTEST_S} s")
    require_speech(estimate, reference)
    heard = (resample(x, SAMPLE_RATE_HZ, ESTOI_RATE_HZ) for x in (reference, estimate))
    pieces = zip(*(equal_pieces(x, ESTOI_PIECE_S * ESTOI_RATE_HZ) for x in heard), strict=True)
    with failures_of("pystoi"):
        found = [value for wanted, given in pieces if (value := _estoi_piece(wanted, given)) is not None]
    if not found:
        raise NotComputableError(f"less than {ESTOI_SHORTEST_S} s of speech")
    return float(np.mean(found))


def _estoi_piece(wanted: FloatArray, given: FloatArray) -> float | None:
    """ESTOI of one piece at 10 kHz, or None if it holds too little speech, for which the package would warn."""
    from pystoi import stoi

    if is_silent(wanted):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(stoi(wanted, given, ESTOI_RATE_HZ, extended=True))
        except RuntimeWarning:
            return None
