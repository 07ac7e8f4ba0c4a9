"""Every check sees the fault that it is for, and leaves the healthy model alone; and the canaries can pass."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gt.data.dialogues import recall_items
from gt.models.state import ModelState
from gt.sabotage import SABOTAGES
from gt.subject import Subject
from gt.tokenizers import Tokenizer

from .conftest import Probed, card, probe, statuses

IN_SESSIONS = ("nan-weight", "leaking-future", "dropped-state", "frozen-state", "dead-mamba", "eval-noise")
_healthy: dict[str, Probed] = {}


@pytest.mark.parametrize("name", SABOTAGES)
def test_the_check_that_is_meant_to_catches_it(name: str, load: Callable[..., Subject]) -> None:
    check = SABOTAGES[name].caught_by
    if check not in _healthy:
        _healthy[check] = probe(load(), check)
    assert _healthy[check].status in ("PASS", "WARN"), _healthy[check].reason
    broken = load(sabotage=name)
    assert probe(broken, check).status == "FAIL"
    assert broken.describe()["sabotage"] == name


def test_a_fault_outside_the_model_is_taken_back(load: Callable[..., Subject]) -> None:
    from gt.kernels import BACKENDS

    before = BACKENDS["wkv6"]
    load(sabotage="wrong-kernel")
    assert BACKENDS["wkv6"] is not before
    assert probe(load(), "G0").status in ("PASS", "WARN")
    assert BACKENDS["wkv6"] is before


@pytest.mark.parametrize("name", ["eval-noise", "dead-mamba", "constant-state", "dropped-state"])
def test_a_fault_is_in_every_form_of_the_model(name: str, load: Callable[..., Subject]) -> None:
    """Checks that compare bits use an fp32 copy, others a fresh or a trained one: none may be whole."""
    subject = load(sabotage=name, dtype="bfloat16")
    models = (subject.model, subject.model_fp32, subject.trained_model, subject.build())
    assert all(any("forward" in vars(module) for module in model.modules()) for model in models)


@pytest.mark.parametrize("name", IN_SESSIONS)
def test_a_session_fails_on_a_broken_model(name: str, real: pytest.Pytester, subject_options: tuple[str, ...]) -> None:
    check = SABOTAGES[name].caught_by
    result = real.runpytest("-k", check, *subject_options, f"--gt-sabotage={name}", "--scorecard=out.json")
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    scored = card(real)
    assert statuses(scored) == {check: "FAIL"}
    assert scored["subject"]["sabotage"] == name
    assert scored["subject"]["label"].endswith(f"+{name}")
    result.stdout.fnmatch_lines([f"{check}*FAIL*"])


class Replay(nn.Module):
    """Continues known prompts with known answers; its state is all that was read."""

    ROOM = 1024

    def __init__(self, answers: dict[tuple[int, ...], list[int]], end: int, vocab_size: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.end, self.vocab_size = end, vocab_size
        self.following = {
            (*prompt, *answer[:done]): token for prompt, answer in answers.items() for done, token in enumerate(answer)
        }

    def forward(
        self, tokens: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        old = state["read"] if state else torch.zeros(len(tokens), 0, dtype=torch.long)
        kept = state["length"] if state else torch.zeros(len(tokens), dtype=torch.long)
        read = torch.zeros(len(tokens), self.ROOM, dtype=torch.long)
        logits = torch.zeros(*tokens.shape, self.vocab_size)
        for row, length in enumerate(kept.tolist()):
            history = [*old[row, :length].tolist(), *tokens[row].tolist()]
            read[row, : len(history)] = torch.tensor(history)
            logits[row, -1, self.following.get(tuple(history), self.end)] = 1.0
        return logits, ModelState({"read": read, "length": kept + tokens.shape[1]})


def listener(tokenizer: Tokenizer, fillers: int, known: int) -> SimpleNamespace:
    """A subject that remembers the first `known` of the stated facts, and nothing else."""
    items = recall_items(fillers, 400, 0)
    answers = {
        tuple(token for turn in item.turns for token in tokenizer.encode(turn)): tokenizer.encode(f" {item.answer}.\n")
        for item in items[:known]
    }
    model = Replay(answers, tokenizer.end_of_text or 0, tokenizer.vocab_size)
    return SimpleNamespace(
        model=model, tokenizer=tokenizer, seed=0, size=lambda name: 400, progress=lambda done, total, note: None
    )


@pytest.mark.parametrize(
    ("check", "fillers", "known", "status"),
    [
        ("C1a", 0, 400, "PASS"),
        ("C1a", 0, 388, "PASS"),
        ("C1a", 0, 320, "WARN"),
        ("C1a", 0, 190, "FAIL"),
        ("C1a", 0, 0, "FAIL"),
        ("C1b-lite", 3, 400, "PASS"),
        ("C1b-lite", 3, 0, "FAIL"),
    ],
)
def test_canaries_count_what_is_remembered(
    check: str, fillers: int, known: int, status: str, load: Callable[..., Subject]
) -> None:
    judged = probe(listener(load().tokenizer, fillers, known), check)
    rate, control = judged.measurements[:2]
    assert rate.value == pytest.approx(known / 400)
    assert (rate.n, control.value) == (400, 0.0)
    assert rate.ci95 is not None
    assert rate.ci95[0] <= known / 400 <= rate.ci95[1]
    assert judged.status == status, judged.reason


def test_naming_a_rival_too_is_no_memory(load: Callable[..., Subject]) -> None:
    tokenizer = load().tokenizer
    answers: dict[tuple[int, ...], list[int]] = {}
    for item in recall_items(0, 400, 0):
        prompt = tuple(token for turn in item.turns for token in tokenizer.encode(turn))
        answers[prompt] = tokenizer.encode(f" {item.rivals[0]} {item.answer}")
    subject: Any = listener(tokenizer, 0, 0)
    subject.model = Replay(answers, tokenizer.end_of_text or 0, tokenizer.vocab_size)
    assert probe(subject, "C1a").measurements[0].value == 0.0
