"""How fast a model trains: tokens per second of whole steps, beside the same model on published kernels and GPT2.

    python benchmarks/training.py [--device cpu|cuda] [--model GF-MH@3.5M] [--shapes 32x64 32x1024 4x8192] [--json FILE]

A step is loss, gradients, clipping and AdamW on random tokens; on a GPU it is replayed from one CUDA graph. One
process, one step of each competitor in turn, round after round: ratios of medians mean something. GPT2 is that of the
model's scale; "compiled" is by torch.compile, of a model of ours what lies between its kernels. Memory is the most that
PyTorch had allocated while a competitor was made and recorded, less what was there before. `--profile` adds where the
time of a step goes, by kernel.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from kernels import conditions, milliseconds, rounds, summary  # benchmarks/kernels.py, the folder of this script
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from gt import kernels, registry
from gt.kernels import BACKENDS, Backend, resolve
from gt.models.build import build_model
from gt.training.optim import captured_step, make_optimizer, train_step

RESULTS = Path(__file__).resolve().parent / "results"
SHAPES = {"cpu": ["32x64"], "cuda": ["32x64", "32x1024", "4x8192"]}
RECURRENCES = ("causal_conv1d", "ssd", "wkv6")
PLAIN = ",".join(f"{op}=reference" for op in BACKENDS if op not in RECURRENCES)


class Competitor(NamedTuple):
    """What is trained, with which backends, and whether torch.compile rewrites it."""

    kernels: str = ""  # as in GT_KERNELS: nothing is the fastest of everything
    variant: str = ""  # instead of the model asked for, at its scale
    compiled: bool = False


COMPETITORS = {
    "ours": Competitor(),
    "WKV6 by fla": Competitor("wkv6=fla"),
    "plain parts": Competitor(PLAIN),  # the functions between the recurrences as PyTorch spells them
    "published": Competitor(f"wkv6=fla,{PLAIN}"),
    "ours, compiled": Competitor(compiled=True),  # torch.compile of what lies between the kernels
    "plain parts, compiled": Competitor(PLAIN, compiled=True),
    "GPT2": Competitor(variant="GPT2"),
    "GPT2 compiled": Competitor(variant="GPT2", compiled=True),
}
OPS = {op: getattr(kernels, op) for op in BACKENDS}
PRECISIONS = {"cpu": ["fp32"], "cuda": ["bf16"]}
KERNELS_SHOWN = 40


class Autocast(nn.Module):
    """A model of fp32 parameters whose matrix products are in bf16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits [B, T, vocabulary]."""
        with torch.autocast(tokens_BT.device.type, torch.bfloat16):
            logits: Tensor = self.model(tokens_BT)
        return logits


def main() -> None:
    """Time what was asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(SHAPES), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="GF-MH@3.5M")
    parser.add_argument("--vocab", type=int, default=16384)
    parser.add_argument("--shapes", nargs="+", metavar="BxT", help="batch x tokens; default: by device")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "autocast", "bf16"], help="default: by device")
    parser.add_argument("--competitors", nargs="+", choices=list(COMPETITORS), default=list(COMPETITORS))
    parser.add_argument("--rounds", type=rounds, default=20, help="timed steps of each competitor (default: 20)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch on a CPU")
    parser.add_argument("--profile", action="store_true", help="also say which kernels take the time (cuda)")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/training-DEVICE.json")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.set_float32_matmul_precision("high")
    left_out = {}
    if chosen.device == "cuda" and find_spec("fla") is not None:
        BACKENDS["wkv6"] += (Backend("fla", fla_wkv6, 2e-2, ("cuda",)),)
    else:
        left_out = {name: "fla is not installed" for name, it in COMPETITORS.items() if "fla" in it.kernels}
    if chosen.device == "cpu":
        left_out |= {name: "is for GPUs" for name, it in COMPETITORS.items() if it.compiled}
    names = [name for name in chosen.competitors if name not in left_out]
    console = Console(width=120)
    figures: list[dict[str, Any]] = []
    path = chosen.json or RESULTS / f"training-{chosen.device}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for precision in chosen.precision or PRECISIONS[chosen.device]:
        for shape in chosen.shapes or SHAPES[chosen.device]:
            console.log(f"{shape}, {precision}: recording a step of {', '.join(names)}")
            figures.append(compare(chosen, names, precision, *map(int, shape.split("x"))))
            console.log(str(figures[-1]["tokens_per_s"]))
            record = {**conditions(chosen.threads), "left_out": left_out, "figures": figures}
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(table(figures))


