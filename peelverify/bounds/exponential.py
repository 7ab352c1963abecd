"""The exponential, and what is computed with it. Lean: ``Proofs/Exponential.lean``, ``Proofs/Softmax.lean``.

`exp_lower` and `exp_upper` enclose the exponential by squaring its tangent; the other functions bound how far a
computed exponential, the logarithm of a sum of exponentials and a mean under a softmax are from the exact ones.
Relative errors are fractions, not percent: a computed v with relative error b lies in [(1 - b) e, (1 + b) e].
"""

from __future__ import annotations

from collections.abc import Callable

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Number
from peelverify.errors import DomainError
from peelverify.registry import mirrors

__all__ = [
    "change_error",
    "exp_error",
    "exp_lower",
    "exp_shift_error",
    "exp_taylor",
    "exp_taylor_error",
    "exp_upper",
    "horner_error",
    "log_error",
    "mean_error",
    "relative_product",
    "squared",
    "terms_error",
]

Rounding = Callable[[Number], Number]
"""Takes a number >= 0, gives a number >= 0 on the side that its user asks for."""


def _as_it_is(x: Number) -> Number:
    return x


def _sizes(function: str, **named: Number) -> None:
    for name, value in named.items():
        domain.nonnegative(function, name, value)


def _piece(function: str, x: Number, halvings: int) -> Number:
    domain.number(function, "x", x)
    return domain.divide(x, 2 ** domain.count(function, "halvings", halvings))


@mirrors("PeelVerify.squared")
def squared(x: Number, times: int, rounded: Rounding = _as_it_is) -> Number:
    """Square a number repeatedly, and round after each square.

    Args:
        x: start.
        times: number of squares, >= 0.
        rounded: applied to each square; default exact.

    Returns:
        x^(2^times), rounded on the way.

    Raises:
        DomainError: if `times` is not a whole number >= 0.
        NonFiniteError: if an input is not finite.

    Guarantee:
        The value of `PeelVerify.squared` for the same rounding.

    Not for:
        Large `times` without rounding: the number of digits doubles each time.

    Example:
        >>> squared(3, 2)
        81
    """
    domain.number("squared", "x", x)
    for _ in range(domain.count("squared", "times", times)):
        x = rounded(x * x)
    return x


@mirrors("PeelVerify.expLower_le", "PeelVerify.expLower")
def exp_lower(x: Number, halvings: int, down: Rounding = _as_it_is) -> Number:
    """Enclose the exponential from below: the tangent at x / 2^halvings, squared up again.

    Args:
        x: exponent, of any sign.
        halvings: number of halvings, >= 0; the relative gap is about x^2 / 2^halvings.
        down: gives a number >= 0 and at most its argument; default exact.

    Returns:
        (1 + x / 2^halvings)^(2^halvings), rounded down on the way.

    Raises:
        DomainError: if `halvings` is not a whole number >= 0 or too few for x / 2^halvings >= -1.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At most exp(x). `PeelVerify.expLower_le`, for every exponential above its tangent at zero.

    Not for:
        `float` arguments, whose roundings are not outward; pass a `Fraction`.

    Example:
        >>> exp_lower(1, 2)
        Fraction(625, 256)
    """
    piece = _piece("exp_lower", x, halvings)
    if not piece >= -1:
        raise DomainError(
            f"exp_lower needs x / 2^halvings >= -1, got {piece}; take more halvings",
            argument="halvings",
            value=halvings,
        )
    return squared(1 + piece, halvings, down)


@mirrors("PeelVerify.le_expUpper", "PeelVerify.expUpper")
def exp_upper(x: Number, halvings: int, up: Rounding = _as_it_is) -> Number:
    """Enclose the exponential from above: the inverse of the tangent at -x / 2^halvings, squared up again.

    Args:
        x: exponent, of any sign.
        halvings: number of halvings, >= 0; the relative gap is about x^2 / 2^halvings.
        up: gives a number that is at least its argument; default exact.

    Returns:
        (1 - x / 2^halvings)^(-2^halvings), rounded up on the way.

    Raises:
        DomainError: if `halvings` is not a whole number >= 0 or too few for x / 2^halvings < 1.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least exp(x). `PeelVerify.le_expUpper`, for every exponential above its tangent at zero.

    Not for:
        `float` arguments, whose roundings are not outward; pass a `Fraction`.

    Example:
        >>> exp_upper(1, 1)
        Fraction(4, 1)
    """
    piece = _piece("exp_upper", x, halvings)
    if not piece < 1:
        raise DomainError(
            f"exp_upper needs x / 2^halvings < 1, got {piece}; take more halvings",
            argument="halvings",
            value=halvings,
        )
    return squared(up(domain.divide(1, 1 - piece)), halvings, up)


