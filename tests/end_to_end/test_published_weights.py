"""Published weights in real sessions: gates and states are judged, language where their tokenizer lies beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gt.models.published import PublishedLM
from gt.models.published_config import PublishedRWKV6, official_name
from gt.resources import fixtures_dir
from gt.tokenizers import train_bpe
from tests.golden import tensors

from .conftest import card, statuses

COMMON = ("--gt-device=cpu", "--gt-scale=TINY", "--scorecard=out.json")
REASON = "the subject lacks the tokenizer of its weights (needs tokenizer.json beside the weights)"


@pytest.fixture
def published(real: pytest.Pytester) -> pytest.Pytester:
    """A project with the golden weights of both kinds: a file as RWKV-LM saves it, a folder as transformers does."""
    for kind in ("rwkv6", "mamba2"):
        weights = {name: t for name, t in tensors(f"{kind}_model").items() if not name.startswith("golden.")}
        folder = real.path / f"{kind} weights"
        folder.mkdir()
        if kind == "rwkv6":
            torch.save(weights, folder / "RWKV-x060.pth")
        else:
            save_file(weights, folder / "model.safetensors")
    return real


def judged(session: pytest.Pytester, *options: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    result = session.runpytest(*options, *COMMON)
    return result, {check["id"]: check for check in card(session)["checks"]}


@pytest.mark.parametrize(
    ("model", "name", "ops", "total"),
    [
        ("RWKV6:rwkv6 weights/RWKV-x060.pth", "rwkv6:RWKV-x060.pth", {"wkv6"}, 178_560),
        ("mamba2:~/mamba2 weights", "mamba2:mamba2_weights", {"ssd", "causal_conv1d"}, 72_664),
    ],
)
def test_gates_and_states_are_judged(
    model: str, name: str, ops: set[str], total: int, published: pytest.Pytester
) -> None:
    result, checks = judged(published, "-m", "gate or state", f"--model={model}")
    passed = {id_ for id_, check in checks.items() if check["status"] == "PASS"}
    assert {"G0", "G1a", "G1b", "G1c", "G1d", "G1e", "S0", "S1", "S3"} <= passed
    assert all(checks[id_]["measurements"] for id_ in ("G2", "G3", "S2", "S4"))
    assert not any(check["error"] for check in checks.values())
    assert not checks["G4"]["applicable"], "it has one component"
    subject = card(published)["subject"]
    assert (subject["label"], subject["model"], subject["scale"]) == (f"{name}@TINY", name, "TINY")
    assert subject["kernels"].keys() == ops | {"token_mix", "rms_norm", "gated_group_norm", "cross_entropy"}
    assert subject["params"]["total"] == total
    assert len(subject["checkpoint"]["sha256"]) == 64
    assert subject["tokenizer"]["kind"] == "borrowed"
    result.stdout.fnmatch_lines([f"*groundthink: {name}@TINY*", f"*{total:,} parameters, checkpoint *weights*"])


def test_without_their_tokenizer_nothing_is_said_of_language(published: pytest.Pytester) -> None:
    _, checks = judged(published, "-k", "L2 or C1a or C1b-lite", "--model=mamba2:mamba2 weights")
    assert checks.keys() == {"L2", "C1a", "C1b-lite"}
    for check in checks.values():
        assert (check["status"], check["reason"], check["error"]) == ("NODATA", REASON, False)
        assert check["applicable"], "it could be measured: it holds a decision"


def test_with_their_tokenizer_language_is_judged(real: pytest.Pytester) -> None:
    train_bpe(["A cat sat on the mat. Who looks at the cat? "] * 200, 270, real.path / "own" / "tokenizer.json")
    config = PublishedRWKV6(  # embeddings are often padded: 300 rows for 270 tokens
        vocab_size=300, num_layers=1, hidden_size=16, num_heads=1, ffn_size=16, lora_mix=4, lora_decay=4
    )
    torch.manual_seed(0)
    weights = {official_name(name, "rwkv6"): value for name, value in PublishedLM(config).state_dict().items()}
    torch.save(weights, real.path / "own" / "x.pth")
    _, checks = judged(real, "-k", "L2 or C1a", "--model=rwkv6:own/x.pth")
    assert statuses(card(real)) == {"L2": "FAIL", "C1a": "FAIL"}, "it has learned nothing"
    assert checks["C1a"]["measurements"][0]["n"] == 400
    subject = card(real)["subject"]
    assert {"checkpoint", "tokenizer", "subword_tokenizer"} <= set(subject["capabilities"])
    assert (subject["tokenizer"]["kind"], subject["tokenizer"]["vocab_size"]) == ("subword", 270)


@pytest.mark.parametrize(
    ("model", "fault", "check"),
    [
        ("rwkv6:rwkv6 weights", "dropped-state", "G1c"),
        ("rwkv6:rwkv6 weights", "nan-weight", "G1a"),
        ("mamba2:mamba2 weights", "frozen-state", "S2"),
        ("mamba2:mamba2 weights", "loud-embedding", "G2"),
        ("mamba2:mamba2 weights", "eval-noise", "S3"),
    ],
)
def test_a_fault_is_seen(model: str, fault: str, check: str, published: pytest.Pytester) -> None:
    result, _ = judged(published, "-k", check, f"--model={model}", f"--gt-sabotage={fault}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert statuses(card(published)) == {check: "FAIL"}


def test_a_checkpoint_goes_to_the_model_beside_them_and_a_worker_finds_all(published: pytest.Pytester) -> None:
    shipped = fixtures_dir() / "checkpoints" / "gf-mh-3.5m"
    models = ("--model=rwkv6:rwkv6 weights", "--model=GF-MH@3.5M", "--model=mamba2:mamba2 weights")
    options = ("--gt-device=cpu", "--scorecard=out.json", "-k", "G1d", "-n1")
    published.runpytest(*models, f"--ckpt={shipped}", *options)
    cards = [card(published, f"out.{name}@3.5M.json") for name in ("rwkv6_rwkv6_weights", "GF-MH")]
    cards.append(card(published, "out.mamba2_mamba2_weights@3.5M.json"))
    assert [statuses(scored) for scored in cards] == [{"G1d": "PASS"}] * 3
    assert [Path(scored["subject"]["checkpoint"]["path"]).name for scored in cards] == [
        "rwkv6 weights",
        "gf-mh-3.5m",
        "mamba2 weights",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model=rwkv6:"], "model 'rwkv6:' names no weights: expected rwkv6:PATH*"),
        (["--model=rwkv6:none.pth"], "no weights at */none.pth: expected a file*"),
        (["--model=rwkv6:mamba2 weights"], "* is no RWKV-6 x060 language model: lacks 34 tensors*"),
        (["--model=rwkv7:mamba2 weights"], "unknown model 'rwkv7:mamba2 weights': expected *rwkv6:PATH or mamba2:*"),
        (
            ["--model=mamba2:mamba2 weights", "--ckpt=x"],
            "--ckpt x was given for mamba2:*leave --ckpt out",
        ),
        (["--model=mamba2:mamba2 weights", "--ckpt=x", "--ckpt=y"], "--ckpt was given for published weights alone*"),
        (["--model=mamba2:mamba2 weights", "--gt-sabotage=dead-mamba"], "sabotage 'dead-mamba' needs rwkv*"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_4(options: list[str], message: str, published: pytest.Pytester) -> None:
    result = published.runpytest("-m", "gate", *options, *COMMON)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert len([line for line in result.stderr.lines if line.strip()]) == 1
    assert not (published.path / "out.json").exists()
