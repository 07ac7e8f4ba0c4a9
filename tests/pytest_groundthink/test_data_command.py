"""`groundthink data`: shards from the command line, and what is in them."""

import hashlib

import pytest

from gt.data.config import DataSource
from pytest_groundthink.cli import app


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    documents = (" ".join(f"{i} is {i * j}, so {j}." for j in range(20)) for i in range(300))
    (tmp_path / "some.txt").write_text("\n<|endoftext|>\n".join(documents))
    return tmp_path / "some.txt"


def run(capsys, *arguments):
    """Exit status, what was printed."""
    try:
        app(["data", *map(str, arguments)], result_action="return_value")
        status = 0
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().out


def test_build_and_inspect(text, capsys):
    status, printed = run(capsys, "build", "some.txt", "--out", "s", "--vocab-size", 300, "--workers", 1)
    assert status == 0
    assert "training a tokenizer: s/tokenizer.json" in printed
    assert "some.txt (valid): " in printed
    status, again = run(capsys, "build", "some.txt", "--out", "s", "--workers", 1)
    assert status == 0
    assert "training a tokenizer" not in again
    assert again.splitlines()[-1] == printed.splitlines()[-1]
    assert again.splitlines()[-1].startswith("sha256: ")
    status, printed = run(capsys, "inspect", "s", "--windows", 3, "--length", 12)
    assert status == 0
    assert "source     path some.txt" in printed
    assert f"sha256 {hashlib.sha256((text.parent / 's' / 'tokenizer.json').read_bytes()).hexdigest()[:12]}" in printed
    windows = [line for line in printed.splitlines() if line.startswith("  at ")]
    assert len(windows) == 3
    assert all(" is 0, so 0." in window for window in windows)
    status, alone = run(capsys, "inspect", next(text.parent.glob("s/some-txt-*")))
    assert status == 0
    assert "train " in alone
    assert "verified   every shard is as it was written" in run(capsys, "inspect", "s", "--verify")[1]
    shard = next(text.parent.glob("s/*/00000.train.tokens.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    status, printed = run(capsys, "inspect", "s", "--verify")
    assert status == 4
    assert "00000.train.tokens.npy is not as it was written" in printed


@pytest.mark.parametrize("other", [("--kind", "char"), ("--vocab-size", 290), ("--vocab-size", 310)])
def test_a_tokenizer_of_other_settings_is_refused(text, capsys, other):
    assert run(capsys, "build", "some.txt", "--out", "s", "--vocab-size", 300, "--workers", 1)[0] == 0
    assert run(capsys, "build", "some.txt", "--out", "s", "--vocab-size", 300, "--kind", "bpe")[0] == 0
    for more in (("--out", "s"), ("--out", "t", "--tokenizer", "s/tokenizer.json")):
        status, printed = run(capsys, "build", "some.txt", *more, *other)
        assert status == 4
        assert f"{other[0]} is {other[1]}, but the tokenizer s/tokenizer.json was trained with " in printed


def test_a_text_too_small_for_the_vocabulary_is_no_other_setting(text, capsys):
    build = ("build", "some.txt", "--kind", "char", "--vocab-size", 5000, "--workers", 1)
    assert run(capsys, *build)[0] == run(capsys, *build)[0] == 0
    status, printed = run(capsys, *build[:4], "--vocab-size", 4000)
    assert status == 4
    assert "was trained with 5000" in printed


def test_sources_from_a_file(text, capsys):
    (text.parent / "other.txt").write_text("Quite another text. " * 50)
    (text.parent / "c.yaml").write_text("data:\n  - {path: some.txt, weight: 2}\nvalid: [other.txt]\nlength: 64\n")
    status, printed = run(capsys, "build", "--config", "c.yaml", "--kind", "char", "--workers", 1)
    assert status == 0
    assert "other.txt: 1,000 tokens in 1 documents" in printed
    assert "text       1,000 tokens in 1 documents" in run(capsys, "inspect", "runs/shards")[1]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "data: [{path: some.txt, wieght: 2}]",
            "c.yaml:1: data.0.wieght: there is no such setting: did you mean",
        ),
        ("data: some.txt", "c.yaml:1: data: expected a list of paths, or of mappings"),
        ("dta: []", "c.yaml:1: dta: there is no such setting: did you mean data?"),
        ("data: [", "c.yaml:1: is not valid YAML"),
        ("data: [{path: some.txt, weight: 0}]", "c.yaml:1: data.0: weight of some.txt is 0.0"),
        ("data: [3]", "c.yaml:1: data.0: expected"),
        ("data: [some.txt, {weight: 1}]", "c.yaml:1: data.1: "),
        ("data: [{path: some.txt, weight: '1'}]", "c.yaml:1: data.0.weight: expected `float`, got `str`"),
        ("data: [{path: some.txt, count: true}]", "c.yaml:1: data.0.count: expected `int | null`, got `bool`"),
        ("valid: [{path: some.txt, count: x}]", "c.yaml:1: valid.0.count: expected `int | null`, got `str`"),
        ("data: [none.txt]", "none.txt: no such file or folder"),
        ("data: []", "no source: give files"),
        ("{data: [some.txt], valid: [some.txt]}", "validation text occurs in training"),
    ],
)
def test_bad_input_is_one_line(text, capsys, content, problem):
    (text.parent / "c.yaml").write_text(content)
    status, printed = run(capsys, "build", "--config", "c.yaml", "--kind", "char", "--workers", 1)
    assert status == 4
    (line,) = [line for line in printed.splitlines() if "groundthink data build: " in line]
    assert problem in line


