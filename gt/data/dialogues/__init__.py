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
    speaker_data,
    synthetic_data,
    tone_data,
)
from gt.data.dialogues.discourse import correction_items, preference_items, reference_items
from gt.data.dialogues.formats import bullet_items
from gt.data.dialogues.items import CanaryItem
from gt.data.dialogues.personas import consistent_persona_items, doubted_persona_items, persona_items
from gt.data.dialogues.recall import recall_items, two_fact_items
from gt.data.dialogues.scorers import (
    Score,
    mentions,
    score_bullets,
    score_facts,
    score_list,
    score_untrapped,
    score_values,
)
from gt.data.dialogues.speakers import nested_items, speaker_items
from gt.data.dialogues.synthesis import constraint_items, three_fact_items
from gt.data.dialogues.tones import formal_items, score_formal, score_terse, terse_items

__all__ = [
    "CanaryItem",
    "EvaluationTexts",
    "Score",
    "bullet_items",
    "canary_data",
    "consistent_persona_items",
    "constraint_data",
    "constraint_items",
    "correction_data",
    "correction_items",
    "doubted_persona_items",
    "evaluation_texts",
    "formal_items",
    "format_data",
    "mentions",
    "needle_data",
    "nested_items",
    "persona_data",
    "persona_items",
    "preference_data",
    "preference_items",
    "recall_items",
    "reference_data",
    "reference_items",
    "score_bullets",
    "score_facts",
    "score_formal",
    "score_list",
    "score_terse",
    "score_untrapped",
    "score_values",
    "speaker_data",
    "speaker_items",
    "synthetic_data",
    "terse_items",
    "three_fact_items",
    "tone_data",
    "two_fact_items",
]
