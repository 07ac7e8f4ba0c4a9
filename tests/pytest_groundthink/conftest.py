"""What the tests of decisions share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """How wide the intervals are is tested with the scaling law."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_groundthink.scaling.RESAMPLES", 5)
        yield
