"""What pictures show of states: their course along a text, and which of their dimensions live."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gt.models.state import ModelState
from gt.probes.compare import rounded
from gt.probes.recurrent import recurrent

COLUMNS = 128
"""Most columns of a picture of dimensions; where there are more, neighbours share one."""


class Course:
    """The course of the recurrent states along texts: mean over texts, by component and layer."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._before: dict[str, tuple[Tensor, Tensor]] = {}
        self._norms: dict[str, list[Any]] = {}
        self._cosines: dict[str, list[Any]] = {}

    def add(self, place: int, state: ModelState) -> None:
        """Look at the states [B, L, ...] at the next place."""
        self._places.append(place)
        for component, part in recurrent(state).items():
            rows_BLN = part.flatten(2)
            norms_BL = rows_BLN.norm(dim=-1)
            self._norms.setdefault(component, []).append(rounded(norms_BL.mean(0)))
            if component in self._before:
                before_BLN, before_BL = self._before[component]
                cosine_BL = torch.einsum("bln,bln->bl", rows_BLN, before_BLN) / (norms_BL * before_BL)
                self._cosines.setdefault(component, []).append(rounded(cosine_BL.mean(0), 4))
            self._before[component] = rows_BLN, norms_BL

    def detail(self) -> dict[str, Any]:
        """JSON: `places`, and by component `norm` [places][layers] and `cosine` with the place before, one row less."""
        return {
            "places": self._places,
            "components": {
                name: {"norm": norms, "cosine": self._cosines.get(name, [])} for name, norms in self._norms.items()
            },
        }


def live_dimensions(state: ModelState) -> dict[str, list[list[int | None]]]:
    """By how much each dimension of the states varies over texts, in percent of its mean square, by component.

    A dimension is a row of RWKV's matrices [K, V], a column of Mamba's [headdim, d_state], of every head; one that is
    0 holds the same whatever was read, or nothing.

    Args:
        state: After at least two different texts.

    Returns:
        [layers][columns], heads one after another; with more than 128 dimensions, neighbours share a column.
    """
    found: dict[str, list[list[int | None]]] = {}
    for component, part in recurrent(state).items():
        matrices = part.ndim > 3
        summed = -2 if component == "mamba" else -1
        variance, mean_square = part.var(dim=0), part.square().mean(0)
        by_layer = [of.mean(summed).flatten(1) if matrices else of.flatten(1) for of in (variance, mean_square)]
        columns = min(COLUMNS, by_layer[0].shape[1])
        of_variance, of_square = (F.adaptive_avg_pool1d(of, columns) for of in by_layer)
        share = torch.where(of_square == 0, 0.0, of_variance / of_square).clamp(max=1)
        found[component] = [
            [None if value != value else round(100 * value) for value in layer] for layer in share.tolist()
        ]
    return found
