"""What pruning, rounding and low-rank factors cost. Lean: ``Proofs/Compression.lean``.

A mask has one truth value for each entry, True where the entry is kept. Longer than 500 lines because every
function states its domain, its guarantee and its limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Number, Vector
from peelverify.errors import DomainError
from peelverify.registry import mirrors

__all__ = [
    "clip",
    "dropped_energy",
    "dropped_score",
    "layer_error_upper",
    "magnitude_mask",
    "nearer_end",
    "product_error_upper",
    "pruned",
    "quantize_frob_sq_upper",
    "round_nearest",
    "score_mask",
    "wanda_error_upper",
    "wanda_score",
    "weight_error_upper",
]


@mirrors("PeelVerify.pruned")
def pruned(w: Vector, keep: Sequence[bool]) -> tuple[Number, ...]:
    """Set the entries outside a mask to zero.

    Args:
        w: the weights.
        keep: True where a weight is kept; as long as `w`.

    Returns:
        The weights, with 0 for every dropped one.

    Raises:
        DomainError: if the mask has other values than True and False.
        NonFiniteError: if a weight is not finite.
        ShapeError: if there is no weight, or the lengths differ.

    Guarantee:
        Exact for every type, rounding none. `PeelVerify.pruned`.

    Example:
        >>> pruned([3, -1, 2], [True, False, True])
        (3, 0, 2)
    """
    entries = domain.numbers("pruned", "w", w)
    mask = domain.mask("pruned", "keep", keep, length=len(entries))
    return tuple(entry if kept else 0 for entry, kept in zip(entries, mask, strict=True))


@mirrors("PeelVerify.droppedScore")
def dropped_score(score: Vector, keep: Sequence[bool]) -> Number:
    """Add up the scores of the entries that a mask drops.

    Args:
        score: one number for each entry.
        keep: True where an entry is kept; as long as `score`.

    Returns:
        The sum of the scores of the dropped entries.

    Raises:
        DomainError: if the mask has other values than True and False.
        NonFiniteError: if a score is not finite.
        ShapeError: if there is no score, or the lengths differ.

    Guarantee:
        Exact for `Fraction` scores. `PeelVerify.droppedScore`.

    Example:
        >>> dropped_score([9, 1, 4], [True, False, True])
        1
    """
    entries = domain.numbers("dropped_score", "score", score)
    mask = domain.mask("dropped_score", "keep", keep, length=len(entries))
    return sum(entry for entry, kept in zip(entries, mask, strict=True) if not kept)


@mirrors("PeelVerify.prune_error_sq", "PeelVerify.prune_error_frobSq", "PeelVerify.droppedEnergy")
def dropped_energy(w: Vector, keep: Sequence[bool]) -> Number:
    """Give the squared error of pruning: the sum of the squares of the dropped weights.

    Args:
        w: the weights of one row.
        keep: True where a weight is kept; as long as `w`.

    Returns:
        The squared 2-norm of w - pruned(w, keep). For a matrix the rows' errors add up to the squared
        Frobenius norm.

    Raises:
        DomainError: if the mask has other values than True and False.
        NonFiniteError: if a weight is not finite.
        ShapeError: if there is no weight, or the lengths differ.

    Guarantee:
        An equality. `PeelVerify.prune_error_sq`, `PeelVerify.prune_error_frobSq`.

    Not for:
        The error of the layer's output; see `wanda_error_upper`.

    Example:
        >>> dropped_energy([3, -1, 2], [True, False, False])
        5
    """
    entries = domain.numbers("dropped_energy", "w", w)
    mask = domain.mask("dropped_energy", "keep", keep, length=len(entries))
    return sum(entry * entry for entry, kept in zip(entries, mask, strict=True) if not kept)


def _largest(function: str, score: Sequence[Number], kept: int) -> tuple[bool, ...]:
    domain.count(function, "kept", kept)
    if kept > len(score):
        raise DomainError(
            f"{function} needs kept <= {len(score)}, got {kept}; there are no more entries",
            argument="kept",
            value=kept,
        )
    order = sorted(range(len(score)), key=score.__getitem__, reverse=True)
    chosen = set(order[:kept])
    if kept:
        last = order[kept - 1]
        for i, value in enumerate(score):
            if i != last and not (value >= score[last] if i in chosen else value <= score[last]):
                raise DomainError(
                    f"{function} needs scores with an order, got overlapping balls; raise the precision",
                    argument="score",
                    value=value,
                )
    return tuple(i in chosen for i in range(len(score)))


@mirrors(
    "PeelVerify.droppedScore_le_of_kept_ge",
    "PeelVerify.scoreMask_kept_ge_dropped",
    "PeelVerify.keptCount_scoreMask",
    "PeelVerify.exists_mask",
    "PeelVerify.scoreMask",
)
def score_mask(score: Vector, kept: int) -> tuple[bool, ...]:
    """Keep the entries with the largest scores.

    Args:
        score: one number for each entry.
        kept: how many entries to keep, from 0 to all of them.

    Returns:
        A mask with `kept` True values; among equal scores the first entries are kept.

    Raises:
        DomainError: if `kept` is out of range, or the scores are balls that overlap.
        NonFiniteError: if a score is not finite.
        ShapeError: if there is no score.

    Guarantee:
        No mask that keeps at most as many entries drops a smaller sum of scores, if no score is negative.
        `PeelVerify.droppedScore_le_of_kept_ge`, `PeelVerify.scoreMask_kept_ge_dropped`,
        `PeelVerify.keptCount_scoreMask`.

    Not for:
        Scores of which some are negative, where keeping fewer may drop less.

    Example:
        >>> score_mask([1, 4, 4, 0], 2)
        (False, True, True, False)
    """
    return _largest("score_mask", domain.numbers("score_mask", "score", score), kept)


@mirrors(
    "PeelVerify.magnitudeMask_optimal",
    "PeelVerify.magnitude_prune_optimal",
    "PeelVerify.magnitudeMask",
)
def magnitude_mask(w: Vector, kept: int) -> tuple[bool, ...]:
    """Keep the weights of largest magnitude.

    Args:
        w: the weights.
        kept: how many weights to keep, from 0 to all of them.

    Returns:
        A mask with `kept` True values; among equal magnitudes the first weights are kept.

    Raises:
        DomainError: if `kept` is out of range, or the weights are balls that overlap.
        NonFiniteError: if a weight is not finite.
        ShapeError: if there is no weight.

    Guarantee:
        No mask that keeps at most as many weights has a smaller 2-norm error.
        `PeelVerify.magnitudeMask_optimal`, `PeelVerify.magnitude_prune_optimal`.

    Not for:
        The smallest error of the layer's output, which depends on its inputs; see `wanda_score`.

    Example:
        >>> magnitude_mask([3, -1, -4], 2)
        (True, False, True)
    """
    entries = domain.numbers("magnitude_mask", "w", w)
    return _largest("magnitude_mask", [abs(entry) for entry in entries], kept)


def _weights_and_features(function: str, w: Vector, feature_sq: Vector) -> list[Number]:
    weights = domain.numbers(function, "w", w)
    squares = domain.nonnegatives(function, "feature_sq", feature_sq)
    domain.same_length(function, w=len(weights), feature_sq=len(squares))
    return [weight * weight * square for weight, square in zip(weights, squares, strict=True)]


@mirrors("PeelVerify.wanda_optimal_of_orthogonal", "PeelVerify.wanda_error_of_orthogonal")
def wanda_score(w: Vector, feature_sq: Vector) -> tuple[Number, ...]:
    """Score the weights of one neuron by themselves and their inputs.

    Args:
        w: the weights of one neuron.
        feature_sq: squared 2-norm of each input feature over the samples, >= 0; as long as `w`.

    Returns:
        w_j^2 times the squared norm of feature j, for each weight.

    Raises:
        DomainError: if a squared norm is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if there is no weight, or the lengths differ.

    Guarantee:
        With orthogonal features the dropped scores add up to the squared output error, so that keeping the
        largest scores is optimal for the neuron. `PeelVerify.wanda_optimal_of_orthogonal`,
        `PeelVerify.wanda_error_of_orthogonal`.

    Not for:
        Correlated features, where it can choose badly; `wanda_error_upper` still bounds the error.

    Source:
        The square of the metric of [Sun2024].

    Example:
        >>> wanda_score([3, -1], [1, 16])
        (9, 16)
    """
    return tuple(_weights_and_features("wanda_score", w, feature_sq))


@mirrors("PeelVerify.wanda_error_le")
def wanda_error_upper(w: Vector, feature_sq: Vector, keep: Sequence[bool]) -> Number:
    """Bound the squared output error of pruning one neuron, whatever its features.

    Args:
        w: the weights of one neuron.
        feature_sq: squared 2-norm of each input feature over the samples, >= 0; as long as `w`.
        keep: True where a weight is kept; as long as `w`.

    Returns:
        The number of dropped weights times the sum of their scores.

    Raises:
        DomainError: if a squared norm is negative, or the mask has other values than True and False.
        NonFiniteError: if an input is not finite.
        ShapeError: if there is no weight, or the lengths differ.

    Guarantee:
        At least the squared 2-norm of the change of the neuron's outputs over the samples.
        `PeelVerify.wanda_error_le`.

    Not for:
        Orthogonal features, for which the sum of scores alone is the error; see `wanda_score`.

    Source:
        Scores of [Sun2024]; the bound is proved here.

    Example:
        >>> wanda_error_upper([3, -1, 2], [1, 4, 1], [True, False, False])
        16
    """
    scores = _weights_and_features("wanda_error_upper", w, feature_sq)
    mask = domain.mask("wanda_error_upper", "keep", keep, length=len(scores))
    return mask.count(False) * sum(score for score, kept in zip(scores, mask, strict=True) if not kept)


def _ordered(function: str, lower: Number, upper: Number) -> None:
    domain.number(function, "lower", lower)
    domain.number(function, "upper", upper)
    if not lower <= upper:
        raise DomainError(
            f"{function} needs lower <= upper, got {lower} and {upper}; exchange them",
            argument="lower",
            value=lower,
        )


@mirrors("PeelVerify.nearerEnd_error", "PeelVerify.nearerEnd")
def nearer_end(w: Number, lower: Number, upper: Number) -> Number:
    """Round a number to the nearer end of an interval around it.

    Args:
        w: a number between `lower` and `upper`.
        lower: the lower grid point.
        upper: the upper grid point.

    Returns:
        `lower` or `upper`, at a tie `lower`.

    Raises:
        DomainError: if `w` lies outside the interval, or a ball leaves the choice open.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Moves `w` by at most half of upper - lower. `PeelVerify.nearerEnd_error`.

    Not for:
        Numbers outside the grid; see `clip`.

    Example:
        >>> nearer_end(3, 0, 4)
        4
    """
    domain.number("nearer_end", "w", w)
    _ordered("nearer_end", lower, upper)
    if not lower <= w <= upper:
        raise DomainError(f"nearer_end needs w in [{lower}, {upper}], got {w}; clip it first", argument="w", value=w)
    if w - lower <= upper - w:
        return lower
    if w - lower > upper - w:
        return upper
    raise DomainError(f"nearer_end needs a decided side, got {w}; raise the precision", argument="w", value=w)


@mirrors("PeelVerify.round_nearest_error")
def round_nearest(w: Number, step: Number) -> Number:
    """Round a number to the nearest multiple of a step.

    Args:
        w: the number.
        step: distance of the grid points, > 0.

    Returns:
        k step with whole k; at a tie the smaller multiple.

    Raises:
        DomainError: if `step` is not positive, or a ball leaves the choice open.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Moves `w` by at most step / 2. `PeelVerify.round_nearest_error`.

    Not for:
        Grids with an end; see `clip` for what lies outside. Ties to even.

    Example:
        >>> from fractions import Fraction
        >>> round_nearest(Fraction(7, 10), Fraction(1, 2))
        Fraction(1, 2)
    """
    domain.number("round_nearest", "w", w)
    domain.positive("round_nearest", "step", step)
    quotient = domain.number("round_nearest", "w / step", domain.divide(w, step))
    k = _truncated(quotient)
    while k * step > w:
        k -= 1
    while (k + 1) * step < w:
        k += 1
    return nearer_end(w, k * step, (k + 1) * step)


def _truncated(quotient: Number) -> int:
    floor = getattr(quotient, "floor", None)
    if floor is None:
        return int(quotient)
    whole = floor().unique_fmpz()
    if whole is None:
        raise DomainError(f"round_nearest needs a decided multiple, got {quotient}; raise the precision")
    return int(whole)


@mirrors("PeelVerify.clip_error", "PeelVerify.clip_mem", "PeelVerify.clip")
def clip(w: Number, lower: Number, upper: Number) -> Number:
    """Move a number into a range.

    Args:
        w: the number.
        lower: smallest value of the range.
        upper: largest value of the range, >= `lower`.

    Returns:
        The number of the range that is nearest to `w`.

    Raises:
        DomainError: if the range is empty.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Lies in the range; rounding the result by at most r moves `w` by at most |w - clip(w)| + r.
        `PeelVerify.clip_mem`, `PeelVerify.clip_error`.

    Not for:
        Hiding large values: report |w - clip(w)| as its own term.

    Example:
        >>> clip(7, -1, 4)
        4
    """
    domain.number("clip", "w", w)
    _ordered("clip", lower, upper)
    return domain.larger(lower, domain.smaller(w, upper))


@mirrors("PeelVerify.quantize_frobSq_le", "PeelVerify.quantizeFrobSqUpper")
def quantize_frob_sq_upper(steps: Sequence[Number], columns: int) -> Number:
    """Bound the squared Frobenius error of rounding a matrix row by row.

    Args:
        steps: grid step of each row, >= 0, at least one row.
        columns: number of columns, >= 0.

    Returns:
        The sum over rows of columns (step / 2)^2.

    Raises:
        DomainError: if a step is negative, or `columns` is not a whole number >= 0.
        NonFiniteError: if a step is not finite.
        ShapeError: if there is no row.

    Guarantee:
        At least the squared Frobenius norm of W - Q whenever no entry of row i moves by more than half of
        steps[i]. `PeelVerify.quantize_frobSq_le`.

    Not for:
        Entries that were clipped; add their excess first.

    Example:
        >>> from fractions import Fraction
        >>> quantize_frob_sq_upper([Fraction(1), Fraction(1, 2)], 4)
        Fraction(5, 4)
    """
    widths = domain.nonnegatives("quantize_frob_sq_upper", "steps", steps)
    domain.count("quantize_frob_sq_upper", "columns", columns)
    halves = [domain.divide(step, 2) for step in widths]
    return columns * sum(half * half for half in halves)


@mirrors("PeelVerify.weight_error")
def weight_error_upper(eps: Number, radius: Number) -> Number:
    """Bound the change of a linear map's output when its weights change and its input does not.

    Args:
        eps: upper bound on the operator norm of the change of the weights, >= 0.
        radius: upper bound on the 2-norm of the input, >= 0.

    Returns:
        eps radius.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of the change of the output, for every input within the radius.
        `PeelVerify.weight_error`.

    Not for:
        Inputs that change as well; see `layer_error_upper`.

    Example:
        >>> weight_error_upper(2, 3)
        6
    """
    domain.nonnegative("weight_error_upper", "eps", eps)
    return eps * domain.nonnegative("weight_error_upper", "radius", radius)


@mirrors("PeelVerify.layer_error")
def layer_error_upper(gain: Number, e: Number, eps: Number, radius: Number) -> Number:
    """Bound the change of a linear map's output when its weights and its input change.

    Args:
        gain: upper bound on the operator norm of the original weights, >= 0.
        e: upper bound on the 2-norm of the change of the input, >= 0.
        eps: upper bound on the operator norm of the change of the weights, >= 0.
        radius: upper bound on the 2-norm of the changed input, >= 0.

    Returns:
        gain e + eps radius: one step of `chain_bound` with delta = eps radius.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the 2-norm of the change of the output. `PeelVerify.layer_error`.

    Not for:
        The radius of the original input: the changed input is the one that meets the changed weights.

    Example:
        >>> layer_error_upper(2, 1, 3, 5)
        17
    """
    for name, value in (("gain", gain), ("e", e), ("eps", eps), ("radius", radius)):
        domain.nonnegative("layer_error_upper", name, value)
    return gain * e + eps * radius


@mirrors("PeelVerify.matMul_error")
def product_error_upper(a: Number, b: Number, error_a: Number, error_b: Number) -> Number:
    """Bound the operator norm error of a product whose two factors were replaced.

    Args:
        a: upper bound on the operator norm of the original left factor, >= 0.
        b: upper bound on the operator norm of the replaced right factor, >= 0.
        error_a: upper bound on the operator norm of the change of the left factor, >= 0.
        error_b: upper bound on the operator norm of the change of the right factor, >= 0.

    Returns:
        error_a b + a error_b.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the operator norm of A' B' - A B. `PeelVerify.matMul_error`.

    Not for:
        The norm of the original right factor in place of `b`.

    Example:
        >>> product_error_upper(2, 3, 1, 5)
        13
    """
    for name, value in (("a", a), ("b", b), ("error_a", error_a), ("error_b", error_b)):
        domain.nonnegative("product_error_upper", name, value)
    return error_a * b + a * error_b
