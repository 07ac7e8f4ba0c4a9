"""Verbs with the arguments that they take, from `verbs.txt`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

from gt.data.conversations.morphology import past, progressive, third_person
from gt.data.conversations.nouns import AMOUNTS, KINDS
from gt.data.conversations.split import evaluation_split


class Forms(NamedTuple):
    """Forms of a verb."""

    base: str
    past: str
    participle: str
    third: str
    progressive: str


class Slot(NamedTuple):
    """An argument of a verb: preposition (may be empty), kind of noun, and whether a statement may leave it out."""

    preposition: str
    kind: str
    optional: bool


class Frame(NamedTuple):
    """A verb with the arguments that it takes and verbs that mean about the same with the same arguments."""

    forms: Forms
    synonyms: tuple[Forms, ...]
    subject: str
    slots: tuple[Slot, ...]


@cache
def frames() -> tuple[Frame, ...]:
    """The verbs of `verbs.txt`.

    Raises:
        ValueError: If a line names an unknown kind of noun.
    """
    text = resources.files("gt.data.conversations").joinpath("verbs.txt").read_text(encoding="utf-8")
    rows = [line.split(" : ") for line in text.splitlines() if line and not line.startswith("#")]
    heads = [_head(head) for head, _ in rows]
    known = {forms.base: forms for forms, _ in reversed(heads)}
    found = []
    for (forms, synonyms), (_, patterns) in zip(heads, rows, strict=True):
        others = tuple(known.get(base) or _regular(base) for base in synonyms)
        found += [_frame(forms, others, pattern.strip()) for pattern in patterns.split(";")]
    return tuple(frame for frame in found if not any(map(_is_value, (frame.forms, *frame.synonyms))))


def _is_value(forms: Forms) -> bool:
    """Whether the verb is a value of the evaluation; its progressive form may be."""
    return evaluation_split().has_value(" ".join(forms[:-1]))


def _head(text: str) -> tuple[Forms, list[str]]:
    verb, _, synonyms = text.partition(" ~ ")
    words = verb.split()
    third = len(words) // 3
    if len(words) >= 3 and len(words) % 3 == 0 and words[0] not in ("look", "sign"):
        base, old, participle = (" ".join(words[start : start + third]) for start in range(0, len(words), third))
        forms = Forms(base, old, participle, third_person(base), progressive(base))
    else:
        forms = _regular(verb)
    return forms, [part.strip() for part in synonyms.split(",") if part.strip()]


def _regular(base: str) -> Forms:
    first, space, rest = base.partition(" ")
    old, participle = _IRREGULAR.get(first, (past(first), past(first)))
    return Forms(base, f"{old}{space}{rest}", f"{participle}{space}{rest}", third_person(base), progressive(base))


_IRREGULAR = {
    "get": ("got", "gotten"), "give": ("gave", "given"), "run": ("ran", "run"), "take": ("took", "taken"),
    "put": ("put", "put"), "bring": ("brought", "brought"), "spend": ("spent", "spent"), "make": ("made", "made"),
    "speak": ("spoke", "spoken"), "fight": ("fought", "fought"), "see": ("saw", "seen"), "come": ("came", "come"),
    "go": ("went", "gone"), "shut": ("shut", "shut"), "stick": ("stuck", "stuck"), "set": ("set", "set"),
    "find": ("found", "found"), "hold": ("held", "held"), "break": ("broke", "broken"), "swim": ("swam", "swum"),
    "steal": ("stole", "stolen"), "think": ("thought", "thought"), "hear": ("heard", "heard"),
    "choose": ("chose", "chosen"), "wear": ("wore", "worn"), "have": ("had", "had"), "sell": ("sold", "sold"),
    "buy": ("bought", "bought"), "leave": ("left", "left"), "keep": ("kept", "kept"), "eat": ("ate", "eaten"),
    "say": ("said", "said"), "send": ("sent", "sent"), "lend": ("lent", "lent"),
}  # fmt: skip


def _frame(forms: Forms, synonyms: tuple[Forms, ...], pattern: str) -> Frame:
    subject, slots = "person", []
    for part in pattern.split(", "):
        if part.startswith("S="):
            subject = part[2:]
            continue
        optional = part.startswith("(")
        words = part.strip("()").split()
        size = 2 if words[-1] == "title" else 1
        kind = " ".join(words[-size:])
        if kind not in KINDS and kind not in AMOUNTS and kind != "person":
            raise ValueError(f"verbs.txt: got the kind {kind!r} in {pattern!r}, expected one of nouns.KINDS")
        slots.append(Slot(" ".join(words[:-size]), kind, optional))
    return Frame(forms, synonyms, subject, tuple(slots))
