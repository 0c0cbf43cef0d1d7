"""The gate over scores: what a rule says, what it is judged over, and that nothing passes by a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from timbre_restore.apps.cli import main
from timbre_restore.errors import ScoresError
from timbre_restore.evaluation.gate import Files, judge, parse_rule, read_scores
from timbre_restore.evaluation.gate.margins import wilson_interval
from timbre_restore.evaluation.gate.verdicts import shown

Capture = pytest.CaptureFixture[str]
Values = dict[str, float | None]


def items(count: int = 8, **values: float | None) -> dict[str, Values]:
    return {f"talk{i}": dict(values) for i in range(count)}


def report() -> dict[str, Any]:
    """Restored halves over-suppression and adds 0.3 of PESQ on every item, with a spread."""
    degraded, restored = items(osr=0.3, resid=0.003, pesq=2.0), items(osr=0.14, resid=0.006, pesq=2.3)
    for i in range(8):
        degraded[f"talk{i}"]["osr"] = 0.26 + 0.01 * i
        restored[f"talk{i}"]["pesq"] = 2.2 + 0.025 * i
    systems = {"noisy": items(osr=0.06, resid=0.2, pesq=1.4), "degraded": degraded, "restored": restored}
    return {"systems": {name: {"mean": {}, "items": found} for name, found in systems.items()}}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return write(tmp_path / "new.json", report())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    earlier = report()
    for values in earlier["systems"]["restored"]["items"].values():
        values["osr"] = 0.12
    return write(tmp_path / "old.json", earlier)


def words(capsys: Capture) -> str:
    """What was printed, with plain spaces."""
    return capsys.readouterr().out.replace("\u00a0", " ")


def changed(new: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(new.read_text())
    change(content["systems"])
    return write(new, content)


def gate(rule: str, new: Path, *more: str) -> int:
    return main(["compare", str(new), *more, "--fail-if", rule])


def test_a_system_called_old_is_named_in_quotes(new: Path, old: Path, capsys: Capture) -> None:
    """As in `evaluate --model old=a.onnx --model new=b.onnx`; 'old' alone would be the second file."""
    changed(new, lambda systems: systems.update({"old": systems["restored"], "gate–24": systems["degraded"]}))
    for files in ([], [str(old)]):
        assert gate("old.osr > 0.9", new, *files) == 2
        assert 'write system("old").KEY' in capsys.readouterr().err
    assert gate('system("old").osr > 0.9', new) == 0 and gate('system("old").osr > 0.1', new) == 1
    assert gate("old.restored.osr > 0.9", new, str(old)) == 0
    assert gate('system("gate–24").osr − 0.2 > 0.7', new) == 0, "a dash in a name is no minus"


def test_word_errors_may_pass_one(new: Path) -> None:
    """More words can be put in than were spoken; 250 per cent of them nobody means."""
    changed(new, lambda systems: [values.update(wer=2.0) for values in systems["restored"]["items"].values()])
    assert gate("wer > 1.5", new) == 1 and gate("wer > 2.5", new) == 2


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("osr > 0.5*degraded.osr", 0),  # 0.14 against 0.1475
        ("osr > 0.4*degraded.osr", 1),
        ("resid > 0.01", 0),
        ("resid > 0.005", 1),
        ("resid >= 0.007 or osr > 0.13", 1),
        ("resid > 0.005 and osr > 0.15", 0),
        ("not (pesq > degraded.pesq + 0.2)", 0),
        ("pesq < degraded.pesq + 0.2", 0),
        ("pesq < degraded.pesq + 0.3", 1),
        ("pesq − degraded.pesq < 0.2", 0),
        ("old.osr - osr > 0.005", 0),
        ("osr - old.osr > 0.005", 1),
        ("old.degraded.osr != degraded.osr", 0),
        ('system("restored").osr < old.system("degraded").osr', 1),
        ("worse > 0.05", 0),
        ("degraded.worse > 0 or noisy.worse < 1", 0),
        ("low(pesq - degraded.pesq) < 0", 0),
        ("high(pesq - degraded.pesq) > 0.3", 1),
        ("low(osr - 0.5*degraded.osr) > 0", 0),
        ("high(worse) > 0.3", 1),  # none of eight does not prove it
        ("abs(osr - old.osr) > 0.01", 1),
        ("min(osr, resid) > 0.006", 0),
        ("max(osr, resid, 0.1) > 0.1", 1),
        ("osr/degraded.osr > 0.5", 0),
        ("-osr < -0.1", 1),
        ("missing(pesq) > 0", 0),
        ("items < 8", 0),
        ("items < 9", 1),
        ("100*osr > 20", 0),
        ("(" * 90 + "osr" + ")" * 90 + " > 0.5", 0),
    ],
)
def test_rules_hold_or_fail_with_the_status(rule: str, status: int, new: Path, old: Path, capsys: Capture) -> None:
    assert gate(rule, new, str(old)) == status
    assert ("FAIL" in capsys.readouterr().out) == bool(status)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("oser > 0.5", "'oser' is not a value of restored in {new}; did you mean 'osr'?"),
        ("zzz > 0.5", "known here: osr, resid, pesq, worse, items."),
        ("degrade.osr > 0.5", "'degrade' is not a system of {new}; did you mean 'degraded'?"),
        ("degraded.oser > 0.5", "'oser' is not a value of degraded in {new}; did you mean 'osr'?"),
        ("degraded > 0.5", "'degraded' is a system; name one of its values, such as degraded.osr."),
        ("old.osr > 0.5", "'old' refers to a second file, but only one was given"),
        ("a.b.c > 0.5", "'a.b' is not a system; expected SYSTEM.KEY"),
        ("lo(osr) > 0.5", "'lo' is not a function; did you mean 'low'?"),
        ("low(osr, 1) > 0.5", "'low' takes one value, got 2."),
        ("min(osr) > 0.5", "'min' takes 2 to 9 values, got 1."),
        ("low(osr/degraded.osr) > 0.5", "'low' takes sums and differences of values"),
        ("low(0.5) > 0.5", "'low' takes sums and differences of values"),
        ("low(low(osr)) > 0.5", "'low' takes sums and differences of values"),
        ("missing(worse) > 0.5", "'missing' takes the name of one metric, got 'worse'."),
        ("osr", "'osr' is not a comparison; expected one such as 'osr > 0.3'."),
        ("osr > 0.1 and resid", "'resid' is not a comparison"),
        ("0 < osr < 1", "compares twice; write 'a < b and b < c'."),
        ("1 > 2", "names no value"),
        ("resid > 1", "resid is a fraction from 0 to 1; write 0.01 for 1 %"),
        ("missing(pesq) > 5", "missing(pesq) is a fraction from 0 to 1; write 0.05 for 5 %"),
        ("5 < worse", "worse is a fraction from 0 to 1; write 0.05 for 5 %"),
        ("osr > degraded.osr + 5", "'osr > degraded.osr + 5' is never true: rates are fractions"),
        ("osr - 40 > 0", "'osr - 40 > 0' is never true"),
        ("osr > 80/2", "'osr > 80/2' is never true"),
        ("not (osr < 80/2)", "'osr < 80/2' is always true"),
        ("max(osr, resid) >= -(0-7)", "is never true"),
        ("abs(osr - degraded.osr) < 1 + 1", "is always true"),
        ("osr >", "can't be parsed from the marked position on.\n  osr >\n       ^"),
        ("osr > 5%", "; write 1 % as 0.01."),
        ("osr = 0.5", "can't be parsed from the marked position on"),
        ("", "can't be parsed from the marked position on"),
        ("osr > 0.5\0", "can't be parsed"),
        ("osr > 1e999", "holds a number that is too large."),
        ("osr > 1" + "0" * 350, "holds a number that is too large."),
        ("osr > " + "9" * 400, "is longer than 400 characters"),
        ("(" * 199 + "osr > 0.5", "can't be parsed"),
        ("osr > " + "-" * 200 + "1", "has more than 150 parts"),
        ("osr > 0.5j", "'0.5j' is not allowed in a rule"),
        ("osr > True", "'True' is not allowed in a rule"),
        ("osr > 2**99", "'2**99' is not allowed in a rule"),
        ("osr is 0.5", "is not a comparison"),
        ("osr > [0.5][0]", "'[0.5][0]' is not allowed in a rule"),
        ("osr > (lambda: 1)()", "is not allowed in a rule"),
        ("__import__('os').getcwd() > 1", "is not allowed in a rule"),
        ("osr.__class__ > 1", "'osr' is not a system of"),
        ("abs(x=osr) > 1", "is not allowed in a rule"),
    ],
)
def test_rules_that_are_none_are_a_sentence(rule: str, said: str, new: Path, capsys: Capture) -> None:
    assert gate(rule, new) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said.format(new=new) in printed.err
    assert "Traceback" not in printed.err


def test_all_wrong_rules_are_said_at_once(new: Path, capsys: Capture) -> None:
    assert main(["compare", str(new), "--fail-if", "a > 1", "--fail-if", "b > 1", "--fail-if", "osr > 0.3"]) == 2
    assert capsys.readouterr().err.count("is not a value of") == 2


def set_all(key: str, value: float | None, system: str = "restored") -> Callable[[dict[str, Any]], object]:
    return lambda systems: [values.update({key: value}) for values in systems[system]["items"].values()]


@pytest.mark.parametrize(
    ("rule", "change", "reason"),
    [
        ("pesq < 1", set_all("pesq", None), "restored.pesq is n/a for every item"),
        ("pesq < 1 or osr > 0.9", set_all("pesq", None), "restored.pesq is n/a for every item"),
        ("not pesq < 9", set_all("pesq", None), "restored.pesq is n/a for every item"),
        ("osr > 0.9", set_all("osr", float("nan")), "restored.osr is nan for the item 'talk0'"),
        ("osr < 0.01 or 1/osr < 0", set_all("osr", float("inf")), "restored.osr is inf for the item 'talk0'"),
        ("worse > 0.9", set_all("osr", float("nan")), "restored.worse is nan"),
        ("1/osr < 0", set_all("osr", 0.0), "it divides by zero"),
        ("osr > degraded.osr", lambda s: s["degraded"].update(items={"x": {"osr": 0.1}}), "have no item in common"),
        ("low(osr) > 0.9", lambda s: s["restored"].update(items=items(1, osr=0.1)), "too few items or speakers"),
        ("high(worse - osr) > 0.9", lambda s: None, "there is no interval over 'worse' and a metric together"),
        ("worse > 0.5", lambda s: s["degraded"].update(items=items(osr=None)), "restored.worse is n/a for every item"),
    ],
)
def test_what_has_no_value_fails_with_its_reason(
    rule: str, change: Callable[[dict[str, Any]], object], reason: str, new: Path, tmp_path: Path
) -> None:
    """Each of these conditions is false or has no answer: a gate that asked for 'true' alone would let them pass."""
    changed(new, change)
    assert gate(rule, new, "--json", str(tmp_path / "out.json")) == 1
    verdict = json.loads((tmp_path / "out.json").read_text())["rules"][0]
    assert not verdict["holds"] and reason in verdict["reason"]


def test_means_are_over_items_that_every_named_system_has(new: Path, capsys: Capture) -> None:
    """The judged system lacks the item on which it would fail, and a null takes out the pair, not one side of it."""

    def change(systems: dict[str, Any]) -> None:
        systems["degraded"]["items"]["talk0"]["osr"] = 9.0  # only degraded has it, once talk0 is gone from restored
        del systems["restored"]["items"]["talk0"]
        systems["restored"]["items"]["talk1"]["osr"] = None
        systems["degraded"]["items"]["talk1"]["osr"] = 9.0

    files = Files(read_scores(changed(new, change)), None, "restored")
    verdict = judge(parse_rule("osr > 0.5*degraded.osr", files), files)
    assert verdict.items == 6 and verdict.sides[0].values[1] == pytest.approx(
        0.5 * np.mean(0.26 + 0.01 * np.arange(2, 8))
    )
    turned = judge(parse_rule("0.5*degraded.osr < osr", files), files)
    assert (turned.items, turned.holds) == (6, True)
    assert gate("osr > 0.5*degraded.osr", new) == 0
    said = capsys.readouterr().out
    assert "1 of 8 items left out: not in every system or file that is named" in said
    assert "restored.osr is n/a for 1 of 7 items" in said


def test_an_item_without_pesq_does_not_hide_from_worse(new: Path) -> None:
    def change(systems: dict[str, Any]) -> None:
        systems["restored"]["items"]["talk3"].update(pesq=None, osr=0.35)  # was 0.29
        systems["restored"]["items"]["talk4"].update(pesq=1.85)  # was 2.0

    changed(new, change)
    assert gate("worse > 0.24", new) == 1
    assert gate("worse > 0.26 or pesq < 1", new) == 0


def test_worse_has_the_limits_of_the_evaluation(new: Path) -> None:
    changed(new, lambda s: s["restored"]["items"]["talk0"].update(pesq=1.91, osr=0.269))  # from 2.0 and 0.26
    assert gate("worse > 0", new) == 0
    changed(new, lambda s: s["restored"]["items"]["talk0"].update(osr=0.2701))
    assert gate("worse > 0", new) == 1


def test_a_table_shows_units_margins_and_how_sure(new: Path, capsys: Capture) -> None:
    assert gate("osr > 0.5*degraded.osr", new, "--fail-if", "pesq < degraded.pesq + 0.2") == 0
    said = words(capsys)
    assert "14.0 %" in said and "14.8 %" in said and "2.29 MOS" in said and "2.20 MOS" in said
    assert "by −0.75 (" in said and "clear, 8 items" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "holds no 'systems'"),
        ({"systems": {}}, "holds no 'systems'"),
        ({"systems": {"restored": 3}}, "systems → restored: holds no 'items'"),
        ({"systems": {"restored": {"items": {"a": [1]}}}}, "restored → a: expected values by metric, got a list."),
        (
            {"systems": {"restored": {"items": {"a": {"osr": "0.1"}}}}},
            "a → osr: expected a number or null, got a text.",
        ),
        ({"systems": {"restored": {"items": {"a": {"osr": True}}}}}, "expected a number or null, got true or false."),
        ('{"systems": {"restored": {"items": {"a": {}, "a": {}}}}}', "the name 'a' occurs twice in one object"),
        ({"systems": {"mine": {"items": {}}}}, "--system: 'restored' is not a system of"),
    ],
)
def test_files_of_strangers_are_sentences(content: Any, said: str, tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path / "x.json", content)
    assert gate("osr > 0.3", path) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.startswith(f"error: {'--system' if said[0] == '-' else path}")
    assert printed.err.count("\n") == 1


def test_files_that_can_t_be_read_are_not_a_failed_rule(tmp_path: Path, new: Path, capsys: Capture) -> None:
    assert gate("osr > 0.3", tmp_path / "absent.json") == 2
    assert gate("osr > 0.3", tmp_path) == 2
    (tmp_path / "latin.json").write_bytes(b'{"systems": "\xff"}')
    assert gate("osr > 0.3", tmp_path / "latin.json") == 2
    assert "No such file" in (said := capsys.readouterr().err) and "is not UTF-8 text" in said
    assert main(["compare", str(new), "--json", str(tmp_path), "--fail-if", "osr > 0.9"]) == 2


def test_empty_systems_and_numbers_of_any_length(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '{"systems": {"restored": {"items": {"a": {"osr": ' + "9" * 5000 + "}}}}}")
    assert gate("osr > 0.3", path) == 1
    path = write(tmp_path / "x.json", {"systems": {"restored": {"items": {}}}})
    assert gate("items < 1", path) == 1


def rules_file(folder: Path, text: str) -> str:
    (folder / "rules.yaml").write_text(text)
    return str(folder / "rules.yaml")


def test_named_rules_come_from_yaml_and_join_the_line(new: Path, tmp_path: Path, capsys: Capture) -> None:
    named = rules_file(tmp_path, 'rules:\n  halved: "osr > 0.5*degraded.osr"\n  noise: resid > 0.005\n')
    assert main(["compare", str(new), "--rules", named, "--fail-if", "osr > 0.9", "--json", "-"]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["passed"] is False
    assert [(rule["name"], rule["holds"]) for rule in found["rules"]] == [
        ("", True),
        ("halved", True),
        ("noise", False),
    ]
    assert "1 of 3 rules failed" in printed.err and "halved" in printed.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected 'rules:'"),
        ("rules:\n", "holds no rules, and a gate without rules lets everything pass"),
        ("rules: {}\n", "holds no rules"),
        ("rule: {a: osr > 0.1}\n", "rule: unknown key; did you mean 'rules'?"),
        ("rules: {a: osr > 0.1}\nmore: 1\n", "more: unknown key"),
        ("rules: {a: 0.1}\n", "rules → a: expected a rule in quotes, got 0.1."),
        ("rules: {a: osr > 0.1, a: osr > 0.2}\n", "the name 'a' occurs twice"),
        ("rules: {a: &x osr > 0.1, b: *x}\n", "holds an alias"),
        ("rules: {a: !!python/object/apply:os.getcwd []}\n", "is not valid YAML"),
        ("rules: [\n", "is not valid YAML"),
        ("rules: {noise: oser > 0.1}\n", "rule 'noise', 'oser > 0.1': 'oser' is not a value"),
    ],
)
def test_files_of_rules_that_are_none(text: str, said: str, new: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["compare", str(new), "--rules", rules_file(tmp_path, text)]) == 2
    assert said in capsys.readouterr().err
    assert main(["compare", str(new), "--rules", str(tmp_path / "absent.yaml")]) == 2


def test_without_rules_two_files_are_compared(new: Path, old: Path, capsys: Capture, tmp_path: Path) -> None:
    assert main(["compare", str(new), str(old), "--json", str(tmp_path / "c.json")]) == 0
    said = words(capsys)
    assert "12.0 %" in said and "14.0 %" in said and "+2.0 (+2.0 … +2.0)" in said and "worse" in said
    found = json.loads((tmp_path / "c.json").read_text())["metrics"]
    assert found["osr"]["difference"]["mean"] == pytest.approx(0.02) and found["pesq"]["difference"]["mean"] == 0.0


def test_without_rules_two_systems_of_one_file_are_compared(new: Path, capsys: Capture) -> None:
    changed(new, lambda s: s["restored"]["items"]["talk0"].update(pesq=None))
    assert main(["compare", str(new)]) == 0
    said = capsys.readouterr().out
    assert "degraded" in said and "better" in said and "7 (1 n/a)" in said
    assert main(["compare", str(new), "--system", "degraded", "--against", "noisy"]) == 0
    assert main(["compare", str(new), "--against", "noise"]) == 2
    assert main(["compare", str(new), "--against", "restored"]) == 2
    assert main(["compare", str(new), "--against", "noisy", "--fail-if", "osr > 0.9"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'noisy'?" in said and "is the judged system itself" in said and "without rules" in said


def test_a_metric_that_only_its_file_knows_is_shown(new: Path, capsys: Capture) -> None:
    content = json.loads(new.read_text())
    content["metrics"] = {"warmth": {"name": "warmth of\tvoice", "better": "higher", "rate_hz": 16_000}, "odd": 3}
    for system in content["systems"].values():
        for i, values in enumerate(system["items"].values()):
            values["warmth"] = 0.1 * i
    assert gate("warmth < 0.3", write(new, content)) == 0
    assert main(["compare", str(new)]) == 0
    assert "warmth" in capsys.readouterr().out


def test_a_metric_that_is_best_at_zero_is_better_when_it_comes_nearer(new: Path, capsys: Capture) -> None:
    content = json.loads(new.read_text())
    for name, value in (("degraded", 6.0), ("restored", 0.5)):
        for values in content["systems"][name]["items"].values():
            values["gain_0_4"] = value
    assert main(["compare", str(write(new, content)), "--system", "restored", "--against", "degraded"]) == 0
    said = words(capsys)
    (row,) = [line for line in said.splitlines() if "level, 0–4 kHz" in line]
    assert "better" in row and "→ 0" in row
    assert "the difference is the change in distance to zero" in said


def margin_told(new: Path, speakers: int) -> Any:
    """Of one rule over `new`, with so many speakers named in it; 0 names none."""
    content = json.loads(new.read_text())
    stems = list(content["systems"]["restored"]["items"])
    content["facts"] = {stem: {"speaker": f"s{n % speakers}"} for n, stem in enumerate(stems)} if speakers else {}
    files = Files(read_scores(write(new, content)), None, "restored")
    return judge(parse_rule("osr > 0.5*degraded.osr", files), files).sides[0].margin


def test_intervals_are_by_speaker_where_the_file_says_who_speaks(new: Path) -> None:
    untold, told = margin_told(new, 0), margin_told(new, 4)
    assert told.mean == untold.mean and (told.low, told.high) != (untold.low, untold.high)
    assert margin_told(new, 2) is None, "two speakers are too few"


def test_a_share_has_an_interval_of_its_own() -> None:
    assert wilson_interval(np.zeros(48)) == pytest.approx((0.0, 0.0741), abs=1e-4)
    assert wilson_interval(np.ones(3))[1] == 1.0


def test_numbers_without_a_unit_or_a_value() -> None:
    assert (shown(None, -0.12345), shown(None, None), shown(None, float("nan"))) == ("−0.1235", "n/a", "n/a")


def test_rules_are_parsed_for_the_old_file_only_when_it_is_there(new: Path) -> None:
    files = Files(read_scores(new), None, "restored")
    with pytest.raises(ScoresError, match="only one was given"):
        parse_rule("old.degraded.osr > 0.1", files)


@pytest.mark.parametrize(
    "rule", ["high(worse) > 0.05", "high(1*worse) > 0.05", "low(0.05 - worse) < 0", "high(2*worse/2 + 0.1) > 0.15"]
)
def test_a_share_is_as_sure_however_it_is_written(rule: str, new: Path) -> None:
    assert gate(rule, new) == 1, "none of eight does not prove it"


def test_a_share_of_two_voices_has_no_interval(new: Path) -> None:
    """Many items of a speaker or two say nothing of the next one: no rule passes by their number."""
    content = json.loads(new.read_text())
    stems = [f"talk{n}" for n in range(80)]
    for system in content["systems"].values():
        system["items"] = {stem: {"osr": 0.3} for stem in stems}
    content["facts"] = {stem: {"speaker": f"s{n % 2}"} for n, stem in enumerate(stems)}
    write(new, content)
    assert gate("worse > 0.1", new) == 0 and gate("high(worse) > 0.9", new) == 1 == gate("high(osr) > 0.9", new)


def test_a_share_of_few_voices_is_less_sure(new: Path) -> None:
    """One of four voices is always worse: by items alone the share would be known better than it is."""
    content = json.loads(new.read_text())
    stems = [f"talk{n}" for n in range(40)]
    for name, system in content["systems"].items():
        system["items"] = {stem: {"osr": 0.3 + (name == "restored" and n % 4 == 0)} for n, stem in enumerate(stems)}
    content["facts"] = {stem: {"speaker": f"s{n % 4}"} for n, stem in enumerate(stems)}
    files = Files(read_scores(write(new, content)), None, "restored")
    margin = judge(parse_rule("worse > 0.5", files), files).sides[0].margin
    assert margin is not None and margin.mean == pytest.approx(-0.25) and not margin.clear
    assert wilson_interval(np.repeat([1.0, 0.0], [10, 30]))[1] < 0.5


def test_a_rate_that_is_not_in_the_default_set_has_its_unit(new: Path) -> None:
    changed(new, lambda s: [values.update(wer=0.4) for system in s.values() for values in system["items"].values()])
    assert gate("wer > 5", new) == 2
    assert gate("wer > 0.5", new) == 0


def test_two_speakers_have_a_difference_without_an_interval(new: Path, tmp_path: Path, capsys: Capture) -> None:
    content = json.loads(new.read_text())
    content["facts"] = {f"talk{n}": {"speaker": f"s{n % 2}"} for n in range(8)}
    assert main(["compare", str(write(new, content)), "--json", str(tmp_path / "c.json")]) == 0
    (row,) = [line for line in words(capsys).splitlines() if "PESQ" in line]
    assert "+0.29 (no interval)" in row and row.rstrip("│ ").endswith("8")
    told = json.loads((tmp_path / "c.json").read_text())["metrics"]["pesq"]["difference"]
    assert told == {"mean": pytest.approx(0.2875), "low": None, "high": None, "items": 8}
