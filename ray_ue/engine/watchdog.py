"""Waits for results that may never come: a thread pulls them while the caller checks for trouble. It imports no Ray."""

import time
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

LOOK = 5.0  # seconds between looks around
SLOW = 5  # times the longest wait so far is no reason to give up


class Stalled(ValueError):
    """Nothing came any more, and there is a reason to believe that nothing will."""


def watch(results: Iterator[T], *, trouble: Callable[[], str], seconds: float, look: float = LOOK) -> Iterator[T]:
    """The results as they come. Raises `Stalled` with `trouble()` when it is not empty and nothing has come for `seconds` since it was
    first trouble_since, or for SLOW times the longest wait between results so far, if that is more. An error in `results` is raised here.

    Where this ends early the thread is left to end by itself: it may wait for ever.
    """
    waiting: Queue[tuple[str, T | BaseException | None]] = Queue(maxsize=1)
    over = Event()

    def offer(kind: str, value: T | BaseException | None) -> bool:
        while not over.is_set():
            try:
                waiting.put((kind, value), timeout=look)
            except Full:
                continue
            return True
        return False

    def pull() -> None:
        try:
            if all(offer("result", value) for value in results):
                offer("end", None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are wanted
            offer("error", error)

    Thread(target=pull, daemon=True, name="results").start()
    since, longest, trouble_since = time.monotonic(), 0.0, 0.0
    try:
        while True:
            try:
                kind, value = waiting.get(timeout=look)
            except Empty:
                now = time.monotonic()
                what = trouble()
                trouble_since = (trouble_since or now) if what else 0.0
                if what and now - max(since, trouble_since) > max(seconds, SLOW * longest):
                    raise Stalled(what) from None
                continue
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            longest = max(longest, time.monotonic() - since)
            yield value  # type: ignore[misc]
            since = time.monotonic()
    finally:
        over.set()
