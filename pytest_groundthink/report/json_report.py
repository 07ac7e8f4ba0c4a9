"""Enriches the file of pytest-json-report. Plain Python types only."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_groundthink.session import JudgingSession


def enrich(report: dict[str, Any], session: JudgingSession) -> None:
    """Give each of our tests its result, and the report the summary and decision of each subject.

    Args:
        report: What pytest-json-report is about to write.
        session: The run.
    """
    results = {(label, check.id): check for label, card in session.cards.items() for check in card.checks}
    for test in report.get("tests", ()):
        case = session.collector.case_of(test["nodeid"])
        if case is not None and (result := results.get((case[1], case[0]))) is not None:
            test["groundthink"] = msgspec.to_builtins(result)
    report["groundthink"] = [
        {
            "subject": label,
            "scorecard": None
            if session.settings.scorecard is None
            else str(session.scorecard_path(label, session.settings.scorecard)),
            "summary": msgspec.to_builtins(card.summary),
            "decision": msgspec.to_builtins(card.decision),
        }
        for label, card in session.cards.items()
    ]
