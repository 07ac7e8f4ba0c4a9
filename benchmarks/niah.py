"""What one pass over a haystack saves: snapshots at the needles, and reading what follows side by side.

    python benchmarks/niah.py [--model GF-MH@TINY] [--lengths 512 1024 ...] [--device cpu|cuda] [--json FILE]

Three ways to the answers of the same cells (five depths, five needles each): every prompt read alone; with the state
before the needle kept, but every needle's rest of the text read alone; and as the check does it, rows side by side.
None computes logits that nobody asks for. One process, one after the other in turn; medians. Their logits after the
question are compared too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kernels import conditions, rounds  # benchmarks/kernels.py, the folder of this script
from rich.console import Console
from rich.table import Table

from gt import session
from gt.data.dialogues import needle_data
from gt.data.needles import Haystack, Needle, needles, reserve
from gt.probes.haystack import ANSWER_TOKENS, LINE_END, hide
from gt.session import Sessions
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject

NEEDLES = 5
WAYS = ("alone", "snapshots", "side by side")

Cells = list[tuple[int, Needle]]


def main() -> None:
    """Time every length, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="GF-MH@TINY")
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=rounds, default=3, help="timed calls of each (default: 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    request = SubjectRequest(model=chosen.model, device=chosen.device, dtype=chosen.dtype)
    subject = load_subject(plan_subject(request), lambda *note: None)
    torch.set_num_threads(chosen.threads)
    haystack = Haystack((*subject.corpus.valid, *subject.corpus.train), subject.tokenizer, max(chosen.lengths))
    if len(haystack) < max(chosen.lengths):
        sys.exit(f"the corpus has {len(haystack):,} tokens: give --lengths up to that")
    figures = [timed(subject, haystack, length, chosen.rounds) for length in sorted(chosen.lengths)]
    figures.append(total(figures))
    Console().print(table(chosen.model, figures))
    if chosen.json is not None:
        record = {
            **conditions(chosen.threads),
            "model": chosen.model,
            "device": chosen.device,
            "dtype": chosen.dtype,
            "n": chosen.rounds,
            "needles_per_cell": NEEDLES,
            "figures": figures,
        }
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def timed(subject: Subject, haystack: Haystack, length: int, count: int) -> dict[str, Any]:
    """Seconds of every way at one length, tokens read, and how far the logits lie apart."""
    end = length - reserve(subject.tokenizer, ANSWER_TOKENS)
    hidden: dict[int, list[Needle]] = {}
    for depth in needle_data().depths:
        hidden.setdefault(haystack.nearest(depth * end), []).extend(needles(NEEDLES, f"{length}/{depth}", 0))
    cells = [(place, needle) for place, own in sorted(hidden.items()) for needle in own]
    calls: dict[str, Callable[[], Sessions]] = {
        "alone": lambda: read_alone(subject, haystack, end, cells),
        "snapshots": lambda: read_on(subject, haystack, end, cells),
        "side by side": lambda: side_by_side(subject, haystack, end, hidden, len(cells)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    logits: dict[str, torch.Tensor] = {}
    for turn in range(count + 1):
        for way, call in calls.items():
            begun = time.perf_counter()
            sessions = call()
            kept = sessions.save()["logits"]
            if way == "side by side":
                sessions.generate(ANSWER_TOKENS, LINE_END)
            else:
                one_by_one(partial(sessions.generate, ANSWER_TOKENS, LINE_END))
            if subject.device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first round warms up
                seconds[way].append(time.perf_counter() - begun)
            logits[way] = kept.double()
    alone = logits["alone"]
    return {
        "length": length,
        "tokens": {
            "alone": sum(end for _ in cells),
            "with snapshots": end + sum(end - place for place, _ in cells),
        },
        "seconds": {way: statistics.median(times) for way, times in seconds.items()},
        "relative_difference": {
            way: float((logits[way] - alone).abs().max() / alone.abs().max()) for way in WAYS if way != "alone"
        },
    }


def read_alone(subject: Subject, haystack: Haystack, end: int, cells: Cells) -> Sessions:
    """Every prompt from its beginning, one after the other."""
    found = []
    for place, needle in cells:
        one = Sessions(subject.model, subject.tokenizer, 1)
        one.feed_tokens([[*haystack.tokens[:place], *rest(subject, haystack, end, place, needle)]])
        found.append(one)
    return Sessions.join(found)


def read_on(subject: Subject, haystack: Haystack, end: int, cells: Cells) -> Sessions:
    """What precedes the needles once, and each needle with what follows from the state there, one after the other."""
    found = []
    trunk = Sessions(subject.model, subject.tokenizer, 1)
    at = 0
    for place, needle in cells:
        trunk.feed_tokens([haystack.tokens[at:place]])
        at = place
        one = trunk.fork()
        one.feed_tokens([rest(subject, haystack, end, place, needle)])
        found.append(one)
    return Sessions.join(found)


def rest(subject: Subject, haystack: Haystack, end: int, place: int, needle: Needle) -> list[int]:
    """A needle and all that follows it."""
    encode = subject.tokenizer.encode
    return [*encode(needle.statement), *haystack.tokens[place:end], *encode(needle.query)]


def side_by_side(
    subject: Subject, haystack: Haystack, end: int, hidden: dict[int, list[Needle]], count: int
) -> Sessions:
    """As the check does it."""
    rows = hide(subject, haystack, end, hidden).take(range(1, count + 1))
    rows.feed([needle.query for _, own in sorted(hidden.items()) for needle in own])
    return rows


def one_by_one(call: Callable[[], Any]) -> Any:
    """The same with one row in every call of the model."""
    before = session.MAX_ROWS, session.ANSWERING_ON_GPU
    session.MAX_ROWS = session.ANSWERING_ON_GPU = 1
    try:
        return call()
    finally:
        session.MAX_ROWS, session.ANSWERING_ON_GPU = before


def total(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole grid."""
    return {
        "length": "all",
        "tokens": {name: sum(one["tokens"][name] for one in figures) for name in figures[0]["tokens"]},
        "seconds": {way: sum(one["seconds"][way] for one in figures) for way in WAYS},
        "relative_difference": {
            way: max(one["relative_difference"][way] for one in figures) for way in figures[0]["relative_difference"]
        },
    }


def table(model: str, figures: list[dict[str, Any]]) -> Table:
    """Seconds and what each step gives."""
    grid = Table("length", *WAYS, "by snapshots", "by side by side", "together", title=model)
    for one in figures:
        alone, kept, beside = (one["seconds"][way] for way in WAYS)
        ratios = (alone / kept, kept / beside, alone / beside)
        grid.add_row(str(one["length"]), *(f"{s:.2f} s" for s in (alone, kept, beside)), *(f"{r:.2f}x" for r in ratios))
    return grid


if __name__ == "__main__":
    main()
