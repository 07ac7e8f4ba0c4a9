"""When the plugin is there, when it is not, and that it is no burden to a foreign project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_groundthink.options import selects

REQUIRED = (
    "G0 G1a G1b G1c G1d G1e G2 G3 G3.5 G4 S0 S1 S2 S3 S4 D1 D2 D3 D4 L1 L2 L3 C1a C1b-lite"  # at 3.5M
).split()
ALL_IDS = [*REQUIRED, *"D1-long D5 D6 D7 Q1 L4 L5 LRD LRD-1M NIAH NIAH-16K C1b C1c C1d C4a C5a".split()]


@pytest.fixture
def foreign(quick: pytest.Pytester) -> pytest.Pytester:
    """A project that knows nothing of us."""
    quick.makepyfile("def test_it(): pass")
    return quick


def ids(result: pytest.RunResult) -> set[str]:
    """Check ids in the output of --collect-only -q."""
    return {line.rpartition("[")[2].partition("-GF-MH@")[0] for line in result.outlines if "-GF-MH@3.5M]" in line}


def test_importing_the_plugin_loads_nothing_heavy(foreign: pytest.Pytester) -> None:
    code = """
import sys, pytest
before = set(sys.modules)
assert pytest.main(["-q", "-p", "no:jsonreport"]) == 0
heavy = "torch numpy msgspec yaml rich matplotlib gt pytest_groundthink.session".split()
print("loaded", sorted(name for name in heavy if name in sys.modules))
print("known", "pytest_groundthink.plugin" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded []" in done.stdout
    assert "known True" in done.stdout


def test_a_foreign_project_sees_no_word_of_us(foreign: pytest.Pytester) -> None:
    result = foreign.runpytest("-Werror", "--strict-markers")
    result.assert_outcomes(passed=1)
    assert "groundthink" not in "\n".join(line for line in result.outlines if not line.startswith("plugins:"))


def test_disabled_it_is_gone_without_a_trace(foreign: pytest.Pytester) -> None:
    foreign.runpytest("-p", "no:groundthink").assert_outcomes(passed=1)
    result = foreign.runpytest("-p", "no:groundthink", "--model", "GF-MH")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*unrecognized arguments*--model*"])
    result = foreign.runpytest("-p", "no:groundthink", "--markers")
    result.stdout.no_fnmatch_line("*groundthink*")
    result = foreign.runpytest("-p", "no:groundthink", "--fixtures")
    result.stdout.no_fnmatch_line("*judge*")


def test_the_tests_of_this_project_are_collected_without_the_plugin() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:groundthink", "-q", "--co", str(root / "tests/pytest_groundthink")],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_another_owner_of_a_short_name_keeps_it(judged: pytest.Pytester) -> None:
    conftest = judged.path / "conftest.py"
    conftest.write_text(
        conftest.read_text(encoding="utf-8")
        + "\n\ndef pytest_addoption(parser): parser.addoption('--model', type=int, default=0)\n",
        encoding="utf-8",
    )
    judged.makepyfile("def test_it(request): assert request.config.getoption('--model') == 3")
    judged.runpytest("--model", "3", "-Werror").assert_outcomes(passed=1)
    judged.runpytest("--model=3", "--gt-model=GF-MH", judged.path).assert_outcomes(passed=1, warnings=1)
    result = judged.runpytest("--model=3", "--gt-model=NONE", judged.path)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*unknown model 'NONE'*"])


def test_a_marker_of_the_project_itself_is_not_ours(foreign: pytest.Pytester) -> None:
    foreign.makeini("[pytest]\nmarkers =\n  gate: of this project\n")
    foreign.makepyfile("import pytest\n@pytest.mark.gate\ndef test_it(): pass")
    foreign.runpytest("-m", "gate", "--strict-markers").assert_outcomes(passed=1)
    foreign.makeini("[pytest]\n")
    foreign.makepyfile("def test_it(): pass")
    foreign.runpytest("-m", "not canary").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("expression", "asks"),
    [
        ("gate", True),
        ("gate and not canary", True),
        ("slow or gate", True),
        ("not gate", False),
        ("not (gate or canary)", False),
        ("slow", False),
        ("", False),
        ("gate and", False),
        ("delegate", False),
    ],
)
def test_expressions_that_ask_for_us(expression: str, asks: bool) -> None:
    assert selects(expression, {"gate", "canary"}) is asks


@pytest.mark.parametrize("how", [["--ckpt", "{}"], ["--ckpt={}"], ["--gt-ckpt", "{}"]])
def test_the_suites_are_collected_for_a_checkpoint_anywhere(
    judged: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory, how: list[str]
) -> None:
    outside = tmp_path_factory.mktemp("checkpoint")
    judged.makepyfile("def test_of_the_project(): pass")
    plugin = judged.path / "conftest.py"
    plugin.rename(judged.path / "stand_in.py")  # with a bare path pytest takes the folder for its root: no conftest
    judged.syspathinsert()
    result = judged.runpytest(
        "-p", "stand_in", "-m", "graduation", *(part.format(outside) for part in how), "--co", "-q"
    )
    assert result.ret == 0, result.stdout.str()
    assert ids(result) == set(REQUIRED)
    result.stdout.no_fnmatch_line("*test_of_the_project*")


def test_a_given_path_is_respected(judged: pytest.Pytester) -> None:
    judged.makepyfile("def test_of_the_project(): pass")
    judged.runpytest("--gt-model", "GF-MH", judged.path).assert_outcomes(passed=1)


def test_options_are_in_the_help(foreign: pytest.Pytester) -> None:
    text = foreign.runpytest("--help").stdout.str()
    for option in ("--model", "--ckpt", "--scorecard", "--gt-profile", "--gt-sabotage", "--gt-fail-on"):
        assert option in text


def test_suites_ask_for_every_check_once(judged: pytest.Pytester) -> None:
    result = judged.runpytest("--gt-device=cpu", "--co", "-q", "-Werror", "--strict-markers")
    assert result.ret == 0
    assert ids(result) == set(ALL_IDS)
    result.stdout.fnmatch_lines([f"{len(ALL_IDS)} tests collected*"])


def test_verdicts_are_plain_json(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        """
        from gt.measurement import Measurement
        from pytest_groundthink import check

        @check("G1a")
        def test_it(subject, judge, request):
            judge(Measurement(metric="good_share", value=1.0))
            ((name, value),) = request.node.user_properties
            assert name == "groundthink"
            assert type(value) is str
        """
    )
    judged.runpytest("--json-report").assert_outcomes(passed=1)
    json.loads((judged.path / ".report.json").read_text(encoding="utf-8"))
