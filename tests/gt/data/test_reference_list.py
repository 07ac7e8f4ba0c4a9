"""The list of the reference text: what several Pythons have in common."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gt.data import reference_list
from gt.data.reference_text import paragraph_hash

A = "This is the first of the paragraphs that both of the releases have."
SHARED = [f"Sentence number {i} stands in both of the releases, word for word." for i in range(40)]
OLD, NEW = "The older release alone has this one.", "The newer release alone has this one."


def python_with(folder: Path, name: str, paragraphs: list[tuple[str, list[str]]]) -> str:
    """An interpreter whose reference is given."""
    program = folder / name
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(paragraphs)!r})\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_lists_what_all_have_once_under_the_documents_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pieces = [(f"module {i}", [paragraph]) for i, paragraph in enumerate(SHARED)]
    older = python_with(tmp_path, "older", [("topic a", [A, OLD]), ("topic b", [A.upper(), OLD]), *pieces])
    newer = python_with(tmp_path, "newer", [("topic c", [NEW, A, A.upper(), *SHARED])])
    monkeypatch.setattr(sys, "argv", ["reference_list", older, newer])
    reference_list.main()
    lists = json.loads(capsys.readouterr().out)
    assert {**lists["train"], **lists["valid"]} == {
        "topic a": paragraph_hash(A),
        **{name: paragraph_hash(paragraph) for name, (paragraph,) in pieces},
    }
    assert 1 <= len(lists["valid"]) <= 6
