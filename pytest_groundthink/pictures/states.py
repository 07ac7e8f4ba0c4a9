"""Pictures of states: their course along a text, their live dimensions, and the gate between components."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_groundthink.pictures.picture import Picture, canvas, heatmap

Rows = list[list[float | None]]


class ComponentCourse(msgspec.Struct, frozen=True):
    """Norm of a component's state, and its cosine with that of the place before, [places][layers]."""

    norm: Rows
    cosine: Rows


class CourseData(msgspec.Struct, frozen=True):
    """States at places of a text, in tokens."""

    places: list[int]
    components: dict[str, ComponentCourse]


class WithCourse(msgspec.Struct, frozen=True):
    """The detail of D1."""

    course: CourseData


def course(check: str, data: WithCourse) -> Picture:
    """Norm and cosine by layer and place."""
    return draw_course(
        f"{check.lower()}-course", f"{check}: norm of the states and their change along a text", data.course
    )


def draw_course(name: str, title: str, data: CourseData, unit: str = "tokens") -> Picture:
    """Norm of the states by layer and place, and below their cosine with those of the place before.

    Args:
        name: Of the picture.
        title: Of the picture.
        data: What to draw.
        unit: What places are counted in.
    """
    names = list(data.components)
    layers = max(6, *(len(part.norm[0]) for part in data.components.values()))  # room for the labels
    with canvas(2, len(names), width=1 + 3.4 * len(names), height=1.6 + 0.24 * layers) as (figure, axes):
        for column, (component, part) in enumerate(data.components.items()):
            shifted: Rows = [[None] * len(part.norm[0]), *part.cosine]  # the first place has none before it
            for row, (rows, label, limits) in enumerate(
                ((part.norm, "norm", _log_limits(part.norm)), (shifted, "cosine to previous", {"vmax": 1}))
            ):
                one = axes[row][column]
                heatmap(figure, one, _turned(rows), label=label, **limits)
                _places(one, data.places)
                if row == 1:
                    one.set_xlabel(unit)
                if column == 0:
                    one.set_ylabel("layer")
            axes[0][column].set_title(component)
    told = [_course_in_words(component, part) for component, part in data.components.items()]
    alt = (
        f"Heatmaps by layer and place ({len(data.places)} places up to {data.places[-1]:,} {unit}): the norm of each "
        f"component's state, and its cosine with the place before. {' '.join(told)}"
    )
    return Picture(name=name, title=title, alt=alt, figure=figure)


def _course_in_words(component: str, part: ComponentCourse) -> str:
    first, last = (_mean(rows) for rows in (part.norm[0], part.norm[-1]))
    if first is None or last is None:
        return f"{component}: some norms are not finite."
    cosine = _mean([value for row in part.cosine for value in row])
    similar = "" if cosine is None else f", and neighbours have a mean cosine of {cosine:.3f}"
    return f"{component}: the mean norm goes from {first:.3g} to {last:.3g}{similar}."


class WithLive(msgspec.Struct, frozen=True):
    """The detail of D2: how much each dimension varies over texts, percent of its mean square, [layers][columns]."""

    live: dict[str, list[list[int | None]]]


def live_dimensions(check: str, data: WithLive) -> Picture:
    """How much each dimension of the states varies over texts."""
    names = list(data.live)
    layers = max(map(len, data.live.values()))
    with canvas(len(names), 1, width=7, height=len(names) * (0.8 + 0.14 * layers)) as (figure, axes):
        for (component, rows), (one,) in zip(data.live.items(), axes, strict=True):
            values: Rows = [[None if value is None else value / 100 for value in row] for row in rows]
            heatmap(figure, one, values, label="varies by", vmin=0, vmax=1)
            one.set(title=component, ylabel="layer")
            one.set_xticks([])
        axes[-1][0].set_xlabel("dimensions of the state, head after head")
    told = []
    for component, rows in data.live.items():
        flat = [value for row in rows for value in row if value is not None]
        dead = sum(value == 0 for value in flat)
        middle = sorted(flat)[len(flat) // 2] if flat else 0
        told.append(f"{component}: half of them vary by more than {middle}%, {dead} of {len(flat)} columns by none.")
    alt = (
        "Heatmaps of the dimensions of each component's state, by layer: their variance over texts as a share of their "
        f"mean square; one that does not vary holds nothing of what was read. {' '.join(told)}"
    )
    return Picture(name=f"{check.lower()}-live", title=f"{check}: which state dimensions live", alt=alt, figure=figure)


class GateData(msgspec.Struct, frozen=True):
    """RWKV's mean share in the fusion, [layers][stretches of so many tokens]."""

    tokens: int
    layers: Rows


class WithGate(msgspec.Struct, frozen=True):
    """The detail of G4."""

    by_position: GateData


def gate(check: str, data: WithGate) -> Picture:
    """The gate by layer and position."""
    return draw_gate(
        f"{check.lower()}-gate", f"{check}: the gate by layer and position", data.by_position.layers,
        [(place + 1) * data.by_position.tokens for place in range(len(data.by_position.layers[0]))],
    )  # fmt: skip


def draw_gate(name: str, title: str, rows: Rows, places: list[int], unit: str = "tokens") -> Picture:
    """RWKV's share in the fusion by layer and place."""
    with canvas(height=1 + 0.2 * len(rows)) as (figure, ((axes,),)):
        heatmap(figure, axes, rows, label="share of RWKV", vmin=0, vmax=1)
        _places(axes, places)
        axes.set(xlabel=unit, ylabel="layer")
    means = [_mean(row) for row in rows]
    told = "; ".join(f"layer {layer} {mean:.2f}" for layer, mean in enumerate(means) if mean is not None)
    alt = f"Heatmap of RWKV's share in the fusion, by layer and place. Means: {told}."
    return Picture(name=name, title=title, alt=alt, figure=figure)


def _turned(rows: Rows) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)]


def _places(axes: Any, places: list[int]) -> None:
    """Label some of the places."""
    step = max(1, len(places) // 8)
    shown = range(step - 1, len(places), step)
    axes.set_xticks(list(shown), [f"{places[one]:,}" for one in shown])


def _log_limits(rows: Rows) -> dict[str, Any]:
    from matplotlib.colors import LogNorm

    found = [value for row in rows for value in row if value]
    return {"norm": LogNorm(min(found), max(found))} if found and min(found) < max(found) else {}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None


PICTURES: Any = ((WithGate, gate), (WithCourse, course), (WithLive, live_dimensions))
