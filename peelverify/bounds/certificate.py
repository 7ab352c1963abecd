"""Certificates of one matrix and of one lower bound, checked from their numbers. Lean: ``Proofs/Certificate.lean``.

Certificates of a whole chain are checked by `peelverify.certify.checker`.
"""

from __future__ import annotations

from peelverify.bounds import _domain as domain
from peelverify.bounds import matrix, vector
from peelverify.bounds._domain import Matrix, Number, Vector
from peelverify.registry import mirrors

__all__ = ["dual_check", "matrix_check"]


@mirrors("PeelVerify.matrixCheck_sound", "PeelVerify.matrixCheck")
def matrix_check(entries: Matrix, factor: Matrix, bound: Number, radius: Number, output: Number) -> bool:
    """Check a certificate that bounds the output of a matrix for every input of some length.

    Args:
        entries: rows of the matrix, for instance the difference of a weight and its compression.
        factor: rows of the factor for `peelverify.bounds.matrix.spectral_check`; none included.
        bound: the claimed bound on the operator norm, >= 0.
        radius: the length of the inputs, >= 0.
        output: the claimed bound on the length of the output, >= 0.

    Returns:
        True if the factor proves the bound and bound radius is at most `output`.

    Raises:
        DomainError: if a bound is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a matrix is ragged, `entries` is empty, or the columns do not fit.

    Guarantee:
        True means that no input of length at most `radius` has an output longer than `output`.
        `PeelVerify.matrixCheck_sound`.

    Not for:
        A refutation: False says that this certificate does not prove it.

    Example:
        >>> matrix_check([[3, 0], [0, 4]], [], 4, 2, 8), matrix_check([[3, 0], [0, 4]], [], 4, 2, 7)
        (True, False)
    """
    rows = domain.matrix("matrix_check", "entries", entries)
    left = tuple(domain.numbers("matrix_check", f"factor[{i}]", row) for i, row in enumerate(factor))
    domain.nonnegative("matrix_check", "bound", bound)
    domain.nonnegative("matrix_check", "radius", radius)
    domain.nonnegative("matrix_check", "output", output)
    return matrix.spectral_check(rows, left, bound) and bool(bound * radius <= output)


@mirrors("PeelVerify.dualCheck_sound", "PeelVerify.dualCheck")
def dual_check(inputs: Matrix, target: Vector, dual: Vector, lower: Number) -> bool:
    """Check a certificate that bounds the loss of every weight vector from below.

    Args:
        inputs: features, one row for each sample.
        target: target of each sample.
        dual: the dual vector, one entry for each sample.
        lower: the claimed lower bound on |target - inputs w|^2.

    Returns:
        True if `dual` is orthogonal to every feature, not zero, and lower |dual|^2 <= <dual, target>^2.

    Raises:
        NonFiniteError: if an input is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        True means that no weights have a smaller squared residual. `PeelVerify.dualCheck_sound`.

    Not for:
        A dual vector that was rounded: orthogonality must be exact.

    Example:
        >>> dual_check([[1], [1]], [5, 2], [1, -1], 4), dual_check([[1], [1]], [5, 2], [1, -1], 5)
        (True, False)
    """
    rows = domain.matrix("dual_check", "inputs", inputs)
    y, t = domain.numbers("dual_check", "dual", dual), domain.numbers("dual_check", "target", target)
    domain.same_length("dual_check", **{"rows of inputs": len(rows), "target": len(t), "dual": len(y)})
    domain.number("dual_check", "lower", lower)
    feasible = all(bool(vector.dot(column, y) == 0) for column in zip(*rows, strict=True))
    square, inner = vector.norm_sq(y), vector.dot(y, t)
    return feasible and bool(square > 0) and bool(lower * square <= inner * inner)
