"""A store of scorecards: one SQLite file, safe to write from several processes at once.

Every scorecard is kept whole, under the hash of its content, so that adding it twice keeps it once; its checks and
values stand beside it in tables with indices. Nothing in those tables is not in the scorecards.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from pytest_groundthink import scorecard
from pytest_groundthink.scorecard import Scorecard
from pytest_groundthink.verdict import Interval, Status

VERSION = 1
PATIENCE = 30.0
"""Seconds that a process waits for others that write."""

SHORT = 8
"""Characters of an id that are shown; any number of at least `LEAST` that fits one scorecard alone is taken."""
LEAST = 4

MEASURED = ("seed", "text", "tokenizer", "thresholds")
"""What values depend on beside the subject."""

_TABLES = """
CREATE TABLE scorecards (
    id TEXT PRIMARY KEY, created TEXT NOT NULL, label TEXT NOT NULL, step INTEGER, git_commit TEXT,
    outcome TEXT, seed TEXT NOT NULL, corpus TEXT, tokenizer TEXT, thresholds TEXT NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX scorecards_by_time ON scorecards (created, label);
CREATE TABLE checks (
    scorecard TEXT NOT NULL REFERENCES scorecards, id TEXT NOT NULL, status TEXT NOT NULL, applicable INTEGER NOT NULL,
    PRIMARY KEY (id, scorecard)
) WITHOUT ROWID;
CREATE TABLE measurements (
    scorecard TEXT NOT NULL REFERENCES scorecards, check_id TEXT NOT NULL, name TEXT NOT NULL, value REAL,
    ci_low REAL, ci_high REAL, n INTEGER NOT NULL, judged INTEGER NOT NULL, pass_low REAL, pass_high REAL,
    PRIMARY KEY (check_id, name, scorecard)
) WITHOUT ROWID;
CREATE TABLE baselines (name TEXT PRIMARY KEY, scorecard TEXT NOT NULL REFERENCES scorecards) WITHOUT ROWID;
"""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One scorecard of the store.

    `measured` says how it was, by the names of `MEASURED`; `counts` are its statuses, `baselines` its marks.
    """

    id: str
    created: str
    label: str
    step: int | None
    commit: str | None
    outcome: str | None
    measured: dict[str, str | None] = {}
    counts: dict[str, int] = {}
    baselines: tuple[str, ...] = ()


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a check, where it comes from, and the interval that passes; None is a value that is not known."""

    entry: Entry
    status: Status
    value: float | None
    ci95: tuple[float, float] | None
    n: int
    passes: Interval | None


def default_path() -> Path:
    """Where the store is: GT_HISTORY, or `groundthink/history.sqlite3` in the user's data folder."""
    own = os.environ.get("GT_HISTORY")
    if own:
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "groundthink" / "history.sqlite3"


class History:
    """A store of scorecards.

    Args:
        path: Its file.
        create: Make it, with its folder, where there is none.

    Raises:
        ValueError: If it is missing, is no such store, or cannot be used: one line.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if path.is_dir():
            raise ValueError(f"history {path}: is a folder; give the name of a file (--gt-history=FILE)")
        if not path.is_file() and not create:
            raise ValueError(f"history {path}: there is none yet; groundthink history add FILE begins one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"history {path}: {error.strerror or error}") from None
        with self._connection() as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                self._prepare(connection)

    def add(self, card: Scorecard) -> tuple[str, bool]:
        """Keep a scorecard.

        Returns:
            Its id, and whether it is new.
        """
        body = scorecard.encode(card)
        id_ = hashlib.sha256(body).hexdigest()
        checkpoint, git, decision = card.subject.checkpoint or {}, card.provenance.git, card.decision
        about = (id_, card.created, card.subject.label, checkpoint.get("step"), git and git.commit)
        origin = card.provenance
        read = ((section or {}).get("sha256") for section in (card.subject.corpus, card.subject.tokenizer))
        measured = (str(origin.seed), *read, origin.thresholds.sha256)
        checks, measurements = [], []
        for check in card.checks:
            checks.append((id_, check.id, check.status.value, check.applicable))
            passes = check.threshold.passes if check.threshold else {}
            for one in check.measurements:
                row = (one.name, one.value, *(one.ci95 or (None, None)), one.n, one.name in passes)
                measurements.append((id_, check.id, *row, *passes.get(one.name, (None, None))))
        with self._connection() as connection, _transaction(connection):
            outcome = decision and decision.outcome
            inserted = connection.execute(
                "INSERT OR IGNORE INTO scorecards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*about, outcome, *measured, body),
            )
            if inserted.rowcount == 0:
                return id_, False
            connection.executemany("INSERT INTO checks VALUES (?, ?, ?, ?)", checks)
            # Of several measurements of one name the first is what the others are better than.
            connection.executemany(
                "INSERT OR IGNORE INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", measurements
            )
        return id_, True

    def entries(self, model: str | None = None) -> list[Entry]:
        """All scorecards, oldest first; of one model alone, which is named with its scale or without."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, created, label, step, git_commit, outcome, seed, corpus, tokenizer, thresholds"
                " FROM scorecards ORDER BY created, label, id"
            ).fetchall()
            counted = connection.execute(
                "SELECT scorecard, status, COUNT(*) FROM checks WHERE applicable GROUP BY 1, 2"
            )
            counts: dict[str, dict[str, int]] = {}
            for id_, status, number in counted:
                counts.setdefault(id_, {})[status] = number
            marked: dict[str, list[str]] = {}
            for name, id_ in connection.execute("SELECT name, scorecard FROM baselines ORDER BY name"):
                marked.setdefault(id_, []).append(name)
        found = (
            Entry(
                id=id_,
                created=created,
                label=label,
                step=step,
                commit=commit,
                outcome=outcome,
                measured=dict(zip(MEASURED, measured, strict=True)),
                counts=counts.get(id_, {}),
                baselines=tuple(marked.get(id_, ())),
            )
            for id_, created, label, step, commit, outcome, *measured in rows
        )
        return [entry for entry in found if model is None or _is_of(entry.label, model)]

    def points(self, target: str, model: str | None = None) -> tuple[str, str, list[Point]]:
        """All values of a check, oldest first.

        Args:
            target: A check, whose rate or first judged metric is meant, or "CHECK.METRIC".
            model: As in `entries`.

        Returns:
            Id of the check, name of the metric, and the values; also of scorecards in which the check has none.

        Raises:
            ValueError: If no scorecard of the model has such a check or metric.
        """
        with self._connection() as connection:
            known = [row[0] for row in connection.execute("SELECT DISTINCT id FROM checks")]
            fitting = [id_ for id_ in known if target == id_ or target.startswith(f"{id_}.")]
            if not fitting:
                raise ValueError(f"no scorecard of the history has a check {target!r}: there are {_listed(known)}")
            check = max(fitting, key=len)
            metric = target[len(check) + 1 :] or _main_metric(connection, check)
            rows = connection.execute(
                "SELECT c.scorecard, c.status, m.value, m.ci_low, m.ci_high, m.n, m.judged, m.pass_low, m.pass_high"
                " FROM checks c LEFT JOIN measurements m"
                " ON m.check_id = c.id AND m.scorecard = c.scorecard AND m.name = ? WHERE c.id = ? AND c.applicable",
                (metric, check),
            ).fetchall()
            if all(row[5] is None for row in rows):
                names = connection.execute("SELECT DISTINCT name FROM measurements WHERE check_id = ?", (check,))
                raise ValueError(f"{check} has no value {metric!r}: there are {_listed(row[0] for row in names)}")
        found = {row[0]: row[1:] for row in rows}
        points = []
        for entry in self.entries(model):
            if entry.id in found:
                status, value, low, high, n, judged, *passes = found[entry.id]
                points.append(
                    Point(
                        entry=entry,
                        status=Status(status),
                        value=value,
                        ci95=None if low is None or high is None else (low, high),
                        n=n or 0,
                        passes=(passes[0], passes[1]) if judged else None,
                    )
                )
        if not points:
            raise ValueError(f"no scorecard of {model} in the history has {check}")
        return check, metric, points

    def card(self, id_: str) -> Scorecard:
        """The scorecard whose id begins so.

        Raises:
            ValueError: If there is none, or more than one.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, body FROM scorecards WHERE substr(id, 1, ?) = ? LIMIT 2", (len(id_), id_.lower())
            ).fetchall()
        if len(id_) < LEAST or len(rows) != 1:
            problem = "there is none" if not rows else f"give more of the id than {len(id_)} characters"
            raise ValueError(f"no scorecard {id_!r} in the history {self.path}: {problem}")
        return msgspec.json.decode(rows[0][1], type=Scorecard)

    def set_baseline(self, name: str, id_: str) -> None:
        """Mark a scorecard, named by its whole id; the mark leaves any other that had it."""
        with self._connection() as connection, _transaction(connection):
            connection.execute("INSERT OR REPLACE INTO baselines VALUES (?, ?)", (name, id_))

    def baselines(self) -> dict[str, Entry]:
        """The marked scorecards, by name."""
        return {name: entry for entry in self.entries() for name in entry.baselines}

    def baseline(self, name: str) -> Entry:
        """The scorecard that is marked so.

        Raises:
            ValueError: If there is none.
        """
        known = self.baselines()
        if name not in known:
            raise ValueError(
                f"no baseline {name!r} in the history {self.path}: there are {_listed(known)}; "
                "groundthink history baseline set ID marks one"
            )
        return known[name]

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Bring a store that is new or of an older version up to date, one process at a time."""
        try:
            # SQLite does not wait where two processes switch a new file to WAL at once.
            with FileLock(self.path.with_name(self.path.name + ".lock"), timeout=PATIENCE):
                connection.execute("PRAGMA journal_mode = WAL")
                with _transaction(connection):
                    migrate(connection, self.path)
        except Timeout:
            raise ValueError(f"history {self.path}: another process holds it for over {PATIENCE:g} s") from None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for every use: none is open while nothing is done, and forks share none."""
        connection = None
        try:
            # Transactions are begun by hand.
            connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
        except (sqlite3.Error, OSError) as error:
            raise ValueError(f"history {self.path}: {error}") from None
        finally:
            if connection is not None:
                connection.close()


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables to `VERSION`, a step for each version, within the transaction that the caller has begun.

    Raises:
        ValueError: If a newer version made them, or the file is another program's.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ValueError(
            f"history {path}: has version {version}, this groundthink reads {VERSION}: install a newer one"
        )
    if version == 0:
        if connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            raise ValueError(f"history {path}: is a database of another program; give another file")
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; other processes that want to write wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _main_metric(connection: sqlite3.Connection, check: str) -> str:
    """The rate of a check, else the first metric that is judged, else any."""
    found = connection.execute(
        "SELECT name FROM measurements WHERE check_id = ? ORDER BY name = 'rate' DESC, judged DESC, name LIMIT 1",
        (check,),
    ).fetchone()
    return str(found[0]) if found else "rate"


def _is_of(label: str, model: str) -> bool:
    """Whether a subject's label is that of a model, named with its scale or without; a sabotaged one only in full."""
    name = label.lower().partition("#")[0]
    return model.lower() in (label.lower(), name, "" if "+" in name else name.partition("@")[0])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
