"""Rates over items that come in clusters, as every canary, needle and synthetic task reports them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gt.measurement import Measurement, measured
from gt.stats import cluster_bootstrap


def rate(metric: str, right_by_template: Mapping[str, Sequence[bool]], seed: int, **fields: Any) -> Measurement:
    """The share of right items with its cluster-bootstrap interval and every item's outcome.

    Args:
        metric: Its name.
        right_by_template: Outcomes by template, the cluster; templates in an order that does not depend on the subject.
        seed: Of the resampling.
        **fields: What else `measured` takes.
    """
    value, low, high = cluster_bootstrap(right_by_template, seed=seed)
    return measured(
        metric,
        value,
        n=sum(map(len, right_by_template.values())),
        ci95=(low, high),
        outcomes={name: "".join("01"[bool(one)] for one in own) for name, own in right_by_template.items()},
        **fields,
    )
