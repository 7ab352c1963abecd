"""Tiny decoders and changed copies of them: every enclosed number of a certificate against exact sums.

The states come from plain forward passes of the whole models, not from the block-by-block run that is measured; the
differences, sums of squares, inner products and the chain are formed in whole numbers and fractions, losses and
divergences in balls of 300 bits, and for one position of each pair also by mpmath at two precisions.
"""

from __future__ import annotations

import copy
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import torch
from flint import arb, ctx

from peelverify.bounds.propagation import chain_bound
from peelverify.certify.measure import Plan, WindowUnits, measure_pair
from peelverify.compress import delete_layers
from peelverify.enclose import round_up, sqrt_lower, sqrt_upper
from peelverify.models import FAMILIES, ModelView
from peelverify.models.blockwise import WholeModel
from tests.families import untrained_family
from tests.oracle.exactly import integers, value
from tests.oracle.soak import Number, Tally, Wrong, pair

NAMES = sorted(FAMILIES)
VOCABULARY = 24
DTYPES = (torch.float32, torch.float32, torch.float32, torch.bfloat16, torch.float16, torch.float64)
_BITS = 300
_TINY = Fraction(1, 2**250)
"""Far more than the radius of any ball here."""


@cache
def _decoder(family: str, blocks: int, dtype: torch.dtype) -> ModelView:
    sizes = {"hidden_size": 8, "num_hidden_layers": blocks, "num_attention_heads": 2, "vocab_size": VOCABULARY,
             "max_position_embeddings": 16}
    own = {"opt": {"ffn_dim": 16, "word_embed_proj_dim": 8}, "gemma2": {"sliding_window": 3}}.get(
        family, {"intermediate_size": 16} if family != "gpt2" else {})
    heads = {} if family in ("gpt2", "gpt_neox", "opt") else {"num_key_value_heads": 1}
    return ModelView(untrained_family(family, 0, **sizes, **own, **heads).to(dtype).eval())


@torch.no_grad()
def _original(rng: np.random.Generator) -> ModelView:
    """A tiny decoder of any family and dtype with weights drawn anew at a random scale."""
    family, dtype = NAMES[rng.integers(len(NAMES))], DTYPES[rng.integers(len(DTYPES))]
    view = _decoder(family, int(rng.integers(1, 4)), dtype)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    scale = 2.0 ** rng.integers(-6, 2)
    for name, parameter in view.model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        gain = parameter.ndim == 1 and name.endswith("weight") and family != "gemma2"  # which stores them less one
        parameter.copy_(drawn * scale if parameter.ndim > 1 else gain + 0.1 * drawn)
    return view


@torch.no_grad()
def _compressed(view: ModelView, rng: np.random.Generator) -> tuple[ModelView, list[int]]:
    """A copy that is noisy, rounded, pruned, cut, or the same; and the blocks that it kept."""
    kind, kept = int(rng.integers(7)), list(range(view.depth))
    if kind == 0 and view.depth > 1:
        gone = int(rng.integers(view.depth))
        return delete_layers(view, [gone]), [k for k in kept if k != gone]
    model = copy.deepcopy(view.model)
    if kind == 5:
        return ModelView(model.to(DTYPES[rng.integers(len(DTYPES))])), kept
    size = 10.0 ** rng.integers(-7, 0)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for parameter in model.parameters():
        if kind == 1:
            parameter.copy_(parameter.to(torch.bfloat16).to(parameter.dtype))
        elif kind == 2:
            parameter.mul_(torch.rand(parameter.shape, generator=generator) > 0.3)
        elif kind in (3, 4):
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return ModelView(model), kept


def _whole(x: torch.Tensor, y: torch.Tensor) -> tuple[list[int], int]:
    """Exact difference of stored values: whole numbers and their exponent."""
    both, e = integers(np.concatenate([x.detach().double().numpy().ravel(), y.detach().double().numpy().ravel()]))
    half = len(both) // 2
    return [a - b for a, b in zip(both[:half], both[half:], strict=True)], e


def _square(difference: tuple[list[int], int]) -> tuple[int, int]:
    return pair(sum(k * k for k in difference[0]), 2 * difference[1])


def _aligned(p: tuple[list[int], int], d: tuple[list[int], int]) -> tuple[list[int], list[int], int]:
    e = min(p[1], d[1])
    return [k << (p[1] - e) for k in p[0]], [k << (d[1] - e) for k in d[0]], e