def fla_wkv6(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """WKV6 by flash-linear-attention."""
    from fla.ops.rwkv6 import chunk_rwkv6

    y, final = chunk_rwkv6(r, k, v, w, u, scale=1.0, initial_state=state, output_final_state=True)
    return y, final


def step_of(
    chosen: argparse.Namespace, competitor: Competitor, precision: str, example_BT: Tensor
) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], dict[str, str]]:
    """A training step with the backends that GT_KERNELS now names, and which backend each op has."""
    torch.manual_seed(0)
    spec = registry.resolve(chosen.model)
    if competitor.variant:
        spec = registry.resolve(f"{competitor.variant}@{spec.scale}")
    config = spec.config(chosen.vocab)
    if config.max_positions:  # learned positions: as many as the text has
        config = msgspec.structs.replace(config, max_positions=max(config.max_positions, example_BT.shape[1]))
    model: nn.Module = build_model(config).to(chosen.device)
    model = {"fp32": lambda m: m, "autocast": Autocast, "bf16": nn.Module.bfloat16}[precision](model)
    if competitor.compiled:
        compile_between_kernels(model) if not competitor.variant else model.compile()
    backends = {op: resolve(op, chosen.device).backend.name for op in BACKENDS} if not competitor.variant else {}
    lr = torch.tensor(1e-3, device=chosen.device) if chosen.device == "cuda" else 1e-3
    optimizer = make_optimizer(model, lr)
    if chosen.device == "cpu":
        return (lambda tokens_BT: train_step(model, optimizer, tokens_BT, clip=1.0)), backends
    return captured_step(model, optimizer, example_BT, clip=1.0), backends


def compile_between_kernels(model: nn.Module) -> None:
    """torch.compile of every block, with a break at each recurrence (and at each other op with a kernel of its own)."""
    for op, function in OPS.items():
        own = resolve(op, "cuda").backend.name != "reference"
        setattr(kernels, op, torch.compiler.disable(function) if own else function)
    for block in model.get_submodule("blocks"):
        block.compile()


def compare(chosen: argparse.Namespace, names: list[str], precision: str, B: int, T: int) -> dict[str, Any]:
    """Tokens per second of every competitor at one shape and precision, taking turns."""
    tokens_BT = torch.randint(chosen.vocab, (B, T + 1), device=chosen.device)
    steps, backends, profiles, memory = {}, {}, {}, {}
    before = os.environ.get("GT_KERNELS")
    for name in names:
        os.environ["GT_KERNELS"] = COMPETITORS[name].kernels
        if chosen.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before_it = torch.cuda.memory_allocated()
        steps[name], backends[name] = step_of(chosen, COMPETITORS[name], precision, tokens_BT)
        if chosen.device == "cuda":
            memory[name] = round((torch.cuda.max_memory_allocated() - before_it) / 2**20)
        losses = [float(steps[name](tokens_BT)[0]) for _ in range(3)]
        if not losses[-1] < losses[0]:
            raise RuntimeError(f"{name} does not learn three repeated steps at B{B} T{T}, {precision}: losses {losses}")
        if chosen.profile and chosen.device == "cuda":
            profiles[name] = profile(lambda step=steps[name]: step(tokens_BT))
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(chosen.rounds):
        for name, step in steps.items():
            os.environ["GT_KERNELS"] = COMPETITORS[name].kernels  # for the CPU: a graph has chosen long ago
            times[name].append(milliseconds(lambda step=step: step(tokens_BT), chosen.device))
    os.environ.pop("GT_KERNELS") if before is None else os.environ.update(GT_KERNELS=before)
    summaries = {name: summary(values) for name, values in times.items()}
    return {
        "model": chosen.model,
        "vocab_size": chosen.vocab,
        "shape": {"B": B, "T": T},
        "precision": precision,
        "rounds": chosen.rounds,
        "backends": backends,
        "milliseconds": summaries,
        "tokens_per_s": {name: round(B * T / times["median"] * 1e3) for name, times in summaries.items()},
        **({"peak_mib": memory} if memory else {}),
        **({"profiles": profiles} if profiles else {}),
    }


def profile(step: Callable[[], Any]) -> dict[str, Any]:
    """Kernels of one step by time, in ms."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    entries = [
        (event.key, event.self_device_time_total / 1e3, event.count)
        for event in profiler.key_averages()
        if event.self_device_time_total > 0
    ]
    entries.sort(key=lambda entry: -entry[1])
    return {
        "kernels": sum(count for _, _, count in entries),
        "ms": round(sum(ms for _, ms, _ in entries), 3),
        "longest": [{"name": n[:120], "ms": round(ms, 3), "count": c} for n, ms, c in entries[:KERNELS_SHOWN]],
    }


def table(figures: list[dict[str, Any]]) -> Table:
    """The figures for reading: each rate, and how it compares to the published parts'."""
    grid = Table("model", "precision", "shape", "competitor", "tokens/s", "ms", "quartiles", "MiB", "times GPT2")
    for figure in figures:
        shape = " ".join(f"{letter}{size}" for letter, size in figure["shape"].items())
        rates = [rate for name, rate in figure["tokens_per_s"].items() if COMPETITORS[name].variant]
        for name, rate in sorted(figure["tokens_per_s"].items(), key=lambda item: -item[1]):
            times = figure["milliseconds"][name]
            spread = f"{times['low']} to {times['high']}"
            memory = str(figure.get("peak_mib", {}).get(name, "-"))
            ratio = f"{rate / max(rates):.2f}" if rates else "-"
            about = (figure["model"], figure["precision"], shape, name)
            grid.add_row(*about, f"{rate:,}", str(times["median"]), spread, memory, ratio)
    return grid


if __name__ == "__main__":
    main()
