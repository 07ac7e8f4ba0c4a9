"""A run that goes on is the run that was not interrupted, wherever it was cut."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gt import registry
from gt.checkpoint import inspect_checkpoint
from gt.data.batches import Batch
from gt.training import compare, loop
from gt.training.config import TrainConfig
from gt.training.loop import train
from gt.training.resume import STATE, read_record
from gt.training.step import Step
from tests.gt.training.killed import run_killed
from tests.gt.training.runs import settings, write_prose

TIMES = ("seconds", "tokens_per_s", "memory_mib")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prose(tmp_path_factory.mktemp("corpus") / "prose.txt")


def logged(out: Path) -> list[dict[str, Any]]:
    """Lines of a log without what a clock and the machine say."""
    lines = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def fail(line: dict[str, Any]) -> None:
    """Ends a run at the first line of its log."""
    raise RuntimeError("killed")


def assert_same_run(one: Path, other: Path) -> None:
    assert logged(one) == logged(other)
    first, second = load_file(one / STATE), load_file(other / STATE)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def stop_after(config: TrainConfig, step: int, **changes: Any) -> None:
    """Train until the log has a line of a step, then press Ctrl-C."""

    def press(line: dict[str, Any]) -> None:
        if line["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=f"stopped at step {step}: go on with --resume"):
        train(config, press)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": "GF-MH@TINY", "dtype": "bfloat16", "accumulate": 2, "rwkv_dropout": 0.4, "gate_freeze_steps": 4},
        {"model": "GPT2@TINY", "dtype": "float16", "mamba_lr_mult": 0.5},
    ],
    ids=["plain", "hybrid", "transformer"],
)
def test_ctrl_c_and_resume_are_the_uninterrupted_run(corpus: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    options: dict[str, Any] = {"log_every": 2, "eval_every": 3, "save_every": 5, **changes}
    train(settings(corpus, tmp_path / "whole", **options))
    stop_after(settings(corpus, tmp_path / "cut", **options), 3)
    assert inspect_checkpoint(tmp_path / "cut", registry.resolve(options.get("model", "RWKV6@TINY"))).step == 3
    torch.manual_seed(123)  # whatever was drawn in between
    stop_after(settings(corpus, tmp_path / "cut", resume=True, **options), 6)
    train(settings(corpus, tmp_path / "cut", resume=True, **options))
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert [line["step"] for line in logged(tmp_path / "cut")] == [2, 3, 4, 6, 8]


def test_warnings_and_spikes_go_on_as_they_were(corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"log_every": 2, "lr": 0.5, "clip": 100.0, "spike_ratio": 1.01, "warmup_ratio": 0.3}
    train(settings(corpus, tmp_path / "whole", **options))
    stop_after(settings(corpus, tmp_path / "cut", **options), 4)
    train(settings(corpus, tmp_path / "cut", resume=True, **options))
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert any("spike: loss is" in warning for line in logged(tmp_path / "cut") for warning in line["warnings"])


@pytest.fixture(scope="module")
def saved_often(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that are killed: sums over more round otherwise
    try:
        return train(settings(corpus, tmp_path_factory.mktemp("often") / "whole", save_every=2, log_every=1))
    finally:
        torch.set_num_threads(threads)


# Renames are of the tokenizer twice, then of state, weights and configuration at each save; written by safetensors are
# state and weights: all of these kills are in the second save.
@pytest.mark.parametrize(
    "kill", ["torn:2", "torn:3", "sync:11", "before:5", "after:5", "before:6", "after:6", "after:7"]
)
def test_a_run_killed_in_a_save_goes_on_exactly(corpus: Path, tmp_path: Path, saved_often: Path, kill: str) -> None:
    often = settings(corpus, tmp_path / "cut", save_every=2, log_every=1)
    assert run_killed(often, kill) == -signal.SIGKILL
    done = kill in ("torn:3", "after:5", "before:6", "after:6", "after:7")  # what decides is the state's rename
    assert read_record(tmp_path / "cut")["step"] == (4 if done else 2)
    assert inspect_checkpoint(tmp_path / "cut", registry.resolve("RWKV6@TINY")).step == (4 if kill == "after:7" else 2)
    train(replace(often, resume=True))
    assert_same_run(saved_often, tmp_path / "cut")
    assert [line["step"] for line in logged(tmp_path / "cut")] == list(range(1, 9))


def test_a_run_killed_in_its_first_save_is_started_anew(corpus: Path, tmp_path: Path) -> None:
    often = settings(corpus, tmp_path / "cut", save_every=2, log_every=1)
    assert run_killed(often, "torn:0") == -signal.SIGKILL
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(settings(corpus, tmp_path / "cut", resume=True))
    train(settings(corpus, tmp_path / "cut"))
    assert [line["step"] for line in logged(tmp_path / "cut")] == [3, 4, 6, 8]


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(settings(corpus, tmp_path_factory.mktemp("run") / "done"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 1e-3}, r"done: lr is 0.001, the run was started with 0.002; give what it was started with"),
        ({"model": "GF-MH@TINY"}, "model is 'GF-MH@TINY', the run was started with 'RWKV6@TINY'"),
        ({"seed": 1}, "seed is 1"),
        ({"steps": 4}, "steps is 4, but the run has taken 8 already"),
        ({"overwrite": True}, "both resume and overwrite"),
        ({"valid": "corpus"}, "the text of (corpus|validation) is"),
        ({"tokenizer": "none.json"}, "none.json: no such file"),
    ],
    ids=str,
)
def test_what_differs_is_named(corpus: Path, finished: Path, changes: dict[str, Any], message: str) -> None:
    if "valid" in changes:
        other = corpus.with_name("other") / "prose.txt"
        other.parent.mkdir(exist_ok=True)
        other.write_text(corpus.read_text() + "\n<|endoftext|>\nOne document more.")
        changes = {"corpus": (str(other),)}
    with pytest.raises(ValueError, match=message):
        train(settings(corpus, finished, resume=True, **changes))


def test_a_finished_run_is_not_lost_by_mistake_and_may_grow(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(settings(corpus, out))
    with pytest.raises(
        ValueError, match="holds a run at step 8: give --resume to go on, --overwrite, or another --out"
    ):
        train(settings(corpus, out))
    train(settings(corpus, out, resume=True, steps=12, model="rwkv6@tiny"))
    assert [line["step"] for line in logged(out)] == [3, 4, 6, 8, 9, 12]
    train(settings(corpus, out, overwrite=True, keep_state=False))
    assert [line["step"] for line in logged(out)] == [3, 4, 6, 8]
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "train_log.jsonl",
    ]
    with pytest.raises(ValueError, match=r"holds model.safetensors and nothing to go on from: give --overwrite"):
        train(settings(corpus, out))


def test_a_damaged_state_is_one_line(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"no state")
    with pytest.raises(ValueError, match=r"training_state.safetensors cannot be read .*start anew with overwrite"):
        train(settings(corpus, tmp_path, resume=True))


def test_a_run_that_is_overwritten_leaves_nothing_behind_when_it_fails(corpus: Path, tmp_path: Path) -> None:
    out = train(settings(corpus, tmp_path / "run"))
    with pytest.raises(ValueError, match="vocab_size is 100"):
        train(settings(corpus, out, overwrite=True, vocab_size=100))
    assert inspect_checkpoint(out, registry.resolve("RWKV6@TINY")).step == 8  # not a byte of another was there yet
    with pytest.raises(RuntimeError, match="killed"):
        train(settings(corpus, out, overwrite=True, vocab_size=300), fail)
    assert {path.name for path in out.glob("[!.]*")} == {"tokenizer.json", "train_log.jsonl"}
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(settings(corpus, out, resume=True))
    train(settings(corpus, out))


def test_a_log_that_lacks_lines_is_not_filled_up(corpus: Path, tmp_path: Path) -> None:
    out = train(settings(corpus, tmp_path / "run"))
    size = (out / "train_log.jsonl").stat().st_size
    os.truncate(out / "train_log.jsonl", size - 1)
    with pytest.raises(ValueError, match=rf"train_log.jsonl has {size - 1:,} bytes, its run had written {size:,}"):
        train(settings(corpus, out, resume=True, steps=9))


@pytest.mark.parametrize("what", ["loss", "weight"])
def test_a_ruined_run_does_not_take_the_place_of_the_last_good_state(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def broken(step: Step, batch: Batch, number: int) -> Any:
        loss, norm = working(step, batch, number)
        if number == 5 and what == "weight":
            torch.nn.init.constant_(step.parameters[0], float("nan"))
        return (loss * float("nan") if number == 5 and what == "loss" else loss), norm

    working = Step.__call__
    monkeypatch.setattr(Step, "__call__", broken)
    with pytest.raises(FloatingPointError, match=f"a {what} .*is not finite at step 6, which is not saved: lower lr"):
        train(settings(corpus, tmp_path / "run", log_every=50, eval_every=50, save_every=2))
    assert read_record(tmp_path / "run")["step"] == 4
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "run" / "model.safetensors").values())


def test_a_resumed_run_may_log_more_often(corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"log_every": 50, "eval_every": 50, "save_every": 7}
    with pytest.raises(RuntimeError, match="killed"):
        train(settings(corpus, tmp_path, **options), fail)
    train(settings(corpus, tmp_path, resume=True, **{**options, "log_every": 5, "steps": 10}))
    assert [line["step"] for line in logged(tmp_path)] == [10]


def test_ctrl_c_acts_at_once_while_text_is_read(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def pressed(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on reading")

    # A job in the background, as some runners start tests, ignores the key.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    for module, run in ((loop, train), (compare, lambda config: compare.compare_models(["HY"], config))):
        monkeypatch.setattr(module, "open_inputs", pressed)
        with pytest.raises(KeyboardInterrupt):
            run(settings(corpus, tmp_path / "run"))


def test_two_runs_do_not_train_into_one_folder(corpus: Path, tmp_path: Path) -> None:
    def second(line: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"another process trains into .*run now: wait for it, or give another"):
            train(settings(corpus, tmp_path / "run", overwrite=True))
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(settings(corpus, tmp_path / "run"), second)
    with pytest.raises(RuntimeError, match="killed"):  # the folder is free again
        train(settings(corpus, tmp_path / "run"), fail)


def test_training_files_are_compared_in_order_whatever_validates(corpus: Path, tmp_path: Path) -> None:
    words = corpus.read_text()
    paths = [tmp_path / folder / "prose.txt" for folder in ("one", "other", "valid")]
    for path, mark in zip(paths, "qxz", strict=True):
        path.parent.mkdir()
        path.write_text(words.replace("e", mark))
    one, other, valid = map(str, paths)
    options: dict[str, Any] = {"valid": (valid,), "tokenizer_kind": "char", "steps": 2, "allow_leaks": True}
    train(settings(corpus, tmp_path / "run", **options, **{"corpus": (one, other)}))
    log = tmp_path / "run" / "train_log.jsonl"
    assert log.read_text().count("leaked_share") == 1
    train(settings(corpus, tmp_path / "run", resume=True, **{**options, "steps": 3, "corpus": (one, other)}))
    assert log.read_text().count("leaked_share") == 1, "it is said once, however often the run goes on"
    for changed in ((other, one), (other, other), (one,)):
        with pytest.raises(ValueError, match="the text of corpus is"):
            train(settings(corpus, tmp_path / "run", resume=True, **options, **{"corpus": changed}))
