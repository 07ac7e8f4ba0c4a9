"""Means, proportions and their uncertainty: what stands behind every rate that a check judges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Z95 = 1.959963984540054
"""97.5% quantile of the standard normal distribution: two-sided 95%."""


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson score interval (95%, no continuity correction) of a proportion of independent trials.

    Never of zero width, and inside [0, 1]: exactly 0 below for no success, exactly 1 above for nothing but successes.

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22:209; recommended for small samples and extreme proportions by Brown, Cai
        and DasGupta 2001, Statist. Sci. 16:101.

    Raises:
        ValueError: If there are no trials, or not 0 <= successes <= trials.
    """
    if not trials > 0:
        raise ValueError(f"trials: got {trials}, expected more than 0")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes: got {successes}, expected 0 to {trials}, the number of trials")
    proportion = successes / trials
    spread = Z95 * math.sqrt(proportion * (1 - proportion) / trials + Z95**2 / (4 * trials**2))
    center = proportion + Z95**2 / (2 * trials)
    scale = 1 + Z95**2 / trials
    low = 0.0 if successes == 0 else max(0.0, (center - spread) / scale)
    high = 1.0 if successes == trials else min(1.0, (center + spread) / scale)
    return low, high


def mean_stderr(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error: sample standard deviation (n - 1) over the square root of n.

    Of a single value the standard error is not known: it is NaN.

    Raises:
        ValueError: If there are no values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("values: got none, expected at least 1")
    mean = math.fsum(values) / count
    if count == 1:
        return mean, math.nan
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (count - 1) / count)


def cluster_bootstrap(
    successes_by_cluster: Mapping[str, Sequence[float]], seed: int, resamples: int = 2000
) -> tuple[float, float, float]:
    """Rate over all items and its 95% interval when items come in clusters that share luck.

    Whole clusters are drawn with replacement and the percentiles of the resampled rates taken. Where all clusters
    agree, or nearly (0 of 400, 399 of 400), that shows little or no uncertainty; so the interval is never taken
    narrower than Wilson's for as many independent items. Belonging together can only widen an interval, and with this
    floor a better result never has a worse bound than a slightly poorer one. It remains a floor: k clusters that
    agree exclude only that more than about 3 / k of all clusters are of another sort.

    Args:
        successes_by_cluster: Outcomes in [0, 1] (booleans or shares) for each cluster, e.g. for each template.
        seed: Seed of the resampling; the order of the mapping does not matter.
        resamples: Number of bootstrap samples.

    Returns:
        Mean, lower and upper bound.

    Source:
        Cluster bootstrap: Davison and Hinkley 1997, Bootstrap Methods, section 3.8; Field and Welsh 2007, J. R. Stat.
        Soc. B 69:369. Wilson's form for clustered proportions near 0 and 1: Franco, Little, Louis and Slud 2019,
        J. Surv. Stat. Methodol. 7:334, where the effective number of items is at most the actual one.

    Raises:
        ValueError: If there are no items, a cluster is empty, or an outcome lies outside [0, 1].
    """
    if not successes_by_cluster:
        raise ValueError("clusters: got none, expected at least 1")
    for name, outcomes in successes_by_cluster.items():
        if not len(outcomes):
            raise ValueError(f"cluster {name!r}: got no outcomes, expected at least 1")
        for outcome in outcomes:
            if not 0 <= outcome <= 1:
                raise ValueError(f"cluster {name!r}: got outcome {outcome}, expected 0 to 1")
    import numpy as np

    clusters = [successes_by_cluster[name] for name in sorted(successes_by_cluster)]
    sums = np.array([math.fsum(outcomes) for outcomes in clusters])
    counts = np.array([len(outcomes) for outcomes in clusters])
    items = int(counts.sum())
    total = min(math.fsum(sums), items)
    drawn = np.random.default_rng(seed).integers(len(clusters), size=(resamples, len(clusters)))
    rates = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = (float(bound) for bound in np.percentile(rates, [2.5, 97.5]))
    floor_low, floor_high = wilson(total, items)
    return total / items, min(low, floor_low), max(high, floor_high)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of independent values with its 95% interval by Student's t.

    The quantile is the normal one with the expansion in 1/df of Abramowitz & Stegun 26.7.5: within 0.002 from 7
    degrees of freedom up.

    Args:
        values: At least two.

    Returns:
        Mean, lower end, upper end.
    """
    mean, error = mean_stderr(values)
    z, df = 1.959963984540054, len(values) - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
    return mean, mean - t * error, mean + t * error


def resampled_means(rows: Sequence[Sequence[float]], seed: int, resamples: int = 2000) -> npt.NDArray[np.float64]:
    """Means of every column over rows drawn with replacement: whole rows, so that columns stay paired.

    Percentiles of any function of the columns are its 95% interval.

    Args:
        rows: Observations, e.g. one for each text, of the same quantities in the same order.
        seed: Of the resampling.
        resamples: Number of bootstrap samples.

    Returns:
        [resamples, quantities].

    Source:
        Davison and Hinkley 1997, Bootstrap Methods, section 2.4.

    Raises:
        ValueError: If there are fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError(f"rows: got {len(rows)}, expected at least 2: one alone does not vary")
    import numpy as np

    values = np.asarray(rows, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means: npt.NDArray[np.float64] = values[drawn].mean(axis=1)
    return means
