"""How often `groundthink trace` lists an abrupt change where there is none, and how often one that was planted.

    python benchmarks/shifts.py [--model NAME --ckpt PATH] [--texts 120] [--planted 60] [--json FILE]

Without a change: sentences of the reference text of Python in random order, the same distribution everywhere (the start
of each text is judged at several lengths); and stretches of single documents as they are, whose changes are their own.
With one: such sentences up to a random token in the middle half, then something else. A change that is listed for the
block of that token or the next is a hit. Intervals are Wilson's 95%, over texts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from kernels import machine, versions  # benchmarks/kernels.py, the folder of this script
from rich.console import Console
from rich.table import Table

from gt.data.conversations import examples
from gt.data.corpus import python_reference
from gt.probes.recurrent import recurrent
from gt.resources import fixtures_dir
from gt.stats import wilson
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from gt.trace import Evolution, Shift, evolve, shifts
from gt.trace.evolution import robust_scores

BLOCK, PLANTED_TOKENS, DOCUMENT_TOKENS = 16, 1024, 1024
ROWS = 32
LENGTHS = (256, 512, 1024, 2048, 4096)
AT_Z = (3.5, 4.0, 4.5, 5.0, 6.0, 8.0)
"""Thresholds whose rates are recorded beside that of the rule."""

Tokens = list[int]
Draw = random.Random
Record = dict[str, Any]


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="GF-MH@3.5M")
    parser.add_argument("--ckpt", type=Path, default=fixtures_dir() / "checkpoints" / "gf-mh-3.5m")
    parser.add_argument("--texts", type=int, default=120, help="texts without a change, of each kind (default: 120)")
    parser.add_argument("--planted", type=int, default=60, help="texts with a change, of each kind (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    request = SubjectRequest(model=chosen.model, ckpt=str(chosen.ckpt), device="cpu")
    subject = load_subject(plan_subject(request), lambda *note: None)
    torch.set_num_threads(1)
    material = Material(subject)
    draw = Draw(chosen.seed)
    console = Console(width=160)
    figures = []
    for figure in chain(even(subject, material, draw, chosen.texts), planted(subject, material, draw, chosen.planted)):
        figures.append(figure)
        console.print(line(figure), highlight=False)
    console.print(table(figures))
    if chosen.json:
        record = {"model": chosen.model, "block": BLOCK, "machine": machine(1), "versions": versions()}
        chosen.json.write_text(json.dumps(record | {"figures": figures}, indent=1) + "\n", encoding="utf-8")


class Material:
    """Text to put together.

    Attributes:
        documents: Sentences of the reference text of Python, as tokens, by document.
        sentences: All of them.
        code: Tokens of Python's own sources.
    """

    def __init__(self, subject: Subject) -> None:
        encode, corpus = subject.tokenizer.encode, python_reference()
        self.documents = [
            [encode(f"{sentence} ") for sentence in re.split(r"(?<=[.!?])\s+", text)]
            for text in (*corpus.train, *corpus.valid)
        ]
        self.sentences = list(chain.from_iterable(self.documents))
        library = Path(sysconfig.get_path("stdlib"))
        sources = (library / name for name in ("argparse.py", "ast.py", "dataclasses.py", "tarfile.py", "typing.py"))
        self.code = list(chain.from_iterable(encode(path.read_text(encoding="utf-8")) for path in sources))
        self.talk = list(
            chain.from_iterable(
                encode("".join(span.text for span in one)) for one in islice(examples("small-talk", 0), 2000)
            )
        )
        self.digits = [encode(f" {number}") for number in range(1000)]

    def long(self, tokens: int) -> list[list[Tokens]]:
        """Documents that have so many tokens."""
        return [one for one in self.documents if sum(map(len, one)) >= tokens]


def joined(draw: Draw, pieces: list[Tokens], count: int) -> Tokens:
    """Tokens of pieces in random order, as many as asked for."""
    return list(islice(chain.from_iterable(draw.sample(pieces, len(pieces))), count))


def stretch(draw: Draw, tokens: Tokens, count: int) -> Tokens:
    """Tokens that stand in a row."""
    start = draw.randrange(len(tokens) - count)
    return tokens[start : start + count]


def even(subject: Subject, material: Material, draw: Draw, count: int) -> Iterator[Record]:
    """Rates where nothing was planted."""
    read = follow(subject, [joined(draw, material.sentences, LENGTHS[-1]) for _ in range(count)])
    for length in LENGTHS:
        yield silent("sentences in random order", length, [start_of(one, length) for one in read])
    long = [list(chain.from_iterable(one)) for one in material.long(DOCUMENT_TOKENS + 1)]
    read = follow(subject, [stretch(draw, draw.choice(long), DOCUMENT_TOKENS) for _ in range(count)])
    yield silent("one document as it is", DOCUMENT_TOKENS, read)


def planted(subject: Subject, material: Material, draw: Draw, count: int) -> Iterator[Record]:
    """Rates where the text turns into something else."""
    long = material.long(PLANTED_TOKENS)

    def another_document() -> tuple[list[Tokens], Callable[[int], Tokens]]:
        one, other = draw.sample(long, 2)
        return one, lambda n: joined(draw, other, n)

    def repeated(n: int) -> Tokens:
        sentence = draw.choice([one for one in material.sentences if 8 <= len(one) <= 24])
        return (sentence * (n // len(sentence) + 1))[:n]

    def shuffled(n: int) -> Tokens:
        tokens = joined(draw, material.sentences, n)
        return draw.sample(tokens, n)

    everything = material.sentences
    kinds: dict[str, Callable[[], tuple[list[Tokens], Callable[[int], Tokens]]]] = {
        "sentences of another document": another_document,
        "the same words in random order": lambda: (everything, shuffled),
        "one sentence again and again": lambda: (everything, repeated),
        "small talk": lambda: (everything, lambda n: stretch(draw, material.talk, n)),
        "source code": lambda: (everything, lambda n: stretch(draw, material.code, n)),
        "numbers": lambda: (everything, lambda n: joined(draw, material.digits, n)),
    }
    for kind, make in kinds.items():
        places, texts = [], []
        for _ in range(count):
            before, after = make()
            at = draw.randrange(PLANTED_TOKENS // 4, 3 * PLANTED_TOKENS // 4)
            places.append(at)
            texts.append(joined(draw, before, at) + after(PLANTED_TOKENS - at))
        yield hit(kind, list(zip(places, follow(subject, texts), strict=True)))


@torch.no_grad()
def follow(subject: Subject, texts: list[Tokens]) -> list[Evolution]:
    """What `evolve` finds in texts of one length, without what the rule does not ask for; many are read side by side.

    Raises:
        RuntimeError: If `evolve` finds something else in the first.
    """
    found: list[Evolution] = []
    places = range(BLOCK, len(texts[0]) + 1, BLOCK)
    for start in range(0, len(texts), ROWS):
        chosen_BT = torch.tensor(texts[start : start + ROWS])
        state, before = None, {}
        changes: dict[str, list[torch.Tensor]] = {}
        by_layer: dict[str, list[torch.Tensor]] = {}
        for end in places:
            _, state = subject.model(chosen_BT[:, end - BLOCK : end], state=state, return_states=True)
            for component, part in recurrent(state).items():
                now_BLN = part.flatten(2)
                if component in before:
                    moved, size = now_BLN - before[component], before[component]
                    changes.setdefault(component, []).append(moved.flatten(1).norm(dim=1) / size.flatten(1).norm(dim=1))
                    by_layer.setdefault(component, []).append(moved.norm(dim=2) / size.norm(dim=2))
                before[component] = now_BLN
        found += [
            Evolution(
                places=list(places),
                course={},
                changes={name: torch.stack(one)[:, row].tolist() for name, one in changes.items()},
                by_layer={name: torch.stack(one)[:, row].T.tolist() for name, one in by_layer.items()},
                gate=[],
            )
            for row in range(len(chosen_BT))
        ]
    first = evolve(subject.model, texts[0], list(places), has_gate=False)
    for name, changes_of_first in first.changes.items():
        if not torch.allclose(
            torch.tensor(changes_of_first), torch.tensor(found[0].changes[name]), rtol=1e-3, atol=1e-4
        ):
            raise RuntimeError(f"{name}: evolve finds other changes than the rows read side by side")
    return found


def start_of(evolution: Evolution, tokens: int) -> Evolution:
    """What would have been seen of the first tokens alone."""
    blocks = tokens // BLOCK
    return msgspec.structs.replace(
        evolution,
        places=evolution.places[:blocks],
        changes={name: one[: blocks - 1] for name, one in evolution.changes.items()},
        by_layer={name: [row[: blocks - 1] for row in rows] for name, rows in evolution.by_layer.items()},
    )


def silent(kind: str, tokens: int, read: list[Evolution]) -> Record:
    """Of texts without a planted change: how many have one listed, and how many of their blocks."""
    listed = [shifts(one) for one in read]
    highest = [[z for changes in one.changes.values() for z in robust_scores(changes) if z == z] for one in read]
    judged = sum(map(len, highest))
    return {
        "kind": kind,
        "tokens": tokens,
        "planted": False,
        "n": len(read),
        "flagged": sum(map(bool, listed)),
        "interval": wilson(sum(map(bool, listed)), len(read)),
        "listed": sum(map(len, listed)),
        "judged": judged,
        "at_z": {str(z): sum(max(one) >= z for one in highest) for z in AT_Z},
    }


def hit(kind: str, cases: list[tuple[int, Evolution]]) -> Record:
    """Of texts with a planted change: how many have it listed."""

    def near(start: int, at: int) -> bool:
        return start - BLOCK <= at < start + BLOCK

    def highest(at: int, evolution: Evolution) -> float:
        found = [
            z
            for changes in evolution.changes.values()
            for place, z in enumerate(robust_scores(changes))
            if near(evolution.places[place], at)
        ]
        return max(found)

    listed: list[tuple[int, list[Shift]]] = [(at, shifts(one)) for at, one in cases]
    hits = sum(any(near(shift.start, at) for shift in found) for at, found in listed)
    return {
        "kind": kind,
        "tokens": PLANTED_TOKENS,
        "planted": True,
        "n": len(cases),
        "flagged": hits,
        "interval": wilson(hits, len(cases)),
        "elsewhere": sum(not near(shift.start, at) for at, found in listed for shift in found),
        "at_z": {str(z): sum(highest(at, one) >= z for at, one in cases) for z in AT_Z},
    }


def line(figure: Record) -> str:
    """One figure as it comes."""
    low, high = figure["interval"]
    return f"{figure['kind']}, {figure['tokens']} tokens: {figure['flagged']}/{figure['n']} ({low:.1%} to {high:.1%})"


def table(figures: list[Record]) -> Table:
    """All of them."""
    found = Table(title="texts with an abrupt change listed (planted: at its place)")
    for heading in ("text", "tokens", "planted", "n", "listed", "95%", *(f"z {z:g}" for z in AT_Z)):
        found.add_column(heading)
    for one in figures:
        low, high = one["interval"]
        rates = [f"{one['at_z'][str(z)] / one['n']:.0%}" for z in AT_Z]
        listed = f"{one['flagged'] / one['n']:.1%}"
        found.add_row(
            one["kind"], str(one["tokens"]), "yes" if one["planted"] else "", str(one["n"]), listed,
            f"{low:.1%} to {high:.1%}", *rates,
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
