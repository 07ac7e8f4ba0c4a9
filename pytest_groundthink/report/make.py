"""From scorecards to a report file: HTML or Markdown, of one scorecard or as a dashboard of several."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from gt.resources import fixtures_dir
from pytest_groundthink.checks import CheckBook
from pytest_groundthink.pictures import INK, draw
from pytest_groundthink.report.dashboard import dashboard_of
from pytest_groundthink.report.html import Illustration, dashboard_html, report_html, require_html
from pytest_groundthink.report.ladder import ladder_of
from pytest_groundthink.report.markdown import dashboard_markdown, report_markdown
from pytest_groundthink.report.page import page_of
from pytest_groundthink.report.statefulness import load_conditions
from pytest_groundthink.scorecard import Scorecard

_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
HTML, MARKDOWN = (".html", ".htm"), (".md", ".markdown")


def require_report(path: Path, option: str) -> None:
    """Find out before the work whether the report can be made and written.

    Args:
        path: Where it is to go.
        option: What named that place, for the message.

    Raises:
        ValueError: If it cannot: one line.
    """
    if path.suffix not in HTML + MARKDOWN:
        raise ValueError(f"{option} {path}: expected a name that ends in .html or .md, got {path.suffix or 'neither'}")
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{option} {path}: cannot be written: it is write-protected")
    if path.suffix in HTML:
        require_html()


def write_report(cards: Sequence[Scorecard], book: CheckBook, path: Path, notes: Sequence[str] = ()) -> None:
    """Write the report of one scorecard, or the dashboard of several, in the format that the file's name says.

    Args:
        cards: The scorecards.
        book: The checks that they are described by.
        path: Where it goes.
        notes: What a reader must know of the files that they were read from.

    Raises:
        ValueError: If what the format needs is not installed.
        OSError: If it cannot be written.
    """
    text = as_html(cards, book, notes) if path.suffix in HTML else as_markdown(cards, book, notes)
    path.write_text(text, encoding="utf-8")


def as_html(cards: Sequence[Scorecard], book: CheckBook, notes: Sequence[str] = ()) -> str:
    """The report as one HTML document; arguments as for `write_report`.

    Raises:
        ValueError: If Jinja2 or matplotlib is not installed.
    """
    require_html()
    conditions = load_conditions(fixtures_dir() / "statefulness.yaml")
    if len(cards) > 1:
        return dashboard_html(dashboard_of(cards, book, conditions, notes), ladder_of(cards))
    return report_html(page_of(cards[0], book, conditions, notes), ladder_of(cards), _pictures(cards[0]))


def as_markdown(cards: Sequence[Scorecard], book: CheckBook, notes: Sequence[str] = ()) -> str:
    """The report as Markdown; arguments as for `write_report`."""
    conditions = load_conditions(fixtures_dir() / "statefulness.yaml")
    caption = ladder_of(cards).caption
    if len(cards) > 1:
        return dashboard_markdown(dashboard_of(cards, book, conditions, notes), caption)
    return report_markdown(page_of(cards[0], book, conditions, notes), caption)


def _pictures(card: Scorecard) -> list[Illustration]:
    """The pictures of a scorecard, their words in the text colour of the page that they are put into."""
    return [
        Illustration(
            title=picture.title, svg=_METADATA.sub("", picture.svg).replace(f"fill: {INK}", "fill: currentColor")
        )
        for picture in draw(card)
    ]
