"""What a newcomer meets first: the README's commands and tables, the pins, the papers, the picture."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gt.baseline import find_baseline
from gt.checkpoint import inspect_checkpoint, read_training
from gt.data.corpus import python_reference
from gt.models.config import parameter_counts
from gt.registry import resolve

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHECKPOINT = ROOT / "fixtures" / "checkpoints" / "gf-mh-3.5m"
PAPERS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]
GPU = re.compile(r"^(nvidia-|cuda-|triton)")


def command(name: str) -> str:
    """The README's command of a name, as .ci/run finds it."""
    found = re.findall(rf"^<!-- command: {name} -->\n```sh\n(.+)\n```$", README, flags=re.MULTILINE)
    assert len(found) == 1, f"the README needs one line marked 'command: {name}'"
    return str(found[0])


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = (re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][^\s;]*)", line) for line in lines if not line.startswith("#"))
    return {canonicalize_name(match[1]): match[2] for match in pinned if match is not None}


def installed_with(name: str, extras: tuple[str, ...] = ()) -> set[str]:
    """Everything that a distribution pulls in, in this environment."""
    found: set[str] = set()
    todo = [(name, extras)]
    while todo:
        one, wanted = todo.pop()
        for line in metadata.requires(one) or ():
            needed = Requirement(line)
            if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                continue
            key = canonicalize_name(needed.name)
            if key not in found:
                found.add(key)
                todo.append((key, tuple(needed.extras)))
    return found


def test_the_readmes_commands_are_one_line_each_and_name_what_there_is() -> None:
    judge, test = command("judge"), command("test")
    for line in (judge, test):
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ")
    assert "-m graduation --model GF-MH --ckpt fixtures/checkpoints/gf-mh-3.5m --scorecard" in judge
    assert (CHECKPOINT / "model.safetensors").is_file()
    assert "'.[dev]'" in test


@pytest.mark.parametrize("paper", PAPERS)
def test_links_lead_somewhere(paper: str) -> None:
    text = (ROOT / paper).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if not target.startswith("https://"):
            assert (ROOT / paper).parent.joinpath(target).exists(), f"{paper} links to {target}"


