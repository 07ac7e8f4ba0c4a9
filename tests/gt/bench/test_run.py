"""What a benchmark run measures, seen to respond: slow models, bad learning rates, models that do not fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gt.bench import run as bench_run
from gt.bench import throughput
from gt.bench.config import BenchConfig
from gt.bench.parts import parts_of, step_parts
from gt.bench.peak import PeakError
from gt.bench.record import BenchRecord
from gt.bench.run import bench
from gt.bench.stability import stability
from gt.bench.timing import alternate
from gt.kernels import BACKENDS
from gt.subject import MAX_THREADS, Subject, SubjectRequest, load_subject, plan_subject

PAUSE_S = 0.05


def quiet(done: int, total: int, note: str) -> None:
    pass


def subject(name: str = "GF@TINY", **request: Any) -> Subject:
    return load_subject(plan_subject(SubjectRequest(model=name, device="cpu", **request)), quiet)


def slow(module: nn.Module, seconds: float = PAUSE_S) -> None:
    """Make every forward pass of a module take longer."""
    forward = module.forward

    def slowed(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return forward(*arguments, **options)

    module.forward = slowed


def small(**settings: Any) -> BenchConfig:
    base: dict[str, Any] = {"batch": "1", "length": "8", "decode_batch": "2", "steps": 6, "repeats": 3, "threads": 1}
    return BenchConfig(**{**base, "device": "cpu", **settings})


@pytest.fixture
def second_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the models of a run, all but the first sleep in every forward pass."""
    load: Callable[..., Subject] = bench_run.load_subject
    loaded: list[Subject] = []

    def loading(*arguments: Any) -> Subject:
        loaded.append(load(*arguments))
        if len(loaded) > 1:
            slow(loaded[-1].model, 4 * PAUSE_S)
        return loaded[-1]

    monkeypatch.setattr(bench_run, "load_subject", loading)
    monkeypatch.setattr(throughput, "TOKENS_PER_CALL", 2)


def test_a_planted_sleep_shows_in_every_speed_and_ratio(second_is_slow: None) -> None:
    record = bench(["Mamba2@TINY", "RWKV6@TINY"], small(only="B1"), quiet)
    fast, slowed = record.cells
    assert (fast.model, slowed.model) == ("Mamba2@TINY", "RWKV6@TINY")
    for kind in ("training", "forward"):
        speed = getattr(slowed, kind)
        assert 0 < speed.q1 <= speed.median <= speed.q3
        assert speed.median < 8 / (4 * PAUSE_S)
        assert getattr(fast, kind).median > speed.median
    assert slowed.training.median < slowed.forward.median
    assert record.decoding[1].speed is not None
    assert record.decoding[1].speed.median < 2 / (4 * PAUSE_S)
    assert {ratio.what for ratio in record.ratios} == {"training", "forward", "decoding"}
    assert all(ratio.ratio.median < 1 for ratio in record.ratios)
    assert {(ratio.model, ratio.against) for ratio in record.ratios} == {("RWKV6@TINY", "Mamba2@TINY")}


def test_the_record_says_what_was_measured_where() -> None:
    notes: list[tuple[int, int, str]] = []
    config = small(only="B1,B3", batch="1,2", steps=2, profile=True)
    record = bench(["gf@tiny"], config, lambda *note: notes.append(note))
    assert record.schema == "groundthink.bench/1"
    assert [(cell.batch, cell.length) for cell in record.cells] == [(1, 8), (2, 8)]
    assert all(cell.training and cell.forward and cell.parts and not cell.reason for cell in record.cells)
    assert all(cell.memory and cell.memory.predicted and cell.memory.measured is None for cell in record.cells)
    assert record.settings["batch"] == "1,2"
    (model,) = record.models
    assert model["name"] == "GF@TINY"
    assert set(model["kernels"]) == BACKENDS.keys()
    assert record.environment["torch"] == torch.__version__
    assert record.environment["threads"] == 1
    (stable,) = record.stability
    assert (stable.steps, stable.batch, stable.length) == (2, 8, 64)
    assert len(stable.corpus_sha256) == 64
    assert notes[-1] == (8, 8, "done")
    assert [done for done, _, _ in notes] == sorted(done for done, _, _ in notes)


