"""The training loop: the loss falls, the log and the checkpoint are complete, bad settings are refused."""

from __future__ import annotations

import json
import math
import threading
import time
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from gt import registry
from gt.checkpoint import inspect_checkpoint, read_training
from gt.data.config import DataSource
from gt.data.corpus import python_reference
from gt.models.hybrid import HybridLM
from gt.training.adamw import PlainAdamW
from gt.training.loop import train
from gt.training.optim import (
    clip_gradients,
    cosine_schedule,
    loss_and_gradients,
    make_optimizer,
    next_token_loss,
    train_step,
)
from gt.training.step import Step
from gt.training.stream import StreamBatches, TokenStream
from tests.gt.training.runs import settings, write_prose


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "prose.txt"
    path.write_text("\n<|endoftext|>\n".join(python_reference().train[:40]), encoding="utf-8")
    return path


def test_a_run_leaves_a_complete_checkpoint_and_log(corpus: Path, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    out = train(settings(corpus, tmp_path / "deep" / "run", steps=12, lr=5e-3), lines.append)
    info = inspect_checkpoint(out, registry.resolve("RWKV6@TINY"))
    assert (info.step, info.tokens, info.config.vocab_size) == (12, 12 * 2 * 32, 320)
    logged = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    assert logged == lines
    assert [line["step"] for line in logged] == [3, 4, 6, 8, 9, 12]
    assert [line["step"] for line in logged if "valid_loss" in line] == [4, 8, 12]
    assert all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in logged)
    assert logged[-1]["loss"] < logged[0]["loss"] < math.log(320) + 0.5
    training = json.loads((out / "config.json").read_text())["training"]
    assert training["valid_loss"] == logged[-1]["valid_loss"]
    assert training["corpus"] == ["prose.txt"]
    assert training["hashes"].keys() == {"corpus", "validation", "tokenizer"}
    assert str(tmp_path) not in json.dumps(training), "a path of this machine is in the checkpoint"


def test_one_seed_gives_one_run(corpus: Path, tmp_path: Path) -> None:
    losses = []
    for run in ("a", "b"):
        seen: list[dict[str, Any]] = []
        train(settings(corpus, tmp_path / run, steps=3, log_every=1), seen.append)
        losses.append([line["loss"] for line in seen])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("model", ["GPT2@TINY", "HY@TINY", "CP@TINY"])
def test_every_kind_of_model_is_trained(corpus: Path, tmp_path: Path, model: str) -> None:
    lines: list[dict[str, Any]] = []
    out = train(settings(corpus, tmp_path, model=model, steps=6, lr=5e-3), lines.append)
    assert inspect_checkpoint(out, registry.resolve(model)).step == 6
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_given_tokenizer_is_taken_along(corpus: Path, tmp_path: Path) -> None:
    first = train(settings(corpus, tmp_path / "a", steps=1))
    second = train(settings(corpus, tmp_path / "b", steps=1, tokenizer=str(first / "tokenizer.json")))
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()


def test_sources_are_mixed_validated_apart_and_compared_when_resumed(tmp_path: Path) -> None:
    text = write_prose(tmp_path / "one.txt")
    (tmp_path / "two.jsonl").write_text(
        "".join(json.dumps({"text": document}) + "\n" for document in python_reference().train[:40])
    )
    sources = (DataSource(path=str(text), weight=3.0), DataSource(path=str(tmp_path / "two.jsonl")))
    run: dict[str, Any] = {"corpus": (), "data": sources, "shards": str(tmp_path / "shards")}
    out = train(settings(text, tmp_path / "run", **run))
    line = json.loads((out / "train_log.jsonl").read_text().splitlines()[-1])
    first, second = line["valid_losses"].values()
    assert line["valid_loss"] == pytest.approx(0.75 * first + 0.25 * second)
    config = json.loads((out / "config.json").read_text())
    assert [source["path"] for source in config["training"]["data"]] == ["one.txt", "two.jsonl"]
    assert config["training"]["corpus_tokens"] > 1000
    assert str(tmp_path) not in json.dumps(config)
    run["data"] = (sources[0], DataSource(path=str(tmp_path / "two.jsonl"), weight=2.0))
    with pytest.raises(ValueError, match="the text of mixture is"):
        train(settings(text, tmp_path / "run", resume=True, steps=9, **run))


