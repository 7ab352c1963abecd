"""Tiny decoders and changed copies of them: every enclosed number of a certificate against exact sums.

The states come from plain forward passes of the whole models, not from the block-by-block run that is measured; the
differences, sums of squares, inner products and the chain are formed in whole numbers and fractions.
"""

from __future__ import annotations

import copy
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch

from peelverify.bounds.propagation import chain_bound
from peelverify.certify.measure import Plan, measure_pair
from peelverify.compress import delete_layers
from peelverify.enclose import Interval, round_up, sqrt_lower, sqrt_upper
from peelverify.models import ModelView
from peelverify.models.blockwise import WholeModel
from peelverify.models.small import small_decoder
from tests.oracle.exactly import integers
from tests.oracle.soak import Tally, Wrong, pair

FAMILIES = ("llama", "gpt2", "qwen2")
VOCABULARY = 24


@cache
def _decoder(family: str, blocks: int) -> ModelView:
    return small_decoder(family, blocks=blocks, width=8, heads=2, vocabulary=VOCABULARY, length=16)


@torch.no_grad()
def _original(rng: np.random.Generator) -> ModelView:
    """A tiny decoder with weights drawn anew at a random scale."""
    view = _decoder(FAMILIES[rng.integers(3)], int(rng.integers(1, 4)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    scale = 2.0 ** rng.integers(-6, 2)
    for parameter in view.model.parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return view


@torch.no_grad()
def _compressed(view: ModelView, rng: np.random.Generator) -> tuple[ModelView, list[int]]:
    """A copy that is noisy, rounded, pruned, cut, or the same; and the blocks that it kept."""
    kind, kept = int(rng.integers(6)), list(range(view.depth))
    if kind == 0 and view.depth > 1:
        gone = int(rng.integers(view.depth))
        return delete_layers(view, [gone]), [k for k in kept if k != gone]
    model = copy.deepcopy(view.model)
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


def _total(energy: Any) -> Interval:
    return getattr(energy, "total", energy)


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
    initial = _total(found.initial)
    tally.both("pair initial error squared", initial.lo, _square(error), initial.hi)
    before, steps, start = initial, [], sqrt_upper(initial.hi)
    for t in range(original.depth + 1):
        last = t == original.depth
        with torch.no_grad():
            middle = reference.head(g[t]) if last else reference.block(t, g[t])
        f_h, f_g = (reference.logits, other.logits) if last else (h[t + 1], g[t + 1])
        e, p, d = _whole(f_g, f_h), _whole(middle, f_h), _whole(f_g, middle)
        block = found.blocks[t]
        now = _total(block.error)
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
