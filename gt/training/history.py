"""A training log read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a training log that tell of a loss.

    Args:
        path: JSON lines with at least `step` and `loss`, which is null where it was not finite.

    Raises:
        ValueError: One line, if it is no such file.
    """
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            if "loss" in line:
                lines.append({**line, "step": int(line["step"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: expected JSON with step and loss, got {error!r}") from error
    return lines