def test_training_finds_what_was_built_from_its_preset(text, capsys):
    from gt.training.config import TrainConfig
    from gt.training.inputs import open_inputs
    from pytest_groundthink.presets import read_preset

    (text.parent / "c.yaml").write_text(
        "model: GF-MH@TINY\nshards: s\ndata: [{path: some.txt, weight: 2}]\n"
        "vocab_size: 258\nvalid_share: 0.2\nlength: 16\nworkers: 1\n"
    )
    assert run(capsys, "build", "--config", "c.yaml")[0] == 0
    (built,) = text.parent.glob("s/*/manifest.json")
    written = built.stat().st_mtime_ns
    preset = read_preset("c.yaml")
    preset["data"] = tuple(DataSource(**item) for item in preset["data"])
    inputs = open_inputs(TrainConfig(**preset), text.parent / "tokenizer.json")
    assert inputs.tokenizer.vocab_size == 258
    assert inputs.hashes["tokenizer"] == hashlib.sha256((text.parent / "s/tokenizer.json").read_bytes()).hexdigest()
    assert list(text.parent.glob("s/*/manifest.json")) == [built]
    assert built.stat().st_mtime_ns == written


def test_a_preset_with_init_is_tokenised_as_its_weights_were(text, capsys):
    assert run(capsys, "build", "some.txt", "--out", "old", "--kind", "char", "--workers", 1)[0] == 0
    (text.parent / "c.yaml").write_text("init: old\nshards: s\ndata: [some.txt]\nworkers: 1\n")
    status, printed = run(capsys, "build", "--config", "c.yaml")
    assert status == 0
    assert "tokenizer: old/tokenizer.json" in printed
    assert not (text.parent / "s/tokenizer.json").exists()


def test_the_command_line_goes_over_the_preset(text, capsys):
    (text.parent / "other.txt").write_text("Quite another text. " * 50)
    (text.parent / "c.yaml").write_text(
        "shards: s\nvocab_size: 290\nallow_leaks: true\ntokenizer_kind: char\nvalid: [{path: other.txt, count: 1}]\n"
    )
    more = ("--vocab-size", 300, "--kind", "bpe", "--workers", 1)
    status, printed = run(capsys, "build", "other.txt", "--config", "c.yaml", "--out", "t", *more)
    assert status == 0
    assert "shards: t\n" in printed
    assert not (text.parent / "s").exists()
    status, printed = run(capsys, "build", "other.txt", "--config", "c.yaml", "--no-allow-leaks", "--workers", 1)
    assert status == 4
    assert "validation text occurs in training" in printed


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--valid-share", 2), "valid_share is 2.0: expected at least 0 and below 1"),
        (("--workers", 0), "workers is 0: expected at least 1"),
        (("--vocab-size", 2), "vocab_size is 2: "),
        (("--vocab-size", 2, "--kind", "char"), "vocab_size is 2: "),
        (("--valid", "none.txt"), "none.txt: no such file or folder"),
        (("none.txt",), "none.txt: no such file or folder"),
        (("--tokenizer", "none.json"), "cannot read tokenizer none.json"),
    ],
)
def test_nothing_is_trained_before_all_is_seen_to_fit(text, capsys, monkeypatch, options, problem):
    monkeypatch.setattr("gt.data.sources.pieces", lambda source: pytest.fail("text was read"))
    status, printed = run(capsys, "build", "some.txt", *options)
    assert status == 4
    assert f"groundthink data build: {problem}" in printed
    assert not (text.parent / "runs").exists()


def test_shards_are_a_source_without_their_text(text, capsys):
    assert run(capsys, "build", "some.txt", "--out", "s", "--vocab-size", 258, "--workers", 1)[0] == 0
    (shards,) = text.parent.glob("s/some-txt-*")
    text.unlink()
    status, printed = run(capsys, "build", shards, "--out", "s")
    assert status == 0
    assert "some.txt (valid): " in printed


@pytest.mark.parametrize(("option", "value", "least"), [("windows", -1, 0), ("length", -3, 1), ("length", 0, 1)])
def test_windows_that_make_no_sense_are_refused(text, capsys, option, value, least):
    assert run(capsys, "build", "some.txt", "--out", "s", "--vocab-size", 258, "--workers", 1)[0] == 0
    status, printed = run(capsys, "inspect", "s", f"--{option}", value)
    assert status == 4
    assert f"groundthink data inspect: {option} is {value}: expected at least {least}" in printed


def test_nothing_to_inspect(text, capsys):
    status, printed = run(capsys, "inspect", ".")
    assert status == 4
    assert "holds no shards: expected a folder that `groundthink data build --out` made" in printed


def test_an_interrupted_build_says_that_nothing_is_lost(text, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("gt.data.dataset.prepare", interrupted)
    status, printed = run(capsys, "build", "some.txt", "--kind", "char")
    assert status == 130
    assert "interrupted; what is finished is kept" in printed
