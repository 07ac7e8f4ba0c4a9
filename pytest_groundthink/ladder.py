"""From scorecards at several scales to the runs of one ladder: which belong together, and how the others differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gt.baseline import MAY_DIFFER
from gt.resources import seen_from_here
from pytest_groundthink import scorecard
from pytest_groundthink.rules import ScaleRule
from pytest_groundthink.scaling import LadderPoint, ScalingFit, fit_scaling
from pytest_groundthink.scorecard import LadderFile, Scorecard

FOLDER = "ladder"
LOSS_CHECK, LOSS_METRIC = "L2", "valid_loss"
"""The loss that is compared: measured here, on the same windows of one text for every run. What a training run says of
its own validation is another text's, and LRD reads as much context as a scale claims: more at a larger one."""

REFERENCE, LEAST_SHARE = "python-reference", 0.99
"""The text where none is given, and how much of its held-out part a Python must have: so a ladder made under one Python
serves a subject judged under another. Without a sixth of that part, the shipped checkpoint's loss was 0.55% higher."""

_GROW_WITH_SCALE = frozenset({"lr", "steps", "batch_size", "accumulate", "seed", "tokens_before"})
_FREE = MAY_DIFFER | _GROW_WITH_SCALE | {"flop"}
FLOP_PER_PARAMETER_AND_TOKEN = 6  # Kaplan et al. 2020, arXiv:2001.08361, section 2.1


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One trained model of the ladder: its point, the hash of its weights, and the seed of its training if known."""

    point: LadderPoint
    weights: str
    seed: int | None


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """The runs that may be compared with the subject, itself first.

    Attributes:
        runs: Of one kind of model, tokenizer and text, with as many tokens or as many for each parameter. Empty where
            the subject itself tells too little. The subject is the first, or where it was trained for longer than all
            others, or goes on from a run like theirs with other settings, another at its scale that is no better.
        left_out: Other scorecards, each with why.
        kin: Other scales at which weights of this kind of model were judged, rungs or not.
        notes: In what runs that were kept differ from the subject, in a line.
        proportional: Whether tokens grow with parameters, rather than being the same.
        stood_in_for: Whether another run stands for the subject.
        lacks: Why the subject is no rung.
        remedy: What to do about that.
    """

    runs: tuple[Run, ...] = ()
    left_out: tuple[str, ...] = ()
    kin: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    proportional: bool = False
    stood_in_for: bool = False
    lacks: str = ""
    remedy: str = ""

    @property
    def scales(self) -> set[str]:
        """Scales that have a run."""
        return {run.point.scale for run in self.runs}

    def at(self, scale: str) -> list[Run]:
        """The runs at a scale."""
        return [run for run in self.runs if run.point.scale == scale]


def read_ladder(paths: Iterable[Path]) -> dict[Path, Scorecard]:
    """The scorecards in files and folders, by file.

    Raises:
        ValueError: One line: a path does not exist, a folder has none, or a file is none.
    """
    cards: dict[Path, Scorecard] = {}
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path}: has no scorecard (*.json): give files, or a folder of them")
        cards |= {file: scorecard.read(file) for file in files}
    return cards


def recorded(cards: Mapping[Path, Scorecard]) -> tuple[LadderFile, ...]:
    """What a decision keeps of the files of its ladder."""
    return tuple(LadderFile(path=seen_from_here(file), sha256=card.content_sha256) for file, card in cards.items())


def find_recorded(file: LadderFile, folder: Path) -> tuple[Path, Scorecard] | str:
    """A scorecard of a recorded ladder where it is still what it was, or what became of it.

    Args:
        file: As the decision has it.
        folder: That of the decision's own scorecard: paths are looked up from here, from there, and from the folders
            above it, one of which the run was started in as a rule.
    """
    folder = folder.resolve()
    roots = (Path(), folder, *folder.parents)
    places = [place for root in roots if (place := root / file.path).is_file()]
    for place in places:
        try:
            card = scorecard.read(place)
        except ValueError:
            continue
        if card.content_sha256 == file.sha256:
            return place, card
    return f"{file.path} {'has changed' if places else 'is not there'}"


def short_name(card: Scorecard) -> str:
    """Label and the beginning of the hash of the weights."""
    weights = str((card.subject.checkpoint or {}).get("sha256") or "no weights")[:8]
    return f"{card.subject.label} ({weights})"


def build_ladder(
    card: Scorecard,
    others: Sequence[Scorecard],
    tokens_within: float,
    name: Callable[[Scorecard], str] = short_name,
) -> Ladder:
    """The ladder that a scorecard belongs to.

    Args:
        card: The subject's.
        others: At other scales, or of other runs; the subject itself among them is not counted twice.
        tokens_within: Share by which tokens, or tokens for each parameter, may differ.
        name: How the others are called where they differ.
    """
    ladder = _ladder_of(card, others, tokens_within, name)
    if len(ladder.scales) != 1:
        return ladder
    for begun in (other for other in others if _began_as(card, other)):
        its = _ladder_of(begun, others, tokens_within, name)
        if len(its.scales) > 1 and its.runs[0].weights == _hash(begun.subject.checkpoint):
            rung = its.runs[0].point
            note = (
                f"the subject began on the text of the ladder's {rung.scale} and was trained on otherwise, on "
                f"{ladder.runs[0].point.tokens:,} tokens in all for {rung.tokens:,}: the law is the ladder's"
            )
            return msgspec.structs.replace(its, notes=(note, *its.notes), stood_in_for=True)
    return ladder


def _began_as(card: Scorecard, other: Scorecard) -> bool:
    """Whether the subject's training goes on from a run on the other's text, which is at its scale and no better."""
    (own, _), (its, _) = _run(card), _run(other)
    before = _training(card).get("hashes_before") or [None]
    return (
        own is not None
        and its is not None
        and before[0] is not None
        and before[0] == _training(other).get("hashes")
        and not _training(other).get("hashes_before")
        and not any(_unlike_subjects(card, other))
        and _stands_for(its.point, own.point)
    )


def _ladder_of(
    card: Scorecard, others: Sequence[Scorecard], tokens_within: float, name: Callable[[Scorecard], str]
) -> Ladder:
    """The ladder of runs that were trained as the subject was, but for what grows with the scale."""
    kin = frozenset(
        str(other.subject.scale)
        for other in others
        if _kind(other) == _kind(card) and _hash(other.subject.checkpoint) != _hash(card.subject.checkpoint)
    ) - {str(card.subject.scale)}
    own, (lacks, remedy) = _run(card)
    if own is None:
        unused = tuple(f"{short_name(other)}: the subject is no rung" for other in others)
        return Ladder(left_out=unused, kin=kin, lacks=lacks, remedy=remedy)
    kept: list[tuple[Run, Scorecard]] = [(own, card)]
    problems: dict[str, list[str]] = {}
    for other in others:
        run, (problem, _) = _run(other)
        if run is not None and run.weights in {known.weights for known, _ in kept}:
            continue
        problem = problem or "; ".join(_unlike(card, other))
        if run is None or problem:
            problems.setdefault(problem, []).append(short_name(other))
        else:
            kept.append((run, other))
    left_out = [f"{', '.join(names)}: {problem}" for problem, names in problems.items()]
    runs, proportional = _same_tokens([run for run, _ in kept], tokens_within)
    notes = []
    if own not in runs:
        notes.append(
            f"the ladder's {runs[0].point.scale} was trained on {runs[0].point.tokens:,} tokens, the subject on "
            f"{own.point.tokens:,}: the law is the ladder's"
        )
    for run, other in kept[1:]:
        if run not in runs:
            left_out.append(
                f"{short_name(other)}: trained on {run.point.tokens:,} tokens for {own.point.tokens:,}, "
                "which is neither as many nor as many for each parameter"
            )
    return Ladder(
        runs=tuple(runs),
        left_out=tuple(left_out),
        kin=kin,
        notes=(*notes, *_told_differences(card, [other for run, other in kept[1:] if run in runs], name)),
        proportional=proportional,
        stood_in_for=own not in runs,
    )


def fit_ladder(card: Scorecard, ladder: Ladder, rule: ScaleRule) -> ScalingFit | None:
    """The scaling law of a ladder, and the loss to expect at the next scale; None with fewer than two scales."""
    what = "tokens in proportion to parameters" if ladder.proportional else "the same number of tokens"
    text = (card.subject.corpus or {}).get("name", "one text")
    note = f"loss on {text} ({LOSS_CHECK}) over compute (6 FLOP per parameter and token), {what}"
    if ladder.left_out:
        note += f"; left out: {'; '.join(ladder.left_out)}"
    return fit_scaling([run.point for run in ladder.runs], _next(card, ladder, rule), note)


def _told_differences(card: Scorecard, others: Sequence[Scorecard], name: Callable[[Scorecard], str]) -> Sequence[str]:
    """One line that counts and names the scorecards in what they differ from the subject's; none where in nothing."""
    by_aspect: dict[str, list[str]] = {}
    for other in others:
        for what, of in _ASPECTS.items():
            if (ours := of(card)) != (theirs := of(other)):
                by_aspect.setdefault(f"{what} {_short(theirs)} for {_short(ours)}", []).append(name(other))
    by_names: dict[tuple[str, ...], list[str]] = {}
    for aspect, names in by_aspect.items():
        by_names.setdefault(tuple(names), []).append(aspect)
    told = [
        (f"{len(names)} runs ({', '.join(names)}) have" if len(names) > 1 else f"{names[0]} has")
        + f" {', '.join(aspects)}"
        for names, aspects in by_names.items()
    ]
    return ["; ".join(told)] if told else []


