"""Loads and validates `fixtures/checks.yaml`: what every check is, and the bands that judge it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pytest_groundthink.located import Keys, LocatedFile
from pytest_groundthink.verdict import Band, BandSet, Style
from pytest_groundthink.vocabulary import CAPABILITIES, KINDS, TIERS

STRICT_OPTIONS = frozenset({"require-kernels"})


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One check, as `checks.yaml` describes it.

    Attributes:
        id: Its id, for example "G1a".
        title: A few words.
        kind: Kind marker of its test.
        tier: Smallest tier that contains it.
        requires: Capabilities without which it cannot be measured.
        measures: What it measures, in a sentence.
        remedy: What to do when it fails, in a sentence.
        must_pass: Whether a WARN holds a decision that requires it.
        metrics: How its metrics are shown.
        bands: Bands by profile.
    """

    id: str
    title: str
    kind: str
    tier: str
    requires: frozenset[str]
    measures: str
    remedy: str
    must_pass: bool = False
    metrics: dict[str, Style] = {}
    bands: dict[str, BandSet] = {}

    def style(self, metric: str) -> Style:
        """How a metric of this check is shown."""
        return self.metrics.get(metric, Style(label=metric))


class CheckBook(msgspec.Struct, frozen=True, kw_only=True):
    """All checks, in the order of the file.

    Attributes:
        checks: Check by id.
        planned: Title by id of the checks that do not exist yet.
        profiles: Meaning by name of profile.
        sha256: Hash of the files it was read from.
        scores: Ids of the checks whose rates a score is the mean of, by name of score.
    """

    checks: dict[str, Check]
    planned: dict[str, str]
    profiles: dict[str, str]
    sha256: str
    scores: dict[str, tuple[str, ...]] = {}


def load_checks(path: Path, extra: Path | None = None) -> CheckBook:
    """Read the shipped checks and, over them, a user's own.

    Args:
        path: The shipped `checks.yaml`.
        extra: A file of the same form (only its `version` and `checks` are needed). Its checks replace those of the
            same id, as wholes, and come after the others where they are new; so do its scores.

    Raises:
        FixtureError: If a file cannot be used: one line with file, line and key.
    """
    shipped = _read(path, profiles=None)
    if extra is None:
        return shipped
    own = _read(extra, profiles=shipped.profiles)
    checks = {**shipped.checks, **own.checks}
    return CheckBook(
        checks=checks,
        planned={id_: title for id_, title in {**shipped.planned, **own.planned}.items() if id_ not in checks},
        profiles=own.profiles,
        sha256=hashlib.sha256((shipped.sha256 + own.sha256).encode()).hexdigest(),
        scores={**shipped.scores, **own.scores},
    )


def _read(path: Path, profiles: Mapping[str, str] | None) -> CheckBook:
    file = LocatedFile(path)
    file.section(())
    for key in file.data:
        if key not in ("version", "profiles", "checks", "scores", "planned"):
            raise file.error((key,), "unknown key; expected version, profiles, checks, scores or planned")
    if file.data.get("version") != 1:
        raise file.error(("version",), f"expected 1, got {file.data.get('version')!r}")
    optional: dict[str, str] | None = None if profiles is None else {}
    known = dict(profiles or {}) | file.convert(
        ("profiles",), file.section(("profiles",), default=optional), dict[str, str]
    )
    planned = file.convert(("planned",), file.section(("planned",), default={}), dict[str, str])
    checks = {id_: _check(file, id_, known) for id_ in file.section(("checks",))}
    for id_ in planned:
        if id_ in checks:
            raise file.error(("planned", id_), "is planned, but exists among the checks")
    scores = file.convert(("scores",), file.section(("scores",), default={}), dict[str, tuple[str, ...]])
    # A user's own file may sum up shipped checks, which are not in it.
    for name, ids in scores.items():
        if unknown := [id_ for id_ in ids if profiles is None and id_ not in checks.keys() | planned.keys()]:
            raise file.error(("scores", name), f"expected ids of checks, got {', '.join(unknown)}")
    return CheckBook(
        checks=checks,
        planned=planned,
        profiles=known,
        sha256=hashlib.sha256(file.content).hexdigest(),
        scores=scores,
    )


def _check(file: LocatedFile, id_: str, profiles: Mapping[str, str]) -> Check:
    keys: Keys = ("checks", id_)
    entry = dict(file.section(keys))
    if "id" in entry:
        raise file.error((*keys, "id"), "the id is the key of the check; remove it here")
    if "[" in id_ or "]" in id_ or not id_.isprintable() or " " in id_:
        raise file.error(keys, "an id has no spaces or brackets")
    styles = {
        metric: file.convert((*keys, "metrics", metric), style, Style)
        for metric, style in file.section((*keys, "metrics"), default={}).items()
    }
    bands = {profile: _bands(file, id_, profile) for profile in file.section((*keys, "bands"))}
    for profile in bands:
        if profile not in profiles:
            raise file.error((*keys, "bands", profile), f"unknown profile; expected one of {', '.join(profiles)}")
    check = file.convert(keys, {**entry, "id": id_, "metrics": {}, "bands": {}}, Check)
    for key, value, allowed in (("kind", check.kind, KINDS), ("tier", check.tier, TIERS)):
        if value not in allowed:
            raise file.error((*keys, key), f"expected one of {', '.join(allowed)}, got {value!r}")
    for capability in sorted(check.requires - CAPABILITIES.keys()):
        raise file.error((*keys, "requires"), f"expected some of {', '.join(CAPABILITIES)}, got {capability!r}")
    return msgspec.structs.replace(check, metrics=styles, bands=bands)


def _bands(file: LocatedFile, id_: str, profile: str) -> BandSet:
    keys: Keys = ("checks", id_, "bands", profile)
    entry: dict[str, Any] = dict(file.section(keys))
    combine = entry.pop("combine", "worst")
    if combine not in ("worst", "votes"):
        raise file.error((*keys, "combine"), f"expected worst or votes, got {combine!r}")
    source = entry.pop("source", None)
    if not isinstance(source, str) or not source:
        raise file.error((*keys, "source"), "every band needs a source, in words")
    if not entry:
        raise file.error(keys, "has no band; name at least one metric")
    bands = {metric: file.convert((*keys, metric), band, Band) for metric, band in entry.items()}
    for metric, band in bands.items():
        if band.strict is not None and band.strict not in STRICT_OPTIONS:
            expected = ", ".join(sorted(STRICT_OPTIONS))
            raise file.error((*keys, metric, "strict"), f"expected {expected}, got {band.strict!r}")
    return BandSet(source=source, bands=bands, combine=combine)
