"""Pictures of what is remembered: needles in a haystack, what context is worth, recall over turns."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_groundthink.pictures.picture import COLORS, INK, Picture, canvas, heatmap, write_in_cells

Interval = tuple[float, float]


class Cell(msgspec.Struct, frozen=True):
    """Needles at one length and depth."""

    length: int
    depth: float
    n: int
    right: int


class Needles(msgspec.Struct, frozen=True):
    """The detail of NIAH."""

    cells: list[Cell]
    judged_to: int


def needles(check: str, data: Needles) -> Picture:
    """Accuracy by length and depth."""
    lengths = sorted({cell.length for cell in data.cells})
    depths = sorted({cell.depth for cell in data.cells})
    by_place = {(cell.length, cell.depth): cell for cell in data.cells}
    rows = [[by_place.get((length, depth)) for length in lengths] for depth in depths]
    with canvas(width=2.2 + 0.75 * len(lengths), height=1.2 + 0.35 * len(depths)) as (figure, ((axes,),)):
        shares = [[cell.right / cell.n if cell else None for cell in row] for row in rows]
        image = heatmap(figure, axes, shares, label="accuracy", vmin=0, vmax=1)
        write_in_cells(image, [[f"{cell.right}/{cell.n}" if cell else "" for cell in row] for row in rows])
        axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
        axes.set(xlabel="tokens of the prompt", ylabel="depth of the needle")
        judged = sum(length <= data.judged_to for length in lengths)
        if 0 < judged < len(lengths):
            axes.axvline(judged - 0.5, color=INK, linestyle="--", linewidth=1)
            axes.set_title(f"judged up to {data.judged_to:,} tokens (dashed)")
    by_length = [(length, [cell for cell in data.cells if cell.length == length]) for length in lengths]
    told = "; ".join(
        f"{length:,} tokens {sum(cell.right for cell in own)} of {sum(cell.n for cell in own)}"
        for length, own in by_length
    )
    worst = min(data.cells, key=lambda cell: cell.right / cell.n)
    alt = (
        f"Heatmap of needles found, by length of the prompt and depth of the needle. Found at {told}. "
        f"The worst cell is {worst.length:,} tokens at depth {worst.depth:.0%}: {worst.right} of {worst.n}."
    )
    return Picture(name=check.lower(), title=f"{check}: needles found", alt=alt, figure=figure)


class ContextPoint(msgspec.Struct, frozen=True):
    """Loss after a context of one length."""

    context: int
    loss: float | None
    ppl: float | None
    ci95: Interval | None


class ContextCurve(msgspec.Struct, frozen=True):
    """The detail of LRD."""

    curve: list[ContextPoint]
    claimed: int


def context_curve(check: str, data: ContextCurve) -> Picture:
    """Loss over the length of context, with its interval."""
    points = [point for point in data.curve if point.loss is not None and point.ppl is not None]
    with canvas() as (figure, ((axes,),)):
        xs = [point.context for point in points]
        axes.plot(xs, [point.loss for point in points], color=COLORS[0], marker="o", markersize=4)
        _band(axes, xs, [point.ci95 for point in points])
        axes.axvline(data.claimed, color=INK, linestyle="--", linewidth=1)
        axes.annotate(
            " claimed", (data.claimed, 1), xycoords=("data", "axes fraction"), va="top", ha="left", fontsize=8
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [f"{x:,}" for x in xs])
        axes.minorticks_off()
        axes.set(xlabel="tokens of context", ylabel="loss (nats per token)")
    alt = f"Curve of the loss of the same tokens over the length of their context; {data.claimed:,} tokens are claimed."
    if points:
        told = "; ".join(f"{point.context:,} tokens {point.loss:.3f}" for point in points)
        best = min(points, key=lambda point: point.loss or 0)
        alt += f" Loss in nats: {told}. It is lowest at {best.context:,} tokens (perplexity {best.ppl:.1f})."
    else:
        alt += " No loss was finite."
    return Picture(name=check.lower(), title=f"{check}: what context is worth", alt=alt, figure=figure)


class TurnPoint(msgspec.Struct, frozen=True):
    """Recall after a number of turns."""

    turns: int
    rate: float
    n: int
    ci95: Interval | None = None


class TurnCurve(msgspec.Struct, frozen=True):
    """The detail of SPS."""

    curve: list[TurnPoint]


def turn_curve(check: str, data: TurnCurve) -> Picture:
    """Recall over the number of turns, with its interval."""
    with canvas() as (figure, ((axes,),)):
        xs = [point.turns for point in data.curve]
        axes.plot(xs, [point.rate for point in data.curve], color=COLORS[0], marker="o", markersize=4)
        _band(axes, xs, [point.ci95 for point in data.curve])
        axes.set_xscale("log")
        axes.set_xticks(xs, [str(x) for x in xs])
        axes.minorticks_off()
        axes.set(xlabel="turns since the fact was stated", ylabel="recalled", ylim=(-0.02, 1.02))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    told = "; ".join(f"{point.turns} turns {point.rate:.1%} of {point.n}" for point in data.curve)
    alt = f"Curve of the share of facts recalled over the turns since they were stated: {told}."
    return Picture(name=f"{check.lower()}-turns", title=f"{check}: recall against turns", alt=alt, figure=figure)


def _band(axes: Any, xs: list[int], intervals: list[Interval | None]) -> None:
    """Draw 95% intervals where they are known."""
    known = [(x, *interval) for x, interval in zip(xs, intervals, strict=True) if interval is not None]
    if known:
        places, lows, highs = zip(*known, strict=True)
        axes.fill_between(places, lows, highs, color=COLORS[0], alpha=0.25, linewidth=0, label="95%")
        axes.legend(loc="best")


PICTURES: Any = ((Needles, needles), (ContextCurve, context_curve), (TurnCurve, turn_curve))
