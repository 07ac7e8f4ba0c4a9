"""The documents' central experiment on true layers: every fusion, 1,000 steps, the same batches; then what came of it.

    python benchmarks/fusion_study.py train --corpus train.txt --held-out valid.txt --kind char --out runs/study/char
    python benchmarks/fusion_study.py train --corpus train.txt --held-out valid.txt --kind bpe --out runs/study/bpe
    python benchmarks/fusion_study.py train ... --kind bpe --seed 1 --settings --out runs/study/bpe-1
    python benchmarks/fusion_study.py train ... --kind bpe --steps 200 --settings --out runs/study/speed
    python benchmarks/fusion_study.py report runs/study/char runs/study/bpe* --speed runs/study/speed --out docs/results

`train` trains the variants side by side, then GF-MH alone under the settings that the documents tried, measures what
context is worth to each on the held-out text (LRD), and writes study.json. `report` takes seeds of one kind together,
draws pictures and prints tables for the write-up. Where several studies shared the machine their tokens/s mean nothing:
`--speed` names a study that had it alone, to take them from.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gt.data.config import DataSource
from gt.probes import context
from gt.subject import SubjectRequest, load_subject, plan_subject
from gt.training.compare import compare_models
from gt.training.config import TrainConfig
from gt.training.loop import LOG

VARIANTS = ("GF", "GF-MH", "GF-RH", "GF-XM", "GF-XR", "HGF", "HGF-MH", "HGF-RH", "HY", "CP", "WS", "RF")
# What the documents changed in GF-MH, with the number of their observation.
SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "Mamba's rate halved (O8)": {"mamba_lr_mult": 0.5},
    "warm-up over half of the steps (O9)": {"warmup_ratio": 0.5},
    "Mamba's gradients x 10 (O10)": {"mamba_grad_scale": 10.0},
    "RWKV dropped, 40% to 10% (O11)": {"rwkv_dropout": 0.4, "rwkv_dropout_final": 0.1},
    "balance penalty 0.1": {"balance": 0.1},
}
SHOWN = ("valid_loss", "rm_ratio", "variance_ratio", "gate_first", "gate_last", "tokens_per_s")
console = Console(width=140)


def main() -> None:
    """Train, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train and measure one kind of tokens")
    training.add_argument("--corpus", required=True, help="text file")
    training.add_argument("--held-out", required=True, help="text file of the same sort, for validation and LRD")
    training.add_argument("--kind", choices=["char", "bpe"], required=True)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--scale", default="3.5M")
    training.add_argument("--vocab-size", type=int, default=8192, help="of the BPE (default: 8192)")
    training.add_argument("--steps", type=int, default=1000)
    training.add_argument("--batch-size", type=int, default=32)
    training.add_argument("--length", type=int, default=64)
    training.add_argument("--lr", type=float, default=2e-3)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--models", nargs="+", default=list(VARIANTS))
    training.add_argument("--settings", nargs="*", default=list(SETTINGS), help="of GF-MH (default: all)")
    training.add_argument("--no-context", action="store_true", help="leave out LRD, the longer part")
    training.add_argument("--device", default="auto")
    training.set_defaults(run=train)
    reporting = commands.add_parser("report", help="draw and print what `train` found")
    reporting.add_argument("studies", nargs="+", type=Path)
    reporting.add_argument("--speed", type=Path, help="a study that had the machine alone")
    reporting.add_argument("--out", type=Path, required=True)
    reporting.set_defaults(run=report)
    chosen = parser.parse_args()
    chosen.run(chosen)