def _rows(difference: tuple[list[int], int], tokens: int) -> Number:
    """The largest squared norm of a token."""
    whole, e = difference
    width = len(whole) // tokens
    return pair(max(sum(k * k for k in whole[i : i + width]) for i in range(0, len(whole), width)), 2 * e)


def _middle(ball: arb) -> Fraction:
    """The middle of a ball, whose radius must be far below `_TINY`."""
    if not ball.rad() < arb(2) ** -260:
        raise Wrong("pair: the ball of the judge is too wide")
    top, e = ball.mid().man_exp()
    return value(int(top), int(e))


def _loss_and_kl(z: list[float], w: list[float], target: int) -> tuple[Fraction, Fraction]:
    """Change of the loss and KL of one position, by balls."""
    z, w = ([arb(x) for x in row] for row in (z, w))
    weights = [x.exp() for x in z]
    total = sum(weights, arb(0))
    shift = (sum((y.exp() for y in w), arb(0)) / total).log()
    mean = sum((p * (y - x) for p, x, y in zip(weights, z, w, strict=True)), arb(0)) / total
    return _middle(shift - (w[target] - z[target])), _middle(shift - mean)


def _mpmath_agrees(z: list[float], w: list[float], target: int, found: tuple[Fraction, Fraction]) -> None:
    """The same position by mpmath at 60 and 120 digits."""
    for digits in (60, 120):
        with mpmath.workdps(digits):
            a, b = ([mpmath.mpf(x) for x in row] for row in (z, w))
            total = mpmath.fsum(map(mpmath.exp, a))
            shift = mpmath.log(mpmath.fsum(map(mpmath.exp, b)) / total)
            mean = mpmath.fsum(mpmath.exp(x) * (y - x) for x, y in zip(a, b, strict=True)) / total
            room = mpmath.mpf(10) ** max(8 - digits, -75) * (1 + max(map(abs, a + b)))
            for mine, ball in zip((shift - (b[target] - a[target]), shift - mean), found, strict=True):
                if abs(mine - mpmath.mpf(ball.numerator) / ball.denominator) > room:
                    raise Wrong("pair: the judges of the loss disagree")


def _check_units(tally: Tally, unit: WindowUnits, ids: list[int], z: np.ndarray, w: np.ndarray, deep: bool) -> None:
    """Compare all figures of one window of logits (length, vocabulary), float64, with exact ones."""
    error, before, after = _whole(torch.from_numpy(w), torch.from_numpy(z)), z.tolist(), w.tolist()
    tally.both("pair window error squared", unit.error_sq.lo, _square(error), unit.error_sq.hi)
    tops = [(max(row), row.index(max(row)), row.count(max(row)) > 1) for row in (*before, *after)]
    half = len(before)
    if unit.same_top != sum(tops[i][1] == tops[half + i][1] for i in range(half)):
        raise Wrong("pair: the count of unchanged top tokens is wrong")
    if unit.tied != [i for i in range(half) if tops[i][2] or tops[half + i][2]]:
        raise Wrong("pair: the list of tied positions is wrong")
    oscillations, low, high, losses, kls = [], Fraction(0), Fraction(0), [], []
    for i, target in enumerate(ids[1:]):
        change = [Fraction(y) - Fraction(x) for x, y in zip(before[i], after[i], strict=True)]
        oscillations.append(max(change) - min(change))
        low += min(change) - change[target]
        high += max(change) - change[target]
        found = _loss_and_kl(before[i], after[i], target)
        losses.append(found[0])
        kls.append(found[1])
        if deep and i == 0:
            _mpmath_agrees(before[i], after[i], target, found)
    size = sum(oscillations)
    scale = (size.numerator, size.denominator)
    for kind, bound, exact in (
        ("oscillation", unit.oscillation_sum, size), ("largest oscillation", unit.oscillation_max, max(oscillations)),
        ("theorem upper", unit.loss_change_theorem.hi, high), ("theorem lower", -unit.loss_change_theorem.lo, -low),
    ):
        if bound < exact:
            raise Wrong(f"pair: {kind}: {bound} is below {exact}")
        tally.add(f"pair {kind}", float((bound - exact) / size) if size else None)
    for kind, enclosed, exact in (
        ("change of loss", unit.loss_change, sum(losses)),
        ("largest change of loss", unit.loss_change_largest, max(losses)),
        ("smallest change of loss", unit.loss_change_smallest, min(losses)),
        ("KL", unit.kl, sum(kls)), ("largest KL", unit.kl_largest, max(kls)),
    ):
        truth = (exact.numerator, exact.denominator)
        tally.both(f"pair {kind}", enclosed.lo - _TINY, truth, enclosed.hi + _TINY, scale)


