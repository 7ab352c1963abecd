"""Inner products and norms of vectors. Lean: ``Proofs/Vector.lean``.

An ordered field has no square roots, so 2-norms appear squared, or as a predicate: `norm2_le(x, c)` says
that the sum of squares is at most c times c. Rational numbers can check that.
"""

from __future__ import annotations

from collections.abc import Sequence

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Number, Vector
from peelverify.registry import mirrors

__all__ = [
    "abs_val",
    "dot",
    "dot_abs_upper",
    "dot_sq_upper",
    "dot_upper",
    "norm1",
    "norm2_le",
    "norm2_smul_upper",
    "norm2_sum_upper",
    "norm_inf",
    "norm_sq",
]


def _pair(function: str, x: Vector, y: Vector) -> tuple[tuple[Number, ...], tuple[Number, ...]]:
    x, y = domain.numbers(function, "x", x), domain.numbers(function, "y", y)
    domain.same_length(function, x=len(x), y=len(y))
    return x, y


@mirrors("PeelVerify.absVal")
def abs_val(a: Number) -> Number:
    """Give the absolute value of a number.

    Args:
        a: a number.

    Returns:
        `a` or -`a`, whichever is not negative.

    Raises:
        NonFiniteError: if `a` is not finite.

    Guarantee:
        Exact for every type, rounding none. `PeelVerify.absVal`.

    Example:
        >>> abs_val(-3)
        3
    """
    return abs(domain.number("abs_val", "a", a))


@mirrors("PeelVerify.dot")
def dot(x: Vector, y: Vector) -> Number:
    """Give the inner product of two vectors.

    Args:
        x: a vector.
        y: a vector of the same length.

    Returns:
        The sum over i of x_i y_i, added from left to right.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if a vector is empty or the lengths differ.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.dot`.

    Not for:
        A certified inner product of float arrays; see `peelverify.enclose`.

    Example:
        >>> dot([1, 2], [3, 4])
        11
    """
    x, y = _pair("dot", x, y)
    return sum(a * b for a, b in zip(x, y, strict=True))


@mirrors("PeelVerify.normSq")
def norm_sq(x: Vector) -> Number:
    """Give the squared 2-norm of a vector.

    Args:
        x: a vector.

    Returns:
        The sum over i of x_i^2.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the vector is empty.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.normSq`.

    Not for:
        A certified norm of a float array; see `peelverify.enclose`.

    Example:
        >>> norm_sq([3, 4])
        25
    """
    return sum(a * a for a in domain.numbers("norm_sq", "x", x))


@mirrors("PeelVerify.norm1")
def norm1(x: Vector) -> Number:
    """Give the 1-norm of a vector.

    Args:
        x: a vector.

    Returns:
        The sum of the absolute values of the entries.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the vector is empty.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.norm1`.

    Example:
        >>> norm1([3, -4])
        7
    """
    return sum(abs(a) for a in domain.numbers("norm1", "x", x))


@mirrors("PeelVerify.normInf")
def norm_inf(x: Vector) -> Number:
    """Give the largest absolute value of an entry.

    Args:
        x: a vector.

    Returns:
        The maximum over i of |x_i|.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the vector is empty.

    Guarantee:
        Exact for every type, rounding none. `PeelVerify.normInf`.

    Example:
        >>> norm_inf([3, -4])
        4
    """
    largest, *rest = (abs(a) for a in domain.numbers("norm_inf", "x", x))
    for size in rest:
        largest = domain.larger(largest, size)
    return largest


@mirrors("PeelVerify.Norm2Le")
def norm2_le(x: Vector, c: Number) -> bool:
    """Tell whether the 2-norm of a vector is at most `c`.

    Args:
        x: a vector.
        c: the bound to check, >= 0.

    Returns:
        True if the sum of squares is at most c^2. Of balls: True only if certain.

    Raises:
        DomainError: if `c` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if the vector is empty.

    Guarantee:
        With `Fraction` input the answer is the truth. `PeelVerify.Norm2Le`.

    Not for:
        Floats, where a rounded square may fall on the wrong side.

    Example:
        >>> norm2_le([3, 4], 5), norm2_le([3, 4], 4)
        (True, False)
    """
    square = norm_sq(domain.numbers("norm2_le", "x", x))
    domain.nonnegative("norm2_le", "c", c)
    return bool(square <= c * c)


