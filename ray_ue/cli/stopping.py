"""How a command ends when it is told to: one exception for many signals, and an exit that no thread of Ray can turn into a crash."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

PATIENCE = 10.0  # seconds in which further signals change nothing: the first is being answered
LOST = 2.0  # seconds after which a main thread that handles no `KeyboardInterrupt` has not heard of the first
SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as after Ctrl+C, with another exit code."""


@dataclass
class Stop:
    """Raises `KeyboardInterrupt` for Ctrl+C and `Terminated` for SIGTERM, once in `PATIENCE` seconds: people press Ctrl+C twice, and
    service managers repeat SIGTERM, which must not interrupt the end that the first one began."""

    clock: Callable[[], float] = time.monotonic
    raised: KeyboardInterrupt | None = field(default=None, init=False)
    _quiet_until: float = field(default=0.0, init=False)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if (now := self.clock()) < self._quiet_until:
            return
        self._quiet_until = now + PATIENCE
        self.raised = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if signal.getsignal(signal.SIGALRM) == self.remind:
            signal.setitimer(signal.ITIMER_REAL, LOST, LOST)
        raise self.raised

    def remind(self, number: int, frame: FrameType | None) -> None:
        """Raise once more what a callback of compiled code, or an import, has swallowed: the main thread goes on as if nothing had been
        asked, and may wait for ever. Nothing is raised while it is being handled."""
        if self.raised is not None and not interruption(sys.exc_info()[1]):
            raise self.raised


STOP = Stop()  # of this process


def watch_for_signals() -> None:
    """From now on Ctrl+C and SIGTERM raise in the main thread; if that comes to nothing, a timer does so again."""
    STOP.raised = None
    signal.signal(signal.SIGALRM, STOP.remind)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup, or in the background of a script
            signal.signal(number, STOP)


def interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """The `KeyboardInterrupt` that `error` is, or that it came from."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def stop_behind(error: Exception) -> KeyboardInterrupt | None:
    """What stopped the command, where `error` is what became of it: compiled code of Ray turns it into a `SystemError`."""
    return interruption(error) or STOP.raised


def answer(stop: KeyboardInterrupt) -> int:
    """Say that the command was stopped; returns its exit code."""
    sys.stderr.write("\nray-ue: stopped; the same command continues\n")
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def leave(code: int) -> None:
    """Exit with `code`, which no signal changes any more: all is done. Once stopped without the interpreter's own end, where threads of Ray
    that were stopped may crash."""
    stopped = code in (INTERRUPTED, TERMINATED)
    for number in (*SIGNALS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # none where the caller has closed them
        stream.flush()
    if stopped:
        os._exit(code)
    sys.exit(code)
