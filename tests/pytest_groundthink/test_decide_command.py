"""`groundthink decide`: from files alone, at once, without torch; what it refuses and what it says first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_groundthink import scorecard
from pytest_groundthink.cli import app
from pytest_groundthink.scorecard import Decision, Scorecard

from .cards import changed, check, evidence, whole, without


def written(folder: Path, card: Scorecard, others: list[Scorecard]) -> list[str]:
    """The names of files that hold them."""
    paths = []
    for index, one in enumerate((card, *others)):
        path = folder / f"{index}-{one.subject.scale}.json"
        scorecard.write(one, path)
        paths.append(str(path))
    return paths


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        app(["decide", *arguments])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_go_caution_and_hold_have_their_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, others = evidence("3.5M", error=0.3)
    spiky = [check(id_, "WARN") for id_ in ("G2", "G3", "G4")]
    for number, (subject, rest, status, outcome) in enumerate(
        (
            (card, others, 0, "GO"),
            (changed(card, *spiky), others[:1], 10, "CAUTION"),
            (without(card, "G1b"), others, 20, "HOLD"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        code, out, err = run(capsys, *written(folder, subject, rest), "--subject", f"{folder}/0-3.5M.json")
        assert (code, err) == (status, "")
        assert f"{outcome}  GF-MH@3.5M  3.5M to 8M  total" in out
        assert ("What would change it" in out) == (outcome != "GO")


def test_a_folder_will_do_and_the_largest_is_the_subject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, others = evidence("8M")
    written(tmp_path, card, others[:-1])
    _, out, _ = run(capsys, str(tmp_path))
    assert "GF-MH@8M  8M to 30M" in out
    assert "4 runs at 4 scales" in out
    code, out, _ = run(capsys, str(tmp_path), "--subject", "GF-MH@3.5M")
    assert "GF-MH@3.5M  3.5M to 8M" in out
    assert code == 0


@pytest.mark.parametrize("folder_first", [True, False])
def test_of_two_as_large_the_file_that_is_named_is_the_subject_wherever_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder_first: bool
) -> None:
    first, _ = written(tmp_path, whole("3.5M"), [whole("3.5M", seed=1)])
    arguments = (str(tmp_path), first) if folder_first else (first, str(tmp_path))
    _, out, err = run(capsys, *arguments, "--json")
    assert err == ""
    (other,) = json.loads(out)["ladder"]
    assert Path(other["path"]).name == "1-3.5M.json"


def test_json_is_the_decision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *written(tmp_path, *evidence("30M"))[:4], "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0
    assert found.pop("subject") == "GF-MH@30M"
    decision = msgspec.convert(found, Decision)
    assert decision.outcome == "GO"
    assert decision.scaling is not None
    assert [point.scale for point in decision.scaling.points] == ["2M", "3.5M", "8M", "30M"]
    assert decision.scaling.predicted is not None
    assert decision.scaling.predicted.scale == "125M"


def test_how_scorecards_differ_is_said_before_the_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = whole("2M", training={"lr": 1e-4})
    thresholds = msgspec.structs.replace(other.provenance.thresholds, sha256="9" * 64, profile="lax")
    provenance = msgspec.structs.replace(other.provenance, seed=5, version="0.0.1", thresholds=thresholds)
    _, out, _ = run(capsys, *written(tmp_path, whole("3.5M"), [msgspec.structs.replace(other, provenance=provenance)]))
    before, _, _ = out.partition("HOLD  GF-MH@3.5M")
    for words in (
        "version 0.0.1 for 1",
        "profile lax for default",
        "thresholds 999999999999 for",
        "seed 5 for 0",
        "lr 0.0001",
    ):
        assert words in before
    assert run(capsys, *written(tmp_path, whole("3.5M"), [whole("2M")]))[1].startswith("GO")


def test_thresholds_other_than_those_here_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = whole("3.5M")
    for changes, words in (
        ({"sha256": "0"}, "other thresholds than those here"),
        ({"profile": "v4"}, "profile v4 judged it"),
    ):
        thresholds = msgspec.structs.replace(card.provenance.thresholds, **changes)
        provenance = msgspec.structs.replace(card.provenance, thresholds=thresholds)
        assert words in run(capsys, *written(tmp_path, msgspec.structs.replace(card, provenance=provenance), []))[1]


def test_an_edited_file_is_refused_and_with_leave_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = written(tmp_path, changed(whole("3.5M"), check("G1b", "FAIL")), [])
    text = Path(path).read_text(encoding="utf-8")
    Path(path).write_text(text.replace('"FAIL"', '"PASS"'), encoding="utf-8")
    code, out, err = run(capsys, path)
    assert (code, out) == (4, "")
    assert err.count("\n") == 1
    assert "was changed after it was written" in err
    code, out, _ = run(capsys, path, "--allow-edited")
    assert code == 20
    assert out.splitlines()[1] == f"  - {path}: was changed after it was written; taken as it is"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no groundthink.scorecard/1"),
        ("{}", "is no groundthink.scorecard/1"),
        ('{"schema": "groundthink.scorecard/9"}', "install a newer groundthink"),
        ("[1, 2", "cut short"),
    ],
)
def test_bad_files_are_one_line_and_status_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    code, out, err = run(capsys, str(path))
    assert (code, out) == (4, "")
    assert err.startswith("groundthink decide: ")
    assert says in err
    assert err.count("\n") == 1


def test_what_cannot_be_chosen_is_status_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no scorecard was given" in run(capsys)[2]
    assert "cannot be read" in run(capsys, str(tmp_path / "none.json"))[2]
    (tmp_path / "empty").mkdir()
    assert "no scorecard was given" in run(capsys, str(tmp_path / "empty"))[2]
    paths = written(tmp_path, whole("3.5M"), [whole("3.5M", seed=1, loss=3.0)])
    assert "2 scorecards could be the subject" in run(capsys, *paths)[2]
    (tmp_path / "ladder").mkdir()
    (subject, _), rung = paths, written(tmp_path / "ladder", whole("3.5M", seed=1, loss=3.0), [])[0]
    told = run(capsys, subject, str(tmp_path / "ladder"))[1]
    assert "GF-MH@3.5M" in told, "of two as large the file that was named goes before a folder's"
    assert told.count(f"{rung} has training's seed 1 for 0") == told.count("training's seed") == 1, "told once"
    assert "no such scorecard" in run(capsys, *paths, "--subject", "HY@8M")[2]
    unscaled = msgspec.structs.replace(whole("3.5M").subject, scale=None)
    (path,) = written(tmp_path, msgspec.structs.replace(whole("3.5M"), subject=unscaled), [])
    code, _, err = run(capsys, path)
    assert code == 4
    assert "--gt-scale" in err


def test_it_needs_no_torch_and_no_numpy(tmp_path: Path) -> None:
    paths = written(tmp_path, *evidence("3.5M"))[:4]
    code = f"""
import sys, time
begun = time.process_time()
from pytest_groundthink.cli import app
try:
    app(["decide", *{paths!r}])
except SystemExit as ended:
    assert ended.code == 0, ended.code
print("SECONDS", time.process_time() - begun)
print("LOADED", *[name for name in ("torch", "numpy", "matplotlib", "pytest", "rich") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(
        line.partition(" ")[::2] for line in done.stdout.splitlines() if line.startswith(("SECONDS", "LOADED"))
    )
    print(lines)
    assert not {"torch", "numpy", "matplotlib"} & set(lines["LOADED"].split())
    assert float(lines["SECONDS"]) < 1.0, "processor time"
