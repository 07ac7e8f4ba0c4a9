"""What is recorded for pictures is what is there: in models of known sums, and with the faults planted."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gt.models.build import build_model
from gt.models.state import ModelState
from gt.probes import components, maps, samples
from gt.probes.course import Course, live_dimensions
from gt.probes.token_kinds import token_kinds
from gt.registry import resolve
from gt.resources import fixtures_dir
from gt.sabotage import plant
from gt.session import Sessions
from pytest_groundthink.checks import load_checks
from tests.gt.probes.listener import TOKENIZER
from tests.gt.probes.memories import Memories, MemoriesSubject

BOOK = load_checks(fixtures_dir() / "checks.yaml")


def status(check: str, measurements: Any) -> str:
    return str(BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)[0])


def small(fault: str | None = None) -> torch.nn.Module:
    torch.manual_seed(1)
    model = build_model(resolve("GF-MH", "0.3M").config(TOKENIZER.vocab_size)).eval()
    if fault is not None:
        plant(fault, model)
    return model


def speaker(fault: str | None = None) -> Any:
    return SimpleNamespace(
        model=small(fault),
        tokenizer=TOKENIZER,
        seed=0,
        progress=lambda done, total, note: None,
        windows=lambda count, length, apart: torch.arange(8 * length).view(8, length) % 7000,
    )


def test_a_layer_is_worth_what_its_component_is_where_there_is_one() -> None:
    subject = MemoriesSubject(Memories(rwkv=(1, 0.05), mamba=(1, 0)))
    far, layers = maps.maps(subject)
    assert far.metric == "far_influence"
    whole = {m.note: m.value for m in components.contribution(subject) if m.metric == "state_loss_rise"}
    assert layers.note == "rwkv layer 0"
    assert layers.value == pytest.approx(whole["rwkv"], rel=1e-2)
    assert layers.detail["by_layer"]["mamba"] == [0]
    assert layers.detail["course"]["places"] == list(range(16, 257, 16))


def test_influence_reaches_forward_and_as_far_as_the_memory() -> None:
    lasting = maps.maps(MemoriesSubject(Memories(rwkv=(1, 0.02), mamba=(1, 0.02))))[0]
    short = maps.maps(MemoriesSubject(Memories(rwkv=(0.2, 1), mamba=(0.2, 1))))[0]
    assert status("D7", [lasting]) == "PASS"
    assert status("D7", [short]) == "FAIL"
    rows = short.detail["influence"]
    assert [[value is None for value in row] for row in rows] == [[to < own for to in range(16)] for own in range(16)]
    assert rows[3][3] > 0.1
    assert rows[3][6] < 1e-3


def test_kinds_of_loss_rises_are_means_over_their_tokens() -> None:
    subject = MemoriesSubject(Memories(rwkv=(1, 0.05), mamba=(1, 0)))
    measurements = components.contribution(subject)
    (kinds,) = [m.detail["by_kind"] for m in measurements if m.metric == "state_rise_upper_end"]
    whole = {m.note: m.value for m in measurements if m.metric == "state_loss_rise"}
    # Each text repeats one token, a word: after the first chunk all were read before.
    assert kinds.keys() == {"begins a word", "read before"}
    assert kinds["read before"]["n"] == 32 * 224
    assert kinds["read before"]["rwkv"] == pytest.approx(whole["rwkv"], rel=1e-2)
    assert kinds["read before"]["mamba"] == 0


def test_tokens_are_of_the_kind_that_they_spell() -> None:
    texts = {0: " The", 1: "re", 2: ",", 3: "\n", 4: " 7", 5: "word"}
    found = token_kinds(SimpleNamespace(decode=lambda ids: texts[ids[0]]), [[0, 1, 2, 3, 4, 5, 1, 0]])
    told = ["" for _ in range(8)]
    for kind, (row,) in found.items():
        told = [f"{old}{'+' if old and own else ''}{kind if own else ''}" for old, own in zip(told, row, strict=True)]
    forms = [text.partition("+")[0] for text in told]
    assert forms == ["begins a word", "inside a word", "punctuation", "space", "number", "begins a word",
                     "inside a word", "begins a word"]  # fmt: skip
    assert [text.partition("+")[2] == "read before" for text in told] == [False] * 6 + [True] * 2


def test_a_dimension_lives_if_it_varies() -> None:
    rwkv = torch.ones(4, 2, 1, 3, 5)
    rwkv[:, 1, 0, 2] = torch.tensor([1.0, -1, 1, -1])[:, None]  # one key of the second layer
    mamba = torch.zeros(4, 2, 1, 5, 3)
    mamba[:, 0, 0, :, 1] = torch.tensor([1.0, 0, 1, 0])[:, None]
    found = live_dimensions(ModelState({"rwkv_state": rwkv, "mamba_state": mamba}))
    assert found["rwkv"] == [[0, 0, 0], [0, 0, 100]]
    assert found["mamba"] == [[0, round(100 * (1 / 3) / 0.5), 0], [0, 0, 0]]
    broken = live_dimensions(ModelState({"rwkv_state": rwkv * math.nan}))
    assert broken["rwkv"] == [[None] * 3] * 2


def test_a_course_is_norms_and_cosines_by_layer() -> None:
    course = Course()
    course.add(4, ModelState({"x_state": torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])}))
    course.add(8, ModelState({"x_state": torch.tensor([[[6.0, 8.0], [0.0, 2.0]]])}))
    assert course.detail() == {
        "places": [4, 8],
        "components": {"x": {"norm": [[5.0, 1.0], [10.0, 2.0]], "cosine": [[1.0, 0.0]]}},
    }


def test_diversity_is_counted() -> None:
    rows = [[1, 2, 1, 2, 1], [1, 2]]
    assert samples.distinct(rows, 1) == 2 / 7
    assert samples.distinct(rows, 2) == 2 / 5
    assert samples.distinct([[1, 2, 3]], 4) == 1


def test_greedy_samples_are_what_generate_says_and_any_neighbours_leave_draws_alone() -> None:
    model = small()
    together = Sessions(model, TOKENIZER, 3)
    together.feed(["One text.", "Another text.", "A third."])
    alone = together.take([0])
    greedy = together.fork().sample(6, temperature=0)
    assert [TOKENIZER.decode(one.tokens) for one in greedy] == together.fork().generate(6)
    drawn = together.fork().sample(12, temperature=1, seed=5)
    assert alone.fork().sample(12, temperature=1, seed=5)[0].tokens == drawn[0].tokens
    assert alone.fork().sample(12, temperature=1, seed=6)[0].tokens != drawn[0].tokens
    # An untrained model is unsure between all its tokens.
    assert all(entropy > 0.97 * math.log(TOKENIZER.vocab_size) for one in drawn for entropy in one.entropies)
    assert together.fork().sample(12, temperature=1e-5, seed=5)[1].tokens[:6] == greedy[1].tokens
    with pytest.raises(ValueError, match="temperature -1"):
        together.sample(3, temperature=-1)


def test_samples_move_the_conversation_on() -> None:
    one = Sessions(small(), TOKENIZER, 1)
    one.feed(["Some text"])
    other = one.fork()
    (drawn,) = one.sample(3, temperature=1)
    other.feed_tokens([drawn.tokens])
    assert one.score([" more"])[0] == pytest.approx(other.score([" more"])[0], abs=1e-4)


def test_what_is_said_is_recorded_and_only_certainty_while_sampling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "TOKENS", 8)
    monkeypatch.setattr(samples, "LENGTH", 16)
    monkeypatch.setattr(samples, "default_prompts", lambda: ("One text", "Another", "User: Hello.\nAssistant:"))
    found = samples.samples(speaker())
    assert status("Q1", found) == "PASS"
    assert {one.metric for one in found} == set(BOOK.checks["Q1"].metrics)
    by_name = {one.metric: one for one in found}
    assert by_name["perplexity"].value == pytest.approx(TOKENIZER.vocab_size, rel=0.3)
    assert [one["prompt"] for one in by_name["entropy_sampled"].detail["samples"]] == [*samples.default_prompts()]
    assert status("Q1", samples.samples(speaker("certain-logits"))) == "FAIL"
    assert status("Q1", samples.samples(speaker("nan-weight"))) == "FAIL"


def test_the_prompts_are_told_apart_and_end_in_no_space() -> None:
    prompts = samples.default_prompts()
    assert len(set(prompts)) == len(prompts) == 16
    assert all(prompt == prompt.strip() for prompt in prompts)
