"""Canary conversations, made from the fixtures, and the scorers of the answers. No torch."""

from gt.data.dialogues.content import (
    EvaluationTexts,
    canary_data,
    constraint_data,
    correction_data,
    evaluation_texts,
    format_data,
    needle_data,
    persona_data,
    preference_data,
    reference_data,
    synthetic_data,
)
from gt.data.dialogues.discourse import correction_items, preference_items, reference_items
from gt.data.dialogues.formats import bullet_items
from gt.data.dialogues.items import CanaryItem
from gt.data.dialogues.personas import persona_items
from gt.data.dialogues.recall import recall_items, two_fact_items
from gt.data.dialogues.scorers import Score, mentions, score_bullets, score_facts, score_list, score_values
from gt.data.dialogues.synthesis import constraint_items, three_fact_items

__all__ = [
    "CanaryItem",
    "EvaluationTexts",
    "Score",
    "bullet_items",
    "canary_data",
    "constraint_data",
    "constraint_items",
    "correction_data",
    "correction_items",
    "evaluation_texts",
    "format_data",
    "mentions",
    "needle_data",
    "persona_data",
    "persona_items",
    "preference_data",
    "preference_items",
    "recall_items",
    "reference_data",
    "reference_items",
    "score_bullets",
    "score_facts",
    "score_list",
    "score_values",
    "synthetic_data",
    "three_fact_items",
    "two_fact_items",
]
