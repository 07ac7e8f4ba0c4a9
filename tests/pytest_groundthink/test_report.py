"""The report as HTML and Markdown: what it says, that it is sound, and that everyone can read it."""

from __future__ import annotations

import functools
import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_groundthink import scorecard
from pytest_groundthink.decision import decide
from pytest_groundthink.pictures import INK
from pytest_groundthink.report import html
from pytest_groundthink.report.make import as_html, as_markdown, require_report
from pytest_groundthink.report_command import report
from pytest_groundthink.scorecard import Scorecard

from .pages import Outline, contrast
from .report_cards import BOOK, LADDER, MATRIX, MIXED, SCALES, card, judged, rate, result

LATER = msgspec.structs.replace(
    card(rate("C1a", 0.99, 0.98, 1.0), rate("C1b-lite", 0.97, 0.95, 0.98), step=200),
    provenance=msgspec.structs.replace(MIXED.provenance, seed=1),
)
HTML: dict[str, Callable[[], str]] = {
    "one": lambda: as_html([MIXED], BOOK),
    "several": lambda: as_html([MIXED, LATER], BOOK),
    "undecided": lambda: as_html([msgspec.structs.replace(MIXED, decision=None)], BOOK),
    "empty": lambda: as_html([msgspec.structs.replace(MIXED, checks=(), decision=None)], BOOK),
}
STYLE = (html.TEMPLATES / "style.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=HTML)
def page(request: pytest.FixtureRequest) -> Outline:
    return Outline(written(request.param))


@functools.cache
def written(name: str) -> str:
    return HTML[name]()


def test_tags_nest_and_ids_are_unique(page: Outline) -> None:
    assert page.problems == []
    assert len(page.ids()) == len(set(page.ids()))
    links = [attributes["href"] for attributes in page.all("a")]
    assert {link.removeprefix("#") for link in links} <= set(page.ids())


def test_nothing_is_loaded_and_nothing_runs(page: Outline) -> None:
    assert page.loaded() == []
    assert not {"script", "iframe", "link", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    policies = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert [policy.split(";")[0] for policy in policies] == ["default-src 'none'"]


def test_headings_are_in_order(page: Outline) -> None:
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_those_who_cannot_see_it_can_read_it(page: Outline) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or (
            drawing["role"] == "img" and (drawing.get("aria-label") or drawing["aria-labelledby"])
        )
    for region in [a for a in page.all("div") if a.get("class") == "scroll"]:
        assert region["tabindex"] == "0"  # what scrolls must be reached with the keyboard
        assert region["aria-label"]


def themes() -> dict[str, dict[str, str]]:
    """The colours of the page when it is light, dark and printed."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)
    return dict(
        zip(("light", "dark", "print"), (dict(re.findall(r"--([a-z-]+): (#\w{6})", b)) for b in blocks), strict=True)
    )


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize("ground", ["bg", "panel"])
def test_text_can_be_read(theme: str, ground: str) -> None:
    colours = themes()[theme]
    for name in ("text", "muted", "link", "pass", "warn", "fail", "nodata", "na"):
        assert contrast(colours[name], colours[ground]) >= 4.5, f"{name} on {ground}"
    for zone in ("zone-pass", "zone-warn", "zone-fail"):
        assert contrast(colours["text"], colours[zone]) >= 3, "the marker must be seen on its band"


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_it_opens_with_the_decision_and_what_blocks_it() -> None:
    page = Outline(written("one"))
    titles = [title for _, title in page.headings]
    assert titles[:3] == ["GF-MH@3.5M: HOLD", "What blocks it", "Why"]
    assert [t for level, t in page.headings if level == 2][2:] == [
        "What would change it",
        "Scores",
        "Scale ladder",
        "Checks",
        "Statefulness report",
        "Pictures",
        "How each number was measured",
        "Provenance",
    ]
    assert MIXED.decision is not None
    for blocker in MIXED.decision.blockers:
        assert blocker in page.text


def test_every_check_is_there_with_its_value_and_how_it_was_measured() -> None:
    page = Outline(written("one"))
    for check in MIXED.checks:
        assert f"{check.id} {check.title}" in page.text
        assert BOOK.checks[check.id].measures in page.text
    assert "97%" in page.text
    assert "95% 95% to 98%, n=400" in page.text
    assert page.text.count("NODATA!") == 2  # at the check, and in the statefulness report
    assert len([a for a in page.all("svg") if a.get("class") == "band"]) == sum(
        len(check.threshold.passes) for check in MIXED.checks if check.threshold
    )


def test_what_a_model_said_is_text_and_never_markup() -> None:
    page = Outline(written("one"))
    assert "My cat is called <Nine|Lives>." in page.text
    assert "token <b>7</b>" in page.text
    assert "b" not in {tag for tag, _ in page.tags}
    assert "<b>" not in as_markdown([MIXED], BOOK)


def test_the_statefulness_report_has_conditions_and_components() -> None:
    text = " ".join(Outline(written("one")).text.split())
    assert "the states neither diverge nor collapse met D1 PASS" in text
    assert "both components carry information not measured D6 NODATA!" in text
    assert "growth D1 2.7 0.9" in text
    assert "growth of the norm D1 3,000 at 64, 8,200 at 512 11 at 64, 10 at 512" in text


def test_a_check_of_the_users_own_is_shown_without_its_description() -> None:
    own = msgspec.structs.replace(judged("G1a", scorecard_measurement()), id="MY1", title="mine", kind="own")
    page = Outline(as_html([card(own)], BOOK))
    assert "MY1 mine" in page.text
    assert "Not described in this version." in page.text


def scorecard_measurement() -> Any:
    from gt.measurement import Measurement

    return Measurement(metric="good_share", value=1.0)


def test_other_thresholds_and_uncommitted_changes_are_said() -> None:
    source = MIXED.provenance
    changed = msgspec.structs.replace(
        MIXED,
        provenance=msgspec.structs.replace(
            source,
            thresholds=msgspec.structs.replace(source.thresholds, sha256="other"),
            git=msgspec.structs.replace(source.git, dirty=True) if source.git else None,
        ),
    )
    text = Outline(as_html([changed], BOOK)).text
    assert "judged by another checks.yaml" in text
    assert "changes that no commit holds" in text
    assert "another checks.yaml" not in Outline(written("one")).text


def test_a_dashboard_names_every_scorecard_and_what_they_differ_in() -> None:
    page = Outline(written("several"))
    assert page.headings[0][1].startswith("2 scorecards: GF-MH@3.5M step 100 HOLD, GF-MH@3.5M step 200")
    text = " ".join(page.text.split())
    assert "seed 0 1" in text
    assert "threshold profile" not in text
    assert "C1b-lite recall after three sentences FAIL 40% PASS 97%" in text
    assert "G1a forward pass PASS 100% not run" in text


@pytest.mark.parametrize("cards", [[MIXED], [MIXED, LATER], [msgspec.structs.replace(MIXED, decision=None)]])
def test_markdown_tables_have_as_many_cells_as_headings(cards: list[Scorecard]) -> None:
    text = as_markdown(cards, BOOK)
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(tables) >= 4 or len(cards) > 1
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert "My cat" not in text


def test_markdown_says_what_did_not_pass_first() -> None:
    text = as_markdown([MIXED], BOOK)
    assert text.startswith("## ⛔ GF-MH@3.5M: HOLD\n")
    noticed = text.split("### What did not pass")[1].split("### Scale ladder")[0]
    assert "| C1b-lite recall after three sentences | ❌ FAIL | 40% |" in noticed
    assert "| D6 flow share | 💥 NODATA! |" in noticed
    assert "C1a" not in noticed.split("\n\n- ")[0]


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_the_command_writes_beside_the_scorecard_or_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    scorecard.write(LATER, tmp_path / "out.json")
    there = tmp_path / f"told{suffix}"
    report(tmp_path / "out.json", output=there)
    assert "GF-MH@3.5M" in there.read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"{there}\n"
    report(tmp_path / "out.json")
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("cards", "output", "says"),
    [
        ((), None, "expected at least one scorecard"),
        (("none.json",), None, "cannot be read"),
        (("out.json",), "out.pdf", "expected a name that ends in .html or .md, got .pdf"),
        (("out.json",), "none/out.html", "does not exist"),
        (("broken.json",), None, "is no groundthink.scorecard/1"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cards: tuple[str, ...], output: str | None, says: str
) -> None:
    scorecard.write(MIXED, tmp_path / "out.json")
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        report(*(tmp_path / name for name in cards), output=None if output is None else tmp_path / output)
    assert ended.value.code == 4
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert said.startswith("groundthink report: ")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'pytest-groundthink\[report\]'"):
        require_report(tmp_path / "out.html", "--gt-report")
    require_report(tmp_path / "out.md", "--gt-report")


def test_markdown_needs_neither_jinja2_nor_matplotlib(tmp_path: Path) -> None:
    scorecard.write(MIXED, tmp_path / "out.json")
    code = (
        "import sys; from pathlib import Path; from pytest_groundthink.report_command import report\n"
        f"report(Path({str(tmp_path / 'out.json')!r}), output=Path({str(tmp_path / 'out.md')!r}))\n"
        "print([name for name in ('jinja2', 'matplotlib', 'numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_subject_that_was_never_loaded_has_a_report() -> None:
    bare = card(result("G1a", "NODATA", "never judged"), step=None, params=None, kernels=None, device=None)
    assert "no checkpoint: fresh weights" in Outline(as_html([bare], BOOK)).text


def test_a_ladder_is_drawn_from_the_decision_or_from_several_scorecards() -> None:
    top = LADDER[-1]
    decision = decide(top, SCALES["3.5M"], MATRIX, BOOK, LADDER[:-1])
    alone = Outline(as_html([scorecard.decided(top, decision)], BOOK))
    several = Outline(as_html(LADDER, BOOK))
    for page in (alone, several):
        (drawing,) = [a for a in page.all("svg") if a.get("class") == "ladder"]
        assert "GF-MH@2M 3.4" in drawing["aria-label"]
        assert "(predicted)" in drawing["aria-label"]
        assert "4 runs at 4 scales: loss = " in page.text
        assert "R^2 0.99" in page.text
        assert "8M is predicted at 3." in page.text
        assert page.problems == []


def test_without_a_ladder_it_says_why() -> None:
    assert "No ladder can be drawn" in written("several")
    assert not [a for a in Outline(written("one")).all("svg") if a.get("class") == "ladder"]
    unlike = msgspec.structs.replace(LADDER[0], subject=msgspec.structs.replace(LADDER[0].subject, tokenizer=None))
    assert "another tokenizer" in Outline(as_html([LADDER[-1], unlike], BOOK)).text


def test_a_file_that_was_changed_is_refused_or_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    scorecard.write(LATER, path)
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 1', '"seed": 2'), encoding="utf-8")
    with pytest.raises(SystemExit):
        report(path, output=tmp_path / "out.md")
    assert "was changed after it was written" in capsys.readouterr().err
    report(path, output=tmp_path / "out.md", allow_edited=True)
    assert "was changed after it was written; taken as it is" in (tmp_path / "out.md").read_text(encoding="utf-8")


def test_what_would_change_the_answer_is_said() -> None:
    assert MIXED.decision is not None
    assert MIXED.decision.next_steps
    assert all(step in Outline(written("one")).text for step in MIXED.decision.next_steps)
    assert "### What would change it" in as_markdown([MIXED], BOOK)


def test_words_in_pictures_have_the_text_colour_of_the_page() -> None:
    styles = [a.get("style", "") for a in Outline(written("one")).all("text")]
    assert [style for style in styles if "fill: currentColor" in style]
    assert not [style for style in styles if f"fill: {INK}" in style]
