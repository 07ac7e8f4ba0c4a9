"""The mean of the last weights is what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gt.checkpoint import WEIGHTS, read_training
from gt.data.batches import Batch
from gt.training.average import WeightAverage
from gt.training.config import TrainConfig
from gt.training.loop import train
from gt.training.resume import STATE
from gt.training.step import Step
from tests.gt.training.runs import settings, write_prose
from tests.gt.training.test_resume import assert_same_run, stop_after


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prose(tmp_path_factory.mktemp("corpus") / "prose.txt")


@pytest.mark.parametrize(
    ("start", "every", "steps"),
    [(0.5, 1, [5, 6, 7, 8, 9, 10]), (0.5, 3, [7, 10]), (0.0, 4, [2, 6, 10]), (1.0, 10, [10]), (None, 1, [])],
)
def test_which_weights_are_in_the_mean(start: float | None, every: int, steps: list[int]) -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, TrainConfig(steps=10, average_from=start, average_every=every))
    for step in range(1, 11):
        nn.init.constant_(model.weight, step**2)
        average.saw(step)
    with average.final(9):
        assert model.weight[0, 0] == 100
    with average.final(10):
        expected = sum(step**2 for step in steps) / len(steps) if steps else 100
        assert model.weight[0, 0].item() == pytest.approx(expected, rel=1e-6)
    assert model.weight[0, 0] == 100
    assert (average.count, len(average.tensors())) == (len(steps), 2 if steps else 0)


def test_the_checkpoint_has_the_mean_and_the_state_the_last_weights_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[dict[str, torch.Tensor]] = []

    def watched(step: Step, batch: Batch, number: int) -> Any:
        outcome = working(step, batch, number)
        passed.append({name: tensor.detach().clone() for name, tensor in step.model.state_dict().items()})
        return outcome

    options: dict[str, Any] = {"lr": 5e-2, "warmup_ratio": 0.0}
    working = Step.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", watched)
        plain = train(settings(corpus, tmp_path / "plain", **options))
    out = train(settings(corpus, tmp_path / "mean", average_from=0.7, average_every=1, **options))
    saved, state = load_file(out / WEIGHTS), load_file(out / STATE)
    for name, tensor in saved.items():
        mean = torch.stack([weights[name].double() for weights in passed[5:]]).mean(0)
        assert torch.equal(state[f"model.{name}"], passed[-1][name])
        assert torch.allclose(state[f"extra.average.{name}"].double(), mean, rtol=1e-5, atol=1e-7), name
        assert torch.equal(tensor, state[f"extra.average.{name}"].to(torch.bfloat16)), name
    assert any(not torch.equal(saved[name], load_file(plain / WEIGHTS)[name]) for name in saved)
    last = json.loads((out / "train_log.jsonl").read_text().splitlines()[-1])
    training = read_training(out)
    assert last["valid_loss"] == json.loads((plain / "train_log.jsonl").read_text().splitlines()[-1])["valid_loss"]
    assert last["valid_loss_averaged"] == training["valid_loss"] != last["valid_loss"]
    assert training["fixed_text_losses"] != read_training(plain)["fixed_text_losses"]
    assert (training["average_from"], training["average_every"]) == (0.7, 1)
    assert not {"average_from", "average_every"} & read_training(plain).keys()  # compared as runs were before


def test_a_run_that_averages_is_resumed_exactly(corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"average_from": 0.4, "average_every": 2, "log_every": 2, "eval_every": 3}
    whole = train(settings(corpus, tmp_path / "whole", **options))
    cut = tmp_path / "cut"
    stop_after(settings(corpus, cut, **options), 3)
    assert "extra.average.embedding.weight" not in load_file(cut / STATE)
    stop_after(settings(corpus, cut, resume=True, **options), 6)
    state = load_file(cut / STATE)
    assert "extra.average.embedding.weight" in state
    saved = load_file(cut / WEIGHTS)  # unfinished, a run has the weights that it is at
    assert torch.equal(saved["embedding.weight"], state["model.embedding.weight"].to(torch.bfloat16))
    with pytest.raises(ValueError, match="average_every is 1, the run was started with 2"):
        train(settings(corpus, cut, resume=True, **{**options, "average_every": 1}))
    train(settings(corpus, cut, resume=True, **options))
    assert_same_run(whole, cut)
    train(settings(corpus, cut, resume=True, **{**options, "steps": 10}))
    longer = load_file(cut / STATE)  # of 4 to 10 it has gone on through 10 alone, which counts
    assert torch.equal(longer["extra.average.embedding.weight"], longer["model.embedding.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average_from": 1.5}, "average_from is 1.5: expected a share from 0 to 1"),
        ({"average_every": 0}, "average_every is 0: expected at least 1"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes).check()
