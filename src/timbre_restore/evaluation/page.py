"""The evaluation as one HTML file to read and to listen to: it loads nothing, and asks nothing of a network."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
import soundfile

from timbre_restore.atomic import write_text
from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray
from timbre_restore.evaluation import summary, words
from timbre_restore.evaluation.results import CLEAN, DEGRADED, RESTORED, Clip, Evaluation, ItemResult
from timbre_restore.evaluation.spectrogram import peak_power, require_matplotlib, scale_png, spectrogram_png
from timbre_restore.pages import bullets, head, table

# A page beyond 20 MB opens slowly and can't be mailed; the text and the last item need the rest.
CLIP_BYTES = 17_000_000
ROW_LIMIT = 2_000
CEILING = 0.99


def write_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page to `path` by rename. Raises `MissingExtraError` when the spectrograms can't be drawn."""
    require_matplotlib()
    write_text(path, page(evaluation))


def page(evaluation: Evaluation) -> str:
    """The whole page as HTML."""
    parts = [
        head("evaluation"),
        "<body><main>\n<h1>Evaluation</h1>\n",
        f'<p class="lead">{escape(words.sentence(evaluation))}</p>\n',
        bullets([words.worse_sentence(evaluation, name) for name in summary.compared_systems(evaluation)]),
        _failures(evaluation),
        _means(evaluation),
        _missing(evaluation),
        _clips(evaluation),
        _items(evaluation),
        "</main></body>\n</html>\n",
    ]
    return "".join(parts)


def _means(evaluation: Evaluation) -> str:
    columns = ["", *(escape(name) for name in evaluation.systems), "restored − degraded", ""]
    rows = []
    for metric in evaluation.metrics:
        values = [words.number(metric, summary.mean(evaluation, name, metric.key)) for name in evaluation.systems]
        found = summary.difference(evaluation, RESTORED, metric.key)
        said = words.verdict(metric, found) if found else ""
        mark = {"better": "good", "worse": "bad"}.get(said, "even")
        arrow = {"lower": "lower is better", "higher": "higher is better", "zero": "0 is best"}[metric.better]
        name = f"{escape(words.title(metric))} <small>{arrow}</small>"
        change = f'{words.change(evaluation, RESTORED, metric)}</td><td class="{mark}">{said}'
        rows.append([name, *values, change])
    note = (
        f"Mean of {len(evaluation.items)} items against clean; differences are paired, with a 95 % bootstrap interval."
    )
    return (
        f"<h2>Means</h2>\n{table(columns, rows)}<p><small>{note} Over-suppression: share of the voice's active cells "
        f"that lie more than 10 dB too low; residual noise: more than 10 dB too high. {words.WORSE} {words.DEAF}"
        "</small></p>\n"
    )


def _missing(evaluation: Evaluation) -> str:
    lines = words.missing_sentences(evaluation)
    return f"<h2>Not available</h2>\n{bullets(lines)}" if lines else ""


def _failures(evaluation: Evaluation) -> str:
    if not evaluation.failures:
        return ""
    rows = [[escape(f.stem), escape(f.system), escape(f.reason)] for f in evaluation.failures]
    return f'<section class="alarm"><h2>Failures</h2>\n{table(["item", "system", "what"], rows)}</section>\n'


def _clips(evaluation: Evaluation) -> str:
    """Articles, worst first, until the page is full."""
    results = {item.stem: item for item in evaluation.items}
    articles: list[str] = []
    room = CLIP_BYTES
    for clip in evaluation.clips:
        article = _article(evaluation, results[clip.stem], clip)
        if len(article) > room:
            break
        room -= len(article)
        articles.append(article)
    shown, all_items = len(articles), len(evaluation.items)
    which = "all items" if shown == all_items else f"{shown} of {all_items} items"
    scale = f'<img class="scale" alt="colour scale" src="{_uri("image/png", scale_png())}">'
    return (
        f"<h2>Listen</h2>\n<p>Worst first, by the change in over-suppression: {which}. All signals of an item play at "
        f'one gain and share one scale: <span class="legend">−80 dB {scale} 0 dB</span></p>\n' + "".join(articles)
    )


def _article(evaluation: Evaluation, result: ItemResult, clip: Clip) -> str:
    rows = []
    for system in evaluation.systems:
        values = [words.number(metric, result.value(system, metric.key)) for metric in evaluation.metrics]
        rows.append([escape(system), *values])
    columns = ["", *(escape(words.title(metric)) for metric in evaluation.metrics)]
    order = [name for name in (*evaluation.systems, CLEAN) if name in clip.signals]
    peak = max(peak_power(clip.signals[name]) for name in order)
    loudest = max(float(np.abs(clip.signals[name]).max()) for name in order)
    gain = np.float32(min(1.0, CEILING / loudest) if loudest > 0.0 else 1.0)
    figures = "".join(_figure(name, clip, peak, gain) for name in order)
    return (
        f'<article><h3>{escape(result.stem)}</h3>\n<div class="figures">{figures}</div>\n'
        f"<details><summary>Scores of the whole item, {result.seconds:.1f} s</summary>{table(columns, rows)}</details>"
        "</article>\n"
    )


def _figure(name: str, clip: Clip, peak: float, gain: np.float32) -> str:
    samples = clip.signals[name]
    end_s = clip.start_s + len(samples) / SAMPLE_RATE_HZ
    picture = _uri("image/png", spectrogram_png(samples, peak))
    sound = _uri("audio/flac", _flac(samples * gain))
    label = escape(f"{name}, {clip.stem}")
    ticks = "".join(
        f'<i style="bottom:{100 * khz / 24:.2f}%">{mark}</i>'
        for khz, mark in ((0, "0"), (8, "8"), (16, "16"), (24, "24 kHz"))
    )
    return (
        f'<figure><figcaption>{escape(name)}</figcaption><div class="plot"><div class="khz">{ticks}</div>'
        f'<img alt="Spectrogram of {label}, 0 to 24 kHz" src="{picture}"></div>'
        f'<div class="time"><span>{clip.start_s:.1f} s</span><span>{end_s:.1f} s</span></div>'
        f'<audio controls preload="metadata" aria-label="{label}" src="{sound}"></audio></figure>\n'
    )


def _items(evaluation: Evaluation) -> str:
    """The change of each item, so that none hides behind the mean; the worst first."""
    worse = set(summary.worse(evaluation, RESTORED).stems)
    shown = [m for m in evaluation.metrics if m.key in ("osr", "osr_hf", "resid", "lsd", "sisdr", "pesq", "estoi")]
    columns = ["item", *(escape(words.title(metric)) for metric in shown), ""]
    ordered = sorted(evaluation.items, key=_osr_change, reverse=True)
    rows = []
    for item in ordered[:ROW_LIMIT]:
        pairs = [(m, item.value(DEGRADED, m.key), item.value(RESTORED, m.key)) for m in shown]
        cells = [f"{words.number(m, before)} → {words.number(m, after)}" for m, before, after in pairs]
        rows.append([escape(item.stem), *cells, "worse" if item.stem in worse else ""])
    which = "All items" if len(rows) == len(ordered) else f"{len(rows)} of {len(ordered)} items, worst first"
    return f"<details><summary>{which}, degraded → restored</summary>{table(columns, rows)}</details>\n"


def _osr_change(item: ItemResult) -> float:
    change = item.change(RESTORED, "osr")
    return -np.inf if change is None else change


def _flac(samples: FloatArray) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
