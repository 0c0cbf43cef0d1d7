"""Packed output: the same samples in few large files, restartable at every step."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.corpora import Run, contents, spec_of
from tests.voices import noise
from timbre_restore.audio import HINT_VALUES, read_hints_into, read_list, read_packed
from timbre_restore.corpus import PrepareSummary, Work, prepare
from timbre_restore.corpus.table import read_table
from timbre_restore.corpus.writing import packs as packs_module


@pytest.fixture
def packed(quick: Run, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`quick` into packed parts of a few takes each."""
    monkeypatch.setattr("timbre_restore.corpus.writing.packs.PART_BYTES", 2_000_000)

    def run(out: Path = tmp_path / "packed", **settings: Any) -> PrepareSummary:
        passes = settings.pop("passes", 1)
        return quick(out, replace(spec_of(sounds), format="packed", passes=passes), **settings)

    return run


def test_packed_items_are_the_same_samples_in_few_files(quick: Run, packed: Run, sounds: Path, tmp_path: Path) -> None:
    quick()
    packed()
    out = tmp_path / "packed"
    files, parts = read_table(tmp_path / "out" / "items.tsv"), read_table(out / "items.tsv")
    assert len(list(out.glob("packed/*.pcm"))) in (3, 4, 5)
    assert [row["item"] for row in files] == [row["item"] for row in parts]
    for split in ("train", "val"):
        one, other = (read_list(folder / f"{split}.txt") for folder in (tmp_path / "out", out))
        assert len(one) == len(other) > 0
        for a, b in zip(one, other, strict=True):
            for first, second, length in ((a.degraded, b.degraded, 48000), (a.clean, b.clean, 48000),
                                          (a.noisy, b.noisy, 49440)):  # fmt: skip
                assert np.array_equal(soundfile.read(first, dtype="int16")[0], read_packed(second, length))
    assert not list((out / ".state" / "pieces").glob("*/*"))


