"""The benchmark of training steps, at a size that any machine can bear."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training.py"


def test_it_writes_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    sizes = ["--device", "cpu", "--model", "GF-MH@TINY", "--vocab", "64", "--shapes", "2x8", "--rounds", "2"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *sizes, "--json", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text(encoding="utf-8"))
    (figure,) = record["figures"]
    assert figure["shape"] == {"B": 2, "T": 8}
    assert figure["backends"]["plain parts"]["token_mix"] == "reference"
    for name, times in figure["milliseconds"].items():
        assert 0 < times["low"] <= times["median"] <= times["high"]
        assert figure["tokens_per_s"][name] == round(16 / times["median"] * 1e3)
    assert set(record["left_out"]) == {"WKV6 by fla", "published"}
