"""LRD: a reader that counts passes, one that forgets or piles up fails, and lengths are what they are called."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gt.measurement import Measurement, Unmeasurable
from gt.models.state import ModelState
from gt.probes import context
from gt.resources import fixtures_dir
from gt.sabotage import plant
from gt.session import MAX_TOKENS
from pytest_groundthink.checks import load_checks
from tests.gt.probes.reader import Reader, subject

BOOK = load_checks(fixtures_dir() / "checks.yaml")
pytestmark = pytest.mark.usefixtures("own_cache")


def judged(check: str, measurements: tuple[Measurement, ...]) -> tuple[str, dict[str, Measurement], str]:
    """Status, measurements by name, reason."""
    status, reason, _ = BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)
    return str(status), {one.metric: one for one in measurements}, reason


def test_a_reader_that_counts_passes() -> None:
    status, found, reason = judged("LRD", context.dependency(subject(Reader())))
    assert status == "PASS", reason
    assert set(found) == set(BOOK.checks["LRD"].metrics)
    for one in found.values():
        assert one.n == 12
        assert one.ci95 is not None
        assert one.value is not None
        assert one.ci95[0] <= one.value <= one.ci95[1]
    curve = found["context_benefit"].detail["curve"]
    assert [point["context"] for point in curve] == [8, 16, 32, 64, 128, 256, 512, 1024]
    losses = {point["context"]: point["loss"] for point in curve}
    assert losses[8] > losses[16] > losses[32] > losses[64] > losses[128]
    assert found["context_benefit"].value == pytest.approx(1 - losses[128] / losses[8])
    assert found["degradation"].value == pytest.approx(math.exp(losses[1024] - losses[256]))
    assert {point["n"] for point in curve} == {12 * context.TARGETS}


@pytest.mark.parametrize(
    ("fault", "metric"), [("forgets-every-64", "context_harm"), ("forgets-every-8", "context_benefit")]
)
def test_forgetting_fails(fault: str, metric: str) -> None:
    forgetful = subject(Reader())
    plant(fault, forgetful.model)
    status, found, reason = judged("LRD", context.dependency(forgetful))
    assert status == "FAIL"
    assert BOOK.checks["LRD"].metrics[metric].label in reason
    assert found["context_benefit"].value is not None


class Recorder(Reader):
    """Also keeps, for every scored target, how many tokens it had before it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []

    def forward(self, tokens: Any, state: Any = None, return_states: bool = False) -> Any:
        self.read.append((0 if state is None else int(state["read"].max())) + tokens.shape[1])
        logits, new = super().forward(tokens, None if state is None else ModelState({"counts": state["counts"]}))
        return logits, ModelState({**new.tensors, "read": torch.full((len(tokens), 1), self.read[-1])})


def test_the_same_targets_are_scored_after_every_length() -> None:
    """What a constant predictor loses does not depend on the context, to the last bit."""

    class Constant(Reader):
        def forward(self, tokens: Any, state: Any = None, return_states: bool = False) -> Any:
            logits, new = super().forward(tokens, state)
            return torch.arange(256.0).div(80).expand_as(logits).clone(), new

    _, found, _ = judged("LRD", context.dependency(subject(Constant())))
    losses = [point["loss"] for point in found["context_benefit"].detail["curve"]]
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-6)
    assert found["context_benefit"].value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("length", [8, 16, 128, 1024])
def test_a_context_is_as_long_as_it_is_called(length: int) -> None:
    who = subject(Recorder())
    starts = [2000, 5000]
    context._losses(who, starts, length, 0, 1)
    # Only the last target of a row has the whole context: it is predicted after everything that is read.
    assert max(who.model.read) == length
    before_first = min(read for (rows, _), read in zip(who.model.calls, who.model.read, strict=True))
    assert before_first > length * 7 / 8 - 1


def test_a_text_has_at_most_as_many_tokens_as_can_be_read() -> None:
    who = subject(Recorder())
    who.longest_text = 512
    with pytest.raises(
        Unmeasurable, match=r"context of 256 tokens cannot be read: .* 512 positions, needed are 1,024$"
    ) as why:
        context.dependency(who)
    assert max(who.model.read) == 512
    found = {one.metric: one for one in why.value.found}
    assert found.keys() == {"context_benefit", "context_harm", "loss"}, "what could be measured is kept"
    assert found["context_benefit"].value is not None
    who.longest_text = 128
    with pytest.raises(Unmeasurable, match=r"the model has 128 positions, needed are 1,024$") as why:
        context.dependency(who)
    assert why.value.found == ()


def test_too_little_text_is_said() -> None:
    for tokens, found in ((700, 0), (1100, 3)):
        with pytest.raises(Unmeasurable, match=rf"has {tokens:,} tokens, needed are 1,536: give more text") as why:
            context.dependency(subject(Reader(), valid=tokens))
        assert len(why.value.found) == found


def test_what_is_not_finite_fails() -> None:
    class Broken(Reader):
        def forward(self, tokens: Any, state: Any = None, return_states: bool = False) -> Any:
            logits, new = super().forward(tokens, state)
            return logits * math.nan, new

    assert judged("LRD", context.dependency(subject(Broken())))[0] == "FAIL"
    assert judged("LRD-1M", context.long_stream(subject(Broken())))[0] == "FAIL"


def test_a_long_stream_leaves_a_counting_reader_as_it_was() -> None:
    who = subject(Reader(decay=0.98))
    status, found, reason = judged("LRD-1M", context.long_stream(who))
    assert status == "PASS", reason
    points = found["stream_degradation"].detail["points"]
    assert [point["read"] for point in points] == [256, 1024, 4096, 16384, 20000]
    assert max(rows * length for rows, length in who.model.calls) <= MAX_TOKENS, "memory grows with the text"
    streamed = sum(length for rows, length in who.model.calls if rows == 1)
    assert streamed == 20_000, "one pass serves every length"


def test_a_state_that_piles_up_fails() -> None:
    who = subject(Reader(decay=0.98), stream=120_000)
    plant("piling-state", who.model)
    assert judged("LRD-1M", context.long_stream(who))[0] == "FAIL"


class Interrupted(Exception):
    """Stands for a kill."""


def test_a_stream_that_was_cut_short_goes_on_where_it_was(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "KEEP_EVERY_S", 0.0)
    whole = context.long_stream(subject(Reader(decay=0.98), stream=50_000))[0]
    for path in own_cache.iterdir():
        path.unlink()

    def kill(done: int, total: int, note: str) -> None:
        if done > 30_000:
            raise Interrupted

    cut = subject(Reader(decay=0.98), stream=50_000)
    cut.progress = kill
    with pytest.raises(Interrupted):
        context.long_stream(cut)
    again = subject(Reader(decay=0.98), stream=50_000)
    shown: list[tuple[int, int]] = []
    again.progress = lambda done, total, note: shown.append((done, total))
    resumed = context.long_stream(again)[0]
    assert resumed == whole
    assert sum(length for rows, length in again.model.calls if rows == 1) < 35_000
    # What is left is estimated from what this run has done itself.
    assert shown[-1][0] == shown[-1][1] < 35_000
    third = subject(Reader(decay=0.98), stream=50_000)
    context.long_stream(third)
    assert third.model.calls == []
