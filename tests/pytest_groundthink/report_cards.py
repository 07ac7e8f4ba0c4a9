"""Scorecards for tests of what is done with them: made of real structs, and judged by the shipped bands."""

from __future__ import annotations

from typing import Any

import msgspec

from gt.measurement import Measurement
from gt.resources import fixtures_dir
from pytest_groundthink.checks import load_checks
from pytest_groundthink.decision import decide
from pytest_groundthink.report.statefulness import load_conditions
from pytest_groundthink.rules import load_matrix, load_scales
from pytest_groundthink.scorecard import (
    CheckResult,
    Git,
    Provenance,
    Scorecard,
    SubjectSection,
    Summary,
    ThresholdsUsed,
    decided,
)
from pytest_groundthink.verdict import Status, Verdict

BOOK = load_checks(fixtures_dir() / "checks.yaml")
CONDITIONS = load_conditions(fixtures_dir() / "statefulness.yaml")
MATRIX = load_matrix(fixtures_dir() / "decision.yaml")
SCALES = load_scales(fixtures_dir() / "scales.yaml")


def judged(id_: str, *measurements: Measurement, **fields: Any) -> CheckResult:
    """A check that the shipped default bands judged."""
    check = BOOK.checks[id_]
    status, reason, threshold = check.bands["default"].judge(measurements, check.metrics)
    verdict = Verdict(
        check=id_,
        subject="",
        status=status,
        reason=reason,
        profile="default",
        measurements=measurements,
        threshold=threshold,
        **fields,
    )
    return CheckResult.of(check, verdict, 1.5)


def result(id_: str, status: str, reason: str = "", **fields: Any) -> CheckResult:
    """A check of that status, without figures."""
    verdict = Verdict(check=id_, subject="", status=Status(status), reason=reason, profile="default", **fields)
    return CheckResult.of(BOOK.checks[id_], verdict, None)


def rate(id_: str, share: float, low: float, high: float, **fields: Any) -> CheckResult:
    """A canary."""
    return judged(id_, Measurement(metric="rate", value=share, n=400, ci95=(low, high), **fields))


def card(*checks: CheckResult, scale: str = "3.5M", step: int | None = 100, **subject: Any) -> Scorecard:
    """A scorecard with a decision by the shipped rules."""
    section = {
        "label": f"GF-MH@{scale}",
        "model": "GF-MH",
        "scale": scale,
        "capabilities": ("subword_tokenizer",),
        "params": {"total": 4_164_840, "non_embedding": 3_116_264},
        "checkpoint": None if step is None else {"path": "runs/first", "sha256": "0" * 64, "step": step},
        "kernels": {"wkv6": {"backend": "chunked", "reason": "fastest on this device"}},
        "device": "cpu",
        "dtype": "float32",
        **subject,
    }
    made = Scorecard(
        created="2026-01-01T00:00:00+00:00",
        subject=msgspec.convert(section, SubjectSection),
        provenance=Provenance(
            version="0.1.0",
            git=Git(commit="a" * 40, dirty=False),
            environment={"python": "3.11.7", "torch": "2.13.0", "gpu": None},
            thresholds=ThresholdsUsed(profile="default", sha256=BOOK.sha256),
            seed=0,
            command_line=("pytest", "-m", "graduation"),
        ),
        checks=checks,
        summary=Summary.of(checks, collected=len(checks), reported=len(checks), complete=True),
    )
    return decided(made, decide(made, SCALES[scale], MATRIX, BOOK))


WRONG = {"said": "My cat is called <Nine|Lives>.", "asked": "Who?", "expected": ["Nine"], "got": "*", "why": "empty"}
CURVE = [{"context": n, "loss": 5 - n / 200, "ppl": 100.0, "ci95": (4.0, 5.0)} for n in (8, 64, 128)]
MIXED = card(
    judged("G1a", Measurement(metric="good_share", value=1.0, n=8)),
    judged("G1b", Measurement(metric="future_leak", value=0.5, note="token <b>7</b>")),
    judged("G1d", Measurement(metric="batch_error", value=None, note="value is nan")),
    judged("G4", Measurement(metric="grad_ratio", value=0.12, n=8, ci95=(0.1, 0.14)), profiles={"v4": Status.WARN}),
    judged(
        "D1",
        Measurement(
            metric="max_growth",
            value=2.7,
            n=8,
            ci95=(2.5, 3.0),
            note="rwkv",
            detail={"rwkv": {"64": 3000.0, "512": 8200.0}, "mamba": {"64": 11.0, "512": 10.0}},
        ),
        Measurement(metric="growth_rwkv", value=2.7),
        Measurement(metric="growth_mamba", value=0.9),
    ),
    judged(
        "LRD",
        Measurement(
            metric="context_benefit", value=0.08, n=32, ci95=(0.06, 0.1), detail={"curve": CURVE, "claimed": 64}
        ),
    ),
    result("D6", "NODATA", "RuntimeError: the | pipe", error=True),
    result("D5", "NODATA", "not required of this kind of model", applicable=False),
    rate("C1a", 0.97, 0.95, 0.98),
    rate("C1b-lite", 0.40, 0.35, 0.45, detail={"wrong": [WRONG]}),
)
"""Every verdict, hostile text, a picture, figures of components, and a HOLD."""


def rung(scale: str, params: int, loss: float) -> Scorecard:
    """A run of a ladder: what was trained alike, with its loss on the common text."""
    return card(
        judged("L2", Measurement(metric="loss_reduction", value=0.2), Measurement(metric="valid_loss", value=loss)),
        scale=scale,
        params={"total": params, "non_embedding": params},
        tokenizer={"kind": "subword", "vocab_size": 8192, "sha256": "1" * 64},
        corpus={"name": "prose", "sha256": "2" * 64, "tokens": 1000},
        checkpoint={
            "path": f"runs/{scale}",
            "sha256": f"{params:064d}",
            "step": 1000,
            "tokens": 50_000_000,
            "training": {"optimizer": "adamw", "seed": 0},
        },
    )


LADDER = [
    rung(scale, params, 3 + 40 * params**-0.3)
    for scale, params in (("0.3M", 700_000), ("1M", 1_400_000), ("2M", 2_600_000), ("3.5M", 4_200_000))
]
"""Four scales whose loss falls as a power of their size."""
