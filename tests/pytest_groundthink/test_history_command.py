"""`groundthink history` from the command line, and `--gt-history` of a run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_groundthink import scorecard
from pytest_groundthink.cli import app
from pytest_groundthink.history import History
from pytest_groundthink.report.history import sparkline
from pytest_groundthink.scorecard import Scorecard

from .projects import ALL_PASS
from .scorecards import card, check, outcomes, rate, value

RATES = (0.5, 0.7, 0.95, 0.9)


def of_day(number: int, right: float, commit: str = "", label: str = "GF-MH@3.5M") -> Scorecard:
    created = f"2026-01-{number:02}T12:00:00+00:00"
    status = "PASS" if right >= 0.9 else "FAIL"
    return card(
        rate("C1a", outcomes(right), status),
        check("S0"),
        created=created,
        commit=commit or f"{number}" * 40,
        label=label,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scorecards of four days, and a history that is not there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GT_HISTORY", str(tmp_path / "h" / "history.sqlite3"))
    monkeypatch.setenv("COLUMNS", "120")
    for number, right in enumerate(RATES, 1):
        scorecard.write(of_day(number, right), tmp_path / f"{number}.json")
    return tmp_path


@pytest.fixture
def history(folder: Path, capsys: pytest.CaptureFixture[str]) -> History:
    """The history with all four."""
    run("import", ".")
    capsys.readouterr()
    return History(folder / "h" / "history.sqlite3")


def run(*arguments: object) -> int:
    """Exit status."""
    try:
        app(["history", *map(str, arguments)], result_action="return_value")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_adding_twice_keeps_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "1.json", "2.json") == 0
    assert lines(capsys)[-1].startswith("2 added to ")
    assert run("add", "2.json", "3.json") == 0
    printed = lines(capsys)
    assert printed[0].endswith("GF-MH@3.5M 2.json (known)")
    assert printed[-1].endswith("history.sqlite3, 1 known")


def test_a_bad_file_among_good_ones_adds_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.json").write_text('{"schema": "groundthink.scorecard/1"}', encoding="utf-8")
    for arguments in (("add", "1.json", "bad.json"), ("import", ".")):
        assert run(*arguments) == 4
        assert "bad.json: is no groundthink.scorecard/1" in capsys.readouterr().err
    assert run("list") == 0
    assert lines(capsys) == ["id created subject step P/W/F/N decision baseline"]


def test_an_edited_scorecard_is_not_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "1.json").read_text(encoding="utf-8")
    (folder / "1.json").write_text(text.replace('"FAIL"', '"PASS"'), encoding="utf-8")
    for arguments in (("add", "1.json"), ("baseline", "set", "1.json")):
        assert run(*arguments) == 4
        assert "1.json: is edited: the history keeps scorecards only as they were written" in capsys.readouterr().err


def test_exported_and_imported_it_is_the_same(
    folder: Path, history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "out/deep") == 0
    (folder / "out" / "unrelated.json").write_text("[1]", encoding="utf-8")
    names = sorted(path.name for path in (folder / "out" / "deep").iterdir())
    assert names[0] == f"2026-01-01T120000+0000-GF-MH@3.5M-{history.entries()[0].id[:8]}.json"
    assert run("import", "out", "--history", "other.sqlite3") == 0
    assert lines(capsys)[-1] == "4 added to other.sqlite3, 0 known"
    other = History(folder / "other.sqlite3")
    assert other.entries() == history.entries()
    written = [scorecard.encode(of_day(number, right)) for number, right in enumerate(RATES, 1)]
    assert [scorecard.encode(other.card(entry.id)) for entry in other.entries()] == written


def test_list(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    run("baseline", "set", history.entries()[1].id[:8])
    capsys.readouterr()
    assert run("list", "--last", 3) == 0
    printed = lines(capsys)
    assert len(printed) == 5
    assert printed[1].endswith("2026-01-02 12:00 GF-MH@3.5M 1/0/1/0 - main")
    assert printed[-1] == "the last 3 of 4"
    assert run("list", "--json") == 0
    assert [one["commit"][0] for one in json.loads(capsys.readouterr().out)] == ["1", "2", "3", "4"]


def test_trend(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    history.add(of_day(5, 0.2, label="HY@3.5M"))
    assert run("trend", "C1a", "--model", "gf-mh") == 0
    printed = lines(capsys)
    assert printed[0] == "GF-MH@3.5M C1a recall ▁▄█▇ 48.25% to 94.5%"
    assert len(list(filter(None, printed))) == 6
    assert run("trend", "C1a", "--last", 2) == 0
    printed = lines(capsys)
    assert printed[0].endswith("the last 2 of 4")
    assert [line for line in printed if line.startswith("HY@3.5M")]
    assert run("trend", "C1a", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [point["status"] for point in record["subjects"]["GF-MH@3.5M"]] == ["FAIL", "FAIL", "PASS", "PASS"]


def test_a_trend_says_what_was_measured_in_another_way(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trend", "C1a") == 0
    assert "not all measured alike" not in capsys.readouterr().out
    history.add(card(rate("C1a", outcomes(0.9)), seed=1, thresholds="e" * 64, created="2026-01-09T00:00:00+00:00"))
    assert run("trend", "C1a") == 0
    assert lines(capsys)[1] == "not all measured alike: seed, thresholds"


def test_best_is_what_the_bands_call_good(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("best", "C1a", "--top", 2) == 0
    printed = lines(capsys)
    assert printed[0] == "C1a recall, needs >= 90%"
    assert [line.split()[0] for line in printed[2:]] == ["2026-01-03", "2026-01-04"]
    for number, error in enumerate((3e-6, 1e-6, 2e-6, 1e-6), 1):
        low = check("G1b", "PASS", value("future_leak", error), value("free", error), passes={"future_leak": (0, 1e-5)})
        history.add(card(low, created=f"2026-02-0{number}T00:00:00+00:00"))
    assert run("best", "G1b", "--json") == 0
    found = json.loads(capsys.readouterr().out)["best"]
    assert [one["entry"]["created"][8:10] for one in found] == ["04", "02", "03", "01"]
    assert run("best", "G1b.free") == 4
    assert "nothing says which value is better" in capsys.readouterr().err


def test_best_is_the_least_where_less_is_better_and_nothing_where_neither_is(
    history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, found in enumerate((30.0, 20.0, 40.0), 1):
        results = (
            check("Q1", "PASS", value("perplexity", found), passes={"perplexity": (1, None)}),
            check("D5", "PASS", value("coupling_ratio", found), passes={"coupling_ratio": (0, None)}),
        )
        history.add(card(*results, created=f"2026-02-0{number}T00:00:00+00:00"))
    assert run("best", "Q1.perplexity", "--json") == 0
    best = json.loads(capsys.readouterr().out)["best"]
    assert [one["value"] for one in best] == [20.0, 30.0, 40.0]
    assert run("best", "D5.coupling_ratio") == 4
    assert "neither more nor less is better" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["2026-01-03", "2026-01-02T13:00:00", "3333333"])
def test_since_compares_with_what_was_there_before(
    history: History, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    history.add(of_day(4, 0.9, label="HY@3.5M"))
    assert run("since", moment) == 0
    printed = lines(capsys)
    assert printed[0].startswith("3 of 5 scorecards since 2026-01-0")
    (row,) = [line for line in printed if line.startswith("C1a")]
    assert row.endswith("FAIL > PASS")
    assert "C1a recall 69% 88.5% +19.5 pp <0.001" in row
    assert [line for line in printed if line.startswith("HY@3.5M: ") and line.endswith("none before that")]


def test_since_a_commit_of_the_repository(history: History, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    date = {"GIT_COMMITTER_DATE": "2026-01-02T23:00:00+00:00", "GIT_AUTHOR_DATE": "2026-01-02T23:00:00+00:00"}
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(
        ["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"],
        cwd=folder,
        check=True,
        env={**os.environ, **date},
    )
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert run("since", head) == 0
    assert lines(capsys)[0] == "2 of 4 scorecards since 2026-01-02T23:00:00+00:00"


def test_baselines(history: History, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("baseline", "show") == 0
    assert lines(capsys)[0].startswith("no baseline")
    scorecard.write(of_day(9, 0.99), folder / "nine.json")
    assert run("baseline", "set", "nine.json", "--name", "best") == 0
    assert run("baseline", "set", history.entries()[0].id) == 0
    capsys.readouterr()
    assert run("baseline", "show") == 0
    assert [line.split()[0] for line in lines(capsys)] == ["best:", "main:"]
    assert len(history.entries()) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("trend", "C9"), "history trend: no scorecard of the history has a check 'C9'"),
        (("trend", "C1a", "--model", "HY"), "no scorecard of HY in the history has C1a"),
        (("trend", "C1a", "--last", "0"), "--last is 0: expected at least 1"),
        (("best", "S0"), "S0 has no value 'rate': there are none"),
        (("since", "yesterday"), "'yesterday': expected a date such as 2026-01-31"),
        (("since", "abcdef12"), "expected a date"),
        (("add",), "no scorecard was given"),
        (("add", "none.json"), "none.json: cannot be read"),
        (("import",), "nothing was given"),
        (("baseline", "set", "ffff"), "there is none"),
        (("list", "--history", "none.sqlite3"), "history none.sqlite3: there is none yet"),
        (("export", "1.json"), "File exists"),
    ],
)
def test_bad_input_is_one_line(
    history: History, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run(*arguments) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, None, -5]) == "█ ▁"
    assert sparkline([2, 2]) == "▅▅"
    assert sparkline([]) == sparkline([]) == ""
    assert sparkline([None]) == " "
    assert sparkline([0, 1], plain=True) == "_#"


def recorded(path: Path) -> list[dict[str, Any]]:
    return [{**entry.counts, "label": entry.label} for entry in History(path).entries()]


def test_a_run_records_its_scorecards_where_it_is_asked_to(
    judged: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GT_HISTORY", str(judged.path / "own.sqlite3"))
    judged.makepyfile(ALL_PASS)
    assert judged.runpytest("--model=GF-MH", judged.path).ret == 0
    assert not (judged.path / "own.sqlite3").exists()
    result = judged.runpytest("--model=GF-MH", "--model=HY", judged.path, "--gt-history")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["history: *own.sqlite3"])
    assert recorded(judged.path / "own.sqlite3") == [
        {"PASS": 2, "NODATA": 1, "label": "GF-MH@3.5M"},
        {"PASS": 2, "NODATA": 1, "label": "HY@3.5M"},
    ]


def test_with_workers_it_is_recorded_once_and_as_it_was_written(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest("-n1", "--model=GF-MH", "--gt-history=h.sqlite3", "--scorecard=out.json", judged.path)
    assert result.ret == 0
    (entry,) = History(judged.path / "h.sqlite3").entries()
    assert History(judged.path / "h.sqlite3").card(entry.id) == scorecard.read(judged.path / "out.json")
    assert History(judged.path / "h.sqlite3").add(scorecard.read(judged.path / "out.json")) == (entry.id, False)


def test_a_history_that_cannot_be_used_is_found_before_the_run(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    (judged.path / "text").write_text("no database " * 100, encoding="utf-8")
    for given, says in ((f"--gt-history={judged.path}", "is a folder"), ("--gt-history=text", "not a database")):
        result = judged.runpytest("--model=GF-MH", given, judged.path)
        assert result.ret == 4
        result.stderr.fnmatch_lines([f"ERROR: history *{says}*"])
