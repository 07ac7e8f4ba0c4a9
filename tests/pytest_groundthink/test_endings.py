"""How runs end: usage errors, interruptions, and what the reports of other plugins carry."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from tests.pytest_groundthink.projects import ALL_PASS, STATUSES, asking, read, statuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model=NONE"], "unknown model 'NONE': nearest is GF-MH"),
        (["--ckpt=missing"], "checkpoint missing does not exist"),
        (["--model=HY", "--ckpt=a", "--ckpt=b"], "--ckpt was given 2 times for 1 models"),
        (["--scorecard=none/out.json"], "does not exist; create it first"),
        (["--scorecard=."], "is a folder"),
        (["--gt-profile=strict"], "no such profile; expected one of default, v4"),
        (["--gt-checks=none.yaml"], "none.yaml: cannot be read"),
        (["--gt-checks=bad.yaml"], "bad.yaml:1: version: expected 1, got 3"),
        (["--gt-scale=3B", "-m", "graduation"], "name one with --gt-scale (0.3M, TINY, 1M"),
        (["--gt-device=tpu"], "invalid choice: 'tpu'"),
        (["--gt-dtype=int8"], "invalid choice: 'int8'"),
        (["--gt-fail-on=never"], "invalid choice: 'never'"),
        (["--gt-seed=x"], "invalid int value: 'x'"),
    ],
)
def test_usage_errors_are_one_line_and_exit_4(judged: pytest.Pytester, arguments: list[str], says: str) -> None:
    judged.makepyfile(ALL_PASS)
    (judged.path / "bad.yaml").write_text("version: 3\nchecks: {}\n", encoding="utf-8")
    result = judged.runpytest(*arguments, judged.path)
    assert result.ret == 4
    (line,) = [line for line in result.stderr.lines if says in line]
    assert "rror: " in line.replace("ERROR", "error")
    assert "Traceback" not in result.stderr.str()


def test_an_unknown_check_is_a_collection_error(judged: pytest.Pytester) -> None:
    judged.makepyfile(asking({"G99": "pass"}))
    result = judged.runpytest()
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*no check 'G99': expected one of G0, G1a*"])


def test_a_check_asked_for_twice_is_a_usage_error(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS + '    @check("G1a")\n    def test_again(subject, judge): pass\n')
    result = judged.runpytest()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*check G1a is asked for twice*"])


def test_ctrl_c_writes_what_there_is(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        asking(
            {
                "G1a": 'judge(M(metric="good_share", value=1.0))',
                "G1b": "raise KeyboardInterrupt",
                "S0": 'judge(M(metric="good_share", value=1.0))',
            }
        )
    )
    result = judged.runpytest_inprocess("-m", "graduation", "--scorecard=out.json", judged.path, no_reraise_ctrlc=True)
    assert result.ret == 2
    card = read(judged)
    assert statuses(card) == {"G1a": "PASS", "G1b": "NODATA", "S0": "NODATA"}
    assert card["checks"][2]["reason"] == "not run: interrupted"
    assert (card["summary"]["complete"], card["summary"]["reported"], card["summary"]["collected"]) == (False, 1, 3)
    assert card["decision"]["outcome"] == "HOLD"
    result.stdout.fnmatch_lines(["*INCOMPLETE: the run was cut short*"])


def test_stopping_at_the_first_failure_is_incomplete(judged: pytest.Pytester) -> None:
    judged.makepyfile(STATUSES)
    judged.runpytest("-x", "--gt-scorecard=out.json", judged.path)
    card = read(judged)
    assert not card["summary"]["complete"]
    assert any(check["reason"].startswith("not run: stopping after 1 failures") for check in card["checks"])


def test_json_report_is_enriched(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS + "    def test_other(): pass\n")
    judged.runpytest("-m", "graduation", "--scorecard=out.json", "--json-report", judged.path)
    report = json.loads((judged.path / ".report.json").read_text(encoding="utf-8"))
    assert report["exitcode"] == 1
    first = report["tests"][0]["groundthink"]
    assert (first["id"], first["status"], first["measurements"][0]["value"]) == ("G1a", "PASS", 1.0)
    assert [one["subject"] for one in report["groundthink"]] == ["GF-MH@3.5M"]
    assert report["groundthink"][0]["decision"]["outcome"] == "HOLD"
    assert report["groundthink"][0]["summary"]["counts"]["PASS"] == 3


def test_junit_properties_carry_the_verdict(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("--junitxml=out.xml", judged.path)
    cases = ElementTree.parse(judged.path / "out.xml").findall(".//testcase")
    values = [prop.get("value", "") for case in cases for prop in case.findall("./properties/property")]
    assert [json.loads(value)["status"] for value in values] == ["PASS"] * 3


def test_collect_only_judges_and_writes_nothing(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest("--collect-only", "-q", "-m", "graduation", "--scorecard=out.json", judged.path)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*::test_a?G1a-GF-MH@3.5M?"])
    assert not (judged.path / "out.json").exists()
    result.stdout.no_fnmatch_line("*groundthink*")


def test_a_scorecard_that_can_no_longer_be_written_says_so(judged: pytest.Pytester) -> None:
    judged.mkdir("gone")
    judged.makepyfile(ALL_PASS + '    def test_last():\n        import shutil; shutil.rmtree("gone")\n')
    result = judged.runpytest("--scorecard=gone/out.json", judged.path)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["the scorecard *out.json could not be written: No such file or directory"])
