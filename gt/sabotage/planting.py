"""How a fault gets into a model, or into what surrounds it, and how the latter is taken back. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gt.models.state import LayerState

UNDO: list[Callable[[], None]] = []
"""Takes back what faults changed outside their model."""


def clear() -> None:
    """Take back what a fault changed outside its model, before another subject is loaded."""
    while UNDO:
        UNDO.pop()()


def replace(module: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a function of a module by around(function, *args, **kwargs), until `clear`."""
    clear()
    function = getattr(module, name)
    UNDO.append(lambda: setattr(module, name, function))
    setattr(module, name, lambda *args, **kwargs: around(function, *args, **kwargs))


def wrap(module: nn.Module, around: Callable[..., Any]) -> None:
    """Replace a module's forward by around(forward, *args, **kwargs)."""
    forward = module.forward
    module.forward = lambda *args, **kwargs: around(forward, *args, **kwargs)


def parts(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules of that name in every block that has one."""
    return [
        module for block in model.get_submodule("blocks").children() if (module := getattr(block, name)) is not None
    ]


def change_state(component: str, part: str, change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    """A fault that changes a part of the state that every mixer of a component hands out."""

    def plant_it(model: nn.Module) -> None:
        def around(forward: Any, x: Tensor, state: LayerState | None = None) -> Any:
            out, new_state = forward(x, state)
            return out, new_state | {part: change(new_state[part])}

        for mixer in parts(model, component):
            wrap(mixer, around)

    return plant_it
