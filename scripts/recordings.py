#!/usr/bin/env python3
"""Speech to train on, from packages of Debian 12: the same files everywhere, verified by checksum.

    scripts/recordings.py OUT [--packages DIR] [--only SPEAKER ...] [--minutes M]

Uses the packages in DIR, or downloads them there with `apt-get download` (260 MB); a file with another checksum is
refused. Short recordings of one speaker are joined, in name order, into pieces of about ten seconds with a fifth of a
second between them, converted to 48 kHz mono, and written as OUT/SPEAKER/SPEAKER_000.flac, with OUT/SOURCES.tsv, which
lists each piece's source, licence, duration, bandwidth and pitch. Recordings below 32 kHz or 0.2 s, and silent ones,
are left out. `data.val_speakers` refers to a speaker by folder name. `--minutes M` takes at most M from any speaker,
spread over everything there is of them: a model learns people, and three minutes tell as much about one as thirty.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, bandwidth_hz, resample, sounding_channel, write_audio
from timbre_restore.corpus.table import write_table

PIECE_S = 10.0
GAP_S = 0.2
SHORTEST_S = 0.2
LOWEST_HZ = 32_000
CEILING = 0.99
COLUMNS = ("piece", "language", "seconds", "bandwidth_hz", "pitch_hz", "package", "licence", "recordings")
PITCH_RATE_HZ = 16_000
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 70, 400


@dataclass(frozen=True)
class Package:
    """A Debian package with recordings: `pattern` matches them, and its group `speaker` tells who is speaking."""

    name: str
    version: str
    sha256: str
    licence: str
    pattern: str
    speakers: dict[str, str]
    """From the value of the group to the speaker's folder."""
    language: str | None = None
    """The language, if it differs from the value of the group."""

    @property
    def file(self) -> str:
        return f"{self.name}_{self.version.replace(':', '%3a')}_all.deb"


Piece = tuple[list[str], FloatArray]


def _same(prefix: str, languages: str) -> dict[str, str]:
    return {language: f"{prefix}_{language}" for language in languages.split()}


