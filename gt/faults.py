"""Faults of states over length and inputs, and of what a training leaves. Imports no torch until one is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gt.planting import change_state, parts, replace, wrap

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gt.models.state import LayerState, ModelState


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


def unread_state(model: nn.Module) -> None:
    """What Mamba-2 multiplies its state with to read it, C, is held at zero, also while the model is trained."""
    import torch

    def silence(mixer: Any, args: object) -> None:
        size = mixer.num_groups * mixer.d_state
        read = slice(mixer.d_inner + size, mixer.d_inner + 2 * size)  # x, B and C go through the convolution
        with torch.no_grad():
            mixer.in_proj.weight.data[mixer.d_inner + read.start : mixer.d_inner + read.stop] = 0  # after the gate z
            mixer.conv1d.bias.data[read] = 0

    for mixer in parts(model, "mamba"):
        mixer.register_forward_pre_hook(silence)


def short_sight(tokens: int) -> Callable[[nn.Module], None]:
    """Text is read in stretches, each without what came before it."""

    def plant_it(model: nn.Module) -> None:
        import torch

        def around(forward: Any, tokens_BT: Tensor, state: ModelState | None = None, **kwargs: Any) -> Any:
            last_only = kwargs.pop("last_only", False)
            stretches = tokens_BT.split(tokens, dim=1)
            outs = [forward(part, state=None if i else state, **kwargs) for i, part in enumerate(stretches)]
            single = isinstance(outs[0], torch.Tensor)
            logits_BTV = torch.cat([out if single else out[0] for out in outs], dim=1)
            logits_BTV = logits_BTV[:, -1:] if last_only else logits_BTV
            return logits_BTV if single else (logits_BTV, *outs[-1][1:])

        wrap(model, around)

    return plant_it


def detached_state(model: nn.Module) -> None:
    """Mamba begins a call with a state that is cut from the graph."""

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        cut = None if state is None else {name: tensor.detach() for name, tensor in state.items()}
        return forward(x, cut)

    for mixer in parts(model, "mamba"):
        wrap(mixer, around)


def stuck_gate(model: nn.Module) -> None:
    """What Mamba adds to the fusion, whatever its form, is scaled down."""
    import torch

    def around(forward: Any, rwkv: Tensor, mamba: Tensor) -> Any:
        fused, share = forward(rwkv, mamba)
        alone, _ = forward(rwkv, torch.zeros_like(mamba))
        return alone + 1e-4 * (fused - alone), share

    for fusion in parts(model, "fusion"):
        wrap(fusion, around)


def capped_logits(model: nn.Module) -> None:
    """A soft cap that leaves no room to be sure of a token."""
    import torch

    def around(forward: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        logits, *rest = (out,) if isinstance(out, torch.Tensor) else out
        capped = 3 * torch.tanh(logits / 3)
        return (capped, *rest) if rest else capped

    wrap(model, around)


def lost_moments(model: nn.Module) -> None:
    """The model is whole; a run that is resumed with it begins with a new optimiser."""
    from gt.training import resume

    def around(load: Any, folder: Any, resumed: nn.Module, step: Any) -> Any:
        extra = load(folder, resumed, step)
        step.optimizer.state.clear()
        return extra

    replace(resume, "load_state", around)


def spiky_log(model: nn.Module) -> None:
    """The model is whole; its training was not."""
    from gt.training import history

    def around(read: Any, path: Any) -> Any:
        lines = read(path)
        line = lines[len(lines) // 2]
        line["loss"] = None if line["loss"] is None else 3 * line["loss"]
        return lines

    replace(history, "read_log", around)


def shifted_embedding(model: nn.Module) -> None:
    """A tokenizer whose ids are off by one."""
    import torch

    with torch.no_grad():
        weight = model.get_parameter("embedding.weight")
        weight.copy_(weight.roll(1, dims=0))
