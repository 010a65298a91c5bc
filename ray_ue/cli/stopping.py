"""How a command ends when it is told to: SIGTERM as an exception, and an exit that no thread of Ray can turn into a crash."""

import os
import signal
import sys
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as after Ctrl+C, with another exit code."""


def watch_for_termination() -> None:
    """From now on SIGTERM raises `Terminated` in the main thread."""
    signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated


def leave(code: int, *, at_once: tuple[int, ...]) -> None:
    """Exit with `code`; for those of `at_once` without the interpreter's own end, where threads of Ray that were stopped may crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code in at_once:
        os._exit(code)
    sys.exit(code)
