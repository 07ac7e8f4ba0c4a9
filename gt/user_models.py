"""Models of the user's own: registered by decorator or entry point, or named as `module:factory`.

A factory is called as `factory(vocab_size=...)` and returns a `torch.nn.Module` that maps tokens [B, T] to logits
[B, T, vocabulary]. What else a module may offer is in docs/your-own-model.md. Imports no torch.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from gt.models.published_config import KINDS

if TYPE_CHECKING:
    from torch import nn

GROUP = "groundthink.models"
OFFERABLE = frozenset({"states", "streaming", "generation", "two_components"})
"""Capabilities that a model of the user's own can have by itself."""

RECORD = "training.json"

_PUBLISHED = " or ".join(f"{kind}:PATH" for kind in KINDS)

Factory = Callable[..., Any]
F = TypeVar("F", bound=Factory)


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model of the user's own was trained, as `training.json` beside its weights says: its place on a ladder.

    Attributes:
        tokens: Tokens read in training.
        training: Its settings. Runs whose settings agree, but for learning rate, steps, batch size and seed, are of one
            recipe. `flop`, where it is there, is the compute of the training.
        step: Optimiser steps.
    """

    tokens: int
    training: dict[str, Any]
    step: int | None = None


class _Reckoned(msgspec.Struct, frozen=True):
    """The settings that a ladder reckons with; all others are only compared."""

    tokens_before: Annotated[int, msgspec.Meta(ge=0)] = 0
    flop: Annotated[float, msgspec.Meta(gt=0)] | None = None
    seed: int | None = None


def read_record(path: Path) -> TrainingRecord | None:
    """The record in a checkpoint folder; None where there is none.

    Raises:
        ValueError: One line: it is not what it should be.
    """
    file = path / RECORD
    if not file.is_file():
        return None
    try:
        record = msgspec.json.decode(file.read_bytes(), type=TrainingRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{file} is no record of a training: {error}") from None
    if record.tokens <= 0 or not record.training:
        raise ValueError(f"{file}: expected the tokens that were read and the settings, got none")
    try:
        msgspec.convert(record.training, _Reckoned)
    except msgspec.ValidationError as error:
        raise ValueError(f"{file}: in its training: {error}") from None
    return record


class NotAModuleError(TypeError, ValueError):
    """A factory returned something else than a module: the input is wrong, not the code that reports it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserModel:
    """A model of the user's own at a scale, before it is built.

    Attributes:
        own_name: Name that it was registered with, or `module:factory`.
        factory: What builds it; None where its module raised when it was imported.
        target: `module:factory`, where the factory is None.
        scale: Name of the scale whose requirements it must meet.
        declared: Capabilities that it was registered with; None to read them from the module that was built.
    """

    own_name: str
    factory: Factory | None
    target: str = ""
    scale: str = "3.5M"
    declared: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """Name with scale, e.g. "mine@3.5M"."""
        return f"{self.own_name}@{self.scale}"

    @property
    def capabilities(self) -> frozenset[str]:
        """What it may offer to the checks, as far as can be known before it is built."""
        offered = OFFERABLE if self.declared is None else self.declared
        return offered | {"scales"} if len(self.family) > 1 else offered

    @property
    def family(self) -> dict[str, UserModel]:
        """The models that were registered under one name with this one, by scale, the smallest first."""
        from gt import registry

        for family in _REGISTERED.values():
            found = family.get(self.scale)
            if found is not None and found.factory is self.factory:
                return {scale: family[scale] for scale in registry.scales() if scale in family}
        return {}

    @property
    def target_name(self) -> str:
        """Its name as `module:factory@SCALE`, by which another process finds it.

        Raises:
            ValueError: If it has none, as a function inside another or one of a script.
        """
        if self.factory is None:
            return f"{self.target}@{self.scale}"
        module, name = (getattr(self.factory, key, "") for key in ("__module__", "__qualname__"))
        if not module or module == "__main__" or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"{self.name} is built by {name or self.factory!r}, which no other process can import: define it at "
                "the top of a module"
            )
        return f"{module}:{name}@{self.scale}"

    def build(self, vocab_size: int) -> nn.Module:
        """Call the factory.

        Raises:
            NotAModuleError: If it returns something else than a module. What its own code raises is passed on.
        """
        from torch import nn

        model = (self.factory or _import(self.target))(vocab_size=vocab_size)
        if not isinstance(model, nn.Module):
            raise NotAModuleError(
                f"the factory of {self.own_name} returned {type(model).__name__}: expected an nn.Module"
            )
        model.register_forward_hook(_typed_state, with_kwargs=True)
        return model

    def offered(self, model: nn.Module) -> frozenset[str]:
        """What a built model offers to the checks: as declared, or else what its `forward` takes."""
        return _taken(model) if self.declared is None else self.declared

    def withheld(self, model: nn.Module) -> frozenset[str]:
        """What the `forward` of a built model takes and its registration leaves out: what no check looks at."""
        return _taken(model) - self.offered(model)


