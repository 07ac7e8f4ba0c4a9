"""Faults to plant in a subject: a check is worth nothing until it is seen to catch the one meant for it.

The table imports no torch; planting a fault does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gt.sabotage import answers, learning, memory, weights, wiring
from gt.sabotage.planting import change_state, clear

__all__ = ["SABOTAGES", "Sabotage", "clear", "plant"]

if TYPE_CHECKING:
    from torch import nn


class Sabotage(msgspec.Struct, frozen=True):
    """One fault.

    Attributes:
        summary: What is broken, as it would happen by mistake.
        caught_by: The check that is meant to catch it.
        plant: Breaks a model in place.
        needs: Mixers and capabilities that the model must have for the fault to be caught by its check.
        planted_in: What it changes: "model", the modules of a model of groundthink; "calls", what passes between the
            calls of any model that streams; "surroundings", functions that train, encode or read records, until the
            next subject is loaded; "answers", what a scripted subject says.
    """

    summary: str
    caught_by: str
    plant: Callable[[nn.Module], None]
    needs: frozenset[str] = frozenset()
    planted_in: str = "model"


def plant(name: str, model: nn.Module) -> None:
    """Plant a fault in a model.

    Raises:
        KeyError: If there is no such fault.
    """
    SABOTAGES[name].plant(model)


def _forgetful(tokens: int, caught_by: str, needs: frozenset[str]) -> Sabotage:
    return Sabotage(
        f"the state is lost every {tokens:,} tokens", caught_by, memory.forgets_every(tokens), needs, "calls"
    )


def _short_memory(tokens: int, caught_by: str) -> Sabotage:
    return Sabotage(
        f"the state is lost after {tokens} tokens",
        caught_by,
        memory.forgetting(lambda _, read: read >= tokens),
        _TALKS,
        "calls",
    )


_RWKV, _MAMBA, _STATES = frozenset({"rwkv"}), frozenset({"mamba"}), frozenset({"states"})
_TALKS, _STREAMS = frozenset({"generation"}), frozenset({"states", "streaming"})
_SCRIPT = frozenset({"script"})

SABOTAGES: dict[str, Sabotage] = {
    "wrong-kernel": Sabotage(
        "the fast WKV6 kernel is off by 1% of the bonus", "G0", wiring.wrong_kernel, _RWKV, "surroundings"
    ),
    "nan-weight": Sabotage("one weight is NaN", "G1a", weights.one_weight(math.nan)),
    "inf-weight": Sabotage("one weight is infinite", "G1a", weights.one_weight(math.inf)),
    "fp16-overflow": Sabotage("activations overflow in fp16", "G1a", wiring.half_precision),
    "leaking-future": Sabotage("1% of the next token's embedding reaches a token", "G1b", wiring.leaking_future),
    "dropped-state": Sabotage(
        "RWKV's state is dropped at the boundary between calls", "G1c", memory.dropped_state, _RWKV
    ),
    "lost-shift": Sabotage(
        "RWKV's token shift starts from zeros at a chunk boundary", "G1c", memory.lost_part("rwkv", "rwkv_shift"), _RWKV
    ),
    "lost-conv": Sabotage(
        "the state of Mamba's convolution is not carried", "G1c", memory.lost_part("mamba", "mamba_conv"), _MAMBA
    ),
    "batch-leak": Sabotage("1% of the batch's mean reaches every row", "G1d", wiring.batch_leak),
    "unreached-mixers": Sabotage(
        "no gradient reaches the mixers", "G1e", wiring.untaught("rwkv", "mamba"), _RWKV | _MAMBA
    ),
    "untaught-rwkv": Sabotage("no gradient reaches RWKV", "G1e", wiring.untaught("rwkv"), _RWKV | _MAMBA),
    "untaught-mamba": Sabotage("no gradient reaches Mamba", "G1e", wiring.untaught("mamba"), _RWKV | _MAMBA),
    "loud-embedding": Sabotage("embedding and head are initialised 50 times too large", "G2", weights.loud_embedding),
    "reversed-gradient": Sabotage("gradients have the wrong sign", "G3", learning.scaled_gradient(-1)),
    "loud-gradient": Sabotage("gradients are 100 times too large", "G3", learning.scaled_gradient(100)),
    "large-steps": Sabotage(
        "the learning rate is 100 times too large", "G3", learning.large_steps, planted_in="surroundings"
    ),
    "stuck-state": Sabotage("Mamba's state is not updated after the first call", "G3.5", memory.stuck_state, _MAMBA),
    "dead-mamba": Sabotage("Mamba's output is zero", "G4", wiring.dead("mamba"), _RWKV | _MAMBA),
    "dead-rwkv": Sabotage("RWKV's output is zero", "G4", wiring.dead("rwkv"), _RWKV | _MAMBA),
    "missing-layer": Sabotage("the last layer's state is not handed out", "S0", wiring.missing_layer, _STATES),
    "exploding-state": Sabotage(
        "RWKV's state is 10,000 times too large", "S1", change_state("rwkv", "rwkv_state", lambda t: t * 1e4), _RWKV
    ),
    "frozen-state": Sabotage(
        "Mamba's state stays at zero", "S2", change_state("mamba", "mamba_state", lambda t: t * 0), _MAMBA
    ),
    "eval-noise": Sabotage("dropout is on in evaluation", "S3", wiring.eval_noise, _STATES),
    "constant-state": Sabotage(
        "Mamba's state hardly depends on the input",
        "S4",
        change_state("mamba", "mamba_state", memory.same_memory),
        _MAMBA,
    ),
    "growing-state": Sabotage("RWKV's state grows by 1% with every token", "D1", memory.growing_state(0.01), _RWKV),
    "slowly-growing-state": Sabotage(
        "RWKV's state grows by 0.3% with every token", "D1-long", memory.growing_state(0.003), _RWKV
    ),
    "collapsed-states": Sabotage("every text leaves the same states", "D2", memory.collapsed_states, _STATES),
    "unread-state": Sabotage("Mamba's state is written and never read", "D3", wiring.unread_state, _MAMBA),
    "short-sight": _forgetful(64, "D4", frozenset({"streaming"})),
    "detached-state": Sabotage(
        "no gradient reaches the state that Mamba begins a call with", "D5", wiring.detached_state, _RWKV | _MAMBA
    ),
    "stuck-gate": Sabotage("the fusion lets 0.001% of Mamba through", "D6", wiring.stuck_gate, _RWKV | _MAMBA),
    "shorter-sight": _forgetful(16, "D7", frozenset()),
    "certain-logits": Sabotage(
        "logits are 10,000 times too large", "Q1", wiring.changed_logits(lambda logits: 1e4 * logits), _TALKS
    ),
    "slow-when-wide": Sabotage(
        "mixers of models wider than this one fall back to a path ten times as slow",
        "R1",
        wiring.slow_when_wide,
        frozenset({"kernels"}),
    ),
    "capped-logits": Sabotage(
        "logits are capped at 3", "L1", wiring.changed_logits(lambda logits: 3 * (logits / 3).tanh())
    ),
    "shifted-labels": Sabotage(
        "in training the label of a token is the token itself", "L1", learning.shifted_labels, planted_in="surroundings"
    ),
    "deaf": Sabotage("the input does not reach the head", "L2", wiring.deaf),
    "huge-weight": Sabotage("one weight is 10,000", "L2", weights.one_weight(1e4)),
    "collapsed-logits": Sabotage(
        "logits are scaled by 30: one token takes all", "L2", wiring.changed_logits(lambda logits: 30 * logits)
    ),
    "permuted-embedding": Sabotage("rows of the embedding are in another order", "L2", weights.permuted_embedding),
    "other-tokenizer": Sabotage(
        "text is split by another tokenizer", "L2", learning.other_tokenizer, planted_in="surroundings"
    ),
    "lost-moments": Sabotage(
        "a resumed run begins with a new optimiser", "L3", learning.lost_moments, planted_in="surroundings"
    ),
    "half-loaded": Sabotage("half of the blocks keep their initialisation", "L3", weights.half_loaded),
    "int8-weights": Sabotage("weights are rounded to 8 bits", "L3", weights.int8_weights),
    "spiky-training": Sabotage(
        "a loss in the training log is three times as high", "L4", learning.spiky_log, planted_in="surroundings"
    ),
    "leaked-validation": Sabotage(
        "validation text was in training", "L4", learning.leaked_validation, planted_in="surroundings"
    ),
    "shifted-embedding": Sabotage("the tokenizer's ids are off by one", "L5", weights.shifted_embedding),
    "state-reset": Sabotage(
        "every call begins without a state", "C1a", memory.between_calls(lambda state: None), _TALKS, "calls"
    ),
    "forgets-every-64": _forgetful(64, "LRD", _STREAMS),
    "forgets-every-8": _forgetful(8, "LRD", _STREAMS),
    "forgets-every-1024": _forgetful(1024, "NIAH-16K", _STREAMS),
    "forgets-every-128": _forgetful(128, "NIAH", _STREAMS),
    "piling-state": Sabotage(
        "the state that a call begins with is added to the one that it ends with",
        "LRD-1M",
        memory.piling_state,
        _STREAMS,
        "calls",
    ),
    "memory-96": _short_memory(96, "C1b-lite"),
    "memory-136": _short_memory(136, "C1b"),
    "memory-168": _short_memory(168, "C1d"),
    "memory-224": _short_memory(224, "C1c"),
    "memory-84": _short_memory(84, "SPS"),
    "memory-112": _short_memory(112, "C3a"),
    "memory-1536": _short_memory(1536, "C2a"),
    "lost-third-turns": Sabotage(
        "every third turn leaves nothing behind",
        "C2b",
        memory.losing_turns(lambda turn: turn % 3 == 2),
        _TALKS | _STATES,
        "calls",
    ),
    "lost-second-turns": Sabotage(
        "every second turn leaves nothing behind",
        "C3b",
        memory.losing_turns(lambda turn: turn % 2 == 1),
        _TALKS | _STATES,
        "calls",
    ),
    "first-turn-alone": Sabotage(
        "every turn begins from the state after the first one",
        "C3c",
        memory.losing_turns(lambda turn: turn > 0),
        _TALKS | _STATES,
        "calls",
    ),
    "lost-beginning": Sabotage(
        "the state after the first call is lost", "C4a", memory.forgetting(lambda calls, _: calls == 1), _TALKS, "calls"
    ),
    "neighbours-state": Sabotage(
        "a conversation goes on from its neighbour's state",
        "C5a",
        memory.between_calls(memory.neighbours_state),
        _TALKS,
        "calls",
    ),
    "memory-116": _short_memory(116, "C4b"),
    "memory-108": _short_memory(108, "C4c"),
    "memory-176": _short_memory(176, "C5b"),
    "memory-72": _short_memory(72, "C5c"),
    "shared-state": Sabotage(
        "a conversation goes on from the state that the last call of any one left",
        "C6a",
        memory.shared_state,
        _TALKS,
        "calls",
    ),
    "lost-two-turns": Sabotage(
        "the state after the first two calls is lost",
        "C6b",
        memory.forgetting(lambda calls, _: calls == 2),
        _TALKS,
        "calls",
    ),
    "forgets-every-24": _forgetful(24, "SelCopy", _STREAMS),
    "forgets-every-28": _forgetful(28, "RULER-CWE", _STREAMS),
    "forgets-every-32": _forgetful(32, "RULER-FWE", _STREAMS),
    "forgets-every-40": _forgetful(40, "MQAR", _STREAMS),
    "forgets-every-44": _forgetful(44, "ICR", _STREAMS),
    "forgets-every-48": _forgetful(48, "ICR-fuzzy", _STREAMS),
    "forgets-every-52": _forgetful(52, "ICR-noisy", _STREAMS),
    "forgets-every-56": _forgetful(56, "RULER-S", _STREAMS),
    "forgets-every-60": _forgetful(60, "RULER-MK", _STREAMS),
    "forgets-every-68": _forgetful(68, "RULER-MV", _STREAMS),
    "forgets-every-72": _forgetful(72, "RULER-MQ", _STREAMS),
    "forgets-every-80": _forgetful(80, "RULER-VT", _STREAMS),
    "answers-everything": Sabotage(
        "every question is answered with every candidate",
        "C1a",
        answers.instead(answers.every_candidate),
        _SCRIPT,
        "answers",
    ),
    "answers-last-value": Sabotage(
        "the answer is the last value that was read", "C5a", answers.instead(answers.last_value), _SCRIPT, "answers"
    ),
    "echoes": Sabotage("the answer is the question", "C4a", answers.instead(answers.echo), _SCRIPT, "answers"),
}
