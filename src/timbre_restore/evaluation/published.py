"""Published test sets in the layout they unpack to: where the files are, which form a pair, what the names tell.

VoiceBank-DEMAND (Valentini-Botinhao et al. 2016, DataShare 10283/2791) has `clean_testset_wav` and `noisy_testset_wav`
with equal names such as `p232_001`, and a log with a line such as `p232_001 bus 17.5` for each.

The synthetic sets of the DNS challenge (Reddy et al. 2020) have `clean/clean_fileid_268.wav` and
`noisy/clnsp102_traffic_248091_3_snr0_tl-21_fileid_268.wav`: the number at the end identifies the pair. Its blind sets
are one folder of recordings without a clean side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from timbre_restore.evaluation.facts import Facts, as_facts

SIDES = (("noisy", "clean"), ("noisy_testset_wav", "clean_testset_wav"))
"""Folder names of a set: the plain ones, and VoiceBank-DEMAND's."""
VOICEBANK_LOG = "log_testset.txt"
VOICEBANK_LOG_FOLDERS = ("", "logfiles")
ROOMS = {"no_reverb": "none", "noreverb": "none", "with_reverb": "reverberant", "reverb": "reverberant"}
"""Names of the DNS challenge's folders, or prefixes of its blind file names."""

_VOICEBANK_STEM = re.compile(r"(p\d+)_\d+")
_DNS_CLEAN = re.compile(r"clean_fileid_(\d+)")
_DNS_NOISY = re.compile(r".*fileid_(\d+)")
_DNS_NAME = re.compile(
    r"(?:(?P<room>noreverb|reverb)_)?clnsp\d+_(?P<noise>.+)_snr(?P<snr>-?\d+)_tl(?P<level>-?\d+)_fileid_\d+"
)
# A Freesound sound is named like 'traffic_248091_3'; an AudioSet one by its video's ID, which tells nothing.
_FREESOUND = re.compile(r"([a-z]+(?:_[a-z]+)*)_\d+.*")


def sides_of(folder: Path) -> tuple[Path, Path]:
    """The noisy and the clean folder of a set: the first layout that exists, or the plain one if none does."""
    for noisy, clean in SIDES:
        if (folder / noisy).is_dir() or (folder / clean).is_dir():
            return folder / noisy, folder / clean
    return folder / SIDES[0][0], folder / SIDES[0][1]


def partner_names(noisy: Iterable[str], clean: Iterable[str]) -> dict[str, str]:
    """Noisy stem → expected clean stem: the same one, or matched by number if all clean files are numbered."""
    numbers = {match[1]: stem for stem in clean if (match := _DNS_CLEAN.fullmatch(stem))}
    own = {stem: stem for stem in noisy}
    if not numbers or len(numbers) < len(list(clean)):
        return own
    found = {stem: _DNS_NOISY.fullmatch(stem) for stem in own}
    return {stem: f"clean_fileid_{match[1]}" if match else stem for stem, match in found.items()}


def published_facts(folder: Path, noisy: Path, stems: Iterable[str]) -> dict[str, Facts]:
    """Stem → facts from the set's log and file names; empty for any other set."""
    names = list(stems)
    if noisy.name == SIDES[1][0]:
        logged = _voicebank_log(folder)
        return {stem: _voicebank(stem) | logged.get(stem, {}) for stem in names}
    room = ROOMS.get(folder.name, "")
    return {stem: facts for stem in names if (facts := dns_facts(stem, room))}


def dns_facts(stem: str, room: str = "") -> Facts:
    """SNR, noise, level and room, as far as a DNS challenge file name gives them."""
    match = _DNS_NAME.fullmatch(stem)
    if match is None:
        return {}
    noise = _FREESOUND.fullmatch(match["noise"])
    return as_facts(
        {
            "noise": noise[1] if noise else match["noise"],
            "snr_db": match["snr"],
            "level_dbfs": match["level"],
            "room": ROOMS[match["room"]] if match["room"] else room,
        }
    )


def _voicebank(stem: str) -> dict[str, str | float]:
    match = _VOICEBANK_STEM.fullmatch(stem)
    return {"speaker": match[1]} if match else {}


def _voicebank_log(folder: Path) -> dict[str, dict[str, str | float]]:
    """Stem → noise and SNR. Lines of any other form are ignored, and the log may be absent."""
    path = next((p for at in VOICEBANK_LOG_FOLDERS if (p := folder / at / VOICEBANK_LOG).is_file()), None)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path else []
    rows = (line.split() for line in lines)
    return {row[0]: as_facts({"noise": row[1], "snr_db": row[2]}) for row in rows if len(row) == 3}
