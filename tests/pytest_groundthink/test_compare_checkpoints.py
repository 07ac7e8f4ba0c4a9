"""`groundthink compare` of two checkpoints, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gt import registry
from gt.checkpoint import WEIGHTS, save_checkpoint
from gt.models.build import build_model
from gt.resources import fixtures_dir
from gt.tokenizers import Tokenizer

from .test_compare_command import run

TEXT = "".join(
    f"The {word} of day {day} was {day * 7 % 31} high. \n\n" for day in range(900) for word in ("sun", "tide")
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint `a`, `b` with one matrix turned around, and a text."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tokenizer = fixtures_dir() / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json"
    (folder / "a").mkdir()
    shutil.copy(tokenizer, folder / "a")
    torch.manual_seed(0)
    model = build_model(registry.resolve("GF-MH@0.3M").config(Tokenizer(tokenizer).vocab_size))
    save_checkpoint(folder / "a", model, step=1, tokens=1, training={})
    shutil.copytree(folder / "a", folder / "b")
    weights = load_file(folder / "b" / WEIGHTS)
    weights["blocks.0.rwkv.value.weight"] *= -1
    save_file(weights, folder / "b" / WEIGHTS)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.fixture
def inside(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkpoints)
    monkeypatch.setenv("COLUMNS", "120")
    return checkpoints


def test_weights_states_and_loss(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--corpus", "text.txt", "--texts", 4, "--device", "cpu", "--json", "o.json", "--markdown", "o.md")
    assert run("a", "b", *options, "--fail-on", "loss>+100%") == 0
    out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    record = json.loads((inside / "o.json").read_text(encoding="utf-8"))
    (moved,) = [one for one in record["weights"]["tensors"] if one["moved"]]
    assert (moved["name"], moved["relative"]) == ("blocks.0.rwkv.value.weight", pytest.approx(2))
    assert "blocks.0.rwkv.value.weight 64x64 200.0% -1.000" in out
    state = {(one["component"], one["layer"]): one["relative"] for one in record["behaviour"]["states"]}
    assert state["rwkv", 0] == pytest.approx(2, abs=0.01)
    assert state["mamba", 0] == 0
    assert record["behaviour"]["loss"]["n"] == 4
    assert [line for line in out if line.startswith("loss: ") and "nats per token" in line]
    assert [line for line in out if "states after the same text" in line]
    assert (inside / "o.md").read_text(encoding="utf-8").startswith("## b against a\n")


def test_a_rule_on_the_loss(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--corpus", "text.txt", "--texts", 2, "--device", "cpu")
    assert run("a", "a", *options, "--fail-on", "loss>=+0%") == 1
    assert "--fail-on loss>=+0%: it went from" in capsys.readouterr().out


def test_weights_alone(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"layers.0.mlp.weight": torch.ones(4, 4), "only": torch.ones(2)}, inside / "a.safetensors")
    save_file({"layers.0.mlp.weight": torch.ones(8, 4)}, inside / "b.safetensors")
    assert run("a.safetensors", "b.safetensors") == 0
    out = capsys.readouterr().out
    assert "the weights do not say whose they are: --model NAME lets them read text" in out
    assert "not in the second: 1 tensors: only" in out
    assert "of 1 tensors of other sizes the leading block that both have was compared" in out
    assert run("a.safetensors", "b.safetensors", "--fail-on", "loss>+1%") == 1  # what cannot be told is a hit


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "b", "a"), "got 3 checkpoints, expected two"),
        (("a", "b", "--texts", "1"), "--texts is 1: expected at least 2"),
        (("a", "b", "--corpus", "none.txt"), "none.txt: no such file"),
        (("a", "b", "--baseline", "main"), "--baseline marks a scorecard"),
        (("a", "b", "--model", "HY@0.3M"), "holds GF-MH@0.3M, but HY@0.3M was asked for"),
        (("a", "none.pt"), "no weights at"),
    ],
)
def test_bad_input_is_one_line(
    inside: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run(*arguments) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
