"""Products, Frobenius norms and operator norms of matrices. Lean: ``Proofs/Matrix.lean``.

A matrix is a sequence of rows. Norms appear squared or as predicates, for want of square roots: a number c
bounds the operator norm of A if |A x| <= c |x| for every x. These functions are exact and slow; they serve
small matrices and certificates. `peelverify.enclose` bounds the norms of large float arrays.

Longer than 500 lines because each of the seventeen functions states its domain, its guarantee and its limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from peelverify.bounds import _domain as domain
from peelverify.bounds import vector
from peelverify.bounds._domain import Matrix, Number, Vector
from peelverify.errors import ShapeError
from peelverify.registry import mirrors

__all__ = [
    "diagonally_dominant",
    "frob_add_upper",
    "frob_le",
    "frob_sq",
    "frob_sq_mul_upper",
    "gram",
    "gram_iteration_check",
    "mat_mul",
    "mul_vec",
    "mul_vec_sq_upper",
    "op_norm2_add_upper",
    "op_norm2_mul_upper",
    "residual_upper",
    "schur_upper_sq",
    "spectral_check",
    "spectral_residual",
    "transpose",
]

Rows = tuple[tuple[Number, ...], ...]


def _inner(x: Sequence[Number], y: Sequence[Number]) -> Number:
    return sum(a * b for a, b in zip(x, y, strict=True))


def _transposed(rows: Rows) -> Rows:
    return tuple(zip(*rows, strict=True))


def _gram(rows: Rows) -> Rows:
    columns = _transposed(rows)
    return tuple(tuple(_inner(p, q) for q in columns) for p in columns)


def _frob_sq(rows: Rows) -> Number:
    return sum(_inner(row, row) for row in rows)


def _columns_meet_rows(function: str, **sizes: int) -> None:
    if len(set(sizes.values())) > 1:
        (left, columns), (right, rows) = sizes.items()
        raise ShapeError(
            f"{function} needs as many columns of {left} as rows of {right}, got {columns} and {rows}; "
            "transpose or reorder the arguments",
            lengths=dict(sizes),
        )


def _two_bounds(function: str, a: Number, b: Number) -> tuple[Number, Number]:
    return domain.nonnegative(function, "a", a), domain.nonnegative(function, "b", b)


@mirrors("PeelVerify.mulVec")
def mul_vec(a: Matrix, x: Vector) -> tuple[Number, ...]:
    """Multiply a matrix by a vector.

    Args:
        a: rows of the matrix.
        x: as many entries as the matrix has columns.

    Returns:
        One entry for each row: its inner product with `x`.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.mulVec`.

    Not for:
        Large arrays.

    Example:
        >>> mul_vec([[1, 1], [0, 1]], [1, 2])
        (3, 2)
    """
    rows, entries = domain.matrix("mul_vec", "a", a), domain.numbers("mul_vec", "x", x)
    _columns_meet_rows("mul_vec", a=len(rows[0]), x=len(entries))
    return tuple(_inner(row, entries) for row in rows)


@mirrors("PeelVerify.matMul")
def mat_mul(a: Matrix, b: Matrix) -> Rows:
    """Multiply two matrices.

    Args:
        a: rows of the left matrix.
        b: rows of the right matrix, as many as the left one has columns.

    Returns:
        The rows of the product.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.matMul`.

    Not for:
        Large arrays.

    Example:
        >>> mat_mul([[1, 1], [0, 1]], [[1, 1], [0, 1]])
        ((1, 2), (0, 1))
    """
    left, right = domain.matrix("mat_mul", "a", a), domain.matrix("mat_mul", "b", b)
    _columns_meet_rows("mat_mul", a=len(left[0]), b=len(right))
    columns = _transposed(right)
    return tuple(tuple(_inner(row, column) for column in columns) for row in left)


@mirrors("PeelVerify.transpose")
def transpose(a: Matrix) -> Rows:
    """Exchange rows and columns.

    Args:
        a: rows of the matrix.

    Returns:
        The columns of `a`, as rows.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the matrix is empty or ragged.

    Guarantee:
        Exact for every type, rounding none. `PeelVerify.transpose`.

    Example:
        >>> transpose([[1, 2], [3, 4]])
        ((1, 3), (2, 4))
    """
    return _transposed(domain.matrix("transpose", "a", a))


@mirrors("PeelVerify.gram")
def gram(a: Matrix) -> Rows:
    """Give the inner products of all pairs of columns.

    Args:
        a: rows of the matrix A.

    Returns:
        The rows of A^T A.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the matrix is empty or ragged.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.gram`.

    Not for:
        Large arrays; exact entries double in length.

    Example:
        >>> gram([[1, 1], [0, 1]])
        ((1, 1), (1, 2))
    """
    return _gram(domain.matrix("gram", "a", a))


@mirrors("PeelVerify.frobSq", "PeelVerify.frobSq_transpose", "PeelVerify.frobSq_eq_sum_columns")
def frob_sq(a: Matrix) -> Number:
    """Give the squared Frobenius norm of a matrix.

    Args:
        a: rows of the matrix.

    Returns:
        The sum of the squares of all entries.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the matrix is empty or ragged.

    Guarantee:
        The same for the transposed matrix. `PeelVerify.frobSq_transpose`.

    Not for:
        A certified norm of a float array; see `peelverify.enclose`.

    Example:
        >>> frob_sq([[3, 0], [0, 4]])
        25
    """
    return _frob_sq(domain.matrix("frob_sq", "a", a))


@mirrors("PeelVerify.FrobLe", "PeelVerify.OpNorm2Le.of_frob", "PeelVerify.LipschitzLe.of_opNorm2Le")
def frob_le(a: Matrix, c: Number) -> bool:
    """Tell whether the Frobenius norm of a matrix is at most `c`; then its operator norm is as well.

    Args:
        a: rows of the matrix.
        c: the bound to check, >= 0.

    Returns:
        True if the sum of squares is at most c^2. Of balls: True only if certain.

    Raises:
        DomainError: if `c` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if the matrix is empty or ragged.

    Guarantee:
        True means that |A x| <= c |x| for every x. `PeelVerify.OpNorm2Le.of_frob`.

    Not for:
        A refutation: False says nothing about the operator norm, which may be smaller by sqrt(rank).

    Example:
        >>> frob_le([[3, 0], [0, 4]], 5), frob_le([[3, 0], [0, 4]], 4)
        (True, False)
    """
    rows = domain.matrix("frob_le", "a", a)
    domain.nonnegative("frob_le", "c", c)
    return bool(_frob_sq(rows) <= c * c)


@mirrors("PeelVerify.normSq_mulVec_le")
def mul_vec_sq_upper(a: Matrix, x: Vector) -> Number:
    """Bound the squared 2-norm of a matrix-vector product.

    Args:
        a: rows of the matrix.
        x: as many entries as the matrix has columns.

    Returns:
        frob_sq(a) times the squared 2-norm of `x`.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        At least the squared 2-norm of A x, with equality for rank one and aligned `x`.
        `PeelVerify.normSq_mulVec_le`.

    Not for:
        Matrices of high rank, where the Frobenius norm is far above the operator norm.

    Example:
        >>> mul_vec_sq_upper([[1, 1], [0, 1]], [1, 2])
        15
    """
    rows, entries = domain.matrix("mul_vec_sq_upper", "a", a), domain.numbers("mul_vec_sq_upper", "x", x)
    _columns_meet_rows("mul_vec_sq_upper", a=len(rows[0]), x=len(entries))
    return _frob_sq(rows) * vector.norm_sq(entries)


@mirrors("PeelVerify.frobSq_mul_le")
def frob_sq_mul_upper(a: Matrix, b: Matrix) -> Number:
    """Bound the squared Frobenius norm of a product of matrices.

    Args:
        a: rows of the left matrix.
        b: rows of the right matrix, as many as the left one has columns.

    Returns:
        frob_sq(a) frob_sq(b).

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        At least the squared Frobenius norm of A B. `PeelVerify.frobSq_mul_le`.

    Not for:
        Long products, where the slack of each factor multiplies.

    Example:
        >>> frob_sq_mul_upper([[1, 1]], [[2], [3]])
        26
    """
    left, right = domain.matrix("frob_sq_mul_upper", "a", a), domain.matrix("frob_sq_mul_upper", "b", b)
    _columns_meet_rows("frob_sq_mul_upper", a=len(left[0]), b=len(right))
    return _frob_sq(left) * _frob_sq(right)


@mirrors("PeelVerify.FrobLe.add")
def frob_add_upper(a: Number, b: Number) -> Number:
    """Bound the Frobenius norm of a sum of two matrices.

    Args:
        a: upper bound on the Frobenius norm of the first matrix, >= 0.
        b: upper bound on the Frobenius norm of the second matrix, >= 0.

    Returns:
        a + b.

    Raises:
        DomainError: if a bound is negative.
        NonFiniteError: if a bound is not finite.

    Guarantee:
        At least the Frobenius norm of the sum. `PeelVerify.FrobLe.add`.

    Not for:
        Squared norms, which do not add up.

    Example:
        >>> frob_add_upper(5, 2)
        7
    """
    a, b = _two_bounds("frob_add_upper", a, b)
    return a + b


@mirrors("PeelVerify.OpNorm2Le.add", "PeelVerify.lowRank_error", "PeelVerify.LipschitzLe.add")
def op_norm2_add_upper(a: Number, b: Number) -> Number:
    """Bound the operator norm of a sum of two matrices.

    Args:
        a: upper bound on the operator norm of the first matrix, >= 0.
        b: upper bound on the operator norm of the second matrix, >= 0.

    Returns:
        a + b.

    Raises:
        DomainError: if a bound is negative.
        NonFiniteError: if a bound is not finite.

    Guarantee:
        At least the operator norm of the sum; with `b` the error of truncating a left factor times the norm
        of the right one, at least the error of the low-rank product. `PeelVerify.OpNorm2Le.add`,
        `PeelVerify.lowRank_error`.

    Not for:
        The identity plus a matrix; see `residual_upper`, which needs one bound.

    Example:
        >>> op_norm2_add_upper(5, 2)
        7
    """
    a, b = _two_bounds("op_norm2_add_upper", a, b)
    return a + b


@mirrors("PeelVerify.OpNorm2Le.mul", "PeelVerify.OpNorm2Le.norm2Le_mulVec", "PeelVerify.LipschitzLe.comp")
def op_norm2_mul_upper(a: Number, b: Number) -> Number:
    """Bound the operator norm of a product of matrices, or the 2-norm of a matrix times a vector.

    Args:
        a: upper bound on the operator norm of the left matrix, >= 0.
        b: upper bound on the operator norm of the right matrix, or on the 2-norm of the vector, >= 0.

    Returns:
        a b.

    Raises:
        DomainError: if a bound is negative.
        NonFiniteError: if a bound is not finite.

    Guarantee:
        At least the norm of the product, and the gain of two layers in a row. `PeelVerify.OpNorm2Le.mul`,
        `PeelVerify.OpNorm2Le.norm2Le_mulVec`, `PeelVerify.LipschitzLe.comp`.

    Not for:
        Long products, where the slack of each factor multiplies.

    Example:
        >>> op_norm2_mul_upper(5, 2)
        10
    """
    a, b = _two_bounds("op_norm2_mul_upper", a, b)
    return a * b


@mirrors("PeelVerify.OpNorm2Le.one_add", "PeelVerify.LipschitzLe.residual")
def residual_upper(a: Number) -> Number:
    """Bound how much a residual block x + A x can lengthen a vector.

    Args:
        a: upper bound on the operator norm of A, >= 0.

    Returns:
        1 + a.

    Raises:
        DomainError: if the bound is negative.
        NonFiniteError: if the bound is not finite.

    Guarantee:
        At least |x + A x| / |x| for every x; for a branch f that moves outputs apart by at most `a` times the
        distance of its inputs, the gain of x + f(x). `PeelVerify.OpNorm2Le.one_add`,
        `PeelVerify.LipschitzLe.residual`.

    Not for:
        Showing contraction: the bound is never below 1.

    Example:
        >>> residual_upper(4)
        5
    """
    return 1 + domain.nonnegative("residual_upper", "a", a)


@mirrors("PeelVerify.opNorm2Le_of_schur")
def schur_upper_sq(a: Matrix) -> Number:
    """Bound the squared operator norm by row and column sums.

    Args:
        a: rows of the matrix.

    Returns:
        The largest row sum of absolute values times the largest column sum.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the matrix is empty or ragged.

    Guarantee:
        At least the squared operator norm, with equality for entries of one size and no sign.
        `PeelVerify.opNorm2Le_of_schur`.

    Not for:
        Matrices with signs that cancel; see `spectral_check`.

    Example:
        >>> schur_upper_sq([[1, 1], [0, 1]])
        4
    """
    rows = domain.matrix("schur_upper_sq", "a", a)
    row_sum = vector.norm_inf([vector.norm1(row) for row in rows])
    column_sum = vector.norm_inf([vector.norm1(column) for column in _transposed(rows)])
    return row_sum * column_sum


@mirrors(
    "PeelVerify.opNorm2Le_of_gramCheck",
    "PeelVerify.opNorm2Le_of_gram_chain",
    "PeelVerify.opNorm2Le_of_gram",
    "PeelVerify.gramCheck",
)
def gram_iteration_check(a: Matrix, bounds: Sequence[Number]) -> bool:
    """Check a chain of bounds for A, A^T A, (A^T A)^T (A^T A), ... that ends in a Frobenius norm.

    Args:
        a: rows of the matrix A.
        bounds: the bound claimed for A, for its Gram matrix, for the Gram matrix of that, and so on; all
            >= 0, at least one.

    Returns:
        True if each bound is at most the square of the one before it, and the Frobenius norm of the last
        Gram matrix is at most the last bound.

    Raises:
        DomainError: if a bound is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if the matrix is empty or ragged, or there is no bound.

    Guarantee:
        True means that bounds[0] is at least the operator norm of A. `PeelVerify.opNorm2Le_of_gramCheck`,
        `PeelVerify.opNorm2Le_of_gram_chain`.

    Not for:
        Many steps on exact entries, which double in length at each one: three steps come within n^(1/16).

    Source:
        [Delattre2023].

    Example:
        >>> from fractions import Fraction
        >>> gram_iteration_check([[1, 1], [0, 1]], [Fraction(17, 10), Fraction(14, 5)])
        True
    """
    iterate = domain.matrix("gram_iteration_check", "a", a)
    claimed = domain.nonnegatives("gram_iteration_check", "bounds", bounds)
    for before, after in pairwise(claimed):
        if not after <= before * before:
            return False
        iterate = _gram(iterate)
    return bool(_frob_sq(iterate) <= claimed[-1] * claimed[-1])


@mirrors("PeelVerify.DiagonallyDominant", "PeelVerify.dot_mulVec_nonneg_of_diagonallyDominant")
def diagonally_dominant(d: Matrix) -> bool:
    """Tell whether no row has more weight beside its diagonal entry than on it.

    Args:
        d: rows of a square matrix.

    Returns:
        True if the absolute values of each row sum to at most twice its diagonal entry.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if the matrix is empty, ragged or not square.

    Guarantee:
        For a symmetric matrix, True means that x^T D x >= 0 for every x.
        `PeelVerify.dot_mulVec_nonneg_of_diagonallyDominant`.

    Not for:
        Matrices that are not symmetric; a refutation: False does not make the form negative.

    Example:
        >>> diagonally_dominant([[2, -1], [-1, 1]]), diagonally_dominant([[-1]])
        (True, False)
    """
    rows = domain.matrix("diagonally_dominant", "d", d)
    if len(rows) != len(rows[0]):
        raise ShapeError(
            f"diagonally_dominant needs a square matrix, got {len(rows)}x{len(rows[0])}; pass a Gram matrix",
            shape=(len(rows), len(rows[0])),
        )
    return all(bool(vector.norm1(row) <= 2 * row[i]) for i, row in enumerate(rows))


def _certificate(function: str, a: Matrix, factor: Matrix, c: Number) -> tuple[Rows, Rows, Number]:
    rows = domain.matrix(function, "a", a)
    domain.nonnegative(function, "c", c)
    columns = len(rows[0])
    if isinstance(factor, Sequence) and len(factor) == 0:
        return rows, (), c
    left = domain.matrix(function, "factor", factor)
    domain.same_length(function, **{"columns of a": columns, "columns of factor": len(left[0])})
    return rows, left, c


@mirrors("PeelVerify.spectralResidual")
def spectral_residual(a: Matrix, factor: Matrix, c: Number) -> Rows:
    """Give what is left of c^2 I - A^T A once L^T L is taken away.

    Args:
        a: rows of the matrix A.
        factor: rows of L, any number of them, none included; as many columns as A.
        c: the claimed bound on the operator norm, >= 0.

    Returns:
        The rows of D = c^2 I - A^T A - L^T L.

    Raises:
        DomainError: if `c` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a matrix is ragged, `a` is empty, or the columns do not fit.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.spectralResidual`.

    Not for:
        Finding L; a rounded Cholesky factor of c^2 I - A^T A will do.

    Example:
        >>> spectral_residual([[3, 0], [0, 4]], [], 4)
        ((7, 0), (0, 0))
    """
    rows, left, c = _certificate("spectral_residual", a, factor, c)
    columns = len(rows[0])
    gram_a = _gram(rows)
    gram_l = _gram(left) if left else tuple((0,) * columns for _ in range(columns))
    return tuple(
        tuple((c * c if i == j else 0) - gram_a[i][j] - gram_l[i][j] for j in range(columns)) for i in range(columns)
    )


@mirrors(
    "PeelVerify.spectralCheck",
    "PeelVerify.opNorm2Le_of_spectralCheck",
    "PeelVerify.opNorm2Le_of_spectral_certificate",
)
def spectral_check(a: Matrix, factor: Matrix, c: Number) -> bool:
    """Check that L proves `c` to be a bound on the operator norm of A.

    Args:
        a: rows of the matrix A.
        factor: rows of L, any number of them, none included; as many columns as A.
        c: the claimed bound on the operator norm, >= 0.

    Returns:
        True if c^2 I - A^T A - L^T L is diagonally dominant.

    Raises:
        DomainError: if `c` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a matrix is ragged, `a` is empty, or the columns do not fit.

    Guarantee:
        True means that |A x| <= c |x| for every x. `PeelVerify.opNorm2Le_of_spectralCheck`.

    Not for:
        A refutation: False says that this L does not prove it.

    Example:
        >>> from fractions import Fraction
        >>> spectral_check([[1, 1], [0, 1]], [[1, Fraction(-1, 2)]], Fraction(17, 10))
        True
    """
    return diagonally_dominant(spectral_residual(*_certificate("spectral_check", a, factor, c)))
