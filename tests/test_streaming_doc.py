"""The page for those who write their own runtime says what the generators have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="states are asked of the networks themselves")

from timbre_restore.audio import HOP_SAMPLES  # noqa: E402
from timbre_restore.models.generator import CONDITIONINGS, SIZES, GeneratorSettings, make_generator  # noqa: E402

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "streaming.md").read_text(encoding="utf-8")
Shape = tuple[int, ...]


def rows_below(heading: str) -> list[list[str]]:
    """The cells of the table whose first line starts with `heading`, without its two head lines."""
    lines = PAGE[PAGE.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shape(cell: str) -> Shape:
    return tuple(int(number) for number in cell.split(" × "))


def states(name: str, size: str, conditioning: str = "degraded+noisy") -> dict[str, Shape]:
    generator = make_generator(GeneratorSettings(name, size, conditioning))
    return {f"state_{k}": tuple(v.shape) for k, v in generator.initial_state(torch.zeros(1, 1, 1)).items()}


@pytest.mark.parametrize("name", ["spectral", "unet"])
def test_states_are_those_of_the_generators(name: str) -> None:
    rows = rows_below(f"| `{name}`, input | {' | '.join(SIZES)} |")
    for column, size in enumerate(SIZES, start=1):
        assert {row[0].strip("`"): shape(row[column]) for row in rows} == states(name, size)
    assert all(row[-1] for row in rows)


def test_states_by_conditioning() -> None:
    rows = {row[0].strip("`"): row[1:] for row in rows_below("| conditioning | `state_enter`")}
    assert list(rows) == list(CONDITIONINGS)
    for conditioning, (enter, noisy) in rows.items():
        real = states("spectral", "tiny", conditioning)
        assert shape(enter) == real["state_enter"]
        assert (None if noisy == "none" else shape(noisy)) == real.get("state_noisy")


@pytest.mark.parametrize(
    ("name", "domain", "conditioning"),
    [("spectral", "spectrum", "degraded+noisy+hints"), ("unet", "waveform", "degraded+noisy")],
)
def test_inputs_are_those_of_the_generators(name: str, domain: str, conditioning: str) -> None:
    generator = make_generator(GeneratorSettings(name, "tiny", conditioning))
    for hops in (1, 3):
        said = {}
        for row in rows_below("| domain | name | shape |"):
            if row[0] == domain and not row[3].startswith("out"):
                formula = re.sub(
                    rf"\({HOP_SAMPLES}·N \+ (\d+)\)", lambda m, hops=hops: str(HOP_SAMPLES * hops + int(m[1])), row[2]
                )
                formula = formula.replace(f"{HOP_SAMPLES}·N", str(HOP_SAMPLES * hops)).replace("N", str(hops))
                said[row[1].strip("`")] = shape(formula)
        assert said == generator.inputs(hops)


def test_latency_is_that_of_the_generators() -> None:
    (row,) = [row for row in rows_below("| | adds to the suppressor's delay") if row[0] == "`Restorer`, `spectral`"]
    assert row[1].startswith(f"{make_generator(GeneratorSettings('spectral', 'tiny')).latency_samples} samples")
