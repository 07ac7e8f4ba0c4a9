"""Controls: enough of every kind, and trained once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from torch import nn

from gt import proof
from gt.kernels import BACKENDS
from gt.probes.training_runs import against_gpt2
from gt.registry import VARIANTS
from gt.sabotage import plant
from gt.tokenizers import train_bpe
from tests.gt.training.runs import write_prose


def test_controls_are_of_every_variant_and_of_several_lengths() -> None:
    trained = [one for one in proof.controls(32, 100) if one.model]
    assert len({one.name for one in trained}) == 32
    assert trained[0].model == "GF-MH@TINY", "it has what every fault needs"
    assert {one.model for one in trained[:15]} == {f"{name}@TINY" for name in VARIANTS}
    assert [(one.seed, one.steps) for one in trained[::15]] == [(0, 100), (1, 60), (2, 200)]


def test_a_control_is_trained_once(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_prose(tmp_path / "prose.txt")
    train_bpe([text.read_text()], 512, tmp_path / "tokenizer.json")
    monkeypatch.setattr(proof, "_text", lambda place: (text, tmp_path / "tokenizer.json"))
    control = proof.Control(name="small", model="RWKV6@TINY", steps=2)
    subject = proof.load(control, tmp_path / "kept", baseline=True)
    begun = {path: path.stat().st_mtime_ns for path in tmp_path.glob("kept/*/model.safetensors")}
    assert {path.parent.name for path in begun} == {"RWKV6@TINY-seed-0", "GPT2@TINY-seed-0"}
    assert subject.plan.checkpoint.step == 2
    ratio, _ = against_gpt2(subject)
    assert ratio.value == pytest.approx(1, abs=0.1)
    longer = msgspec.structs.replace(control, steps=3)
    assert proof.load(longer, tmp_path / "kept").plan.checkpoint.step == 3, "one that was stopped early is trained anew"
    subject = proof.load(control, tmp_path / "kept")
    begun = {path: path.stat().st_mtime_ns for path in begun}
    broken = proof.load(control, tmp_path / "kept", "nan-weight")
    assert {path: path.stat().st_mtime_ns for path in begun} == begun
    assert broken.valid_tokens is subject.valid_tokens, "the same text is encoded once"
    assert proof.load(control, tmp_path / "kept", "other-tokenizer").__dict__.get("valid_tokens") is None
    with pytest.raises(ValueError, match="needs mamba"):
        proof.load(control, tmp_path / "kept", "dead-mamba")


def test_a_training_does_not_meet_the_fault_of_the_subject_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, met = BACKENDS["wkv6"], []
    plant("wrong-kernel", nn.Linear(1, 1))
    assert BACKENDS["wkv6"] is not whole

    def trained(control: proof.Control, place: Path) -> Path:
        met.append(BACKENDS["wkv6"])
        raise FloatingPointError("not needed here")

    monkeypatch.setattr(proof, "_trained", trained)
    with pytest.raises(FloatingPointError):
        proof.load(proof.Control(name="small", model="RWKV6@TINY", steps=2), tmp_path)
    assert met == [whole]


def test_results_are_kept_for_what_asked_them(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = proof.folder(100)
    assert one == proof.folder(100)
    assert one.parent == own_cache / "prove"
    (tmp_path / "test_other.py").write_text("asked = 'otherwise'")
    monkeypatch.setattr(proof, "suites_dir", lambda: tmp_path)
    assert proof.folder(100) != one
