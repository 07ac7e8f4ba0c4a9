"""How the assistant speaks and who it is: formats, tones, roles, and who speaks to it."""

from __future__ import annotations

import re

from gt.data.conversations.clauses import Fact, fact_about_you, listed_fact
from gt.data.conversations.loose import loosened
from gt.data.conversations.morphology import plural
from gt.data.conversations.nominals import ACTS, nominal_facts
from gt.data.conversations.nouns import YOU, joined, noun, speaker
from gt.data.conversations.predicates import predicate_facts
from gt.data.conversations.recall import allowed_part, facts, revised, told_apart
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.talk import Example, Talk, asked, plainly, reply, sentence, stated
from gt.data.conversations.wordings import lists, tones, wordings
from gt.data.conversations.words import Draw


def formats(draw: Draw) -> Example:
    """Answers as bullets, numbers or plain text, as the user wants it, over turns."""
    talk = Talk(draw)
    words = wordings()
    choice = draw.random()
    form = "bullets" if choice < 0.7 else "numbers" if choice < 0.85 else "plain"
    if form != "plain":
        talk.shape = _SHAPES[form]
        talk.shapes_all = draw.chance(0.3)
        instruction = _layout(draw, form) if draw.chance(0.8) else _instruction(draw, words[f"{form}_on"])
        first = _list(draw) if draw.chance(0.4) else None
        told = f"{instruction} {stated(draw, first)}" if first else instruction
        talk.say(told, reply(draw))
    else:
        first = None
    for _ in range(1 + draw.below(2)):
        fact = first or _list(draw)
        if first is None:
            talk.fill(draw.pick((0, 0, 1, 2)))
            talk.say(stated(draw, fact), reply(draw))
        first = None
        talk.fill(draw.pick((0, 0, 0, 1, 2)))
        if talk.shape and draw.chance(0.12):
            talk.shape = None
            talk.say(_instruction(draw, words["plain_on"]), reply(draw))
        question, line = draw.pick([pair for pair in fact.questions if pair[1] == joined(fact.values)])
        if draw.chance(0.2):
            question = loosened(draw, fact, question)
        talk.ask_all(asked(draw, question), list(fact.values), f"{line}.")
        if draw.chance(0.3):
            (other,) = facts(draw)
            talk.tell(other)
            question, answer = other.questions[0]
            talk.ask_all(asked(draw, question), [answer], f"{answer}.")
    return talk.spans()


def tone(draw: Draw) -> Example:
    """Answers, and often replies, in the tone that the user wants, over turns."""
    talk = Talk(draw)
    chosen = draw.pick(tones())
    talk.replies = chosen.replies if draw.chance(0.5) else ()
    talk.say(_instruction(draw, chosen.asked), reply(draw))
    for _ in range(1 + draw.below(2)):
        (fact,) = facts(draw)
        talk.tell(fact)
        talk.fill(draw.below(3))
        question, answer = fact.questions[0]
        before, after = draw.pick(chosen.answers).split("{v}")
        talk.ask(asked(draw, question), answer, before, after)
    return talk.spans()


def role(draw: Draw) -> Example:
    """The assistant is told who it is, and says so when it is asked, whatever others believe."""
    talk = Talk(draw)
    words = wordings()
    known = _identity(draw, draw.pick((1, 2, 3, 3, 4)))
    told = [first for first, _ in known]
    asking = told_apart(told)
    form = draw.random()
    if form < 0.35:
        talk.say(_role(draw, joined([fact.statement for fact in told])), draw.pick(words["roles_taken"]))
    elif form < 0.75:
        opening = draw.pick(words["role_openings"])
        said = [plainly(draw, fact) for fact in told]
        talk.say(" ".join((opening, *said) if draw.chance(0.4) else said), draw.pick(words["roles_taken"]))
    else:
        for fact in told:
            text = _role(draw, fact.statement) if draw.chance(0.5) else plainly(draw, fact)
            talk.say(text, draw.pick(words["roles_taken"]))
    talk.fill(draw.pick((0, 0, 0, 1, 2, 3)))
    for place in draw.sample([place for place, one in enumerate(asking) if one.questions], 1 + draw.below(len(known))):
        (_, second), first = known[place], asking[place]
        if second is not None and draw.chance(0.25):
            talk.say(draw.pick(words["role_doubts"]).format(o=second.statement), draw.pick(words["doubted"]))
        question, answer = first.questions[0]
        if len(known) == 1 and draw.chance(0.3):
            question = loosened(draw, first, question)
        talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()


