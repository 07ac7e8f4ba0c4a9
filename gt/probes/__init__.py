"""Probes: each measures one thing of a subject and returns Measurements. They judge nothing."""

from gt.probes import canaries, context, forward, gradients, kernels, learning, states

__all__ = ["canaries", "context", "forward", "gradients", "kernels", "learning", "states"]
