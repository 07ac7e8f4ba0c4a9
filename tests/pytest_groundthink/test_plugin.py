"""Sessions of real pytest with a fake subject: statuses, options, selection, reports."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from pytest_groundthink import scorecard

VALIDATOR = jsonschema.Draft202012Validator(json.loads(scorecard.schema()))
HEAD = """
    import pytest
    from gt.measurement import Measurement as M, Unmeasurable
    from pytest_groundthink import check
"""
STATUSES = (
    HEAD
    + """
    @check("G1a")
    def test_pass(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("G2")
    def test_pass_but_not_in_v4(subject, judge):
        judge((M(metric="entropy_share", value=0.99), M(metric="entropy_nats", value=8.9)))

    @check("G4")
    def test_warn(subject, judge):
        judge(M(metric="grad_ratio", value=0.12))

    @check("G1b")
    def test_fail(subject, judge):
        judge(M(metric="future_leak", value=0.5, note="worst: token 7"))

    @check("G1d")
    def test_not_finite(subject, judge):
        judge(M(metric="batch_error", value=None, note="value is nan"))

    @check("S0")
    def test_unmeasurable(subject, judge):
        raise Unmeasurable("nothing there")

    @check("S3")
    def test_not_judged(subject, judge):
        judge(M(metric="something_else", value=1.0))
"""
)
ALL_PASS = (
    HEAD
    + """
    @check("G1a")
    def test_a(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("S0")
    def test_b(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("C1a")
    def test_c(subject, judge):
        judge(M(metric="rate", value=0.99, n=400, ci95=(0.97, 1.0)))
"""
)


def read(pytester: pytest.Pytester, name: str = "out.json") -> dict[str, Any]:
    card: dict[str, Any] = json.loads((pytester.path / name).read_text(encoding="utf-8"))
    VALIDATOR.validate(card)
    return card


def statuses(card: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in card["checks"]}


def test_statuses_outcomes_and_scorecard(judged: pytest.Pytester) -> None:
    judged.makepyfile(STATUSES)
    result = judged.runpytest("--gt-scorecard", "out.json", "-rs", "test_statuses_outcomes_and_scorecard.py")
    result.assert_outcomes(passed=3, failed=2, skipped=2)
    assert result.ret == 1
    card = read(judged)
    assert statuses(card) == {
        "G1a": "PASS",
        "G1b": "FAIL",
        "G1d": "FAIL",
        "G2": "PASS",
        "G4": "WARN",
        "S0": "NODATA",
        "S3": "NODATA",
    }
    by_id = {check["id"]: check for check in card["checks"]}
    assert by_id["G2"]["profiles"] == {"v4": "FAIL"}
    assert by_id["S0"]["reason"] == "nothing there"
    assert not by_id["S0"]["error"]
    assert by_id["S3"]["reason"] == "none of max_difference was measured"
    assert by_id["G1b"]["reason"] == "leak from the future 0.5, needs <= 1e-05; worst: token 7"
    assert by_id["G1b"]["threshold"] == {
        "pass": {"future_leak": [0.0, 1e-05]},
        "warn": {},
        "source": "[P]",
        "combine": "worst",
    }
    assert card["summary"] == {
        "counts": {"PASS": 2, "WARN": 1, "FAIL": 2, "NODATA": 2},
        "collected": 7,
        "reported": 7,
        "complete": True,
    }
    assert card["subject"]["params"] == {"total": 4_200_000, "non_embedding": 3_100_000}
    assert card["provenance"]["environment"]["torch"] == "2.13.0"
    assert card["decision"] is None
    result.stdout.fnmatch_lines(["*groundthink: GF-MH@3.5M*", "G1b*FAIL*0.5*<= 1e-05*", "scorecard: *out.json"])


def test_user_tests_need_no_option(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest()
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*groundthink: GF-MH@3.5M*"])


@pytest.mark.parametrize(("option", "code"), [([], 0), (["--gt-fail-on", "fail"], 0), (["--gt-fail-on", "warn"], 1)])
def test_warn_passes_unless_asked_otherwise(judged: pytest.Pytester, option: list[str], code: int) -> None:
    judged.makepyfile(
        HEAD + '    @check("G4")\n    def test_it(subject, judge): judge(M(metric="grad_ratio", value=0.12))\n'
    )
    assert judged.runpytest(*option, "--gt-device", "cpu", judged.path).ret == code


def test_a_check_that_raises_is_no_data_and_the_others_go_on(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        ALL_PASS
        + """
    @check("S1")
    def test_raises(subject, judge):
        raise RuntimeError("first line\\nsecond line")

    @check("S2")
    def test_never_judges(subject, judge):
        pass

    @check("S4")
    def test_judges_twice(subject, judge):
        judge(M(metric="min_variance_share", value=1.0))
        judge(M(metric="min_variance_share", value=1.0))
"""
    )
    result = judged.runpytest("--gt-scorecard=out.json", judged.path)
    result.assert_outcomes(passed=3, skipped=3)
    assert result.ret == 1
    by_id = {check["id"]: check for check in read(judged)["checks"]}
    assert by_id["S1"]["reason"] == "RuntimeError: first line second line"
    assert "never called judge()" in by_id["S2"]["reason"]
    assert "called twice" in by_id["S4"]["reason"]
    assert {by_id[id_]["status"] for id_ in ("S1", "S2", "S4")} == {"NODATA"}
    assert all(by_id[id_]["error"] for id_ in ("S1", "S2", "S4"))
    result.stdout.fnmatch_lines(["*S1 of GF-MH@3.5M raised*", "*RuntimeError: first line*"])


def test_a_subject_that_cannot_be_loaded_is_no_data_everywhere(
    judged: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = judged.path / "loads"
    monkeypatch.setenv("FAKE_LOADS", str(loads))
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest("--model", "UNLOADABLE", "--ckpt", judged.path, "--gt-scorecard=out.json", judged.path)
    assert result.ret == 1
    card = read(judged)
    assert set(statuses(card).values()) == {"NODATA"}
    assert card["checks"][0]["reason"] == "RuntimeError: the weights are gone"
    assert card["subject"]["model"] == "UNLOADABLE@3.5M"
    assert card["subject"]["params"] is None
    assert loads.read_text(encoding="utf-8").count("UNLOADABLE") == 1
    assert result.stdout.str().count("RuntimeError: the weights\n") == 1


def test_skips_and_failures_of_the_test_itself_are_no_data(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        HEAD
        + """
    @check("G1a")
    def test_skips(subject, judge):
        pytest.skip("not today")

    @check("G1b")
    def test_fails(subject, judge):
        pytest.fail("Timeout >1s")
"""
    )
    judged.runpytest("--gt-scorecard=out.json", judged.path)
    by_id = {check["id"]: check for check in read(judged)["checks"]}
    assert by_id["G1a"]["reason"] == "skipped by the test: not today"
    assert by_id["G1b"]["reason"] == "never judged: Failed: Timeout >1s"
    assert set(statuses(read(judged)).values()) == {"NODATA"}


def test_what_the_kind_lacks_is_not_required_and_not_loaded_for(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("--model=GPT2", "--gt-scorecard=out.json", "-m", "graduation", judged.path)
    card = read(judged)
    by_id = {check["id"]: check for check in card["checks"]}
    assert (by_id["S0"]["status"], by_id["S0"]["applicable"]) == ("NODATA", False)
    assert "lacks recurrent states" in by_id["S0"]["reason"]
    assert (by_id["C1a"]["status"], by_id["C1a"]["applicable"]) == ("NODATA", True)
    assert "give --ckpt" in by_id["C1a"]["reason"]
    blockers = card["decision"]["blockers"]
    assert not any(blocker.startswith("S0") for blocker in blockers)
    assert any(blocker.startswith("C1a") for blocker in blockers)


def test_a_character_model_is_held_by_its_tokenizer(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("--model=CHARS", "--gt-scorecard=out.json", "-m", "graduation", judged.path)
    assert any("lacks a subword tokenizer" in blocker for blocker in read(judged)["decision"]["blockers"])


def test_graduation_decides_holds_and_exits_with_1(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    result = judged.runpytest("-m", "graduation", "--scorecard", "out.json", judged.path)
    result.assert_outcomes(passed=3)
    assert result.ret == 1
    decision = read(judged)["decision"]
    assert (decision["outcome"], decision["from_scale"], decision["to_scale"]) == ("HOLD", "3.5M", "8M")
    assert any("D1 state divergence: is not part of this version yet" in blocker for blocker in decision["blockers"])
    result.stdout.fnmatch_lines(["*HOLD*3.5M to 8M*", "*Blockers*"])
    assert judged.runpytest("-m", "graduation", "--gt-fail-on", "fail", judged.path).ret == 0


def test_what_was_deselected_blocks(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("-m", "graduation and not canary", "--scorecard=out.json", judged.path)
    card = read(judged)
    assert "C1a" not in statuses(card)
    assert any(blocker.startswith("C1a") and "deselected" in blocker for blocker in card["decision"]["blockers"])


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("gate", "G1a"),
        ("state", "S0"),
        ("canary", "C1a"),
        ("gate or state", "G1a S0"),
        ("minimal", "G1a S0 C1a"),
        ("extended and not gate", "S0 C1a"),
        ("graduation", "G1a S0 C1a"),
    ],
)
def test_markers_select(judged: pytest.Pytester, expression: str, chosen: str) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("-m", expression, "--gt-scorecard=out.json", "--strict-markers", "-Werror", judged.path)
    assert " ".join(statuses(read(judged))) == chosen


def test_other_profile_judges(judged: pytest.Pytester) -> None:
    judged.makepyfile(STATUSES)
    judged.runpytest("--gt-profile=v4", "--gt-scorecard=out.json", judged.path)
    card = read(judged)
    by_id = {check["id"]: check for check in card["checks"]}
    assert by_id["G2"]["status"] == "FAIL"
    assert by_id["G2"]["profiles"] == {"default": "PASS"}
    assert by_id["G1b"]["reason"] == "profile v4 has no band for it"
    assert card["provenance"]["thresholds"]["profile"] == "v4"


def test_require_kernels_turns_a_fallback_into_fail(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        HEAD
        + """
    @check("G0")
    def test_it(subject, judge):
        judge((M(metric="ops_resolved", value=1.0), M(metric="ops_fastest", value=0.66)))
"""
    )
    assert judged.runpytest(judged.path).ret == 0
    assert judged.runpytest("--gt-require-kernels", judged.path).ret == 1


def test_own_checks_and_own_bands(judged: pytest.Pytester) -> None:
    judged.makefile(
        ".yaml",
        own="""
version: 1
checks:
  MY1:
    title: mine
    kind: synthetic
    tier: standard
    requires: []
    measures: Something.
    remedy: Nothing.
    bands:
      default:
        source: "[P]"
        speed: {pass: [10, null]}
""",
    )
    judged.makepyfile(
        HEAD + '    @check("MY1")\n    def test_it(subject, judge): judge(M(metric="speed", value=11.0))\n'
    )
    judged.runpytest("--gt-checks=own.yaml", "--gt-scorecard=out.json", judged.path).assert_outcomes(passed=1)
    assert statuses(read(judged)) == {"MY1": "PASS"}


def test_sabotage_and_seed_are_recorded(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("--gt-sabotage=dead-mamba", "--gt-seed=7", "--gt-scorecard=out.json", judged.path)
    card = read(judged)
    assert card["subject"]["label"] == "GF-MH@3.5M+dead-mamba"
    assert card["subject"]["sabotage"] == "dead-mamba"
    assert card["provenance"]["seed"] == 7


def test_several_subjects_have_a_scorecard_each_and_one_is_loaded_at_a_time(
    judged: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = judged.path / "loads"
    monkeypatch.setenv("FAKE_LOADS", str(loads))
    judged.makepyfile(ALL_PASS)
    judged.mkdir("a")
    judged.mkdir("b")
    models = ["--model=GF-MH", "--ckpt=a", "--model=HY@8M", "--ckpt=b"]
    result = judged.runpytest(*models, "--scorecard=out.json", judged.path)
    result.assert_outcomes(passed=6)
    assert loads.read_text(encoding="utf-8").split() == ["GF-MH@3.5M", "HY@8M"]
    assert read(judged, "out.GF-MH@3.5M.json")["subject"]["checkpoint"]["path"] == "a"
    assert read(judged, "out.HY@8M.json")["subject"]["checkpoint"]["path"] == "b"


def test_the_same_model_twice_gets_two_labels(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("--model=GF-MH", "--model=GF-MH", "--scorecard=out.json", judged.path).assert_outcomes(
        passed=4, skipped=2
    )
    assert read(judged, "out.GF-MH@3.5M#2.json")["subject"]["label"] == "GF-MH@3.5M#2"


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
        (["--gt-scale=3B", "-m", "graduation"], "name one with --gt-scale (TINY, 3.5M"),
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
    judged.makepyfile(HEAD + '    @check("G99")\n    def test_it(subject, judge): pass\n')
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
        HEAD
        + """
    @check("G1a")
    def test_a(subject, judge):
        judge(M(metric="good_share", value=1.0))

    @check("G1b")
    def test_b(subject, judge):
        raise KeyboardInterrupt

    @check("S0")
    def test_c(subject, judge):
        judge(M(metric="good_share", value=1.0))
"""
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
