"""Nothing of the evaluation is trained on: shown for what is generated, and for the detector that is asked."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from gt.data.conversations import SKILLS, Material, examples, mixture
from gt.data.conversations.split import FUNCTION_WORDS, EvaluationSplit, evaluation_split, words_of
from gt.data.dialogues import evaluation_texts

SENTENCES = 200_000
TEXTS = evaluation_texts()
SAID = (*TEXTS.statements, *TEXTS.questions, *TEXTS.fillers)


def sentences(text: str) -> list[str]:
    """The sentences of turns, without who says them."""
    parts = re.split(r"\n|(?<=[.?!]) ", text)
    return [one for part in parts if (one := re.sub(r"^(User|Assistant):", "", part).strip())]


def with_values(text: str) -> str:
    return re.sub(r"\{\w+\}", TEXTS.values[0], text)


def is_like_by_the_book(text: str, other: str) -> bool:
    """The rule of the module, word for word and without an index."""
    whole, words = words_of(re.sub(r"\{\w+\}", " ", other)), words_of(text)
    content = [word for word in whole if word not in FUNCTION_WORDS]
    if whole == words:
        return True
    for start in range(len(whole) - 5):
        run = whole[start : start + 6]
        telling = sum(word not in FUNCTION_WORDS for word in run) >= 2
        if telling and any(words[place : place + 6] == run for place in range(len(words) - 5)):
            return True
    if len(content) < 2:
        around = [words_of(part) for part in re.split(r"\{\w+\}", other)]
        first, last = around[0], around[-1] if len(around) > 1 else []
        return len(words) > len(whole) and bool(last or first) and "{" in other and (
            words[: len(first)] == first and words[len(words) - len(last) :] == last
        )  # fmt: skip
    return common(content, words) >= 0.7 * len(content) and common(whole, words) > 0.7 * len(whole)


def common(first: list[str], second: list[str]) -> int:
    if not first or not second:
        return 0
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            table[row + 1][column + 1] = (
                table[row][column] + 1 if one == other else max(table[row][column + 1], table[row + 1][column])
            )
    return table[-1][-1]


def test_no_generated_sentence_has_a_value_or_is_like_one_of_the_evaluation() -> None:
    split = evaluation_split()
    seen: set[str] = set()
    total = 0
    for name, example in mixture(None, seed=20):
        for sentence in sentences("".join(span.text for span in example)):
            total += 1
            if sentence not in seen:
                seen.add(sentence)
                assert not split.has_value(sentence), (name, sentence)
                assert not split.is_like(sentence), (name, sentence)
        if total >= SENTENCES:
            break
    assert len(seen) > SENTENCES / 3


@pytest.mark.parametrize("skill", SKILLS)
def test_no_answer_has_a_value_even_if_the_text_at_hand_is_full_of_them(skill: str) -> None:
    split = evaluation_split()
    prose = tuple(f"Nobody spoke of {value} in those dark days of ours." for value in TEXTS.values if value.isalpha())
    material = Material(words=(*TEXTS.values, "quay", "Steamship"), prose=prose)
    assert material.words == ("quay", "Steamship")
    for example in islice(examples(skill, seed=21, material=material), 150):
        for span in example:
            if span.answer:
                assert not split.has_value(span.text), span.text


def test_every_text_of_the_evaluation_is_known_with_any_value() -> None:
    split = evaluation_split()
    for text in (*SAID, *TEXTS.replies):
        assert split.is_like(with_values(text)), text
        assert split.is_like(with_values(text).upper()), text
    for value in TEXTS.values:
        assert split.has_value(f"It was {value.title()}, they said."), value
        assert not split.has_value(f"x{value}"), value


def test_changed_wordings_are_found_and_new_ones_are_not() -> None:
    split = EvaluationSplit(
        values=["blue", "ginger ale"],
        texts=["I painted the garden gate {value} before lunch.", "Where is the ladder?", "In the box are {values}."],
        replies=["Right."],
    )
    assert split.is_like("By the way, I painted the old garden gate red before dinner.")
    assert not split.is_like("They saw the garden gate before noon.")
    assert split.is_like("She painted the garden gate crimson before our lunch.")
    assert split.is_like("Where is the ladder?")
    assert not split.is_like("Where is the ladder that I bought?")
    assert split.is_like("right")
    assert split.is_like("In the box are a red pen and some coins.")
    assert not split.is_like("In the box on the shelf lay a pen.")
    assert not split.is_like("I turned right.")
    assert not split.is_like("I painted the kitchen red after dinner.")
    assert split.has_value("Ginger  Ale, please.")
    assert not split.has_value("bluebells and ginger")


def test_the_index_finds_what_the_rule_by_the_book_finds() -> None:
    rng = random.Random(0)
    split = evaluation_split()
    generated = [
        one for _, example in islice(mixture(None, 22), 40) for span in example for one in sentences(span.text)
    ]
    tried = rng.sample(generated, 100)
    for text in rng.sample(SAID, 150):
        words = with_values(text).split()
        for _ in range(rng.randrange(4)):
            words[rng.randrange(len(words))] = rng.choice(("the", "old", "lamp", "green", "of"))
        tried.append(" ".join(words))
    found = [split.is_like(text) for text in tried]
    replies = {" ".join(words_of(reply)) for reply in TEXTS.replies}
    for text, like in zip(tried, found, strict=True):
        book = " ".join(words_of(text)) in replies or any(is_like_by_the_book(text, other) for other in SAID)
        assert like == book, text
    assert 50 < sum(found) < 200
