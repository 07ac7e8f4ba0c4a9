"""Canaries pass a listener that remembers, and fail each that does not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gt.data.dialogues import canary_data, constraint_data, persona_data, tone_data
from gt.probes.canaries import CANARIES, WRONG_KEPT, measure
from gt.resources import fixtures_dir
from gt.sabotage import plant
from gt.scripted import Reply
from gt.scripted.conversations import avoided, every_asked, kinds, remember, stated, wants_bullets, written
from gt.scripted.wording import question_of
from pytest_groundthink.checks import load_checks
from tests.gt.probes.listener import TOKENIZER, asked, subject

BOOK = load_checks(fixtures_dir() / "checks.yaml")
KINDS = kinds()


def judged(who: Any, check: str) -> tuple[str, dict[str, Any], str]:
    """Status, measurements by name, reason."""
    measurements = measure(who, check)
    status, reason, _ = BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)
    return str(status), {one.metric: one for one in measurements}, reason


@pytest.mark.parametrize("check", CANARIES)
def test_a_listener_passes(check: str) -> None:
    status, found, reason = judged(subject(remember), check)
    assert status == "PASS", (reason, found["rate"].detail["wrong"][:3])
    assert found["rate"].value == found["likelihood_rank_rate"].value == 1.0
    assert found["control_rate"].value == 0.0
    assert [found[name].n for name in ("rate", "control_rate", "likelihood_rank_rate")] == [80, 40, 40]
    assert found["rate"].detail["wrong"] == []
    assert found["rate"].chance == found["control_rate"].chance
    guess = found["rate"].chance
    assert 0 < guess <= 0.1 if CANARIES[check].names_values else guess is None
    assert found["likelihood_rank_rate"].chance in (0.25, 0.5)
    assert "without" in reason
    assert set(found) == set(BOOK.checks[check].metrics)


@pytest.mark.parametrize(
    ("fault", "remembers", "forgets"),
    [("memory-96", "C1a", "C1b-lite"), ("memory-136", "C1b-lite", "C1b"), ("memory-224", "C1b", "C1c")],
)
def test_a_memory_that_is_too_short_is_long_enough_for_less(fault: str, remembers: str, forgets: str) -> None:
    for check, status in ((remembers, "PASS"), (forgets, "FAIL")):
        short = subject(remember)
        plant(fault, short.model)
        assert judged(short, check)[0] == status


@pytest.mark.parametrize(
    ("known", "of", "status"),
    [(388, 400, "PASS"), (76, 80, "WARN"), (64, 80, "WARN"), (39, 80, "FAIL"), (0, 80, "FAIL")],
)
def test_what_is_remembered_is_counted(known: int, of: int, status: str) -> None:
    """76 of 80 is 95%, but might as well be 88%: more items would tell."""
    prompts = {"".join(item.turns) for item in CANARIES["C1a"].items(of, 0)[:known]}
    found_status, found, reason = judged(subject(lambda text: remember(text) if text in prompts else "", of), "C1a")
    rate = found["rate"]
    assert rate.value == pytest.approx(known / of)
    assert (rate.n, found["control_rate"].value) == (of, 0.0)
    assert rate.ci95 is not None
    assert rate.ci95[0] <= known / of <= rate.ci95[1]
    assert found_status == status, reason


def rival(text: str) -> str:
    """Another value of the same kind for each."""
    template = asked(text)
    values = stated(text, template) if template else []
    circle = KINDS[template.kind] if template else ()
    return written([circle[(circle.index(value) + 7) % len(circle)] for value in values], wants_bullets(text))


def with_rival(text: str) -> str:
    return remember(text).removesuffix(".\n") + rival(text)


def keeps_the_format_one_turn(text: str) -> str:
    """The instruction holds for the turn after it alone."""
    template = asked(text)
    recent = "User: ".join(text.split("User: ")[-3:])
    return written(stated(text, template), wants_bullets(recent)) if template else ""


def remember_plainly(text: str) -> str:
    template = asked(text)
    return written(stated(text, template), bulleted=False) if template else ""


def first_fact_alone(text: str) -> str:
    """The question for several is answered as if only the first had been asked."""
    return written([value for template in every_asked(text)[:1] for value in stated(text, template)], bulleted=False)


def first_statement(text: str) -> str:
    """What was said first, whatever was said since."""
    return written([value for template in every_asked(text) for value in stated(text, template)], bulleted=False)


def last_named(text: str) -> str:
    """The value that was said last, whatever was asked."""
    said = text.rpartition("User: ")[0]
    places = [(found.start(), value) for values in KINDS.values() for value in values
              for found in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", said)]  # fmt: skip
    return written([max(places)[1]] if places else [], bulleted=False)


def everything_said(text: str) -> str:
    """All values that occur in the conversation."""
    said = text.rpartition("User: ")[0]
    named = [value for values in KINDS.values() for value in values if re.search(rf"(?<!\w){value}(?!\w)", said)]
    return written(named, bulleted=False)


def last_thing_alone(text: str) -> str:
    return written(avoided(text)[-1:], bulleted=False)


def mixed_persona(text: str) -> str:
    """Another fact of the persona than the one that was asked for."""
    template = asked(text)
    told = [(one, value) for one in persona_data().templates for value in stated(text, one)]
    return written([value for one, value in told if one is not template][:1], bulleted=False)


def contradicts(text: str) -> str:
    """The right fact, and beside it what is not true of the persona."""
    template = asked(text)
    told = [(one, value) for one in persona_data().templates for value in stated(text, one)]
    wrong = [KINDS[one.kind][KINDS[one.kind].index(value) - 1] for one, value in told if one is not template]
    return remember(text).rstrip(".\n") + f" and {wrong[0]}.\n" if wrong else remember(text)


def neutrally(text: str) -> str:
    """A whole sentence without any tone."""
    return f" It is{remember_plainly(text)}"


def casually(text: str) -> str:
    template = asked(text)
    values = stated(text, template) if template else []
    return f" {tone_data().formal.sample.other.replace('{value}', *values)}\n" if values else ""


def formally_at_first(text: str) -> str:
    """In the tone that was asked for as long as nothing but the fact has been said since."""
    return remember(text) if text.count("User: ") == 3 else remember_plainly(text)


def newest_of_its_kind(text: str) -> str:
    """The last value of the kind that is asked for, whoever said it of whatever."""
    template = asked(text)
    kinds = "|".join(KINDS[template.kind]) if template else ""
    found = re.findall(rf"(?<!\w)(?:{kinds})(?!\w)", text)
    return written(found[-1:], bulleted=False)


def deaf_to_names(text: str) -> str:
    """The first one that said it, whoever asks."""
    template = asked(text)
    return written(stated(text, template), bulleted=False) if template else ""


def echo(text: str) -> str:
    """The question again."""
    return " " + text.rpartition("User: ")[2]


def every_candidate(text: str) -> str:
    template = asked(text)
    return written(list(KINDS[template.kind]), wants_bullets(text)) if template else ""


@pytest.mark.parametrize(
    ("check", "reply", "why"),
    [
        ("C1a", rival, "names another value"),
        ("C1a", with_rival, "names another value too"),
        ("C1a", echo, "names no value"),
        ("C1a", every_candidate, "names another value"),
        ("C1b", rival, "names another value"),
        ("C1b", lambda text: "", "says nothing"),
        ("C1d", remember_plainly, "names a part"),
        ("C2a", first_fact_alone, "names a part"),
        ("C2b", last_thing_alone, "names a part"),
        ("C2b", everything_said, "names another value too"),
        ("C2b", echo, "names no value"),
        ("C3a", everything_said, "names another value too"),
        ("C3b", everything_said, "names another value too"),
        ("C3c", first_statement, "names another value"),
        ("C3c", everything_said, "names another value too"),
        ("C4a", remember_plainly, "has no bullets"),
        ("C4a", keeps_the_format_one_turn, "has no bullets"),
        ("C4a", echo, "has no bullets"),
        ("C4a", lambda text: "\n- that\n", "has a single bullet"),
        ("C4a", lambda text: "", "says nothing"),
        ("C4b", remember_plainly, "has no formal tone"),
        ("C4b", neutrally, "has no formal tone"),
        ("C4b", casually, "has a contraction"),
        ("C4b", formally_at_first, "has no formal tone"),
        ("C4b", echo, "has no formal tone"),
        ("C4c", remember_plainly, "has too few technical terms"),
        ("C4c", formally_at_first, "has too few technical terms"),
        ("C4c", echo, "addresses somebody"),
        ("C5a", rival, "names another value"),
        ("C5b", mixed_persona, "names no value"),
        ("C5b", contradicts, "names another value too"),
        ("C5c", newest_of_its_kind, "names another value"),
        ("C6a", newest_of_its_kind, "names another value"),
        ("C6a", every_candidate, "names another value"),
        ("C6b", newest_of_its_kind, "names another value"),
        ("C6b", deaf_to_names, "names another value"),
        ("C5a", mixed_persona, "names no value"),
        ("C5a", contradicts, "names another value too"),
    ],
)
def test_wrong_answers_fail(check: str, reply: Reply, why: str) -> None:
    status, found, reason = judged(subject(reply, 40), check)
    assert status == "FAIL", reason
    assert set(found) == set(BOOK.checks[check].metrics)
    detail = found["rate"].detail
    assert max(detail["why_wrong"], key=detail["why_wrong"].get) == why
    assert sum(detail["why_wrong"].values()) == 40 - round(40 * found["rate"].value)
    assert len(detail["wrong"]) == WRONG_KEPT
    assert len({one["template"] for one in detail["wrong"]}) == WRONG_KEPT
    for one in detail["wrong"]:
        assert one["why"] in detail["why_wrong"]
        assert one["expected"]
        assert all(value in one["said"] for value in one["expected"])
        assert one["asked"].endswith("?")


@pytest.mark.parametrize("check", ["C5c", "C6a", "C6b"])
def test_a_trap_that_was_walked_into_is_recorded(check: str) -> None:
    _, found, _ = judged(subject(newest_of_its_kind, 40), check)
    assert found["untrapped_rate"].value == 0.0
    _, found, _ = judged(subject(lambda text: "", 40), check)
    assert (found["rate"].value, found["untrapped_rate"].value) == (0.0, 1.0)


def test_answers_are_counted_by_question_as_well() -> None:
    _, found, _ = judged(subject(formally_at_first, 40), "C4b")
    assert found["rate"].value == 0.0
    assert found["rate"].detail["by_question"] == [1.0, 0.0]

    def only_the_last(text: str) -> str:
        return remember(text) if text.count("User: ") == 8 else ""

    _, found, _ = judged(subject(only_the_last, 40), "C5b")
    assert (found["rate"].value, found["rate"].detail["by_question"]) == (0.0, [0.0, 0.0, 1.0])


def test_what_is_asked_aside_is_not_part_of_the_conversation() -> None:
    heard = set()

    def hears(text: str) -> str:
        if text.endswith("?\nAssistant:"):
            heard.add(text)
        return remember(text)

    judged(subject(hears, 40), "C5b")
    wanted = {"".join(one.turns) for last in CANARIES["C5b"].items(40, 0) for one in (*last.before, last)}
    assert wanted <= heard
    assert len(heard) == 2 * len(wanted), "and as many controls"


def test_three_instructions_are_counted_one_by_one() -> None:
    status, found, reason = judged(subject(remember_plainly, 40), "C4c")
    assert status == "FAIL"
    rates = [found[f"{name}_rate"].value for name in ("formal", "concise", "technical", "content")]
    assert rates == [1.0, 1.0, 0.0, 0.0], reason


def test_a_leak_between_sessions_fails_however_small() -> None:
    """What is said is right, and every call moves the logits of the next ones a little."""
    leaking = subject(remember, 40)
    forward, calls = leaking.model.forward, []

    def moved(tokens: Any, **kwargs: Any) -> Any:
        calls.append(tokens)
        logits, state = forward(tokens, **kwargs)
        return logits + 1e-5 * len(calls), state

    leaking.model.forward = moved
    status, found, reason = judged(leaking, "C6a")
    assert (found["rate"].value, status) == (1.0, "FAIL"), reason
    assert 0 < found["interleaving_difference"].value < 0.1
    whole = judged(subject(remember, 40), "C6a")[1]["interleaving_difference"]
    assert (whole.value, whole.n) == (0.0, 8)


@pytest.mark.parametrize("check", ["C3a", "C3b", "C3c"])
def test_the_value_that_was_named_last_is_not_the_answer(check: str) -> None:
    """It is right as often as it is wrong: 400 of either would not pass."""
    status, found, reason = judged(subject(last_named, 80), check)
    assert status in ("WARN", "FAIL"), reason
    assert 0.3 < found["rate"].value < 0.7


def test_what_is_to_be_avoided_may_be_a_list() -> None:
    def listed(text: str) -> str:
        return written(avoided(text), bulleted=True) if question_of(text) in constraint_data().questions else ""

    assert judged(subject(listed, 80), "C2b")[0] == "PASS"


def test_a_reply_to_everything_shows_in_the_control() -> None:
    """Bullets are there, asked for or not: the rate alone would not tell."""

    def always(text: str) -> str:
        template = asked(text)
        return written(stated(text, template), bulleted=True) if template else ""

    _, found, reason = judged(subject(always, 40), "C4a")
    assert (found["rate"].value, found["control_rate"].value) == (1.0, 1.0)
    assert "without the instruction 100" in reason


def test_bullets_of_the_wrong_things_are_recorded() -> None:
    status, found, _ = judged(subject(rival, 80), "C4a")
    assert status == "PASS"
    assert (found["rate"].value, found["content_rate"].value) == (1.0, 0.0)


def test_some_forget() -> None:
    """Between PASS and FAIL: the rate is counted item by item, and by kind."""
    kinds = sorted(canary_data().kinds)[::3]

    def some(text: str) -> str:
        template = asked(text)
        return " What?\n" if template and template.kind in kinds else remember(text)

    status, found, _ = judged(subject(some, 80), "C1a")
    assert status == "WARN"
    by_kind = found["rate"].detail["by_kind"]
    assert {kind for kind, own in by_kind.items() if own["rate"] == 0} == set(kinds)
    assert sum(own["n"] for own in by_kind.values()) == 80
    assert sum(own["n"] * own["rate"] for own in by_kind.values()) == pytest.approx(80 * found["rate"].value)


@pytest.mark.parametrize("check", CANARIES)
def test_answers_fit_into_their_tokens(check: str) -> None:
    canary = CANARIES[check]
    for item in (one for last in canary.conversations(400, 0, TOKENIZER) for one in (*last.before, last)):
        longest = max(len(TOKENIZER.encode(candidate)) for candidate in item.candidates)
        assert longest + 4 <= canary.max_tokens
        assert not re.search(r"User:", item.candidates[0])
