"""The pictures of a scorecard: whatever its measurements have the data for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from pytest_groundthink.pictures import memory, states, worth
from pytest_groundthink.pictures.picture import Picture

if TYPE_CHECKING:
    from pytest_groundthink.scorecard import Scorecard

T = TypeVar("T", bound=msgspec.Struct)
Draw = Callable[[str, T], Picture]

PICTURES: tuple[tuple[type[msgspec.Struct], Draw[msgspec.Struct]], ...] = (
    *memory.PICTURES,
    *states.PICTURES,
    *worth.PICTURES,
)
"""What a measurement's `detail` must hold, and the picture of it; in the order of a report."""


def draw(card: Scorecard) -> list[Picture]:
    """Draw what a scorecard has the data for; checks that did not run have no picture.

    Args:
        card: A scorecard.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    return [picture for kind, one in PICTURES for picture in _of(card, kind, one)]


def _of(card: Scorecard, kind: type[T], one: Draw[T]) -> Iterator[Picture]:
    for check in card.checks:
        for measurement in check.measurements:
            try:
                data = msgspec.convert(measurement.detail, kind)
            except msgspec.ValidationError:
                continue  # the detail of another measurement, or of a user's own check
            yield one(check.id, data)
