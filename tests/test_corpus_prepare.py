"""A folder of recordings becomes a corpus: whole, listed, and the same however it was made."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.corpora import SCRIPT, Run, contents, spec_of
from tests.voices import voice
from timbre_restore.audio import HINT_VALUES, frames, read_audio
from timbre_restore.audit import audit, require_sound
from timbre_restore.corpus import CorpusSpec, SourceSpec, Variety, Work, prepare
from timbre_restore.corpus.planning.plan import read_plan
from timbre_restore.corpus.table import read_table
from timbre_restore.corpus.writing.items import Maker
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import SuppressorSettings, describe_suppressor, load_suppressor
from timbre_restore.suppressors import df_spectrum as df

PREPARE_MODULE = "timbre_restore.corpus.prepare"


def test_lists_name_pairs_that_exist(real: Path) -> None:
    for split, count in (("train", 8), ("val", 4)):
        text = (real / f"{split}.txt").read_text(encoding="utf-8")
        assert text.endswith("\n")
        lines = text.splitlines()
        assert len(lines) == count
        for line in lines:
            degraded, clean = map(Path, line.split("|"))
            assert degraded.is_absolute() and clean.is_absolute()
            assert (degraded.parent.name, clean.parent.name) == ("degraded", "clean")
            for path, length in ((degraded, 48000), (clean, 48000), (real / split / "noisy" / clean.name, 49440)):
                info = soundfile.info(path)
                assert (info.frames, info.samplerate, info.channels, info.subtype) == (length, 48000, 1, "PCM_16")
            assert set(clean.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_degraded_is_what_the_suppressor_makes_of_stored_noisy(real: Path) -> None:
    """Aligned by the constant, whole take at once: items joined and suppressed again are the degraded items."""
    rows = read_table(real / "items.tsv")
    take = [row for row in rows if row["recording"] == rows[0]["recording"]]
    first = np.concatenate([read_audio(real / row["noisy"])[0][0][:48000] for row in take[:-1]])
    noisy = np.concatenate([first, read_audio(real / take[-1]["noisy"])[0][0]])
    degraded = np.concatenate([read_audio(real / row["degraded"])[0][0] for row in take])
    again = load_suppressor()(noisy)[: len(degraded)]
    assert np.max(np.abs(again - degraded)) <= 0.5 / 32768 + 1e-7


def test_rows_hold_what_was_drawn(real: Path) -> None:
    rows = read_table(real / "items.tsv")
    listed = [line for split in ("train", "val") for line in (real / f"{split}.txt").read_text().splitlines()]
    assert len(rows) == len(listed)
    for row in rows:
        assert f"{real / row['degraded']}|{real / row['clean']}" in listed
        assert -5 <= float(row["snr_db"]) <= 40 or row["snr_db"] == "inf"
        assert -45 <= float(row["speech_level_dbfs"]) <= -15
        assert row["suppressor_build"].startswith("graphs (rules of libDF v0.5.6")
        assert row["noise"].startswith(("hum", "made:")) or row["snr_db"] == "inf"
        assert (real / row["hints"]).is_file()
        assert 0 <= float(row["activity"]) <= 1
    by_split = {split: {row["speaker"] for row in rows if row["split"] == split} for split in ("train", "val")}
    assert len(by_split["val"]) == 1 and not by_split["val"] & by_split["train"]


def test_shards_in_other_processes_give_the_same_bytes(real: Path, sounds: Path, tmp_path: Path) -> None:
    """Three shards at once, each a process without workers, against one process with two."""
    out = tmp_path / "corpus"
    code = SCRIPT.format(sounds=str(sounds), out=str(out))
    shards = [subprocess.Popen([sys.executable, "-c", code, str(index), "3", "0"]) for index in range(3)]
    assert [shard.wait() for shard in shards] == [0, 0, 0]
    assert contents(out) == contents(real)


def test_two_shards_list_only_when_both_are_there(quick: Run, tmp_path: Path) -> None:
    assert not quick(shard_idx=1, shard_count=2).lists_written
    assert not (tmp_path / "out" / "train.txt").exists()
    assert quick(shard_idx=0, shard_count=2).lists_written
    quick(tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_of_different_plans_do_not_list(quick: Run) -> None:
    quick(shard_idx=0, shard_count=2, max_files=4)
    assert not quick(shard_idx=1, shard_count=2, max_files=6).lists_written


def test_shards_of_different_settings_do_not_list(quick: Run, sounds: Path, tmp_path: Path) -> None:
    """The plan is the same: what the files are is not drawn."""
    flac = replace(spec_of(sounds), format="flac")
    assert not quick(shard_idx=0, shard_count=2).lists_written
    assert quick(shard_idx=1, shard_count=2).lists_written
    assert not quick(spec=flac, shard_idx=0, shard_count=2, force=True).lists_written
    assert quick(spec=flac, shard_idx=1, shard_count=2, force=True).lists_written
    assert ".flac" in (tmp_path / "out" / "train.txt").read_text()


def test_a_larger_number_of_files_only_adds(quick: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick(max_files=2)
    few, listed = contents(out), (out / "train.txt").read_text()
    assert quick(skip_existing=True).rendered == 4
    many = contents(out)
    assert {name: many[name] for name in few if name.endswith(".wav")} == {
        name: few[name] for name in few if name.endswith(".wav")
    }
    assert (out / "train.txt").read_text().startswith(listed)
    quick(tmp_path / "at once")
    assert contents(tmp_path / "at once") == many


def test_more_passes_only_add(quick: Run, sounds: Path, tmp_path: Path) -> None:
    quick()
    assert quick(spec=replace(spec_of(sounds), passes=2), skip_existing=True).rendered == 6
    assert len((tmp_path / "out" / "train.txt").read_text().splitlines()) == 16


def test_bad_recordings_are_listed_with_their_reason(quick: Run, sounds: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    (speech / "bob" / "torn.wav").write_bytes(b"RIFF")
    spec = replace(spec_of(sounds), sources=(SourceSpec(speech),))
    summary = quick(spec=spec)
    assert (summary.skipped, summary.takes) == (1, 7)
    rows = read_table(tmp_path / "out" / "skipped.tsv")
    assert [(row["kind"], row["path"]) for row in rows] == [("recording", "bob/torn.wav")]
    assert "unreadable" in rows[0]["reason"]
    soundfile.write(speech / "bob" / "torn.wav", voice(2.0), 48000)
    assert quick(spec=spec, skip_existing=True).skipped == 0  # mended, so tried again


def test_too_many_bad_recordings_fail_after_everything_is_written(quick: Run, sounds: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    for index in range(3):
        soundfile.write(speech / "cy" / f"short{index}.wav", voice(0.5), 48000)
    spec = replace(spec_of(sounds), sources=(SourceSpec(speech),))
    with pytest.raises(CorpusError, match="listed when the other shards are done") as caught:
        quick(tmp_path / "half", spec, shard_idx=1, shard_count=2)
    assert "skipped.tsv" not in str(caught.value)
    with pytest.raises(CorpusError, match=r"3 of 9 takes were skipped.*skipped\.tsv\. The rest is prepared and listed"):
        quick(spec=spec)
    assert len(read_table(tmp_path / "out" / "skipped.tsv")) == 3
    assert len((tmp_path / "out" / "train.txt").read_text().splitlines()) > 0


def test_flac_holds_the_same_samples(quick: Run, sounds: Path, tmp_path: Path) -> None:
    quick(max_files=2)
    quick(tmp_path / "flac", replace(spec_of(sounds), format="flac"), max_files=2)
    for path in (tmp_path / "out").rglob("*.wav"):
        other = tmp_path / "flac" / path.relative_to(tmp_path / "out").with_suffix(".flac")
        assert np.array_equal(read_audio(path)[0], read_audio(other)[0])


def test_an_output_folder_that_no_list_can_hold_is_refused(quick: Run, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="without '\\|'"):
        quick(tmp_path / "a|b")


def test_file_names_that_are_no_text_are_prepared(quick: Run, sounds: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    try:
        shutil.copy(speech / "bob" / "say 0|ä.wav", os.fsencode(speech / "bob") + b"/x\xff\t.wav")
    except OSError:
        pytest.skip("this file system holds only names that are text")
    assert quick(spec=replace(spec_of(sounds), sources=(SourceSpec(speech),))).skipped == 0
    assert len({len(line.split("\t")) for line in (tmp_path / "out" / "items.tsv").read_text().splitlines()}) == 1


def test_state_alone_holds_times(quick: Run, tmp_path: Path) -> None:
    quick()
    marker = json.loads((tmp_path / "out" / ".state" / "shards" / "0-of-1.json").read_text())
    assert marker["seconds"] > 0


def test_real_recordings_in_shards_equal_one_process(shared_data: Path, quick: Run, tmp_path: Path) -> None:
    spec = CorpusSpec((SourceSpec(shared_data / "speech"),), shared_data / "noise", shared_data / "rir")
    quick(tmp_path / "one", spec, max_files=4)
    for index in (1, 0):
        quick(tmp_path / "two", spec, max_files=4, shard_idx=index, shard_count=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert audit(tmp_path / "two").ready


def test_hints_are_what_the_suppressor_knew(real: Path) -> None:
    """A row per hop of the degraded item; with the noisy spectrum it is the spectrum that degraded was made from."""
    rows = [row for row in read_table(real / "items.tsv") if row["pass"] == "0"]
    take = [row for row in rows if row["take"] == rows[0]["take"]]
    stored = np.concatenate([np.load(real / row["hints"], allow_pickle=False) for row in take])
    noisy = np.concatenate([read_audio(real / row["noisy"])[0][0][:48000] for row in take])
    _, hints = load_suppressor().with_hints(noisy)
    assert hints is not None and stored.dtype == np.float16
    assert stored.shape == (100 * len(take), HINT_VALUES)
    same = slice(0, len(stored) - 3)  # the last frames heard what lies past the last item
    assert np.max(np.abs(stored[same, :32] - hints.gains[same])) < 2e-3
    assert np.max(np.abs(stored[same, 32] - hints.local_snr_db[same])) < 2e-2
    low = np.ascontiguousarray(stored[same, 33:].astype(np.float32)).view(np.complex64)
    assert np.max(np.abs(low - hints.low[same])) < 1e-3 * np.max(np.abs(hints.low))
    hops = np.concatenate([noisy, np.zeros(480, np.float32)]).reshape(-1, 480)
    spectra = df.apply_gains(frames.analyse(hops[1:], hops[0]), stored[:, :32].astype(np.float32))[same]
    spectra[:, :96] = low
    audio, _ = frames.synthesise(spectra, np.zeros(480, np.float32))
    degraded = np.concatenate([read_audio(real / row["degraded"])[0][0] for row in take])
    found, expected = audio[1:].reshape(-1), degraded[480 : 480 * len(audio)]
    assert np.max(np.abs(found - expected)) < 2e-3 * np.max(np.abs(expected)) + 2 / 32768


def test_silent_items_are_left_out_by_rule(quick: Run, sounds: Path, tmp_path: Path) -> None:
    """A recording with eight seconds of nothing at its end: none of it is listed with a share of 0, all with 1."""
    speech = tmp_path / "speech"
    shutil.copytree(sounds / "speech", speech)
    for speaker in ("ann", "bob", "cy"):
        long = np.concatenate([voice(2.0, seed=1), np.zeros(8 * 48000, np.float32)])
        soundfile.write(speech / speaker / "trail.wav", long, 48000)
    counts = {}
    for share in (0.0, 0.5, 1.0):
        variety = Variety(pause=0.0, silent_items=share, band_limit=0.0)
        spec = replace(spec_of(sounds), sources=(SourceSpec(speech),), variety=variety, room_probability=0.0)
        quick(tmp_path / str(share), spec)
        rows = read_table(tmp_path / str(share) / "items.tsv")
        counts[share] = sum(float(row["activity"]) < 0.1 for row in rows)
        assert [row["index"] for row in rows if "trail" in row["item"]][:2] == ["0", "1"]
    assert counts[0.0] == 0 and counts[1.0] == 24
    assert 3 < counts[0.5] < 21


def test_progress_says_need_rate_and_where_time_goes(quick: Run, sounds: Path, tmp_path: Path) -> None:
    code = SCRIPT.format(sounds=str(sounds), out=str(tmp_path / "out")).replace("progress=False", "progress=True")
    done = subprocess.run([sys.executable, "-c", code, "0", "1", "2"], capture_output=True, text=True, check=True)
    need, spent = done.stderr.splitlines()
    assert re.fullmatch(r"6 takes, up to 12 items: \d\.\d MB, .* free", need)
    kinds = ("suppressor", "reading and mixing", "writing", "waiting")
    assert re.fullmatch("where the time went: " + ", ".join(rf"{kind} \d+ %" for kind in kinds), spent)


def test_a_row_of_the_plan_alone_makes_a_take_again(real: Path, sounds: Path, tmp_path: Path) -> None:
    """What another machine needs to make one item: the row, the settings and the files."""
    rows = read_table(real / "items.tsv")
    (take,) = [take for take in read_plan(real / "plan.tsv") if take.id == rows[-1]["take"]]
    for _, marker in Maker(spec_of(sounds), tmp_path, "elsewhere").make([take]):
        assert [item["name"] for item in marker["items"]] == [r["item"] for r in rows if r["take"] == take.id]
    assert len(list(tmp_path.rglob("*.wav"))) == 6
    for path in tmp_path.rglob("*.*"):
        if ".state" not in path.parts:
            assert path.read_bytes() == (real / path.relative_to(tmp_path)).read_bytes()


def test_takes_come_from_every_suppressor_that_was_asked_for(sounds: Path, tmp_path: Path) -> None:
    family = (SuppressorSettings(), SuppressorSettings(attenuation_limit_db=12.0), SuppressorSettings("spectral_gate"))
    spec = replace(spec_of(sounds), suppressors=tuple((settings, 1.0) for settings in family), passes=4)
    prepare(spec, tmp_path / "out", Work(num_workers=0, progress=False))
    rows = read_table(tmp_path / "out" / "items.tsv")
    drawn = {(row["suppressor"], row["attenuation_limit_db"]) for row in rows}
    assert drawn == {("dfn3", "100.0"), ("dfn3", "12.0"), ("spectral_gate", "100.0")}
    for settings in family:
        own = [
            row for row in rows
            if (row["suppressor"], row["attenuation_limit_db"]) == (settings.name, str(settings.attenuation_limit_db))
        ]  # fmt: skip
        assert {row["suppressor_build"] for row in own} == {describe_suppressor(settings)}
        assert {bool(row["hints"]) for row in own} == {settings.name == "dfn3"}
        take = [row for row in own if row["take"] == own[0]["take"]]
        first = read_audio(tmp_path / "out" / take[0]["noisy"])[0][0][:48000]
        degraded = read_audio(tmp_path / "out" / take[0]["degraded"])[0][0]
        again = load_suppressor(settings)(first)
        assert np.max(np.abs(again[:40_000] - degraded[:40_000])) <= 1.5 / 32768


@pytest.mark.parametrize("torn", [False, True])
def test_hints_that_are_gone_or_torn_break_it(real: Path, tmp_path: Path, torn: bool) -> None:
    """Without them an item would train as behind a black box, and nobody would know."""
    corpus = tmp_path / "corpus"
    shutil.copytree(real, corpus)
    for split in ("train", "val"):
        listed = (corpus / f"{split}.txt").read_text(encoding="utf-8")
        (corpus / f"{split}.txt").write_text(listed.replace(f"{real}{os.sep}", f"{corpus}{os.sep}"), encoding="utf-8")
    require_sound(corpus, 48000)
    hints = corpus / read_table(corpus / "items.tsv")[0]["hints"]
    if torn:
        hints.write_bytes(hints.read_bytes()[:-100])
    else:
        hints.unlink()
    report = audit(corpus)
    assert any(
        reason.startswith(f"1 hints file is {'unreadable or cut off' if torn else 'missing'}, e.g. {hints}")
        for reason in report.reasons
    )
    with pytest.raises(CorpusError, match=r"1 hints file is"):
        require_sound(corpus, 48000)
