"""Tables and reports over many items: noisy, degraded, restored, and any other systems next to them."""

from timbre_restore.evaluation.breakdown import Group, breakdowns
from timbre_restore.evaluation.cache import Cache
from timbre_restore.evaluation.curve import advantage, mean_curve
from timbre_restore.evaluation.evaluate import Progress, evaluate
from timbre_restore.evaluation.items import Item, items_from_list, items_from_pairs, items_from_recordings, load_item
from timbre_restore.evaluation.page import files_beside, write_page
from timbre_restore.evaluation.report import as_json, write_report
from timbre_restore.evaluation.results import Clip, Evaluation, Failure, ItemResult, Point, SystemResult
from timbre_restore.evaluation.statistics import interval
from timbre_restore.evaluation.summary import Difference, Worse, difference, mean, missing, worse
from timbre_restore.evaluation.systems import DFN3, Folder, Limited, Restoring, Source, Suppressing, System
from timbre_restore.evaluation.table import summary_table

__all__ = [
    "DFN3",
    "Cache",
    "Clip",
    "Difference",
    "Evaluation",
    "Failure",
    "Folder",
    "Group",
    "Item",
    "ItemResult",
    "Limited",
    "Point",
    "Progress",
    "Restoring",
    "Source",
    "Suppressing",
    "System",
    "SystemResult",
    "Worse",
    "advantage",
    "as_json",
    "breakdowns",
    "difference",
    "evaluate",
    "files_beside",
    "interval",
    "items_from_list",
    "items_from_pairs",
    "items_from_recordings",
    "load_item",
    "mean",
    "mean_curve",
    "missing",
    "summary_table",
    "worse",
    "write_page",
    "write_report",
]
