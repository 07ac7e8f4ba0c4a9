"""Canary conversations, made from the fixtures, and the scorers of the answers. No torch."""

from gt.data.dialogues.content import (
    EvaluationTexts,
    canary_data,
    evaluation_texts,
    format_data,
    needle_data,
    persona_data,
    synthetic_data,
)
from gt.data.dialogues.formats import bullet_items
from gt.data.dialogues.items import CanaryItem
from gt.data.dialogues.personas import persona_items
from gt.data.dialogues.recall import recall_items, two_fact_items
from gt.data.dialogues.scorers import Score, mentions, score_bullets, score_facts, score_values

__all__ = [
    "CanaryItem",
    "EvaluationTexts",
    "Score",
    "bullet_items",
    "canary_data",
    "evaluation_texts",
    "format_data",
    "mentions",
    "needle_data",
    "persona_data",
    "persona_items",
    "recall_items",
    "score_bullets",
    "score_facts",
    "score_values",
    "synthetic_data",
    "two_fact_items",
]
