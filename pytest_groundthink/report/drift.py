"""What `groundthink compare` shows of two checkpoints: weights that moved, states and losses on the same text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gt.checkpoint import WEIGHTS, sha256_of
from pytest_groundthink.fail_rules import Rule

if TYPE_CHECKING:
    from gt.drift.behaviour import Behaviour
    from gt.drift.weights import WeightDrift
    from gt.models.config import ModelConfig
    from pytest_groundthink.compare_command import CompareConfig

SCHEMA = "groundthink.drift/1"
MOST_MOVED = 8
"""Tensors that are shown; the JSON has all."""

Rows = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""A table: title, headings, cells."""

Cells = dict[tuple[int | None, str], str]
"""By layer, None for all of them, and component."""


def compare_and_report(given: Sequence[str], config: CompareConfig, rules: Sequence[Rule], console: Console) -> bool:
    """Compare two checkpoints, print what differs and write it.

    Args:
        given: Their paths.
        config: Settings.
        rules: Rules on `loss` alone.
        console: Where to print.

    Returns:
        Whether a rule is hit.

    Raises:
        ValueError: If they cannot be compared: one line.
    """
    if len(given) != 2:
        raise ValueError(f"got {len(given)} checkpoint{'s' if len(given) > 1 else ''}, expected two")
    if config.baseline is not None:
        raise ValueError("--baseline marks a scorecard: give scorecards, or two checkpoints without it")
    if config.texts < 2:
        raise ValueError(f"--texts is {config.texts}: expected at least 2")
    for rule in rules:
        if rule.target != "loss":
            raise ValueError(f"--fail-on {rule.text!r}: of checkpoints there is the loss alone, e.g. loss>+2%")
    first, second = (Path(name).absolute() for name in given)
    for path in (first, second):
        if path.is_dir() and not (path / WEIGHTS).is_file():
            raise ValueError(f"{path} is no checkpoint: it has no {WEIGHTS}")
    from gt.drift.weights import weight_drift, weights_of  # loads torch

    configs = _config(first), _config(second)
    weights = [weights_of(path) for path in (first, second)]
    known = (configs[0], configs[1]) if configs[0] is not None and configs[1] is not None else None
    drift = weight_drift(weights[0], weights[1], known, _same_tokenizer(first, second))
    found, why_not = _behaviour(first, second, configs, config)
    losses = (None, None) if found is None else (found.before, found.after)
    hits = [f"--fail-on {rule.text}: {why}" for rule in rules if (why := rule.holds(*losses))]
    tables, lines = _tables(drift, found), _summary(drift, found, why_not)
    console.print(Text(f"{given[1]} against {given[0]}", style="bold"), soft_wrap=True)
    for line in lines:
        console.print(line, highlight=False, markup=False)
    for title, headings, cells in tables:
        console.print(f"\n{title}", style="bold", highlight=False, markup=False)
        console.print(_table(headings, cells))
    for line in hits:
        console.print(line, style="bold red", highlight=False, markup=False)
    if config.markdown is not None:
        text = _markdown(given, [*lines, *hits], tables)
        config.markdown.write_text(text, encoding="utf-8")
    if config.json is not None:
        content = {
            "schema": SCHEMA,
            "checkpoints": [str(first), str(second)],
            "weights": msgspec.to_builtins(drift),
            "behaviour": msgspec.to_builtins(found),
            "not_read": why_not,
            "hits": hits,
        }
        config.json.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return bool(hits)


def _config(path: Path) -> ModelConfig | None:
    """Configuration of a checkpoint folder of this project; None of any other."""
    from gt.models.config import ModelConfig

    try:
        return msgspec.convert(json.loads((path / "config.json").read_bytes())["model"], ModelConfig)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _same_tokenizer(first: Path, second: Path) -> bool:
    """Whether both have one tokenizer; weights without any are taken to."""
    files = [path / "tokenizer.json" for path in (first, second)]
    return not all(file.is_file() for file in files) or sha256_of(files[0]) == sha256_of(files[1])


def _behaviour(
    first: Path, second: Path, configs: Sequence[ModelConfig | None], config: CompareConfig
) -> tuple[Behaviour | None, str]:
    """What both do with the same text; or why they were not let read."""
    names = [config.model or (None if own is None else f"{own.variant}@{own.scale}") for own in configs]
    if None in names:
        return None, "the weights do not say whose they are: --model NAME lets them read text"
    from gt.drift.behaviour import behaviour
    from gt.subject import SubjectRequest, load_subject, plan_subject

    plans = [
        plan_subject(SubjectRequest(model=name, ckpt=str(path), corpus=config.corpus, device=config.device))
        for name, path in zip(names, (first, second), strict=True)
    ]
    subjects = [load_subject(plan, lambda done, total, note: None) for plan in plans]
    return behaviour(subjects[0], subjects[1], config.texts), ""


