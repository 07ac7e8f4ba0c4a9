"""Several models on the same batches: each is trained as it would be alone, and the table is of what was logged."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gt import registry
from gt.checkpoint import inspect_checkpoint
from gt.training.compare import compare_models
from gt.training.inputs import open_inputs
from gt.training.loop import train
from gt.training.step import Step
from tests.gt.training.runs import settings, write_prose

MODELS = ("GF-MH", "GPT2@TINY", "rwkv6")  # bare names take the scale of the settings' model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prose(tmp_path_factory.mktemp("corpus") / "prose.txt")


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "train_log.jsonl").read_text().splitlines()]


def test_models_take_turns_on_one_text_and_are_what_they_are_alone(corpus: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    config = settings(corpus, tmp_path / "all", steps=6)
    record = compare_models(MODELS, config, report=lambda line: seen.append((line["model"], line["step"])))
    names = ["GF-MH@TINY", "GPT2@TINY", "RWKV6@TINY"]
    assert seen == [(name, step) for steps in ((3,), (4, 6)) for name in names for step in steps]
    for name in names:
        alone = train(settings(corpus, tmp_path / name, model=name, steps=6))
        assert losses(tmp_path / "all" / f"{name}-seed-0") == losses(alone)
        assert inspect_checkpoint(tmp_path / "all" / f"{name}-seed-0", registry.resolve(name)).step == 6
    assert json.loads((tmp_path / "all" / "compare.json").read_text()) == record
    assert str(tmp_path) not in json.dumps(record)
    first, second, third = record["table"]
    assert (first["loss_ratio"], first["time_ratio"]) == (1, 1)
    assert second["loss_ratio"] == pytest.approx(second["valid_loss"] / first["valid_loss"])
    assert (first["rm_ratio"] > 0, second["rm_ratio"], third["rm_ratio"]) == (True, None, None)
    assert first["gate_first"] == pytest.approx(0.3, abs=0.01)
    assert (first["memory_mib"] > 1, second["memory_mib"]) == (True, None)
    assert all(row["seconds"] > 0 and row["tokens_per_s"] > 0 and row["parameters"] > 1000 for row in record["table"])


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times = ("seconds", "tokens_per_s", "time_ratio")
    return [{key: value for key, value in row.items() if key not in times} for row in rows]


def test_seeds_are_averaged(corpus: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path / "all", steps=3, seed=5)
    record = compare_models(["HY@TINY", "RWKV6@TINY"], config, seeds=2)
    assert [(row["model"], row["seed"]) for row in record["runs"]] == [
        (name, seed) for seed in (5, 6) for name in ("HY@TINY", "RWKV6@TINY")
    ]
    own = [row["valid_loss"] for row in record["runs"] if row["model"] == "HY@TINY"]
    assert own[0] != own[1]
    row = record["table"][0]
    assert row["valid_loss"] == pytest.approx(sum(own) / 2)
    assert row["valid_loss_sd"] == pytest.approx(abs(own[0] - own[1]) / 2**0.5)


def test_a_comparison_goes_on_after_ctrl_c(corpus: Path, tmp_path: Path) -> None:
    models = ["GF-MH@TINY", "RWKV6@TINY"]

    def press(line: dict[str, Any]) -> None:
        if (line["model"], line["step"]) == ("RWKV6@TINY", 3):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="go on with --resume"):
        compare_models(models, settings(corpus, tmp_path / "cut"), report=press)
    resumed = compare_models(models, settings(corpus, tmp_path / "cut", resume=True))
    whole = compare_models(models, settings(corpus, tmp_path / "whole"))
    assert without_times(resumed["table"]) == without_times(whole["table"])
    assert without_times(resumed["runs"]) == without_times(whole["runs"])
    for name in models:
        assert losses(tmp_path / "cut" / f"{name}-seed-0") == losses(tmp_path / "whole" / f"{name}-seed-0")


def test_a_model_that_diverges_drops_out(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working = Step.__call__

    def broken(step: Step, *arguments: Any) -> Any:
        loss, norm = working(step, *arguments)
        return (loss * float("nan") if "HY" in step.config.model else loss), norm

    monkeypatch.setattr(Step, "__call__", broken)
    record = compare_models(["RWKV6@TINY", "HY@TINY"], settings(corpus, tmp_path, steps=6))
    assert record["table"][0]["failed"] is None
    assert record["table"][1]["failed"].startswith("loss is nan at step 3")
    assert (record["runs"][0]["steps"], record["runs"][1]["steps"]) == (6, 3)


def test_a_comparison_goes_on_without_what_has_failed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(step: Step, *arguments: Any) -> Any:
        loss, norm = working(step, *arguments)
        return (loss * float("nan") if "HY" in step.config.model else loss), norm

    def press(line: dict[str, Any]) -> None:
        if (line["model"], line["step"]) == ("RWKV6@TINY", 3):
            os.kill(os.getpid(), signal.SIGINT)

    working, models = Step.__call__, ["HY@TINY", "RWKV6@TINY"]
    monkeypatch.setattr(Step, "__call__", broken)
    with pytest.raises(KeyboardInterrupt, match="go on with --resume"):
        compare_models(models, settings(corpus, tmp_path), report=press)
    monkeypatch.undo()
    record = compare_models(models, settings(corpus, tmp_path, resume=True))
    assert [(row["steps"], bool(row["failed"])) for row in record["runs"]] == [(3, True), (8, False)]
    assert record["table"][0]["failed"].startswith("loss is nan at step 3")
    record = compare_models(models, settings(corpus, tmp_path, overwrite=True))
    assert [row["failed"] for row in record["runs"]] == [None, None]


def test_models_that_cannot_be_compared_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected each model once"):
        compare_models(["GF-MH@TINY", "gf-mh@TINY"], settings(corpus, tmp_path))
    with pytest.raises(ValueError, match="unknown model"):
        compare_models(["GF-MX"], settings(corpus, tmp_path))


def test_batches_are_a_function_of_the_step(corpus: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path, accumulate=3)
    first, second = (open_inputs(config, tmp_path / "tokenizer.json").draw(config.seed) for _ in range(2))
    assert first.batch(5).tokens_BT.shape == (6, 33)
    later = first.batch(7).tokens_BT
    assert (second.batch(7).tokens_BT == later).all()
    assert (first.batch(7).tokens_BT == later).all()
    assert not (first.batch(8).tokens_BT == later).all()
