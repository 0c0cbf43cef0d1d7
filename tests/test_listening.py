"""Making a listening test: what is played is comparable and tells nothing, and what can't be made leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.listeners import SYSTEMS, make_sources, orders, roles, system_options
from tests.voices import RATE, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import active_rms, read_mono, to_db, write_audio
from timbre_restore.errors import ListeningError
from timbre_restore.listening import MUSHRA, ListeningRequest, load_test, make_test
from timbre_restore.listening.excerpts import busiest_start, faded, low_pass

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("sources"), 4)


def wanted(sources: Path, **settings: object) -> ListeningRequest:
    systems = [(name, sources / name) for name in SYSTEMS]
    return ListeningRequest(sources / "clean", systems, **{"count": 3, "seconds": 0.8, "seed": 3, **settings})  # type: ignore[arg-type]


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_makes_the_same_test(sources: Path, tmp_path: Path) -> None:
    for kind in ("mushra", "ccr"):
        for name, seed in (("first", 3), ("again", 3), ("other", 4)):
            make_test(wanted(sources, kind=kind, seed=seed), tmp_path / kind / name)
        made = {name: content_of(tmp_path / kind / name) for name in ("first", "again", "other")}
        assert made["first"] == made["again"]
        assert not set(made["first"]) & set(made["other"]) - {"test.json"}
        first, again = (orders(tmp_path / kind / name, 1) for name in ("first", "again"))
        assert first == again
        assert first != orders(tmp_path / kind / "first", 2)
        assert sorted(map(sorted, first)) == sorted(map(sorted, orders(tmp_path / kind / "first", 2)))


def test_sounds_of_an_item_are_comparable(sources: Path, tmp_path: Path) -> None:
    """One stretch, one gain, one size; the hidden reference is the reference; only the system differs."""
    test = make_test(wanted(sources, mid_anchor=True), tmp_path / "t")
    for trial in test.trials:
        excerpt = test.items[trial.item]
        sounds = {role: read_mono(tmp_path / "t/stimuli" / f"{name}.wav") for name, role in trial.sounds().items()}
        assert set(sounds) == {*SYSTEMS, "reference", "hidden reference", "low anchor", "mid anchor"}
        np.testing.assert_array_equal(sounds["reference"], sounds["hidden reference"])
        assert to_db(active_rms(sounds["reference"])) == pytest.approx(-26.0, abs=0.5)
        start, length = round(excerpt.start_s * RATE), round(excerpt.seconds * RATE)
        gain = 10 ** (excerpt.gain_db / 20)
        for name in SYSTEMS:
            source = read_mono(sources / name / f"{trial.item}.wav")[start : start + length]
            np.testing.assert_allclose(sounds[name][500:-500], gain * source[500:-500], atol=1e-4)
        sizes = {(tmp_path / "t/stimuli" / f"{name}.wav").stat().st_size for name in trial.sounds()}
        assert len(sizes) == 1


def test_a_loud_system_takes_all_of_its_item_down(tmp_path: Path) -> None:
    clean = voice(1.0, 1)
    loud = np.clip(clean * np.float32(0.95 / np.abs(clean).max() * 1.0), -1, 1)
    quiet = clean * np.float32(0.01)
    for name, sound in (("clean", quiet), ("loud", loud), ("quiet", quiet)):
        write_audio(tmp_path / name / "one.wav", sound, RATE, subtype="PCM_24")
    test = make_test(
        ListeningRequest(tmp_path / "clean", [("loud", tmp_path / "loud"), ("quiet", tmp_path / "quiet")], count=1),
        tmp_path / "t",
    )
    sounds = {role: read_mono(tmp_path / "t/stimuli" / f"{name}.wav") for name, role in test.trials[0].sounds().items()}
    assert np.abs(sounds["loud"]).max() == pytest.approx(0.99, abs=1e-3)
    apart = np.abs(loud).max() / np.abs(quiet).max()
    assert np.abs(sounds["loud"]).max() / np.abs(sounds["quiet"]).max() == pytest.approx(apart, rel=0.01)


def test_the_anchor_is_narrow_and_in_time() -> None:
    impulse = np.zeros(RATE, np.float32)
    impulse[RATE // 2] = 1.0
    out = low_pass(impulse, 3_500.0, RATE)
    assert len(out) == RATE
    assert int(np.argmax(np.abs(out))) == RATE // 2
    gain_db = 20 * np.log10(np.maximum(np.abs(np.fft.rfft(out)), 1e-9))
    assert np.abs(gain_db[:3_501]).max() < 0.1
    assert gain_db[4_000:].max() < -25
    assert gain_db[4_500:].max() < -50
    with pytest.raises(ListeningError, match=r"of 3\.5 kHz needs .* 8000 Hz gives; expected at least 8000 Hz"):
        low_pass(impulse, 3_500.0, 8_000)


def test_the_stretch_is_where_the_voice_is_and_cuts_fade() -> None:
    quiet = np.zeros(2 * RATE, np.float32)
    quiet[RATE : RATE + RATE // 2] = voice(0.5, 2)
    start = busiest_start(quiet, RATE // 2, RATE)
    assert abs(start - RATE) < RATE // 10
    assert busiest_start(quiet, 5 * RATE, RATE) == 0
    flat = faded(np.ones(4_800, np.float32), RATE, begin=True, end=False)
    assert flat[0] < 0.01
    assert flat[239] == pytest.approx(0.5, abs=0.01)
    assert (flat[480:] == 1).all()
    assert faded(np.ones(4_800, np.float32), RATE, begin=False, end=True)[-1] < 0.01


def test_pairs_hold_traps_and_every_pair_its_own_sounds(sources: Path, tmp_path: Path) -> None:
    test = make_test(wanted(sources, kind="ccr", baseline="quokka"), tmp_path / "t")
    purposes = [trial.purpose for trial in test.trials]
    assert [purposes.count(word) for word in ("test", "null", "gold")] == [6, 6, 2]
    names = [name for trial in (*test.training, *test.trials) for name in trial.stimuli]
    assert len(names) == len(set(names)) == len(list((tmp_path / "t/stimuli").iterdir()))
    for trial in test.trials:
        own = list(trial.stimuli.values())
        if trial.purpose == "null":
            one, other = (read_mono(tmp_path / "t/stimuli" / f"{name}.wav") for name in trial.stimuli)
            np.testing.assert_array_equal(one, other)
        elif trial.purpose == "test":
            assert "quokka" in own
            assert len(set(own)) == 2


def test_order_of_a_pair_is_drawn(sources: Path, tmp_path: Path) -> None:
    test = make_test(wanted(sources, kind="ccr"), tmp_path / "t")
    known = roles(test)
    first = [known[order[0]] for listener in range(1, 41) for order in orders(tmp_path / "t", listener)]
    share = first.count(SYSTEMS[0]) / len(first)
    both = sum(SYSTEMS[0] in trial.stimuli.values() for trial in (*test.training, *test.trials)) / 16
    assert 0.4 < share / both < 0.65


def test_no_file_says_which_system_it_is(sources: Path, tmp_path: Path) -> None:
    """Neither its name, nor what stands in it, nor its size, nor when it was written."""
    test = make_test(wanted(sources), tmp_path / "t")
    for path in (tmp_path / "t/stimuli").iterdir():
        content = path.read_bytes()
        assert not any(word.encode() in content or word in path.name for word in (*SYSTEMS, "talk"))
        assert len(content) == 44 + 2 * soundfile.info(str(path)).frames  # a bare header and samples
    for trial in test.trials:
        written = {name: (tmp_path / "t/stimuli" / f"{name}.wav").stat().st_mtime_ns for name in trial.sounds()}
        assert sorted(written, key=lambda name: (written[name], name)) == sorted(written)


def make(sources: Path, folder: Path, *more: str) -> int:
    line = ["listen", "make", str(folder), "--reference", str(sources / "clean"), *system_options(sources)]
    drawn = [] if "--item" in more else ["--count", "3"]
    return main([*line, "--seconds", "0.8", *drawn, *more])


def test_make_by_name_and_again_while_there_is_no_answer(sources: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "deep" / "t"
    assert make(sources, folder, "--item", "talk2", "--item", "talk0", "--kind", "ccr") == 0
    assert "12 pages and 2 to practise, of 3 systems" in capsys.readouterr().out
    assert set(load_test(folder).items) - {trial.item for trial in load_test(folder).training} == {"talk0", "talk2"}
    before = content_of(folder)
    assert make(sources, folder) == 0
    assert load_test(folder).kind == MUSHRA
    assert set(content_of(folder)) != set(before)
    (folder / "answers/ABCDEF.jsonl").write_text("{}\n")
    now = content_of(folder)
    assert make(sources, folder) == 1
    assert "holds a test with answers (files: 1), which are never overwritten" in capsys.readouterr().err
    assert content_of(folder) == now
    assert [path.name for path in folder.parent.iterdir()] == ["t"]


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (
            ["--item", "talk9"],
            1,
            "talk9: the reference folder holds no item of that name; expected some of talk0, talk1",
        ),
        (
            ["--item", "talk0", "--count", "2"],
            1,
            "both a count (2) and names of items were given; give only one of the two",
        ),
        (["--kind", "ccr", "--mid-anchor"], 1, "a test of pairs has no anchors; leave out the mid anchor"),
        (["--count", "5"], 1, "5 items were asked for but the reference folder holds 4"),
        (["--system", "quokka=elsewhere"], 1, "two systems are called 'quokka'"),
        (["--system", "Low Anchor=x"], 1, "the name 'Low Anchor' is reserved"),
        (["--system", "noname"], 2, "--system 'noname': expected NAME=DIR"),
        (["--system", "new=/nowhere"], 1, "/nowhere: no such folder"),
        (["--baseline", "emu"], 1, "the baseline 'emu' is not a system of this test"),
        (["--kind", "abx"], 2, "'--kind'"),
        (["--system", f"{'x' * 41}=d"], 1, "expected 1 to 40 printable characters"),
    ],
)
def test_wrong_wishes_are_one_sentence_and_leave_nothing(
    more: list[str], status: int, said: str, sources: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert make(sources, tmp_path / "t", *more) == status
    error = capsys.readouterr().err
    assert said in error
    assert (error.count("\n"), list(tmp_path.iterdir())) == (1, [])


def test_sounds_that_do_not_fit_are_named_and_leave_nothing(sources: Path, tmp_path: Path, capsys: Capture) -> None:
    own = tmp_path / "own"
    folder = tmp_path / "tests" / "t"

    def refused(said: str) -> None:
        assert make(own, folder, "--count", "4") == 1
        error = capsys.readouterr().err
        assert said in error, error
        assert error.count("\n") == 1
        assert not folder.parent.exists()

    shutil.copytree(sources, own)
    whole = read_mono(own / "quokka/talk1.wav")
    for stem in ("talk1", "talk3"):
        (own / "quokka" / f"{stem}.wav").unlink()
    refused("quokka: 2 of 4 files are missing: talk1, talk3; expected a file for each item")
    write_audio(own / "quokka/talk3.wav", whole, 44_100)
    write_audio(own / "quokka/talk1.wav", whole[:-7], RATE)
    refused("quokka/talk1.wav holds 57593 samples, not 57600; ")
    write_audio(own / "quokka/talk1.wav", whole, RATE)
    refused("quokka/talk3.wav is at 44100 Hz, not 48000")
    write_audio(own / "quokka/talk3.wav", whole, RATE)
    (own / "narwhal/talk0.wav").write_bytes(b"no sound")
    refused("narwhal/talk0.wav: can't be read as audio")
    shutil.copy(sources / "narwhal/talk0.wav", own / "narwhal/talk0.wav")
    write_audio(own / "clean/talk2.wav", np.zeros_like(whole), RATE)
    refused("clean/talk2.wav: is silent, so there is nothing to compare with")


def test_an_item_to_train_with_is_one_that_all_have(sources: Path, tmp_path: Path, capsys: Capture) -> None:
    """Nobody asked for it: what only some have, or is silent, or of another length, is none."""
    own = shutil.copytree(sources, tmp_path / "own")
    (own / "quokka/talk3.wav").unlink()
    whole = read_mono(own / "quokka/talk2.wav")
    write_audio(own / "quokka/talk2.wav", whole[:-7], RATE)
    named = ["--item", "talk0", "--item", "talk1"]
    assert make(own, tmp_path / "t", *named) == 0
    assert {trial.item for trial in load_test(tmp_path / "t").trials} == {"talk0", "talk1"}
    assert load_test(tmp_path / "t").training[0].item in ("talk0", "talk1")
    for name in ("clean", *SYSTEMS):
        write_audio(own / name / "talk2.wav", whole, 44_100)
    assert make(own, tmp_path / "t", *named) == 0
    assert load_test(tmp_path / "t").training[0].item in ("talk0", "talk1")
    for name in ("clean", *SYSTEMS):
        write_audio(own / name / "talk2.wav", whole, RATE)
    assert make(own, tmp_path / "t", *named) == 0
    assert load_test(tmp_path / "t").training[0].item == "talk2"
    write_audio(own / "clean/talk2.wav", np.zeros_like(whole), RATE)
    assert make(own, tmp_path / "t", *named) == 0
    assert load_test(tmp_path / "t").training[0].item in ("talk0", "talk1")
    capsys.readouterr()


def test_the_folder_that_one_is_in_is_not_replaced(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The shell would stand in one that is gone."""
    (tmp_path / "t" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "t" / "below")
    for folder in (Path(), tmp_path / "t"):
        assert make(sources, folder) == 1
        assert "is the current folder or contains it" in capsys.readouterr().err
    assert Path.cwd().is_dir() and not list(Path.cwd().iterdir())


