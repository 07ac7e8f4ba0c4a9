"""Published weights on disk: every kind of file gives the golden logits, and what is wrong is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gt.models.published import PublishedLM
from gt.models.published_config import PublishedMamba2, PublishedRWKV6, official_name
from gt.pretrained import find_tokenizer, inspect_published, load_published, weight_files
from tests.golden import relmax, tensors
from tests.gt.models.test_published import CONFIGS, MAMBA2, RWKV6

LOGITS = 3e-5

Weights = dict[str, Tensor]


def golden(name: str) -> Weights:
    return {key: value.clone() for key, value in tensors(name).items() if not key.startswith("golden.")}


def mamba_ssm(weights: Weights) -> Weights:
    return {key.replace("backbone.embeddings", "backbone.embedding"): value for key, value in weights.items()}


def save(weights: Weights, path: Path) -> Path:
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return path


def refusal(kind: str, path: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the callers look at the message
        inspect_published(kind, path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@torch.no_grad()
def error(model: PublishedLM, name: str) -> float:
    data = tensors(name)
    return float((model(data["golden.input_ids"]).double() - data["golden.logits"].double()).abs().max())


def loaded(kind: str, path: Path) -> PublishedLM:
    model = load_published(inspect_published(kind, path), path)
    assert not model.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())
    return model


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_rwkv6_loads_as_its_authors_save_it(tmp_path: Path, suffix: str, folder: bool) -> None:
    path = save(golden("rwkv6_model"), tmp_path / f"RWKV-x060{suffix}")
    path = tmp_path if folder else path
    assert inspect_published("rwkv6", path) == RWKV6
    assert error(loaded("rwkv6", path), "rwkv6_model") <= LOGITS


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("rename", [dict, mamba_ssm], ids=["transformers", "mamba_ssm"])
def test_mamba2_loads_under_both_names(tmp_path: Path, rename: Any, file: str) -> None:
    path = save(rename(golden("mamba2_model")), tmp_path / file)
    for one in (path, tmp_path):
        assert inspect_published("mamba2", one) == MAMBA2
        assert error(loaded("mamba2", one), "mamba2_model") <= LOGITS


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_shards_load(tmp_path: Path, file: str) -> None:
    weights = golden("mamba2_model")
    names = sorted(weights)
    index = {}
    for number, part in enumerate((names[::2], names[1::2])):
        shard = save({name: weights[name] for name in part}, tmp_path / file.replace(".", f"-{number}."))
        index |= dict.fromkeys(part, shard.name)
    (tmp_path / f"{file}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    assert inspect_published("mamba2", tmp_path) == MAMBA2
    assert len(weight_files(tmp_path)) == 2
    assert error(loaded("mamba2", tmp_path), "mamba2_model") <= LOGITS
    shard.unlink()
    assert f"lacks 1 of 2 shards ({shard.name})" in refusal("mamba2", tmp_path)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../b.bin"}}'])
def test_a_broken_index_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert "copy it again" in refusal("mamba2", tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loads_as_fp32(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in golden("rwkv6_model").items()}
    model = loaded("rwkv6", save(weights, tmp_path / "weights.pth"))
    assert torch.equal(model.get_parameter("blocks.1.ffn.key.weight"), weights["blocks.1.ffn.key.weight"].float())
    assert 0 < error(model, "rwkv6_model") < 1


@pytest.mark.parametrize("name", ["rwkv6 of the rank of the 7B", "mamba2 tied in groups"])
def test_other_shapes_come_back(tmp_path: Path, name: str) -> None:
    config = CONFIGS[name]
    torch.manual_seed(0)
    model = PublishedLM(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    naming: Any = "rwkv6" if config.kind == "rwkv6" else "mamba_ssm"
    weights = {official_name(key, naming): value for key, value in model.state_dict().items()}
    path = save(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 48, "ssm_cfg": {"layer": "Mamba2", "ngroups": 4}}))
    assert inspect_published(config.kind, path) == config
    tokens = torch.randint(config.vocab_size, (2, 11))
    with torch.no_grad():
        assert torch.allclose(loaded(config.kind, path)(tokens), model(tokens), atol=1e-6)


def tied_weights() -> Weights:
    weights = mamba_ssm(golden("mamba2_model"))
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    return weights


@pytest.mark.parametrize(
    ("config", "tied"),
    [
        (None, False),
        ({"d_model": 64, "tie_embeddings": True}, True),
        ({"d_model": 64}, True),
        ({"d_model": 64, "tie_embeddings": False}, False),
        ({"model_type": "mamba2", "tie_word_embeddings": True}, True),
        ({"model_type": "mamba2"}, False),
    ],
    ids=str,
)
def test_a_stored_head_is_the_embedding_if_the_settings_say_so(
    tmp_path: Path, config: dict[str, Any] | None, tied: bool
) -> None:
    path = save(tied_weights(), tmp_path / "pytorch_model.bin")
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    found = inspect_published("mamba2", path)
    assert isinstance(found, PublishedMamba2)
    assert found.tied is tied
    model = loaded("mamba2", path)
    assert ("head.weight" in model.state_dict()) is not tied
    head = model.embedding.weight if model.head is None else model.head.weight
    assert torch.equal(head, tied_weights()["lm_head.weight"])


def test_a_head_that_is_missing_is_the_embedding(tmp_path: Path) -> None:
    weights = tied_weights()
    del weights["lm_head.weight"]
    found = inspect_published("mamba2", save(weights, tmp_path / "model.safetensors"))
    assert isinstance(found, PublishedMamba2)
    assert found.tied


def test_a_tied_head_that_differs_is_refused(tmp_path: Path) -> None:
    path = save(mamba_ssm(golden("mamba2_model")), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"d_model": 64}')
    with pytest.raises(ValueError, match=r"tied embeddings, but lm_head\.weight differs"):
        load_published(inspect_published("mamba2", path), path)


def test_what_is_missing_and_unknown_is_named_and_counted(tmp_path: Path) -> None:
    weights = golden("rwkv6_model")
    for name in [name for name in weights if name.startswith("blocks.1.ffn.")]:
        del weights[name]
    weights |= {"blocks.0.att.time_mix_k": torch.zeros(1), "pos_emb": torch.zeros(1)}
    text = refusal("rwkv6", save(weights, tmp_path / "x.pth"))
    assert "is no RWKV-6 x060 language model" in text
    listed = "blocks.1.ffn.key.weight, blocks.1.ffn.receptance.weight, blocks.1.ffn.time_maa_k, ..."
    assert f"lacks 5 tensors ({listed})" in text
    assert "has 2 unknown tensors (blocks.0.att.time_mix_k, pos_emb)" in text


def test_a_missing_layer_and_another_model_are_refused(tmp_path: Path) -> None:
    weights = golden("mamba2_model")
    renamed = {name.replace("layers.1.", "layers.3."): value for name, value in weights.items()}
    text = refusal("mamba2", save(renamed, tmp_path / "gap.safetensors"))
    assert "lacks 9 tensors (backbone.layers.1." in text
    assert "has 9 unknown tensors (backbone.layers.3." in text
    assert "is no RWKV-6 x060" in refusal("rwkv6", save(weights, tmp_path / "mamba.safetensors"))
    assert "is no Mamba-2" in refusal("mamba2", save(golden("rwkv6_model"), tmp_path / "rwkv.pth"))
    assert "lacks" in refusal("rwkv6", save({"emb.weight": torch.zeros(3, 4)}, tmp_path / "no_layer.pth"))


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [
        ("rwkv6", "emb.weight", (97,)),
        ("rwkv6", "emb.weight", (97, 0)),
        ("rwkv6", "head.weight", (96, 64)),
        ("rwkv6", "blocks.0.att.time_faaaa", (100, 1)),
        ("rwkv6", "blocks.1.att.time_maa_w1", (64, 155)),
        ("mamba2", "backbone.layers.0.mixer.A_log", (3,)),
        ("mamba2", "backbone.layers.0.mixer.A_log", (1000,)),
        ("mamba2", "backbone.layers.0.mixer.norm.weight", (100,)),
        ("mamba2", "backbone.layers.0.mixer.conv1d.weight", (191, 1, 4)),
        ("mamba2", "backbone.layers.1.norm.weight", ()),
        ("mamba2", "lm_head.weight", (96, 64)),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_shape_that_does_not_fit_is_named(
    tmp_path: Path, kind: str, name: str, shape: tuple[int, ...], suffix: str
) -> None:
    weights = golden(f"{kind}_model")
    weights[name] = torch.zeros(shape)
    assert "not fit the others" in refusal(kind, save(weights, tmp_path / f"x{suffix}"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_groups": 3}, "says 3 groups"),
        ({"n_groups": 0}, "says 0 groups"),
        ({"n_groups": "two"}, "says 'two' groups"),
        ({"n_groups": 8}, "has 4 heads"),
        ({"n_groups": 2, "state_size": 32}, "says 2 * 32"),
        ({"layer_norm_epsilon": 1e-6}, "says layer_norm_epsilon = 1e-06, the published Mamba-2 has 1e-05"),
        ({"model_type": "llama"}, "says model_type = 'llama'"),
        ({"time_step_limit": [0.0, 1.0]}, "says time_step_limit = [0.0, 1.0]"),
        ({"ssm_cfg": {"norm_before_gate": True}}, "says norm_before_gate = True"),
        ({"ssm_cfg": 3}, "is no model's configuration"),
    ],
    ids=str,
)
def test_settings_of_another_model_are_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    save(golden("mamba2_model"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert said in refusal("mamba2", tmp_path)


@pytest.mark.parametrize("infinity", ["Infinity", '{"__float__": "Infinity"}'])
def test_infinity_is_read_as_either_version_writes_it(tmp_path: Path, infinity: str) -> None:
    save(golden("mamba2_model"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(f'{{"model_type": "mamba2", "time_step_limit": [0.0, {infinity}]}}')
    assert inspect_published("mamba2", tmp_path) == MAMBA2


def test_a_state_too_large_for_one_group_needs_the_settings(tmp_path: Path) -> None:
    weights = golden("mamba2_model")
    for layer in (0, 1):
        mixer = f"backbone.layers.{layer}.mixer."
        weights[mixer + "conv1d.weight"] = torch.zeros(128 + 2 * 512, 1, 4)
        weights[mixer + "conv1d.bias"] = torch.zeros(128 + 2 * 512)
        weights[mixer + "in_proj.weight"] = torch.zeros(2 * 128 + 2 * 512 + 4, 64)
    path = save(weights, tmp_path / "model.safetensors")
    assert "groups * state size = 512, more than one group can have" in refusal("mamba2", path)
    (tmp_path / "config.json").write_text('{"n_groups": 4}')
    config = inspect_published("mamba2", path)
    assert isinstance(config, PublishedMamba2)
    assert (config.num_groups, config.d_state, config.norm_groups) == (4, 128, 1)


def test_where_there_are_no_weights_it_says_what_was_expected(tmp_path: Path) -> None:
    assert "no weights at" in refusal("rwkv6", tmp_path / "none.pth")
    assert "holds 0 weight files" in refusal("rwkv6", tmp_path)
    other = tmp_path / "model.gguf"
    other.write_text("?")
    assert "is no weight file" in refusal("rwkv6", other)
    for name in ("a.pth", "b.pth"):
        save(golden("rwkv6_model"), tmp_path / name)
    assert "holds 2 weight files (a.pth, b.pth" in refusal("rwkv6", tmp_path)
    with pytest.raises(ValueError, match="expected rwkv6 or mamba2"):
        inspect_published("rwkv7", tmp_path)


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


def test_a_file_that_carries_code_is_refused_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "evil.pth"
    torch.save({**golden("rwkv6_model"), "extra": Bomb(trace)}, path)
    assert "would run code" in refusal("rwkv6", path)
    with pytest.raises(ValueError, match="would run code"):
        load_published(RWKV6, path)
    assert not trace.exists()


def test_weights_that_changed_since_they_were_inspected_are_refused(tmp_path: Path) -> None:
    path = save(golden("rwkv6_model"), tmp_path / "x.pth")
    other = PublishedRWKV6(
        vocab_size=97, num_layers=2, hidden_size=64, num_heads=4, ffn_size=224, lora_mix=32, lora_decay=64
    )
    with pytest.raises(ValueError, match=r"num_heads=2.*expected.*num_heads=4"):
        load_published(other, path)


def test_the_tokenizer_lies_beside_the_weights_and_may_be_smaller(tmp_path: Path) -> None:
    path = save(golden("rwkv6_model"), tmp_path / "x.pth")
    assert find_tokenizer(path) is None
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps({"model": {"vocab": {str(i): i for i in range(90)}}}))
    assert find_tokenizer(path) == find_tokenizer(tmp_path) == tokenizer
    assert inspect_published("rwkv6", path) == RWKV6
    tokenizer.write_text(json.dumps({"model": {"vocab": {str(i): i for i in range(98)}}}))
    text = refusal("rwkv6", path)
    assert "has 98 tokens" in text
    assert "embeds 97" in text


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("groups", "d_state"), [(1, 16), (2, 8)], ids=["one group", "two groups"])
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_what_transformers_saves_gives_the_logits_of_transformers(
    tmp_path: Path, groups: int, d_state: int, tied: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Mamba2Config(
        vocab_size=101,
        hidden_size=48,
        num_hidden_layers=3,
        head_dim=12,
        num_heads=8,
        expand=2,
        state_size=d_state,
        n_groups=groups,
        conv_kernel=4,
        chunk_size=16,
        tie_word_embeddings=tied,
    )
    theirs = transformers.Mamba2ForCausalLM(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(weight_files(tmp_path)) > 1
    found = inspect_published("mamba2", tmp_path)
    assert isinstance(found, PublishedMamba2)
    assert (found.num_groups, found.d_state, found.norm_groups, found.tied) == (groups, d_state, 1, tied)
    tokens = torch.randint(101, (2, 37))
    assert relmax(loaded("mamba2", tmp_path)(tokens), theirs(tokens).logits) <= 1e-5
