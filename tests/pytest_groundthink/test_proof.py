"""The kill matrix: what survives and what is flagged in vain is said, and a kill costs one cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from gt.measurement import measured
from gt.proof import Control, folder
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from pytest_groundthink import cli
from pytest_groundthink.checks import CheckBook, load_checks
from pytest_groundthink.proof import run as running
from pytest_groundthink.proof.asked import probes
from pytest_groundthink.proof.cells import COSTLY, Cell, Journal, Unit, plan
from pytest_groundthink.proof.config import ProveConfig
from pytest_groundthink.proof.matrix import _accepted, build
from pytest_groundthink.report.matrix import _grids, lacking, markdown, prove_and_report, read
from pytest_groundthink.verdict import Status

BOOK = load_checks(fixtures_dir() / "checks.yaml")
PUBLISHED = Path(__file__).parents[2] / "docs" / "results"
FAULTS = ("forgets-every-8", "forgets-every-64")
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a terminal that is wide enough for whole sentences."""
    monkeypatch.setenv("GT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def settings(tmp_path: Path, **changes: Any) -> ProveConfig:
    """A matrix of two faults and one check, on a scripted subject: nothing is trained."""
    return ProveConfig(**{"faults": FAULTS, "checks": ("LRD",), "controls": 1, "out": tmp_path / "out", **changes})


def proved(config: ProveConfig) -> tuple[bool, str, dict[str, Any]]:
    """Whether it was proven, what was printed, and the JSON."""
    console = Console(record=True, width=200, force_terminal=False)
    proven = prove_and_report(config, console)
    return proven, console.export_text(), json.loads((config.out / "kill_matrix.json").read_text())


def test_faults_are_caught_and_the_healthy_are_left_alone(tmp_path: Path) -> None:
    proven, said, written = proved(settings(tmp_path))
    assert proven
    assert "2 of 2 faults are caught by the check meant for them." in said
    assert "0 of 1 healthy subjects are failed by a check." in said
    assert [(row["fault"], row["meant"], row["status"]) for row in written["faults"]] == [
        (fault, "LRD", "FAIL") for fault in FAULTS
    ]
    assert {(cell["control"], cell["fault"]): cell["status"] for cell in written["cells"]} == {
        ("reader seed 0", "forgets-every-8"): "FAIL",
        ("reader seed 0", "forgets-every-64"): "FAIL",
        ("reader seed 0", ""): "PASS",
    }
    harm = next(one for one in written["separations"] if one["metric"] == "context_harm")
    assert harm["healthy"][1] < 1.0 < 1.1 < harm["broken"]["forgets-every-64"]
    assert harm["factor"] == pytest.approx(min(harm["broken"].values()) / harm["healthy"][1])
    text = (tmp_path / "out" / "kill_matrix.md").read_text()
    assert "| + forgets-every-64 | **F** |" in text
    assert "| reader seed 0 | . |" in text
    assert "(`gt.scripted`)" in text, "a reader must know which subjects are scripts"


def test_a_fault_that_no_check_sees_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = msgspec.structs.replace(SABOTAGES["forgets-every-8"], plant=lambda model: None)
    monkeypatch.setitem(SABOTAGES, "forgets-every-8", harmless)
    proven, said, written = proved(settings(tmp_path))
    assert not proven
    assert "1 of 2 faults are caught by the check meant for them. Not caught: forgets-every-8." in said
    assert [row["caught"] for row in written["faults"]] == [False, True]


def test_a_probe_that_a_fault_breaks_has_not_caught_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_it(model: Any) -> None:
        model.forward = None

    monkeypatch.setitem(
        SABOTAGES, "forgets-every-8", msgspec.structs.replace(SABOTAGES["forgets-every-8"], plant=break_it)
    )
    proven, _, written = proved(settings(tmp_path))
    assert not proven
    row = written["faults"][0]
    assert (row["status"], row["caught"]) == ("NODATA", False)
    assert "TypeError" in row["reason"]


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, first = proved(settings(tmp_path))
    monkeypatch.setattr(running, "load", lambda *args, **kwargs: pytest.fail("everything was there"))
    _, _, second = proved(settings(tmp_path))
    assert second == first
    proven, said, partial = proved(settings(tmp_path, checks=("LRD", "LRD-1M"), kept=True))
    assert not proven, "what is not there proves nothing"
    assert partial["cells"] == first["cells"]
    assert "cells are missing." in said


def test_a_fault_that_was_not_asked_about_is_not_a_survivor_and_proves_nothing(tmp_path: Path) -> None:
    _, said, written = proved(settings(tmp_path, kept=True))
    assert "0 of 2 faults are caught by the check meant for them. Not asked yet: forgets-every-" in said
    assert "Not caught" not in said
    assert not written["proven"]
    nowhere = build([], ["leaking-future"], healthy(1), BOOK, 9, 0)
    assert not nowhere.proven, "a fault whose check nobody can be asked"


def test_a_narrow_terminal_shows_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [Cell(control="model 0", fault="", check=id_, reason="none") for id_ in BOOK.checks]
    matrix = build(cells, [], healthy(1), BOOK, 9, len(cells))
    for width in (80, 300):
        console = Console(record=True, width=width)
        for table in _grids(matrix, BOOK, width):
            console.print(table)
        lines = console.export_text().splitlines()
        assert all(len(line) <= width for line in lines)
        shown = [word for line in lines if line.startswith("healthy") for word in line.split()[4:]]
        assert shown == list(BOOK.checks)


def test_a_kill_costs_one_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(tmp_path)
    _, _, first = proved(config)
    journal = folder(config.steps) / running.JOURNAL
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join(lines)[: -len(lines[-2]) // 2])  # as the last write was cut
    measured_anew: list[str] = []
    load = running.load

    def counted(control: Control, place: Path, fault: str | None = None, **more: Any) -> Any:
        measured_anew.append(fault or "")
        return load(control, place, fault, **more)

    monkeypatch.setattr(running, "load", counted)
    _, _, second = proved(config)
    assert measured_anew == [FAULTS[-1]]
    assert [cell["values"] for cell in second["cells"]] == [cell["values"] for cell in first["cells"]]


def test_every_check_is_asked_as_the_suites_ask_it() -> None:
    assert probes().keys() == BOOK.checks.keys()


def test_every_fault_meets_the_check_meant_for_it() -> None:
    units = plan(ProveConfig(), BOOK)
    for name, fault in SABOTAGES.items():
        asked = [unit for unit in units if unit.fault == name and fault.caught_by in unit.checks]
        assert len(asked) == 1, name
        healthy = [unit for unit in units if not unit.fault and unit.control == asked[0].control]
        assert any(fault.caught_by in unit.checks for unit in healthy), "the same subject is asked when it is whole"
    places = [(unit.control.name, unit.fault, check) for unit in units for check in unit.checks]
    assert len(places) == len(set(places))
    trained = {unit.control.name for unit in units if unit.control.model}
    assert len(trained) == 30


def test_the_healthy_and_what_is_meant_come_first_and_of_each_the_cheap() -> None:
    def rank(unit: Unit) -> tuple[bool, int]:
        other = unit.fault != "" and unit.checks != (SABOTAGES[unit.fault].caught_by,)
        costly = [COSTLY.index(id_) + 1 for id_ in unit.checks if id_ in COSTLY]
        assert not costly or len(unit.checks) == 1, "a costly check is a unit of its own"
        return other, sum(costly)

    ranks = [rank(unit) for unit in plan(ProveConfig(), BOOK)]
    assert ranks == sorted(ranks)
    assert {number for _, number in ranks} == set(range(len(COSTLY) + 1))
    assert not any(unit.fault for unit in plan(ProveConfig(), BOOK)[:30]), "all are trained before one is broken"


def test_a_fault_that_cannot_be_planted_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any) -> None:
        raise ValueError("nothing to break")

    monkeypatch.setitem(
        SABOTAGES, "forgets-every-8", msgspec.structs.replace(SABOTAGES["forgets-every-8"], plant=refuse)
    )
    _, _, written = proved(settings(tmp_path))
    assert [(row["status"], row["caught"]) for row in written["faults"]] == [("NODATA", False), ("FAIL", True)]
    assert "ValueError: nothing to break" in written["faults"][0]["reason"]


def test_what_another_machine_has_kept_is_judged_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, said, first = proved(settings(tmp_path))
    place = folder(settings(tmp_path).steps)
    assert str(place) in said, "what is to be copied is named"
    brought = place.rename(tmp_path / "brought")
    (brought / "made.json").write_text(json.dumps({"version": "9", "python": "3.99", "thresholds_sha256": "5" * 64}))
    monkeypatch.setattr(running, "load", lambda *args, **kwargs: pytest.fail("nothing is measured"))
    proven, _, again = proved(settings(tmp_path, kept_in=brought))
    assert proven
    assert again["cells"] == first["cells"]
    assert (again["version"], again["python"]) == ("9", "3.99"), "what measured stays what measured"
    assert again["thresholds_sha256"] == first["thresholds_sha256"], "the thresholds that judge are those of now"
    with pytest.raises(ValueError, match=r"nothing kept: expected cells[.]jsonl"):
        proved(settings(tmp_path, kept_in=tmp_path / "nowhere"))
    (brought / "made.json").write_text("{")
    with pytest.raises(ValueError, match=r"made[.]json: expected what cells were measured with"):
        proved(settings(tmp_path, kept_in=brought))


def test_only_what_is_meant_is_asked_where_that_is_wanted() -> None:
    units = plan(ProveConfig(meant=True, controls=2), BOOK)
    assert all(unit.checks == (SABOTAGES[unit.fault].caught_by,) for unit in units if unit.fault)


def cell(control: str, fault: str, value: float) -> Cell:
    return Cell(control=control, fault=fault, check="G1b", measurements=(measured("future_leak", value),))


def healthy(count: int) -> list[Control]:
    return [Control(name=f"model {number}", model="GPT2@TINY", seed=number, steps=9) for number in range(count)]


def judged(values: dict[str, float], broken: float, book: CheckBook = BOOK, planned: int = 0) -> Any:
    cells = [*(cell(name, "", value) for name, value in values.items()), cell("model 0", "leaking-future", broken)]
    return build(cells, ["leaking-future"], healthy(len(values)), book, 9, planned or len(cells))


def test_a_false_alarm_is_named_and_its_rate_is_bounded() -> None:
    sound = judged({f"model {number}": 1e-7 for number in range(30)}, 0.5)
    assert sound.proven
    assert sound.alarm_bound == pytest.approx(1 - 0.05 ** (1 / 30), abs=1e-6)
    assert sound.separations[0].factor == pytest.approx(5e6)
    assert sound.separations[0].accepted == ((0, 1e-5),)
    flagged = judged({"model 0": 1e-7, "model 1": 1e-3}, 0.5)
    assert not flagged.proven
    assert [(one.control, one.status) for one in flagged.alarms] == [("model 1", Status.FAIL)]
    assert flagged.controls[1].failed == ("G1b",)
    assert flagged.alarm_bound == pytest.approx((0.95) ** 0.5, abs=1e-6)  # 1 of 2: the rate at which both are 5%
    assert "model 1 by G1b" in markdown(flagged, BOOK)


def test_a_cell_that_is_missing_proves_nothing() -> None:
    partial = judged({"model 0": 1e-7}, 0.5, planned=3)
    assert not partial.proven
    assert "1 of 3 cells are missing." in markdown(partial, BOOK)


def test_the_published_matrix_has_no_fault_or_check_that_is_no_more() -> None:
    again = "run: groundthink prove --rewrite"
    matrix, made = read(PUBLISHED)
    faults = {row.fault for row in matrix.faults} | {cell.fault for cell in matrix.cells} - {""}
    checks = {cell.check for cell in matrix.cells} | {row.meant for row in matrix.faults}
    assert faults <= SABOTAGES.keys(), again
    assert checks <= BOOK.checks.keys(), again
    assert {row.fault: row.meant for row in matrix.faults} == {name: SABOTAGES[name].caught_by for name in faults}
    assert (PUBLISHED / "kill_matrix.md").read_text(encoding="utf-8") == markdown(matrix, BOOK, made), again


def test_what_a_matrix_lacks_is_named() -> None:
    said = lacking(judged({"model 0": 1e-7}, 0.5), BOOK)
    assert f"{len(SABOTAGES) - 1} of {len(SABOTAGES)} faults (wrong-kernel, " in said
    assert f"{len(BOOK.checks) - 1} of {len(BOOK.checks)} checks (G0, G1a, G1c, " in said
    assert "leaking-future" not in said
    assert said in markdown(judged({"model 0": 1e-7}, 0.5), BOOK)
    every = [Cell(control="model 0", fault="", check=id_) for id_ in BOOK.checks]
    every += [Cell(control="model 0", fault=name, check=fault.caught_by) for name, fault in SABOTAGES.items()]
    assert lacking(build(every, list(SABOTAGES), healthy(1), BOOK, 9, len(every)), BOOK) == ""


def test_a_matrix_is_written_again_without_what_is_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SABOTAGES, "once", msgspec.structs.replace(SABOTAGES["forgets-every-8"], summary="long ago"))
    _, _, written = proved(settings(tmp_path, faults=(*FAULTS, "once")))
    path = tmp_path / "out" / "kill_matrix.json"
    path.write_text(json.dumps(written | {"version": "0.0.1", "thresholds_sha256": "5" * 64}))
    monkeypatch.delitem(SABOTAGES, "once")
    monkeypatch.setattr(running, "load", lambda *args, **kwargs: pytest.fail("nothing is measured"))
    proven, said, again = proved(settings(tmp_path, rewrite=True))
    assert proven
    assert "2 of 2 faults are caught by the check meant for them." in said
    assert {row["fault"] for row in again["faults"]} == {cell["fault"] for cell in again["cells"]} - {""} == set(FAULTS)
    assert all("once" not in one["broken"] for one in again["separations"])
    assert (again["version"], again["thresholds_sha256"]) == ("0.0.1", "5" * 64), "what judged stays what judged"
    text = (tmp_path / "out" / "kill_matrix.md").read_text()
    assert "Made by `groundthink prove` 0.0.1; thresholds: profile `default`, 555555555555." in text
    assert "| once |" not in text


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"schema": "other/1"}', '{"schema": "groundthink.kill_matrix/1"}']
)
def test_what_is_no_matrix_is_one_line(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / "kill_matrix.json").write_text(content)
    with pytest.raises(SystemExit) as ended:
        cli.app(["prove", "--rewrite", "-o", str(tmp_path)])
    assert ended.value.code == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "kill_matrix.json: " in said
    assert not {"Traceback", "attribute"} & set(said.split())


