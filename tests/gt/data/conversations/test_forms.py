"""Questions in other words: parts of natural sentences, what stands behind a noun, loosened questions."""

from __future__ import annotations

from itertools import islice

import pytest

from gt.data.conversations import Material, examples
from gt.data.conversations.clauses import Fact
from gt.data.conversations.echo import noun_phrases, questions
from gt.data.conversations.loose import loosened
from gt.data.conversations.nominals import nominal_facts
from gt.data.conversations.predicates import predicate_facts
from gt.data.conversations.recall import told_apart
from gt.data.conversations.words import Draw


@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        ("The old man hid a letter behind the door.", ["old man", "letter", "door"]),
        ("In the end she went to Rouen with three tired sailors.", ["Rouen", "tired sailors"]),
        ("He walked down the wide, empty street.", []),
        ("Nobody came.", []),
    ],
)
def test_noun_phrases_of_a_sentence(sentence: str, values: list[str]) -> None:
    found = [phrase.value for phrase in noun_phrases(sentence.split())]
    assert [value for value in found if value != "end"] == values


def test_a_simple_clause_is_asked_with_the_question_word_in_front() -> None:
    text = "He found a letter behind the door."
    asked = {one for seed in range(200) for one in questions(Draw(f"echo/{seed}"), text)}
    assert ("what did he find behind the door", "letter") in asked
    assert ("where did he find a letter", "door") in asked
    assert all(answer in text for _, answer in asked)
    assert all(answer not in question for question, answer in asked)


def test_echo_asks_for_the_words_of_the_material() -> None:
    material = Material(prose=("The baron opened the chest with a rusty hook.",))
    answers = {
        span.text.strip(" .\n")
        for example in islice(examples("echo", 0, material=material), 200)
        for span in example
        if span.answer
    }
    assert {"baron", "chest", "rusty hook"} <= answers


def test_a_nominal_fact_has_its_answer_in_the_statement_and_in_no_question() -> None:
    heads = set()
    for seed in range(500):
        (fact,) = nominal_facts(Draw(f"nominal/{seed}"))
        for question, answer in fact.questions:
            assert answer in fact.statement, fact
            heads.add(question.split()[0])
    assert len(heads) > 10


def test_a_loosened_question_keeps_its_question_word_or_asks_for_topic_or_kind() -> None:
    changed = 0
    for seed in range(300):
        draw = Draw(f"loose/{seed}")
        (fact,) = predicate_facts(draw)
        question = fact.questions[0][0]
        other = loosened(draw, fact, question)
        changed += other != question
        assert other
        assert "{" not in other
    assert changed > 150


def test_a_question_that_two_facts_could_answer_is_not_asked() -> None:
    told = [
        Fact("my aunt sleeps in the barn", (("which room was it", "barn"), ("where does my aunt sleep", "barn"))),
        Fact("Paula hid a lamp in the attic", (("where was it", "attic"),)),
    ]
    first, second = told_apart(told)
    assert first.questions == (("where does my aunt sleep", "barn"),)
    assert second.questions == ()
