"""Questions for a part of a clause, or for what is inside of one, made from the same clause as its statement.

Most other parts are mentioned, perhaps in other words. With another verb or preposition than the statement's, all of
them are: what is asked for is what is left.
"""

from __future__ import annotations

from gt.data.conversations.clauses import EMBEDDINGS
from gt.data.conversations.jabber_clauses import (
    CLASSIFIERS,
    OBJECTIVE,
    SPEAKING,
    Clause,
    Part,
    any_noun,
    group_of,
    linked,
)
from gt.data.conversations.morphology import article
from gt.data.conversations.tenses import Group
from gt.data.conversations.verbs import Forms, frames
from gt.data.conversations.words import Draw

_NEAR = {
    "of": "about in for with from", "about": "of on in for over", "in": "at on of about for into",
    "for": "about of to with in", "with": "of for by in", "from": "of by at in", "on": "about in at of for",
    "to": "for at with into", "at": "in on near to", "by": "from with near", "under": "below beneath near",
    "over": "about above on", "into": "in to", "as": "for like", "against": "with on", "near": "at by in",
    "behind": "near under at", "after": "before with",
}  # fmt: skip
_LIGHT = (
    Forms("do", "did", "done", "does", "doing"), Forms("have", "had", "had", "has", "having"),
    Forms("get", "got", "gotten", "gets", "getting"), Forms("use", "used", "used", "uses", "using"),
    Forms("take", "took", "taken", "takes", "taking"), Forms("pick", "picked", "picked", "picks", "picking"),
)  # fmt: skip
_WHOLE = {
    "thing": ("what", "what", "what", "what", "which thing", "what thing"), "person": ("who", "who", "which person"),
    "place": ("where", "where", "which place", "what place"), "time": ("when", "when", "what time", "which day"),
    "name": ("what", "what", "what name", "which name"), "state": ("how", "how", "what", "what"),
}  # fmt: skip
_OF_A_SORT = ("what kind of {}", "which {}", "what {}", "what sort of {}", "what type of {}", "which kind of {}")
_NOMINAL = {
    "inside": (
        "what was the {h} {p}", "{p} what was the {h}", "the {h} {p} what", "which {h} was it", "what {h} was that",
        "what kind of {h} was it", "{a} {h} {p} what", "what was it {a} {h} {p}", "what did I say about the {h}",
        "what was in the {h}", "tell me what the {h} was {p}", "which {k} was the {h} {p} {t}",
        "what was the {h} {t} {p}",
        "{p} what was the {h} {t}", *("{p} which {k} was the {h} {t}", "{p} what {k} was the {h} {t}") * 3,
    ),
    "modifier": (
        "what kind of {h} was it", "which {h} was it", "what sort of {h} was that", "what {h} did I mean",
        "how would you describe the {h}", "what was the {h} like", "what type of {h} was I talking about",
    ),
    "number": ("how many {h} were there", "how many {h} was it", "how many {h}", "what was the number of {h}"),
    "named": (
        "what was the {h}", "which {h} was it", "what {h} was that", "what was the {h} called", "name the {h}",
        "what was the name of the {h}", "do you know the {h}",
    ),
}  # fmt: skip


def asked_part(draw: Draw, part: Part, link: str) -> tuple[str, str, str]:
    """The question word for a part, what stays where the part was, and the part with the question word in place."""
    if part.form == "whole":
        word = of_a_kind(draw) if draw.random() < 0.2 else draw.pick(_WHOLE[part.kind])
        gap = "" if word in ("where", "when", "how") and draw.random() < 0.9 else link
        return word, gap, word if word in ("where", "when") else f"{link} {word}".strip()
    if part.form == "list":
        word = draw.pick(("what", "what", "what else"))
        gap = f"{link} {draw.pick(('besides', 'apart from', 'together with'))} {part.head}"
        return word, gap.strip(), f"{link} {part.inner} and what".strip()
    if part.form == "number":
        return f"how many {part.head}", link, f"{link} how many {part.head}".strip()
    if part.form == "inside" and (bare := _without_head(draw, part)):
        return bare, link, f"{link} {bare}".strip()
    if part.form == "inside" and draw.random() < 0.5:
        near = part.inner in _NEAR and draw.random() < 0.25
        inner = draw.pick(_NEAR[part.inner].split()) if near else part.inner
        gap = f"{link} {draw.pick((article(part.head), 'the'))} {part.head} {inner}".strip()
        word = of_a_kind(draw) if draw.random() < 0.25 else "what"
        return word, gap, f"{gap} {word}"
    if part.form == "named" and draw.random() < 0.3:
        return "what", link, f"{link} what".strip()
    word = draw.pick(_OF_A_SORT).format(part.head)
    return word, link, f"{link} {word}".strip()


def of_a_kind(draw: Draw) -> str:
    """A question word with a noun for the kind of the answer, which the statement does not mention."""
    return f"{draw.pick(('which', 'which', 'what', 'what kind of'))} {any_noun(draw)}"


def _without_head(draw: Draw, part: Part) -> str:
    """A question word for what is inside of a noun phrase whose head is not mentioned; empty where it has to be.

    A bowl of soup is soup; of any other head only a noun for the kind of the answer tells that it is not meant.
    """
    measured = part.inner == "of" and part.head.rpartition(" ")[2] in CLASSIFIERS
    form = draw.random()
    if measured and form < 0.3:
        return "what"
    return of_a_kind(draw) if form < (0.5 if measured else 0.3) else ""


