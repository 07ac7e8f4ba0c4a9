"""Predicted memory against what autograd saves and what a process grows by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gt import registry
from gt.bench.memory import HEADROOM, OPS, available_memory, predict, too_large
from gt.bench.peak import PeakError, PeakRequest, measure
from gt.kernels import BACKENDS, native_step, resolve
from gt.models.hybrid import HybridLM
from gt.subject import SubjectRequest
from gt.training.optim import make_optimizer, next_token_loss, train_step

MIB = 2**20
MEASURED_WITHIN = 2.0  # docs/bench.md: allocators and scratch space of kernels come on top of what tensors hold


def saved_bytes(name: str, batch: int, length: int) -> int:
    """Bytes of all storages that the graph of a training step keeps, without the parameters."""
    model = HybridLM(registry.resolve(name).config(512))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.randint(512, (batch, length + 1))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        next_token_loss(model, tokens)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


# docs/bench.md says how near; with "token_mix=reference" Mamba's mixer is still one call, RWKV's is none.
@pytest.mark.parametrize(
    ("backend", "within"), [("", 0.01), ("token_mix=reference", 0.01), ("chunked", 0.15), ("reference", 0.15)]
)
@pytest.mark.parametrize("model", ["GF@TINY", "RWKV6@TINY", "Mamba2@TINY", "HY@TINY", "WS@TINY"])
@pytest.mark.parametrize(("batch", "length"), [(1, 48), (4, 64)])
def test_activations_are_what_autograd_saves(
    monkeypatch: pytest.MonkeyPatch, backend: str, within: float, model: str, batch: int, length: int
) -> None:
    monkeypatch.setenv("GT_KERNELS", backend)
    backends = {op: resolve(op, "cpu").backend.name for op in BACKENDS}
    if within == 0.01 and backends["wkv6"] != "native":
        pytest.skip("no compiled kernels here")
    predicted = predict(registry.resolve(model).config(512), batch, length, backends=backends)
    assert predicted is not None
    assert predicted.activations + predicted.logits == pytest.approx(saved_bytes(model, batch, length), rel=within)


def test_a_mixer_is_one_call_only_where_it_can_be() -> None:
    assert OPS == {"rwkv": native_step.RWKV6_OPS, "mamba": native_step.MAMBA2_OPS}
    config = registry.resolve("GF@TINY").config(512)

    def activations(backends: dict[str, str], dtype: str = "float32", autocast: bool = False) -> int:
        found = predict(config, 2, 32, dtype, backends, autocast)
        assert found is not None
        return found.activations

    native = dict.fromkeys(BACKENDS, "native")
    apart = activations({})
    assert activations(native) < activations(native | {"token_mix": "triton"}) < apart
    assert activations(native, autocast=True) == apart
    assert activations(native, "bfloat16") == apart / 2
    assert activations(dict.fromkeys(BACKENDS, "triton")) == apart


def test_the_rest_is_counted_from_the_parameters() -> None:
    config = registry.resolve("GF@TINY").config(512)
    model = HybridLM(config)
    optimizer = make_optimizer(model, 1e-3)
    train_step(model, optimizer, torch.randint(512, (2, 9)), 1.0)
    predicted = predict(config, 2, 8)
    assert predicted is not None
    assert predicted.parameters == sum(p.nbytes for p in model.parameters())
    assert predicted.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    moments = sum(value.nbytes for state in optimizer.state.values() for name, value in state.items() if name != "step")
    assert predicted.moments == moments
    assert predicted.logits == 4 * 2 * 8 * 512
    parts = (predicted.parameters, predicted.gradients, predicted.moments, predicted.activations, predicted.logits)
    assert predicted.peak == sum(parts), "the end of the forward pass, with the last step's gradients"
    spelled_out = predict(config, 2, 8, backends={"cross_entropy": "reference"})
    assert spelled_out is not None
    assert spelled_out.peak == sum(parts) + predicted.logits, "the loss keeps a log-softmax"


def test_prediction_grows_with_batch_length_vocabulary_and_precision() -> None:
    def peak(batch: int = 2, length: int = 32, vocab_size: int = 512, dtype: str = "float32") -> int:
        found = predict(registry.resolve("GF@TINY").config(vocab_size), batch, length, dtype)
        assert found is not None
        return found.peak

    assert peak() < peak(batch=3)
    assert peak() < peak(length=33)
    assert peak() < peak(vocab_size=513)
    assert peak(dtype="bfloat16") == peak() / 2 == peak(dtype="float64") / 4
    one, two, three = (peak(batch=batch) for batch in (100, 200, 300))
    assert three - two == two - one


def test_an_unknown_kind_of_model_has_no_prediction() -> None:
    assert predict(SimpleNamespace(mixers=("attention",)), 1, 1) is None  # type: ignore[arg-type]


def test_measured_memory_follows_the_prediction() -> None:
    grown = {}
    for batch in (4, 32):
        request = PeakRequest(subject=SubjectRequest(model="GF@TINY"), batch=batch, length=64, threads=1)
        grown[batch] = measure(request, "cpu").growth
        backends = {op: resolve(op, "cpu").backend.name for op in BACKENDS}
        predicted = predict(registry.resolve("GF@TINY").config(8192), batch, 64, backends=backends)
        assert predicted is not None
        assert 1 / MEASURED_WITHIN < grown[batch] / predicted.peak < MEASURED_WITHIN
    assert grown[32] > 3 * grown[4]


@pytest.mark.parametrize(
    ("code", "stderr", "reason"),
    [
        (-9, b"", "does not fit: the process was killed"),
        (1, b"Traceback\nValueError: too long", "failed: ValueError: too long"),
    ],
)
def test_a_process_that_fails_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, code: int, stderr: bytes, reason: str
) -> None:
    def failed(*arguments: Any, **options: Any) -> Any:
        return SimpleNamespace(returncode=code, stderr=stderr, stdout=b"")

    monkeypatch.setattr("gt.bench.peak.subprocess.run", failed)
    with pytest.raises(PeakError, match=reason):
        measure(PeakRequest(subject=SubjectRequest(), batch=1, length=1, threads=1), "cpu")


def test_what_is_too_large_is_said_before_it_is_tried() -> None:
    assert too_large(int(HEADROOM * 1000 * MIB), 1000 * MIB) is None
    reason = too_large(900 * MIB, 1000 * MIB)
    assert reason == "does not fit: about 900 MiB needed, 1,000 MiB available"
    assert too_large(None, 1) is None
    assert too_large(1, None) is None
    available = available_memory()
    assert available is None or available > 10 * MIB
