from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from gt.data.conversations import mixture
from gt.data.conversations.render import encode_examples
from gt.data.conversations.talk import Span
from gt.tokenizers import Tokenizer, train_bpe

SHIPPED = Path(__file__).parents[4] / "fixtures" / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json"
EXAMPLES = [example for _, example in islice(mixture(None, 30), 400)]
TEXTS = ["".join(span.text for span in example) for example in EXAMPLES]


@pytest.fixture(scope="module", params=["shipped", "small"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "shipped":
        return Tokenizer(SHIPPED)
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    train_bpe(TEXTS, 600, path)
    return Tokenizer(path)


def test_spans_one_by_one_are_the_tokens_of_the_whole_text(tokenizer: Tokenizer) -> None:
    for (ids, weights), text in zip(encode_examples(EXAMPLES, tokenizer), TEXTS, strict=True):
        assert ids == tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert len(weights) == len(ids)


def test_answers_weigh_more_than_the_rest(tokenizer: Tokenizer) -> None:
    example = (
        Span("User: My cat is called Tom.\nAssistant:"),
        Span(" How nice.\n"),
        Span("User: What is it called?\nAssistant:"),
        Span(" It is"),
        Span(" Tom.\n", answer=True),
    )
    ((ids, weights),) = encode_examples([example], tokenizer, answer_weight=80, user_weight=4)
    by_weight = {
        weight: tokenizer.decode([one for one, other in zip(ids, weights, strict=True) if other == weight])
        for weight in set(weights)
    }
    assert by_weight == {
        4: "User: My cat is called Tom.\nAssistant:User: What is it called?\nAssistant:",
        16: " How nice.\n It is",
        80: " Tom.\n",
    }


@pytest.mark.parametrize("name", ["answer_weight", "user_weight"])
def test_a_weight_must_fit_into_a_byte(tokenizer: Tokenizer, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got 256, expected 0 to 255"):
        encode_examples(EXAMPLES[:1], tokenizer, **{name: 256})
