"""The cache on disk: damage is measured again, one process computes, another run's result is marked."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gt import cache
from gt.cache import Entry, cache_dir
from gt.training import mini


def test_what_is_written_is_read(own_cache: Path) -> None:
    entry = Entry("thing", {"seed": 1})
    assert entry.read() is None
    with entry.lock():
        entry.write({"a": [1.5]}, {"w": torch.arange(3)})
    record, tensors = Entry("thing", {"seed": 1}).read()  # type: ignore[misc]
    assert record == {"a": [1.5]}
    assert torch.equal(tensors["w"], torch.arange(3))
    assert entry.path.parent == own_cache


def test_another_key_is_another_entry(own_cache: Path) -> None:
    assert Entry("thing", {"seed": 1}).path != Entry("thing", {"seed": 2}).path
    assert Entry("thing", {"a": 1, "b": 2}).path == Entry("thing", {"b": 2, "a": 1}).path


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_a_damaged_entry_is_no_entry(own_cache: Path, keep: float) -> None:
    entry = Entry("thing", {})
    with entry.lock():
        entry.write({"a": 1}, {"w": torch.zeros(100)})
    content = entry.path.read_bytes()
    entry.path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    assert entry.read() is None


def test_a_foreign_file_in_its_place_is_no_entry(own_cache: Path) -> None:
    from safetensors.torch import save_file

    entry = Entry("thing", {})
    own_cache.mkdir()
    save_file({"w": torch.zeros(1)}, entry.path)
    assert entry.read() is None


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GT_CACHE_DIR", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("GT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "groundthink"


def _hold(order: Any) -> None:
    with Entry("thing", {}).lock():
        order.put("other in")
        time.sleep(0.5)
        order.put("other out")


def test_of_two_processes_one_waits(own_cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    order = context.Queue()
    other = context.Process(target=_hold, args=(order,))
    other.start()
    assert order.get(timeout=10) == "other in"
    with Entry("thing", {}).lock():
        assert order.get(timeout=1) == "other out"
    other.join()


@pytest.fixture
def trained(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """mini_training with a stand-in for the steps: counts how often it trains."""
    calls: list[int] = []

    def train(subject: Any, steps: int) -> tuple[list[float], list[float], dict[str, torch.Tensor]]:
        calls.append(steps)
        return [2.0, subject.loss], [0.5, 0.5], {"w": torch.ones(2)}

    monkeypatch.setattr(mini, "_train", train)

    def ask(run_id: str, *, fresh: bool = False, seed: int = 0, loss: float = 1.0, **about: Any) -> Any:
        subject = SimpleNamespace(
            plan=SimpleNamespace(request=SimpleNamespace(run_id=run_id, fresh=fresh, sabotage=about.get("sabotage"))),
            identity="config",
            ops=("wkv6", "ssd", "causal_conv1d"),
            seed=seed,
            loss=loss,
            g3_steps=2,
            device=torch.device("cpu"),
            corpus=SimpleNamespace(sha256=about.get("corpus", "c")),
            tokenizer=SimpleNamespace(sha256="t"),
            environment=lambda: {"torch": "2"},
        )
        result = mini.mini_training(subject)  # type: ignore[arg-type]
        return result.cached, len(calls)

    return ask


def test_a_second_run_reads_and_says_so(trained: Any) -> None:
    assert trained("first") == (False, 1)
    assert trained("first") == (False, 1), "another worker of the same run: shared, but not from an earlier run"
    assert trained("second") == (True, 1)


def test_fresh_takes_only_what_this_run_measured(trained: Any) -> None:
    assert trained("first") == (False, 1)
    assert trained("second", fresh=True) == (False, 2)
    assert trained("second", fresh=True) == (False, 2)
    assert trained("third") == (True, 2)


@pytest.mark.parametrize("change", [{"seed": 1}, {"sabotage": "deaf"}, {"corpus": "other"}])
def test_what_can_change_the_result_changes_the_entry(trained: Any, change: dict[str, Any]) -> None:
    assert trained("first") == (False, 1)
    assert trained("second", **change) == (False, 2)


def test_the_kernel_backend_is_part_of_the_key(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained("first") == (False, 1)
    monkeypatch.setenv("GT_KERNELS", "reference")
    assert trained("second") == (False, 2)


def test_what_is_not_finite_is_not_kept(trained: Any) -> None:
    assert trained("first", loss=float("nan")) == (False, 1)
    assert trained("second", loss=float("nan")) == (False, 2)


def test_every_kind_of_source_is_hashed() -> None:
    root = Path(cache.__file__).parent
    found = {path.suffix for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert found == cache.SOURCES | {".typed"}
