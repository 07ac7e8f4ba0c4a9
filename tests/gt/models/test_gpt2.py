"""GPT-2: attention against its formula, caches of unequal length, its limit, its initialisation."""

from __future__ import annotations

import math

import pytest
import torch

from gt import registry
from gt.models.build import build_model
from gt.models.gpt2 import GPT2LM, Attention
from gt.models.state import ModelState


@pytest.fixture
def model() -> GPT2LM:
    torch.manual_seed(0)
    made = build_model(registry.resolve("GPT2@TINY").config(61))
    assert isinstance(made, GPT2LM)
    return made.double().requires_grad_(False)


def test_attention_is_softmax_of_the_scaled_products() -> None:
    torch.manual_seed(0)
    attention, x = Attention(8, 2).double(), torch.randn(1, 5, 8, dtype=torch.float64)
    q, k, v = (t.view(5, 2, 4) for t in attention.qkv(x)[0].chunk(3, dim=-1))
    rows = []
    for t in range(5):
        weights = torch.einsum("hd,shd->hs", q[t], k[: t + 1]).div(math.sqrt(4)).softmax(-1)
        rows.append(torch.einsum("hs,shd->hd", weights, v[: t + 1]).flatten())
    out, state = attention(x, torch.arange(5)[None], 5, None)
    assert torch.allclose(out[0], attention.out(torch.stack(rows)), atol=1e-12)
    assert torch.equal(state["keys"][0].transpose(0, 1), k)


def test_sequences_of_unequal_length_go_on_side_by_side(model: GPT2LM) -> None:
    torch.manual_seed(1)
    texts = [torch.randint(61, (1, length)) for length in (3, 11, 7)]
    more, again = torch.randint(61, (3, 5)), torch.randint(61, (3, 2))
    states = [model(text, return_states=True)[1] for text in texts]
    joined = ModelState.cat(states)
    assert joined["keys"].shape[3] == 11
    assert joined["lengths"][:, 0].tolist() == [3, 11, 7]
    logits, state = model(more, state=joined, return_states=True)
    logits = torch.cat([logits, model(again, state=state.select([0, 1, 2]))], dim=1)
    for row, text in enumerate(texts):
        whole = model(torch.cat([text, more[row : row + 1], again[row : row + 1]], dim=1))
        assert torch.allclose(logits[row], whole[0, text.shape[1] :], atol=1e-10)
    # A short sequence taken out of the batch leaves the padding behind.
    alone, short = model(again[:1], state=state.select([0]), return_states=True)
    assert short["keys"].shape[3] == 10
    assert torch.allclose(alone[0], logits[0, 5:], atol=1e-10)


def test_a_text_beyond_the_positions_says_where_they_end(model: GPT2LM) -> None:
    tokens = torch.zeros(1, 512, dtype=torch.long)
    _, state = model(tokens, return_states=True)
    with pytest.raises(ValueError, match="text of 513 tokens, but GPT2@TINY has learned 512 positions"):
        model(tokens[:, :1], state=state)
    with pytest.raises(ValueError, match="text of 600 tokens"):
        model(torch.zeros(1, 600, dtype=torch.long))


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    model = build_model(registry.resolve("GPT2@3.5M").config(512))
    for name, parameter in model.named_parameters():
        std = float(parameter.detach().std()) if parameter.ndim > 1 else None
        if name.endswith(("out.weight", "down.weight")):
            assert std == pytest.approx(0.02 / math.sqrt(2 * 9), rel=0.05), name
        elif parameter.ndim > 1:
            assert std == pytest.approx(0.02, rel=0.05), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            assert (parameter == 1).all(), name
