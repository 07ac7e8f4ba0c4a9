"""Timings alternate, respond to what is slow, and stay within their budget."""

from __future__ import annotations

import pytest

from gt.bench.config import BenchConfig
from gt.bench.timing import MIN_REPEATS, WARMUP_CALLS, alternate, quartiles


class Machine:
    """A clock that only calls advance, and the order of the calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def run(self, name: str, seconds: float) -> None:
        self.now += seconds
        self.calls.append(name)


def test_candidates_take_turns_and_their_speeds_are_right() -> None:
    machine = Machine()
    runs = {"a": lambda: machine.run("a", 0.1), "b": lambda: machine.run("b", 0.3)}
    timings = alternate(runs, repeats=4, calls=8, budget_s=1e9, clock=lambda: machine.now)
    assert machine.calls[: 2 * WARMUP_CALLS] == ["a"] * WARMUP_CALLS + ["b"] * WARMUP_CALLS
    assert machine.calls[2 * WARMUP_CALLS :] == ["a", "a", "b", "b", "b", "b", "a", "a"] * 2
    speed = timings.rate("b", 60)
    assert (speed.median, speed.repeats, speed.calls) == (pytest.approx(200), 4, 2)
    assert timings.speedup("b", "a").median == pytest.approx(1 / 3)


def test_what_slows_the_machine_down_leaves_the_ratio_alone() -> None:
    machine = Machine()

    def run(name: str, seconds: float) -> None:
        machine.run(name, seconds * (10 if machine.now > 3 else 1))  # something else starts half way

    runs = {"a": lambda: run("a", 0.1), "b": lambda: run("b", 0.2)}
    timings = alternate(runs, repeats=10, calls=20, budget_s=1e9, clock=lambda: machine.now)
    assert timings.rate("a", 1).q1 < 0.2 * timings.rate("a", 1).q3
    assert timings.speedup("b", "a").median == pytest.approx(0.5)


@pytest.mark.parametrize(("budget_s", "repeats", "calls"), [(1e9, 10, 10), (20.0, 10, 2), (5.0, 5, 1), (0.1, 3, 1)])
def test_the_budget_limits_calls_and_then_repeats(budget_s: float, repeats: int, calls: int) -> None:
    machine = Machine()
    timings = alternate(
        {"a": lambda: machine.run("a", 1.0)}, repeats=10, calls=100, budget_s=budget_s, clock=lambda: machine.now
    )
    speed = timings.rate("a", 1)
    assert (speed.repeats, speed.calls) == (repeats, calls)
    assert speed.repeats >= MIN_REPEATS
    assert len(machine.calls) <= max(budget_s, MIN_REPEATS) + WARMUP_CALLS


def test_quartiles_are_ordered() -> None:
    found = quartiles([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.q1, found.median, found.q3) == (2.0, 3.0, 4.0)


def test_sizes_are_read_in_order_and_once() -> None:
    assert BenchConfig(batch="32, 1,8,1").sizes("batch") == (32, 1, 8)
    assert BenchConfig(only="b1, B3").chosen == {"B1", "B3"}


@pytest.mark.parametrize(
    "setting",
    [
        {"batch": "1,x"},
        {"length": ""},
        {"length": "0"},
        {"decode_batch": "-1"},
        {"only": "B4"},
        {"only": ""},
        {"steps": 1},
        {"repeats": 2},
        {"budget": 0.0},
        {"lr": 0.0},
        {"lr": float("nan")},
    ],
    ids=str,
)
def test_bad_settings_are_one_line(setting: dict[str, str]) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name} is .*expected .*$"):
        BenchConfig(**setting).check()  # type: ignore[arg-type]
