from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pytest_groundthink import history as store_module
from pytest_groundthink import scorecard
from pytest_groundthink.history import VERSION, History, default_path
from pytest_groundthink.scorecard import Scorecard
from pytest_groundthink.verdict import Status

from .scorecards import card, check, outcomes, rate, value

ROOT = Path(__file__).parents[2]


def day(number: int, right: float, label: str = "GF-MH@3.5M", status: str = "PASS") -> Scorecard:
    created = f"2026-01-{number:02}T00:00:00+00:00"
    return card(rate("C1a", outcomes(right), status), check("S0"), created=created, label=label, step=number)


@pytest.fixture
def store(tmp_path: Path) -> History:
    return History(tmp_path / "deep" / "history.sqlite3", create=True)


def test_what_is_added_comes_back_whole_and_once(store: History) -> None:
    one, two = day(1, 0.9), day(2, 0.8)
    assert [store.add(each)[1] for each in (one, two, one)] == [True, True, False]
    id_, _ = store.add(one)
    assert store.card(id_) == store.card(id_[:6])
    assert scorecard.encode(store.card(id_)) == scorecard.encode(one)
    assert [entry.created[:10] for entry in store.entries()] == ["2026-01-01", "2026-01-02"]
    assert store.entries()[0].counts == {"PASS": 2}


def test_it_is_there_for_others(store: History) -> None:
    store.add(day(1, 0.9))
    again = History(store.path)
    assert len(again.entries()) == 1
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


WRITER = """
import sys
from pathlib import Path
from tests.pytest_groundthink.scorecards import card, check, value
from pytest_groundthink.history import History
path, number = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for index in range(10):
    History(path, create=True).add(card(check("S0", "PASS", value("own", index)), step=number))
    History(path).add(card(check("S0", "PASS", value("shared", 0))))
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    command = [sys.executable, "-c", WRITER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [subprocess.Popen([*command, str(number)], cwd=ROOT, text=True, **pipes) for number in range(4)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # all at once, with a file that is not there yet
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    store = History(path)
    assert len(store.entries()) == 4 * 10 + 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT COUNT(*) FROM checks").fetchone() == (41,)


def test_a_scorecard_is_kept_whole_or_not_at_all(store: History, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = card(check("S0"), check("S0"))  # its second row breaks a key, after the scorecard itself was written
    with pytest.raises(ValueError, match="UNIQUE constraint"):
        store.add(twice)
    assert store.entries() == []
    assert store.add(day(1, 0.9))[1]


def test_models_are_named_with_their_scale_or_without(store: History) -> None:
    for number, label in enumerate(("GF-MH@3.5M", "GF-MH@8M", "GF@3.5M", "GF-MH@3.5M+dead-mamba", "GF-MH@8M#2"), 1):
        store.add(day(number, 0.9, label))
    named = {
        model: [entry.label for entry in store.entries(model)]
        for model in ("gf-mh", "GF-MH@8M", "GF-MH@3.5M+dead-mamba")
    }
    assert named == {
        "gf-mh": ["GF-MH@3.5M", "GF-MH@8M", "GF-MH@8M#2"],
        "GF-MH@8M": ["GF-MH@8M", "GF-MH@8M#2"],
        "GF-MH@3.5M+dead-mamba": ["GF-MH@3.5M+dead-mamba"],
    }


def test_points_are_in_order_of_time_with_what_is_missing(store: History) -> None:
    for one in (
        day(3, 0.8, status="WARN"),
        day(1, 0.9),
        card(check("C1a", "NODATA"), created="2026-01-02T00:00:00+00:00"),
    ):
        store.add(one)
    store.add(card(check("C1a", "NODATA", applicable=False), created="2026-01-04T00:00:00+00:00"))
    name, metric, points = store.points("C1a")
    assert (name, metric) == ("C1a", "rate")
    assert [point.status for point in points] == [Status.PASS, Status.NODATA, Status.WARN]
    assert points[1].value is None
    assert points[0].n == 400
    assert points[0].passes == (0.9, None)
    assert points[0].ci95 is not None
    assert points[0].value == pytest.approx(0.9, abs=0.05)


def test_a_metric_is_named_or_found(store: History) -> None:
    passes: dict[str, tuple[float | None, float | None]] = {"judged": (0, 1)}
    store.add(card(check("G3.5", "PASS", value("a", 1), value("judged", 2), passes=passes), check("G3")))
    assert store.points("G3.5")[:2] == ("G3.5", "judged")
    assert store.points("G3.5.a")[:2] == ("G3.5", "a")
    for target, says in (
        ("G4", "has a check 'G4': there are G3, G3.5"),
        ("G3.5.b", "has no value 'b': there are a, judged"),
    ):
        with pytest.raises(ValueError, match=says):
            store.points(target)
    with pytest.raises(ValueError, match=r"no scorecard of HY in the history has G3\.5"):
        store.points("G3.5", "HY")


def test_a_baseline_is_one_scorecard(store: History) -> None:
    first, second = (store.add(day(number, 0.9))[0] for number in (1, 2))
    store.set_baseline("main", first)
    store.set_baseline("other", first)
    store.set_baseline("main", second)
    assert {name: entry.id for name, entry in store.baselines().items()} == {"main": second, "other": first}
    assert store.baseline("other").baselines == ("other",)
    with pytest.raises(ValueError, match=r"no baseline 'none' .* there are main, other"):
        store.baseline("none")


@pytest.mark.parametrize("id_", ["abc", "ffffffff", ""])
def test_an_id_that_fits_none_or_many_is_refused(store: History, id_: str) -> None:
    store.add(day(1, 0.9))
    with pytest.raises(ValueError, match="no scorecard"):
        store.card(id_)


def test_what_is_no_history_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, and long enough to be read as a header " * 20, encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE t (x)")
    newer = History(tmp_path / "newer", create=True)
    with closing(sqlite3.connect(newer.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for name, says in (
        ("none", "there is none yet"),
        (".", "is a folder"),
        ("text", "not a database"),
        ("other", "another program"),
        ("newer", "has version 99, this groundthink reads"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            History(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GT_HISTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_path() == Path("/data/groundthink/history.sqlite3")
    monkeypatch.setenv("GT_HISTORY", "/own.sqlite3")
    assert default_path() == Path("/own.sqlite3")


def test_a_process_that_holds_it_is_waited_for_and_then_named(store: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PATIENCE", 0.1)
    holder = sqlite3.connect(store.path, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ValueError, match="database is locked"):
            store.add(day(1, 0.9))
        assert store.entries() == []  # readers do not wait
    finally:
        holder.close()
    assert store.add(day(1, 0.9))[1]
