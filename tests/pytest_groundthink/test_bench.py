"""`groundthink bench`: its verdicts, tables, JSON and exit status, over records made by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from gt.bench.config import BENCHMARKS, BenchConfig
from gt.bench.record import BenchRecord, Cell, Decoding, Memory, Part, Prediction, Quartiles, Ratio, Stability
from gt.resources import fixtures_dir
from pytest_groundthink import cli
from pytest_groundthink.benchmarks import judge, load_benchmarks
from pytest_groundthink.located import FixtureError
from pytest_groundthink.report.bench import tables
from pytest_groundthink.verdict import Status

BOOK = fixtures_dir() / "bench.yaml"
MIB = 2**20


def speed(median: float) -> Quartiles:
    return Quartiles(median=median, q1=0.9 * median, q3=1.1 * median, repeats=10, calls=3)


def memory(measured_mib: float | None, reason: str = "") -> Memory:
    parts = Prediction(parameters=1, gradients=1, moments=2, activations=3, logits=4, peak=100 * MIB)
    return Memory(predicted=parts, measured=None if measured_mib is None else int(measured_mib * MIB), reason=reason)


def stable(start: float = 9.0, end: float = 7.5, finite_steps: int = 100, model: str = "A@TINY") -> Stability:
    return Stability(
        model=model,
        batch=8,
        length=64,
        lr=1e-3,
        steps=100,
        finite_steps=finite_steps,
        first_loss=start,
        last_loss=end,
        loss_start=start,
        loss_end=end,
        corpus="prose",
        corpus_sha256="0" * 64,
    )


def a_record(**changes: Any) -> BenchRecord:
    cell = Cell(model="A@TINY", batch=8, length=64, memory=memory(123.4), training=speed(5000), forward=speed(9000))
    cell.parts = (Part(name="ffn", share=0.75, ms=3.0), Part(name="head", share=0.25, ms=1.0))
    base: dict[str, Any] = {
        "created": "2026-01-01T00:00:00+00:00",
        "settings": {"dtype": "float32"},
        "environment": {"gpu": None, "cpu": "a processor", "threads": 2, "torch": "2.13.0", "note": ""},
        "models": [{"name": "A@TINY", "kernels": {"wkv6": {"backend": "native", "reason": "fastest"}}}],
        "cells": [cell, Cell(model="B@TINY", batch=8, length=64, memory=memory(None, "too big"), reason="too big")],
        "decoding": [Decoding(model="A@TINY", batch=1, speed=speed(321))],
        "ratios": [
            Ratio(what="training", model="B@TINY", against="A@TINY", batch=8, length=64, ratio=speed(2.5)),
        ],
        "stability": [stable()],
    }
    return BenchRecord(**{**base, **changes})


def shown(record: BenchRecord) -> str:
    console = Console(file=StringIO(), width=200)
    for table in tables(record, judge(record, load_benchmarks(BOOK))):
        console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def verdicts(record: BenchRecord) -> dict[tuple[str, str], tuple[str, str]]:
    return {(one.benchmark, one.model): (one.status, one.reason) for one in judge(record, load_benchmarks(BOOK))}


def test_the_defaults_are_the_documents_fixed_configuration() -> None:
    book = load_benchmarks(BOOK)
    assert tuple(book) == BENCHMARKS
    for benchmark in book.values():
        assert "[S]" in benchmark.source
        if benchmark.at is not None:
            assert (str(benchmark.at.batch), str(benchmark.at.length)) == (BenchConfig().batch, BenchConfig().length)
    assert not book["B1"].bands
    assert BenchConfig().steps == 100
    assert BenchConfig().chosen == frozenset(BENCHMARKS)


def test_a_good_run_passes() -> None:
    assert verdicts(a_record())["B2", "A@TINY"] == ("PASS", "")
    assert verdicts(a_record())["B3", "A@TINY"] == ("PASS", "")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (stable(end=9.5), "FAIL"),
        (stable(end=9.0), "FAIL"),
        (stable(end=8.99), "PASS"),
        (stable(end=float("nan"), finite_steps=3), "FAIL"),
        (stable(finite_steps=99), "FAIL"),
    ],
    ids=["rises", "stays", "falls", "nan", "one step not finite"],
)
def test_stability_is_a_loss_that_falls_and_stays_finite(found: Stability, status: str) -> None:
    assert verdicts(a_record(stability=[found]))["B3", "A@TINY"][0] == status


def test_memory_above_the_threshold_fails_and_only_in_the_documents_cell() -> None:
    large = Cell(model="A@TINY", batch=8, length=64, memory=memory(1001))
    status, reason = verdicts(a_record(cells=[large]))["B2", "A@TINY"]
    assert status == "FAIL"
    assert "needs <= 1e+03" in reason or "needs <= 1000" in reason
    elsewhere = Cell(model="A@TINY", batch=32, length=64, memory=memory(5000))
    status, reason = verdicts(a_record(cells=[elsewhere]))["B2", "A@TINY"]
    assert (status, reason) == ("NODATA", "the threshold is for batch 8, length 64: not in the table")
    assert verdicts(a_record())["B2", "B@TINY"] == ("NODATA", "too big")
    unasked = Cell(model="A@TINY", batch=8, length=64, memory=memory(None))
    assert ("B2", "A@TINY") not in verdicts(a_record(cells=[unasked]))


def test_the_tables_show_speeds_quartiles_memory_ratios_parts_and_verdicts() -> None:
    text = shown(a_record())
    for piece in (
        "5,000 (4,500-5,500)",
        "9,000 (8,100-9,900)",
        "100.0",
        "123.4",
        "1.23",
        "too big",
        "321 (289-353)",
        "2.50 (2.25-2.75)",
        "75.0% (3.00)",
        "9.000 to 7.500 nats",
        "PASS",
        "NODATA",
        "[S] B2",
    ):
        assert piece in text, piece


def test_tables_without_rows_are_left_out() -> None:
    bare = a_record(cells=[], decoding=[], ratios=[])
    assert "verdicts" in shown(bare)
    assert "B1" not in shown(bare)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line with a stand-in for what measures."""

    def call(record: BenchRecord, *arguments: str) -> tuple[int, str]:
        stand_in = ModuleType("gt.bench.run")
        asked: list[Any] = []

        def bench(models: Any, config: Any, progress: Any) -> BenchRecord:
            asked.append((models, config))
            progress(0, 1, "measuring")
            return record

        stand_in.bench = bench  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gt.bench.run", stand_in)
        monkeypatch.setattr(sys, "argv", ["groundthink", "bench", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.app(["bench", *arguments])
        code = ended.value.code
        assert isinstance(code, int)
        call.asked = asked  # type: ignore[attr-defined]
        return code, capsys.readouterr().out

    return call


def test_the_command_prints_tables_and_writes_json(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    status, text = run(a_record(), "A@TINY", "B@TINY", "--batch", "8,16", "--json", str(out))
    assert status == 0
    ((models, config),) = run.asked  # type: ignore[attr-defined]
    assert models == ("A@TINY", "B@TINY")
    assert config.batch == "8,16"
    assert "a processor, 2 threads; torch 2.13.0; float32; kernels: wkv6 native" in text
    assert "0/1 measuring" in text
    assert "verdicts" in text
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["schema"] == "groundthink.bench/1"
    assert written["command"] == f"groundthink bench A@TINY B@TINY --batch 8,16 --json {out}"
    assert [one["status"] for one in written["verdicts"]] == ["PASS", "NODATA", "PASS"]
    assert written["cells"][0]["training"]["median"] == 5000
    assert written["git"] is None or len(written["git"]["commit"]) == 40


def test_numbers_that_are_not_finite_are_null_in_json(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    status, _ = run(a_record(stability=[stable(end=float("nan"), finite_steps=3)]), "--json", str(out))
    assert status == 1, "a benchmark failed"
    assert json.loads(out.read_text(encoding="utf-8"))["stability"][0]["loss_end"] is None


def test_without_a_name_the_default_model_is_measured(run: Run) -> None:
    run(a_record())
    ((models, _),) = run.asked  # type: ignore[attr-defined]
    assert models == ("GF-MH",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "1,x"), "batch is '1,x': expected numbers"),
        (("--json", "none/out.json"), "--json none/out.json: expected a file in a folder that exists"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_4(run: Run, arguments: tuple[str, ...], message: str) -> None:
    status, text = run(a_record(), *arguments)
    assert status == 4
    assert text.startswith(f"groundthink bench: {message}")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version: 2\nbenchmarks: {}\n", "bench.yaml:1: version: expected 1, got 2"),
        ("version: 1\nbenchmarks:\n  B2: {title: a}\n", "bench.yaml:3: benchmarks.B2"),
    ],
)
def test_a_thresholds_file_that_cannot_be_used_is_located(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FixtureError, match=message.replace(".", r"\.")):
        load_benchmarks(path)


def test_a_model_that_could_not_be_trained_is_no_data() -> None:
    record = BenchRecord(created="now", settings={}, untrained={"mine@TINY": "out of cheese"})
    (verdict,) = judge(record, load_benchmarks(fixtures_dir() / "bench.yaml"))
    assert (verdict.benchmark, verdict.model) == ("B3", "mine@TINY")
    assert (verdict.status, verdict.reason) == (Status.NODATA, "out of cheese")