def again(draw: Draw, part: Part) -> str:
    """A part as a question mentions it: mostly as it was, at times described otherwise."""
    form = draw.random()
    if form < 0.2:
        return part.full
    if form < 0.3 and part.short.startswith("the "):
        return f"the {draw.word('thing_adjectives')} {part.short[4:].rpartition(' ')[2]}"
    if form < 0.36 and part.short.startswith("the "):
        return f"{draw.pick(('that', 'this', 'my'))} {part.short[4:]}"
    return part.short


def question_of(draw: Draw, clause: Clause, place: int) -> str:
    """A question for the argument at a place, or for the subject at -1."""
    target = clause.subject if place < 0 else clause.parts[place]
    if target.form in _NOMINAL and draw.random() < 0.25:
        others = [part for index, part in enumerate(clause.parts) if index != place and part.link]
        words = {
            "h": target.head, "p": target.inner, "a": article(target.head), "k": any_noun(draw),
            "t": linked(other := draw.pick(others), again(draw, other)) if others else "",
        }  # fmt: skip
        return " ".join(draw.pick(_NOMINAL[target.form]).format_map(words).split())
    forms, link = clause.pattern.forms, target.link
    changed = draw.random() < 0.25
    if changed:
        forms = _other_verb(draw, clause)
    if link in _NEAR and draw.random() < 0.25:
        link, changed = draw.pick(_NEAR[link].split()), True
    asked = asked_part(draw, target, link)
    texts = []
    for index, part in enumerate(clause.parts):
        # Of two arguments without a preposition, only the one that is mentioned tells which one is asked for.
        needed = changed or not (target.link or part.link)
        mentioned = index != place and (needed or draw.random() < 0.75)
        texts.append(linked(part, again(draw, part)) if mentioned else "")
    if place < 0:
        return _of_subject(draw, clause, forms, asked[2] if target.form == "inside" else asked[0], texts)
    if place and not changed and asked[1] and not clause.parts[0].link and draw.random() < 0.1:
        return f"{asked[0]} was {again(draw, clause.parts[0])} {asked[1]}"
    return _of_argument(draw, clause, forms, asked, texts, place)


def _other_verb(draw: Draw, clause: Clause) -> Forms:
    form = draw.random()
    if form < 0.3:
        return draw.pick(frames()).forms
    return draw.pick(clause.pattern.synonyms if clause.pattern.synonyms and form < 0.6 else _LIGHT)


def _of_subject(draw: Draw, clause: Clause, forms: Forms, word: str, texts: list[str]) -> str:
    finite = group_of(clause, forms).finite
    rest = [text for text in texts if text]
    form = draw.random()
    if form < 0.12 and not clause.parts[0].link and texts[0] and clause.pattern.tense == "past":
        agent = "by whom" if word == "who" else f"by {word}"
        return " ".join((agent, "was", rest[0], forms.participle, *rest[1:]))
    if form < 0.22:
        return " ".join((word, "was it that", finite, *rest))
    if form < 0.32:
        return " ".join((draw.pick(EMBEDDINGS), word, finite, *rest))
    return " ".join((word, finite, *rest))


def _of_argument(
    draw: Draw, clause: Clause, forms: Forms, asked: tuple[str, str, str], texts: list[str], place: int
) -> str:
    word, gap, in_place = asked
    subject, tense = clause.subject, clause.pattern.tense
    named = subject.short if subject.full in SPEAKING else again(draw, subject)
    group = group_of(clause, forms)
    if tense == "imperative":
        named, group = _asked_of_you(draw, forms)
    before, after = ([text for text in side if text] for side in (texts[:place], texts[place + 1 :]))
    gaps = [gap] if gap else []
    rest = [*before, *gaps, *after] if draw.random() < 0.6 else [*before, *after, *gaps]
    form = draw.random()
    if form < 0.14:
        return " ".join((named, group.finite, *before, in_place, *after))
    if form < 0.26 and gap and " " not in gap:
        return " ".join((gap, "whom" if word == "who" else word, group.auxiliary, named, group.main, *before, *after))
    if form < 0.36 and tense != "imperative":
        return " ".join((draw.pick(EMBEDDINGS), word, named, group.finite, *rest))
    if form < 0.42:
        return " ".join((word, "was it that", named, group.finite, *rest))
    if form < 0.46 and word.startswith("what") and word in _WHOLE["thing"]:
        return " ".join(("what was the thing that", named, group.finite, *before, *after, *gaps))
    if form < 0.54 and tense == "past" and not place and not clause.parts[0].link:
        agent = [f"by {OBJECTIVE.get(named, named)}"] if draw.random() < 0.7 else []
        return " ".join((word, "was", forms.participle, *rest, *agent))
    return " ".join((word, group.auxiliary, named, group.main, *rest))


def _asked_of_you(draw: Draw, forms: Forms) -> tuple[str, Group]:
    """Who is asked about, and the verb, where the user told the assistant to do something."""
    who, finite, auxiliary, main = draw.pick(_DUTIES)
    base = forms.base
    return who, Group(finite.format(base), auxiliary, main.format(base))


_DUTIES = (
    ("you", "should {}", "should", "{}"), ("you", "have to {}", "do", "have to {}"),
    ("you", "are to {}", "are", "to {}"),
    ("I", "asked you to {}", "did", "ask you to {}"), ("I", "wanted you to {}", "did", "want you to {}"),
)  # fmt: skip
