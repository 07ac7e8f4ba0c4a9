"""The timing scripts, at sizes that any machine can bear."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gt.kernels import BACKENDS, Backend

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_it_writes_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    sizes = ["--device", "cpu", "--model", "GF-MH@TINY", "--vocab", "64", "--shapes", "2x8", "--rounds", "2"]
    done = subprocess.run(
        [sys.executable, str(FOLDER / "training.py"), *sizes, "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text(encoding="utf-8"))
    (figure,) = record["figures"]
    assert figure["shape"] == {"B": 2, "T": 8}
    assert figure["backends"]["plain parts"]["token_mix"] == "reference"
    for name, times in figure["milliseconds"].items():
        assert 0 < times["low"] <= times["median"] <= times["high"]
        assert figure["tokens_per_s"][name] == round(16 / times["median"] * 1e3)
    compiled = {"GPT2 compiled", "ours, compiled", "plain parts, compiled"}
    assert set(record["left_out"]) == {"WKV6 by fla", "published", *compiled}


def test_competitors_run_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delenv("GT_KERNELS", raising=False)
    training = importlib.import_module("training")
    calls = {"reference": 0, "native": 0}

    def counted(backend: Backend) -> Backend:
        def run(*inputs: Any) -> Any:
            calls[backend.name] += 1
            return backend.run(*inputs)

        return msgspec.structs.replace(backend, run=run) if backend.name in calls else backend

    monkeypatch.setitem(BACKENDS, "token_mix", tuple(map(counted, BACKENDS["token_mix"])))
    chosen = Namespace(device="cpu", model="RWKV6@TINY", vocab=64, rounds=2, profile=False)
    training.compare(chosen, ["ours", "plain parts"], "fp32", 2, 8)
    steps, layers, halves = 3 + 2, 4, 2
    fastest = next(backend for backend in BACKENDS["token_mix"] if backend.unavailable("cpu") is None).name
    expected = {"reference": steps * layers * halves, "native": 0}
    expected[fastest] += steps * layers * halves
    assert calls == expected
    assert "GT_KERNELS" not in os.environ


def test_the_script_of_steps_writes_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "step.json"
    command = [sys.executable, str(FOLDER / "step.py"), "--model", "RWKV6@TINY", "--rounds", "2", "--threads", "1"]
    done = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text(encoding="utf-8"))
    (figure,) = record["figures"]
    assert record["n"] == 2
    assert len(figure) == 5
    assert all(0 < one["low"] <= one["median"] <= one["high"] for one in figure.values())
    rows = {name: int(name.split()[-1]) for name, one in figure.items() if "tokens_per_s" in one}
    assert sorted(rows.values()) == [1, 64]
    assert all(
        figure[name]["tokens_per_s"] == pytest.approx(1e3 * n / figure[name]["median"], abs=0.1)
        for name, n in rows.items()
    )
    few = subprocess.run([*command, "--rounds", "1"], capture_output=True, text=True, check=False)
    assert few.returncode == 2
    assert "expected at least 2" in few.stderr


def test_the_script_of_haystacks_says_what_each_step_gives(tmp_path: Path) -> None:
    path = tmp_path / "niah.json"
    command = [sys.executable, str(FOLDER / "niah.py"), "--lengths", "128", "--rounds", "2", "--threads", "1"]
    done = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text(encoding="utf-8"))
    one, whole = record["figures"]
    assert (one["length"], whole["length"]) == (128, "all")
    assert set(one["seconds"]) == {"alone", "snapshots", "side by side"}
    assert one["tokens"]["with snapshots"] < 0.65 * one["tokens"]["alone"]
    assert all(difference < 1e-4 for difference in one["relative_difference"].values()), "not the same work"
