"""Whole transformer blocks, for every input, from bounds on their weights. Lean: ``Proofs/Universal.lean``.

The numbers speak of exact arithmetic on the given weights. "Change" is the difference of the compressed model
and the original; norms of vectors are 2-norms, norms of matrices operator norms.
"""

from __future__ import annotations

from collections.abc import Iterable

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Number
from peelverify.errors import DomainError
from peelverify.registry import mirrors

__all__ = [
    "affine_error_upper",
    "affine_upper",
    "block_error_upper",
    "gated_mlp_error_upper",
    "heads_error_upper",
    "joint_sq_upper",
    "mixture_error_upper",
    "mlp_error_upper",
    "norm_shift_upper",
    "score_error_upper",
    "softmax_change_upper",
]


def _sizes(function: str, **named: Number) -> None:
    for name, value in named.items():
        domain.nonnegative(function, name, value)


@mirrors("PeelVerify.affine_norm_le")
def affine_upper(norm: Number, radius: Number, bias: Number) -> Number:
    """Bound the output of a matrix with a bias.

    Args:
        norm: upper bound on the operator norm of the matrix, >= 0.
        radius: upper bound on the length of the input, >= 0.
        bias: upper bound on the length of the bias, >= 0.

    Returns:
        norm radius + bias.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of A z + b for every input within the radius. `PeelVerify.affine_norm_le`.

    Not for:
        The executed layer, whose rounding comes on top.

    Example:
        >>> affine_upper(3, 2, 1)
        7
    """
    _sizes("affine_upper", norm=norm, radius=radius, bias=bias)
    return norm * radius + bias


@mirrors("PeelVerify.affine_error_le")
def affine_error_upper(change: Number, radius: Number, norm: Number, shift: Number, bias: Number) -> Number:
    """Bound the change of A z + b when matrix, input and bias change.

    Args:
        change: upper bound on the operator norm of the change of the matrix, >= 0.
        radius: upper bound on the length of the *new* input, >= 0.
        norm: upper bound on the operator norm of the *old* matrix, >= 0.
        shift: upper bound on the length of the change of the input, >= 0.
        bias: upper bound on the length of the change of the bias, >= 0.

    Returns:
        change radius + norm shift + bias.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change of the output. `PeelVerify.affine_error_le`.

    Not for:
        The old input's length in place of `radius`.

    Example:
        >>> affine_error_upper(1, 5, 3, 2, 4)
        15
    """
    _sizes("affine_error_upper", change=change, radius=radius, norm=norm, shift=shift, bias=bias)
    return change * radius + norm * shift + bias


@mirrors("PeelVerify.score_error_le")
def score_error_upper(key: Number, query_error: Number, query: Number, key_error: Number) -> Number:
    """Bound the change of an attention score when query and key change.

    Args:
        key: upper bound on the length of the *new* key, >= 0.
        query_error: upper bound on the length of the change of the query, >= 0.
        query: upper bound on the length of the *old* query, >= 0.
        key_error: upper bound on the length of the change of the key, >= 0.

    Returns:
        key query_error + query key_error.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least <q', k'> - <q, k>; the same number bounds the fall. Rotary embeddings keep lengths, so it holds
        behind them too. `PeelVerify.score_error_le`.

    Not for:
        Scores after a soft cap, which only shrinks changes, or after the scale 1/sqrt(d), which is a factor.

    Example:
        >>> score_error_upper(2, 3, 5, 1)
        11
    """
    _sizes("score_error_upper", key=key, query_error=query_error, query=query, key_error=key_error)
    return key * query_error + query * key_error


