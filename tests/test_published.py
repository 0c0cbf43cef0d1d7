"""Published test sets and tables beside pairs: the files that are a pair, and what is known of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.voices import RATE, voice
from timbre_restore.audio import write_audio
from timbre_restore.corpus.table import write_table
from timbre_restore.corpus.writing.manifest import ITEM_COLUMNS
from timbre_restore.errors import CorpusError
from timbre_restore.evaluation import Item, items_from_list, items_from_pairs, items_from_recordings, load_item
from timbre_restore.evaluation.published import dns_facts

SOUND = np.sin(np.arange(4800) / 20).astype(np.float32)
TRAFFIC = "clnsp102_traffic_248091_3_snr0_tl-21_fileid_268"
VIDEO = "clnsp414_pa_kcBIPQJM_snr5_tl-23_fileid_145"


def put(*paths: Path, gain: float = 1.0) -> None:
    for path in paths:
        write_audio(path, np.float32(gain) * SOUND, 48_000)


@pytest.fixture
def voicebank(tmp_path: Path) -> Path:
    for stem in ("p232_001", "p257_434"):
        put(*(tmp_path / f"{side}_testset_wav" / f"{stem}.wav" for side in ("clean", "noisy")))
    (tmp_path / "log_testset.txt").write_text("p232_001 bus 17.5\np257_434 cafe 2.500000e+00\np232_002 living 7.5\n")
    return tmp_path


@pytest.fixture
def dns(tmp_path: Path) -> Path:
    folder = tmp_path / "no_reverb"
    for number, stem in ((268, TRAFFIC), (145, VIDEO)):
        put(folder / "noisy" / f"{stem}.wav", gain=0.5)
        put(folder / "clean" / f"clean_fileid_{number}.wav", gain=number / 1000)
    return folder


def test_voicebank_is_found_with_speaker_noise_and_snr(voicebank: Path) -> None:
    first, second = items_from_pairs(voicebank)
    assert first.stem == "p232_001" and first.clean.parent.name == "clean_testset_wav"
    assert first.facts == {"speaker": "p232", "noise": "bus", "snr_db": 17.5}
    assert second.facts == {"speaker": "p257", "noise": "cafe", "snr_db": 2.5}


def test_voicebank_without_its_log_still_names_the_speaker(voicebank: Path) -> None:
    (voicebank / "logfiles").mkdir()
    (voicebank / "log_testset.txt").rename(voicebank / "logfiles" / "log_testset.txt")
    assert items_from_pairs(voicebank)[0].facts["noise"] == "bus"
    (voicebank / "logfiles" / "log_testset.txt").write_text("p232_001\nnot a log at all, no\n")
    assert items_from_pairs(voicebank)[0].facts == {"speaker": "p232"}


def test_a_file_of_voicebank_without_partner_is_named(voicebank: Path) -> None:
    (voicebank / "clean_testset_wav" / "p257_434.wav").unlink()
    with pytest.raises(CorpusError, match=r"p257_434\.wav: no file of that name in clean_testset_wav/"):
        items_from_pairs(voicebank)


def test_dns_pairs_meet_by_number_and_not_by_order(dns: Path) -> None:
    items = {item.stem: item for item in items_from_pairs(dns)}
    assert np.max(np.abs(load_item(items[TRAFFIC]).clean)) == pytest.approx(0.268, abs=2e-3)
    assert np.max(np.abs(load_item(items[VIDEO]).clean)) == pytest.approx(0.145, abs=2e-3)
    assert items[TRAFFIC].facts == {"noise": "traffic", "snr_db": 0.0, "level_dbfs": -21.0, "room": "none"}
    assert items[VIDEO].facts["noise"] == "pa_kcBIPQJM"


def test_dns_files_without_partner_and_doubles_are_named(dns: Path) -> None:
    (dns / "clean" / "clean_fileid_145.wav").rename(dns / "clean" / "clean_fileid_7.wav")
    put(dns / "noisy" / "clnsp9_bus_1_2_snr3_tl-20_fileid_268.wav")
    with pytest.raises(CorpusError) as caught:
        items_from_pairs(dns)
    assert f"{VIDEO}.wav: no file of that name in clean/" in str(caught.value)
    assert "clean_fileid_7.wav: no file of that name in noisy/" in str(caught.value)
    assert "'clean_fileid_268' would be the partner of several files" in str(caught.value)


@pytest.mark.parametrize(
    ("stem", "facts"),
    [
        ("noreverb_clnsp1003_munching_170467_1_snr6_tl-25_fileid_235",
         {"noise": "munching", "snr_db": 6.0, "level_dbfs": -25.0, "room": "none"}),
        ("clnsp192_air_conditioner_151977_3_snr11_tl-35_fileid_66",
         {"noise": "air_conditioner", "snr_db": 11.0, "level_dbfs": -35.0}),
        ("clnsp263_uOZZEV1IcDI-copy_machine_426874_7_snr3_tl-31_fileid_290",
         {"noise": "uOZZEV1IcDI-copy_machine_426874_7", "snr_db": 3.0, "level_dbfs": -31.0}),
        ("noreverb_fileid_112", {}),
        ("talk0", {}),
    ],
)  # fmt: skip
def test_names_of_dns_say_what_they_say(stem: str, facts: dict[str, object]) -> None:
    assert dns_facts(stem) == facts


def test_a_blind_folder_is_recordings_and_no_pairs(tmp_path: Path) -> None:
    put(tmp_path / "noreverb_clnsp1003_munching_170467_1_snr6_tl-25_fileid_235.wav", tmp_path / "real.flac")
    (tmp_path / "README.md").write_text("no sound")
    found = items_from_recordings(tmp_path)
    assert [(r.stem, r.facts.get("snr_db")) for r in found][-1] == ("real", None)
    assert found[0].facts["snr_db"] == 6.0 and all(item.clean is None for item in found)
    with pytest.raises(CorpusError, match="without clean files, which can't be scored"):
        items_from_pairs(tmp_path)


def pairs(folder: Path, table: str, name: str = "items.tsv") -> Path:
    for stem in ("a", "b"):
        put(folder / "noisy" / f"{stem}.wav", folder / "clean" / f"{stem}.wav")
    (folder / name).write_text(table, encoding="utf-8")
    return folder


def test_a_table_beside_the_pairs_tells_what_is_known(tmp_path: Path) -> None:
    table = 'stem\tspeaker\tsnr_db\troom\tmood\na\t0012\t5\t\t"7"\nb\tß b\tinf\thall\tn/a\n'
    first, second = items_from_pairs(pairs(tmp_path, table))
    assert first.facts == {"speaker": "0012", "snr_db": 5.0, "mood": '"7"'}  # a number of a speaker is a name
    assert second.facts == {"speaker": "ß b", "snr_db": "inf", "room": "hall"}


def test_a_table_of_commas_may_quote(tmp_path: Path) -> None:
    first, _ = items_from_pairs(pairs(tmp_path, '\ufeffstem,noise\na,"bus, full"\nb,cafe\n', "items.csv"))
    assert first.facts == {"noise": "bus, full"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("stem\tsnr_db\na\tloud\n", "line 2: snr_db must be a number, got 'loud'"),
        ("stem\tsnr_db\na\n", "line 2: 1 cells, expected 2"),
        ("stem\tx\na\t1\na\t2\n", "line 3: 'a' already has a row"),
        ("name\tx\na\t1\n", "the first column must be 'stem', got 'name'"),
        ("stem\tx\tx\na\t1\t1\n", "the column 'x' occurs twice"),
        ("stem\tx\nc\t1\n", "'c' matches no item"),
        ("", "the first column must be 'stem', got ''"),
    ],
)
def test_bad_rows_are_named(table: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        items_from_pairs(pairs(tmp_path, table))
    assert str(caught.value).startswith(f"{tmp_path}: its table of items has errors: ")
    assert said in str(caught.value)


def test_two_tables_or_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "stem\na\n")
    (folder / "items.csv").write_text("stem\na\n")
    with pytest.raises(CorpusError, match=r"items\.tsv and items\.csv both exist; keep one"):
        items_from_pairs(folder)
    (folder / "items.csv").unlink()
    (folder / "items.tsv").write_bytes(b"stem\xff\n")
    with pytest.raises(CorpusError, match=r"items\.tsv: can't be read as a table"):
        items_from_pairs(folder)


def corpus(root: Path, noise: str) -> Path:
    lines, rows = [], []
    for name in ("x", "y"):
        put(*(root / "val" / side / f"{name}.wav" for side in ("degraded", "clean", "noisy")))
        lines.append(f"{root}/val/degraded/{name}.wav|{root}/val/clean/{name}.wav")
        told = {"item": name, "degraded": f"val/degraded/{name}.wav", "speaker": "007", "snr_db": 3.5, "noise": noise}
        rows.append([told.get(column, "") for column in ITEM_COLUMNS])
    write_table(root / "items.tsv", ITEM_COLUMNS, rows)
    (root / "val.txt").write_text("\n".join(lines) + "\n")
    return root / "val.txt"


def test_a_corpus_tells_of_its_items_also_when_it_was_moved(tmp_path: Path) -> None:
    facts = {"speaker": "007", "snr_db": 3.5, "noise": "bus\tfull\\.wav"}
    assert [item.facts for item in items_from_list(corpus(tmp_path / "a", "bus\tfull\\.wav"))] == [facts, facts]
    moved = tmp_path / "b"
    moved.mkdir()
    for name in ("val.txt", "items.tsv"):
        (tmp_path / "a" / name).rename(moved / name)
    assert items_from_list(moved / "val.txt")[0].facts == facts


@pytest.mark.parametrize("way", ["link", "up"])
def test_a_packed_corpus_tells_of_its_items_by_whatever_path(tmp_path: Path, way: str) -> None:
    """Its list holds full paths, and places in a file of two parts."""
    root = tmp_path / "a"
    (root / "packed").mkdir(parents=True)
    (root / "packed" / "v.pcm").write_bytes(bytes(4000))
    (root / "val.txt").write_text(f"{root}/packed/v.pcm@0|{root}/packed/v.pcm@100\n")
    (root / "items.tsv").write_text("degraded\tspeaker\npacked/v.pcm@0\tbob\n")
    if way == "link":
        (tmp_path / "b").symlink_to(root)
    listed = tmp_path / "b" / "val.txt" if way == "link" else tmp_path / "a" / ".." / "a" / "val.txt"
    assert [item.facts for item in items_from_list(listed)] == [{"speaker": "bob"}]


def test_names_that_are_no_text_are_shown_as_escapes(tmp_path: Path) -> None:
    """As a corpus keeps them: half of a surrogate pair, which no report could be written with."""
    listed = corpus(tmp_path, "Stra\udcdfe.wav")
    assert items_from_list(listed)[0].facts["noise"] == "Stra\\udcdfe.wav"


def test_a_row_for_no_recording_is_said(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", voice(0.2), RATE)
    (tmp_path / "items.tsv").write_text("stem\tspeaker\na\tx\nb\ty\n")
    with pytest.raises(CorpusError, match="'b' matches no item"):
        items_from_recordings(tmp_path)


def test_a_corpus_without_or_with_a_broken_table_is_still_scored(tmp_path: Path) -> None:
    listed = corpus(tmp_path, "bus")
    (tmp_path / "items.tsv").write_text("item\tdegraded\tspeaker\nx\tval/degraded/x.wav\nbad\n")
    assert [item.facts for item in items_from_list(listed)] == [{}, {}]
    (tmp_path / "items.tsv").unlink()
    assert [item.facts for item in items_from_list(listed)] == [{}, {}]


def test_items_stay_hashable_and_facts_are_optional() -> None:
    plain = Item("a", Path("n.wav"), Path("c.wav"))
    assert plain.facts == {} and len({plain, Item("a", Path("n.wav"), Path("c.wav"), facts={"noise": "bus"})}) == 2
