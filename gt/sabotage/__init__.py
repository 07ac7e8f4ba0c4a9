"""Faults to plant in a subject: a check is worth nothing until it is seen to catch the one meant for it.

The table imports no torch; planting a fault does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gt.sabotage import learning, memory, weights, wiring
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
    """

    summary: str
    caught_by: str
    plant: Callable[[nn.Module], None]
    needs: frozenset[str] = frozenset()


def plant(name: str, model: nn.Module) -> None:
    """Plant a fault in a model.

    Raises:
        KeyError: If there is no such fault.
    """
    SABOTAGES[name].plant(model)


def _short_memory(tokens: int, caught_by: str) -> Sabotage:
    return Sabotage(
        f"the state is lost after {tokens} tokens", caught_by, memory.forgetting(lambda _, read: read >= tokens), _TALKS
    )


def _short_window(tokens: int, caught_by: str) -> Sabotage:
    return Sabotage(f"the state is lost every {tokens} tokens", caught_by, memory.forgets_every(tokens), _STREAMS)


_RWKV, _MAMBA, _STATES = frozenset({"rwkv"}), frozenset({"mamba"}), frozenset({"states"})
_TALKS, _STREAMS = frozenset({"generation"}), frozenset({"states", "streaming"})

SABOTAGES: dict[str, Sabotage] = {
    "wrong-kernel": Sabotage("the fast WKV6 kernel is off by 1% of the bonus", "G0", wiring.wrong_kernel, _RWKV),
    "nan-weight": Sabotage("one weight is NaN", "G1a", weights.nan_weight),
    "leaking-future": Sabotage("1% of the next token's embedding reaches a token", "G1b", wiring.leaking_future),
    "dropped-state": Sabotage(
        "RWKV's state is dropped at the boundary between calls", "G1c", memory.dropped_state, _RWKV
    ),
    "batch-leak": Sabotage("1% of the batch's mean reaches every row", "G1d", wiring.batch_leak),
    "unreached-mixers": Sabotage("no gradient reaches the mixers", "G1e", wiring.unreached_mixers, _RWKV | _MAMBA),
    "loud-embedding": Sabotage("embedding and head are initialised 50 times too large", "G2", weights.loud_embedding),
    "reversed-gradient": Sabotage("gradients have the wrong sign", "G3", learning.reversed_gradient),
    "stuck-state": Sabotage("Mamba's state is not updated after the first call", "G3.5", memory.stuck_state, _MAMBA),
    "dead-mamba": Sabotage("Mamba's output is zero", "G4", wiring.dead_mamba, _RWKV | _MAMBA),
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
    "short-sight": Sabotage("everything is forgotten every 64 tokens", "D4", memory.short_sight(64)),
    "detached-state": Sabotage(
        "no gradient reaches the state that Mamba begins a call with", "D5", wiring.detached_state, _RWKV | _MAMBA
    ),
    "stuck-gate": Sabotage("the fusion lets 0.01% of Mamba through", "D6", wiring.stuck_gate, _RWKV | _MAMBA),
    "shorter-sight": Sabotage("everything is forgotten every 16 tokens", "D7", memory.short_sight(16)),
    "certain-logits": Sabotage("logits are 10,000 times too large", "Q1", wiring.certain_logits, _TALKS),
    "capped-logits": Sabotage("logits are capped at 3", "L1", wiring.capped_logits),
    "lost-moments": Sabotage("a resumed run begins with a new optimiser", "L3", learning.lost_moments),
    "spiky-training": Sabotage("a loss in the training log is three times as high", "L4", learning.spiky_log),
    "shifted-embedding": Sabotage("the tokenizer's ids are off by one", "L5", weights.shifted_embedding),
    "slow-when-wide": Sabotage(
        "mixers of models wider than this one fall back to a path four times as slow",
        "R1",
        wiring.slow_when_wide,
        frozenset({"kernels"}),
    ),
    "deaf": Sabotage("the input does not reach the head", "L2", wiring.deaf),
    "state-reset": Sabotage(
        "every call begins without a state", "C1a", memory.between_calls(lambda state: None), _TALKS
    ),
    "forgets-every-64": Sabotage("the state is lost every 64 tokens", "LRD", memory.forgets_every(64), _STREAMS),
    "forgets-every-8": Sabotage("the state is lost every 8 tokens", "LRD", memory.forgets_every(8), _STREAMS),
    "forgets-every-1024": Sabotage(
        "the state is lost every 1,024 tokens", "NIAH-16K", memory.forgets_every(1024), _STREAMS
    ),
    "forgets-every-128": Sabotage("the state is lost every 128 tokens", "NIAH", memory.forgets_every(128), _STREAMS),
    "piling-state": Sabotage(
        "the state that a call begins with is added to the one that it ends with",
        "LRD-1M",
        memory.piling_state,
        _STREAMS,
    ),
    "memory-96": _short_memory(96, "C1b-lite"),
    "memory-160": _short_memory(160, "C1b"),
    "memory-192": _short_memory(192, "C1d"),
    "memory-224": _short_memory(224, "C1c"),
    "memory-104": _short_memory(104, "SPS"),
    "memory-112": _short_memory(112, "C3a"),
    "memory-1536": _short_memory(1536, "C2a"),
    "lost-third-turns": Sabotage(
        "every third turn leaves nothing behind",
        "C2b",
        memory.losing_turns(lambda turn: turn % 3 == 2),
        _TALKS | _STATES,
    ),
    "lost-second-turns": Sabotage(
        "every second turn leaves nothing behind",
        "C3b",
        memory.losing_turns(lambda turn: turn % 2 == 1),
        _TALKS | _STATES,
    ),
    "first-turn-alone": Sabotage(
        "every turn begins from the state after the first one",
        "C3c",
        memory.losing_turns(lambda turn: turn > 0),
        _TALKS | _STATES,
    ),
    "lost-beginning": Sabotage(
        "the state after the first call is lost", "C4a", memory.forgetting(lambda calls, _: calls == 1), _TALKS
    ),
    "neighbours-state": Sabotage(
        "a conversation goes on from its neighbour's state",
        "C5a",
        memory.between_calls(memory.neighbours_state),
        _TALKS,
    ),
    "memory-116": _short_memory(116, "C4b"),
    "memory-108": _short_memory(108, "C4c"),
    "memory-176": _short_memory(176, "C5b"),
    "memory-72": _short_memory(72, "C5c"),
    "shared-state": Sabotage(
        "a conversation goes on from the state that the last call of any one left", "C6a", memory.shared_state, _TALKS
    ),
    "lost-two-turns": Sabotage(
        "the state after the first two calls is lost", "C6b", memory.forgetting(lambda calls, _: calls == 2), _TALKS
    ),
    "forgets-every-24": _short_window(24, "SelCopy"),
    "forgets-every-28": _short_window(28, "RULER-CWE"),
    "forgets-every-32": _short_window(32, "RULER-FWE"),
    "forgets-every-40": _short_window(40, "MQAR"),
    "forgets-every-44": _short_window(44, "ICR"),
    "forgets-every-48": _short_window(48, "ICR-fuzzy"),
    "forgets-every-52": _short_window(52, "ICR-noisy"),
    "forgets-every-56": _short_window(56, "RULER-S"),
    "forgets-every-60": _short_window(60, "RULER-MK"),
    "forgets-every-68": _short_window(68, "RULER-MV"),
    "forgets-every-72": _short_window(72, "RULER-MQ"),
    "forgets-every-80": _short_window(80, "RULER-VT"),
}
