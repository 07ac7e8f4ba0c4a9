"""D3, D5 and D6: what each component's state is worth to the loss, its coupling to it, and what flows through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.measurement import Measurement, Unmeasurable, measured
from gt.models.state import ModelState
from gt.probes.compare import Interval, finite_interval, finite_values, least, over_texts, rounded
from gt.probes.recurrent import names_by_component, norms, reading_options, replaced
from gt.probes.token_kinds import token_kinds

if TYPE_CHECKING:
    from gt.subject import Subject

CHUNK = 32
"""D3: tokens after which a state is zeroed."""
LENGTH, WINDOWS, ROWS = 256, 32, 8
SILENCED_WINDOWS = 8
TEXTS, READ, CONTINUED = 16, 128, 32

INTACT = ""
"""The way of reading in which nothing is zeroed, among those named by component."""

Zeroed = dict[str, tuple[str, slice]]
"""By way of reading the part of the state and its layers that become zero; no part where nothing does."""


@torch.no_grad()
def contribution(subject: Subject) -> tuple[Measurement, ...]:
    """D3: rise of the loss when a component's state is zeroed after every 32 tokens, for each component.

    Scored are the tokens after the first 32 of 32 texts of 256, each text against itself; what else is carried (token
    shift, convolution) stays. The component whose interval reaches lowest comes first; the smallest upper end of the
    intervals says whether a state is dead.

    Recorded: the rise by kind of token; the rise when the component's output is zeroed (which removes Mamba's
    convolution and skip as well), the ratio of the rises RWKV / Mamba, and the smallest share of the states' norm.
    Source: observation 15 of the fusion document, with ablation in place of norms.
    """
    model = subject.trained_model
    windows_BT = subject.windows(WINDOWS, LENGTH + 1, apart=True)
    by_batch: list[dict[str, Tensor]] = []
    norm_shares: dict[str, list[float]] = {}
    for batch_BT in windows_BT.split(ROWS):
        of_batch, state = zeroed_losses(model, batch_BT, _components)
        by_batch.append(of_batch)
        sizes = norms(state)
        total = sum(sizes.values())
        for name, size in sizes.items():
            norm_shares.setdefault(name, []).extend((size / total).tolist())
        subject.progress(min(len(by_batch) * ROWS, len(windows_BT)), len(windows_BT), "states zeroed")
    by_token = {way: torch.cat([batch[way] for batch in by_batch]) for way in by_batch[0]}  # [B, T - 32]
    losses: dict[str, list[float]] = {way: loss.mean(1).tolist() for way, loss in by_token.items()}
    intact = losses.pop(INTACT)
    rises = {name: [a - b for a, b in zip(values, intact, strict=True)] for name, values in losses.items()}
    some_BT = windows_BT[:SILENCED_WINDOWS]
    silenced = {name: _silenced_rise(model, some_BT, name, intact) for name in rises}
    intervals = {name: finite_interval(values) for name, values in rises.items()}
    order = sorted(intervals, key=lambda name: (intervals[name][1] == intervals[name][1], intervals[name][1]))
    found = [
        measured(
            "state_loss_rise",
            intervals[name][0],
            unit="nats",
            n=len(intact),
            ci95=intervals[name][1:],
            note="; ".join(filter(None, (name, subject.trained_note))),
        )
        for name in order
    ]
    component, upper = least({name: interval[2] for name, interval in intervals.items()})
    kinds = _by_kind(by_token, token_kinds(subject.tokenizer, windows_BT[:, 1:].tolist()))
    found.append(
        measured("state_rise_upper_end", upper, unit="nats", n=len(intact), note=component, detail={"by_kind": kinds})
    )
    found += [
        measured(f"output_loss_rise_{name}", rise[0], unit="nats", n=len(some_BT), ci95=rise[1:])
        for name, rise in silenced.items()
        if rise is not None
    ]
    if {"rwkv", "mamba"} <= intervals.keys():
        rwkv, mamba = rises["rwkv"], rises["mamba"]
        ratio, low, high = over_texts(
            len(intact), lambda texts: _ratio(sum(rwkv[text] for text in texts), sum(mamba[text] for text in texts))
        )
        found.append(measured("state_rise_ratio", ratio, n=len(intact), ci95=(low, high)))
    if len(intervals) > 1:
        shares = {name: finite_interval(values) for name, values in norm_shares.items()}
        smaller, share = least({name: interval[0] for name, interval in shares.items()})
        found.append(measured("min_norm_share", share, n=len(intact), ci95=shares[smaller][1:], note=smaller))
    return tuple(found)


def zeroed_losses(
    model: nn.Module, windows_BT: Tensor, ways: Callable[[ModelState], Zeroed]
) -> tuple[dict[str, Tensor], ModelState]:
    """Loss of each token after the first chunk of a text, with parts of the state zeroed after every chunk.

    Args:
        model: A model that streams.
        windows_BT: Texts [B, T + 1].
        ways: From the state to the ways of reading: which places of which of its parts become zero, none in one of
            them.

    Returns:
        Losses [B, T - 32] in fp64 by way of reading, and the state after the first chunk and then the last, intact.
    """
    count = len(windows_BT)
    chunks = zip(windows_BT[:, :-1].split(CHUNK, dim=1), windows_BT[:, 1:].split(CHUNK, dim=1), strict=True)
    first_BT, _ = next(chunks)
    state: ModelState = model(first_BT, return_states=True, **reading_options(model))[1]
    # Every way of reading is a part of one batch.
    zeroed = ways(state)
    state = ModelState.cat([state] * len(zeroed))
    losses: list[Tensor] = []
    for inputs_BT, targets_BT in chunks:
        parts: dict[str, Tensor] = {}
        for way, (name, layers) in enumerate(zeroed.values()):
            if name:
                part = parts.setdefault(name, state[name].clone())
                part[way * count : (way + 1) * count, layers] = 0
        state = replaced(state, parts)
        logits_BTV, state = model(inputs_BT.repeat(len(zeroed), 1), state=state, return_states=True)
        losses.append(_losses(logits_BTV, targets_BT.repeat(len(zeroed), 1)))
    by_way = torch.cat(losses, dim=1).split(count)
    return dict(zip(zeroed, by_way, strict=True)), state.select(slice(count))


def _by_kind(by_token: dict[str, Tensor], kinds: dict[str, list[list[bool]]]) -> dict[str, dict[str, float | int]]:
    """Mean rise of the loss without each component's state, for the tokens of each kind that there is."""
    found: dict[str, dict[str, float | int]] = {}
    for kind, of_kind in kinds.items():
        chosen = torch.tensor(of_kind, device=by_token[INTACT].device)[:, CHUNK:]
        count = int(chosen.sum())
        if count:
            rises = {way: (loss - by_token[INTACT])[chosen].mean() for way, loss in by_token.items() if way != INTACT}
            found[kind] = {"n": count, **{way: rounded(float(rise)) for way, rise in rises.items()}}
    return found


