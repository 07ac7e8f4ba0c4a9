"""YAML files read with the line of every key, so that an error can say where it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

Keys = tuple[str | int, ...]
T = TypeVar("T")


class FixtureError(ValueError):
    """A data file that cannot be used: one line with file, line, key and what was expected."""


class LocatedFile:
    """The plain content of a YAML file and the line of each of its keys.

    Attributes:
        path: The file.
        content: Its bytes, for hashing.
        data: Its content as plain dicts, lists and scalars.
    """

    def __init__(self, path: Path) -> None:
        """Read and parse `path`.

        Raises:
            FixtureError: If it cannot be read, is no YAML, or names a key twice.
        """
        self.path = path
        self._lines: dict[Keys, int] = {(): 1}
        try:
            self.content = path.read_bytes()
            text = self.content.decode("utf-8")
        except OSError as error:
            raise FixtureError(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise FixtureError(f"{path}: is not UTF-8 text (byte {error.start})") from None
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            if root is not None:
                self._walk(root, ())
            self.data: Any = None if root is None else loader.construct_document(root)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise FixtureError(f"{path}:{line}: is not valid YAML: {error.problem or error.context}") from None
        except yaml.YAMLError as error:
            raise FixtureError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None

    def error(self, keys: Keys, problem: str) -> FixtureError:
        """An error about the value at `keys`, located at its line or at that of its nearest parent."""
        known = keys
        while known not in self._lines:
            known = known[:-1]
        where = ".".join(str(key) for key in keys)
        return FixtureError(f"{self.path}:{self._lines[known]}: {where + ': ' if where else ''}{problem}")

    def section(self, keys: Keys, default: Any = None) -> dict[str, Any]:
        """The mapping at `keys`.

        Args:
            keys: Where to look.
            default: What to return where there is none; None makes it required.

        Raises:
            FixtureError: If it is absent and required, or no mapping, or has a key that is no text.
        """
        value = self.data
        for depth, key in enumerate(keys):
            if not isinstance(value, dict):
                raise self.error(keys[:depth], f"expected a mapping, got {_kind(value)}")
            if key not in value:
                if default is not None:
                    return dict(default)
                raise self.error(keys[:depth], f"the key {key!r} is missing")
            value = value[key]
        if not isinstance(value, dict):
            raise self.error(keys, f"expected a mapping, got {_kind(value)}")
        for key in value:
            if not isinstance(key, str):
                raise self.error((*keys, str(key)), f"expected a text as key, got {_kind(key)}; put it in quotes")
        return value

    def convert(self, keys: Keys, value: Any, type_: type[T]) -> T:
        """Convert `value`, found at `keys`, to `type_`.

        Raises:
            FixtureError: If it does not fit.
        """
        try:
            return msgspec.convert(value, type_)
        except (msgspec.ValidationError, ValueError) as error:
            # msgspec ends its messages with a path: Expected `float`, got `str` - at `$.pass[0]`
            problem, _, path = str(error).partition(" - at `$")
            inner = tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))
            unknown = re.search(r"unknown field `(.*)`", problem)
            if unknown is not None:
                inner += (unknown[1],)
            raise self.error((*keys, *inner), problem[:1].lower() + problem[1:]) from None

    def _walk(self, node: yaml.Node, keys: Keys) -> None:
        self._lines.setdefault(keys, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    continue  # the constructor refuses it
                inner = (*keys, key_node.value)
                if inner in self._lines:
                    self._lines[inner] = key_node.start_mark.line + 1
                    raise self.error(inner, "the key is there twice")
                self._lines[inner] = key_node.start_mark.line + 1
                self._walk(value_node, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._walk(item, (*keys, index))


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), f"the number {value}" if isinstance(value, int | float) else type(value).__name__)
