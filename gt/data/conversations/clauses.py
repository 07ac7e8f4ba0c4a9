"""Statements and the questions that they answer, both made from one clause: who did what, to whom, where and when."""

from __future__ import annotations

from typing import NamedTuple

from gt.data.conversations.nouns import (
    KINDS,
    LISTED,
    SINGULAR,
    YOU,
    Noun,
    noun,
    person,
    several_nouns,
    speaker,
)
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.tenses import DOING, LISTING, STATES, TENSES, WHEN, Group, conjugate, is_control, is_passive
from gt.data.conversations.verbs import Forms, Frame, Slot, frames
from gt.data.conversations.words import Draw

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


def clause_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts about events, each with questions for its parts.

    More than one are about the same sort of event with different people, so that who is meant decides which answer is
    right.
    """
    frame = draw.pick(frames())
    tense = draw.pick(TENSES if frame.subject == "person" else STATES)
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
            return _clause_fact(draw, frame, draw.pick(TENSES), telling=False, who=YOU)


def listed_fact(draw: Draw) -> Fact:
    """A fact that names two to five things, and the question for them."""
    while True:
        frame = draw.pick(frames())
        places = [place for place, slot in enumerate(frame.slots) if slot.kind == "person" or slot.kind in LISTED]
        if frame.subject == "person" and places:
            return _clause_fact(draw, frame, draw.pick(LISTING), telling=False, listed=draw.pick(places))


def _clause_fact(
    draw: Draw, frame: Frame, tense: str, telling: bool, who: Noun | None = None, listed: int | None = None
) -> Fact:
    if listed is not None:
        frame = frame._replace(slots=tuple(slot._replace(optional=False) for slot in frame.slots))
    slots = [slot for slot in frame.slots if not slot.optional or draw.random() < 0.6]
    if not _can_stand(frame, slots, tense):
        tense = "past"
    focus = draw.below(len(slots) + (draw.random() < 0.6 and who is None)) if listed is None else listed
    asked_subject = focus == len(slots) and not is_control(tense)
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
    subject_kind = frame.subject
    if is_passive(tense):
        subject_kind, agent = slots[0].kind, subject._replace(full=_objective(subject), short=_objective(subject))
        subject = nouns[0]._replace(full=_definite(nouns[0].full))
        slots, nouns = [*slots[1:], Slot("by", "person", False)], [*nouns[1:], agent]
        focus = (focus - 1) % (len(slots) + 1)
        if agent.full in ("me", "us", "you") or draw.random() < 0.4:
            # Who did it is left unsaid, and cannot be asked for.
            focus = len(slots) if focus == len(slots) - 1 else focus
            slots, nouns, focus = slots[:-1], nouns[:-1], min(focus, len(slots) - 1)
    timed = tense in WHEN and draw.random() < 0.4 and not _has_time(slots)
    circumstance = timed and WHEN[tense] == "times_past" and draw.random() < 0.4
    time = _circumstance(draw) if circumstance else draw.word(WHEN[tense]) if timed else ""
    clause = _Clause(draw, frame, tense, subject, subject_kind, slots, nouns, time, telling)
    order = [focus, *draw.sample([index for index in range(len(slots) + 1) if index != focus], len(slots))]
    questions = [clause.question(index) for index in order]
    if timed and not circumstance:
        questions.insert(1 + (draw.random() < 0.8), clause.time_question())
    asked = tuple(question for question in questions if question)
    return Fact(clause.statement(focus), asked, clause.subject.short, values)


def _can_stand(frame: Frame, slots: list[Slot], tense: str) -> bool:
    """Whether the verb can be in the tense: passive ones need an object, progressive ones an activity."""
    if is_passive(tense):
        return not slots[0].preposition and slots[0].kind not in _NO_OBJECTS
    if tense in DOING:
        return frame.forms.base not in _STATIVE and not evaluation_split().has_value(frame.forms.progressive)
    return True


def _objective(subject: Noun) -> str:
    return {"I": "me", "we": "us"}.get(subject.full, subject.full)


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
        subject_kind: str,
        slots: list[Slot],
        nouns: list[Noun],
        time: str,
        telling: bool,
    ) -> None:
        self.draw, self.frame, self.tense, self.subject, self.subject_kind = draw, frame, tense, subject, subject_kind
        self.slots, self.nouns, self.time, self.telling = slots, nouns, time, telling
        self.choice = draw.below(1000)
        self.whom = ""
        if is_control(tense):
            self.whom = _objective(subject)
            self.subject = person(draw)

    def group(self, forms: Forms, agreement: int) -> Group:
        """The verb in the clause's tense."""
        return conjugate(self.tense, forms, agreement, self.choice, self.whom)

    def statement(self, focus: int) -> str:
        """The clause as a sentence without its full stop, in one of several orders."""
        draw, nouns, subject = self.draw, self.nouns, self.subject
        parts = [_joined(slot, one.full) for slot, one in zip(self.slots, nouns, strict=True)]
        if self._is_giving() and draw.random() < 0.5:
            parts[:2] = [nouns[1].full, nouns[0].full]
        finite = self.group(self.frame.forms, subject.agreement).finite
        if self.tense in ("past", "present") and draw.random() < 0.12:
            finite = f"{draw.word(f'adverbs_{self.tense}')} {finite}"
        if self.time and draw.random() < 0.4:
            return f"{self.time}, {subject.full} {' '.join((finite, *parts))}"
        if self.time:
            parts.append(self.time)
        plain = f"{subject.full} {' '.join((finite, *parts))}"
        form = draw.random()
        last = len(self.slots) - 1
        if form > 0.27 or is_passive(self.tense):
            return plain
        if form > 0.2:
            return self._named(focus, finite, parts) or plain
        if form < 0.06 and focus < last and not self.slots[focus].preposition and self.slots[focus].kind in KINDS:
            rest = [part for index, part in enumerate(parts) if index != focus]
            if not self._is_giving():
                return f"it was {nouns[focus].full} that {subject.full} {' '.join((finite, *rest))}"
        elif form < 0.1 and last > 0 and self.slots[last].preposition and not self.time and not self._is_giving():
            return f"{parts[last]}, {subject.full} {' '.join((finite, *parts[:-1]))}"
        elif form < 0.14 and focus == 0 and self.slots[0].kind in ("thing", "animal") and not self._is_giving():
            if not self.slots[0].preposition:
                return f"what {subject.full} {' '.join((finite, *parts[1:]))} was {nouns[0].full}"
        elif focus == len(self.slots) and subject.agreement == SINGULAR and self.subject_kind == "person":
            return f"{subject.full} is the one who {' '.join((finite, *parts))}"
        return plain

    def _named(self, focus: int, finite: str, parts: list[str]) -> str:
        """What is asked for as the last word of the sentence: `the city that I saw with Ann is Rome`."""
        if focus >= len(self.slots) or self.slots[focus].kind not in KINDS or self._is_giving():
            return ""
        words = self.draw.pick(KINDS[self.slots[focus].kind].asked).split()
        head = words[1] if len(words) == 2 else "thing"
        told = [part if index != focus else self.slots[focus].preposition for index, part in enumerate(parts)]
        clause = " ".join(word for word in (finite, *told) if word)
        value = self.nouns[focus].full
        be = "are" if head == "things" else "is"
        return self.draw.pick(_NAMED).format(head=head, be=be, clause=f"{self.subject.full} {clause}", value=value)

    def _is_giving(self) -> bool:
        """Whether "a lamp to Ann" may become "Ann a lamp"."""
        slots = self.slots
        return (
            self.frame.forms.base in _GIVING
            and len(slots) > 1
            and not slots[0].preposition
            and (slots[1].preposition, slots[1].kind) == ("to", "person")
            and not is_passive(self.tense)
        )

    def question(self, index: int) -> tuple[str, str] | None:
        """The question for an argument, or for the subject if the index is behind the last one."""
        draw = self.draw
        forms = self.frame.forms
        if self.frame.synonyms and draw.random() < 0.3 and self.tense not in DOING:
            forms = draw.pick(self.frame.synonyms)
        keep = 1.0 if self.telling or (len(self.slots) < 3 and draw.random() < 0.5) else 0.55
        kept = [place for place in range(len(self.slots)) if place != index and (
            not self.slots[place].preposition or draw.random() < keep)]  # fmt: skip
        rest = [_joined(self.slots[place], self.nouns[place].short) for place in kept]
        if self.time and draw.random() < 0.4:
            rest.append(self.time)
        if index == len(self.slots):
            return self._subject_question(forms, rest)
        slot, asked = self.slots[index], self.nouns[index]
        subject = self.subject
        group = self.group(forms, subject.agreement)
        preposition, word = _asked(draw, slot, asked)
        before = f"{preposition} " if preposition and draw.random() < 0.25 and word not in _NEVER_LED else ""
        who = "whom" if before and word == "who" else word
        if preposition and not before:
            place = sum(other < index for other in kept)
            rest.insert(place, preposition)
        form = draw.random()
        if form > 0.9 and not before and (head := _HEADS.get(word.rpartition(" ")[2])):
            told = " ".join((subject.short, group.finite, *rest))
            return draw.pick(_HEADED).format(head=head, told=told), asked.value
        if form > 0.84 and not before and slot.kind not in _NO_OBJECTS:
            return self._in_place(index, kept, group, word), asked.value
        if form < 0.08:
            embedding = f"{draw.pick(EMBEDDINGS)} {before}{who} {subject.short}"
            return " ".join((embedding, group.finite, *rest)), asked.value
        return f"{before}{who} {group.auxiliary} {' '.join((subject.short, group.main, *rest))}", asked.value

    def _in_place(self, index: int, kept: list[int], group: Group, word: str) -> str:
        """The question with its question word where the answer stood: `I gave what to Ann`."""
        slots = [
            (word if word in _NEVER_LED else _joined(slot, word))
            if place == index
            else _joined(slot, self.nouns[place].short)
            for place, slot in enumerate(self.slots)
            if place == index or place in kept
        ]
        return " ".join((self.subject.short, group.finite, *slots))

    def _subject_question(self, forms: Forms, rest: list[str]) -> tuple[str, str] | None:
        if self.subject.full in ("I", "we", "you"):
            return None
        finite = self.group(forms, SINGULAR).finite
        if self.subject_kind == "person":
            asked = self.draw.pick(("who", "who", "who", "which person"))
        else:
            asked = self.subject.asked or self.draw.pick(KINDS[self.subject_kind].asked)
        return f"{asked} {' '.join((finite, *rest))}", self.subject.value

    def time_question(self) -> tuple[str, str]:
        """When it was."""
        rest = [_joined(slot, one.short) for slot, one in zip(self.slots, self.nouns, strict=True)]
        group = self.group(self.frame.forms, self.subject.agreement)
        asked = "how often" if self.time.startswith(("every", "once a", "twice", "most")) else "when"
        return f"{asked} {group.auxiliary} {self.subject.short} {' '.join((group.main, *rest))}", self.time


