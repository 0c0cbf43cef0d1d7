"""The development side as whole recordings: pairs for `evaluate --pairs`, reproducible from the settings.

    python benchmarks/development.py CONFIG OUT [COUNT] [key=value ...]

Mixes the held-out recordings of a configuration (`val_speakers`, `val_noises`, `val_rooms`) as `prepare` would, at -5
to 25 dB SNR unless `data.snr_db` is among the given keys, without pauses, band limits and clean input. Writes COUNT of
them (96 by default, spread over the plan) as OUT/noisy/NAME.wav and OUT/clean/NAME.wav, with OUT/items.tsv, which lists
speaker, noise and room. Each recording is drawn twice, or `data.passes` times if that key is given; if that makes fewer
than COUNT, all are written. Another `seed` makes other mixtures of the same voices, noises and rooms.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from timbre_restore.apps.prepare import corpus_spec
from timbre_restore.audio import write_audio
from timbre_restore.config import load_config
from timbre_restore.corpus import Variety
from timbre_restore.corpus.planning.plan import scan_and_plan
from timbre_restore.corpus.rendering.mix import Folders, mix
from timbre_restore.corpus.rendering.rejects import TakeSkipped
from timbre_restore.corpus.table import write_table
from timbre_restore.errors import TimbreRestoreError

SNR_DB = (-5.0, 25.0)
PASSES = 2
COUNT = 96
COLUMNS = ("stem", "speaker", "snr_db", "noise", "room")


def main(config: Path, out: Path, count: int, overrides: tuple[str, ...]) -> None:
    spec = corpus_spec(load_config(config, overrides)).absolute()
    plain = Variety(two_noises=0.0, clean_input=0.0, pause=0.0, band_limit=0.0)
    named = {word.partition("=")[0] for word in overrides}
    passes = spec.passes if "data.passes" in named else PASSES
    snr_db = spec.snr_db if "data.snr_db" in named else SNR_DB
    spec = replace(spec, passes=passes, snr_db=snr_db, variety=plain)
    with tempfile.TemporaryDirectory() as nowhere:
        takes = [take for take in scan_and_plan(spec, Path(nowhere), None).takes if take.split == "val"]
    folders = Folders(tuple(source.path for source in spec.sources), spec.noise_path, spec.ir_path)
    count = min(count, len(takes))
    rows = []
    for number in range(count):
        take = takes[number * len(takes) // count]
        try:
            mixture = mix(take, folders, spec.segment, 0)
        except TakeSkipped as exc:
            print(f"{take.recording.relative}: {exc}", file=sys.stderr)
            continue
        gain = np.float32(0.99 / max(0.99, *(float(np.max(np.abs(x))) for x in (mixture.noisy, mixture.clean))))
        stem = f"{number:03d}_{take.recording.speaker}_{take.draw.snr_db:.0f}dB"
        applied = mixture.applied
        noise = applied.noises[0] if applied.noises else "none"
        rows.append((stem, take.recording.speaker, take.draw.snr_db, noise, applied.room or "none"))
        for side, samples in (("noisy", mixture.noisy[: len(mixture.clean)]), ("clean", mixture.clean)):
            write_audio(out / side / f"{stem}.wav", gain * samples, 48_000)
    write_table(out / "items.tsv", COLUMNS, rows)
    print(f"{len(rows)} of {len(takes)} held-out recordings in {out}")


if __name__ == "__main__":
    words = sys.argv[3:]
    given = [word for word in words if "=" not in word]
    held_out = int(given[0]) if given else COUNT
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), held_out, tuple(word for word in words if "=" in word))
    except TimbreRestoreError as exc:
        sys.exit(f"error: {exc}")
