"""Counting: how often a new error exceeds old ones. Lean: ``Proofs/Counting.lean``."""

from __future__ import annotations

from collections.abc import Sequence

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Number
from peelverify.errors import DomainError
from peelverify.registry import mirrors

__all__ = ["count_at_least", "kth_largest"]


@mirrors("PeelVerify.count_few_above_le", "PeelVerify.countAtLeast")
def count_at_least(x: Number, values: Sequence[Number]) -> int:
    """Count the entries that are at least as large as a number.

    Args:
        x: the number.
        values: the entries; possibly none.

    Returns:
        How many entries are >= `x`. Of balls, those that certainly are.

    Raises:
        NonFiniteError: if a number is not finite.

    Guarantee:
        In any list at most k entries have a count of at most k, ties and themselves included.
        `PeelVerify.count_few_above_le`.

    Example:
        >>> count_at_least(2, [3, 2, 1, 2])
        3
    """
    domain.number("count_at_least", "x", x)
    entries = domain.numbers("count_at_least", "values", values, least=0)
    return sum(1 for entry in entries if entry >= x)


@mirrors(
    "PeelVerify.conformal_count",
    "PeelVerify.countAtLeast_lt_of_kthLargest_lt",
    "PeelVerify.exists_kthLargest",
    "PeelVerify.kthLargest",
)
def kth_largest(values: Sequence[Number], k: int) -> Number:
    """Give the k-th largest of the errors of calibration windows.

    Args:
        values: the errors, one a window.
        k: counted from 1, at most the number of errors.

    Returns:
        The k-th largest entry, ties counted each.

    Raises:
        DomainError: if `k` is not between 1 and the number of entries, or the entries are balls that overlap.
        NonFiniteError: if an entry is not finite.
        ShapeError: if there is no entry.

    Guarantee:
        Of n + 1 numbers at most k exceed the k-th largest of the other n; so a window drawn uniformly from the
        same n + 1 exceeds it with probability at most k / (n + 1), over the draw of all. A larger number has
        fewer than k entries at least as large. `PeelVerify.conformal_count`,
        `PeelVerify.countAtLeast_lt_of_kthLargest_lt`, `PeelVerify.exists_kthLargest`.

    Not for:
        Windows from another text than the pool, or a pool that was looked at before the draw.

    Example:
        >>> kth_largest([3, 1, 2, 3], 2)
        3
    """
    entries = domain.numbers("kth_largest", "values", values)
    domain.count("kth_largest", "k", k, least=1)
    if k > len(entries):
        raise DomainError(
            f"kth_largest needs k <= {len(entries)}, got {k}; draw more windows or allow a larger risk",
            argument="k",
            value=k,
        )
    ordered = sorted(entries, reverse=True)
    chosen = ordered[k - 1]
    if not (all(entry >= chosen for entry in ordered[: k - 1]) and all(entry <= chosen for entry in ordered[k:])):
        raise DomainError(
            f"kth_largest needs entries with an order, got overlapping balls at {chosen}; raise the precision",
            argument="values",
            value=chosen,
        )
    return chosen
