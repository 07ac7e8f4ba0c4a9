"""What `groundthink train` prints where nobody watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gt.training.config import TrainConfig
from pytest_groundthink import cli


def test_the_last_line_of_progress_ends_and_the_next_command_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("a-folder-whose-name-is-longer-than-a-terminal-is-wide-" * 2)

    def run(config: TrainConfig, report: Any) -> Path:
        report({"step": 2, "loss": 5.0, "grad_norm": 1.0, "lr": 1e-3, "tokens_per_s": 9, "valid_loss": 5.5})
        return out

    monkeypatch.setattr("gt.training.loop.train", run)
    cli.train(TrainConfig(model="HGF@TINY", corpus=("x.txt",), out=str(out), steps=2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"checkpoint: {out}",
        f"judge it:   pytest -m graduation --model HGF@TINY --ckpt {out} --scorecard out.json",
    ]
    assert "".join(lines[:-2]).rstrip().endswith("5.500")
