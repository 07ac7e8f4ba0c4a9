"""Every command in the documentation is one that there is: its subcommand, its options and the kinds of values."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_groundthink.cli import app
from pytest_groundthink.vocabulary import SELECTING_MARKERS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DRAWN = re.compile(r"^(?:\.venv/bin/)?(groundthink|pytest) +(.*)$")


def commands(program: str) -> list[tuple[str, list[str]]]:
    """File and arguments of every call of a program in the shell blocks of the documentation."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    call = DRAWN.match(part.strip())
                    if call is not None and call[1] == program:
                        found.append((page.name, shlex.split(call[2], comments=True)))
    return found


@pytest.mark.parametrize(("page", "arguments"), commands("groundthink"), ids=lambda value: " ".join(value)[:60])
def test_groundthink_takes_what_is_written(page: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    written = [argument.replace("$scale", "TINY") for argument in arguments if argument != "SETTING"]
    app.parse_args(written, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(("page", "arguments"), commands("pytest"), ids=lambda value: " ".join(value)[:60])
def test_pytest_takes_what_is_written(page: str, arguments: list[str], pytestconfig: pytest.Config) -> None:
    known = {name for action in pytestconfig._parser.optparser._actions for name in action.option_strings}
    for argument in arguments:
        if argument.startswith("-"):
            assert argument.partition("=")[0] in known, f"{page}: {argument}"
    for option, value in pairwise(arguments):
        if option == "-m":
            assert set(re.findall(r"\w+", value)) - {"and", "or", "not"} <= SELECTING_MARKERS, f"{page}: -m {value}"


def test_there_are_commands_to_look_at() -> None:
    assert len(commands("groundthink")) > 30
    assert len(commands("pytest")) > 15
