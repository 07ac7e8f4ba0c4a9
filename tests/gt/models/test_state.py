"""The state as a thing of its own."""

from __future__ import annotations

import pytest
import torch

from gt.models.state import ModelState


@pytest.fixture
def state() -> ModelState:
    layers = [{"rwkv_state": torch.randn(3, 2, 4, 4), "rwkv_shift": torch.randn(3, 8)} for _ in range(5)]
    return ModelState.from_layers(layers, gate=torch.tensor(0.3))


def test_layers_are_stacked_after_the_batch(state: ModelState) -> None:
    assert state["rwkv_state"].shape == (3, 5, 2, 4, 4)
    assert state["rwkv_shift"].shape == (3, 5, 8)
    assert torch.equal(state.layer(2)["rwkv_shift"], state["rwkv_shift"][:, 2])
    assert state.batch_size == 3


def test_it_is_a_mapping_with_the_gate(state: ModelState) -> None:
    assert list(state) == ["rwkv_state", "rwkv_shift", "gate"]
    assert len(state) == 3
    assert float(state["gate"]) == pytest.approx(0.3)
    assert dict(state).keys() == {"rwkv_state", "rwkv_shift", "gate"}
    with pytest.raises(KeyError):
        state["mamba_state"]


def test_without_a_gate_there_is_no_gate(state: ModelState) -> None:
    alone = ModelState(state.tensors)
    assert "gate" not in alone
    assert len(alone) == 2
    with pytest.raises(KeyError):
        alone["gate"]


def test_select_takes_rows_in_any_order(state: ModelState) -> None:
    assert torch.equal(state.select([2, 0])["rwkv_shift"], state["rwkv_shift"][[2, 0]])
    assert torch.equal(state.select(slice(1, 3))["rwkv_state"], state["rwkv_state"][1:])
    assert state.select([1]).batch_size == 1


def test_cat_undoes_select(state: ModelState) -> None:
    joined = ModelState.cat([state.select([0]), state.select([1, 2])])
    assert all(torch.equal(joined[name], state[name]) for name in state.tensors)


def test_a_clone_shares_no_memory(state: ModelState) -> None:
    copy = state.clone()
    copy["rwkv_shift"].zero_()
    assert state["rwkv_shift"].any()


def test_detach_and_to_keep_the_values(state: ModelState) -> None:
    grown = state.map(lambda tensor: tensor.requires_grad_() * 1.0)
    assert grown["rwkv_state"].requires_grad
    assert not grown.detach()["rwkv_state"].requires_grad
    moved = state.to("cpu")
    assert torch.equal(moved["rwkv_state"], state["rwkv_state"])
    assert state.to("meta")["rwkv_state"].device.type == "meta"


def test_a_state_cannot_be_changed_in_place(state: ModelState) -> None:
    with pytest.raises(AttributeError):
        state.gate = None  # type: ignore[misc]
    with pytest.raises(TypeError):
        state["rwkv_state"] = torch.zeros(1)  # type: ignore[index]
