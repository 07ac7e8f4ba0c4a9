"""What all canary fixtures have in common, and the conversations of C4a, C5 and C6 (test_tones: C4b, C4c)."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from gt.data.dialogues import (
    bullet_items,
    canary_data,
    consistent_persona_items,
    constraint_data,
    constraint_items,
    correction_data,
    correction_items,
    doubted_persona_items,
    evaluation_texts,
    formal_items,
    format_data,
    needle_data,
    nested_items,
    persona_data,
    persona_items,
    preference_data,
    preference_items,
    recall_items,
    reference_data,
    reference_items,
    score_list,
    speaker_data,
    speaker_items,
    terse_items,
    three_fact_items,
    two_fact_items,
)
from gt.resources import fixtures_dir

TEXTS = evaluation_texts()
MAKERS = {
    "recall": lambda n=400, seed=0: recall_items(5, n, seed),
    "two facts": lambda n=400, seed=0: two_fact_items(5, n, seed),
    "bullets": bullet_items,
    "persona": lambda n=400, seed=0: persona_items(2, n, seed),
    "consistent persona": consistent_persona_items,
    "doubted persona": doubted_persona_items,
    "formal": formal_items,
    "terse": terse_items,
    "nested": nested_items,
    "speakers": speaker_items,
    "three facts": lambda n=400, seed=0: three_fact_items(500, n, seed, tokens=words),
    "constraints": constraint_items,
    "preference": lambda n=400, seed=0: preference_items(4, n, seed),
    "reference": reference_items,
    "correction": lambda n=400, seed=0: correction_items(2, n, seed),
}
IN_THE_MIDDLE = {"three facts", "constraints", "reference", "correction", "speakers"}
"""Canaries whose answer does not depend on the first turn alone."""

KINDS = {**canary_data().kinds, **persona_data().kinds}


def words(text: str) -> int:
    return len(text.split())


def mentions(text: str, value: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}s?(?!\w)", text, re.IGNORECASE) is not None


def strings(node: object) -> list[str]:
    """Every string of a YAML document but its keys."""
    if isinstance(node, dict):
        return [text for value in node.values() for text in strings(value)]
    if isinstance(node, list):
        return [text for value in node for text in strings(value)]
    return [str(node)]


def test_no_text_of_a_canary_fixture_is_forgotten() -> None:
    known = {text for name in TEXTS.__struct_fields__ for text in getattr(TEXTS, name)} | KINDS.keys()
    forms = {canary_data().format.turn, canary_data().format.query, "a {value}", "the {value}"}
    files = sorted([*Path(fixtures_dir()).glob("canar*.yaml"), Path(fixtures_dir()) / "needles.yaml"])
    assert len(files) >= 10
    for file in files:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        # Numbers, and what answers are searched for: nobody says them.
        for unsaid in ("lengths", "depths", "facts", "held_at", "words"):
            content.pop(unsaid, None)
        for tone in ("formal", "terse"):
            if tone in content:
                content[tone] = {key: content[tone][key] for key in ("instructions", "sample")}
        assert set(strings(content)) - known - forms == set(), file


def test_no_text_gives_a_value_away() -> None:
    texts = [*TEXTS.statements, *TEXTS.questions, *TEXTS.fillers, *TEXTS.replies]
    assert [(text, value) for text in texts for value in TEXTS.values if mentions(text, value)] == []


def test_nothing_stands_in_two_fixtures() -> None:
    templates = (
        *canary_data().templates,
        *format_data().lists,
        *persona_data().templates,
        *preference_data().templates,
        *reference_data().templates,
        *speaker_data().templates,
        *needle_data().keys,
    )
    remarks = (*constraint_data().avoided, *constraint_data().liked)
    comments = [t.comment for t in reference_data().templates]
    statements = [*(t.statement for t in (*templates, *remarks)), *comments]
    for texts in (statements, [*(t.question for t in templates), *constraint_data().questions]):
        assert [text for text, count in Counter(texts).items() if count > 1] == []
    values = [value.casefold() for own in (*KINDS.values(), needle_data().values) for value in own]
    assert [value for value, count in Counter(values).items() if count > 1] == []


@pytest.mark.parametrize(
    "data",
    [
        format_data().lists,
        persona_data().templates,
        preference_data().templates,
        reference_data().templates,
        constraint_data().avoided,
        speaker_data().templates,
    ],
)
def test_there_are_enough_templates(data: tuple[object, ...]) -> None:
    assert len(data) >= 40


@pytest.mark.parametrize("maker", MAKERS)
def test_400_items_are_40_templates_by_ten(maker: str) -> None:
    items = MAKERS[maker]()
    assert set(Counter(item.template for item in items).values()) == {10}
    assert len({item.template for item in items}) == 40
    assert len({(item.template, frozenset(item.expected)) for item in items}) >= 399
    assert items == MAKERS[maker]()
    assert items != MAKERS[maker](seed=1)
    with pytest.raises(ValueError, match=r"got .* expected"):
        MAKERS[maker](n=100_000)


@pytest.mark.parametrize("maker", MAKERS)
def test_conversations_have_the_form_of_training(maker: str) -> None:
    for item in (one for last in MAKERS[maker]() for one in (*last.before, last)):
        for turns in (item.turns, item.control):
            assert all(re.fullmatch(r"User: .+\nAssistant: .+\n", turn) for turn in turns[:-1])
            assert re.fullmatch(r"User: .+\?\nAssistant:", turns[-1])
            assert len(set(turns)) == len(turns)
        assert len(item.turns) == len(item.control)
        changed = [place for place, turn in enumerate(item.turns) if item.control[place] != turn]
        assert len(changed) == 1
        assert maker in IN_THE_MIDDLE or changed == [0]
        assert not set(item.expected) & set(item.rivals)
        assert not [value for value in (*item.expected, *item.rivals) if mentions(item.turns[-1], value)]


def test_lists_are_named_once_and_in_order() -> None:
    items = bullet_items()
    assert Counter(len(item.expected) for item in items).keys() == {2, 3, 4, 5}
    assert {len(item.turns) for item in items} == {3, 4, 5}
    for item in items:
        text = "".join(item.turns)
        places = [re.search(rf"(?<!\w){value}(?!\w)", text) for value in item.expected]
        starts = [place.start() for place in places if place]
        assert len(starts) == len(item.expected)
        assert starts == sorted(starts)
        assert all(mentions("".join(item.control), value) for value in item.expected), "what is asked is in both"
        assert not [rival for rival in item.rivals if mentions(text, rival)]


def test_two_facts_are_of_different_kinds_and_the_control_has_the_second() -> None:
    for item in two_fact_items(5):
        first, second = item.expected
        assert mentions(item.turns[0], first)
        assert mentions(item.turns[1], second)
        assert item.turns[1] == item.control[1]
        assert not mentions("".join(item.control), first)
        assert len({kind for kind, values in KINDS.items() if {first, second} & set(values)}) == 2
        assert ", and " in item.turns[-1]
        assert len(item.rivals) == 30


def test_a_persona_has_three_facts_and_its_control_lacks_the_asked_one() -> None:
    asked_first = 0
    for item in persona_items(2):
        (answer,) = item.expected
        opening, control = item.turns[0], item.control[0]
        assert mentions(opening, answer)
        assert not mentions(control, answer)
        assert not [rival for rival in item.rivals if mentions(opening, rival)]
        own = [value for kind, values in KINDS.items() for value in values if mentions(opening, value)]
        assert len(own) == 3
        assert len({kind for kind, values in KINDS.items() if set(values) & set(own)}) == 3
        assert sum(mentions(control, value) for value in own) == 2
        contradicted = {kind for kind, values in KINDS.items() if set(values) & set(item.rivals)}
        assert len(contradicted) == 3
        asked_first += own[0] == answer
    assert asked_first


def test_a_persona_is_asked_for_each_of_its_facts() -> None:
    for item in consistent_persona_items():
        asked = (*item.before, item)
        assert [len(one.turns) for one in asked] == [4, 6, 8]
        assert len({one.kind for one in asked}) == 3
        for one in asked:
            assert one.turns[:-1] == item.turns[: len(one.turns) - 1], "the conversation is one"
            assert one.control[:-1] == item.control[: len(one.control) - 1]
            assert mentions(one.turns[0], one.expected[0])
            assert not [rival for rival in one.rivals if mentions(one.turns[0], rival)]
            assert mentions(one.control[0], one.expected[0]) is (one is not item)


def test_a_doubt_claims_another_value_and_the_control_knows_no_other() -> None:
    for item in doubted_persona_items():
        (answer,) = item.expected
        assert [mentions(turn, item.trap) for turn in item.turns] == [False, False, True, False, False]
        assert [mentions(turn, answer) for turn in item.turns] == [True, False, False, False, False]
        assert not mentions("".join(item.control), answer)
        assert item.trap in item.rivals
        assert item.candidates[:2] == (f" {answer}", f" {item.trap}")
        assert len(set(item.candidates)) == 4


@pytest.mark.parametrize("maker", ["nested", "speakers"])
def test_the_other_conversation_names_the_trap(maker: str) -> None:
    places = Counter()
    for item in (one for last in MAKERS[maker]() for one in (*last.before, last)):
        (answer,) = item.expected
        own, other = ([mentions(turn, value) for turn in item.turns] for value in (answer, item.trap))
        assert sum(own) == sum(other) == 1
        places[own.index(True) < other.index(True)] += 1
        assert item.candidates[:2] == (f" {answer}", f" {item.trap}")
        assert len(set(item.candidates)) == 4
        assert item.trap in item.rivals
    assert set(places) == ({True} if maker == "nested" else {True, False})


def test_two_users_ask_for_their_own_in_either_order() -> None:
    orders = Counter()
    for item in speaker_items():
        (early,) = item.before
        assert early.turns[:-1] == item.turns[:-1]
        assert (early.expected[0], early.trap) == (item.trap, item.expected[0])
        assert not mentions("".join(item.control), item.expected[0])
        assert mentions("".join(item.control), early.expected[0]), "the control lacks what the last one said"
        orders[mentions(item.turns[0], item.expected[0])] += 1
    assert min(orders.values()) > 100


def test_one_of_the_values_is_missing_in_the_control() -> None:
    for maker in IN_THE_MIDDLE:
        for item in MAKERS[maker]():
            missing = [value for value in item.expected if not mentions("".join(item.control), value)]
            assert len(missing) == 1, item
            assert all(mentions("".join(item.turns), value) for value in item.expected)


def test_three_facts_stand_at_their_depths_and_no_conversation_is_too_long() -> None:
    items = three_fact_items(2000, tokens=words)
    assert 1980 < max(sum(map(words, item.turns)) for item in items) <= 2000
    assert min(sum(map(words, item.turns)) for item in items) > 1900
    for item in items:
        before = [0, *itertools.accumulate(map(words, item.turns))]
        told = [place for place, turn in enumerate(item.turns[:-1]) if any(mentions(turn, v) for v in item.expected)]
        assert len(told) == 3
        for place, depth in zip(told, (0.05, 0.75, 0.97), strict=True):
            assert before[place] / before[-2] == pytest.approx(depth, abs=0.02)
        assert all(mentions(item.turns[place], value) for place, value in zip(told, item.expected, strict=True))
        assert item.turns[-1].count(", ") >= 2
        assert ", and " in item.turns[-1]
        assert len({kind for kind, values in KINDS.items() if set(values) & set(item.expected)}) == 3
    with pytest.raises(ValueError, match=r"length: facts and question leave .* tokens, expected room"):
        three_fact_items(50, tokens=words)


def test_three_facts_are_read_in_two_fifths_of_the_text() -> None:
    items = three_fact_items(2000, tokens=words)
    every = {item.turns[: place + 1] for item in items for place in range(len(item.turns))}
    shared = sum(words(beginning[-1]) for beginning in every)
    assert shared < 0.42 * sum(words(turn) for item in items for turn in item.turns)


def test_the_other_of_two_is_a_rival_and_stands_before_or_after() -> None:
    for maker in ("preference", "correction", "reference"):
        first = 0
        for item in MAKERS[maker]():
            (answer,), other = item.expected, item.rivals[0]
            text = "".join(item.turns)
            assert mentions(text, other)
            assert not [rival for rival in item.rivals[1:] if mentions(text, rival)]
            assert item.candidates[:2] == (f" {answer}", f" {other}")
            first += text.rindex(answer) > text.rindex(other)
        assert 120 < first < 280, maker


def test_a_reference_is_a_turn_or_two_behind_its_name() -> None:
    gaps = Counter()
    comments = {one.comment for one in reference_data().templates}
    for item in reference_items():
        named = next(place for place, turn in enumerate(item.turns) if mentions(turn, item.expected[0]))
        said = next(
            place for place in range(named, len(item.turns)) if item.turns[place][6:].split("\n")[0] in comments
        )
        gaps[said - named] += 1
        assert item.turns[said].split("\n")[0].removeprefix("User: ") in item.said
        assert not mentions(item.turns[said], item.expected[0])
    assert gaps.keys() == {1, 2}


def test_a_correction_names_the_old_value_and_the_new_one() -> None:
    orders = Counter()
    for one in correction_data().corrections:
        assert one.text.count("{value}") == one.text.count("{other}") == 1
        orders[one.text.index("{value}") < one.text.index("{other}")] += 1
    assert orders == {True: 6, False: 6}
    for item in correction_items(2):
        (new,), old = item.expected, item.rivals[0]
        assert mentions(item.turns[0], old)
        assert not mentions(item.turns[0], new)
        assert not mentions("".join(item.control), new)
        assert mentions("".join(item.control), old)


def test_constraints_are_scattered_among_things_that_are_loved() -> None:
    counts = Counter()
    for item in constraint_items():
        text = "".join(item.turns)
        counts[len(item.expected)] += 1
        starts = [text.index(value) for value in item.expected]
        assert starts == sorted(starts)
        loved = [rival for rival in item.rivals if mentions(text, rival)]
        assert 1 <= len(loved) <= 2
        assert set(loved) == set(item.rivals[: len(loved)])
        kinds = {kind for kind, values in KINDS.items() if set(values) & set(item.expected)}
        assert all(any(value in KINDS[kind] for kind in kinds) for value in loved)
        assert score_list(item, "".join(f"\n- {value}" for value in item.expected)).right
        assert not score_list(item, "".join(f"\n- {value}" for value in item.expected[1:])).right
        assert not score_list(item, f"{item.candidates[0]} and {loved[0]}").right
    assert counts.keys() == {2, 3, 4}
    assert min(counts.values()) > 80
