"""Published weights as subjects: planned from headers without torch, loaded, built anew, broken, described."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gt.bench.config import BenchConfig
from gt.bench.run import bench
from gt.models.published import PublishedLM
from gt.models.published_config import official_name, parameter_counts
from gt.planning import SubjectPlan
from gt.probes.kernels import resolution_and_agreement
from gt.subject import Subject, SubjectRequest, load_subject, plan_subject
from gt.tokenizers import Tokenizer, train_bpe
from gt.training.config import TrainConfig
from gt.training.loop import train
from tests.golden import tensors
from tests.gt.models.test_published import CONFIGS, MAMBA2, RWKV6

COMMON = {"kernels", "states", "streaming", "generation", "checkpoint"}


def golden(kind: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors(f"{kind}_model").items() if not key.startswith("golden.")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the weights of both kinds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of mine").mkdir()
    torch.save(golden("rwkv6"), tmp_path / "of mine" / "RWKV [x060].pth")
    (tmp_path / "mamba").mkdir()
    save_file(golden("mamba2"), tmp_path / "mamba" / "model.safetensors")
    return tmp_path


def plan(name: str, **request: object) -> SubjectPlan:
    return plan_subject(SubjectRequest(model=name, device="cpu", **request))  # type: ignore[arg-type]


def load(name: str, **request: object) -> Subject:
    return load_subject(plan(name, **request), lambda done, total, note: None)


def refusal(name: str, **request: object) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the callers look at the message
        plan(name, **request)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["RWKV6:of mine/RWKV [x060].pth", "rwkv6:{here}/of mine", "Rwkv6:~/of mine"])
def test_a_path_may_be_relative_absolute_in_the_home_and_with_spaces(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    found = plan(name.format(here=folder))
    assert found.config == RWKV6
    assert found.checkpoint is not None
    assert found.checkpoint.path in (folder / "of mine", folder / "of mine" / "RWKV [x060].pth")
    file = folder / "of mine" / "RWKV [x060].pth"
    assert found.checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_names_a_test_has_no_brackets_or_spaces(folder: Path) -> None:
    assert plan("rwkv6:of mine/RWKV [x060].pth").label == "rwkv6:RWKV__x060_.pth@3.5M"
    assert plan("mamba2:mamba", scale="8m", sabotage="deaf").label == "mamba2:mamba@8M+deaf"


def test_shards_are_hashed_as_one_file(folder: Path) -> None:
    weights = golden("mamba2")
    names = sorted(weights)
    index = {name: f"model-{number}.safetensors" for number in (1, 2) for name in names[number - 1 :: 2]}
    for shard in set(index.values()):
        save_file({name: weights[name] for name in names if index[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    together = b"".join((folder / f"model-{number}.safetensors").read_bytes() for number in (1, 2))
    found = plan(f"mamba2:{folder}").checkpoint
    assert found is not None
    assert found.sha256 == hashlib.sha256(together).hexdigest()


def test_a_tokenizer_beside_the_weights_makes_text_checks_possible(folder: Path) -> None:
    bare = plan("mamba2:mamba")
    assert bare.capabilities == COMMON
    vocabulary = {chr(33 + number): number for number in range(90)}
    (folder / "mamba" / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": vocabulary}}))
    assert plan("mamba2:mamba").capabilities == COMMON | {"tokenizer"}
    assert plan("mamba2:mamba").vocab_size == 97, "the model's, not the tokenizer's"
    model = {"type": "BPE", "vocab": vocabulary, "merges": ["a b"]}
    (folder / "mamba" / "tokenizer.json").write_text(json.dumps({"model": model}))
    assert plan("mamba2:mamba").capabilities == COMMON | {"tokenizer", "subword_tokenizer"}


def test_all_other_subjects_have_a_tokenizer() -> None:
    assert all("tokenizer" in plan(name).capabilities for name in ("GF-MH", "GPT2", "builtins:dict"))


@pytest.mark.parametrize(
    ("name", "request_", "said"),
    [
        ("rwkv6:", {}, "model 'rwkv6:' names no weights: expected rwkv6:PATH"),
        ("mamba2:  ", {}, "expected mamba2:PATH"),
        ("mamba2:none.pth", {}, "no weights at {here}/none.pth: expected a file"),
        ("mamba2:~no such user/x", {}, "no weights at ~no such user/x"),
        ("mamba2:of mine", {}, "is no Mamba-2 language model: lacks"),
        ("rwkv6:mamba", {}, "is no RWKV-6 x060 language model: lacks"),
        ("rwkv7:of mine", {}, "unknown model 'rwkv7:of mine': expected NAME[@SCALE], rwkv6:PATH or mamba2:PATH, or"),
        ("rwkv7:mamba", {}, "no module rwkv7 is installed"),
        ("mamba2:mamba", {"ckpt": "x"}, "--ckpt x was given for mamba2:mamba, whose path is its checkpoint: leave"),
        ("mamba2:mamba", {"scale": "9G"}, "unknown scale '9G' of model 'mamba2:mamba'"),
        ("mamba2:mamba", {"sabotage": "dropped-state"}, "needs rwkv, which mamba2:mamba@3.5M lacks"),
        ("rwkv6:of mine", {"sabotage": "frozen-state"}, "needs mamba, which rwkv6:of_mine@3.5M lacks"),
    ],
)
def test_what_is_wrong_is_one_line(name: str, request_: dict[str, object], said: str, folder: Path) -> None:
    assert said.format(here=folder) in refusal(name, **request_)


def test_planning_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys; from gt.subject import *;"
        "[plan_subject(SubjectRequest(model=name)) for name in ('rwkv6:of mine', 'mamba2:mamba')];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "kind"), [("rwkv6:of mine", "rwkv6"), ("mamba2:mamba", "mamba2")])
@torch.no_grad()
def test_the_weights_are_the_model_and_a_new_one_is_of_its_kind(name: str, kind: str, folder: Path) -> None:
    subject = load(name)
    data = tensors(f"{kind}_model")
    assert float((subject.model(data["golden.input_ids"]) - data["golden.logits"]).abs().max()) <= 3e-5
    assert subject.trained_model is subject.model
    assert subject.trained_note == ""
    fresh, again = subject.build(), subject.build()
    assert isinstance(fresh, PublishedLM)
    shapes = {key: value.shape for key, value in subject.model.state_dict().items()}
    assert {key: value.shape for key, value in fresh.state_dict().items()} == shapes
    assert not torch.equal(fresh.embedding.weight, subject.model.get_parameter("embedding.weight"))
    assert torch.equal(fresh.embedding.weight, again.embedding.weight)
    half = load(name, dtype="bfloat16")
    assert half.model.get_parameter("embedding.weight").dtype == torch.bfloat16
    assert half.trained_model.get_parameter("embedding.weight").dtype == torch.float32


@pytest.mark.parametrize(("name", "config"), [("rwkv6:of mine", RWKV6), ("mamba2:mamba", MAMBA2)])
def test_it_describes_itself(name: str, config: object, folder: Path) -> None:
    subject = load(name)
    described = subject.describe()
    json.dumps(described)
    total, non_embedding = parameter_counts(config)  # type: ignore[arg-type]
    assert total == sum(parameter.numel() for parameter in subject.model.parameters())
    assert described["params"] == {"total": total, "non_embedding": non_embedding}
    assert total - non_embedding == 2 * 97 * 64
    assert described["model"] == name.replace(" ", "_")
    assert described["checkpoint"]["path"] == name.partition(":")[2]  # as seen from the folder
    assert (described["tokenizer"]["kind"], described["tokenizer"]["vocab_size"]) == ("borrowed", 97)


def test_borrowed_ids_are_taken_modulo_the_vocabulary(folder: Path, tmp_path: Path) -> None:
    own = load("mamba2:mamba")
    shipped = Tokenizer(own.plan.tokenizer)
    text = "A cat sat on the mat."
    assert own.tokenizer.encode(text) == [token % 97 for token in shipped.encode(text)]
    assert int(own.valid_tokens.tokens.max()) < 97
    assert int(own.valid_tokens.tokens.max()) > 80
    train_bpe([text] * 9, 260, tmp_path / "small.json")
    small, limited = Tokenizer(tmp_path / "small.json"), Tokenizer(tmp_path / "small.json", 300)
    assert limited.encode_documents([text]) == small.encode_documents([text]), "ids that fit stay"
    assert (limited.vocab_size, limited.end_of_text) == (small.vocab_size, small.end_of_text)


def test_kernels_are_compared_at_the_groups_of_the_model(folder: Path) -> None:
    config = CONFIGS["mamba2 tied in groups"]
    weights = {official_name(key, "mamba_ssm"): value for key, value in PublishedLM(config).state_dict().items()}
    (folder / "groups").mkdir()
    save_file(weights, folder / "groups" / "model.safetensors")
    settings = {"d_model": 48, "ssm_cfg": {"layer": "Mamba2", "ngroups": 4}}
    (folder / "groups" / "config.json").write_text(json.dumps(settings))
    subject = load("mamba2:groups")
    assert subject.config.num_groups == 4  # type: ignore[union-attr]
    found = {one.metric: one.value for one in resolution_and_agreement(subject)}
    assert found["ops_resolved"] == 1
    assert found["worst_error_ratio"] is not None
    assert found["worst_error_ratio"] <= 1


def test_it_can_be_benchmarked(folder: Path) -> None:
    settings = {"batch": "1", "length": "8", "decode_batch": "2", "steps": 3, "repeats": 3, "threads": 1}
    record = bench(["mamba2:mamba"], BenchConfig(device="cpu", **settings), lambda done, total, note: None)  # type: ignore[arg-type]
    (cell,) = record.cells
    assert cell.training is not None
    assert cell.memory is not None
    assert (cell.reason, cell.memory.predicted) == ("", None)
    assert cell.memory.measured, cell.memory.reason
    assert record.decoding[0].speed is not None
    assert record.stability[0].finite_steps == 3
    assert record.models[0]["checkpoint"]["path"] == "mamba"


def test_it_is_not_trained_here(folder: Path) -> None:
    with pytest.raises(ValueError, match="mamba2:mamba is published weights"):
        train(TrainConfig(model="mamba2:mamba", corpus=("x",), out=str(folder / "out")))
    assert not (folder / "out").exists()
