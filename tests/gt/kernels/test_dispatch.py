"""Which backend runs, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from gt import compiler, kernels
from gt.kernels import BACKENDS, dispatch, native, resolve


def refuse(monkeypatch: pytest.MonkeyPatch, op: str, why: str) -> None:
    """The fastest backend of an op cannot run here."""
    first, *rest = BACKENDS[op]
    monkeypatch.setitem(BACKENDS, op, (msgspec.structs.replace(first, refused=lambda: why), *rest))


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GT_KERNELS", raising=False)


@pytest.mark.parametrize("op", BACKENDS)
def test_the_first_backend_that_runs_is_the_fastest(op: str) -> None:
    expected = next(backend for backend in BACKENDS[op] if backend.unavailable("cpu") is None)
    found = resolve(op, "cpu")
    assert found.backend is expected
    assert found.reason.startswith("fastest backend for cpu")


@pytest.mark.parametrize("op", BACKENDS)
def test_every_op_has_the_reference_last(op: str) -> None:
    assert BACKENDS[op][-1].name == "reference"
    assert BACKENDS[op][-1].unavailable("cpu") is None


def test_one_name_forces_every_op_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GT_KERNELS", "reference")
    for op in BACKENDS:
        found = resolve(op, "cpu")
        assert (found.backend.name, found.reason, found.fastest) == ("reference", "forced by GT_KERNELS", False)


def test_ops_can_be_forced_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GT_KERNELS", " wkv6=reference , ssd=chunked ,")
    assert [resolve(op, "cpu").backend.name for op in ("wkv6", "ssd")] == ["reference", "chunked"]
    assert resolve("causal_conv1d", "cpu").reason.startswith("fastest")


def test_a_forced_fastest_backend_is_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    fastest = resolve("wkv6", "cpu").backend.name
    monkeypatch.setenv("GT_KERNELS", f"wkv6={fastest}")
    assert resolve("wkv6", "cpu").fastest


def test_the_backend_of_one_op_beats_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("wkv6=chunked,reference", "reference, wkv6 = chunked"):
        monkeypatch.setenv("GT_KERNELS", text)
        assert resolve("wkv6", "cpu").backend.name == "chunked"
        assert resolve("ssd", "cpu").backend.name == "reference"
    monkeypatch.setenv("GT_KERNELS", "=reference")
    with pytest.raises(ValueError, match="names no op"):
        resolve("wkv6", "cpu")


def test_what_is_asked_for_beats_what_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GT_KERNELS", "wkv6=chunked")
    found = resolve("wkv6", "cpu", "reference")
    assert (found.backend.name, found.reason) == ("reference", "asked for")


def test_forcing_changes_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = BACKENDS["wkv6"]
    ran: list[str] = []

    def spy(*inputs: Any) -> Any:
        ran.append("reference")
        return rest[-1].run(*inputs)

    monkeypatch.setitem(BACKENDS, "wkv6", (first, *rest[:-1], msgspec.structs.replace(rest[-1], run=spy)))
    r = torch.randn(1, 2, 1, 4)
    kernels.wkv6(r, r, r, -r.abs(), r[0, 0])
    assert ran == []
    monkeypatch.setenv("GT_KERNELS", "reference")
    kernels.wkv6(r, r, r, -r.abs(), r[0, 0])
    assert ran == ["reference"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("warp", "GT_KERNELS=warp: no op has a backend 'warp'"),
        ("wkv6=warp", r"no backend 'warp' for op 'wkv6' \(it has: .*reference\)"),
        ("wkv7=reference", "no backend 'reference' for op 'wkv7'"),
        ("wkv6=", "GT_KERNELS"),
    ],
)
def test_an_unknown_name_in_gt_kernels_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.setenv("GT_KERNELS", text)
    with pytest.raises(ValueError, match=message):
        resolve("wkv6", "cpu")


def test_unknown_ops_and_backends_are_errors() -> None:
    with pytest.raises(ValueError, match=r"unknown op 'attention' .there are: causal_conv1d, ssd, wkv6"):
        resolve("attention", "cpu")
    with pytest.raises(ValueError, match="no backend 'warp' for op 'wkv6'"):
        resolve("wkv6", "cpu", "warp")


def test_a_forced_backend_that_cannot_run_raises_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "wkv6", "there is no compiler")
    name = BACKENDS["wkv6"][0].name
    monkeypatch.setenv("GT_KERNELS", f"wkv6={name}")
    with pytest.raises(ValueError, match="forced by GT_KERNELS but cannot run on cpu: there is no compiler"):
        resolve("wkv6", "cpu")
    r = torch.randn(1, 2, 1, 4)
    with pytest.raises(ValueError, match="there is no compiler"):
        kernels.wkv6(r, r, r, -r.abs(), r[0, 0])


def test_a_fall_back_names_what_was_refused_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = (backend for backend in BACKENDS["wkv6"] if not backend.devices or "cpu" in backend.devices)
    refuse(monkeypatch, "wkv6", "there is no compiler")
    found = resolve("wkv6", "cpu")
    assert found.backend.name == second.name
    assert f"{first.name} refused: there is no compiler" in found.reason


def test_a_fall_back_for_want_of_a_compiler_is_not_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that could run a faster backend, but for what is not installed, must be told (G0: WARN)."""
    refuse(monkeypatch, "wkv6", "there is no compiler")
    assert not resolve("wkv6", "cpu").fastest


