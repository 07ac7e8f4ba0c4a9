"""Test files of judged projects, and their scorecards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from pytest_groundthink import scorecard

VALIDATOR = jsonschema.Draft202012Validator(json.loads(scorecard.schema()))
HEAD = """
    import pytest
    from gt.measurement import Measurement as M, Unmeasurable
    from pytest_groundthink import check
"""
STATUSES = (
    HEAD
    + """
    @check("G1a")
    def test_pass(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("G2")
    def test_pass_but_not_in_v4(subject, judge):
        judge((M(metric="entropy_share", value=0.99), M(metric="entropy_nats", value=8.9)))

    @check("G4")
    def test_warn(subject, judge):
        judge(M(metric="grad_ratio", value=0.12))

    @check("G1b")
    def test_fail(subject, judge):
        judge(M(metric="future_leak", value=0.5, note="worst: token 7"))

    @check("G1d")
    def test_not_finite(subject, judge):
        judge(M(metric="batch_error", value=None, note="value is nan"))

    @check("S0")
    def test_unmeasurable(subject, judge):
        raise Unmeasurable("nothing there")

    @check("S3")
    def test_not_judged(subject, judge):
        judge(M(metric="something_else", value=1.0))
"""
)
ALL_PASS = (
    HEAD
    + """
    @check("G1a")
    def test_a(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("S0")
    def test_b(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("C1a")
    def test_c(subject, judge):
        judge(M(metric="rate", value=0.99, n=400, ci95=(0.97, 1.0)))
"""
)


def asking(bodies: Mapping[str, str]) -> str:
    """A test file that asks checks, each with a test of one statement."""
    tests = (
        f'\n    @check("{id_}")\n    def test_{place}(subject, judge):\n        {body}\n'
        for place, (id_, body) in enumerate(bodies.items())
    )
    return HEAD + "".join(tests)


def read(pytester: pytest.Pytester, name: str = "out.json") -> dict[str, Any]:
    card: dict[str, Any] = json.loads((pytester.path / name).read_text(encoding="utf-8"))
    VALIDATOR.validate(card)
    return card


def statuses(card: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in card["checks"]}
