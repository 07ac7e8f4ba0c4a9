"""Every backend of every op: against golden numbers, against the reference, in pieces, in bf16, with bad shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gt import kernels
from gt.kernels import BACKENDS, Backend, reference
from tests.golden import record, relmax, tensors

INPUTS = {"wkv6": ("r", "k", "v", "w", "u", "s0"), "ssd": ("x", "dt", "A", "B", "C", "D", "s0")}
CASES = [(op, case["case"], case["name"]) for op in INPUTS for case in record(f"{op}_op")["cases"]]
FP64_LIMIT = 2e-7
CHUNKED_LIMITS = {"wkv6": 3e-5, "ssd": 2e-5}
STREAMING = (*INPUTS, "causal_conv1d")
ALL = [pytest.param(op, backend, id=f"{op}-{backend.name}") for op in STREAMING for backend in BACKENDS[op]]
RECURRENT = [parameter for parameter in ALL if parameter.values[0] in INPUTS]

Op = Callable[..., tuple[Tensor, Tensor]]


def fp32_limit(op: str, backend: Backend) -> float:
    return CHUNKED_LIMITS[op] if backend.name == "chunked" else 1e-5


def function(op: str, backend: Backend) -> Op:
    refusal = backend.unavailable("cpu")
    if refusal is not None:
        pytest.skip(f"{op} {backend.name}: {refusal}")
    public: Op = getattr(kernels, op)
    return lambda *inputs: public(*inputs, backend=backend.name)


def draw(op: str, length: int, seed: int = 0) -> list[Tensor]:
    """Random fp64 inputs that fp32 holds exactly, the state last; two sequences."""
    torch.manual_seed(seed)
    B, H = 2, 2
    if op == "wkv6":
        r, k, v = (torch.randn(B, length, H, 16) for _ in range(3))
        inputs = [r, k, v, -torch.exp(torch.empty(B, length, H, 16).uniform_(-7, 2)), torch.randn(H, 16)]
        inputs.append(torch.randn(B, H, 16, 16))
    elif op == "ssd":
        inputs = [torch.randn(B, length, H, 8), torch.rand(B, length, H) * 0.3 + 1e-3, -torch.rand(H) * 8 - 1]
        inputs += [torch.randn(B, length, 1, 16), torch.randn(B, length, 1, 16), torch.randn(H)]
        inputs.append(torch.randn(B, H, 8, 16))
    else:
        inputs = [torch.randn(B, length, 24), torch.randn(24, 4), torch.randn(24), torch.randn(B, 24, 3)]
    return [tensor.double() for tensor in inputs]


def pieces(op: str, inputs: list[Tensor], start: int, stop: int) -> list[Tensor]:
    """The inputs of a stretch of time, without the state."""
    timed = {"wkv6": (0, 1, 2, 3), "ssd": (0, 1, 3, 4), "causal_conv1d": (0,)}[op]
    return [t[:, start:stop] if i in timed else t for i, t in enumerate(inputs[:-1])]


def with_gradients(op: Op, inputs: list[Tensor], weights: tuple[Tensor, Tensor]) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y, state = op(*leaves)
    total = (y * weights[0].to(y)).sum() + (state * weights[1].to(state)).sum()
    return [y.detach(), state.detach(), *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
@pytest.mark.parametrize(("op", "backend"), RECURRENT)
def test_golden_values_states_and_gradients(op: str, backend: Backend, dtype: torch.dtype) -> None:
    run = function(op, backend)
    limit = FP64_LIMIT if dtype == torch.float64 else fp32_limit(op, backend)
    data = tensors(f"{op}_op")
    errors = {}
    for _, case, name in (entry for entry in CASES if entry[0] == op):
        inputs = [data[f"{case}.{part}"].to(dtype) for part in INPUTS[op]]
        got = with_gradients(run, inputs, (data[f"{case}.gy"], data[f"{case}.gs"]))
        parts = ("y", "sT", *(f"grad_{part}" for part in INPUTS[op]))
        errors |= {f"{name} {part}": relmax(t, data[f"{case}.{part}"]) for part, t in zip(parts, got, strict=True)}
    assert {where: error for where, error in errors.items() if not error <= limit} == {}


@pytest.mark.parametrize(("op", "backend"), RECURRENT)
def test_golden_zero_state_may_be_left_out(op: str, backend: Backend) -> None:
    run = function(op, backend)
    data = tensors(f"{op}_op")
    inputs = [data[f"case03.{part}" if op == "ssd" else f"case02.{part}"].double() for part in INPUTS[op]]
    assert not inputs[-1].any()
    for without, given in zip(run(*inputs[:-1]), run(*inputs), strict=True):
        assert torch.equal(without, given)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 32, 33, 70, 130])
@pytest.mark.parametrize(("op", "backend"), ALL)
def test_any_length_agrees_with_the_reference(op: str, backend: Backend, length: int) -> None:
    run, inputs = function(op, backend), draw(op, length)
    expected = getattr(reference, op)(*inputs)
    weights = (torch.randn_like(expected[0]), torch.randn_like(expected[1]))
    expected = with_gradients(getattr(reference, op), inputs, weights)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, backend.tolerance)):
        got = with_gradients(run, [t.to(dtype) for t in inputs], weights)
        assert max(relmax(g, e) for g, e in zip(got, expected, strict=True)) <= limit


@pytest.mark.parametrize("backend", BACKENDS["causal_conv1d"], ids=lambda backend: backend.name)
def test_the_convolution_is_the_sum_over_taps(backend: Backend) -> None:
    x, weight, bias, state = draw("causal_conv1d", 9)
    padded = torch.cat([state, x.transpose(1, 2)], dim=2)
    total = torch.stack(
        [sum(weight[:, j] * padded[:, :, t + j] for j in range(4)) + bias for t in range(9)],  # type: ignore[misc]
        dim=1,
    )
    y, last = function("causal_conv1d", backend)(x, weight, bias, state)
    assert relmax(y, total * torch.sigmoid(total)) < 1e-14
    assert torch.equal(last, padded[:, :, -3:])


@pytest.mark.parametrize(("op", "backend"), ALL)
def test_memory_layout_does_not_matter(op: str, backend: Backend) -> None:
    run, inputs = function(op, backend), [t.float() for t in draw(op, 37)]
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) if t.ndim > 1 else t for t in inputs]
    assert not strided[0].is_contiguous()
    weights = tuple(torch.randn_like(t) for t in run(*inputs))
    got = with_gradients(run, strided, weights)  # type: ignore[arg-type]
    for one, other in zip(got, with_gradients(run, inputs, weights), strict=True):  # type: ignore[arg-type]
        assert relmax(one, other) < 1e-5
    before = [t.clone() for t in inputs]
    run(*inputs)
    assert all(torch.equal(t, b) for t, b in zip(inputs, before, strict=True)), "an input was written to"


@pytest.mark.parametrize(("op", "backend"), ALL)
def test_gradients_of_views_and_of_one_output_alone(op: str, backend: Backend) -> None:
    """Autograd hands over expanded or missing gradients: sums, and outputs of which only one is used."""
    run, inputs = function(op, backend), draw(op, 20)
    for output in (0, 1):
        expected_leaves = [t.clone().requires_grad_() for t in inputs]
        getattr(reference, op)(*expected_leaves)[output].sum().backward()
        leaves = [t.float().requires_grad_() for t in inputs]
        run(*leaves)[output].sum().backward()
        for leaf, expected in zip(leaves, expected_leaves, strict=True):
            got = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            wanted = torch.zeros_like(expected) if expected.grad is None else expected.grad
            assert relmax(got, wanted) <= backend.tolerance


@pytest.mark.parametrize(("op", "backend"), ALL)
def test_bf16_input_keeps_an_fp32_state(op: str, backend: Backend) -> None:
    run, inputs = function(op, backend), draw(op, 50)
    low = [t.bfloat16() for t in inputs[:-1]]
    state = inputs[-1].bfloat16() if op == "causal_conv1d" else inputs[-1].float()
    y, final = run(*low, state)
    expected_y, expected_final = getattr(reference, op)(*(t.double() for t in low), state.double())
    assert y.dtype == torch.bfloat16
    assert relmax(y, expected_y) < 1.5e-2
    if op == "causal_conv1d":
        assert torch.equal(final.double(), expected_final)
    else:
        assert final.dtype == torch.float32
        assert relmax(final, expected_final) < 1e-5


@pytest.mark.parametrize("cut", [1, 16, 29, 49])
@pytest.mark.parametrize(("op", "backend"), ALL)
def test_continuing_equals_one_pass(op: str, backend: Backend, cut: int) -> None:
    run, inputs = function(op, backend), [t.float() for t in draw(op, 50)]
    whole, end = run(*inputs)
    first, state = run(*pieces(op, inputs, 0, cut), inputs[-1])
    second, continued = run(*pieces(op, inputs, cut, 50), state)
    assert relmax(torch.cat([first, second], dim=1), whole) < 1e-5
    assert relmax(continued, end) < 1e-5


@pytest.mark.parametrize("decay", [0.0, -1e-12, -0.5, -55.0, -1e4, -3e38], ids=str)
@pytest.mark.parametrize(("op", "backend"), RECURRENT)
def test_extreme_decays_stay_finite_and_right(op: str, backend: Backend, decay: float) -> None:
    run, inputs = function(op, backend), draw(op, 40)
    if op == "wkv6":
        inputs[3] = torch.full_like(inputs[3], decay)
    else:
        inputs[1], inputs[2] = torch.ones_like(inputs[1]), torch.full_like(inputs[2], decay)
    weights = tuple(torch.randn_like(t) for t in getattr(reference, op)(*inputs))
    expected = with_gradients(getattr(reference, op), inputs, weights)  # type: ignore[arg-type]
    got = with_gradients(run, [t.float() for t in inputs], weights)  # type: ignore[arg-type]
    assert all(t.isfinite().all() for t in got)
    # A gradient through exp(-55) may drown in the rounding of others.
    felt = [(g, e) for g, e in zip(got, expected, strict=True) if e.abs().max() > 1e-12]
    assert max(relmax(g, e) for g, e in felt) <= backend.tolerance


@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize(("op", "backend"), ALL)
def test_what_is_not_finite_is_not_hidden(op: str, backend: Backend, bad: float) -> None:
    """A gate looks for NaN in the logits: no backend, fast-math or not, may swallow it."""
    run, inputs = function(op, backend), [t.float() for t in draw(op, 20)]
    place = 2 if op == "wkv6" else 0
    inputs[place][0, 10] = bad
    y, final = run(*inputs)
    assert not y[0, 10].isfinite().any()
    assert y[1].isfinite().all()
    if backend.name != "chunked":  # a matrix product spreads NaN over its whole chunk, zero weights or not
        assert y[0, :10].isfinite().all()
    if op != "causal_conv1d":
        assert not final[0].isfinite().all()


@pytest.mark.parametrize(("op", "backend"), ALL)
def test_rows_are_independent(op: str, backend: Backend) -> None:
    run, inputs = function(op, backend), [t.float() for t in draw(op, 33)]
    together, _ = run(*inputs)
    batched = {"wkv6": (0, 1, 2, 3, 5), "ssd": (0, 1, 3, 4, 6), "causal_conv1d": (0, 3)}[op]
    alone, _ = run(*(t[1:] if i in batched else t for i, t in enumerate(inputs)))
    assert relmax(alone, together[1:]) < 1e-6


@pytest.mark.parametrize(("op", "backend"), ALL)
def test_two_threads_give_what_one_gives(op: str, backend: Backend) -> None:
    run, inputs = function(op, backend), [t.float() for t in draw(op, 40)]
    alone = run(*inputs)
    torch.set_num_threads(2)
    for one, two in zip(alone, run(*inputs), strict=True):
        assert relmax(two, one) < 1e-6


SHAPES = [
    ("wkv6", 1, (2, 8, 2, 15), r"k has shape \[2, 8, 2, 15\], expected \[B, T, H, K\]"),
    ("wkv6", 2, (2, 7, 2, 16), r"v has shape"),
    ("wkv6", 3, (1, 8, 2, 16), r"w has shape"),
    ("wkv6", 4, (16, 2), r"u has shape"),
    ("wkv6", 5, (2, 2, 16, 15), r"state has shape"),
    ("wkv6", 5, (1, 2, 16, 16), r"state has shape"),
    ("ssd", 1, (2, 8, 3), r"dt has shape"),
    ("ssd", 2, (3,), r"A has shape"),
    ("ssd", 3, (2, 8, 3, 16), r"2 heads cannot share 3 groups"),
    ("ssd", 4, (2, 8, 1, 15), r"C has shape"),
    ("ssd", 5, (3,), r"D has shape"),
    ("ssd", 6, (2, 2, 16, 8), r"state has shape"),
    ("causal_conv1d", 1, (23, 4), r"weight has shape"),
    ("causal_conv1d", 2, (23,), r"bias has shape"),
    ("causal_conv1d", 3, (2, 24, 4), r"state has shape"),
]


@pytest.mark.parametrize(("op", "argument", "shape", "message"), SHAPES)
def test_wrong_shapes_are_named(op: str, argument: int, shape: tuple[int, ...], message: str) -> None:
    inputs = draw(op, 8)
    inputs[argument] = torch.randn(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        getattr(kernels, op)(*inputs)


@pytest.mark.parametrize("op", STREAMING)
def test_no_tokens_are_refused(op: str) -> None:
    with pytest.raises(ValueError, match="T = 0"):
        getattr(kernels, op)(*draw(op, 0))
