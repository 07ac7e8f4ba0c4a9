"""A scripted subject that holds conversations: it has a model's interface, and its state is what it has read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gt.cache import Resumable
from gt.data.dialogues import (
    canary_data,
    constraint_data,
    correction_data,
    format_data,
    needle_data,
    persona_data,
    preference_data,
    reference_data,
    speaker_data,
    tone_data,
)
from gt.data.dialogues.content import ListTemplate, Reference, Template
from gt.models.state import ModelState
from gt.resources import fixtures_dir
from gt.tokenizers import Tokenizer

Reply = Callable[[str], str]
"""What is answered to all that was read."""

KINDS = {**canary_data().kinds, **persona_data().kinds}
UNKNOWN = " I do not know."
TOKENIZER = Tokenizer(Path(fixtures_dir()) / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json")
CUE = TOKENIZER.encode("Assistant:")
TURN_ENDS = TOKENIZER.encode("Okay.\n")[-1]


class Listener(nn.Module):
    """Reads, and says what a script says; the state is every token read."""

    ROOM = 4096

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.reply = reply
        self._scripted: dict[str, list[int]] = {}

    def forward(
        self, tokens: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        read = state["read"].clone() if state else torch.zeros(len(tokens), self.ROOM, dtype=torch.long)
        lengths = state["length"].clone() if state else torch.zeros(len(tokens), 1, dtype=torch.long)
        ended = tokens.shape[1] > len(CUE) and bool((tokens[:, -1] == TURN_ENDS).all())
        # A turn that is finished is not answered: most of a long conversation costs nothing.
        shape = (*tokens.shape, TOKENIZER.vocab_size)
        logits = torch.zeros(1).expand(shape) if ended else torch.zeros(shape)
        for row, length in enumerate(lengths[:, 0].tolist()):
            end = length + tokens.shape[1]
            read[row, length:end] = tokens[row]
            if ended:
                continue
            heard = read[row, :end].tolist()
            cued = next((at for at in range(end - 1, -1, -1) if heard[at : at + len(CUE)] == CUE), end) + len(CUE)
            for known in range(max(length + 1, min(cued, end)), end + 1):
                logits[row, known - length - 1, self._next(heard[:known])] = 20.0
        return logits, ModelState({"read": read, "length": lengths + tokens.shape[1]})

    def _next(self, read: list[int]) -> int:
        prompt, cue, said = TOKENIZER.decode(read).rpartition("Assistant:")
        scripted = self._scripted.get(prompt)
        if scripted is None:
            scripted = self._scripted[prompt] = TOKENIZER.encode(self.reply(prompt + cue))
        done = TOKENIZER.encode(said)
        going = scripted[: len(done)] == done and len(done) < len(scripted)
        return scripted[len(done)] if going else TOKENIZER.end_of_text or 0


def subject(reply: Reply, items: int = 80) -> Any:
    """A subject of `gt.probes.canaries` that answers as scripted."""
    return SimpleNamespace(
        model=Listener(reply),
        tokenizer=TOKENIZER,
        seed=0,
        size={"canary_items": items, "canary_controls": 40}.__getitem__,
        progress=lambda done, total, note: None,
        longest_text=None,
        kept={},
    )


def finder(reply: Reply, corpus: Any, claimed: int = 256, longest: int | None = None) -> Any:
    """A subject of `gt.probes.needles` that answers as scripted; give it a cache of its own."""
    found = subject(reply)
    found.corpus = corpus
    found.claimed_context, found.longest_text = claimed, longest
    found.size = {"niah_needles": 5, "niah_fact_rows": 2}.__getitem__
    found.resumable = lambda what, **key: Resumable(what, key, run_id="one", fresh=False)
    return found


def find_needle(text: str) -> str:
    """The code that was hidden under the key that is asked for."""
    question = question_of(text)
    for key in needle_data().keys:
        if key.question == question:
            found = re.search(re.escape(key.statement).replace(r"\{value\}", r"(\S+?)"), text)
            return f" {found[1]}.\n" if found else UNKNOWN
    return UNKNOWN


def question_of(text: str) -> str:
    """What was asked last."""
    return text.rpartition("User: ")[2].removesuffix("\nAssistant:")


def every_asked(text: str) -> list[Template | ListTemplate]:
    """The templates whose questions were asked last, joined by commas and "and" where there are several."""
    templates: list[Template | ListTemplate] = [
        *canary_data().templates,
        *persona_data().templates,
        *format_data().lists,
        *preference_data().templates,
        *speaker_data().templates,
    ]
    question = question_of(text).rstrip("?").lower()
    by_question = {template.question.rstrip("?").lower(): template for template in templates}
    if question in by_question:
        return [by_question[question]]
    found = [(question.find(own), template) for own, template in by_question.items() if own in question]
    return [template for _, template in sorted(found, key=lambda one: one[0])]


def of_last_speaker(text: str) -> str:
    """What the user who speaks last has said; everything where none says who it is."""
    named = [re.escape(one).replace(r"\{value\}", r"(\w+)") for one in speaker_data().speakers]
    turns = [(turn, re.match("|".join(named), turn)) for turn in text.split("User: ")]
    who = [next(filter(None, match.groups())) if match else "" for _, match in turns]
    return "User: ".join(turn for (turn, _), name in zip(turns, who, strict=True) if name == who[-1])


def asked(text: str) -> Template | ListTemplate | None:
    """The template whose question was asked last."""
    return next(iter(every_asked(text)), None)


def pattern(statement: str, kind: str) -> str:
    """A statement as a regular expression, with its values as groups; each is one of the kind."""
    values = "|".join(map(re.escape, KINDS[kind]))
    return re.sub(r"\\\{(value|other)\\\}", rf"(?P<\1>{values})", re.escape(statement))


def stated(text: str, template: Template | ListTemplate) -> list[str]:
    """The values that were stated in a template's words, in order; none if its statement was not heard."""
    if "{value}" in template.statement:
        found = re.search(pattern(template.statement, template.kind), text)
        return [found["value"]] if found else []
    before, after = template.statement.split("{values}")
    listed = re.search(re.escape(before or "User: ") + "(.+?)" + re.escape(after), text)
    if listed is None:
        return []
    article = re.escape(template.each.replace("{value}", "")) if isinstance(template, ListTemplate) else ""
    return [re.sub(rf"^{article}", "", thing) for thing in re.split(", | and ", listed[1])]


