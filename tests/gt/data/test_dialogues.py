import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gt.data.dialogues import CanaryItem, canary_data, recall_items, score_facts

DATA = canary_data()
VALUES = [value for values in DATA.kinds.values() for value in values]


def mentions(text, value):
    return re.search(rf"(?<!\w){re.escape(value)}s?(?!\w)", text, re.IGNORECASE) is not None


def score_recall(generated, answer, rivals):
    item = CanaryItem(
        template="", kind="", turns=(), control=(), said="", expected=(answer,), rivals=tuple(rivals), candidates=()
    )
    return score_facts(item, generated).right


def test_there_is_enough_of_everything():
    assert len(DATA.templates) >= 48
    assert len(DATA.fillers) >= 80
    assert all(len(values) >= 14 for values in DATA.kinds.values())
    per_kind = Counter(template.kind for template in DATA.templates)
    assert set(per_kind) == set(DATA.kinds)
    assert max(per_kind.values()) <= 4


def test_nothing_stands_there_twice():
    for texts in (
        DATA.fillers,
        [t.statement for t in DATA.templates],
        [t.question for t in DATA.templates],
        [value.casefold() for value in VALUES],
    ):
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("kind", DATA.kinds)
def test_no_value_is_part_of_another(kind):
    for one, other in itertools.permutations(DATA.kinds[kind], 2):
        assert one.casefold() not in other.casefold()


def test_values_are_a_word_or_two():
    assert [value for value in VALUES if not re.fullmatch(r"[A-Za-z]+( [A-Za-z0-9]+)?|\d{3}", value)] == []


def test_no_text_gives_a_value_away():
    texts = [*DATA.fillers, *DATA.filler_replies, DATA.default_reply]
    texts += [text for turn in DATA.neutral for text in (turn.text, turn.reply)]
    texts += [text for t in DATA.templates for text in (t.statement, t.question, t.reply or "")]
    assert [(text, value) for text in texts for value in VALUES if mentions(text, value)] == []


def test_statements_hold_the_value_once_and_questions_ask():
    for template in DATA.templates:
        assert template.statement.count("{value}") == 1
        assert "{" not in template.question
        assert template.question.endswith("?")


def test_an_article_fits_every_value():
    for template in DATA.templates:
        if " a {value}" in template.statement:
            assert not [value for value in DATA.kinds[template.kind] if value[0] in "aeiou"]


@pytest.mark.parametrize("fillers", [0, 3, 5, 10])
def test_items_are_balanced(fillers):
    items = recall_items(fillers, n=400, seed=0)
    assert len(items) == 400
    per_template = Counter(item.template for item in items)
    assert len(per_template) == 40
    assert set(per_template.values()) == {10}
    assert len({(item.template, item.expected) for item in items}) == 400
    templates_per_kind = Counter(name.split("/")[0] for name in per_template)
    assert set(templates_per_kind) == set(DATA.kinds)
    assert max(templates_per_kind.values()) - min(templates_per_kind.values()) <= 1
    for kind, values in DATA.kinds.items():
        uses = Counter(item.expected[0] for item in items if item.kind == kind)
        counts = [uses[value] for value in values]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("n", [1, 7, 40, 130, 400, 401, 1000])
def test_any_number_of_items_is_spread_over_templates(n):
    items = recall_items(0, n=n, seed=2)
    per_template = Counter(item.template for item in items)
    assert len(items) == n
    assert len({(item.template, item.expected) for item in items}) == n
    assert max(per_template.values()) - min(per_template.values()) <= 1
    assert len(per_template) >= min(n, 40)