_ASPECTS: dict[str, Callable[[Scorecard], Any]] = {
    "version": lambda card: card.provenance.version,
    "commit": lambda card: card.provenance.git and card.provenance.git.commit[:12],
    "profile": lambda card: card.provenance.thresholds.profile,
    "thresholds": lambda card: card.provenance.thresholds.sha256[:12],
    "seed": lambda card: card.provenance.seed,
    "text": lambda card: str((card.subject.corpus or {}).get("sha256", "unknown"))[:12],
    "device": lambda card: card.subject.device,
    "dtype": lambda card: card.subject.dtype,
    "torch": lambda card: card.provenance.environment.get("torch"),
    **{
        f"training's {name}": lambda card, name=name: _training(card).get(name)  # type: ignore[misc]
        for name in sorted(_GROW_WITH_SCALE - {"steps"})
    },
}


_RECORD = (
    "judge what groundthink train wrote, or say in training.json beside the weights of your own model how it was "
    "trained"
)


def _run(card: Scorecard) -> tuple[Run | None, tuple[str, str]]:
    """A scorecard as a rung, or what it lacks and what to do about it."""
    subject, checkpoint = card.subject, card.subject.checkpoint or {}
    found = card.check(LOSS_CHECK)
    loss = None if found is None else found.measured(LOSS_METRIC)
    params, tokens = (subject.params or {}).get("total"), checkpoint.get("tokens")
    if subject.sabotage:
        return None, (f"was broken on purpose ({subject.sabotage})", "judge it without --gt-sabotage")
    if subject.scale is None or not params:
        return None, ("its scale or number of parameters is not known", "register the model with its scale")
    if not isinstance(tokens, int) or tokens <= 0 or "sha256" not in checkpoint:
        return None, ("the tokens of its training are not recorded", _RECORD)
    if loss is None or loss.value is None or not loss.value > 0:
        return None, (f"has no validation loss ({LOSS_CHECK})", f"let the run ask {LOSS_CHECK} too")
    if not _training(card):
        return None, ("how it was trained is not recorded", _RECORD)
    tokens += _training(card).get("tokens_before", 0)
    compute = float(_training(card).get("flop") or FLOP_PER_PARAMETER_AND_TOKEN * params * tokens)
    point = LadderPoint(
        label=subject.label, scale=subject.scale, params=params, tokens=tokens, compute=compute, loss=loss.value
    )
    return Run(point=point, weights=str(checkpoint["sha256"]), seed=_training(card).get("seed")), ("", "")


