"""The kernels for NVIDIA GPUs, on one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gt import kernels
from gt.kernels import BACKENDS, Backend, reference, resolve
from gt.models.hybrid import HybridLM
from gt.registry import resolve as resolve_model
from tests.golden import relmax, tensors
from tests.gt.kernels.test_ops import CASES, INPUTS, draw, pieces, with_gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
Op = Callable[..., tuple[Tensor, Tensor]]
OPS = ("wkv6", "ssd", "causal_conv1d")
FASTEST = [pytest.param(op, next(b for b in BACKENDS[op] if b.devices == ("cuda",)), id=op) for op in OPS]
LOW = {torch.bfloat16: 2e-2, torch.float16: 5e-3}


def function(op: str, backend: Backend) -> Op:
    refusal = backend.unavailable("cuda")
    if refusal is not None:
        pytest.skip(f"{op} {backend.name}: {refusal}")
    public: Op = getattr(kernels, op)
    return lambda *inputs: public(*inputs, backend=backend.name)


def errors(op: str, run: Op, inputs: list[Tensor], dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Against the fp64 reference of what the dtype can hold; log-decays, step sizes and states stay in fp32."""
    coarse = {"wkv6": (0, 1, 2), "ssd": (0, 3, 4), "causal_conv1d": (0, 1, 2, 3)}[op]
    held = [t.to(dtype if i in coarse else torch.float32) for i, t in enumerate(inputs)]
    torch.manual_seed(1)
    weights = tuple(torch.randn_like(t) for t in getattr(reference, op)(*inputs))
    expected = with_gradients(getattr(reference, op), [t.double() for t in held], weights)  # type: ignore[arg-type]
    got = with_gradients(run, [t.cuda() for t in held], tuple(w.cuda() for w in weights))  # type: ignore[arg-type]
    names = ("y", "state", *(f"gradient {i}" for i in range(len(inputs))))
    return {name: relmax(g.cpu(), e) for name, g, e in zip(names, got, expected, strict=True)}


def above(limit: float, found: dict[str, float]) -> dict[str, float]:
    return {name: error for name, error in found.items() if not error <= limit}


@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_it_is_what_the_gpu_resolves_to(op: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GT_KERNELS", raising=False)
    function(op, backend)
    assert resolve(op, "cuda").backend is backend
    assert resolve(op, "cuda").fastest


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_golden_values_states_and_gradients(case: tuple[str, str, str]) -> None:
    op, key, _ = case
    (backend,) = (p.values[1] for p in FASTEST if p.values[0] == op)
    run, data = function(op, backend), tensors(f"{op}_op")
    inputs = [data[f"{key}.{part}"].cuda() for part in INPUTS[op]]
    got = with_gradients(run, inputs, (data[f"{key}.gy"].cuda(), data[f"{key}.gs"].cuda()))
    parts = ("y", "sT", *(f"grad_{part}" for part in INPUTS[op]))
    found = {part: relmax(t.cpu(), data[f"{key}.{part}"]) for part, t in zip(parts, got, strict=True)}
    print(op, case[2], {part: f"{error:.0e}" for part, error in found.items()})
    assert above(backend.tolerance, found) == {}


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 31, 33, 64, 70, 130, 300])
@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_any_length(op: str, backend: Backend, length: int) -> None:
    assert above(backend.tolerance, errors(op, function(op, backend), draw(op, length))) == {}


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_low_precision(op: str, backend: Backend, dtype: torch.dtype) -> None:
    found = errors(op, function(op, backend), draw(op, 130), dtype)
    print(op, dtype, {part: f"{error:.0e}" for part, error in found.items()})
    assert above(LOW[dtype], found) == {}


