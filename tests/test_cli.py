"""The command line: every verb by its options, every failure as a sentence, and the road from sound to sound."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from tests.corpora import Nothing, contents
from tests.voices import RATE, noise, voice
from timbre_restore import atomic
from timbre_restore.apps import cli, entry
from timbre_restore.apps.cli import VERBS, build_app, main
from timbre_restore.apps.console import give_results, note, say
from timbre_restore.audio import read_audio, read_mono, rms, write_audio
from timbre_restore.corpus.writing import items
from timbre_restore.errors import CorpusError, LockedError, TrainingStopped

ROOT = Path(__file__).resolve().parent.parent
Capture = pytest.CaptureFixture[str]

FULL_DISK = "error: /d/x.wav: the disk is full (No space left); free some space and run the same command again.\n"
POSITIONALS = {"restore": ["in.wav"], "export": ["run"], "compare": ["new.json"]}


def commands_of(program: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb, those of a verb by two words, and its parameters."""
    for name, command in program.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def options() -> list[tuple[str, str, bool]]:
    """(verb, option, whether it takes a value) of everything that has a '-' inside its name."""
    return [
        (verb, name, not parameter.is_flag)
        for verb, command in commands_of(get_command(build_app()))
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--") and "-" in name[2:]
    ]


def fail_with(exc: BaseException) -> Callable[[], None]:
    def verb() -> None:
        raise exc

    return verb


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers with two recordings each, two noises, two rooms."""
    folder = tmp_path_factory.mktemp("sounds")
    for speaker in range(2):
        for number in range(2):
            name = f"speech/speaker_{speaker}/take_{number}.wav"
            write_audio(folder / name, voice(2.5, 10 * speaker + number), RATE)
    for number in range(2):
        write_audio(folder / f"noise/noise_{number}.wav", noise(3.0, number), RATE)
        room = np.zeros(4800, dtype=np.float32)
        room[[0, 1000 + 500 * number]] = 0.9, 0.3
        write_audio(folder / f"rooms/room_{number}.wav", room, RATE)
    return folder


def corpus_options(sounds: Path, output_dir: Path) -> list[str]:
    values = (
        f"data.sources=[{{path: {sounds}/speech}}]",
        f"data.noise_path={sounds}/noise",
        f"data.ir_path={sounds}/rooms",
        f"data.output_dir={output_dir}",
    )
    return [word for value in values for word in ("--set", value)]


def test_contract_verbs_exist() -> None:
    assert set(VERBS) == {
        "prepare", "audit", "train", "evaluate", "compare", "listen", "export", "check", "restore", "bench", "demo",
    }  # fmt: skip


@pytest.mark.parametrize(("verb", "option", "takes_value"), options())
@pytest.mark.parametrize("dash", ["-", "_"])
def test_every_option_is_accepted_with_either_dash(
    verb: str, option: str, takes_value: bool, dash: str, capsys: Capture
) -> None:
    spelled = "--" + option[2:].replace("-", dash)
    assert main([*verb.split(), *POSITIONALS.get(verb, []), spelled, *(["1"] if takes_value else []), "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [*VERBS, "bench train", "listen serve", "listen analyse"])
def test_every_verb_takes_config_and_set(verb: str, capsys: Capture) -> None:
    assert main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "--set KEY=VALUE" in text
    assert "--config FILE" in text


@pytest.mark.parametrize("verb", [*VERBS, "bench train", "listen serve", "listen analyse"])
def test_every_verb_reports_a_misspelled_key_before_any_work(verb: str, capsys: Capture, tmp_path: Path) -> None:
    needed = {
        "restore": ["in.wav", "-o", "out.wav"],
        "export": ["run", "-o", "m.onnx"],
        "check": ["default"],
        "compare": ["new.json"],
        "listen": ["--reference", "clean", "--system", "a=b", "test"],
        "listen serve": ["test"],
        "listen analyse": ["test"],
        "demo": ["--out", str(tmp_path)],
    }
    assert main([*verb.split(), *needed.get(verb, []), "--set", "training.epoch=3", "--set", "sed=1"]) == 2
    error = capsys.readouterr().err
    assert "training.epoch: unknown key; did you mean 'epochs'?" in error
    assert "sed: unknown key; did you mean 'seed'?" in error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["prepare", "--max_file", "3"], "No such option: --max-file"),
        (["prepare", "--max_files", "some"], "'--max-files': Input should be a valid integer"),
        (["prepare", "--max-files", "0"], "'--max-files': Input should be greater than or equal to 1"),
        (["restore"], "Missing argument 'IN'"),
        (["restore", "in.wav"], "Missing option '--output'"),
        (["restore", "in.wav", "-o", "out.wav", "--strength", "1.5"], "'--strength': expected a number from 0 to 1,"),
        (["restore", "in.wav", "-o", "out.wav", "--strength", "nan"], "expected a number from 0 to 1, got 'nan'"),
        (["restore", "in.wav", "-o", "out.wav", "--strength", "all"], "expected a number from 0 to 1, got 'all'"),
        (["repair"], "No such command 'repair'"),
        (["--fast"], "No such option: --fast"),
    ],
)
def test_wrong_lines_are_one_sentence(line: list[str], said: str, capsys: Capture) -> None:
    assert main(line) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert "--help'." in printed.err


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (["--format", "m4a"], "'m4a' can't be written; expected one of wav, rf64"),
        (["--subtype", "pcm17"], "'pcm17' is not a known sample format; expected one like pcm16"),
        (["--format", "opus", "--subtype", "pcm16"], "OGG can't hold pcm16; expected one of opus, vorbis"),
    ],
)
def test_forms_of_sound_that_are_none_are_a_wrong_line(
    form: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    write_audio(tmp_path / "in.wav", voice(0.1), RATE)
    assert main(["restore", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out"), *form]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_no_verb_shows_the_help(capsys: Capture) -> None:
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("exc", "status", "said"),
    [
        (LockedError("/d: is locked [by 7]; wait."), 1, "error: /d: is locked [by 7]; wait.\n"),
        (TrainingStopped("l1 is NaN; lower the rate."), 3, "error: l1 is NaN; lower the rate.\n"),
        (KeyboardInterrupt(), 130, "interrupted; what was already written is kept.\n"),
        (OSError(errno.ENOSPC, "No space left", "/d/x.wav"), 1, FULL_DISK),
        (PermissionError(errno.EACCES, "Denied", "/d"), 1, "error: /d: Denied; check the path and its permissions.\n"),
    ],
)
def test_failures_are_sentences_with_their_status(
    exc: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(cli.VERBS, "prepare", fail_with(exc))
    assert main(["prepare"]) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", said)


EARLY = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from timbre_restore.apps.entry import main
sys.exit(main(["restore", "in.wav", "-o", "out.wav"]))
"""


