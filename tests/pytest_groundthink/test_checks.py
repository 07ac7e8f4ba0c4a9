from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gt import registry
from gt.resources import fixtures_dir
from pytest_groundthink.checks import load_checks
from pytest_groundthink.located import FixtureError
from pytest_groundthink.rules import load_matrix, load_scales

SHIPPED = fixtures_dir() / "checks.yaml"
OWN = """\
version: 1
checks:
  X1:
    title: my own
    kind: gate
    tier: minimal
    requires: [states]
    measures: Something.
    remedy: Do something.
    bands:
      default:
        source: "[P]"
        speed: {pass: [1, null], warn: [[0.5, 1]]}
"""


def test_shipped_checks_are_those_of_the_first_version() -> None:
    book = load_checks(SHIPPED)
    assert " ".join(book.checks) == (
        "G0 G1a G1b G1c G1d G1e G2 G3 G3.5 G4 S0 S1 S2 S3 S4 D1 D1-long D2 D3 D4 D5 D6 D7 Q1 L1 L2 L3 L4 L5 R1 "
        "LRD LRD-1M NIAH NIAH-16K C1a C1b-lite C1b C1c C1d C2a C2b C3a C3b C3c SPS C4a C4b C4c C5a C5b C5c C6a "
        "C6b MQAR SelCopy ICR ICR-noisy ICR-fuzzy RULER-S RULER-MK RULER-MV RULER-MQ RULER-VT RULER-CWE RULER-FWE"
    )
    assert set(book.profiles) == {"default", "v4"}


def test_scores_sum_up_checks_that_exist_or_are_planned(tmp_path: Path) -> None:
    book = load_checks(SHIPPED)
    known = book.checks.keys() | book.planned.keys()
    assert {name: {id_[:2] for id_ in ids} for name, ids in book.scores.items()} == {
        "grounding": {"C2"}, "dialogue": {"C3"}, "instruction": {"C4"}, "persona": {"C5"}, "isolation": {"C6"},
    }  # fmt: skip
    assert {id_ for ids in book.scores.values() for id_ in ids} == {id_ for id_ in known if "C2" <= id_ < "C7"}
    wrong = tmp_path / "checks.yaml"
    wrong.write_text(SHIPPED.read_text(encoding="utf-8").replace("[C6a, C6b]", "[C6a, C6z]"), encoding="utf-8")
    with pytest.raises(FixtureError, match=r"scores\.isolation: expected ids of checks, got C6z"):
        load_checks(wrong)
    own = tmp_path / "own.yaml"
    own.write_text(f"{OWN}scores: {{mine: [X1, C1a], isolation: [C6b]}}\n", encoding="utf-8")
    assert load_checks(SHIPPED, own).scores == {**book.scores, "mine": ("X1", "C1a"), "isolation": ("C6b",)}


def test_every_check_judges_by_default_has_sources_and_says_what_to_do() -> None:
    for check in load_checks(SHIPPED).checks.values():
        assert "default" in check.bands, check.id
        assert all(bands.source.startswith("[") for bands in check.bands.values()), check.id
        assert check.measures.endswith("."), check.id
        assert check.remedy.endswith("."), check.id
        for bands in check.bands.values():
            assert set(bands.bands) <= set(check.metrics), check.id


def test_limits_of_measurements_have_sources_and_are_those_of_the_bands() -> None:
    limits = yaml.safe_load((fixtures_dir() / "scales.yaml").read_text(encoding="utf-8"))["limits"]
    assert all(entry["source"].startswith("[") for entry in limits.values())
    checks = load_checks(SHIPPED).checks
    learned = checks["L1"].bands["default"].bands["final_loss"]
    larger = checks["L5"].bands["default"].bands["parameter_ratio"]
    assert {name: registry.limit(name) for name in limits} == {
        "learned_by_heart": learned.passes[1],
        "baseline_parameters": larger.warn[0][1],
    }


def test_every_required_check_exists_or_is_planned() -> None:
    book = load_checks(SHIPPED)
    known = book.checks.keys() | book.planned.keys()
    for scale in load_scales(fixtures_dir() / "scales.yaml").values():
        named = {*scale.required, *scale.canaries, *(id_ for target in scale.targets for id_ in target.mean_of)}
        assert named <= known, scale.name
        assert set(scale.canaries) <= set(scale.required), scale.name