PACKAGES = (
    Package(
        "klettres-data", "4:22.12.3-1", "1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8", "GPL-2+",
        r"usr/share/klettres/(?P<speaker>\w+)/.*\.ogg",
        _same("klettres", "ar cs da de en es fr he hu it lt ml nb nds pt_BR ru uk"),
    ),
    Package(
        "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "GPL-2", r"usr/share/tuxpaint/stamps/.*_desc_(?P<speaker>[a-z]+)\.ogg",
        _same("tuxpaint", "be bg ca da el es fr lt nl ro ru"),
    ),
    Package(
        "gcin-voice", "0~20170223-3", "6a0353f0294d06f7bd901bada3d5d9eec63b66c2ec029f92da3124d93d45de70", "CC BY 3.0",
        r"usr/share/gcin-voice/ogg/.*/(?P<speaker>5)\.ogg", {"5": "gcin_chulo"}, language="zh",
    ),
    Package(
        "ktuberling-data", "4:22.12.3-1", "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed", "GPL-2+",
        r"usr/share/ktuberling/sounds/(?P<speaker>\w+)/.*\.(?:ogg|wav)",
        _same("ktuberling", "da de el en fr ga lt ro ru sl uk wa"),
    ),
    Package(
        "kajongg", "4:22.12.3-1", "be0a9cc0f9a97064ffa0ab01133f55e021c7c58f9869857431bf1ca951dadbaf", "GPL-2+",
        r"usr/share/kajongg/voices/de/(?P<speaker>\w+)/.*\.ogg",
        _same("kajongg", "female1 female2 male1 male2"), language="de",
    ),
)  # fmt: skip
"""Packages whose recordings state their licence. Of their speakers, those of `configs/voice.yaml`, plus others who go
above 13 kHz, lie 25 dB above their background, and do not appear to be any of the speakers held out in that file."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", type=Path, default=Path("packages"), help="their folder (fetched if missing)")
    parser.add_argument("--only", nargs="+", default=[], metavar="SPEAKER", help="only these speakers")
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most this much per speaker, but one piece")
    given = parser.parse_args()
    if not given.minutes > 0:
        return refuse(f"--minutes {given.minutes:g}: expected a number above 0.")
    known = {speaker for package in PACKAGES for speaker in package.speakers.values()}
    if unknown := set(given.only) - known:
        return refuse(f"--only {' '.join(sorted(unknown))}: expected some of {', '.join(sorted(known))}.")
    wanted = set(given.only) or known
    rows: list[tuple[object, ...]] = []
    for package in PACKAGES:
        own = {key: name for key, name in package.speakers.items() if name in wanted}
        if not own:
            continue
        try:
            path = brought(package, given.packages)
            rows += joined(package, path, own, given.out, 60 * given.minutes)
        except (OSError, ValueError, tarfile.TarError, subprocess.SubprocessError) as exc:
            return refuse(f"{package.file}: {exc}")
    write_table(given.out / "SOURCES.tsv", COLUMNS, sorted(rows, key=lambda row: str(row[0])))
    minutes = sum(float(str(row[2])) for row in rows) / 60
    sys.stdout.write(
        f"{given.out}: {len(rows)} pieces, {minutes:.0f} minutes, {len(wanted)} speakers; see SOURCES.tsv\n"
    )
    return 0


def refuse(why: str) -> int:
    sys.stderr.write(f"error: {why}\n")
    return 2


def brought(package: Package, folder: Path) -> Path:
    """The package's file, downloaded if it is missing. Raises `ValueError` if the checksum is not the expected one."""
    path = folder / package.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            command = ["apt-get", "download", "-q", f"{package.name}={package.version}"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise ValueError(f"is not in {folder}, and there is no apt-get to download it; put it there.") from None
        except subprocess.CalledProcessError as exc:
            said = exc.stderr.decode(errors="replace").strip().splitlines()
            raise ValueError(f"can't be downloaded ({said[-1] if said else 'apt-get failed'}).") from exc
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(f"{path} has the checksum {found[:12]}…, expected {package.sha256[:12]}…; remove it.")
    return path


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file in a Debian package (deb(5): an `ar` archive that holds data.tar.*)."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError("is not a Debian package.")
        while header := file.read(60):
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                with tarfile.open(fileobj=io.BytesIO(file.read(size))) as archive:
                    for member in archive:
                        content = archive.extractfile(member) if member.isfile() else None
                        if content is not None:
                            yield member.name.removeprefix("./"), content.read()
                return
            file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("holds no data.")


def joined(
    package: Package, path: Path, speakers: dict[str, str], out: Path, most_s: float = math.inf
) -> list[tuple[object, ...]]:
    """Write the pieces of a package's speakers, at most `most_s` of each; returns a table row for every piece."""
    found: dict[str, dict[str, bytes]] = {key: {} for key in speakers}
    for name, content in members(path):
        match = re.fullmatch(package.pattern, name)
        if match and match["speaker"] in speakers:
            found[match["speaker"]][name] = content
    rows: list[tuple[object, ...]] = []
    for key, recordings in found.items():
        speaker = speakers[key]
        for number, (names, sound) in enumerate(spread(list(pieces(sorted(recordings.items()))), most_s)):
            piece = f"{speaker}/{speaker}_{number:03d}.flac"
            write_audio(out / piece, sound, SAMPLE_RATE_HZ)
            seconds, top_hz = round(len(sound) / SAMPLE_RATE_HZ, 2), bandwidth_hz(sound, SAMPLE_RATE_HZ)
            said = (seconds, top_hz, pitch_hz(sound), path.name, package.licence, "; ".join(names))
            rows.append((piece, package.language or key, *said))
    return rows


def spread(found: list[Piece], most_s: float) -> list[Piece]:
    """As many pieces, spread evenly from first to last, as fit into `most_s` in total; at least one."""
    for kept in range(len(found), 1, -1):
        chosen = [found[index * len(found) // kept] for index in range(kept)]
        if sum(len(sound) for _, sound in chosen) <= most_s * SAMPLE_RATE_HZ:
            return chosen
    return found[:1]


def pitch_hz(sound: FloatArray) -> int:
    """The median pitch of the voiced frames, in Hz; 0 if there are none.

    In every 64 ms frame within 25 dB of the loudest, takes the first peak of the normalised autocorrelation, from 1/400
    to 1/70 s, that is within a tenth of the highest (a multiple of the period is as high as the period itself); a frame
    is voiced from 0.7 on. At the shortest lag the curve is only falling from 1, which is not a peak, so rumble alone
    has no pitch.
    """
    slow = resample(sound, SAMPLE_RATE_HZ, PITCH_RATE_HZ)
    frames = slow[: len(slow) // 1024 * 1024].reshape(-1, 1024)
    power = np.square(frames).mean(axis=1)
    frames = frames[power > power.max(initial=0.0) * 10**-2.5]
    first, last = PITCH_RATE_HZ // HIGHEST_PITCH_HZ, PITCH_RATE_HZ // LOWEST_PITCH_HZ
    likeness = np.stack([_likeness(frames, lag) for lag in range(first - 1, last + 2)], axis=1)
    inner = likeness[:, 1:-1]
    peaks = np.where((inner >= likeness[:, :-2]) & (inner >= likeness[:, 2:]), inner, 0.0)
    highest = peaks.max(axis=1, initial=0.0)
    lags = first + np.argmax(peaks >= 0.9 * highest[:, None], axis=1)
    voiced = lags[highest >= 0.7]
    return round(PITCH_RATE_HZ / float(np.median(voiced))) if len(voiced) else 0


def _likeness(frames: FloatArray, lag: int) -> FloatArray:
    early, late = frames[:, :-lag], frames[:, lag:]
    energy = np.sqrt(np.square(early).sum(axis=1) * np.square(late).sum(axis=1))
    return np.asarray((early * late).sum(axis=1) / np.maximum(energy, 1e-12), np.float32)


def pieces(recordings: Iterable[tuple[str, bytes]]) -> Iterator[Piece]:
    """Join recordings until a piece is long enough; the remainder at the end is a piece of its own."""
    gap = np.zeros(int(GAP_S * SAMPLE_RATE_HZ), np.float32)
    names: list[str] = []
    parts: list[FloatArray] = []
    for name, content in recordings:
        try:
            samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            continue
        sound = samples[:, sounding_channel(samples.T)]
        if rate_hz < LOWEST_HZ or len(samples) < SHORTEST_S * rate_hz or not np.any(sound):
            continue
        names.append(name)
        parts += [resample(np.ascontiguousarray(sound), rate_hz, SAMPLE_RATE_HZ), gap]
        if sum(map(len, parts)) >= PIECE_S * SAMPLE_RATE_HZ:
            yield names, _within(np.concatenate(parts))
            names, parts = [], []
    if names:
        yield names, _within(np.concatenate(parts))


def _within(sound: FloatArray) -> FloatArray:
    """Turn the sound down if a decoder's or resampler's overshoot exceeds full scale."""
    return sound * np.float32(min(1.0, CEILING / max(float(np.abs(sound).max()), 1e-9)))


if __name__ == "__main__":
    sys.exit(main())
