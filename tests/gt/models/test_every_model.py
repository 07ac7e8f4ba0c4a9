"""The one interface of all models: streaming, states, activations, precision, batches, for every variant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.models.build import build_model
from gt.models.config import state_shapes
from gt.models.state import ModelState

VOCAB = 61
every_model = pytest.mark.parametrize("variant", registry.VARIANTS)


def build(variant: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(registry.resolve(variant, "TINY").config(VOCAB)).eval()


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(length))


def same(one: ModelState, other: ModelState, atol: float = 0.0) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.allclose(tensor, other.tensors[name], rtol=0, atol=atol) for name, tensor in one.tensors.items()
    )


@every_model
@torch.no_grad()
def test_streaming_equals_the_parallel_form(variant: str) -> None:
    model, read = build(variant).double(), tokens(2, 41)
    whole, end = model(read, return_states=True)
    cuts = torch.randperm(40, generator=torch.Generator().manual_seed(3))[:4].add(1).sort().values.tolist()
    at_random = [b - a for a, b in zip([0, *cuts], [*cuts, 41], strict=True)]
    for sizes in ([1] * 41, [16, 1, 24], at_random):
        state, pieces = None, []
        for piece in read.split(sizes, dim=1):
            logits, state = model(piece, state=state, return_states=True)
            pieces.append(logits)
        assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-10)
        assert state is not None
        assert same(state, end, 1e-10)


@every_model
@torch.no_grad()
def test_the_last_logits_are_those_of_all(variant: str) -> None:
    model, read = build(variant), tokens(2, 9)
    whole, end = model(read, return_states=True)
    last, last_end = model(read, return_states=True, last_only=True)
    assert last.shape == (2, 1, VOCAB)
    assert torch.allclose(last, whole[:, -1:], atol=1e-6)
    assert same(last_end, end)


@every_model
@torch.no_grad()
def test_a_state_is_selected_joined_copied_moved_saved_and_restored(variant: str, tmp_path: Path) -> None:
    model, read, more = build(variant), tokens(3, 9), tokens(3, 4)
    _, state = model(read, return_states=True)
    expected = model(more, state=state)
    ways = {
        "select": ModelState.cat([state.select([0]), state.select(slice(1, 3))]),
        "merge": ModelState.merge([([2, 0], state.select([2, 0])), ([1], state.select([1]))]),
        "clone": state.clone(),
        "to": state.to("cpu"),
        "detach": state.detach(),
    }
    state.save(tmp_path / "state.safetensors")
    ways["restore"] = ModelState.restore(tmp_path / "state.safetensors")
    for way, other in ways.items():
        assert same(other, state), way
        assert torch.equal(model(more, state=other), expected), way
    swapped = model(more[[2, 0]], state=state.select([2, 0]))
    assert torch.allclose(swapped, expected[[2, 0]], atol=1e-5)
    before = state.clone()
    model(more, state=state)
    assert same(before, state), "a call changed the state that it continued from"


@every_model
@torch.no_grad()
def test_return_values_come_in_their_order(variant: str) -> None:
    model, read = build(variant), tokens(2, 5)
    logits = model(read)
    with_state, state = model(read, return_states=True)
    with_seen, seen = model(read, return_activations=True)
    all_three = model(read, return_states=True, return_activations=True)
    assert isinstance(state, ModelState)
    assert isinstance(all_three[1], ModelState)
    assert all(torch.equal(logits, other) for other in (with_state, with_seen, all_three[0]))
    layers, hidden = model.config.num_layers, model.config.hidden_size  # type: ignore[union-attr]
    mixers = registry.VARIANTS[variant].mixers
    assert seen.keys() == all_three[2].keys()
    assert seen.keys() - {"gate"} == {f"{mixer}_out" for mixer in mixers}
    assert all(seen[f"{mixer}_out"].shape == (2, layers, 5, hidden) for mixer in mixers)
    assert ("gate" in seen) == ("gate" in state) == (len(mixers) == 2 and variant != "CP")
    if "gate" in seen:
        assert seen["gate"].shape in ((2, layers, 5, 1), (2, layers, 5, hidden))
        assert float(state["gate"]) == pytest.approx(float(seen["gate"].mean()), abs=1e-6)


@every_model
@torch.no_grad()
def test_states_have_the_shapes_that_the_configuration_implies(variant: str) -> None:
    model = build(variant)
    _, state = model(tokens(3, 9), return_states=True)
    expected = {name: (3, *shape) for name, shape in state_shapes(model.config).items()}  # type: ignore[arg-type]
    if variant == "GPT2":
        expected = {"keys": (3, 4, 2, 9, 40), "values": (3, 4, 2, 9, 40), "lengths": (3, 4)}
    assert expected == {name: tuple(tensor.shape) for name, tensor in state.tensors.items()}
    assert all(state[name].dtype == torch.float32 for name in state if name.endswith("_state"))


@every_model
@torch.no_grad()
def test_bf16_stays_near_fp32_and_keeps_fp32_recurrent_states(variant: str) -> None:
    model, read = build(variant), tokens(2, 20)
    expected = model(read)
    logits, state = model.bfloat16()(read, return_states=True)
    assert logits.dtype == torch.bfloat16
    assert float((logits.float() - expected).abs().max()) < 0.1 * float(expected.abs().max())
    assert all(state[name].dtype == torch.float32 for name in state if name.endswith("_state"))
    assert torch.isfinite(model(read, state=state)).all()


@every_model
@torch.no_grad()
def test_a_row_alone_is_what_it_is_among_others(variant: str) -> None:
    model, read = build(variant).double(), tokens(4, 17)
    together = model(read)
    for row in range(4):
        assert torch.allclose(model(read[row : row + 1])[0], together[row], atol=1e-12)


@every_model
@torch.no_grad()
def test_no_token_is_refused_in_one_line(variant: str) -> None:
    model = build(variant)
    _, state = model(tokens(2, 3), return_states=True)
    for shape in ((2, 0), (0, 5), (4,)):
        with pytest.raises(ValueError, match=r"expected \[B, T\] with at least one token"):
            model(torch.zeros(shape, dtype=torch.long), state=state)


@every_model
def test_one_seed_gives_one_model(variant: str) -> None:
    for one, other in zip(build(variant).parameters(), build(variant).parameters(), strict=True):
        assert torch.equal(one, other)


@every_model
def test_the_head_is_the_embedding(variant: str) -> None:
    model = build(variant)
    assert not any("head" in key for key in model.state_dict())
    model(tokens(2, 6)).sum().backward()
    unseen = torch.ones(VOCAB, dtype=torch.bool)
    unseen[tokens(2, 6).flatten()] = False
    assert model.get_parameter("embedding.weight").grad[unseen].any()  # type: ignore[index]
