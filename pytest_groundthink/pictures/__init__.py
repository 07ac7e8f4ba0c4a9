"""Pictures of what a scorecard or a trace holds. Matplotlib (extra `[report]`) is loaded when one is drawn."""

from pytest_groundthink.pictures.cards import draw
from pytest_groundthink.pictures.picture import INK, Picture

__all__ = ["INK", "Picture", "draw"]
