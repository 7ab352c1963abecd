"""Every function in every arithmetic: fractions, floats, mpmath at two precisions, and balls.

On inputs that each arithmetic holds exactly, and results that need few bits, floats and mpf must agree with the
fractions to the last bit. On other inputs, mpmath at 50 and at 100 digits must agree with each other and with the
fractions, and a ball must contain the exact answer and be narrow.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from fractions import Fraction as F

import mpmath
import peelverify.bounds
import pytest
from flint import arb, ctx, fmpq
from peelverify.errors import DomainError

from .cases import CASES
from .oracle import AGREEMENT, as_mpf, exactly

EXACT_ONLY = {"in_format", "product_is_exact"}
"""Functions about exact numbers, which take no mpf and no ball."""

NAMES = {f"{function.__module__.rpartition('.')[2]}.{function.__name__}": function for function in CASES}


def convert(value, number: Callable):
    """The same arguments with every fraction in another arithmetic."""
    if isinstance(value, F):
        return number(value)
    if type(value) in (list, tuple):
        return type(value)(convert(item, number) for item in value)
    return value


def leaves(value) -> list:
    """The numbers of an answer."""
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def scaled(value: F) -> F:
    """A number that no binary arithmetic holds exactly, near the one given."""
    return value * F(10**6 + 1, 10**6 + 3)


def ball(value: F) -> arb:
    """A ball around a fraction."""
    return arb(fmpq(value.numerator, value.denominator))


def rational(x: arb) -> F:
    """The number that an exact ball is."""
    mantissa, exponent = x.man_exp()
    return F(int(mantissa)) * F(2) ** int(exponent)


def contains(answer, exact: F) -> bool:
    """Whether a ball, or an exact number, contains the fraction; decided exactly from centre and radius."""
    if isinstance(answer, arb):
        return abs(exact - rational(answer.mid())) <= rational(answer.rad())
    return answer == exact


def general(function) -> tuple:
    """Arguments that are not dyadic, where scaling does not leave the domain."""
    if function.__name__ in ("flip_change", "dual_check"):
        return CASES[function]
    return convert(CASES[function], scaled)


def test_every_function_has_a_case():
    """The table has one call for each public function, and no others."""
    public = set()
    for module_info in pkgutil.iter_modules(peelverify.bounds.__path__):
        if not module_info.name.startswith("_"):
            module = importlib.import_module(f"peelverify.bounds.{module_info.name}")
            public |= {getattr(module, name) for name in module.__all__}
    functions = {member for member in public if inspect.isfunction(member)}
    assert functions
    assert functions == set(CASES)


@pytest.mark.parametrize("name", NAMES)
def test_floats_agree_to_the_last_bit_where_nothing_is_rounded(name):
    """On short dyadic inputs the float answer is the exact answer."""
    function = NAMES[name]
    exact = leaves(function(*CASES[function]))
    rounded = leaves(function(*convert(CASES[function], float)))
    assert len(exact) == len(rounded)
    for a, b in zip(exact, rounded, strict=True):
        power_of_two_below = F(a).denominator & (F(a).denominator - 1) == 0
        assert F(b) == a if power_of_two_below else abs(F(b) - a) <= abs(F(a)) / 2**52


@pytest.mark.parametrize("name", sorted(set(NAMES) - {f"rounding.{name}" for name in EXACT_ONLY}))
def test_mpmath_at_two_precisions_agrees(name):
    """50 and 100 digits agree with each other, and with the fractions."""
    function = NAMES[name]
    arguments = general(function)
    exact = leaves(function(*arguments))
    answers = []
    for digits in (50, 100):
        with mpmath.workdps(digits):
            found = leaves(function(*convert(arguments, lambda x: as_mpf(mpmath.mp, x))))
            answers.append([exactly(x) if isinstance(x, mpmath.mpf) else F(x) for x in found])
    for a, low, high in zip(exact, *answers, strict=True):
        scale = max(abs(F(a)), 1)
        assert abs(low - high) <= AGREEMENT * scale
        assert abs(high - F(a)) <= AGREEMENT * scale


@pytest.mark.parametrize("name", sorted(set(NAMES) - {f"rounding.{name}" for name in EXACT_ONLY}))
def test_balls_contain_the_answer_and_are_narrow(name):
    """At 128 bits the ball contains the exact answer and is narrower than 2^-100 of it."""
    function = NAMES[name]
    arguments = general(function)
    before = ctx.prec
    ctx.prec = 128
    try:
        answers = leaves(function(*convert(arguments, ball)))
        for answer, exact in zip(answers, leaves(function(*arguments)), strict=True):
            assert contains(answer, F(exact))
            if isinstance(answer, arb):
                assert rational(answer.rad()) <= max(abs(F(exact)), 1) / 2**100
    finally:
        ctx.prec = before


@pytest.mark.parametrize("name", NAMES)
def test_fractions_stay_fractions(name):
    """On fractions every number of the answer is exact: a fraction, an int or a truth value."""
    function = NAMES[name]
    assert all(isinstance(leaf, F | int) for leaf in leaves(function(*CASES[function])))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("peeling.sign_of", (arb(0, 1),)),
        ("peeling.ternary_of", (arb(1), arb(1), arb(0.5, 0.1))),
        ("peeling.best_scale", ([arb(0, 1)], [arb(1)])),
        ("compression.score_mask", ([arb(1, 0.5), arb(1.2, 0.5)], 1)),
        ("compression.nearer_end", (arb(0.5, 0.1), arb(0), arb(1))),
        ("compression.round_nearest", (arb(1, 0.1), arb(1))),
        ("counting.kth_largest", ([arb(1, 0.5), arb(1.2, 0.5)], 1)),
        ("propagation.chain_bound", (arb(0, 1), [])),
    ],
)
def test_balls_that_leave_the_answer_open_are_refused(function, arguments):
    """Where a ball does not decide a choice or a domain, the call is refused and no branch is guessed."""
    with pytest.raises(DomainError):
        NAMES[function](*arguments)


def test_the_largest_of_overlapping_balls_is_enclosed():
    """The larger of two balls that overlap is a ball that contains it, not one of the two."""
    spread = NAMES["propagation.oscillation"]([arb(1, 0.5), arb(1.25, 0.5), arb(0)])
    assert contains(spread, F(7, 4)) and contains(spread, F(3, 4))
