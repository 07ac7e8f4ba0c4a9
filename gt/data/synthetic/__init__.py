"""Synthetic memory tasks in plain language, made from the fixtures. No torch."""

from gt.data.synthetic.needles import (
    chain_items,
    multi_key_items,
    multi_query_items,
    multi_value_items,
    single_items,
)
from gt.data.synthetic.pairs import fuzzy_items, mqar_items, recall_items
from gt.data.synthetic.words import common_items, copy_items, frequent_items, score_in_order

__all__ = [
    "chain_items",
    "common_items",
    "copy_items",
    "frequent_items",
    "fuzzy_items",
    "mqar_items",
    "multi_key_items",
    "multi_query_items",
    "multi_value_items",
    "recall_items",
    "score_in_order",
    "single_items",
]
