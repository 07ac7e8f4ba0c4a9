"""WKV6 on a GPU: the whole op beside fla's and its floor, its errors, and every kernel at several launch sizes.

    python benchmarks/wkv6.py [--seconds 120] [--only errors op parts kernels fla] [--json FILE]

Everything is timed as replays of CUDA graphs, medians with quartiles. What fails to compile is named and left out, and
nothing is begun once the time is up. Launch sizes are compiled by several processes first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from kernels import SHAPES, graph_of, inputs_of, machine, milliseconds, step_of, summary, versions
from torch import Tensor

from gt.kernels import wkv6_chunked, wkv6_triton

NAMES = ("y", "r", "k", "v", "w", "u")
LAUNCHES = 10  # of a kernel in one graph
COMPILING = 60.0  # seconds for all launch sizes together
SECTIONS = ("errors", "op", "parts", "kernels", "fla")
# Log-decays: as in `kernels.py`; with one channel at -8 in as many chunks as decay much in a trained model (11% of 32
# tokens and a head of the shipped GF-MH@3.5M); so strong that every chunk decays much.
DECAYS = ("usual", "trained", "strong")


class Variant(NamedTuple):
    """A kernel, what is done with it, and its launch sizes."""

    kernel: str
    config: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.config)


def variants(K: int) -> Iterator[Variant]:
    """Launch sizes worth trying for heads of K."""

    def sizes(kernel: str, **config: Any) -> Variant:
        return Variant(kernel, tuple(config.items()))

    for kernel in ("walk", "walk back"):
        for C, BK, warps, stages in (
            (32, 16, 1, 3), (32, 16, 2, 3), (32, 16, 2, 4), (32, 16, 4, 3), (32, 32, 2, 3), (32, 32, 4, 3),
        ):  # fmt: skip
            yield sizes(kernel, C=C, BK=BK, num_warps=warps, STAGES=stages)
    for BK, warps in ((16, 1), (16, 2), (32, 1), (32, 2), (32, 4)):
        yield sizes("updates", C=32, BK=BK, num_warps=warps)
    yield sizes("scan", C=32, STAGES=8)
    for C, warps, registers in (
        (32, 1, 255), (32, 2, 168), (32, 2, 128), (32, 2, 96), (32, 4, 128), (32, 4, 96), (16, 1, 168), (16, 1, 128),
        (64, 4, 168), (64, 8, 128),
    ):  # fmt: skip
        yield sizes("gentle outputs", C=C, num_warps=warps, maxnreg=registers)
    for C, warps, registers in (
        (32, 1, 255), (32, 2, 255), (32, 2, 168), (32, 4, 255), (32, 4, 168), (32, 4, 128), (32, 8, 128), (16, 1, 255),
        (16, 2, 168), (64, 8, 255),
    ):  # fmt: skip
        yield sizes("gentle gradients", C=C, num_warps=warps, maxnreg=registers)
    for kernel in ("outputs", "gradients"):
        for warps in (1, 2) if kernel == "outputs" else (2, 4):
            for left in (0.0, 0.1, 1.0):
                yield sizes(kernel, C=32, num_warps=warps, left=left)


class Buffers:
    """What the kernels read and write at one shape and chunk length; states and gradients are random."""

    def __init__(self, shape: dict[str, int], C: int) -> None:
        """Draw inputs and allocate outputs."""
        B, T, H, K, V = (shape[letter] for letter in "BTHKV")
        self.shape, self.C, self.N = shape, C, -(-T // C)
        self.r, self.k, self.v, self.w, self.u = inputs_of("wkv6", shape, "cuda")
        self.gy = torch.randn_like(self.v)
        self.y, self.gr, self.gk, self.gv, self.gw = map(torch.empty_like, (self.v, self.r, self.k, self.v, self.w))
        self.starts = torch.randn(B, H, self.N, K, V, device="cuda", dtype=torch.bfloat16)
        self.gends = torch.randn_like(self.starts)
        self.scores = torch.randn(B, H, self.N, C, C, device="cuda", dtype=torch.bfloat16)
        self.updates = torch.randn(B, H, self.N, K, V, device="cuda")
        self.decays = -torch.rand(B, H, self.N, K, device="cuda")
        self.gu = torch.empty(B, H, self.N, K, device="cuda")
        self.last = torch.empty(B, H, K, V, device="cuda")
        self.done = torch.ones(B * H * self.N, device="cuda", dtype=torch.int32)
        self.left = torch.zeros(1 + B * H * self.N, device="cuda", dtype=torch.int32)

    def launch(self, variant: Variant) -> Callable[[], Any]:
        """One launch of a variant."""
        import triton.language as tl

        from gt.kernels import wkv6_gentle_kernels as gentle
        from gt.kernels import wkv6_kernels as exact

        B, T, H, K, V = (self.shape[letter] for letter in "BTHKV")
        N, chunks = self.N, B * H * self.N
        config = dict(variant.config)
        share = config.pop("left", 1.0)
        sizes: dict[str, Any] = {"K": K, "V": V, "BV": wkv6_triton._padded(V), "PARTS": 2, **config}
        products = {"DTYPE": tl.bfloat16, "PRECISION": "tf32"}
        inputs = (self.r, self.k, self.v, self.w, self.u, self.starts, self.scores)
        gradients = (self.gy, self.gends, self.gr, self.gk, self.gv, self.gw, self.gu)
        match variant.kernel:
            case "walk":
                ends = {"HAS_FIRST": False, "HAS_LAST": True, "LATER": True, "SPLIT": True}
                grid = B * H * -(-K // sizes["BK"])
                tensors = (self.k, self.v, self.w, None, self.starts, self.last, T, H, N)
                return lambda: exact.walk_kernel[(grid,)](*tensors, **ends, **sizes, **products)
            case "walk back":
                ends = {"HAS_FIRST": False, "HAS_LAST": False, "LATER": False, "SPLIT": False}
                grid = B * H * -(-K // sizes["BK"])
                tensors = (self.r, self.gy, self.w, None, self.gends, None, T, H, N)
                return lambda: exact.walk_kernel[(grid,)](*tensors, **ends, **sizes, **products)
            case "updates":
                grid = chunks * -(-K // sizes["BK"])
                tensors = (self.k, self.v, self.w, self.updates, self.decays, T, H, N)
                return lambda: exact.updates_kernel[(grid,)](*tensors, LATER=True, SPLIT=True, **sizes, **products)
            case "scan":
                BK = max(1, wkv6_triton.SCANNED // sizes["BV"])
                tensors = (self.updates, self.decays, None, self.starts, self.last, N)
                scan: dict[str, Any] = {"K": K, "V": V, "BV": sizes["BV"], "STAGES": sizes["STAGES"], "BK": BK}
                scan |= {"HAS_FIRST": False, "HAS_LAST": True, "REVERSE": False, "num_warps": 1}
                return lambda: exact.scan_kernel[(B * H * -(-K // BK),)](*tensors, **scan)
            case "gentle outputs":
                sizes |= {"BK": wkv6_triton._padded(K), "num_stages": 1, "SAVE": True}
                return lambda: gentle.outputs_kernel[(chunks,)](*inputs, self.y, self.done, self.left, T, H, N, **sizes)
            case "gentle gradients":
                sizes |= {"BK": wkv6_triton._padded(K), "num_stages": 1}
                return lambda: gentle.gradients_kernel[(chunks,)](*inputs, *gradients, self.done, T, H, N, **sizes)
        left = torch.randperm(chunks, device="cuda", dtype=torch.int32)
        left = torch.cat([torch.full_like(left[:1], int(share * chunks)), left])
        sizes |= {"BK": wkv6_triton._padded(K), "LEVELS": self.C.bit_length() - 1, "num_stages": 1, **products}
        grid = min(chunks, wkv6_triton.SHARERS)
        if variant.kernel == "outputs":
            return lambda: exact.outputs_kernel[(grid,)](*inputs, self.y, left, T, H, N, SAVE=True, **sizes)
        return lambda: exact.gradients_kernel[(grid,)](*inputs, *gradients, left, T, H, N, **sizes)


def compile_variant(task: tuple[int, Variant]) -> str | None:
    """Compile a variant at a tiny shape, into the cache on disk; returns why it failed, or None."""
    K, variant = task
    try:
        Buffers({"B": 1, "T": 64, "H": 1, "K": K, "V": K}, dict(variant.config)["C"]).launch(variant)()
        torch.cuda.synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def replayed(run: Callable[[], Any], rounds: int = 20) -> dict[str, float]:
    """Milliseconds of one launch, from a graph of several."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            run()
    graph.replay()
    return summary([milliseconds(graph.replay, "cuda") / LAUNCHES for _ in range(rounds)])