@mirrors("PeelVerify.expTaylor")
def exp_taylor(x: Number) -> Number:
    """Evaluate the Taylor polynomial of the exponential of degree three.

    Args:
        x: exponent, of any sign.

    Returns:
        1 + x + x^2 / 2 + x^3 / 6.

    Raises:
        NonFiniteError: if an input is not finite.

    Guarantee:
        The value of `PeelVerify.expTaylor`; `exp_taylor_error` says how far the exponential is.

    Not for:
        Exponents above 1/16 in size, for which no error is proved here.

    Example:
        >>> exp_taylor(2)
        Fraction(19, 3)
    """
    domain.number("exp_taylor", "x", x)
    return 1 + x + domain.divide(x * x, 2) + domain.divide(x * x * x, 6)


@mirrors("PeelVerify.exp_taylor", "PeelVerify.expTaylorError")
def exp_taylor_error(x: Number, halvings: int) -> Number:
    """Bound how far the exponential is from its Taylor polynomial of degree three.

    Args:
        x: exponent, at most 1/16 in size.
        halvings: any whole number >= 0; the bound falls with it, and 80 leave nothing of the second term.

    Returns:
        x^4 / 20 + 2 x^2 / 2^halvings.

    Raises:
        DomainError: if x is larger than 1/16, or `halvings` is not a whole number >= 0.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least |exp(x) - exp_taylor(x)|. `PeelVerify.exp_taylor`.

    Not for:
        Its sharpest form: for the real exponential x^4 / 24 and a little is true.

    Example:
        >>> exp_taylor_error(0.0625, 80) < 8e-7
        True
    """
    domain.number("exp_taylor_error", "x", x)
    domain.count("exp_taylor_error", "halvings", halvings)
    if not abs(x) * 16 <= 1:
        raise DomainError(
            f"exp_taylor_error needs |x| <= 1/16, got {x}; halve x first and square the result", argument="x", value=x
        )
    return domain.divide(x * x * (x * x), 20) + domain.divide(2 * (x * x), 2**halvings)


@mirrors("PeelVerify.exp_shift_error")
def exp_shift_error(size: Number) -> Number:
    """Bound how far the exponential of a small number is from one.

    Args:
        size: upper bound on the size of the number, at most 1/2.

    Returns:
        size + 2 size^2.

    Raises:
        DomainError: if `size` is negative or larger than 1/2.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least |exp(s) - 1| for every |s| <= size. `PeelVerify.exp_shift_error`.

    Not for:
        Sizes above 1/2.

    Example:
        >>> exp_shift_error(0.5)
        1.0
    """
    domain.nonnegative("exp_shift_error", "size", size)
    if not 2 * size <= 1:
        raise DomainError(
            f"exp_shift_error needs size <= 1/2, got {size}; reduce the argument first", argument="size", value=size
        )
    return size + 2 * (size * size)


@mirrors("PeelVerify.relative_product_error", "PeelVerify.relativeProduct")
def relative_product(left: Number, right: Number) -> Number:
    """Combine the relative errors of two factors.

    Args:
        left: relative error of the first factor, >= 0.
        right: relative error of the second factor, >= 0.

    Returns:
        left + right + left right.

    Raises:
        DomainError: if an error is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the relative error of the product. `PeelVerify.relative_product_error`.

    Not for:
        Absolute errors.

    Example:
        >>> relative_product(0.5, 0.5)
        1.25
    """
    _sizes("relative_product", left=left, right=right)
    return left + right + left * right


@mirrors("PeelVerify.horner_step_error", "PeelVerify.hornerError")
def horner_error(unit: Number, eta: Number, x: Number, error: Number, size: Number, constant: Number) -> Number:
    """Bound the error of one step x v + c of a polynomial, with product and sum rounded.

    Args:
        unit: largest relative error of one rounding, >= 0.
        eta: largest error of a product by underflow, >= 0.
        x: upper bound on |x|, >= 0.
        error: how far the computed v may be off, >= 0.
        size: upper bound on |v| as computed, >= 0.
        constant: |c|, >= 0.

    Returns:
        The error of the computed x v + c against the exact one with the exact v.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        `PeelVerify.horner_step_error`; addition never underflows, so eta enters by the product alone.

    Not for:
        A fused multiply-add, which rounds once: the bound holds but is not sharp.

    Source:
        Chapter 5 of [Higham2002].

    Example:
        >>> horner_error(0.5, 0, 1, 0, 1, 1)
        1.75
    """
    _sizes("horner_error", unit=unit, eta=eta, x=x, error=error, size=size, constant=constant)
    in_product = unit * (x * size) + eta
    return x * error + in_product + unit * (x * size + in_product + constant)