@pytest.mark.parametrize("size", [8, 24, 32, 64, 100, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_wkv6_head_sizes(size: int, dtype: torch.dtype) -> None:
    run = function("wkv6", FASTEST[0].values[1])
    torch.manual_seed(size)
    r, k, v = (torch.randn(2, 70, 3, size) for _ in range(3))
    w = -torch.exp(torch.empty(2, 70, 3, size).uniform_(-9, 3))
    inputs = [t.double() for t in (r, k, v, w, torch.randn(3, size), torch.randn(2, 3, size, size))]
    limit = 3e-5 if dtype == torch.float32 else LOW[dtype]
    assert above(limit, errors("wkv6", run, inputs, dtype)) == {}


def test_wkv6_refuses_larger_heads() -> None:
    x = torch.randn(1, 4, 1, 256, device="cuda")
    with pytest.raises(ValueError, match="K=256, V=256: wkv6_triton takes up to 128"):
        kernels.wkv6(x, x, x, -x.abs(), x[0, 0], backend="triton")


@pytest.mark.parametrize("length", [64, 70])
@pytest.mark.parametrize("size", [8, 16, 24, 32, 64])
def test_wkv6_strong_decays_of_every_head_size(size: int, length: int) -> None:
    run = function("wkv6", FASTEST[0].values[1])
    torch.manual_seed(size)
    r, k, v = (torch.randn(2, length, 3, size) for _ in range(3))
    tensors = (r, k, v, torch.full_like(r, -12.0), torch.randn(3, size), torch.randn(2, 3, size, size))
    assert above(LOW[torch.bfloat16], errors("wkv6", run, [t.double() for t in tensors], torch.bfloat16)) == {}


@pytest.mark.parametrize("decay", [0.0, -1e-12, -1e-4, -0.5, -12.0, -55.0, -1e4, -3e38], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_wkv6_extreme_decays(decay: float, dtype: torch.dtype) -> None:
    run, inputs = function("wkv6", FASTEST[0].values[1]), draw("wkv6", 70)
    inputs[3] = torch.full_like(inputs[3], decay)
    found = errors("wkv6", run, inputs, dtype)
    if decay <= -55:
        found.pop("gradient 3")  # below 1e-12, where relative errors say nothing
    assert above(3e-5 if dtype == torch.float32 else LOW[dtype], found) == {}


@pytest.mark.parametrize("batch", [2, 24], ids=["scan", "walk"])
@pytest.mark.parametrize("size", [32, 64])
def test_wkv6_chunks_that_decay_little_beside_those_that_do_not(size: int, batch: int) -> None:
    run = function("wkv6", FASTEST[0].values[1])
    torch.manual_seed(size)
    r, k, v = (torch.randn(batch, 100, 4, size) for _ in range(3))
    w = -torch.exp(torch.empty(batch, 100, 4, size).uniform_(-6, 1))
    w[:, 32:64, :2, 0] = -8.0
    w[:, :, 3] *= 30.0
    inputs = [t.double() for t in (r, k, v, w, torch.randn(4, size), torch.randn(batch, 4, size, size))]
    found = errors("wkv6", run, inputs, torch.bfloat16)
    assert above(LOW[torch.bfloat16], found) == {}
    assert found["state"] < 3e-5, "the state is not kept in fp32"


@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_strided_inputs_and_views_of_gradients(op: str, backend: Backend) -> None:
    run, inputs = function(op, backend), [t.float().cuda() for t in draw(op, 37)]
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) if t.ndim > 1 else t for t in inputs]
    for output in (0, 1):
        expected, leaves = ([t.detach().requires_grad_() for t in ts] for ts in (inputs, strided))
        run(*expected)[output].sum().backward()
        run(*leaves)[output].sum().backward()
        for one, other in zip(leaves, expected, strict=True):
            got, wanted = (torch.zeros_like(t) if t.grad is None else t.grad for t in (one, other))
            assert relmax(got, wanted) < max(1e-5, backend.tolerance)


@pytest.mark.parametrize("cut", [1, 16, 29, 49])
@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_continuing_equals_one_pass(op: str, backend: Backend, cut: int) -> None:
    run, inputs = function(op, backend), [t.float().cuda() for t in draw(op, 50)]
    with torch.no_grad():
        whole, end = run(*inputs)
        first, state = run(*pieces(op, inputs, 0, cut), inputs[-1])
        second, continued = run(*pieces(op, inputs, cut, 50), state)
    assert relmax(torch.cat([first, second], dim=1), whole) <= backend.tolerance
    assert relmax(continued, end) <= backend.tolerance


@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_token_by_token_equals_one_pass(op: str, backend: Backend) -> None:
    run, inputs = function(op, backend), [t.float().cuda() for t in draw(op, 9)]
    state, before, outputs = inputs[-1], inputs[-1].clone(), []
    with torch.no_grad():
        whole, end = run(*inputs)
        for t in range(9):
            y, state = run(*pieces(op, inputs, t, t + 1), state)
            outputs.append(y)
    assert relmax(torch.cat(outputs, dim=1), whole) <= backend.tolerance
    assert relmax(state, end) <= backend.tolerance
    assert torch.equal(inputs[-1], before), "the given state was written to"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_what_is_not_finite_is_not_hidden(op: str, backend: Backend, bad: float) -> None:
    run, inputs = function(op, backend), [t.float().cuda() for t in draw(op, 20)]
    inputs[2 if op == "wkv6" else 0][0, 10] = bad
    y, final = run(*inputs)
    assert not y[0, 10].isfinite().any()
    assert y[1].isfinite().all()
    if op != "causal_conv1d":
        assert not final[0].isfinite().all()


@pytest.mark.parametrize(("op", "backend"), FASTEST)
def test_a_step_is_captured_in_a_graph(op: str, backend: Backend) -> None:
    run = function(op, backend)
    inputs = [t.float().cuda() for t in draw(op, 70)]

    def step() -> tuple[Tensor, ...]:
        leaves = [t.detach().requires_grad_() for t in inputs]  # new ones: autograd ties a leaf to its first stream
        y, state = run(*leaves)
        return y.detach(), state.detach(), *torch.autograd.grad(y.square().sum() + state.square().sum(), leaves)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        expected = [t.clone() for t in step()]  # compiles and tunes
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    for one, other in zip(captured, expected, strict=True):
        assert relmax(one, other) < 1e-5
    for one in inputs:
        one.mul_(0.5)
    graph.replay()
    for one, other in zip(captured, step(), strict=True):
        assert relmax(one, other) < 1e-5


def test_fp64_inputs_stay_exact() -> None:
    for op in OPS:
        inputs = [t.cuda() for t in draw(op, 20)]
        for got, expected in zip(getattr(kernels, op)(*inputs), getattr(reference, op)(*inputs), strict=True):
            assert got.dtype == torch.float64
            assert relmax(got, expected) < 1e-12


def test_channels_that_are_no_multiple_of_8() -> None:
    run = function("causal_conv1d", FASTEST[2].values[1])
    inputs = [t[..., :21] if i == 0 else t[:21] for i, t in enumerate(draw("causal_conv1d", 20)[:3])]
    inputs.append(draw("causal_conv1d", 20)[3][:, :21])
    assert above(1e-5, errors("causal_conv1d", run, inputs)) == {}


def test_the_whole_model_agrees_with_the_cpu() -> None:
    torch.manual_seed(0)
    model = HybridLM(resolve_model("GF-MH@TINY").config(vocab_size=97))
    tokens = torch.randint(0, 97, (2, 70))
    logits, states = model(tokens, return_states=True)
    logits.logsumexp(-1).mean().backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    model.cuda()
    got, got_states = model(tokens.cuda(), return_states=True)
    got.logsumexp(-1).mean().backward()
    found = {name: relmax(got_states[name].cpu(), states[name]) for name in ("rwkv_state", "mamba_state")}
    found |= {name: relmax(p.grad.cpu(), expected[name]) for name, p in model.named_parameters()}
    found["logits"] = relmax(got.cpu(), logits)
    print({name: f"{error:.0e}" for name, error in found.items() if error > 1e-4})
    assert above(1e-3, found) == {}
    low, _ = model.bfloat16()(tokens.cuda(), return_states=True)
    assert relmax(low.cpu(), logits) < 5e-2