def check_pair(tally: Tally, rng: np.random.Generator) -> None:
    """Measure one pair and compare; raises `Wrong` on the first number on the wrong side."""
    torch.set_num_threads(1)
    original = _original(rng)
    compressed, kept = _compressed(original, rng)
    ids = torch.from_numpy(rng.integers(0, VOCABULARY, (2, int(rng.integers(2, 7)))))
    attention = original.config._attn_implementation
    plan = Plan(attention=attention, threads=1, batch=2, head_tokens=1 << 20)
    found = measure_pair(WholeModel(original), WholeModel(compressed), kept, ids, plans=[plan])
    reference, other = original.trace(ids), compressed.trace(ids)
    h, g, position = reference.states, [other.states[0]], 0
    for t in range(original.depth):
        position += t in kept
        g.append(other.states[position])
    error = _whole(g[0], h[0])
    initial = found.initial.total
    tally.both("pair initial error squared", initial.lo, _square(error), initial.hi)
    largest = found.initial.largest
    tally.both("pair largest error squared", largest.lo, _rows(error, ids.numel()), largest.hi)
    before, steps, start = initial, [], sqrt_upper(initial.hi)
    for t in range(original.depth + 1):
        last = t == original.depth
        with torch.no_grad():
            given = g[t].to(h[t].dtype)
            middle = reference.head(given) if last else reference.block(t, given)
        f_h, f_g = (reference.logits, other.logits) if last else (h[t + 1], g[t + 1])
        e, p, d = _whole(f_g, f_h), _whole(middle, f_h), _whole(f_g, middle)
        block = found.blocks[t]
        now = block.error.total
        tally.both("pair largest error squared", block.error.largest.lo, _rows(e, ids.numel()), block.error.largest.hi)
        for kind, enclosed, exact in (("error", now, e), ("propagated", block.propagated_sq, p),
                                      ("introduced", block.introduced_sq, d)):
            tally.both(f"pair {kind} squared", enclosed.lo, _square(exact), enclosed.hi)
        x, y, power = _aligned(p, d)
        inner = sum(a * b for a, b in zip(x, y, strict=True))
        scale = pair(sum(a * a for a in x) + sum(b * b for b in y), 2 * power)
        tally.both("pair inner", block.inner.lo, pair(inner, 2 * power), block.inner.hi, scale)
        identity = Fraction(*_square(p)) + 2 * Fraction(*pair(inner, 2 * power)) + Fraction(*_square(d))
        if Fraction(*_square(e)) != identity:
            raise Wrong(f"pair: the squared identity fails in block {t}; the states are not of one execution")
        if before.hi > 0 and before.lo == 0:
            raise Wrong(f"pair: an error that is not zero is enclosed by zero before block {t}")
        gain = round_up(sqrt_upper(block.propagated_sq.hi) / sqrt_lower(before.lo)) if before.hi else Fraction(0)
        if Fraction(*_square(p)) > gain**2 * Fraction(*_square(error)):
            raise Wrong(f"pair: the gain of block {t} is too small")
        steps.append((gain, sqrt_upper(block.introduced_sq.hi)))
        chain, exact_sq = chain_bound(start, steps), Fraction(*_square(e))
        if chain**2 < exact_sq:
            raise Wrong(f"pair: the chain bound of block {t} is below the error")
        tally.add("pair chain over error", float(chain**2 / exact_sq) ** 0.5 if exact_sq else None)
        error, before = e, now
    z, w = (logits.detach().double().numpy() for logits in (reference.logits, other.logits))
    bits, ctx.prec = ctx.prec, _BITS
    try:
        for i, unit in enumerate(found.windows):
            _check_units(tally, unit, ids[i].tolist(), z[i], w[i], deep=i == 0)
    finally:
        ctx.prec = bits
