"""Judge systems on items: noisy and the suppressor first, then the systems compared with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from timbre_restore.errors import CorpusError
from timbre_restore.evaluation.cache import Cache
from timbre_restore.evaluation.crew import judge_all
from timbre_restore.evaluation.items import Item
from timbre_restore.evaluation.results import CLEAN, DEGRADED, NOISY, Evaluation, ItemResult
from timbre_restore.evaluation.scoring import Desk
from timbre_restore.evaluation.systems import Limited, Source, System, is_limit
from timbre_restore.metrics import DEFAULT_SET, Metric

Progress = Callable[[int, int, str], None]
"""Called with (items done, items in all, stem of the item just done)."""


def evaluate(
    items: Sequence[Item],
    source: Source | None,
    systems: Sequence[System],
    *,
    metrics: Sequence[Metric] = DEFAULT_SET,
    jobs: int = 1,
    cache: Cache | None = None,
    with_clips: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score noisy, degraded and the systems against clean on every item, in `jobs` processes.

    Items without a clean file get only the metrics that need none. An item that names a degraded file uses it;
    otherwise `source` makes it. What `cache` holds is not judged again. Raises `CorpusError` if there is nothing to do
    or an item has neither a degraded file nor a source, and `AudioFileError` for a file that can't be read.
    """
    _check(items, source, systems)
    if all(item.clean is None for item in items):
        metrics = [metric for metric in metrics if not metric.needs_reference]
        if not metrics:
            raise CorpusError(
                "none of the requested metrics works without clean files; ask for one that does, such as dnsmos_ovrl."
            )
    desk = Desk(source, tuple(systems), tuple(metrics), cache, with_clips)
    results: dict[int, ItemResult] = {}
    for number, result in judge_all(desk, items, jobs):
        results[number] = result
        if progress:
            progress(len(results), len(items), result.stem)
    names = (NOISY, DEGRADED, *(system.name for system in systems))
    return Evaluation(tuple(metrics), names, tuple(results[number] for number in range(len(items))))


def _check(items: Sequence[Item], source: Source | None, systems: Sequence[System]) -> None:
    if not items:
        raise CorpusError("there are no items to evaluate; give a folder with noisy/ and clean/, or a list.")
    without = [item.stem for item in items if item.degraded is None]
    if without and source is None:
        raise CorpusError(f"{without[0]}: has no degraded file, and there is no suppressor to make one.")
    twice = [stem for stem, count in Counter(item.stem for item in items).items() if count > 1]
    if twice:
        raise CorpusError(f"{', '.join(twice[:5])}: more than one item has this name; scores are kept by name.")
    names = Counter([NOISY, DEGRADED, CLEAN, *(system.name for system in systems)])
    if taken := sorted(name for name, count in names.items() if count > 1):
        raise CorpusError(f"{', '.join(taken)}: two systems can't share a name; give each its own.")
    if named := sorted(s.name for s in systems if is_limit(s.name) and not isinstance(s, Limited)):
        raise CorpusError(f"{', '.join(named)}: is reserved for the suppressor with a limit; choose another name.")