def train(chosen: argparse.Namespace) -> None:
    """Train every variant, and GF-MH under every setting; measure LRD; write study.json."""
    config = TrainConfig(
        model=f"GF-MH@{chosen.scale}",
        data=(DataSource(path=chosen.corpus),),
        shards=str(chosen.out / "shards"),
        valid=(DataSource(path=chosen.held_out),),
        seed=chosen.seed,
        out=str(chosen.out / "variants"),
        tokenizer_kind=chosen.kind,
        vocab_size=chosen.vocab_size,
        steps=chosen.steps,
        batch_size=chosen.batch_size,
        length=chosen.length,
        lr=chosen.lr,
        device=chosen.device,
        log_every=max(1, chosen.steps // 20),
        eval_every=max(1, chosen.steps // 4),
        keep_state=False,
        overwrite=True,
    )
    record = compare_models(chosen.models, config, 1, tell)
    runs = [told(chosen, Path(config.out), run) for run in record["runs"]]
    tokenizer = str(Path(config.out) / "tokenizer.json")
    for number, name in enumerate(chosen.settings):
        setting = replace(config, out=str(chosen.out / f"setting-{number}"), tokenizer=tokenizer, **SETTINGS[name])
        under = compare_models(["GF-MH"], setting, 1, tell)
        runs += [told(chosen, Path(setting.out), run) | {"setting": name} for run in under["runs"]]
    study = {key: record[key] for key in ("settings", "hashes", "device", "kernels")}
    study |= {"kind": chosen.kind, "corpus": Path(chosen.corpus).name, "runs": runs}
    (chosen.out / "study.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    console.print(f"study: {chosen.out / 'study.json'}")


def tell(line: dict[str, Any]) -> None:
    """One line of progress for each validation."""
    if "valid_loss" in line:
        console.print(f"{line['model']:8} step {line['step']:5} loss {line['loss']:.3f} valid {line['valid_loss']:.3f}")


def told(chosen: argparse.Namespace, folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """A run with its log's courses and the worth of context to what it trained."""
    own = folder / run["folder"]
    lines = [json.loads(line) for line in (own / LOG).read_text(encoding="utf-8").splitlines()]
    course = {
        key: [[line["step"], line[key]] for line in lines if line.get(key) is not None]
        for key in ("loss_mean", "valid_loss", "rm_ratio", "variance_ratio")
    }
    first, last = lines[0], lines[-1]
    if last["step"] > first["step"]:  # the first steps compile and capture
        run["tokens_per_s"] = (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])
    course["gate"] = [[line["step"], statistics.fmean(line["gate_mean"])] for line in lines if line.get("gate_mean")]
    request = SubjectRequest(model=run["model"], ckpt=str(own), corpus=chosen.held_out, device=chosen.device)
    benefit = None
    if not run["failed"] and not chosen.no_context:
        subject = load_subject(plan_subject(request), lambda *note: None)
        (found,) = [each for each in context.dependency(subject) if each.metric == "context_benefit"]
        benefit = {"value": found.value, "ci95": found.ci95, "n": found.n}
        console.print(f"{run['model']:8} context benefit {found.value:.2%}")
    return run | {"course": course, "context_benefit": benefit}


def report(chosen: argparse.Namespace) -> None:
    """Pictures and tables of finished studies."""
    studies = [json.loads((folder / "study.json").read_text(encoding="utf-8")) for folder in chosen.studies]
    if chosen.speed:
        alone = json.loads((chosen.speed / "study.json").read_text(encoding="utf-8"))["runs"]
        speeds = {run["model"]: run["tokens_per_s"] for run in alone if "setting" not in run}
        for study in studies:
            for run in study["runs"]:
                run["tokens_per_s"] = None if "setting" in run else speeds.get(run["model"])
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "fusion_study.json").write_text(json.dumps(studies, indent=1) + "\n", encoding="utf-8")
    for study in joined(studies):
        variants = [run for run in study["runs"] if "setting" not in run]
        under = [run for run in study["runs"] if "setting" in run]
        print(f"\n### {study['corpus']}, {study['kind']}\n\n{table(variants, 'model')}")
        if under:
            print(f"\n{table(under, 'setting')}")
        draw(study["kind"], variants, chosen.out / f"fusion_study_{study['kind']}.png")


def joined(studies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One study for each text and kind of tokens, with the runs of all its seeds."""
    together: dict[tuple[str, str], dict[str, Any]] = {}
    for study in studies:
        found = together.setdefault((study["corpus"], study["kind"]), study | {"runs": []})
        found["runs"] = found["runs"] + study["runs"]
    return list(together.values())


def table(runs: list[dict[str, Any]], by: str) -> str:
    """A Markdown table: means over seeds, sorted by validation loss, with the standard deviation of the loss."""
    heads = [by, "validation loss", "R/M", "variance R/M", "gate, first to last", "context benefit", "tokens/s", "n"]
    rows = []
    for name in dict.fromkeys(run[by] for run in runs):
        own = [run for run in runs if run[by] == name]
        means = {key: mean(run.get(key) for run in own) for key in SHOWN}
        benefit = mean(run["context_benefit"]["value"] for run in own if run["context_benefit"])
        losses = [run["valid_loss"] for run in own if run["valid_loss"] is not None]
        spread = f" ± {statistics.stdev(losses):.3f}" if len(losses) > 1 else ""
        gates = f"{means['gate_first']:.2f} to {means['gate_last']:.2f}" if means["gate_first"] is not None else ""
        rows.append(
            (means["valid_loss"] if means["valid_loss"] is not None else float("inf"),
             [name, shown(means["valid_loss"], "{:.3f}") + spread, shown(means["rm_ratio"], "{:.2f}"),
              shown(means["variance_ratio"], "{:.2f}"), gates, shown(benefit, "{:.1%}"),
              shown(means["tokens_per_s"], "{:,.0f}"), str(len(own))])
        )  # fmt: skip
    lines = [heads, ["---"] * len(heads), *(row for _, row in sorted(rows, key=lambda row: row[0]))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean(values: Any) -> float | None:
    """Mean of what is known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def shown(value: float | None, how: str) -> str:
    """A number for reading, or nothing."""
    return "" if value is None else how.format(value)


def draw(kind: str, runs: list[dict[str, Any]], path: Path) -> None:
    """Loss against balance, and the courses of balance and gate."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, (pareto, balance, gate) = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    colors = plt.colormaps["tab20"]
    for number, name in enumerate(dict.fromkeys(run["model"] for run in runs)):
        own = [run for run in runs if run["model"] == name and not run["failed"]]
        label, color = name.partition("@")[0], colors(number % 20)
        for run in own:
            pareto.scatter(run["rm_ratio"], run["valid_loss"], color=color)
        if own:
            pareto.annotate(
                label, (own[0]["rm_ratio"], own[0]["valid_loss"]), textcoords="offset points", xytext=(5, 3)
            )
            for axis, key in ((balance, "rm_ratio"), (gate, "gate")):
                course = own[0]["course"][key]
                if course:
                    axis.plot(*zip(*course, strict=True), color=color, label=label)
    pareto.margins(x=0.15)
    pareto.set(
        xscale="log",
        xlabel="gradient norms RWKV / Mamba",
        ylabel="validation loss, nats",
        title=f"{kind}: loss, balance",
    )
    balance.set(yscale="log", xlabel="step", ylabel="gradient norms RWKV / Mamba", title="balance while training")
    gate.set(xlabel="step", ylabel="RWKV's share in the fusion", ylim=(0, 1), title="gate while training")
    balance.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
