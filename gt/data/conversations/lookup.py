"""Pure copying: repeat, go on with a line, look up one of several pairs. The first stage of the curriculum."""

from __future__ import annotations

from collections.abc import Callable

from gt.data.conversations.talk import Example, Talk
from gt.data.conversations.words import Draw

_REPEAT = (
    "Repeat after me: {0}", "Say this again: {0}", "Please repeat: {0}", "Copy this: {0}", "Write the same: {0}",
    "Echo: {0}", "Say {0}", "Repeat: {0}", "Tell me this again: {0}", "Type exactly this: {0}",
)  # fmt: skip
_AGAIN = ("Again, please.", "Once more.", "Say it again.", "What did you just say?", "Repeat that.", "Say that again.")
_NEXT = ("What comes after {0}?", "Which word follows {0}?", "After {0} comes what?", "What stood right after {0}?",
         "Go on after {0}.", "{0} and then?")  # fmt: skip
_LISTS = ("Here is a list: {0}.", "Remember these words: {0}.", "The order is {0}.", "Read this: {0}.", "{0}.",
          "My list: {0}.", "The words are {0}.")  # fmt: skip
_GOT_IT = ("Done.", "I have them.", "Ready.", "Yes.", "Go on.", "All right, I have read it.", "Sure, ask me.")
_PAIR = ("{0} is {1}", "{0}: {1}", "{0} = {1}", "{0} goes with {1}", "{0} means {1}", "{0} has {1}", "{0} -> {1}",
         "{0} gets {1}", "{0} belongs to {1}")  # fmt: skip
_LOOK_UP = ("{0}?", "What is {0}?", "What goes with {0}?", "And {0}?", "Which one for {0}?", "{0}:", "Look up {0}.")


def item(draw: Draw) -> str:
    """A word, name, number or code of any sort."""
    form = draw.random()
    if form < 0.7:
        return draw.bare()
    if form < 0.8:
        return draw.name()
    if form < 0.9:
        return draw.number()
    return draw.code()


def items(draw: Draw, count: int) -> list[str]:
    """Different items."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[item(draw)] = None
    return list(found)


def copy(draw: Draw) -> Example:
    """Say again what the user said: an item, a few, or a sentence."""
    talk = Talk(draw)
    for _ in range(1 + draw.below(3)):
        form = draw.random()
        if form < 0.2 and draw.material.prose:
            text = draw.free(" ".join(draw.pick(draw.material.prose).split()[:12]))
        else:
            text = " ".join(items(draw, 1 if form < 0.6 else 2 + draw.below(5)))
        talk.ask(draw.pick(_REPEAT).format(text), text)
        if draw.chance(0.25):
            talk.ask(draw.pick(_AGAIN), text)
    return talk.spans()


def induction(draw: Draw) -> Example:
    """... A B ... A -> B, within a list of words."""
    talk = Talk(draw)
    words = items(draw, 3 + draw.below(8))
    separator = draw.pick((" ", ", ", " - ", " then "))
    talk.say(draw.pick(_LISTS).format(separator.join(words)), draw.pick(_GOT_IT))
    for place in draw.sample(range(len(words) - 1), 1 + draw.below(4)):
        talk.ask(draw.pick(_NEXT).format(words[place]), f"{words[place + 1]}.")
    return talk.spans()


def associative_recall(draw: Draw) -> Example:
    """Key and value pairs, then keys in any order (multi-query associative recall; Arora et al., 2023)."""
    talk = Talk(draw)
    count = draw.pick((2, 2, 4, 4, 4, 8, 8, 16))
    words = items(draw, 2 * count)
    keys, values = words[:count], words[count:]
    pair = draw.pick(_PAIR)
    stated = [pair.format(key, value) for key, value in zip(keys, values, strict=True)]
    if draw.chance(0.3) and count <= 4:
        for line in stated:
            talk.say(f"{line}.", draw.pick(_GOT_IT))
    else:
        talk.say(f"{draw.pick((', ', '; ', '. ')).join(stated)}.", draw.pick(_GOT_IT))
    look_up = draw.pick(_LOOK_UP)
    for place in draw.sample(range(count), 1 + draw.below(min(count, 6))):
        talk.ask(look_up.format(keys[place]), f"{values[place]}.")
    return talk.spans()


def selective_copy(draw: Draw) -> Example:
    """Of a row of items, only those of one sort (after the selective copying task; Gu & Dao, 2023)."""
    talk = Talk(draw)
    for _ in range(1 + draw.below(2)):
        sort, is_meant = draw.pick(_SORTS)
        row = [
            draw.number() if draw.chance(0.5) else draw.pick((draw.name, draw.made_up))()
            for _ in range(3 + draw.below(7))
        ]
        meant = [one for one in row if is_meant(one)]
        if meant:
            talk.ask(draw.pick(_ONLY).format(sort, ", ".join(row)), f"{', '.join(meant)}.")
    if not talk.spans():
        return selective_copy(draw)
    return talk.spans()


_SORTS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("numbers", str.isdigit),
    ("words in small letters", str.islower),
    ("names", lambda one: one[0].isupper()),
    ("words with a capital", lambda one: one[0].isupper()),
)
_ONLY = ("Repeat only the {0}: {1}.", "Just the {0}, please: {1}.", "Copy the {0} of this: {1}.",
         "Pick out the {0}: {1}.", "Which {0} are in this list? {1}.")  # fmt: skip
