"""The content hash of a scorecard: it shows that a file was edited or cut, not who wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

SEAL = "content_sha256"

Integrity = Literal["intact", "edited", "unsigned"]


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a scorecard's content: sorted keys, no spaces, without the hash itself.

    Args:
        content: What its JSON holds, unknown keys included.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(msgspec.json.encode(rest, order="sorted")).hexdigest()


def integrity(content: Mapping[str, Any]) -> Integrity:
    """Whether a scorecard's content is what was written: "unsigned" where there is no hash to tell."""
    seal = content.get(SEAL)
    if not seal:
        return "unsigned"
    return "intact" if seal == content_hash(content) else "edited"
