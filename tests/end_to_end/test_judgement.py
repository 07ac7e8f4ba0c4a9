"""Real sessions about a real, healthy model: verdicts, decision, workers, options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gt.resources import fixtures_dir

from .conftest import MODEL, card, statuses

SCHEMA = json.loads((fixtures_dir().parent / "docs" / "scorecard.schema.json").read_text(encoding="utf-8"))


def test_a_healthy_model_passes_and_its_true_verdict_is_hold(
    real: pytest.Pytester, subject_options: tuple[str, ...]
) -> None:
    result = real.runpytest("-m", "graduation", *subject_options, "--scorecard", "out.json")
    scored = card(real)
    found = statuses(scored)
    checks = "G0 G1a G1b G1c G1d G1e G2 G3 G3.5 G4 S0 S1 S2 S3 S4 D1 D2 D3 D4 L1 L2 L3 L4 R1 C1a C1b-lite"
    assert list(found) == checks.split()
    told = {check["id"]: check["reason"] for check in scored["checks"]}
    for id_, status in found.items():
        if id_.startswith("C1"):
            assert status == "FAIL", told[id_]
        # G0: no compiler. The others: RWKV's share is small in every model of this kind, and after 150 steps of 64
        # tokens its state is worth little yet, and the first of 256 tokens are nearly forgotten.
        elif id_ in ("G0", "G3", "G4", "D1", "D3", "D4"):
            assert status in ("PASS", "WARN"), told[id_]
        elif id_ == "R1":  # its time is measured beside other tests
            assert status != "NODATA", told[id_]
        else:
            assert status == "PASS", told[id_]
    assert result.ret == 1
    decision = scored["decision"]
    assert (decision["outcome"], decision["from_scale"], decision["to_scale"]) == ("HOLD", "TINY", None)
    assert decision["categories"]["architecture stability"]["score"] > 0
    assert decision["categories"]["canary performance"]["score"] == 0
    assert any(blocker.startswith("C1a") for blocker in decision["blockers"])
    assert scored["summary"]["complete"]
    assert scored["summary"]["collected"] == scored["summary"]["reported"] == len(found)

    subject = scored["subject"]
    assert (subject["label"], subject["scale"], subject["dtype"]) == (MODEL, "TINY", "float32")
    assert subject["checkpoint"]["step"] == 150
    assert subject["checkpoint"]["tokens"] == 150 * 8 * 64
    assert subject["tokenizer"]["vocab_size"] == 1024
    mixers = {"wkv6", "ssd", "causal_conv1d"}
    assert set(subject["kernels"]) == mixers | {"token_mix", "rms_norm", "gated_group_norm", "cross_entropy"}
    assert subject["corpus"]["name"].startswith("python-reference")
    assert subject["sabotage"] is None
    assert {"python", "torch", "threads", "cpu"} <= scored["provenance"]["environment"].keys()
    rate = next(m for c in scored["checks"] if c["id"] == "C1a" for m in c["measurements"] if m["name"] == "rate")
    assert rate["n"] == 400
    assert rate["ci95"][0] <= rate["value"] <= rate["ci95"][1] < 0.5
    result.stdout.fnmatch_lines([f"*groundthink: {MODEL}*", "G1a*PASS*", "C1a*FAIL*", "*HOLD*"])


def test_the_published_schema_is_the_one_in_use(real: pytest.Pytester, subject_options: tuple[str, ...]) -> None:
    import jsonschema

    real.runpytest("-k", "S0", *subject_options, "--scorecard=out.json")
    jsonschema.validate(json.loads((real.path / "out.json").read_text()), SCHEMA)


def comparable(value: Any) -> Any:
    """Without what may differ between two runs: times, the command line, and what came from the cache."""
    if isinstance(value, dict):
        dropped = {"created", "duration_s", "command_line", "cached", "content_sha256"}
        return {key: comparable(entry) for key, entry in value.items() if key not in dropped}
    return [comparable(entry) for entry in value] if isinstance(value, list) else value


def test_two_workers_give_the_same_scorecard(real: pytest.Pytester, subject_options: tuple[str, ...]) -> None:
    chosen = ("-m", "graduation", "-k", "not C1b-lite", *subject_options)  # one canary says what two would
    alone = real.runpytest_subprocess(*chosen, "--scorecard=a.json", "-n0")
    together = real.runpytest_subprocess(*chosen, "--scorecard=b.json", "-n2")
    assert alone.ret == together.ret == 1
    assert comparable(card(real, "a.json")) == comparable(card(real, "b.json"))


def test_bf16_is_judged_by_its_own_band(real: pytest.Pytester, subject_options: tuple[str, ...]) -> None:
    real.runpytest("-k", "G1a or G1c or S1 or S3", *subject_options, "--gt-dtype=bfloat16", "--scorecard=out.json")
    scored = card(real)
    assert scored["subject"]["dtype"] == "bfloat16"
    assert set(statuses(scored).values()) == {"PASS"}, scored["checks"]
    (recurrence,) = (check for check in scored["checks"] if check["id"] == "G1c")
    assert recurrence["measurements"][0]["name"] == "recurrence_error_bfloat16"
    assert recurrence["threshold"]["pass"] == {"recurrence_error_bfloat16": [0.0, 0.02]}


def test_the_users_own_text_is_used_and_recorded(
    real: pytest.Pytester, subject_options: tuple[str, ...], corpus: Path
) -> None:
    own = real.path / "own.txt"
    own.write_text(corpus.read_text(encoding="utf-8")[:200_000], encoding="utf-8")
    real.runpytest("-k", "L2 or S2", *subject_options, f"--gt-corpus={own}", "--scorecard=own.json")
    real.runpytest("-k", "L2 or S2", *subject_options, "--scorecard=reference.json")
    mine, theirs = card(real, "own.json"), card(real, "reference.json")
    assert mine["subject"]["corpus"]["name"] == "own.txt"
    assert mine["subject"]["corpus"]["sha256"] != theirs["subject"]["corpus"]["sha256"]
    assert set(statuses(mine).values()) == {"PASS"}
    assert mine["checks"][0]["measurements"] != theirs["checks"][0]["measurements"]


@pytest.mark.parametrize(("option", "status", "code"), [((), "WARN", 0), (("--gt-require-kernels",), "FAIL", 1)])
def test_forced_slow_kernels_are_named(
    real: pytest.Pytester,
    subject_options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    option: tuple[str, ...],
    status: str,
    code: int,
) -> None:
    monkeypatch.setenv("GT_KERNELS", "reference")
    result = real.runpytest("-k", "G0", *subject_options, *option, "--scorecard=out.json")
    scored = card(real)
    assert statuses(scored) == {"G0": status}
    assert "wkv6 runs on reference (forced by GT_KERNELS)" in scored["checks"][0]["reason"]
    assert {entry["backend"] for entry in scored["subject"]["kernels"].values()} == {"reference"}
    assert result.ret == code


def test_two_models_give_two_scorecards(real: pytest.Pytester) -> None:
    result = real.runpytest(
        "-k", "G1a or S0 or L2", f"--model={MODEL}", "--model=rwkv6@tiny", "--gt-device=cpu", "--scorecard=out.json"
    )
    hybrid, alone = card(real, "out.GF-MH@TINY.json"), card(real, "out.RWKV6@TINY.json")
    assert statuses(hybrid) == statuses(alone) == {"G1a": "PASS", "S0": "PASS", "L2": "NODATA"}
    assert [check["applicable"] for check in hybrid["checks"]] == [True] * 3
    assert "give --ckpt" in hybrid["checks"][-1]["reason"]
    assert hybrid["subject"]["checkpoint"] is None
    assert result.ret == 0
    assert not (real.path / "out.json").exists()


def test_a_single_mixer_is_not_asked_about_balance(real: pytest.Pytester) -> None:
    real.runpytest("-k", "G4 or S0", "--model=rwkv6@tiny", "--gt-device=cpu", "--scorecard=out.json")
    scored = card(real)
    assert statuses(scored) == {"G4": "NODATA", "S0": "PASS"}
    assert {check["id"]: check["applicable"] for check in scored["checks"]} == {"G4": False, "S0": True}


def test_an_earlier_measurement_is_used_again_and_said_to_be(
    real: pytest.Pytester, subject_options: tuple[str, ...]
) -> None:
    for _ in range(2):
        started = time.process_time()  # by the clock it depends on what else the machine does
        real.runpytest("-k", "G3 and not G3.5", *subject_options, "--scorecard=out.json")
        seconds = time.process_time() - started
    (check,) = card(real)["checks"]
    assert check["cached"]
    assert check["status"] in ("PASS", "WARN")
    assert seconds < 10


def test_the_shipped_checkpoint_loads_and_is_sound(real: pytest.Pytester) -> None:
    result = real.runpytest("-k", "S3 or G1b", "--gt-device=cpu", "--scorecard=out.json")
    scored = card(real)
    assert scored["subject"]["label"] == "GF-MH@3.5M"
    assert scored["subject"]["checkpoint"]["step"] > 0
    assert statuses(scored) == {"G1b": "PASS", "S3": "PASS"}
    assert result.ret == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_writes_what_there_is(real: pytest.Pytester, subject_options: tuple[str, ...], tmp_path: Path) -> None:
    environment = os.environ | {"GT_CACHE_DIR": str(tmp_path / "cache"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    command = [sys.executable, "-m", "pytest", "-m", "gate", *subject_options, "--scorecard=out.json"]
    run = subprocess.Popen(
        command,
        cwd=real.path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would the child of tests that run in one.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "cache").glob("mini-training-*.lock")):  # G3 has begun
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    scored = card(real)
    found = statuses(scored)
    assert not scored["summary"]["complete"]
    assert scored["summary"]["reported"] < scored["summary"]["collected"]
    assert [found[id_] for id_ in ("G1a", "G1b", "G2")] == ["PASS"] * 3
    assert (found["G3"], found["G4"]) == ("NODATA", "NODATA")
    reasons = {check["id"]: check["reason"] for check in scored["checks"]}
    assert "interrupted" in reasons["G3"]
    assert not list((tmp_path / "cache").glob("*.safetensors"))
