"""`groundthink compare` from the command line, and what it shows and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_groundthink import scorecard
from pytest_groundthink.cli import app

from .scorecards import card, check, outcomes, rate, value


def run(*arguments: object) -> int:
    """Exit status."""
    with pytest.raises(SystemExit) as end:
        app(["compare", *map(str, arguments)], result_action="return_value")
    return int(end.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three scorecards: a, the worse b, and c."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GT_HISTORY", str(tmp_path / "history.sqlite3"))
    monkeypatch.setenv("COLUMNS", "120")
    state = check("S2", "PASS", value("x|y", 2.0), passes={"x|y": (1.0, None)})
    before = card(state, check("S0"), rate("C1a", outcomes(0.97)), outcome="CAUTION", total=9.0)
    worse = check("S2", "FAIL", value("x|y", 0.5), passes={"x|y": (1.0, None)})
    after = card(worse, check("S0"), rate("C1a", outcomes(0.7), "WARN"), outcome="HOLD", total=7.5)
    for name, one in (("a", before), ("b", after), ("c", card(check("S0"), seed=1))):
        scorecard.write(one, tmp_path / f"{name}.json")
    return tmp_path


def test_what_it_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.json", "b.json") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Measured in the same way, of the same subject." in lines
    assert "S2 x|y 2 0.5 -1.5 (-75.0%) PASS > FAIL" in lines
    (row,) = [line for line in lines if line.startswith("C1a")]
    assert row == "C1a recall 96.5% 69% -27.5 pp <0.001 PASS > WARN"
    assert lines.index("S2 x|y 2 0.5 -1.5 (-75.0%) PASS > FAIL") < lines.index(row)
    assert "unchanged: S0" in lines
    assert "decision: CAUTION (9) to HOLD (7.5): architecture stability 1 to 3" in lines
    assert any(line.startswith("1 test was made") for line in lines)


def test_80_columns_break_between_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    metric = "state variance, larger"
    for name, number, limit in (("small", 2.0, "PASS"), ("large", 1234567.0, "FAIL")):
        one = check("D2", limit, value(metric, number), passes={metric: (1.0, 9.0)})
        rates = rate("C1a", outcomes(0.97 if name == "small" else 0.7), limit)
        scorecard.write(card(one, rates), folder / f"{name}.json")
    assert run("small.json", "large.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    words = [word for line in lines for word in line.split()]
    for whole in ("variance,", "larger", "1.23e+06", "PASS", "FAIL", "-27.5", "(+61728250.0%)"):
        assert any(whole in word for word in words), (whole, lines)


def test_what_does_not_pair_names_its_checks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("one", 0), ("other", 1)):
        one = card(rate("C1a", outcomes(0.97)), rate("C1b", outcomes(0.9)), seed=seed)
        scorecard.write(one, folder / f"{name}.json")
    assert run("one.json", "other.json", "--all") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("unpaired:")]
    assert line.strip().startswith("unpaired: C1a, C1b: ")


def test_differences_are_said_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.json", "c.json", "--all") == 0
    out = capsys.readouterr().out
    assert out.index("other items were drawn") < out.index("PASS, left out")


def test_what_does_not_apply_is_not_what_was_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = card(check("S0"), check("S1"), check("S2", "NODATA", applicable=False))
    there = card(check("S0", "NODATA", applicable=False), check("S2"))
    for name, one in (("here", here), ("there", there)):
        scorecard.write(one, folder / f"{name}.json")
    assert run("here.json", "there.json") == 0
    lines = capsys.readouterr().out.splitlines()
    told = {"does not apply in there.json: S0", "not in there.json: S1", "applies only in there.json: S2"}
    assert told <= {line.strip() for line in lines}
    assert run("here.json", "there.json", "--all") == 0
    every = capsys.readouterr().out
    assert "PASS, does not apply" in every
    assert "PASS, left out" in every
    assert "PASS, applies now" in every


def test_rules_make_the_exit_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.json", "b.json", "--fail-on", "C1a<-5%") == 1
    assert "--fail-on C1a<-5%: C1a: it went from 0.9" in " ".join(capsys.readouterr().out.split())
    assert run("b.json", "a.json", "--fail-on", "status,decision", "--fail-on", "C1a<-5%") == 0


def test_written_for_machines_and_for_people(folder: Path) -> None:
    assert run("a.json", "b.json", "--json", "o.json", "--markdown", "o.md", "--fail-on", "decision") == 1
    record = json.loads((folder / "o.json").read_text(encoding="utf-8"))
    assert record["schema"] == "groundthink.comparison/1"
    assert [one["id"] for one in record["others"][0]["checks"]] == ["S2", "C1a", "S0"]
    first, second, _ = record["others"][0]["checks"]
    assert (first["regression"], first["metrics"][0]["change"]) == (True, -1.5)
    assert second["metrics"][0]["significant"]
    assert record["hits"][0]["rule"] == "decision"
    text = (folder / "o.md").read_text(encoding="utf-8")
    assert "| S2 | x\\|y | 2 | 0.5 | -1.5 (-75.0%) |  | **PASS > FAIL** |" in text
    assert "- `--fail-on decision`: the decision: it went from CAUTION to HOLD" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {8}


def test_three_stand_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.json", "b.json", "c.json") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "check a.json b.json c.json" in lines
    assert "S2 PASS FAIL -" in lines
    assert "S0 PASS PASS PASS" in lines


def test_the_baseline_of_the_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["history", "baseline", "set", "a.json"], result_action="return_value")
    id_ = capsys.readouterr().out.split()[1]
    assert run("b.json", "--baseline", "main", "--fail-on", "status") == 1
    assert f"against main {id_}" in capsys.readouterr().out
    assert run(id_, "b.json", "--fail-on", "status") == 1
    assert run("b.json", "--baseline", "other") == 4
    assert "no baseline 'other'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a.json",), "got 1 scorecard, expected at least two"),
        ((), "got 0 scorecard"),
        (("a.json", "none.json"), "none.json: cannot be read: No such file"),
        (("a.json", "bad.json"), "bad.json: is no groundthink.scorecard/1"),
        (("a.json", "b.json", "--fail-on", "C1a<<5"), "--fail-on 'C1a<<5': expected"),
        (("a.json", "b.json", "--fail-on", "C9<-5%"), "no scorecard has a check 'C9'"),
        (("a.json", "b.json", "--json", "none/o.json"), "--json none/o.json: expected a file in a folder that exists"),
        (("a.json", "b.json", "--checks", "none.yaml"), "none.yaml"),
        (("a.json", "."), ". is a checkpoint, but others are not"),
        (("a.json", "deadbeef"), "there is none yet"),
        ((".",), "got 1 checkpoint, expected two"),
        ((".", ".", "--fail-on", "C1a<-5%"), "of checkpoints there is the loss alone"),
        ((".", "."), "is no checkpoint: it has no model.safetensors"),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    (folder / "bad.json").write_text("{}", encoding="utf-8")
    assert run(*arguments) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("groundthink compare: ")
    assert says in error
    assert not (folder / "o.json").exists()


def test_an_edited_scorecard_is_refused_or_said_to_be_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "b.json").read_text(encoding="utf-8")
    (folder / "b.json").write_text(text.replace('"status": "FAIL"', '"status": "PASS"'), encoding="utf-8")
    assert run("a.json", "b.json") == 4
    assert "b.json: was changed after it was written" in capsys.readouterr().err
    assert run("a.json", "b.json", "--allow-edited", "--fail-on", "decision") == 1
    assert "b.json (edited): GF-MH@3.5M, against a.json" in capsys.readouterr().out


def test_scorecards_are_compared_without_torch(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['groundthink', 'compare', 'a.json', 'b.json', '--json', 'o.json']\n"
        "from pytest_groundthink.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "o.json").is_file()
