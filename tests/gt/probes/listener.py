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
from gt.data.dialogues import canary_data, format_data, needle_data, persona_data, speaker_data, tone_data
from gt.data.dialogues.content import ListTemplate, Template
from gt.models.state import ModelState
from gt.resources import fixtures_dir
from gt.tokenizers import Tokenizer

Reply = Callable[[str], str]
"""What is answered to all that was read."""

UNKNOWN = " I do not know."
TOKENIZER = Tokenizer(Path(fixtures_dir()) / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json")
CUE = TOKENIZER.encode("Assistant:")


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
        logits = torch.zeros(*tokens.shape, TOKENIZER.vocab_size)
        for row, length in enumerate(lengths[:, 0].tolist()):
            end = length + tokens.shape[1]
            read[row, length:end] = tokens[row]
            heard = read[row, :end].tolist()
            cued = max((at for at in range(end) if heard[at : at + len(CUE)] == CUE), default=end) + len(CUE)
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
    question = text.rpartition("User: ")[2].removesuffix("\nAssistant:")
    for key in needle_data().keys:
        if key.question == question:
            found = re.search(re.escape(key.statement).replace(r"\{value\}", r"(\S+?)"), text)
            return f" {found[1]}.\n" if found else UNKNOWN
    return UNKNOWN


def every_asked(text: str) -> list[Template | ListTemplate]:
    """The templates whose questions were asked last, joined by "and" where there are two."""
    templates: list[Template | ListTemplate] = [
        *canary_data().templates,
        *persona_data().templates,
        *format_data().lists,
        *speaker_data().templates,
    ]
    question = without_lead(text.rpartition("User: ")[2].removesuffix("\nAssistant:"))
    by_question = {template.question.rstrip("?").lower(): template for template in templates}
    single = by_question.get(question.rstrip("?").lower())
    if single is not None:
        return [single]
    parts = [part.rstrip("?").lower() for part in question.split(", and ")]
    return [by_question[part] for part in parts if part in by_question]


def without_lead(turn: str) -> str:
    """A turn without who says it or what it goes back to."""
    leads = [*speaker_data().returns, *speaker_data().speakers]
    return re.sub("|".join(re.escape(lead).replace(r"\{value\}", r"\w+") for lead in leads), "", turn, count=1).strip()


def of_last_speaker(text: str) -> str:
    """What the user who speaks last has said; everything where none says who it is."""
    named = [re.escape(one).replace(r"\{value\}", r"(\w+)") for one in speaker_data().speakers]
    turns = [(turn, re.match("|".join(named), turn)) for turn in text.split("User: ")]
    who = [next(filter(None, match.groups())) if match else "" for _, match in turns]
    return "User: ".join(turn for (turn, _), name in zip(turns, who, strict=True) if name == who[-1])


def asked(text: str) -> Template | ListTemplate | None:
    """The template whose question was asked last."""
    return next(iter(every_asked(text)), None)


def stated(text: str, template: Template | ListTemplate) -> list[str]:
    """The values that were stated in a template's words, in order; none if its statement was not heard."""
    before, slot, after = re.split(r"(\{values?\})", template.statement)
    found = re.search(re.escape(before or "User: ") + "(.+?)" + re.escape(after), text)
    if found is None:
        return []
    if slot == "{value}":
        return [found[1]]
    article = re.escape(template.each.replace("{value}", "")) if isinstance(template, ListTemplate) else ""
    return [re.sub(rf"^{article}", "", thing) for thing in re.split(", | and ", found[1])]


def written(values: list[str], bulleted: bool) -> str:
    """An answer that names values."""
    if not values:
        return UNKNOWN
    return "".join(f"\n- {value}" for value in values) + "\n" if bulleted else f" {' and '.join(values)}.\n"


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
    values = [value for template in every_asked(text) for value in stated(of_last_speaker(text), template)]
    sample = sample_of_tone(text)
    return f" {sample.replace('{value}', *values)}\n" if sample and values else written(values, wants_bullets(text))
