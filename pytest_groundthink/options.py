"""Command line options, and whether a run asks for us at all. Loads nothing but pytest and the standard library."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_groundthink.vocabulary import MARKERS, SELECTING_MARKERS

TAKEN = pytest.StashKey[list[str]]()

_SHORT: dict[str, dict[str, Any]] = {
    "model": {
        "action": "append",
        "metavar": "NAME",
        "help": "subject: VARIANT[@SCALE], rwkv6:PATH or mamba2:PATH for published weights, or module:factory; may be "
        "repeated (default: the shipped checkpoint)",
    },
    "ckpt": {
        "action": "append",
        "metavar": "PATH",
        "help": "checkpoint folder or .pt file of the subject; with several subjects one for each, in order, but for "
        "published weights",
    },
    "scorecard": {
        "metavar": "FILE.json",
        "help": "write the scorecard here; with several subjects FILE.SUBJECT.json each",
    },
}

_LONG: dict[str, dict[str, Any]] = {
    "--gt-device": {"choices": ("auto", "cpu", "cuda"), "help": "where the subject runs (default: auto)"},
    "--gt-dtype": {
        "choices": ("float32", "bfloat16", "float64"),
        "help": "precision of the subject (default: float32)",
    },
    "--gt-scale": {"metavar": "SCALE", "help": "scale of a subject whose name gives none (default: 3.5M)"},
    "--gt-corpus": {"metavar": "FILE", "help": "UTF-8 text for checks that read prose (default: Python's own docs)"},
    "--gt-ladder": {
        "action": "append",
        "metavar": "PATH",
        "help": "scorecard, or folder of scorecards, of other scales and runs of the same recipe, for the scaling law; "
        "may be repeated (default: the folder ladder beside the weights)",
    },
    "--gt-profile": {"metavar": "NAME", "help": "thresholds that judge: default, v4, or one of --gt-checks"},
    "--gt-checks": {"metavar": "FILE", "help": "checks of your own, laid over the shipped checks.yaml"},
    "--gt-seed": {"type": int, "metavar": "N", "help": "seed of everything drawn (default: 0)"},
    "--gt-fresh": {"action": "store_true", "default": None, "help": "measure anew what an earlier run has cached"},
    "--gt-report": {
        "metavar": "FILE.html",
        "help": "write a report for people here, as one HTML file or, as FILE.md, as Markdown",
    },
    "--gt-require-kernels": {
        "action": "store_true",
        "default": None,
        "help": "fail where an op runs on a slower fallback",
    },
    "--gt-fail-on": {
        "choices": ("fail", "warn", "caution", "hold"),
        "help": "what makes the exit status 1 (default: hold where a decision is computed, else fail)",
    },
    "--gt-history": {
        "nargs": "?",
        "const": "",
        "metavar": "FILE",
        "help": "record the scorecards in the history too; --gt-history=FILE names another than the user's own",
    },
    "--gt-sabotage": {
        "metavar": "FAULT",
        "help": "break the subject on purpose, to see its check catch it; recorded in the scorecard",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Our options, with defaults filled in."""

    subjects: tuple[tuple[str | None, str | None], ...]
    """Model and checkpoint of every subject."""
    scorecard: Path | None
    report: Path | None
    device: str
    dtype: str
    scale: str | None
    corpus: str | None
    ladder: tuple[Path, ...]
    profile: str
    checks: Path | None
    seed: int
    fresh: bool
    require_kernels: bool
    fail_on: str | None
    sabotage: str | None
    history: str | None = None
    """Where the scorecards are recorded too; empty for the user's own place, None for nowhere."""

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Read the options of a run.

        Raises:
            ValueError: If the numbers of models and checkpoints do not fit.
        """
        get = config.getoption
        models: list[str | None] = get("gt_model") or []
        ckpts: list[str | None] = get("gt_ckpt") or []
        if models and ckpts:
            ckpts = _one_each(models, ckpts)
        count = max(len(models), len(ckpts), 1)
        there = config.invocation_params.dir
        scorecard, report, checks = get("gt_scorecard"), get("gt_report"), get("gt_checks")
        return cls(
            subjects=tuple(zip(models or [None] * count, ckpts or [None] * count, strict=True)),
            scorecard=there / scorecard if scorecard else None,
            report=there / report if report else None,
            device=get("gt_device") or "auto",
            dtype=get("gt_dtype") or "float32",
            scale=get("gt_scale"),
            corpus=get("gt_corpus"),
            ladder=tuple(there / path for path in get("gt_ladder") or ()),
            profile=get("gt_profile") or "default",
            checks=there / checks if checks else None,
            seed=get("gt_seed") or 0,
            fresh=bool(get("gt_fresh")),
            require_kernels=bool(get("gt_require_kernels")),
            fail_on=get("gt_fail_on"),
            sabotage=get("gt_sabotage"),
            history=str(there / get("gt_history")) if get("gt_history") else get("gt_history"),
        )

    @property
    def strict(self) -> frozenset[str]:
        """Options that turn a band's WARN into FAIL."""
        return frozenset({"require-kernels"} if self.require_kernels else ())


