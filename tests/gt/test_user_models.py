"""Models of the user's own: how they are named, found, built and refused."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

import gt
from gt import user_models
from gt.models.state import ModelState
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject


class Plain(nn.Module):
    """Tokens to logits and nothing else, with a tied head."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, vocab_size, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.gru(self.embedding(tokens))[0])
        return out


class Streaming(Plain):
    """Continues from a state that is a plain dict."""

    def forward(self, tokens: Tensor, state: Any = None, return_states: bool = False) -> Any:
        before = None if state is None else state["gru_state"].transpose(0, 1).contiguous()
        out, after = self.gru(self.embedding(tokens), before)
        return (self.head(out), {"gru_state": after.transpose(0, 1)}) if return_states else self.head(out)


class Growing(Plain):
    """A cache that calls itself a state."""

    def forward(self, tokens: Tensor, state: Any = None, return_states: bool = False) -> Any:
        seen = tokens if state is None else torch.cat([state["seen"], tokens], dim=1)
        logits = super().forward(seen)[:, -tokens.shape[1] :]
        return (logits, {"seen": seen}) if return_states else logits


class Halves(Plain):
    """Two components."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.rwkv, self.mamba = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, tokens: Tensor, return_activations: bool = False) -> Any:
        x = self.embedding(tokens)
        seen = {"rwkv_out": self.rwkv(x)[:, None], "mamba_out": self.mamba(x)[:, None]}
        logits = self.head(seen["rwkv_out"][:, 0] + seen["mamba_out"][:, 0])
        return (logits, seen) if return_activations else logits


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_models, "_REGISTERED", {})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules in it, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(project: Path, name: str, text: str) -> None:
    (project / f"{name}.py").write_text(textwrap.dedent(text))


def subject(model: str, **request: Any) -> Subject:
    wanted = SubjectRequest(model=model, device="cpu", **request)
    return load_subject(plan_subject(wanted), lambda done, total, note: None)


def test_a_registered_class_goes_by_its_name_in_any_case() -> None:
    assert gt.register_model("Mine", scale="tiny")(Plain) is Plain
    plan = plan_subject(SubjectRequest(model="mine"))
    assert (plan.label, plan.spec.scale, plan.config) == ("Mine@TINY", "TINY", None)
    assert plan_subject(SubjectRequest(model="MINE@8m")).label == "Mine@8M"
    assert plan_subject(SubjectRequest(model="mine", scale="8M")).label == "Mine@8M"
    with pytest.raises(ValueError, match=r"names the scale 8M, but 3\.5M was asked for"):
        plan_subject(SubjectRequest(model="mine@8M", scale="3.5M"))
    with pytest.raises(ValueError, match="unknown model 'mines': did you mean Mine"):
        plan_subject(SubjectRequest(model="mines"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "GF-MH"}, "that is a model of groundthink"),
        ({"name": "small"}, "that is a model of groundthink"),
        ({"name": "a:b"}, "expected a name without"),
        ({"name": " "}, "expected a name without"),
        ({"name": "mine", "scale": "9G"}, "unknown scale '9G' of model 'mine'"),
        ({"name": "mine", "capabilities": ["flight"]}, "unknown capabilities .*'flight'.* expected some of"),
    ],
)
def test_what_cannot_be_registered(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gt.register_model(**arguments)


def test_a_name_is_taken_once_but_a_module_may_be_loaded_again() -> None:
    gt.register_model("mine")(Plain)
    gt.register_model("mine")(Plain)
    with pytest.raises(ValueError, match="two models are registered as 'mine'"):
        gt.register_model("mine")(Streaming)


def test_one_name_at_several_scales_is_a_family() -> None:
    gt.register_model("mine", scale="1M")(Streaming)
    assert "scales" not in plan_subject(SubjectRequest(model="mine")).capabilities
    gt.register_model("mine", scale="TINY")(Plain)
    assert user_models.names() == ["mine"]
    first, tiny = (plan_subject(SubjectRequest(model=name)).spec for name in ("mine", "mine@0.5m"))
    assert isinstance(first, user_models.UserModel)
    assert isinstance(tiny, user_models.UserModel)
    assert (first.scale, first.factory, tiny.scale, tiny.factory) == ("1M", Streaming, "TINY", Plain)
    assert list(first.family) == list(tiny.family) == ["TINY", "1M"]
    assert "scales" in subject("mine@TINY").capabilities
    assert tiny.target_name == f"{__name__}:Plain@TINY"
    with pytest.raises(ValueError, match="mine is registered at 1M, TINY, got 8M: register it there"):
        plan_subject(SubjectRequest(model="mine@8M"))


def test_what_no_other_process_can_import_has_no_name_for_it() -> None:
    gt.register_model("mine")(lambda vocab_size: Plain(vocab_size))
    spec = plan_subject(SubjectRequest(model="mine")).spec
    assert isinstance(spec, user_models.UserModel)
    with pytest.raises(ValueError, match="no other process can import: define it at the top of a module"):
        assert spec.target_name


def test_a_module_in_the_current_folder(project: Path) -> None:
    write(project, "zoo", f"from {__name__} import Plain as Tiny\nclass Keeper:\n    make = Tiny\nnumber = 3\n")
    assert plan_subject(SubjectRequest(model="zoo:Tiny")).label == "zoo:Tiny@3.5M"
    assert plan_subject(SubjectRequest(model="zoo:Keeper.make@TINY")).label == "zoo:Keeper.make@TINY"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zoo:Tinny", "unknown model 'zoo:Tinny': zoo has no Tinny"),
        ("zo:Tiny", "unknown model 'zo:Tiny': no module zo is installed or lies in /"),
        ("zoo.deep:Tiny", "no module zoo.deep is installed"),
        ("zoo:number", "zoo:number is of type int, not a class or function"),
        ("zoo:", "expected NAME.@SCALE., rwkv6:PATH or mamba2:PATH, or module:factory"),
        (":Tiny", "expected NAME.@SCALE., rwkv6:PATH or mamba2:PATH, or module:factory"),
        ("zoo:Tiny@9G", "unknown scale '9G' of model 'zoo:Tiny'"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(project: Path, name: str, message: str) -> None:
    write(project, "zoo", f"from {__name__} import Plain as Tiny\nnumber = 3\n")
    with pytest.raises(ValueError, match=message) as caught:
        plan_subject(SubjectRequest(model=name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["raise RuntimeError('out of order')", "import nowhere_at_all", "def broken(:\n    pass"]
)
def test_what_a_module_raises_comes_when_it_is_built(project: Path, text: str) -> None:
    write(project, "zoo", text)
    plan = plan_subject(SubjectRequest(model="zoo:Tiny"))
    with pytest.raises((RuntimeError, ModuleNotFoundError, SyntaxError)) as caught:
        load_subject(plan, lambda done, total, note: None)
    assert caught.value.args


def test_a_registered_factory_named_by_its_module_keeps_what_it_declared(project: Path) -> None:
    write(
        project,
        "zoo",
        f"""
        import gt
        from {__name__} import Plain

        @gt.register_model("beast", scale="TINY", capabilities=["streaming"])
        def build(vocab_size):
            return Plain(vocab_size)
        """,
    )
    plan = plan_subject(SubjectRequest(model="zoo:build"))
    assert plan.label == "zoo:build@TINY"
    assert plan.capabilities & user_models.OFFERABLE == {"streaming"}
    assert plan_subject(SubjectRequest(model="beast")).label == "beast@TINY"


def test_a_factory_of_a_family_keeps_its_scale_by_any_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        project,
        "zoo",
        f"""
        import gt
        from {__name__} import Plain

        @gt.register_model("fam", scale="3.5M")
        def small(vocab_size):
            return Plain(vocab_size)

        @gt.register_model("fam", scale="8M")
        def larger(vocab_size):
            return Plain(vocab_size)
        """,
    )
    entry = EntryPoint(name="Packaged", value="zoo:larger", group=user_models.GROUP)
    monkeypatch.setattr(user_models, "entry_points", lambda group: [entry] if group == user_models.GROUP else [])
    for name in ("zoo:larger", "packaged"):
        for wanted in (name, f"{name}@8m"):
            plan = plan_subject(SubjectRequest(model=wanted))
            assert plan.spec.scale == "8M"
            assert "scales" in plan.capabilities
        with pytest.raises(ValueError, match=r"is registered at 8M, got 3\.5M: register it there"):
            plan_subject(SubjectRequest(model=f"{name}@3.5M"))
    assert plan_subject(SubjectRequest(model="fam@8M")).label == "fam@8M"


def test_an_entry_point(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, "zoo", f"from {__name__} import Plain\n")
    entry = EntryPoint(name="Packaged", value="zoo:Plain", group=user_models.GROUP)
    monkeypatch.setattr(user_models, "entry_points", lambda group: [entry] if group == user_models.GROUP else [])
    assert user_models.names() == ["Packaged"]
    assert plan_subject(SubjectRequest(model="packaged@TINY")).label == "Packaged@TINY"


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
