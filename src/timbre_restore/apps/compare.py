"""The `compare` command: a quality gate over the scores that `evaluate --json` wrote.

Exit status: 0 when every rule holds (or none was given), 1 when one fails, 2 for a command line, a rule or a file that
can't be used. So a mistake never lets a build through that checks only the status.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timbre_restore.apps.console import STDOUT, give_json, note, show
from timbre_restore.apps.options import ConfigFile, Overrides, check_targets, configure
from timbre_restore.errors import ScoresError

if TYPE_CHECKING:
    from timbre_restore.evaluation.gate import Files, Rule


def compare(
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="Scores to judge, from 'evaluate --json'.")],
    old: Annotated[
        Path | None, typer.Argument(metavar="OLD.json", help="Earlier scores; rules name them 'old'.")
    ] = None,
    system: Annotated[str, typer.Option(metavar="NAME", help="The system to judge.")] = "restored",
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Without rules: the system to compare with, in OLD.json or else NEW.json."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Fail if this holds, e.g. 'osr > 0.5*degraded.osr'; repeatable."),
    ] = None,
    rules: Annotated[Path | None, typer.Option(metavar="FILE", help="Named rules, as YAML.")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JSON; '-' is stdout.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Check scores against rules, or compare them with other scores."""
    configure(config, overrides)
    check_targets({"--json": json})
    from timbre_restore.evaluation.gate import Files, read_scores

    files = Files(read_scores(new), None if old is None else read_scores(old), system)
    _check_systems(files)
    if fail_if or rules is not None:
        if against is not None:
            raise ScoresError("--against: only applies to a comparison without rules; name the system in the rule.")
        return _gate(files, _parsed(files, fail_if or [], rules), json)
    return _side_by_side(files, against, json)


def _check_systems(files: Files) -> None:
    from timbre_restore.evaluation.gate import nearest

    for scores in (files.new,) if files.old is None else (files.new, files.old):
        if files.judged not in scores.systems:
            raise ScoresError(
                f"--system: '{files.judged}' is not a system of {scores.place}; {nearest(files.judged, scores.systems)}"
            )


def _parsed(files: Files, given: list[str], path: Path | None) -> list[Rule]:
    """All rules. Raises `ScoresError` with every problem found in any of them."""
    from timbre_restore.evaluation.gate import parse_rule, read_rules

    named = [("", text) for text in given] + ([] if path is None else list(read_rules(path).items()))
    found, problems = [], []
    for name, text in named:
        try:
            found.append(parse_rule(text, files, name))
        except ScoresError as exc:
            problems.append(str(exc))
    if problems:
        raise ScoresError("\n".join(problems))
    return found


def _gate(files: Files, rules: list[Rule], json: Path | None) -> int:
    from timbre_restore.evaluation.gate import judge, verdict_table, verdicts_as_json

    verdicts = [judge(rule, files) for rule in rules]
    show(verdict_table(verdicts, files), aside=json == STDOUT)
    if json is not None:
        give_json(verdicts_as_json(verdicts, files), json)
    failed = sum(not verdict.holds for verdict in verdicts)
    if failed:
        note(f"error: {failed} of {len(verdicts)} rules failed; the table says which, and by how much.")
    return 1 if failed else 0


def _side_by_side(files: Files, against: str | None, json: Path | None) -> int:
    from timbre_restore.evaluation.gate import change_table, changes_as_json, nearest
    from timbre_restore.evaluation.gate import compare as compared

    before = files.old or files.new
    other = against or (files.judged if files.old else "degraded")
    if other not in before.systems:
        raise ScoresError(f"--against: '{other}' is not a system of {before.place}; {nearest(other, before.systems)}")
    if before is files.new and other == files.judged:
        raise ScoresError(f"--against: '{other}' is the judged system itself; name another one, or a second file.")
    changes = compared(files.new, files.judged, before, other)
    if not changes:
        raise ScoresError(f"'{files.judged}' and '{other}' have no metric in common; there is nothing to compare.")
    names: dict[str, Any] = {"system": files.judged, "against": other, "new": files.new.place, "old": before.place}
    show(change_table(changes, **names), aside=json == STDOUT)
    if json is not None:
        give_json(changes_as_json(changes, **names), json)
    return 0
