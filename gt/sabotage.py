"""Faults to plant in a subject: a check is worth nothing until it is seen to catch the one meant for it.

The table imports no torch; planting a fault does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from gt import faults
from gt.planting import UNDO, change_state, clear, parts, wrap

__all__ = ["SABOTAGES", "Sabotage", "clear", "plant"]

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gt.models.state import LayerState, ModelState


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


def _wrong_kernel(model: nn.Module) -> None:
    """The model is whole; the op that it runs on is not."""
    from gt.kernels import dispatch

    clear()
    whole = fast, *rest = dispatch.BACKENDS["wkv6"]
    UNDO.append(lambda: dispatch.BACKENDS.update(wkv6=whole))
    run = fast.run

    def wrong_bonus(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: Tensor | None = None) -> Any:
        return run(r, k, v, w, u * 1.01, state)

    dispatch.BACKENDS["wkv6"] = (msgspec.structs.replace(fast, run=wrong_bonus), *rest)


def _nan_weight(model: nn.Module) -> None:
    import torch

    *_, last = (parameter for parameter in model.get_submodule("blocks").parameters() if parameter.ndim == 2)
    with torch.no_grad():
        last[0, 0] = torch.nan


def _leaking_future(model: nn.Module) -> None:
    import torch

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        following = torch.cat([out[:, 1:], out[:, -1:]], dim=1)
        return out + 0.01 * following

    wrap(model.get_submodule("blocks.0.mix_norm"), around)


def _dropped_state(model: nn.Module) -> None:
    """What a kernel does whose initial state is ignored: every call starts from nothing."""

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        return forward(x, None)

    for mixer in parts(model, "rwkv"):
        wrap(mixer, around)


def _batch_leak(model: nn.Module) -> None:
    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out - 0.01 * out.mean(dim=0, keepdim=True)

    wrap(model.get_submodule("norm"), around)


def _unreached_mixers(model: nn.Module) -> None:
    def around(forward: Any, *outputs: Tensor) -> Any:
        return forward(*(output.detach() for output in outputs))

    for fusion in parts(model, "fusion"):
        wrap(fusion, around)


def _loud_embedding(model: nn.Module) -> None:
    """An initialisation that forgot its scale."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("embedding.weight", "head.weight"):
                parameter.mul_(50)


def _reversed_gradient(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: -gradient)


def _dead_mamba(model: nn.Module) -> None:
    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        out, new_state = forward(x, state)
        return out * 0, new_state

    for mixer in parts(model, "mamba"):
        wrap(mixer, around)


