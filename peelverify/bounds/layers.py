"""Linear layers with many outputs: residuals, and lower bounds for every weight matrix. Lean: ``Proofs/Layers.lean``.

A layer problem holds features `z` (one row for each sample), targets `t` (one row for each sample, one column
for each output) and weights `w` (one row for each feature, one column for each output). Sizes are Frobenius norms.
"""

from __future__ import annotations

from peelverify.bounds import _domain as domain
from peelverify.bounds import matrix, vector
from peelverify.bounds._domain import Matrix, Number
from peelverify.errors import DomainError
from peelverify.registry import mirrors

__all__ = [
    "bounded_layer_lower_sq",
    "convexity_check",
    "convexity_residual",
    "frob_dot",
    "layer_normal_equation_residual",
    "layer_residual",
]

Rows = tuple[tuple[Number, ...], ...]


@mirrors("PeelVerify.frobDot_sq_le", "PeelVerify.frobDot")
def frob_dot(a: Matrix, b: Matrix) -> Number:
    """Give the inner product of two matrices.

    Args:
        a: rows of a matrix.
        b: rows of a matrix of the same shape.

    Returns:
        The sum of the products of corresponding entries.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if a matrix is empty or ragged, or the shapes differ.

    Guarantee:
        Its square is at most frob_sq(a) frob_sq(b). `PeelVerify.frobDot_sq_le`.

    Not for:
        Large arrays; see `peelverify.enclose.inner_upper`.

    Example:
        >>> frob_dot([[1, 2], [3, 4]], [[1, 0], [0, 1]])
        5
    """
    left, right = domain.matrix("frob_dot", "a", a), domain.matrix("frob_dot", "b", b)
    domain.same_shape("frob_dot", a=left, b=right)
    return sum((vector.dot(x, y) for x, y in zip(left, right, strict=True)), start=0)


def _problem(function: str, z: Matrix, t: Matrix, w: Matrix) -> tuple[Rows, Rows, Rows]:
    rows, targets = domain.matrix(function, "z", z), domain.matrix(function, "t", t)
    weights = domain.matrix(function, "w", w)
    domain.same_length(function, **{"rows of z": len(rows), "rows of t": len(targets)})
    domain.same_length(function, **{"columns of z": len(rows[0]), "rows of w": len(weights)})
    domain.same_length(function, **{"columns of t": len(targets[0]), "columns of w": len(weights[0])})
    return rows, targets, weights


def _left(rows: Rows, targets: Rows, weights: Rows) -> Rows:
    columns = tuple(zip(*weights, strict=True))
    return tuple(
        tuple(target - vector.dot(row, column) for target, column in zip(line, columns, strict=True))
        for row, line in zip(rows, targets, strict=True)
    )


@mirrors("PeelVerify.layer_least_squares_gap", "PeelVerify.layerResidual")
def layer_residual(z: Matrix, t: Matrix, w: Matrix) -> Rows:
    """Give what a linear layer leaves of its targets.

    Args:
        z: features, one row for each sample.
        t: targets, one row for each sample.
        w: weights, one row for each feature.

    Returns:
        The rows of T - Z W.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        Its squared norm exceeds that of a solution W0 of the normal equations by exactly |Z (W - W0)|^2.
        `PeelVerify.layer_least_squares_gap`.

    Not for:
        Large arrays; see `peelverify.peel`.

    Example:
        >>> layer_residual([[1, 0], [1, 1]], [[2, 0], [5, 1]], [[1, 0], [3, 1]])
        ((1, 0), (1, 0))
    """
    return _left(*_problem("layer_residual", z, t, w))


@mirrors("PeelVerify.layer_normal_equations_optimal", "PeelVerify.layerNormalResidual")
def layer_normal_equation_residual(z: Matrix, t: Matrix, w: Matrix) -> Rows:
    """Give what is left of the normal equations of a fitted layer.

    Args:
        z: features, one row for each sample.
        t: targets, one row for each sample.
        w: weights, one row for each feature.

    Returns:
        The rows of Z^T (T - Z W), one for each feature.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        If every entry is zero, no weight matrix leaves less. `PeelVerify.layer_normal_equations_optimal`.

    Not for:
        Saying how much better another matrix is when it is not zero; see
        `peelverify.bounds.peeling.approximate_optimum_lower`.

    Example:
        >>> layer_normal_equation_residual([[1], [1]], [[2, 0], [4, 0]], [[3, 0]])
        ((0, 0),)
    """
    rows, targets, weights = _problem("layer_normal_equation_residual", z, t, w)
    left = tuple(zip(*_left(rows, targets, weights), strict=True))
    return tuple(tuple(vector.dot(feature, output) for output in left) for feature in zip(*rows, strict=True))


