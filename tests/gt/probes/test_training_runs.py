"""L1 and L3-L5: learning by heart stops when it should, lost moments and spikes are seen, and only like is compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.baseline import find_baseline
from gt.checkpoint import CheckpointInfo, inspect_checkpoint, sha256_of
from gt.data.config import DataSource
from gt.measurement import Measurement, Unmeasurable
from gt.probes import learning, training_runs
from gt.resources import fixtures_dir
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from gt.training.compare import compare_models
from gt.training.loop import train
from gt.training.stream import TokenStream
from pytest_groundthink.checks import load_checks
from tests.gt.training.runs import settings, write_prose

BOOK = load_checks(fixtures_dir() / "checks.yaml")


def status(check: str, measurements: tuple[Measurement, ...]) -> str:
    described = BOOK.checks[check]
    return str(described.bands["default"].judge(measurements, described.metrics)[0])


def load(**request: Any) -> Subject:
    plan = plan_subject(SubjectRequest(device="cpu", run_id="this", **request))
    return load_subject(plan, lambda done, total, note: None)


class Scaled(nn.Module):
    """Predicts the token after its own number, as surely as `scale` says."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.limit = scale

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return nn.functional.one_hot((tokens_BT + 1) % 50, 50) * (self.scale.tanh() * 0 + self.limit)


def by_heart(model: nn.Module, learned: float = 0.1) -> dict[str, list[float]]:
    counting = TokenStream([number % 50 for number in range(2000)], 100)
    subject: Any = SimpleNamespace(
        build=lambda: model, train_tokens=counting, device=torch.device("cpu"), progress=lambda *args: None
    )
    return learning._learn_by_heart(subject, learned)


def test_learning_by_heart_stops_when_learned() -> None:
    learned = by_heart(Scaled(10.0))
    assert len(learned["losses"]) == 1
    assert len(learned["final"]) == 10
    assert max(learned["final"]) < 0.1


def test_learning_by_heart_gives_up() -> None:
    assert len(by_heart(Scaled(1.0))["losses"]) == learning.MOST_STEPS
    assert len(by_heart(Scaled(1.0), learned=9.0)["losses"]) == 1


def test_learning_by_heart_stops_where_nothing_is_finite() -> None:
    assert len(by_heart(Scaled(float("nan")))["losses"]) == 1


def test_a_resumed_run_is_the_same_unless_moments_are_lost(own_cache: Path) -> None:
    subject = load(model="RWKV6@TINY")
    healthy = training_runs.resuming(subject)
    assert status("L3", healthy) == "PASS"
    assert healthy[0].n == 10  # 8 losses, the logits of the run and of the checkpoint
    before = torch.get_rng_state()
    broken = training_runs.resuming(load(model="RWKV6@TINY", sabotage="lost-moments"))
    assert status("L3", broken) == "FAIL"
    assert torch.equal(torch.get_rng_state(), before)
    again = training_runs.resuming(load(model="RWKV6@TINY"))
    assert again[0].value == healthy[0].value


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("model", ["GF-MH@TINY", "GPT2@TINY"])
def test_on_a_gpu_too_a_resumed_run_is_the_same_unless_moments_are_lost(model: str, own_cache: Path) -> None:
    def on_gpu(**request: Any) -> Subject:
        plan = plan_subject(SubjectRequest(model=model, device="cuda", run_id="this", **request))
        return load_subject(plan, lambda done, total, note: None)

    healthy = training_runs.resuming(on_gpu())
    print(model, healthy[0].value, healthy[0].note)
    assert status("L3", healthy) == "PASS"
    assert not torch.are_deterministic_algorithms_enabled()
    assert status("L3", training_runs.resuming(on_gpu(sabotage="lost-moments"))) == "FAIL"


def test_a_part_that_is_not_saved_is_seen(own_cache: Path) -> None:
    subject = load(model="RWKV6@TINY")
    build = subject.build

    def counting() -> nn.Module:
        """A running scale that no checkpoint holds."""
        model = build()
        calls = [0]

        def scale(module: nn.Module, args: object, output: Any) -> Any:
            calls[0] += torch.is_grad_enabled()
            return output * (1 + 0.01 * calls[0])

        model.get_submodule("norm").register_forward_hook(scale)
        model.thread_safe = False  # type: ignore[assignment]
        return model

    subject.build = counting  # type: ignore[method-assign]
    (found,) = training_runs.resuming(subject)
    assert status("L3", (found,)) == "FAIL"


def logged(tmp_path: Path, losses: list[Any], scale_steps: int = 0, **more: Any) -> Any:
    """A subject whose log has these losses, every 100 steps."""
    path = tmp_path / "train_log.jsonl"
    lines = [{"step": 100 * number, "loss": loss, **more} for number, loss in enumerate(losses, start=1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    info = CheckpointInfo(path=tmp_path, config=None, sha256="", train_log=path)
    return SimpleNamespace(plan=SimpleNamespace(checkpoint=info), size=lambda name: scale_steps)


FALLING = [8.0, 6.0, 5.0, 4.5, 4.2, 4.0, 3.9, 3.8, 3.7, 3.6, 3.5]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (FALLING, "PASS"),
        ([*FALLING, 8.0], "WARN"),  # 1.7 times the mean of the ten before
        ([*FALLING, 10.0], "FAIL"),
        ([*FALLING, 10.0, *FALLING], "FAIL"),
        ([*FALLING, None], "FAIL"),
    ],
)
def test_a_spike_is_told_from_a_fall(tmp_path: Path, losses: list[Any], expected: str) -> None:
    assert status("L4", training_runs.training_log(logged(tmp_path, losses))) == expected


