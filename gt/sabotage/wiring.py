"""What passes between the parts of a model, and the op that one runs on. Imports no torch until a fault is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gt.sabotage.planting import UNDO, clear, parts, wrap

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gt.models.state import LayerState


def wrong_kernel(model: nn.Module) -> None:
    """The model is whole; the op that it runs on is not."""
    from gt.kernels import dispatch

    clear()
    whole = fast, *rest = dispatch.BACKENDS["wkv6"]
    UNDO.append(lambda: dispatch.BACKENDS.update(wkv6=whole))
    run = fast.run

    def wrong_bonus(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: Tensor | None = None) -> Any:
        return run(r, k, v, w, u * 1.01, state)

    dispatch.BACKENDS["wkv6"] = (msgspec.structs.replace(fast, run=wrong_bonus), *rest)


def leaking_future(model: nn.Module) -> None:
    """A little of what comes next is seen."""
    import torch

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        following = torch.cat([out[:, 1:], out[:, -1:]], dim=1)
        return out + 0.01 * following

    wrap(model.get_submodule("blocks.0.mix_norm"), around)


def batch_leak(model: nn.Module) -> None:
    """A normalisation over the batch, as if in training."""

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out - 0.01 * out.mean(dim=0, keepdim=True)

    wrap(model.get_submodule("norm"), around)


def untaught(*components: str) -> Callable[[nn.Module], None]:
    """The fusion reads what these mixers say and teaches them nothing."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, rwkv: Tensor, mamba: Tensor) -> Any:
            said = {"rwkv": rwkv, "mamba": mamba}
            return forward(*(one.detach() if name in components else one for name, one in said.items()))

        for fusion in parts(model, "fusion"):
            wrap(fusion, around)

    return plant_it


def detached_state(model: nn.Module) -> None:
    """Mamba begins a call with a state that is cut from the graph."""

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        cut = None if state is None else {name: tensor.detach() for name, tensor in state.items()}
        return forward(x, cut)

    for mixer in parts(model, "mamba"):
        wrap(mixer, around)


def dead(component: str) -> Callable[[nn.Module], None]:
    """A mixer keeps a state and says nothing."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
            out, new_state = forward(x, state)
            return out * 0, new_state

        for mixer in parts(model, component):
            wrap(mixer, around)

    return plant_it


def stuck_gate(model: nn.Module) -> None:
    """What Mamba adds to the fusion, whatever its form, is scaled down."""
    import torch

    def around(forward: Any, rwkv: Tensor, mamba: Tensor) -> Any:
        fused, share = forward(rwkv, mamba)
        alone, _ = forward(rwkv, torch.zeros_like(mamba))
        return alone + 1e-5 * (fused - alone), share

    for fusion in parts(model, "fusion"):
        wrap(fusion, around)


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


def missing_layer(model: nn.Module) -> None:
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


def eval_noise(model: nn.Module) -> None:
    """Dropout left on."""
    import torch

    def around(forward: Any, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(forward(x), 0.1, training=True)

    for norm in parts(model, "mix_norm"):
        wrap(norm, around)


def changed_logits(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    """What the head says is changed on its way out.

    Args:
        change: Of logits [..., V].
    """

    def plant_it(model: nn.Module) -> None:
        import torch

        def around(forward: Any, *args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            logits, *rest = (out,) if isinstance(out, torch.Tensor) else out
            return (change(logits), *rest) if rest else change(logits)

        wrap(model, around)

    return plant_it


def half_precision(model: nn.Module) -> None:
    """Before the head, activations are scaled up and kept in fp16, which ends at 65,504."""

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return (out * 3e4).half().to(out.dtype) / 3e4

    wrap(model.get_submodule("norm"), around)


def deaf(model: nn.Module) -> None:
    """Nothing of the input reaches the head."""

    def around(forward: Any, x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out * 1e-6

    wrap(model.get_submodule("norm"), around)


_judged_width: list[int] = []


def slow_when_wide(model: nn.Module) -> None:
    """A fast path that only narrow models can take: in models wider than the first one every mixer runs ten times.

    It does nothing to a model whose next scale is only deeper, as 2M is after 1M.
    """
    width: int = cast(Any, model).config.hidden_size
    if not _judged_width:
        UNDO.append(_judged_width.clear)
        _judged_width.append(width)

    def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
        outs = [forward(x, state) for _ in range(10)]
        return sum(out for out, _ in outs) / len(outs), outs[-1][1]

    if width > _judged_width[0]:
        for mixer in (*parts(model, "rwkv"), *parts(model, "mamba")):
            wrap(mixer, around)
