"""The scorecard: everything measured of one subject, how it was judged and from where it comes, as versioned JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gt.measurement import Measurement
from pytest_groundthink import sealing
from pytest_groundthink.checks import Check
from pytest_groundthink.scaling import ScalingFit
from pytest_groundthink.verdict import Status, Threshold, Verdict

if TYPE_CHECKING:
    from gt.subject import SubjectPlan

SCHEMA: Literal["groundthink.scorecard/1"] = "groundthink.scorecard/1"
_FAMILY, _, _VERSION = SCHEMA.partition("/")


class MeasurementRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity; `value` is null where it was not finite, and `note` says what it was.

    `outcomes` has the items of a rate by template, "1" for each right one and "0" for each wrong one; `chance` is what
    a guess among the possible answers would come to, null where there is no such thing.
    """

    name: str
    value: float | None
    unit: str = ""
    n: int = 1
    ci95: tuple[float, float] | None = None
    chance: float | None = None
    note: str = ""
    detail: dict[str, Any] = {}
    outcomes: dict[str, str] = {}

    @classmethod
    def of(cls, m: Measurement) -> MeasurementRecord:
        """The record of a measurement."""
        return cls(
            name=m.metric,
            value=m.value,
            unit=m.unit,
            n=m.n,
            ci95=m.ci95,
            chance=m.chance,
            note=m.note,
            detail=m.detail,
            outcomes=m.outcomes,
        )


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to. `profiles` has the status under the profiles that did not judge."""

    id: str
    title: str
    kind: str
    tier: str
    status: Status
    reason: str
    applicable: bool
    error: bool
    measurements: tuple[MeasurementRecord, ...]
    threshold: Threshold | None
    profiles: dict[str, Status]
    duration_s: float | None
    cached: bool

    @classmethod
    def of(cls, check: Check, verdict: Verdict, duration_s: float | None) -> CheckResult:
        """The result of a check from its verdict."""
        return cls(
            id=check.id,
            title=check.title,
            kind=check.kind,
            tier=check.tier,
            status=verdict.status,
            reason=verdict.reason,
            applicable=verdict.applicable,
            error=verdict.error,
            measurements=tuple(MeasurementRecord.of(m) for m in verdict.measurements),
            threshold=verdict.threshold,
            profiles=verdict.profiles,
            duration_s=None if duration_s is None else round(duration_s, 3),
            cached=verdict.cached,
        )

    def measured(self, name: str) -> MeasurementRecord | None:
        """The measurement of that name; none of a check without data, which was not judged."""
        if self.status is Status.NODATA:
            return None
        return next((m for m in self.measurements if m.name == name), None)


class SubjectSection(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured. Sections that only loading reveals are null where the subject could not be loaded.

    `withheld` is what the `forward` of a model of the user's own offers and its registration leaves out.
    """

    label: str
    model: str
    scale: str | None
    capabilities: tuple[str, ...]
    withheld: tuple[str, ...] = ()
    params: dict[str, int] | None = None
    checkpoint: dict[str, Any] | None = None
    tokenizer: dict[str, Any] | None = None
    device: str | None = None
    dtype: str | None = None
    kernels: dict[str, dict[str, Any]] | None = None
    corpus: dict[str, Any] | None = None
    sabotage: str | None = None

    @classmethod
    def of(cls, label: str, plan: SubjectPlan, described: Mapping[str, Any]) -> SubjectSection:
        """The section of a subject from its plan and, where it could be loaded, from what it said of itself."""
        known = {name: described[name] for name in cls.__struct_fields__ if name in described}
        return cls(
            **{
                "model": plan.spec.name,
                "scale": plan.spec.scale,
                "sabotage": plan.request.sabotage,
                "dtype": plan.request.dtype,
                "capabilities": tuple(sorted(plan.capabilities)),
                **known,
                "label": label,
            }
        )


class ThresholdsUsed(msgspec.Struct, frozen=True, kw_only=True):
    """The profile that judged, and the hash of the files that hold it."""

    profile: str
    sha256: str


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """The commit of the checkout that the package runs from."""

    commit: str
    dirty: bool


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the scorecard comes from. `environment` has versions, thread number and the names of CPU and GPU."""

    version: str
    git: Git | None
    environment: dict[str, Any]
    thresholds: ThresholdsUsed
    seed: int
    command_line: tuple[str, ...]


class DerivedScore(msgspec.Struct, frozen=True, kw_only=True):
    """The mean rate of the checks `of` it that were measured; `missing` are those that were not."""

    value: float
    of: tuple[str, ...]
    missing: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of checks, and scores by name. `complete` is false where the run was cut short.

    A score is there where one of its checks was measured; `checks.yaml` says which ones it has. None is judged.
    """

    counts: dict[Status, int]
    collected: int
    reported: int
    complete: bool
    scores: dict[str, DerivedScore] = {}

    @classmethod
    def of(
        cls,
        checks: Sequence[CheckResult],
        *,
        collected: int,
        reported: int,
        complete: bool,
        scores: Mapping[str, Sequence[str]] | None = None,
    ) -> Summary:
        """Count the checks, and take the mean rate of the checks of every score."""
        counted = Counter(check.status for check in checks)
        derived = {name: _derived(checks, ids) for name, ids in (scores or {}).items()}
        return cls(
            counts={status: counted[status] for status in Status},
            collected=collected,
            reported=reported,
            complete=complete,
            scores={name: score for name, score in derived.items() if score is not None},
        )