@pytest.mark.parametrize("fillers", [0, 3])
def test_a_conversation_states_the_fact_once_and_its_control_never(fillers):
    for item in recall_items(fillers, n=400, seed=1):
        assert len(item.turns) == len(item.control) == fillers + 2
        assert item.turns[1:] == item.control[1:]
        assert item.turns[-1].startswith("User: ")
        assert item.turns[-1].endswith("?\nAssistant:")
        assert all(re.fullmatch(r"User: .+\nAssistant: .+\n", turn) for turn in (*item.turns[:-1], item.control[0]))
        (answer,) = item.expected
        assert mentions(item.turns[0], answer)
        assert mentions(item.said, answer)
        assert len(set(item.turns)) == len(item.turns)
        rest = "".join(item.turns[1:])
        for value in (answer, *item.rivals):
            assert not mentions(rest, value)
            assert not mentions(item.control[0], value)
        assert set(item.rivals) | {answer} == set(DATA.kinds[item.kind])
        assert answer not in item.rivals
        assert item.candidates[0] == f" {answer}"
        assert len(set(item.candidates)) == 4


def test_the_seed_alone_decides():
    assert recall_items(3, seed=5) == recall_items(3, seed=5)
    assert recall_items(3, seed=5) != recall_items(3, seed=6)


def test_facts_and_first_fillers_are_the_same_at_every_distance():
    for near, far in zip(recall_items(3, seed=4), recall_items(10, seed=4), strict=True):
        assert (near.template, near.expected) == (far.template, far.expected)
        assert near.turns[0] == far.turns[0]
        assert near.control[0] == far.control[0]
        assert [t.split("\n")[0] for t in near.turns[1:4]] == [t.split("\n")[0] for t in far.turns[1:4]]


@pytest.mark.parametrize(("fillers", "n"), [(-1, 400), (10_000, 400), (0, 0), (0, 100_000)])
def test_what_the_fixture_cannot_provide_is_refused(fillers, n):
    with pytest.raises(ValueError, match=r"got .* expected"):
        recall_items(fillers, n=n)


RIVALS = ("teal", "green tea", "214")


@pytest.mark.parametrize(
    ("generated", "answer", "expected"),
    [
        (" It is crimson.", "crimson", True),
        (" CRIMSON!", "crimson", True),
        ("crimson", "crimson", True),
        (' You said "crimson".', "crimson", True),
        (" crimson\nUser: And teal?", "crimson", True),
        (" Crimson. User: what about teal?", "crimson", True),
        (" crimson<|endoftext|>teal", "crimson", True),
        (" ginger  ale, of course", "ginger ale", True),
        (" Bus 387.", "387", True),
        (" You were born in Lisbon.", "Lisbon", True),
        ("", "crimson", False),
        (" teal", "crimson", False),
        (" crimson or teal", "crimson", False),
        (" crimson, 214", "crimson", False),
        (" crimsons", "crimson", False),
        (" ginger", "ginger ale", False),
        (" ale and ginger", "ginger ale", False),
        (" 3870", "387", False),
        ("\ncrimson", "crimson", False),
        (" I do not know.\nUser: crimson", "crimson", False),
        ("\nUser: crimson", "crimson", False),
        (" steal crimson", "crimson", True),
    ],
)
def test_scorer(generated, answer, expected):
    assert score_recall(generated, answer, RIVALS) is expected


@given(st.sampled_from(sorted(DATA.kinds)), st.data())
def test_scorer_accepts_the_answer_and_only_the_answer(kind, data):
    answer = data.draw(st.sampled_from(DATA.kinds[kind]))
    rivals = [value for value in DATA.kinds[kind] if value != answer]
    rival = data.draw(st.sampled_from(rivals))
    frame = data.draw(st.sampled_from([" {}", " It is {}.", " You told me that it was {}, I think."]))
    tail = data.draw(st.text(max_size=40))
    assert score_recall(frame.format(answer) + "\n" + tail, answer, rivals)
    assert score_recall(frame.format(answer.upper()), answer, rivals)
    assert not score_recall(frame.format(rival) + "\n" + tail, answer, rivals)
    assert not score_recall(frame.format(f"{answer} or {rival}"), answer, rivals)
