"""Pictures of a trace: states along one text or conversation, and what is still answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pytest_groundthink.pictures.picture import COLORS, INK, STYLES, Picture, canvas, heatmap, write_in_cells
from pytest_groundthink.pictures.states import CourseData, draw_course, draw_gate

if TYPE_CHECKING:
    from gt.trace import ConversationTrace, Evolution, TextTrace


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
    pictures.append(_course("turns", "states after each turn", trace.turns))
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
    """Which facts are answered after each turn."""
    facts, turns = trace.conversation.facts, len(trace.conversation.turns)
    answers = {(answer.fact, answer.turn): answer for answer in trace.episodes.answers}
    values: list[list[float | None]] = []
    texts: list[list[str]] = []
    for fact in facts:
        own = [answers.get((fact.name, turn)) for turn in range(1, turns + 1)]
        values.append([max(-5.0, min(5.0, answer.margin)) if answer else None for answer in own])
        texts.append(
            ["" if answer is None else "✓" if answer.right else "✗" if answer.rival else "-" for answer in own]
        )
    with canvas(width=max(4.8, 2.6 + 0.45 * turns), height=1.2 + 0.32 * len(facts)) as (figure, ((axes,),)):
        image = heatmap(figure, axes, values, label="preferred by (nats)", vmin=-5, vmax=5)
        write_in_cells(image, texts)
        labels = [f"{fact.name} ({fact.kind})" if fact.kind != "fact" else fact.name for fact in facts]
        axes.set_yticks(range(len(facts)), labels)
        axes.set_xticks(range(turns), [str(turn) for turn in range(1, turns + 1)])
        axes.set_xlabel("turns read (✓ answered, ✗ rival, - neither)")
    told = []
    for fact in facts:
        asked = [answer for answer in trace.episodes.answers if answer.fact == fact.name]
        right = [str(answer.turn) for answer in asked if answer.right]
        likelier = sum(answer.margin > 0 for answer in asked)
        told.append(
            f"{fact.name}: answered after turn {', '.join(right) or 'none'}, likelier than its rivals after {likelier} "
            f"of {len(asked)} turns."
        )
    alt = f"Heatmap of facts by turn: by how much the state prefers the answer to its rivals. {' '.join(told)}"
    return Picture(name="episodes", title="which facts the state still answers", alt=alt, figure=figure)


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
        axes.set(xlabel="turns read", ylabel="left of the persona's trace")
        axes.legend(loc="best")
    told = "; ".join(f"{component} {left[-1]:.2f}" for component, left in trace.episodes.traces.items())
    alt = (
        f"Curves of what is left in the states of the difference that persona and preferences made, from 1 after turn "
        f"{first}. At the end: {told}."
    )
    return Picture(name="persona", title="what is left of persona and preferences", alt=alt, figure=figure)
