"""A small model, trained once, that real sessions judge."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Threads that spin while they wait make two busy processes on two cores ten times slower. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jsonschema
import pytest
from filelock import FileLock

from gt.measurement import Measurement
from gt.resources import fixtures_dir
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from pytest_groundthink import scorecard
from pytest_groundthink.checks import load_checks

MODEL = "GF-MH@TINY"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(scorecard.schema()))
BOOK = load_checks(fixtures_dir() / "checks.yaml")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that all workers share; measurements are cached in it, so that each costs its time once."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = root / "shared"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GT_CACHE_DIR", str(folder / "cache"))
        patch.delenv("GT_KERNELS", raising=False)
        yield folder


@pytest.fixture(scope="session")
def corpus(shared: Path) -> Path:
    """The reference text as a file of the user's own."""
    from gt.data.corpus import python_reference

    path = shared / "prose.txt"
    with FileLock(shared / "prose.lock"):
        if not path.exists():
            text = python_reference()
            path.write_text("\n<|endoftext|>\n".join(text.train + text.valid), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def checkpoint(shared: Path, corpus: Path) -> Path:
    """A checkpoint that has learned a little: 150 steps on the reference text."""
    import torch

    from gt.training.config import TrainConfig
    from gt.training.loop import train

    path = shared / "tiny"
    with FileLock(shared / "tiny.lock"):
        if not (path / "config.json").exists():
            torch.set_num_threads(1)
            settings = {"vocab_size": 1024, "steps": 150, "batch_size": 8, "length": 64, "lr": 4e-3, "eval_every": 150}
            settings["allow_leaks"] = True  # the reference text says some things in several places
            train(TrainConfig(model=MODEL, corpus=(str(corpus),), out=str(path), device="cpu", **settings))  # type: ignore[arg-type]
    return path


@dataclass(frozen=True)
class Probed:
    """A check's verdict, from its probe and the shipped thresholds."""

    status: str
    reason: str
    measurements: tuple[Measurement, ...]


def probe(subject: Any, check: str) -> Probed:
    """Measure and judge as the suite does, without a session."""
    importlib.import_module("gt.probes")  # as in `warm`: the suites take it from the package
    from pytest_groundthink.proof.asked import probes

    measurements = probes()[check](subject)
    status, reason, _ = BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)
    return Probed(str(status), reason, measurements)


@pytest.fixture
def load(checkpoint: Path) -> Callable[..., Subject]:
    """Loads the trained subject, with a fault or without."""

    def loaded(**request: Any) -> Subject:
        wanted = {"model": MODEL, "ckpt": str(checkpoint), "device": "cpu", **request}
        return load_subject(plan_subject(SubjectRequest(**wanted)), lambda done, total, note: None)

    return loaded


@pytest.fixture(scope="session")
def warm(shared: Path) -> None:
    """Loads what inner sessions need, for pytester forgets every module that one of them imports."""
    import torch

    from gt.training.optim import make_optimizer

    # Not `from gt import probes`: the package may still hold one that pytester has forgotten.
    importlib.import_module("gt.probes")
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(2)).sum().backward()
    make_optimizer(layer, 1e-3).step()


@pytest.fixture
def real(warm: None, quick: pytest.Pytester) -> pytest.Pytester:
    """A pytester whose sessions judge real subjects."""
    quick.makepyfile(test_foreign="def test_not_ours(): raise AssertionError('the suites alone are asked for')")
    return quick


@pytest.fixture
def subject_options(checkpoint: Path) -> tuple[str, ...]:
    """What names the trained subject on a command line."""
    return (f"--model={MODEL}", f"--ckpt={checkpoint}", "--gt-device=cpu")


def card(pytester: pytest.Pytester, name: str = "out.json") -> dict[str, Any]:
    """A scorecard that a session wrote, found valid."""
    loaded: dict[str, Any] = json.loads((pytester.path / name).read_text(encoding="utf-8"))
    VALIDATOR.validate(loaded)
    return loaded


def statuses(scored: dict[str, Any]) -> dict[str, str]:
    """Status by check."""
    return {check["id"]: check["status"] for check in scored["checks"]}
