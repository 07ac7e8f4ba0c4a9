"""Bad input to real sessions: exit status 4, one clear line, no traceback, nothing written and nothing lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import MODEL

Make = Callable[[Path, Path], tuple[str, ...]]


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.trace}'",)


def copied(tmp: Path, checkpoint: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp / "copy"))


def truncated(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
    path = copied(tmp, checkpoint) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    return f"--model={MODEL}", f"--ckpt={path.parent}"


def other_tokenizer(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
    from gt.tokenizers import train_bpe

    path = copied(tmp, checkpoint)
    train_bpe(["a small text"], 260, path / "tokenizer.json")
    return f"--model={MODEL}", f"--ckpt={path}"


def carries_code(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
    torch.save({"model": {"w": torch.zeros(1)}, "extra": Bomb(tmp / "trace")}, tmp / "evil.pt")
    return f"--model={MODEL}", f"--ckpt={tmp / 'evil.pt'}"


def small_vocabulary(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
    """A bare .pt goes with the shipped tokenizer, which has more tokens than it embeds."""
    from gt.checkpoint import inspect_checkpoint, load_weights
    from gt.registry import resolve

    torch.save(load_weights(inspect_checkpoint(checkpoint, resolve(MODEL))), tmp / "small.pt")
    return f"--model={MODEL}", f"--ckpt={tmp / 'small.pt'}"


def thresholds(text: str) -> Make:
    def make(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
        (tmp / "own.yaml").write_text(text)
        return (f"--gt-checks={tmp / 'own.yaml'}",)

    return make


def short_corpus(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
    (tmp / "short.txt").write_text("Too short. " * 100)
    return (f"--gt-corpus={tmp / 'short.txt'}",)


def binary_corpus(tmp: Path, checkpoint: Path) -> tuple[str, ...]:
    (tmp / "binary.txt").write_bytes(bytes(range(256)) * 500)
    return (f"--gt-corpus={tmp / 'binary.txt'}",)


def plain(*options: str) -> Make:
    return lambda tmp, checkpoint: tuple(
        option.format(tmp=tmp, checkpoint=checkpoint, model=MODEL) for option in options
    )


CASES: dict[str, tuple[Make, str]] = {
    "unknown model": (plain("--model=GF-MX"), "unknown model 'GF-MX': did you mean *GF-MH*"),
    "unknown scale": (plain("--model=GF-MH@9G"), "unknown scale '9G'*"),
    "unknown scale option": (plain("--model=GF-MH", "--gt-scale=9G"), "unknown scale '9G'*"),
    "missing checkpoint": (plain("--model={model}", "--ckpt={tmp}/none"), "no checkpoint at *none*"),
    "file for a checkpoint": (plain("--model={model}", "--ckpt={checkpoint}/config.json"), "*is no checkpoint*"),
    "truncated checkpoint": (truncated, "*model.safetensors is truncated*copy it again"),
    "another scale": (plain("--model=GF-MH@3.5M", "--ckpt={checkpoint}"), "*holds GF-MH@TINY*use --model GF-MH@TINY"),
    "another variant": (plain("--model=GF@TINY", "--ckpt={checkpoint}"), "*holds GF-MH@TINY*use --model GF-MH@TINY"),
    "no model named": (plain("--ckpt={checkpoint}"), "*holds GF-MH@TINY*use --model GF-MH@TINY"),
    "wrong tokenizer": (other_tokenizer, "*tokenizer.json has 260 tokens*1024*"),
    "carries code": (carries_code, "*evil.pt is refused*system*would run code*"),
    "vocabulary too small": (small_vocabulary, "*has 8192 tokens*embeds 1024*"),
    "models and checkpoints": (
        plain("--model=GF", "--model=GF-MH", "--ckpt={checkpoint}"),
        "--ckpt was given 1 times for 2 models*",
    ),
    "missing thresholds": (plain("--gt-checks={tmp}/none.yaml"), "*none.yaml*"),
    "malformed thresholds": (thresholds("version: 1\nchecks: [1, 2\n"), "*own.yaml:3: is not valid YAML*"),
    "wrong threshold": (
        thresholds(
            "version: 1\nchecks:\n  X1:\n    title: x\n    kind: gate\n    tier: minimal\n    requires: []\n"
            "    measures: x\n    remedy: x\n    bands:\n      default:\n        source: me\n"
            "        m: {pass: [low, 1]}\n"
        ),
        "*own.yaml*13*checks.X1.bands.default.m*",
    ),
    "unknown profile": (plain("--gt-profile=v9"), "--gt-profile v9: no such profile; expected one of default, v4"),
    "unknown device": (plain("--gt-device=tpu"), "*--gt-device*tpu*"),
    "unknown precision": (plain("--gt-dtype=int8"), "*--gt-dtype*int8*"),
    "seed that is no number": (plain("--gt-seed=x"), "*--gt-seed*x*"),
    "unknown fault": (plain("--gt-sabotage=gremlins"), "unknown sabotage 'gremlins'*"),
    "corpus too short": (short_corpus, "*short.txt: too short: got 1,100 characters*"),
    "corpus that is no text": (binary_corpus, "*binary.txt: not UTF-8*"),
    "missing corpus": (plain("--gt-corpus={tmp}/none.txt"), "*none.txt: no such file*"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_status_4(case: str, real: pytest.Pytester, checkpoint: Path, tmp_path: Path) -> None:
    make, message = CASES[case]
    options = make(tmp_path, checkpoint)
    earlier = real.path / "out.json"
    earlier.write_text("the scorecard of an earlier run")
    before = sorted(real.path.iterdir())
    result = real.runpytest("-m", "graduation", *options, "--scorecard", "out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.stderr.lines if line.strip()]
    result.stderr.fnmatch_lines([f"*{message}"])
    if not case.startswith(("unknown device", "unknown precision", "seed")):  # argparse adds its usage
        assert len(lines) == 1
    assert "Traceback" not in result.stderr.str() + result.stdout.str()
    assert earlier.read_text() == "the scorecard of an earlier run"
    assert sorted(real.path.iterdir()) == before
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("where", ["folder", "missing folder"])
def test_a_scorecard_that_cannot_be_written_is_found_first(real: pytest.Pytester, where: str) -> None:
    path = real.path if where == "folder" else real.path / "none" / "out.json"
    result = real.runpytest("-m", "graduation", "--scorecard", str(path))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --scorecard *"])


def test_a_kernel_that_does_not_exist_is_no_data_and_status_1(
    real: pytest.Pytester, subject_options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GT_KERNELS", "warp")
    result = real.runpytest("-k", "S0", *subject_options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(skipped=1)
    assert "GT_KERNELS=warp" in result.stdout.str() + result.stderr.str()
