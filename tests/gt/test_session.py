"""Conversations: rows are independent, forks leave no trace, scores and answers are those of the plain model."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from gt import registry, session
from gt.models.build import build_model
from gt.models.state import ModelState
from gt.session import MAX_ROWS, Sessions
from gt.tokenizers import Tokenizer, train_bpe

TEXTS = ["the fox", "a dog jumps", "the lazy dog sleeps again", "fox"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    train_bpe(["the quick brown fox jumps over the lazy dog again and sleeps. "] * 50, 300, path)
    return Tokenizer(path)


@pytest.fixture(scope="module", params=["GF-MH", "GPT2"])
def model(tokenizer: Tokenizer, request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(1)
    config = registry.resolve(request.param, "TINY").config(tokenizer.vocab_size)
    made = build_model(msgspec.structs.replace(config, num_layers=2)).double()
    with torch.no_grad():
        made.get_parameter("embedding.weight").mul_(20)  # an untrained model would answer the same to everything
    return made


def sessions(model: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> Sessions:
    made = Sessions(model, tokenizer, len(texts))
    made.feed(texts)
    return made


def naive(model: nn.Module, tokenizer: Tokenizer, texts: list[str], count: int) -> str:
    """The whole text again for every new token."""
    tokens = [token for text in texts for token in tokenizer.encode(text)]
    start = len(tokens)
    with torch.no_grad():
        for _ in range(count):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    new = tokens[start:]
    end = tokenizer.end_of_text
    return tokenizer.decode(new[: new.index(end)] if end in new else new)


def test_answers_are_those_of_a_naive_loop(model: nn.Module, tokenizer: Tokenizer) -> None:
    together = sessions(model, tokenizer, TEXTS)
    together.feed([" and", " over", ".", " sleeps again"])
    expected = [
        naive(model, tokenizer, [text, more], 9)
        for text, more in zip(TEXTS, [" and", " over", ".", " sleeps again"], strict=True)
    ]
    assert together.generate(9) == expected
    assert len(set(expected)) > 1, "all the same: the test shows nothing"


def test_a_row_does_not_see_the_others(model: nn.Module, tokenizer: Tokenizer) -> None:
    together = sessions(model, tokenizer, TEXTS).generate(6)
    assert together == [sessions(model, tokenizer, [text]).generate(6)[0] for text in TEXTS]
    assert sessions(model, tokenizer, TEXTS[::-1]).generate(6) == together[::-1]


def test_many_rows_go_in_several_calls(model: nn.Module, tokenizer: Tokenizer) -> None:
    many = sessions(model, tokenizer, ["fox", "dog"] * (MAX_ROWS // 2 + 3)).generate(3)
    assert many[:2] == sessions(model, tokenizer, ["fox", "dog"]).generate(3)
    assert many == many[:2] * (MAX_ROWS // 2 + 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_answers_more_rows_at_once_and_the_same(
    model: nn.Module, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{one} {other}" for one in TEXTS for other in ("and", "over", "again", "sleeps")] * 3
    moved = deepcopy(model).cuda()
    assert MAX_ROWS < len(texts) < session.ANSWERING_ON_GPU
    together = sessions(moved, tokenizer, texts)
    scores, answers = together.score(texts), together.generate(5)
    assert answers == sessions(model, tokenizer, texts).generate(5)
    assert len(set(answers)) > 1, "all the same: the test shows nothing"
    monkeypatch.setattr(session, "ANSWERING_ON_GPU", 7)
    few = sessions(moved, tokenizer, texts)
    assert few.score(texts) == pytest.approx(scores)
    assert few.generate(5) == answers


def test_generating_goes_on_where_it_stopped(model: nn.Module, tokenizer: Tokenizer) -> None:
    one, other = sessions(model, tokenizer, ["the fox"]), sessions(model, tokenizer, ["the fox"])
    assert one.generate(3)[0] + one.generate(4)[0] == other.generate(7)[0]


def test_a_score_is_the_log_likelihood_of_a_full_forward(model: nn.Module, tokenizer: Tokenizer) -> None:
    after = [" jumps", " over the lazy dog", " again", "."]
    scores = sessions(model, tokenizer, TEXTS).score(after)
    for text, more, score in zip(TEXTS, after, scores, strict=True):
        head, tail = tokenizer.encode(text), tokenizer.encode(more)
        with torch.no_grad():
            log_p = model(torch.tensor([head + tail])).log_softmax(-1)[0]
        expected = sum(float(log_p[len(head) - 1 + i, token]) for i, token in enumerate(tail))
        assert score == pytest.approx(expected, abs=1e-4)  # scored in fp32


def test_scoring_leaves_the_conversation_where_it_was(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = sessions(model, tokenizer, TEXTS)
    first = made.score(TEXTS)
    assert made.score(TEXTS) == first
    assert made.generate(5) == sessions(model, tokenizer, TEXTS).generate(5)


def test_a_fork_leaves_no_trace(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = sessions(model, tokenizer, ["the fox"])
    fork = made.fork()
    fork.feed([" sleeps again and again"])
    changed = fork.generate(5)
    assert made.generate(5) == sessions(model, tokenizer, ["the fox"]).generate(5)
    again = sessions(model, tokenizer, ["the fox"])
    again.feed([" sleeps again and again"])
    assert again.generate(5) == changed


def test_a_fork_may_be_of_the_first_few(model: nn.Module, tokenizer: Tokenizer) -> None:
    few = sessions(model, tokenizer, TEXTS).fork(2)
    assert few.generate(5) == sessions(model, tokenizer, TEXTS[:2]).generate(5)
    assert Sessions(model, tokenizer, 3).fork(2).count == 2


class Says(nn.Module):
    """Says the same tokens to everything, one after another; its state is how many it has said since it was asked."""

    def __init__(self, tokens: list[int], vocab_size: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.tokens, self.vocab_size = tokens, vocab_size

    def forward(
        self, tokens: torch.Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[torch.Tensor, ModelState]:
        said = state["said"] + 1 if state else torch.zeros(len(tokens), 1, dtype=torch.long)
        logits = torch.zeros(*tokens.shape, self.vocab_size)
        for row, count in enumerate(said[:, 0].tolist()):
            logits[row, -1, self.tokens[count % len(self.tokens)]] = 1.0
        return logits, ModelState({"said": said})


def answer(tokenizer: Tokenizer, tokens: list[int], count: int, stop: str | None = None) -> str:
    made = Sessions(Says(tokens, tokenizer.vocab_size), tokenizer, 1)
    made.feed(["fox"])
    return made.generate(count, stop)[0]


def test_an_answer_ends_at_the_end_of_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.end_of_text == 0
    assert answer(tokenizer, [299, 0], 5) == tokenizer.decode([299])
    assert answer(tokenizer, [299, 0], 5, stop="zzz") == tokenizer.decode([299])


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one\n- two\nUser: three", "\n", "one\n"),
        ("one\n- two\nUser: three", "\nUser:", "one\n- two\nUser:"),
        ("one: User: two\nUser: three", "\nUser:", "one: User: two\nUser:"),
        ("the fox. the lazy dog", "the lazy", "the fox. the lazy"),
        ("na\u00efve \u4f60\u597d fox", "\u597d", "na\u00efve \u4f60\u597d"),
        ("\nUser: fox", "\nUser:", "\nUser:"),
        ("fox", "\nUser:", "foxfoxfox"),
    ],
)
def test_an_answer_ends_where_a_text_is_complete(tokenizer: Tokenizer, text: str, stop: str, expected: str) -> None:
    tokens = tokenizer.encode(text)
    said = answer(tokenizer, tokens, 3 * len(tokens), stop)
    assert said.startswith(expected)
    # The token that completes the text may hold more, and nothing comes after it.
    assert len(tokenizer.encode(said)) <= len(tokenizer.encode(expected)) + 1


def test_a_stop_is_found_in_every_row_alone(model: nn.Module, tokenizer: Tokenizer) -> None:
    free = sessions(model, tokenizer, TEXTS).generate(12)
    stop = free[0][2:5]
    stopped = sessions(model, tokenizer, TEXTS).generate(12, stop)
    assert stopped == [sessions(model, tokenizer, [text]).generate(12, stop)[0] for text in TEXTS]
    assert len(stopped[0]) < len(free[0])
    assert all(whole.startswith(part) for whole, part in zip(free, stopped, strict=True))


def test_answers_that_end_early_leave_every_conversation_at_its_end(model: nn.Module, tokenizer: Tokenizer) -> None:
    stop = sessions(model, tokenizer, TEXTS).generate(12)[0][2:5]
    together = sessions(model, tokenizer, TEXTS * 3)
    first, then = together.generate(12, stop), together.generate(4)
    assert len(set(map(len, first))) > 1, "all as long: the test shows nothing"
    for text, said, more in zip(TEXTS * 3, first, then, strict=True):
        one = sessions(model, tokenizer, [text])
        assert [one.generate(12, stop)[0], one.generate(4)[0]] == [said, more]


def test_answering_is_generating_without_moving_on(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = sessions(model, tokenizer, TEXTS)
    before = made.save()
    assert made.answer(6) == sessions(model, tokenizer, TEXTS).generate(6)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.save().items())


def test_a_conversation_without_a_text_waits(model: nn.Module, tokenizer: Tokenizer) -> None:
    together = sessions(model, tokenizer, TEXTS)
    together.feed(["", " and", "", " over the lazy dog"])
    alone = [
        sessions(model, tokenizer, [TEXTS[0]]),
        sessions(model, tokenizer, [TEXTS[1]]),
        sessions(model, tokenizer, [TEXTS[2]]),
        sessions(model, tokenizer, [TEXTS[3]]),
    ]
    alone[1].feed([" and"])
    alone[3].feed([" over the lazy dog"])
    assert together.generate(5) == [one.generate(5)[0] for one in alone]


def test_bad_use_is_an_error(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = Sessions(model, tokenizer, 2)
    with pytest.raises(ValueError, match="nothing was fed yet"):
        made.generate(1)
    with pytest.raises(ValueError, match="nothing was fed yet"):
        made.score(["a", "b"])
    with pytest.raises(ValueError, match="got 1 texts for 2 conversations"):
        made.feed(["fox"])
    with pytest.raises(ValueError, match="empty text"):
        made.feed(["fox", ""])


def test_scores_need_one_text_for_each_conversation(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = sessions(model, tokenizer, ["the fox", "a dog"])
    with pytest.raises(ValueError, match="1 texts for 2"):
        made.score(["a"])
    with pytest.raises(ValueError, match="empty"):
        made.score(["a", ""])


def test_a_tokenizer_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read tokenizer"):
        Tokenizer(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="is no tokenizer"):
        Tokenizer(tmp_path / "bad.json")


WRITTEN = ["plain", "digits 1234", "naïve 你好 \U0001f600", "  spaces\n\ttabs ", "fox<|endoftext|>"]


@pytest.mark.parametrize("text", WRITTEN)
def test_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("<|endoftext|>", "")


def test_conversations_are_taken_and_joined(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = sessions(model, tokenizer, TEXTS)
    taken = made.take([2, 0, 2])
    other = sessions(model, tokenizer, ["a dog jumps over the fox again"])
    joined = Sessions.join([taken, other])
    assert joined.count == 4
    joined.feed([" over the fox", " again", ".", " and sleeps"])
    alone = [
        sessions(model, tokenizer, [text]) for text in (TEXTS[2], TEXTS[0], TEXTS[2], "a dog jumps over the fox again")
    ]
    for one, more in zip(alone, [" over the fox", " again", ".", " and sleeps"], strict=True):
        one.feed([more])
    assert joined.generate(6) == [one.generate(6)[0] for one in alone]
    assert made.generate(6) == sessions(model, tokenizer, TEXTS).generate(6), "what was taken leaves no trace"
    with pytest.raises(ValueError, match="nothing was fed yet to some"):
        Sessions.join([made, Sessions(model, tokenizer, 1)])
    with pytest.raises(ValueError, match="no conversation to join"):
        Sessions.join([])


def test_a_long_text_is_read_in_stretches(
    model: nn.Module, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "the lazy dog sleeps again and the fox jumps over a dog " * 4
    whole = sessions(model, tokenizer, [text, text])
    seen: list[int] = []
    forward = model.forward

    def counted(tokens: torch.Tensor, **kwargs: object) -> object:
        seen.append(tokens.numel())
        return forward(tokens, **kwargs)

    monkeypatch.setattr("gt.session.MAX_TOKENS", 14)
    monkeypatch.setattr(model, "forward", counted)
    parts = sessions(model, tokenizer, [text, text])
    assert max(seen) <= 14 < sum(seen)
    assert parts.score(TEXTS[:2]) == pytest.approx(whole.score(TEXTS[:2]), abs=1e-4)


def test_conversations_go_on_from_what_was_saved(model: nn.Module, tokenizer: Tokenizer) -> None:
    made = sessions(model, tokenizer, TEXTS)
    other = Sessions(model, tokenizer, len(TEXTS))
    with pytest.raises(ValueError, match="nothing was fed yet"):
        other.save()
    other.restore(made.save())
    assert other.score(TEXTS) == made.score(TEXTS)
    assert other.generate(6) == made.generate(6)
