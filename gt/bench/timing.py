"""Timings that can be compared: warmed up, repeated, and with several candidates alternating. Imports no torch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from gt.bench.record import Quartiles

WARMUP_CALLS = 3
MIN_REPEATS = 3


class Timings:
    """Seconds per call of each candidate, by repeat.

    Attributes:
        seconds: One number for each repeat, by name; repeat i of one was taken beside repeat i of the others.
        calls: Calls in each repeat.
    """

    def __init__(self, seconds: dict[str, list[float]], calls: int) -> None:
        self.seconds = seconds
        self.calls = calls

    def rate(self, name: str, units: float) -> Quartiles:
        """Units per second where every call does `units`."""
        return quartiles([units / seconds for seconds in self.seconds[name]], self.calls)

    def speedup(self, name: str, against: str) -> Quartiles:
        """Speed of one candidate divided by that of another, from neighbouring repeats."""
        pairs = zip(self.seconds[against], self.seconds[name], strict=True)
        return quartiles([other / own for other, own in pairs], self.calls)


def quartiles(values: Sequence[float], calls: int = 1) -> Quartiles:
    """Median and quartiles (inclusive) of at least two values."""
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(median=median, q1=q1, q3=q3, repeats=len(values), calls=calls)


def alternate(
    runs: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    calls: int,
    budget_s: float,
    finish: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Time candidates in turn, so that whatever slows the machine down slows all of them.

    Every candidate is called three times (once, where that takes half of the budget) before anything counts. The first
    of a repeat changes from one repeat to the next: none always follows the same other.

    Args:
        runs: What to call, by name.
        repeats: Timings of each.
        calls: Most calls in all timings of one candidate together.
        budget_s: Seconds to spend on each candidate: fewer calls, then fewer repeats (not below three) are made.
        finish: Waits until the work of a call is done, where calls return early.
        clock: Seconds.
    """
    names = list(runs)
    slowest = 0.0
    for name in names:
        begun = clock()
        for _ in range(WARMUP_CALLS):
            started = clock()
            runs[name]()
            finish()
            last = clock() - started
            if clock() - begun > budget_s / 2:
                break
        slowest = max(slowest, last)
    affordable = budget_s / slowest if slowest > 0 else float(calls)
    repeats = max(MIN_REPEATS, min(repeats, calls, int(affordable)))
    per_repeat = max(1, min(calls, int(affordable)) // repeats)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            started = clock()
            for _ in range(per_repeat):
                runs[name]()
            finish()
            seconds[name].append((clock() - started) / per_repeat)
    return Timings(seconds, per_repeat)