def test_packed_hints_are_the_same_values(real: Path, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    prepare(replace(spec_of(sounds), format="packed"), out, Work(num_workers=0, progress=False))
    for one, other in zip(read_table(real / "items.tsv"), read_table(out / "items.tsv"), strict=True):
        stored, packed = (np.zeros((100, HINT_VALUES), np.float16) for _ in range(2))
        read_hints_into(real / one["hints"], stored)
        read_hints_into(out / other["hints"], packed)
        assert np.array_equal(stored, packed) and stored.any()
    for split in ("train", "val"):  # a list says where they are, also without the table
        hints = [str(pair.hints.relative_to(out)) for pair in read_list(out / f"{split}.txt")]
        assert hints == [row["hints"] for row in read_table(out / "items.tsv") if row["split"] == split]


def test_packed_shards_and_reruns_give_the_same_bytes(packed: Run, tmp_path: Path) -> None:
    packed()
    before = contents(tmp_path / "packed")
    assert packed(skip_existing=True).rendered == 0
    assert contents(tmp_path / "packed") == before
    assert packed().rendered == 6
    assert contents(tmp_path / "packed") == before
    for index in (2, 0, 1):
        packed(tmp_path / "shards", shard_idx=index, shard_count=3)
    assert contents(tmp_path / "shards") == before


def test_a_packed_corpus_grows_from_what_is_there(packed: Run, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    packed(grown, max_files=2)
    packed(grown, skip_existing=True, passes=2, max_files=4)
    assert packed(grown, skip_existing=True, passes=2).rendered == 4
    packed(passes=2)
    assert contents(grown) == contents(tmp_path / "packed")
    packed(grown, skip_existing=True, passes=2, max_files=2)  # a smaller number costs no work
    assert packed(grown, skip_existing=True, passes=2).rendered == 0


@pytest.mark.parametrize("when", ["before the marker", "before the pieces go", "half a part"])
def test_packing_goes_on_from_wherever_it_was_killed(
    packed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Killed(BaseException):
        pass

    real_text, real_unlink, real_copy = packs_module.write_text, Path.unlink, packs_module._copy
    markers: list[Path] = []
    copies: list[Any] = []

    def text(path: Path, content: str) -> None:
        markers.append(path)
        if when == "before the marker" and len(markers) == 2:
            raise Killed
        real_text(path, content)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if when == "before the pieces go" and path.parent.parent.name == "pieces" and markers:
            raise Killed
        real_unlink(path, missing_ok=missing_ok)

    def copy(*args: Any) -> None:
        copies.append(args)
        if when == "half a part" and len(copies) == 5:
            raise Killed
        real_copy(*args)

    packed(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(packs_module, "write_text", text)
        patch.setattr(packs_module, "_copy", copy)
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            packed()
    assert not (tmp_path / "packed" / "train.txt").exists()
    assert packed(skip_existing=True).rendered == 0
    assert contents(tmp_path / "packed") == contents(tmp_path / "whole")


@pytest.fixture
def own_sounds(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sounds that a test may change, and parts of a few takes each."""
    monkeypatch.setattr("timbre_restore.corpus.writing.packs.PART_BYTES", 2_000_000)
    return shutil.copytree(sounds, tmp_path / "sounds")


def test_what_is_made_anew_takes_the_old_ones_place(quick: Run, own_sounds: Path, tmp_path: Path) -> None:
    """Names and settings are what a take is known by, and a noise was replaced under its name."""
    spec, out = replace(spec_of(own_sounds), format="packed"), tmp_path / "out"
    quick(out, spec)
    before = contents(out)
    for path in (own_sounds / "noise").iterdir():
        soundfile.write(path, noise(1.5, seed=99), 48000)
    assert quick(out, spec).rendered == 6
    quick(tmp_path / "fresh", spec)
    assert contents(out) == contents(tmp_path / "fresh") != before


def test_some_takes_that_are_made_anew_take_the_old_ones_place_later(
    quick: Run, own_sounds: Path, tmp_path: Path
) -> None:
    """They lie in a smaller part until the whole corpus is listed again; nothing is made then."""
    spec, out = replace(spec_of(own_sounds), format="packed"), tmp_path / "out"
    quick(out, spec)
    for path in (own_sounds / "noise").iterdir():
        soundfile.write(path, noise(1.5, seed=99), 48000)
    assert quick(out, spec, max_files=3).rendered == 3
    assert quick(out, spec, skip_existing=True).rendered == 0
    quick(tmp_path / "fresh", spec)
    rows = {folder: read_table(folder / "items.tsv") for folder in (out, tmp_path / "fresh")}
    anew = {row["recording"] for row in read_table(out / "plan.tsv")[:3]}
    same = {True: 0, False: 0}
    for one, other in zip(*rows.values(), strict=True):
        sounds = [read_packed(folder / row["noisy"], 48000) for folder, row in zip(rows, (one, other), strict=True)]
        same[np.array_equal(*sounds)] += 1
        assert np.array_equal(*sounds) or one["recording"] not in anew
    assert same[False] > 0, "of the others, which were not made anew"


def test_parts_of_earlier_draws_go(quick: Run, own_sounds: Path, tmp_path: Path) -> None:
    """By other settings, or by another noise that moves what is drawn: no corpus is kept that nothing lists."""
    spec, out = replace(spec_of(own_sounds), format="packed"), tmp_path / "out"
    quick(out, spec)
    for number in (1, 2):
        quick(out, replace(spec, seed=number), skip_existing=True, force=True)
    soundfile.write(own_sounds / "noise" / "another.wav", noise(1.5, seed=98), 48000)
    quick(out, replace(spec, seed=2), skip_existing=True)
    quick(tmp_path / "fresh", replace(spec, seed=2))
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_part_that_was_cut_is_made_again(packed: Run, tmp_path: Path) -> None:
    packed()
    before = contents(tmp_path / "packed")
    victim = sorted((tmp_path / "packed" / "packed").glob("train-*.pcm"))[0]
    victim.write_bytes(victim.read_bytes()[:1000])
    assert 0 < packed(skip_existing=True).rendered < 6
    assert contents(tmp_path / "packed") == before
