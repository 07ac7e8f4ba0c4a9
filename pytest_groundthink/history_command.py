"""`groundthink history`: scorecards kept, and what became of their values. What it needs is imported when it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from rich.console import Console

    from pytest_groundthink.history import Entry, History
    from pytest_groundthink.scorecard import Scorecard

history = App(name="history", help="Keep scorecards, and see what became of their values.")
baseline = App(name="baseline", help="Mark the scorecard that others are compared with.")
history.command(baseline)

MAIN = "main"
"""Name of a baseline that is given none."""


@Parameter(name="*")
@dataclass(kw_only=True, slots=True)
class Place:
    """Where the history is.

    Attributes:
        history: Its file; by default GT_HISTORY, or groundthink/history.sqlite3 in the user's data folder.
    """

    history: Path | None = None

    def open(self, *, create: bool = False) -> History:
        """The store.

        Raises:
            ValueError: If it cannot be used, or is not there and shall not be made.
        """
        from pytest_groundthink.history import History, default_path

        return History(self.history or default_path(), create=create)


HERE = Place()


@history.command
def add(*files: Path, place: Place = HERE) -> None:
    """Keep scorecards; one that is there already is kept once.

    Args:
        files: Scorecards.
        place: Where the history is.
    """
    with _told("add") as console:
        if not files:
            raise ValueError("no scorecard was given: name one or more files")
        _keep(place.open(create=True), list(files), console)


@history.command(name="import")
def import_(*sources: Path, place: Place = HERE) -> None:
    """Keep every scorecard of files and folders, such as `export` writes; other JSON files of a folder are passed over.

    Args:
        sources: Files, and folders that are searched with all that is in them.
        place: Where the history is.
    """
    with _told("import") as console:
        if not sources:
            raise ValueError("nothing was given: name files or folders")
        named = [path for path in sources if not path.is_dir()]
        inside = [path for folder in sources if folder.is_dir() for path in sorted(folder.rglob("*.json"))]
        _keep(place.open(create=True), [*named, *(path for path in inside if _looks_like_one(path))], console)


@history.command
def export(folder: Path, *, model: str | None = None, place: Place = HERE) -> None:
    """Write every scorecard into a folder, a file each, named by time, subject and id.

    Args:
        folder: The folder; it is made where there is none.
        model: Only those of this model.
        place: Where the history is.
    """
    with _told("export") as console:
        from pytest_groundthink import scorecard
        from pytest_groundthink.history import SHORT

        store = place.open()
        found = store.entries(model)
        folder.mkdir(parents=True, exist_ok=True)
        for entry in found:
            safe = re.sub(r"[^\w@.+#-]", "_", f"{entry.created.replace(':', '')}-{entry.label}-{entry.id[:SHORT]}")
            scorecard.write(store.card(entry.id), folder / f"{safe}.json")
        console.print(f"{len(found)} scorecards in {folder}")


@history.command(name="list")
def list_(
    *,
    model: str | None = None,
    last: int = 20,
    json: Annotated[bool, Parameter(negative="")] = False,
    place: Place = HERE,
) -> None:
    """List scorecards, newest last.

    Args:
        model: Only those of this model, `VARIANT` or `VARIANT@SCALE`.
        last: At most so many.
        json: Print JSON, for other programs.
        place: Where the history is.
    """
    with _told("list") as console:
        from pytest_groundthink.report import history as report

        _require_positive("--last", last)
        found = place.open().entries(model)
        report.print_entries(found[-last:], len(found), json, console)


@history.command
def trend(
    target: str,
    *,
    model: str | None = None,
    last: int = 40,
    json: Annotated[bool, Parameter(negative="")] = False,
    place: Place = HERE,
) -> None:
    """Show how a value went over time, a sparkline for each model.

    Args:
        target: A check such as C1a, whose rate or first judged value is meant, or CHECK.METRIC.
        model: Only of this model, `VARIANT` or `VARIANT@SCALE`.
        last: At most so many of each model.
        json: Print JSON, for other programs.
        place: Where the history is.
    """
    with _told("trend") as console:
        from pytest_groundthink.report import history as report

        _require_positive("--last", last)
        check, metric, points = place.open().points(target, model)
        report.print_trend(check, metric, points, last, json, console)


@history.command
def best(
    target: str,
    *,
    model: str | None = None,
    top: int = 5,
    json: Annotated[bool, Parameter(negative="")] = False,
    place: Place = HERE,
) -> None:
    """Show the best values, the highest or lowest as the bands have it; of equals the newest first.

    Args:
        target: A check such as C1a, whose rate or first judged value is meant, or CHECK.METRIC.
        model: Only of this model, `VARIANT` or `VARIANT@SCALE`.
        top: So many.
        json: Print JSON, for other programs.
        place: Where the history is.
    """
    with _told("best") as console:
        from pytest_groundthink.report import history as report

        _require_positive("--top", top)
        check, metric, points = place.open().points(target, model)
        report.print_best(check, metric, points, top, json, console)


@history.command
def since(moment: str, *, model: str | None = None, place: Place = HERE) -> None:
    """Compare, for each subject, the newest scorecard with the last one before a moment.

    Args:
        moment: A date or time such as 2026-01-31 (UTC where no zone is given), or a commit: of the scorecards of the
            history, or of the repository at hand.
        model: Only of this model, `VARIANT` or `VARIANT@SCALE`.
        place: Where the history is.
    """
    with _told("since") as console:
        from gt.resources import fixtures_dir
        from pytest_groundthink.checks import load_checks
        from pytest_groundthink.comparison import compare
        from pytest_groundthink.history import SHORT
        from pytest_groundthink.report.compare import print_comparison

        store = place.open()
        entries = store.entries(model)
        start = _start(moment, entries)
        described = load_checks(fixtures_dir() / "checks.yaml").checks
        later = [entry for entry in entries if datetime.fromisoformat(entry.created) >= start]
        console.print(f"{len(later)} of {len(entries)} scorecards since {start.isoformat(timespec='seconds')}")
        for label in dict.fromkeys(entry.label for entry in later):
            own = [entry for entry in entries if entry.label == label]
            newest = [entry for entry in own if entry in later][-1]
            before = [entry for entry in own if entry not in later]
            if not before:
                console.print(f"{label}: {newest.id[:SHORT]} of {newest.created}; none before that")
                continue
            pair = [
                (f"{entry.id[:SHORT]} {entry.created[:10]}", store.card(entry.id)) for entry in (before[-1], newest)
            ]
            print_comparison(compare(pair, described), [], False, console)


@baseline.command(name="set")
def set_baseline(which: str, *, name: str = MAIN, place: Place = HERE) -> None:
    """Mark a scorecard as a baseline, for `groundthink compare --baseline NAME`.

    Args:
        which: Its id in the history, of which the beginning is enough, or a file, which is added.
        name: Name of the mark, main by default; it leaves any other scorecard that has it.
        place: Where the history is.
    """
    with _told("baseline set") as console:
        from pytest_groundthink.history import SHORT

        path = Path(which)
        store = place.open(create=path.is_file())
        card = _as_written(path) if path.is_file() else store.card(which)
        id_, _ = store.add(card)
        store.set_baseline(name, id_)
        console.print(f"{name}: {id_[:SHORT]} {card.subject.label} of {card.created}")


@baseline.command(name="show")
def show_baseline(*, place: Place = HERE) -> None:
    """List the baselines.

    Args:
        place: Where the history is.
    """
    with _told("baseline show") as console:
        from pytest_groundthink.history import SHORT

        found = place.open().baselines()
        for name, entry in sorted(found.items()):
            console.print(f"{name}: {entry.id[:SHORT]} {entry.label} of {entry.created}")
        if not found:
            console.print("no baseline; groundthink history baseline set ID marks one")


@contextmanager
def _told(command: str) -> Iterator[Console]:
    """The console; what does not fit is one line and exit status 4."""
    from rich.console import Console

    try:
        yield Console(highlight=False, emoji=False, markup=False)
    except (ValueError, OSError) as error:
        print(f"groundthink history {command}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(4)


def _keep(store: History, files: list[Path], console: Console) -> None:
    """Read all files before any is kept, so that a bad one leaves nothing behind."""
    from pytest_groundthink.history import SHORT

    cards = [(path, _as_written(path)) for path in files]
    new = 0
    for path, card in cards:
        id_, added = store.add(card)
        new += added
        console.print(f"{id_[:SHORT]} {card.subject.label} {path}{'' if added else ' (known)'}", soft_wrap=True)
    console.print(f"{new} added to {store.path}, {len(cards) - new} known", soft_wrap=True)


def _as_written(path: Path) -> Scorecard:
    """The scorecard of a file.

    Raises:
        ValueError: If it was changed, or nothing tells: kept, it would look like any other.
    """
    from pytest_groundthink import scorecard

    card, integrity = scorecard.read_flagged(path, allow_edited=True)
    if integrity != "intact":
        raise ValueError(f"{path}: is {integrity}: the history keeps scorecards only as they were written")
    return card


def _looks_like_one(path: Path) -> bool:
    """Whether a JSON file says that it is a scorecard; whether it is a whole one is seen when it is read."""
    return b"groundthink.scorecard/" in path.read_bytes()[:200]


def _start(moment: str, entries: list[Entry]) -> datetime:
    """The time that is meant.

    Raises:
        ValueError: If it is neither a time nor a commit that is known.
    """
    try:
        found = datetime.fromisoformat(moment)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        pass
    if re.fullmatch(r"[0-9a-fA-F]{4,40}", moment):
        own = [entry for entry in entries if entry.commit and entry.commit.startswith(moment.lower())]
        if own:
            return datetime.fromisoformat(own[0].created)
        command = [
            "git",
            "show",
            "--no-patch",
            "--format=%cI",
            f"{moment}^{{commit}}",
        ]  # fixed but for hexadecimal digits
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            return datetime.fromisoformat(done.stdout.strip())
        except (OSError, subprocess.SubprocessError, ValueError):
            pass
    raise ValueError(
        f"{moment!r}: expected a date such as 2026-01-31, a time, or a commit of the history or of this repository"
    )


def _require_positive(option: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{option} is {number}: expected at least 1")