_HEADS = {
    "what": "thing", "who": "person", "person": "person", "thing": "thing", "object": "object", "animal": "animal",
    "city": "city", "country": "country", "food": "food", "drink": "drink", "place": "place", "language": "language",
    "subject": "subject", "topic": "topic", "plant": "plant", "vehicle": "vehicle", "event": "event", "room": "room",
    "color": "color", "material": "material", "hobby": "hobby", "activity": "activity", "dish": "dish", "word": "word",
    "instrument": "instrument", "job": "job", "prize": "prize", "text": "text",
}  # fmt: skip
"""What a question word asks for, as a noun."""
_HEADED = (
    "what is the {head} that {told}", "what was it that {told}", "tell me the {head} that {told}",
    "do you know the {head} that {told}", "which {head} was it that {told}", "which is the {head} that {told}",
)  # fmt: skip
_NAMED = (
    "the {head} that {clause} {be} {value}", "the {head} that {clause} {be} {value}",
    "the {head} that {clause}: {value}",
    "the only {head} that {clause} {be} {value}", "{value} {be} the {head} that {clause}",
    "{value} {be} the {head} that {clause}",
)  # fmt: skip
_GIVING = frozenset("give lend send bring show read throw teach pay offer sell tell hand mail owe serve".split())
_STATIVE = frozenset("own need want like prefer owe belong cost weigh contain depend trust mistake".split())
_NO_OBJECTS = frozenset(("color_as", "name_as", "price", "period", "weight"))
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