def _missing_layer(model: nn.Module) -> None:
    """The last layer's state is not handed out."""
    import torch

    from gt.models.state import ModelState

    def around(forward: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        if isinstance(out, torch.Tensor):
            return out
        return tuple(
            ModelState({k: v[:, :-1] for k, v in e.tensors.items()}, e.gate) if isinstance(e, ModelState) else e
            for e in out
        )

    wrap(model, around)


def _eval_noise(model: nn.Module) -> None:
    """Dropout left on."""
    import torch

    def around(forward: Any, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(forward(x), 0.1, training=True)

    for norm in parts(model, "mix_norm"):
        wrap(norm, around)


def _deaf(model: nn.Module) -> None:
    """Nothing of the input reaches the head."""

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out * 1e-6

    wrap(model.get_submodule("norm"), around)


def _same_memory(tensor: Tensor) -> Tensor:
    """A state that keeps its size and hardly depends on what was read."""
    import torch

    return tensor * 1e-3 + torch.full_like(tensor, 0.05)


def _between_calls(change: Callable[[ModelState], ModelState | None]) -> Callable[[nn.Module], None]:
    """What a call leaves behind is not what the next one begins with."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, tokens: Tensor, state: ModelState | None = None, **kwargs: Any) -> Any:
            return forward(tokens, state=None if state is None else change(state), **kwargs)

        wrap(model, around)

    return plant_it


def _neighbours_state(state: ModelState) -> ModelState:
    rows = range(state.batch_size)
    return state.select([(row + 1) % len(rows) for row in rows])


def _forgetting(forgets: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module], None]:
    """State that is lost at a call.

    Args:
        forgets: Which sequences lose it, [B, 1] bool, from the numbers of their calls and of their tokens since they
            began or forgot, both [B, 1].
    """

    def plant_it(model: nn.Module) -> None:
        import torch

        from gt.models.state import ModelState

        def around(
            forward: Any, tokens: Tensor, state: ModelState | None = None, return_states: bool = False, **kwargs: Any
        ) -> Any:
            calls = tokens.new_zeros(len(tokens), 1)
            read = calls
            if state is not None:
                tensors = dict(state.tensors)
                calls, read = tensors.pop("sabotage_calls"), tensors.pop("sabotage_read")
                lost = forgets(calls, read)
                # Nothing read yet is a state of zeros.
                state = ModelState(tensors).map(lambda old: old.masked_fill(lost.view(-1, *[1] * (old.ndim - 1)), 0))
                read = torch.where(lost, 0, read)
            out = forward(tokens, state=state, return_states=return_states, **kwargs)
            if not return_states:
                return out
            logits, new_state, *rest = out
            counted = {"sabotage_calls": calls + 1, "sabotage_read": read + tokens.shape[1]}
            return logits, ModelState({**new_state.tensors, **counted}, new_state.gate), *rest

        wrap(model, around)

    return plant_it


def _short_memory(tokens: int, caught_by: str) -> Sabotage:
    return Sabotage(
        f"the state is lost after {tokens} tokens", caught_by, _forgetting(lambda _, read: read >= tokens), _TALKS
    )


_RWKV, _MAMBA, _STATES = frozenset({"rwkv"}), frozenset({"mamba"}), frozenset({"states"})
_TALKS = frozenset({"generation"})

SABOTAGES: dict[str, Sabotage] = {
    "wrong-kernel": Sabotage("the fast WKV6 kernel is off by 1% of the bonus", "G0", _wrong_kernel, _RWKV),
    "nan-weight": Sabotage("one weight is NaN", "G1a", _nan_weight),
    "leaking-future": Sabotage("1% of the next token's embedding reaches a token", "G1b", _leaking_future),
    "dropped-state": Sabotage("RWKV's state is dropped at the boundary between calls", "G1c", _dropped_state, _RWKV),
    "batch-leak": Sabotage("1% of the batch's mean reaches every row", "G1d", _batch_leak),
    "unreached-mixers": Sabotage("no gradient reaches the mixers", "G1e", _unreached_mixers, _RWKV | _MAMBA),
    "loud-embedding": Sabotage("embedding and head are initialised 50 times too large", "G2", _loud_embedding),
    "reversed-gradient": Sabotage("gradients have the wrong sign", "G3", _reversed_gradient),
    "stuck-state": Sabotage("Mamba's state is not updated after the first call", "G3.5", faults.stuck_state, _MAMBA),
    "dead-mamba": Sabotage("Mamba's output is zero", "G4", _dead_mamba, _RWKV | _MAMBA),
    "missing-layer": Sabotage("the last layer's state is not handed out", "S0", _missing_layer, _STATES),
    "exploding-state": Sabotage(
        "RWKV's state is 10,000 times too large", "S1", change_state("rwkv", "rwkv_state", lambda t: t * 1e4), _RWKV
    ),
    "frozen-state": Sabotage(
        "Mamba's state stays at zero", "S2", change_state("mamba", "mamba_state", lambda t: t * 0), _MAMBA
    ),
    "eval-noise": Sabotage("dropout is on in evaluation", "S3", _eval_noise, _STATES),
    "constant-state": Sabotage(
        "Mamba's state hardly depends on the input", "S4", change_state("mamba", "mamba_state", _same_memory), _MAMBA
    ),
    "growing-state": Sabotage("RWKV's state grows by 1% with every token", "D1", faults.growing_state(0.01), _RWKV),
    "slowly-growing-state": Sabotage(
        "RWKV's state grows by 0.3% with every token", "D1-long", faults.growing_state(0.003), _RWKV
    ),
    "collapsed-states": Sabotage("every text leaves the same states", "D2", faults.collapsed_states, _STATES),
    "unread-state": Sabotage("Mamba's state is written and never read", "D3", faults.unread_state, _MAMBA),
    "short-sight": Sabotage("everything is forgotten every 64 tokens", "D4", faults.short_sight(64)),
    "detached-state": Sabotage(
        "no gradient reaches the state that Mamba begins a call with", "D5", faults.detached_state, _RWKV | _MAMBA
    ),
    "stuck-gate": Sabotage("the fusion lets 0.01% of Mamba through", "D6", faults.stuck_gate, _RWKV | _MAMBA),
    "capped-logits": Sabotage("logits are capped at 3", "L1", faults.capped_logits),
    "lost-moments": Sabotage("a resumed run begins with a new optimiser", "L3", faults.lost_moments),
    "spiky-training": Sabotage("a loss in the training log is three times as high", "L4", faults.spiky_log),
    "shifted-embedding": Sabotage("the tokenizer's ids are off by one", "L5", faults.shifted_embedding),
    "deaf": Sabotage("the input does not reach the head", "L2", _deaf),
    "state-reset": Sabotage("every call begins without a state", "C1a", _between_calls(lambda state: None), _TALKS),
    "memory-96": _short_memory(96, "C1b-lite"),
    "memory-160": _short_memory(160, "C1b"),
    "memory-192": _short_memory(192, "C1d"),
    "memory-224": _short_memory(224, "C1c"),
    "lost-beginning": Sabotage(
        "the state after the first call is lost", "C4a", _forgetting(lambda calls, _: calls == 1), _TALKS
    ),
    "neighbours-state": Sabotage(
        "a conversation goes on from its neighbour's state", "C5a", _between_calls(_neighbours_state), _TALKS
    ),
}
