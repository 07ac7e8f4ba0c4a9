"""`groundthink trace`: look into one text or conversation, or at what a model says by itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from gt.subject import Subject
    from pytest_groundthink.pictures import Picture

TEXT_BLOCK, TALK_BLOCK = 16, 8
"""Tokens of a block: conversations are short, and fewer than thirteen blocks do not tell what is abrupt."""

SUFFIXES = (".html", ".json", ".png", ".svg")


@dataclass(kw_only=True, slots=True)
class TraceConfig:
    """Settings of `groundthink trace`.

    Attributes:
        model: The model, as for pytest; without it the shipped checkpoint.
        ckpt: Its checkpoint.
        text: A text file whose states are followed.
        conversation: A YAML file with turns and facts (docs/trace.md).
        generate: Continue fixed prompts, greedily and sampled.
        output: Where pictures or the record go: .html, .json, .svg or .png.
        block: Tokens from one look at the states to the next; by default 16 of a text, 8 of a conversation.
        tokens: Most tokens that are read of the text.
        corpus: Held-out text of --generate (default: the reference documentation that every Python ships).
        seed: Of samples.
        device: auto, cpu or cuda.
    """

    model: str | None = None
    ckpt: Path | None = None
    text: Path | None = None
    conversation: Path | None = None
    generate: Annotated[bool, Parameter(negative="")] = False
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None
    block: int | None = None
    tokens: int = 4096
    corpus: Path | None = None
    seed: int = 0
    device: str = "auto"


def trace(*, config: Annotated[TraceConfig | None, Parameter(name="*")] = None) -> None:
    """Show what the states do along one text or conversation, and which earlier facts they still answer.

    Args:
        config: Settings.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    try:
        _run(config or TraceConfig(), console)
    except (ValueError, OSError) as error:
        console.print(f"groundthink trace: {error}", style="red", soft_wrap=True)
        sys.exit(4)
    except KeyboardInterrupt:
        console.print("groundthink trace: interrupted", style="yellow")
        sys.exit(130)


def _run(config: TraceConfig, console: Any) -> None:
    from pytest_groundthink.report import trace as report

    asked = [name for name in ("text", "conversation", "generate") if getattr(config, name)]
    if len(asked) != 1:
        raise ValueError(
            f"got {' and '.join(asked) or 'nothing'} to look at: give one of --text, --conversation, --generate"
        )
    output = config.output
    if output is not None and (output.suffix not in SUFFIXES or not output.parent.is_dir()):
        raise ValueError(f"--output {output}: expected a file in a folder that exists, ending in {', '.join(SUFFIXES)}")
    if output is not None and config.generate and output.suffix != ".json":
        raise ValueError(f"--output {output}: samples have no picture; give a name that ends in .json")
    record, tables, pictures = _look(config)
    for table in tables:
        console.print(table)
    if output is not None:
        drawn = [] if output.suffix == ".json" else pictures()
        for path in report.write(output, _title(config, record), record, drawn):
            console.print(f"written: {path}", soft_wrap=True)


def _title(config: TraceConfig, record: Any) -> str:
    """Heading of the page: what was read, and by whom."""
    weights = config.ckpt.resolve().name if config.ckpt else ""
    subject = ", ".join(filter(None, (config.model, weights))) or "the shipped checkpoint"
    read = config.text.name if config.text else getattr(getattr(record, "conversation", None), "title", "")
    return f"Trace of {subject}" + (f": {read}" if read else "")


def _look(config: TraceConfig) -> tuple[Any, list[Table], Any]:
    """The record, its tables, and what draws its pictures."""
    from pytest_groundthink.pictures import traces
    from pytest_groundthink.report import trace as report

    if config.conversation is not None:
        from gt.trace import read_conversation, trace_conversation

        conversation = read_conversation(config.conversation)
        block = _block(config, TALK_BLOCK)
        talk = trace_conversation(_subject(config), conversation, block)
        return talk, report.conversation_tables(talk), lambda: traces.draw_conversation(talk)
    if config.text is not None:
        from gt.trace import trace_text

        text = _text(config.text)
        block = _block(config, TEXT_BLOCK)
        found = trace_text(_subject(config), text, block, config.tokens)
        return found, report.text_tables(found), lambda: traces.draw_text(found)
    from gt.probes import samples

    measurements = samples.samples(_subject(config))
    nothing: list[Picture] = []
    return measurements, report.sample_tables(measurements), lambda: nothing


def _block(config: TraceConfig, usual: int) -> int:
    """The size that is wanted, refused before a model is loaded."""
    if config.block is not None and config.block < 1:
        raise ValueError(f"block is {config.block}: expected at least 1 token")
    return usual if config.block is None else config.block


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no UTF-8 text: {error.reason} at byte {error.start}") from None


def _subject(config: TraceConfig) -> Subject:
    from gt.subject import SubjectRequest, load_subject, plan_subject

    request = SubjectRequest(
        model=config.model,
        ckpt=None if config.ckpt is None else str(config.ckpt),
        device=config.device,
        seed=config.seed,
        corpus=None if config.corpus is None else str(config.corpus),
    )
    return load_subject(plan_subject(request), lambda done, total, note: None)
