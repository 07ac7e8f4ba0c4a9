"""The state of a model: what it carries from one call to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

LayerState = dict[str, Tensor]
"""The state of one layer: name -> [B, ...]."""


@dataclass(frozen=True, slots=True)
class ModelState(Mapping[str, Tensor]):
    """State of every layer, stacked: name -> [B, L, ...].

    `rwkv_state` is [B, L, H, K, V], `mamba_state` [B, L, heads, headdim, d_state], both fp32; `rwkv_shift` [B, L, C]
    is the last token's input to the time mix, `mamba_conv` [B, L, conv_dim, W - 1] the convolution's last inputs.
    GPT-2 has `keys` and `values` [B, L, H, S, D] and the number of tokens behind each sequence, `lengths` [B, L]: its
    sequences need not be equally long, and what lies beyond a length is padding.
    `state["gate"]` is the mean RWKV share of the fusion in the call that returned the state (absent where there is
    none); it is a report, not a part of what continues.
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
        ends = accumulate(state.batch_size for state in states)
        return cls.merge([(range(end - state.batch_size, end), state) for end, state in zip(ends, states, strict=True)])

    @classmethod
    def merge(cls, parts: Sequence[tuple[Sequence[int], Self]]) -> Self:
        """Put states together, each with the rows of the batch that its sequences shall be.

        A part of the state that has grown to different lengths (a cache) is padded with zeros at its end.
        """
        count = sum(len(rows) for rows, _ in parts)
        tensors: dict[str, Tensor] = {}
        for name, first in parts[0][1].tensors.items():
            shapes = {state.tensors[name].shape[1:] for _, state in parts}
            shape = [max(sizes) for sizes in zip(*shapes, strict=True)]
            tensors[name] = first.new_empty(count, *shape) if len(shapes) == 1 else first.new_zeros(count, *shape)
            for rows, state in parts:
                tensor = state.tensors[name]
                places: tuple[list[int] | slice, ...] = (list(rows), *(slice(size) for size in tensor.shape[1:]))
                tensors[name][places] = tensor
        return cls(tensors)

    def save(self, path: Path | str) -> None:
        """Write the state to a safetensors file; the gate, which is a report, is left out."""
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}, path)

    @classmethod
    def restore(cls, path: Path | str, device: torch.device | str = "cpu") -> Self:
        """Read a state that `save` wrote.

        Raises:
            ValueError: If the file is no safetensors file.
        """
        try:
            return cls(load_file(path, device=str(device)))
        except SafetensorError as error:
            raise ValueError(f"{path} holds no state ({error}): expected a file that ModelState.save wrote") from error
