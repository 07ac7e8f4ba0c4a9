"""The checks as the suites ask them, called without pytest: what is proven is what users run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from gt.measurement import Measurement
from gt.resources import suites_dir

Probe = Callable[[Any], tuple[Measurement, ...]]


@cache
def probes() -> dict[str, Probe]:
    """What a suite's test measures of a subject, by check. Loads torch."""
    found: dict[str, Probe] = {}
    for path in sorted(suites_dir().glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"_groundthink_suite_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} cannot be loaded: reinstall pytest-groundthink")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "check":
                    found[mark.args[0]] = _taking(function)
    return found


def _taking(test: Callable[[Any, Any], None]) -> Probe:
    def measure(subject: Any) -> tuple[Measurement, ...]:
        taken: list[Measurement] = []

        def judge(measurements: Measurement | Iterable[Measurement]) -> None:
            taken.extend((measurements,) if isinstance(measurements, Measurement) else measurements)

        test(subject, judge)
        return tuple(taken)

    return measure
