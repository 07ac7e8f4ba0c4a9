"""Conversations as tokens, each with the weight of its loss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

from gt.data.conversations.talk import Example

FULL_WEIGHT = 16
"""Weights are sixteenths: the loss of an assistant's token that is no answer counts once."""


class BatchEncoder(Protocol):
    """What is needed of a tokenizer; `gt.tokenizers.Tokenizer` has it."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""


def encode_examples(
    examples: Sequence[Example], tokenizer: BatchEncoder, answer_weight: int = 64, user_weight: int = FULL_WEIGHT
) -> list[tuple[list[int], list[int]]]:
    """Tokens of conversations, and the weight of each token in sixteenths (0: not scored, 16: once, 64: four times).

    Spans are encoded one by one: no token of a byte-level BPE crosses from one span to the next, because a span ends
    before a space or a line's first letter, where the text is split first.

    Args:
        examples: The conversations.
        tokenizer: Encodes texts.
        answer_weight: Weight of the tokens of answers, from the space before them to the end of their line.
        user_weight: Weight of what the user says, up to "Assistant:".

    Returns:
        A list of token ids and a list of weights, equally long, for each conversation.

    Raises:
        ValueError: If a weight does not fit into a byte.
    """
    for name, weight in (("answer_weight", answer_weight), ("user_weight", user_weight)):
        if not 0 <= weight <= 255:
            raise ValueError(f"{name}: got {weight}, expected 0 to 255 (sixteenths: 16 counts a token once)")
    encoded = iter(tokenizer.encode_batch([span.text for example in examples for span in example]))
    rendered = []
    for example in examples:
        pieces = [next(encoded) for _ in example]
        weights: list[int] = []
        for span, ids in zip(example, pieces, strict=True):
            if span.answer:
                weight = answer_weight
            else:
                weight = user_weight if span.text.startswith("User:") else FULL_WEIGHT
            weights += [weight] * len(ids)
        rendered.append((list(chain.from_iterable(pieces)), weights))
    return rendered