def floor(shape: dict[str, int]) -> int:
    """Bytes that forward and backward move at least: each input read once each way, each result written once."""
    B, T, H, K, V = (shape[letter] for letter in "BTHKV")
    low, w = 2 * B * T * H, 4 * B * T * H * K
    forward = low * (2 * K + V) + w + low * V
    backward = low * (2 * K + V) + w + low * V + low * (2 * K + V) + w
    return forward + backward


def bandwidth() -> float:
    """Bytes a second of a large copy, read and written."""
    x = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    return 2 * x.numel() / (statistics.median(milliseconds(lambda: y.copy_(x), "cuda") for _ in range(10)) / 1e3)


@contextmanager
def plan(walks: int | None = None, gentle: bool = True) -> Iterator[None]:
    """Other choices of `wkv6_triton`: when heads are walked over, and whether every chunk is computed exactly."""
    launch, kept = wkv6_triton._launch, wkv6_triton.WALKS

    def exact(*sizes: Any) -> Any:
        return launch(*sizes)._replace(gentle_outputs=None, gentle_gradients=None)

    if not gentle:
        wkv6_triton._launch = exact  # type: ignore[assignment]
    if walks is not None:
        wkv6_triton.WALKS = walks
    try:
        yield
    finally:
        wkv6_triton._launch, wkv6_triton.WALKS = launch, kept