def test_no_backend_at_all_is_an_error_with_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tuple(msgspec.structs.replace(b, refused=lambda: "it is broken") for b in BACKENDS["wkv6"])
    monkeypatch.setitem(BACKENDS, "wkv6", broken)
    with pytest.raises(ValueError, match=r"no backend of wkv6 runs on cpu: .*reference refused: it is broken"):
        resolve("wkv6", "cpu")


@pytest.fixture
def uncompiled(own_cache: Path) -> Any:
    forget()
    yield own_cache
    forget()


def forget() -> None:
    """What this process knows of compiled kernels."""
    compiler.forget()
    native.refused.cache_clear()
    native.function.cache_clear()
    dispatch.forget()


def test_without_a_compiler_the_native_kernels_are_refused(uncompiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    found = resolve("wkv6", "cpu")
    assert found.backend.name != "native"
    assert "native refused: no C++ compiler found" in found.reason


def test_a_compiler_that_fails_is_quoted(uncompiled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'fatal: out of cheese' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert "out of cheese" in resolve("wkv6", "cpu").reason


@pytest.mark.parametrize("ahead", [False, True])
def test_a_compiler_that_fails_is_asked_once_for_each_source(
    uncompiled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ahead: bool
) -> None:
    broken = tmp_path / "c++"
    broken.write_text(f"#!/bin/sh\necho asked >>{tmp_path}/count\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    if ahead:
        compiler.start_builds()
    for op in BACKENDS:
        resolve(op, "cpu")
        dispatch.forget()
        resolve(op, "cpu")
    compiler.forget()  # waits for those that were not asked for
    assert (tmp_path / "count").read_text() == "asked\n" * len(list(compiler.SOURCES.glob("*.cpp")))


def test_a_compiler_that_is_not_there_is_no_crash(uncompiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    found = resolve("wkv6", "cpu")
    assert found.backend.name != "native"
    assert "native refused" in found.reason


def test_a_cache_that_cannot_be_written_is_no_crash(
    uncompiled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert "native refused" in resolve("wkv6", "cpu").reason


def test_a_damaged_library_is_no_crash(uncompiled: Path) -> None:
    if resolve("wkv6", "cpu").backend.name != "native":
        pytest.skip("there is no compiler")
    (built,) = (uncompiled / "kernels").glob("wkv6-*.so")
    copy = built.read_bytes()
    built.unlink()  # it is mapped: never overwrite it in place
    built.write_bytes(copy[: len(copy) // 3])
    forget()
    found = resolve("wkv6", "cpu")
    assert found.backend.name == "native" or "native refused" in found.reason
