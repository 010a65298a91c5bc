"""Runs a command and watches the memory of all its processes, by stage; knows /proc and the product's progress lines. Linux only."""

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
EVERY = 0.25  # seconds between samples, at least
SHARE = 10  # a sample walks the page tables of all processes: it may cost one core a tenth of its time
CLOSED = re.compile(r"^\s*(\w+)\s+[\d,]+ \w+ in \d")  # the line that ends a stage


@dataclass(kw_only=True)
class Watched:
    """What was seen of one command; memory in bytes, a shared page counted once."""

    peak: int = 0
    own: int = 0  # the largest that the command's own process was
    at_peak: dict[str, int] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)  # how many of each name there were at the peak
    by_stage: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)


def watch(command: Sequence[str], *, stages: Sequence[str]) -> Watched:
    """Run `command` to its end; a `ValueError` with its last lines if it fails. `stages` are those that it goes through, in order."""
    if not (PROC / "self" / "smaps_rollup").exists():
        raise ValueError("memory is measured through /proc/PID/smaps_rollup, which this system does not have; run it on Linux")
    seen, begun = Watched(), ["start", *stages]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    listener = threading.Thread(target=listen, args=(process, seen, begun), daemon=True)
    listener.start()
    family = {process.pid}
    while process.poll() is None:
        asked = time.monotonic()
        sample(family, seen, stage=begun[0])
        seen.own = max(seen.own, memory_of(process.pid))
        time.sleep(max(EVERY, SHARE * (time.monotonic() - asked)))
    listener.join()
    seen.seconds = time.monotonic() - began
    if process.returncode:
        raise ValueError(f"{' '.join(command[:4])} ... ended with code {process.returncode}: {' / '.join(seen.lines[-5:])}")
    return seen


def listen(process: subprocess.Popen[str], seen: Watched, begun: list[str]) -> None:
    """Keep and show the command's lines; one that closes a stage moves `begun` on to the next."""
    assert process.stderr is not None
    for line in process.stderr:
        seen.lines.append(line.rstrip())
        print(line, end="", file=sys.stderr, flush=True)
        if (closed := CLOSED.match(line)) and closed[1] in begun:
            place = begun.index(closed[1])
            del begun[: min(place + 1, len(begun) - 1)]
        elif begun[0] == "start" and line.strip():
            del begun[0]


def sample(family: set[int], seen: Watched, *, stage: str) -> None:
    """Add up the family's memory once; children are found through their parents and stay, should these end before them."""
    parents = {pid: parent for pid in pids() if (parent := parent_of(pid))}
    while young := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= young
    family &= parents.keys()
    by_name, processes = Counter[str](), Counter[str]()
    for pid in family:
        name = name_of(pid)
        by_name[name] += memory_of(pid)
        processes[name] += 1
    total = by_name.total()
    seen.samples += 1
    seen.by_stage[stage] = max(seen.by_stage.get(stage, 0), total)
    if total > seen.peak:
        seen.peak, seen.at_peak, seen.processes = total, dict(by_name.most_common()), dict(processes)


def pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def parent_of(pid: int) -> int:
    """The parent's id; 0 for a process that is gone."""
    stat = text_of(pid, "stat")
    return int(stat.rpartition(")")[2].split()[1]) if stat else 0


def memory_of(pid: int) -> int:
    """Proportional set size: private pages, and its share of those that others map too."""
    line = next((line for line in text_of(pid, "smaps_rollup").splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return 1024 * int(line.split()[1])


def name_of(pid: int) -> str:
    return text_of(pid, "comm").strip() or "ended"


def text_of(pid: int, file: str) -> str:
    """A file of a process, empty when the process is gone."""
    try:
        return (PROC / str(pid) / file).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
