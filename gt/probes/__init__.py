"""Probes: each measures one thing of a subject and returns Measurements. They judge nothing."""

from gt.probes import canaries, components, diagnostics, forward, gradients, kernels, learning, states, training_runs

__all__ = [
    "canaries",
    "components",
    "diagnostics",
    "forward",
    "gradients",
    "kernels",
    "learning",
    "states",
    "training_runs",
]
