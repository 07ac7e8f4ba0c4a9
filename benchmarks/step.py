"""Where the time of a small model goes on a CPU: training steps, a pass over next to nothing, decoding a token.

    python benchmarks/step.py [--model GF-MH@3.5M] [--rounds 30] [--json FILE]
    python benchmarks/step.py --mini 8x64 8x32 4x64     # the short training of G3 at other sizes

One process, one call of each in turn. `GOMP_SPINCOUNT` and `OMP_WAIT_POLICY` are taken from the environment.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kernels import conditions, milliseconds, rounds, summary  # benchmarks/kernels.py, the folder of this script
from rich.console import Console
from rich.table import Table

from gt.bench.throughput import TOKENS_PER_CALL, decoding
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from gt.training import mini
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH, LR
from gt.training.optim import loss_and_gradients, make_optimizer, train_step

DECODED = (1, 64)  # sequences side by side


def main() -> None:
    """Time what was asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="GF-MH@3.5M")
    parser.add_argument("--rounds", type=rounds, default=30, help="timed calls of each (default: 30)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--mini", nargs="+", default=[], metavar="BxT", help="train G3's steps at these sizes instead")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    subject = load_subject(plan_subject(SubjectRequest(model=chosen.model, device="cpu")), lambda *note: None)
    torch.set_num_threads(chosen.threads)
    figures = [trained(subject, size) for size in chosen.mini] or [timed(subject, chosen.rounds)]
    Console().print(sizes_table(figures) if chosen.mini else times_table(chosen.model, figures[0]))
    if chosen.json is not None:
        record = {
            **conditions(chosen.threads),
            "variables": {k: os.environ[k] for k in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if k in os.environ},
            "model": chosen.model,
            "n": chosen.rounds,
            "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
            "figures": figures,
        }
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def timed(subject: Subject, count: int) -> dict[str, dict[str, float]]:
    """Milliseconds of every kind of call, taking turns; of decoding those of a token, of 16 in a row."""
    model = subject.build()
    optimizer = make_optimizer(model, LR)
    vocab_size = subject.vocab_size
    batch, little = (torch.randint(vocab_size, size) for size in ((BATCH_SIZE, LENGTH + 1), (1, 9)))
    calls: dict[str, Callable[[], object]] = {
        "training step, halves side by side": lambda: train_step(model, optimizer, batch, CLIP),
        "training step, as one": lambda: train_step(model, optimizer, batch, CLIP, halves=False),
        "loss and gradients of 8 tokens": lambda: loss_and_gradients(model, little, halves=False),
    }
    decoded = {f"decoding, sequences side by side: {rows}": rows for rows in DECODED}
    calls |= {name: decoding(subject, rows) for name, rows in decoded.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(count + 3):
        for name, call in calls.items():
            spent = milliseconds(call, "cpu")
            if turn >= 3:  # warm
                times[name].append(spent / TOKENS_PER_CALL if name in decoded else spent)
    figures = {name: summary(values) for name, values in times.items()}
    for name, rows in decoded.items():
        figures[name]["tokens_per_s"] = round(rows * 1e3 / figures[name]["median"], 1)
    return figures


def times_table(model: str, figure: dict[str, dict[str, float]]) -> Table:
    """Medians and quartiles."""
    table = Table("what", "median ms", "quartiles", "tokens/s", title=model)
    for name, one in figure.items():
        speed = f"{one['tokens_per_s']:,.0f}" if "tokens_per_s" in one else ""
        table.add_row(name, f"{one['median']:.2f}", f"{one['low']:.2f} to {one['high']:.2f}", speed)
    return table


def sizes_table(figures: list[dict[str, Any]]) -> Table:
    """One row for each size."""
    table = Table(*figures[0])
    for figure in figures:
        table.add_row(*(str(value) for value in figure.values()))
    return table


def trained(subject: Subject, size: str) -> dict[str, Any]:
    """What G3 would measure with batches of another size."""
    mini.BATCH_SIZE, mini.LENGTH = map(int, size.split("x"))
    run = mini._train(subject, subject.g3_steps)
    tenth = max(1, subject.g3_steps // 10)
    first, last, norm = (sum(part) / tenth for part in (run.losses[:tenth], run.losses[-tenth:], run.norms[-tenth:]))
    return {"batch": size, "steps": len(run.losses), "loss fall": round(1 - last / first, 4), "norm": round(norm, 3)}


if __name__ == "__main__":
    main()
