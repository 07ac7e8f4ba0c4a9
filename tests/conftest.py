"""What the tests of both houses share."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from pytest_groundthink import options

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before the plugin registers the markers by which it knows whether it is asked for
def pytest_configure(config: pytest.Config) -> None:
    """Set what holds for our own tests; pytest reads this file for `pytest -m gate` in a checkout as well."""
    if hasattr(config.option, "gt_model") and options.in_use(config):
        return
    config.addinivalue_line("filterwarnings", "error")
    # Workers, inner sessions and what they start share the cores: with two threads each they wait for one another,
    # which takes several times as long. Both are read when torch is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


@pytest.fixture(scope="session")
def imported() -> None:
    """Imports what inner sessions need: pytester forgets every module that one of them, or a test of it, imports."""
    importlib.import_module("pytest_groundthink.report.terminal")


@pytest.fixture
def quick(imported: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytester whose sessions start fast: Hypothesis alone takes over a second and is of no use within."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    return pytester


@pytest.fixture
def judged(quick: pytest.Pytester) -> pytest.Pytester:
    """A project in which a fake stands in for `gt.subject`, so that sessions need neither torch nor time."""
    quick.makeconftest(
        f"""
        import importlib.util
        import sys

        spec = importlib.util.spec_from_file_location(
            "gt.subject", {str(HERE / "pytest_groundthink" / "fake_subject.py")!r}
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["gt.subject"] = module
        """
    )
    return quick
