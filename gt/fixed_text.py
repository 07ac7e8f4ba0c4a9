"""One text that is the same everywhere: by its losses a checkpoint is known again, whatever it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from gt.tokenizers import Tokenizer

TEXT = (
    "The ferry left at seven, when the fog was still lying on the river, and nobody on the pier could see the other "
    "bank. A woman with two baskets stood by the rail and counted the posts as they went by. She had made the journey "
    "every week for eleven years, she said, and had never once arrived dry. Behind her a boy read aloud from a "
    "timetable: the first boat at 7.05, the next at 8.40, and on Sundays none at all. Somebody laughed. Then the bell "
    "rang twice, the engine fell silent, and for a while there was nothing but the sound of water under the planks."
)

READ, KEPT = 128, 32
"""Tokens that are read, which any model can in one piece, and how many of their losses are kept: the last."""


@torch.no_grad()
def fixed_text_losses(model: nn.Module, tokenizer: Tokenizer) -> list[float]:
    """Losses of the last 32 of the text's first 128 tokens, in nats.

    Token by token: in a mean, what rounding does to one hides what it does to another.
    """
    device = next(model.parameters()).device
    tokens_BT = torch.tensor([tokenizer.encode(TEXT)[: READ + 1]], device=device)
    logits_BTV: Tensor = model(tokens_BT[:, :-1])
    losses_T = F.cross_entropy(logits_BTV[0].double(), tokens_BT[0, 1:], reduction="none")
    return [round(loss, 6) for loss in losses_T[-KEPT:].tolist()]


@torch.no_grad()
def saved_text_losses(model: nn.Module, tokenizer: Tokenizer) -> list[float]:
    """`fixed_text_losses` of a model as its checkpoint keeps it, in bf16; the model is left as it was."""
    parameters = list(model.parameters())
    kept = [parameter.detach().clone() for parameter in parameters]
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # training may round more coarsely than what is compared here
    try:
        for parameter in parameters:
            parameter.copy_(parameter.to(torch.bfloat16))
        return fixed_text_losses(model, tokenizer)
    finally:
        torch.set_float32_matmul_precision(precision)
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
