"""C4b and C4c: their conversations, and what is a tone and what is none."""

from __future__ import annotations

import pytest

from gt.data.conversations.wordings import read_yaml, tones
from gt.data.dialogues import CanaryItem, formal_items, score_formal, score_terse, terse_items, tone_data

TURNS = (
    "User: I ask for a certain form of words that I respectfully regard as proper.\nAssistant: I see.\n",
    "User: The value on my old door sign is crimson.\nAssistant: Okay.\n",
    "User: What color is the sign?\nAssistant:",
)


def item() -> CanaryItem:
    return CanaryItem(
        template="t/1", kind="t", turns=TURNS, control=(), said="", expected=("crimson",), rivals=("teal",)
    )


@pytest.mark.parametrize("maker", [formal_items, terse_items])
def test_a_tone_is_asked_for_once_and_the_question_twice(maker: object) -> None:
    assert callable(maker)
    for one in maker():
        (early,) = one.before
        assert (len(early.turns), len(one.turns)) == (3, 6)
        assert early.turns[:2] == one.turns[:2]
        assert early.turns[-1] == one.turns[-1]
        assert (early.control[0], early.control[1:]) == (one.control[0], early.turns[1:])
        assert one.said.startswith(one.turns[0].splitlines()[0].removeprefix("User: "))


@pytest.mark.parametrize("tone", ["formal", "terse"])
def test_there_are_many_ways_to_ask_for_a_tone(tone: str) -> None:
    asked = [instruction.text for instruction in getattr(tone_data(), tone).instructions]
    assert len(set(asked)) == len(asked) >= 12


def test_samples_are_what_they_are_meant_to_be() -> None:
    for tone, score in ((tone_data().formal, score_formal), (tone_data().terse, score_terse)):
        assert score(item(), f" {tone.sample.right.replace('{value}', 'crimson')}").right
        assert not score(item(), f" {tone.sample.other.replace('{value}', 'crimson')}").right


def test_replies_that_are_given_have_no_tone() -> None:
    """Neither the tone that is asked for nor one that contradicts it could be copied from them."""
    for instruction in (*tone_data().formal.instructions, *tone_data().terse.instructions):
        assert score_formal(item(), instruction.reply).why in ("has no formal tone", "is chatty")
        assert not score_terse(item(), instruction.reply).right


def test_what_training_teaches_is_what_the_scorers_look_for() -> None:
    """And no more: another tone that is trained on passes for neither."""
    named = read_yaml("tones.yaml", dict[str, object])
    by_name = dict(zip(named, tones(), strict=True))
    for tone, score in (("formal", score_formal), ("terse", score_terse)):
        for name, one in by_name.items():
            answers = [answer.replace("{v}", "crimson") for answer in one.answers]
            passed = [answer for answer in answers if score(item(), f" {answer}").right]
            if name == "technical" and tone == "terse":
                continue  # terse as well, but for its lack of formality, which does not show in a line
            assert passed == (answers if name == tone else []), (tone, name)


@pytest.mark.parametrize(
    ("generated", "why", "content"),
    [
        (" According to your statement, it is crimson.", "", True),
        (" It is my understanding that it is crimson.\nUser: hey!", "", True),
        (" I believe that it is crimson.", "", True),
        (" You have stated that it is crimson.", "", True),
        (" Certainly, madam: the sign is crimson.", "", True),
        (" I regret that I do not recall it.", "", False),
        (" According to your statement, it is teal.", "", False),
        (" crimson.", "has no formal tone", False),
        (" Crimson", "has no formal tone", False),
        (" It is crimson.", "has no formal tone", False),
        (" The color of the sign is crimson.", "has no formal tone", False),
        (" I do not know what it is.", "has no formal tone", False),
        (" I shall say to you what you said to me.", "is chatty", False),
        (" According to your statement, it's crimson.", "has a contraction", False),
        (" I believe that\u2019s crimson, and it is stated.", "has a contraction", False),
        (" I don't recall that it is stated.", "has a contraction", False),
        (" Yeah, it is crimson according to your statement.", "has slang", False),
        (" Certainly, it is crimson!", "has slang", False),
        (" I respectfully regard as proper", "repeats what was said", False),
        (" What color is the sign?", "has no formal tone", False),
        ("\nAccording to your statement, it is crimson.", "says nothing", False),
        (" ...", "says nothing", False),
        ("", "says nothing", False),
    ],
)
def test_formality_must_show(generated: str, why: str, content: bool) -> None:
    score = score_formal(item(), generated)
    assert (score.why, score.right) == (why, not why)
    assert score.also == {"content_rate": content}


@pytest.mark.parametrize(
    ("generated", "why", "has"),
    [
        (" Stored entry: crimson.", "", "formal concise technical content"),
        (" Query result: crimson.", "", "formal concise technical content"),
        (" Record found, output crimson.", "", "formal concise technical content"),
        (" Query result: teal.", "", "formal concise technical"),
        (" crimson.", "has too few technical terms", "formal concise"),
        (" The value is crimson.", "has too few technical terms", "formal concise"),
        (" The sign is crimson.", "has too few technical terms", "formal concise"),
        (" Yeah, stored entry: crimson.", "has slang", "concise technical"),
        (" Stored entry: it's crimson.", "has a contraction", "concise technical"),
        (" Stored entry retrieved: I say crimson.", "addresses somebody", "concise technical"),
        (" According to your statement, it is crimson.", "addresses somebody", "concise"),
        (" Query result retrieved and verified: the sign by the old door is crimson by now.", "is too long",
         "formal technical"),
        ("", "says nothing", ""),
    ],
)  # fmt: skip
def test_formal_concise_and_technical_at_once(generated: str, why: str, has: str) -> None:
    score = score_terse(item(), generated)
    assert (score.why, score.right) == (why, not why)
    assert {name.removesuffix("_rate") for name, is_there in score.also.items() if is_there} == set(has.split())
    assert set(score.also) == {"formal_rate", "concise_rate", "technical_rate", "content_rate"}