def test_scales_are_cumulative() -> None:
    scales = load_scales(fixtures_dir() / "scales.yaml")
    for scale in scales.values():
        if scale.next is not None:
            replaced = {"C1b-lite"}  # C1b takes its place
            assert set(scale.required) - replaced <= set(scales[scale.next].required), scale.name


def test_matrix_names_checks_that_exist_or_are_planned() -> None:
    book = load_checks(SHIPPED)
    category = load_matrix(fixtures_dir() / "decision.yaml").categories["architecture stability"]
    assert category.fails | category.warns | {category.log_check} <= book.checks.keys() | book.planned.keys()


def test_own_checks_are_laid_over_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(OWN.replace("X1", "G2"), encoding="utf-8")
    book = load_checks(SHIPPED, own)
    assert book.checks["G2"].title == "my own"
    assert book.checks["G3"].title == "mini training"
    assert book.sha256 != load_checks(SHIPPED).sha256


def test_a_planned_check_that_a_user_defines_is_no_longer_planned(tmp_path: Path) -> None:
    planning, own = tmp_path / "checks.yaml", tmp_path / "own.yaml"
    planning.write_text(
        SHIPPED.read_text(encoding="utf-8").partition("\nscores:")[0] + "\nplanned:\n  X1: soon\n", encoding="utf-8"
    )
    own.write_text(OWN, encoding="utf-8")
    assert "X1" in load_checks(planning).planned
    assert "X1" not in load_checks(planning, own).planned


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("kind: gate", "kind: gates"), 5, "checks.X1.kind: expected one of gate, state"),
        (("tier: minimal", "tier: small"), 6, "checks.X1.tier: expected one of minimal, standard, extended"),
        (("[states]", "[magic]"), 7, "checks.X1.requires: expected some of kernels"),
        (("[states]", "states"), 7, "checks.X1.requires: expected `array`, got `str`"),
        (("    remedy: Do something.\n", ""), 3, "checks.X1: object missing required field `remedy`"),
        (("    remedy", "    remedi"), 9, "unknown field `remedi`"),
        (("pass: [1, null]", "pass: [1, one]"), 13, "bands.default.speed.pass.1: expected `float | null`, got `str`"),
        (("pass: [1, null]", "pass: [2, 1]"), 13, "bands.default.speed: expected low <= high, got [2.0, 1.0]"),
        (("pass: [1, null]", "pass: [.nan, 1]"), 13, "expected finite ends"),
        (("pass: [1, null], ", ""), 13, "object missing required field `pass`"),
        (("warn:", "warm:"), 13, "unknown field `warm`"),
        (('        source: "[P]"\n', ""), 11, "bands.default.source: every band needs a source"),
        (("default:", "mine:"), 11, "checks.X1.bands.mine: unknown profile; expected one of default, v4"),
        (("        speed:", "        combine: mean\n        speed:"), 13, "expected worst or votes, got 'mean'"),
        (("version: 1", "version: 2"), 1, "version: expected 1, got 2"),
        (("version: 1", "version: 1\nscores: {mine: X1}"), 2, "scores: expected `array`, got `str`"),
        (("checks:", "chekcs:"), 2, "chekcs: unknown key"),
        (("title: my own", "title: my own\n    title: again"), 5, "checks.X1.title: the key is there twice"),
        (("title: my own", "title: {my own"), 5, "is not valid YAML"),
        (("  X1:", "  1:"), 3, "expected a text as key, got the number 1"),
        (("title: my own", "title: [my own]"), 4, "checks.X1.title: expected `str`, got `array`"),
    ],
)
def test_an_error_is_one_line_with_file_line_and_key(
    tmp_path: Path, change: tuple[str, str], line: int, says: str
) -> None:
    own = tmp_path / "own.yaml"
    assert change[0] in OWN
    own.write_text(OWN.replace(*change, 1), encoding="utf-8")
    with pytest.raises(FixtureError) as caught:
        load_checks(SHIPPED, own)
    message = str(caught.value)
    assert message.startswith(f"{own}:{line}: "), message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read"), (b"\xff", "is not UTF-8"), (b"", "expected a")]
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, says: str) -> None:
    own = tmp_path / "own.yaml"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(FixtureError, match=says):
        load_checks(SHIPPED, own)
