"""Which backend runs an op, and why: the fastest that this device has, or the one that is forced."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from gt.kernels import (
    conv,
    cuda_packages,
    fused,
    fused_triton,
    native,
    reference,
    ssd_chunked,
    wkv6_chunked,
    wkv6_triton,
)


class Backend(msgspec.Struct, frozen=True):
    """One implementation of an op.

    Attributes:
        name: Name as in `GT_KERNELS` and in the scorecard.
        run: The function.
        devices: Device types that it is made for; empty for all.
        refused: Returns why it cannot run here although it is made for this device, or None if it can.
        tolerance: Largest error against the fp64 reference relative to the largest value, forward and backward (fp32).
    """

    name: str
    run: Callable[..., Any]
    tolerance: float
    devices: tuple[str, ...] = ()
    refused: Callable[[], str | None] = lambda: None

    def unavailable(self, device_type: str) -> str | None:
        """Why it cannot run on a device type, or None if it can."""
        if self.devices and device_type not in self.devices:
            return f"it is made for {', '.join(self.devices)}, not for {device_type}"
        return self.refused()


class Resolution(msgspec.Struct, frozen=True):
    """The backend chosen for an op.

    Attributes:
        backend: What runs.
        reason: Why this one, naming every faster one that was refused.
        fastest: True if no faster backend is made for this device, whether or not it can run here.
    """

    backend: Backend
    reason: str
    fastest: bool


# Fastest first. Tolerances: what plain fp32 arithmetic costs on the golden vectors, with a margin of about ten. For
# mamba_ssm that is 4e-5, in the gradient of A under strong decay, whose terms cancel.
BACKENDS: dict[str, tuple[Backend, ...]] = {
    "causal_conv1d": (
        Backend("native", native.causal_conv1d, 1e-5, ("cpu",), partial(native.refused, "conv")),
        Backend("causal_conv1d", cuda_packages.causal_conv1d, 1e-5, ("cuda",), cuda_packages.conv_refused),
        Backend("conv1d", conv.causal_conv1d, 1e-5),
        Backend("reference", reference.causal_conv1d, 1e-5),
    ),
    "ssd": (
        Backend("native", native.ssd, 1e-5, ("cpu",), partial(native.refused, "ssd")),
        Backend("mamba_ssm", cuda_packages.ssd, 4e-4, ("cuda",), cuda_packages.ssd_refused),
        Backend("chunked", ssd_chunked.ssd, 2e-5),
        Backend("reference", reference.ssd, 1e-5),
    ),
    "wkv6": (
        Backend("native", native.wkv6, 1e-5, ("cpu",), partial(native.refused, "wkv6")),
        Backend("triton", wkv6_triton.wkv6, 3e-5, ("cuda",), wkv6_triton.refused),
        Backend("chunked", wkv6_chunked.wkv6, 3e-5),
        Backend("reference", reference.wkv6, 1e-5),
    ),
    "token_mix": (
        Backend("native", native.token_mix, 1e-5, ("cpu",), partial(native.refused, "fused")),
        Backend("triton", fused_triton.token_mix, 1e-5, ("cuda",), wkv6_triton.refused),
        Backend("reference", fused.token_mix, 1e-5),
    ),
    "rms_norm": (
        Backend("native", native.rms_norm, 1e-5, ("cpu",), partial(native.refused, "fused")),
        Backend("triton", fused_triton.rms_norm, 1e-5, ("cuda",), wkv6_triton.refused),
        Backend("reference", fused.rms_norm, 1e-5),
    ),
    "gated_group_norm": (
        Backend("native", native.gated_group_norm, 1e-5, ("cpu",), partial(native.refused, "fused")),
        Backend("triton", fused_triton.gated_group_norm, 1e-5, ("cuda",), wkv6_triton.refused),
        Backend("reference", fused.gated_group_norm, 1e-5),
    ),
    "cross_entropy": (
        Backend("native", native.cross_entropy, 1e-5, ("cpu",), partial(native.refused, "fused")),
        Backend("triton", fused_triton.cross_entropy, 1e-5, ("cuda",), wkv6_triton.refused),
        Backend("reference", fused.cross_entropy, 1e-5),
    ),
}


def forced(environment: str) -> dict[str, str]:
    """Backends forced by the environment variable GT_KERNELS: `reference`, or `wkv6=reference,ssd=chunked`.

    Args:
        environment: Value of the variable.

    Raises:
        ValueError: If it names an op or a backend that does not exist.
    """
    choice: dict[str, str] = {}
    text = environment.strip()
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in sorted(parts, key=lambda part: "=" in part):  # what names an op goes over what names all
        op, equals, name = (piece.strip() for piece in part.rpartition("="))
        if equals and not op:
            raise ValueError(f"GT_KERNELS={text}: {part!r} names no op (there are: {', '.join(BACKENDS)})")
        ops = [op] if op else [o for o, backends in BACKENDS.items() if name in {b.name for b in backends}]
        for one in ops:
            known = [b.name for b in BACKENDS.get(one, ())]
            if name not in known:
                raise ValueError(f"GT_KERNELS={text}: no backend {name!r} for op {one!r} (it has: {', '.join(known)})")
            choice[one] = name
        if not ops:
            raise ValueError(f"GT_KERNELS={text}: no op has a backend {name!r}")
    return choice


def resolve(op: str, device_type: str, backend: str | None = None) -> Resolution:
    """Choose the backend of an op for a device type (`cpu`, `cuda`).

    Args:
        op: Key of `BACKENDS`.
        device_type: `torch.device.type`.
        backend: Name to insist on; else GT_KERNELS; else the fastest that the device has.

    Raises:
        ValueError: If the op or the backend does not exist, or the forced backend is refused on this device.
    """
    if op not in BACKENDS:
        raise ValueError(f"unknown op {op!r} (there are: {', '.join(BACKENDS)})")
    environment = os.environ.get("GT_KERNELS", "")
    key = (op, device_type, backend, environment)
    known = _resolved.get(key)  # every call of an op asks
    if known is None or known[0] is not BACKENDS[op]:
        known = _resolved[key] = BACKENDS[op], _resolve(*key)
    return known[1]


_resolved: dict[tuple[str, str, str | None, str], tuple[tuple[Backend, ...], Resolution]] = {}


def forget() -> None:
    """Ask again, at the next call, which backends can run."""
    _resolved.clear()


def _resolve(op: str, device_type: str, backend: str | None, environment: str) -> Resolution:
    wanted = backend or forced(environment).get(op)
    by = "asked for" if backend else "forced by GT_KERNELS"
    made_for_it = [b for b in BACKENDS[op] if not b.devices or device_type in b.devices]
    refusals: list[str] = []
    for candidate in BACKENDS[op]:
        if wanted is not None and candidate.name != wanted:
            continue
        refusal = candidate.unavailable(device_type)
        fastest = candidate is made_for_it[0]
        if wanted is not None:
            if refusal is not None:
                raise ValueError(f"backend {wanted!r} of {op} is {by} but cannot run on {device_type}: {refusal}")
            return Resolution(candidate, by, fastest)
        if refusal is None:
            rank = f"fastest backend for {device_type}" if fastest else "a slower fallback"
            return Resolution(candidate, "; ".join([rank, *refusals]), fastest)
        if candidate in made_for_it:
            refusals.append(f"{candidate.name} refused: {refusal}")
    names = ", ".join(b.name for b in BACKENDS[op])
    if wanted is not None:
        raise ValueError(f"no backend {wanted!r} for op {op!r} (it has: {names})")
    raise ValueError(f"no backend of {op} runs on {device_type}: {'; '.join(refusals)}")
