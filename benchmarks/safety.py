"""How much noise a voice leaves where there is no speech, and what it does to recordings that were clean.

    python benchmarks/safety.py CONFIG [MODEL] [key=value ...]

Uses the held-out noises and speakers of a configuration (`val_noises`, `val_speakers`): each noise alone, and two
recordings of each speaker without any noise. MODEL is a file or a packaged voice (by default the default voice). Prints
the levels of the remaining noise and of the error in clean recordings, relative to the input, and how many words a
recogniser hears in the noises (first ten seconds; needs the packages of the metric `wer`). Compared with the suppressor
and with the suppressor with the attenuation limit that people use today.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from timbre_restore.apps.prepare import corpus_spec
from timbre_restore.audio import FloatArray, read_mono, rms, to_db
from timbre_restore.config import load_config
from timbre_restore.corpus.planning.scan import scan_files, scan_source
from timbre_restore.corpus.planning.split import split_recordings, split_sounds
from timbre_restore.metrics.words import transcript
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.suppressors import Suppressor, SuppressorSettings, load_suppressor

NOWHERE = Path(os.devnull)
"""An output folder to leave out of a scan: none."""
LIMIT_DB = 24.0
NAMES = ("the suppressor", f"its limit of {LIMIT_DB:.0f} dB", "restored")
WORDS_S = 10
PER_SPEAKER = 2


def main(config: Path, model: str | None, overrides: tuple[str, ...]) -> None:
    spec = corpus_spec(load_config(config, overrides)).absolute()
    if spec.noise_path is None:
        sys.exit("data.noise_path: is not set; set it to the folder with the held-out noises.")
    held = split_sounds(spec, "noise", scan_files(spec.noise_path, NOWHERE), spec.val_noises, [])["val"]
    recordings = [found for index, source in enumerate(spec.sources) for found in scan_source(index, source, NOWHERE)]
    spoken = split_recordings(spec, recordings, [])
    chain = Chain(load_suppressor(), Restorer.load(model) if model else Restorer.load())
    limited = load_suppressor(SuppressorSettings(attenuation_limit_db=LIMIT_DB))
    rows, heard = [], np.zeros(1 + len(NAMES), dtype=int)
    for sound in held:
        noisy = read_mono(spec.noise_path / sound.relative)
        outputs = [noisy, *three(chain, limited, noisy)]
        rows.append([relative_db(x, noisy) for x in outputs[1:]])
        heard += [len(transcript(x[: WORDS_S * 48_000])) for x in outputs]
    print_levels(f"{len(held)} noises alone, what is left, dB", rows, [sound.relative for sound in held])
    print("words heard in", ", ".join(f"{name}: {n}" for name, n in zip(("noisy", *NAMES), heard, strict=True)), "\n")
    rows, names, seen = [], [], dict[str, int]()
    for recording in spoken["val"]:
        seen[recording.speaker] = seen.get(recording.speaker, 0) + 1
        if seen[recording.speaker] <= PER_SPEAKER:
            clean = read_mono(spec.sources[recording.source].path / recording.relative)
            rows.append([relative_db(x - clean, clean) for x in three(chain, limited, clean)])
            names.append(recording.relative)
    print_levels(f"{len(names)} clean recordings, what is wrong, dB", rows, names)


def three(chain: Chain, limited: Suppressor, noisy: FloatArray) -> list[FloatArray]:
    """The outputs of `NAMES`."""
    return [chain(noisy, strength=0.0), limited(noisy), chain(noisy)]


def relative_db(x: FloatArray, to: FloatArray) -> float:
    return to_db(rms(x)) - to_db(rms(to))


def print_levels(title: str, rows: list[list[float]], names: list[str]) -> None:
    levels = np.array(rows)
    medians = ", ".join(f"{name} {np.median(levels[:, n]):.1f}" for n, name in enumerate(NAMES))
    above = " and ".join(f"{NAMES[n]} in {np.sum(levels[:, 2] > levels[:, n])}" for n in (0, 1))
    print(f"{title}: {medians} (medians); restored is above {above} of {len(names)}")
    for index in np.argsort(-levels[:, 2])[:5]:
        print(f"    {names[index]}: " + ", ".join(f"{level:.1f}" for level in levels[index]))


if __name__ == "__main__":
    words = sys.argv[2:]
    given = [word for word in words if "=" not in word]
    main(Path(sys.argv[1]), given[0] if given else None, tuple(word for word in words if "=" in word))
