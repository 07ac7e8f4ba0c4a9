"""A picture, its style, and how it becomes SVG or PNG."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#7d7d7d"
"""Of text and lines: a grey that can be read on white and on black (contrast 4.1 and 5.1)."""

COLORS = ("#0a84c1", "#e08a00", "#009e73", "#cc5fa0", "#7d7d7d")
"""Of lines, told apart by colour-blind readers too (after Okabe and Ito 2008), on white and on black."""

STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)))
"""Of lines, so that colour is never alone in telling them apart."""

HEAT = "cividis"
"""The colours of heatmaps: even in brightness, and the same to colour-blind readers (Nunez et al. 2018)."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture.

    Attributes:
        name: For files and anchors, e.g. "niah-16k".
        title: A heading.
        alt: What the data say, for who cannot see it: complete sentences.
        figure: The drawing.
    """

    name: str
    title: str
    alt: str
    figure: Figure = field(repr=False, compare=False)

    @cached_property
    def svg(self) -> str:
        """An `<svg>` element with a transparent ground, to be put into a page or a file; its ids are its own."""
        text = self._rendered("svg").decode()
        text = text[text.index("<svg") :].strip()
        # Several pictures share a page, and with it the space of ids.
        seen: Counter[str] = Counter()

        def unique(found: re.Match[str]) -> str:
            seen[found[1]] += 1  # two images of the same pixels have the same id
            again = f"-{seen[found[1]]}" if seen[found[1]] > 1 else ""
            return f'id="{self.name}-{found[1]}{again}"'

        text = re.sub(r'\bid="([^"]+)"', unique, text)
        text = re.sub(r'(url\(|href=")#', rf"\1#{self.name}-", text)
        start = text.index(">") + 1
        opening = text[: start - 1] + f' role="img" aria-labelledby="{self.name}-title {self.name}-alt">'
        titles = (
            f'<title id="{self.name}-title">{escape(self.title)}</title><desc id="{self.name}-alt">'
            f"{escape(self.alt)}</desc>"
        )
        return opening + titles + text[start:]

    @cached_property
    def png(self) -> bytes:
        """The picture as PNG, 144 dots per inch, with a transparent ground."""
        return self._rendered("png")

    def write(self, path: Path) -> None:
        """Write it as what the name of the file says, `.svg` or `.png`.

        Raises:
            ValueError: If the name ends in something else.
            OSError: If it cannot be written.
        """
        if path.suffix not in (".svg", ".png"):
            raise ValueError(f"{path}: expected a name that ends in .svg or .png")
        path.write_bytes(self.png if path.suffix == ".png" else self.svg.encode() + b"\n")

    def _rendered(self, kind: str) -> bytes:
        out = BytesIO()
        with _style(self.name):
            # No date: the same scorecard gives the same bytes.
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            self.figure.savefig(out, format=kind, dpi=144, transparent=True, metadata=metadata)
        return out.getvalue()


@contextmanager
def _style(salt: str) -> Iterator[None]:
    import matplotlib as mpl

    settings: Any = {  # matplotlib's types name every single key
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "legend.frameon": False,
        "image.cmap": HEAT,
        "figure.autolayout": False,
        "figure.constrained_layout.use": False,
    }
    settings |= dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    with mpl.rc_context(settings):
        yield


@contextmanager
def canvas(rows: int = 1, columns: int = 1, *, width: float = 6.4, height: float = 3.2) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes [rows, columns], in inches, within the style of all pictures.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed, and pictures need it: pip install 'pytest-groundthink[report]'"
        ) from None
    with _style("canvas"):
        # No pyplot: it keeps every figure, and asks for a screen.
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # laid out again for each format, it would move; "none" would draw twice


def heatmap(figure: Figure, axes: Any, values: list[list[float | None]], *, label: str, **limits: Any) -> Any:
    """Draw rows of values, the first on top, with the bar of their colours; None is left empty."""
    import numpy as np

    grid = np.array([[np.nan if value is None else value for value in row] for row in values], dtype=float)
    image = axes.imshow(grid, aspect="auto", interpolation="nearest", **limits)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(image, ax=axes, label=label, pad=0.02)
    bar.outline.set_visible(False)
    return image


def write_in_cells(image: Any, texts: list[list[str]]) -> None:
    """Write into the cells of a heatmap, dark on bright colours and bright on dark ones."""
    values = image.get_array()
    for row, own in enumerate(texts):
        for column, text in enumerate(own):
            if not text:
                continue  # the cell may have no value, and so no colour
            red, green, blue, _ = image.cmap(image.norm(values[row, column]))
            bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            image.axes.text(
                column, row, text, ha="center", va="center", fontsize=8, color="#101010" if bright else "#f5f5f5"
            )