@mirrors("PeelVerify.layer_weak_duality_of_bounded", "PeelVerify.layer_weak_duality")
def bounded_layer_lower_sq(y: Matrix, t: Matrix, radius: Number, eps: Number) -> Number:
    """Bound the residual of every weight matrix within a radius from below by a dual matrix.

    Args:
        y: a matrix, not zero, of the shape of the targets.
        t: targets, one row for each sample.
        radius: upper bound on the Frobenius norm of the weights, >= 0.
        eps: upper bound on the Frobenius norm of Z^T y, >= 0; with 0 the bound holds for every radius.

    Returns:
        (<y, t> - eps radius)^2 / |y|^2.

    Raises:
        DomainError: if `y` is zero, an input is negative, or <y, t> is below eps radius, where `y` says
            nothing.
        NonFiniteError: if an entry is not finite.
        ShapeError: if a matrix is empty or ragged, or the shapes differ.

    Guarantee:
        At most |T - Z W|^2 for every W within the radius. `PeelVerify.layer_weak_duality_of_bounded`.

    Not for:
        Weights beyond the radius, unless eps is 0.

    Example:
        >>> bounded_layer_lower_sq([[1], [-1]], [[5], [2]], 2, 1)
        Fraction(1, 2)
    """
    dual, targets = domain.matrix("bounded_layer_lower_sq", "y", y), domain.matrix("bounded_layer_lower_sq", "t", t)
    domain.same_shape("bounded_layer_lower_sq", y=dual, t=targets)
    domain.nonnegative("bounded_layer_lower_sq", "radius", radius)
    domain.nonnegative("bounded_layer_lower_sq", "eps", eps)
    square = domain.positive("bounded_layer_lower_sq", "|y|^2", matrix.frob_sq(dual))
    certain = frob_dot(dual, targets) - eps * radius
    if not certain >= 0:
        raise DomainError(
            f"bounded_layer_lower_sq needs <y, t> >= eps radius, got a difference of {certain}; "
            "sharpen y or use the bound 0",
            argument="y",
            value=certain,
        )
    return domain.divide(certain * certain, square)


def _rest(function: str, z: Matrix, factor: Matrix, mu: Number) -> Rows:
    rows = domain.matrix(function, "z", z)
    left = tuple(domain.numbers(function, f"factor[{i}]", row) for i, row in enumerate(factor))
    size = len(rows[0])
    for i, row in enumerate(left):
        domain.same_length(function, **{"columns of z": size, f"factor[{i}]": len(row)})
    domain.nonnegative(function, "mu", mu)
    gram_z = matrix.gram(rows)
    gram_l = matrix.gram(left) if left else tuple((0,) * size for _ in range(size))
    return tuple(
        tuple(gram_z[i][j] - (mu if i == j else 0) - gram_l[i][j] for j in range(size)) for i in range(size)
    )


@mirrors("PeelVerify.convexityResidual")
def convexity_residual(z: Matrix, factor: Matrix, mu: Number) -> Rows:
    """Give what is left of Z^T Z - mu I once L^T L is taken away.

    Args:
        z: rows of the features Z.
        factor: rows of L, any number of them, none included; as many columns as Z.
        mu: the claimed lower bound on the squared singular values, >= 0.

    Returns:
        The rows of D = Z^T Z - mu I - L^T L.

    Raises:
        DomainError: if `mu` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a matrix is ragged, `z` is empty, or the columns do not fit.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.convexityResidual`.

    Not for:
        Finding L; a rounded Cholesky factor of Z^T Z - mu I will do.

    Example:
        >>> convexity_residual([[3, 0], [0, 4]], [], 9)
        ((0, 0), (0, 7))
    """
    return _rest("convexity_residual", z, factor, mu)


@mirrors(
    "PeelVerify.strong_convexity_of_convexityCheck",
    "PeelVerify.strong_convexity_of_certificate",
    "PeelVerify.convexityCheck",
)
def convexity_check(z: Matrix, factor: Matrix, mu: Number) -> bool:
    """Check that a factor proves a lower bound on the squared singular values of the features.

    Args:
        z: rows of the features Z.
        factor: rows of L, any number of them, none included; as many columns as Z.
        mu: the claimed lower bound, >= 0.

    Returns:
        True if Z^T Z - mu I - L^T L is diagonally dominant.

    Raises:
        DomainError: if `mu` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a matrix is ragged, `z` is empty, or the columns do not fit.

    Guarantee:
        True means mu |v|^2 <= |Z v|^2 for every v. `PeelVerify.strong_convexity_of_convexityCheck`.

    Not for:
        A refutation: False says that this factor does not prove it.

    Example:
        >>> convexity_check([[3, 0], [0, 4]], [], 9), convexity_check([[3, 0], [0, 4]], [], 10)
        (True, False)
    """
    return matrix.diagonally_dominant(_rest("convexity_check", z, factor, mu))
