"""What is found, how it is split, in which order it comes, and what chance decides: all before a sound is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from timbre_restore.atomic import write_text
from timbre_restore.corpus import CorpusSpec, SourceSpec
from timbre_restore.corpus.planning.draw import Variation, keeps_silent_item
from timbre_restore.corpus.planning.plan import Plan, make_plan, read_plan, scan_and_plan
from timbre_restore.corpus.planning.scan import Recording, SourceFile, scan_files, scan_source
from timbre_restore.corpus.planning.split import split_sounds
from timbre_restore.corpus.rendering.made_noise import is_made
from timbre_restore.corpus.rendering.made_room import is_made_room
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import SuppressorSettings

SPEC = CorpusSpec(sources=(SourceSpec(Path("a"), 0.3), SourceSpec(Path("b"), 0.7)), noise_path=Path("n"))
NOISES = [SourceFile(f"noise_{i}.wav") for i in range(20)]
ROOMS = [SourceFile(f"hall_{i}_ch{c}.wav") for i in range(6) for c in (0, 1)]


def recordings(source: int, speakers: int, each: int) -> list[Recording]:
    names = [(f"s{source}p{s:02d}", f"{k:03d}.wav") for s in range(speakers) for k in range(each)]
    return [Recording(source, f"{speaker}/{file}", speaker, 48_000, 240_000) for speaker, file in names]


MANY = recordings(0, 10, 20) + recordings(1, 20, 20)


def plan(spec: CorpusSpec = SPEC, found: list[Recording] | None = None, **settings: int) -> Plan:
    return make_plan(spec, MANY if found is None else found, NOISES, ROOMS, **settings)


def sides(made: Plan) -> dict[str, set[str]]:
    return {split: {t.recording.speaker for t in made.takes if t.split == split} for split in ("train", "val")}


def test_every_recording_comes_once_per_pass() -> None:
    made = plan(replace(SPEC, passes=2))
    assert sorted((t.recording.relative, t.pass_index) for t in made.takes) == sorted(
        (r.relative, index) for r in MANY for index in (0, 1)
    )


@pytest.mark.parametrize("seed", range(5))
def test_speakers_are_on_one_side(seed: int) -> None:
    found = sides(plan(replace(SPEC, seed=seed)))
    assert not found["train"] & found["val"]
    assert len(found["val"]) == 3  # a tenth of thirty


@pytest.mark.parametrize("found", [MANY, recordings(0, 2, 5), recordings(0, 2, 1), recordings(0, 35, 9)])
def test_any_two_recordings_or_more_hold_both_sides(found: list[Recording]) -> None:
    for count in range(2, min(len(found), 60) + 1):
        assert {t.split for t in plan(found=found, max_files=count).takes} == {"train", "val"}


def test_a_larger_number_only_adds_and_moves_nobody() -> None:
    whole = plan().takes
    for count in (1, 2, 7, 100, 599):
        assert plan(max_files=count).takes == whole[:count]


def test_order_depends_on_the_seed_and_not_on_the_order_of_the_scan() -> None:
    assert plan(found=MANY[::-1]).takes == plan().takes
    assert plan(replace(SPEC, seed=1)).takes != plan().takes


def test_beginning_goes_round_the_speakers() -> None:
    first = [t.recording.speaker for t in plan(found=recordings(1, 20, 20)).takes[:20]]
    assert len(set(first)) == 20


def test_sources_come_by_weight() -> None:
    first = plan().takes[:100]
    assert sum(t.recording.source == 0 for t in first) == pytest.approx(30, abs=2)


def test_one_speaker_is_split_by_recording_with_a_warning() -> None:
    made = plan(found=recordings(0, 1, 10))
    assert {t.split for t in made.takes[:2]} == {"train", "val"}
    assert any("only one speaker" in warning for warning in made.warnings)


def test_no_fraction_means_no_validation() -> None:
    assert {t.split for t in plan(replace(SPEC, val_fraction=0.0)).takes} == {"train"}


def test_lists_form_the_validation_side_exactly() -> None:
    spec = replace(SPEC, val_speakers=["s0p0[12]", "s1p19"], val_noises=["noise_1*"], val_rooms=["hall_5_*"])
    made = plan(spec)
    assert sides(made)["val"] == {"s0p01", "s0p02", "s1p19"}
    noises = split_sounds(spec, "noise", NOISES, spec.val_noises, [])
    rooms = split_sounds(spec, "room", ROOMS, spec.val_rooms, [])
    assert {s.relative for s in noises["val"]} == {f"noise_{i}.wav" for i in (1, *range(10, 20))}
    assert {s.relative for s in rooms["val"]} == {"hall_5_ch0.wav", "hall_5_ch1.wav"}


@pytest.mark.parametrize("key", ["val_speakers", "val_noises", "val_rooms"])
def test_a_name_that_names_nothing_is_an_error(key: str) -> None:
    with pytest.raises(CorpusError, match=f"data.{key}: 'nobody_\\*'"):
        plan(replace(SPEC, **{key: ["nobody_*"]}))


def test_naming_every_speaker_is_an_error() -> None:
    with pytest.raises(CorpusError, match="none is left"):
        plan(replace(SPEC, val_speakers=["*"]))


@pytest.mark.parametrize("seed", range(8))
def test_channels_of_one_measurement_stay_together(seed: int) -> None:
    noises = [SourceFile(f"esc_{i}-{letter}.wav") for i in range(8) for letter in "AB"]
    demand = [SourceFile(f"KITCHEN{i}/ch{c:02d}.wav") for i in range(4) for c in range(3)]
    spec = replace(SPEC, seed=seed, val_fraction=0.3)
    made = [
        split_sounds(spec, kind, sounds, None, []) for kind, sounds in (("noise", noises + demand), ("room", ROOMS))
    ]
    for found in made:
        assert found["val"] and found["train"]
        assert not {s.group for s in found["train"]} & {s.group for s in found["val"]}
        groups = [s.group for s in (*found["train"], *found["val"])]
        assert all(groups.count(group) > 1 for group in groups)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fan_Freesound_validated_361372_3", "fan_Freesound_validated_361372_19"),  # the DNS challenge's noises
        ("Room001/Room001-00001", "Room001/Room001-00100"),  # SLR28's rooms
        ("1-100032-A-0", "1-100032-B-0"),  # ESC-50
        ("esc10_rain_4-161127-A", "esc10_rain_4-161127-B"),
    ],
)
def test_cuts_of_one_clip_and_places_in_one_room_are_of_a_group(one: str, other: str) -> None:
    changed = (
        one.replace("361372", "361373")
        .replace("Room001-", "Room002-")
        .replace("100032", "100033")
        .replace("4-1", "4-2")
    )
    groups = [SourceFile(f"{name}.wav").group for name in (one, other, changed)]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_validation_hears_recorded_noises_though_no_share_of_them_is_kept(fraction: float) -> None:
    """Speakers are named, noises are not: it shares those of training, and says so, before it hears made ones."""
    made = plan(replace(SPEC, val_fraction=fraction, val_speakers=["s0p01"]))
    heard = {name for take in made.takes if take.split == "val" for noise in take.draw.noises for name in noise.names}
    assert heard and heard <= {noise.relative for noise in NOISES}
    shared = "no noise is left for 'val', so both sides share all of them" in made.warnings
    assert shared == (fraction == 0.0)


def test_that_no_take_gets_a_room_is_said() -> None:
    spec = replace(SPEC, ir_path=None)
    said = "data.ir_path is null and data.variety.made_room is 0, so no take gets a room"
    assert said in make_plan(spec, MANY, NOISES, []).warnings
    for change in ({"room_probability": 0.0}, {"variety": replace(spec.variety, made_room=0.2)}):
        assert said not in make_plan(replace(spec, **change), MANY, NOISES, []).warnings


def test_naming_one_channel_takes_the_other_along_with_a_warning() -> None:
    spec, warnings = replace(SPEC, val_rooms=["hall_2_ch0"]), []
    rooms = split_sounds(spec, "room", ROOMS, spec.val_rooms, warnings)
    assert {s.relative for s in rooms["val"]} == {"hall_2_ch0.wav", "hall_2_ch1.wav"}
    assert any("hall_2_ch1" in warning for warning in warnings)


def test_a_side_without_noises_shares_all_with_a_warning() -> None:
    warnings: list[str] = []
    assert split_sounds(SPEC, "noise", NOISES[:1], None, warnings) == {"train": (NOISES[0],), "val": (NOISES[0],)}
    assert any("no noise is left for 'val'" in warning for warning in warnings)


def test_no_noise_at_all_is_an_error() -> None:
    with pytest.raises(CorpusError, match="noise_path"):
        make_plan(SPEC, MANY, [], ROOMS)


def test_without_a_folder_of_noises_all_noise_is_made() -> None:
    """On both sides; what else is drawn stays as it was."""
    bare = make_plan(replace(SPEC, noise_path=None, passes=2), MANY, [], ROOMS)
    noises = [noise for take in bare.takes for noise in take.draw.noises]
    assert len(noises) > len(MANY)
    assert all(is_made(name) for noise in noises for name in noise.names)
    assert all(noise.variation == Variation() for noise in noises)
    assert {take.split for take in bare.takes if take.draw.noises} == {"train", "val"}
    recorded = plan(replace(SPEC, passes=2))
    assert [(t.draw.snr_db, t.draw.rooms, len(t.draw.noises)) for t in bare.takes] == [
        (t.draw.snr_db, t.draw.rooms, len(t.draw.noises)) for t in recorded.takes
    ]
    assert bare.warnings == recorded.warnings


def test_draw_depends_on_seed_recording_and_pass_alone() -> None:
    few, many = plan(max_files=10), plan(replace(SPEC, passes=2))
    known = {take.id: take.draw for take in many.takes}
    assert len(known) == len(many.takes)
    elsewhere = plan(replace(SPEC, sources=(SourceSpec(Path("/a"), 0.3), SourceSpec(Path("/b"), 0.7))), max_files=10)
    for take in (*few.takes, *elsewhere.takes):
        assert take.draw == known[take.id]
    assert len({(draw.speech_level_dbfs, draw.snr_db) for draw in known.values()}) == len(known)
    assert plan(replace(SPEC, seed=1)).takes[0].draw not in known.values()


def test_draws_fill_their_ranges() -> None:
    draws = [take.draw for take in plan(replace(SPEC, passes=3)).takes if take.split == "train"]
    for values, (low, high) in [
        ([d.snr_db for d in draws], SPEC.snr_db),
        ([d.speech_level_dbfs for d in draws], SPEC.speech_level_dbfs),
        ([d.pause_s for d in draws if d.pause_s], (1.0, 4.0)),
    ]:
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    variety, noises = SPEC.variety, [noise for d in draws for noise in d.noises]
    recorded = [noise for noise in noises if not is_made(noise.names[0])]
    for hits, out_of, share in [
        (sum(bool(d.rooms) for d in draws), len(draws), SPEC.room_probability),
        (sum(not d.noises for d in draws), len(draws), variety.clean_input),
        (sum(len(d.noises) == 2 for d in draws), sum(bool(d.noises) for d in draws), variety.two_noises),
        (sum(d.pause_s > 0 for d in draws), len(draws), variety.pause),
        (sum(d.band_limit_hz > 0 for d in draws), len(draws), variety.band_limit),
        (len(noises) - len(recorded), len(noises), variety.made_noise),
        (sum(noise.variation != Variation() for noise in recorded), len(recorded), variety.varied_noise),
    ]:
        assert hits / out_of == pytest.approx(share, abs=4 * (share * (1 - share) / out_of) ** 0.5)
    names = {name for noise in recorded for name in noise.names}
    assert names == {sound.relative for sound in split_sounds(SPEC, "noise", NOISES, None, [])["train"]}


def test_voices_are_varied_by_their_share_in_training_alone() -> None:
    """At a third of an octave at most; and asking for them moves no other draw."""
    varied = plan(replace(SPEC, passes=3, variety=replace(SPEC.variety, varied_voice=0.4))).takes
    training = [take.draw.voice for take in varied if take.split == "train"]
    others = [voice for voice in training if voice != Variation()]
    assert len(others) / len(training) == pytest.approx(0.4, abs=0.05)
    speeds = [voice.speed for voice in others]
    assert 0.8 <= min(speeds) < 0.82 and 1.22 < max(speeds) <= 1.25
    assert max(abs(voice.tilt_db_per_octave) for voice in others) <= 1.5
    assert max(abs(voice.peak_db) for voice in others) <= 6.0
    assert not any(voice.backwards for voice in others)
    assert all(take.draw.voice == Variation() for take in varied if take.split == "val")
    for one, other in zip(plan(replace(SPEC, passes=3)).takes, varied, strict=True):
        assert one.draw == replace(other.draw, voice=Variation())


def test_rooms_are_made_by_their_share_in_training_alone() -> None:
    """Without measured ones the others of the takes have none; nothing else is drawn otherwise."""
    some = replace(SPEC, passes=3, variety=replace(SPEC.variety, made_room=0.3))
    for rooms, spec in ((ROOMS, some), ([], replace(some, ir_path=None))):
        takes = make_plan(spec, MANY, NOISES, rooms).takes
        training = [take.draw.rooms for take in takes if take.split == "train"]
        made = [names for names in training if any(is_made_room(name) for name in names)]
        wanted = 0.3 * SPEC.room_probability
        assert len(made) / len(training) == pytest.approx(wanted, abs=4 * (wanted / len(training)) ** 0.5)
        assert all(len(names) == 1 for names in made) and len(set(made)) == len(made)
        if not rooms:
            assert all(names in made or not names for names in training)
        assert not any(is_made_room(name) for take in takes if take.split == "val" for name in take.draw.rooms)
    for one, other in zip(plan(replace(SPEC, passes=3)).takes, plan(some).takes, strict=True):
        assert replace(one.draw, rooms=()) == replace(other.draw, rooms=())
        assert bool(one.draw.rooms) == bool(other.draw.rooms)


def test_suppressors_are_drawn_by_weight() -> None:
    limited = SuppressorSettings(attenuation_limit_db=24.0)
    drawn = [
        t.draw.suppressor for t in plan(replace(SPEC, suppressors=((SuppressorSettings(), 3), (limited, 1)))).takes
    ]
    assert drawn.count(limited) / len(drawn) == pytest.approx(0.25, abs=0.07)
    assert set(drawn) == {limited, SuppressorSettings()}


def test_silent_items_are_kept_by_their_share_and_by_their_name() -> None:
    kept = [[keeps_silent_item(SPEC, t.key, i) for i in range(5)] for t in plan().takes]
    assert sum(map(sum, kept)) / (5 * len(kept)) == pytest.approx(SPEC.variety.silent_items, abs=0.04)
    assert [[keeps_silent_item(SPEC, t.key, i) for i in range(5)] for t in plan().takes] == kept


def test_changing_one_range_moves_no_other_draw() -> None:
    for one, other in zip(plan().takes, plan(replace(SPEC, snr_db=(0.0, 1.0))).takes, strict=True):
        assert replace(one.draw, snr_db=0.0) == replace(other.draw, snr_db=0.0)
        assert 0 <= other.draw.snr_db <= 1
    quiet = replace(SPEC, variety=replace(SPEC.variety, pause=0.0, two_noises=0.0, made_noise=0.0))
    for one, other in zip(plan().takes, plan(quiet).takes, strict=True):
        assert (one.draw.rooms, one.draw.snr_db) == (other.draw.rooms, other.draw.snr_db)
        assert one.draw.band_limit_hz == other.draw.band_limit_hz


def test_validation_is_mixed_with_its_own_noises_and_rooms_as_they_were_recorded() -> None:
    takes = plan().takes
    own = {
        split: {name for t in takes if t.split == split for n in t.draw.noises for name in (*n.names, *t.draw.rooms)}
        for split in ("train", "val")
    }
    assert own["train"] and own["val"] and not own["train"] & own["val"]
    val = [noise for t in takes if t.split == "val" for noise in t.draw.noises]
    assert all(noise.variation == Variation() and not is_made(noise.names[0]) for noise in val)


def test_a_plan_comes_back_from_its_table(tmp_path: Path) -> None:
    odd = Recording(0, "a\tb/\udcff \u2028\\u0041 'x'|张.wav", "a\tb", 44_100, 44_100 * 300)
    unreadable = Recording(1, "c/torn.wav", "c")
    varied = replace(SPEC, variety=replace(SPEC.variety, varied_voice=0.5))
    made = plan(varied, found=[*MANY[:40], odd, unreadable])
    write_text(tmp_path / "plan.tsv", made.text)
    assert read_plan(tmp_path / "plan.tsv") == list(made.takes)
    assert plan(varied, found=[unreadable, odd, *MANY[:40]]).digest == made.digest
    (tmp_path / "plan.tsv").write_text("take\tsplit\n1\ttest\n")
    with pytest.raises(CorpusError, match="can't be read as a plan"):
        read_plan(tmp_path / "plan.tsv")


def test_a_long_recording_is_several_takes_that_miss_nothing() -> None:
    made = plan(found=[Recording(0, "a/book.wav", "a", 48_000, 48_000 * 1000 + 7), *MANY[20:30]], max_files=2)
    parts = [t for t in made.takes if t.recording.speaker == "a"]
    assert [t.start for t in parts] == [0, *(t.start + t.length for t in parts[:-1])]
    assert parts[-1].start + parts[-1].length == 48_000 * 1000 + 7
    assert len(parts) == 17 and all(t.length <= 60 * 48_000 for t in parts)
    assert len({t.draw.speech_level_dbfs for t in parts}) == len({t.id for t in parts}) == 17


def test_items_are_counted_before_they_are_made() -> None:
    take = plan(
        replace(SPEC, variety=replace(SPEC.variety, pause=0.0)), [Recording(0, "a/1.wav", "a", 44_100, 132_299)]
    )
    assert take.takes[0].items_at_most(48_000) == 2
    assert replace(take.takes[0], draw=replace(take.takes[0].draw, pause_s=1.0)).items_at_most(48_000) == 3
    slower = replace(take.takes[0], draw=replace(take.takes[0].draw, voice=Variation(speed=0.8)))
    assert slower.items_at_most(48_000) == 3
    assert plan(found=[Recording(0, "a/1.wav", "a")]).takes[0].items_at_most(48_000) == 0


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_scan_takes_parent_folders_as_speakers(tmp_path: Path) -> None:
    touch(tmp_path, "p2/b.flac", "p1/a.WAV", "p1/deep/c.wav", "root.wav", "p1/notes.txt", "p1/.hidden.wav")
    found = scan_source(3, SourceSpec(tmp_path), tmp_path / "out")
    assert [(r.relative, r.speaker) for r in found] == [
        ("p1/a.WAV", "p1"), ("p1/deep/c.wav", "deep"), ("p2/b.flac", "p2"), ("root.wav", "root3"),
    ]  # fmt: skip


def test_scan_says_what_it_does_not_read(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.wav", "p1/b.mp3", "p2/c.MP3", "p2/d.ogg", "p2/notes.txt", "p2/.hidden.mp3")
    said: list[str] = []
    assert len(scan_source(0, SourceSpec(tmp_path), tmp_path / "out", said)) == 1
    assert len(scan_files(tmp_path, tmp_path / "out", said)) == 1
    assert said[0] == said[1]
    assert said[0].startswith(
        f"{tmp_path}: files of other formats are left out (2 .mp3, 1 .ogg); convert them to wav or"
    )
    scan_source(0, SourceSpec(tmp_path, pattern="*.wav"), tmp_path / "out", none := [])
    assert none == []
    with pytest.raises(CorpusError, match=r"no wav or flac file; check data\.sources\.0\. .*: files of other formats"):
        scan_source(0, SourceSpec(tmp_path / "p2"), tmp_path / "out")


def test_a_plan_warns_of_what_was_not_read(tmp_path: Path) -> None:
    touch(tmp_path, "speech/p1/a.wav", "speech/p1/b.mp3", "noise/n.wav", "noise/n.ogg", "rooms/r.wav", "rooms/r.aiff")
    spec = CorpusSpec((SourceSpec(tmp_path / "speech"),), noise_path=tmp_path / "noise", ir_path=tmp_path / "rooms")
    said = [warning for warning in scan_and_plan(spec, tmp_path / "out", None).warnings if "other formats" in warning]
    assert [line.partition(": ")[0] for line in said] == [str(tmp_path / name) for name in ("speech", "noise", "rooms")]


def test_scan_follows_the_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "p1/x_mic1.flac", "p1/x_mic2.flac", "p1/x_mic1.txt")
    found = scan_source(0, SourceSpec(tmp_path, pattern="*_mic1.flac"), tmp_path / "out")
    assert [r.relative for r in found] == ["p1/x_mic1.flac"]


def test_scan_survives_link_loops_and_counts_nothing_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/2.wav")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "aside").symlink_to(tmp_path / "a")
    assert [s.relative for s in scan_files(tmp_path, tmp_path / "out")] == ["a/1.wav", "b/2.wav"]


def test_scan_leaves_the_corpus_itself_out(tmp_path: Path) -> None:
    touch(tmp_path, "speech/1.wav", "corpus/train/clean/2.wav")
    assert [s.relative for s in scan_files(tmp_path, tmp_path / "corpus")] == ["speech/1.wav"]


def test_an_empty_or_absent_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="contains no file that matches"):
        scan_source(0, SourceSpec(tmp_path, pattern="*.ogg"), tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        scan_files(tmp_path / "absent", tmp_path)
