"""`groundthink decide`: the decision of scorecards that are files, on any machine, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gt.resources import fixtures_dir
from pytest_groundthink import scorecard
from pytest_groundthink.checks import CheckBook, load_checks
from pytest_groundthink.decision import decide
from pytest_groundthink.ladder import find_recorded, recorded
from pytest_groundthink.rules import load_matrix, load_scales
from pytest_groundthink.scorecard import Decision, Scorecard
from pytest_groundthink.sealing import Integrity

EXIT_STATUS = {"GO": 0, "CAUTION": 10, "HOLD": 20}
BAD_INPUT = 4
FLAGS = {"edited": "was changed after it was written", "unsigned": "has no hash that tells whether it was changed"}
"""What is wrong with a scorecard file that is not what was written."""


class Given(msgspec.Struct, frozen=True):
    """A scorecard, the file that it was read from, and whether that is what was written.

    Attributes:
        named: Whether the file itself was named, rather than a folder that it lies in.
    """

    path: Path
    card: Scorecard
    integrity: Integrity
    named: bool


def read_given(paths: Sequence[Path], allow_edited: bool) -> list[Given]:
    """Read scorecards from files and folders.

    Raises:
        ValueError: One line: there is none, or one cannot be used.
    """
    files: dict[Path, bool] = {}
    for path in paths:
        if path.is_dir():
            files = dict.fromkeys(sorted(path.glob("*.json")), False) | files
        else:
            files[path] = True
    if not files:
        raise ValueError("no scorecard was given: name files, or folders of them")
    return [
        Given(file, *scorecard.read_flagged(file, allow_edited=allow_edited), named) for file, named in files.items()
    ]


def choose_subject(given: Sequence[Given], subject: str | None) -> Given:
    """The scorecard to decide on: the one that `subject` names by file or label, else the one with the most parameters.

    Of several as large, the one whose own file was given goes before those that lie in a folder.

    Raises:
        ValueError: One line: none is named so, or several are and nothing tells which is meant.
    """
    if subject is not None:
        named = [one for one in given if subject in (one.card.subject.label, str(one.path), one.path.name)]
        if not named:
            known = ", ".join(f"{one.path} ({one.card.subject.label})" for one in given)
            raise ValueError(f"--subject {subject}: no such scorecard; there are {known}")
        return _only(named)
    size = [(one.card.subject.params or {}).get("total", 0) for one in given]
    largest = [one for one, own in zip(given, size, strict=True) if own == max(size)]
    return _only([one for one in largest if one.named] or largest)


def _only(found: Sequence[Given]) -> Given:
    if len(found) > 1:
        paths = ", ".join(str(one.path) for one in found)
        raise ValueError(f"{len(found)} scorecards could be the subject ({paths}): name the file with --subject")
    return found[0]


def decide_files(
    paths: Sequence[Path], subject: str | None = None, checks: Path | None = None, allow_edited: bool = False
) -> tuple[Scorecard, Decision]:
    """Decide on one of several scorecards; the others are its ladder and its other runs.

    Args:
        paths: Files and folders.
        subject: File or label of the one to decide on; the largest model if None.
        checks: The user's own checks, as for `--gt-checks`.
        allow_edited: Take files that were changed after they were written too, and say so.

    Returns:
        The subject's scorecard and the decision, whose notes say how the scorecards differ.

    Raises:
        ValueError: One line: what is wrong with the files.
    """
    given = read_given(paths, allow_edited)
    chosen = choose_subject(given, subject)
    card = chosen.card
    ladder, missing = _recorded_ladder(given, chosen)
    rule = load_scales(fixtures_dir() / "scales.yaml").get(str(card.subject.scale))
    if rule is None:
        raise ValueError(
            f"{chosen.path}: its subject {card.subject.label} has no scale whose requirements are known: judge it with "
            "--gt-scale"
        )
    book = load_checks(fixtures_dir() / "checks.yaml", checks)
    others = [one.card for one in (*given, *ladder) if one is not chosen]
    paths_by_card = {id(one.card): str(one.path) for one in (*given, *ladder)}
    matrix = load_matrix(fixtures_dir() / "decision.yaml")
    decision = decide(card, rule, matrix, book, others, lambda other: paths_by_card[id(other)])
    notes = (*_notes(given, chosen, book), *missing, *decision.notes)
    used = recorded({one.path: one.card for one in (*given, *ladder) if one is not chosen})
    return card, msgspec.structs.replace(decision, notes=notes, ladder=used)


def _recorded_ladder(given: Sequence[Given], chosen: Given) -> tuple[list[Given], list[str]]:
    """Files that the run decided with and that were not given, and a line about those that are not what they were."""
    files = chosen.card.decision.ladder if chosen.card.decision else ()
    known = {one.card.content_sha256 for one in given}
    ladder, lost = [], []
    for file in files:
        if file.sha256 in known:
            continue
        found = find_recorded(file, chosen.path.parent)
        if isinstance(found, str):
            lost.append(found)
        else:
            ladder.append(Given(*found, "intact", False))
    if not lost:
        return ladder, []
    count = f"{len(lost)} of the {len(files)} scorecards"
    return ladder, [
        f"{chosen.path}: {count} that the run decided with are no longer what they were ({'; '.join(lost)}): "
        "name them as they were"
    ]


def _notes(given: Sequence[Given], chosen: Given, book: CheckBook) -> list[str]:
    """What a reader must know of the files before the decision: edits, other thresholds, what was cut short."""
    card = chosen.card
    notes = [f"{one.path}: {FLAGS[one.integrity]}; taken as it is" for one in given if one.integrity != "intact"]
    if card.provenance.thresholds.sha256 != book.sha256:
        notes.append(f"{chosen.path}: its checks were judged by other thresholds than those here")
    points = card.decision.scaling.points if card.decision and card.decision.scaling else ()
    if card.decision and not card.decision.ladder and len(points) > len(given):  # written before files were recorded
        notes.append(f"{chosen.path}: the run decided with a ladder of {len(points)} runs: name its folder too")
    if not card.summary.complete:
        notes.append(f"{chosen.path}: the run was cut short")
    return notes


def told(card: Scorecard, decision: Decision) -> str:
    """The decision as text."""
    to = f" to {decision.to_scale}" if decision.to_scale else ""
    lines = []
    if decision.notes:
        lines += ["These scorecards differ, or are not as they were written:", *_items(decision.notes), ""]
    lines.append(f"{decision.outcome}  {card.subject.label}  {decision.from_scale}{to}  total {decision.total:g}")
    for name, row in decision.categories.items():
        lines.append(f"  {row.shown:>6}  x {row.weight:g}  {name}: {'; '.join(row.evidence)}")
    sections = {"Blockers": decision.blockers, "Reasons": decision.reasons, "What would change it": decision.next_steps}
    for title, entries in sections.items():
        if entries:
            lines += ["", title, *_items(entries)]
    return "\n".join(lines)


def _items(entries: Sequence[str]) -> list[str]:
    return [f"  - {entry}" for entry in entries]
