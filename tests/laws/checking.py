"""What the laws share: how they run, how near a bound must come, how a damaged answer must fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import example, settings

F = TypeVar("F", bound=Callable[..., Any])

law = settings(max_examples=int(os.environ.get("PEELVERIFY_LAW_EXAMPLES", "40")), deadline=None, derandomize=True)
"""Settings of every law: the same examples in each run; a long run sets PEELVERIFY_LAW_EXAMPLES."""

RATIOS: dict[str, Fraction] = {}
"""Observed / bound for each theorem, the smallest seen in this run; the summary prints them."""


def reaches(theorem: str, observed: Any, bound: Any, fraction: Any) -> None:
    """Assert that a bound holds and that `observed` is at least `fraction` of it."""
    assert 0 <= observed <= bound, f"{theorem}: observed {observed}, bound {bound}"
    assert bound > 0, f"{theorem}: a bound of zero shows nothing"
    ratio = Fraction(observed) / Fraction(bound)
    RATIOS[theorem] = min(ratio, RATIOS.get(theorem, ratio))
    assert ratio >= Fraction(fraction), f"{theorem}: only {float(ratio):.3g} of the bound is reached"


def exact(theorem: str) -> None:
    """Record an equality: observed and bound are the same number."""
    RATIOS[theorem] = Fraction(1)


def goes_red(check: Callable[..., None], *arguments: Any, **named: Any) -> None:
    """Assert that a check fails on these arguments."""
    with pytest.raises(AssertionError):
        check(*arguments, **named)


def every_mutant_goes_red(
    check: Callable[..., None],
    mutants: Iterable[Callable[..., Any]],
    cases: Iterable[tuple[Any, ...]],
) -> None:
    """Assert that each broken version of a function fails its check on at least one of the hard cases.

    Args:
        check: takes the function under test and the arguments of one case.
        mutants: broken versions of the function.
        cases: arguments of the hard cases.
    """
    mutants, cases = list(mutants), list(cases)
    assert mutants, "a check without mutants shows nothing"
    assert cases, "a check without cases shows nothing"
    for number, mutant in enumerate(mutants):
        caught = False
        for case in cases:
            try:
                check(mutant, *case)
            except AssertionError:
                caught = True
                break
        assert caught, f"mutant {number} passes every hard case"


class Law:
    """Base of a test class for one theorem.

    A subclass gives `check(function, *case)`, the `hard` cases, and `mutants`: broken versions of the
    function that the check must catch. A test that makes no sense is named in `not_applicable` with the
    reason; it is then taken away, and a test over all laws lists it.
    """

    hard: ClassVar[list[tuple[Any, ...]]] = []
    mutants: ClassVar[list[Callable[..., Any]]] = []
    not_applicable: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        for name in cls.not_applicable:
            assert name not in vars(cls), f"{cls.__name__}.{name} is there and declared not applicable"
            setattr(cls, name, None)

    @staticmethod
    def check(function: Callable[..., Any], *case: Any) -> None:
        """Assert what the theorem says about one case."""
        raise TypeError("a law needs a check of its own: what its theorem says about one case")

    def test_notices_a_broken_answer(self) -> None:
        """The check fails for every broken version of the function."""
        every_mutant_goes_red(self.check, self.mutants, self.hard)


def hard_cases(cases: Iterable[tuple[Any, ...]]) -> Callable[[F], F]:
    """Add each hard case, of which there must be one, as an explicit example."""
    cases = list(cases)
    assert cases, "a law without hard cases"

    def decorate(test: F) -> F:
        for case in cases:
            test = example(*case)(test)
        return test

    return decorate


EQUALITY = "an equality is reached in every case"
NO_HYPOTHESIS = "the theorem has no hypothesis to drop"
