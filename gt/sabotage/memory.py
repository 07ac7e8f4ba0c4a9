"""States: what is kept of them from token to token and from call to call. Imports no torch until a fault is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gt.sabotage.planting import change_state, parts, wrap

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gt.models.state import LayerState, ModelState


def dropped_state(model: nn.Module) -> None:
    """What a kernel does whose initial state is ignored: every call starts from nothing."""

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        return forward(x, None)

    for mixer in parts(model, "rwkv"):
        wrap(mixer, around)


def lost_part(component: str, part: str) -> Callable[[nn.Module], None]:
    """One part of the state is not handed over: a call begins with zeros in its place."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
            return forward(x, None if state is None else {**state, part: state[part] * 0})

        for mixer in parts(model, component):
            wrap(mixer, around)

    return plant_it


def stuck_state(model: nn.Module) -> None:
    """Mamba's state is what the first call left."""

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        out, new_state = forward(x, state)
        return out, new_state if state is None else new_state | {"mamba_state": state["mamba_state"]}

    for mixer in parts(model, "mamba"):
        wrap(mixer, around)


def growing_state(rate: float) -> Callable[[nn.Module], None]:
    """A decay above 1: the slowest of RWKV-6's own begin at exp(-exp(-6)), 0.25% below 1.

    Args:
        rate: By how much the state grows with every token, beside its own decay.
    """

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
            out, new_state = forward(x, state)
            return out, new_state | {"rwkv_state": new_state["rwkv_state"] * (1 + rate) ** x.shape[1]}

        for mixer in parts(model, "rwkv"):
            wrap(mixer, around)

    return plant_it


def collapsed_states(model: nn.Module) -> None:
    """Both components end every call in one and the same state."""
    import torch

    for component in ("rwkv", "mamba"):
        change_state(component, f"{component}_state", lambda state: torch.full_like(state, 0.05))(model)


def same_memory(tensor: Tensor) -> Tensor:
    """A state that keeps its size and hardly depends on what was read."""
    import torch

    return tensor * 1e-3 + torch.full_like(tensor, 0.05)


def between_calls(change: Callable[[ModelState], ModelState | None]) -> Callable[[nn.Module], None]:
    """What a call leaves behind is not what the next one begins with."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, tokens: Tensor, state: ModelState | None = None, **kwargs: Any) -> Any:
            return forward(tokens, state=None if state is None else change(state), **kwargs)

        wrap(model, around)

    return plant_it


def neighbours_state(state: ModelState) -> ModelState:
    """Every row has what the next one should have."""
    rows = range(state.batch_size)
    return state.select([(row + 1) % len(rows) for row in rows])


def shared_state(model: nn.Module) -> None:
    """A model that keeps its state itself: every conversation goes on where the last call of any one ended."""
    latest: list[ModelState] = []

    def around(
        forward: Any, tokens: Tensor, state: ModelState | None = None, return_states: bool = False, **kwargs: Any
    ) -> Any:
        if state is not None and latest:
            state = latest[0].select([0] * len(tokens))
        out = forward(tokens, state=state, return_states=return_states, **kwargs)
        if return_states:
            latest[:] = [out[1]]
        return out

    wrap(model, around)


def forgetting(forgets: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module], None]:
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


def losing_turns(loses: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    """Stretches of text that leave nothing behind: what comes after one of them begins where it began.

    What is generated or scored token by token goes on from the stretch before it, lost or not.

    Args:
        loses: Which stretches are lost, [B, 1] bool, from their numbers [B, 1], counted from 0.
    """

    def plant_it(model: nn.Module) -> None:
        import torch

        from gt.models.state import ModelState

        def around(
            forward: Any, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False, **kwargs: Any
        ) -> Any:
            heard = tokens_BT.new_zeros(len(tokens_BT), 1)
            begin: dict[str, Tensor] = {}
            if state is not None:
                tensors = {name: one for name, one in state.tensors.items() if not name.startswith("sabotage_")}
                begin = {name: state.tensors[f"sabotage_{name}"] for name in tensors}
                heard = state.tensors["sabotage_heard"]
                if tokens_BT.shape[1] > 1:
                    lost = loses(heard - 1)
                    tensors = {
                        name: torch.where(lost.view(-1, *[1] * (one.ndim - 1)), begin[name], one)
                        for name, one in tensors.items()
                    }
                    begin = tensors
                state = ModelState(tensors)
            out = forward(tokens_BT, state=state, return_states=return_states, **kwargs)
            if not return_states:
                return out
            logits, new_state, *rest = out
            begin = begin or {name: torch.zeros_like(one) for name, one in new_state.tensors.items()}
            kept = {f"sabotage_{name}": one for name, one in begin.items()}
            kept["sabotage_heard"] = heard + (tokens_BT.shape[1] > 1 or state is None)
            return logits, ModelState({**new_state.tensors, **kept}, new_state.gate), *rest

        wrap(model, around)

    return plant_it


def forgets_every(tokens: int) -> Callable[[nn.Module], None]:
    """State that is lost within a text as well: text is read in stretches, each without what came before it."""

    def plant_it(model: nn.Module) -> None:
        import torch

        from gt.models.state import ModelState

        def around(
            forward: Any, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False, **kwargs: Any
        ) -> Any:
            read = 0
            if state is not None:
                tensors = dict(state.tensors)
                # Rows that are read together have read equally much, but for the needles in them.
                read = int(tensors.pop("sabotage_read").max())
                state = ModelState(tensors, state.gate)
            logits: list[Tensor] = []
            seen: list[dict[str, Tensor]] = []
            begin = 0
            while begin < tokens_BT.shape[1]:
                piece = tokens_BT[:, begin : begin + tokens - read]
                out, state, *activations = forward(piece, state=state if read else None, return_states=True, **kwargs)
                logits.append(out)
                seen += activations
                begin, read = begin + piece.shape[1], (read + piece.shape[1]) % tokens
            whole = logits[-1] if kwargs.get("last_only") else torch.cat(logits, dim=1)
            extras: list[Any] = []
            if return_states and state is not None:
                counted = tokens_BT.new_full((len(tokens_BT), 1), read)
                extras.append(ModelState({**state.tensors, "sabotage_read": counted}, state.gate))
            if seen:
                extras.append({name: torch.cat([one[name] for one in seen], dim=2) for name in seen[0]})
            return (whole, *extras) if extras else whole

        wrap(model, around)

    return plant_it


def piling_state(model: nn.Module) -> None:
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

    wrap(model, around)
