"""Items to look at and listen to: one player each, whose systems play in sync, and a blind comparison."""

from __future__ import annotations

import io
from functools import cache
from html import escape
from importlib.resources import files
from itertools import chain, zip_longest

import numpy as np
import soundfile

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, encoded
from timbre_restore.evaluation import words
from timbre_restore.evaluation.page.beside import Beside
from timbre_restore.evaluation.page.pictures import (
    difference_png,
    difference_scale_png,
    power_of,
    scale_png,
    spectrogram_png,
)
from timbre_restore.evaluation.page.tables import worst_first
from timbre_restore.evaluation.results import CLEAN, DEGRADED, NOISY, Clip, Evaluation, ItemResult
from timbre_restore.evaluation.systems import LIMIT, is_limit
from timbre_restore.pages import table

CLIP_BYTES = 17_000_000
"""A page over 20 MB opens slowly and can't be mailed; the text and the last item need the rest."""
ARTICLE_LIMIT = 1_000
"""Items with a player; the words of one take 6 kB."""
CEILING = 0.99


@cache
def script() -> str:
    """The JavaScript of the players."""
    return files(__package__).joinpath("player.js").read_text(encoding="utf-8")


def listen(evaluation: Evaluation, beside: Beside) -> str:
    """Articles, worst first. The worst and the best items are embedded in the page, alternating, until it is full."""
    ordered = [item for item in worst_first(evaluation) if item.clip is not None]
    shown = _from_both_ends(ordered)[:ARTICLE_LIMIT]
    articles: dict[str, str] = {}
    room, outside = CLIP_BYTES, 0
    for item in shown:
        text = _article(evaluation, item, beside)
        if not articles:  # the words of all lie in the page, wherever their sounds lie
            room -= len(text) * len(shown)
        articles[item.stem] = beside.settled(text, 0 if outside else room + len(text))
        if beside.files:
            outside += 1
        else:
            room -= len(articles[item.stem]) - len(text)
    if not articles:
        return ""
    order = "Worst first, by the change in over-suppression. " if evaluation.has_references else ""
    left_out = (
        f"{len(ordered) - len(shown)} items{' between the worst and the best' if order else ''} are not shown. "
        if ordered[len(shown) :]
        else ""
    )
    where = f"; those of items between the worst and the best ({outside}) lie beside it, {escape(beside.folder.name)}/"
    return (
        f"<h2>Listen</h2>\n<p>{order}{left_out}Sounds and pictures are embedded in this "
        f"page{where if outside else ''}. All signals of an item play in sync at one gain and share one scale: "
        f'<span class="legend">−80 dB {_scale(scale_png(), beside)} 0 dB</span>; what came back: '
        f'<span class="legend">−30 dB {_scale(difference_scale_png(), beside)} +30 dB</span></p>\n'
        f"{_blind_panel(_systems(evaluation))}"
        f"{''.join(articles[item.stem] for item in ordered if item.stem in articles)}"
    )


def _from_both_ends(ordered: list[ItemResult]) -> list[ItemResult]:
    half = (len(ordered) + 1) // 2
    pairs = zip_longest(ordered[:half], reversed(ordered[half:]))
    return [item for item in chain.from_iterable(pairs) if item is not None]


def _systems(evaluation: Evaluation) -> list[str]:
    """The systems to play: of the limits only the one that suppresses most, which is the one that people use."""
    heard = {name for item in evaluation.items if item.clip for name in item.clip.sounds}
    limits = sorted(filter(is_limit, evaluation.systems), key=lambda name: float(name.removeprefix(LIMIT)))
    return [name for name in (*evaluation.systems, CLEAN) if name in heard and name not in limits[:-1]]


def _blind_panel(systems: list[str]) -> str:
    choices = "".join(f"<option>{escape(name)}</option>" for name in systems)
    return (
        '<section class="blind" id="blind" hidden><h3>Blind comparison</h3><p>Compare two systems item by item, with '
        "their names hidden. Your answers stay in this browser until you save them.</p>"
        f'<p><label>One <select id="one">{choices}</select></label> <label>The other <select id="other">{choices}'
        '</select></label> <button id="start">Begin</button> <button id="save" disabled>Save answers</button></p>'
        '<div id="trial" hidden><p id="where"></p><p><button data-hear="0">1</button> <button data-hear="1">2</button> '
        '<button id="again">From the start</button></p><p>Which is closer to a natural voice? '
        '<button data-say="0">1</button> <button data-say="none">no difference</button> <button data-say="1">2</button>'
        '</p></div><p id="tally" aria-live="polite"></p></section>\n'
        "<p><small>Keys: space plays and pauses, 1 to 9 choose a system, ← and → skip a second back and forward (on "
        "a system's button: to its neighbours), n and p go to the next and the previous item.</small></p>\n"
    )


