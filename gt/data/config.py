"""What a model is trained on, as a configuration says it. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

CONVERSATIONS = "conversations:"
HUGGING_FACE = "hf:"
STARTS = ("anywhere", "document")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One source of training or validation text.

    Attributes:
        path: A text file, folder or glob (UTF-8; .gz, .xz and .zst are unpacked; .jsonl and .ndjson are read line by
            line); `FILE.jsonl:FIELD`; `hf:NAME`, `hf:OWNER/NAME[/CONFIG][:SPLIT]` or `hf:./FOLDER[:SPLIT]`, a Hugging
            Face dataset; `conversations:`, the generator; or a folder of shards that were built before.
        weight: Share of the training windows that come from here, relative to the other sources.
        field: Where JSON lines and datasets hold the text.
        start: Where a window begins: "anywhere", or at a "document"; by default as fits the source.
        count: Documents to take, from the first; by default all, and 100,000 conversations.
        skills: Skills of the conversations and their weights; by default the generator's own mixture.
        seed: Of the conversations.
        prose: Text file, folder or glob whose words and sentences the conversations use as well.
        answer_weight: Weight in the loss of an answer's tokens in conversations, in sixteenths: 16 counts once.
        user_weight: The same of what the user says.

    Raises:
        ValueError: If a value makes no sense.
    """

    path: str
    weight: float = 1.0
    field: str = "text"
    start: str | None = None
    count: int | None = None
    skills: dict[str, float] | None = None
    seed: int = 0
    prose: str | None = None
    answer_weight: int = 64
    user_weight: int = 16

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is empty: expected a file, folder, glob, hf:NAME or conversations:")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight of {self.path} is {self.weight}: expected a number above 0")
        if self.start not in (None, *STARTS):
            raise ValueError(f"start of {self.path} is {self.start!r}: expected one of {', '.join(STARTS)}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count of {self.path} is {self.count}: expected at least 1")
        for name in ("skills", "prose"):
            if getattr(self, name) is not None and not self.is_generated:
                raise ValueError(f"{name} was given for {self.path}: expected it for {CONVERSATIONS} alone")
        for name in ("answer_weight", "user_weight"):
            if not 0 <= getattr(self, name) <= 255:
                raise ValueError(f"{name} of {self.path} is {getattr(self, name)}: expected 0 to 255")

    @property
    def is_generated(self) -> bool:
        """Whether this is the generator of conversations."""
        return self.path == CONVERSATIONS

    @property
    def is_dataset(self) -> bool:
        """Whether this is a Hugging Face dataset."""
        return self.path.startswith(HUGGING_FACE)
