"""Means, proportions and their uncertainty: what stands behind every rate that a check judges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Z95 = 1.959963984540054
"""97.5% quantile of the standard normal distribution: two-sided 95%."""

T95 = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691}
"""The same of Student's t, by degrees of freedom."""


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

    The quantile is exact up to 6 degrees of freedom, beyond that the normal one with the expansion in 1/df of
    Abramowitz & Stegun 26.7.5, which is within 0.002 there.

    Args:
        values: At least two.

    Returns:
        Mean, lower end, upper end.
    """
    mean, error = mean_stderr(values)
    z, df = Z95, len(values) - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
    t = T95.get(df, t)
    return mean, mean - t * error, mean + t * error


def jackknife_interval(whole: float, without: Sequence[float]) -> tuple[float, float, float]:
    """A figure of several independent items with its 95% interval, from the same figure without each of them in turn.

    For what is no mean of its items: a variance over texts, a ratio, a mean of pairs that share texts.

    Args:
        whole: The figure of all items.
        without: The figure without the first item, without the second, and so on; at least two.

    Returns:
        The figure, lower end, upper end; the ends are NaN where something is not finite.

    Source:
        Tukey 1958, Ann. Math. Stat. 29:614; Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 11.
    """
    if not all(map(math.isfinite, (whole, *without))):
        return whole, math.nan, math.nan
    count = len(without)
    mean, low, high = mean_interval([count * whole - (count - 1) * other for other in without])
    return whole, whole - (mean - low), whole + (high - mean)


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


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """What two subjects differ by on the same items: the second less the first.

    Attributes:
        difference: Mean over all items of the second's outcome less the first's.
        ci95: 95% interval of the difference (low, high).
        p_value: Two-sided; small where such a difference is rare between subjects that do not differ.
        judged_by: The test that `p_value` is of.
        n: Number of items.
        clusters: Number of clusters that the items come in.
        better: Items of which the second's outcome is the higher one.
        worse: Items of which it is the lower one.
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float
    judged_by: str
    n: int
    clusters: int
    better: int
    worse: int


MCNEMAR, SIGN_FLIP = "exact McNemar", "sign flip over clusters"


def paired_rates(first: Mapping[str, str], second: Mapping[str, str], seed: int) -> Paired:
    """Compare two rates item by item, where both subjects were given the same items.

    The interval draws whole clusters with replacement, and is never taken narrower than Bonett and Price's for as many
    independent items, so that two subjects that agree on all of a few items are not said to be equal. The p-value is
    McNemar's exact one where every cluster has a single item. Where items share a cluster they share luck, and
    McNemar's would be too small: then all differences of a cluster change sign together or not at all, and the share of
    all 2^clusters choices of signs that differ by as much is the p-value, counted exactly. Of single items both are
    the same number. What is assumed: that clusters are independent of each other, and where the subjects do not differ
    a cluster favours either of them equally often.

    Args:
        first: By cluster (template) "1" for each right item and "0" for each wrong one, as `Measurement.outcomes`.
        second: The other subject's, of the same items in the same order.
        seed: Seed of the resampling.

    Source:
        McNemar 1947, Psychometrika 12:153, in its exact conditional form; Bonett and Price 2012, J. Educ. Behav. Stat.
        37:479; sign flips of whole clusters: Winkler et al. 2015, NeuroImage 123:253; Davison and Hinkley 1997.

    Raises:
        ValueError: If there are no items, the items are not the same ones, or an outcome is neither "0" nor "1".
    """
    for outcomes in (first, second):
        for name, own in outcomes.items():
            if set(own) - {"0", "1"}:
                raise ValueError(f"cluster {name!r}: got outcomes {own!r}, expected nothing but 0 and 1")
    differences = _differences(
        {name: [int(one) for one in own] for name, own in first.items()},
        {name: [int(one) for one in own] for name, own in second.items()},
    )
    single = all(len(own) == 1 for own in differences.values())
    better, worse = _counted(differences)
    p_value = mcnemar(better, worse) if single else _sign_flip_counts([round(sum(d)) for d in differences.values()])
    n = sum(map(len, differences.values()))
    low, high = _resampled_interval(differences, seed)
    floor_low, floor_high = _bonett_price(better, worse, n)
    return Paired(
        difference=(better - worse) / n,
        ci95=(min(low, floor_low), max(high, floor_high)),
        p_value=p_value,
        judged_by=MCNEMAR if single else SIGN_FLIP,
        n=n,
        clusters=len(differences),
        better=better,
        worse=worse,
    )


