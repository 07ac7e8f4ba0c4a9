"""From a configuration to a model."""

from __future__ import annotations

from torch import nn

from gt.models.config import ModelConfig
from gt.models.gpt2 import GPT2LM
from gt.models.hybrid import HybridLM
from gt.models.published import PublishedLM
from gt.models.published_config import PublishedConfig


def build_model(config: ModelConfig | PublishedConfig) -> nn.Module:
    """A freshly initialised model, drawn from torch's random numbers.

    All models are called as `HybridLM` is.
    """
    if not isinstance(config, ModelConfig):
        return PublishedLM(config)
    return GPT2LM(config) if "attention" in config.mixers else HybridLM(config)
