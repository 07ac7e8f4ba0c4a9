"""`groundthink trace` from the command line: tables, pictures, JSON, and one line for what does not fit."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from gt.data.dialogues import canary_data
from gt.trace import (
    Conversation,
    ConversationTrace,
    Evolution,
    Fact,
    Shift,
    TextTrace,
    Turn,
)
from gt.trace.episodes import Answer, Drift, Episodes
from pytest_groundthink.cli import app
from pytest_groundthink.pictures import Picture, traces
from pytest_groundthink.report.trace import conversation_tables, page

from .test_pictures import drawn

EVOLUTION = Evolution(
    places=[8, 16, 24],
    course={
        "places": [8, 16, 24],
        "components": {"rwkv": {"norm": [[3.0, 4.0], [6.0, 8.0], [6.0, 8.0]], "cosine": [[0.5, 0.7], [0.9, 0.9]]}},
    },
    changes={"rwkv": [1.0, 0.2]},
    by_layer={"rwkv": [[1.0, 0.2], [1.0, 0.2]]},
    gate=[[0.3, 0.4, 0.5], [0.5, 0.5, 0.5]],
)
TEXT = TextTrace(
    tokens=25,
    block=8,
    evolution=EVOLUTION,
    shifts=[Shift(component="rwkv", start=8, end=16, change=1.0, z=4.2, layer=1)],
    excerpts=["and then it"],
    judged=True,
    least_z={"rwkv": 4.1},
)
TALK = ConversationTrace(
    conversation=Conversation(
        turns=(Turn(user="Your name is Ann.", assistant="Okay."), Turn(user="Hm.", assistant="I see.")),
        facts=(
            Fact(name="name", kind="persona", turn=1, question="Who?", answer="Ann", rivals=("Bo",)),
            Fact(name="sound", turn=2, question="What?", answer="Hm", rivals=("Ha",)),
            Fact(name="old", turn=1, until=1, question="When?", answer="then", rivals=("now",)),
        ),
    ),
    text=TEXT,
    turns=EVOLUTION,
    ends=[8, 16],
    episodes=Episodes(
        written=["", ""],
        answers=[
            Answer(turn=1, fact="name", text="Ann.", right=True, margin=3.0),
            Answer(turn=2, fact="name", text="Bo.", right=False, margin=-1.0, rival="Bo"),
            Answer(turn=2, fact="sound", text="What?", right=False, margin=0.5),
            Answer(turn=1, fact="old", text="Then.", right=True, margin=20.0),
            Answer(turn=2, fact="old", text="Then.", right=True, margin=9.0),
        ],
        drifts=[Drift(fact="name", kind="persona", turn=2, what="changed", text="Bo.")],
        traces={"rwkv": [1.0, 0.25]},
        traced_from=1,
    ),
)


@pytest.fixture(scope="module")
def pictures() -> dict[str, Picture]:
    return {picture.name: picture for picture in traces.draw_conversation(TALK)}


SAID = {
    "episodes": "name: answered after turn 1, likelier than its rivals after 1 of 2 turns.",
    "persona": "At the end: rwkv 0.25.",
    "turns": "(3 places up to 3 turns read): the norm",
    "course": "rwkv: the mean norm goes from 3.5 to 7, and neighbours have a mean cosine of 0.750.",
    "changes": "rwkv at tokens 8 to 16 (z 4.2)",
    "gate": "layer 0 0.40; layer 1 0.50",
}


def test_every_part_of_a_trace_has_its_picture(pictures: dict[str, Picture]) -> None:
    assert pictures.keys() == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_a_picture_is_not_empty_and_says_what_it_shows(pictures: dict[str, Picture], name: str) -> None:
    share, colors = drawn(pictures[name].png)
    assert 0.01 < share < 0.85
    assert colors > 10
    assert SAID[name] in pictures[name].alt


def test_what_is_no_longer_true_is_no_success(pictures: dict[str, Picture]) -> None:
    assert "old: answered after turn 1, likelier than its rivals after 2 of 2 turns; still" in pictures["episodes"].alt
    cells = [text.get_text() for axes in pictures["episodes"].figure.axes for text in axes.texts]
    assert cells == ["✓\n+3.0", "✗\n-1.0", "-\n+0.5", "✓\n+20.0", "(✓)\n+9.0"]
    (image,) = [image for axes in pictures["episodes"].figure.axes for image in axes.images if axes.texts]
    assert image.get_clim() == (-20, 20), "colours reach as far as the preferences"


def test_what_was_said_is_told_once_for_turns_that_say_the_same() -> None:
    console = Console(width=200, record=True, file=StringIO())
    own = msgspec.structs.replace(TALK.conversation, turns=(TALK.conversation.turns[0], Turn(user="Hm.")))
    written = [*TALK.episodes.written[:1], canary_data().turn("Hm.", "Good.")]
    talk = msgspec.structs.replace(
        TALK, conversation=own, episodes=msgspec.structs.replace(TALK.episodes, written=written)
    )
    for table in conversation_tables(talk):
        console.print(table)
    rows = [line.split("  ") for line in console.export_text().splitlines()]
    rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    for row in (
        ["1", "Who?", "Ann", "Ann."],
        ["2", "Who?", "Ann", "Bo."],
        ["1-2", "When?", "then", "Then."],
        ["2", "Hm.", "(its own reply)", "Good."],
        ["old", "then", "yes +20.0", "yes +9.0 (past)"],
        ["turn", "tokens", "rwkv norm", "rwkv cosine", "gate"],
    ):
        assert row in rows


def test_a_page_holds_all_pictures_and_needs_nothing_from_elsewhere(pictures: dict[str, Picture]) -> None:
    html = page("A <trace>", list(pictures.values()))
    assert html.count("<svg") == len(SAID)
    assert "A &lt;trace&gt;" in html
    for far in ("src=", "@import", "<link", "<script"):
        assert far not in html


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status, what was printed."""
    status = 0
    try:
        app(["trace", *map(str, arguments)], result_action="return_value")
    except SystemExit as end:
        status = int(str(end.code))
    return status, capsys.readouterr().out


