"""How an error travels through a chain of blocks. Lean: ``Proofs/Propagation.lean``.

A *gain* is a ratio of norms, ``|f(h + e) - f(h)| / |e|``. The published rho is a ratio of squared, relative,
token-averaged energies: a different number, which belongs in `telescope` and never in `chain_bound`. Longer than
500 lines because every function states its domain, its guarantee and its limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod

from peelverify.bounds import _domain as domain
from peelverify.bounds._domain import Number, Vector
from peelverify.errors import DomainError, ShapeError
from peelverify.registry import mirrors

__all__ = [
    "argmax_is_stable",
    "chain_bound",
    "chain_closed_form",
    "chain_shares",
    "contraction_factor_sq",
    "gain_product",
    "geometric_bound",
    "geometric_limit",
    "oscillation",
    "relative_step",
    "squared_error_identity",
    "telescope",
]

Step = tuple[Number, Number]


def _chain(function: str, e0: Number, steps: Iterable[Step]) -> tuple[Number, list[Step]]:
    domain.nonnegative(function, "e0", e0)
    checked = []
    for i, step in enumerate(steps):
        pair = domain.nonnegatives(function, f"steps[{i}]", step)
        if len(pair) != 2:
            raise ShapeError(
                f"{function} needs (gain, delta) in steps[{i}], got {len(pair)} numbers; pass pairs",
                argument=f"steps[{i}]",
                length=len(pair),
            )
        checked.append((pair[0], pair[1]))
    return e0, checked


@mirrors(
    "PeelVerify.le_chainBound",
    "PeelVerify.chainBound_mono",
    "PeelVerify.chainBound_nonneg",
    "PeelVerify.chainBound_append",
    "PeelVerify.block_error",
    "PeelVerify.two_layer_error",
    "PeelVerify.deletion_error",
    "PeelVerify.states_le_chainBound",
    "PeelVerify.chainBound_le_of_check",
    "PeelVerify.chainBound",
)
def chain_bound(e0: Number, steps: Sequence[Step]) -> Number:
    """Bound the error after a chain of blocks.

    Args:
        e0: error that enters the first block, >= 0, in the unit of the deltas.
        steps: (gain, delta) of each block in the order the signal meets them, both >= 0; the gain has no
            unit. With no steps the answer is `e0`.

    Returns:
        gain_T (... (gain_1 e0 + delta_1) ...) + delta_T.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a step is not a pair.

    Guarantee:
        At least e_T whenever e_t <= gain_t e_{t-1} + delta_t for every block t, and never smaller when an
        input grows. The recurrence holds for the states of two models when gain_t bounds how far block t of
        the original moves two states apart, and delta_t bounds what the compressed block does differently at
        the state it meets; a deleted block is the identity. `PeelVerify.le_chainBound`,
        `PeelVerify.chainBound_mono`, `PeelVerify.states_le_chainBound`, `PeelVerify.deletion_error`.

    Not for:
        The published rho in place of a gain; see `telescope`. Predicting a model that was not compressed yet.

    Source:
        [Basu2026] proves the case of one common factor; the recurrence is proved here.

    Example:
        >>> from fractions import Fraction
        >>> chain_bound(Fraction(1), [(Fraction(1, 2), Fraction(1, 4)), (2, 0)])
        Fraction(3, 2)
    """
    error, checked = _chain("chain_bound", e0, steps)
    for gain, delta in checked:
        error = gain * error + delta
    return error


@mirrors("PeelVerify.gainProd")
def gain_product(steps: Sequence[Step]) -> Number:
    """Multiply the gains of a chain.

    Args:
        steps: (gain, delta) of each block, both >= 0. With no steps the answer is 1.

    Returns:
        gain_1 ... gain_T.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a step is not a pair.

    Guarantee:
        The factor of e0 in `chain_closed_form`. `PeelVerify.gainProd`.

    Not for:
        The amplification of one error that was measured; see `telescope`.

    Example:
        >>> gain_product([(2, 3), (5, 7)])
        10
    """
    _, checked = _chain("gain_product", 0, steps)
    return prod(gain for gain, _ in checked)


@mirrors("PeelVerify.chainBound_eq_closedForm", "PeelVerify.chainClosedForm")
def chain_closed_form(e0: Number, steps: Sequence[Step]) -> Number:
    """Write the chain bound as a sum: what each error has become at the end of the chain.

    Args:
        e0: error that enters the first block, >= 0.
        steps: (gain, delta) of each block in the order the signal meets them, both >= 0.

    Returns:
        e0 gain_1 ... gain_T + sum over s of delta_s gain_{s+1} ... gain_T.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a step is not a pair.

    Guarantee:
        Equal to `chain_bound` in exact arithmetic. `PeelVerify.chainBound_eq_closedForm`.

    Not for:
        Floats in long chains: it multiplies O(T^2) times where `chain_bound` multiplies T times.

    Example:
        >>> chain_closed_form(1, [(2, 3), (5, 7)])
        32
    """
    error, checked = _chain("chain_closed_form", e0, steps)
    gains = [gain for gain, _ in checked]
    return prod(gains) * error + sum(prod(gains[s + 1 :]) * delta for s, (_, delta) in enumerate(checked))


@mirrors(
    "PeelVerify.chainBound_eq_sum_shares",
    "PeelVerify.length_chainShares",
    "PeelVerify.chainShares_nonneg",
    "PeelVerify.chainShares",
)
def chain_shares(e0: Number, steps: Sequence[Step]) -> tuple[Number, ...]:
    """Split the chain bound into the part of the incoming error and the part of each block.

    Args:
        e0: error that enters the first block, >= 0.
        steps: (gain, delta) of each block in the order the signal meets them, both >= 0.

    Returns:
        T + 1 numbers: the share of `e0`, then the share of each block in order.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if a step is not a pair.

    Guarantee:
        No share is negative, and they sum to `chain_bound`. `PeelVerify.chainShares_nonneg`,
        `PeelVerify.chainBound_eq_sum_shares`.

    Not for:
        Blaming a block on gains and deltas that were not computed from the two models: every tensor put in
        the middle satisfies the inequalities and gives other shares.

    Example:
        >>> chain_shares(1, [(2, 3), (5, 7)])
        (10, 15, 7)
    """
    error, checked = _chain("chain_shares", e0, steps)
    amplification = list(accumulate((gain for gain, _ in reversed(checked)), lambda a, b: a * b, initial=1))
    entering = [error, *(delta for _, delta in checked)]
    return tuple(factor * part for factor, part in zip(reversed(amplification), entering, strict=True))


@mirrors(
    "PeelVerify.le_geometricBound",
    "PeelVerify.geometricBound_eq_chainBound",
    "PeelVerify.geometricBound_eq_closedForm",
    "PeelVerify.geometricBound",
)
def geometric_bound(e0: Number, gain: Number, delta: Number, blocks: int) -> Number:
    """Bound the error after blocks that share one gain and one introduced error.

    Args:
        e0: error that enters the first block, >= 0.
        gain: gain of every block, >= 0.
        delta: error that every block introduces, >= 0.
        blocks: number of blocks T, >= 0.

    Returns:
        gain (... (gain e0 + delta) ...) + delta; for a gain other than 1 this is gain^T (e0 - b) + b with the
        fixed point b = gain b + delta.

    Raises:
        DomainError: if an input is negative, or `blocks` is not a whole number.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least e_T whenever e_t <= gain e_{t-1} + delta for every block t. `PeelVerify.le_geometricBound`.

    Not for:
        Blocks that differ; see `chain_bound`.

    Source:
        The geometric case of [Basu2026].

    Example:
        >>> from fractions import Fraction
        >>> geometric_bound(Fraction(1), Fraction(1, 2), Fraction(1, 4), 2)
        Fraction(5, 8)
    """
    domain.nonnegative("geometric_bound", "e0", e0)
    domain.nonnegative("geometric_bound", "gain", gain)
    domain.nonnegative("geometric_bound", "delta", delta)
    error = e0
    for _ in range(domain.count("geometric_bound", "blocks", blocks)):
        error = gain * error + delta
    return error


@mirrors("PeelVerify.geometricBound_le_max", "PeelVerify.geometricLimit")
def geometric_limit(e0: Number, gain: Number, delta: Number) -> Number:
    """Bound the error after any number of equal contracting blocks.

    Args:
        e0: error that enters the first block, >= 0.
        gain: gain of every block, in [0, 1).
        delta: error that every block introduces, >= 0.

    Returns:
        The larger of `e0` and delta / (1 - gain), where contraction balances the introduced error.

    Raises:
        DomainError: if an input is negative or the gain is not below 1.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least e_T for every T whenever e_t <= gain e_{t-1} + delta for every block t.
        `PeelVerify.geometricBound_le_max`.

    Not for:
        Residual blocks, whose gain is rarely below 1; see `chain_bound`.

    Source:
        Uniform contraction in [Basu2026].

    Example:
        >>> from fractions import Fraction
        >>> geometric_limit(Fraction(0), Fraction(1, 2), Fraction(1, 4))
        Fraction(1, 2)
    """
    domain.nonnegative("geometric_limit", "e0", e0)
    domain.fraction_of_one("geometric_limit", "gain", gain, advice="without contraction use chain_bound")
    domain.nonnegative("geometric_limit", "delta", delta)
    return domain.larger(e0, domain.divide(delta, 1 - gain))


@mirrors(
    "PeelVerify.relative_step",
    "PeelVerify.relative_le_chainBound",
    "PeelVerify.relative_states_le_chainBound",
    "PeelVerify.relativeStep",
)
def relative_step(gain: Number, shrink: Number, before: Number, introduced: Number) -> Number:
    """Bound the relative error after one block.

    Args:
        gain: gain of the block, >= 0.
        shrink: factor with n <= shrink n', the size of the state before the block against that after it, >= 0.
        before: error before the block relative to the size n, >= 0.
        introduced: error that the block introduces relative to the size n', >= 0.

    Returns:
        gain shrink before + introduced: `chain_bound` with gains gain shrink bounds all blocks.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        At least the error after the block relative to n'. `PeelVerify.relative_step`,
        `PeelVerify.relative_le_chainBound`.

    Not for:
        Sizes that are larger than the norms of the states: the answer is relative to the size it was given.

    Source:
        Relative errors as in [Basu2026], as a bound.

    Example:
        >>> relative_step(3, 2, 5, 1)
        31
    """
    named = (("gain", gain), ("shrink", shrink), ("before", before), ("introduced", introduced))
    for name, value in named:
        domain.nonnegative("relative_step", name, value)
    return gain * shrink * before + introduced


@mirrors("PeelVerify.residual_contraction")
def contraction_factor_sq(mu: Number, gain: Number) -> Number:
    """Bound the square of the factor by which a residual block that points back brings states closer.

    Args:
        mu: a number with <d, f(x + d) - f(x)> <= -mu |d|^2.
        gain: bound on |f(x + d) - f(x)| / |d|, >= |mu|.

    Returns:
        1 - 2 mu + gain^2; below 1 the block contracts.

    Raises:
        DomainError: if `gain` is below |mu|, which no function allows.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Every c whose square is at least this bounds |x + f(x) - y - f(y)| / |x - y|.
        `PeelVerify.residual_contraction`.

    Not for:
        Blocks of which only the gain is known; see `peelverify.bounds.matrix.residual_upper`.

    Example:
        >>> from fractions import Fraction
        >>> contraction_factor_sq(Fraction(1, 2), Fraction(1, 2))
        Fraction(1, 4)
    """
    domain.number("contraction_factor_sq", "mu", mu)
    domain.nonnegative("contraction_factor_sq", "gain", gain)
    if not abs(mu) <= gain:
        raise DomainError(
            f"contraction_factor_sq needs gain >= |mu|, got {gain} and {mu}; measure both on the same pairs",
            argument="gain",
            value=gain,
        )
    return 1 - 2 * mu + gain * gain


@mirrors("PeelVerify.energy_eq_mul_prod", "PeelVerify.telescopeProd")
def telescope(v0: Number, rhos: Sequence[Number]) -> Number:
    """Recover the last energy from the first one and the ratios between neighbours.

    Args:
        v0: energy at the first block output, >= 0.
        rhos: ratio V_t / V_{t-1} for each later block in order, each >= 0. With no ratios the answer is `v0`.

    Returns:
        v0 rho_1 ... rho_T.

    Raises:
        DomainError: if an input is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Equal to V_T whenever rho_t = V_t / V_{t-1} and no V_t is zero. `PeelVerify.energy_eq_mul_prod`.

    Not for:
        A bound: it restates the measurement. Ratios measured on one error say nothing about another.

    Source:
        The product of ratios of [Basu2026].

    Example:
        >>> from fractions import Fraction
        >>> telescope(Fraction(3), [Fraction(1, 2), Fraction(4, 3)])
        Fraction(2, 1)
    """
    domain.nonnegative("telescope", "v0", v0)
    return v0 * prod(domain.nonnegatives("telescope", "rhos", rhos, least=0))


@mirrors("PeelVerify.sq_error_decomposition", "PeelVerify.squaredErrorIdentity")
def squared_error_identity(a_sq: Number, inner: Number, delta_sq: Number) -> Number:
    """Put the squared error together from its propagated and its introduced part.

    Args:
        a_sq: squared norm of the propagated part p, >= 0.
        inner: inner product of p with the introduced part d, of either sign.
        delta_sq: squared norm of d, >= 0.

    Returns:
        a_sq + 2 inner + delta_sq.

    Raises:
        DomainError: if a square is negative.
        NonFiniteError: if an input is not finite.

    Guarantee:
        Equal to the squared norm of p + d. `PeelVerify.sq_error_decomposition`.

    Not for:
        A bound. Without the inner product use `chain_bound`, which takes it at its worst.

    Example:
        >>> squared_error_identity(9, -2, 4)
        9
    """
    domain.nonnegative("squared_error_identity", "a_sq", a_sq)
    domain.number("squared_error_identity", "inner", inner)
    domain.nonnegative("squared_error_identity", "delta_sq", delta_sq)
    return a_sq + 2 * inner + delta_sq


@mirrors("PeelVerify.argmax_unchanged")
def argmax_is_stable(logits: Vector, eps: Number) -> bool:
    """Tell whether a change of at most `eps` in each logit leaves the same entry on top.

    Args:
        logits: the logits before the change.
        eps: largest absolute change of one logit, >= 0.

    Returns:
        True if one logit exceeds every other by more than 2 eps.

    Raises:
        DomainError: if `eps` is negative.
        NonFiniteError: if an input is not finite.
        ShapeError: if there is no logit.

    Guarantee:
        True means that the same entry is strictly on top after every such change.
        `PeelVerify.argmax_unchanged`.

    Not for:
        A refutation: False says only that some change of this size could alter the top entry.

    Example:
        >>> argmax_is_stable([1, 5, 2], 1), argmax_is_stable([1, 4, 2], 1)
        (True, False)
    """
    entries = domain.numbers("argmax_is_stable", "logits", logits)
    domain.nonnegative("argmax_is_stable", "eps", eps)
    top = max(range(len(entries)), key=entries.__getitem__)
    return all(entry + 2 * eps < entries[top] for i, entry in enumerate(entries) if i != top)


@mirrors(
    "PeelVerify.argmax_unchanged_of_osc",
    "PeelVerify.abs_loss_change_le_osc",
    "PeelVerify.abs_loss_sub_le_osc",
    "PeelVerify.logPartition_sub_mem",
    "PeelVerify.kl_le_osc",
    "PeelVerify.sub_le_osc",
    "PeelVerify.osc_nonneg",
    "PeelVerify.osc_add_const",
    "PeelVerify.osc",
)
def oscillation(delta: Vector) -> Number:
    """Measure how far a change of logits is from a common shift.

    Args:
        delta: change of each logit, in nats.

    Returns:
        The largest entry minus the smallest, in nats.

    Raises:
        NonFiniteError: if an entry is not finite.
        ShapeError: if there is no entry.

    Guarantee:
        The loss of every target changes by at most this number, and an entry that led by more than this
        number stays on top. `PeelVerify.abs_loss_change_le_osc`, `PeelVerify.argmax_unchanged_of_osc`.

    Not for:
        Logits themselves: pass the difference of two logit vectors.

    Example:
        >>> oscillation([3, -1, 2])
        4
    """
    entries = domain.numbers("oscillation", "delta", delta)
    top = bottom = entries[0]
    for entry in entries[1:]:
        top, bottom = domain.larger(top, entry), domain.smaller(bottom, entry)
    return top - bottom