def test_the_readme_lists_every_option_once() -> None:
    table = README.split("## Options")[1].split("\n\n`-m`")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `--")]
    listed = sorted(option for row in rows for option in re.findall(r"--[a-z-]+", row))
    help_text = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    group = re.split(r"^groundthink: .*$", help_text, flags=re.MULTILINE)[1].split("\n\n")[0]
    assert listed == sorted(re.findall(r"^  (--[a-z-]+)", group, flags=re.MULTILINE))


def test_a_gate_run_in_a_checkout_is_not_bound_by_what_our_own_tests_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shows_settings.py").write_text(
        """
import os

def pytest_sessionfinish(session):
    filters = session.config.getini("filterwarnings")
    print(f"threads {os.environ.get('OMP_NUM_THREADS')}, filters {filters}, {session.testscollected} collected")
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS")
    asking = [sys.executable, "-m", "pytest", "-p", "shows_settings", "-p", "no:cacheprovider", "--collect-only", "-q"]
    asked = [*asking, "-m", "gate", "--model", "GF-MH@TINY"]
    gates = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"threads None, filters \[\], [1-9]\d* collected", gates), gates
    own = subprocess.run([*asking, "tests/test_packaging.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "threads 1, filters ['error']" in own.stdout, own.stdout


def test_everything_that_is_installed_is_pinned() -> None:
    needed = {name for name in installed_with(PROJECT["project"]["name"], ("dev",)) if not GPU.match(name)}
    assert needed >= {"torch", "pytest", "mypy"}
    assert sorted(needed - pins().keys()) == []


def test_pins_satisfy_what_the_project_asks_for() -> None:
    project = PROJECT["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        needed = Requirement(line)
        assert needed.specifier.contains(pins()[canonicalize_name(needed.name)]), line


def test_pins_name_no_index_and_no_gpu_library() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(pins()) == sum(not line.startswith("#") for line in lines)
    assert not [name for name in pins() if GPU.match(name)]


def test_the_wheel_carries_suites_fixtures_and_configs() -> None:
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "suites": "pytest_groundthink/suites",
        "fixtures": "pytest_groundthink/fixtures",
        "configs": "pytest_groundthink/configs",
    }
    assert (ROOT / "gt" / "py.typed").is_file()
    assert (ROOT / "pytest_groundthink" / "py.typed").is_file()


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{PROJECT['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert metadata.version(PROJECT["project"]["name"]) == PROJECT["project"]["version"]


def test_the_model_card_agrees_with_the_checkpoint() -> None:
    card = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    training = config["training"]
    total, non_embedding = parameter_counts(resolve("GF-MH@3.5M").config(config["model"]["vocab_size"]))
    for figure in (
        f"{total:,}",
        f"{non_embedding:,}",
        f"{config['step']:,} steps of {training['batch_size']} x {training['length']} tokens",
        f"{config['tokens'] / 1e6:.0f}M tokens",
        f"{training['corpus_tokens'] / 1e6:.1f}M tokens",
        f"{training['valid_loss']:.3f} nats",
        f"{training['seconds']:.0f} s",
        training["device"],
    ):
        assert figure in card


def test_the_checkpoint_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.rglob("*")) <= 20_000_000


def test_the_checkpoint_has_a_baseline_that_was_trained_alike() -> None:
    spec = resolve("GF-MH@3.5M")
    baseline = find_baseline(inspect_checkpoint(CHECKPOINT, spec), spec)
    assert baseline.path == CHECKPOINT / "baseline"
    assert f"{read_training(baseline.path)['valid_loss']:.3f} nats" in (CHECKPOINT / "README.md").read_text("utf-8")


def test_the_checkpoints_ladder_counts_and_its_scorecard_is_a_go() -> None:
    text = python_reference()
    rungs = sorted((CHECKPOINT / "ladder").glob("*.json"))
    assert len(rungs) == 5
    for path in [*rungs, ROOT / "docs" / "results" / "gf-mh-3.5m.json"]:
        judged_on = json.loads(path.read_text(encoding="utf-8"))["subject"]["corpus"]
        assert (judged_on["name"], judged_on["share"]) == (text.name, 1.0)
        if text.share == 1.0:
            assert judged_on["sha256"] == text.sha256, path
    decide = "from pytest_groundthink.cli import main; main()"
    command = [sys.executable, "-c", decide, "decide", "docs/results/gf-mh-3.5m.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GO  GF-MH@3.5M" in done.stdout
    assert "5 runs at 5 scales" in done.stdout


def test_the_picture_shows_a_decision() -> None:
    root = ET.parse(ROOT / "docs" / "summary.svg").getroot()
    text = " ".join("".join(root.itertext()).replace("\xa0", " ").split())
    for shown in ("groundthink: GF-MH@3.5M", "C1b-lite", "GO", "Reasons", "scaling law fit"):
        assert shown in text
    assert "http" not in text
    assert str(ROOT) not in text


def test_the_picture_keeps_what_a_terminal_would_show(tmp_path: Path) -> None:
    out = tmp_path / "picture.svg"
    code = r"print('before\n\x1b[1mprogress 1\x1b[0m\rprogress 2\n\x1b[1A\r\x1b[K\x1b[31mkept\x1b[0m\nafter')"
    script = [sys.executable, str(ROOT / "docs" / "terminal_picture.py"), "--out", str(out)]
    script += ["--start", "kept", "--stop", "after", "--", sys.executable, "-c", code]
    subprocess.run(script, capture_output=True, check=True)
    text = "".join(ET.parse(out).getroot().itertext())
    assert "kept" in text
    assert "progress 1" not in text
    assert "progress 2" not in text
    assert "#f4005f" in out.read_text(encoding="utf-8")
