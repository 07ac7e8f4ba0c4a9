"""Where the text of a training run comes from. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True, frozen=True)
class DataSource:
    """One source of a mixture.

    Attributes:
        path: Text file.
        weight: Its share of the sequences, relative to the other sources.
    """

    path: str
    weight: float = 1.0
