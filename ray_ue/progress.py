"""Progress: a live line in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Clock = Callable[[], float]
EVERY = 10.0  # seconds between lines in a log
LIVE = 0.2  # seconds between redraws in a terminal


LISTENERS: list[Callable[[str], None]] = []  # are told each line as well


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Tell `listener` every line of progress of this process while the block runs."""
    LISTENERS.append(listener)
    try:
        yield
    finally:
        LISTENERS.remove(listener)


def harmless(text: str) -> str:
    """The text without what steers a terminal, which names of files may hold."""
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in text)


def say(text: str) -> None:
    """One line on standard error, so that standard output stays for results."""
    safe = harmless(text)
    print(safe, file=sys.stderr, flush=True)
    for listener in LISTENERS:
        listener(safe)


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_bytes(count: float) -> str:
    """Bytes as GiB, or as MiB where that would be a zero."""
    return f"{count / 2**30:.1f} GiB" if count >= 0.1 * 2**30 else f"{count / 2**20:.1f} MiB"


def counted(number: int, what: str) -> str:
    """A number of things, `what` being one of them: 1 image, 2 images."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@dataclass(kw_only=True)
class Progress:
    """Counts `done` of `total` units of one stage and shows rate, share, time left and rejected rows."""

    stage: str
    total: int
    unit: str = "rows"
    note: str = ""
    clock: Clock = time.monotonic
    done: int = 0
    rejected: int = 0
    skipped: int = 0
    _began: float = field(init=False)
    _shown: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._shown = self._began - EVERY + 2 if not sys.stderr.isatty() else self._began - LIVE

    def skip(self, done: int, *, rejected: int = 0) -> None:
        """Count what an earlier run has finished; it does not enter the rate."""
        self.done += done
        self.skipped += done
        self.rejected += rejected

    def add(self, done: int, *, rejected: int = 0, note: str = "") -> None:
        self.done += done
        self.rejected += rejected
        self.note = note or self.note
        for listener in LISTENERS:
            listener(self.line())
        live = sys.stderr.isatty()
        if self.clock() - self._shown >= (LIVE if live else EVERY):
            self._shown = self.clock()
            print(f"\r\x1b[2K{self.line()}" if live else self.line(), end="" if live else "\n", file=sys.stderr, flush=True)

    def rate(self) -> float:
        return (self.done - self.skipped) / max(self.clock() - self._began, 1e-6)

    def line(self) -> str:
        rate, left = self.rate(), max(self.total - self.done, 0)
        parts = [f"{self.stage:>9}  {self.done:,}/{self.total:,} {self.unit}  {100 * self.done / max(self.total, 1):.0f} %"]
        if rate > 0:
            parts.append(f"{rate:,.1f}/s  ETA {duration(left / rate)}")
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        return "  ".join(part for part in (*parts, self.note) if part)

    def close(self) -> None:
        """Leave one last line with the whole stage's rate."""
        took = self.clock() - self._began
        parts = [f"{self.stage:>9}  {self.done:,} {self.unit} in {duration(took)}"]
        if self.done > self.skipped:
            parts.append(f"{self.rate():,.1f}/s")
        if self.skipped:
            parts.append(f"{self.skipped:,} were done before")
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        print(("\r\x1b[2K" if sys.stderr.isatty() else "") + "  ".join((*parts, self.note)).rstrip(), file=sys.stderr, flush=True)
