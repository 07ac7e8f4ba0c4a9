"""How fast every backend of an op is, forward and backward, beside published kernels where they are installed.

    python benchmarks/kernels.py [--device cpu|cuda] [--op wkv6 ssd conv] [--rounds 30] [--json FILE]

One process, one step of each competitor in turn, round after round: whatever slows the machine down slows all of them,
and ratios of medians mean something. On a GPU steps are timed with events, as launched from Python and as replayed
from a CUDA graph. Figures belong to the machine: no test depends on them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gt import kernels
from gt.kernels import BACKENDS
from gt.machine import cpu_name

RESULTS = Path(__file__).resolve().parent / "results"
OPS = {"wkv6": "wkv6", "ssd": "ssd", "conv": "causal_conv1d"}
# Sizes of a state of K x V (wkv6) or P x N (ssd), or channels D (conv).
SHAPES: dict[str, dict[str, list[dict[str, int]]]] = {
    "cpu": {
        "wkv6": [{"B": 4, "T": 256, "H": 4, "K": 32, "V": 32}],
        "ssd": [{"B": 4, "T": 256, "H": 4, "P": 32, "N": 32}],
        "conv": [{"B": 4, "T": 256, "D": 384}],
    },
    "cuda": {
        "wkv6": [
            {"B": 32, "T": 1024, "H": 4, "K": 32, "V": 32},
            {"B": 16, "T": 2048, "H": 12, "K": 64, "V": 64},
            {"B": 4, "T": 8192, "H": 4, "K": 32, "V": 32},
        ],
        "ssd": [{"B": 32, "T": 1024, "H": 4, "P": 64, "N": 64}, {"B": 16, "T": 2048, "H": 24, "P": 64, "N": 128}],
        "conv": [{"B": 32, "T": 1024, "D": 384}, {"B": 16, "T": 2048, "D": 1792}],
    },
}
# The ratios that the native and matrix forms are held to on a CPU: (op, faster, slower, at least).
WANTED = [
    ("wkv6", "native", "reference", 25.0),
    ("wkv6", "native", "chunked", 3.0),
    ("ssd", "chunked", "reference", 15.0),
]
PACKAGES = ("torch", "triton", "mamba-ssm", "causal-conv1d", "flash-linear-attention", "fla-core", "numpy")

Step = Callable[[], Any]


def main() -> None:
    """Time what was asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(SHAPES), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--op", nargs="+", choices=list(OPS), default=list(OPS))
    parser.add_argument("--rounds", type=rounds, default=30, help="timed steps of each competitor (default: 30)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch on a CPU")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/kernels-DEVICE.json")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    figures = [
        compare(op, shape, chosen.device, chosen.rounds) for op in chosen.op for shape in SHAPES[chosen.device][op]
    ]
    record = {
        **conditions(chosen.threads),
        "figures": figures,
    }
    if chosen.device == "cpu":
        record["ratios"] = ratios(figures)
    Console(width=120).print(table(figures))
    for ratio in record.get("ratios", []):
        print(f"{ratio['op']}: {ratio['faster']} is {ratio['measured']}x {ratio['slower']} (wanted {ratio['wanted']}x)")
    path = chosen.json or RESULTS / f"kernels-{chosen.device}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def inputs_of(op: str, shape: dict[str, int], device: str) -> list[Tensor]:
    """Random inputs as the mixers pass them: bf16 activations on a GPU, fp32 on a CPU; decays and steps in fp32."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, device=device, dtype=dtype)

    B, T = shape["B"], shape["T"]
    if op == "wkv6":
        H, K, V = shape["H"], shape["K"], shape["V"]
        w = -torch.exp(torch.empty(B, T, H, K, device=device).uniform_(-6, 1))
        return [normal(B, T, H, K), normal(B, T, H, K), normal(B, T, H, V), w, normal(H, K).float()]
    if op == "ssd":
        H, P, N = shape["H"], shape["P"], shape["N"]
        dt = torch.rand(B, T, H, device=device) * 0.1 + 1e-3
        A = -torch.rand(H, device=device) * 15 - 1
        return [normal(B, T, H, P), dt, A, normal(B, T, 1, N), normal(B, T, 1, N), torch.ones(H, device=device)]
    D = shape["D"]
    return [normal(B, T, D), normal(D, 4), normal(D)]


def competitors(op: str, device: str) -> tuple[dict[str, Callable[..., Tensor]], dict[str, str]]:
    """What runs here, as functions from the inputs to the output; and why the rest does not."""
    public = getattr(kernels, OPS[op])
    running: dict[str, Callable[..., Tensor]] = {}
    left_out: dict[str, str] = {}
    for backend in BACKENDS[OPS[op]]:
        refusal = backend.unavailable(device)
        if refusal is None and device == "cuda" and backend.name == "reference":
            refusal = "one launch per token: not worth a GPU's time"
        if refusal is not None:
            left_out[backend.name] = refusal
        else:
            running[backend.name] = lambda *inputs, name=backend.name: public(*inputs, backend=name)[0]
    if op == "wkv6" and device == "cuda":
        if find_spec("fla") is None:
            left_out["fla"] = "the package flash-linear-attention is not installed"
        else:
            from fla.ops.rwkv6 import chunk_rwkv6

            running["fla"] = lambda *inputs: chunk_rwkv6(*inputs, scale=1.0, output_final_state=True)[0]
    return running, left_out


def step_of(run: Callable[..., Tensor], inputs: list[Tensor]) -> Step:
    """Forward and backward with a fixed gradient of the output."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    with torch.no_grad():
        weight = torch.randn_like(run(*leaves))
    return lambda: torch.autograd.grad(run(*leaves), leaves, weight)