def speakers(draw: Draw) -> Example:
    """Several people talk to the assistant in turn; "my" is of whoever speaks."""
    talk = Talk(draw)
    names = draw.sample(draw.lexicon["women"] + draw.lexicon["men"], 2)
    told = revised(draw, about="I")
    for name, fact in zip(names, told, strict=True):
        talk.say(_speaking(draw, name, plainly(draw, fact)), reply(draw))
        talk.fill(draw.below(3))
    for place in draw.sample((0, 1), 1 + draw.below(2)):
        question, answer = told[place].questions[0]
        talk.ask(_speaking(draw, names[place], asked(draw, question)), f"{answer}.")
    return talk.spans()


def _identity(draw: Draw, count: int) -> list[tuple[Fact, Fact | None]]:
    """Facts about the assistant of different sorts, some with what it is not."""
    known: dict[str, tuple[Fact, Fact | None]] = {}
    while len(known) < count:
        form = draw.random()
        if form < 0.4:
            made = fact_about_you(draw) if form < 0.2 else nominal_facts(draw, who=YOU)[0]
            fact = allowed_part(made)
            if fact is not None and "you" in fact.statement.lower():
                known[fact.questions[0][0]] = (fact, None)
        else:
            first, second = revised(draw, about="you")
            # Somebody is at home in one place: a city and a country would be two.
            known.setdefault("home" if first.kind in ("city", "country") else first.kind, (first, second))
    return list(known.values())


def _list(draw: Draw) -> Fact:
    """A fact that names several things, unlike those of the evaluation."""
    while True:
        form = draw.random()
        if form < 0.4:
            fact = allowed_part(listed_fact(draw))
        elif form < 0.75:
            fact = _spread(draw)
        elif form < 0.85:
            fact = _announced(draw)
        else:
            told, question = draw.pick(lists())
            values = _list_values(draw)
            fact = Fact(told.format(l=joined(values)), ((question, joined(values)),), values=values)
        if fact is None or not fact.values or fact.questions[0][1] != joined(fact.values):
            continue
        # A list may hold what none of its values does: "the 23rd of August, 16 September" has August 16.
        if not evaluation_split().has_value(fact.statement):
            return fact


def _spread(draw: Draw) -> Fact | None:
    """Any fact with several values in the place of one; None if the one drawn has no room for them."""
    (one,) = (predicate_facts if draw.chance(0.5) else nominal_facts)(draw)
    value = one.questions[0][1]
    if one.kind not in _SPREADING or one.statement.count(value) != 1 or one.statement.startswith(value):
        return None
    values = tuple(dict.fromkeys(noun(draw, one.kind, answer=True).value for _ in range(2 + draw.below(4))))
    statement = one.statement.replace(value, joined(values))
    questions = tuple((text, joined(values)) for question, _ in one.questions if (text := _of_several(question)))
    return allowed_part(one._replace(statement=statement, questions=questions, values=values)) if values[1:] else None


def _of_several(question: str) -> str:
    """`which city did I see` -> `which cities did I see`; empty if it is for one thing alone."""
    match = _WHICH.match(question)
    if match is None:
        return (
            question
            if question.startswith(("what did", "what do", "what was", "what is", "where", "who", "whom"))
            else ""
        )
    return f"{match[1]}{plural(match[2])}{question[match.end(2) :]}"


def _announced(draw: Draw) -> Fact | None:
    """Things of a sort behind a colon: `these are the ... that I saw: ...`."""
    kind, sort = draw.pick(_SORTS)
    values = tuple(draw.sample(draw.lexicon[kind], 2 + draw.below(4))) if draw.chance(0.4) else _list_values(draw)
    who = speaker(draw)
    past, base = draw.pick(ACTS)
    told, asked_words = draw.pick(_ANNOUNCED)
    parts = {"n": sort, "s": who.short, "past": past, "base": base, "l": joined(values)}
    question = asked_words.format_map(parts)
    return allowed_part(Fact(told.format_map(parts), ((question, joined(values)),), who.short, values))


