"""Training presets: YAML files whose keys are the settings of a run, laid under the command line."""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gt.data.config import DataSource
from gt.resources import configs_dir
from gt.training.config import TrainConfig
from pytest_groundthink.located import Keys, LocatedFile

if typing.TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import ArgumentCollection


def lay_under(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give every option that is not on the command line the value of the preset that is (a `cyclopts` configuration).

    A preset that cannot be used ends the program with exit status 4 and one line.
    """
    from cyclopts.config import Dict

    named = [argument for argument in arguments if argument.name == "--preset" and argument.tokens]
    if not named:
        return
    try:
        values = read_preset(named[0].tokens[0].value)
    except ValueError as error:
        print(f"groundthink train: {error}", file=sys.stderr)
        sys.exit(4)
    for command in reversed(commands):  # by command, or a setting named as another command (`data`) would be left out
        values = {command: values}
    Dict(values, source="preset")(app, commands, arguments)


def preset_names() -> list[str]:
    """Names of the presets that are carried along."""
    return sorted(path.stem for path in configs_dir().glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """The settings in a preset, checked against `TrainConfig`; sources as mappings with the fields of `DataSource`.

    Args:
        name: A YAML file, or the name of a preset that is carried along, such as "3.5M".

    Raises:
        FixtureError: One line with file, line and key, if a key is unknown (naming the nearest) or a value does not
            fit.
        ValueError: If there is no such preset.
    """
    path = Path(name)
    if not path.is_file():
        known = {own.casefold(): own for own in preset_names()}
        if name.casefold() not in known:
            raise ValueError(f"no preset {name!r}: expected a YAML file or one of {', '.join(preset_names())}")
        path = configs_dir() / f"{known[name.casefold()]}.yaml"
    file = LocatedFile(path)
    types_ = typing.get_type_hints(TrainConfig)
    values = file.section(())
    for key, value in values.items():
        _require_known(file, (key,), types_)
        if key in ("data", "valid"):
            values[key] = _sources(file, key, value)
        else:
            values[key] = _plain(value, types_[key])
            file.convert((key,), values[key], types_[key])
    return values


def _sources(file: LocatedFile, key: str, items: Any) -> Any:
    """Sources of data as mappings: a path alone stands for one."""
    if not isinstance(items, list):
        raise file.error((key,), "expected a list of paths, or of mappings with `path`")
    sources = [{"path": item} if isinstance(item, str) else item for item in items]
    for index, source in enumerate(sources):
        if isinstance(source, dict):
            for name in source:
                _require_known(file, (key, index, name), [field.name for field in fields(DataSource)])
        file.convert((key, index), source, DataSource)
    return sources


def _require_known(file: LocatedFile, keys: Keys, known: Iterable[str]) -> None:
    key, names = str(keys[-1]), list(known)
    if key in names:
        return
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else "groundthink train --help lists the keys"
    raise file.error(keys, f"there is no such setting: {hint}")


def _plain(value: Any, type_: Any) -> Any:
    """A number written as 1e-3, which YAML 1.1 takes for a text."""
    wanted = typing.get_args(type_) if isinstance(type_, types.UnionType) else (type_,)
    if isinstance(value, str) and float in wanted:
        try:
            return float(value)
        except ValueError:
            return value
    return value
