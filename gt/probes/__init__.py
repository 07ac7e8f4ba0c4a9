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
    samples,
    states,
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
    "samples",
    "states",
    "training_runs",
]
