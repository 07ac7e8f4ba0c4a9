"""Whole scorecards of models that meet everything, to take something away from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gt import registry
from gt.models.config import parameter_counts
from gt.resources import fixtures_dir
from pytest_groundthink.checks import load_checks
from pytest_groundthink.decision import decide
from pytest_groundthink.ladder import build_ladder
from pytest_groundthink.rules import load_matrix, load_scales
from pytest_groundthink.scorecard import (
    CheckResult,
    Decision,
    MeasurementRecord,
    Provenance,
    Scorecard,
    SubjectSection,
    Summary,
    ThresholdsUsed,
)
from pytest_groundthink.verdict import Status, Threshold

MATRIX = load_matrix(fixtures_dir() / "decision.yaml")
BOOK = load_checks(fixtures_dir() / "checks.yaml")
SCALES = load_scales(fixtures_dir() / "scales.yaml")
TOKENS = 100_000_000
RUNGS = {
    "3.5M": ("TINY", "1M", "2M"),
    "8M": ("1M", "2M", "3.5M"),
    "30M": ("2M", "3.5M", "8M"),
    "125M": ("2M", "3.5M", "8M", "30M"),
}
"""Scales of the ladder below each scale."""
DECIDED = tuple(RUNGS)

TRAINING = {"hashes": {"books.txt": "ab" * 32}, "valid": [], "length": 256, "weight_decay": 0.1, "lr": 2e-3, "seed": 0}


def law(compute: float) -> float:
    """The loss that every model of these tests has, in nats."""
    return 90.0 * compute**-0.09


def check(
    id_: str, status: str = "PASS", measurements: tuple[MeasurementRecord, ...] = (), **fields: Any
) -> CheckResult:
    known = BOOK.checks.get(id_)
    rate = fields.pop("rate", None)
    if rate is not None:
        measurements = (*measurements, MeasurementRecord(name="rate", value=rate, n=400, **fields.pop("of_rate", {})))
    return CheckResult(
        id=id_,
        title=known.title if known else id_,
        kind=known.kind if known else "canary",
        tier=known.tier if known else "standard",
        status=Status(status),
        reason=fields.pop("reason", ""),
        applicable=fields.pop("applicable", True),
        error=False,
        measurements=measurements,
        threshold=fields.pop(
            "threshold", Threshold(passes={"rate": (0.85, None)}, warn={"rate": ((0.5, None),)}, source="")
        ),
        profiles={},
        duration_s=None,
        cached=False,
    )


def point(name: str, value: float | None, **fields: Any) -> MeasurementRecord:
    return MeasurementRecord(name=name, value=value, **fields)


def whole(
    scale: str,
    *,
    seed: int = 0,
    kind: str = "GF-MH",
    tokens: int = TOKENS,
    loss: float | None = None,
    error: float = 0.05,
    rate: float = 0.97,
    training: Mapping[str, Any] | None = None,
    **subject: Any,
) -> Scorecard:
    """A scorecard in which every required check passes; its loss follows the law."""
    params = parameter_counts(registry.resolve(kind, scale).config())[0]
    found = law(6.0 * params * tokens) if loss is None else loss
    rule = SCALES[scale]
    special = {
        "L2": check("L2", measurements=(point("loss_reduction", 0.3), point("valid_loss", found, unit="nats", n=32))),
        "R1": check("R1", measurements=(point("worst_error", error, ci95=(error / 2, error * 2), n=5),)),
        "NIAH": check("NIAH", rate=rate),
        "NIAH-16K": check("NIAH-16K", rate=0.3, of_rate={"detail": {"accuracy": {"16384": 0.3}}}),
        "LongBench": None,
        "InfiniteBench": None,
    }
    results = tuple(
        one
        for id_ in dict.fromkeys((*rule.required, "L4", *sorted(rule.asked)))
        if (one := special.get(id_, check(id_, rate=rate) if id_.startswith("C") else check(id_))) is not None
    )
    return Scorecard(
        created="2026-01-01T00:00:00+00:00",
        subject=SubjectSection(
            **{
                "label": f"{kind}@{scale}",
                "model": kind,
                "scale": scale,
                "capabilities": ("subword_tokenizer",),
                "params": {"total": params, "non_embedding": params},
                "checkpoint": {
                    "path": f"runs/{scale}",
                    "sha256": f"{scale}-{seed}-{kind}-{tokens}-{loss}",
                    "step": 1000,
                    "tokens": tokens,
                    "training": {**TRAINING, "seed": seed, **(training or {})},
                },
                "tokenizer": {"kind": "bpe", "vocab_size": 8192, "sha256": "cd" * 32},
                "device": "cpu",
                "dtype": "float32",
                "corpus": {"name": "books", "sha256": "ef" * 32, "tokens": 1000},
                **subject,
            }
        ),
        provenance=Provenance(
            version="1",
            git=None,
            environment={"torch": "2.13.0"},
            thresholds=ThresholdsUsed(profile="default", sha256=BOOK.sha256),
            seed=0,
            command_line=("pytest",),
        ),
        checks=results,
        summary=Summary.of(results, collected=len(results), reported=len(results), complete=True),
    )


def law_at(scale: str) -> float:
    """The loss at a scale."""
    return build_ladder(whole(scale), [], 0.05).runs[0].point.loss


def evidence(scale: str, factor: float = 1.0, **fields: Any) -> tuple[Scorecard, list[Scorecard]]:
    """A scorecard that is a GO, and the others that make it one: a ladder, and a second run.

    Args:
        scale: Of the subject.
        factor: Of its loss; 1 lies on the law.
        **fields: As in `whole`.
    """
    own, second = law_at(scale) * factor, law_at(scale) * factor * 0.999
    others = [*(whole(rung) for rung in RUNGS[scale]), whole(scale, seed=1, loss=second)]
    return whole(scale, loss=own, **fields), others


def without(card: Scorecard, *ids: str) -> Scorecard:
    """The scorecard less some checks."""
    return msgspec.structs.replace(card, checks=tuple(one for one in card.checks if one.id not in ids))


def changed(card: Scorecard, *results: CheckResult) -> Scorecard:
    """The scorecard with some checks in place of its own of the same id."""
    by_id = {one.id: one for one in card.checks} | {one.id: one for one in results}
    return msgspec.structs.replace(card, checks=tuple(by_id.values()))


SPIKY = [check(id_, "WARN") for id_ in ("G2", "G3", "G4")]


def decision_of(card: Scorecard, others: list[Scorecard]) -> Decision:
    return decide(card, SCALES[str(card.subject.scale)], MATRIX, BOOK, others)


def said(lines: tuple[str, ...], *words: str) -> bool:
    return any(all(word in line for word in words) for line in lines)