def test_answers_that_come_while_a_test_is_made_again_are_kept(sources: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    make_test(wanted(sources), folder)

    def answered(*_: object) -> None:
        (folder / "answers" / "ABCDEF.jsonl").write_text("{}\n")

    with pytest.raises(ListeningError, match="holds a test with answers"):
        make_test(wanted(sources, seed=4), folder, answered)
    assert (folder / "answers" / "ABCDEF.jsonl").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_other_peoples_folders_are_left_alone(sources: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    assert make(sources, tmp_path) == 1
    assert make(sources, tmp_path / "letters.txt") == 1
    error = capsys.readouterr().err
    assert "holds files that are not part of a listening test (letters.txt)" in error
    assert "is a file; expected a folder" in error
    assert os.listdir(tmp_path) == ["letters.txt"]  # noqa: PTH208
    folder = tmp_path / "test"
    assert make(sources, folder) == 0 and make(sources, folder) == 0, "a test without answers makes way for another one"
    (folder / "notes").mkdir()
    assert make(sources, folder) == 1 and (folder / "notes").is_dir()
    assert "(notes)" in capsys.readouterr().err


def test_a_silent_first_channel_is_not_what_people_hear(sources: Path, tmp_path: Path) -> None:
    stereo = tmp_path / "stereo"
    for path in (sources / "quokka").iterdir():
        sound = read_mono(path)
        write_audio(stereo / path.name, np.stack([0 * sound, sound]), RATE)
    kinds = {name: [(name, place)] for name, place in (("quokka", stereo), ("plain", sources / "quokka"))}
    made = {name: make_test(ListeningRequest(sources / "clean", own), tmp_path / name) for name, own in kinds.items()}
    sounds = [sorted(path.read_bytes() for path in (tmp_path / name / "stimuli").rglob("*.wav")) for name in made]
    assert sounds[0] == sounds[1]


def test_people_hear_the_channel_of_the_reference(sources: Path, tmp_path: Path) -> None:
    """Noise on the left of a system's files, where the reference has its voice on the right."""
    for name, left in (("clean", 0.0), ("quokka", 1.0)):
        for path in (sources / name).iterdir():
            sound = read_mono(path)
            write_audio(tmp_path / name / path.name, np.stack([left * sound[::-1], sound]), RATE)
    made = {
        place: make_test(ListeningRequest(place / "clean", [("quokka", place / "quokka")]), tmp_path / f"t{place.name}")
        for place in (sources, tmp_path)
    }
    sounds = [
        sorted(p.read_bytes() for p in (tmp_path / f"t{place.name}" / "stimuli").rglob("*.wav")) for place in made
    ]
    assert sounds[0] == sounds[1]


def test_too_many_systems_and_pairs_of_one(sources: Path, tmp_path: Path) -> None:
    many = [(f"s{number}", sources / "quokka") for number in range(8)]
    with pytest.raises(ListeningError, match="8 systems make 10 sounds to rate on a page; expected at most 9"):
        make_test(ListeningRequest(sources / "clean", many, count=1), tmp_path / "t")
    alone = [("quokka", sources / "quokka")]
    with pytest.raises(ListeningError, match="'quokka' is the only system"):
        make_test(ListeningRequest(sources / "clean", alone, kind="ccr", count=1), tmp_path / "t")
    test = make_test(
        ListeningRequest(sources / "clean", alone, kind="ccr", count=1, baseline="reference"), tmp_path / "t"
    )
    assert {"quokka", "reference"} in [set(trial.stimuli.values()) for trial in test.trials]


@pytest.mark.parametrize("content", ["", "[]", '{"format": 9, "kind": "mushra"}', '{"format": 1, "kind": "mushra"}'])
def test_a_plan_that_is_none_is_a_sentence(content: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "test.json").write_text(content)
    for verb in ("serve", "analyse"):
        assert main(["listen", verb, str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert "test.json: is not a listening test plan that this version can read" in error
        assert error.count("\n") == 1
    assert main(["listen", "analyse", str(tmp_path / "nowhere")]) == 1
    assert "give a folder made by 'timbre-restore listen make'" in capsys.readouterr().err


def test_the_plan_is_read_as_it_was_written(sources: Path, tmp_path: Path) -> None:
    test = make_test(wanted(sources), tmp_path / "t")
    assert load_test(tmp_path / "t") == test
    assert json.loads((tmp_path / "t/test.json").read_text())["systems"] == list(SYSTEMS)
