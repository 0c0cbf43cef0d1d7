"""The page of an evaluation: it stands alone, plays what was scored, and stays small."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from tests.evaluations import QUICK, dull, halfway, make_pair, score
from tests.voices import RATE, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import rms
from timbre_restore.errors import MissingExtraError
from timbre_restore.evaluation import (
    files_beside,
    items_from_pairs,
    items_from_recordings,
    load_item,
    words,
    write_page,
)
from timbre_restore.evaluation.page import articles, tables
from timbre_restore.evaluation.page.pictures import difference_png, power_of, spectrogram_png
from timbre_restore.metrics import Metric, item_gain


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for i in range(3):
        make_pair(folder, f"talk{i}", voice(1.5, seed=i))
    return folder


class _Tags(HTMLParser):
    """Checks that tags nest, and collects what the page would load and say."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[tuple[str, str]] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "link", "input", "br"):
            self.open.append(tag)
        self.sources += [(tag, value or "") for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-2:] == ["article", "h3"]:
            self.headings.append(data)


def parsed(path: Path) -> _Tags:
    tags = _Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert not tags.open
    return tags


def test_the_page_stands_alone_and_plays_what_was_scored(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "pairs"
    for i, stem in enumerate(["plain", "a <b>&amp; 'q' \"x\""]):
        make_pair(folder, stem, voice(1.5, seed=i))
    found = score(items_from_pairs(folder), dull, halfway, metrics=QUICK, with_clips=True)
    write_page(found, tmp_path / "page.html")
    tags = parsed(tmp_path / "page.html")
    assert sorted(tags.headings) == ["a <b>&amp; 'q' \"x\"", "plain"]
    assert [tag for tag, _ in tags.sources].count("audio") == 2 * 4
    assert all(source.startswith(("data:image/png;base64,", "data:audio/flac;base64,")) for _, source in tags.sources)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "prefers-color-scheme" in text
    assert words.sentence(found) in text
    sounds = [source.split(",")[1] for tag, source in tags.sources if tag == "audio"]
    played = [soundfile.read(io.BytesIO(base64.b64decode(sound)), dtype="float32")[0] for sound in sounds[:4]]
    (item,) = [item for item in items_from_pairs(folder) if item.stem == tags.headings[0]]
    audio = load_item(item)
    degraded = dull(audio.noisy)
    signals = [audio.noisy, degraded, halfway(degraded, audio.noisy), audio.clean]
    ratios = [float(np.dot(a, b) / np.dot(b, b)) for a, b in zip(played, signals, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 4, rel=1e-3) and ratios[0] <= item_gain(audio.clean) * 1.001
    assert max(float(np.abs(a).max()) for a in played) <= 1.0 - 1 / 32_768


def test_the_page_lets_its_own_script_run_and_no_other(pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = score(items_from_pairs(pairs), dull, halfway, metrics=QUICK, with_clips=True)
    write_page(found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    inside = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy"\s+content="([^"]+)"', text)
    assert policy.split("; ") == [
        "default-src 'none'", "img-src data:", "media-src data:", "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]  # fmt: skip
    assert not re.search(r"\son\w+=", text.replace(inside, "")), "no handler that the policy would forbid"


def test_what_can_not_be_heard_is_not_offered(pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    level = Metric("level", "level", "", "zero", RATE, lambda output: float(rms(output)), needs_reference=False)
    for items, names in ((items_from_pairs(pairs), 4), (items_from_recordings(pairs / "noisy"), 3)):
        write_page(score(items, dull, halfway, metrics=[level], with_clips=True), tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        choices = re.findall("<option>(.*?)</option>", text)
        assert len(choices) == 2 * names and set(choices) == set(re.findall('<audio .*?data-system="(.*?)"', text))


def test_the_page_shows_the_worst_first_and_what_does_not_fit_lies_beside_it(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    strengths = iter([np.float32(0.9), np.float32(0.0), np.float32(0.5)])
    found = score(
        items_from_pairs(pairs), dull, lambda d, n: d + next(strengths) * (n - d), metrics=QUICK, with_clips=True
    )
    changes = {item.stem: item.change("restored", "osr") for item in found.items}
    ordered = sorted(changes, key=lambda stem: -(changes[stem] or 0.0))
    assert ordered[0] == "talk1"
    write_page(found, tmp_path / "page.html")
    assert parsed(tmp_path / "page.html").headings == ordered
    whole = (tmp_path / "page.html").stat().st_size
    assert not files_beside(tmp_path / "page.html").exists()
    monkeypatch.setattr(articles, "CLIP_BYTES", int(whole * 0.7))
    place = tmp_path / "my page.html"
    folder = tmp_path / "my page_files"
    (folder / "kept").mkdir(parents=True)
    for name in ("0123456789abcdef.flac", "notes.flac"):
        (folder / name).touch()
    write_page(found, place)
    text, tags = place.read_text(encoding="utf-8"), parsed(place)
    assert tags.headings == ordered
    assert place.stat().st_size < 0.8 * whole
    assert (
        "img-src data: 'self'; media-src data: 'self'" in text
        and "between the worst and the best (1) lie beside it" in text
    )
    outside = [source for _, source in tags.sources if not source.startswith("data:")]
    middle = text[text.index(f'data-stem="{ordered[1]}"') : text.index(f'data-stem="{ordered[2]}"')]
    assert all(f'src="{source}"' in middle for source in outside), "the worst and the best are in the page"
    assert len(outside) == 4 + 5
    assert {path.name for path in folder.iterdir()} == {unquote(source).split("/")[1] for source in outside} | {
        "kept", "notes.flac"
    }, "an earlier page's are gone, and nothing else"  # fmt: skip
    inside = [source for tag, source in parsed(tmp_path / "page.html").sources if tag == "audio"]
    beside = [(tmp_path / unquote(source)).read_bytes() for source in outside if source.endswith(".flac")]
    assert {base64.b64encode(sound).decode() for sound in beside} == {source.split(",")[1] for source in inside[4:8]}
    monkeypatch.setattr(articles, "CLIP_BYTES", whole)
    monkeypatch.setattr(tables, "ROW_LIMIT", 1)
    monkeypatch.setattr(articles, "ARTICLE_LIMIT", 2)
    write_page(found, place)
    assert parsed(place).headings == [ordered[0], ordered[2]], "the worst and the best"
    assert "1 items between the worst and the best are not shown" in place.read_text(encoding="utf-8")
    assert "1 of 3 items, worst first" in place.read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["kept", "notes.flac"]


def test_a_file_in_the_folders_place_is_said_before_the_work(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "page_files").touch()
    assert main(["evaluate", "--pairs", str(pairs), "--html", str(tmp_path / "page.html")]) == 2
    said = capsys.readouterr().err
    assert f"goes to a folder {tmp_path}/page_files, but that is a file; move it" in " ".join(said.split())


def test_what_came_back_is_red_where_it_is_louder() -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    loud = (0.1 * np.sin(2 * np.pi * 6_000 * np.arange(RATE) / RATE)).astype(np.float32)
    png = difference_png(power_of(loud), power_of(np.float32(0.1) * loud), float(power_of(loud).max()))
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    red, _, blue = picture[int(256 * (1 - 6 / 24)), 20]
    assert red > blue + 60, "20 dB louder"
    assert np.ptp(picture[20]) < 30 and (picture[20, :, 0] > 200).all(), "and white where both hold nothing"


def test_no_matplotlib_is_one_sentence_with_the_command(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = score(items_from_pairs(pairs)[:1], dull, halfway, metrics=QUICK, with_clips=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install '.[eval]'")):
        write_page(found, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_tone_lies_at_its_height_and_silence_is_dark() -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    tone = (0.1 * np.sin(2 * np.pi * 6_000 * np.arange(RATE) / RATE)).astype(np.float32)
    picture = np.asarray(Image.open(io.BytesIO(spectrogram_png(power_of(tone), float(power_of(tone).max())))))
    assert picture.shape[0] == 256
    assert picture[:, 20].argmax() == pytest.approx(256 * (1 - 6 / 24), abs=1.0)
    assert picture.max() == 64 and np.median(picture) == 0
    silence = np.asarray(Image.open(io.BytesIO(spectrogram_png(0.0 * power_of(tone), 0.0))))
    assert silence.max() == 0
