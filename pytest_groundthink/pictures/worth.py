"""Pictures of what is worth what: components by layer and by kind of token, and earlier text to the output."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_groundthink.pictures.picture import COLORS, INK, Picture, canvas, heatmap

HATCHES = ("", "///", "...", "xxx")
"""Of bars, so that colour is never alone in telling them apart."""


class WithKinds(msgspec.Struct, frozen=True):
    """The detail of D3: by kind of token its number `n`, and the loss rise without each component's state."""

    by_kind: dict[str, dict[str, float | None]]

    def __post_init__(self) -> None:
        if not all("n" in kind for kind in self.by_kind.values()):
            raise ValueError("the kinds are those of something else")


def by_kind(check: str, data: WithKinds) -> Picture:
    """Loss rise without a component's state, by kind of token."""
    kinds = [kind for kind, own in data.by_kind.items() if own["n"]]
    rises = {
        component: [data.by_kind[kind].get(component) for kind in kinds]
        for component in dict.fromkeys(name for kind in kinds for name in data.by_kind[kind] if name != "n")
    }
    labels = [f"{kind} ({data.by_kind[kind]['n']:,.0f})" for kind in kinds]
    return _bars(
        f"{check.lower()}-kinds",
        f"{check}: what the states are worth, by kind of token",
        "Bars of the loss rise when a component's state is zeroed, by kind of the token that is predicted.",
        labels,
        rises,
    )


class WithLayers(msgspec.Struct, frozen=True):
    """The detail of D7: by component the loss rise without the state of each layer."""

    by_layer: dict[str, list[float | None]]


def by_layer(check: str, data: WithLayers) -> Picture:
    """Loss rise without one layer's state."""
    layers = max(map(len, data.by_layer.values()))
    return _bars(
        f"{check.lower()}-layers",
        f"{check}: what each layer's state is worth",
        "Bars of the loss rise when a component's state is zeroed in one layer.",
        [f"layer {layer}" for layer in range(layers)],
        data.by_layer,
    )


def _bars(name: str, title: str, what: str, labels: list[str], rises: dict[str, list[float | None]]) -> Picture:
    height = 0.8 / len(rises)
    with canvas(height=1 + 0.3 * len(labels)) as (figure, ((axes,),)):
        for number, (component, values) in enumerate(rises.items()):
            places = [row + (number - (len(rises) - 1) / 2) * height for row in range(len(values))]
            axes.barh(
                places, [value or 0 for value in values], height, label=component, color=COLORS[number],
                hatch=HATCHES[number % len(HATCHES)], edgecolor=INK, linewidth=0.4,
            )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xlabel("loss rise without the state (nats per token)")
        axes.legend(loc="best")
    told = []
    for component, values in rises.items():
        known = [(value, label) for value, label in zip(values, labels, strict=False) if value is not None]
        if known:
            (high, most), (low, least) = max(known), min(known)
            told.append(f"{component}: most at {most} ({high:+.3f}), least at {least} ({low:+.3f}).")
    return Picture(name=name, title=title, alt=f"{what} {' '.join(told)}", figure=figure)


class WithInfluence(msgspec.Struct, frozen=True):
    """The detail of D7: share of probability that moves, [block replaced][block predicted], blocks of some tokens."""

    tokens: int
    influence: list[list[float | None]]


def influence(check: str, data: WithInfluence) -> Picture:
    """Which earlier tokens change the output."""
    from matplotlib.colors import LogNorm

    rows, count = data.influence, len(data.influence)
    found = [value for row in rows for value in row if value]
    limits = {"norm": LogNorm(max(min(found), 1e-6), max(found))} if found and min(found) < max(found) else {}
    with canvas(width=4.8, height=4) as (figure, ((axes,),)):
        heatmap(figure, axes, rows, label="probability that moves", **limits)
        ends = [f"{(place + 1) * data.tokens}" for place in range(count)]
        step = max(1, count // 8)
        axes.set_xticks(range(step - 1, count, step), ends[step - 1 :: step])
        axes.set_yticks(range(step - 1, count, step), ends[step - 1 :: step])
        axes.set(xlabel="tokens predicted", ylabel="tokens replaced")
    told = []
    for distance in sorted({0, 1, count // 2, count - 1}):
        values = [rows[first][first + distance] for first in range(count - distance)]
        known = [value for value in values if value is not None]
        if known:
            told.append(f"{distance * data.tokens} tokens on {sum(known) / len(known):.2%}")
    alt = (
        f"Heatmap of how much the predictions at later tokens move when {data.tokens} tokens are replaced by another "
        f"text's. Mean share of probability that moves: {'; '.join(told)}."
    )
    return Picture(
        name=f"{check.lower()}-context", title=f"{check}: which earlier tokens change the output", alt=alt,
        figure=figure,
    )  # fmt: skip


PICTURES: Any = ((WithKinds, by_kind), (WithLayers, by_layer), (WithInfluence, influence))
