"""Models of the user's own in real sessions: a plain module gets its checks, a streaming one more, errors are shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gt.tokenizers import train_bpe

from .conftest import card, statuses

ZOO = """
    import gt
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, 16)
            self.gru = nn.GRU(16, 16, batch_first=True)
            self.head = nn.Linear(16, vocab_size, bias=False)
            self.head.weight = self.embedding.weight
            nn.init.normal_(self.embedding.weight, std=0.02)

        def forward(self, tokens):
            return self.head(self.gru(self.embedding(tokens))[0])

    @gt.register_model("streams", scale="TINY")
    class Streams(Plain):
        def forward(self, tokens, state=None, return_states=False):
            before = None if state is None else state["gru_state"].transpose(0, 1).contiguous()
            out, after = self.gru(self.embedding(tokens), before)
            logits = self.head(out)
            return (logits, {"gru_state": after.transpose(0, 1)}) if return_states else logits

    class Broken(Plain):
        def forward(self, tokens):
            raise RuntimeError("the owner's own mistake")

    def unbuildable(vocab_size):
        raise LookupError("no weights in the cellar")
"""
COMMON = ("--gt-device=cpu", "--scorecard=out.json")


@pytest.fixture
def zoo(real: pytest.Pytester) -> pytest.Pytester:
    """A project with models of its own beside its tests."""
    real.makepyfile(zoo=ZOO)
    return real


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and the tokenizer of such a model, as a user would have saved them."""
    folder = tmp_path_factory.mktemp("own")
    train_bpe(
        ["A cat sat on the mat and looked at the moon. Who looks at the cat? "] * 200, 280, folder / "tokenizer.json"
    )
    torch.manual_seed(0)
    gru, embedding = torch.nn.GRU(16, 16, batch_first=True), torch.nn.Embedding(280, 16)
    state = {f"gru.{name}": tensor for name, tensor in gru.state_dict().items()}
    torch.save(state | {"embedding.weight": embedding.weight, "head.weight": embedding.weight}, folder / "model.pt")
    from safetensors.torch import save_file

    save_file({**state, "embedding.weight": embedding.weight.detach()}, folder / "model.safetensors")
    return folder


def judged(zoo: pytest.Pytester, *options: str) -> dict[str, Any]:
    zoo.runpytest(*options, *COMMON)
    return {check["id"]: check for check in card(zoo)["checks"]}


def test_a_plain_module_gets_what_needs_no_more(zoo: pytest.Pytester, weights: Path) -> None:
    checks = judged(zoo, "--model=zoo:Plain@TINY", f"--ckpt={weights}", "-k", "not G3 and not G4 and not S4 and not L1")
    passed = {name for name, check in checks.items() if check["status"] == "PASS"}
    assert {"G1a", "G1b", "G1d", "G1e", "G2"} <= passed
    assert checks["L2"]["measurements"], "it has weights, so L2 is measured"
    for name in ("G0", "G1c", "S0", "S1", "S2", "S3", "C1a", "C1b-lite"):
        assert checks[name]["status"] == "NODATA"
        assert not checks[name]["applicable"], f"{name} is not required of such a model"
        assert not checks[name]["error"]
    subject = card(zoo)["subject"]
    assert (subject["model"], subject["scale"]) == ("zoo:Plain", "TINY")
    assert subject["capabilities"] == ["checkpoint", "subword_tokenizer", "tokenizer"]
    assert subject["params"]["total"] - subject["params"]["non_embedding"] == 280 * 16
    assert subject["tokenizer"]["vocab_size"] == 280


