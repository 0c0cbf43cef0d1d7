"""Tables and reports over many items: noisy, degraded, restored, and other systems beside them."""

from timbre_restore.evaluation.evaluate import Progress, Restore, Suppress, System, evaluate
from timbre_restore.evaluation.gate import Change, Verdict, compare, judge
from timbre_restore.evaluation.items import Item, items_from_list, items_from_pairs, load_item
from timbre_restore.evaluation.margins import Margin, bootstrap_interval
from timbre_restore.evaluation.named_rules import read_rules
from timbre_restore.evaluation.page import write_page
from timbre_restore.evaluation.published import Recording, recordings_in
from timbre_restore.evaluation.report import as_json, write_report
from timbre_restore.evaluation.results import Clip, Evaluation, Failure, ItemResult, SystemResult
from timbre_restore.evaluation.rule_parser import nearest, parse_rule
from timbre_restore.evaluation.rules import Files, Rule
from timbre_restore.evaluation.scores import Scores, read_scores
from timbre_restore.evaluation.summary import Difference, Worse, difference, mean, missing, worse
from timbre_restore.evaluation.table import summary_table
from timbre_restore.evaluation.verdicts import change_table, changes_as_json, verdict_table, verdicts_as_json

__all__ = [
    "Change",
    "Clip",
    "Difference",
    "Evaluation",
    "Failure",
    "Files",
    "Item",
    "ItemResult",
    "Margin",
    "Progress",
    "Recording",
    "Restore",
    "Rule",
    "Scores",
    "Suppress",
    "System",
    "SystemResult",
    "Verdict",
    "Worse",
    "as_json",
    "bootstrap_interval",
    "change_table",
    "changes_as_json",
    "compare",
    "difference",
    "evaluate",
    "items_from_list",
    "items_from_pairs",
    "judge",
    "load_item",
    "mean",
    "missing",
    "nearest",
    "parse_rule",
    "read_rules",
    "read_scores",
    "recordings_in",
    "summary_table",
    "verdict_table",
    "verdicts_as_json",
    "worse",
    "write_page",
    "write_report",
]
