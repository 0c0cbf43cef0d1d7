"""Small corpora for tests: sounds to make them of, a suppressor that costs nothing, and how two are compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore.corpus import CorpusSpec, PrepareSummary, SourceSpec, Variety
from timbre_restore.suppressors.base import one_by_one

Run = Callable[..., PrepareSummary]


def make_sounds(root: Path) -> Path:
    """Three speakers of two short recordings each, four noises, four rooms, below `root`."""
    for folder in ("speech/ann", "speech/bob", "speech/cy", "noise", "rooms"):
        (root / folder).mkdir(parents=True)
    for number, speaker in enumerate(("ann", "bob", "cy")):
        for take in (0, 1):
            samples = voice(2.2 + 0.3 * take, seed=10 * number + take)
            soundfile.write(root / "speech" / speaker / f"say {take}|ä.wav", samples, 48000)
    for number in range(4):
        soundfile.write(root / "noise" / f"hum{number}.wav", noise(1.5, seed=number), 48000)
        tail = np.random.default_rng(number).standard_normal(9600) * np.exp(-np.arange(9600) / 2000) * 0.05
        tail[100] = 1.0
        soundfile.write(root / "rooms" / f"hall{number}.wav", 0.5 * tail, 48000)
    return root


def spec_of(sounds: Path) -> CorpusSpec:
    return CorpusSpec(
        (SourceSpec(sounds / "speech"),),
        sounds / "noise",
        sounds / "rooms",
        val_fraction=0.3,
        variety=Variety(pause=0.0, silent_items=1.0),  # so that the number of items is known
    )


@dataclass(frozen=True)
class Nothing:
    """Suppresses nothing, at once."""

    name: str = "nothing"
    sample_rate_hz: int = 48000
    latency_samples: int = 1440
    licence: str = "Apache-2.0"
    build: str = "nothing 1"

    def __call__(self, noisy: FloatArray) -> FloatArray:
        return noisy

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, None]:
        return self(noisy), None

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, None]]:
        return one_by_one(self.with_hints, signals)


def contents(out: Path) -> dict[str, str]:
    """Checksums of everything outside `.state`, with the folder's own name taken out of the lists."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and ".state" not in path.parts:
            data = path.read_bytes().replace(os.fsencode(out), b"OUT")
            found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


SCRIPT = """
import sys
from pathlib import Path
from timbre_restore.corpus import CorpusSpec, SourceSpec, Variety, Work, prepare
sounds, variety = Path({sounds!r}), Variety(pause=0.0, silent_items=1.0)
source = SourceSpec(sounds / "speech")
spec = CorpusSpec((source,), sounds / "noise", sounds / "rooms", val_fraction=0.3, variety=variety)
index, count, workers = map(int, sys.argv[1:])
work = Work(None, index, count, workers, skip_existing=True, progress=False)
prepare(spec, Path({out!r}), work)
"""
