"""Timings in turns, and what can be said of them: medians with intervals, and ratios of neighbours in time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from tenku.evaluation.metrics import Figure

Times = dict[str, list[float]]  # seconds of each, in the order of the rounds


def median(values: Sequence[float]) -> Figure:
    """The median and its distribution-free 95 % interval, which ends at two of the values (W. J. Conover, Practical
    Nonparametric Statistics, section 3.2). Of fewer than six it is all that was seen, and holds less surely.
    """
    ranked, n = sorted(values), len(values)
    below, share = 0, 2 * 0.5**n  # of samples in which at most `below`, or all but so many, lie under the true median
    while share + 2 * math.comb(n, below + 1) * 0.5**n <= 0.05:
        below += 1
        share += 2 * math.comb(n, below) * 0.5**n
    middle = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
    return Figure(middle, ranked[below], ranked[n - 1 - below], n)


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = True) -> Times:
    """Runs every piece of work once a round, beginning with another each time, so that all meet the same weather.

    warm: each is run once before, unmeasured.
    """
    for piece in work.values() if warm else ():
        piece()
    names = list(work)
    times: Times = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            started = time.perf_counter()
            work[name]()
            times[name].append(time.perf_counter() - started)
    return times


def rate(amount: float, seconds: Sequence[float]) -> Figure:
    """Median of an amount per second, of runs that took so long."""
    return median([amount / s for s in seconds])


def ratio(times: Times, of: str, to: str) -> Figure:
    """How many times as long `to` takes as `of`: the median over rounds of neighbours' ratio."""
    return median([b / a for a, b in zip(times[of], times[to], strict=True)])
