"""What a scripted subject answers to the questions of the canaries."""

from __future__ import annotations

import re
from functools import cache

from gt.data.dialogues import (
    canary_data,
    constraint_data,
    correction_data,
    format_data,
    persona_data,
    preference_data,
    reference_data,
    speaker_data,
    tone_data,
)
from gt.data.dialogues.content import ListTemplate, Reference, Template
from gt.scripted.wording import UNKNOWN, question_of


@cache
def kinds() -> dict[str, tuple[str, ...]]:
    """All values of the canaries and personas, by kind."""
    return {**canary_data().kinds, **persona_data().kinds}


def every_asked(text: str) -> list[Template | ListTemplate]:
    """The templates whose questions were asked last, joined by commas and "and" where there are several."""
    question, by_question = question_of(text).rstrip("?").lower(), _by_question()
    if question in by_question:
        return [by_question[question]]
    found = [(question.find(own), template) for own, template in by_question.items() if own in question]
    return [template for _, template in sorted(found, key=lambda one: one[0])]


@cache
def _by_question() -> dict[str, Template | ListTemplate]:
    templates: list[Template | ListTemplate] = [
        *canary_data().templates,
        *persona_data().templates,
        *format_data().lists,
        *preference_data().templates,
        *speaker_data().templates,
    ]
    return {template.question.rstrip("?").lower(): template for template in templates}


def of_last_speaker(text: str) -> str:
    """What the user who speaks last has said; everything where none says who it is."""
    named = [re.escape(one).replace(r"\{value\}", r"(\w+)") for one in speaker_data().speakers]
    turns = [(turn, re.match("|".join(named), turn)) for turn in text.split("User: ")]
    who = [next(filter(None, match.groups())) if match else "" for _, match in turns]
    return "User: ".join(turn for (turn, _), name in zip(turns, who, strict=True) if name == who[-1])


@cache  # there are more of them than `re` keeps
def pattern(statement: str, kind: str) -> re.Pattern[str]:
    """A statement as a regular expression, with its values as groups; each is one of the kind."""
    values = "|".join(map(re.escape, kinds()[kind]))
    return re.compile(re.sub(r"\\\{(value|other)\\\}", rf"(?P<\1>{values})", re.escape(statement)))


def stated(text: str, template: Template | ListTemplate) -> list[str]:
    """The values that were stated in a template's words, in order; none if its statement was not heard."""
    if "{value}" in template.statement:
        found = re.search(pattern(template.statement, template.kind), text)
        return [found["value"]] if found else []
    before, after = template.statement.split("{values}")
    listed = re.search(re.escape(before or "User: ") + "(.+?)" + re.escape(after), text)
    if listed is None:
        return []
    article = re.escape(template.each.replace("{value}", "")) if isinstance(template, ListTemplate) else ""
    return [re.sub(rf"^{article}", "", thing) for thing in re.split(", | and ", listed[1])]


def corrected(text: str, template: Template | ListTemplate) -> list[str]:
    """The values that were stated, or what they were replaced by."""
    values = stated(text, template)
    for correction in correction_data().corrections if values and template in canary_data().templates else ():
        found = re.search(pattern(correction.text, template.kind), text)
        if found and found["other"] == values[0]:
            return [found["value"]]
    return values


def meant(text: str, template: Reference) -> list[str]:
    """What was named last before a template's comment."""
    before, comment, _ = text.partition(f"User: {template.comment}")
    named = [
        (found.start(), found["value"])
        for one in reference_data().templates
        for found in re.finditer(pattern(one.statement, one.kind), before if comment else "")
    ]
    return [max(named)[1]] if named else []


def avoided(text: str) -> list[str]:
    """All that is to be avoided, in order."""
    found = [
        (match.start(), match["value"])
        for one in constraint_data().avoided
        for match in re.finditer(pattern(one.statement, one.kind), text)
    ]
    return [value for _, value in sorted(found)]


def written(values: list[str], bulleted: bool) -> str:
    """An answer that names values."""
    if not values:
        return UNKNOWN
    if bulleted:
        return "".join(f"\n- {value}" for value in values) + "\n"
    *others, last = values
    return f" {', '.join(others)} and {last}.\n" if others else f" {last}.\n"


def wants_bullets(text: str) -> bool:
    """Whether the user asked for bullets."""
    return any(instruction.text in text for instruction in format_data().instructions)


def sample_of_tone(text: str) -> str:
    """How an answer is to be phrased, by the tone that was asked for; empty without one."""
    for tone in (tone_data().formal, tone_data().terse):
        if any(instruction.text in text for instruction in tone.instructions):
            return tone.sample.right
    return ""


def remember(text: str) -> str:
    """The right answer to a canary's question, from what was read alone."""
    question = question_of(text)
    if question in constraint_data().questions:
        return written(avoided(text), bulleted=False)
    for template in reference_data().templates:
        if template.question == question:
            return written(meant(text, template), bulleted=False)
    values = [value for template in every_asked(text) for value in corrected(of_last_speaker(text), template)]
    sample = sample_of_tone(text)
    return f" {sample.replace('{value}', values[0])}\n" if sample and values else written(values, wants_bullets(text))
