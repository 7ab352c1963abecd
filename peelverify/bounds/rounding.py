"""A-priori errors of floating-point sums and products. Lean: ``Proofs/Rounding.lean``.

`unit` is the largest relative error of one rounding, 2^-53 for float64 to nearest; `underflow` is the sum of the
absolute errors that underflow may add, half the smallest positive number for each rounded product. Rounded
additions need none. Overflow is not covered: check that results are finite.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from peelverify.bounds import _domain as domain
from peelverify.bounds import vector
from peelverify.bounds._domain import Matrix, Number, Vector
from peelverify.errors import DomainError, ShapeError
from peelverify.registry import mirrors

__all__ = [
    "BFLOAT16",
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "Format",
    "dot_error_upper",
    "gamma",
    "growth",
    "in_format",
    "mat_mul_error_upper",
    "nonneg_sum_lower",
    "nonneg_sum_upper",
    "product_is_exact",
]


class Format(NamedTuple):
    """The numbers m 2^k smallest with a whole m of at most `precision` bits and k at most `max_shift`.

    Attributes:
        precision: bits of the whole number, the leading one included.
        max_shift: largest power of two.
        smallest: the smallest positive number.
    """

    precision: int
    max_shift: int
    smallest: Fraction


FLOAT64 = Format(53, 2045, Fraction(1, 2**1074))
FLOAT32 = Format(24, 253, Fraction(1, 2**149))
BFLOAT16 = Format(8, 253, Fraction(1, 2**133))
FLOAT16 = Format(11, 29, Fraction(1, 2**24))


@mirrors(
    "PeelVerify.computes_error",
    "PeelVerify.sum_error",
    "PeelVerify.growth_succ",
    "PeelVerify.growth_zero",
    "PeelVerify.growth_nonneg",
    "PeelVerify.growth_mono",
    "PeelVerify.growth",
)
def growth(unit: Number, depth: int) -> Number:
    """Bound the relative error of roundings that follow each other.

    Args:
        unit: largest relative error of one rounding, >= 0.
        depth: largest number of roundings on the way from an input to the result, >= 0.

    Returns:
        (1 + unit)^depth - 1.

    Raises:
        DomainError: if `unit` is negative, or `depth` is not a whole number >= 0.
        NonFiniteError: if `unit` is not finite.

    Guarantee:
        A sum of n numbers, in any order and with each addition rounded once, errs by at most
        growth(unit, n - 1) times the sum of their absolute values. `PeelVerify.sum_error`,
        `PeelVerify.computes_error`.

    Not for:
        `float` arguments, where 1 + unit rounds to 1; pass a `Fraction`.

    Source:
        Chapter 3 of [Higham2002].

    Example:
        >>> from fractions import Fraction
        >>> growth(Fraction(1, 2), 2)
        Fraction(5, 4)
    """
    domain.nonnegative("growth", "unit", unit)
    domain.count("growth", "depth", depth)
    return (1 + unit) ** depth - 1


@mirrors("PeelVerify.growth_le_gamma", "PeelVerify.gamma")
def gamma(unit: Number, n: int) -> Number:
    """Bound the relative error of n roundings by the usual closed form.

    Args:
        unit: largest relative error of one rounding, >= 0, with n unit < 1.
        n: number of roundings, >= 0.

    Returns:
        n unit / (1 - n unit).

    Raises:
        DomainError: if n unit is not below 1, `unit` is negative, or `n` is not a whole number >= 0.
        NonFiniteError: if `unit` is not finite.

    Guarantee:
        At least `growth(unit, n)`. `PeelVerify.growth_le_gamma`.

    Not for:
        Large n at low precision, where it exceeds 1 and encloses nothing.

    Source:
        Lemma 3.1 of [Higham2002].

    Example:
        >>> from fractions import Fraction
        >>> gamma(Fraction(1, 4), 2)
        Fraction(1, 1)
    """
    domain.nonnegative("gamma", "unit", unit)
    domain.count("gamma", "n", n)
    product = n * unit
    if not product < 1:
        raise DomainError(
            f"gamma needs n unit < 1, got {product}; split the sum or use more precision",
            argument="n",
            value=n,
        )
    return domain.divide(product, 1 - product)


def _error(unit: Number, roundings: int, size: Number, underflow: Number) -> Number:
    relative = growth(unit, roundings)
    return relative * size + (relative + 1) * underflow


@mirrors("PeelVerify.dot_error")
def dot_error_upper(x: Vector, y: Vector, unit: Number, underflow: Number) -> Number:
    """Bound the error of a computed inner product, for any order and with or without fused additions.

    Args:
        x: a vector, as it is stored.
        y: a vector of the same length, as it is stored.
        unit: largest relative error of one rounding, >= 0.
        underflow: sum of the underflow terms of the products, >= 0; 0 if the products are exact.

    Returns:
        growth(unit, n) sum |x_i y_i| + (growth(unit, n) + 1) underflow.

    Raises:
        DomainError: if `unit` or `underflow` is negative.
        NonFiniteError: if an entry is not finite.
        ShapeError: if a vector is empty or the lengths differ.

    Guarantee:
        At least the distance of the computed inner product to the exact one. `PeelVerify.dot_error`.

    Not for:
        Products that overflow; arithmetic with a lower precision than stated.

    Source:
        Section 3.1 of [Higham2002], with the underflow term.

    Example:
        >>> from fractions import Fraction
        >>> dot_error_upper([1, -2], [3, 4], Fraction(1, 4), 0)
        Fraction(99, 16)
    """
    x, y = domain.numbers("dot_error_upper", "x", x), domain.numbers("dot_error_upper", "y", y)
    domain.same_length("dot_error_upper", x=len(x), y=len(y))
    domain.nonnegative("dot_error_upper", "unit", unit)
    domain.nonnegative("dot_error_upper", "underflow", underflow)
    size = vector.dot([abs(a) for a in x], [abs(b) for b in y])
    return _error(unit, len(x), size, underflow)


@mirrors("PeelVerify.matMul_rounding_error")
def mat_mul_error_upper(a: Matrix, b: Matrix, unit: Number, underflow: Number) -> tuple[tuple[Number, ...], ...]:
    """Bound the error of each entry of a computed matrix product.

    Args:
        a: rows of the left matrix, as they are stored.
        b: rows of the right matrix, as many as the left one has columns.
        unit: largest relative error of one rounding, >= 0.
        underflow: bound on the sum of the underflow terms of one entry, >= 0.

    Returns:
        Rows of growth(unit, n) (|A| |B|)_ij + (growth(unit, n) + 1) underflow, n the number of columns of A.

    Raises:
        DomainError: if `unit` or `underflow` is negative.
        NonFiniteError: if an entry is not finite.
        ShapeError: if a matrix is empty or ragged, or the sizes do not fit.

    Guarantee:
        At least the distance of each computed entry to the exact one, for any order of summation.
        `PeelVerify.matMul_rounding_error`.

    Not for:
        Fast algorithms such as Strassen's, which are not inner products.

    Source:
        Section 3.5 of [Higham2002], with the underflow term.

    Example:
        >>> from fractions import Fraction
        >>> mat_mul_error_upper([[1, -2]], [[3], [4]], Fraction(1, 4), 0)
        ((Fraction(99, 16),),)
    """
    left, right = domain.matrix("mat_mul_error_upper", "a", a), domain.matrix("mat_mul_error_upper", "b", b)
    if len(left[0]) != len(right):
        raise ShapeError(
            f"mat_mul_error_upper needs as many columns of a as rows of b, got {len(left[0])} and {len(right)}; "
            "transpose or reorder the arguments",
            lengths={"a": len(left[0]), "b": len(right)},
        )
    domain.nonnegative("mat_mul_error_upper", "unit", unit)
    domain.nonnegative("mat_mul_error_upper", "underflow", underflow)
    columns = tuple(zip(*right, strict=True))
    return tuple(tuple(dot_error_upper(row, column, unit, underflow) for column in columns) for row in left)


def _computed(function: str, computed: Number, relative: Number, underflow: Number) -> None:
    domain.nonnegative(function, "computed", computed)
    domain.nonnegative(function, "relative", relative)
    domain.nonnegative(function, "underflow", underflow)


@mirrors("PeelVerify.nonneg_enclosure", "PeelVerify.partial_sums_error", "PeelVerify.nonnegSumUpper")
def nonneg_sum_upper(computed: Number, relative: Number, underflow: Number) -> Number:
    """Bound a sum of terms that are not negative from above, from its rounded value.

    Args:
        computed: the rounded sum, or the exact sum of rounded partial sums, >= 0.
        relative: bound on the relative error, in [0, 1); see `growth` and `gamma`.
        underflow: bound on the absolute error beside it, >= 0; of all partial sums together.

    Returns:
        (computed + underflow) / (1 - relative).

    Raises:
        DomainError: if an input is negative, or `relative` is not below 1.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the exact sum. `PeelVerify.nonneg_enclosure`, `PeelVerify.partial_sums_error`.

    Not for:
        Sums with terms of both signs, whose error is relative to the sum of absolute values.

    Example:
        >>> from fractions import Fraction
        >>> nonneg_sum_upper(Fraction(3), Fraction(1, 4), Fraction(0))
        Fraction(4, 1)
    """
    _computed("nonneg_sum_upper", computed, relative, underflow)
    domain.fraction_of_one("nonneg_sum_upper", "relative", relative, advice="split the sum or use more precision")
    return domain.divide(computed + underflow, 1 - relative)


@mirrors("PeelVerify.nonnegSumLower")
def nonneg_sum_lower(computed: Number, relative: Number, underflow: Number) -> Number:
    """Bound a sum of terms that are not negative from below, from its rounded value.

    Args:
        computed: the rounded sum, or the exact sum of rounded partial sums, >= 0.
        relative: bound on the relative error, >= 0; see `growth` and `gamma`.
        underflow: bound on the absolute error beside it, >= 0; of all partial sums together.

    Returns:
        (computed - underflow) / (1 + relative); a negative answer says nothing.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At most the exact sum, by `PeelVerify.nonneg_enclosure`.

    Not for:
        Sums with terms of both signs, whose error is relative to the sum of absolute values.

    Example:
        >>> from fractions import Fraction
        >>> nonneg_sum_lower(Fraction(5), Fraction(1, 4), Fraction(0))
        Fraction(4, 1)
    """
    _computed("nonneg_sum_lower", computed, relative, underflow)
    return domain.divide(computed - underflow, 1 + relative)


def _format(function: str, name: str, value: Format) -> Format:
    precision, max_shift, smallest = value
    domain.count(function, f"{name}.precision", precision, least=1)
    domain.count(function, f"{name}.max_shift", max_shift)
    domain.positive(function, f"{name}.smallest", smallest)
    return Format(precision, max_shift, Fraction(smallest))


@mirrors("PeelVerify.InFormat.mul", "PeelVerify.InFormat.widen", "PeelVerify.InFormat")
def in_format(x: Number, form: Format) -> bool:
    """Tell whether a number has an exact representation in a format.

    Args:
        x: a `Fraction`, an int or a float.
        form: the format.

    Returns:
        True if x = m 2^k smallest with |m| < 2^precision and k at most max_shift.

    Raises:
        DomainError: if the format is not one, or `x` is not an exact number.
        NonFiniteError: if `x` is not finite.

    Guarantee:
        The product of numbers of two formats is in the format with the sums of precisions and shifts and the
        product of the smallest numbers; a wider format holds all numbers of a narrower one.
        `PeelVerify.InFormat.mul`, `PeelVerify.InFormat.widen`.

    Not for:
        Infinities and NaNs, which are no numbers.

    Example:
        >>> in_format(0.5, FLOAT16), in_format(2**30, FLOAT16)
        (True, False)
    """
    domain.number("in_format", "x", x)
    form = _format("in_format", "form", form)
    if not isinstance(x, int | float | Fraction):
        raise DomainError(
            f"in_format needs an exact number, got {type(x).__name__}; pass a Fraction, an int or a float",
            argument="x",
            value=x,
        )
    units = Fraction(x) / form.smallest
    if units.denominator != 1:
        return False
    m = abs(units.numerator)
    shift = min((m & -m).bit_length() - 1, form.max_shift) if m else 0
    return (m >> shift) < 2**form.precision


@mirrors(
    "PeelVerify.mul_exact_of_formats",
    "PeelVerify.float32_mul_exact",
    "PeelVerify.bfloat16_mul_exact",
    "PeelVerify.float16_mul_exact",
)
def product_is_exact(left: Format, right: Format, target: Format) -> bool:
    """Tell whether every product of numbers of two formats is exact in a third one.

    Args:
        left: format of the first factor.
        right: format of the second factor.
        target: format in which the product is computed.

    Returns:
        True if the target has at least the sum of the precisions, and enough range at both ends.

    Raises:
        DomainError: if a format is not one.

    Guarantee:
        True means that no such product is rounded. `PeelVerify.mul_exact_of_formats`; for float32, bfloat16 and
        float16 in float64 `PeelVerify.float32_mul_exact`, `PeelVerify.bfloat16_mul_exact`,
        `PeelVerify.float16_mul_exact`.

    Not for:
        A refutation: single products may be exact all the same.

    Example:
        >>> product_is_exact(FLOAT32, FLOAT32, FLOAT64), product_is_exact(FLOAT64, FLOAT64, FLOAT64)
        (True, False)
    """
    p = _format("product_is_exact", "left", left)
    q = _format("product_is_exact", "right", right)
    r = _format("product_is_exact", "target", target)
    ratio = p.smallest * q.smallest / r.smallest
    if ratio.denominator != 1 or ratio.numerator & (ratio.numerator - 1):
        return False
    shift = ratio.numerator.bit_length() - 1
    return p.precision + q.precision <= r.precision and p.max_shift + q.max_shift + shift <= r.max_shift
