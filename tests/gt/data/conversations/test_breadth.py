"""Facts of random words and noisy facts: what may be asked of them, and that the older skills are as they were."""

from __future__ import annotations

import hashlib
import re
from itertools import islice, pairwise

import pytest

from gt.data.conversations import SKILLS, Material, examples, mixture
from gt.data.conversations.clauses import Fact
from gt.data.conversations.jabber import jabber_facts
from gt.data.conversations.jabber_clauses import Clause, Part, Pattern, draw_clause, draw_pattern, statement_of
from gt.data.conversations.jabber_questions import asked_part, question_of
from gt.data.conversations.noised import noised_fact, noised_facts
from gt.data.conversations.recall import around, beside
from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split, words_of
from gt.data.conversations.verbs import Forms
from gt.data.conversations.words import Draw

NEW = ("jabber", "noised")
MAKERS = {"jabber": jabber_facts, "noised": noised_facts}
PAIR = Forms("tie", "tied", "tied", "ties", "tying")


def facts_of(skill: str, count: int, material: Material | None = None) -> list[Fact]:
    draws = (Draw(f"breadth/{index}", material or Material()) for index in range(count))
    return [fact for draw in draws for fact in MAKERS[skill](draw, 1)]


def content(text: str) -> set[str]:
    return set(words_of(text)) - FUNCTION_WORDS


def test_the_older_skills_make_what_they_made_before_there_were_these() -> None:
    """The hash is of the sixty examples that each made then; a fixture of the evaluation that changes changes it."""
    digest = hashlib.sha256()
    for skill in SKILLS:
        if skill not in NEW:
            for example in islice(examples(skill, seed=0), 60):
                digest.update("".join(f"{span.text}{chr(span.answer)}" for span in example).encode())
    assert digest.hexdigest() == "86c170fa27806e0b817cffa84c76ab214bd04a7ac753d27db5901dd9aa82d6ec"


def test_they_are_trained_on_only_where_they_are_named() -> None:
    assert {SKILLS[skill].weight for skill in NEW} == {0}
    assert {skill for skill, _ in islice(mixture({"jabber": 1, "noised": 1}, seed=0), 50)} == set(NEW)
    assert not {skill for skill, _ in islice(mixture(None, seed=0), 500)} & set(NEW)


@pytest.mark.parametrize("skill", NEW)
def test_an_answer_is_stated_once_and_no_part_of_the_question(skill: str) -> None:
    for fact in facts_of(skill, 500):
        assert fact.questions
        for question, answer in fact.questions:
            sides = around(fact.statement, answer)
            assert sides is not None, fact
            assert answer not in "".join(sides), fact
            assert content(question), fact
            assert set(words_of(answer)).isdisjoint(words_of(question)), fact


@pytest.mark.parametrize("skill", NEW)
def test_nothing_of_the_evaluation_is_said(skill: str) -> None:
    split = evaluation_split()
    for example in islice(examples(skill, seed=20), 400):
        for span in example:
            for sentence in re.split(r"\n|(?<=[.?!]) ", span.text):
                text = re.sub(r"^(User|Assistant):", "", sentence).strip()
                assert not split.has_value(text), text
                assert not split.is_like(text), text


@pytest.mark.parametrize("skill", NEW)
def test_of_several_facts_a_question_names_what_only_one_of_them_does(skill: str) -> None:
    asked = 0
    told: list[Fact] = []

    def recorded(draw: Draw, count: int) -> list[Fact]:
        told.clear()
        told.extend(MAKERS[skill](draw, count))
        return told

    generate = beside(recorded)
    for index in range(150):
        example = generate(Draw(f"several/{index}"))
        if len(told) == 1:
            continue
        said = [content(fact.statement) for fact in told]
        for turn, answer in pairwise(example):
            if not answer.answer:
                continue
            words, value = content(turn.text), answer.text.strip().removesuffix(".")
            owners = [place for place, fact in enumerate(told) if value in {pair[1] for pair in fact.questions}]
            assert any(words & said[place].difference(*said[:place], *said[place + 1 :]) for place in owners), example
            asked += 1
    assert asked > 50


def test_most_of_what_a_question_does_not_ask_for_is_mentioned_in_it() -> None:
    """To copy what both name must be wrong, more often than not."""
    pattern = Pattern(("thing", "link", "link"), ("", "with", "under"), PAIR, (), "past", 0)
    subject = Part("", "person", "whole", "Vorla", "Vorla", "Vorla")
    parts = tuple(
        Part(link, "thing", "whole", f"a {word}", f"the {word}", word)
        for link, word in zip(pattern.links, ("moop", "brint", "skell"), strict=True)
    )
    clause = Clause(pattern, subject, "", parts)
    mentioned = named = 0
    for index in range(1000):
        question = question_of(Draw(f"mention/{index}"), clause, index % 3)
        words = {word for word in ("moop", "brint", "skell") if word in question}
        assert parts[index % 3].value not in words
        mentioned += len(words)
        named += "Vorla" in question
    assert 0.6 < mentioned / 2000 < 0.95
    assert named > 850


