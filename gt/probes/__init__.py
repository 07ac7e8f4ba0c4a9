"""Probes: each measures one thing of a subject and returns Measurements. They judge nothing."""

from gt.probes import (
    canaries,
    components,
    context,
    diagnostics,
    forward,
    gradients,
    kernels,
    learning,
    maps,
    needles,
    persistence,
    resources,
    samples,
    states,
    synthetic,
    training_runs,
)

__all__ = [
    "canaries",
    "components",
    "context",
    "diagnostics",
    "forward",
    "gradients",
    "kernels",
    "learning",
    "maps",
    "needles",
    "persistence",
    "resources",
    "samples",
    "states",
    "synthetic",
    "training_runs",
]
