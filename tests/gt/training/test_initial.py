"""A run that starts with the weights of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gt import registry
from gt.checkpoint import WEIGHTS, inspect_checkpoint, read_training, sha256_of
from gt.tokenizers import train_tokenizer
from gt.training.compare import compare_models
from gt.training.loop import train
from tests.gt.training.runs import settings, write_prose
from tests.gt.training.test_resume import assert_same_run, stop_after

TINIEST = 1e-45
"""A learning rate that moves no weight, and leaves of one that is 0 what bf16 has no number for."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prose(tmp_path_factory.mktemp("corpus") / "prose.txt")


@pytest.fixture(scope="module")
def first(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(settings(corpus, tmp_path_factory.mktemp("first") / "first", lr=1e-2))


def test_a_run_starts_with_the_weights_of_another(corpus: Path, first: Path, tmp_path: Path) -> None:
    still: dict[str, Any] = {"steps": 1, "lr": TINIEST, "seed": 5}
    out = train(settings(corpus, tmp_path / "second", init=str(first), vocab_size=300, **still))
    began, ended, drawn = (
        load_file(folder / WEIGHTS) for folder in (first, out, train(settings(corpus, tmp_path / "drawn", **still)))
    )
    assert all(torch.equal(began[name], ended[name]) for name in began)
    assert not all(torch.equal(began[name], drawn[name]) for name in began)
    assert (first / "tokenizer.json").read_bytes() == (out / "tokenizer.json").read_bytes()
    assert inspect_checkpoint(out, registry.resolve("RWKV6@TINY")).step == 1


def test_what_was_behind_the_weights_is_recorded_run_by_run(corpus: Path, first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "first")
    second = train(settings(corpus, tmp_path / "second", init=str(tmp_path / "first"), steps=2))
    training = read_training(second)
    hashes = read_training(first)["hashes"]
    weights = sha256_of(first / WEIGHTS)
    assert training["init"] == {"folder": "first", "sha256": weights, "step": 8, "tokens": 8 * 2 * 32}
    assert (training["tokens_before"], training["hashes_before"]) == (512, [hashes])
    third = read_training(train(settings(corpus, tmp_path / "third", init=str(second), steps=1, seed=3)))
    assert third["init"]["tokens"] == 2 * 2 * 32
    assert (third["tokens_before"], third["hashes_before"]) == (512 + 128, [hashes, training["hashes"]])
    assert str(tmp_path) not in json.dumps(third)
    assert read_training(first)["init"] is None
    assert "tokens_before" not in read_training(first)


def test_such_a_run_is_resumed_exactly_and_with_no_other_weights(corpus: Path, first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "first")
    options: dict[str, Any] = {"init": str(tmp_path / "first"), "log_every": 2, "eval_every": 3}
    whole = train(settings(corpus, tmp_path / "whole", **options))
    stop_after(settings(corpus, tmp_path / "cut", **options), 3)
    stop_after(settings(corpus, tmp_path / "cut", resume=True, **options), 4)
    other = train(settings(corpus, tmp_path / "other", steps=1, tokenizer=str(first / "tokenizer.json")))
    with pytest.raises(ValueError, match=r"init .*other has weights of SHA-256 .*; leave init out, or start anew"):
        train(settings(corpus, tmp_path / "cut", resume=True, **{**options, "init": str(other)}))
    with pytest.raises(ValueError, match="the run was started with drawn weights; leave init out"):
        train(settings(corpus, other, resume=True, **options))
    shutil.rmtree(tmp_path / "first")
    train(settings(corpus, tmp_path / "cut", resume=True, **{**options, "init": None}))
    assert_same_run(whole, tmp_path / "cut")
    keys = ("init", "tokens_before", "hashes_before")
    assert [read_training(whole)[key] for key in keys] == [read_training(tmp_path / "cut")[key] for key in keys]


def test_what_does_not_fit_is_one_line(corpus: Path, first: Path, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    train_tokenizer([corpus.read_text()], "bpe", 300, tokenizer)
    wrong = shutil.copytree(first, tmp_path / "wrong")
    weights = load_file(wrong / WEIGHTS)
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name][:1].clone()}, wrong / WEIGHTS)
    cases = [
        ({"init": str(tmp_path / "none")}, r"init .*none is no folder: expected a checkpoint folder"),
        ({"init": str(first / WEIGHTS)}, "is no folder: expected a checkpoint folder"),
        ({"init": str(tmp_path)}, f"has no {WEIGHTS}: it is not complete"),
        ({"model": "GF-MH@TINY"}, "holds RWKV6@TINY, but GF-MH@TINY was asked for: use --model RWKV6@TINY"),
        ({"model": "RWKV6@0.3M"}, "holds RWKV6@TINY, but RWKV6@0.3M was asked for"),
        ({"init": str(wrong)}, rf"is no RWKV6@TINY: {name} is \[1.*expected \["),
        ({"tokenizer": str(tokenizer)}, r"tokenizer.json has SHA-256 \w+..., the weights of .*: leave tokenizer out"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message) as error:
            train(settings(corpus, tmp_path / "out", **{"init": str(first), **changes}))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "tokenizer.json").exists()


def test_the_folder_of_the_weights_is_not_written_into(corpus: Path, first: Path, tmp_path: Path) -> None:
    kept = shutil.copytree(first, tmp_path / "kept")
    plan = shutil.copytree(first, tmp_path / "compared" / "RWKV6@TINY-seed-0")
    with pytest.raises(ValueError, match=r"init and out are both .*kept: expected two folders"):
        train(settings(corpus, kept, init=str(kept), overwrite=True))
    for init, out in ((kept, kept), (plan, plan.parent)):
        with pytest.raises(ValueError, match="init and out are both"):
            compare_models(["RWKV6"], settings(corpus, out, init=str(init), overwrite=True))
    for folder in (kept, plan):
        assert inspect_checkpoint(folder, registry.resolve("RWKV6@TINY")).step == 8


def test_seeds_of_one_model_start_with_the_same_weights(corpus: Path, first: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path / "seeds", init=str(first), steps=1, lr=TINIEST)
    compare_models(["RWKV6"], config, seeds=2)
    one, other = (load_file(tmp_path / "seeds" / f"RWKV6@TINY-seed-{seed}" / WEIGHTS) for seed in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="holds RWKV6@TINY, but GF-MH@TINY was asked for"):
        compare_models(["RWKV6", "GF-MH"], settings(corpus, tmp_path / "two", init=str(first)))
