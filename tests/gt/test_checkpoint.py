"""Checkpoints: what is written comes back, and what is damaged, foreign or dangerous is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gt import registry
from gt.checkpoint import inspect_checkpoint, load_into, load_weights, save_checkpoint
from gt.models.build import build_model
from gt.models.hybrid import HybridLM
from gt.tokenizers import train_bpe

SPEC = registry.resolve("GF-MH@TINY")
VOCAB = 280


@pytest.fixture(scope="module")
def model() -> HybridLM:
    torch.manual_seed(0)
    return HybridLM(SPEC.config(VOCAB))


@pytest.fixture(scope="module")
def written(model: HybridLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    text = "the quick brown fox jumps over the lazy dog, again and again and again. " * 40
    train_bpe([text], VOCAB, folder / "tokenizer.json")
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert len(vocabulary) == VOCAB
    (folder / "train_log.jsonl").write_text('{"step": 7, "loss": 5.0}\n')
    save_checkpoint(folder, model, step=7, tokens=3584, training={"lr": 1e-3})
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "ckpt"))


def refusal(path: Path, name: str = "GF-MH@TINY") -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the callers look at the message
        inspect_checkpoint(path, registry.resolve(name))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_what_is_written_comes_back_in_bf16(folder: Path, model: HybridLM) -> None:
    info = inspect_checkpoint(folder, SPEC)
    assert (info.step, info.tokens, info.config) == (7, 3584, SPEC.config(VOCAB))
    assert info.tokenizer == folder / "tokenizer.json"
    assert info.train_log == folder / "train_log.jsonl"
    assert len(info.sha256) == 64
    weights = load_weights(info)
    for name, tensor in model.state_dict().items():
        assert weights[name].dtype == torch.bfloat16
        assert torch.equal(weights[name], tensor.bfloat16())


def test_a_second_save_gives_the_same_file_and_leaves_nothing_behind(folder: Path, model: HybridLM) -> None:
    before = inspect_checkpoint(folder, SPEC).sha256
    save_checkpoint(folder, model, step=8, tokens=1, training={})
    assert inspect_checkpoint(folder, SPEC).sha256 == before
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "train_log.jsonl",
    ]


def test_a_checkpoint_without_a_log_has_no_log(folder: Path) -> None:
    (folder / "train_log.jsonl").unlink()
    assert inspect_checkpoint(folder, SPEC).train_log is None


@pytest.mark.parametrize("keep", [0, 3, 8, 100, 0.5, 0.99, -1], ids=str)
def test_a_truncated_file_is_found(folder: Path, keep: float) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    size = len(content) - 1 if keep == -1 else int(keep * len(content)) if 0 < keep < 1 else int(keep)
    path.write_bytes(content[:size])
    assert "copy it again" in refusal(folder)


def test_a_longer_file_is_found(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")
    assert "copy it again" in refusal(folder)


def reheaded(path: Path, header: bytes) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"a": 1}',
        b'{"a": {"dtype": "BF16", "shape": [2]}}',
        b'{"a": {"dtype": "B", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "BF16", "shape": "x", "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "BF16", "shape": [2], "data_offsets": 4}}',
        b'{"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0]}}',
        b'{"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, "4"]}}',
        b"\xff\xfe",
    ],
    ids=lambda header: repr(header[:40]),
)
def test_a_damaged_header_is_found(folder: Path, header: bytes) -> None:
    reheaded(folder / "model.safetensors", header)
    assert "model.safetensors" in refusal(folder)


def test_a_header_of_enormous_length_is_not_read(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    assert "truncated or no safetensors file" in refusal(folder)


@pytest.mark.parametrize("name", ["GF-RH@TINY", "GF-MH@3.5M", "RWKV6@TINY"])
def test_another_variant_or_scale_is_named_with_the_remedy(folder: Path, name: str) -> None:
    text = refusal(folder, name)
    assert "holds GF-MH@TINY" in text
    assert f"{name} was asked for" in text
    assert "use --model GF-MH@TINY" in text


def test_weights_of_another_scale_behind_a_fitting_config_are_found(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"] = torch.zeros(65)
    del weights["blocks.0.mamba.D"]
    weights["surplus"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")
    text = refusal(folder)
    assert "lacks 1 tensors (blocks.0.mamba.D" in text
    assert "1 unknown tensors (surplus" in text
    assert "norm.weight is [65], expected [64]" in text


def test_a_config_that_contradicts_the_variant_is_found(folder: Path) -> None:
    """The name says TINY, the numbers say something else, and the weights follow the numbers."""
    path = folder / "config.json"
    header = json.loads(path.read_text())
    header["model"]["num_layers"] = 3
    path.write_text(json.dumps(header))
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("blocks.3.")}
    save_file(weights, folder / "model.safetensors")
    refusal(folder)


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_part_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert f"has no {missing}" in refusal(folder)


def test_a_missing_checkpoint_says_what_was_expected(tmp_path: Path) -> None:
    text = refusal(tmp_path / "none")
    assert text.startswith(f"no checkpoint at {tmp_path / 'none'}")
    assert "model.safetensors" in text


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("?")
    assert "is no checkpoint" in refusal(path)


def test_another_models_tokenizer_is_found(folder: Path) -> None:
    train_bpe(["something else entirely"], 260, folder / "tokenizer.json")
    assert "but the checkpoint's model has 280" in refusal(folder)


BROKEN = ["", "nonsense", "{}", "[1]", '{"model": {"vocab": [1]}}', '{"model": null}', "\udcff"]


def test_another_tokenizer_of_the_same_size_is_found_where_its_hash_is_known(folder: Path) -> None:
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()), indent=1))
    assert f"{tokenizer} is not the tokenizer that the checkpoint's model was trained with" in refusal(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["tokenizer_sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    assert inspect_checkpoint(folder, registry.resolve("GF-MH@TINY")).step == 7


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_tokenizer_is_found(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_bytes(text.encode(errors="surrogateescape"))
    assert "tokenizer" in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("model"),
        lambda h: h.update(schema="groundthink.checkpoint/9"),
        lambda h: h["model"].update(surprise=1),
        lambda h: h["model"].update(num_layers="four"),
        lambda h: h.update(step=None),
    ],
    ids=["no model", "schema", "unknown key", "type", "step"],
)
def test_a_malformed_config_is_found(folder: Path, change: Any) -> None:
    path = folder / "config.json"
    header = json.loads(path.read_text())
    change(header)
    path.write_text(json.dumps(header))
    assert "config.json" in refusal(folder)


def test_a_config_that_is_no_json_is_found(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff{")
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize("wrap", ["", "model", "state_dict", "model_state_dict"])
def test_a_legacy_file_loads(model: HybridLM, tmp_path: Path, wrap: str) -> None:
    path = tmp_path / "old.pt"
    torch.save({wrap: model.state_dict(), "step": 3} if wrap else model.state_dict(), path)
    info = inspect_checkpoint(path, SPEC)
    assert (info.config.vocab_size, info.tokenizer, info.step) == (VOCAB, None, None)
    weights = load_weights(info)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_a_legacy_file_with_optimiser_and_plain_values_loads(model: HybridLM, tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(model.parameters())
    path = tmp_path / "old.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loss": 1.5, "note": "x"}, path)
    assert inspect_checkpoint(path, SPEC).config.vocab_size == VOCAB


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("where", ["beside", "inside", "instead"])
def test_a_file_that_carries_code_is_refused_and_never_run(model: HybridLM, tmp_path: Path, where: str) -> None:
    trace = tmp_path / "was here"
    bomb = Bomb(tmp_path / "was\\ here")
    path = tmp_path / "evil.pt"
    content: Any = {"model": model.state_dict(), "extra": bomb}
    if where == "inside":
        content = {**model.state_dict(), "extra": bomb}
    torch.save(bomb if where == "instead" else content, path)
    text = refusal(path)
    assert "system" in text
    assert "would run code" in text
    assert "torch.save(model.state_dict(), ...)" in text
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the bomb is a dud: this test would prove nothing"


def test_a_whole_pickled_model_is_refused(model: HybridLM, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(model, path)
    assert "would run code" in refusal(path)


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    import pickle

    trace = tmp_path / "trace"
    path = tmp_path / "bare.pt"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    assert "no .pt file" in refusal(path)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_truncated_legacy_file_is_found(model: HybridLM, tmp_path: Path, share: float) -> None:
    path = tmp_path / "old.pt"
    torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "truncated or no .pt file" in refusal(path)


@pytest.mark.parametrize("content", [{}, {"a": 1}, [1, 2], {"model": {"x": 3}}, {"epoch": 4, "lr": 0.1}], ids=str)
def test_a_legacy_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "old.pt"
    torch.save(content, path)
    assert "holds no state dict" in refusal(path)


def test_a_legacy_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    assert "is no GF-MH@TINY" in refusal(path)


@pytest.mark.parametrize("variant", ["HY", "CP", "RF", "HGF-MH", "Mamba2", "GPT2"])
def test_every_kind_of_model_is_written_and_found_again(variant: str, folder: Path) -> None:
    spec = registry.resolve(variant, "TINY")
    torch.manual_seed(0)
    model = build_model(spec.config(VOCAB))
    save_checkpoint(folder, model, step=1, tokens=1, training={})
    info = inspect_checkpoint(folder, spec)
    assert info.config == spec.config(VOCAB)
    again = build_model(spec.config(VOCAB))
    load_into(again, load_weights(info), spec.name, info)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.bfloat16().float())
    torch.save(model.state_dict(), folder / "legacy.pt")
    assert inspect_checkpoint(folder / "legacy.pt", spec).config == spec.config(VOCAB)
    assert f"holds {spec.name}, but GF-MH@TINY was asked for" in refusal(folder)