def graph_of(step: Step) -> Step | None:
    """The replay of a step, or None if it cannot be captured."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError:
        return None
    return graph.replay


def milliseconds(step: Step, device: str) -> float:
    """One step, from an idle device to the end of its work."""
    if device == "cpu":
        started = time.perf_counter()
        step()
        return (time.perf_counter() - started) * 1e3
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    step()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after))


def compare(op: str, shape: dict[str, int], device: str, rounds: int) -> dict[str, Any]:
    """Time every competitor at one shape, taking turns."""
    inputs = inputs_of(op, shape, device)
    running, left_out = competitors(op, device)
    steps: dict[str, Step] = {}
    for name, run in running.items():
        step = steps[name] = step_of(run, inputs)
        replay = graph_of(step) if device == "cuda" else None
        if replay is not None:
            steps[f"{name} (graph)"] = replay
    for step in steps.values():
        for _ in range(3):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(milliseconds(step, device))
    return {
        "op": op,
        "shape": shape,
        "dtype": str(inputs[0].dtype).removeprefix("torch."),
        "what": "forward and backward",
        "rounds": rounds,
        "milliseconds": {name: summary(values) for name, values in times.items()},
        "left_out": left_out,
    }


def rounds(text: str) -> int:
    """A number of timed calls, of which quartiles can be taken."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} rounds: expected at least 2, to have quartiles")
    return int(text)


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def ratios(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times faster one backend is than another, where a ratio is wanted and both ran."""
    found = []
    for op, faster, slower, wanted in WANTED:
        for figure in figures:
            times = figure["milliseconds"]
            if figure["op"] == op and faster in times and slower in times:
                measured = round(times[slower]["median"] / times[faster]["median"], 2)
                met = {"wanted": wanted, "measured": measured, "met": measured >= wanted}
                found.append({"op": op, "faster": faster, "slower": slower, **met})
    return found


def conditions(threads: int) -> dict[str, Any]:
    """What a record begins with: when, how and on what its figures were taken."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(threads),
        "versions": versions(),
    }


def machine(threads: int) -> dict[str, Any]:
    """What the figures were taken on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"platform": platform.platform(), "cpu": cpu_name(), "cores": os.cpu_count(), "threads": threads, "gpu": gpu}


def versions() -> dict[str, str | None]:
    """Versions of what takes part; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def table(figures: list[dict[str, Any]]) -> Table:
    """The figures for reading: each time, and how many times the fastest it is."""
    grid = Table("op", "shape", "competitor", "median ms", "quartiles", "times the fastest")
    for figure in figures:
        times = figure["milliseconds"]
        fastest = min(entry["median"] for entry in times.values())
        shape = " ".join(f"{letter}{size}" for letter, size in figure["shape"].items())
        for name, entry in sorted(times.items(), key=lambda item: item[1]["median"]):
            spread = f"{entry['low']} to {entry['high']}"
            grid.add_row(figure["op"], shape, name, str(entry["median"]), spread, f"{entry['median'] / fastest:.2f}")
    return grid


if __name__ == "__main__":
    main()