@mirrors("PeelVerify.exp_computed_error", "PeelVerify.expError")
def exp_error(table: Number, polynomial: Number, unit: Number, rest: Number) -> Number:
    """Bound the relative error of an exponential computed as a table entry times a polynomial.

    Args:
        table: relative error of the entry, >= 0.
        polynomial: relative error of the polynomial's value, >= 0.
        unit: relative error of their rounded product, >= 0.
        rest: upper bound on what the argument leaves out, in [0, 1/2].

    Returns:
        The relative error of the product of all four, with 2 rest for the rest.

    Raises:
        DomainError: if an input is negative, or `rest` is larger than 1/2.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least |computed - exp| / exp. `PeelVerify.exp_computed_error`.

    Not for:
        Results that underflow.

    Example:
        >>> exp_error(0, 0, 0, 0.25)
        0.5
    """
    _sizes("exp_error", table=table, polynomial=polynomial, unit=unit)
    domain.nonnegative("exp_error", "rest", rest)
    if not 2 * rest <= 1:
        raise DomainError(
            f"exp_error needs rest <= 1/2, got {rest}; reduce the argument further", argument="rest", value=rest
        )
    return relative_product(relative_product(relative_product(table, polynomial), unit), 2 * rest)


@mirrors("PeelVerify.raised_terms_error", "PeelVerify.termsError")
def terms_error(count: int, relative: Number, above: Number) -> Number:
    """Bound by what share of their sum the computed terms of a softmax are off.

    Args:
        count: number of terms, >= 1.
        relative: relative error of each computed term, >= 0.
        above: upper bound on the exponential that small terms are raised to, >= 0.

    Returns:
        relative + (1 + relative) count above.

    Raises:
        DomainError: if an error is negative, or `count` is not a whole number >= 1.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the sum of |computed - exp(x)| over the sum of exp(x), if the largest x is at least 0.
        `PeelVerify.raised_terms_error`.

    Not for:
        Arguments that are all negative: subtract the largest first.

    Example:
        >>> terms_error(4, 0, 0.25)
        1.0
    """
    domain.count("terms_error", "count", count, least=1)
    _sizes("terms_error", relative=relative, above=above)
    return relative + (1 + relative) * (count * above)


@mirrors("PeelVerify.log_enclosure")
def log_error(distance: Number, relative: Number) -> Number:
    """Bound how far a guess is from a logarithm that the exponential checks.

    Args:
        distance: how far the computed total exp(-guess) is from one, >= 0.
        relative: relative error of that computed product, >= 0.

    Returns:
        (distance + relative) / (1 - 2 (distance + relative)).

    Raises:
        DomainError: if an input is negative, or twice their sum is not below one.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least |log(total) - guess|. `PeelVerify.log_enclosure`.

    Not for:
        Guesses that are far off: take the logarithm of a library as the guess.

    Example:
        >>> log_error(0.125, 0.125)
        0.5
    """
    _sizes("log_error", distance=distance, relative=relative)
    domain.fraction_of_one("log_error", "2 (distance + relative)", 2 * (distance + relative), advice="guess better")
    return domain.divide(distance + relative, 1 - 2 * (distance + relative))


@mirrors("PeelVerify.weighted_mean_error", "PeelVerify.mean_computed_error", "PeelVerify.meanError")
def mean_error(relative: Number, in_numerator: Number, in_total: Number, unit: Number) -> Number:
    """Bound the error of a computed mean under computed weights, for values of size at most one.

    Args:
        relative: share of their sum by which the weights are off, in [0, 1).
        in_numerator: error of the computed numerator, relative to the sum of the weights, >= 0.
        in_total: relative error of the computed sum of the weights, in [0, 1).
        unit: relative error of the quotient, >= 0.

    Returns:
        (2 relative / (1 - relative) + in_numerator + in_total + unit (1 + in_numerator)) / (1 - in_total).

    Raises:
        DomainError: if an input is negative, or `relative` or `in_total` is not below one.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Times the largest value's size, at least |computed mean - exact mean|. `PeelVerify.weighted_mean_error`,
        `PeelVerify.mean_computed_error`.

    Not for:
        Weights of both signs.

    Example:
        >>> mean_error(0.5, 0, 0, 0)
        2.0
    """
    domain.fraction_of_one("mean_error", "relative", relative, advice="compute the weights more exactly")
    domain.fraction_of_one("mean_error", "in_total", in_total, advice="sum the weights more exactly")
    _sizes("mean_error", in_numerator=in_numerator, unit=unit)
    share = domain.divide(2 * relative, 1 - relative)
    return domain.divide(share + in_numerator + in_total + unit * (1 + in_numerator), 1 - in_total)


@mirrors("PeelVerify.loss_change_enclosure", "PeelVerify.kl_enclosure")
def change_error(log_before: Number, log_after: Number, in_mean: Number, rounding: Number) -> Number:
    """Bound the error of a computed change of the loss, or of a computed divergence.

    Args:
        log_before: error of the logarithm before, >= 0.
        log_after: error of the logarithm after, >= 0.
        in_mean: error of the mean change under the original distribution, >= 0; 0 for a loss.
        rounding: error of the sum of the computed parts, >= 0.

    Returns:
        Their sum.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the distance of the computed change from the exact one. `PeelVerify.loss_change_enclosure`,
        `PeelVerify.kl_enclosure`.

    Not for:
        Logits that are themselves off.

    Example:
        >>> change_error(1, 2, 0, 3)
        6
    """
    _sizes("change_error", log_before=log_before, log_after=log_after, in_mean=in_mean, rounding=rounding)
    return log_before + log_after + in_mean + rounding