def paired_means(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], seed: int, flips: int = 10_000
) -> Paired:
    """Compare two means item by item, e.g. of the losses of the same texts; the second less the first.

    As `paired_rates`, with any finite values: the interval by drawing whole clusters, the p-value by flipping the signs
    of whole clusters. Up to 16 clusters all flips are counted; beyond, `flips` are drawn at random, and the smallest
    p-value there is is 1 / (flips + 1).

    Args:
        first: By cluster the value of each item; a cluster of its own for each where they are independent.
        second: The other subject's, of the same items in the same order.
        seed: Seed of the resampling.
        flips: Number of random sign flips.

    Source:
        Winkler et al. 2015, NeuroImage 123:253; p-value of drawn permutations: Phipson and Smyth 2010, Stat. Appl.
        Genet. Mol. Biol. 9:39.

    Raises:
        ValueError: If there are fewer than two clusters, the items are not the same ones, or a value is not finite.
    """
    differences = _differences(first, second)
    if len(differences) < 2:
        raise ValueError(f"clusters: got {len(differences)}, expected at least 2: one alone does not vary")
    better, worse = _counted(differences)
    n = sum(map(len, differences.values()))
    return Paired(
        difference=math.fsum(one for own in differences.values() for one in own) / n,
        ci95=_resampled_interval(differences, seed),
        p_value=_sign_flip_sums([math.fsum(own) for own in differences.values()], seed, flips),
        judged_by=SIGN_FLIP,
        n=n,
        clusters=len(differences),
        better=better,
        worse=worse,
    )


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p-value of McNemar's exact test: are as many independent items better as are worse?

    Source:
        McNemar 1947, Psychometrika 12:153; exact conditional form: Fagerland, Lydersen and Laake 2013, BMC Med. Res.
        Methodol. 13:91.
    """
    changed = better + worse
    tail = sum(math.comb(changed, count) for count in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / (1 << changed))


def _differences(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The second less the first, by cluster in an order of its own."""
    if not first or first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise ValueError(f"clusters: got {', '.join(odd) or 'none'} in one alone, expected the same ones in both")
    found = {}
    for name in sorted(first):
        own, other = first[name], second[name]
        if not len(own) or len(own) != len(other):
            raise ValueError(f"cluster {name!r}: got {len(own)} and {len(other)} items, expected the same ones in both")
        found[name] = [after - before for before, after in zip(own, other, strict=True)]
        if not all(map(math.isfinite, found[name])):
            raise ValueError(f"cluster {name!r}: got a value that is not finite, expected finite ones")
    return found


def _counted(differences: Mapping[str, Sequence[float]]) -> tuple[int, int]:
    every = [one for own in differences.values() for one in own]
    return sum(one > 0 for one in every), sum(one < 0 for one in every)


def _resampled_interval(differences: Mapping[str, Sequence[float]], seed: int) -> tuple[float, float]:
    import numpy as np

    sums = np.array([math.fsum(own) for own in differences.values()])
    counts = np.array([len(own) for own in differences.values()])
    drawn = np.random.default_rng(seed).integers(len(sums), size=(2000, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _bonett_price(better: int, worse: int, n: int) -> tuple[float, float]:
    more, less = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    spread = Z95 * math.sqrt((more + less - (more - less) ** 2) / (n + 2))
    return max(-1.0, more - less - spread), min(1.0, more - less + spread)


def _sign_flip_counts(sums: Sequence[int]) -> float:
    """Share of the choices of signs whose total is as far from 0: all are counted, by the total that they come to."""
    import numpy as np

    reach = sum(map(abs, sums))
    shares = np.zeros(2 * reach + 1)
    shares[reach] = 1.0
    for size in filter(None, map(abs, sums)):
        shares = (np.roll(shares, size) + np.roll(shares, -size)) / 2
    totals = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(shares[totals >= abs(sum(sums))].sum()))


def _sign_flip_sums(sums: Sequence[float], seed: int, flips: int) -> float:
    import numpy as np

    values = np.asarray(sums, dtype=np.float64)
    # Totals that are equal but for the order of addition count as equal.
    least = abs(float(values.sum())) - 1e-9 * float(np.abs(values).sum())
    if len(values) <= 16:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
        as_far = int((np.abs(signs @ values) >= least).sum())
        return as_far / len(signs)
    rng = np.random.default_rng(seed)
    as_far = sum(
        int((np.abs(rng.choice((-1.0, 1.0), size=(min(1000, flips - done), len(values))) @ values) >= least).sum())
        for done in range(0, flips, 1000)
    )
    return (1 + as_far) / (1 + flips)