def _one_each(models: Sequence[str | None], ckpts: Sequence[str | None]) -> list[str | None]:
    """The checkpoint of every model. Published weights have none beside themselves and may be left out of the count."""
    from gt.pretrained import split_name

    if len(ckpts) == len(models):
        return list(ckpts)
    takers = [index for index, model in enumerate(models) if split_name(model or "") is None]
    if not takers:
        raise ValueError("--ckpt was given for published weights alone, whose path is their checkpoint: leave it out")
    if len(ckpts) != len(takers):
        raise ValueError(
            f"--ckpt was given {len(ckpts)} times for {len(takers)} models: give one checkpoint for each --model, "
            "in the same order, or none"
        )
    given = dict(zip(takers, ckpts, strict=True))
    return [given.get(index) for index in range(len(models))]


def add_options(parser: pytest.Parser) -> None:
    """Add every option under its --gt- name; all of them default to None, so that use is seen."""
    group = parser.getgroup("groundthink", "groundthink: may this language model be scaled up?")
    for name, attributes in _SHORT.items():
        group.addoption(f"--gt-{name}", dest=f"gt_{name}", **{**attributes, "help": f"the same as --{name}"})
    for option, attributes in _LONG.items():
        group.addoption(option, **attributes)


def add_short_options(config: pytest.Config, parser: pytest.Parser) -> None:
    """Add --model, --ckpt and --scorecard, where no other plugin or conftest owns them by now."""
    group = parser.getgroup("groundthink")
    for name, attributes in _SHORT.items():
        if _is_free(parser, f"--{name}"):
            group.addoption(f"--{name}", dest=f"gt_{name}", **attributes)
        else:
            config.stash.setdefault(TAKEN, []).append(name)


def choose_suites(config: pytest.Config) -> None:
    """Collect the shipped suites, where the command line names no tests.

    Pytest takes the path of a bare `--ckpt PATH` for a hint of the root folder, since it looks for that before plugins
    are loaded, and may then know neither our configuration nor its test paths.
    """
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        from gt.resources import suites_dir

        config.args = [str(suites_dir())]


def warn_of_taken_names(config: pytest.Config) -> None:
    """Say which short names belong to others."""
    for name in config.stash.get(TAKEN, []):
        message = f"--{name} belongs to another plugin or conftest here: use --gt-{name} for groundthink"
        config.issue_config_time_warning(pytest.PytestConfigWarning(message), stacklevel=2)


def register_markers(config: pytest.Config) -> None:
    """Make our markers known, for --strict-markers and --markers."""
    for marker, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {meaning} (groundthink)")


def in_use(config: pytest.Config) -> bool:
    """Whether an option of ours was given or -m asks for a marker of ours.

    A marker that the project itself registers is the project's own. To be called before `register_markers`.
    """
    names = [f"gt_{name}" for name in _SHORT] + [option[2:].replace("-", "_") for option in _LONG]
    if any(config.getoption(name) is not None for name in names):
        return True
    owned = {re.split(r"[:(]", line, maxsplit=1)[0].strip() for line in config.getini("markers")}
    return selects(config.getoption("markexpr", ""), SELECTING_MARKERS - owned)


def selects(expression: str, names: Collection[str]) -> bool:
    """Whether a -m expression names one of `names` to select by it, not to leave it out.

    "gate and not canary" asks for gates; "not canary" selects every unmarked test and asks for nothing of ours.
    """
    if not names or not set(re.findall(r"\w+", expression)) & set(names):
        return False
    from _pytest.mark.expression import Expression  # the only parser of the -m language; private, stable since 5.4

    try:
        return not Expression.compile(expression).evaluate(lambda name, /, **kwargs: False)
    except Exception:  # pytest itself reports a malformed expression
        return False


def _is_free(parser: pytest.Parser, option: str) -> bool:
    try:
        return option in parser.parse_known_and_unknown_args([option, "x"])[1]
    except (pytest.UsageError, SystemExit):  # the owner does not like our "x"
        return False
