"""Threads spin only where cores are free for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_groundthink import threads
from pytest_groundthink.threads import SPINNING, VARIABLE, YIELDING, choose_waiting, idle_cores

BEFORE = "cpu  100 0 10 1000 0 0 0 0 0 0\ncpu0 50 0 5 500 0 0 0 0 0 0\ncpu1 50 0 5 500 0 0 0 0 0 0\nintr 7\n"


def after(busy: int, idle: int) -> str:
    return BEFORE.replace("cpu  100 0 10 1000 0", f"cpu  {100 + busy} 0 10 {1000 + idle} 0")


@pytest.mark.parametrize(("busy", "idle", "free"), [(0, 20, 2), (10, 10, 1), (20, 0, 0), (5, 15, 1.5), (0, 0, 0)])
def test_idle_cores_are_counted(busy: int, idle: int, free: float) -> None:
    assert idle_cores(BEFORE, after(busy, idle)) == free


def test_waiting_for_a_disk_is_idle() -> None:
    assert idle_cores(BEFORE, BEFORE.replace("cpu  100 0 10 1000 0", "cpu  100 0 10 1010 10")) == 2


@pytest.mark.parametrize(
    ("shared", "busy", "idle", "expected"),
    [(False, 1, 19, SPINNING), (False, 10, 10, YIELDING), (True, 0, 20, YIELDING)],
    ids=["alone", "beside another", "one of several workers"],
)
def test_threads_spin_where_cores_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool, busy: int, idle: int, expected: str
) -> None:
    stat = tmp_path / "stat"
    stat.write_text(BEFORE, encoding="ascii")
    monkeypatch.setattr(threads, "_STAT", stat)
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: stat.write_text(after(busy, idle), encoding="ascii"))
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    monkeypatch.delenv(VARIABLE)
    choose_waiting(shared=shared)
    assert threads.os.environ[VARIABLE] == expected


def test_a_system_that_does_not_tell_is_taken_as_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_STAT", tmp_path / "none")
    monkeypatch.delenv(VARIABLE)
    choose_waiting(shared=False)
    assert threads.os.environ[VARIABLE] == YIELDING


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "7")
    choose_waiting(shared=False)
    assert threads.os.environ[VARIABLE] == "7"
