"""Calls into libsndfile that call back into Python, made from a thread that no signal handler interrupts.

Python runs signal handlers in the main thread, between any two bytecodes. What a handler raises inside a cffi callback
is printed and dropped, and libsndfile takes the read or write that failed for the end of the file: an interrupted
recording would count as complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """Makes one call after another in a thread of its own, and waits for each.

    When a signal interrupts the wait, the call is completed before the interruption goes on.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return what `function` returns, or raise what it raises."""
        call: Future[T] | None = None
        try:
            call = self._thread.submit(function, *args, **options)
            return call.result()
        except BaseException:
            if call is not None:
                wait([call])
            raise

    @contextmanager
    def opened(self, make: Callable[[], T], close: Callable[[T], object]) -> Iterator[T]:
        """What `make` returns, closed in the same thread at the end of the block or when `make` is interrupted."""
        made: list[T] = []
        try:
            self(lambda: made.append(make()))
            yield made[0]
        finally:
            for one in made:
                self(close, one)

    def __enter__(self) -> Aside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
