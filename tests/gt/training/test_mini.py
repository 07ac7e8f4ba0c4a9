"""The short trainings of checks: which steps a GPU replays, and that recording leaves no trace and changes nothing."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.models.build import build_model
from gt.probes import learning
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from gt.training import mini, optim
from gt.training.adamw import PlainAdamW
from gt.training.mini import check_step
from gt.training.optim import capture, train_step


def drawn(seed: int = 0) -> Tensor:
    return torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(seed))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return build_model(registry.resolve("GF-MH@TINY").config(50)).eval()


def about(device: str, spec: object = None, sabotage: str | None = None) -> Any:
    spec = spec or registry.resolve("GF-MH@TINY")
    plan = SimpleNamespace(spec=spec, request=SimpleNamespace(sabotage=sabotage))
    return SimpleNamespace(device=torch.device(device), plan=plan)


def test_a_gpu_records_the_step_of_a_whole_model_of_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Tensor] = []

    def record(model: nn.Module, optimizer: PlainAdamW, example_BT: Tensor, clip: float) -> Any:
        recorded.append(example_BT)
        return lambda tokens_BT: "replayed"

    monkeypatch.setattr(mini, "captured_step", record)
    model = tiny()
    for subject in (about("cpu"), about("cuda", sabotage="deaf"), about("cuda", spec=SimpleNamespace(name="own"))):
        step = check_step(subject, model, PlainAdamW(model, 1e-3), drawn())
        assert isinstance(step(drawn())[0], Tensor), "made, not replayed"
    assert not recorded
    assert check_step(about("cuda"), model, PlainAdamW(model, 1e-3), drawn())(drawn()) == "replayed"  # type: ignore[comparison-overlap]
    assert len(recorded) == 1


def test_recording_leaves_weights_and_moments_as_after_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and graphs that do nothing: what is recorded is made as well, once more than on a GPU."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    model, fresh = tiny(), tiny()
    ours, used = PlainAdamW(fresh, 1e-2), PlainAdamW(model, 1e-2)
    capture(lambda tokens_BT: train_step(model, used, tokens_BT, 1.0), (drawn(9),), model, used)
    assert used.state, "it did warm up"
    for seed in range(3):
        expected, got = train_step(fresh, ours, drawn(seed), 1.0), train_step(model, used, drawn(seed), 1.0)
        assert [float(one) for one in got] == [float(one) for one in expected]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, fresh.get_parameter(name)), name
    with pytest.raises(ValueError, match="the optimiser has stepped already"):
        capture(lambda tokens_BT: train_step(model, used, tokens_BT, 1.0), (drawn(),), model, used)


def gpu_subject(model: str) -> Subject:
    return load_subject(plan_subject(SubjectRequest(model=model, device="cuda")), lambda done, total, note: None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("model", ["GF-MH@TINY", "GPT2@TINY"])
def test_replayed_trainings_are_the_trainings(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, steps = gpu_subject(model), 8
    monkeypatch.setattr(learning, "MOST_STEPS", steps)
    replayed, by_heart = mini._train(subject, steps), learning._learn_by_heart(subject, 0.1)
    graphs: list[object] = []

    def eager(model: nn.Module, optimizer: PlainAdamW, example_BT: Tensor, clip: float) -> Any:
        graphs.append(example_BT)
        return lambda tokens_BT: optim.train_step(model, optimizer, tokens_BT, clip)

    monkeypatch.setattr(mini, "captured_step", eager)
    made, made_by_heart = mini._train(subject, steps), learning._learn_by_heart(subject, 0.1)
    assert len(graphs) == 2, "both were replayed before"
    assert len(set(replayed[0])) == steps, "every step read its own batch"
    assert replayed[0] == pytest.approx(made[0], rel=1e-3)
    assert replayed[1] == pytest.approx(made[1], rel=2e-2)
    assert by_heart["losses"] == pytest.approx(made_by_heart["losses"], rel=1e-3)
    assert by_heart["final"] == pytest.approx(made_by_heart["final"], rel=1e-3)
    assert replayed[2].keys() == made[2].keys()
    for name, weight in replayed[2].items():
        # AdamW divides by the gradient's size: where that is nothing but rounding, so is the update.
        assert float((weight - made[2][name]).abs().mean()) < 1e-4, name
