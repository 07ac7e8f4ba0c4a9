"""Statements and the questions that they answer, both made from one clause: who did what, to whom, where and when."""

from __future__ import annotations

from typing import NamedTuple

from gt.data.conversations.morphology import third_person
from gt.data.conversations.nouns import (
    FIRST,
    KINDS,
    LISTED,
    PLURAL,
    SINGULAR,
    YOU,
    Noun,
    noun,
    person,
    several_nouns,
    speaker,
)
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.verbs import Forms, Frame, Slot, frames
from gt.data.conversations.words import Draw

_HAVE = {FIRST: "have", PLURAL: "have", SINGULAR: "has"}
_BE = {FIRST: "am", PLURAL: "are", SINGULAR: "is"}
_WAS = {FIRST: "was", PLURAL: "were", SINGULAR: "was"}
_DO = {FIRST: "do", PLURAL: "do", SINGULAR: "does"}

_TENSES = (
    *("past",) * 44, *("present",) * 10, *("will",) * 6, *("going",) * 6, *("perfect",) * 7, *("progressive",) * 5,
    *("was doing",) * 3, *("catenative",) * 11, *("past catenative",) * 9, *("control",) * 7, *("passive",) * 5,
)  # fmt: skip
_LISTING = ("past", "past", "past", "present", "perfect", "will", "going", "catenative", "past catenative", "control")
_STATES = ("past", "past", "past", "present", "present")
_WHEN = {
    "past": "times_past", "was doing": "times_past", "past catenative": "times_past", "control": "times_past",
    "passive": "times_past", "present": "times_present", "will": "times_future", "going": "times_future",
    "progressive": "times_future", "catenative": "times_future",
}  # fmt: skip
_DOING = ("progressive", "was doing")
_CATENATIVES = ("want", "need", "have", "plan", "hope", "intend", "expect", "would like", "try")
_PAST_CATENATIVES = (
    ("wanted", "want"), ("had", "have"), ("decided", "decide"), ("promised", "promise"), ("managed", "manage"),
    ("refused", "refuse"), ("agreed", "agree"), ("tried", "try"), ("offered", "offer"), ("used", "use"),
    ("needed", "need"), ("hoped", "hope"), ("threatened", "threaten"), ("forgot", "forget"),
)  # fmt: skip
_CONTROLS = (
    ("told", "tell"), ("asked", "ask"), ("wanted", "want"), ("advised", "advise"), ("helped", "help"),
    ("forced", "force"), ("begged", "beg"), ("allowed", "allow"), ("taught", "teach"), ("ordered", "order"),
)  # fmt: skip
_PLACING = frozenset("in at on near under behind to into onto above around through next".split())
_WHENING = frozenset(("on", "at"))


EMBEDDINGS = (
    "do you remember", "can you tell me", "do you know", "could you remind me", "do you still know", "can you recall",
    "would you tell me", "tell me", "remind me", "I would like to know",
)  # fmt: skip


class Fact(NamedTuple):
    """A statement and what may be asked about it.

    Attributes:
        statement: A sentence of the user's.
        questions: Pairs of a question and its answer; the first is what the statement was made for.
        subject: Who or what it is about, as said again.
        values: The parts of the first answer, where it names several things.
        kind: Kind of the first answer, where the fact is no event.
    """

    statement: str
    questions: tuple[tuple[str, str], ...]
    subject: str = ""
    values: tuple[str, ...] = ()
    kind: str = ""


class _Group(NamedTuple):
    """A verb in a tense: as it stands in a statement, and around the subject of a question."""

    finite: str
    auxiliary: str
    main: str


