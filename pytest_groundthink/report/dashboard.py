"""What a report shows of several scorecards side by side: scales, checkpoints, decisions, and what they differ in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_groundthink.checks import CheckBook
from pytest_groundthink.report.page import CheckView, Page, page_of
from pytest_groundthink.report.statefulness import Condition
from pytest_groundthink.scorecard import Scorecard


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One scorecard: its name among the others, what it was made of, and its page."""

    name: str
    anchor: str
    scale: str
    params: str
    step: str
    total: str
    page: Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One check across the scorecards; None where it was not part of the run."""

    id: str
    title: str
    cells: tuple[CheckView | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Several scorecards. `differences` has what they differ in: a name, and its value in each."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def dashboard_of(
    cards: Sequence[Scorecard], book: CheckBook, conditions: tuple[Condition, ...], notes: Sequence[str] = ()
) -> Dashboard:
    """The dashboard of several scorecards, in the order that they are given in; arguments as for `page_of`."""
    pages = [page_of(card, book, conditions) for card in cards]
    found = [{view.id: view for view in page.checks} for page in pages]
    titles = {view.id: view.title for page in pages for view in page.checks}
    order = [*(id_ for id_ in book.checks if id_ in titles), *(id_ for id_ in titles if id_ not in book.checks)]
    return Dashboard(
        columns=tuple(
            _column(number, name, card, page)
            for number, (name, card, page) in enumerate(zip(_names(cards), cards, pages, strict=True))
        ),
        rows=tuple(Row(id=id_, title=titles[id_], cells=tuple(views.get(id_) for views in found)) for id_ in order),
        differences=tuple(_differences(cards)),
        notes=tuple(notes),
    )


def _column(number: int, name: str, card: Scorecard, page: Page) -> Column:
    step = (card.subject.checkpoint or {}).get("step")
    return Column(
        name=name,
        anchor=f"card-{number + 1}",
        scale=card.subject.scale or "none",
        params=f"{card.subject.params['total']:,}" if card.subject.params else "",
        step=f"{step:,}" if step is not None else "",
        total=f"{card.decision.total:g}" if card.decision is not None else "",
        page=page,
    )


def _names(cards: Sequence[Scorecard]) -> list[str]:
    """A name for each scorecard: its label, where that is not enough its step too, and then a number."""
    labels = Counter(card.subject.label for card in cards)
    names = []
    for card in cards:
        step = (card.subject.checkpoint or {}).get("step")
        alone = labels[card.subject.label] == 1 or step is None
        names.append(card.subject.label if alone else f"{card.subject.label} step {step:,}")
    taken: Counter[str] = Counter()
    told = []
    for name in names:
        taken[name] += 1
        told.append(name if names.count(name) == 1 else f"{name} #{taken[name]}")
    return told


def _differences(cards: Sequence[Scorecard]) -> list[tuple[str, tuple[str, ...]]]:
    """What a comparison of these scorecards must know: where they come from different thresholds, data or versions."""

    def sources(card: Scorecard) -> dict[str, str]:
        subject, source = card.subject, card.provenance
        return {
            "threshold profile": source.thresholds.profile,
            "thresholds": source.thresholds.sha256[:12],
            "seed": str(source.seed),
            "text": str((subject.corpus or {}).get("name", "none")),
            "text, sha256": str((subject.corpus or {}).get("sha256", "none"))[:12],
            "tokenizer, sha256": str((subject.tokenizer or {}).get("sha256", "none"))[:12],
            "device": str(subject.device),
            "dtype": str(subject.dtype),
            "fault planted": subject.sabotage or "none",
            "pytest-groundthink": source.version,
            "commit": source.git.commit[:12] if source.git is not None else "none",
            "torch": str(source.environment.get("torch", "none")),
            "complete": "yes" if card.summary.complete else "no",
        }

    each = [sources(card) for card in cards]
    return [(name, values) for name in each[0] if len(set(values := tuple(source[name] for source in each))) > 1]