def test_a_tokenizer_of_characters_is_trained(corpus: Path, tmp_path: Path) -> None:
    out = train(settings(corpus, tmp_path, steps=1, tokenizer_kind="char"))
    config = json.loads((out / "config.json").read_text())
    assert 30 < config["model"]["vocab_size"] < 200
    assert inspect_checkpoint(out, registry.resolve("RWKV6@TINY")).step == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus": ()}, "no corpus"),
        ({"data": (DataSource(path="x"),)}, "both corpus and data"),
        ({"corpus": (), "data": (DataSource(path="none.txt"),)}, "none.txt"),
        ({"accumulate": 0}, "accumulate is 0: expected at least 1"),
        ({"dtype": "fp8"}, "dtype is 'fp8'"),
        ({"rwkv_dropout": 1.5}, "rwkv_dropout is 1.5: expected a share"),
        ({"mamba_lr_mult": 0.0}, "mamba_lr_mult is 0.0: expected a number above 0"),
        ({"corpus": ("none.txt",)}, "no such file; .*: check the path$"),
        ({"model": "GF-MX"}, "unknown model"),
        ({"model": "json:dumps"}, "json:dumps is a model of your own: train it with your own code"),
        ({"model": "GPT2@TINY", "length": 513}, "length is 513: GPT2@TINY has learned positions for 512 tokens"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"tokenizer": "none.json"}, "none.json"),
        ({"valid": ("none.txt",)}, "no such file"),
        ({"valid": (DataSource(path="conversations:"),)}, "valid has conversations: with corpus: expected a text file"),
        ({"corpus": (), "data": (DataSource(path="none.txt"),), "valid_share": 0.0}, "nothing to validate on"),
        ({"seed": -1}, "seed is -1: expected a number from 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808: expected a number from 0"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"length": 0}, "length"),
        ({"length": 10_000_000}, "tokens, needed are"),
        ({"vocab_size": 100}, "vocab_size"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(settings(corpus, tmp_path / "run", **changes))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_log(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(step: Step, *arguments: Any) -> Any:
        loss, norm = working(step, *arguments)
        return loss * float("nan"), norm

    working = Step.__call__
    monkeypatch.setattr(Step, "__call__", broken)
    with pytest.raises(FloatingPointError, match="loss is nan at step 3: lower lr"):
        train(settings(corpus, tmp_path / "run"))
    assert len((tmp_path / "run" / "train_log.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_rate_warms_up_and_falls_to_its_share() -> None:
    rates = [cosine_schedule(step, 100, 2e-3, 0.1, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(2e-4)
    assert rates[9] == rates[10] == max(rates) == 2e-3
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(2e-4, rel=0.01)
    assert cosine_schedule(0, 1, 1.0, 0.0, 0.1) == 1.0


def test_only_matrices_decay() -> None:
    model = HybridLM(registry.resolve("GF-MH@TINY").config(50))
    matrices, others = make_optimizer(model, 1e-3, weight_decay=0.1).param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim == 2 for p in matrices["params"])
    assert len(matrices["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_a_step_lowers_the_loss_and_tells_the_norm_before_clipping() -> None:
    torch.manual_seed(0)
    model = HybridLM(registry.resolve("GF-MH@TINY").config(50))
    optimizer, tokens = make_optimizer(model, 1e-2), torch.randint(50, (4, 17))
    first, norm = train_step(model, optimizer, tokens, 1e-3)
    assert norm > 1e-3
    for _ in range(10):
        last, _ = train_step(model, optimizer, tokens, 1.0)
    assert float(last) < 0.8 * float(first)
    assert next_token_loss(model, tokens).shape == ()


def test_the_optimiser_of_checks_is_the_optimiser_of_training() -> None:
    torch.manual_seed(0)
    one = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    other = deepcopy(one)
    ours, torchs = PlainAdamW(one, 1e-2), make_optimizer(other, 1e-2)
    for step in range(4):
        for model, optimizer in ((one, ours), (other, torchs)):
            for number, parameter in enumerate(model.parameters()):
                parameter.grad = (step + 1) * parameter.detach().sin() if number > 1 or step == 2 else None
            optimizer.step()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    PlainAdamW(torch.nn.Linear(2, 2), 1e-2).step()  # without any gradient


@pytest.mark.parametrize("size", [1e-3, 1.0])
@pytest.mark.parametrize("of_one", [True, False])
def test_gradients_are_clipped_as_torch_does_it(of_one: bool, size: float) -> None:
    model = torch.nn.Linear(400, 300)
    whole = size * torch.randn(400 * 300 + 300)
    pieces = [piece if of_one else piece.clone() for piece in whole.split([400 * 300, 300])]
    for parameter, piece in zip(model.parameters(), pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
    other = deepcopy(model)
    for parameter, piece in zip(other.parameters(), pieces, strict=True):
        parameter.grad = piece.view_as(parameter).clone()
    expected = torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
    assert float(clip_gradients(model, 1.0)) == pytest.approx(float(expected), rel=1e-5)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=0)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_halves_side_by_side_give_the_gradients_of_the_whole_batch(rows: int) -> None:
    torch.manual_seed(0)
    model = HybridLM(registry.resolve("GF-MH@TINY").config(50)).double()
    unused = torch.nn.Parameter(torch.ones(3))
    model.register_parameter("unused", unused)
    tokens = torch.randint(50, (rows, 17))
    loss = loss_and_gradients(model, tokens)
    got = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    expected = next_token_loss(model, tokens)
    expected.backward()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert got.pop("unused") is None
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, rtol=1e-9, atol=1e-12)


def test_half_batches_leave_threads_as_they_were_and_take_frozen_parameters() -> None:
    model = HybridLM(registry.resolve("GF-MH@TINY").config(50))
    model.embedding.weight.requires_grad_(False)
    before = torch.get_num_threads()
    loss_and_gradients(model, torch.randint(50, (4, 9)))
    assert torch.get_num_threads() == before
    assert model.embedding.weight.grad is None
    assert model.norm.weight.grad is not None


def test_half_batches_keep_autocast_and_wait_for_each_other_before_an_error() -> None:
    model = HybridLM(registry.resolve("GF-MH@TINY").config(50))
    seen: list[torch.dtype] = []
    model.blocks[0].ffn.up.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss_and_gradients(model, torch.randint(50, (4, 9)))
    assert seen == [torch.bfloat16, torch.bfloat16]
    running: list[int] = []

    def fail(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        running.append(1)
        if len(running) == 1:
            raise RuntimeError("stop")
        time.sleep(0.2)
        running.append(2)

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        loss_and_gradients(model, torch.randint(50, (4, 9)))
    assert running == [1, 1, 2]


def test_a_model_that_does_not_say_so_is_not_called_from_two_threads() -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(50, 50)
            self.threads: set[int] = set()

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            self.threads.add(threading.get_ident())
            out: torch.Tensor = self.embedding(tokens)
            return out

    own = Own()
    loss_and_gradients(own, torch.randint(50, (4, 9)))
    assert own.threads == {threading.get_ident()}


def test_windows_are_the_same_for_one_seed_and_cover_the_text() -> None:
    stream = TokenStream(list(range(500)), 10)
    one, other = (next(stream.random_windows(4, 16, seed=3)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (4, 17)
    assert not torch.equal(one, next(stream.random_windows(4, 16, seed=4)))
    spaced = stream.spaced_windows(5, 20)
    assert spaced.shape == (5, 20)
    assert (int(spaced[0, 0]), int(spaced[-1, -1])) == (0, 499)


def test_numbered_batches_cover_the_text_and_do_not_repeat() -> None:
    batches = StreamBatches(TokenStream(list(range(500)), 10), 8, 16, seed=3)
    seen = [batches.batch(step).tokens_BT for step in range(50)]
    assert all(batch.shape == (8, 17) for batch in seen)
    assert all((batch[:, 1:] - batch[:, :-1] == 1).all() for batch in seen)
    starts = torch.cat([batch[:, 0] for batch in seen])
    assert len(starts.unique()) > 250
    assert (int(starts.min()) < 10, int(starts.max()) > 470) == (True, True)
    assert torch.equal(seen[7], batches.batch(7).tokens_BT)
    other = StreamBatches(batches.stream, 8, 16, seed=4)
    assert not torch.equal(seen[7], other.batch(7).tokens_BT)


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="the corpus has 9 tokens, needed are 10"):
        TokenStream([1] * 9, 10)


def test_sources_of_one_name_are_validated_each_by_itself(tmp_path: Path) -> None:
    sources = tuple(
        DataSource(path="conversations:", count=300, seed=seed, weight=weight) for seed, weight in ((0, 3.0), (1, 1.0))
    )
    run: dict[str, Any] = {"corpus": (), "data": sources, "shards": str(tmp_path / "shards"), "steps": 1}
    out = train(settings(tmp_path, tmp_path / "run", **run))
    line = json.loads((out / "train_log.jsonl").read_text().splitlines()[-1])
    assert list(line["valid_losses"]) == ["conversations: (valid) [1]", "conversations: (valid) [2]"]
    first, second = line["valid_losses"].values()
    assert first != second
    assert line["valid_loss"] == pytest.approx(0.75 * first + 0.25 * second)


def test_files_to_validate_on_are_looked_for_in_those_to_train_on(tmp_path: Path) -> None:
    text = write_prose(tmp_path / "train.txt")
    documents = text.read_text().split("\n<|endoftext|>\n")
    held_out = tmp_path / "valid.txt"
    other = [" ".join(reversed(document.split())) for document in documents]
    run: dict[str, Any] = {"valid": (str(held_out),), "steps": 1}
    held_out.write_text("\n<|endoftext|>\n".join(other))
    clean = train(settings(text, tmp_path / "clean", **run))
    assert "leaked" not in (clean / "train_log.jsonl").read_text()
    held_out.write_text("\n<|endoftext|>\n".join([*other, documents[7]]))
    with pytest.raises(ValueError, match=r"validation text occurs in training: 1 passages of .* of corpus are in val"):
        train(settings(text, tmp_path / "leaky", **run))
    out = train(settings(text, tmp_path / "leaky", allow_leaks=True, **run))
    first, *steps = map(json.loads, (out / "train_log.jsonl").read_text().splitlines())
    assert first["leaked_documents"] == pytest.approx(1 / (len(other) + 1))
    assert 0 < first["leaked_share"] < 0.1
    assert 0 < first["leaked_windows"] < 0.5
    assert [line["step"] for line in steps] == [1]
    training = read_training(out)
    assert {name: training[name] for name in first} == first
    allowed = train(settings(text, tmp_path / "clean", overwrite=True, allow_leaks=True, valid=(), steps=1))
    assert json.loads((allowed / "train_log.jsonl").read_text().splitlines()[0]) == dict.fromkeys(first, 0.0)


def test_windows_in_which_nothing_counts_are_not_a_loss_of_0(tmp_path: Path) -> None:
    talk = DataSource(path="conversations:", count=300, user_weight=0)
    run: dict[str, Any] = {"corpus": (), "shards": str(tmp_path / "shards"), "steps": 2, "log_every": 2, "length": 2}
    with pytest.raises(
        ValueError, match=r"conversations: \(valid\): every token of its validation windows has weight 0"
    ):
        train(settings(tmp_path, tmp_path / "run", data=(talk,), **run))
    valid = (str(write_prose(tmp_path / "prose.txt")),)
    out = train(settings(tmp_path, tmp_path / "run", data=(talk,), valid=valid, **run))
    (line,) = map(json.loads, (out / "train_log.jsonl").read_text().splitlines())
    assert "step 2: in 2 of 2 steps since the line before every token had weight 0" in line["warnings"][0]


def test_conversations_are_validated_on_those_of_another_seed(tmp_path: Path) -> None:
    talk = DataSource(path="conversations:", count=300)
    run: dict[str, Any] = {"corpus": (), "data": (talk,), "shards": str(tmp_path / "shards"), "steps": 1}
    with pytest.raises(ValueError, match="validation text occurs in training"):
        train(settings(tmp_path, tmp_path / "run", valid=(talk,), **run))
    same = read_training(train(settings(tmp_path, tmp_path / "same", valid=(talk,), allow_leaks=True, **run)))
    assert (same["leaked_documents"], same["leaked_share"]) == (1, 0), "passages recur there by design"
    valid = (DataSource(path="conversations:", count=100, seed=1),)
    out = train(settings(tmp_path, tmp_path / "run", valid=valid, **run))
    training = json.loads((out / "config.json").read_text())["training"]
    assert [(source["path"], source["seed"]) for source in training["valid"]] == [("conversations:", 1)]
