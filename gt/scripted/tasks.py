"""What a scripted subject answers to the synthetic tasks."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from gt.data.dialogues import canary_data, synthetic_data
from gt.data.dialogues.content import Wording
from gt.data.synthetic.draws import listed
from gt.scripted.wording import UNKNOWN, question_of

SLOTS = {"keys": r"[\w ]+? and [\w ]+?", "items": ".+"}
WORD = r"[\w ]+?"


@cache
def pattern(text: str, *known: tuple[str, str]) -> re.Pattern[str]:
    """A text with slots; one that is not known is a group of its name."""
    given = dict(known)
    parts = re.split(r"\{(\w+)\}", text)
    for place in range(1, len(parts), 2):
        name = parts[place]
        parts[place] = re.escape(given[name]) if name in given else f"(?P<{name}>{SLOTS.get(name, WORD)})"
    parts[::2] = map(re.escape, parts[::2])
    # What ends in a slot is followed by a mark.
    return re.compile("".join(parts) + (r"(?=[.,;\n])" if text.endswith("}") else ""))


def found(text: str, where: str, slot: str, **known: str) -> list[str]:
    """What stands in a slot, wherever the text is."""
    return [match[slot] for match in pattern(text, *known.items()).finditer(where)]


def asked(
    question: str, wordings: tuple[Wording, ...], field: str = "question"
) -> tuple[Wording, dict[str, str]] | None:
    """The wording of a question, and what stands in its slots."""
    for wording in wordings:
        match = pattern(getattr(wording, field)).fullmatch(question)
        if match:
            return wording, match.groupdict()
    return None


def said(words: list[str]) -> str:
    """An answer that names words."""
    return f" {listed(words)}.\n" if words else UNKNOWN


def solve(text: str) -> str:
    """The right answer to the last question."""
    data = synthetic_data()
    before, question = text.rpartition("User: ")[0], question_of(text)
    if hit := asked(question, data.mqar):
        return said(found(hit[0].each, before, "value", key=hit[1]["key"])[:1])
    if hit := asked(question, data.recall):
        return said(found(hit[0].question + "\nAssistant: {value}.", before, "value", key=hit[1]["key"])[:1])
    if hit := asked(question, data.copy):
        kind = {sort: kind for kind, sort in data.sorts.items()}.get(hit[1]["sort"])
        return said([word for word in hit[1]["items"].split(hit[0].join) if kind and word in canary_data().kinds[kind]])
    if hit := asked(question, data.chain):
        names = found(hit[0].each, before, "key", value=hit[1]["value"])
        for name in names:
            names += found(hit[0].link, before, "key", other=name)
        return said(names)
    for wordings, count in ((data.common, 2), (data.frequent, 3)):
        if hit := asked(question, wordings):
            counts = Counter(row[0].split(hit[0].join) if (row := found(hit[0].open, before, "items")) else [])
            return said([word for word, times in counts.most_common(count) if times > 1])
    for field, slot in (("both", "keys"), ("several", "key"), ("question", "key")):
        if hit := asked(question, data.needle, field):
            keys = hit[1][slot].split(" and ")
            return said([value for key in keys for value in found(hit[0].each, before, "value", key=key)])
    return UNKNOWN
