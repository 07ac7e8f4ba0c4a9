"""The reference of all checks as Markdown, from `checks.yaml`, `scales.yaml` and the table of faults alone."""

from __future__ import annotations

from collections.abc import Mapping

from gt.sabotage import Sabotage
from pytest_groundthink.checks import Check, CheckBook
from pytest_groundthink.report.markdown import plain
from pytest_groundthink.rules import ScaleRule
from pytest_groundthink.verdict import BandSet, Style
from pytest_groundthink.vocabulary import CAPABILITIES, KINDS

HEAD = """# Reference of the checks

Written by `groundthink checks --output docs/checks.md` from `fixtures/checks.yaml`, `fixtures/scales.yaml` and the
table of faults in `gt/sabotage`. Change those, and write it again.

How a verdict comes about: a value inside PASS passes; else inside WARN it warns; anything else, and what is not finite,
fails. Both ends belong to an interval. Profile `default` judges; the others are recorded beside it, where they have a
band. With a *slack* the lower end of the 95% interval must reach the lower end of PASS less the slack as well.

Sources: [F] Fusion Models (observations), [S] Versioning and Strategy (V4 backlog), [M] measured on prototypes with
true RWKV-6 and Mamba-2 layers, [K] measured by `groundthink prove`, [P] this project's choice where the documents are
silent.
"""


def reference(book: CheckBook, scales: Mapping[str, ScaleRule], faults: Mapping[str, Sabotage]) -> str:
    """The reference.

    Args:
        book: The checks; those of a user's own are described like any other.
        scales: What each scale requires.
        faults: The faults that can be planted, by name.
    """
    parts = [HEAD, _contents(book)]
    for kind, question in KINDS.items():
        checks = [check for check in book.checks.values() if check.kind == kind]
        if checks:
            parts.append(f"## {kind}: {question}\n")
            parts += [_section(check, scales, faults) for check in checks]
    if book.planned:
        parts.append("## Not there yet\n")
        parts.append("\n".join(f"- **{id_}** {plain(title)}" for id_, title in book.planned.items()) + "\n")
    return "\n".join(parts)


def _contents(book: CheckBook) -> str:
    rows = ["| check | kind | tier | title |", "|---|---|---|---|"]
    for check in book.checks.values():
        rows.append(f"| [{check.id}](#{_anchor(check)}) | {check.kind} | {check.tier} | {plain(check.title)} |")
    return "\n".join(rows) + "\n"


def _anchor(check: Check) -> str:
    """The anchor that GitHub gives to a heading: lower case, spaces as hyphens, other punctuation left out."""
    kept = "".join(char for char in f"{check.id}: {check.title}".lower() if char.isalnum() or char in " -_")
    return kept.replace(" ", "-")


def _section(check: Check, scales: Mapping[str, ScaleRule], faults: Mapping[str, Sabotage]) -> str:
    needs = ", ".join(CAPABILITIES[capability] for capability in sorted(check.requires))
    required = ", ".join(name for name, rule in scales.items() if check.id in rule.required)
    caught = [f"`{name}` ({plain(fault.summary)})" for name, fault in faults.items() if fault.caught_by == check.id]
    lines = [
        f"### {check.id}: {check.title}\n",
        f"**Measures.** {plain(check.measures)}\n",
        f"**When it fails.** {plain(check.remedy)}\n",
        f"- tier: `{check.tier}`; needs: {needs or 'nothing but logits'}",
        f"- required at: {required or 'no scale'}" + (" (a WARN holds the decision too)" if check.must_pass else ""),
    ]
    if caught:
        lines.append(f"- meant to fail with the fault: {', '.join(caught)}")
    return "\n".join([*lines, "", _bands(check)])


def _bands(check: Check) -> str:
    rows = ["| profile | figure | PASS | WARN | source |", "|---|---|---|---|---|"]
    for profile, bands in check.bands.items():
        rows += _rows(profile, bands, check)
    recorded = [
        style.label or metric
        for metric, style in check.metrics.items()
        if not any(metric in bands.bands for bands in check.bands.values())
    ]
    table = "\n".join(rows) + "\n"
    return table + (f"\nRecorded, not judged: {plain(', '.join(dict.fromkeys(recorded)))}.\n" if recorded else "")


def _rows(profile: str, bands: BandSet, check: Check) -> list[str]:
    source = bands.source + (" (all pass: PASS, some: WARN, none: FAIL)" if bands.combine == "votes" else "")
    rows = []
    for index, (metric, band) in enumerate(bands.bands.items()):
        style = check.metrics.get(metric, Style(label=metric))
        passes = style.show_interval(band.passes)
        if band.slack is not None:
            passes += f", slack {style.show(band.slack)}"
        warn = " or ".join(style.show_interval(interval) for interval in band.warn) or "-"
        if band.strict is not None:
            warn += f" (FAIL with --gt-{band.strict})"
        cells = (profile, style.label or metric, passes, warn, source if index == 0 else "as above")
        rows.append("| " + " | ".join(plain(cell) for cell in cells) + " |")
    return rows