@mirrors("PeelVerify.softmax_change_le")
def softmax_change_upper(root: Number) -> Number:
    """Bound how far the weights of a softmax move when its scores change.

    Args:
        root: at least 1, and its square at least the exponential of the spread of the changes of the scores
            (largest change minus smallest).

    Returns:
        2 (root - 1) / (root + 1), which is 2 tanh(spread / 4) for the exact root.

    Raises:
        DomainError: if `root` is below 1.
        NonFiniteError: if it is not finite.

    Guarantee:
        At least the sum of the absolute changes of the weights. `PeelVerify.softmax_change_le`.

    Not for:
        Weights that were not normalised to a sum of one.

    Example:
        >>> softmax_change_upper(2)
        Fraction(2, 3)
    """
    domain.number("softmax_change_upper", "root", root)
    if not root >= 1:
        raise DomainError(
            f"softmax_change_upper needs root >= 1, got {root}; pass exp(spread / 2) with spread >= 0",
            argument="root",
            value=root,
        )
    return domain.divide(2 * (root - 1), root + 1)


@mirrors("PeelVerify.mixture_error_le")
def mixture_error_upper(shift: Number, total: Number, size: Number) -> Number:
    """Bound the change of a mixture of values when its weights and its values change.

    Args:
        shift: upper bound on the length of the change of every value, >= 0.
        total: upper bound on the sum of the absolute changes of the weights, >= 0; 2 always holds.
        size: upper bound on the length of every *old* value, >= 0.

    Returns:
        shift + total size.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change, for new weights that are not negative and sum to at most one.
        `PeelVerify.mixture_error_le`.

    Not for:
        Weights that sum to more than one, as a rounded softmax can.

    Example:
        >>> mixture_error_upper(1, 2, 3)
        7
    """
    _sizes("mixture_error_upper", shift=shift, total=total, size=size)
    return shift + total * size


@mirrors("PeelVerify.frobLe_of_heads")
def joint_sq_upper(sizes: Iterable[Number]) -> Number:
    """Bound the squared length of all heads' mixtures side by side.

    Args:
        sizes: upper bound on the length of each head's mixture, >= 0.

    Returns:
        The sum of the squares.

    Raises:
        DomainError: if a size is negative.
        NonFiniteError: if a size is not finite.
        ShapeError: if there is none.

    Guarantee:
        At least the squared length of the heads' mixtures written one after the other. `PeelVerify.frobLe_of_heads`.

    Not for:
        The length itself: take a root that is rounded up.

    Example:
        >>> joint_sq_upper([3, 4])
        25
    """
    return sum((size * size for size in domain.nonnegatives("joint_sq_upper", "sizes", sizes)), start=0)


@mirrors("PeelVerify.heads_error_le")
def heads_error_upper(change: Number, size: Number, norm: Number, shift: Number) -> Number:
    """Bound the change of the output of attention.

    Args:
        change: upper bound on the operator norm of the change of the output matrix, all heads together, >= 0.
        size: upper bound on the length of all *new* mixtures together, >= 0.
        norm: upper bound on the operator norm of the *old* output matrix, >= 0.
        shift: upper bound on the length of all changes of mixtures together, >= 0.

    Returns:
        change size + norm shift.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change of the output. `PeelVerify.heads_error_le`.

    Not for:
        A bias of the output matrix; add the length of its change.

    Example:
        >>> heads_error_upper(1, 5, 3, 2)
        11
    """
    _sizes("heads_error_upper", change=change, size=size, norm=norm, shift=shift)
    return change * size + norm * shift


@mirrors("PeelVerify.mlp_error_le")
def mlp_error_upper(
    down_change: Number, hidden: Number, down: Number, lipschitz: Number, hidden_change: Number, bias: Number
) -> Number:
    """Bound the change of a feed-forward layer without a gate.

    Args:
        down_change: upper bound on the operator norm of the change of the second matrix, >= 0.
        hidden: upper bound on the length of the *new* input of the activation, >= 0.
        down: upper bound on the operator norm of the *old* second matrix, >= 0.
        lipschitz: Lipschitz bound of the activation, >= 0.
        hidden_change: upper bound on the length of the change of the input of the activation, >= 0.
        bias: upper bound on the length of the change of the second bias, >= 0.

    Returns:
        down_change hidden + down lipschitz hidden_change + bias.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change of the output, for every activation with |act z| <= |z| and that
        Lipschitz bound. `PeelVerify.mlp_error_le`.

    Not for:
        An activation that exceeds its input.

    Example:
        >>> mlp_error_upper(1, 5, 3, 1, 2, 4)
        15
    """
    _sizes(
        "mlp_error_upper",
        down_change=down_change,
        hidden=hidden,
        down=down,
        lipschitz=lipschitz,
        hidden_change=hidden_change,
        bias=bias,
    )
    return down_change * hidden + down * (lipschitz * hidden_change) + bias