def _components(state: ModelState) -> Zeroed:
    """Everything intact, and the state of each component zeroed."""
    return {
        INTACT: ("", slice(None)),
        **{component: (name, slice(None)) for component, name in names_by_component(state).items()},
    }


def _losses(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Loss of each token [B, T] in nats, in fp64."""
    loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), reduction="none")
    return loss.view(targets_BT.shape).double()


def _silenced_rise(model: nn.Module, windows_BT: Tensor, component: str, intact: Sequence[float]) -> Interval | None:
    """Rise of the same losses when the component's output is zero; None where no module has its name."""
    modules = [module for name, module in model.named_modules() if name.split(".")[-1] == component]
    if not modules:
        return None
    with _silent(modules):
        losses_BT = _losses(model(windows_BT[:, :-1]), windows_BT[:, 1:])
    losses: list[float] = losses_BT[:, CHUNK:].mean(1).tolist()
    return finite_interval([loss - before for loss, before in zip(losses, intact, strict=False)])


@contextmanager
def _silent(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, the modules put out zeros."""

    def zeros(module: nn.Module, args: object, output: Any) -> Any:
        return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)

    handles = [module.register_forward_hook(zeros) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.enable_grad()
def coupling(subject: Subject) -> tuple[Measurement, ...]:
    """D5: sum of |gradient x state| of RWKV over that of Mamba, geometric mean over 16 texts.

    The state is that after 128 tokens, the gradient that of the mean loss of the next 32 with respect to it.
    Source: strategy document, coupling analyzer.
    """
    model = subject.trained_model
    windows_BT = _texts(subject)
    with torch.no_grad():
        _, state = model(windows_BT[:, :READ], return_states=True)
    names = _two_components(state)
    leaves = {name: state[name].detach().requires_grad_() for name in names.values()}
    logits_BTV = model(windows_BT[:, READ:-1], state=replaced(state.detach(), leaves))
    loss = _losses(logits_BTV, windows_BT[:, READ + 1 :]).mean(1).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    sums: dict[str, list[float]] = {}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        reached = torch.zeros_like(leaf) if gradient is None else gradient
        sums[name] = (reached * leaf).detach().double().abs().flatten(1).sum(1).tolist()
    rwkv, mamba = (sums[names[component]] for component in ("rwkv", "mamba"))
    if all(math.isfinite(value) and value > 0 for value in (*rwkv, *mamba)):
        ratio, low, high = map(math.exp, finite_interval([math.log(r / m) for r, m in zip(rwkv, mamba, strict=True)]))
        ci95 = (low, high)
    else:
        ratio, ci95 = _ratio(sum(rwkv), sum(mamba)), None
    shares = [_ratio(r, r + m) for r, m in zip(rwkv, mamba, strict=True)]
    share, *interval = finite_interval(shares)
    return (
        measured("coupling_ratio", ratio, n=len(rwkv), ci95=ci95, note=subject.trained_note),
        measured("rwkv_coupling_share", share, n=len(rwkv), ci95=(interval[0], interval[1])),
    )


@torch.no_grad()
def flow_share(subject: Subject) -> tuple[Measurement, ...]:
    """D6: share of each component in the change of the logits when its state becomes another text's; the smaller.

    The state after 128 tokens is replaced in one component at a time; the change is the L2 norm over the logits of the
    next 32 tokens, and a share is of the sum of both changes. Mean over 16 texts.
    Source: strategy document, information flow tracer.
    """
    model = subject.trained_model
    windows_BT = _texts(subject)
    _, state = model(windows_BT[:, :READ], return_states=True)
    names = _two_components(state)
    swapped = (state, *(replaced(state, {name: state[name].roll(1, dims=0)}) for name in names.values()))
    logits = [model(windows_BT[:, READ:-1], state=one).double() for one in swapped]
    changes = [(other - logits[0]).flatten(1).norm(dim=-1) for other in logits[1:]]
    total, size = sum(changes), logits[0].flatten(1).norm(dim=-1)
    of_each = dict(zip(names, changes, strict=True))
    shares = {name: finite_interval((change / total).tolist()) for name, change in of_each.items()}
    relative = {name: float((change / size).mean()) for name, change in of_each.items()}
    component, share = least({name: interval[0] for name, interval in shares.items()})
    note = "; ".join(filter(None, (component, subject.trained_note)))
    return (
        measured(
            "min_flow_share",
            share,
            n=len(windows_BT),
            ci95=shares[component][1:],
            note=note,
            detail={"relative_change": finite_values(relative)},
        ),
    )


def _texts(subject: Subject) -> Tensor:
    return subject.windows(TEXTS, READ + CONTINUED + 1, apart=True)


def _two_components(state: ModelState) -> dict[str, str]:
    """Names of the states of both components, RWKV first.

    Raises:
        Unmeasurable: If a model of the user's own names them in another way.
    """
    names = names_by_component(state)
    if not {"rwkv", "mamba"} <= names.keys():
        raise Unmeasurable(f"the recurrent states are {', '.join(names.values())}: expected rwkv_state and mamba_state")
    return {component: names[component] for component in ("rwkv", "mamba")}


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan if math.isnan(a) or not a else math.inf
