"""Scorecards made by hand, of checks with values, bands and outcomes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgspec

from gt.stats import cluster_bootstrap
from pytest_groundthink.scorecard import (
    CategoryScore,
    CheckResult,
    Decision,
    Git,
    MeasurementRecord,
    Provenance,
    Scorecard,
    SubjectSection,
    Summary,
    ThresholdsUsed,
)
from pytest_groundthink.verdict import Interval, Status, Threshold

TEMPLATES, VALUES = 40, 10


def outcomes(right: float, seed: int = 0, templates: int = TEMPLATES) -> dict[str, str]:
    """Items of which a share is right; one seed gives nested sets: what is right at a share is so at a higher one."""
    draw = random.Random(seed)
    return {f"t{i}": "".join("01"[draw.random() < right] for _ in range(VALUES)) for i in range(templates)}


def rate(id_: str, right: Mapping[str, str], status: str = "PASS", kind: str = "canary") -> CheckResult:
    """A check that judges a rate."""
    value, low, high = cluster_bootstrap({name: [int(one) for one in own] for name, own in right.items()}, seed=0)
    n = sum(map(len, right.values()))
    record = MeasurementRecord(name="rate", value=value, n=n, ci95=(low, high), outcomes=dict(right))
    return check(id_, status, record, passes={"rate": (0.9, None)}, kind=kind)


def check(
    id_: str,
    status: str = "PASS",
    *records: MeasurementRecord,
    passes: dict[str, Interval] | None = None,
    kind: str = "state",
    **fields: Any,
) -> CheckResult:
    return CheckResult(
        **{
            "id": id_,
            "title": f"title of {id_}",
            "kind": kind,
            "tier": "minimal",
            "status": Status(status),
            "reason": "",
            "applicable": True,
            "error": False,
            "measurements": records,
            "threshold": Threshold(passes=passes, warn={}, source="a test", combine="worst")
            if passes is not None
            else None,
            "profiles": {},
            "duration_s": None,
            "cached": False,
            **fields,
        }
    )


def value(
    name: str, number: float | None, note: str = "", ci95: tuple[float, float] | None = None
) -> MeasurementRecord:
    return MeasurementRecord(name=name, value=number, note=note, ci95=ci95)


def card(
    *checks: CheckResult,
    outcome: str | None = None,
    total: float = 0.0,
    created: str = "2026-01-01T00:00:00+00:00",
    label: str = "GF-MH@3.5M",
    seed: int = 0,
    commit: str | None = None,
    step: int | None = None,
    corpus: str = "c" * 64,
    thresholds: str = "f" * 64,
) -> Scorecard:
    decision = None
    if outcome is not None:
        decision = Decision(
            outcome=outcome,  # type: ignore[arg-type]
            from_scale="3.5M",
            to_scale="8M",
            total=total,
            categories={"architecture stability": CategoryScore(score=int(total) % 4, weight=1.5, evidence=())},
            blockers=(),
            reasons=(),
        )
    subject = SubjectSection(
        label=label,
        model=label.partition("@")[0],
        scale=label.partition("@")[2],
        capabilities=(),
        checkpoint=None if step is None else {"path": "x", "sha256": "a" * 64, "step": step, "tokens": None},
        corpus={"name": "text", "sha256": corpus, "tokens": 10},
        tokenizer={"kind": "subword", "vocab_size": 10, "sha256": "b" * 64},
    )
    provenance = Provenance(
        version="0",
        git=None if commit is None else Git(commit=commit, dirty=False),
        environment={},
        thresholds=ThresholdsUsed(profile="default", sha256=thresholds),
        seed=seed,
        command_line=(),
    )
    return Scorecard(
        created=created,
        subject=subject,
        provenance=provenance,
        checks=checks,
        summary=Summary.of(checks, collected=len(checks), reported=len(checks), complete=True),
        decision=decision,
    )


def sabotaged(of: Scorecard, fault: str) -> Scorecard:
    return msgspec.structs.replace(of, subject=msgspec.structs.replace(of.subject, sabotage=fault))
