"""Planning a subject: everything wrong is one clear line, found without torch; and the table of faults."""

from __future__ import annotations

import msgspec
import pytest
import yaml

from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from gt.subject import SubjectRequest, plan_subject

CHECKS = yaml.safe_load((fixtures_dir() / "checks.yaml").read_text(encoding="utf-8"))["checks"]


def plan(**request: object) -> object:
    return plan_subject(msgspec.convert(request, SubjectRequest))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"model": "GF-MX"}, "unknown model 'GF-MX': did you mean"),
        ({"model": "GF-MH@9G"}, "unknown scale '9G'"),
        ({"dtype": "float16"}, "unknown dtype 'float16': expected one of float32, bfloat16, float64"),
        ({"device": "tpu"}, "unknown device 'tpu': expected one of auto, cpu, cuda"),
        ({"sabotage": "gremlins"}, "unknown sabotage 'gremlins': there are wrong-kernel"),
        ({"model": "RWKV6", "sabotage": "dead-mamba"}, "sabotage 'dead-mamba' needs mamba, which RWKV6@3.5M lacks"),
        ({"seed": -1}, "seed is -1: expected 0 or more"),
        ({"corpus": "/none.txt"}, "corpus /none.txt: no such file"),
        ({"ckpt": "/none"}, "no checkpoint at /none"),
        ({"model": "GF-MH@8M", "ckpt": str(fixtures_dir() / "checkpoints/gf-mh-3.5m")}, "use --model GF-MH@3.5M"),
        ({"model": "GF-MH@8M", "scale": "3.5M"}, "names the scale 8M"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(map(str, value.values())).replace("/", "_")[-30:],
)
def test_what_is_wrong_is_one_line(request_: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        plan(**request_)
    assert "\n" not in str(caught.value)


def test_without_a_model_it_is_the_shipped_checkpoint() -> None:
    found = plan_subject(SubjectRequest())
    assert found.label == "GF-MH@3.5M"
    assert found.checkpoint is not None
    assert {"checkpoint", "training_log", "subword_tokenizer", "two_components"} <= found.capabilities
    assert found.config.vocab_size == 8192


def test_a_model_without_a_checkpoint_is_fresh_and_borrows_the_tokenizer() -> None:
    found = plan_subject(SubjectRequest(model="rwkv6@tiny", sabotage="deaf"))
    assert found.label == "RWKV6@TINY+deaf"
    assert found.checkpoint is None
    assert "checkpoint" not in found.capabilities
    assert found.tokenizer.is_file()
    assert found.config.vocab_size == 8192


@pytest.mark.parametrize("name", SABOTAGES)
def test_every_fault_says_what_it_is_and_which_check_catches_it(name: str) -> None:
    fault = SABOTAGES[name]
    assert len(fault.summary) > 10
    assert fault.caught_by in CHECKS


def test_every_check_has_its_fault() -> None:
    assert {fault.caught_by for fault in SABOTAGES.values()} == CHECKS.keys()