def with_decays(inputs: list[Tensor], decays: str) -> list[Tensor]:
    """The same inputs, with other log-decays."""
    w = inputs[3].clone()
    if decays == "trained":
        chosen = torch.rand(w.shape[0], w.shape[1] // 32, w.shape[2], device=w.device) < 0.11
        w[..., 0] = torch.where(chosen.repeat_interleave(32, 1), -8.0, w[..., 0])
    if decays == "strong":
        w = -torch.exp(torch.empty_like(w).uniform_(-8.0, 4.8))
    return [*inputs[:3], w, *inputs[4:]]


def fla() -> Callable[..., Tensor]:
    """The published chunk_rwkv6 with our arguments."""
    from fla.ops.rwkv6 import chunk_rwkv6

    return lambda *inputs: chunk_rwkv6(*inputs, scale=1.0, output_final_state=True)[0]  # type: ignore[no-any-return]


def ours(*inputs: Tensor) -> Tensor:
    """The op as it is used."""
    return wkv6_triton.wkv6(*inputs)[0]


def results(run: Callable[..., Tensor], inputs: list[Tensor], gy: Tensor) -> list[Tensor]:
    """Output and gradients."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = run(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, gy.to(y.dtype))]


def errors(shape: dict[str, int], decays: str, runs: dict[str, Callable[..., Tensor]]) -> dict[str, Any]:
    """Errors against fp64 of what bf16 holds: the largest, and the root of the mean square, relative to the same."""
    small = {**shape, "B": 2, "T": 1024}
    inputs = with_decays(inputs_of("wkv6", small, "cuda"), decays)
    gy = torch.randn_like(inputs[2])
    wanted = results(lambda *t: wkv6_chunked.wkv6(*t)[0], [t.double() for t in inputs], gy.double())
    found = {}
    for name, run in runs.items():
        got = results(run, inputs, gy)
        pairs = [(g.double() - w, w) for g, w in zip(got, wanted, strict=True)]
        largest = [float(error.abs().max() / w.abs().max()) for error, w in pairs]
        square = [float(error.norm() / w.norm()) for error, w in pairs]
        found[name] = {"largest": dict(zip(NAMES, largest, strict=True)), "rms": dict(zip(NAMES, square, strict=True))}
        for what, values in found[name].items():
            listed = " ".join(f"{n} {e:.1e}" for n, e in values.items())
            print(f"errors K{shape['K']} {decays:8} {name:5} {what:8} {listed}", flush=True)
    return found


def main() -> None:
    """Run the sections in turn until the time is up, print as it goes, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="nothing is begun after this long (default: 120)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=30, help="timed steps of the whole op (default: 30)")
    parser.add_argument("--json", type=Path, help="where figures go; nowhere by default")
    chosen = parser.parse_args()
    started = time.perf_counter()
    torch.manual_seed(0)
    record: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "machine": machine(torch.get_num_threads())}
    record |= {"versions": versions(), "figures": []}
    shapes = SHAPES["cuda"]["wkv6"]

    def late(what: str) -> bool:
        spent = time.perf_counter() - started
        if spent > chosen.seconds:
            print(f"left out, time is up: {what}", flush=True)
        return spent > chosen.seconds

    def keep(**figure: Any) -> None:
        record["figures"].append(figure)
        if chosen.json:
            chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def attempt(what: str, run: Callable[[], Any]) -> None:
        if late(what):
            return
        try:
            run()
        except Exception:
            print(f"FAILED {what}", flush=True)
            traceback.print_exc(limit=6, file=sys.stdout)

    rate = bandwidth()
    print(record["machine"]["gpu"], f"copies {rate / 1e12:.2f} TB/s", flush=True)
    for shape in shapes:
        print(shape, f"floor {floor(shape) / 1e6:.0f} MB = {floor(shape) / rate * 1e3:.4f} ms", flush=True)

    def all_errors(runs: dict[str, Callable[..., Tensor]]) -> None:
        for shape, decays in itertools.product(shapes[:2], DECAYS):
            keep(what="errors", shape=shape, decays=decays, found=errors(shape, decays, runs))

    def whole(shape: dict[str, int], steps: dict[str, Any], decays: str, rounds: int) -> None:
        inputs = with_decays(inputs_of("wkv6", shape, "cuda"), decays)
        replays = {}
        for name, (run, choice) in steps.items():
            with plan(**choice):
                replays[name] = graph_of(step_of(run, inputs))
        times: dict[str, list[float]] = {name: [] for name, replay in replays.items() if replay is not None}
        for _ in range(rounds):
            for name in times:
                times[name].append(milliseconds(replays[name], "cuda"))  # type: ignore[arg-type]
        least = floor(shape) / rate * 1e3
        for name, values in times.items():
            found = summary(values)
            spread = f"{found['low']:.4f} to {found['high']:.4f}"
            print(f"  {name:22} {found['median']:.4f} ms ({spread}), {found['median'] / least:.1f} floors", flush=True)
            keep(what="forward and backward", shape=shape, decays=decays, name=name, floor=least, **found)

    choices: dict[str, Any] = {
        "ours": (ours, {}),
        "ours, walking": (ours, {"walks": 1}),
        "ours, scanning": (ours, {"walks": 1 << 30}),
        "ours, all exact": (ours, {"gentle": False}),
    }
    if "errors" in chosen.only:
        attempt("errors", lambda: all_errors({"ours": ours}))
    if "op" in chosen.only:
        for shape, decays in itertools.product(shapes, DECAYS):
            print("forward and backward", shape, decays, flush=True)
            attempt("the op", lambda shape=shape, decays=decays: whole(shape, choices, decays, chosen.rounds))  # type: ignore[misc]
    if "parts" in chosen.only:
        for shape in shapes:
            attempt("parts", lambda shape=shape: parts(shape))  # type: ignore[misc]
    if "kernels" in chosen.only and not late("kernels"):
        sweep(shapes, late, keep)
    if "fla" in chosen.only:
        for shape in shapes:
            both = {"ours": (ours, {}), "fla": (lambda *inputs: fla()(*inputs), {})}
            print("beside fla", shape, flush=True)
            attempt("fla", lambda shape=shape, both=both: whole(shape, both, "usual", chosen.rounds))  # type: ignore[misc]
        attempt("fla", lambda: all_errors({"ours": ours, "fla": lambda *inputs: fla()(*inputs)}))


