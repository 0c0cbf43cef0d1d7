"""Shared intermediate results are computed once, and a package's failure costs only one value.

The four DNSMOS values, PESQ and the composites built on it, everything derived from one spectrum: each is a metric of
its own, and each needs the same intermediate result. `once_per_pair` keeps that result while one pair is scored and
drops it afterwards, so results never go stale or pile up. Outside of `sharing` it keeps nothing.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_kept: ContextVar[dict[Any, Any] | None] = ContextVar("results of the pair being scored", default=None)


class NotComputableError(Exception):
    """This pair has no value of this metric; the message is the reason that a report shows."""


class PassingError(NotComputableError):
    """There is no value this time (a package failed, a process was killed), but there may be one next time."""


@contextmanager
def sharing() -> Iterator[None]:
    """While active, `once_per_pair` functions remember their results. The signals must not change meanwhile.

    A nested call joins the outer one, so that several outputs share results on their reference.
    """
    if _kept.get() is not None:
        yield
        return
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def once_per_pair(compute: Callable[..., _Result]) -> Callable[..., _Result]:
    """Call `compute` once per set of signals while `sharing` is active; failures are remembered like results."""

    @functools.wraps(compute)
    def shared(*signals: Any) -> _Result:
        kept = _kept.get()
        if kept is None:
            return compute(*signals)
        key = (compute, *map(id, signals))
        if key not in kept:
            try:
                result: Any = compute(*signals)
            except NotComputableError as exc:
                result = exc
            kept[key] = (result, signals)  # keeps the signals alive, so that their ids can't be reused
        found = kept[key][0]
        if isinstance(found, NotComputableError):
            raise type(found)(str(found)) from found
        return found  # type: ignore[no-any-return]

    return shared


@contextmanager
def failures_of(package: str) -> Iterator[None]:
    """Turn whatever a package raises into a reason for n/a: an evaluation of hours must not end because of one file."""
    try:
        yield
    except NotComputableError:
        raise
    except Exception as exc:
        said = str(exc).strip().splitlines()
        raise PassingError(f"{package}: {type(exc).__name__}{': ' + said[0] if said else ''}") from exc


def require_package(module: str, command: str) -> None:
    """Raise `NotComputableError` with the install command if `module` is absent. Imports nothing."""
    if importlib.util.find_spec(module) is None:
        raise NotComputableError(command)
