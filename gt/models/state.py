"""The state of a model: what it carries from one call to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

LayerState = dict[str, Tensor]
"""The state of one layer: name -> [B, ...]."""


class ModelState(Mapping[str, Tensor]):
    """State of every layer, stacked: name -> [B, L, ...]. What is in it is not to be changed in place.

    `rwkv_state` is [B, L, H, K, V], `mamba_state` [B, L, heads, headdim, d_state], both fp32; `rwkv_shift` [B, L, C]
    is the last token's input to the time mix, `ffn_shift` [B, L, C] that to the channel mix (published RWKV-6 alone),
    `mamba_conv` [B, L, conv_dim, W - 1] the convolution's last inputs.
    GPT-2 has `keys` and `values` [B, L, H, S, D] and the number of tokens behind each sequence, `lengths` [B, L]: its
    sequences need not be equally long, and what lies beyond a length is padding.
    `state["gate"]` is the mean RWKV share of the fusion in the call that returned the state (absent where there is
    none); it is a report, not a part of what continues.
    """

    __slots__ = ("_gate", "_layers", "_shares", "_tensors")

    def __init__(self, tensors: dict[str, Tensor], gate: Tensor | None = None) -> None:
        self._tensors: dict[str, Tensor] | None = tensors
        self._gate = gate
        self._layers: Sequence[LayerState] | None = None
        self._shares: Sequence[Tensor] = ()

    @classmethod
    def from_layers(cls, layers: Sequence[LayerState], shares: Sequence[Tensor] = ()) -> Self:
        """The states of all layers in order, and RWKV's share in the fusion of each layer that has one."""
        state = cls({})
        state._layers, state._tensors, state._shares = layers, None, shares
        return state

    @property
    def gate(self) -> Tensor | None:
        """Mean RWKV share, or None."""
        if self._gate is None and self._shares:
            self._gate = torch.stack([share.detach().float().mean() for share in self._shares]).mean()
        return self._gate

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What continues, without the gate: name -> [B, L, ...]."""
        if self._tensors is None:
            # Stacked when somebody looks: to a model that decodes, the copy would cost more than its own work.
            layers = self._layers or ()
            self._tensors = {name: torch.stack([layer[name] for layer in layers], dim=1) for name in layers[0]}
            self._layers = None  # one copy is enough
        return self._tensors

    def layer(self, index: int) -> LayerState:
        """The state of one layer: name -> [B, ...]."""
        if self._layers is not None:
            return self._layers[index]
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
        return next(iter(self.layer(0).values())).shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """A new state with a function applied to every tensor that continues (not to the gate)."""
        return type(self)({name: function(tensor) for name, tensor in self.tensors.items()}, self.gate)

    def select(self, rows: Sequence[int] | slice) -> Self:
        """The state of some sequences of the batch; the gate, a report, stays that of the whole batch."""
        index = rows if isinstance(rows, slice) else list(rows)
        if self._layers is None:
            return self.map(lambda tensor: tensor[index])
        # Not stacked for it: the model that goes on wants each layer's state in one piece.
        layers = [{name: tensor[index] for name, tensor in layer.items()} for layer in self._layers]
        return self.from_layers(layers, self._shares)

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

        Raises:
            ValueError: If the rows are not 0, 1, 2, ... in some order.
        """
        count = sum(len(rows) for rows, _ in parts)
        given = sorted(row for rows, _ in parts for row in rows)
        if given != list(range(count)):
            raise ValueError(f"{count} sequences are given the rows {given}: expected each of 0 to {count - 1} once")
        places = {row: (state, index) for rows, state in parts for index, row in enumerate(rows)}
        return cls.gather([places[row] for row in range(count)])

    @classmethod
    def gather(cls, rows: Sequence[tuple[Self, int]]) -> Self:
        """The states of some sequences, each a row of a state, copied once; padded as by `merge`."""
        if any(state._layers is None for state, _ in rows):
            return cls(_rows([(state.tensors, index) for state, index in rows]))
        by_layer = zip(*(state._layers or () for state, _ in rows), strict=True)
        return cls.from_layers([_rows([(one, i) for one, (_, i) in zip(own, rows, strict=True)]) for own in by_layer])

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


def _rows(rows: Sequence[tuple[Mapping[str, Tensor], int]]) -> dict[str, Tensor]:
    """One row of the tensors of each name together; where they differ in size, zeros are at the end."""
    found: dict[str, Tensor] = {}
    for name in rows[0][0]:
        own = [tensors[name][index] for tensors, index in rows]
        shapes = {tensor.shape for tensor in own}
        if len(shapes) == 1:
            found[name] = torch.stack(own)
            continue
        found[name] = own[0].new_zeros(len(own), *(max(sizes) for sizes in zip(*shapes, strict=True)))
        for place, tensor in zip(found[name], own, strict=True):
            place[tuple(map(slice, tensor.shape))] = tensor
    return found
