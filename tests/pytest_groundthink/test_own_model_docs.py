"""What docs/your-own-model.md says of the checks of a model is what their table and the reading of `forward` say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from gt.user_models import OFFERABLE, UserModel
from pytest_groundthink.vocabulary import CAPABILITIES, EVIDENCE, KINDS, TIERS

from .report_cards import BOOK

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "your-own-model.md").read_text(encoding="utf-8")
BORROWED = frozenset({"tokenizer", "subword_tokenizer"})
"""A model of the user's own reads text with the shipped tokenizer where it brings none."""


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rwkv, self.mamba = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, tokens: Any) -> Any:
        return tokens


class Streaming(Plain):
    def forward(self, tokens: Any, state: Any = None, return_states: bool = False) -> Any:
        return tokens


class TwoComponents(Plain):
    def forward(
        self, tokens: Any, state: Any = None, return_states: bool = False, return_activations: bool = False
    ) -> Any:
        return tokens


def table(first: str) -> list[list[str]]:
    """Cells of the table whose first heading that is, without its headings."""
    lines = TEXT[TEXT.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def named(cell: str) -> set[str]:
    """Ids of the checks that a cell names."""
    found: set[str] = set()
    for item in filter(None, (item.strip() for item in cell.split(","))):
        kind = re.fullmatch(r"all of `(\w+)`", item)
        ids = {id_ for id_, check in BOOK.checks.items() if check.kind == kind[1]} if kind else {item}
        assert ids <= BOOK.checks.keys(), item
        assert not kind or kind[1] in KINDS
        found |= ids
    return found


def asked(capabilities: frozenset[str]) -> set[str]:
    return {id_ for id_, check in BOOK.checks.items() if check.requires <= capabilities}


def test_what_forward_takes_decides_on_the_checks() -> None:
    rows = table("`forward` takes")
    before: set[str] = set()
    for (takes, _, plain, trained), module in zip(rows, (Plain(), Streaming(), TwoComponents()), strict=True):
        offered = UserModel(own_name="mine", factory=None).offered(module) | BORROWED
        without = asked(offered) - before
        assert named(plain) == without, f"a model whose forward takes {takes}, without weights"
        with_weights = asked(offered | {"checkpoint"}) - without - before
        assert named(trained) == with_weights, f"a model whose forward takes {takes}, with weights"
        before |= without | with_weights


def test_what_every_check_needs_is_in_the_tables() -> None:
    """L4 and the tokenizer are said in a sentence; kernels, recipe and scales in the table of capabilities."""
    everything = set().union(*(named(cell) for row in table("`forward` takes") for cell in row[2:]))
    assert BOOK.checks.keys() - everything == {"L4", "G0", "L5", "R1"}
    assert asked(OFFERABLE | EVIDENCE | BORROWED) == everything | {"L4"}
    subword = {id_ for id_, check in BOOK.checks.items() if "subword_tokenizer" in check.requires}
    assert subword == named("NIAH, NIAH-16K, all of `synthetic`")


@pytest.mark.parametrize("capability", sorted(OFFERABLE | {"kernels", "recipe", "scales"}))
def test_what_is_not_asked_without_a_capability(capability: str) -> None:
    (cell,) = [cell for heading, cell in table("capability") if heading.split()[0] == f"`{capability}`"]
    assert named(cell) == {id_ for id_, check in BOOK.checks.items() if capability in check.requires}


def test_what_a_check_of_ones_own_may_say_is_all_named() -> None:
    text = " ".join((DOCS / "extending.md").read_text(encoding="utf-8").split())
    (capabilities,) = re.findall(r"`requires` names capabilities: `([^`]+)`", text)
    assert capabilities.split() == list(CAPABILITIES)
    for names in (list(KINDS), list(TIERS)):
        assert f"# {', '.join(names[:-1])} or {names[-1]}" in text
