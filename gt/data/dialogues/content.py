"""What the fixtures of canaries and needles hold. Nothing of it may occur in training in the role that it has there."""

from __future__ import annotations

import re
from functools import cache
from typing import TypeVar

import msgspec

from gt.resources import fixtures_dir

Data = TypeVar("Data", bound=msgspec.Struct)


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of stating and asking a fact; `{value}` in the statement stands for the answer."""

    kind: str
    statement: str
    question: str
    reply: str | None = None


class ListTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of naming and asking several things; `{values}` stands for them, each written as in `each`."""

    kind: str
    statement: str
    question: str
    reply: str | None = None
    each: str = "{value}"


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user says and what the assistant replies."""

    text: str
    reply: str


class TurnFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How turns are written: `turn` for a finished one, `query` for the one that the model must finish."""

    turn: str
    query: str


class CanaryData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canaries.yaml`, whose header explains each part."""

    format: TurnFormat
    default_reply: str
    kinds: dict[str, tuple[str, ...]]
    templates: tuple[Template, ...]
    neutral: tuple[Turn, ...]
    filler_replies: tuple[str, ...]
    fillers: tuple[str, ...]

    def turn(self, text: str, reply: str | None = None) -> str:
        """A finished turn."""
        return self.format.turn.format(text=text, reply=reply or self.default_reply)

    def query(self, question: str) -> str:
        """A turn that the model must finish."""
        return self.format.query.format(text=question)


class FormatData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_formats.yaml`, whose header explains each part."""

    instructions: tuple[Turn, ...]
    lists: tuple[ListTemplate, ...]


class PersonaData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_personas.yaml`, whose header explains each part."""

    kinds: dict[str, tuple[str, ...]]
    openings: tuple[Turn, ...]
    doubts: tuple[Turn, ...]
    templates: tuple[Template, ...]


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same answer in the tone that is asked for, and in another."""

    right: str
    other: str


class FormalTone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How formality is asked for, and from how much of it an answer is formal."""

    least_points: int
    most_addressed: float
    instructions: tuple[Turn, ...]
    sample: Sample


class TerseTone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How formal, concise and technical answers are asked for, and what they are."""

    most_words: int
    least_terms: float
    instructions: tuple[Turn, ...]
    sample: Sample


class ToneWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words that tell a tone, in small letters."""

    slang: frozenset[str]
    formal: frozenset[str]
    technical: frozenset[str]


class ToneData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_tones.yaml`, whose header explains each part."""

    formal: FormalTone
    terse: TerseTone
    words: ToneWords


class SpeakerData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_speakers.yaml`, whose header explains each part."""

    switches: tuple[str, ...]
    returns: tuple[str, ...]
    speakers: tuple[str, ...]
    templates: tuple[Template, ...]


class PreferenceData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_preferences.yaml`; in a statement `{other}` stands for what is not preferred."""

    templates: tuple[Template, ...]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A thing is named in the statement, and something said of it in the comment, where it has no name."""

    kind: str
    statement: str
    comment: str
    question: str


class ReferenceData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_references.yaml`, whose header explains each part."""

    templates: tuple[Reference, ...]


class CorrectionData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_corrections.yaml`, whose header explains each part."""

    corrections: tuple[Turn, ...]


class Remark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of saying something about a thing; `{value}` stands for it."""

    kind: str
    statement: str
    reply: str | None = None


class ConstraintData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canary_constraints.yaml`, whose header explains each part."""

    avoided: tuple[Remark, ...]
    liked: tuple[Remark, ...]
    questions: tuple[str, ...]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is hidden in prose and how it is asked for; `{value}` in the statement stands for the code."""

    statement: str
    question: str


class NeedleData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/needles.yaml`, whose header explains each part."""

    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    facts: int
    held_at: float
    keys: tuple[Key, ...]
    values: tuple[str, ...]


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of putting a task; the header of the fixture explains the slots."""

    question: str
    open: str = ""
    each: str = ""
    join: str = ""
    link: str = ""
    several: str = ""
    both: str = ""

    @property
    def statements(self) -> list[str]:
        """What it states; `{value}` and `{values}` stand where keys, values and items do."""
        return _slotted(self.open, self.each, self.link)

    @property
    def questions(self) -> list[str]:
        """What it asks; slots as of `statements`."""
        return _slotted(self.question, self.several, self.both)


class SyntheticData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/synthetic.yaml`, whose header explains each part."""

    pairs: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    sorts: dict[str, str]
    noise: tuple[str, ...]
    mqar: tuple[Wording, ...]
    copy: tuple[Wording, ...]
    recall: tuple[Wording, ...]
    needle: tuple[Wording, ...]
    chain: tuple[Wording, ...]
    common: tuple[Wording, ...]
    frequent: tuple[Wording, ...]

    @property
    def wordings(self) -> tuple[Wording, ...]:
        """The wordings of all tasks."""
        return (*self.mqar, *self.copy, *self.recall, *self.needle, *self.chain, *self.common, *self.frequent)


class EvaluationTexts(msgspec.Struct, frozen=True):
    """All that canaries, needles and synthetic tasks say, without repetition: what training must keep away from.

    Attributes:
        statements: What the user states or instructs; `{value}`, `{other}` and `{values}` stand where values do.
        questions: What the user asks.
        fillers: What the user says beside that.
        replies: What the assistant is made to say; none contains a value. The shortest are everyday words ("Okay.").
        values: What is stated and is to be answered.
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    fillers: tuple[str, ...]
    replies: tuple[str, ...]
    values: tuple[str, ...]


