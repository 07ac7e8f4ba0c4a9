"""The state as a thing of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gt.models.state import ModelState


@pytest.fixture
def state() -> ModelState:
    layers = [{"rwkv_state": torch.randn(3, 2, 4, 4), "rwkv_shift": torch.randn(3, 8)} for _ in range(5)]
    return ModelState.from_layers(layers, [torch.tensor(0.3)])


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


def test_what_was_saved_is_restored(state: ModelState, tmp_path: Path) -> None:
    turned = ModelState({name: tensor.transpose(0, -1) for name, tensor in state.tensors.items()}, state.gate)
    for one in (state, turned, state.map(torch.Tensor.bfloat16), ModelState({"lengths": torch.tensor([[3, 3]])})):
        one.save(tmp_path / "state.safetensors")
        back = ModelState.restore(tmp_path / "state.safetensors")
        assert back.gate is None
        assert back.tensors.keys() == one.tensors.keys()
        assert all(torch.equal(back[name], one[name]) for name in one.tensors)
        assert all(back[name].dtype == one[name].dtype for name in one.tensors)


def test_a_file_that_holds_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"holds no state .* expected a file that ModelState\.save wrote"):
        ModelState.restore(tmp_path / "state.safetensors")


def test_merge_puts_every_sequence_at_its_row(state: ModelState) -> None:
    merged = ModelState.merge([([2, 0], state.select([0, 1])), ([1], state.select([2]))])
    assert torch.equal(merged["rwkv_shift"], state["rwkv_shift"][[1, 2, 0]])
    assert merged.gate is None


def test_caches_of_different_lengths_are_padded_with_zeros() -> None:
    short, long = (ModelState({"keys": torch.ones(1, 2, 3, length, 4)}) for length in (2, 5))
    joined = ModelState.cat([short, long])["keys"]
    assert joined.shape == (2, 2, 3, 5, 4)
    assert joined[0, :, :, :2].all()
    assert not joined[0, :, :, 2:].any()
    assert joined[1].all()


def test_merged_rows_are_each_given_once(state: ModelState) -> None:
    for rows in ([0, 2, 3], [0, 0, 1], [1, 2, 3]):
        with pytest.raises(ValueError, match="once"):
            ModelState.merge([(rows, state)])
