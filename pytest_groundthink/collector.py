"""Gathers verdicts on the controller, and reconciles what was collected with what was reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pytest_groundthink.judge import PROPERTY, one_line, verdict_of
from pytest_groundthink.verdict import Status, Verdict

Case = tuple[str, str]
"""A check of a subject: check id and subject label."""


class Collector:
    """The verdicts of a run, by check and subject.

    Args:
        checks: Ids of all checks, in their order.
        labels: Labels of all subjects.
        profile: The profile that judges.
    """

    def __init__(self, checks: Iterable[str], labels: Iterable[str], profile: str) -> None:
        labels = tuple(labels)
        self._profile = profile
        self._cases = {case_id(check, label): (check, label) for label in labels for check in checks}
        self._order = {case: position for position, case in enumerate(self._cases.values())}
        self._collected: set[Case] = set()
        self._verdicts: dict[Case, Verdict] = {}
        self._durations: dict[Case, float] = {}
        self._unjudged: dict[Case, str] = {}
        self._contexts: dict[str, dict[str, Any]] = {}
        self.tracebacks: dict[str, list[Case]] = {}
        """Checks that raised, by the text of their traceback."""

    def case_of(self, nodeid: str) -> Case | None:
        """The check and subject that a test id names; a crashed worker leaves nothing else."""
        _, _, rest = nodeid.rpartition("::")
        _, _, parameters = rest.partition("[")
        return self._cases.get(parameters.rpartition("]")[0])

    def collected(self, nodeids: Iterable[str]) -> None:
        """Note the tests that were collected and not deselected."""
        self._collected.update(case for nodeid in nodeids if (case := self.case_of(nodeid)))

    def reported(self, report: pytest.TestReport) -> None:
        """Take in a report of any phase of a test."""
        case = self.case_of(report.nodeid)
        if case is None:
            return
        verdict = verdict_of(report)
        if verdict is not None:
            self._verdicts[case] = verdict
        elif report.outcome != "passed":
            self._unjudged[case] = _outcome(report)
        if report.when == "call":
            self._durations[case] = report.duration
        self._context(case, getattr(report, PROPERTY, None))

    def finish(self, why_missing: str) -> None:
        """Give every check that was collected and never judged its NODATA.

        Args:
            why_missing: The reason where the check left no trace.
        """
        for case in self._collected - self._verdicts.keys():
            check, label = case
            reason = self._unjudged.get(case, why_missing)
            self._verdicts[case] = Verdict(
                check=check, subject=label, status=Status.NODATA, reason=reason, profile=self._profile
            )

    def verdicts(self, label: str) -> list[Verdict]:
        """The verdicts on a subject, in the order of the checks."""
        cases = sorted((case for case in self._verdicts if case[1] == label), key=lambda case: self._order[case])
        return [self._verdicts[case] for case in cases]

    def verdict(self, nodeid: str) -> Verdict | None:
        """The verdict that belongs to a test."""
        case = self.case_of(nodeid)
        return None if case is None else self._verdicts.get(case)

    def duration(self, verdict: Verdict) -> float | None:
        """Seconds that the check took."""
        return self._durations.get((verdict.check, verdict.subject))

    def collected_of(self, label: str) -> set[str]:
        """Ids of the checks that were collected for a subject."""
        return {check for check, subject in self._collected if subject == label}

    def reported_of(self, label: str) -> int:
        """How many checks of a subject reported a verdict of their own; to be asked before `finish`."""
        return sum(1 for _, subject in self._verdicts if subject == label)

    def context(self, label: str) -> Mapping[str, Any]:
        """What the subject said of itself (`subject`) and of its machine (`environment`)."""
        return self._contexts.get(label, {})

    def _context(self, case: Case, context: dict[str, Any] | None) -> None:
        if not context:
            return
        text = context.get("traceback")
        if text and case not in (cases := self.tracebacks.setdefault(text, [])):
            cases.append(case)
        if context.get("subject"):
            self._contexts.setdefault(case[1], context)


def case_id(check: str, label: str) -> str:
    """The parameter id of the test that asks a check of a subject."""
    return f"{check}-{label}"


def _outcome(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return f"skipped by the test: {longrepr[2].removeprefix('Skipped: ')}"
    text = getattr(getattr(longrepr, "reprcrash", None), "message", None) or str(longrepr or "")
    last = one_line(text.strip().rpartition("\n")[2] if text else "")
    return f"never judged: {last}" if last else "never judged"
