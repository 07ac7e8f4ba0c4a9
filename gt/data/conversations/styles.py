"""How the assistant speaks and who it is: formats, tones, roles, and who speaks to it."""

from __future__ import annotations

from gt.data.conversations.clauses import Fact, fact_about_you, listed_fact
from gt.data.conversations.nouns import joined
from gt.data.conversations.recall import allowed_part, facts, revised
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.talk import Example, Talk, asked, plainly, reply, sentence, stated
from gt.data.conversations.wordings import lists, tones, wordings
from gt.data.conversations.words import Draw


def formats(draw: Draw) -> Example:
    """Answers as bullets, numbers or plain text, as the user wants it, over turns."""
    talk = Talk(draw)
    words = wordings()
    form = draw.pick(("plain", "bullets", "bullets", "bullets", "numbers"))
    if form != "plain":
        talk.shape = _SHAPES[form]
        talk.shapes_all = draw.chance(0.3)
        talk.say(_instruction(draw, words[f"{form}_on"]), reply(draw))
    for _ in range(1 + draw.below(2)):
        fact = _list(draw)
        talk.fill(draw.below(3))
        talk.say(stated(draw, fact), reply(draw))
        talk.fill(draw.below(3))
        if talk.shape and draw.chance(0.12):
            talk.shape = None
            talk.say(_instruction(draw, words["plain_on"]), reply(draw))
        question, line = fact.questions[0]
        talk.ask_all(asked(draw, question), list(fact.values), f"{line}.")
        if draw.chance(0.3):
            (other,) = facts(draw)
            talk.tell(other)
            question, answer = other.questions[0]
            talk.ask_all(asked(draw, question), [answer], f"{answer}.")
    return talk.spans()


def tone(draw: Draw) -> Example:
    """Replies and answers in the tone that the user wants, over turns."""
    talk = Talk(draw)
    chosen = draw.pick(tones())
    talk.replies = chosen.replies
    talk.say(_instruction(draw, chosen.asked), "")
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
    known = _identity(draw, 1 + draw.below(4))
    told = [first for first, _ in known]
    form = draw.random()
    if form < 0.35:
        talk.say(_role(draw, joined([fact.statement for fact in told])), draw.pick(words["roles_taken"]))
    elif form < 0.75:
        opening = draw.pick(words["role_openings"])
        talk.say(" ".join((opening, *(plainly(draw, fact) for fact in told))), draw.pick(words["roles_taken"]))
    else:
        for fact in told:
            text = _role(draw, fact.statement) if draw.chance(0.5) else plainly(draw, fact)
            talk.say(text, draw.pick(words["roles_taken"]))
    talk.fill(draw.below(4))
    for first, second in draw.sample(known, 1 + draw.below(len(known))):
        if second is not None and draw.chance(0.25):
            talk.say(draw.pick(words["role_doubts"]).format(o=second.statement), draw.pick(words["doubted"]))
        question, answer = first.questions[0]
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
        if draw.chance(0.4):
            fact = allowed_part(fact_about_you(draw))
            if fact is not None:
                known[fact.questions[0][0]] = (fact, None)
        else:
            first, second = revised(draw, about="you")
            # Somebody is at home in one place: a city and a country would be two.
            known.setdefault("home" if first.kind in ("city", "country") else first.kind, (first, second))
    return list(known.values())


def _list(draw: Draw) -> Fact:
    """A fact that names several things, unlike those of the evaluation."""
    while True:
        if draw.chance(0.7):
            fact = allowed_part(listed_fact(draw))
        else:
            told, question = draw.pick(lists())
            values = _list_values(draw)
            fact = Fact(told.format(l=joined(values)), ((question, joined(values)),), values=values)
        if fact is not None and fact.values and fact.questions[0][1] == joined(fact.values):
            return fact


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


def _role(draw: Draw, statement: str) -> str:
    return sentence(draw.pick(wordings()["roles_on"]).format(p=statement))


def _speaking(draw: Draw, name: str, text: str) -> str:
    return draw.pick(wordings()["speakers"]).format(n=name, t=text)
