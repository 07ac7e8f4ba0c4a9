"""A ladder of scales as an inline SVG: loss against size, the line that was fitted, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from gt.resources import fixtures_dir
from pytest_groundthink.categories import SCALING
from pytest_groundthink.ladder import build_ladder, fit_ladder
from pytest_groundthink.rules import load_matrix, load_scales
from pytest_groundthink.scaling import ScalingFit
from pytest_groundthink.scorecard import Scorecard

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 620, 12, 260
CURVE_POINTS = 40
LETTER, LINE = 8.8, 15  # about how wide a letter of a label is and how high its line, in units of the drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One scale: its size on the axis, its loss, and what kind of point it is.

    Attributes:
        kind: "fitted", "held-out" (left out of the fit, to see whether it is predicted) or "predicted".
        ci95: 95% interval of the loss, where there is one.
    """

    label: str
    size: float
    loss: float
    kind: str = "fitted"
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The scale ladder: its drawing, "" where there is none, and what it shows or why it is absent."""

    svg: str
    caption: str


def ladder_of(cards: Sequence[Scorecard]) -> Ladder:
    """The ladder that the decision of a scorecard rests on; that of several is fitted anew, to the largest of them."""
    largest = max(cards, key=lambda card: (card.subject.params or {}).get("total", 0))
    if len(cards) == 1:
        decision = largest.decision
        if decision is None or decision.scaling is None:
            evidence = decision.categories[SCALING].evidence if decision is not None else ()
            told = (
                "; ".join(evidence) or "no decision was computed, and no ladder of scorecards at several scales given"
            )
            return Ladder(svg="", caption=f"{told[:1].upper()}{told[1:]}.")
        return _fitted(decision.scaling)
    rule = load_scales(fixtures_dir() / "scales.yaml").get(str(largest.subject.scale))
    within = load_matrix(fixtures_dir() / "decision.yaml").categories[SCALING].tokens_within
    built = build_ladder(largest, [card for card in cards if card is not largest], within)
    fit = None if rule is None else fit_ladder(largest, built, rule)
    if fit is None:
        why = [built.lacks or "fewer than two scales of one recipe", *built.left_out]
        return Ladder(svg="", caption=f"No ladder can be drawn: {'; '.join(why)}.")
    return _fitted(fit)


def _fitted(fit: ScalingFit) -> Ladder:
    rungs = [
        Rung(label=point.label, size=point.compute, loss=point.loss, kind="held-out" if point.held_out else "fitted")
        for point in fit.points
    ]
    if (next_ := fit.predicted) is not None:
        rungs.append(Rung(label=next_.scale, size=next_.compute, loss=next_.loss, kind="predicted", ci95=next_.ci95))
    floor = fit.irreducible or 0.0
    svg = draw(rungs, "training compute (FLOP)", lambda flop: floor + fit.coefficient * flop**-fit.exponent)
    return Ladder(svg=svg, caption=_caption(fit))


def _caption(fit: ScalingFit) -> str:
    """The fit in a sentence, for those who read it and those who cannot see the drawing."""
    exponent = f"{fit.exponent:.3g}"
    if fit.exponent_ci95 is not None:
        exponent += f" (95% {fit.exponent_ci95[0]:.3g} to {fit.exponent_ci95[1]:.3g})"
    floor = f"{fit.irreducible:.3g} + " if fit.irreducible is not None else ""
    said = [f"{len(fit.points)} runs at {fit.scales} scales: loss = {floor}{fit.coefficient:.3g} x compute^-{exponent}"]
    if fit.r2 is not None:
        said.append(f"R^2 {fit.r2:.3f}")
    if fit.held_out_error is not None:
        said.append(f"the largest scale, held out, is mispredicted by {fit.held_out_error:.1%} (open circles)")
    if (next_ := fit.predicted) is not None:
        interval = f", 95% {next_.ci95[0]:.3f} to {next_.ci95[1]:.3f}" if next_.ci95 is not None else ""
        said.append(f"{next_.scale} is predicted at {next_.loss:.3f} nats{interval} (diamond)")
    return "; ".join([*said, fit.note] if fit.note else said) + "."


def draw(rungs: Sequence[Rung], axis: str, curve: Callable[[float], float] | None = None) -> str:
    """Draw a ladder on logarithmic axes.

    Args:
        rungs: At least two points of different size with positive sizes and losses.
        axis: What the size is, for example "training compute (FLOP)".
        curve: The fitted loss at a size; without one no line is drawn.

    Returns:
        An `<svg>` element for a page that styles its classes; "" if there are not two sizes to draw.
    """
    shown = [rung for rung in rungs if rung.size > 0 and rung.loss > 0 and math.isfinite(rung.size * rung.loss)]
    sizes = sorted({rung.size for rung in shown})
    if len(sizes) < 2:
        return ""
    path = []
    if curve is not None:
        ratio = sizes[-1] / sizes[0]
        path = [
            (size, curve(size)) for i in range(CURVE_POINTS + 1) if (size := sizes[0] * ratio ** (i / CURVE_POINTS))
        ]
    losses = [rung.loss for rung in shown] + [end for rung in shown for end in rung.ci95 or () if end > 0]
    losses += [loss for _, loss in path if loss > 0]
    x, y = _scale(sizes, LEFT + 20, RIGHT - 40), _scale(losses, BOTTOM - 14, TOP + 34)
    parts = [f'<path class="frame" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>']
    for loss in _ticks(min(losses), max(losses)):
        parts.append(f'<path class="grid" d="M{LEFT} {y(loss):.1f}H{RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3g}</text>')
    for size, anchor in ((sizes[0], "start"), (sizes[-1], "end")):
        parts.append(f'<text class="tick" x="{x(size):.1f}" y="{BOTTOM + 16}" text-anchor="{anchor}">{size:.3g}</text>')
    parts.append(f'<text class="tick" x="{LEFT + 6}" y="{TOP + 6}">loss (nats per token)</text>')
    if path:
        line = "L".join(f"{x(size):.1f} {y(loss):.1f}" for size, loss in path if loss > 0)
        parts.append(f'<path class="curve" d="M{line}"/>')
    taken = [_Box(x(rung.size) - 6, y(rung.loss) - 6, x(rung.size) + 6, y(rung.loss) + 6) for rung in shown]
    for rung in shown:
        parts += _point(rung, x(rung.size), y, taken)
    parts.append(
        f'<text class="tick" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axis)}</text>'
    )
    told = "; ".join(f"{rung.label} {rung.loss:.3f} ({rung.kind})" for rung in shown)
    return (
        f'<svg class="ladder" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"Loss (nats per token) against {axis}: {told}")}">' + "".join(parts) + "</svg>"
    )


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def _point(rung: Rung, x: float, y: Callable[[float], float], taken: list[_Box]) -> list[str]:
    """A filled circle for what was fitted, an open one for what was held out, a diamond for what is predicted.

    Its label is put where none of `taken` is, and added to them.
    """
    at = y(rung.loss)
    parts = []
    if rung.ci95 is not None and rung.ci95[0] > 0:
        low, high = y(rung.ci95[0]), y(rung.ci95[1])
        parts.append(
            f'<path class="mark" d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 5:.1f} {low:.1f}h10M{x - 5:.1f} {high:.1f}h10"/>'
        )
    if rung.kind == "predicted":
        parts.append(f'<path class="open" d="M{x:.1f} {at - 7:.1f}l6 7l-6 7l-6 -7z"/>')
    else:
        parts.append(
            f'<circle class="{"open" if rung.kind == "held-out" else "value"}" cx="{x:.1f}" cy="{at:.1f}" r="5"/>'
        )
    left, base = _free_place(rung.label, x, at, taken)
    parts.append(f'<text class="point" x="{left:.1f}" y="{base:.1f}">{escape(rung.label)}</text>')
    return parts


def _free_place(label: str, x: float, y: float, taken: list[_Box]) -> tuple[float, float]:
    """Where a label's line begins: above its point, right of it; else below, or farther off."""
    width = LETTER * len(label)
    for far in range(4):
        for base in (y - 7 - far * LINE, y + 17 + far * LINE):
            for left in (x + 9, x - 9 - width):
                box = _Box(left, base - LINE + 3, left + width, base + 3)
                inside = LEFT < box.left and box.right <= WIDTH and box.bottom < BOTTOM and TOP < box.top
                if inside and not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    return left, base
    return x + 9, y - 7


def _scale(numbers: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Places numbers on a logarithmic axis between two positions."""
    low, high = math.log(min(numbers)), math.log(max(numbers))
    span = high - low or 1.0
    return lambda number: first + (math.log(number) - low) / span * (last - first)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within the range; its ends where there is no round one."""
    for step in (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01):
        found = [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1) if i > 0]
        if 3 <= len(found):
            return found[:: math.ceil(len(found) / 6)]
    return [low] if low == high else [low, high]