def parts(shape: dict[str, int]) -> None:
    """Print what each kernel of a step takes, by the profiler."""
    step = step_of(ours, inputs_of("wkv6", shape, "cuda"))
    for _ in range(3):
        step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(10):
            step()
        torch.cuda.synchronize()
    print("parts", shape, flush=True)
    for event in profile.key_averages():
        microseconds = event.device_time_total / event.count
        print(f"  {event.key[:60]:60} {event.count / 10:.0f} x {microseconds:.1f} us", flush=True)


def sweep(shapes: list[dict[str, int]], late: Callable[[str], bool], keep: Callable[..., None]) -> None:
    """Compile every variant, time it at every shape, and name the best of each kernel and chunk length."""
    tasks = [(K, variant) for K in sorted({shape["K"] for shape in shapes}) for variant in variants(K)]
    started = time.perf_counter()
    why: dict[tuple[int, Variant], str | None] = {}
    with multiprocessing.get_context("spawn").Pool(min(12, os.cpu_count() or 1)) as pool:
        pending = {task: pool.apply_async(compile_variant, (task,)) for task in tasks}
        for task, result in pending.items():
            try:
                why[task] = result.get(timeout=max(1.0, COMPILING - (time.perf_counter() - started)))
            except multiprocessing.TimeoutError:
                why[task] = "compiling takes too long"
    print(f"{len(tasks)} variants compiled in {time.perf_counter() - started:.0f} s", flush=True)
    for (K, variant), reason in why.items():
        if reason is not None:
            print(f"  K{K} {variant.kernel}: {variant} does not run: {reason}", flush=True)
    for shape in shapes:
        print("kernels", shape, flush=True)
        buffers: dict[int, Buffers] = {}
        best: dict[tuple[str, int], tuple[float, Variant]] = {}
        for variant in variants(shape["K"]):
            if why[shape["K"], variant] is not None:
                continue
            if late(f"{variant.kernel} {variant}"):
                break
            config = dict(variant.config)
            try:
                if config["C"] not in buffers:
                    buffers[config["C"]] = Buffers(shape, config["C"])
                found = replayed(buffers[config["C"]].launch(variant))
            except Exception as error:
                print(f"  {variant.kernel}: {variant} failed: {type(error).__name__}: {error}"[:300], flush=True)
                continue
            print(f"  {variant.kernel:18} {variant!s:44} {found['median'] * 1e3:7.1f} us", flush=True)
            keep(what="kernel", shape=shape, kernel=variant.kernel, config=config, **found)
            group = f"{variant.kernel}{config.get('left', '')}", config["C"]
            if group not in best or found["median"] < best[group][0]:
                best[group] = found["median"], variant
        for (kernel, _), (median, variant) in sorted(best.items()):
            print(f"  BEST {kernel:26} {variant!s:44} {median * 1e3:7.1f} us", flush=True)


if __name__ == "__main__":
    main()