def _taken(model: nn.Module) -> frozenset[str]:
    """What the `forward` of a module offers, by what it takes.

    `state` and `return_states` together are streaming, generation and states; `return_activations`, with submodules
    named `rwkv` and `mamba`, is two components.
    """
    takes = inspect.signature(model.forward).parameters.keys()
    found: set[str] = set()
    if takes >= {"state", "return_states"}:
        found |= {"states", "streaming", "generation"}
    parts = {part for name, _ in model.named_parameters() for part in name.split(".")}
    if "return_activations" in takes and parts >= {"rwkv", "mamba"}:
        found |= {"two_components"}
    return frozenset(found)


_REGISTERED: dict[str, dict[str, UserModel]] = {}
"""By name in lower case and scale, the first one first."""


def register_model(name: str, *, scale: str = "3.5M", capabilities: Collection[str] | None = None) -> Callable[[F], F]:
    """Make a model known under a name, as a decorator of its class or of a function that builds it.

    Args:
        name: Name on the command line, for example "mine" for `--model mine`.
        scale: Scale whose requirements it must meet, unless the command line names another. Larger and smaller models
            of the same kind are registered under the same name with their scales: the first is meant where none is
            named, and each foretells the cost of the next (check R1).
        capabilities: What it offers to the checks, of "states", "streaming", "generation" and "two_components"; by
            default what the `forward` of the built module takes. With fewer than that a decision is CAUTION at best.

    Raises:
        ValueError: If the name is taken or malformed, or a capability or the scale does not exist.
    """
    from gt import registry

    if not name.strip() or any(char in name for char in "@:[]/\\\n\t ,"):
        raise ValueError(f"cannot register a model as {name!r}: expected a name without blanks and any of @ : [ ] / ,")
    if registry.is_shipped(name):
        raise ValueError(f"cannot register a model as {name!r}: that is a model of groundthink; choose another name")
    unknown = sorted(set(capabilities or ()) - OFFERABLE)
    if unknown:
        raise ValueError(f"model {name!r} has unknown capabilities {unknown}: expected some of {sorted(OFFERABLE)}")
    model = UserModel(
        own_name=name,
        factory=None,
        scale=registry.canonical_scale(scale, name),
        declared=None if capabilities is None else frozenset(capabilities),
    )

    def register(factory: F) -> F:
        family = _REGISTERED.setdefault(name.lower(), {})
        before = family.get(model.scale)
        if before is not None and _source(before.factory) != _source(factory):
            raise ValueError(
                f"two models are registered as {name!r} at {model.scale}: {_source(before.factory)} and "
                f"{_source(factory)}; give each a name, or a scale, of its own"
            )
        family[model.scale] = replace(model, factory=factory)
        return factory

    return register


