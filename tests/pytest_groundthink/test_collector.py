from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_groundthink.collector import Collector
from pytest_groundthink.verdict import Status, Verdict

LABEL = "GF-MH@3.5M"


def report(check: str, verdict: Verdict | None = None, *, outcome: str = "passed", longrepr: Any = None) -> Any:
    properties = [] if verdict is None else [("groundthink", msgspec.json.encode(verdict).decode())]
    return pytest.TestReport(
        nodeid=node(check),
        location=("", 0, ""),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=longrepr,
        when="call",
        duration=1.5,
        user_properties=[("other", 1), *properties],
    )


def node(check: str, label: str = LABEL) -> str:
    return f"suites/test_gates.py::test_it[{check}-{label}]"


def verdict(check: str, status: Status = Status.PASS) -> Verdict:
    return Verdict(check=check, subject=LABEL, status=status, reason="", profile="default")


@pytest.fixture
def collector() -> Collector:
    return Collector(["G1a", "C1b", "C1b-lite"], [LABEL, "GPT2@3.5M"], "default")


def test_check_and_subject_are_in_the_test_id(collector: Collector) -> None:
    assert collector.case_of(node("C1b-lite")) == ("C1b-lite", LABEL)
    assert collector.case_of(node("C1b", "GPT2@3.5M")) == ("C1b", "GPT2@3.5M")
    assert collector.case_of(node("C1b") + "@group") == ("C1b", LABEL)
    assert collector.case_of("tests/test_a.py::test_it[1]") is None
    assert collector.case_of("tests/test_a.py::test_it") is None


def test_verdicts_come_in_the_order_of_the_checks(collector: Collector) -> None:
    collector.collected([node("C1b-lite"), node("G1a")])
    collector.reported(report("C1b-lite", verdict("C1b-lite")))
    collector.reported(report("G1a", verdict("G1a", Status.FAIL), outcome="failed"))
    collector.finish("never")
    assert [one.check for one in collector.verdicts(LABEL)] == ["G1a", "C1b-lite"]
    assert collector.duration(collector.verdicts(LABEL)[0]) == 1.5


def test_a_vanished_check_is_no_data(collector: Collector) -> None:
    collector.collected([node("G1a"), node("C1b")])
    collector.reported(report("G1a", verdict("G1a")))
    assert collector.reported_of(LABEL) == 1
    collector.finish("collected but never reported")
    (_, lost) = collector.verdicts(LABEL)
    assert (lost.check, lost.status, lost.reason) == ("C1b", Status.NODATA, "collected but never reported")


def test_a_failure_without_a_verdict_is_no_data_with_its_words(collector: Collector) -> None:
    collector.collected([node("G1a")])
    collector.reported(report("G1a", outcome="failed", longrepr="worker 'gw0' crashed while running it"))
    collector.finish("never")
    assert collector.verdicts(LABEL)[0].reason == "never judged: worker 'gw0' crashed while running it"


def test_reports_of_other_tests_are_none_of_ours(collector: Collector) -> None:
    other = report("G1a")
    other.nodeid = "test_a.py::test_it"
    collector.reported(other)
    collector.finish("never")
    assert collector.verdicts(LABEL) == []