@mirrors("PeelVerify.dot_sq_le_normSq_mul_normSq")
def dot_sq_upper(x: Vector, y: Vector) -> Number:
    """Bound the square of an inner product by Cauchy-Schwarz.

    Args:
        x: a vector.
        y: a vector of the same length.

    Returns:
        The product of the squared 2-norms.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if a vector is empty or the lengths differ.

    Guarantee:
        At least the square of `dot(x, y)`, with equality for parallel vectors.
        `PeelVerify.dot_sq_le_normSq_mul_normSq`.

    Not for:
        Nearly orthogonal vectors, where it says little; enclose the inner product itself.

    Example:
        >>> dot_sq_upper([1, 2], [3, 4])
        125
    """
    x, y = _pair("dot_sq_upper", x, y)
    return norm_sq(x) * norm_sq(y)


@mirrors("PeelVerify.dot_le_of_norm2Le", "PeelVerify.cache_score_error")
def dot_upper(a: Number, b: Number) -> Number:
    """Bound an inner product by bounds on the two norms.

    Args:
        a: upper bound on the 2-norm of the first vector, >= 0.
        b: upper bound on the 2-norm of the second vector, >= 0.

    Returns:
        a b.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the inner product, and at least its negative; so a key that is off by at most `b` changes an
        attention score by at most this. `PeelVerify.dot_le_of_norm2Le`, `PeelVerify.cache_score_error`.

    Not for:
        Squared norms; see `dot_sq_upper`.

    Example:
        >>> dot_upper(2, 3)
        6
    """
    domain.nonnegative("dot_upper", "a", a)
    return a * domain.nonnegative("dot_upper", "b", b)


@mirrors("PeelVerify.Norm2Le.add", "PeelVerify.Norm2Le.sub", "PeelVerify.Norm2Le.sum")
def norm2_sum_upper(bounds: Sequence[Number]) -> Number:
    """Bound the 2-norm of a sum of vectors.

    Args:
        bounds: upper bound on the 2-norm of each vector, all >= 0, at least one.

    Returns:
        The sum of the bounds.

    Raises:
        DomainError: if a bound is negative.
        NonFiniteError: if a bound is not finite.
        ShapeError: if there is no bound.

    Guarantee:
        At least the 2-norm of the sum, whichever signs the vectors are given. `PeelVerify.Norm2Le.sum`,
        `PeelVerify.Norm2Le.add`, `PeelVerify.Norm2Le.sub`.

    Not for:
        Sharp bounds on sums of nearly orthogonal errors, whose squares add up instead.

    Example:
        >>> norm2_sum_upper([5, 1, 2])
        8
    """
    return sum(domain.nonnegatives("norm2_sum_upper", "bounds", bounds))


@mirrors("PeelVerify.Norm2Le.smul", "PeelVerify.scaled_norm_le")
def norm2_smul_upper(a: Number, c: Number) -> Number:
    """Bound the 2-norm of a multiple of a vector.

    Args:
        a: the factor, of either sign.
        c: upper bound on the 2-norm of the vector, >= 0.

    Returns:
        |a| c.

    Raises:
        DomainError: if `c` is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of the multiple; with a factor of its own for each entry, none larger in absolute
        value than `a`, as well. `PeelVerify.Norm2Le.smul`, `PeelVerify.scaled_norm_le`.

    Not for:
        Factors of very different sizes, where the largest one overstates the rest.

    Example:
        >>> norm2_smul_upper(-2, 5)
        10
    """
    domain.number("norm2_smul_upper", "a", a)
    return abs(a) * domain.nonnegative("norm2_smul_upper", "c", c)


@mirrors("PeelVerify.abs_dot_le_norm1_mul_normInf")
def dot_abs_upper(x: Vector, y: Vector) -> Number:
    """Bound an inner product by the 1-norm of one vector and the largest entry of the other.

    Args:
        x: the vector whose 1-norm is taken.
        y: the vector whose largest entry is taken, of the same length.

    Returns:
        norm1(x) norm_inf(y).

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if a vector is empty or the lengths differ.

    Guarantee:
        At least the absolute value of `dot(x, y)`. `PeelVerify.abs_dot_le_norm1_mul_normInf`.

    Not for:
        Vectors that both have many large entries; compare with the root of `dot_sq_upper`.

    Example:
        >>> dot_abs_upper([1, -2], [3, 4])
        12
    """
    x, y = _pair("dot_abs_upper", x, y)
    return norm1(x) * norm_inf(y)
