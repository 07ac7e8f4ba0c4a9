from __future__ import annotations

import re
from pathlib import Path

import pytest

from gt.sabotage import SABOTAGES
from pytest_groundthink.report.reference import reference
from pytest_groundthink.report_command import checks
from pytest_groundthink.vocabulary import KINDS

from .report_cards import BOOK, SCALES

PUBLISHED = Path(__file__).parents[2] / "docs" / "checks.md"
OWN = """\
version: 1
checks:
  MY1:
    title: speed of thought
    kind: learning
    tier: extended
    requires: [states]
    measures: Something of my own.
    remedy: Think again.
    metrics: {speed: {label: speed}, other: {label: mood}}
    bands:
      default:
        source: "[P] mine"
        speed: {pass: [10, null], warn: [[5, 10]]}
"""


def test_the_published_reference_is_current() -> None:
    current = reference(BOOK, SCALES, SABOTAGES)
    assert PUBLISHED.read_text(encoding="utf-8") == current, "run: groundthink checks --output docs/checks.md"


def test_every_check_says_what_and_why_and_what_to_do() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### ([^:]+): (.*?)(?=^### |^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert list(sections) == [id_ for kind in KINDS for id_, check in BOOK.checks.items() if check.kind == kind]
    for section in sections.values():
        assert "**Measures.** " in section
        assert "**When it fails.** " in section
        assert "| default |" in section


def test_links_within_lead_to_a_heading() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) == len(BOOK.checks)
    assert set(links) <= headings


def test_a_check_of_the_users_own_is_described_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text(OWN, encoding="utf-8")
    checks(own=tmp_path / "own.yaml")
    section = capsys.readouterr().out.split("### MY1: speed of thought")[1].split("\n## ")[0]
    assert "needs: recurrent states" in section
    assert "- required at: no scale" in section
    assert "| default | speed | &gt;= 10 | 5 to 10 | \\[P\\] mine |" in section
    assert "Recorded, not judged: mood." in section


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        checks(own=tmp_path / "none.yaml")
    assert ended.value.code == 4
    assert capsys.readouterr().err.count("\n") == 1
