from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gt.drift.weights import Weights, place, weight_drift, weights_of
from gt.models.build import build_model
from gt.models.config import ModelConfig

SMALL = ModelConfig(
    variant="T", scale="small", vocab_size=64, num_layers=2, hidden_size=64, num_heads=2, d_state=16, mamba_head_dim=32
)
WIDE = ModelConfig(
    variant="T", scale="wide", vocab_size=64, num_layers=2, hidden_size=128, num_heads=4, d_state=16, mamba_head_dim=32
)
DEEP = ModelConfig(
    variant="T", scale="deep", vocab_size=64, num_layers=4, hidden_size=64, num_heads=2, d_state=16, mamba_head_dim=32
)


def fresh(config: ModelConfig, seed: int) -> Weights:
    torch.manual_seed(seed)
    return {name: tensor.clone() for name, tensor in build_model(config).state_dict().items()}


def expanded(small: Weights, config: ModelConfig, layers: dict[int, int], seed: int = 9) -> Weights:
    """A larger model whose leading blocks are the smaller one's; each part of Mamba-2's projection in its own place."""
    large = fresh(config, seed)
    for name, tensor in small.items():
        layer = place(name)[0]
        target = large[name if layer is None else name.replace(f".{layer}.", f".{layers[layer]}.", 1)]
        if name.endswith(("mamba.in_proj.weight", "mamba.conv1d.weight", "mamba.conv1d.bias")):
            projected = "in_proj" in name
            sizes = [
                [c.d_inner] * (1 + projected) + [c.d_state, c.d_state] + [c.mamba_heads] * projected
                for c in (SMALL, config)
            ]
            parts = zip(tensor.split(sizes[0]), target.split(sizes[1]), strict=True)
        else:
            parts = zip([tensor], [target], strict=True)
        for mine, theirs in parts:
            theirs[tuple(map(slice, mine.shape))] = mine
    return large


def test_the_same_weights_have_not_moved() -> None:
    weights = fresh(SMALL, 0)
    drift = weight_drift(weights, weights, (SMALL, SMALL))
    assert {one.moved for one in drift.tensors} == {0.0}
    assert drift.related == drift.judged > 10
    assert not drift.missing
    assert not drift.added
    assert drift.resized == 0


def test_what_moved_is_found_and_how_far() -> None:
    first = fresh(SMALL, 0)
    second = {name: tensor.clone() for name, tensor in first.items()}
    second["blocks.1.rwkv.key.weight"] *= 1.5
    second["embedding.weight"] += 0.1 * second["embedding.weight"].norm() / 64**0.5 / 64**0.5
    drift = weight_drift(first, second, (SMALL, SMALL))
    assert [one.name for one in drift.tensors[:2]] == ["blocks.1.rwkv.key.weight", "embedding.weight"]
    assert drift.tensors[0].relative == pytest.approx(0.5)
    assert drift.tensors[0].cosine == pytest.approx(1)
    assert drift.tensors[1].relative == pytest.approx(0.1, rel=1e-4)
    moved = {(one.layer, one.component) for one in drift.layers if one.relative}
    assert moved == {(1, "rwkv")}
    (rwkv,) = [one for one in drift.components if one.component == "rwkv"]
    of_rwkv = [tensor for name, tensor in first.items() if ".rwkv." in name]
    expected = 0.5 * first["blocks.1.rwkv.key.weight"].norm() / torch.cat([t.flatten() for t in of_rwkv]).norm()
    assert rwkv.relative == pytest.approx(float(expected), rel=1e-5)
    assert rwkv.cosine is not None
    assert 0.9 < rwkv.cosine < 1


@pytest.mark.parametrize("other", [SMALL, WIDE, DEEP])
def test_two_seeds_share_nothing(other: ModelConfig) -> None:
    drift = weight_drift(fresh(SMALL, 0), fresh(other, 1), (SMALL, other))
    assert drift.judged > 10
    assert drift.related == 0
    assert drift.matched_layers in ({}, {0: 0, 1: 1})


@pytest.mark.parametrize(("config", "layers"), [(WIDE, {0: 0, 1: 1}), (DEEP, {0: 0, 1: 2}), (DEEP, {0: 1, 1: 3})])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_expansion_is_told_from_fresh_training(config: ModelConfig, layers: dict[int, int], swapped: bool) -> None:
    small = fresh(SMALL, 0)
    large = expanded(small, config, layers)
    for tensor in large.values():  # trained on: everything moved by as much as it was long, half of it in any direction
        tensor += 0.5 * tensor.norm() / tensor.numel() ** 0.5 * torch.randn_like(tensor)
    pair, configs = [small, large], [SMALL, config]
    if swapped:
        pair.reverse()
        configs.reverse()
    drift = weight_drift(pair[0], pair[1], (configs[0], configs[1]))
    assert drift.related == drift.judged > 10
    if config is DEEP:
        assert drift.matched_layers == ({other: one for one, other in layers.items()} if swapped else layers)
    else:
        assert drift.resized > 10
        (dt,) = [one for one in drift.tensors if one.name == "blocks.0.mamba.in_proj.weight[dt]"]
        assert dt.block == (SMALL.mamba_heads, SMALL.hidden_size)


def test_without_configurations_stacked_parts_hide_what_is_kept() -> None:
    small = fresh(SMALL, 0)
    large = expanded(small, WIDE, {0: 0, 1: 1})
    blind, told = weight_drift(small, large), weight_drift(small, large, (SMALL, WIDE))
    cosines = [min(one.cosine or 0 for one in drift.tensors if "in_proj" in one.name) for drift in (blind, told)]
    assert cosines[0] < 0.95
    assert cosines[1] == pytest.approx(1)


def test_names_that_do_not_match_are_said() -> None:
    first, second = fresh(SMALL, 0), fresh(SMALL, 0)
    second["norm.gain"] = second.pop("norm.weight")
    second["blocks.0.rwkv.time_decay"] = second["blocks.0.rwkv.time_decay"].flatten()
    drift = weight_drift(first, second, (SMALL, SMALL))
    assert drift.missing == ("blocks.0.rwkv.time_decay", "norm.weight")
    assert drift.added == ("norm.gain",)


def test_rows_of_another_tokenizer_are_left_out() -> None:
    drift = weight_drift(fresh(SMALL, 0), fresh(SMALL, 0), (SMALL, SMALL), same_tokens=False)
    assert drift.skipped == {"embedding.weight": "its rows are other tokens"}
    assert "embedding" not in {one.component for one in drift.components}


def test_a_tensor_of_zeros_has_no_direction() -> None:
    drift = weight_drift({"a.weight": torch.zeros(64, 64)}, {"a.weight": torch.ones(64, 64)})
    (one,) = drift.tensors
    assert (one.relative, one.cosine, one.origin) == (None, None, "unknown")


def test_places() -> None:
    assert place("blocks.3.rwkv.key.weight") == (3, "rwkv")
    assert place("blocks.3.mix_norm.weight") == (3, "norms")
    assert place("embedding.weight") == (None, "embedding")
    assert place("model.layers.11.self_attn.q_proj.weight") == (11, "self_attn")


@pytest.mark.parametrize("content", [None, b"nothing"])
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="no weights at" if content is None else "cannot be read"):
        weights_of(path)