def _derived(checks: Sequence[CheckResult], ids: Sequence[str]) -> DerivedScore | None:
    results = {check.id: check for check in checks}
    measured = {id_: results[id_].measured("rate") for id_ in ids if id_ in results}
    rates = {id_: one.value for id_, one in measured.items() if one is not None and one.value is not None}
    if not rates:
        return None
    missing = [id_ for id_ in ids if id_ not in rates and (id_ not in results or results[id_].applicable)]
    return DerivedScore(value=sum(rates.values()) / len(rates), of=tuple(rates), missing=tuple(missing))


class CategoryScore(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the decision matrix: 0-3, its weight, and what the score rests on.

    `score` is null where the row cannot apply to the kind of model: it is left out of the total.
    """

    score: int | None
    weight: float
    evidence: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The score in words."""
        return "n/a" if self.score is None else f"{self.score} of 3"


class LadderFile(msgspec.Struct, frozen=True, kw_only=True):
    """A scorecard that a decision took into account: its file as seen from the run, and its `content_sha256`."""

    path: str
    sha256: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the subject's scale may be left behind, and why.

    `total` is the weighted sum of the categories, scaled up to all weights where some cannot apply.
    `next_steps` says what would change the answer, `notes` how the scorecards that it rests on differ, and `ladder`
    which files these were.
    """

    outcome: Literal["GO", "CAUTION", "HOLD"]
    from_scale: str
    to_scale: str | None
    total: float
    categories: dict[str, CategoryScore]
    blockers: tuple[str, ...]
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scaling: ScalingFit | None = None
    ladder: tuple[LadderFile, ...] = ()


class Scorecard(msgspec.Struct, frozen=True, kw_only=True):
    """One subject, measured and judged.

    `content_sha256` is of everything else in the file (`pytest_groundthink.sealing`); it is set when that is written.
    """

    schema: Literal["groundthink.scorecard/1"] = SCHEMA
    created: str
    subject: SubjectSection
    provenance: Provenance
    checks: tuple[CheckResult, ...]
    summary: Summary
    decision: Decision | None = None
    content_sha256: str = ""

    def check(self, id_: str) -> CheckResult | None:
        """The result of a check, or None where it was not part of the run."""
        return next((check for check in self.checks if check.id == id_), None)


def now() -> str:
    """The time of creation, UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def decided(card: Scorecard, decision: Decision) -> Scorecard:
    """The scorecard with its decision."""
    return msgspec.structs.replace(card, decision=decision)


def schema() -> bytes:
    """The JSON Schema of a scorecard, as published in `docs/scorecard.schema.json`."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        **msgspec.json.schema(Scorecard),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def sealed(card: Scorecard) -> Scorecard:
    """The scorecard with the hash of its content."""
    content = msgspec.json.decode(msgspec.json.encode(card))
    return msgspec.structs.replace(card, content_sha256=sealing.content_hash(content))


def encode(card: Scorecard) -> bytes:
    """The scorecard, sealed, as indented JSON (msgspec writes non-finite numbers as null)."""
    return msgspec.json.format(msgspec.json.encode(sealed(card)), indent=2) + b"\n"


def read(path: Path, *, allow_edited: bool = False) -> Scorecard:
    """Read a scorecard.

    Args:
        path: The file.
        allow_edited: Also take one that was changed after it was written, or that has no hash to tell.

    Raises:
        ValueError: If there is none: one line that says what is wrong.
    """
    return read_flagged(path, allow_edited=allow_edited)[0]


def read_flagged(path: Path, *, allow_edited: bool = False) -> tuple[Scorecard, sealing.Integrity]:
    """As `read`, and whether the file is what was written."""
    try:
        content = msgspec.json.decode(path.read_bytes())
        if isinstance(content, dict):
            _require_readable_version(path, content.get("schema"))
        card = msgspec.convert(content, Scorecard)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        cut = " (cut short?)" if "truncated" in str(error) else ""
        raise ValueError(f"{path}: is no {SCHEMA}: {error}{cut}") from None
    state = sealing.integrity(content)
    if state != "intact" and not allow_edited:
        what = "was changed after it was written" if state == "edited" else "has no content_sha256 (unsigned)"
        raise ValueError(f"{path}: {what}: measure it again, or accept it as it is with --allow-edited")
    return card, state


def _require_readable_version(path: Path, schema: object) -> None:
    family, _, version = str(schema).partition("/")
    if family == _FAMILY and version.isdecimal() and int(version) > int(_VERSION):
        raise ValueError(f"{path}: has schema {schema}, this version reads {SCHEMA}: install a newer groundthink")


def write(card: Scorecard, path: Path) -> None:
    """Write a scorecard so that a reader finds the old file or the new one, never a part of it.

    Raises:
        OSError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(encode(card))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Find out before the run whether the scorecard can be written after it.

    Raises:
        ValueError: If it cannot: one line.
    """
    if path.is_dir():
        raise ValueError(f"--scorecard {path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise ValueError(f"--scorecard {path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and not os.access(path, os.W_OK):
        raise ValueError(f"--scorecard {path}: the file there is write-protected")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--scorecard {path}: cannot be written: {error.strerror or error}") from None


def path_for(path: Path, label: str, count: int) -> Path:
    """Where the scorecard of one of `count` subjects goes: `out.json` itself, or `out.LABEL.json`."""
    if count == 1:
        return path
    safe = "".join(char if char.isalnum() or char in "@.+-#_" else "_" for char in label)
    return path.with_name(f"{path.stem}.{safe}{path.suffix}")
