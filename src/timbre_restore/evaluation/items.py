"""What is evaluated: pairs of noisy and clean files, from folders or a corpus list, and what is known about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from timbre_restore.audio import (
    AUDIO_SUFFIXES,
    SAMPLE_RATE_HZ,
    Channel,
    FloatArray,
    Pair,
    is_16_bit,
    is_text,
    locate_packed,
    packed_segment,
    parse_list,
    read_audio,
    read_info,
    read_mono,
    read_stored,
    resample,
    sounds_in,
)
from timbre_restore.errors import AudioFileError, CorpusError
from timbre_restore.evaluation.facts import Facts, corpus_facts, facts_beside
from timbre_restore.evaluation.published import dns_facts, partner_names, published_facts, sides_of

SHOWN_PROBLEMS = 10
BAD_TABLE = "its table of items has errors"


@dataclass(frozen=True)
class Item:
    """One recording to judge. `degraded` is None if the suppressor still has to run; `facts` are for breakdowns."""

    stem: str
    noisy: Path
    clean: Path | None
    """None if there is no reference to compare an output with."""
    degraded: Path | None = None
    facts: Facts = field(default_factory=dict, hash=False)
    """Speaker, noise, `snr_db`, room and so on, if known: what results are broken down by."""


@dataclass(frozen=True)
class ItemAudio:
    """The signals of an item as `[T]` at 48 kHz, and how the reference (clean, or else noisy) was stored."""

    noisy: FloatArray
    clean: FloatArray | None
    degraded: FloatArray | None
    native_rate_hz: int
    is_16_bit: bool
    channel: Channel | None = None
    """The channel of that file that is used, also for every other file of the item with the same channel count."""


def items_from_pairs(folder: Path) -> list[Item]:
    """Items of `folder/noisy` and `folder/clean`, matched by file stem and sorted; other files are ignored.

    The layouts of published test sets are supported too (see `published`). Facts from an `items.tsv` or `items.csv`
    beside the two folders take precedence over those in a set's file names. Raises a `CorpusError` that names every
    file without a partner, every pair with different rates or lengths, and every bad row.
    """
    sides = sides_of(folder)
    noisy, clean = (_audio_by_stem(side, _expected(folder)) for side in sides)
    named = " and ".join(f"{side.name}/" for side in sides)
    if not noisy and not clean:
        raise CorpusError(
            f"{folder}: {named} hold no sound files; put {' or '.join(AUDIO_SUFFIXES)} files of equal names into both."
        )
    wanted = partner_names(noisy, clean)
    problems = _alone(noisy, clean, wanted, (sides[0].name, sides[1].name))
    told, bad_rows = facts_beside(folder)
    known = published_facts(folder, sides[0], noisy)
    items = [
        Item(stem, noisy[stem], clean[partner], facts={**known.get(stem, {}), **told.get(stem, {})})
        for stem, partner in sorted(wanted.items())
        if partner in clean
    ]
    problems += [problem for item in items if (problem := _mismatch(item))]
    _raise(f"{folder}: {named} must hold files of equal names, rates and lengths", problems)
    bad_rows += [f"'{stem}' matches no item" for stem in sorted(told.keys() - noisy)]
    _raise(f"{folder}: {BAD_TABLE}", bad_rows)
    return items


def _alone(
    noisy: Mapping[str, Path], clean: Mapping[str, Path], wanted: Mapping[str, str], names: tuple[str, str]
) -> list[str]:
    """Every file without a partner, and every clean file that several noisy files would share."""
    shared = [stem for stem, count in Counter(wanted.values()).items() if count > 1]
    return [
        *(f"{noisy[s]}: no file of that name in {names[1]}/" for s in sorted(noisy) if wanted[s] not in clean),
        *(f"{clean[s]}: no file of that name in {names[0]}/" for s in sorted(clean.keys() - set(wanted.values()))),
        *(f"'{stem}' would be the partner of several files" for stem in sorted(shared)),
    ]


def items_from_list(list_file: Path) -> list[Item]:
    """Items of a corpus list of `degraded|clean` lines; `Pair.noisy` gives the noisy files.

    The noisy side may be longer, since a corpus stores what the suppressor's delay pushes past the end; `load_item`
    trims it to the clean length. A packed item is named by its file and offset. Raises a `CorpusError` that names the
    bad lines.
    """
    pairs, problems = parse_list(list_file)
    problems += [f"line {pair.line}: {fault}" for pair in pairs if (fault := _fault(pair))]
    known = corpus_facts(list_file)
    items = [
        Item(_stem(pair.degraded), pair.noisy, pair.clean, pair.degraded, _facts(known, pair.degraded))
        for pair in pairs
    ]
    twice = [stem for stem, count in Counter(item.stem for item in items).items() if count > 1]
    problems += [f"the name {stem!r} occurs more than once" for stem in twice]
    _raise(f"{list_file}: every line must name an item 'degraded|clean' with its files", problems)
    if not items:
        raise CorpusError(f"{list_file}: is empty; prepare a corpus first, or pass another list.")
    return items


def items_from_recordings(folder: Path) -> list[Item]:
    """Sound files of one folder, sorted, without a clean side: blind sets, or recordings of your own."""
    found = _audio_by_stem(folder, f"expected a folder of {' or '.join(AUDIO_SUFFIXES)} files")
    if not found:
        raise CorpusError(f"{folder}: holds no sound files; put {' or '.join(AUDIO_SUFFIXES)} files into it.")
    told, problems = facts_beside(folder)
    problems += [f"'{stem}' matches no item" for stem in sorted(told.keys() - found)]
    _raise(f"{folder}: {BAD_TABLE}", problems)
    empty = [f"{path}: holds no samples" for path in found.values() if read_info(path).samples == 0]
    _raise(f"{folder}: every recording must hold samples", empty)
    return [Item(stem, path, None, facts={**dns_facts(stem), **told.get(stem, {})}) for stem, path in found.items()]


def load_item(item: Item) -> ItemAudio:
    """Read an item's files as 48 kHz mono, the same channel of each. A corpus item's noisy tail is trimmed.

    Raises `AudioFileError` for a file that can't be read, `CorpusError` if the lengths still differ.
    """
    if item.clean and item.degraded and (samples := packed_segment(item.degraded, item.clean)):
        stored = [read_stored(path, samples) for path in (item.noisy, item.clean, item.degraded)]
        return ItemAudio(stored[0], stored[1], stored[2], SAMPLE_RATE_HZ, is_16_bit=True)
    channels, rate_hz = read_audio(item.clean or item.noisy)
    channel = Channel.of(channels)
    own = channels[channel.number]
    first, with_16_bits = resample(own, rate_hz, SAMPLE_RATE_HZ), is_16_bit(own)
    if item.clean is None:
        return ItemAudio(first, None, None, rate_hz, with_16_bits, channel)
    clean, noisy = first, read_mono(item.noisy, channel=channel)
    degraded = read_mono(item.degraded, channel=channel) if item.degraded else None
    if degraded is not None:
        noisy = noisy[: len(clean)]
    for path, signal in ((item.noisy, noisy), (item.degraded, degraded)):
        if signal is not None and len(signal) != len(clean):
            raise CorpusError(
                f"{path}: holds {len(signal)} samples at {SAMPLE_RATE_HZ} Hz and {item.clean} holds {len(clean)}; "
                "the files of an item must start and end together."
            )
    return ItemAudio(noisy, clean, degraded, rate_hz, with_16_bits, channel)


def _audio_by_stem(side: Path, expected: str) -> dict[str, Path]:
    if not side.is_dir():
        raise CorpusError(f"{side}: no such folder; {expected}.")
    files = sounds_in(side)
    twice = [stem for stem, count in Counter(p.stem for p in files).items() if count > 1]
    odd = [f"{p.name!a}: its name is not UTF-8" for p in files if not is_text(p.name)]
    _raise(f"{side}: reports are kept by name, so every name must be valid text", odd)
    _raise(f"{side}: each name may occur only once", [f"{stem!r} occurs with several suffixes" for stem in twice])
    return {p.stem: p for p in files}


def _expected(folder: Path) -> str:
    """What was expected of a folder of pairs, for an error message."""
    if folder.is_dir() and sounds_in(folder) and not folder.joinpath("clean").is_dir():
        return (
            f"{folder} holds recordings without clean files, which can't be scored against a reference; "
            "pass it with --recordings instead"
        )
    return f"{folder} must hold noisy/ and clean/ with files of equal names"


def _mismatch(item: Item) -> str:
    assert item.clean is not None
    try:
        noisy, clean = read_info(item.noisy), read_info(item.clean)
    except AudioFileError as exc:
        return str(exc)
    if noisy.sample_rate_hz != clean.sample_rate_hz:
        return f"{item.stem}: noisy is at {noisy.sample_rate_hz} Hz, clean at {clean.sample_rate_hz} Hz"
    if noisy.samples != clean.samples:
        return f"{item.stem}: noisy holds {noisy.samples} samples, clean {clean.samples}"
    return f"{item.stem}: holds no samples" if clean.samples == 0 else ""


def _fault(pair: Pair) -> str:
    """What is wrong with a line's files, or an empty string."""
    place, samples = locate_packed(pair.noisy), pair.samples
    if place is None or samples is None:
        gone = [str(path) for path in (pair.degraded, pair.clean, pair.noisy) if not path.is_file()]
        return f"no such file: {', '.join(gone)}" if gone else ""
    file, offset = place
    if not file.is_file():
        return f"no such file: {file}"
    return "" if file.stat().st_size >= 2 * (offset + samples) else f"{file} ends before {pair.noisy} does"


def _facts(known: Mapping[str, Facts], degraded: Path) -> Facts:
    """A table names files relative to its corpus, a list by full path, which may lead there by links or from elsewhere.

    So the longest end of the path that the table knows is meant.
    """
    if not known:
        return {}
    ends = ("/".join(degraded.parts[start:]) for start in range(len(degraded.parts)))
    return next((known[end] for end in ends if end in known), {})


def _stem(path: Path) -> str:
    """The name of an item: its file's stem, plus its offset in a packed file."""
    place = locate_packed(path)
    return f"{place[0].stem}@{place[1]}" if place else path.stem


def _raise(heading: str, problems: Iterable[str]) -> None:
    found = list(problems)
    if not found:
        return
    more = [f"… and {len(found) - SHOWN_PROBLEMS} more"] if len(found) > SHOWN_PROBLEMS else []
    raise CorpusError(f"{heading}: " + "; ".join(found[:SHOWN_PROBLEMS] + more))