def test_a_registered_streaming_module_gets_state_checks_and_canaries(zoo: pytest.Pytester, weights: Path) -> None:
    zoo.makeconftest("import zoo")
    checks = judged(zoo, "--model=Streams", f"--ckpt={weights / 'model.safetensors'}", "-k", "G1c or S0 or S1 or S3")
    assert statuses(card(zoo)) == dict.fromkeys(("G1c", "S0", "S1", "S3"), "NODATA")
    assert "280" in checks["S0"]["reason"], "a bare file has the shipped tokenizer, which has more tokens"
    checks = judged(zoo, "--model=Streams", f"--ckpt={weights}", "-k", "G1c or S0 or S1 or S2 or S3 or C1a")
    assert {checks[name]["status"] for name in ("G1c", "S0", "S1", "S3")} == {"PASS"}
    assert checks["C1a"]["measurements"][0]["n"] == 400
    assert checks["S2"]["measurements"]


def test_two_workers_find_it_too(zoo: pytest.Pytester) -> None:
    judged(zoo, "--model=zoo:Plain@TINY", "-k", "G1a or G1d", "-n1")
    assert statuses(card(zoo)) == {"G1a": "PASS", "G1d": "PASS"}


@pytest.mark.parametrize(
    ("model", "error", "place"),
    [
        ("zoo:Broken", "RuntimeError: the owner's own mistake", "zoo.py"),
        ("zoo:unbuildable", "LookupError: no weights in the cellar", "zoo.py"),
        ("torn:Plain", "ZeroDivisionError: division by zero", "torn.py"),
    ],
)
def test_errors_in_their_code_are_no_data_with_their_traceback(
    zoo: pytest.Pytester, model: str, error: str, place: str
) -> None:
    zoo.makepyfile(torn="1 / 0")
    result = zoo.runpytest(f"--model={model}@TINY", "-k", "G1a or G2", *COMMON)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    printed = result.stdout.str()
    assert place in printed
    assert error in printed
    for check in card(zoo)["checks"]:
        assert (check["status"], check["error"], check["reason"]) == ("NODATA", True, error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model=zoo:Plan"], "*unknown model 'zoo:Plan': zoo has no Plan*"),
        (["--model=zo:Plain"], "*unknown model 'zo:Plain': no module zo *"),
        (["--model=zoo:Plain@9G"], "*unknown scale '9G'*"),
        (["--model=zoo:Plain", "--gt-scale=9G"], "*unknown scale '9G'*"),
        (["--model=zoo:Plain", "--ckpt=none.pt"], "*no weights at *none.pt*"),
        (["--model=zoo:Plain", "--gt-sabotage=deaf"], "*zoo:Plain@3.5M is your own*"),
    ],
)
def test_a_wrong_name_is_one_line_and_status_4(zoo: pytest.Pytester, options: list[str], message: str) -> None:
    result = zoo.runpytest("-k", "G1a", *options, *COMMON)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert len([line for line in result.stderr.lines if line.strip()]) == 1
    assert not (zoo.path / "out.json").exists()


def test_a_transformer_is_not_asked_for_what_it_cannot_have(real: pytest.Pytester) -> None:
    real.runpytest("--model=GPT2@TINY", "-k", "G0 or G1 and not G1e or G4 or S0 or S1 or S2 or S3 or C1a", *COMMON)
    checks = {check["id"]: check for check in card(real)["checks"]}
    assert {checks[name]["status"] for name in ("G1a", "G1b", "G1c", "G1d")} == {"PASS"}
    assert not any(checks[name]["applicable"] for name in ("G0", "G4", "S0", "S1", "S2", "S3"))
    assert checks["C1a"]["applicable"], "it could hold a conversation, had it been trained"
    assert not any(check["error"] for check in checks.values())
    assert card(real)["subject"]["kernels"].keys() == {"cross_entropy"}


def test_the_example_of_the_documentation_works(real: pytest.Pytester) -> None:
    text = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    (example,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if block.startswith("# mine.py")
    ]
    (command,) = re.findall(r"```sh\npytest (.*?)\n```", text)
    (real.path / "mine.py").write_text(example, encoding="utf-8")
    real.runpytest(*command.split(), "--gt-device=cpu", "-k", "G1a or G1b or G1d or G2")
    assert statuses(card(real)) == dict.fromkeys(("G1a", "G1b", "G1d", "G2"), "PASS")