def test_the_bench_leaves_torchs_threads_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(bench_run._Run, "measure", lambda self: seen.append(torch.get_num_threads()))
    torch.set_num_threads(MAX_THREADS + 1)
    bench(["RWKV6@TINY"], small(threads=0), quiet)
    assert seen == [MAX_THREADS + 1], "not a subject's number of threads"


def test_a_cell_that_does_not_fit_says_so_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "available_memory", lambda: 60 * 2**20)
    record = bench(["RWKV6@TINY"], small(only="B1", batch="1,64"), quiet)
    fits, does_not = record.cells
    assert fits.training is not None
    assert not fits.reason
    assert does_not.training is None
    assert does_not.forward is None
    assert does_not.reason.startswith("does not fit: about ")
    assert does_not.reason.endswith("60 MiB available")


def test_two_models_that_fit_alone_may_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "available_memory", lambda: 30 * 2**20)
    alone = bench(["RWKV6@TINY"], small(only="B1"), quiet)
    assert not alone.cells[0].reason
    together = bench(["RWKV6@TINY", "GF@TINY"], small(only="B1"), quiet)
    assert all(cell.reason.startswith("does not fit") for cell in together.cells)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "does not fit: the GPU ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "does not fit: DefaultCPUAllocator"),
        (ValueError("the model reads at most 4 tokens\nmore"), "the model reads at most 4 tokens"),
    ],
    ids=["gpu", "cpu", "refused"],
)
def test_what_a_model_raises_is_the_reason_of_its_cell(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def failing(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(throughput, "forward", failing)
    record = bench(["RWKV6@TINY"], small(only="B1"), quiet)
    (cell,) = record.cells
    assert cell.reason.startswith(reason)
    assert "\n" not in cell.reason
    assert record.decoding[0].speed is not None, "the table goes on"


def test_memory_that_cannot_be_measured_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: Any) -> Any:
        raise PeakError("does not fit: the process was killed")

    monkeypatch.setattr(bench_run, "measure", killed)
    (cell,) = bench(["RWKV6@TINY"], small(only="B1,B2"), quiet).cells
    assert cell.memory is not None
    assert cell.memory.measured is None
    assert cell.memory.reason == cell.reason == "does not fit: the process was killed"
    assert cell.training is None


@pytest.mark.parametrize("models", [[], ["GF@TINY", "gf@tiny"], ["GF@TINY", "nothing"]])
def test_models_are_named_once_and_exist(models: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected at least one|unknown model"):
        bench(models, small(), quiet)


def test_decoding_continues_from_the_state() -> None:
    one = subject()
    seen: list[tuple[int, ...]] = []
    one.model.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    decode = throughput.decoding(one, 3)
    decode()
    assert seen == [(3, throughput.PROMPT_TOKENS)] + [(3, 1)] * throughput.TOKENS_PER_CALL
    decode()
    assert len(seen) == 1 + 2 * throughput.TOKENS_PER_CALL, "the prompt is read once"


def test_training_changes_the_weights_and_the_forward_pass_keeps_no_graph() -> None:
    one = subject("RWKV6@TINY")
    before = [p.detach().clone() for p in one.model.parameters()]
    logits = throughput.forward(one, 2, 8)()
    assert isinstance(logits, torch.Tensor)
    assert not logits.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, one.model.parameters(), strict=True))
    throughput.training(one, 2, 8, graph=True)()
    assert not all(torch.equal(a, b) for a, b in zip(before, one.model.parameters(), strict=True))


def test_larger_batches_take_longer() -> None:
    one = subject("RWKV6@TINY")
    timings = alternate(
        {str(batch): throughput.training(one, batch, 64, graph=False) for batch in (1, 64)},
        repeats=5,
        calls=5,
        budget_s=60,
    )
    assert timings.speedup("64", "1").median < 0.5


def test_stability_tells_learning_from_diverging() -> None:
    healthy = stability(subject("RWKV6@TINY"), 20, 1e-3)
    assert healthy.finite_steps == 20
    assert healthy.loss_end < healthy.loss_start - 0.3
    assert healthy.last_loss < healthy.first_loss
    diverging = stability(subject("RWKV6@TINY"), 6, 10.0)
    assert not diverging.loss_end < diverging.loss_start
    wrong_sign = stability(subject("RWKV6@TINY", sabotage="reversed-gradient"), 6, 1e-3)
    assert wrong_sign.loss_end > wrong_sign.loss_start
    assert stability(subject("RWKV6@TINY"), 20, 1e-3) == healthy, "one seed, one result"


