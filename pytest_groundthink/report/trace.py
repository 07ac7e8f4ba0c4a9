"""What `groundthink trace` prints and writes: tables, JSON, and a page or files of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table
from rich.text import Text

from pytest_groundthink.pictures import Picture

if TYPE_CHECKING:
    from gt.measurement import Measurement
    from gt.trace import ConversationTrace, Evolution, TextTrace

SHOWN = 60
"""Characters shown of a text."""

ROWS = 24
"""Most rows of a table of places; of more, some are left out at equal distances."""


def text_tables(trace: TextTrace) -> list[Table]:
    """States along a text, then its abrupt changes."""
    return [_evolution(f"states every {trace.block} tokens", trace.evolution), _shifts(trace)]


def conversation_tables(trace: ConversationTrace) -> list[Table]:
    """What is answered after each turn and in which words, what drifted, states after each turn, and abrupt changes."""
    return [
        _answers(trace),
        _said(trace),
        _drifts(trace),
        _evolution("states after each turn", trace.turns, by_turn=True),
        _shifts(trace.text),
    ]


def sample_tables(measurements: Sequence[Measurement]) -> list[Table]:
    """Figures of what was generated, then the samples."""
    figures = _table("what it says by itself", "", "value", "95% interval")
    samples = _table("samples", "decoding", "prompt", "continuation")
    for one in measurements:
        value = "-" if one.value is None else f"{one.value:.4g}"
        figures.add_row(one.metric, value, "" if one.ci95 is None else f"{one.ci95[0]:.4g} to {one.ci95[1]:.4g}")
        for sample in one.detail.get("samples", ()):
            said = Text(" ".join(sample["text"].split()))
            samples.add_row(one.metric.rpartition("_")[2], Text(" ".join(sample["prompt"].split())), said)
    return [figures, samples]


def write(path: Path, title: str, record: Any, pictures: Sequence[Picture]) -> list[Path]:
    """Write a trace as what the name of the file says: JSON, a page, or one file for each picture.

    Args:
        path: Ends in .json, .html, .svg or .png; for pictures, NAME.PICTURE.png each.
        title: Heading of the page.
        record: What JSON holds.
        pictures: What is drawn.

    Returns:
        The files written.

    Raises:
        OSError: If one cannot be written.
    """
    if path.suffix == ".json":
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        return [path]
    if path.suffix == ".html":
        path.write_text(page(title, pictures), encoding="utf-8")
        return [path]
    paths = [path.with_suffix(f".{picture.name}{path.suffix}") for picture in pictures]
    for one, picture in zip(paths, pictures, strict=True):
        picture.write(one)
    return paths


def page(title: str, pictures: Sequence[Picture]) -> str:
    """A page of pictures that needs nothing from elsewhere."""
    figures = "\n".join(
        f"<figure><figcaption><h2>{escape(one.title)}</h2></figcaption>\n{one.svg}\n<p>{escape(one.alt)}</p></figure>"
        for one in pictures
    )
    style = (
        ":root{color-scheme:light dark}body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "figure{margin:2em 0}svg{max-width:100%;height:auto}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style></head>\n<body><h1>{escape(title)}</h1>\n{figures}\n</body></html>\n"
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _evolution(title: str, evolution: Evolution, by_turn: bool = False) -> Table:
    """Norm over all layers, mean cosine of the layers with the place before, and the mean gate."""
    components = evolution.course["components"]
    heads = [f"{name} {what}" for name in components for what in ("norm", "cosine")]
    table = _table(title, *(["turn"] if by_turn else []), "tokens", *heads, *(["gate"] if evolution.gate else []))
    step = -(-len(evolution.places) // ROWS)
    for place in range(step - 1, len(evolution.places), step):
        cells = [*([str(place + 1)] if by_turn else []), f"{evolution.places[place]:,}"]
        for part in components.values():
            cells.append(_shown(sum(v * v for v in part["norm"][place] if v is not None) ** 0.5, ".4g"))
            cells.append(_shown(_mean(part["cosine"][place - 1]), ".3f") if place else "")
        if evolution.gate:
            cells.append(_shown(_mean([layer[place] for layer in evolution.gate]), ".2f"))
        table.add_row(*cells)
    return table


def _shifts(trace: TextTrace) -> Table:
    limits = sorted({f"{z:.1f}" for z in trace.least_z.values()})
    title = f"abrupt changes (robust z from {' or '.join(limits)} up)" if limits else "abrupt changes"
    table = _table(title, "tokens", "state", "z", "layer", "text")
    for shift, excerpt in zip(trace.shifts, trace.excerpts, strict=True):
        text = Text(" ".join(excerpt.split())[:SHOWN])
        table.add_row(f"{shift.start:,}-{shift.end:,}", shift.component, f"{shift.z:.1f}", str(shift.layer), text)
    if not trace.judged:
        table.add_row("-", "", "", "", f"too few blocks of {trace.block} tokens to tell: give a smaller --block")
    elif not trace.shifts:
        table.add_row("none")
    return table


def _answers(trace: ConversationTrace) -> Table:
    turns = range(1, len(trace.conversation.turns) + 1)
    columns = [f"turn {turn}" for turn in turns]
    title = "does the answer name the fact (yes, no, or a rival), and by how many nats is it likelier than its rivals"
    table = _table(title, "fact", "expected", *columns)
    found = {(answer.fact, answer.turn): answer for answer in trace.episodes.answers}
    for fact in trace.conversation.facts:
        cells = []
        for turn in turns:
            answer = found.get((fact.name, turn))
            word = "" if answer is None else "yes" if answer.right else "rival" if answer.rival else "no"
            past = "" if fact.holds(turn) or answer is None else " (past)"
            cells.append("" if answer is None else f"{word} {answer.margin:+.1f}{past}")
        table.add_row(Text(fact.name), Text(fact.answer), *cells)
    return table


def _said(trace: ConversationTrace) -> Table:
    """The answers in words, one row for those that stay the same, and the replies that the turns do not give."""
    from gt.data.dialogues import canary_data

    table = _table("what it said", "turns", "asked", "expected", "said")
    for fact in trace.conversation.facts:
        own = [answer for answer in trace.episodes.answers if answer.fact == fact.name]
        for said, same in groupby(own, key=lambda answer: answer.text):
            turns = [answer.turn for answer in same]
            span = str(turns[0]) if len(turns) == 1 else f"{turns[0]}-{turns[-1]}"
            table.add_row(span, Text(fact.question), Text(fact.answer), Text(said[:SHOWN]))
    for number, (turn, written) in enumerate(
        zip(trace.conversation.turns, trace.episodes.written, strict=True), start=1
    ):
        if turn.assistant is None:
            reply = written.removeprefix(canary_data().query(turn.user))
            table.add_row(str(number), Text(turn.user), "(its own reply)", Text(reply.strip()[:SHOWN]))
    return table


def _drifts(trace: ConversationTrace) -> Table:
    table = _table("drift", "after turn", "fact", "kind", "is", "answer")
    for drift in trace.episodes.drifts:
        table.add_row(str(drift.turn), Text(drift.fact), drift.kind, drift.what, Text(drift.text[:SHOWN]))
    if not trace.episodes.drifts:
        table.add_row("none")
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