def test_a_value_that_is_not_finite_has_no_factor() -> None:
    (separation,) = judged({"model 0": 1e-7}, float("nan")).separations
    assert (separation.broken, separation.factor) == ({"leaking-future": None}, None)


def test_a_line_that_is_no_cell_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "cells.jsonl")
    journal.add(cell("model 0", "", 1e-7))
    with journal.path.open("ab") as file:
        file.write(b'{"control": "mod')
    journal.add(cell("model 1", "", 1e-7))
    assert [place[0] for place in journal.read()] == ["model 0", "model 1"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--faults", "gremlins"], 4, "unknown fault 'gremlins': there are wrong-kernel"),
        (["--checks", "Z9"], 4, "unknown check 'Z9': there are G0"),
        (["--controls", "0"], 4, "controls is 0: expected 1 or more"),
        (["--steps", "5"], 4, "steps is 5: expected 60 or more"),
        (["--faults", "forgets-every-8", "--checks", "LRD", "--controls", "1"], 0, "1 of 1 faults are caught"),
    ],
)
def test_the_exit_status_says_what_came_out(
    arguments: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.app(["prove", *arguments, "-o", str(tmp_path / "out")])
    assert ended.value.code == status
    assert said in capsys.readouterr().out


def test_a_survivor_is_an_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = msgspec.structs.replace(SABOTAGES["forgets-every-8"], plant=lambda model: None)
    monkeypatch.setitem(SABOTAGES, "forgets-every-8", harmless)
    with pytest.raises(SystemExit) as ended:
        cli.app(["prove", "--faults", "forgets-every-8", "--checks", "LRD", "-o", str(tmp_path / "out")])
    assert ended.value.code == 1


def test_what_is_accepted_is_what_passes_or_warns() -> None:
    def accepted(check: str, metric: str) -> tuple[Any, ...]:
        return _accepted(BOOK.checks[check].bands["default"].bands[metric])

    assert accepted("G1c", "recurrence_error_float32") == ((0, 1e-3),)
    assert accepted("G4", "grad_ratio") == ((2e-4, 5e3),)
    assert accepted("D3", "state_loss_rise") == ((None, None),)
    assert accepted("D3", "state_rise_upper_end") == ((-5e-3, -1e-6), (1e-6, None))
