"""More than a fact and its question: corrections, preferences, "that", what to avoid, texts, gaps."""

from __future__ import annotations

from gt.data.conversations.morphology import article
from gt.data.conversations.nouns import joined
from gt.data.conversations.recall import facts, revised, told_apart
from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split, words_of
from gt.data.conversations.talk import Example, Talk, asked, filler, plainly, reply, sentence
from gt.data.conversations.wordings import wordings
from gt.data.conversations.words import Draw


def correction(draw: Draw) -> Example:
    """A fact, its correction, and the question: the last word counts."""
    talk = Talk(draw)
    words = wordings()
    first, second = revised(draw)
    old, new = first.questions[0][1], second.questions[0][1]
    talk.tell(first)
    talk.fill(draw.below(3))
    text = draw.pick(words["corrections"]).format(s=second.statement, v=new, o=old)
    talk.say(sentence(text), draw.pick(words["corrected"]))
    talk.fill(draw.below(3))
    for question, answer in second.questions[: 1 + draw.below(2)]:
        talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()


def preference(draw: Draw) -> Example:
    """One thing is preferred to another; later, which?"""
    talk = Talk(draw)
    words = wordings()
    kind = draw.pick(("foods", "drinks", "hobbies", "colors", "genres", "animals", "cities", ""))
    one, other = draw.sample(draw.lexicon[kind], 2) if kind else (draw.bare(), draw.bare())
    talk.say(draw.pick(words["preferences"]).format(a=one, b=other), reply(draw))
    talk.fill(draw.below(6))
    for _ in range(1 + draw.below(2)):
        pair = [one, other] if draw.chance(0.5) else [other, one]
        if draw.chance(0.75):
            talk.ask(draw.pick(words["preferred"]).format(x=pair[0], y=pair[1]), f"{one}.")
        else:
            talk.ask(draw.pick(words["unpreferred"]).format(x=pair[0], y=pair[1]), f"{other}.")
    return talk.spans()


def reference(draw: Draw) -> Example:
    """What "it", "that", "she" or "he" meant."""
    talk = Talk(draw)
    words = wordings()
    if draw.chance(0.25):
        kept = [draw.bare() for _ in range(1 + draw.below(2))]
        asking = draw.below(len(kept))
        for index, value in enumerate(kept):
            first = draw.pick(words["keep_first"]).format(v=value)
            if index == asking:
                talk.say(f"{first} {draw.pick(words['keep_then'])}", reply(draw))
            else:
                talk.say(first, reply(draw))
        talk.fill(draw.below(4))
        talk.ask(draw.pick(words["keep_asked"]), f"{kept[asking]}.")
        return talk.spans()
    of_persons = draw.chance(0.3)
    said = draw.sample(words["persons_said" if of_persons else "things_said"], 1 + draw.below(3))
    meant = []
    for comment in said:
        noun = draw.name() if of_persons else draw.noun()
        meant.append(noun)
        named = noun if of_persons else f"{draw.pick((article(noun), 'the', 'my', 'our'))} {noun}"
        if of_persons:
            then = f"{draw.pick(('They say this person', 'That is someone who', 'I think that person'))} {comment}."
        else:
            then = draw.pick(words["that_then"]).format(c=comment)
        first = draw.pick(words["that_first"]).format(n=named)
        if draw.chance(0.5):
            talk.say(f"{first} {then}", reply(draw))
        else:
            talk.say(first, reply(draw))
            talk.say(then, reply(draw))
    talk.fill(draw.below(4))
    for place in draw.sample(range(len(said)), 1 + draw.below(len(said))):
        if of_persons:
            question = draw.pick(("Who {c}?", "Which person {c}?", "Tell me who {c}.")).format(c=said[place])
        else:
            question = draw.pick(words["that_asked"]).format(c=said[place])
        talk.ask(question, f"{meant[place]}.")
    return talk.spans()


