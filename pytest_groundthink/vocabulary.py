"""The words that tests, options and data files share. Loads nothing: every pytest run of the environment imports it."""

from __future__ import annotations

KINDS = {
    "gate": "can it be trained at all: kernels, forward pass, gradients, a short training",
    "state": "is the recurrent state real, alive and deterministic",
    "diagnostic": "how the state behaves over length and inputs, and what it contributes",
    "learning": "does it learn: baselines, overfitting, resuming, comparison",
    "lrd": "long-range dependency: what more context is worth",
    "niah": "needle in a haystack",
    "canary": "a conversation that carries facts from turn to turn",
    "synthetic": "synthetic memory tasks",
}
"""Kind markers and what they ask."""

TIERS = ("minimal", "standard", "extended")
"""Tier markers, each containing the ones before it."""

CAPABILITIES = {
    "kernels": "operators with kernels of this project",
    "scales": "other scales of its kind",
    "recipe": "training by groundthink train, which could train others alike",
    "states": "recurrent states",
    "two_components": "an RWKV and a Mamba component",
    "streaming": "continuing from a state",
    "generation": "text generation",
    "tokenizer": "the tokenizer of its weights (needs tokenizer.json beside the weights)",
    "subword_tokenizer": "a subword tokenizer",
    "checkpoint": "trained weights (give --ckpt)",
    "training_log": "a training log beside its weights",
}
"""What a check may require, in words that complete "the subject lacks ..."."""

EVIDENCE = frozenset({"checkpoint", "tokenizer", "training_log"})
"""Capabilities that a subject of the same kind could have: where they are missing, data is missing."""

MARKERS = {
    **KINDS,
    "minimal": "tier: what a conversation must carry; about a minute at 3.5M on two cores",
    "standard": "tier: minimal, gates, states, diagnostics and more canaries",
    "extended": "tier: everything",
    "graduation": "whatever the subject's scale requires before the next scale; put on automatically",
    "check(id)": "the check of checks.yaml that the test asks for",
}
"""All markers of the plugin, with their meaning."""

SELECTING_MARKERS = frozenset(MARKERS) - {"check(id)"}
"""Markers whose use in -m brings the suites into the run."""