def _summary(drift: WeightDrift, found: Behaviour | None, why_not: str) -> list[str]:
    lines = []
    if found is None:
        lines.append(f"loss and states: not compared: {why_not}")
    else:
        loss = found.loss
        low, high = loss.ci95
        lines.append(
            f"loss: {found.before:.4f} to {found.after:.4f} {found.unit}: {loss.difference:+.4f} "
            f"(95% {low:+.4f} to {high:+.4f}, p={loss.p_value:.2g}) on {loss.n} pieces of {found.corpus['name']}"
        )
        if found.note:
            lines.append(f"states: {found.note}")
    still = sum(one.moved == 0 and one.shape == one.other_shape for one in drift.tensors)
    lines.append(f"weights: {len(drift.tensors)} tensors compared, {still} of them equal bit for bit")
    lines.append(f"origin: {_origin(drift)}")
    if drift.resized:
        lines.append(f"of {drift.resized} tensors of other sizes the leading block that both have was compared")
    if drift.matched_layers:
        pairs = ", ".join(f"{one} with {other}" for one, other in drift.matched_layers.items())
        lines.append(f"layers compared, each with the one most like it: {pairs}")
    for title, names in (("not in the second", drift.missing), ("not in the first", drift.added)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"{title}: {len(names)} tensors: {', '.join(names[:3])}{more}")
    lines += [f"left out: {name}: {reason}" for name, reason in drift.skipped.items()]
    return lines


def _origin(drift: WeightDrift) -> str:
    """In words, what the random matrices say."""
    if not drift.judged:
        return "unknown: no matrix of both tells"
    share = f"{drift.related} of {drift.judged} matrices are far more alike than chance makes them"
    if drift.related == drift.judged:
        if drift.resized or drift.matched_layers:
            return f"one was expanded into the other: {share}"
        return f"one was trained on from the other, or both began with the same weights: {share}"
    if drift.related == 0:
        return f"trained apart, from other initial weights: {share}"
    return f"a part of one came from the other: {share}"


def _tables(drift: WeightDrift, found: Behaviour | None) -> list[Rows]:
    tables: list[Rows] = []
    if found is not None and found.states:
        cells: Cells = {(one.layer, one.component): _pair(one.relative, one.cosine) for one in found.states}
        between = max(found.states, key=lambda one: one.relative)
        title = (
            "states after the same text: relative difference (cosine); "
            f"two texts leave {between.component} of layer {between.layer} {between.between_texts:.1%} apart"
        )
        tables.append(_by_layer(title, cells))
    parts: Cells = {(one.layer, one.component): _pair(one.relative, one.cosine) for one in drift.layers}
    parts |= {(None, one.component): _pair(one.relative, one.cosine) for one in drift.components}
    tables.append(_by_layer("weights: relative L2 of what moved (cosine)", parts))
    most = [one for one in drift.tensors if one.relative][:MOST_MOVED]
    if most:
        rows: list[tuple[str, ...]] = [
            (
                one.name if one.name == one.other else f"{one.name} > {one.other}",
                _size(one),
                _ratio(one.relative),
                _cosine(one.cosine),
            )
            for one in most
        ]
        tables.append(("tensors that moved most", ("tensor", "shape", "moved", "cosine"), rows))
    return tables


def _size(one: Any) -> str:
    mine, theirs = ("x".join(map(str, shape)) or "1" for shape in (one.shape, one.other_shape))
    return mine if mine == theirs else f"{mine} > {theirs}"


def _by_layer(title: str, cells: Cells) -> Rows:
    """A row for each layer, a column for each component."""
    components = list(dict.fromkeys(component for _, component in cells))
    layers = list(dict.fromkeys(layer for layer, _ in cells))
    rows: list[tuple[str, ...]] = [
        ("all" if layer is None else str(layer), *(cells.get((layer, component), "") for component in components))
        for layer in layers
    ]
    return title, ("layer", *components), rows


def _pair(relative: float | None, cosine: float | None) -> str:
    return f"{_ratio(relative)} ({_cosine(cosine)})" if relative else _ratio(relative)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}" if value < 10 else f"{value:.3g}x"


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        text = heading in ("layer", "tensor", "shape")
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _markdown(given: Sequence[str], lines: Sequence[str], tables: Sequence[Rows]) -> str:
    from pytest_groundthink.report.compare import markdown_table

    text = [f"## {given[1]} against {given[0]}", "", *(f"- {line}" for line in lines), ""]
    for title, headings, cells in tables:
        text += [f"### {title}", "", *markdown_table(headings, cells), ""]
    return "\n".join(text).rstrip() + "\n"
