"""Fits of one layer, lower bounds on its loss, low-bit patterns, witnesses. Lean: ``Proofs/Peeling.lean``.

A layer problem has one output: `z` holds one row of features for each sample, `t` the target of each sample,
`w` one weight for each feature. Several outputs are several problems whose losses add up. Losses are squared
2-norms over the samples. Longer than 500 lines because every function states its domain, its guarantee and
its limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from peelverify.bounds import _domain as domain
from peelverify.bounds import vector
from peelverify.bounds._domain import Matrix, Number, Vector
from peelverify.errors import DomainError
from peelverify.registry import mirrors

__all__ = [
    "approximate_optimum_lower",
    "best_scale",
    "bounded_dual_lower_sq",
    "dual_lower_bound_sq",
    "flip_change",
    "normal_equation_residual",
    "pythagorean_gap",
    "relu",
    "residual",
    "ridge_loss",
    "sign_of",
    "suite_min",
    "ternary_of",
    "witness_gap",
]

Entries = tuple[Number, ...]


def _layer(function: str, z: Matrix, w: Vector, name: str = "w") -> tuple[tuple[Entries, ...], Entries]:
    rows, weights = domain.matrix(function, "z", z), domain.numbers(function, name, w)
    domain.same_length(function, **{"columns of z": len(rows[0]), name: len(weights)})
    return rows, weights


def _problem(function: str, z: Matrix, t: Vector, w: Vector) -> tuple[tuple[Entries, ...], Entries, Entries]:
    rows, weights = _layer(function, z, w)
    targets = domain.numbers(function, "t", t)
    domain.same_length(function, **{"rows of z": len(rows), "t": len(targets)})
    return rows, targets, weights


def _left(rows: Sequence[Entries], targets: Entries, weights: Entries) -> Entries:
    return tuple(target - vector.dot(row, weights) for row, target in zip(rows, targets, strict=True))


def _pair(function: str, **pair: Vector) -> tuple[Entries, Entries]:
    (left, x), (right, y) = pair.items()
    x, y = domain.numbers(function, left, x), domain.numbers(function, right, y)
    domain.same_length(function, **{left: len(x), right: len(y)})
    return x, y


@mirrors("PeelVerify.residual")
def residual(z: Matrix, t: Vector, w: Vector) -> Entries:
    """Give what a linear layer leaves of its target.

    Args:
        z: features, one row for each sample.
        t: target of each sample.
        w: weight of each feature.

    Returns:
        t - Z w, one entry for each sample.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.residual`.

    Not for:
        Large arrays; see `peelverify.peel`.

    Example:
        >>> residual([[1, 0], [1, 1]], [2, 5], [1, 3])
        (1, 1)
    """
    return _left(*_problem("residual", z, t, w))


@mirrors("PeelVerify.normal_equations_optimal", "PeelVerify.normalEquationResidual")
def normal_equation_residual(z: Matrix, t: Vector, w: Vector) -> Entries:
    """Give what is left of the normal equations of a least-squares fit.

    Args:
        z: features, one row for each sample.
        t: target of each sample.
        w: weight of each feature.

    Returns:
        Z^T (t - Z w), one entry for each feature.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        If every entry is zero, no weights have a smaller loss. `PeelVerify.normal_equations_optimal`.

    Not for:
        Small but nonzero entries; see `approximate_optimum_lower`.

    Example:
        >>> normal_equation_residual([[1, 0], [1, 1]], [2, 5], [2, 3])
        (0, 0)
    """
    rows, targets, weights = _problem("normal_equation_residual", z, t, w)
    left = _left(rows, targets, weights)
    return tuple(vector.dot(column, left) for column in zip(*rows, strict=True))


@mirrors("PeelVerify.least_squares_gap", "PeelVerify.pythagoreanGap")
def pythagorean_gap(z: Matrix, w: Vector, w0: Vector) -> Number:
    """Give the excess of a loss over the least-squares optimum.

    Args:
        z: features, one row for each sample.
        w: the weights whose loss is in question.
        w0: a least-squares solution for the same features.

    Returns:
        The squared 2-norm of Z (w - w0).

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        Exactly the loss of `w` minus the loss of `w0`, if `w0` solves the normal equations.
        `PeelVerify.least_squares_gap`.

    Not for:
        A `w0` that solves them only nearly.

    Example:
        >>> pythagorean_gap([[1, 0], [1, 1]], [1, 3], [2, 3])
        2
    """
    rows, weights = _layer("pythagorean_gap", z, w)
    _, optimal = _layer("pythagorean_gap", rows, w0, "w0")
    step = tuple(a - b for a, b in zip(weights, optimal, strict=True))
    return vector.norm_sq([vector.dot(row, step) for row in rows])


@mirrors("PeelVerify.ridge_gap", "PeelVerify.ridge_residual_gap_le", "PeelVerify.ridgeLoss")
def ridge_loss(z: Matrix, t: Vector, lam: Number, w: Vector) -> Number:
    """Give the loss of a fit plus a penalty on its weights.

    Args:
        z: features, one row for each sample.
        t: target of each sample.
        lam: weight of the penalty, >= 0.
        w: weight of each feature.

    Returns:
        |t - Z w|^2 + lam |w|^2.

    Raises:
        DomainError: if `lam` is negative.
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or the sizes do not fit.

    Guarantee:
        If `normal_equation_residual` of w0 is lam w0, the loss of any w exceeds that of w0 by exactly
        |Z (w - w0)|^2 + lam |w - w0|^2, and the plain loss of w0 is within lam (|w|^2 - |w0|^2) of that of w.
        `PeelVerify.ridge_gap`, `PeelVerify.ridge_residual_gap_le`.

    Not for:
        A silent repair of a singular fit: the penalty changes the problem.

    Example:
        >>> ridge_loss([[1, 0], [1, 1]], [2, 5], 2, [1, 3])
        22
    """
    rows, targets, weights = _problem("ridge_loss", z, t, w)
    domain.nonnegative("ridge_loss", "lam", lam)
    return vector.norm_sq(_left(rows, targets, weights)) + lam * vector.norm_sq(weights)


@mirrors("PeelVerify.weak_duality", "PeelVerify.dualLowerBoundSq_le", "PeelVerify.dualLowerBoundSq")
def dual_lower_bound_sq(y: Vector, t: Vector) -> Number:
    """Bound the loss of every weight vector from below by a dual vector.

    Args:
        y: a vector that is orthogonal to every feature, not zero.
        t: target of each sample, as long as `y`.

    Returns:
        <y, t>^2 / |y|^2.

    Raises:
        DomainError: if `y` is zero.
        NonFiniteError: if an entry is not finite.
        ShapeError: if there is no sample, or the lengths differ.

    Guarantee:
        At most |t - Z w|^2 for every w, if Z^T y = 0 exactly; equal to the optimum for y = t - Z w0 at a
        least-squares solution w0. `PeelVerify.weak_duality`, `PeelVerify.dualLowerBoundSq_le`.

    Not for:
        A `y` that is orthogonal only nearly: then no bound holds for every w; see `bounded_dual_lower_sq`.

    Example:
        >>> dual_lower_bound_sq([1, -1], [5, 2])
        Fraction(9, 2)
    """
    y, t = _pair("dual_lower_bound_sq", y=y, t=t)
    inner = vector.dot(y, t)
    return domain.divide(inner * inner, domain.positive("dual_lower_bound_sq", "|y|^2", vector.norm_sq(y)))


@mirrors("PeelVerify.weak_duality_of_bounded")
def bounded_dual_lower_sq(y: Vector, t: Vector, radius: Number, eps: Number) -> Number:
    """Bound the loss of every bounded weight vector from below by a dual vector that is nearly orthogonal.

    Args:
        y: a vector, not zero.
        t: target of each sample, as long as `y`.
        radius: upper bound on the 2-norm of the weights, >= 0.
        eps: upper bound on the 2-norm of Z^T y, >= 0.

    Returns:
        (<y, t> - eps radius)^2 / |y|^2.

    Raises:
        DomainError: if `y` is zero, an input is negative, or <y, t> is below eps radius, where `y` says
            nothing.
        NonFiniteError: if an entry is not finite.
        ShapeError: if there is no sample, or the lengths differ.

    Guarantee:
        At most |t - Z w|^2 for every w within the radius. `PeelVerify.weak_duality_of_bounded`.

    Not for:
        Weights beyond the radius.

    Example:
        >>> bounded_dual_lower_sq([1, -1], [5, 2], 2, 1)
        Fraction(1, 2)
    """
    y, t = _pair("bounded_dual_lower_sq", y=y, t=t)
    domain.nonnegative("bounded_dual_lower_sq", "radius", radius)
    domain.nonnegative("bounded_dual_lower_sq", "eps", eps)
    square = domain.positive("bounded_dual_lower_sq", "|y|^2", vector.norm_sq(y))
    certain = vector.dot(y, t) - eps * radius
    if not certain >= 0:
        raise DomainError(
            f"bounded_dual_lower_sq needs <y, t> >= eps radius, got a difference of {certain}; "
            "sharpen y or use the bound 0",
            argument="y",
            value=certain,
        )
    return domain.divide(certain * certain, square)


@mirrors(
    "PeelVerify.weak_duality_of_strong_convexity",
    "PeelVerify.weak_duality_ridge",
    "PeelVerify.layer_weak_duality_of_strong_convexity",
)
def approximate_optimum_lower(loss: Number, gradient_sq: Number, mu: Number) -> Number:
    """Bound the loss of every weight vector from below by a fit that is nearly optimal.

    Args:
        loss: |t - Z w0|^2 of the fit w0, or its `ridge_loss`, >= 0.
        gradient_sq: squared 2-norm of Z^T (t - Z w0), for a ridge loss less lam w0; >= 0.
        mu: a number with mu |v|^2 <= |Z v|^2 for every v, or the lam of the ridge loss; > 0.

    Returns:
        loss - gradient_sq / mu; a negative answer says nothing.

    Raises:
        DomainError: if `mu` is not positive or another input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At most the loss of every weight vector. `PeelVerify.weak_duality_of_strong_convexity`,
        `PeelVerify.weak_duality_ridge`.

    Not for:
        Singular features, for which no positive `mu` exists; see `bounded_dual_lower_sq`.

    Example:
        >>> approximate_optimum_lower(10, 6, 2)
        Fraction(7, 1)
    """
    domain.nonnegative("approximate_optimum_lower", "loss", loss)
    domain.nonnegative("approximate_optimum_lower", "gradient_sq", gradient_sq)
    return loss - domain.divide(gradient_sq, domain.positive("approximate_optimum_lower", "mu", mu))


@mirrors("PeelVerify.best_scale_optimal", "PeelVerify.best_scale_gap", "PeelVerify.bestScale")
def best_scale(pattern: Vector, target: Vector) -> Number:
    """Give the best scale of a fixed pattern.

    Args:
        pattern: what is to be scaled, for instance the outputs of a layer with weights of +1 and -1.
        target: what it should be near to, as long as `pattern`.

    Returns:
        <pattern, target> / |pattern|^2, and 0 for the zero pattern.

    Raises:
        DomainError: if a ball leaves open whether the pattern is zero.
        NonFiniteError: if an entry is not finite.
        ShapeError: if there is no entry, or the lengths differ.

    Guarantee:
        No other scale leaves a smaller squared error, and one that is off by d leaves d^2 |pattern|^2 more.
        `PeelVerify.best_scale_optimal`, `PeelVerify.best_scale_gap`.

    Not for:
        Choosing the pattern; for each scale another pattern may be best.

    Source:
        The scale of the binary fit of [Eamaz2026], which leaves open how it is chosen.

    Example:
        >>> best_scale([1, -1], [5, 2])
        Fraction(3, 2)
    """
    pattern, target = _pair("best_scale", pattern=pattern, target=target)
    square, inner = vector.norm_sq(pattern), vector.dot(pattern, target)
    if square == 0:
        return inner
    return domain.divide(inner, domain.positive("best_scale", "|pattern|^2", square))


@mirrors("PeelVerify.flip_identity", "PeelVerify.flipChange")
def flip_change(scale: Number, sign: Number, inner: Number, feature_sq: Number) -> Number:
    """Give the change of the squared error when one sign of a binary fit flips.

    Args:
        scale: the common scale of the signs.
        sign: the sign that flips, 1 or -1.
        inner: inner product of its feature with the residual before the flip.
        feature_sq: squared 2-norm of its feature, >= 0.

    Returns:
        4 scale sign inner + 4 scale^2 feature_sq; the flip pays if this is negative.

    Raises:
        DomainError: if `sign` is not 1 or -1, or `feature_sq` is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Exactly the squared error after the flip minus the one before it, at the same scale.
        `PeelVerify.flip_identity`.

    Not for:
        Flips with a new scale, or of two signs at once.

    Example:
        >>> flip_change(2, 1, -5, 1)
        -24
    """
    domain.number("flip_change", "scale", scale)
    domain.number("flip_change", "sign", sign)
    if not sign * sign == 1:
        raise DomainError(
            f"flip_change needs sign 1 or -1, got {sign}; a zero cannot flip", argument="sign", value=sign
        )
    domain.number("flip_change", "inner", inner)
    domain.nonnegative("flip_change", "feature_sq", feature_sq)
    return 4 * scale * sign * inner + 4 * (scale * scale) * feature_sq


@mirrors("PeelVerify.sign_optimal_of_orthogonal", "PeelVerify.signOf")
def sign_of(a: Number) -> int:
    """Give the sign of a number, 1 for zero.

    Args:
        a: a number, for instance the inner product of a feature with the target.

    Returns:
        1 if `a` >= 0, else -1.

    Raises:
        DomainError: if a ball leaves the sign open.
        NonFiniteError: if `a` is not finite.

    Guarantee:
        With orthogonal features and a common scale >= 0 these signs leave the smallest squared error.
        `PeelVerify.sign_optimal_of_orthogonal`.

    Not for:
        Correlated features, where flips improve on it; see `flip_change`.

    Source:
        The binary fit of [Eamaz2026].

    Example:
        >>> sign_of(-3), sign_of(0)
        (-1, 1)
    """
    domain.number("sign_of", "a", a)
    if a >= 0:
        return 1
    if a < 0:
        return -1
    raise DomainError(f"sign_of needs a decided sign, got {a}; raise the precision", argument="a", value=a)


@mirrors("PeelVerify.ternary_optimal_of_orthogonal", "PeelVerify.ternaryOf")
def ternary_of(scale: Number, feature_sq: Number, inner: Number) -> int:
    """Give the best of -1, 0 and 1 for one weight at a fixed scale.

    Args:
        scale: the common scale, >= 0.
        feature_sq: squared 2-norm of the weight's feature, >= 0.
        inner: inner product of the feature with the target.

    Returns:
        0 if 2 |inner| <= scale feature_sq, else the sign of `inner`.

    Raises:
        DomainError: if an input is negative, or a ball leaves the choice open.
        NonFiniteError: if an input is not finite.

    Guarantee:
        With orthogonal features these values leave the smallest squared error at that scale.
        `PeelVerify.ternary_optimal_of_orthogonal`.

    Not for:
        Choosing the scale: it is optimal only for the one given.

    Example:
        >>> ternary_of(2, 1, 1), ternary_of(2, 1, -3)
        (0, -1)
    """
    domain.nonnegative("ternary_of", "scale", scale)
    domain.nonnegative("ternary_of", "feature_sq", feature_sq)
    domain.number("ternary_of", "inner", inner)
    doubled, threshold = 2 * abs(inner), scale * feature_sq
    if doubled <= threshold:
        return 0
    if doubled > threshold:
        return sign_of(inner)
    raise DomainError(
        f"ternary_of needs a decided comparison, got {doubled} and {threshold}; raise the precision",
        argument="inner",
        value=inner,
    )


@mirrors("PeelVerify.relu_closer_of_nonneg", "PeelVerify.relu")
def relu(x: Vector) -> Entries:
    """Replace negative entries by zero.

    Args:
        x: a vector.

    Returns:
        The larger of 0 and each entry.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if there is no entry.

    Guarantee:
        Never further from a target without negative entries than `x` is. `PeelVerify.relu_closer_of_nonneg`.

    Not for:
        Signed targets, from which it can move away.

    Source:
        The step between the fits of [Yeganegi2024].

    Example:
        >>> relu([-1, 2])
        (0, 2)
    """
    return tuple(domain.larger(0 * entry, entry) for entry in domain.numbers("relu", "x", x))


@mirrors("PeelVerify.witness_gap", "PeelVerify.witnessGap")
def witness_gap(loss: Number, witness: Number) -> Number:
    """Give how far a loss is from optimal at least, by a value that was achieved.

    Args:
        loss: the loss in question, >= 0.
        witness: the loss of a complete network of the same class, >= 0.

    Returns:
        loss - witness; what is not positive refutes nothing.

    Raises:
        DomainError: if a loss is negative.
        NonFiniteError: if a loss is not finite.

    Guarantee:
        At most loss - m for every lower bound m of the class. `PeelVerify.witness_gap`.

    Not for:
        Witnesses outside the class, such as a wider network.

    Source:
        What a YES bound of [Yeganegi2024] proves.

    Example:
        >>> witness_gap(7, 5)
        2
    """
    domain.nonnegative("witness_gap", "loss", loss)
    return loss - domain.nonnegative("witness_gap", "witness", witness)


@mirrors("PeelVerify.suiteMin_mono", "PeelVerify.suiteMin_le", "PeelVerify.suiteMin_mem", "PeelVerify.suiteMin")
def suite_min(values: Sequence[Number]) -> Number:
    """Give the smallest value of a suite of witnesses.

    Args:
        values: the losses of the witnesses, at least one.

    Returns:
        The smallest of them.

    Raises:
        NonFiniteError: if a value is not finite.
        ShapeError: if the suite is empty.

    Guarantee:
        A value of the suite, at most each of them, and never larger for a larger suite.
        `PeelVerify.suiteMin_mem`, `PeelVerify.suiteMin_le`, `PeelVerify.suiteMin_mono`.

    Not for:
        A lower bound on the class: it is the best that was achieved.

    Source:
        The minimum over staircases of [Yeganegi2024].

    Example:
        >>> suite_min([3, 1, 2])
        1
    """
    smallest, *rest = domain.numbers("suite_min", "values", values)
    for value in rest:
        smallest = domain.smaller(smallest, value)
    return smallest
