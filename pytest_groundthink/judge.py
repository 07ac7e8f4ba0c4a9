"""The `judge` that a check's test calls, and how its verdict is put on the test's report."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import _pytest
import msgspec
import pluggy
import pytest

from gt.measurement import Measurement, Unmeasurable
from pytest_groundthink.checks import Check
from pytest_groundthink.verdict import Status, Verdict

PROPERTY = "groundthink"
"""Name of the user property that carries a verdict, and of the report attribute that carries what surrounds it."""

Context = dict[str, Any]
"""What surrounds a verdict: `subject`, `environment` and, where the check raised, `traceback`. JSON types only."""

CONTEXT = pytest.StashKey[Context]()


class Judge:
    """Turns measurements into the verdict of one test."""

    def __init__(self, item: pytest.Item, check: Check, label: str, profile: str, strict: frozenset[str]) -> None:
        self.check = check
        self.verdict: Verdict | None = None
        self._item, self._label, self._profile, self._strict = item, label, profile, strict

    def __call__(self, measurements: Measurement | Iterable[Measurement]) -> None:
        """Judge what was measured: FAIL fails the test, NODATA skips it, WARN and PASS pass it.

        Args:
            measurements: What a probe returned.

        Raises:
            RuntimeError: If called twice.
            TypeError: If given anything but measurements.
        """
        if self.verdict is not None:
            raise RuntimeError(f"judge() was called twice in the test of {self.check.id}; call it once")
        measured = (measurements,) if isinstance(measurements, Measurement) else tuple(measurements)
        for one in measured:
            if not isinstance(one, Measurement):
                raise TypeError(f"judge() takes measurements, got {type(one).__name__}")
        bands = self.check.bands.get(self._profile)
        if bands is None:
            status, reason, threshold = Status.NODATA, f"profile {self._profile} has no band for it", None
        else:
            status, reason, threshold = bands.judge(measured, self.check.metrics, self._strict)
        others = {
            profile: other.judge(measured, self.check.metrics, self._strict)[0]
            for profile, other in self.check.bands.items()
            if profile != self._profile
        }
        self._record(status, reason, measurements=measured, threshold=threshold, profiles=others)
        if status is Status.FAIL:
            pytest.fail(f"{self.check.id} {self.check.title}: {reason}", pytrace=False)
        if status is Status.NODATA:
            skip(self._item, reason)

    def not_applicable(self, reason: str) -> NoReturn:
        """Record that the subject's kind lacks what the check requires."""
        self._record(Status.NODATA, reason, applicable=False)
        skip(self._item, reason)

    def no_data(self, reason: str, found: tuple[Measurement, ...] = ()) -> NoReturn:
        """Record that the check could not be measured, and what was found all the same."""
        self._record(Status.NODATA, reason, measurements=found)
        skip(self._item, reason)

    def raised(self, error: Exception) -> NoReturn:
        """Record an exception of the check: no data, with its text; an error unless the check said Unmeasurable."""
        if isinstance(error, Unmeasurable):
            self.no_data(one_line(str(error)) or "the probe found nothing to measure", error.found)
        text = one_line(str(error))
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        context = self._item.stash.setdefault(CONTEXT, {})
        context["traceback"] = _traceback(error)
        self._record(Status.NODATA, reason, error=True)
        skip(self._item, reason)

    def _record(self, status: Status, reason: str, **fields: Any) -> None:
        self.verdict = Verdict(
            check=self.check.id, subject=self._label, status=status, reason=reason, profile=self._profile, **fields
        )
        others = [(name, value) for name, value in self._item.user_properties if name != PROPERTY]
        self._item.user_properties[:] = [
            *others,
            (PROPERTY, msgspec.json.encode(self.verdict, enc_hook=_plain).decode()),
        ]


def verdict_of(report: pytest.TestReport) -> Verdict | None:
    """The verdict that a report carries."""
    for name, value in report.user_properties:
        if name == PROPERTY:
            return msgspec.json.decode(str(value), type=Verdict)
    return None


def attach_context(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put what surrounds the verdict on the report, where xdist carries it to the controller."""
    context = item.stash.get(CONTEXT, None)
    if context is not None:
        setattr(report, PROPERTY, json.loads(json.dumps(context, default=_plain)))  # execnet knows only plain types


def skip(item: pytest.Item, reason: str) -> NoReturn:
    """Skip, placed at the test rather than here."""
    outcome = pytest.skip.Exception(reason)
    outcome._use_item_location = True
    raise outcome


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def _plain(value: Any) -> Any:
    """What JSON knows of a value that it does not know: the number in a NumPy scalar, else the text."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def _traceback(error: Exception) -> str:
    """The traceback from the first frame that is neither pytest's nor ours.

    Pytest raises the exception of a session fixture again for each test, with more of its own frames every time.
    """
    machinery = tuple(f"{Path(file).parent}/" for file in (__file__, _pytest.__file__, pluggy.__file__))
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(machinery):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames or error.__traceback__))
