"""Lengths after norms, attention and gates, for every input. Lean: ``Proofs/Activations.lean``.

These are statements about real arithmetic on the weights as given, not about an execution in floating point.
"""

from __future__ import annotations

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Matrix, Number, Vector
from peelverify.registry import mirrors

__all__ = [
    "every_input_upper",
    "fold_scale",
    "gated_error_upper",
    "gated_upper",
    "layer_norm_radius",
    "mixture",
    "mixture_upper",
    "norm_radius_sq",
]


@mirrors("PeelVerify.mulVec_foldScale", "PeelVerify.foldScale")
def fold_scale(w: Matrix, scale: Vector) -> tuple[tuple[Number, ...], ...]:
    """Fold the scales of a norm into the matrix behind it.

    Args:
        w: rows of the matrix.
        scale: one scale for each column.

    Returns:
        The rows with entry j multiplied by scale j.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or there is not one scale a column.

    Guarantee:
        Applied to z it gives what `w` gives for the scaled z. `PeelVerify.mulVec_foldScale`.

    Not for:
        Norms that scale by 1 + gamma, unless 1 + gamma is passed.

    Example:
        >>> fold_scale([[1, 2]], [3, 5])
        ((3, 10),)
    """
    rows, scales = domain.matrix("fold_scale", "w", w), domain.numbers("fold_scale", "scale", scale)
    domain.same_length("fold_scale", **{"columns of w": len(rows[0]), "scale": len(scales)})
    return tuple(tuple(entry * factor for entry, factor in zip(row, scales, strict=True)) for row in rows)


@mirrors("PeelVerify.mixture")
def mixture(weight: Vector, value: Matrix) -> tuple[Number, ...]:
    """Mix values by attention weights.

    Args:
        weight: one weight for each position.
        value: one row for each position.

    Returns:
        The sum over positions of weight times row.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if an argument is empty or ragged, or there is not one weight a row.

    Guarantee:
        Exact for `Fraction` entries. `PeelVerify.mixture`.

    Not for:
        Large arrays.

    Example:
        >>> mixture([1, 2], [[3, 4], [5, 6]])
        (13, 16)
    """
    weights, rows = domain.numbers("mixture", "weight", weight), domain.matrix("mixture", "value", value)
    domain.same_length("mixture", **{"weight": len(weights), "rows of value": len(rows)})
    return tuple(
        sum(part * entry for part, entry in zip(weights, column, strict=True)) for column in zip(*rows, strict=True)
    )


@mirrors("PeelVerify.rmsNorm_radius_sq", "PeelVerify.rmsNorm_radius")
def norm_radius_sq(largest_scale: Number, dimension: int) -> Number:
    """Bound the squared length of a vector after an RMS norm.

    Args:
        largest_scale: largest absolute value of a scale of the norm, >= 0; 1 if the scales are folded into the
            matrix behind it.
        dimension: length of the vector, >= 1.

    Returns:
        largest_scale^2 dimension.

    Raises:
        DomainError: if `largest_scale` is negative, or `dimension` is not a whole number >= 1.
        NonFiniteError: if `largest_scale` is not finite.

    Guarantee:
        At least the squared 2-norm of the normalised vector, for every input, in real arithmetic; an epsilon
        under the root only makes it shorter. `PeelVerify.rmsNorm_radius_sq`, `PeelVerify.rmsNorm_radius`.

    Not for:
        The executed norm, whose rounding can exceed it by a few units in the last place.

    Example:
        >>> norm_radius_sq(2, 3)
        12
    """
    domain.nonnegative("norm_radius_sq", "largest_scale", largest_scale)
    domain.count("norm_radius_sq", "dimension", dimension, least=1)
    return largest_scale * largest_scale * dimension


@mirrors("PeelVerify.layerNorm_radius")
def layer_norm_radius(largest_scale: Number, root: Number, bias: Number) -> Number:
    """Bound the length of a vector after a layer norm.

    Args:
        largest_scale: largest absolute value of a scale of the norm, >= 0.
        root: a number whose square is at least the dimension, >= 0.
        bias: upper bound on the 2-norm of the norm's shift, >= 0.

    Returns:
        largest_scale root + bias.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of the normalised vector, for every input, in real arithmetic.
        `PeelVerify.layerNorm_radius`.

    Not for:
        The executed norm, whose rounding can exceed it by a few units in the last place.

    Example:
        >>> layer_norm_radius(2, 3, 1)
        7
    """
    for name, value in (("largest_scale", largest_scale), ("root", root), ("bias", bias)):
        domain.nonnegative("layer_norm_radius", name, value)
    return largest_scale * root + bias


