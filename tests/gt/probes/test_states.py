"""State probes where a component goes wrong: NaN must never be passed over for a number."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gt.measurement import Measurement
from gt.models.state import ModelState
from gt.probes import compare, diagnostics, states


class FakeSubject:
    """A model that hands out the states it is given, whatever it reads."""

    trained_note = ""

    def __init__(self, rwkv: torch.Tensor, mamba: torch.Tensor) -> None:
        self._state = ModelState({"rwkv_state": rwkv, "mamba_state": mamba})

    def windows(self, count: int, length: int, *, apart: bool = False) -> torch.Tensor:
        return torch.zeros(count, length, dtype=torch.long)

    def model(self, tokens: torch.Tensor, return_states: bool) -> tuple[None, ModelState]:
        return None, self._state.select(slice(len(tokens)))

    trained_model = model


def healthy() -> torch.Tensor:
    return torch.randn(16, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("component", ["rwkv", "mamba"])
@pytest.mark.parametrize("probe", [states.health, states.evolution, states.contribution])
def test_nan_in_either_component_is_no_number(probe: Any, component: str) -> None:
    broken = healthy()
    broken[0, 0, 0, 0, 0] = torch.nan
    parts = {"rwkv": healthy(), "mamba": healthy(), component: broken}
    found: tuple[Measurement, ...] = probe(FakeSubject(**parts))
    assert any(m.value is None and component in m.note for m in found)


@pytest.mark.parametrize("probe", [states.evolution, states.contribution, diagnostics.collapse])
def test_every_estimate_has_its_interval(probe: Any) -> None:
    found: tuple[Measurement, ...] = probe(FakeSubject(healthy(), 3 * healthy().roll(1, dims=0)))
    assert found
    for one in found:
        assert one.value is not None
        assert one.ci95 is not None, one.metric
        assert one.ci95[0] < one.value < one.ci95[1]
        assert one.n in (8, 16)


def test_a_variance_and_its_interval_are_those_of_the_texts() -> None:
    """Of a standard normal the variance is 1, and over 16 texts of 96 numbers it is known to a few percent."""
    low, high = (one.ci95 for one in diagnostics.collapse(FakeSubject(healthy(), 3 * healthy())))
    assert low is not None
    assert high is not None
    assert low[0] < 1 < low[1]
    assert high[0] < 9 < high[1]
    assert low[1] - low[0] < 0.3


def test_nan_comes_before_every_number() -> None:
    values = {"a": 1.0, "b": float("nan"), "c": -1.0}
    assert compare.worst(values)[0] == compare.least(values)[0] == "b"