@pytest.mark.parametrize("module", ["timbre_restore.apps.cli", "typer", "numpy", "timbre_restore.runtime"])
def test_ctrl_c_is_heard_while_the_program_is_read_in(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, module], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted; what was already written is kept.\n")


def test_a_module_that_fails_for_ctrl_c_is_not_missing(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """onnxruntime says that it can't be imported. One that is missing is another matter."""

    def missing(argv: list[str]) -> int:
        try:
            if argv:
                raise KeyboardInterrupt
        except KeyboardInterrupt as exc:
            raise ImportError("initialization failed") from exc
        raise ImportError("no such module")

    monkeypatch.setattr(cli, "main", missing)
    assert entry.main(["restore"]) == 130
    assert capsys.readouterr().err == "interrupted; what was already written is kept.\n"
    with pytest.raises(ImportError, match="no such module"):
        entry.main([])


def test_the_program_begins_where_ctrl_c_is_heard() -> None:
    """And where nothing has been imported yet that takes time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"timbre-restore": "timbre_restore.apps.entry:main"}
    line = [sys.executable, "-S", "-c", "import sys, timbre_restore.apps.entry; print(*sys.modules)"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert not {"typing", "pathlib", "timbre_restore.errors", "typer", "rich", "numpy"} & set(done.stdout.split())


def test_results_that_nobody_wants_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output and error are none where they were closed before the program began."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    say("a result")
    note("a word")
    assert entry.interrupted() == 130


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.VERBS, "prepare", fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["prepare"])


def test_a_reader_that_leaves_is_no_failure_to_print() -> None:
    code = "import sys; from timbre_restore.apps.cli import main; sys.exit(main(['prepare', '--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert error == b""


@pytest.mark.parametrize("door", ["train.py", "data/prepare_dataset.py"])
def test_doors_open_their_verbs(door: str) -> None:
    verb = {"train.py": "train", "data/prepare_dataset.py": "prepare"}[door]
    line = [sys.executable, door, "--set", "seeds=1"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    # Preparing also names the default folders that this machine lacks.
    assert done.stderr.splitlines()[0] == "error: --set: seeds: unknown key; did you mean 'seed'?"
    helped = subprocess.run([sys.executable, door, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"timbre-restore {verb} [OPTIONS]" in helped.stdout


def test_missing_folders_are_named_before_any_work(tmp_path: Path, capsys: Capture) -> None:
    assert main(["prepare", *corpus_options(tmp_path / "nowhere", tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    for place in ("data.sources.0.path", "data.noise_path", "data.ir_path"):
        assert f"--set: {place}: no such folder: {tmp_path}/nowhere/" in error
    assert not (tmp_path / "out").exists()


def test_two_shards_by_the_verb_are_one_run(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "load_suppressor", lambda settings: Nothing())
    line = ["prepare", "--num_workers", "0"]
    for index in (0, 1):
        shard = ["--shard_idx", str(index), "--shard_count", "2"]
        assert main([*line, *shard, *corpus_options(sounds, tmp_path / "two")]) == 0
    assert main([*line, *corpus_options(sounds, tmp_path / "one")]) == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "one") != {}


def test_what_a_run_is_told_of_anomalies_reaches_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    training = pytest.importorskip("timbre_restore.training")
    told: list[object] = []

    def noted(*_: object, on_anomaly: str, **__: object) -> object:
        told.append(on_anomaly)
        raise CorpusError("enough.")

    monkeypatch.setattr(training, "train", noted)
    monkeypatch.setattr(training, "run_trial", noted)
    for word in ("stop", "rollback", "warn"):
        for trial in ([], ["--trial"]):
            assert main(["train", "--skip-audit", *trial, "--on-anomaly", word]) == 1
            assert told.pop() == word
    assert main(["train", "--skip-audit", "--on-anomaly", "go"]) == 2


def test_shard_beyond_the_count_is_refused(sounds: Path, tmp_path: Path, capsys: Capture) -> None:
    line = ["prepare", "--shard-idx", "2", "--shard_count", "2", *corpus_options(sounds, tmp_path / "out")]
    assert main(line) == 2
    assert "--shard-idx 2: expected 0 to 1, as --shard-count is 2." in capsys.readouterr().err


def test_from_sounds_to_scores(sounds: Path, small_model: Path, tmp_path: Path, capsys: Capture) -> None:
    """prepare, audit, evaluate on its list: each verb gets what its options say."""
    corpus = tmp_path / "corpus"
    common = corpus_options(sounds, corpus)
    assert main(["prepare", "--max_files", "2", "--num_workers", "0", *common]) == 0
    assert "2 of 2 takes" in capsys.readouterr().out
    first = {path: path.read_bytes() for path in corpus.rglob("*.wav")}
    assert main(["prepare", "--skip_existing", "--num_workers", "0", *common]) == 0
    assert "4 of 4 takes" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in first} == first
    assert main(["audit", "--no-trial", *common]) == 0
    assert main(["audit", "--no-trial", str(corpus)]) == 0
    assert capsys.readouterr().out.count("READY\n") == 2

    page = tmp_path / "page.html"
    line = ["evaluate", "--list", str(corpus / "val.txt"), "--model", str(small_model), "--metric", "core"]
    assert main([*line, "--json", "-", "--html", str(page), "--strength", "0"]) == 0
    scores = json.loads(capsys.readouterr().out)["systems"]
    assert list(scores) == ["degraded", "limit12", "limit18", "limit24", "limit6", "noisy", "restored"]
    assert scores["restored"] == scores["degraded"]  # at strength 0 the suppressor's output passes
    assert "<audio" in page.read_text(encoding="utf-8")
    assert main([*line, "--json", str(tmp_path / "full.json")]) == 0
    full = json.loads((tmp_path / "full.json").read_text(encoding="utf-8"))["systems"]
    assert full["degraded"] == scores["degraded"]
    assert full["restored"] != scores["restored"]

    next((corpus / "train" / "clean").iterdir()).unlink()
    assert main(["audit", "--no-trial", *common]) == 1
    assert "NOT READY" in capsys.readouterr().out


def test_evaluate_wants_one_kind_of_items(tmp_path: Path, capsys: Capture) -> None:
    assert main(["evaluate"]) == 2
    assert main(["evaluate", "--pairs", str(tmp_path), "--list", str(tmp_path / "l.txt")]) == 2
    assert capsys.readouterr().err.count("expected one of --pairs DIR, --list FILE and --recordings DIR") == 2


def test_restore_a_file(small_model: Path, tmp_path: Path, capsys: Capture) -> None:
    """Stereo at another rate, at strength 0 and 1, and with the suppressor left out."""
    stereo = np.stack([voice(1.5, 1) + noise(1.5, 1), voice(1.5, 2)])[:, : int(1.5 * 44_100)]
    write_audio(tmp_path / "in.flac", stereo, 44_100)
    outputs = {}
    for name, extra in {
        "suppressed": ["--strength", "0"],
        "restored": [],
        "untouched": ["--already-suppressed", "--strength", "0"],
        "limited": ["--strength", "0", "--set", "suppressor.attenuation_limit_db=3"],
    }.items():
        target = tmp_path / f"{name}.flac"
        assert main(["restore", str(tmp_path / "in.flac"), "-o", str(target), "--model", str(small_model), *extra]) == 0
        outputs[name], rate = read_audio(target)
        assert (rate, outputs[name].shape) == (44_100, stereo.shape)
        assert str(target) in capsys.readouterr().out
    # What lies next to half the rate is lost on the way to 48 kHz and back, and nothing else.
    assert rms(outputs["untouched"] - stereo) < 0.1 * rms(stereo)
    distance = {name: float(np.mean((out - stereo) ** 2)) for name, out in outputs.items()}
    assert distance["limited"] < 0.5 * distance["suppressed"]
    assert not np.array_equal(outputs["restored"], outputs["suppressed"])


def test_restore_a_folder_goes_on_after_a_bad_file(small_model: Path, tmp_path: Path, capsys: Capture) -> None:
    write_audio(tmp_path / "in" / "deep" / "good.wav", voice(1.0), RATE)
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
    line = ["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(small_model)]
    assert main([*line, "--already_suppressed"]) == 1
    assert len(read_mono(tmp_path / "out" / "deep" / "good.wav")) == RATE
    assert not (tmp_path / "out" / "bad.wav").exists()
    error = capsys.readouterr().err
    first, second, third = error.splitlines()  # no bar where nobody watches
    assert first.startswith("warning: this voice needs the noisy recording to tell what to give back")
    assert "bad.wav: can't be read as audio" in second
    assert third == "1 of 2 files were not restored."


def test_the_suppressors_limit_is_passed_through(small_model: Path, tmp_path: Path, capsys: Capture) -> None:
    write_audio(tmp_path / "in.wav", voice(1.0) + noise(1.0), RATE)
    line = ["restore", str(tmp_path / "in.wav"), "--model", str(small_model), "--strength", "0"]
    for name, extra in {
        "none": [],
        "limited": ["--attenuation-limit", "6"],
        "set": ["--set", "suppressor.attenuation_limit_db=6"],
        "last": ["--set", "suppressor.attenuation_limit_db=1", "--attenuation_limit", "6", "--format", "WAV"],
    }.items():
        assert main([*line, "-o", str(tmp_path / f"{name}.wav"), *extra]) == 0
    content = {path.stem: path.read_bytes() for path in tmp_path.glob("*.wav")}
    assert content["limited"] == content["set"] == content["last"] != content["none"]
    capsys.readouterr()
    for extra, words in [
        (["--attenuation-limit", "0"], "--attenuation-limit 0: expected a number above 0 and at most 100 dB."),
        (["--attenuation-limit", "101"], "--attenuation-limit 101: expected a number above 0 and at most 100 dB."),
        (["--attenuation-limit", "nan"], "--attenuation-limit nan: expected a number above 0 and at most 100 dB."),
        (["--attenuation-limit", "6", "--already-suppressed"], "have no effect with --already-suppressed; drop one"),
        (["--set", "suppressor.name=dtln", "--already-suppressed"], "have no effect with --already-suppressed; drop"),
        (["--rate", "16000"], "give --raw too"),
        (["--raw", "s16le"], "--raw describes standard input, but the input is"),
    ]:
        assert main([*line, "-o", str(tmp_path / "no.wav"), *extra]) == 2
        assert words in capsys.readouterr().err
    assert main(["restore", "-", "-o", "-", "--raw", "s17le"]) == 2
    assert "--raw s17le: expected one of u8, s16le" in capsys.readouterr().err
    assert not (tmp_path / "no.wav").exists()


def test_bench_gives_json_alone_on_stdout(small_model: Path, capsys: Capture) -> None:
    assert main(["bench", "--rounds", "2", "--model", str(small_model), "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    restorer, suppressor = report["costs"]["restorer"], report["costs"]["dfn3"]
    assert restorer["samples"] > 100 * suppressor["samples"]
    for cost in (restorer, suppressor):
        assert 0 < cost["p50_ms"] <= cost["p99_ms"]
    assert report["p50_ratio"] == pytest.approx(restorer["p50_ms"] / suppressor["p50_ms"], abs=1e-3)


@pytest.mark.parametrize("lost", ["json", "page"])
def test_a_result_that_cannot_be_written_takes_no_other_with_it(lost: str, tmp_path: Path) -> None:
    places = {"json": tmp_path / "scores.json", "page": tmp_path / "page.html"}
    places[lost].mkdir()  # there since the command had looked
    with pytest.raises(OSError, match="exists and is not a regular file"):
        give_results(
            lambda: {"osr": 0.5},
            places["json"],
            lambda place: atomic.write_text(place, "<html>"),
            places["page"],
        )
    assert [name for name, place in places.items() if place.is_file()] == [{"json": "page", "page": "json"}[lost]]
