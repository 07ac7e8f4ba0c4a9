"""Gradients, what a resumed run begins with, and what a training leaves behind.

Imports no torch until a fault is planted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gt.sabotage.planting import replace

if TYPE_CHECKING:
    from torch import nn


def reversed_gradient(model: nn.Module) -> None:
    """The optimiser climbs."""
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: -gradient)


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