def corrected(text: str, template: Template | ListTemplate) -> list[str]:
    """The values that were stated, or what they were replaced by."""
    values = stated(text, template)
    for correction in correction_data().corrections if values and template in canary_data().templates else ():
        found = re.search(pattern(correction.text, template.kind), text)
        if found and found["other"] == values[0]:
            return [found["value"]]
    return values


def meant(text: str, template: Reference) -> list[str]:
    """What was named last before a template's comment."""
    before, comment, _ = text.partition(f"User: {template.comment}")
    named = [
        (found.start(), found["value"])
        for one in reference_data().templates
        for found in re.finditer(pattern(one.statement, one.kind), before if comment else "")
    ]
    return [max(named)[1]] if named else []


def avoided(text: str) -> list[str]:
    """All that is to be avoided, in order."""
    found = [
        (match.start(), match["value"])
        for one in constraint_data().avoided
        for match in re.finditer(pattern(one.statement, one.kind), text)
    ]
    return [value for _, value in sorted(found)]


def written(values: list[str], bulleted: bool) -> str:
    """An answer that names values."""
    if not values:
        return UNKNOWN
    if bulleted:
        return "".join(f"\n- {value}" for value in values) + "\n"
    *others, last = values
    return f" {', '.join(others)} and {last}.\n" if others else f" {last}.\n"


def wants_bullets(text: str) -> bool:
    """Whether the user asked for bullets."""
    return any(instruction.text in text for instruction in format_data().instructions)


def sample_of_tone(text: str) -> str:
    """How an answer is to be phrased, by the tone that was asked for; empty without one."""
    for tone in (tone_data().formal, tone_data().terse):
        if any(instruction.text in text for instruction in tone.instructions):
            return tone.sample.right
    return ""


def remember(text: str) -> str:
    """The right answer to a canary's question, from what was read alone."""
    question = question_of(text)
    if question in constraint_data().questions:
        return written(avoided(text), bulleted=False)
    for template in reference_data().templates:
        if template.question == question:
            return written(meant(text, template), bulleted=False)
    values = [value for template in every_asked(text) for value in corrected(of_last_speaker(text), template)]
    sample = sample_of_tone(text)
    return f" {sample.replace('{value}', *values)}\n" if sample and values else written(values, wants_bullets(text))
