"""What a run writes for people: `--gt-report`, and the annotations and job summary of GitHub Actions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_groundthink.report import github

from .projects import ALL_PASS, STATUSES
from .report_cards import BOOK, MIXED


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own tests may run in a job of GitHub Actions."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def test_a_run_writes_its_report(judged: pytest.Pytester) -> None:
    judged.makepyfile(STATUSES)
    run = judged.runpytest("--gt-report=out.html", judged.path)
    html = (judged.path / "out.html").read_text(encoding="utf-8")
    assert html.count("<h1>") == 1
    assert "worst: token 7" in html
    run.stdout.fnmatch_lines(["report: *out.html"])


def test_several_subjects_have_one_dashboard(judged: pytest.Pytester) -> None:
    judged.makepyfile(ALL_PASS)
    judged.runpytest("--model=GF-MH", "--model=HY@8M", "--gt-report=out.md", judged.path)
    assert (judged.path / "out.md").read_text(encoding="utf-8").startswith("## 2 scorecards\n")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("out.txt", "--gt-report *out.txt: expected a name that ends in .html or .md"),
        ("no/a.md", "*no does not exist*"),
    ],
)
def test_a_report_that_cannot_be_written_is_found_before_the_run(judged: pytest.Pytester, path: str, says: str) -> None:
    judged.makepyfile(ALL_PASS)
    run = judged.runpytest(f"--gt-report={path}", judged.path)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines([f"ERROR: *{says}*"])


def test_a_report_that_can_no_longer_be_written_says_so(judged: pytest.Pytester) -> None:
    judged.mkdir("gone")
    judged.makepyfile(ALL_PASS + '    def test_last():\n        import shutil; shutil.rmtree("gone")\n')
    run = judged.runpytest("--gt-report=gone/out.md", judged.path)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    run.stdout.fnmatch_lines(["the report *out.md could not be written: *"])
    run.stdout.no_fnmatch_line("report: *")


def test_elsewhere_nothing_is_said_to_github(judged: pytest.Pytester) -> None:
    judged.makepyfile(STATUSES)
    judged.runpytest("--scorecard=out.json", judged.path).stdout.no_fnmatch_line("::*")


def test_a_job_gets_annotations_and_a_summary(judged: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = judged.path / "summary.md"
    summary.write_text("an earlier step\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    judged.makepyfile(STATUSES)
    run = judged.runpytest("-m", "graduation", "-n", "2", "--gt-report=out.md", judged.path)
    annotations = [line for line in run.outlines if line.startswith("::")]
    assert annotations[0].startswith("::error title=GF-MH@3.5M%3A HOLD::")
    kinds = [(line.split()[0], line.split("::")[1].split("%3A ")[1].split()[0]) for line in annotations[1:]]
    assert kinds == [("::error", "G1b"), ("::error", "G1d"), ("::warning", "G4")]
    written = summary.read_text(encoding="utf-8")
    assert written.startswith("an earlier step\n## ⛔ GF-MH@3.5M: HOLD\n")
    assert written.count("## ⛔") == 1
    assert written.endswith((judged.path / "out.md").read_text(encoding="utf-8"))


def test_annotations_are_one_line_each_and_escape_what_would_end_them() -> None:
    line = github.annotation("error", "a: b, 50%", "100%\nof\r\n::stop")
    assert line == "::error title=a%3A b%2C 50%25::100%25%0Aof%0D%0A::stop"
    found = github.commands([MIXED], BOOK)
    assert all("\n" not in line and line.count("::") >= 2 for line in found)
    assert [line.split()[0] for line in found] == ["::error", "::error", "::error", "::warning", "::error", "::error"]
    assert "D6 flow share raised::RuntimeError: the | pipe" in found[4]


def test_a_summary_that_is_too_long_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("x" * 1000, encoding="utf-8")
    github.add_summary("ä" * github.SUMMARY_BYTES, path)
    content = path.read_bytes()
    assert github.SUMMARY_BYTES - 2 <= len(content) <= github.SUMMARY_BYTES
    assert content.decode().endswith("did not fit into a job summary: see the scorecard.\n")