def _article(evaluation: Evaluation, item: ItemResult, beside: Beside) -> str:
    assert item.clip is not None
    rows = []
    shown_metrics = words.whole(evaluation.metrics)
    for system in evaluation.systems:
        values = [words.number(metric, item.value(system, metric.key)) for metric in shown_metrics]
        rows.append([escape(system), *values])
    columns = ["", *(escape(words.title(metric)) for metric in shown_metrics)]
    order = [name for name in _systems(evaluation) if name in item.clip.sounds]
    signals = {name: _decoded(item.clip.sounds[name]) for name in order}
    powers = {name: power_of(samples) for name, samples in signals.items()}
    peak = max(float(power.max()) for power in powers.values())
    loudest = max(float(np.abs(samples).max()) for samples in signals.values())
    gain = np.float32(CEILING / loudest if loudest > CEILING / 4 else 4.0)
    shown = [n for n in order if n in (NOISY, DEGRADED, evaluation.restored, CLEAN)]
    pictures = {name: spectrogram_png(powers[name], peak) for name in shown}
    if DEGRADED in signals and evaluation.restored in signals:
        pictures["what came back"] = difference_png(powers[evaluation.restored], powers[DEGRADED], peak)
    figures = "".join(
        _figure(name, beside.shown("png", picture), item.clip, item.stem) for name, picture in pictures.items()
    )
    facts = ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in item.facts.items()
    )
    remarks = "; ".join((*([facts] if facts else []), *item.remarks))
    return (
        f'<article tabindex="-1" data-stem="{escape(item.stem)}"><h3>{escape(item.stem)}</h3>\n'
        f"{f'<p><small>{escape(remarks)}</small></p>' if remarks else ''}{_player(signals, gain, item.stem, beside)}"
        f'<div class="figures">{figures}</div>\n'
        f"<details><summary>Scores of the whole item, {item.seconds:.1f} s</summary>{table(columns, rows)}</details>"
        "</article>\n"
    )


def _player(signals: dict[str, FloatArray], gain: np.float32, stem: str, beside: Beside) -> str:
    def source(samples: FloatArray) -> str:
        return beside.shown("flac", encoded(samples * gain, SAMPLE_RATE_HZ, "flac"))

    sounds = "".join(
        f'<audio preload="metadata" data-system="{escape(name)}" src="{source(samples)}"></audio>'
        for name, samples in signals.items()
    )
    buttons = "".join(
        f'<button role="radio" aria-checked="false" data-system="{escape(name)}">{escape(name)}</button>'
        for name in signals
    )
    return (
        f'<div class="player"><button class="play" aria-label="play or pause {escape(stem)}">▶</button>'
        f'<input type="range" min="0" max="1000" value="0" aria-label="position in {escape(stem)}">'
        f'<span class="systems" role="radiogroup" aria-label="system">{buttons}</span>{sounds}</div>\n'
    )


def _figure(name: str, address: str, clip: Clip, stem: str) -> str:
    end_s = clip.start_s + _seconds(clip)
    label = escape(f"{name}, {stem}")
    ticks = "".join(
        f'<i style="bottom:{100 * khz / 24:.2f}%">{mark}</i>'
        for khz, mark in ((0, "0"), (8, "8"), (16, "16"), (24, "24 kHz"))
    )
    return (
        f'<figure><figcaption>{escape(name)}</figcaption><div class="plot"><div class="khz">{ticks}</div>'
        f'<div class="seen"><img alt="Spectrogram of {label}, 0 to 24 kHz" src="{address}">'
        '<div class="now"></div></div></div>'
        f'<div class="time"><span>{clip.start_s:.1f} s</span><span>{end_s:.1f} s</span></div></figure>\n'
    )


def _seconds(clip: Clip) -> float:
    return float(soundfile.info(io.BytesIO(next(iter(clip.sounds.values())))).frames / SAMPLE_RATE_HZ)


def _decoded(sound: bytes) -> FloatArray:
    samples, _ = soundfile.read(io.BytesIO(sound), dtype="float32")
    return np.asarray(samples, dtype=np.float32)


def _scale(picture: bytes, beside: Beside) -> str:
    tag = f'<img class="scale" alt="colour scale" src="{beside.shown("png", picture)}">'
    return beside.settled(tag, CLIP_BYTES)
