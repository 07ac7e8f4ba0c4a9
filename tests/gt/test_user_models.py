"""Models of the user's own: how they are registered, named, found and refused."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import gt
from gt import user_models
from gt.subject import SubjectRequest, load_subject, plan_subject
from tests.gt.own_models import Plain, Streaming, subject

pytestmark = pytest.mark.usefixtures("nothing_registered")

MODELS = Plain.__module__


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
    assert tiny.target_name == f"{MODELS}:Plain@TINY"
    with pytest.raises(ValueError, match="mine is registered at 1M, TINY, got 8M: register it there"):
        plan_subject(SubjectRequest(model="mine@8M"))


def test_what_no_other_process_can_import_has_no_name_for_it() -> None:
    gt.register_model("mine")(lambda vocab_size: Plain(vocab_size))
    spec = plan_subject(SubjectRequest(model="mine")).spec
    assert isinstance(spec, user_models.UserModel)
    with pytest.raises(ValueError, match="no other process can import: define it at the top of a module"):
        assert spec.target_name


def test_a_module_in_the_current_folder(project: Path) -> None:
    write(project, "zoo", f"from {MODELS} import Plain as Tiny\nclass Keeper:\n    make = Tiny\nnumber = 3\n")
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
    write(project, "zoo", f"from {MODELS} import Plain as Tiny\nnumber = 3\n")
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
        from {MODELS} import Plain

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
        from {MODELS} import Plain

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
    write(project, "zoo", f"from {MODELS} import Plain\n")
    entry = EntryPoint(name="Packaged", value="zoo:Plain", group=user_models.GROUP)
    monkeypatch.setattr(user_models, "entry_points", lambda group: [entry] if group == user_models.GROUP else [])
    assert user_models.names() == ["Packaged"]
    assert plan_subject(SubjectRequest(model="packaged@TINY")).label == "Packaged@TINY"
