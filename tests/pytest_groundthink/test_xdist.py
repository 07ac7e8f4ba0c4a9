"""The same scorecard with and without workers, and what is left when a worker dies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .projects import ALL_PASS, STATUSES, asking


def card(pytester: pytest.Pytester, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((pytester.path / name).read_text(encoding="utf-8"))
    del loaded["created"], loaded["content_sha256"]
    del loaded["provenance"]["command_line"]
    for check in loaded["checks"]:
        del check["duration_s"]
    return loaded


def test_two_workers_give_the_same_scorecard(judged: pytest.Pytester) -> None:
    judged.makepyfile(STATUSES)
    arguments = ("-m", "graduation", "--model=GF-MH", "--model=GPT2")
    alone = judged.runpytest(*arguments, "--scorecard=a.json", judged.path)
    together = judged.runpytest(*arguments, "--scorecard=b.json", "-n2", judged.path)
    assert alone.ret == together.ret == 1
    for label in ("GF-MH@3.5M", "GPT2@3.5M"):
        assert card(judged, f"a.{label}.json") == card(judged, f"b.{label}.json")
        assert card(judged, f"b.{label}.json")["decision"]["outcome"] == "HOLD"


def test_a_crashed_worker_leaves_no_data(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        ALL_PASS
        + """
    @check("S3")
    def test_crash(subject, judge):
        import os
        os._exit(1)
"""
    )
    result = judged.runpytest("-n2", "-m", "graduation", "--scorecard=out.json", judged.path)
    assert result.ret == 1
    loaded = card(judged, "out.json")
    by_id = {check["id"]: check for check in loaded["checks"]}
    assert by_id["S3"]["status"] == "NODATA"
    assert "crashed while running" in by_id["S3"]["reason"]
    assert {by_id[id_]["status"] for id_ in ("G1a", "S0", "C1a")} == {"PASS"}
    assert any(blocker.startswith("S3") and "crashed" in blocker for blocker in loaded["decision"]["blockers"])


def test_tests_of_a_user_are_seen_without_any_option(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest("-n1")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*groundthink: GF-MH@3.5M*", "G1a*PASS*"])


def test_usage_errors_come_before_the_workers(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest("-n1", "--model=NONE", judged.path)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: unknown model 'NONE': nearest is GF-MH"])


def test_an_error_in_a_worker_keeps_its_traceback(judged: pytest.Pytester) -> None:
    judged.makepyfile(asking({"G1a": 'raise RuntimeError("deep down")'}))
    result = judged.runpytest("-n1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*G1a of GF-MH@3.5M raised*", "RuntimeError: deep down", "*NODATA!*deep down*"])
