"""G0 sees a block that runs in one call, and an error in it alone."""

from __future__ import annotations

from typing import Any

import pytest

from gt.kernels import native, native_layers
from gt.measurement import Measurement
from gt.probes.kernels import resolution_and_agreement
from gt.subject import SubjectRequest, load_subject, plan_subject

compiled = pytest.mark.skipif(native.refused("layers") is not None, reason=f"no kernels: {native.refused('layers')}")


def measure(model: str) -> dict[str, Measurement]:
    subject = load_subject(plan_subject(SubjectRequest(model=model, device="cpu")), lambda done, total, note: None)
    return {one.metric: one for one in resolution_and_agreement(subject)}


@compiled
@pytest.mark.parametrize(("model", "ops"), [("GF-MH@TINY", 3), ("HY@TINY", 3), ("RWKV6@TINY", 1), ("Mamba2@TINY", 2)])
def test_a_block_in_one_call_counts_as_an_op(model: str, ops: int) -> None:
    found = measure(model)
    assert found["ops_resolved"].n == ops + 1
    assert [found[name].value for name in ("ops_resolved", "ops_fastest")] == [1, 1]
    assert found["worst_error_ratio"].value is not None
    assert 0 < found["worst_error_ratio"].value < 0.5


def test_where_none_runs_the_ops_alone_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GT_KERNELS", "reference")
    found = measure("GF-MH@TINY")
    assert (found["ops_resolved"].value, found["ops_resolved"].n) == (1, 3)
    assert "block" not in found["ops_resolved"].detail


@compiled
@pytest.mark.parametrize("model", ["GF-MH@TINY", "HY@TINY"])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_an_error_of_the_compiled_layers_alone_is_seen(model: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = native_layers._call

    def wrong(name: str, sizes: Any, *arguments: Any) -> None:
        run(name, sizes, *arguments)
        if name.endswith(way):
            written = arguments[3] if way == "forward" else arguments[-1]  # the output, the gradient of the input
            written.mul_(1.001)

    monkeypatch.setattr(native_layers, "_call", wrong)
    found = measure(model)
    ratio = found["worst_error_ratio"]
    assert ratio.value is not None
    assert ratio.value > 2
    assert "worst: block" in ratio.note