def _unlike_subjects(card: Scorecard, other: Scorecard) -> Iterable[str]:
    """Why the losses of two runs cannot be compared, however they were trained."""
    if _kind(card) != _kind(other):
        yield f"is a {_kind(other)}, not a {_kind(card)}"
    if _hash(card.subject.tokenizer) is None or _hash(card.subject.tokenizer) != _hash(other.subject.tokenizer):
        yield "another tokenizer"
    texts = [one.subject.corpus or {} for one in (card, other)]
    if not _same_text(*texts):
        yield f"its loss was measured on another text{_too_little(texts)}"


def _same_text(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two texts are one, or Python's reference as two releases of Python word it."""
    if one.get("sha256") is None or one["sha256"] == other.get("sha256"):
        return one.get("sha256") is not None
    # A text of the user's own has no share, whatever its name.
    return all(text.get("name") == REFERENCE and (text.get("share") or 0.0) >= LEAST_SHARE for text in (one, other))


def _too_little(texts: Sequence[Mapping[str, Any]]) -> str:
    """What to do where both are Python's reference, and one Python has too little of it."""
    if any(text.get("name") != REFERENCE or not text.get("share") for text in texts):
        return ""
    least = min(text["share"] for text in texts)
    return (
        f" (one Python has {least:.1%} of the reference text, {LEAST_SHARE:.0%} are needed: install the parts of the "
        "standard library that are missing, or judge all with one --gt-corpus)"
    )


def _unlike(card: Scorecard, other: Scorecard) -> Iterable[str]:
    """Why two runs are of different recipes; nothing where they are of one."""
    yield from _unlike_subjects(card, other)
    own, its = _training(card), _training(other)
    if (own.get("flop") is None) != (its.get("flop") is None):
        known = "the subject's" if its.get("flop") is None else "its"
        yield f"the flop of {known} training alone is recorded"
    differing = sorted(name for name in own.keys() | its.keys() if name not in _FREE and own.get(name) != its.get(name))
    for name in differing[:3]:
        yield f"{name} of its training is {_short(its.get(name))} for {_short(own.get(name))}"
    if len(differing) > 3:
        yield f"and {len(differing) - 3} more settings"


def _same_tokens(runs: Sequence[Run], within: float) -> tuple[list[Run], bool]:
    """The runs with as many tokens as the subject, or as many for each parameter: whichever has more scales.

    A subject that was trained for longer than its ladder is left out of it: another run at its scale stands for it,
    where that makes a ladder of more scales. One that was trained for less, or that more tokens did not help, has no
    part in that law.

    Args:
        runs: The subject first.
        within: Share by which tokens may differ.

    Returns:
        The runs, the subject or what stands for it first; and whether tokens grow with parameters.
    """
    found: list[tuple[list[Run], bool]] = []
    for anchor in (runs[0], *(run for run in runs if _stands_for(run.point, runs[0].point))):
        others = [anchor, *(run for run in runs if run is not anchor)]
        for proportional in (False, True):
            sizes = [run.point.tokens / (run.point.params if proportional else 1) for run in others]
            alike = [run for run, size in zip(others, sizes, strict=True) if abs(size / sizes[0] - 1) <= within]
            found.append((alike, proportional))
    return max(found, key=lambda group: len({run.point.scale for run in group[0]}))  # the first of equals


def _stands_for(other: LadderPoint, own: LadderPoint) -> bool:
    return other.scale == own.scale and other.tokens < own.tokens and other.loss >= own.loss


def _next(card: Scorecard, ladder: Ladder, rule: ScaleRule) -> tuple[str, float] | None:
    """Name and compute of the scale that follows, trained alike."""
    if rule.next is None or not ladder.runs:
        return None
    from gt import registry
    from gt.models.config import parameter_counts

    try:
        config = registry.resolve(_kind(card), rule.next).config(int((card.subject.tokenizer or {})["vocab_size"]))
    except (ValueError, KeyError):
        return None  # a model of the user's own: its next scale is not known
    own, params = ladder.runs[0].point, parameter_counts(config)[0]
    tokens = own.tokens * params / own.params if ladder.proportional else own.tokens
    return rule.next, float(FLOP_PER_PARAMETER_AND_TOKEN * params * tokens)


def _training(card: Scorecard) -> Mapping[str, Any]:
    return (card.subject.checkpoint or {}).get("training") or {}


def _kind(card: Scorecard) -> str:
    return card.subject.model.rpartition("@")[0] or card.subject.model


def _hash(section: Mapping[str, Any] | None) -> Any:
    return (section or {}).get("sha256")


def _short(value: Any) -> str:
    text = "not recorded" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
