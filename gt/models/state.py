"""The recurrent state of a model: what it carries from one call to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

LayerState = dict[str, Tensor]
"""The state of one layer: name -> [B, ...]."""


@dataclass(frozen=True, slots=True)
class ModelState(Mapping[str, Tensor]):
    """State of every layer, stacked: name -> [B, L, ...].

    `rwkv_state` is [B, L, H, K, V], `mamba_state` [B, L, heads, headdim, d_state], both fp32; `rwkv_shift` [B, L, C]
    is the last token's input to the time mix, `mamba_conv` [B, L, conv_dim, W - 1] the convolution's last inputs.
    `state["gate"]` is the mean RWKV share of the fusion in the call that returned the state (absent with one mixer);
    it is a report, not a part of what continues.
    """

    tensors: dict[str, Tensor]
    gate: Tensor | None = None

    @classmethod
    def from_layers(cls, layers: Sequence[LayerState], gate: Tensor | None = None) -> Self:
        """Stack the states of all layers."""
        return cls({name: torch.stack([layer[name] for layer in layers], dim=1) for name in layers[0]}, gate)

    def layer(self, index: int) -> LayerState:
        """The state of one layer, as views."""
        return {name: tensor[:, index] for name, tensor in self.tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        if name == "gate" and self.gate is not None:
            return self.gate
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.tensors
        if self.gate is not None:
            yield "gate"

    def __len__(self) -> int:
        return len(self.tensors) + (self.gate is not None)

    @property
    def batch_size(self) -> int:
        """Number of sequences."""
        return next(iter(self.tensors.values())).shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """A new state with a function applied to every tensor that continues (not to the gate)."""
        return type(self)({name: function(tensor) for name, tensor in self.tensors.items()}, self.gate)

    def select(self, rows: Sequence[int] | slice) -> Self:
        """The state of some sequences of the batch."""
        index = rows if isinstance(rows, slice) else list(rows)
        return self.map(lambda tensor: tensor[index])

    def clone(self) -> Self:
        """A copy that shares no memory."""
        return self.map(Tensor.clone)

    def detach(self) -> Self:
        """The same values, cut from the graph."""
        return self.map(Tensor.detach)

    def to(self, device: torch.device | str) -> Self:
        """The same state on another device."""
        return self.map(lambda tensor: tensor.to(device))

    @classmethod
    def cat(cls, states: Sequence[Self]) -> Self:
        """Join states along the batch."""
        return cls({name: torch.cat([state.tensors[name] for state in states]) for name in states[0].tensors})
