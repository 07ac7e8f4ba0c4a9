from __future__ import annotations

import re
from itertools import islice

import pytest

from gt.data.conversations.clauses import clause_facts, listed_fact
from gt.data.conversations.morphology import article, past, plural, progressive, third_person
from gt.data.conversations.nouns import AMOUNTS, KINDS, SINGULAR, joined, noun, several_nouns
from gt.data.conversations.predicates import attribute_facts, predicate_facts, predicates, revised_fact
from gt.data.conversations.tenses import TENSES, conjugate
from gt.data.conversations.verbs import frames
from gt.data.conversations.words import Draw, lexicon


@pytest.mark.parametrize(
    ("form", "word", "expected"),
    [
        (article, "hour", "an"), (article, "uniform", "a"), (article, "egg", "an"), (article, "lamp", "a"),
        (plural, "box", "boxes"), (plural, "cherry tree", "cherry trees"), (plural, "lady", "ladies"),
        (plural, "knife", "knives"), (plural, "boy", "boys"),
        (third_person, "carry", "carries"), (third_person, "go", "goes"), (third_person, "watch over", "watches over"),
        (past, "stop", "stopped"), (past, "help out", "helped out"), (past, "carry", "carried"),
        (progressive, "lie", "lying"), (progressive, "make", "making"), (progressive, "put up", "putting up"),
        (progressive, "see", "seeing"), (progressive, "travel", "traveling"),
    ],
)  # fmt: skip
def test_forms_of_words(form: object, word: str, expected: str) -> None:
    assert callable(form)
    assert form(word) == expected


def test_verbs_have_all_their_forms() -> None:
    forms = {frame.forms.base: frame.forms for frame in frames()}
    assert len(forms) >= 200
    assert forms["write"][:3] == ("write", "wrote", "written")
    assert forms["wake up"][:3] == ("wake up", "woke up", "woken up")
    assert forms["look forward"].past == "looked forward"
    for frame in frames():
        assert all(
            kind.kind in KINDS or kind.kind in ("person", "number_of", "price", "period", "weight")
            for kind in frame.slots
        )


@pytest.mark.parametrize(
    ("tense", "statement", "question"),
    [
        ("past", "she wrote", "did she write"),
        ("present", "she writes", "does she write"),
        ("going", "she is going to write", "is she going to write"),
        ("perfect", "she has written", "has she written"),
        ("have been doing", "she has been writing", "has she been writing"),
        ("control", "she told me to write", "did she tell me to write"),
        ("will passive", "she will be written", "will she be written"),
        ("perfect passive", "she has been written", "has she been written"),
    ],
)
def test_a_question_has_the_verb_of_its_statement(tense: str, statement: str, question: str) -> None:
    forms = next(frame.forms for frame in frames() if frame.forms.base == "write")
    group = conjugate(tense, forms, SINGULAR, choice=0, whom="me")
    assert f"she {group.finite}" == statement
    assert f"{group.auxiliary} she {group.main}" == question


def test_every_tense_can_be_conjugated() -> None:
    forms = frames()[0].forms
    groups = {tense: conjugate(tense, forms, SINGULAR, choice=3, whom="us") for tense in TENSES}
    assert len(set(groups.values())) == len(groups)


def test_a_statement_holds_every_answer_and_no_question_does() -> None:
    for number in range(1500):
        draw = Draw(f"facts/{number}")
        made = (clause_facts, predicate_facts, attribute_facts)[number % 3](draw)
        for fact in made:
            assert fact.questions
            for question, answer in fact.questions:
                assert answer in fact.statement, fact
                assert not re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", question) or len(answer) < 4, fact


def test_facts_alike_differ_in_who_they_are_about() -> None:
    for number in range(300):
        draw = Draw(f"alike/{number}")
        facts = clause_facts(draw, 3)
        assert len({fact.subject for fact in facts}) == 3
        owned = attribute_facts(draw, 3)
        assert len({fact.questions[0][0] for fact in owned}) == 3


def test_a_revised_fact_differs_in_its_answer() -> None:
    for number in range(200):
        first, second = revised_fact(Draw(f"revised/{number}"), about_you=number % 2 == 0)
        assert first.questions[0][1] != second.questions[0][1]
        assert first.subject == second.subject


def test_lists_name_their_values() -> None:
    for number in range(100):
        fact = listed_fact(Draw(f"list/{number}"))
        assert 2 <= len(fact.values) <= 5
        assert all(value in fact.statement for value in fact.values)
        assert fact.questions[0][1] == joined(fact.values)


@pytest.mark.parametrize("kind", [*KINDS, *AMOUNTS, "person"])
def test_nouns_hold_their_answer(kind: str) -> None:
    draw = Draw(f"nouns/{kind}")
    ones = [noun(draw, kind, answer=True) for _ in range(100)]
    assert all(one.value in one.full for one in ones)
    assert len({one.value for one in ones}) > 6


def test_several_nouns_are_different() -> None:
    one, values = several_nouns(Draw("several"), "thing")
    assert len(set(values)) == len(values) >= 2
    assert all(value in one.full for value in values)


def test_natural_answers_are_the_smaller_share() -> None:
    natural = set(lexicon()["cities"])
    draw = Draw("natural")
    cities = [noun(draw, "city", answer=True).value for _ in range(1000)]
    assert 0.25 < sum(city in natural for city in cities) / 1000 < 0.5


def test_predicates_are_many_and_worded_in_many_ways() -> None:
    assert len(predicates()) >= 100
    assert sum(len(row.statements) * len(row.questions) for row in predicates()) > 1500
    asked = {question for row in predicates() for question in row.questions}
    stated = {statement for row in predicates() for statement in row.statements}
    assert not asked & stated
    assert len(list(islice(asked, 300))) == 300