def test_the_highest_loss_between_two_lines_counts(tmp_path: Path) -> None:
    measurements = training_runs.training_log(logged(tmp_path, [4.0] * 5, loss_max=9.0, loss_mean=4.0))
    assert measurements[0].value == 9 / 4


def test_a_log_covers_the_steps_that_the_scale_asks_for(tmp_path: Path) -> None:
    short = training_runs.training_log(logged(tmp_path, FALLING, scale_steps=10000))
    assert {m.metric: m.value for m in short}["covered_steps"] == pytest.approx(0.11)
    assert status("L4", short) == "FAIL"
    assert status("L4", training_runs.training_log(logged(tmp_path, FALLING, scale_steps=1000))) == "PASS"


def test_a_plateau_is_a_share_of_the_steps(tmp_path: Path) -> None:
    plateau = {m.metric: m.value for m in training_runs.training_log(logged(tmp_path, [4.0, 2.0, *[2.0] * 19]))}
    # The mean of ten lines falls for as long as the first line is among them.
    assert plateau["longest_plateau"] == pytest.approx(10 / 20)


def test_what_is_no_log_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(Unmeasurable, match="has 2 lines with a loss, needed are 3"):
        training_runs.training_log(logged(tmp_path, [4.0, 3.0]))
    subject = logged(tmp_path, FALLING)
    with (tmp_path / "train_log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 12, "lo')
    with pytest.raises(Unmeasurable, match="line 12: expected JSON with step and loss"):
        training_runs.training_log(subject)
    with pytest.raises(Unmeasurable, match="no training log"):
        training_runs.training_log(SimpleNamespace(plan=SimpleNamespace(checkpoint=None)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, trained alike for a few steps."""
    folder = tmp_path_factory.mktemp("compared")
    text = write_prose(folder / "prose.txt")
    tokenizer = str(fixtures_dir() / "checkpoints/gf-mh-3.5m/tokenizer.json")
    compare_models(["GF-MH@TINY", "GPT2@TINY"], settings(text, folder / "runs", steps=3, tokenizer=tokenizer))
    return folder / "runs"


def judged_from(folder: Path, **request: Any) -> tuple[Measurement, ...]:
    return training_runs.against_gpt2(load(model="GF-MH@TINY", ckpt=str(folder), **request))


def test_the_gpt2_of_the_same_comparison_is_the_baseline(compared: Path) -> None:
    ratio, parameters = judged_from(compared / "GF-MH@TINY-seed-0")
    assert ratio.value is not None
    assert ratio.ci95 is not None
    assert ratio.ci95[0] < ratio.value < ratio.ci95[1]
    assert ratio.value == pytest.approx(1, abs=0.1)  # after three steps neither knows anything
    assert parameters.value == pytest.approx(992860 / 1007840)
    broken = judged_from(compared / "GF-MH@TINY-seed-0", sabotage="shifted-embedding")
    assert broken[0].value is not None
    assert broken[0].value > ratio.value


def known_again(folder: Path, fault: str | None = None) -> tuple[float | None, str]:
    found = training_runs._known_again(load(model="GF-MH@TINY", ckpt=str(folder), sabotage=fault))
    band = BOOK.checks["L3"].bands["default"].bands["recorded_loss_error"]
    return found[0].value, str(band.status(found[0].value))


def test_a_checkpoint_is_known_again_by_its_recorded_losses(compared: Path) -> None:
    value, verdict = known_again(compared / "GF-MH@TINY-seed-0")
    assert value == pytest.approx(0, abs=1e-5)
    assert verdict == "PASS"
    for fault in ("huge-weight", "collapsed-logits", "nan-weight"):
        assert known_again(compared / "GF-MH@TINY-seed-0", fault)[1] == "FAIL"


def test_a_checkpoint_without_recorded_losses_is_not_asked_for_them(alone: Path) -> None:
    path = alone / "config.json"
    header = json.loads(path.read_text())
    assert len(header["training"].pop("fixed_text_losses")) == 32
    path.write_text(json.dumps(header))
    assert training_runs._known_again(load(model="GF-MH@TINY", ckpt=str(alone))) == ()


def test_validation_text_in_training_is_in_the_record(tmp_path: Path) -> None:
    """The run validates on a text that it trains on, which has to be allowed."""
    text = write_prose(tmp_path / "prose.txt")
    valid = (DataSource(path=str(text)),)
    train(settings(text, tmp_path / "run", steps=30, log_every=10, valid=valid, allow_leaks=True))
    measurements = training_runs.training_log(load(model="RWKV6@TINY", ckpt=str(tmp_path / "run")))
    assert {one.metric: one.value for one in measurements}["leaked_share"] == pytest.approx(1, abs=0.02)
    assert status("L4", measurements) == "FAIL"
    header = json.loads((tmp_path / "run" / "config.json").read_text())
    assert header["training"]["leaked_documents"] == header["training"]["leaked_windows"] == 1
    header["training"] = {name: value for name, value in header["training"].items() if not name.startswith("leaked")}
    (tmp_path / "run" / "config.json").write_text(json.dumps(header))
    older = training_runs.training_log(load(model="RWKV6@TINY", ckpt=str(tmp_path / "run")))
    assert {one.metric for one in measurements} - {one.metric for one in older} == {"leaked_share"}


def test_a_loss_that_shot_up_is_seen_though_it_came_down() -> None:
    def fallen(losses: list[float]) -> str:
        run = SimpleNamespace(losses=losses, norms=[1.0] * len(losses), cached=False)
        return status("G3", learning.mini_training(SimpleNamespace(mini_training=run, g3_steps=len(losses))))  # type: ignore[arg-type]

    falling = [7.0 - 0.01 * step for step in range(100)]
    assert fallen(falling) == "PASS"
    assert fallen([7.0, 7.3, 7.3, *falling]) == "WARN"
    assert fallen([7.0, 8.4, 9.0, *falling]) == fallen([7.0, 7.8, 7.8, *falling]) == "FAIL"
    assert fallen([*falling[:50], 9.0, *falling[50:]]) == "PASS", "one batch of odd text is not a step too large"


@pytest.fixture
def alone(compared: Path, tmp_path: Path) -> Path:
    """The checkpoint with its baseline inside."""
    shutil.copytree(compared / "GF-MH@TINY-seed-0", tmp_path / "mine")
    shutil.copytree(compared / "GPT2@TINY-seed-0", tmp_path / "mine" / "baseline")
    return tmp_path / "mine"


def test_a_baseline_may_lie_in_the_checkpoint(alone: Path, compared: Path) -> None:
    assert judged_from(alone)[0].value == judged_from(compared / "GF-MH@TINY-seed-0")[0].value
    shutil.rmtree(alone / "baseline")
    with pytest.raises(Unmeasurable, match=r"no GPT2@TINY to compare with: .*train --compare GF-MH@TINY GPT2@TINY"):
        judged_from(alone)


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("lr", 0.5, "lr is 0.5 for 0.002"),
        ("hashes", {"other.txt": "0"}, r"hashes is \{'other.txt': '0'\} for \{'"),
        ("dtype", None, "dtype is None for 'float32'"),
        ("seed", 7, "seed is 7 for 0"),
        ("tokens_before", 512, "tokens_before is 512 for not recorded"),
        ("hashes_before", [{"corpus": "0"}], r"hashes_before is \[\{'corpus': '0'\}\] for not recorded"),
        ("average_from", 0.5, "average_from is 0.5 for not recorded"),
    ],
)
def test_what_was_trained_otherwise_is_not_compared(alone: Path, setting: str, value: Any, reason: str) -> None:
    path = alone / "baseline" / "config.json"
    header = json.loads(path.read_text())
    header["training"][setting] = value
    path.write_text(json.dumps(header))
    with pytest.raises(Unmeasurable, match=f"was not trained alike: {reason}"):
        judged_from(alone)


def test_another_tokenizer_or_length_is_not_compared(alone: Path) -> None:
    tokenizer = alone / "baseline" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    path = alone / "baseline" / "config.json"
    header = json.loads(path.read_text())
    header["step"] = 2
    header["tokenizer_sha256"] = sha256_of(tokenizer)
    path.write_text(json.dumps(header))
    with pytest.raises(Unmeasurable, match="not trained alike: another tokenizer; 2 steps for 3"):
        judged_from(alone)


def test_settings_of_components_and_places_may_differ(alone: Path) -> None:
    path = alone / "config.json"
    header = json.loads(path.read_text())
    header["training"] |= {
        "rwkv_lr_mult": 2.0,
        "balance": 0.1,
        "log_every": 7,
        "device": "another",
        "out": "x",
        "init": {},
    }
    path.write_text(json.dumps(header))
    assert judged_from(alone)[0].value is not None


def test_how_much_larger_than_its_baseline_a_model_may_be_is_data(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = registry.resolve("GF-MH@TINY")
    assert find_baseline(inspect_checkpoint(alone, spec), spec)
    monkeypatch.setattr(registry, "limit", {"baseline_parameters": 0.1}.__getitem__)
    with pytest.raises(ValueError, match=r"parameters, this model .*: too many to compare"):
        find_baseline(inspect_checkpoint(alone, spec), spec)


def test_another_model_than_gpt2_is_no_baseline(alone: Path) -> None:
    shutil.rmtree(alone / "baseline")
    shutil.copytree(alone, alone.parent / "copy")
    shutil.move(alone.parent / "copy", alone / "baseline")
    with pytest.raises(Unmeasurable, match="holds GF-MH@TINY, but GPT2@TINY was asked for"):
        judged_from(alone)
