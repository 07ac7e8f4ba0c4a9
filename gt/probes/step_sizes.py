"""What the cost of a training step is made of: of our models by their configuration, of any other by the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from gt.bench.memory import predict
from gt.kernels import BACKENDS, resolve
from gt.models.config import ModelConfig, flops_per_token, parameter_counts
from gt.training.optim import next_token_loss
from gt.user_models import UserModel

if TYPE_CHECKING:
    from gt.subject import Subject

Kind = ModelConfig | UserModel
"""A model at a scale, as it can be built."""


class Cell(msgspec.Struct, frozen=True):
    """A model of ours and a number of sequences whose training step is timed."""

    config: ModelConfig
    batch: int

    def costs(self, length: int) -> list[float]:
        """What the time of a step is made of, a term for each coefficient that is fitted.

        The step itself, operations of each layer, numbers that go through memory for each token, arithmetic, and
        parameters to update.
        """
        config, tokens = self.config, self.batch * length
        return [
            1.0,
            float(config.num_layers),
            float(tokens * config.num_layers * config.hidden_size),
            float(tokens * flops_per_token(config)),
            float(parameter_counts(config)[0]),
        ]

    def build(self, subject: Subject) -> nn.Module:
        """A new model of these sizes."""
        return subject.build_as(self.config)

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return self.config.vocab_size

    @property
    def told(self) -> dict[str, int | str]:
        """Its sizes, for the record."""
        return {"layers": self.config.num_layers, "hidden": self.config.hidden_size, "batch": self.batch}


class Sizes(msgspec.Struct, frozen=True):
    """What can be read from any module: tensors of parameters, numbers in them, and those that every token meets."""

    tensors: int
    params: int
    multiplied: int


class OwnCell(msgspec.Struct, frozen=True):
    """A model of the user's own, built for a vocabulary, and a number of sequences whose training step is timed."""

    model: UserModel
    vocab_size: int
    batch: int
    sizes: Sizes

    def costs(self, length: int) -> list[float]:
        """What the time of a step is made of, a term for each coefficient that is fitted.

        Operations of each part, parameters to update, numbers of each part that go through memory for each token, and
        arithmetic. How many layers there are and how wide is not known: tensors of parameters stand for parts.
        """
        tokens, sizes = self.batch * length, self.sizes
        terms = (sizes.tensors, sizes.params, tokens * sizes.tensors, tokens * sizes.multiplied)
        return [float(term) for term in terms]

    def build(self, subject: Subject) -> nn.Module:
        """A new model of these sizes."""
        return subject.build_as(self.model, self.vocab_size)

    @property
    def told(self) -> dict[str, int | str]:
        """Its sizes, for the record."""
        return {"scale": self.model.scale, "vocab_size": self.vocab_size, "batch": self.batch}


def sizes_of(model: nn.Module) -> Sizes:
    """The sizes of a module. A table that is looked up and not also a head is met by one row for each token."""
    users: dict[nn.Parameter, set[bool]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            users.setdefault(parameter, set()).add(isinstance(module, nn.Embedding))
    return Sizes(
        tensors=len(users),
        params=sum(parameter.numel() for parameter in users),
        multiplied=sum(parameter.numel() for parameter, looked_up in users.items() if False in looked_up),
    )


def peak_of_step(subject: Subject, kind: Kind, batch: int, length: int) -> int:
    """Bytes at the peak of a training step with AdamW in fp32, from the formula of `gt.bench.memory`.

    Where it does not cover the kind of model, what one sequence leaves for the backward pass is counted instead (what
    autograd saves, each storage once, parameters not): with P bytes of parameters, A of these for the batch (logits
    included), L of logits and h gradients at a time, 3 P and the larger of A + L and h P, as there.
    """
    halves = subject.device.type == "cpu"
    if isinstance(kind, ModelConfig):
        backends = {op: resolve(op, subject.device.type).backend.name for op in BACKENDS}
        threads = torch.get_num_threads()
        found = predict(kind, batch, length, "float32", backends, halves=halves, whole=True, threads=threads)
        if found is not None:
            return found.peak
    model = subject.build_as(kind)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens_BT = torch.zeros(1, length + 1, dtype=torch.long, device=subject.device)
    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
        loss = next_token_loss(model, tokens_BT)  # what is saved lives as long as the loss does
    parameters, logits = 4 * sizes_of(model).params, 4 * batch * length * subject.vocab_size
    del loss
    gradients = 2 if halves and batch > 1 and getattr(model, "thread_safe", False) else 1
    return 3 * parameters + max(batch * sum(kept.values()) + logits, gradients * parameters)
