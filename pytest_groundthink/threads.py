"""How the threads of a run wait for one another. Imports no torch: OpenMP reads it once, when torch is loaded."""

from __future__ import annotations

import os
import time
from pathlib import Path

VARIABLE = "GOMP_SPINCOUNT"
SPINNING, YIELDING = "100000", "2000"
"""Half a millisecond, and ten microseconds, before a thread that waits goes to sleep.

Alone on two cores, the minimal tier of a 3.5M model takes a fifth less time with the first; beside two busy processes a
training step takes three times as long with it. benchmarks/NOTES.md has the figures.
"""

_WATCHED = 0.1  # seconds; the kernel counts in hundredths
_THREADS = 2  # as many as a subject takes
_STAT = Path("/proc/stat")


def choose_waiting(*, shared: bool) -> None:
    """Let threads spin while they wait if cores are free for them, unless the user has said how they wait.

    Threads that spin on a busy machine take the cores from everyone, from one another first.

    Args:
        shared: Whether other processes of this run work beside this one.
    """
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = SPINNING if not shared and _cores_are_free() else YIELDING


def _cores_are_free() -> bool:
    try:
        before = _STAT.read_text(encoding="ascii")
        time.sleep(_WATCHED)
        after = _STAT.read_text(encoding="ascii")
    except OSError:
        return False  # a system that does not tell
    return idle_cores(before, after) >= min(_THREADS, os.cpu_count() or 1) - 0.5


def idle_cores(before: str, after: str) -> float:
    """How many cores had nothing to do between two readings of `/proc/stat` (proc_stat(5)), on average."""
    (idle, total), (idle_then, total_then) = map(_idle_and_total, (after, before))
    cores = sum(line.startswith("cpu") for line in after.splitlines()) - 1  # the first line is their sum
    return cores * (idle - idle_then) / max(1, total - total_then)


def _idle_and_total(stat: str) -> tuple[int, int]:
    times = [int(time) for time in stat.splitlines()[0].split()[1:9]]  # the guests' are in the users' already
    return times[3] + times[4], sum(times)  # idle, and waiting for a disk
