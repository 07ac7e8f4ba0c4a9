"""`--gt-ladder` and the folder `ladder` beside the weights, in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_groundthink import scorecard
from pytest_groundthink.decide_command import decide_files

from .cards import whole
from .fake_subject import TRAINING
from .projects import HEAD, read

MEASURED = (
    HEAD
    + """
    @check("L2")
    def test_it(subject, judge):
        judge((M(metric="loss_reduction", value=0.3), M(metric="valid_loss", value=3.5, unit="nats", n=32)))
"""
)


def rungs(folder: Path, *scales: str) -> Path:
    """A folder of scorecards at smaller scales, of the recipe of the fake subject."""
    folder.mkdir(parents=True)
    for place, scale in enumerate(scales):
        checkpoint = {"path": scale, "sha256": scale, "step": 100, "tokens": 6400, "training": TRAINING}
        subject = {
            "checkpoint": checkpoint,
            "tokenizer": {"kind": "bpe", "vocab_size": 8192, "sha256": "1" * 64},
            "corpus": {"name": "python-reference", "sha256": "2" * 64, "tokens": 1000},
        }
        scorecard.write(whole(scale, loss=3.6 + place / 10, **subject), folder / f"{scale}.json")
    return folder


@pytest.fixture
def project(judged: pytest.Pytester) -> pytest.Pytester:
    judged.makepyfile(MEASURED)
    return judged


def test_given_scorecards_are_the_ladder(project: pytest.Pytester) -> None:
    rungs(project.path / "runs" / "rungs", "2M", "1M")
    single = rungs(project.path / "more", "TINY") / "TINY.json"
    checkpoint = project.mkdir("ckpt")
    options = ("-m", "graduation", "--ckpt", str(checkpoint), "--scorecard=out.json", "--gt-ladder", "runs/rungs")
    result = project.runpytest(*options, f"--gt-ladder={single}", project.path)
    decision = read(project)["decision"]
    assert decision["categories"]["scaling law fit"]["score"] >= 1
    assert [point["scale"] for point in decision["scaling"]["points"]] == ["TINY", "1M", "2M", "3.5M"]
    assert decision["scaling"]["predicted"]["scale"] == "8M"
    result.stdout.fnmatch_lines(["*4 runs at 4 scales*", "*What would change it*"])


def test_the_folder_beside_the_weights_is_the_ladder(project: pytest.Pytester) -> None:
    checkpoint = project.mkdir("ckpt")
    rungs(checkpoint / "ladder", "2M", "1M")
    project.runpytest("-m", "graduation", "--ckpt", str(checkpoint), "--scorecard=out.json", project.path)
    assert len(read(project)["decision"]["scaling"]["points"]) == 3


def test_a_file_is_decided_on_with_the_ladder_of_its_run(project: pytest.Pytester) -> None:
    """Same files, same answer: also from another folder, and where a file is gone or changed that is said."""
    checkpoint = project.mkdir("ckpt")
    rungs(checkpoint / "ladder", "2M", "1M", "TINY")
    project.runpytest("-m", "graduation", "--ckpt", "ckpt", "--scorecard=out.json", project.path)
    card = scorecard.read(project.path / "out.json")
    assert card.decision is not None
    assert [file.path for file in card.decision.ladder] == [
        f"ckpt/ladder/{scale}.json" for scale in ("1M", "2M", "TINY")
    ]

    def again(*paths: Path) -> scorecard.Decision:
        return decide_files(paths or (project.path / "out.json",))[1]

    first = again()
    assert first.categories == card.decision.categories
    assert first.scaling == card.decision.scaling
    assert first.ladder == card.decision.ladder
    given = again(project.path / "out.json", checkpoint / "ladder")
    assert (given.scaling, len(given.ladder)) == (first.scaling, 3), "a file that is given is not read twice"
    elsewhere = project.mkdir("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        assert again().scaling == first.scaling, "paths are looked up from the scorecard too"
        deeper = project.mkdir("results") / "out.json"
        scorecard.write(card, deeper)
        assert again(deeper).scaling == first.scaling, "and from the folders above it, where the run began"
    (checkpoint / "ladder" / "1M.json").unlink()
    scorecard.write(whole("2M", loss=9.0), checkpoint / "ladder" / "2M.json")
    less = again()
    assert less.scaling is not None
    assert less.scaling.scales == 2
    assert any(
        "2 of the 3 scorecards" in note and "1M.json is not there; ckpt/ladder/2M.json has changed" in note
        for note in less.notes
    ), less.notes


def test_without_either_there_is_none(project: pytest.Pytester) -> None:
    checkpoint = project.mkdir("ckpt")
    project.runpytest("-m", "graduation", "--ckpt", str(checkpoint), "--scorecard=out.json", project.path)
    decision = read(project)["decision"]
    assert decision["scaling"] is None
    assert decision["categories"]["scaling law fit"]["score"] == 0
    assert any("measure 3 more scales (2M, 1M, TINY)" in step for step in decision["next_steps"])


def test_what_is_no_ladder_is_found_before_the_run(project: pytest.Pytester) -> None:
    project.mkdir("empty")
    edited = rungs(project.path / "edited", "2M") / "2M.json"
    edited.write_text(edited.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    for path, says in (("none.json", "cannot be read"), ("empty", "has no scorecard"), ("edited", "was changed after")):
        result = project.runpytest("-m", "graduation", "--gt-ladder", path, project.path)
        assert result.ret == 4
        result.stderr.fnmatch_lines([f"*{says}*"])
