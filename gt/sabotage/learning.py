"""Gradients, steps and labels, the tokens of a text, what a resumed run begins with, and what a training leaves behind.

Imports no torch until a fault is planted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gt.sabotage.planting import replace

if TYPE_CHECKING:
    from torch import nn


def scaled_gradient(factor: float) -> Callable[[nn.Module], None]:
    """Every gradient is multiplied: by -1 the optimiser climbs, by 100 every step is clipped."""

    def plant_it(model: nn.Module) -> None:
        for parameter in model.parameters():
            parameter.register_hook(lambda gradient: factor * gradient)

    return plant_it


def large_steps(model: nn.Module) -> None:
    """The model is whole; the learning rate of the checks is 100 times what it should be."""
    from gt.training import mini

    replace(mini, "PlainAdamW", lambda make, built, lr: make(built, 100 * lr))


def shifted_labels(model: nn.Module) -> None:
    """The model is whole; in training it is to say the token that it has just read."""
    from torch.nn import functional as F

    from gt.training import optim

    def around(loss: Any, learner: nn.Module, tokens_BT: Any, weights_BT: Any = None) -> Any:
        return F.cross_entropy(learner(tokens_BT[:, :-1]).flatten(0, 1), tokens_BT[:, :-1].flatten())

    replace(optim, "next_token_loss", around)


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


def other_tokenizer(model: nn.Module) -> None:
    """The model is whole; text comes to it character by character, as from a tokenizer without merges."""
    from gt.tokenizers import Tokenizer

    def around(encode: Any, tokenizer: Any, documents: Any) -> Any:
        known: dict[str, list[int]] = {}
        for character in sorted(set("".join(documents))):
            known[character] = tokenizer.encode(character)
        return [one for document in documents for character in document for one in known[character]]

    replace(Tokenizer, "encode_documents", around)


def leaked_validation(model: nn.Module) -> None:
    """The model is whole; all text that it was validated on was in its training text."""
    from gt.probes import training_runs

    replace(training_runs, "read_training", lambda read, path: {**read(path), "leaked_share": 1.0})