def test_a_verb_or_preposition_is_changed_only_where_the_other_objects_are_mentioned() -> None:
    pattern = Pattern(("thing", "link"), ("", "with"), PAIR, (), "past", 0)
    subject = Part("", "person", "whole", "Vorla", "Vorla", "Vorla")
    parts = (
        Part("", "thing", "whole", "a moop", "the moop", "moop"),
        Part("with", "thing", "whole", "a brint", "the brint", "brint"),
    )
    changed = 0
    for index in range(1000):
        question = question_of(Draw(f"verb/{index}"), Clause(pattern, subject, "", parts), index % 2)
        if not {"tie", "tied", "tying", "ties"} & set(question.split()) and " was the moop with" not in question:
            assert parts[1 - index % 2].value in question, question
            changed += 1
    assert changed > 100


def test_statements_come_in_many_orders_and_have_all_that_is_asked_for() -> None:
    firsts = set()
    for index in range(400):
        draw = Draw(f"orders/{index}")
        clause = draw_clause(draw, draw_pattern(draw))
        statement = statement_of(draw, clause)
        assert all(part.value in statement for part in clause.parts), statement
        firsts.add(" ".join(statement.split()[:2]))
    assert {"it was", "there was"} <= firsts


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part("with", "thing", "inside", "a jar of fim", "the jar", "fim", "jar", "of"), r".*jar|with (what|which) ?"),
        (Part("with", "thing", "inside", "a map of fim", "the map", "fim", "map", "of"), r".*map|with (what|which) \w"),
        (Part("", "thing", "modifier", "a fim jar", "the jar", "fim", "jar"), r"(what|which).* jar"),
        (Part("", "thing", "number", "six jars", "the jars", "six", "jars"), "how many jars"),
        (Part("in", "thing", "list", "jars, tin and fim", "them", "fim", "jars and tin", "jars, tin"), "in jars, "),
    ],
)  # fmt: skip
def test_what_is_inside_of_a_part_is_asked_for_by_what_is_around_it(part: Part, expected: str) -> None:
    for index in range(50):
        word, gap, in_place = asked_part(Draw(f"inside/{index}"), part, part.link)
        assert re.match(expected, in_place)
        assert part.value not in f"{word} {gap} {in_place}"


def test_a_head_is_left_out_behind_a_plain_question_word_only_if_it_measures() -> None:
    bare = {}
    for head in ("bowl", "map"):
        part = Part("with", "thing", "inside", f"a {head} of fim", f"the {head}", "fim", head, "of")
        asked = [asked_part(Draw(f"head/{index}"), part, part.link) for index in range(200)]
        bare[head] = [one for one in asked if head not in one[2]]
    assert ("what", "with", "with what") in bare["bowl"]
    assert bare["map"]
    assert all(word.split()[0] in ("what", "which") and len(word.split()) > 1 for word, *_ in bare["map"])


def test_a_question_may_name_the_kind_of_its_answer_though_the_statement_does_not() -> None:
    part = Part("to", "thing", "whole", "a fim", "the fim", "fim")
    words = [asked_part(Draw(f"kind/{index}"), part, part.link)[0] for index in range(400)]
    share = sum(word.removesuffix(" thing") not in ("what", "which") for word in words) / len(words)
    assert 0.1 < share < 0.3


def test_the_subject_is_acted_on_only_where_there_is_no_object() -> None:
    patterns = [draw_pattern(Draw(f"passive/{index}")) for index in range(600)]
    passive = [pattern for pattern in patterns if pattern.tense.endswith("passive")]
    assert passive
    assert {pattern.shape[0] for pattern in passive} <= {"link", "place", "time"}


def test_noise_leaves_the_answer_and_the_question_word_and_changes_a_fifth_of_the_rest() -> None:
    plain = Fact("the tall watchman carried eleven baskets over the frozen meadow to Vorla", (
        ("who did the tall watchman carry eleven baskets over the frozen meadow to", "Vorla"),
    ))  # fmt: skip
    kept = total = 0
    for index in range(400):
        fact = noised_fact(Draw(f"noise/{index}"), plain)
        if fact is None:
            continue
        ((question, answer),) = fact.questions
        assert answer == "Vorla"
        assert fact.statement.split().count("Vorla") == 1
        assert "who" in question.split()
        assert content(question) & content(fact.statement)
        kept += sum(word in fact.statement.split() for word in plain.statement.split())
        total += len(plain.statement.split())
    assert total > 4000
    assert 0.8 < kept / total < 0.95
