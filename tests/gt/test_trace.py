"""A trace finds the jump that was made, stays silent where there is none, and asks what the state still answers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gt.data.dialogues import canary_data
from gt.resources import fixtures_dir
from gt.scripted import UNKNOWN, Listener
from gt.session import Sessions
from gt.subject import SubjectRequest, load_subject, plan_subject
from gt.trace import Conversation, Evolution, Fact, Turn, evolve, follow, read_conversation, shifts, trace_text
from gt.trace.evolution import least_z, robust_scores
from tests.gt.probes.listener import TOKENIZER
from tests.gt.probes.memories import Memories

EXAMPLE = Path(fixtures_dir()).parent / "docs" / "trace_conversation.yaml"
TALK = Conversation(
    turns=(
        Turn(user="Your name is Orlen.", assistant="Okay."),
        Turn(user="I live in Lisbon.", assistant="I see."),
        Turn(user="It rains.", assistant="Okay."),
        Turn(user="Now I live in Prague.", assistant="I see."),
        Turn(user="It rains again."),
    ),
    facts=(
        Fact(name="name", kind="persona", turn=1, question="Who are you?", answer="Orlen", rivals=("Anna", "Peter")),
        Fact(name="old", turn=2, until=3, question="Where do I live?", answer="Lisbon", rivals=("Prague", "Rome")),
        Fact(name="new", turn=4, question="Where do I live?", answer="Prague", rivals=("Lisbon", "Rome")),
    ),
)


def city(text: str) -> str:
    """The city that was named last."""
    return f" {max(('Lisbon', 'Prague'), key=text.rfind)}.\n"


def remembers(text: str) -> str:
    question = text.rpartition("User: ")[2]
    return " Orlen.\n" if "Who are you" in question else city(text) if "Where do I" in question else " Fine.\n"


def sums(rwkv: float, mamba: float) -> Memories:
    """Two sums with these decays."""
    model = Memories((rwkv, 1), (mamba, 1))
    model.place = torch.nn.Parameter(torch.zeros(1))
    return model


def places(count: int) -> list[int]:
    return [16 * (place + 1) for place in range(count)]


def test_a_text_that_turns_to_something_else_jumps_there_and_nowhere_else() -> None:
    model = sums(0.99, 0.99)
    even = evolve(model, [3] * 480, places(30), has_gate=False)
    assert shifts(even) == []
    jump = evolve(model, [3] * 320 + [4] * 160, places(30), has_gate=False)
    assert {(shift.component, shift.start, shift.end) for shift in shifts(jump)} == {
        ("rwkv", 320, 336),
        ("mamba", 320, 336),
    }
    assert shifts(evolve(model, [3] * 128 + [4] * 64, places(12), has_gate=False)) == []  # too few to tell


def jumping(by: float, blocks: int) -> Evolution:
    """Changes that go up and down by a tenth, and one in the middle that is larger."""
    changes: list[float | None] = [math.exp(0.1 * (-1) ** place) for place in range(blocks)]
    changes[blocks // 2] = math.exp(0.1 + by)
    return Evolution(
        places=places(blocks + 1), course={}, changes={"rwkv": changes}, by_layer={"rwkv": [changes]}, gate=[]
    )


def test_the_more_changes_there_are_the_further_one_must_stand_out() -> None:
    assert least_z([0.0] * 24) == 4.5
    assert least_z([0.0] * 48 + [math.nan] * 4) == 5.0
    assert least_z([math.nan]) == math.inf
    scores = robust_scores(jumping(0.45, 36).changes["rwkv"])
    assert 3.5 < scores[18] < least_z(scores), "an outlier, as even texts have them"
    assert shifts(jumping(0.45, 36)) == []
    assert [shift.start for shift in shifts(jumping(2, 36))] == [19 * 16]
    assert [len(shifts(jumping(0.6, blocks))) for blocks in (20, 256)] == [1, 0], "the same change among many"


def test_an_evolution_is_that_of_the_sums() -> None:
    found = evolve(sums(1, 1), [1] * 16 + [2] * 16, [16, 32], has_gate=False)
    norms = found.course["components"]["rwkv"]["norm"]
    assert norms == [[16.0], [pytest.approx(16 * 2**0.5, rel=1e-2)]]
    assert found.course["components"]["rwkv"]["cosine"] == [[pytest.approx(0.5**0.5, rel=1e-3)]]
    assert found.changes["rwkv"] == [pytest.approx(1)]
    assert found.gate == []


def test_a_real_model_has_a_gate_and_its_rest_is_not_a_block() -> None:
    plan = plan_subject(SubjectRequest(model="GF-MH@0.3M", device="cpu"))
    subject = load_subject(plan, lambda done, total, note: None)
    text = "The old house stood at the end of the lane, and nobody had lived there. " * 5
    found = trace_text(subject, text, block=8, most=60)
    assert found.tokens == 60
    assert found.evolution.places == [8, 16, 24, 32, 40, 48, 56]
    assert [len(layer) for layer in found.evolution.gate] == [7, 7, 7]
    assert all(0 < share < 1 for layer in found.evolution.gate for share in layer)
    assert not found.judged
    with pytest.raises(ValueError, match="at least two blocks"):
        trace_text(subject, "Short.", block=8, most=60)


def test_a_listener_answers_all_that_holds_and_drifts_in_nothing() -> None:
    found = follow(Listener(remembers), TOKENIZER, TALK)
    assert found.drifts == []
    for answer in found.answers:
        fact = next(fact for fact in TALK.facts if fact.name == answer.fact)
        assert answer.right is fact.holds(answer.turn)
        assert (answer.margin > 0) is fact.holds(answer.turn)
    assert [answer.turn for answer in found.answers if answer.fact == "new"] == [4, 5]
    # The turn without a reply has the model's own, and nothing that was asked is read by the conversation.
    assert found.written[-1] == canary_data().turn("It rains again.", "Fine.")
    assert found.written[0] == canary_data().turn("Your name is Orlen.", "Okay.")
    assert not any("Who are you" in text for text in found.written)


def test_a_persona_that_changes_is_found_and_when() -> None:
    def reverts(text: str) -> str:
        return " Peter.\n" if "Who are you" in text and "Prague" in text else remembers(text)

    (drift,) = follow(Listener(reverts), TOKENIZER, TALK).drifts
    assert (drift.fact, drift.kind, drift.turn, drift.what, drift.text) == ("name", "persona", 4, "changed", "Peter.")


def test_what_is_forgotten_is_lost_and_what_was_never_known_is_not() -> None:
    def forgets(text: str) -> str:
        return UNKNOWN if "It rains" in text and "Who are" in text else remembers(text)

    drifts = follow(Listener(forgets), TOKENIZER, TALK).drifts
    assert [(drift.fact, drift.turn, drift.what) for drift in drifts] == [("name", 3, "lost")]
    assert follow(Listener(lambda text: UNKNOWN), TOKENIZER, TALK).drifts == []


def test_a_correction_that_did_not_take_is_stale() -> None:
    def stubborn(text: str) -> str:
        return " Lisbon.\n" if "Where do I live" in text else remembers(text)

    found = follow(Listener(stubborn), TOKENIZER, TALK)
    assert [(drift.fact, drift.turn, drift.what) for drift in found.drifts] == [("old", 4, "stale")]
    assert {answer.rival for answer in found.answers if answer.fact == "new"} == {"Lisbon"}


def test_what_is_left_of_a_persona_begins_at_one_and_fades_with_the_state() -> None:
    class Fading(Listener):
        """Its state is a decayed sum over what was read."""

        knows_last_only = False

        def forward(self, tokens, state=None, return_states=False):  # type: ignore[no-untyped-def]
            out, after = super().forward(tokens, state and type(state)(dict(list(state.tensors.items())[:2])))
            total = state["sum_state"] if state else torch.zeros(len(tokens), 1, TOKENIZER.vocab_size)
            for column in tokens.T:
                total = 0.9 * total + torch.nn.functional.one_hot(column, TOKENIZER.vocab_size)[:, None]
            return out, type(after)({**after.tensors, "sum_state": total})

    found = follow(Fading(remembers), TOKENIZER, TALK)
    left = found.traces["sum"]
    assert found.traced_from == 1
    assert left[0] == 1
    assert len(left) == 5
    assert left[-1] < 0.1
    assert follow(Listener(remembers), TOKENIZER, Conversation(turns=TALK.turns)).traces == {}


def test_the_example_of_the_documentation_can_be_read() -> None:
    found = read_conversation(EXAMPLE)
    assert len(found.turns) == 8
    assert {fact.kind for fact in found.facts} == {"fact", "persona", "preference"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("turns: []", "has no turn"),
        ("turns: [{user: a, assistent: b}]", "unknown field `assistent`"),
        ("turns: [", "docs/trace.md shows the form"),
        ("turns: [{user: a}]\nfacts: [{name: x, turn: 2, question: q, answer: a, rivals: [b]}]", "expected 1 to 1"),
        ("turns: [{user: a}]\nfacts: [{name: x, turn: 1, question: q, answer: a, rivals: [a]}]", "none that is the"),
        (
            "turns: [{user: a}]\nfacts: [{name: x, turn: 1, until: 0, question: q, answer: a, rivals: [b]}]",
            "until is 0",
        ),
        (
            "turns: [{user: a}]\nfacts:\n" + "- {name: x, turn: 1, question: q, answer: a, rivals: [b]}\n" * 2,
            "two facts are called 'x'",
        ),
    ],
)
def test_a_file_that_is_no_conversation_is_one_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "talk.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"talk\.yaml: ") as caught:
        read_conversation(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_forks_leave_the_conversation_where_it_is() -> None:
    told = Sessions(Listener(remembers), TOKENIZER, 1)
    told.feed(["Some text."])
    before = told.state
    told.take([0, 0]).feed([" more", " other words"])
    assert told.state is before
