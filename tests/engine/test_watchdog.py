"""Patience: results come as they are, errors too; silence is given up only when there is a reason, and never sooner than it was normal."""

import threading
import time
from collections.abc import Iterator

import pytest

from ray_ue.engine.watchdog import Stalled, watch

LOOK = 0.02


def calm() -> str:
    return ""


def broken() -> str:
    return "a node was lost"


def slow(*waits: float) -> Iterator[int]:
    for number, wait in enumerate(waits):
        time.sleep(wait)
        yield number


def test_results_come_in_order_and_end() -> None:
    assert list(watch(iter(range(50)), trouble=calm, seconds=0, look=LOOK)) == list(range(50))
    assert list(watch(iter(()), trouble=broken, seconds=0, look=LOOK)) == []


def test_an_error_is_raised_where_the_results_are_wanted() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("what went wrong")

    results = watch(failing(), trouble=calm, seconds=0, look=LOOK)
    assert next(results) == 1
    with pytest.raises(KeyError, match="what went wrong"):
        next(results)


def test_silence_without_a_reason_is_waited_out() -> None:
    assert list(watch(slow(0.3), trouble=calm, seconds=0, look=LOOK)) == [0]


def test_silence_with_a_reason_is_given_up() -> None:
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(Stalled, match="a node was lost"):
        list(watch(iter(never.wait, None), trouble=broken, seconds=0.2, look=LOOK))
    assert 0.2 < time.monotonic() - began < 5
    never.set()


def test_what_was_slow_all_along_is_given_more_time() -> None:
    soon = time.monotonic() + 0.5  # the first result is there by then
    assert list(watch(slow(0.3, 0.8), trouble=lambda: "lost" if time.monotonic() > soon else "", seconds=0.1, look=LOOK)) == [0, 1]


def test_a_reason_that_goes_away_is_forgotten() -> None:
    began = time.monotonic()
    assert list(watch(slow(1.0), trouble=lambda: "lost" if time.monotonic() - began < 0.2 else "", seconds=0.5, look=LOOK)) == [0]


def test_the_thread_ends_when_nobody_wants_more() -> None:
    results = watch(iter(range(10**6)), trouble=calm, seconds=0, look=LOOK)
    assert next(results) == 0
    before = sum(thread.name == "results" for thread in threading.enumerate())
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while sum(thread.name == "results" for thread in threading.enumerate()) >= before:
        assert time.monotonic() < deadline
        time.sleep(LOOK)
