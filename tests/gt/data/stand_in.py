"""A generator of conversations of the same shape as the real one, so that these tests depend on no grammar."""

import sys
import types
from typing import NamedTuple


class Span(NamedTuple):
    text: str
    answer: bool = False


class Material(NamedTuple):
    prose: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts):
        return cls(tuple(" ".join(texts).split(". ")))


def mixture(weights, seed, start=0, *, material=None):
    prose = material.prose if material else ()
    index = start
    while True:
        name = "ab"[index % 2] if weights is None else max(weights, key=weights.get)
        filler = prose[index % len(prose)] if prose else "Go on."
        yield name, (Span(f"User: {filler} {name} is {seed}-{index}.\nAssistant:"), Span(f" {index}", True), Span("\n"))
        index += 1


def encode_examples(examples, tokenizer, answer_weight=64, user_weight=16):
    encoded = []
    for example in examples:
        ids, weights = [], []
        for span in example:
            new = tokenizer.encode(span.text)
            ids += new
            weights += [answer_weight if span.answer else user_weight] * len(new)
        encoded.append((ids, weights))
    return encoded


def install(monkeypatch, folder):
    """Put it in the place of the real one; its files are in `folder`."""
    package, render = types.ModuleType("gt.data.conversations"), types.ModuleType("gt.data.conversations.render")
    (folder / "__init__.py").write_text("")
    package.__file__ = str(folder / "__init__.py")
    package.mixture, package.Material, render.encode_examples = mixture, Material, encode_examples
    for module in (package, render):
        monkeypatch.setitem(sys.modules, module.__name__, module)
