"""What `groundthink train` reads from presets and the command line, and what it prints where nobody watches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gt.data.config import DataSource
from gt.data.shards import Progress
from gt.training.config import TrainConfig
from pytest_groundthink import cli
from pytest_groundthink.presets import preset_names
from pytest_groundthink.report.training import comparison_tables, live_table, run_and_report, watched_gates

LINE = {"step": 2, "loss": 5.0, "grad_norm": 1.0, "lr": 1e-3, "tokens_per_s": 9, "seconds": 1.0, "valid_loss": 5.5}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The settings of every run that was started; none trains anything."""
    seen: list[TrainConfig] = []

    def run(config: TrainConfig, report: Any, gates: Sequence[Any], progress: Any) -> Path:
        seen.append(config)
        report({**LINE, "warnings": ["step 2: G3: grad_norm is 9, outside 0.5-1.5"]})
        return Path(config.out)

    monkeypatch.setattr("gt.training.loop.train", run)
    return seen


def command(*arguments: str) -> int | str | None:
    """Exit status of `groundthink train` with arguments."""
    with pytest.raises(SystemExit) as ended:
        cli.app(["train", *arguments])
    return ended.value.code


def test_the_last_line_of_progress_ends_and_the_next_command_is_whole(
    ran: list[TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("a-folder-whose-name-is-longer-than-a-terminal-is-wide-" * 2)
    cli.train(config=TrainConfig(model="HGF@TINY", corpus=("x.txt",), out=str(out), steps=2))
    assert capsys.readouterr().out.splitlines() == [
        "step 2/2  loss 5.000  gradient norm 1.00  lr 1.0e-03  9 tokens/s  validation loss 5.500",
        "  step 2: G3: grad_norm is 9, outside 0.5-1.5",
        f"checkpoint: {out}",
        f"judge it:   pytest -m graduation --model HGF@TINY --ckpt {out} --scorecard out.json",
    ]


def test_the_command_line_goes_over_the_preset(ran: list[TrainConfig], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "lr: 1e-3\nsteps: 7\nmodel: HY@TINY\ntokenizer: null\nmamba_warmup_ratio: 0.2\nresume: true\n"
        "data:\n- prose.txt\n- {path: more.txt, weight: 2, start: document}\n"
        "valid: [held-out.txt, {path: 'conversations:', seed: 1}]\n"
    )
    assert not command(str(own), "--steps", "9", "--no-resume", "--dtype", "bfloat16")
    assert ran == [
        TrainConfig(
            **{"lr": 1e-3, "steps": 9, "model": "HY@TINY", "mamba_warmup_ratio": 0.2, "dtype": "bfloat16"},
            data=(DataSource(path="prose.txt"), DataSource(path="more.txt", weight=2.0, start="document")),
            valid=(DataSource(path="held-out.txt"), DataSource(path="conversations:", seed=1)),
        )
    ]
    assert not command("--preset", str(own), "--data", '[{"path": "other.txt"}]')
    assert ran[1].data == (DataSource(path="other.txt"),)
    assert not command(str(own), "--valid", "one.txt", "--valid", '{"path": "conversations:", "seed": 2}')
    assert ran[2].valid == (DataSource(path="one.txt"), DataSource(path="conversations:", seed=2))


def test_presets_are_found_by_name_and_every_one_makes_sense(ran: list[TrainConfig]) -> None:
    assert preset_names() == ["125M", "3.5M", "30M", "8M-50k", "canary", "quick"]
    for name in preset_names():
        assert not command(name.lower())
        ran[-1].check()
        assert ran[-1] != TrainConfig()
    assert (ran[3].steps, ran[3].batch_size * ran[3].accumulate, ran[3].lr) == (50_000, 128, 3e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 5\ncolour: red\n", ":2: colour: there is no such setting: groundthink train --help"),
        ("stpes: 5\n", ":1: stpes: there is no such setting: did you mean steps?"),
        ("lr: 1\nsteps: many\n", ":2: steps: expected `int`, got `str`"),
        ("dtype: fp8\n", ":1: dtype: invalid enum value 'fp8'"),
        ("steps: 1.5\n", ":1: steps: expected `int`, got `float`"),
        ("valid:\n- path: a.txt\n  wieght: 2\n", ":3: valid.0.wieght: there is no such setting: did you mean weight?"),
        ("data: prose.txt\n", ":1: data: expected a list of paths"),
        ("data:\n- path: a.txt\n  wieght: 2\n", ":3: data.0.wieght: there is no such setting: did you mean weight?"),
        ("data:\n- path: a.txt\n  weight: -2\n", "data.0: weight of a.txt is -2.0: expected a number above 0"),
        ("steps: 1\nsteps: 2\n", ":2: steps: the key is there twice"),
        ("- steps\n", "expected a mapping, got a list"),
        ("steps: [\n", "is not valid YAML"),
    ],
)
def test_a_preset_that_does_not_fit_is_one_line_with_file_line_and_key(
    ran: list[TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    assert command(str(path)) == 4
    error = capsys.readouterr().err
    assert error.startswith(f"groundthink train: {path}")
    assert message in error
    assert error.count("\n") == 1
    assert not ran


def test_an_unknown_preset_and_a_bad_setting_end_with_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("4M") == 4
    assert "no preset '4M': expected a YAML file or one of 125M, 3.5M, 30M" in capsys.readouterr().err
    assert command("quick", "--corpus", "none.txt") == 4
    assert "none.txt: no such file" in capsys.readouterr().out
    assert command("quick", "--corpus", "x", "--seeds", "3") == 4
    assert "seeds is 3: expected 1, or more together with compare" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("train", "quick", "--steps", "many"), '--steps: unable to convert "many" into int'),
        (("train", "quick", "--dtype", "fp8"), "fp8"),
        (("train", "quick", "--colour", "red"), "--colour"),
        (("trian",), "trian"),
    ],
    ids=str,
)
def test_a_command_line_that_does_not_fit_is_one_line_and_4(
    ran: list[TrainConfig],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["groundthink", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 4
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("groundthink: ")
    assert problem in printed.err
    assert not ran


def test_an_interruption_says_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gt.training.loop.train", interrupted)
    assert command("quick", "--corpus", "x", "--out", str(tmp_path)) == 130
    assert "groundthink train: interrupted; what was saved before is kept" in capsys.readouterr().out


def test_a_terminal_shows_the_last_line_of_every_run_and_the_latest_warnings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(
        models: tuple[str, ...], config: TrainConfig, seeds: int, report: Any, gates: Sequence[Any], progress: Any
    ) -> Any:
        progress(Progress(source="prose.txt", done=1, total=4, tokens=1234))
        progress(Progress(source="prose.txt", done=2, total=4, tokens=2345))
        assert (models, seeds) == (("A", "B"), 2)
        for step in range(1, 8):
            report({**LINE, "model": "A", "seed": 0, "step": step, "warnings": [f"step {step}: spike"]})
        report({**LINE, "model": "B", "seed": 0, "step": 3})
        return {"table": [{"model": "A", "valid_loss": 4.5}, {"model": "B", "valid_loss": 4.25}]}

    monkeypatch.setattr("gt.training.compare.compare_models", run)
    console = Console(force_terminal=True, width=200, record=True)
    run_and_report(TrainConfig(out=str(tmp_path), steps=8), ("A", "B"), 2, console)
    shown = console.export_text()
    assert "7/8" in shown
    assert "3/8" in shown
    assert "A 0 step 7: spike" in shown
    assert shown.count("tokenising prose.txt: 25%, 1,234 tokens") == 1
    assert "2,345" not in shown
    assert shown.split("step 7: spike")[-1].count("spike") == 0
    assert [line.split() for line in shown.splitlines()[-4:-1]] == [
        ["model", "validation"],
        ["A", "4.500"],
        ["B", "4.250"],
    ]


def test_findings_stand_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    command("--help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for finding in ("O8: 1.0 in place of 0.5", "O10: 10 raised the loss", "O11: 0.4 falling to 0.1", "O9: 10%"):
        assert finding in shown


def test_a_run_is_watched_with_the_bands_of_the_checks() -> None:
    bands = {gate.value: (gate.check, gate.passes) for gate in watched_gates()}
    assert bands == {"grad_norm": ("G3", (0.5, 1.5)), "rm_ratio": ("G4", (0.3, 3.0))}


def test_tables_show_what_is_missing_as_a_dash() -> None:
    console = Console(width=250, record=True)
    console.print(live_table({"": {**LINE, "grad_norm": None, "gate_mean": [0.25, 0.35], "rm_ratio": 0.1}}, 4))
    rows = [
        {"model": "A", "parameters": 5000, "loss": 1.25, "loss_ratio": 1.0, "rm_ratio": 0.5},
        {"model": "B", "parameters": 6000, "loss": None, "loss_ratio": None, "failed": "loss is nan at step 3"},
    ]
    console.print(*comparison_tables(rows))
    text = console.export_text()
    live = text.splitlines()[1].split()
    assert live == ["2/4", "5.000", "5.500", "-", "-", "1.0e-03", "0.10", "-", "0.30", "9", "0:01", "-"]
    assert text.splitlines()[4].split() == ["B", "6,000", "-", "-"]
    assert text.splitlines()[-2:] == ["model  gradients R/M  ", "A               0.50  "]
    assert "B: loss is nan at step 3" in text
    assert "seconds" not in text
