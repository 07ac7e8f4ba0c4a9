"""Models of the user's own as subjects: what they offer, their weights, and what is recorded of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor

import gt
from gt import user_models
from gt.models.state import ModelState
from gt.subject import SubjectRequest, plan_subject
from tests.gt.own_models import Growing, Halves, Plain, Streaming, subject

pytestmark = pytest.mark.usefixtures("nothing_registered")


@pytest.mark.parametrize(
    ("factory", "offered"),
    [
        (Plain, set()),
        (Streaming, {"states", "streaming", "generation"}),
        (Halves, {"two_components"}),
    ],
)
def test_what_is_offered_is_read_from_forward(factory: Any, offered: set[str]) -> None:
    gt.register_model("mine", scale="TINY")(factory)
    assert subject("mine").capabilities & user_models.OFFERABLE == offered


def test_what_was_declared_counts_instead() -> None:
    gt.register_model("mine", scale="TINY", capabilities=["streaming", "generation"])(Growing)
    grows = subject("mine")
    assert grows.capabilities & user_models.OFFERABLE == {"streaming", "generation"}
    assert grows.describe()["withheld"] == ["states"]


@pytest.mark.parametrize("declared", [None, ["states", "streaming", "generation", "two_components"]])
def test_what_is_offered_or_more_withholds_nothing(declared: list[str] | None) -> None:
    gt.register_model("mine", scale="TINY", capabilities=declared)(Streaming)
    assert subject("mine").describe()["withheld"] == []


def test_the_state_gets_the_methods_of_ours() -> None:
    gt.register_model("mine", scale="TINY")(Streaming)
    model = subject("mine").model
    tokens = torch.randint(100, (3, 7))
    logits, state = model(tokens, return_states=True)
    assert isinstance(state, ModelState)
    assert torch.allclose(
        model(tokens[1:, :4], state=state.select([1, 2])),
        model(torch.cat([tokens, tokens[:, :4]], 1))[1:, 7:],
        atol=1e-5,
    )
    assert torch.equal(logits, model(tokens))


def test_a_state_that_is_no_dict_says_what_is_expected() -> None:
    class Wrong(Plain):
        def forward(self, tokens: Tensor, state: Any = None, return_states: bool = False) -> Any:
            return super().forward(tokens), tokens

    gt.register_model("mine", scale="TINY")(Wrong)
    with pytest.raises(TypeError, match="with a dict of tensors as the state"):
        subject("mine").model(torch.zeros(1, 2, dtype=torch.long), return_states=True)


def test_a_factory_that_builds_something_else_is_named() -> None:
    gt.register_model("mine")(lambda vocab_size: [vocab_size])
    with pytest.raises(TypeError, match=r"factory of mine returned list: expected an nn\.Module"):
        subject("mine")


def test_one_seed_gives_one_model_and_counts_are_its_own() -> None:
    gt.register_model("mine", scale="TINY")(Plain)
    one, same, other = subject("mine"), subject("mine"), subject("mine", seed=1)
    assert torch.equal(one.model.get_parameter("gru.weight_hh_l0"), same.model.get_parameter("gru.weight_hh_l0"))
    assert not torch.equal(one.model.get_parameter("gru.weight_hh_l0"), other.model.get_parameter("gru.weight_hh_l0"))
    gru = 2 * (3 * 8 * 8) + 2 * (3 * 8)
    described = one.describe()
    assert described["params"] == {"total": gru + 8192 * 8, "non_embedding": gru}
    assert (described["model"], described["scale"], list(described["kernels"])) == ("mine", "TINY", ["cross_entropy"])


@pytest.mark.parametrize("form", ["folder", "safetensors", "tied", "pt"])
def test_weights_of_any_form_are_loaded(tmp_path: Path, form: str) -> None:
    gt.register_model("mine", scale="TINY")(Plain)
    torch.manual_seed(5)
    trained = Plain(8192)
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    path = tmp_path / ("model.pt" if form == "pt" else "model.safetensors")
    if form == "pt":
        torch.save({"model": trained.state_dict()}, path)
    elif form == "tied":
        save_model(trained, str(path))  # keeps one of the two names
    else:
        save_file(state, path)
    loaded = subject("mine", ckpt=str(tmp_path if form == "folder" else path))
    assert {"checkpoint"} <= loaded.capabilities
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    gt.register_model("mine", scale="TINY")(Plain)
    for state, message in (
        ({"other": torch.zeros(2)}, r"is no mine@TINY: lacks 6 tensors .*has 1 unknown tensors \(other"),
        ({**Plain(100).state_dict()}, r"embedding.weight is \[100, 8\], expected \[8192, 8\]"),
    ):
        torch.save(state, tmp_path / "model.pt")
        with pytest.raises(ValueError, match=message):
            subject("mine", ckpt=str(tmp_path / "model.pt"))
    with pytest.raises(ValueError, match="no weights at"):
        plan_subject(SubjectRequest(model="mine", ckpt=str(tmp_path / "none.pt")))
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"model.bin is no checkpoint"):
        plan_subject(SubjectRequest(model="mine", ckpt=str(tmp_path / "model.bin")))


def test_how_it_was_trained_is_read_beside_the_weights(tmp_path: Path) -> None:
    gt.register_model("mine", scale="TINY")(Plain)
    save_file(
        {name: tensor.clone() for name, tensor in Plain(8192).state_dict().items()}, tmp_path / "model.safetensors"
    )
    ckpt = str(tmp_path)
    described = subject("mine", ckpt=ckpt).describe()["checkpoint"]
    assert (described["tokens"], described["training"]) == (None, None)
    record = tmp_path / "training.json"
    record.write_text('{"tokens": 1000, "step": 10, "training": {"lr": 0.001, "text": "books"}}')
    described = subject("mine", ckpt=ckpt).describe()["checkpoint"]
    assert (described["tokens"], described["step"]) == (1000, 10)
    assert described["training"] == {"lr": 0.001, "text": "books"}
    for text, message in (
        ("{", "is no record of a training"),
        ('{"tokens": 0, "training": {}}', "got none"),
        (
            '{"tokens": 9, "training": {"tokens_before": null}}',
            r"training\.json: .*got `null` - at `\$\.tokens_before`",
        ),
        ('{"tokens": 9, "training": {"flop": "unknown"}}', r"training\.json: .*got `str` - at `\$\.flop`"),
        ('{"tokens": 9, "training": {"seed": [1]}}', r"training\.json: .*got `array` - at `\$\.seed`"),
    ):
        record.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            plan_subject(SubjectRequest(model="mine", ckpt=ckpt))
        assert "\n" not in str(caught.value)


def test_what_it_gave_is_not_kept_for_the_next_run() -> None:
    gt.register_model("mine", scale="TINY")(Plain)
    assert subject("mine", run_id="a").identity == subject("mine", run_id="a").identity
    assert subject("mine", run_id="a").identity != subject("mine", run_id="b").identity
    assert subject("GF@TINY", run_id="a").identity == subject("GF@TINY", run_id="b").identity


def test_no_fault_of_ours_is_planted_in_it() -> None:
    gt.register_model("mine")(Plain)
    with pytest.raises(ValueError, match=r"mine@3.5M is your own"):
        plan_subject(SubjectRequest(model="mine", sabotage="deaf"))


def test_a_state_that_grows_with_the_text_fails_s0() -> None:
    from gt.probes import states

    gt.register_model("grows", scale="TINY")(Growing)
    gt.register_model("stays", scale="TINY")(Streaming)
    (grown,) = states.shapes(subject("grows"))
    assert grown.value == 0
    assert "seen is [3, 32] after 32 tokens and [3, 64] after 64" in grown.note
    (stayed,) = states.shapes(subject("stays"))
    assert stayed.value == 1


def test_components_are_balanced_without_a_gate() -> None:
    from gt.probes import gradients

    gt.register_model("halves", scale="TINY")(Halves)
    halves = subject("halves")
    halves.__dict__["trained_model"] = halves.model  # spares the training
    halves.__dict__["mini_training"] = type("Trained", (), {"losses": [1.0]})()
    found = {m.metric: m.value for m in gradients.component_balance(halves)}
    assert 0.1 < (found["grad_ratio"] or 0) < 10
    assert found.keys() == {"grad_ratio", "activation_variance_ratio", "output_cosine"}
