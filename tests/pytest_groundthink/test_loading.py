"""Loading modules in a run that judges: garbage is looked for as before, but not among them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pytest_groundthink.session import JudgingSession


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_as_before_whatever_loading_comes_to(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    gc.unfreeze()
    loaded: list[list[int]] = []
    with suppress(RuntimeError), JudgingSession.loading():
        assert not gc.isenabled()
        loaded.append([1])
        raise RuntimeError
    assert gc.isenabled() is enabled
    assert gc.get_freeze_count() > 0
    assert all(one is not loaded for one in gc.get_objects())
