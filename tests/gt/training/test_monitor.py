"""What a run logs: everything by component, in JSON without NaN, and warnings with their step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gt.probes.gradients import component_balance
from gt.training.loop import train
from gt.training.monitor import Gate, Monitor, finite
from gt.training.step import Step
from tests.gt.training.runs import drawn, one_step, settings, write_prose

GATES = (
    Gate(check="G3", value="grad_norm", passes=(0.5, 1.5)),
    Gate(check="G4", value="rm_ratio", passes=(0.3, None)),
)


def watched(step: Step, interval: int = 4, spike_ratio: float = 1.5) -> Monitor:
    return Monitor(step.model, step, drawn().tokens_BT, GATES, spike_ratio, interval)


def test_a_line_of_a_hybrid_is_complete(tmp_path: Path) -> None:
    text = write_prose(tmp_path / "prose.txt")
    out = train(settings(text, tmp_path / "run", model="GF-MH@TINY", mamba_lr_mult=0.5, gate_freeze_steps=3))
    log = (out / "train_log.jsonl").read_text()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in log.splitlines()]
    line = lines[-1]
    assert line.keys() == {
        *(
            "step",
            "tokens",
            "loss",
            "loss_mean",
            "loss_max",
            "perplexity",
            "grad_norm",
            "lr",
            "lrs",
            "grad_norms",
            "rm_ratio",
        ),
        *("entropy", "activation_variance", "variance_ratio", "state_norm", "gate_mean", "gate_spread", "memory_mib"),
        *("valid_loss", "valid_perplexity", "warnings", "tokens_per_s", "seconds"),
    }
    assert line["lrs"]["mamba"] == pytest.approx(line["lr"] / 2)
    assert lines[0]["lrs"]["fusion"] == 0 < line["lrs"]["fusion"]
    assert line["activation_variance"].keys() == line["state_norm"].keys() == {"rwkv", "mamba"}
    assert len(line["gate_mean"]) == len(line["gate_spread"]) == 4
    assert lines[0]["gate_mean"] == pytest.approx([0.3] * 4, abs=1e-6)
    assert line["gate_mean"] != lines[0]["gate_mean"]
    assert sum(norm**2 for norm in line["grad_norms"].values()) == pytest.approx(line["grad_norm"] ** 2)
    assert line["valid_perplexity"] == pytest.approx(math.exp(line["valid_loss"]))
    assert 0 < line["entropy"] < math.log(320)
    assert line["memory_mib"] > 50


def test_a_transformer_has_what_it_has() -> None:
    step = one_step("GPT2@TINY")
    _, norm = step(drawn(), 0)
    found = watched(step).measure(float(norm))
    assert found.keys() == {"grad_norms", "entropy", "activation_variance", "memory_mib"}
    assert found["grad_norms"] == {"rest": pytest.approx(float(norm))}
    assert found["activation_variance"].keys() == {"attention"}


def test_the_ratio_is_that_of_g4_and_the_variances_are_those_of_the_outputs() -> None:
    step = one_step(clip=0.1)
    _, norm = step(drawn(), 0)
    found = watched(step).measure(float(norm))
    norms: dict[str, list[float]] = {"rwkv": [], "mamba": []}
    for name, parameter in step.model.named_parameters():
        for component in norms:
            if component in name.split(".") and parameter.grad is not None:
                norms[component].append(float(parameter.grad.norm()))
    means = {name: sum(values) / len(values) for name, values in norms.items()}
    assert found["rm_ratio"] == pytest.approx(means["rwkv"] / means["mamba"], rel=1e-4)
    assert "mean gradient norm per parameter tensor" in (component_balance.__doc__ or "")
    _, state, seen = step.model(drawn().tokens_BT, return_states=True, return_activations=True)
    assert found["variance_ratio"] == pytest.approx(float((seen["rwkv_out"].var() / seen["mamba_out"].var()).detach()))
    expected = state["rwkv_state"].flatten(2).norm(dim=-1).mean()
    assert found["state_norm"]["rwkv"] == pytest.approx(float(expected.detach()), rel=1e-5)


def test_uniform_predictions_have_the_largest_entropy() -> None:
    step = one_step()
    with torch.no_grad():
        step.model.norm.weight.zero_()
    step(drawn(), 0)
    with torch.no_grad():
        step.model.norm.weight.zero_()
    assert watched(step).measure(1.0)["entropy"] == pytest.approx(math.log(50))


def test_a_gate_warns_when_its_value_leaves_the_band_and_again_after_it_came_back() -> None:
    monitor = watched(one_step())
    values: list[dict[str, Any]] = [
        {"grad_norm": 1.0, "rm_ratio": 0.5},
        {"grad_norm": 1.0, "rm_ratio": 0.2},
        {"grad_norm": 1.6, "rm_ratio": 0.2},
        {"grad_norm": 1.5, "rm_ratio": 0.3},
        {"grad_norm": 0.49, "rm_ratio": float("nan")},
        {"grad_norm": None},
    ]
    said = [monitor.judge(line, 10 * number) for number, line in enumerate(values)]
    assert said == [
        [],
        ["step 10: G4: rm_ratio is 0.2, outside 0.3-"],
        ["step 20: G3: grad_norm is 1.6, outside 0.5-1.5"],
        [],
        ["step 40: G3: grad_norm is 0.49, outside 0.5-1.5"],
        [],
    ]


def test_a_spike_between_two_lines_is_told_with_its_step() -> None:
    monitor = watched(one_step())
    told = []
    for number, loss in enumerate([2.0, 2.0, 2.0, 2.0, 2.1, 3.2, 2.0, 2.0, 2.9, 2.0], start=1):
        monitor.saw(torch.tensor(loss))
        if number in (4, 8, 10):
            told.append(monitor.interval(number))
    assert [mean for mean, _, _ in told] == pytest.approx([2.0, 2.325, 2.45])
    assert [highest for _, highest, _ in told] == pytest.approx([2.0, 3.2, 2.9])
    assert [warnings for _, _, warnings in told] == [[], ["step 6: spike: loss is 3.200, before it was 2.000"], []]


def test_gates_wait_for_the_end_of_the_warm_up(tmp_path: Path) -> None:
    text = write_prose(tmp_path / "prose.txt")
    gate = Gate(check="G3", value="grad_norm", passes=(100.0, None))
    lines: list[dict[str, Any]] = []
    train(settings(text, tmp_path / "run", warmup_ratio=0.5, log_every=1), lines.append, [gate])
    assert [bool(line["warnings"]) for line in lines] == [False] * 4 + [True] + [False] * 3
    assert lines[4]["warnings"][0].startswith("step 5: G3: grad_norm is ")


def test_numbers_that_json_lacks_become_null() -> None:
    got = finite({"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": -float("inf"), "e": "nan"}, "f": 3})
    assert got == {"a": None, "b": [1.0, None], "c": {"d": None, "e": "nan"}, "f": 3}


def test_a_loss_that_is_not_finite_is_null_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working = Step.__call__

    def broken(step: Step, *arguments: Any) -> Any:
        loss, norm = working(step, *arguments)
        return loss * float("nan"), norm * float("inf")

    monkeypatch.setattr(Step, "__call__", broken)
    with pytest.raises(FloatingPointError):
        train(settings(write_prose(tmp_path / "prose.txt"), tmp_path / "run"), gates=GATES)
    line = json.loads((tmp_path / "run" / "train_log.jsonl").read_text(), parse_constant=pytest.fail)
    assert line["loss"] is line["loss_mean"] is line["perplexity"] is line["grad_norm"] is None