def test_a_text_gives_tables_and_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("The old house stood at the end of the lane, and nobody had lived there. " * 12)
    more = ("--model", "GF-MH@0.3M", "--device", "cpu", "--text", tmp_path / "a.txt")
    status, printed = run(capsys, *more, "-o", tmp_path / "a.json", "--tokens", 160)
    assert status == 0, printed
    assert "states every 16 tokens" in printed
    assert "rwkv norm" in printed
    record = json.loads((tmp_path / "a.json").read_bytes())
    assert record["evolution"]["places"] == list(range(16, 161, 16))
    status, printed = run(capsys, *more, "-o", tmp_path / "a.html", "--tokens", 40)
    assert status == 0, printed
    assert "too few blocks of 16 tokens to tell: give a smaller --block" in " ".join(printed.split())
    assert "<title>Trace of GF-MH@0.3M: a.txt</title>" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count("<svg") == 3


def test_a_conversation_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "talk.yaml"
    path.write_text(
        "turns: [{user: My name is Ann., assistant: Okay.}, {user: It rains., assistant: I see.}]\n"
        "facts: [{name: name, turn: 1, question: What is my name?, answer: Ann, rivals: [Bo, Cy]}]\n"
    )
    status, printed = run(
        capsys, "--model", "GF-MH@0.3M", "--device", "cpu", "--conversation", path, "--block", 4,
        "-o", tmp_path / "talk.png",
    )  # fmt: skip
    assert status == 0, printed
    assert "turn 2" in printed
    assert {one.name for one in tmp_path.glob("*.png")} == {
        f"talk.{name}.png" for name in ("episodes", "turns", "course", "changes", "gate")
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "got nothing to look at: give one of --text, --conversation, --generate"),
        (("--generate", "--text", "a.txt"), "got text and generate to look at"),
        (("--text", "none.txt"), "No such file"),
        (("--conversation", "none.yaml"), "none.yaml: cannot be read: No such file"),
        (("--text", "a.txt", "-o", "a.pdf"), "--output a.pdf: expected a file in a folder that exists, ending in"),
        (("--generate", "-o", "a.html"), "samples have no picture"),
        (("--text", "a.txt", "--model", "nothing"), "nothing"),
        (("--text", "a.txt", "--model", "GPT2@TINY"), "lacks recurrent states"),
        (("--text", "latin.txt"), "latin.txt: is no UTF-8 text"),
        (("--text", "a.txt", "--model", "GF-MH@0.3M", "--block", "0"), "block is 0: expected at least 1 token"),
        (("--text", "a.txt", "--model", "GF-MH@0.3M"), "the text has 4 tokens and a block 16: expected at least two"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], problem: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("Three words here")
    Path("latin.txt").write_bytes("Größe".encode("latin-1"))
    status, printed = run(capsys, *arguments)
    assert status == 4
    assert printed.startswith("groundthink trace: ")
    assert problem in printed
    assert printed.count("\n") == 1
