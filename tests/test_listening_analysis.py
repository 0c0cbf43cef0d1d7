"""What a test finds: known scores come back within their intervals, bad listeners are left out, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.listeners import (
    SYSTEMS,
    Rate,
    make_sources,
    pair_answers,
    send_all,
    serving,
    slider_answers,
)
from timbre_restore.apps.cli import main
from timbre_restore.errors import ListeningError
from timbre_restore.listening import ListeningRequest, analyse, load_test, make_test, read_answers
from timbre_restore.listening.analyse import _judged
from timbre_restore.listening.answers import append_line
from timbre_restore.listening.intervals import estimate, t_quantile
from timbre_restore.listening.plan import fingerprint, pages_of
from timbre_restore.listening.report import sentences

Capture = pytest.CaptureFixture[str]
ZEBRAFISH, QUOKKA, NARWHAL = SYSTEMS
TRUE_SLIDERS = {ZEBRAFISH: 52.0, QUOKKA: 40.0, NARWHAL: 64.0, "low anchor": 22.0}
# What one draw of listeners finds lies beyond its interval one time in twenty; the seeds below are of the other times.
TRUE_PAIRS = {ZEBRAFISH: 0.0, QUOKKA: -1.1, NARWHAL: 0.8, "reference": 2.6, "low anchor": 0.0}
HONEST = 12


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("sources"), 7, 0.6)


def new_test(folder: Path, sources: Path, kind: str = "mushra", count: int = 6, **settings: object) -> Path:
    systems = [(name, sources / name) for name in SYSTEMS]
    wanted = ListeningRequest(sources / "clean", systems, kind=kind, count=count, seconds=0.5, seed=8, **settings)  # type: ignore[arg-type]
    make_test(wanted, folder)
    return folder


def slider_listener(number: int) -> Rate:
    """Honest, with a bias for everything and one for each system."""
    own = np.random.default_rng([71, number])
    bias = {role: own.normal(0, 5) + shared for shared in [own.normal(0, 5)] for role in TRUE_SLIDERS}

    def rate(role: str, rng: np.random.Generator) -> float:
        if role == "hidden reference":
            return 100 - abs(rng.normal(0, 2.5))
        return TRUE_SLIDERS[role] + bias[role] + rng.normal(0, 7)

    return rate


def pair_listener(number: int) -> Rate:
    own = np.random.default_rng([72, number])
    bias = {role: 0.0 if role == ZEBRAFISH else own.normal(0, 0.3) for role in TRUE_PAIRS}
    return lambda role, rng: TRUE_PAIRS[role] + bias[role] + rng.normal(0, 0.3)


def inverted(rate: Rate, top: float) -> Rate:
    return lambda role, rng: top - rate(role, rng)


def run_listeners(folder: Path, kind: str) -> tuple[list[str], str, str]:
    """Twelve honest ones, a careless one and one with the scale upside down, by HTTP; their codes."""
    sliders = kind == "mushra"
    listener, answers = (slider_listener, slider_answers) if sliders else (pair_listener, pair_answers)
    careless: Rate = (lambda role, rng: rng.uniform(0, 100)) if sliders else (lambda role, rng: rng.uniform(-2, 2))
    rates = [listener(number) for number in range(HONEST)]
    rates[4:4] = [careless]
    rates[9:9] = [inverted(listener(99), 100.0 if sliders else 0.0)]
    codes = []
    with serving(folder) as server:
        for number, rate in enumerate(rates):
            plan = server.begin()
            send_all(server, answers(plan, folder, rate, np.random.default_rng([73, number])))
            codes.append(plan["code"])
    return [code for number, code in enumerate(codes) if number not in (4, 9)], codes[4], codes[9]


@pytest.fixture(scope="module")
def heard(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str, str]:
    folder = new_test(tmp_path_factory.mktemp("mushra") / "t", sources)
    return folder, *run_listeners(folder, "mushra")


def test_sliders_give_the_known_scores_back(heard: tuple[Path, list[str], str, str]) -> None:
    folder, honest, careless, upside_down = heard
    found = analyse(folder)
    assert set(found.used) == set(honest)
    assert {one.code for one in found.discarded} == {careless, upside_down}
    assert all(one.reason.startswith("rated the hidden reference below 90 in ") for one in found.discarded)
    for role, true in TRUE_SLIDERS.items():
        mean = found.means[role]
        assert mean.low < true < mean.high  # type: ignore[operator]
        assert mean.high - mean.low < 12  # type: ignore[operator]
    assert found.means["hidden reference"].mean > 95
    verdicts = {name: one.verdict for name, one in found.differences.items()}
    assert verdicts == {QUOKKA: "worse", NARWHAL: "better"}
    for name, one in found.differences.items():
        assert one.estimate.low < TRUE_SLIDERS[name] - TRUE_SLIDERS[ZEBRAFISH] < one.estimate.high  # type: ignore[operator]
    other = analyse(folder, baseline=NARWHAL).differences
    assert other[ZEBRAFISH].estimate.mean == pytest.approx(-found.differences[NARWHAL].estimate.mean)
    assert "hidden reference" not in analyse(folder, baseline="hidden reference").differences


def test_pairs_give_the_known_scores_back(sources: Path, tmp_path: Path) -> None:
    """The one with the scale upside down passes the null pairs; only pairs with a known answer find them."""
    folder = new_test(tmp_path / "t", sources, "ccr")
    honest, careless, upside_down = run_listeners(folder, "ccr")
    found = analyse(folder)
    assert set(found.used) == set(honest)
    reasons = {one.code: one.reason for one in found.discarded}
    assert set(reasons) == {careless, upside_down}
    assert re.fullmatch(r"rated \d of 6 null pairs beyond ±1", reasons[careless])
    assert reasons[upside_down] == "rated the narrow-band version better than the reference in 2 of 2 pairs"
    assert found.means == {}
    for name, verdict in ((QUOKKA, "worse"), (NARWHAL, "better")):
        one = found.differences[name]
        assert one.estimate.low < TRUE_PAIRS[name] < one.estimate.high  # type: ignore[operator]
        assert one.estimate.high - one.estimate.low < 0.8  # type: ignore[operator]
        assert one.verdict == verdict
    with pytest.raises(ListeningError, match="is not what listeners compared with; expected 'zebrafish'"):
        analyse(folder, baseline=NARWHAL)


def test_results_are_given_in_three_ways(
    heard: tuple[Path, list[str], str, str], tmp_path: Path, capsys: Capture
) -> None:
    folder, honest, careless, _ = heard
    page = tmp_path / "out" / "page.html"
    assert main(["listen", "analyse", str(folder), "--json", "-", "--html", str(page)]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["means"][NARWHAL]["listeners"] == len(honest)
    assert content["differences"][NARWHAL]["verdict"] == "better"
    assert (content["fewest_listeners"], content["incomplete_used"]) == (8, False)
    text = page.read_text(encoding="utf-8")
    for said in (printed.err, text):
        flat = " ".join(said.split())
        assert "12 listeners used, 6 items." in flat
        assert f"Left out: {careless} rated the hidden reference below 90 in" in flat
        assert "BS.1534-3, 4.1.2" in flat
        assert f"{content['means'][QUOKKA]['mean']:.1f}" in flat
    assert "default-src 'none'; img-src data:; media-src data:" in text
    assert "<script" not in text
    assert text.count("<circle") == 7
    assert main(["listen", "analyse", str(folder), "--json", str(tmp_path / "r.json")]) == 0
    assert json.loads((tmp_path / "r.json").read_text()) == content
    assert main(["listen", "analyse", str(folder), "--baseline", "emu"]) == 1
    assert "the baseline 'emu' was not rated in this test; expected one of" in capsys.readouterr().err


def sit(
    folder: Path, rates: Iterable[Rate], *, pages: int | None = None, answers: Callable[..., Any] = slider_answers
) -> list[Path]:
    """Answers as files, without a server."""
    from timbre_restore.listening.sessions import Sessions

    paths = []
    for number, rate in enumerate(rates):
        sessions = Sessions(folder, load_test(folder))
        plan = sessions.begin(None)
        for answer in list(answers(plan, folder, rate, np.random.default_rng([5, number])))[:pages]:
            sessions.answer(plan["code"], answer)
        paths.append(folder / "answers" / f"{plan['code']}.jsonl")
    return paths


def test_few_listeners_claim_nothing(sources: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = new_test(tmp_path / "t", sources)
    assert analyse(folder).means == {}
    assert main(["listen", "analyse", str(folder), "--html", str(tmp_path / "none.html")]) == 0
    assert "0 listeners used" in capsys.readouterr().out
    sit(folder, [slider_listener(0)])
    one = analyse(folder)
    assert (one.means[QUOKKA].low, one.differences[QUOKKA].verdict) == (None, "too few listeners")
    sit(folder, [slider_listener(number) for number in range(1, 7)])
    seven = analyse(folder).differences[QUOKKA]
    assert (seven.estimate.listeners, seven.verdict) == (7, "too few listeners")
    assert seven.estimate.high < 0  # type: ignore[operator]
    assert main(["listen", "analyse", str(folder)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "No verdict is given with fewer than 8 listeners" in said
    sit(folder, [slider_listener(7)])
    assert analyse(folder).differences[QUOKKA].verdict == "worse"


def test_sittings_that_were_not_ended_are_named_and_used_on_demand(sources: Path, tmp_path: Path) -> None:
    folder = new_test(tmp_path / "t", sources)
    whole = sit(folder, [slider_listener(0)])
    half, trained = sit(folder, [slider_listener(1)], pages=4), sit(folder, [slider_listener(2)], pages=1)
    found = analyse(folder)
    assert found.used == (whole[0].stem,)
    assert found.incomplete == {half[0].stem: (4, 7), trained[0].stem: (1, 7)}
    found = analyse(folder, use_incomplete=True)
    assert found.used == (whole[0].stem, half[0].stem)
    said = sentences(found)
    assert f"Unfinished: {half[0].stem} (4 of 7 pages); their answered pages are used." in said
    assert f"Unfinished: {trained[0].stem} (1 of 7 pages); they are not used." in said


def test_who_met_no_trap_is_not_believed(sources: Path, tmp_path: Path) -> None:
    """A pair or two before somebody goes says nothing of whether they heard anything."""
    folder = new_test(tmp_path / "t", sources, "ccr")
    (path,) = sit(folder, [pair_listener(0)], answers=pair_answers)
    lines = path.read_bytes().splitlines(keepends=True)
    pages = pages_of(load_test(folder), json.loads(lines[0])["listener"])
    asked = {json.loads(line)["page"]: line for line in lines[1:] if "ratings" in json.loads(line)}
    for kept in (("test",), ("test", "null"), ("test", "gold"), ("test", "null", "gold")):
        fault = len(kept) < 3
        chosen = [asked[n] for n, page in enumerate(pages) if page.trial.purpose in kept]
        path.write_bytes(b"".join([lines[0], *chosen]))
        found = analyse(folder, use_incomplete=True)
        reason = "answered no null pair, or no pair with a known answer"
        assert [one.reason for one in found.discarded] == [reason] * fault
        assert bool(found.used) != fault


def test_damaged_lines_are_passed_over_named_and_counted(sources: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = new_test(tmp_path / "t", sources)
    paths = sit(folder, [slider_listener(number) for number in range(3)])
    before = analyse(folder)
    lines = paths[0].read_bytes().splitlines(keepends=True)
    paths[0].write_bytes(
        b"".join([*lines, b"\0\0\0\n", lines[1].replace(b'"page": 0', b'"page": 99'), b'{"page": 1, "ra'])
    )
    (folder / "answers/OTHERS.jsonl").write_text('{"code": "OTHERS", "listener": 1, "test": "0"}\n')
    (folder / "answers/EMPTYY.jsonl").write_text("")
    found = analyse(folder)
    assert found.means == before.means
    places = [line.split("/answers/")[1].split(": ")[:2] for line in found.damaged]
    torn = [[paths[0].name, f"line {number}"] for number in (9, 10, 11)]
    assert sorted(places) == sorted([["EMPTYY.jsonl", "line 1"], ["OTHERS.jsonl", "line 1"], *torn])
    assert any("the answers belong to a different test than this folder's" in line for line in found.damaged)
    assert main(["listen", "analyse", str(folder)]) == 0
    assert "5 damaged lines skipped:" in capsys.readouterr().out


def test_the_last_answer_to_a_page_counts(sources: Path, tmp_path: Path) -> None:
    folder = new_test(tmp_path / "t", sources)
    path = sit(folder, [slider_listener(0)])[0]
    first = json.loads(path.read_bytes().splitlines()[1])
    append_line(path, {**first, "ratings": dict.fromkeys(first["ratings"], 7)})
    sitting = read_answers(folder, load_test(folder)).sittings[0]
    assert set(sitting.answers[0].ratings.values()) == {7}
    assert json.loads(path.read_bytes().splitlines()[0])["test"] == fingerprint(load_test(folder))


@pytest.mark.parametrize(
    ("role", "rating", "reason"),
    [
        ("hidden reference", 89, "rated the hidden reference below 90 in 1 of 6 items"),
        ("mid anchor", 91, "rated the mid anchor above 90 in 1 of 6 items"),
        ("low anchor", 91, None),
        ("hidden reference", 90, None),
        ("mid anchor", 90, None),
    ],
)
def test_the_rules_limits(role: str, rating: int, reason: str | None, sources: Path, tmp_path: Path) -> None:
    """One of six items is more than 15 %; where there is a mid anchor, it is the one that the rule looks at."""
    folder = new_test(tmp_path / "t", sources, mid_anchor=True)
    met: list[str] = []

    def rate(own: str, rng: np.random.Generator) -> float:
        if own == role:
            met.append(own)
        # The training page comes first and does not count.
        return rating if own == role and len(met) <= 2 else 100 if own == "hidden reference" else 50

    sit(folder, [rate])
    discarded = analyse(folder).discarded
    assert [one.reason for one in discarded] == ([reason] if reason else [])


def test_verdicts_hold_for_all_systems_together() -> None:
    """What one system alone may claim, two at once may not."""
    spread = np.arange(9.0) - 4.0
    values = list(spread + 2.5 * spread.std(ddof=1) / 3.0)  # t = 2.5, between the limits of 95 and 97.5 %
    assert {one.verdict for one in _judged({"a": values}).values()} == {"better"}
    assert {one.verdict for one in _judged({"a": values, "b": values}).values()} == {"no difference shown"}
    assert {one.verdict for one in _judged({"a": values[1:8]}).values()} == {"too few listeners"}


def test_intervals_hold_what_they_promise() -> None:
    """Of normal values, 95 of 100 intervals hold the true mean, with few listeners too."""
    for freedom, known in ((1, 12.7062), (2, 4.3027), (5, 2.5706), (11, 2.2010), (30, 2.0423), (100, 1.9840)):
        assert t_quantile(0.95, freedom) == pytest.approx(known, abs=1e-4)
    assert t_quantile(0.99, 9) == pytest.approx(3.2498, abs=1e-4)
    four = estimate([1.0, 2.0, 3.0, 6.0])  # s² = 14 / 3
    assert (four.mean, four.high) == (3.0, pytest.approx(3.0 + 3.182446 * (14 / 3 / 4) ** 0.5))
    for count in (3, 6, 13):
        draws = np.random.default_rng(count).normal(4.0, 2.0, (600, count))
        assert 0.93 < np.mean([holds(row, 4.0) for row in draws]) < 0.97


def holds(values: Sequence[float], true: float) -> bool:
    found = estimate(list(values))
    assert found.low is not None
    assert found.high is not None
    return found.low < true < found.high
