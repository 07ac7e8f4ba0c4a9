"""`groundthink models`: what can be named, with sizes, at once and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gt import registry
from pytest_groundthink.cli import app
from pytest_groundthink.listing import list_models

SCALES = list(dict.fromkeys(registry.scale_names().values()))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        app(["models", *arguments])
    assert not ended.value.code
    return capsys.readouterr().out


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from pytest_groundthink.cli import app\n"
        "try:\n    app(['models', '--all'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "HGF-RH@125M" in done.stdout


@pytest.mark.parametrize("columns", ["80", "130"])
def test_every_variant_at_the_default_scale_and_every_scale_by_name(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    printed = run(capsys)
    assert all(f"{variant}@3.5M " in printed for variant in registry.VARIANTS)
    assert all(f" {scale} " in printed for scale in SCALES)
    assert all(f"{alias} = " in printed for alias in registry.ALIASES)
    assert "rwkv6:PATH (RWKV-6 x060) or mamba2:PATH (Mamba-2)" in printed
    assert "\u2026" not in printed, "something was cut off"
    assert ("4,164,840" if columns == "130" else "4.2 M") in printed


def test_one_scale_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, "--scale", "8m")
    assert "GF-MH@8M " in printed
    assert "GF-MH@3.5M " not in printed
    printed = run(capsys, "--all")
    assert all(f"{variant}@{scale} " in printed for variant in registry.VARIANTS for scale in SCALES)


def test_json_has_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    found = {model["model"]: model for model in json.loads(run(capsys, "--json", "--all"))}
    assert len(found) == len(registry.VARIANTS) * len(SCALES)
    hybrid, transformer = found["GF-MH@3.5M"], found["GPT2@3.5M"]
    assert hybrid["parameters"] == {"total": 4_164_840, "non_embedding": 3_116_264}
    assert hybrid["state"] == {"numbers": 174_080, "bytes": 696_320}
    assert hybrid["cache_per_token"]["numbers"] == 0
    assert transformer["state"]["numbers"] == 0
    assert transformer["cache_per_token"] == {"numbers": 2_880, "bytes": 11_520}
    assert hybrid["flops_per_token"] == pytest.approx(2 * hybrid["parameters"]["total"], rel=0.15)
    assert "kernels" not in transformer["capabilities"]


def test_an_unknown_scale_is_one_line_and_status_4(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["models", "--scale", "9G"])
    assert ended.value.code == 4
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_an_alias_of_a_scale_lists_the_scale() -> None:
    assert {model["scale"] for model in list_models("5m", every_scale=False)} == {"3.5M"}


@pytest.mark.parametrize("arguments", [["models"], ["checks"]])
def test_whoever_has_read_enough_ends_it_without_a_word(arguments: list[str]) -> None:
    unread, output = os.pipe()
    os.close(unread)
    code = f"import sys; from pytest_groundthink.cli import main; sys.argv[1:] = {arguments}; main()"
    ended = subprocess.run([sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, check=False)
    os.close(output)
    assert (ended.returncode, ended.stderr) == (1, b"")