@mirrors("PeelVerify.gatedMlp_error_le")
def gated_mlp_error_upper(
    down_change: Number,
    down: Number,
    gate: Number,
    value: Number,
    new_value: Number,
    lipschitz: Number,
    gate_change: Number,
    value_change: Number,
    bias: Number,
) -> Number:
    """Bound the change of a feed-forward layer with a gate.

    Args:
        down_change: upper bound on the operator norm of the change of the last matrix, >= 0.
        down: upper bound on the operator norm of the *old* last matrix, >= 0.
        gate: upper bound on the absolute value of every *new* input of the activation, >= 0.
        value: upper bound on the absolute value of every *old* value, >= 0.
        new_value: upper bound on the length of the *new* value, >= 0.
        lipschitz: Lipschitz bound of the activation, >= 0.
        gate_change: upper bound on the length of the change of the input of the activation, >= 0.
        value_change: upper bound on the length of the change of the value, >= 0.
        bias: upper bound on the length of the change of the last bias, >= 0.

    Returns:
        down_change gate new_value + down (gate value_change + value lipschitz gate_change) + bias.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change of the output, for every activation with |act z| <= |z| and that
        Lipschitz bound. `PeelVerify.gatedMlp_error_le`.

    Not for:
        The old gate in place of `gate`.

    Example:
        >>> gated_mlp_error_upper(
        ...     down_change=1, down=2, gate=3, value=4, new_value=5, lipschitz=1, gate_change=6, value_change=7, bias=8
        ... )
        113
    """
    _sizes(
        "gated_mlp_error_upper",
        down_change=down_change,
        down=down,
        gate=gate,
        value=value,
        new_value=new_value,
        lipschitz=lipschitz,
        gate_change=gate_change,
        value_change=value_change,
        bias=bias,
    )
    product_change = gate * value_change + value * (lipschitz * gate_change)
    return down_change * (gate * new_value) + down * product_change + bias


@mirrors("PeelVerify.rmsNorm_lipschitz")
def norm_shift_upper(error: Number, least: Number) -> Number:
    """Bound the change of a normalised vector, scales left out.

    Args:
        error: upper bound on the length of the change of the input, >= 0.
        least: lower bound on both divisors (the root of mean square plus epsilon), > 0; the root of the norm's
            epsilon always is one.

    Returns:
        error / least.

    Raises:
        DomainError: if `error` is negative or `least` is not positive.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change behind an RMS norm, and behind a layer norm, since subtracting the mean
        moves no two vectors apart. `PeelVerify.rmsNorm_lipschitz`.

    Not for:
        An input of which one divisor is smaller than `least`.

    Example:
        >>> norm_shift_upper(3, 2)
        Fraction(3, 2)
    """
    domain.nonnegative("norm_shift_upper", "error", error)
    domain.positive("norm_shift_upper", "least", least)
    return domain.divide(error, least)


@mirrors("PeelVerify.sequential_block_error_le", "PeelVerify.parallel_block_error_le")
def block_error_upper(attention: Number, mlp: Number) -> Number:
    """Bound the change of the output of a whole block, for every input.

    Args:
        attention: upper bound on the length of the change of the attention output at a position, >= 0.
        mlp: upper bound on the length of the change of the feed-forward output there, >= 0; in a sequential block
            its input has moved with the attention output.

    Returns:
        attention + mlp.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the length of the change of the block's output at the position. `PeelVerify.sequential_block_error_le`.

    Not for:
        Two blocks in a row, whose inputs differ.

    Example:
        >>> block_error_upper(2, 3)
        5
    """
    _sizes("block_error_upper", attention=attention, mlp=mlp)
    return attention + mlp
