"""Balance of the components: what is reported of each kind of fusion."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gt.probes.gradients import component_balance
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject


def fresh(model: str) -> Subject:
    plan = plan_subject(SubjectRequest(model=model, device="cpu"))
    subject = load_subject(plan, lambda done, total, note: None)
    subject.__dict__["trained_model"] = subject.model  # a fresh model will do here, and spares the training
    subject.__dict__["mini_training"] = SimpleNamespace(losses=[1.0])
    return subject


@pytest.mark.parametrize(("variant", "share", "spread"), [("HY", 0.7, 0), ("WS", 0.5, 0), ("HGF-MH", 0.3, 0)])
def test_the_gate_is_reported_for_every_layer(variant: str, share: float, spread: float) -> None:
    found = {m.metric: m for m in component_balance(fresh(f"{variant}@TINY"))}
    assert found["gate_mean"].value == pytest.approx(share, abs=1e-5)
    assert found["gate_spread"].value == pytest.approx(spread, abs=1e-5)
    assert found["gate_mean"].detail["mean"] == pytest.approx([share] * 4, abs=1e-5)
    assert found["grad_ratio"].value
    assert all(one.ci95 is not None for one in found.values())
    assert {one.n for one in found.values()} == {8}


def test_without_a_share_no_gate_is_made_up() -> None:
    found = {m.metric for m in component_balance(fresh("CP@TINY"))}
    assert found == {"grad_ratio", "activation_variance_ratio", "output_cosine"}
