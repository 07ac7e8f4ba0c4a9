from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gt.drift.behaviour import behaviour, pieces
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject

TEXT = "".join(
    f"The {word} of day {day} was {day * 7 % 31} and so on. \n\n"
    for day in range(700)
    for word in ("sun", "moon", "tide")
)


def subject(folder: Path, model: str = "GF-MH@0.3M", seed: int = 0) -> Subject:
    corpus = folder / "text.txt"
    corpus.write_text(TEXT, encoding="utf-8")
    request = SubjectRequest(model=model, seed=seed, corpus=str(corpus), device="cpu")
    return load_subject(plan_subject(request), lambda done, total, note: None)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("text"))


def test_a_model_does_what_it_does(first: Subject) -> None:
    found = behaviour(first, first, texts=4)
    assert found.unit == "nats per token"
    assert found.before == found.after > 0
    assert (found.loss.difference, found.loss.p_value, found.loss.n) == (0, 1, 4)
    assert {one.component for one in found.states} == {"rwkv", "mamba"}
    assert {one.relative for one in found.states} == {0}
    assert all(one.cosine == pytest.approx(1) and one.between_texts > 0 for one in found.states)


def test_a_component_that_changed_is_the_one_whose_state_moved(first: Subject, tmp_path: Path) -> None:
    other = subject(tmp_path)
    with torch.no_grad():
        for name, parameter in other.model.named_parameters():
            if name == "blocks.0.rwkv.value.weight":
                parameter.mul_(-1)
    moved = {(one.component, one.layer): one for one in behaviour(first, other, texts=4).states}
    assert moved["rwkv", 0].relative == pytest.approx(2, abs=1e-4)
    assert moved["rwkv", 0].cosine == pytest.approx(-1, abs=1e-4)
    assert moved["mamba", 0].relative == 0


def test_the_loss_is_that_of_the_text_and_its_direction_right(first: Subject, tmp_path: Path) -> None:
    other = subject(tmp_path)
    with torch.no_grad():
        other.model.get_parameter("norm.weight").mul_(20)  # far too sure of itself
    found = behaviour(first, other, texts=8)
    rows = [first.tokenizer.encode(piece) for piece in pieces("\n\n".join(first.corpus.valid), 8)]
    tokens_BT = torch.tensor([row[: min(map(len, rows))] for row in rows])
    logits_BTV = first.model(tokens_BT).detach()
    expected = torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
    assert found.before == pytest.approx(float(expected), rel=1e-5)
    assert found.after > found.before + 0.1
    assert found.loss.difference == pytest.approx(found.after - found.before)
    assert found.loss.ci95[0] > 0
    assert (found.loss.better, found.loss.worse) == (8, 0)  # "better" is the higher one: of losses that is worse


def test_other_tokenizers_are_compared_by_bytes(
    first: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subject(tmp_path)
    by_token = behaviour(first, other, texts=3)
    monkeypatch.setattr(other.tokenizer, "sha256", "another")
    found = behaviour(first, other, texts=3)
    assert found.unit == "nats per byte"
    assert found.loss.difference == 0
    assert found.before < by_token.before / 2  # a token is several bytes
    assert found.states == ()
    assert "the tokenizers differ" in found.note


def test_a_transformer_has_no_state_to_compare(first: Subject, tmp_path: Path) -> None:
    found = behaviour(first, subject(tmp_path, "GPT2@0.3M"), texts=2)
    assert found.states == ()
    assert "without a recurrent state" in found.note
    assert found.loss.n == 2


def test_pieces_lie_apart_and_cut_no_word() -> None:
    words = set(TEXT.split())
    found = pieces(TEXT, 5)
    assert len(found) == 5
    assert all(set(piece.split()) <= words and 500 < len(piece) <= 600 for piece in found)
    assert len(pieces(TEXT[:1300], 5)) == 2
    with pytest.raises(ValueError, match="expected at least 2: give more"):
        pieces(TEXT[:700], 5)
