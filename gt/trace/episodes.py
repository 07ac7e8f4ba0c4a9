"""Which facts of a conversation the state still answers, turn after turn, and what of a persona drifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from torch import Tensor, nn

from gt.data.dialogues import canary_data, mentions, score_values
from gt.models.state import ModelState
from gt.probes.recurrent import recurrent
from gt.session import Sessions
from gt.tokenizers import Tokenizer
from gt.trace.conversation import Conversation, Fact

MAX_TOKENS = 32
"""Most tokens of an answer, or of a reply that a turn does not give."""

LINE_END = "\n"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the state says to the question for a fact when a turn is over.

    Attributes:
        turn: The turn, from 1.
        fact: Name of the fact.
        text: The greedy answer.
        right: Whether it names the answer and no rival.
        margin: Log-likelihood of the answer less that of its likeliest rival, in nats: above 0 the state prefers it.
        rival: The rival that the greedy answer names; empty if none.
    """

    turn: int
    fact: str
    text: str
    right: bool
    margin: float
    rival: str = ""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that was answered and is no longer, or one that was corrected and still is.

    Attributes:
        fact: Its name.
        kind: Of the fact: fact, persona, preference.
        turn: The turn after which it is first so.
        what: "changed" where a rival is named, "lost" where neither answer nor likelihood gives it, "stale" where a
            correction did not take.
        text: The answer then.
    """

    fact: str
    kind: str
    turn: int
    what: Literal["changed", "lost", "stale"]
    text: str


class Episodes(msgspec.Struct, frozen=True, kw_only=True):
    """All answers, what drifted, and what is left of the persona in the states.

    Attributes:
        written: The turns as they were read, replies of the model's own among them.
        answers: After each turn, of each fact that was stated by then.
        drifts: In the order of turns.
        traces: By component, after each turn from the first one that states a persona or preference: what is left of
            the difference that those turns made to the state, 1 when the first is over. Supporting evidence alone.
        traced_from: The turn of the first of them; 0 without such facts.
    """

    written: list[str]
    answers: list[Answer]
    drifts: list[Drift]
    traces: dict[str, list[float]]
    traced_from: int


def follow(model: nn.Module, tokenizer: Tokenizer, conversation: Conversation) -> Episodes:
    """Read a conversation turn by turn; after each, ask forks of it for every fact that was stated by then.

    Args:
        model: A model that streams and generates.
        tokenizer: Its tokenizer.
        conversation: What to read and to ask.
    """
    told, control = (Sessions(model, tokenizer, 1) for _ in range(2))
    stated = {fact.turn for fact in conversation.facts if fact.kind != "fact"}
    first = min(stated, default=0)
    written: list[str] = []
    answers: list[Answer] = []
    states: list[tuple[ModelState, ModelState | None]] = []
    heard = False
    for number, turn in enumerate(conversation.turns, start=1):
        text = _written(told, turn.user, turn.assistant)
        written.append(text)
        if first and number not in stated:
            control.feed([text])
            heard = True
        if first and number >= first:
            states.append((told.state, control.state if heard else None))
        asked = [fact for fact in conversation.facts if fact.turn <= number]
        answers += _ask(told, asked, number) if asked else []
    return Episodes(
        written=written,
        answers=answers,
        drifts=_drifts(conversation, answers),
        traces=_traces(states),
        traced_from=first,
    )


def _written(told: Sessions, user: str, reply: str | None) -> str:
    """Read a turn; where its reply is not given, the model's own. Returns what was read."""
    if reply is not None:
        text = canary_data().turn(user, reply)
        told.feed([text])
        return text
    told.feed([canary_data().query(user)])
    said = told.answer(MAX_TOKENS, LINE_END)[0].partition(LINE_END)[0].strip()
    whole = canary_data().turn(user, said)
    # What follows the question is read as written, whatever the model would do after its line.
    told.feed([whole.removeprefix(canary_data().query(user))])
    return whole


def _ask(told: Sessions, facts: Sequence[Fact], turn: int) -> list[Answer]:
    """Ask a fork of the conversation for each fact."""
    forks = told.take([0] * len(facts))
    forks.feed([canary_data().query(fact.question) for fact in facts])
    rows = [row for row, fact in enumerate(facts) for _ in (fact.answer, *fact.rivals)]
    candidates = [f" {value}" for fact in facts for value in (fact.answer, *fact.rivals)]
    gains = iter(forks.take(rows).score(candidates))
    texts = forks.answer(MAX_TOKENS, LINE_END)
    found = []
    for fact, text in zip(facts, texts, strict=True):
        own = next(gains)
        best = max(next(gains) for _ in fact.rivals)
        line = text.strip().partition(LINE_END)[0]
        found.append(
            Answer(
                turn=turn,
                fact=fact.name,
                text=line,
                right=score_values(text, [fact.answer], fact.rivals).right,
                margin=round(own - best, 3),
                rival=next((rival for rival in fact.rivals if mentions(line, rival)), ""),
            )
        )
    return found


def _drifts(conversation: Conversation, answers: Sequence[Answer]) -> list[Drift]:
    """A fact drifts once, when it is first no longer answered though it was; each correction that did not take."""
    found: list[Drift] = []
    for fact in conversation.facts:
        known = False
        for answer in (one for one in answers if one.fact == fact.name):
            what: Literal["changed", "lost", "stale"] | None = None
            if not fact.holds(answer.turn):
                what = "stale" if answer.right else None
            elif known and answer.rival:
                what = "changed"
            elif known and not answer.right and answer.margin <= 0:
                what = "lost"
            known = known or answer.right or answer.margin > 0
            if what is not None:
                found.append(Drift(fact=fact.name, kind=fact.kind, turn=answer.turn, what=what, text=answer.text))
                break
    return sorted(found, key=lambda drift: drift.turn)


def _traces(states: Sequence[tuple[ModelState, ModelState | None]]) -> dict[str, list[float]]:
    """Projection of (told - control) on what it was first, relative to that; the control lacks what was stated."""
    found: dict[str, list[float]] = {}
    first: dict[str, Tensor] = {}
    for told, control in states:
        for component, part in recurrent(told).items():
            difference = part if control is None else part - recurrent(control)[component]
            direction = first.setdefault(component, difference)
            left = (difference * direction).sum() / direction.square().sum()
            found.setdefault(component, []).append(round(float(left), 4))
    return found
