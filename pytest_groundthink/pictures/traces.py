"""Pictures of a trace: states along one text or conversation, and what is still answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pytest_groundthink.pictures.picture import COLORS, INK, STYLES, Picture, canvas, heatmap, write_in_cells
from pytest_groundthink.pictures.states import CourseData, draw_course, draw_gate

if TYPE_CHECKING:
    from gt.trace import ConversationTrace, Evolution, Fact, TextTrace
    from gt.trace.episodes import Answer

LEAST_RANGE = 5.0
"""Nats that the colours reach at least: a smaller preference looks small."""


def draw_text(trace: TextTrace) -> list[Picture]:
    """States, changes and gate along a text.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    pictures = [_course("course", "states along the text", trace.evolution), _changes(trace)]
    if trace.evolution.gate:
        places = trace.evolution.places
        pictures.append(draw_gate("gate", "the gate along the text", trace.evolution.gate, places))
    return pictures


def draw_conversation(trace: ConversationTrace) -> list[Picture]:
    """What is still answered, what is left of a persona, states after each turn, and along all of it as a text.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    pictures = [_episodes(trace)] if trace.episodes.answers else []
    if trace.episodes.traces:
        pictures.append(_persona(trace))
    turns = list(range(1, len(trace.turns.places) + 1))
    data = msgspec.structs.replace(msgspec.convert(trace.turns.course, CourseData), places=turns)
    pictures.append(draw_course("turns", "states after each turn", data, unit="turns read"))
    return [*pictures, *draw_text(trace.text)]


def _course(name: str, title: str, evolution: Evolution) -> Picture:
    return draw_course(name, title, msgspec.convert(evolution.course, CourseData))


def _changes(trace: TextTrace) -> Picture:
    """Change of the states from block to block, with what is abrupt marked."""
    with canvas() as (figure, ((axes,),)):
        for number, (component, changes) in enumerate(trace.evolution.changes.items()):
            places = trace.evolution.places[1:]
            axes.plot(
                places, [value if value else float("nan") for value in changes], label=component,
                color=COLORS[number % len(COLORS)], linestyle=STYLES[number % len(STYLES)],
            )  # fmt: skip
        for shift in trace.shifts:
            axes.plot(shift.end, shift.change, marker="v", markersize=8, color=INK)
        axes.set_yscale("log")
        axes.set(xlabel="tokens", ylabel=f"change in {trace.block} tokens / norm")
        axes.legend(loc="best")
    told = "; ".join(
        f"{shift.component} at tokens {shift.start:,} to {shift.end:,} (z {shift.z:.1f})" for shift in trace.shifts
    )
    alt = (
        f"Curves of the change of each component's state from block to block, relative to its norm. "
        f"Abrupt changes, marked with triangles: {told or 'none' if trace.judged else 'too short a text to tell'}."
    )
    return Picture(name="changes", title="how much the states change", alt=alt, figure=figure)


def _episodes(trace: ConversationTrace) -> Picture:
    """Which facts are answered after each turn, and by how much they are preferred."""
    facts, turns = trace.conversation.facts, len(trace.conversation.turns)
    answers = {(answer.fact, answer.turn): answer for answer in trace.episodes.answers}
    values: list[list[float | None]] = []
    texts: list[list[str]] = []
    for fact in facts:
        own = [(turn, answers.get((fact.name, turn))) for turn in range(1, turns + 1)]
        values.append([answer.margin if answer else None for _, answer in own])
        texts.append([_sign(fact, turn, answer) for turn, answer in own])
    # The same distance to both sides: the middle of the colours is where neither is preferred.
    most = max(LEAST_RANGE, *(abs(answer.margin) for answer in trace.episodes.answers))
    with canvas(width=max(5.6, 2.6 + 0.6 * turns), height=1.2 + 0.42 * len(facts)) as (figure, ((axes,),)):
        image = heatmap(figure, axes, values, label="likelier than its rivals by (nats)", vmin=-most, vmax=most)
        write_in_cells(image, texts)
        labels = [f"{fact.name} ({fact.kind})" if fact.kind != "fact" else fact.name for fact in facts]
        axes.set_yticks(range(len(facts)), labels)
        axes.set_xticks(range(turns), [str(turn) for turn in range(1, turns + 1)])
        past = ", ( ) no longer true" if any(fact.until for fact in facts) else ""
        axes.set_xlabel(f"turns read (the answer names ✓ the fact, ✗ a rival, - neither{past})")
    told = []
    for fact in facts:
        asked = [answer for answer in trace.episodes.answers if answer.fact == fact.name]
        right = [str(answer.turn) for answer in asked if answer.right and fact.holds(answer.turn)]
        stale = ", ".join(str(answer.turn) for answer in asked if answer.right and not fact.holds(answer.turn))
        likelier = sum(answer.margin > 0 for answer in asked)
        told.append(
            f"{fact.name}: answered after turn {', '.join(right) or 'none'}, likelier than its rivals after {likelier} "
            f"of {len(asked)} turns{f'; still answered, though corrected, after turn {stale}' if stale else ''}."
        )
    alt = f"Heatmap of facts by turn: by how much the state prefers the answer to its rivals. {' '.join(told)}"
    return Picture(name="episodes", title="which facts the state still answers", alt=alt, figure=figure)


def _sign(fact: Fact, turn: int, answer: Answer | None) -> str:
    """What is written into a cell: whether it is named, and by how much it is preferred."""
    if answer is None:
        return ""
    named = "✓" if answer.right else "✗" if answer.rival else "-"
    return f"{named if fact.holds(turn) else f'({named})'}\n{answer.margin:+.1f}"


def _persona(trace: ConversationTrace) -> Picture:
    """What is left in the states of the turns that stated the persona."""
    first = trace.episodes.traced_from
    with canvas() as (figure, ((axes,),)):
        for number, (component, left) in enumerate(trace.episodes.traces.items()):
            axes.plot(
                range(first, first + len(left)), left, label=component, marker="o", markersize=4,
                color=COLORS[number % len(COLORS)], linestyle=STYLES[number % len(STYLES)],
            )  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="turns read", ylabel="left of the first trace in the state")
        axes.legend(loc="best")
    told = "; ".join(f"{component} {left[-1]:.2f}" for component, left in trace.episodes.traces.items())
    alt = (
        f"Curves of what is left in the states of the difference that persona and preferences made, from 1 after turn "
        f"{first}. At the end: {told}. A trace that fades does not say that a fact is lost: the answers do."
    )
    return Picture(name="persona", title="what is left of persona and preferences", alt=alt, figure=figure)
