"""Three kinds of answer: `Verdict` of a mathematical claim, `Status` of training, `Outcome` of a computation.

None of them has a truth value: ``if verdict:`` raises, because INCONCLUSIVE is neither true nor false.
"""

from __future__ import annotations

import enum

__all__ = ["Outcome", "Status", "Verdict", "exit_code", "worst"]


class _NoTruthValue(enum.Enum):
    def __bool__(self) -> bool:
        raise TypeError(f"{type(self).__name__} has no truth value; compare with `is`, e.g. `v is {self}`")

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return self.value


class Verdict(_NoTruthValue):
    """What is known of a claim."""

    HOLDS = "the claim holds"
    VIOLATED = "the claim is false"
    INCONCLUSIVE = "rounding or missing evidence leaves the claim open"
    NOT_APPLICABLE = "the claim does not apply to this object"


class Status(_NoTruthValue):
    """Training status against a suite of YES bounds (the published colours of the YES cloud)."""

    RED = "ineffective training: the loss is above YES-0"
    YELLOW = "caution: the loss is below YES-0 but above the best witness"
    GREEN = "not refuted by this suite of witnesses"

    @property
    def colour(self) -> str:
        """Fill colour of the status cloud, as published (2410.10984)."""
        return {"RED": "#FFB6C1", "YELLOW": "#FFD700", "GREEN": "#00FF7F"}[self.name]

    @property
    def legend(self) -> str:
        """Legend text of the status cloud, as published (2410.10984)."""
        return {
            "RED": "Ineffective Training",
            "YELLOW": "YES Cloud (Caution)",
            "GREEN": "Effective Training",
        }[self.name]


class Outcome(_NoTruthValue):
    """How a numerical computation ended."""

    CONVERGED = "the stopping rule was met"
    BUDGET_SPENT = "the fixed budget ran out before the stopping rule was met"
    RANK_DEFICIENT = "the least-squares problem has more than one solution; the smallest was taken"
    FAILED = "no usable result"


def worst(verdicts: list[Verdict] | tuple[Verdict, ...]) -> Verdict:
    """Combine verdicts: VIOLATED beats INCONCLUSIVE beats NOT_APPLICABLE beats HOLDS.

    Raises:
        ValueError: for an empty list, which would make an unchecked claim hold.
    """
    if not verdicts:
        raise ValueError("worst needs at least one verdict, got none; a claim with no check is not verified")
    order = [Verdict.HOLDS, Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE, Verdict.VIOLATED]
    return max(verdicts, key=order.index)


def exit_code(verdict: Verdict) -> int:
    """Exit status of a command that ends with this verdict: 0 holds, 1 violated, 3 open."""
    return {Verdict.HOLDS: 0, Verdict.VIOLATED: 1}.get(verdict, 3)
