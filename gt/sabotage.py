"""Faults to plant in a subject: a check is worth nothing until it is seen to catch the one meant for it.

The table imports no torch; planting a fault does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

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


_replaced_backends: dict[str, Any] = {}


def clear() -> None:
    """Take back what a fault changed outside its model, before another subject is loaded."""
    if _replaced_backends:
        from gt.kernels import dispatch

        dispatch.BACKENDS.update(_replaced_backends)
        _replaced_backends.clear()


def _wrap(module: nn.Module, around: Callable[..., Any]) -> None:
    """Replace a module's forward by around(forward, *args, **kwargs)."""
    forward = module.forward
    module.forward = lambda *args, **kwargs: around(forward, *args, **kwargs)


def _parts(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules of that name in every block that has one."""
    return [
        module for block in model.get_submodule("blocks").children() if (module := getattr(block, name)) is not None
    ]


def _wrong_kernel(model: nn.Module) -> None:
    """The model is whole; the op that it runs on is not."""
    from gt.kernels import dispatch

    clear()
    _replaced_backends["wkv6"] = fast, *rest = dispatch.BACKENDS["wkv6"]
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

    _wrap(model.get_submodule("blocks.0.mix_norm"), around)


def _dropped_state(model: nn.Module) -> None:
    """What a kernel does whose initial state is ignored: every call starts from nothing."""

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        return forward(x, None)

    for mixer in _parts(model, "rwkv"):
        _wrap(mixer, around)


def _batch_leak(model: nn.Module) -> None:
    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out - 0.01 * out.mean(dim=0, keepdim=True)

    _wrap(model.get_submodule("norm"), around)


def _unreached_mixers(model: nn.Module) -> None:
    def around(forward: Any, *outputs: Tensor) -> Any:
        return forward(*(output.detach() for output in outputs))

    for fusion in _parts(model, "fusion"):
        _wrap(fusion, around)


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

    for mixer in _parts(model, "mamba"):
        _wrap(mixer, around)


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

    _wrap(model, around)


def _change_state(component: str, part: str, change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
            out, new_state = forward(x, state)
            return out, new_state | {part: change(new_state[part])}

        for mixer in _parts(model, component):
            _wrap(mixer, around)

    return plant_it


def _eval_noise(model: nn.Module) -> None:
    """Dropout left on."""
    import torch

    def around(forward: Any, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(forward(x), 0.1, training=True)

    for norm in _parts(model, "mix_norm"):
        _wrap(norm, around)


def _deaf(model: nn.Module) -> None:
    """Nothing of the input reaches the head."""

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out * 1e-6

    _wrap(model.get_submodule("norm"), around)


def _same_memory(tensor: Tensor) -> Tensor:
    """A state that keeps its size and hardly depends on what was read."""
    import torch

    return tensor * 1e-3 + torch.full_like(tensor, 0.05)


def _between_calls(change: Callable[[ModelState], ModelState | None]) -> Callable[[nn.Module], None]:
    """What a call leaves behind is not what the next one begins with."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, tokens: Tensor, state: ModelState | None = None, **kwargs: Any) -> Any:
            return forward(tokens, state=None if state is None else change(state), **kwargs)

        _wrap(model, around)

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

        _wrap(model, around)

    return plant_it


def _forgets_every(tokens: int) -> Callable[[nn.Module], None]:
    """State that is lost within a text as well: whatever is read in one call."""

    def plant_it(model: nn.Module) -> None:
        import torch

        from gt.models.state import ModelState

        def around(
            forward: Any, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False, **kwargs: Any
        ) -> Any:
            read = 0
            if state is not None:
                tensors = dict(state.tensors)
                # Rows that are read together have read equally much.
                read = int(tensors.pop("sabotage_read").max())
                state = ModelState(tensors, state.gate)
            logits: list[Tensor] = []
            begin = 0
            while begin < tokens_BT.shape[1]:
                piece = tokens_BT[:, begin : begin + tokens - read]
                out, state = forward(piece, state=state if read else None, return_states=True, **kwargs)
                logits.append(out)
                begin, read = begin + piece.shape[1], (read + piece.shape[1]) % tokens
            whole = logits[-1] if kwargs.get("last_only") else torch.cat(logits, dim=1)
            if not return_states or state is None:
                return whole
            counted = tokens_BT.new_full((len(tokens_BT), 1), read)
            return whole, ModelState({**state.tensors, "sabotage_read": counted}, state.gate)

        _wrap(model, around)

    return plant_it


def _piling_state(model: nn.Module) -> None:
    """A kernel that adds the state it began with to the one it ends with, as if nothing had decayed."""
    from gt.models.state import ModelState

    def around(
        forward: Any, tokens: Tensor, state: ModelState | None = None, return_states: bool = False, **kwargs: Any
    ) -> Any:
        out = forward(tokens, state=state, return_states=return_states, **kwargs)
        if not return_states or state is None:
            return out
        logits, new_state, *rest = out
        old = state.tensors
        piled = {name: one + old[name] if one.is_floating_point() else one for name, one in new_state.tensors.items()}
        return logits, ModelState(piled, new_state.gate), *rest

    _wrap(model, around)


def _short_memory(tokens: int, caught_by: str) -> Sabotage:
    return Sabotage(
        f"the state is lost after {tokens} tokens", caught_by, _forgetting(lambda _, read: read >= tokens), _TALKS
    )


_RWKV, _MAMBA, _STATES = frozenset({"rwkv"}), frozenset({"mamba"}), frozenset({"states"})
_TALKS, _STREAMS = frozenset({"generation"}), frozenset({"states", "streaming"})

SABOTAGES: dict[str, Sabotage] = {
    "wrong-kernel": Sabotage("the fast WKV6 kernel is off by 1% of the bonus", "G0", _wrong_kernel, _RWKV),
    "nan-weight": Sabotage("one weight is NaN", "G1a", _nan_weight),
    "leaking-future": Sabotage("1% of the next token's embedding reaches a token", "G1b", _leaking_future),
    "dropped-state": Sabotage("RWKV's state is dropped at the boundary between calls", "G1c", _dropped_state, _RWKV),
    "batch-leak": Sabotage("1% of the batch's mean reaches every row", "G1d", _batch_leak),
    "unreached-mixers": Sabotage("no gradient reaches the mixers", "G1e", _unreached_mixers, _RWKV | _MAMBA),
    "loud-embedding": Sabotage("embedding and head are initialised 50 times too large", "G2", _loud_embedding),
    "reversed-gradient": Sabotage("gradients have the wrong sign", "G3", _reversed_gradient),
    "dead-mamba": Sabotage("Mamba's output is zero", "G4", _dead_mamba, _RWKV | _MAMBA),
    "missing-layer": Sabotage("the last layer's state is not handed out", "S0", _missing_layer, _STATES),
    "exploding-state": Sabotage(
        "RWKV's state is 10,000 times too large", "S1", _change_state("rwkv", "rwkv_state", lambda t: t * 1e4), _RWKV
    ),
    "frozen-state": Sabotage(
        "Mamba's state stays at zero", "S2", _change_state("mamba", "mamba_state", lambda t: t * 0), _MAMBA
    ),
    "eval-noise": Sabotage("dropout is on in evaluation", "S3", _eval_noise, _STATES),
    "constant-state": Sabotage(
        "Mamba's state hardly depends on the input", "S4", _change_state("mamba", "mamba_state", _same_memory), _MAMBA
    ),
    "deaf": Sabotage("the input does not reach the head", "L2", _deaf),
    "state-reset": Sabotage("every call begins without a state", "C1a", _between_calls(lambda state: None), _TALKS),
    "forgets-every-64": Sabotage("the state is lost every 64 tokens", "LRD", _forgets_every(64), _STREAMS),
    "forgets-every-8": Sabotage("the state is lost every 8 tokens", "LRD", _forgets_every(8), _STREAMS),
    "piling-state": Sabotage(
        "the state that a call begins with is added to the one that it ends with", "LRD-1M", _piling_state, _STREAMS
    ),
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