def test_stability_ends_with_the_first_loss_that_is_not_finite() -> None:
    broken = stability(subject("RWKV6@TINY", sabotage="nan-weight"), 5, 1e-3)
    assert broken.finite_steps == 0
    assert broken.loss_end != broken.loss_end


def shares(found: Subject) -> dict[str, float]:
    parts = step_parts(found, 2, 8, 3)
    assert [part.share for part in parts] == sorted((part.share for part in parts), reverse=True)
    assert all(part.ms >= 0 for part in parts)
    assert sum(part.share for part in parts) == pytest.approx(1)
    return {part.name: part.share for part in parts}


def test_parts_cover_the_step_and_find_what_is_slow() -> None:
    names = {"embedding", "rwkv", "mamba", "fusion", "ffn", "norms", "head", "loss", "optimizer", "rest"}
    healthy = subject()
    found = shares(healthy)
    assert found.keys() == names
    assert all(share > 0 for share in found.values())
    for part in ("fusion", "ffn", "mamba"):
        slowed = subject()
        for module in parts_of(slowed.model)[part]:
            slow(module)
        assert shares(slowed)[part] > 0.5, part


class _SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        time.sleep(12 * PAUSE_S)
        return gradient


@pytest.mark.parametrize("part", ["embedding", "rwkv", "ffn"])
def test_a_slow_backward_pass_is_found_in_its_part(part: str) -> None:
    slowed = subject()
    for module in parts_of(slowed.model)[part]:
        forward = module.forward

        def around(*arguments: Any, forward: Any = forward) -> Any:
            out = forward(*arguments)
            return (_SlowBackward.apply(out[0]), *out[1:]) if isinstance(out, tuple) else _SlowBackward.apply(out)

        module.forward = around
    assert shares(slowed)[part] > 0.4


def test_a_parameter_without_a_gradient_does_not_hide_the_optimizer() -> None:
    one = subject("RWKV6@TINY")
    one.model.register_parameter("unused", nn.Parameter(torch.zeros(3)))
    assert shares(one)["optimizer"] > 0


def test_hooks_are_gone_after_profiling() -> None:
    one = subject("RWKV6@TINY")
    step_parts(one, 1, 4, 1)
    for module in one.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(not p._post_accumulate_grad_hooks for p in one.model.parameters() if p.requires_grad)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_run_on_a_gpu_measures_everything() -> None:
    config = small(device="cuda", only="B1,B2,B3", profile=True, batch="32", length="256")
    record: BenchRecord = bench(["GF@TINY"], config, quiet)
    (cell,) = record.cells
    assert cell.training
    assert cell.forward
    assert cell.parts
    assert cell.memory
    assert cell.memory.predicted
    assert cell.memory.measured
    assert 0.5 < cell.memory.measured / cell.memory.predicted.peak < 2
    assert record.stability[0].finite_steps == config.steps


OWN = """
import torch


class Plain(torch.nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, 8)
        self.head = torch.nn.Linear(8, vocab_size)

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


class Broken(Plain):
    def forward(self, tokens):
        raise RuntimeError("out of cheese")


def nothing(vocab_size):
    return 7
"""


def test_models_of_the_users_own_join_and_a_broken_one_costs_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_bench.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    record = bench(["own_bench:Plain@TINY"], small(only="B1,B3", steps=2, decode_batch="1"), quiet)
    assert record.cells[0].training
    assert record.decoding[0].reason == "does not continue from a state"
    assert record.stability[0].finite_steps == 2
    broken = bench(["own_bench:Broken@TINY"], small(only="B1,B3", steps=2, decode_batch="1"), quiet)
    assert broken.cells[0].reason == "out of cheese"
    assert broken.untrained == {"own_bench:Broken@TINY": "out of cheese"}
    assert broken.stability == []
    with pytest.raises(ValueError, match=r"own_bench:nothing returned int: expected an nn.Module"):
        bench(["own_bench:nothing@TINY"], small(), quiet)
