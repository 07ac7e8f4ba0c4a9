"""Facts of random words in many forms: meaning does not help, only which part of the statement a question leaves out.

What a question mentions of the statement is mostly not what it asks for, so to copy what is named in both is wrong.
"""

from __future__ import annotations

from gt.data.conversations.clauses import EMBEDDINGS, Fact
from gt.data.conversations.jabber_clauses import (
    LINKS,
    SPEAKING,
    Pattern,
    any_noun,
    draw_clause,
    draw_pattern,
    draw_thing,
    linked,
    statement_of,
)
from gt.data.conversations.jabber_questions import again, asked_part, of_a_kind, question_of
from gt.data.conversations.nouns import PLURAL
from gt.data.conversations.recall import allowed_part, around
from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split, words_of
from gt.data.conversations.words import Draw


def jabber_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts of random words, unlike those of the evaluation; several often have the verb and the shape in common."""
    found: list[Fact] = []
    alike = draw.chance(0.5)
    pattern = draw_pattern(draw)
    while len(found) < count:
        form = draw.random()
        if form < 0.78:
            fact = _clausal(draw, pattern)
        else:
            fact = _existential(draw) if form < 0.89 else _copular(draw)
        kept = _derivable(fact)
        if kept is not None:
            found.append(kept)
        if not alike or kept is None:
            pattern = draw_pattern(draw)
    return found


def _derivable(fact: Fact) -> Fact | None:
    """The fact with those of its questions that share no word with their answer, which is stated once."""
    split = evaluation_split()
    if split.has_value(fact.statement):
        return None
    kept = tuple(
        (question, answer)
        for question, answer in fact.questions
        if around(fact.statement, answer) is not None
        and set(words_of(answer)).isdisjoint(words := words_of(question))
        and not FUNCTION_WORDS.issuperset(words)
        and not split.has_value(question)
    )
    return allowed_part(fact._replace(questions=kept)) if kept else None


def _clausal(draw: Draw, pattern: Pattern) -> Fact:
    """Who did what."""
    clause = draw_clause(draw, pattern)
    places = [place for place in range(-1, len(clause.parts)) if place >= 0 or clause.subject.full not in SPEAKING]
    pairs = []
    for place in draw.sample(places, 2):
        value = (clause.subject if place < 0 else clause.parts[place]).value
        pairs.append((question_of(draw, clause, place), value))
    return Fact(statement_of(draw, clause), tuple(pairs))


def _existential(draw: Draw) -> Fact:
    """What is where: `there was X on the N`."""
    thing, place = draw_thing(draw, ""), draw_thing(draw, draw.pick(LINKS))
    was = draw.pick(("was", "was", "is", "will be"))
    verb = "were" if was == "was" and thing.agreement == PLURAL else was
    where = linked(place, place.full)
    statement = draw.pick(
        (f"there {verb} {thing.full} {where}", f"{where} there {verb} {thing.full}", f"{where} {verb} {thing.full}",
         f"{thing.full} {verb} {where}", f"all there {verb} {where} {verb} {thing.full}")
    )  # fmt: skip
    pairs = []
    for target, other in draw.sample(((thing, place), (place, thing)), 2):
        word, gap, in_place = asked_part(draw, target, target.link)
        inverted = "will there be" if verb == "will be" else f"{verb} there"
        rest = linked(other, again(draw, other))
        if target is thing:
            ends = f"{gap} {rest}".strip()
            forms = [
                f"there {verb} {in_place} {rest}", f"{word} {verb} {ends}", f"{word} {inverted} {ends}",
                f"{rest} {verb} {in_place}", f"{draw.pick(EMBEDDINGS)} {word} there {verb} {ends}",
            ]  # fmt: skip
            if thing.form == "inside" and draw.random() < 0.4:
                asked = draw.pick(("what", "which", of_a_kind(draw), of_a_kind(draw)))
                forms = [f"{thing.inner} {asked} {verb} the {thing.head} {rest}"]
        else:
            ends = f"{rest} {gap}".strip()
            forms = [
                f"there {verb} {rest} {in_place}", f"{word} {inverted} {ends}", f"{in_place} {inverted} {rest}",
                f"{rest} {verb} {in_place}", f"{draw.pick(EMBEDDINGS)} {word} there {verb} {ends}",
            ]  # fmt: skip
        pairs.append((draw.pick(forms), target.value))
    return Fact(statement, tuple(pairs))


def _copular(draw: Draw) -> Fact:
    """What something is: `the N of the N was X`."""
    topic, other, value = any_noun(draw), draw_thing(draw, draw.pick(LINKS)), draw.bare()
    owner = draw.pick(("the", "the", "my", "our", "that"))
    has_other = draw.chance(0.7)
    named = f"{owner} {topic} {linked(other, other.full)}" if has_other else f"{owner} {topic}"
    statement = draw.pick(_IDENTITIES).format(n=named, v=value)
    tail = linked(other, again(draw, other)) if has_other and draw.chance(0.75) else ""
    words = {
        "n": draw.pick((f"{owner} {topic}", f"{owner} {topic}", f"the {topic.rpartition(' ')[2]}")),
        "b": draw.pick(("was", "is")), "t": tail, "h": topic, "e": draw.pick(EMBEDDINGS),
    }  # fmt: skip
    asked = dict.fromkeys(" ".join(draw.pick(_IDENTIFIED).format_map(words).split()) for _ in range(2))
    return Fact(statement, tuple((question, value) for question in asked))


_IDENTITIES = (
    "{n} was {v}", "{n} was {v}", "{n} is {v}", "{n} became {v}", "{n} turned out to be {v}", "{n} used to be {v}",
    "{n} will be {v}", "{v} was {n}", "{v} is {n}", "{v} became {n}", "as {n} we had {v}", "for {n} I got {v}",
    "they chose {v} as {n}", "{n} is said to be {v}", "{v} serves as {n}", "I have {v} for {n}",
)  # fmt: skip
_IDENTIFIED = (
    "what {b} {n} {t}", "what {b} {n} {t}", "{n} {t} {b} what", "which {h} {b} it {t}", "what did we have as {n} {t}",
    "what do you know about {n} {t}", "what {h} did I mention {t}", "{e} what {n} {t} {b}", "{n} {t}", "and {n} {t}",
    "what about {n} {t}", "what is there for {n} {t}", "what {b} it that I said of {n} {t}",
)  # fmt: skip
