"""B1: tokens per second in training, in the forward pass and in token-by-token decoding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gt.subject import Subject
from gt.training.mini import CLIP, LR
from gt.training.optim import captured_step, make_optimizer, train_step

PROMPT_TOKENS = 16
TOKENS_PER_CALL = 16
"""Tokens that one timed call decodes; each call starts again after the prompt, so that any context limit will do."""


def finish(device: torch.device) -> Callable[[], None]:
    """Returns a function that waits for the device."""
    if device.type == "cuda":
        return torch.cuda.synchronize
    return lambda: None


def training(subject: Subject, batch: int, length: int, graph: bool) -> Callable[[], object]:
    """A training step of the subject's model: data to the device, forward, backward, clipping, AdamW.

    Every call takes new random tokens: the speed does not depend on what they say, and a fixed batch would be learned
    by heart until gradients vanish.

    Args:
        subject: Its model is changed by every call.
        batch: Sequences per step.
        length: Tokens per sequence.
        graph: On a GPU, record the step once as a CUDA graph and replay it.
    """
    generator = torch.Generator().manual_seed(subject.seed)
    optimizer = make_optimizer(subject.model, LR)
    shape = (batch, length + 1)

    def tokens_BT() -> Tensor:
        tokens = torch.randint(subject.tokenizer.vocab_size, shape, generator=generator)
        return tokens.to(subject.device, non_blocking=True)

    if graph and subject.device.type == "cuda":
        step = captured_step(subject.model, optimizer, tokens_BT(), CLIP)
        return lambda: step(tokens_BT())
    return lambda: train_step(subject.model, optimizer, tokens_BT(), CLIP)


def forward(subject: Subject, batch: int, length: int) -> Callable[[], object]:
    """A forward pass of the subject's model, without gradients."""
    tokens_BT = _random_tokens(subject, batch, length)

    @torch.no_grad()
    def run() -> object:
        return subject.model(tokens_BT)

    return run


@torch.no_grad()
def decoding(subject: Subject, batch: int) -> Callable[[], object]:
    """Greedy decoding of `TOKENS_PER_CALL` tokens for every sequence, one token a call of the model.

    Raises:
        ValueError: If the model does not continue from a state.
    """
    if "streaming" not in subject.capabilities:
        raise ValueError(f"{subject.plan.label} does not continue from a state, so it is not decoded token by token")
    prompt_logits, prompt_state = subject.model(_random_tokens(subject, batch, PROMPT_TOKENS), return_states=True)

    @torch.no_grad()
    def run() -> object:
        logits, state = prompt_logits, prompt_state
        for _ in range(TOKENS_PER_CALL):
            logits, state = subject.model(logits[:, -1:].argmax(-1), state=state, return_states=True)
        return logits

    return run


def _random_tokens(subject: Subject, batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(subject.seed)
    return torch.randint(subject.tokenizer.vocab_size, (batch, length), generator=generator).to(subject.device)
