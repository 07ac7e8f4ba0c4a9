"""The kill matrix in its reduced form: a few faults, two healthy models, checks of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_groundthink import cli

FAULTS = (
    *("nan-weight", "leaking-future", "lost-shift", "batch-leak", "frozen-state", "int8-weights", "leaked-validation"),
    *("state-reset", "echoes", "forgets-every-64"),
)
CHECKS = ("G1a", "G1b", "G1c", "G1d", "S0", "S1", "S2", "S3", "D2", "L3", "L4", "LRD", "C1a", "C4a")


def test_faults_are_caught_and_healthy_models_are_left_alone(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--controls", "2", "--steps", "60", "--meant")
    with pytest.raises(SystemExit) as ended:
        cli.app(["prove", "--faults", *FAULTS, "--checks", *CHECKS, *sizes, "-o", str(tmp_path)])
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert "10 of 10 faults are caught" in said
    assert {path.suffix for path in tmp_path.iterdir()} >= {".json", ".md"}