def clause_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts about events, each with questions for its parts.

    More than one are about the same sort of event with different people, so that who is meant decides which answer is
    right.
    """
    frame = draw.pick(frames())
    tense = draw.pick(_TENSES if frame.subject == "person" else _STATES)
    facts: dict[str, Fact] = {}
    while len(facts) < count:
        one = _clause_fact(draw, frame, tense, telling=count > 1)
        facts.setdefault(one.subject, one)
        if count > 1 and draw.random() < 0.2:
            frame = draw.pick(frames())
    return list(facts.values())


def fact_about_you(draw: Draw) -> Fact:
    """A fact about an event in the life of the assistant."""
    while True:
        frame = draw.pick(frames())
        if frame.subject == "person":
            return _clause_fact(draw, frame, draw.pick(_TENSES), telling=False, who=YOU)


def listed_fact(draw: Draw) -> Fact:
    """A fact that names two to five things, and the question for them."""
    while True:
        frame = draw.pick(frames())
        places = [place for place, slot in enumerate(frame.slots) if slot.kind == "person" or slot.kind in LISTED]
        if frame.subject == "person" and places:
            return _clause_fact(draw, frame, draw.pick(_LISTING), telling=False, listed=draw.pick(places))


def _clause_fact(
    draw: Draw, frame: Frame, tense: str, telling: bool, who: Noun | None = None, listed: int | None = None
) -> Fact:
    if listed is not None:
        frame = frame._replace(slots=tuple(slot._replace(optional=False) for slot in frame.slots))
    slots = [slot for slot in frame.slots if not slot.optional or draw.random() < 0.6]
    direct = not slots[0].preposition and slots[0].kind not in ("color_as", "name_as", "price", "period", "weight")
    if (tense == "passive" and not direct) or (
        tense in _DOING and evaluation_split().has_value(frame.forms.progressive)
    ):
        tense = "past"
    focus = draw.below(len(slots) + (draw.random() < 0.6 and who is None)) if listed is None else listed
    asked_subject = focus == len(slots) and tense != "control"
    if who is not None:
        subject = who
    elif frame.subject == "person":
        subject = person(draw, answer=True) if asked_subject else speaker(draw)
    else:
        subject = noun(draw, frame.subject, asked_subject)
        subject = subject._replace(full=_definite(subject.full), possessive="its")
    owner = subject.possessive if subject.agreement != SINGULAR or draw.random() < 0.5 else "the"
    nouns = [noun(draw, slot.kind, index == focus, owner) for index, slot in enumerate(slots)]
    values: tuple[str, ...] = ()
    if listed is not None:
        nouns[listed], values = several_nouns(draw, slots[listed].kind)
    timed = tense in _WHEN and draw.random() < 0.4 and not _has_time(slots)
    circumstance = timed and _WHEN.get(tense) == "times_past" and draw.random() < 0.4
    time = _circumstance(draw) if circumstance else draw.word(_WHEN[tense]) if timed else ""
    clause = _Clause(draw, frame, tense, subject, slots, nouns, time, telling)
    order = [focus, *draw.sample([index for index in range(len(slots) + 1) if index != focus], len(slots))]
    questions = [clause.question(index) for index in order]
    if timed and not circumstance:
        questions.insert(1 + (draw.random() < 0.8), clause.time_question())
    told = clause.other or subject
    return Fact(clause.statement(focus), tuple(question for question in questions if question), told.short, values)


def _is_value_in(frame: Frame, tense: str) -> bool:
    """Whether the verb becomes a value of the evaluation, as `painting` would."""
    return tense in _DOING and evaluation_split().has_value(frame.forms.progressive)


def _circumstance(draw: Draw) -> str:
    """A subordinate clause about the past: `before the shop closed`."""
    return f"{draw.word('conjunctions')} {draw.word('circumstances')}"


def somebody_who(draw: Draw) -> Noun:
    """Somebody known by what they did: `the man who bought a boat in Turin`."""
    while True:
        frame = draw.pick(frames())
        if frame.subject == "person":
            break
    slots = [slot for slot in frame.slots if not slot.optional][:2]
    nouns = [noun(draw, slot.kind, answer=False) for slot in slots]
    parts = " ".join(_joined(slot, one.full) for slot, one in zip(slots, nouns, strict=True))
    head = draw.word("somebodies")
    text = f"the {head} who {frame.forms.past} {parts}"
    return Noun(text, text if draw.random() < 0.75 else f"the {head}", head)


def _definite(text: str) -> str:
    first, _, rest = text.partition(" ")
    return f"the {rest}" if first in ("a", "an", "that", "one", "some") else text


def _has_time(slots: list[Slot]) -> bool:
    return any(slot.kind in ("date", "time", "weekday", "period") for slot in slots)


class _Clause:
    """One clause on its way to a statement and to questions."""

    def __init__(
        self,
        draw: Draw,
        frame: Frame,
        tense: str,
        subject: Noun,
        slots: list[Slot],
        nouns: list[Noun],
        time: str,
        telling: bool,
    ) -> None:
        self.draw, self.frame, self.tense, self.subject = draw, frame, tense, subject
        self.slots, self.nouns, self.time, self.telling = slots, nouns, time, telling
        self.catenative = draw.below(1000)
        self.other = person(draw) if tense == "control" else None

    def group(self, forms: Forms, agreement: int) -> _Group:
        """The verb in the clause's tense."""
        match self.tense:
            case "past":
                return _Group(forms.past, "did", forms.base)
            case "present":
                finite = forms.third if agreement == SINGULAR else forms.base
                return _Group(finite, _DO[agreement], forms.base)
            case "will":
                return _Group(f"will {forms.base}", "will", forms.base)
            case "going":
                main = f"going to {forms.base}"
                return _Group(f"{_BE[agreement]} {main}", _BE[agreement], main)
            case "perfect":
                return _Group(f"{_HAVE[agreement]} {forms.participle}", _HAVE[agreement], forms.participle)
            case "progressive":
                return _Group(f"{_BE[agreement]} {forms.progressive}", _BE[agreement], forms.progressive)
            case "was doing":
                return _Group(f"{_WAS[agreement]} {forms.progressive}", _WAS[agreement], forms.progressive)
            case "catenative":
                verb = _CATENATIVES[self.catenative % len(_CATENATIVES)]
                if verb == "would like":
                    return _Group(f"would like to {forms.base}", "would", f"like to {forms.base}")
                finite = third_person(verb) if agreement == SINGULAR else verb
                return _Group(f"{finite} to {forms.base}", _DO[agreement], f"{verb} to {forms.base}")
            case "past catenative":
                old, base = _PAST_CATENATIVES[self.catenative % len(_PAST_CATENATIVES)]
                return _Group(f"{old} to {forms.base}", "did", f"{base} to {forms.base}")
            case "control":
                old, base = _CONTROLS[self.catenative % len(_CONTROLS)]
                whom = {"I": "me", "we": "us"}.get(self.subject.full, self.subject.full)
                return _Group(f"{old} {whom} to {forms.base}", "did", f"{base} {whom} to {forms.base}")
            case _:
                was = _WAS[agreement]
                return _Group(f"{was} {forms.participle}", was, forms.participle)

    def statement(self, focus: int) -> str:
        """The clause as a sentence without its full stop, in one of several orders."""
        draw, nouns = self.draw, self.nouns
        parts = [_joined(slot, one.full) for slot, one in zip(self.slots, nouns, strict=True)]
        subject = self.other or self.subject
        if self.tense == "passive":
            by = {"I": "me", "we": "us"}.get(self.subject.full, self.subject.full)
            group = self.group(self.frame.forms, nouns[0].agreement)
            body = " ".join((_definite(nouns[0].full), group.finite, "by", by, *parts[1:]))
            return f"{body} {self.time}" if self.time else body
        group = self.group(self.frame.forms, subject.agreement)
        if self.time and draw.random() < 0.4:
            return f"{self.time}, {subject.full} {' '.join((group.finite, *parts))}"
        if self.time:
            parts.append(self.time)
        form = draw.random()
        last = len(self.slots) - 1
        if form < 0.06 and focus < last and not self.slots[focus].preposition and self.slots[focus].kind in KINDS:
            rest = " ".join(part for index, part in enumerate(parts) if index != focus)
            return f"it was {nouns[focus].full} that {subject.full} {group.finite} {rest}"
        if form < 0.1 and last > 0 and self.slots[last].preposition and not self.time:
            return f"{parts[last]}, {subject.full} {' '.join((group.finite, *parts[:-1]))}"
        if form < 0.14 and focus == 0 and not self.slots[0].preposition and self.slots[0].kind in ("thing", "animal"):
            rest = " ".join(parts[1:])
            return f"what {subject.full} {group.finite} {rest} was {nouns[0].full}".replace("  ", " ")
        if form < 0.2 and focus == len(self.slots) and subject.agreement == SINGULAR:
            return f"{subject.full} is the one who {' '.join((group.finite, *parts))}"
        return f"{subject.full} {' '.join((group.finite, *parts))}"

    def question(self, index: int) -> tuple[str, str] | None:
        """The question for an argument, or for the subject if the index is behind the last one."""
        draw = self.draw
        forms = self.frame.forms
        if self.frame.synonyms and draw.random() < 0.3 and self.tense not in _DOING:
            forms = draw.pick(self.frame.synonyms)
        keep = 1.0 if self.telling or (len(self.slots) < 3 and draw.random() < 0.5) else 0.55
        start = 1 if self.tense == "passive" else 0
        kept = [place for place in range(start, len(self.slots)) if place != index and (
            not self.slots[place].preposition or draw.random() < keep)]  # fmt: skip
        rest = [_joined(self.slots[place], self.nouns[place].short) for place in kept]
        if self.time and draw.random() < 0.4:
            rest.append(self.time)
        if index == len(self.slots):
            return self._subject_question(forms, rest)
        if self.tense == "passive":
            return self._passive_question(forms, index, rest)
        slot, asked = self.slots[index], self.nouns[index]
        subject = self.other or self.subject
        group = self.group(forms, subject.agreement)
        preposition, word = _asked(draw, slot, asked)
        before = f"{preposition} " if preposition and draw.random() < 0.25 and word not in _NEVER_LED else ""
        who = "whom" if before and word == "who" else word
        if preposition and not before:
            place = sum(other < index for other in kept)
            rest.insert(place, preposition)
        if draw.random() < 0.08:
            embedding = f"{draw.pick(EMBEDDINGS)} {before}{who} {subject.short}"
            return " ".join((embedding, self.group(forms, subject.agreement).finite, *rest)), asked.value
        body = (subject.short, group.main, *rest)
        return f"{before}{who} {group.auxiliary} {' '.join(body)}", asked.value

    def _subject_question(self, forms: Forms, rest: list[str]) -> tuple[str, str] | None:
        subject = self.other or self.subject
        if subject.full in ("I", "we", "you"):
            return None
        if self.tense == "passive":
            was = _WAS[self.nouns[0].agreement]
            return f"who {was} {' '.join((self.nouns[0].short, forms.participle, 'by', *rest))}", subject.value
        group = self.group(forms, SINGULAR)
        if self.frame.subject == "person":
            asked = self.draw.pick(("who", "who", "who", "which person"))
        else:
            asked = self.draw.pick(KINDS[self.frame.subject].asked)
        return f"{asked} {' '.join((group.finite, *rest))}", subject.value

    def _passive_question(self, forms: Forms, index: int, rest: list[str]) -> tuple[str, str]:
        by = {"I": "me", "we": "us"}.get(self.subject.short, self.subject.short)
        slot, asked = self.slots[index], self.nouns[index]
        if index == 0:
            _, word = _asked(self.draw, slot, asked)
            return f"{word} {' '.join((_WAS[asked.agreement], forms.participle, 'by', by, *rest))}", asked.value
        preposition, word = _asked(self.draw, slot, asked)
        if preposition:
            rest.append(preposition)
        first = self.nouns[0]
        return (
            f"{word} {' '.join((_WAS[first.agreement], first.short, forms.participle, 'by', by, *rest))}",
            asked.value,
        )

    def time_question(self) -> tuple[str, str]:
        """When it was."""
        subject = self.other or self.subject
        rest = [_joined(slot, one.short) for slot, one in zip(self.slots, self.nouns, strict=True)]
        if self.tense == "passive":
            first = self.nouns[0]
            by = {"I": "me", "we": "us"}.get(subject.short, subject.short)
            body = (_WAS[first.agreement], first.short, self.frame.forms.participle, "by", by, *rest[1:])
            return f"when {' '.join(body)}", self.time
        group = self.group(self.frame.forms, subject.agreement)
        asked = "how often" if self.tense == "present" else "when"
        return f"{asked} {group.auxiliary} {subject.short} {' '.join((group.main, *rest))}", self.time


_NEVER_LED = frozenset(("where", "when", "how", "how much", "how long", "how much money"))


def _joined(slot: Slot, text: str) -> str:
    return f"{slot.preposition} {text}" if slot.preposition else text


def _asked(draw: Draw, slot: Slot, asked: Noun) -> tuple[str, str]:
    """The preposition that a question keeps, and its question word."""
    if asked.asked:
        return slot.preposition, asked.asked
    if slot.kind == "person":
        return slot.preposition, draw.pick(("who", "who", "who", "which person"))
    if slot.kind == "vehicle_bare":
        return "", "how"
    row = KINDS[slot.kind]
    if row.place and slot.preposition.partition(" ")[0] in _PLACING and draw.random() < 0.65:
        return "", "where"
    if row.place and slot.preposition == "from" and draw.random() < 0.6:
        return "from", "where"
    word = draw.pick(row.asked)
    if slot.kind in ("date", "time", "weekday") and (slot.preposition in _WHENING or word == "when"):
        return ("", draw.pick(("when", "when", word))) if word != "what date" else ("on", word)
    return slot.preposition, word
