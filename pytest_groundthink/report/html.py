"""The report as one HTML file that needs neither a network nor a script. Jinja2 (extra `[report]`) is loaded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gt import __version__
from pytest_groundthink.report.dashboard import Dashboard
from pytest_groundthink.report.ladder import Ladder
from pytest_groundthink.report.page import Page

if TYPE_CHECKING:
    from jinja2 import Environment

NEEDED = ("jinja2", "matplotlib")
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Illustration:
    """A picture for the page: an `<svg>` element that names and describes itself."""

    title: str
    svg: str


def require_html() -> None:
    """Find out whether HTML can be made here.

    Raises:
        ValueError: If a library is not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"an HTML report needs {' and '.join(missing)}, not installed here: pip install "
            "'pytest-groundthink[report]', or give the report a name that ends in .md"
        )


def report_html(page: Page, ladder: Ladder, pictures: Sequence[Illustration]) -> str:
    """The report of one scorecard as an HTML document."""
    return _render("report.html.j2", page=page, ladder=ladder, pictures=pictures)


def dashboard_html(board: Dashboard, ladder: Ladder) -> str:
    """The dashboard of several scorecards as an HTML document."""
    return _render("dashboard.html.j2", board=board, ladder=ladder)


def _render(template: str, **content: Any) -> str:
    environment = _environment()
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(**content, style=style, version=__version__) + "\n"


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
