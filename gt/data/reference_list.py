"""Make the list of the reference text: `python -m gt.data.reference_list PYTHON [PYTHON ...] > LIST`.

Lists the paragraphs that all the given interpreters have, under the documents of the first.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys

from gt.data import reference
from gt.data.reference_text import paragraph_hash

VALIDATION_SHARE = 0.1


def main() -> None:
    """Read every interpreter's reference and print the list."""
    if len(sys.argv) < 2:
        sys.exit("give one or more Python interpreters, the one whose documents the list follows first")
    releases = [_paragraphs_of(python) for python in sys.argv[1:]]
    common = set.intersection(*({p for _, paragraphs in release for p in paragraphs} for release in releases))
    if len({paragraph_hash(p) for p in common}) != len(common):
        sys.exit("two paragraphs have one hash: raise DIGITS in gt/data/reference_text.py")
    documents = _without_repetition(releases[0], common)
    valid = _held_out({name: sum(map(len, paragraphs)) for name, paragraphs in documents.items()})
    lists = {
        kind: {
            name: "".join(map(paragraph_hash, paragraphs))
            for name, paragraphs in documents.items()
            if (name in valid) == (kind == "valid")
        }
        for kind in ("train", "valid")
    }
    print(json.dumps(lists, indent=0))


def _paragraphs_of(python: str) -> list[tuple[str, list[str]]]:
    done = subprocess.run([python, "-I", reference.__file__], check=True, capture_output=True, text=True)
    found: list[tuple[str, list[str]]] = json.loads(done.stdout)
    return found


def _without_repetition(release: list[tuple[str, list[str]]], common: set[str]) -> dict[str, list[str]]:
    """Documents of common paragraphs; of those that differ in case or punctuation alone only the first is kept."""
    documents: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, paragraphs in release:
        for paragraph in paragraphs:
            key = re.sub(r"\W+", " ", paragraph).casefold()
            if paragraph in common and key not in seen:
                seen.add(key)
                documents.setdefault(name, []).append(paragraph)
    return documents


def _held_out(sizes: dict[str, int]) -> set[str]:
    """Names of about a tenth of the text, by their hashes; one huge document must not become most of it."""
    wanted = VALIDATION_SHARE * sum(sizes.values())
    held_out: set[str] = set()
    size = 0
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if size + sizes[name] <= 1.05 * wanted:
            held_out.add(name)
            size += sizes[name]
    return held_out


if __name__ == "__main__":
    main()
