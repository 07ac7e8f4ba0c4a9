"""`groundthink compare`: scorecards or checkpoints side by side. What it needs is imported when it runs."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console

    from pytest_groundthink.checks import Check
    from pytest_groundthink.scorecard import Scorecard

_ID = re.compile(r"[0-9a-fA-F]{4,64}")


@Parameter(name="*")
@dataclass(kw_only=True, slots=True)
class CompareConfig:
    """Settings of `groundthink compare`.

    Attributes:
        fail_on: Rules that make the exit status 1, separated by commas: "C1a<-5%" (relative change), "C1a<-5pp"
            (points), "L2.loss>+0.1" (absolute change), "rates<-5pp" (of any rate), "C1a<90%" (the value itself),
            "status" (of any check got worse), "significant" (any drop), "decision" (got worse).
        baseline: Compare with this baseline of the history, instead of with the first that is named.
        every: Show also what has not changed and what no band judges.
        markdown: Write the tables here as Markdown.
        json: Write all of it here as JSON.
        checks: Checks of your own, for their labels.
        allow_edited: Take scorecards that were changed after they were written, or that have no hash, and say so.
        history: The history, where it is not at its usual place.
        model: Of checkpoints: model of weights that do not say it themselves.
        corpus: Of checkpoints: text to read, by default the reference documentation that every Python ships.
        texts: Of checkpoints: number of pieces of text that are read.
        device: Of checkpoints: auto, cpu or cuda.
    """

    fail_on: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    baseline: str | None = None
    every: Annotated[bool, Parameter(name="--all", negative="")] = False
    markdown: Path | None = None
    json: Path | None = None
    checks: Path | None = None
    allow_edited: Annotated[bool, Parameter(negative="")] = False
    history: Path | None = None
    model: str | None = None
    corpus: str | None = None
    texts: int = 32
    device: str = "auto"


def compare(*given: str, config: CompareConfig | None = None) -> None:
    """Compare scorecards with the first of them, regressions first, with what chance explains; or two checkpoints.

    Exit status: 0, 1 where a rule of --fail-on is hit, 4 for bad input.

    Args:
        given: Scorecards, as files or by their id in the history; or two checkpoints.
        config: Settings.
    """
    from rich.console import Console

    console = Console()
    try:
        hit = _run(given, config or CompareConfig(), console)
    except (ValueError, OSError) as error:
        print(f"groundthink compare: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(4)
    sys.exit(1 if hit else 0)


def _run(given: tuple[str, ...], config: CompareConfig, console: Console) -> bool:
    from pytest_groundthink.fail_rules import parse_rules

    rules = parse_rules(config.fail_on)
    for option, path in (("--markdown", config.markdown), ("--json", config.json)):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise ValueError(f"{option} {path}: expected a file in a folder that exists")
    if given and all(_is_checkpoint(Path(name)) for name in given):
        from pytest_groundthink.report.drift import compare_and_report

        return compare_and_report(given, config, rules, console)
    from pytest_groundthink.comparison import compare as compare_cards
    from pytest_groundthink.fail_rules import hits
    from pytest_groundthink.report import compare as report

    cards = _cards(given, config)
    comparison = compare_cards(cards, _described(config.checks))
    found = hits(comparison, rules)
    report.print_comparison(comparison, found, config.every, console)
    if config.markdown is not None:
        config.markdown.write_text(report.markdown(comparison, found, config.every), encoding="utf-8")
    if config.json is not None:
        config.json.write_bytes(report.record(comparison, found))
    return bool(found)


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() or path.suffix in (".pt", ".pth", ".safetensors")


def _cards(given: tuple[str, ...], config: CompareConfig) -> list[tuple[str, Scorecard]]:
    """The scorecards with their names, the baseline first."""
    from pytest_groundthink import scorecard
    from pytest_groundthink.history import SHORT, History, default_path

    cards: list[tuple[str, Scorecard]] = []
    if config.baseline is not None:
        history = History(config.history or default_path())
        entry = history.baseline(config.baseline)
        cards.append((f"{config.baseline} {entry.id[:SHORT]}", history.card(entry.id)))
    for name in given:
        path = Path(name)
        if _is_checkpoint(path):
            raise ValueError(f"{name} is a checkpoint, but others are not: give two checkpoints, or scorecards alone")
        if not path.exists() and _ID.fullmatch(name):
            cards.append((name, History(config.history or default_path()).card(name)))
        else:
            card, integrity = scorecard.read_flagged(path, allow_edited=config.allow_edited)
            cards.append((name if integrity == "intact" else f"{name} ({integrity})", card))
    return _short_names(cards)


def _short_names(cards: list[tuple[str, Scorecard]]) -> list[tuple[str, Scorecard]]:
    """Names without the folder that all of the files share."""
    short = [Path(name).name for name, _ in cards]
    return (
        [(one, card) for one, (_, card) in zip(short, cards, strict=True)] if len(set(short)) == len(short) else cards
    )


def _described(extra: Path | None) -> dict[str, Check]:
    from gt.resources import fixtures_dir
    from pytest_groundthink.checks import load_checks

    return load_checks(fixtures_dir() / "checks.yaml", extra).checks