def constraints(draw: Draw) -> Example:
    """What was said to be wanted or not, here and there: all that is not, or all that is."""
    talk = Talk(draw)
    words = wordings()
    avoided: list[str] = []
    wanted: list[str] = []
    count = 1 + draw.below(3)
    for place in range(count + draw.below(3)):
        value = draw.word(draw.pick(("diets", "foods", "drinks"))) if draw.chance(0.4) else draw.bare()
        against = place == 0 or draw.chance(0.6)
        (avoided if against else wanted).append(value)
        talk.say(sentence(draw.pick(words["against" if against else "in_favor"]).format(v=value)), reply(draw))
        talk.fill(draw.below(2))
    if wanted and draw.chance(0.35):
        talk.ask(draw.pick(words["want_asked"]), f"{joined(wanted)}.")
    talk.ask(draw.pick(words["avoid_asked"]), f"{joined(avoided)}.")
    return talk.spans()


def collection(draw: Draw) -> Example:
    """Several facts, and a question that needs more than one of them."""
    talk = Talk(draw)
    told = told_apart(facts(draw, 2 + draw.below(2)))
    if not all(one.questions for one in told):
        return collection(draw)
    for one in told:
        talk.tell(one)
        talk.fill(draw.below(3))
    chosen = draw.sample(told, 2)
    (first, answer), (second, other) = (one.questions[0] for one in chosen)
    question = f"{asked(draw, first)[:-1]}, and {second}?"
    if evaluation_split().is_like(question):
        return collection(draw)
    talk.ask(question, f"{answer} and {other}.")
    return talk.spans()


def needle(draw: Draw) -> Example:
    """A fact in the middle of a text, and the question at its end."""
    talk = Talk(draw)
    words = wordings()
    (fact,) = facts(draw)
    hay = [filler(draw) for _ in range(2 + draw.below(14))]
    hay.insert(draw.below(len(hay) + 1), plainly(draw, fact))
    talk.say(draw.pick(words["read_this"]).format(t=" ".join(hay)), draw.pick(words["have_read"]))
    talk.fill(draw.below(2))
    for question, answer in fact.questions[: 1 + draw.below(2)]:
        talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()


def unknown(draw: Draw) -> Example:
    """A question that has nothing in common with what was said, or with one of the facts and is answered."""
    talk = Talk(draw)
    (told,) = facts(draw)
    (untold,) = facts(draw)
    question, answer = untold.questions[0]
    if draw.chance(0.3):
        talk.tell(untold)
        talk.fill(draw.below(4))
        talk.ask(asked(draw, question), f"{answer}.")
        return talk.spans()
    said = {word for word in words_of(told.statement) if word not in FUNCTION_WORDS}
    if (told.kind and told.kind == untold.kind) or not said.isdisjoint(words_of(question)):
        return unknown(draw)
    if draw.chance(0.4):
        talk.tell(told)
    else:
        talk.fill(1)
    talk.ask(asked(draw, question), draw.pick(wordings()["unknown"]))
    return talk.spans()


def cloze(draw: Draw) -> Example:
    """A sentence, and later the same with a word missing."""
    talk = Talk(draw)
    words = wordings()
    texts = [filler(draw) if draw.chance(0.6) else sentence(facts(draw)[0].statement) for _ in range(1 + draw.below(3))]
    for text in texts:
        talk.say(text, reply(draw))
    text = draw.pick(texts)
    parts = text.rstrip(".?!").split()
    place = draw.below(len(parts))
    missing = parts[place].strip("\"'(),;:.!?-")
    if not missing or evaluation_split().has_value(missing):
        return cloze(draw)
    parts[place] = parts[place].replace(missing, "___")
    start = max(0, place - 2 - draw.below(4))
    gap = " ".join(parts[start : place + 2 + draw.below(4)])
    talk.ask(draw.pick(words["blanks"]).format(t=gap), f"{missing}.")
    return talk.spans()


def small_talk(draw: Draw) -> Example:
    """Turns without a fact that matters."""
    talk = Talk(draw)
    talk.fill(2 + draw.below(4))
    return talk.spans()
