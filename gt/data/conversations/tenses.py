"""Verbs in tenses: as they stand in a statement, and around the subject of a question."""

from __future__ import annotations

from typing import NamedTuple

from gt.data.conversations.morphology import third_person
from gt.data.conversations.nouns import FIRST, PLURAL, SINGULAR
from gt.data.conversations.verbs import Forms

_HAVE = {FIRST: "have", PLURAL: "have", SINGULAR: "has"}
_BE = {FIRST: "am", PLURAL: "are", SINGULAR: "is"}
_WAS = {FIRST: "was", PLURAL: "were", SINGULAR: "was"}
_DO = {FIRST: "do", PLURAL: "do", SINGULAR: "does"}

TENSES = (
    *("past",) * 40, *("present",) * 10, *("will",) * 6, *("going",) * 6, *("perfect",) * 7, *("progressive",) * 5,
    *("was doing",) * 3, *("have been doing",) * 3, *("catenative",) * 9, *("past catenative",) * 8, *("gerund",) * 5,
    *("control",) * 6, *("control gerund",) * 2, *("passive",) * 6, *("will passive",) * 2, *("perfect passive",) * 2,
    *("present passive",) * 2,
)  # fmt: skip
"""Tenses that people act in, the likely ones several times."""

STATES = ("past", "past", "past", "present", "present")
"""Tenses of what things do."""

LISTING = ("past", "past", "past", "present", "perfect", "will", "going", "catenative", "past catenative", "control")
"""Tenses of statements that name several things."""

WHEN = {
    "past": "times_past", "was doing": "times_past", "past catenative": "times_past", "control": "times_past",
    "passive": "times_past", "gerund": "times_past", "present": "times_present", "present passive": "times_present",
    "will": "times_future", "going": "times_future", "progressive": "times_future", "catenative": "times_future",
    "will passive": "times_future",
}  # fmt: skip
"""The words for a time that go with a tense."""

DOING = frozenset(("progressive", "was doing", "have been doing", "gerund", "control gerund"))
"""Tenses with the progressive form of the verb."""

_CATENATIVES = ("want", "need", "have", "plan", "hope", "intend", "expect", "would like", "try")
_PAST_CATENATIVES = (
    ("wanted", "want"), ("had", "have"), ("decided", "decide"), ("promised", "promise"), ("managed", "manage"),
    ("refused", "refuse"), ("agreed", "agree"), ("tried", "try"), ("offered", "offer"), ("used", "use"),
    ("needed", "need"), ("hoped", "hope"), ("threatened", "threaten"), ("forgot", "forget"), ("chose", "choose"),
    ("learned", "learn"),
)  # fmt: skip
_GERUNDS = (
    ("stopped", "stop"), ("enjoyed", "enjoy"), ("finished", "finish"), ("started", "start"), ("kept", "keep"),
    ("avoided", "avoid"), ("remembered", "remember"), ("considered", "consider"), ("gave up", "give up"),
    ("went on", "go on"), ("hated", "hate"), ("admitted", "admit"),
)  # fmt: skip
_CONTROLS = (
    ("told", "tell"), ("asked", "ask"), ("wanted", "want"), ("advised", "advise"), ("helped", "help"),
    ("forced", "force"), ("begged", "beg"), ("allowed", "allow"), ("taught", "teach"), ("ordered", "order"),
    ("reminded", "remind"), ("invited", "invite"),
)  # fmt: skip
_CONTROL_GERUNDS = (
    ("caught", "catch", ""), ("advised", "advise", "to start"), ("wanted", "want", "to go on"),
)  # fmt: skip


class Group(NamedTuple):
    """A verb in a tense.

    Attributes:
        finite: As it stands in a statement: `has bought`.
        auxiliary: What comes before the subject of a question: `has`.
        main: What comes after it: `bought`.
    """

    finite: str
    auxiliary: str
    main: str


def is_passive(tense: str) -> bool:
    """Whether the object of the verb becomes the subject."""
    return tense.endswith("passive")


def is_control(tense: str) -> bool:
    """Whether somebody else makes the subject act: `she told me to buy`."""
    return tense.startswith("control")


def conjugate(tense: str, forms: Forms, agreement: int, choice: int, whom: str = "") -> Group:
    """A verb in a tense.

    Args:
        tense: One of `TENSES`.
        forms: The verb.
        agreement: With what subject it agrees.
        choice: A number that picks the verb before the verb (wanted to, decided to, ...).
        whom: Who is told to act, for the tenses of control.
    """
    match tense:
        case "past":
            return Group(forms.past, "did", forms.base)
        case "present":
            return Group(forms.third if agreement == SINGULAR else forms.base, _DO[agreement], forms.base)
        case "will":
            return _led("will", forms.base)
        case "going":
            return _led(_BE[agreement], f"going to {forms.base}")
        case "perfect":
            return _led(_HAVE[agreement], forms.participle)
        case "progressive":
            return _led(_BE[agreement], forms.progressive)
        case "was doing":
            return _led(_WAS[agreement], forms.progressive)
        case "have been doing":
            return _led(_HAVE[agreement], f"been {forms.progressive}")
        case "catenative":
            verb = _CATENATIVES[choice % len(_CATENATIVES)]
            if verb == "would like":
                return _led("would", f"like to {forms.base}")
            finite = third_person(verb) if agreement == SINGULAR else verb
            return Group(f"{finite} to {forms.base}", _DO[agreement], f"{verb} to {forms.base}")
        case "past catenative":
            old, base = _PAST_CATENATIVES[choice % len(_PAST_CATENATIVES)]
            return Group(f"{old} to {forms.base}", "did", f"{base} to {forms.base}")
        case "gerund":
            old, base = _GERUNDS[choice % len(_GERUNDS)]
            return Group(f"{old} {forms.progressive}", "did", f"{base} {forms.progressive}")
        case "control":
            old, base = _CONTROLS[choice % len(_CONTROLS)]
            return Group(f"{old} {whom} to {forms.base}", "did", f"{base} {whom} to {forms.base}")
        case "control gerund":
            old, base, link = _CONTROL_GERUNDS[choice % len(_CONTROL_GERUNDS)]
            rest = f"{whom} {link} {forms.progressive}" if link else f"{whom} {forms.progressive}"
            return Group(f"{old} {rest}", "did", f"{base} {rest}")
        case "passive":
            return _led(_WAS[agreement], forms.participle)
        case "present passive":
            return _led(_BE[agreement], forms.participle)
        case "will passive":
            return _led("will", f"be {forms.participle}")
        case _:
            return _led(_HAVE[agreement], f"been {forms.participle}")


def _led(auxiliary: str, main: str) -> Group:
    return Group(f"{auxiliary} {main}", auxiliary, main)
