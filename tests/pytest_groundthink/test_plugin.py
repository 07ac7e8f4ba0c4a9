"""Sessions of real pytest with a fake subject: statuses, options, selection, reports."""

from __future__ import annotations

import pytest

from tests.pytest_groundthink.projects import ALL_PASS, STATUSES, asking, read, statuses


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
        "scores": {},
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
    judged.makepyfile(asking({"G4": 'judge(M(metric="grad_ratio", value=0.12))'}))
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
    judged.makepyfile(asking({"G1a": 'pytest.skip("not today")', "G1b": 'pytest.fail("Timeout >1s")'}))
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
    assert any("D1 state divergence: was not part of this run" in blocker for blocker in decision["blockers"])
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
        ("minimal", "C1a"),
        ("standard", "G1a S0 C1a"),
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
        asking({"G0": 'judge((M(metric="ops_resolved", value=1.0), M(metric="ops_fastest", value=0.66)))'})
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
    judged.makepyfile(asking({"MY1": 'judge(M(metric="speed", value=11.0))'}))
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


def test_a_few_wrong_answers_are_shown_where_a_check_did_not_pass(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        """
        from gt.measurement import Measurement
        from pytest_groundthink import check

        def rate(value, wrong):
            return Measurement(metric="rate", value=value, n=400, ci95=(value - 0.01, value), detail={"wrong": wrong})

        def answers(name):
            return [
                dict(said=f"{name} lent {i}", asked="what?", expected=["Lima"], got="  to\\nyou", why="no value")
                for i in range(5)
            ]

        @check("C1a")
        def test_fails(subject, judge):
            judge(rate(0.4, answers("Zora")))

        @check("C1b")
        def test_passes(subject, judge):
            judge(rate(0.99, answers("Otto")))

        @check("C1c")
        def test_keeps_something_else(subject, judge):
            judge(rate(0.4, 3))
        """
    )
    result = judged.runpytest("--gt-scorecard=out.json", judged.path)
    result.stdout.fnmatch_lines(["wrong*said*asked*expected*got*", "C1a*Zora lent 0*what?*Lima*to you*"])
    assert result.stdout.str().count("Zora lent") == 3
    result.stdout.no_fnmatch_line("*Otto lent*")
    assert len(read(judged)["checks"][0]["measurements"][0]["detail"]["wrong"]) == 5


def test_no_data_keeps_what_was_found_and_judges_none_of_it(judged: pytest.Pytester) -> None:
    judged.makepyfile(asking({"LRD": 'raise Unmeasurable("text too short", [M(metric="context_benefit", value=0.2)])'}))
    judged.runpytest("--scorecard=out.json", "test_no_data_keeps_what_was_found_and_judges_none_of_it.py")
    (one,) = read(judged)["checks"]
    assert (one["status"], one["reason"], one["threshold"]) == ("NODATA", "text too short", None)
    assert [record["name"] for record in one["measurements"]] == ["context_benefit"]


def test_scores_are_summed_up_with_what_they_lack(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        asking(
            {
                "C4a": 'judge(M(metric="rate", value=0.9, n=400, ci95=(0.88, 0.93)))',
                "C4b": 'judge(M(metric="rate", value=0.6, n=400, ci95=(0.55, 0.65)))',
                "C6b": 'raise Unmeasurable("nobody there")',
            }
        )
    )
    result = judged.runpytest("--scorecard=out.json", "test_scores_are_summed_up_with_what_they_lack.py")
    result.stdout.fnmatch_lines(["scores: instruction 75.0% (C4a, C4b; without C4c)"])
    assert read(judged)["summary"]["scores"] == {
        "instruction": {"value": 0.75, "of": ["C4a", "C4b"], "missing": ["C4c"]}
    }