def _source(factory: Factory | None) -> str:
    """Where a factory comes from: the same after its module was loaded again."""
    return f"{getattr(factory, '__module__', '?')}.{getattr(factory, '__qualname__', '?')}"


def names() -> list[str]:
    """Names under which models of the user's own are known, by decorator or entry point."""
    decorated = [next(iter(family.values())).own_name for family in _REGISTERED.values()]
    return decorated + [entry.name for entry in entry_points(group=GROUP) if entry.name.lower() not in _REGISTERED]


def find(name: str, scale: str | None = None) -> UserModel | None:
    """The user's model of a name, `NAME[@SCALE]` or `module:factory[@SCALE]`; None if there is none.

    A module is looked up among the installed packages and in the current folder.

    Args:
        name: As on the command line.
        scale: Scale that was asked for beside it.

    Raises:
        ValueError: If `module:factory` names no module or nothing in it, or the scale does not exist. What the module
            itself raises is kept for `UserModel.build`, so that it is shown with its traceback.
    """
    from gt import registry

    own_name, _, own_scale = name.strip().partition("@")
    if registry.is_shipped(own_name):
        return None
    wanted = registry.one_scale(name, own_scale, scale)
    known = _REGISTERED.get(own_name.lower())
    if known is None:
        entries = {entry.name.lower(): entry for entry in entry_points(group=GROUP)}
        entry = entries.get(own_name.lower())
        if entry is not None:
            known = _imported(entry.name, entry.value)
        elif ":" in own_name:
            known = _imported(own_name, own_name)
        else:
            return None
    model = next(iter(known.values()))
    if not wanted:
        return model
    canonical = registry.canonical_scale(wanted, own_name)
    if len(model.family) < 2:
        return replace(model, scale=canonical)
    if canonical not in known:
        raise ValueError(f"{model.own_name} is registered at {', '.join(known)}, got {canonical}: register it there")
    return known[canonical]


def _imported(own_name: str, target: str) -> dict[str, UserModel]:
    """The models that `module:factory` names, by scale: as it was registered, if it was."""
    try:
        factory = _import(target)
    except _NotFoundError as error:
        raise ValueError(f"unknown model {own_name!r}: {error}") from None
    except Exception:
        unknown = UserModel(own_name=own_name, factory=None, target=target)
        return {unknown.scale: unknown}
    registered = [model for family in _REGISTERED.values() for model in family.values() if model.factory is factory]
    found = registered or [UserModel(own_name=own_name, factory=factory)]
    return {model.scale: replace(model, own_name=own_name) for model in found}


class _NotFoundError(Exception):
    """A `module:factory` that names nothing."""


def _import(target: str) -> Factory:
    """What `module:factory` names."""
    module_name, _, path = target.partition(":")
    if not all(part.isidentifier() for text in (module_name, path) for part in text.split(".")):
        raise _NotFoundError(f"expected NAME[@SCALE], {_PUBLISHED}, or module:factory for a model of your own")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # the command `pytest`, unlike `python -m pytest`, leaves it out
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise _NotFoundError(
            f"no module {module_name} is installed or lies in {here}; published weights are {_PUBLISHED}"
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise _NotFoundError(f"{module_name} has no {path}; expected a class or function that builds the model")
        found = getattr(found, part)
    if not callable(found):
        raise _NotFoundError(
            f"{target} is of type {type(found).__name__}, not a class or function that builds the model"
        )
    factory: Factory = found
    return factory


def _typed_state(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Give a state that is a plain dict the methods of our own."""
    from gt.models.state import ModelState

    if not kwargs.get("return_states"):
        return output
    if not isinstance(output, tuple) or len(output) < 2 or not isinstance(output[1], Mapping):
        raise TypeError("forward(return_states=True) must return (logits, state) with a dict of tensors as the state")
    logits, state, *rest = output
    return (logits, state if isinstance(state, ModelState) else ModelState(dict(state)), *rest)
