"""The recurrent states proper among what a model carries, read and replaced by component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gt.models.gpt2 import GPT2LM
from gt.models.hybrid import BlockLM
from gt.models.state import ModelState

if TYPE_CHECKING:
    from gt.subject import Subject

SUFFIX = "_state"


def names_by_component(state: ModelState) -> dict[str, str]:
    """Name of the recurrent state of each component, e.g. {"rwkv": "rwkv_state", "mamba": "mamba_state"}.

    In a model of the user's own they are the parts whose name ends as ours do, or all where none does.
    """
    names = [name for name in state.tensors if name.endswith(SUFFIX)] or list(state.tensors)
    return {name.removesuffix(SUFFIX): name for name in names}


def recurrent(state: ModelState) -> dict[str, Tensor]:
    """The recurrent states in fp64, by component: {"rwkv": [B, L, ...], "mamba": [B, L, ...]}."""
    parts = {component: state[name].double() for component, name in names_by_component(state).items()}
    return {component: part[:, None] if part.ndim == 2 else part for component, part in parts.items()}


def norms(state: ModelState) -> dict[str, Tensor]:
    """Norm of each sequence's recurrent state over all layers [B], by component."""
    return {component: part.flatten(1).norm(dim=-1) for component, part in recurrent(state).items()}


def replaced(state: ModelState, parts: dict[str, Tensor]) -> ModelState:
    """The state with some of its tensors replaced, by name."""
    return ModelState({**state.tensors, **parts})


def reading_options(model: torch.nn.Module) -> dict[str, bool]:
    """What spares a model the logits that nobody looks at; a model of the user's own need not know it."""
    return {"last_only": True} if isinstance(model, BlockLM | GPT2LM) else {}


@torch.no_grad()
def final_state(subject: Subject, windows_BT: Tensor, trained: bool = False) -> ModelState:
    """State after each window, of the model under test or of the one whose contribution is judged."""
    model = subject.trained_model if trained else subject.model
    state: ModelState = model(windows_BT, return_states=True, **reading_options(model))[1]
    return state