@mirrors("PeelVerify.every_input_error")
def every_input_upper(c: Number, radius: Number) -> Number:
    """Bound the change of a layer behind a norm, for every input of the norm.

    Args:
        c: upper bound on the operator norm of the difference of the two folded matrices, >= 0.
        radius: upper bound on the length behind the norm and before its scales, >= 0; a number whose square is
            at least the dimension will do.

    Returns:
        c radius.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of the change of the output, whatever the input. `PeelVerify.every_input_error`.

    Not for:
        Layers that do not follow a norm; see `mixture_upper` and `gated_upper`.

    Example:
        >>> every_input_upper(2, 3)
        6
    """
    domain.nonnegative("every_input_upper", "c", c)
    return c * domain.nonnegative("every_input_upper", "radius", radius)


@mirrors(
    "PeelVerify.attention_norm_le",
    "PeelVerify.attention_error_le",
    "PeelVerify.attention_weight_error_le",
)
def mixture_upper(total: Number, c: Number) -> Number:
    """Bound the length, or the change, of an attention output.

    Args:
        total: upper bound on the sum of the attention weights, >= 0: 1 in exact arithmetic. For other weights,
            the sum of their absolute changes.
        c: upper bound on the 2-norm of each value, or of each change of a value, >= 0.

    Returns:
        total c.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the mixture, its change with the values, or its change with the weights.
        `PeelVerify.attention_norm_le`, `PeelVerify.attention_error_le`,
        `PeelVerify.attention_weight_error_le`.

    Not for:
        A sum of computed weights above `total`: pass the sum that was computed.

    Example:
        >>> mixture_upper(1, 5)
        5
    """
    domain.nonnegative("mixture_upper", "total", total)
    return total * domain.nonnegative("mixture_upper", "c", c)


@mirrors("PeelVerify.gated_norm_le")
def gated_upper(m: Number, c: Number) -> Number:
    """Bound the length of a gated product.

    Args:
        m: upper bound on the absolute value of every gate input, >= 0.
        c: upper bound on the 2-norm of the value, >= 0.

    Returns:
        m c.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of act(gate) value, for every activation with |act z| <= |z|, which SiLU, GELU and
        ReLU satisfy. `PeelVerify.gated_norm_le`.

    Not for:
        Activations such as the sigmoid, which is not small at small inputs.

    Example:
        >>> gated_upper(2, 3)
        6
    """
    domain.nonnegative("gated_upper", "m", m)
    return m * domain.nonnegative("gated_upper", "c", c)


@mirrors("PeelVerify.gated_error_le")
def gated_error_upper(m: Number, value_error: Number, largest: Number, lipschitz: Number, gate_error: Number) -> Number:
    """Bound the change of a gated product when its gate and its value change.

    Args:
        m: upper bound on the absolute value of every changed gate input, >= 0.
        value_error: upper bound on the 2-norm of the change of the value, >= 0.
        largest: upper bound on the absolute value of every original value, >= 0.
        lipschitz: Lipschitz bound of the activation, >= 0.
        gate_error: upper bound on the 2-norm of the change of the gate inputs, >= 0.

    Returns:
        m value_error + largest lipschitz gate_error.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of the change of act(gate) value, for every activation with |act z| <= |z| and that
        Lipschitz bound. `PeelVerify.gated_error_le`.

    Not for:
        The bound on the original gate in place of `m`.

    Example:
        >>> gated_error_upper(2, 3, 5, 1, 7)
        41
    """
    named = (
        ("m", m),
        ("value_error", value_error),
        ("largest", largest),
        ("lipschitz", lipschitz),
        ("gate_error", gate_error),
    )
    for name, value in named:
        domain.nonnegative("gated_error_upper", name, value)
    return m * value_error + largest * (lipschitz * gate_error)
