"""Tables and reports over many items: noisy, degraded, restored, and other systems beside them."""

from timbre_restore.evaluation.evaluate import Progress, Restore, Suppress, System, evaluate
from timbre_restore.evaluation.items import Item, items_from_list, items_from_pairs, load_item
from timbre_restore.evaluation.page import write_page
from timbre_restore.evaluation.report import as_json, write_report
from timbre_restore.evaluation.results import Clip, Evaluation, Failure, ItemResult, SystemResult
from timbre_restore.evaluation.summary import Difference, Worse, difference, mean, missing, worse
from timbre_restore.evaluation.table import summary_table

__all__ = [
    "Clip",
    "Difference",
    "Evaluation",
    "Failure",
    "Item",
    "ItemResult",
    "Progress",
    "Restore",
    "Suppress",
    "System",
    "SystemResult",
    "Worse",
    "as_json",
    "difference",
    "evaluate",
    "items_from_list",
    "items_from_pairs",
    "load_item",
    "mean",
    "missing",
    "summary_table",
    "worse",
    "write_page",
    "write_report",
]
