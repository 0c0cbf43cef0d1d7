"""Values that come from one computation are computed once, and a package's failure costs one value.

Four numbers of DNSMOS, PESQ and the composites built on it, all that is read off one spectrum: each is a metric of
its own, and each asks for the same intermediate result. `once_per_pair` keeps that result while one pair is scored
and forgets it afterwards, so nothing stale can be met and nothing piles up. Outside of `sharing` it keeps nothing.
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
    """There is none now: a package fails, a process was killed. Next time there may be one."""


@contextmanager
def sharing() -> Iterator[None]:
    """While it lasts, `once_per_pair` functions remember their results. The signals must not change meanwhile.

    Within another one it is part of that: several outputs share what their reference comes to.
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
    """`compute`, called once per set of signals while `sharing` lasts; a failure is remembered like a result."""

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
            kept[key] = (result, signals)  # a signal that was dropped would pass its id on to another one
        found = kept[key][0]
        if isinstance(found, NotComputableError):
            raise type(found)(str(found)) from found
        return found  # type: ignore[no-any-return]

    return shared


@contextmanager
def failures_of(package: str) -> Iterator[None]:
    """Turn whatever a package raises into 'no value, because'. An evaluation of hours must not end on one file."""
    try:
        yield
    except NotComputableError:
        raise
    except Exception as exc:
        said = str(exc).strip().splitlines()
        raise PassingError(f"{package}: {type(exc).__name__}{': ' + said[0] if said else ''}") from exc


def require_package(module: str, command: str) -> None:
    """Raise `NotComputableError` with the command that installs it when `module` is absent. Imports nothing."""
    if importlib.util.find_spec(module) is None:
        raise NotComputableError(command)