_WHICH = re.compile(
    r"^((?:in |on |at |for |to |from |about |of |with )?(?:which|what) )([a-z]+)(?= (?:did|do|does|have|can|will) )"
)
_SPREADING = frozenset(
    "city country food drink color hobby language subject topic date weekday bare name name_as genre material".split()
)
_SORTS = tuple(
    pair.split(":")
    for pair in "cities:cities countries:countries animals:animals foods:dishes drinks:drinks colors:colors"
    " hobbies:hobbies languages:languages subjects:subjects things:things women:women men:men instruments:instruments"
    " jobs:jobs plants:plants vehicles:vehicles rooms:rooms materials:materials pets:names abstract:words".split()
)
_ANNOUNCED = (
    ("these are the {n} that {s} {past}: {l}", "which {n} did {s} {base}"),
    ("{s} {past} several {n}: {l}", "what {n} did {s} {base}"),
    ("there are some {n} that {s} {past}, namely {l}", "which {n} did {s} {base}"),
    ("the {n} that {s} {past} are {l}", "what are the {n} that {s} {past}"),
    ("{s} {past} {l}, which are all {n}", "which {n} were it that {s} {past}"),
    ("of all {n}, {s} {past} only {l}", "which {n} did {s} {base}"),
    ("{l} are {n} that {s} {past}", "which {n} did {s} {base}"),
    ("{s} {past} {n} such as {l}", "what {n} did {s} {base}"),
    ("here come the {n} that {s} {past}: {l}", "what {n} did {s} {base}"),
)


def _list_values(draw: Draw) -> tuple[str, ...]:
    count = 2 + draw.below(4)
    kind = draw.pick(("women", "cities", "foods", "animals", "things", "", "", "", ""))
    if kind:
        return tuple(draw.sample(draw.lexicon[kind], count))
    values: dict[str, None] = {}
    while len(values) < count:
        values[draw.bare()] = None
    return tuple(values)


def _bullets(lines: list[str]) -> str:
    return "".join(f"\n- {line}" for line in lines)


def _numbers(lines: list[str]) -> str:
    return "".join(f"\n{number}. {line}" for number, line in enumerate(lines, start=1))


_SHAPES = {"bullets": _bullets, "numbers": _numbers}


def _instruction(draw: Draw, choices: tuple[str, ...]) -> str:
    words = wordings()
    while True:
        text = draw.pick(choices).format(p=draw.pick(words["polite"]), f=draw.pick(words["for_how_long"]))
        if not evaluation_split().is_like(text):
            return sentence(text)


def _layout(draw: Draw, form: str) -> str:
    """An instruction put together: how to answer, when, and perhaps why."""
    words = wordings()
    nouns = draw.pick(words[f"{form}_nouns"])
    while True:
        parts = {
            "verb": draw.pick(words["layout_verbs"]), "target": draw.pick(words[f"{form}_targets"]), "nouns": nouns,
            "Nouns": nouns[0].upper() + nouns[1:], "p": draw.pick(words["polite"]),
            "f": draw.pick(words["for_how_long"]), "why": draw.pick(words["layout_why"]),
            "why_first": draw.pick(words["layout_why_first"]), "when": draw.pick(words["layout_when"]),
            "when_last": draw.pick(words["layout_when_last"]), "like": draw.pick(words["layout_like"]),
            "answers": draw.pick(words["layout_answers"]), "are_nice": draw.pick(words["layout_nice"]),
            "should": draw.pick(words["layout_should"]), "prose": draw.pick(words["layout_prose"]),
            "can_you": draw.pick(words["layout_can"]), "rule": draw.pick(words["layout_rule"]),
        }  # fmt: skip
        text = sentence(draw.pick(words["layout_on"]).format_map(parts))
        if not evaluation_split().is_like(text) and not evaluation_split().has_value(text):
            return text


def _role(draw: Draw, statement: str) -> str:
    return sentence(draw.pick(wordings()["roles_on"]).format(p=statement))


def _speaking(draw: Draw, name: str, text: str) -> str:
    return draw.pick(wordings()["speakers"]).format(n=name, t=text)