@cache
def canary_data() -> CanaryData:
    """Read `fixtures/canaries.yaml`.

    Raises:
        FileNotFoundError: If the installation is incomplete.
        msgspec.ValidationError: If the file is not what its header says; names the place.
    """
    # The order of templates is what a name refers to: "color/2" is the second template of its kind.
    return _read("canaries.yaml", CanaryData)


@cache
def format_data() -> FormatData:
    """Read `fixtures/canary_formats.yaml`; raises as `canary_data` does."""
    return _read("canary_formats.yaml", FormatData)


@cache
def persona_data() -> PersonaData:
    """Read `fixtures/canary_personas.yaml`; raises as `canary_data` does."""
    return _read("canary_personas.yaml", PersonaData)


@cache
def tone_data() -> ToneData:
    """Read `fixtures/canary_tones.yaml`; raises as `canary_data` does."""
    return _read("canary_tones.yaml", ToneData)


@cache
def speaker_data() -> SpeakerData:
    """Read `fixtures/canary_speakers.yaml`; raises as `canary_data` does."""
    return _read("canary_speakers.yaml", SpeakerData)


@cache
def preference_data() -> PreferenceData:
    """Read `fixtures/canary_preferences.yaml`; raises as `canary_data` does."""
    return _read("canary_preferences.yaml", PreferenceData)


@cache
def reference_data() -> ReferenceData:
    """Read `fixtures/canary_references.yaml`; raises as `canary_data` does."""
    return _read("canary_references.yaml", ReferenceData)


@cache
def correction_data() -> CorrectionData:
    """Read `fixtures/canary_corrections.yaml`; raises as `canary_data` does."""
    return _read("canary_corrections.yaml", CorrectionData)


@cache
def constraint_data() -> ConstraintData:
    """Read `fixtures/canary_constraints.yaml`; raises as `canary_data` does."""
    return _read("canary_constraints.yaml", ConstraintData)


@cache
def needle_data() -> NeedleData:
    """Read `fixtures/needles.yaml`; raises as `canary_data` does."""
    return _read("needles.yaml", NeedleData)


@cache
def synthetic_data() -> SyntheticData:
    """Read `fixtures/synthetic.yaml`; raises as `canary_data` does."""
    return _read("synthetic.yaml", SyntheticData)


def evaluation_texts() -> EvaluationTexts:
    """The texts and values of every canary fixture, needles and synthetic tasks; raises as `canary_data` does."""
    recall, formats, personas, needles = canary_data(), format_data(), persona_data(), needle_data()
    wordings = synthetic_data().wordings
    references, constraints = reference_data(), constraint_data()
    tones, speakers = tone_data(), speaker_data()
    templates: list[Template | ListTemplate] = [
        *recall.templates,
        *formats.lists,
        *personas.templates,
        *preference_data().templates,
        *speakers.templates,
    ]
    remarks = (*constraints.avoided, *constraints.liked)
    instructed = (
        *formats.instructions,
        *tones.formal.instructions,
        *tones.terse.instructions,
        *personas.openings,
        *personas.doubts,
        *correction_data().corrections,
    )
    samples = (tones.formal.sample, tones.terse.sample)
    return EvaluationTexts(
        statements=_once(
            *(template.statement for template in (*templates, *references.templates, *remarks, *needles.keys)),
            *(template.comment for template in references.templates),
            *(turn.text for turn in instructed),
            *(text for sample in samples for text in (sample.right, sample.other)),
            *speakers.switches,
            *speakers.returns,
            *speakers.speakers,
            *(text for wording in wordings for text in wording.statements),
        ),
        questions=_once(
            *(template.question for template in (*templates, *references.templates, *needles.keys)),
            *constraints.questions,
            *(text for wording in wordings for text in wording.questions),
        ),
        fillers=_once(*recall.fillers, *(turn.text for turn in recall.neutral)),
        replies=_once(
            recall.default_reply,
            *recall.filler_replies,
            *(turn.reply for turn in (*instructed, *recall.neutral)),
            *(template.reply for template in (*templates, *remarks) if template.reply),
        ),
        values=_once(
            *(value for kinds in (recall.kinds, personas.kinds) for own in kinds.values() for value in own),
            *needles.values,
        ),
    )


def _slotted(*texts: str) -> list[str]:
    return [re.sub(r"\{(items|keys)\}", "{values}", re.sub(r"\{(key|other|sort)\}", "{value}", text))
            for text in texts if text]  # fmt: skip


def _once(*texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _read(name: str, kind: type[Data]) -> Data:
    return msgspec.yaml.decode((fixtures_dir() / name).read_bytes(), type=kind)
