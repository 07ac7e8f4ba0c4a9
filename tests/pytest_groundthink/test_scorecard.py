from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from pytest_groundthink import scorecard
from pytest_groundthink.decision import decide

from .test_decision import BOOK, GOOD, MATRIX, RULE, card, result

PUBLISHED = Path(__file__).parents[2] / "docs" / "scorecard.schema.json"
CARD = scorecard.decided(card(*GOOD.values()), decide(card(*GOOD.values()), RULE, MATRIX, BOOK))


def test_published_schema_is_current() -> None:
    assert PUBLISHED.read_bytes() == scorecard.schema(), "write pytest_groundthink.scorecard.schema() to it"


def test_a_scorecard_fits_the_published_schema() -> None:
    jsonschema.validate(json.loads(scorecard.encode(CARD)), json.loads(PUBLISHED.read_text(encoding="utf-8")))


def rows(part: str) -> dict[str, str]:
    """Rows of the only table of a part of a document: the names in its first cell, and all of it."""
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return {name: line for line in lines for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}


def test_every_field_is_documented_where_it_stands() -> None:
    text = (PUBLISHED.parent / "scorecard.md").read_text(encoding="utf-8")
    begins = ("", "\nA check:", "\nA measurement:", "\nA score of", "\n`decision.scaling` is", "\n* JSON has")
    places = [text.index(begin) for begin in begins]
    card, check, measurement, score, scaling = (rows(text[begin:end]) for begin, end in pairwise(places))
    tables = {"Scorecard": card, "CheckResult": check, "MeasurementRecord": measurement}
    tables |= {"DerivedScore": score, "ScalingFit": scaling}
    within = {"SubjectSection": card["subject"], "Provenance": card["provenance"], "Git": card["provenance"]}
    within |= {"ThresholdsUsed": card["provenance"], "Summary": card["summary"], "Decision": card["decision"]}
    within |= {"LadderFile": card["decision"], "CategoryScore": card["decision"], "Threshold": check["threshold"]}
    within |= {"LadderPoint": scaling["points"], "ScalingPrediction": scaling["predicted"]}
    defined = json.loads(scorecard.schema())["$defs"]
    fields = {name: list(one["properties"]) for name, one in defined.items() if "properties" in one}
    assert fields.keys() == tables.keys() | within.keys(), "say in docs/scorecard.md what the new object holds"
    for name, table in tables.items():
        assert sorted(table) == sorted(fields[name]), f"the table of {name} in docs/scorecard.md"
    for name, row in within.items():
        assert not [field for field in fields[name] if f"`{field}`" not in row], f"{name} in docs/scorecard.md"


def test_written_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("an older one", encoding="utf-8")
    scorecard.write(CARD, path)
    assert scorecard.read(path) == scorecard.sealed(CARD)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        scorecard.write(CARD, path)
    assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == ["old"]


def test_non_finite_numbers_are_null(tmp_path: Path) -> None:
    bad = scorecard.MeasurementRecord(name="x", value=float("nan"), note="value is nan", detail={"y": float("inf")})
    check = msgspec.structs.replace(CARD.checks[0], measurements=(bad,))
    text = scorecard.encode(msgspec.structs.replace(CARD, checks=(check,))).decode()
    assert json.loads(text)["checks"][0]["measurements"][0]["value"] is None
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": "other/1"}', b"\xff"])
def test_reading_anything_else_is_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is no groundthink\.scorecard/1") as caught:
        scorecard.read(path)
    assert "\n" not in str(caught.value)


def written(tmp_path: Path) -> Path:
    path = tmp_path / "out.json"
    scorecard.write(CARD, path)
    return path


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["decision"].update(outcome="GO"),
        lambda content: content["checks"][0].update(status="PASS", reason="it was fine, really"),
        lambda content: content["checks"].pop(),
        lambda content: content["provenance"].update(seed=7),
        lambda content: content.update(remark="added"),
        lambda content: content.update(content_sha256="0" * 64),
    ],
)
def test_an_edited_scorecard_is_refused_or_flagged(tmp_path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"was changed after it was written.*--allow-edited"):
        scorecard.read(path)
    assert scorecard.read_flagged(path, allow_edited=True)[1] == "edited"


def test_laying_it_out_anew_is_no_edit(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    turned = dict(reversed(content.items()))
    path.write_text(json.dumps(turned, indent=None), encoding="utf-8")
    assert scorecard.read_flagged(path) == (scorecard.sealed(CARD), "intact")


def test_an_older_file_without_a_hash_needs_leave(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["content_sha256"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="unsigned"):
        scorecard.read(path)
    card, state = scorecard.read_flagged(path, allow_edited=True)
    assert (card, state) == (CARD, "unsigned")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for allow_edited in (False, True):
        with pytest.raises(ValueError, match=r"is no groundthink.scorecard/1.*cut short") as caught:
            scorecard.read(path, allow_edited=allow_edited)
        assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"groundthink.scorecard/1", b"groundthink.scorecard/2"))
    for allow_edited in (False, True):
        with pytest.raises(ValueError, match=r"has schema groundthink.scorecard/2.*install a newer"):
            scorecard.read(path, allow_edited=allow_edited)


def test_reading_nothing_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        scorecard.read(tmp_path / "none.json")


@pytest.mark.parametrize(("name", "says"), [("", "is a folder"), ("none/out.json", "does not exist")])
def test_unwritable_paths_are_found_before_the_run(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scorecard.require_writable(tmp_path / name)


def test_asking_leaves_no_trace(tmp_path: Path) -> None:
    scorecard.require_writable(tmp_path / "out.json")
    assert not list(tmp_path.iterdir())


def test_several_subjects_have_a_file_each() -> None:
    path = Path("a/out.json")
    assert scorecard.path_for(path, "GF-MH@3.5M", 1) == path
    assert scorecard.path_for(path, "GF-MH@3.5M", 2) == Path("a/out.GF-MH@3.5M.json")
    assert scorecard.path_for(path, "hf:some/model", 2) == Path("a/out.hf_some_model.json")


def test_scores_are_mean_rates_of_what_was_measured() -> None:
    checks = (
        result("C4a", rate=0.9),
        result("C4b", "FAIL", rate=0.2),
        result("C4c", "NODATA"),
        result("C5a", "NODATA"),
        result("C6a", "FAIL", rate=None),
        result("C6b", rate=0.5),
        result("C2a", "NODATA", applicable=False),
        result("C2b", rate=0.75),
    )
    found = scorecard.Summary.of(checks, collected=8, reported=8, complete=True, scores=BOOK.scores).scores
    assert {name: (score.value, score.of, score.missing) for name, score in found.items()} == {
        "grounding": (0.75, ("C2b",), ()),
        "instruction": (pytest.approx(0.55), ("C4a", "C4b"), ("C4c",)),
        "isolation": (0.5, ("C6b",), ("C6a",)),
    }


def test_a_scorecard_from_before_there_were_scores_is_read(tmp_path: Path) -> None:
    old = json.loads(scorecard.encode(CARD))
    del old["summary"]["scores"], old["content_sha256"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old), encoding="utf-8")
    found = scorecard.read(path, allow_edited=True)
    assert scorecard.sealed(found) == scorecard.sealed(CARD)
