"""What two checkpoints do with the same text: their losses, piece by piece, and the states that they end in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from gt.probes.recurrent import recurrent
from gt.stats import Paired, paired_means
from gt.subject import Subject

CHARACTERS = 600
"""Length of a piece of text: at least a hundred tokens, and no more than a character-level GPT-2 can read."""

ROWS = 16
"""Pieces that are read at once: bounds the memory of the logits."""


class StateDrift(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one layer after the same text, mean over the texts.

    Attributes:
        component: E.g. "rwkv".
        layer: Its layer.
        relative: L2 norm of the difference over that of the first's state.
        cosine: Of both states as vectors.
        between_texts: The same as `relative`, of the first's own states after two different texts: what a difference
            means.
    """

    component: str
    layer: int
    relative: float
    cosine: float
    between_texts: float


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What two models do with the same text.

    Attributes:
        corpus: Name and hash of the text.
        unit: "nats per token", or "nats per byte" where the tokenizers differ.
        before: Mean loss of the first over the pieces.
        after: Mean loss of the second.
        loss: The difference piece by piece, with its interval and p-value.
        states: How far the states moved; empty where they do not compare.
        note: Why they do not.
    """

    corpus: dict[str, str]
    unit: str
    before: float
    after: float
    loss: Paired
    states: tuple[StateDrift, ...]
    note: str = ""


States = dict[str, Tensor]
"""Recurrent state after each text: component -> [texts, L, elements] in fp64."""


def pieces(text: str, count: int) -> list[str]:
    """Pieces of a text at equal distances, fewer rather than overlapping, each from one blank to another.

    Raises:
        ValueError: If there are not at least two.
    """
    count = min(count, len(text) // CHARACTERS)
    if count < 2:
        raise ValueError(
            f"got {len(text):,} characters of text and {count} pieces of {CHARACTERS}, expected at least 2: give more"
        )
    starts = [index * (len(text) - CHARACTERS) // (count - 1) for index in range(count)]
    found = (text[start : start + CHARACTERS] for start in starts)
    return [piece.partition(" ")[2].rpartition(" ")[0] or piece for piece in found]


@torch.no_grad()
def behaviour(first: Subject, second: Subject, texts: int) -> Behaviour:
    """Let both read the same pieces of the first's validation text, and compare losses and states.

    Args:
        first: A model with its tokenizer and text.
        second: The other; its own tokenizer reads the same characters.
        texts: Number of pieces, at most.

    Raises:
        ValueError: If there is too little text, or a loss is not finite.
    """
    read = pieces("\n\n".join(first.corpus.valid), texts)
    same_tokens = first.tokenizer.sha256 == second.tokenizer.sha256
    losses, states = zip(*(_read(subject, read, same_tokens) for subject in (first, second)), strict=True)
    by_text = [{str(index): [loss] for index, loss in enumerate(own)} for own in losses]
    drift, note = (
        _states(*states) if same_tokens else ((), "the tokenizers differ, and so do the tokens behind a state")
    )
    return Behaviour(
        corpus={"name": first.corpus.name, "sha256": first.corpus.sha256},
        unit="nats per token" if same_tokens else "nats per byte",
        before=statistics.fmean(losses[0]),
        after=statistics.fmean(losses[1]),
        loss=paired_means(by_text[0], by_text[1], seed=0),
        states=drift,
        note=note,
    )


def _read(subject: Subject, texts: Sequence[str], same_tokens: bool) -> tuple[list[float], States]:
    """Loss of each text, and the states after all of them.

    Tokens of one tokenizer are cut to the shortest text, so that every state is that after as many; other tokens are
    padded, which no loss sees, and their states do not compare.
    """
    rows = subject.tokenizer.encode_batch(texts)
    if same_tokens:
        shortest = min(map(len, rows))
        rows = [row[:shortest] for row in rows]
    carries = same_tokens and "states" in subject.capabilities
    losses: list[float] = []
    ends: list[States] = []
    for start in range(0, len(rows), ROWS):
        own = rows[start : start + ROWS]
        tokens_BT = pad_sequence([torch.tensor(row) for row in own], batch_first=True).to(subject.device)
        if carries:
            logits_BTV, state = subject.model(tokens_BT, return_states=True)
            ends.append({name: part.flatten(2).cpu() for name, part in recurrent(state).items()})
        else:
            logits_BTV = subject.model(tokens_BT)
        for row, logits_TV, tokens_T in zip(own, logits_BTV, tokens_BT, strict=True):
            predicted = slice(1, len(row))  # the first token is read and not predicted
            loss = F.cross_entropy(logits_TV[: len(row) - 1].float(), tokens_T[predicted], reduction="sum")
            size = len(row) - 1 if same_tokens else len(subject.tokenizer.decode(row[predicted]).encode())
            losses.append(loss.item() / size)
    names = ends[0] if ends else ()
    return losses, {name: torch.cat([end[name] for end in ends]) for name in names}


def _states(first: States, second: States) -> tuple[tuple[StateDrift, ...], str]:
    if not first or not second:
        return (), "a model without a recurrent state has none to compare"
    if {name: part.shape for name, part in first.items()} != {name: part.shape for name, part in second.items()}:
        return (), "states of other shapes do not compare"
    found = []
    for component, part in first.items():
        a, b = part, second[component]  # [texts, L, elements]
        norms = a.norm(dim=-1).clamp_min(torch.finfo(torch.float64).tiny)
        relative = ((b - a).norm(dim=-1) / norms).mean(0)
        between = ((a.roll(1, dims=0) - a).norm(dim=-1) / norms).mean(0)
        cosine = F.cosine_similarity(a, b, dim=-1).mean(0)
        found += [
            StateDrift(
                component=component,
                layer=layer,
                relative=float(relative[layer]),
                cosine=float(cosine[layer]),
                between_texts=float(between[layer]),
            )
            for layer in range(a.shape[1])
        ]
    return tuple(found), ""
