"""What the tests of compiled layers and steps share."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


def calls_of(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the compiled functions that a module calls from now on."""
    names: list[str] = []
    run = module._call

    def spy(name: str, *arguments: Any) -> None:
        names.append(name)
        run(name, *arguments)

    monkeypatch.setattr(module, "_call", spy)
    return names
