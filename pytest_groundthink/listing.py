"""What `groundthink models` prints: names, sizes and costs of all models, without building one."""

from __future__ import annotations

from typing import Any

from gt import registry, user_models
from gt.models.config import cache_size, flops_per_token, parameter_counts, state_size
from gt.models.published_config import KINDS

BYTES = 4  # states are kept in fp32
WIDE = 115  # columns of a terminal that has room for the summaries


def describe_model(spec: registry.ModelSpec) -> dict[str, Any]:
    """Sizes and costs of one model at the default vocabulary, JSON types only.

    `state` is what one sequence carries from token to token, however long it is; `cache_per_token` what it carries for
    every token that was read. `flops_per_token` is that of `gt.models.config`, with the scale's claimed `context`.
    """
    config = spec.config()
    total, non_embedding = parameter_counts(config)
    context = registry.scale_claims(spec.scale)
    return {
        "model": spec.name,
        "scale": spec.scale,
        "summary": spec.variant.summary,
        "vocab_size": config.vocab_size,
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "parameters": {"total": total, "non_embedding": non_embedding},
        "state": {"numbers": state_size(config), "bytes": BYTES * state_size(config)},
        "cache_per_token": {"numbers": cache_size(config), "bytes": BYTES * cache_size(config)},
        "flops_per_token": flops_per_token(config, context),
        "context": context,
        "capabilities": sorted(spec.capabilities),
    }


def list_models(scale: str | None, every_scale: bool) -> list[dict[str, Any]]:
    """Every variant at one scale (by default 3.5M), or at every scale.

    Raises:
        ValueError: If there is no such scale.
    """
    scales = list(dict.fromkeys(registry.scale_names().values())) if every_scale else [scale or registry.DEFAULT_SCALE]
    return [describe_model(registry.resolve(name, scale)) for scale in scales for name in registry.VARIANTS]


def print_models(models: list[dict[str, Any]]) -> None:
    """Print models as a table, one section for each scale."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    wide = console.width >= WIDE
    table = Table(
        title=f"models, at a vocabulary of {registry.DEFAULT_VOCAB_SIZE:,}",
        caption="non-emb.: without embedding and positions. state: numbers that one sequence carries, in fp32; GPT2's "
        "grows with every token (tok). FLOPs/token: forward, at the scale's claimed context.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("model", no_wrap=True)
    if wide:
        table.add_column("what it is", no_wrap=True)
    for heading in ("parameters", "non-emb.", "state", "in bytes", "FLOPs/token"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, model in enumerate(models):
        if index and model["scale"] != models[index - 1]["scale"]:
            table.add_section()
        size, unit = (model["cache_per_token"], "/tok") if model["cache_per_token"]["numbers"] else (model["state"], "")
        table.add_row(
            model["model"],
            *((model["summary"],) if wide else ()),
            *(f"{count:,}" if wide else _short(count) for count in model["parameters"].values()),
            f"{size['numbers']:,}{unit}",
            f"{_short(size['bytes'])}B{unit}",
            _short(model["flops_per_token"]),
        )
    console.print(table)


def print_names() -> None:
    """Print the scales, the other names, and the models that installed packages bring along."""
    from rich.console import Console
    from rich.table import Table

    also: dict[str, list[str]] = {}
    for name, scale in registry.scale_names().items():
        also.setdefault(scale, []).extend([name.upper()] if name != scale.lower() else [])
    table = Table(title="scales, in layers x width", title_justify="left")
    for heading in ("scale", "also", "hybrids", "GPT2"):
        table.add_column(heading)
    table.add_column("claimed context", justify="right")
    for scale, others in also.items():
        configs = [registry.resolve(name, scale).config() for name in ("GF-MH", "GPT2")]
        shapes = [f"{config.num_layers} x {config.hidden_size}" for config in configs]
        table.add_row(scale, ", ".join(others), *shapes, f"{registry.scale_claims(scale):,}")
    console = Console()
    console.print(table)
    aliases = ", ".join(f"{name} = {model}" for name, model in registry.ALIASES.items())
    console.print(f"Names of the documents: {aliases}.", highlight=False)
    published = " or ".join(f"{kind}:PATH ({title})" for kind, title in KINDS.items())
    console.print(f"Published weights: {published}.", highlight=False)
    own = user_models.names()
    if own:
        console.print(f"Your own: {', '.join(own)}.", highlight=False)


def _short(number: int) -> str:
    """A number to one decimal, with a decimal prefix."""
    power = min(3, (len(str(number)) - 1) // 3)
    return f"{number / 1000**power:.1f} {('', 'k', 'M', 'G')[power]}"
