"""A gate for builds: rules over the scores that `evaluate --json` writes, and comparisons of two systems."""

from timbre_restore.evaluation.gate.judge import Change, Verdict, compare, judge
from timbre_restore.evaluation.gate.margins import Margin
from timbre_restore.evaluation.gate.named_rules import read_rules
from timbre_restore.evaluation.gate.rule_parser import nearest, parse_rule
from timbre_restore.evaluation.gate.rules import Files, Rule
from timbre_restore.evaluation.gate.scores import Scores, read_scores
from timbre_restore.evaluation.gate.verdicts import change_table, changes_as_json, verdict_table, verdicts_as_json

__all__ = [
    "Change",
    "Files",
    "Margin",
    "Rule",
    "Scores",
    "Verdict",
    "change_table",
    "changes_as_json",
    "compare",
    "judge",
    "nearest",
    "parse_rule",
    "read_rules",
    "read_scores",
    "verdict_table",
    "verdicts_as_json",
]
