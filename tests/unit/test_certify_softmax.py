"""Enclosures of the change of loss and of the divergence, against python-flint's balls; sums of squares, exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peelverify.bounds import exponential
from peelverify.certify import softmax
from peelverify.certify.energy import BlockEnergy, add_energy, as_rows, error_of, window_error
from peelverify.certify.softmax import exp_of_nonpositive, loss_change
from peelverify.enclose import dyadic
from peelverify.errors import NonFiniteError, NumericalError

U = 2.0**-53


@pytest.fixture(autouse=True)
def precision():
    """200 bits for every ball."""
    before, ctx.prec = ctx.prec, 200
    yield
    ctx.prec = before


@given(st.lists(st.floats(-700, 0), min_size=1, max_size=40))
@example([0.0, -0.0, -5e-324, -1e-300, -700.0])
@example([-float(np.log(2)) * k / 2048 for k in range(1, 60)])
@example([-float(np.log(2)) * k for k in range(1000)])
def test_the_exponential_is_within_its_stated_error(xs: list[float]) -> None:
    """Nine units in the last place at most, everywhere in its range; exactly one at zero."""
    for x, found in zip(xs, exp_of_nonpositive(np.array(xs)), strict=True):
        error = abs(arb(float(found)) / arb(x).exp() - 1)
        assert error < 9 * U
        assert x != 0 or found == 1.0


def test_far_logits_count_as_tiny_ones() -> None:
    """Below -700 the value is that of -700, so nothing underflows."""
    assert (exp_of_nonpositive(np.array([-701.0, -1e9, -np.inf])) == exp_of_nonpositive(np.array([-700.0]))).all()


def exact(before: np.ndarray, after: np.ndarray, target: int) -> tuple[arb, arb]:
    """Change of loss and KL of one position as balls."""
    z, w = ([arb(float(x)) for x in row] for row in (before, after))
    sums = [sum((x.exp() for x in row), arb(0)) for row in (z, w)]
    shift = sums[1].log() - sums[0].log()
    mean = sum((x.exp() / sums[0] * (y - x) for x, y in zip(z, w, strict=True)), arb(0))
    return shift - (w[target] - z[target]), shift - mean


rows = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-80, 80, width=32), min_size=n, max_size=n),
        st.lists(st.floats(-80, 80, width=32), min_size=n, max_size=n),
        st.integers(0, n - 1),
    )
)


@given(rows)
@example(([0.0, 0.0], [0.0, 0.0], 0))
@example(([80.0, -80.0], [-80.0, 80.0], 0))
@example(([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], 1))
def test_change_of_loss_and_divergence_lie_in_their_enclosures(row) -> None:
    """Compared with balls of 200 bits; sharp to 1e-11, and the theorem's interval contains the sharp one."""
    before, after = (np.array([x], dtype=np.float64) for x in row[:2])
    change, kl = exact(before[0], after[0], row[2])
    found = loss_change(before, after, np.array([row[2]]))
    tiny = arb(2) ** -150
    assert arb(float(found.low[0])) <= change + tiny and change - tiny <= arb(float(found.high[0]))
    assert arb(float(found.kl_low[0])) <= kl + tiny and kl - tiny <= arb(float(found.kl_high[0]))
    assert arb(float(found.theorem_low[0])) <= change + tiny and change - tiny <= arb(float(found.theorem_high[0]))
    assert found.theorem_low[0] <= found.low[0] and found.high[0] <= found.theorem_high[0]
    assert 0 <= found.kl_low[0] <= found.kl_high[0] <= found.oscillation[0]
    assert found.high[0] - found.low[0] < 1e-11 and found.kl_high[0] - found.kl_low[0] < 1e-11 * 200


def test_a_worse_exponential_is_noticed(monkeypatch) -> None:
    """With an exponential that is off by 1e-10 the logarithm check widens, and the enclosure still holds."""
    generator = np.random.default_rng(1)
    before = generator.normal(0, 3, (4, 50)).astype(np.float32).astype(np.float64)
    after = before + generator.normal(0, 0.1, before.shape)
    target = np.arange(4)
    good = loss_change(before, after, target)
    monkeypatch.setattr(softmax.np, "log", lambda x: np.log1p(x - 1) * (1 + 1e-10))
    bad = loss_change(before, after, target)
    for i in range(4):
        change, _ = exact(before[i], after[i], int(target[i]))
        assert arb(float(bad.low[i])) <= change <= arb(float(bad.high[i]))
    assert ((bad.high - bad.low) > 10 * (good.high - good.low)).all()


def test_a_table_entry_that_is_wrong_breaks_the_law(monkeypatch) -> None:
    """The test above can fail: one wrong entry of the table puts the exponential outside its error."""
    broken = softmax._TABLE.copy()
    broken[512] *= 1 + 1e-13
    monkeypatch.setattr(softmax, "_TABLE", broken)
    x = -0.5 * float(np.log(2))
    assert abs(arb(float(exp_of_nonpositive(np.array([x]))[0])) / arb(x).exp() - 1) > 9 * U


def test_long_rows_are_summed_in_pieces() -> None:
    """A vocabulary of 5,000 tokens, three pieces: still enclosed and sharp."""
    generator = np.random.default_rng(2)
    before = generator.normal(0, 4, (2, 5000)).astype(np.float32).astype(np.float64)
    after = before + generator.normal(0, 0.01, before.shape)
    found = loss_change(before, after, np.array([7, 4999]))
    for i, target in enumerate((7, 4999)):
        change, kl = exact(before[i], after[i], target)
        assert arb(float(found.low[i])) <= change <= arb(float(found.high[i]))
        assert arb(float(found.kl_low[i])) <= kl <= arb(float(found.kl_high[i]))
        assert found.high[i] - found.low[i] < 1e-11


def fractions(array: np.ndarray) -> list[list[Fraction]]:
    """A float array as exact fractions."""
    return [[Fraction(float(x)) for x in row] for row in array]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-38, 1e30, 1e-160, 1e160])
@pytest.mark.parametrize("width", [3, 2100])
def test_sums_of_squares_are_enclosed(dtype, scale, width) -> None:
    """Error, propagated, introduced, inner product, largest token and window, against exact fractions."""
    dtype = dtype if 1e-38 <= scale <= 1e30 else np.float64
    generator = np.random.default_rng(3)
    before, middle, after = ((generator.normal(size=(4, width)) * scale).astype(dtype) for _ in range(3))
    block = BlockEnergy()
    sums = add_energy(block, before, middle, after)
    b, m, a = (fractions(x) for x in (before, middle, after))

    def square(x, y, u=None, v=None):
        u, v = (x, y) if u is None else (u, v)
        return [sum(((p - q) * (r - s) for p, q, r, s in zip(*rows, strict=True)), Fraction(0))
                for rows in zip(x, y, u, v, strict=True)]

    for interval, tokens in (
        (block.error.total, square(a, b)), (block.propagated_sq, square(m, b)), (block.introduced_sq, square(a, m)),
    ):
        assert interval.lo <= sum(tokens) <= interval.hi <= interval.lo * (1 + Fraction(1, 10**11))
    assert block.error.largest.lo <= max(square(a, b)) <= block.error.largest.hi
    inner = sum(square(m, b, a, m))
    assert block.inner.lo <= inner <= block.inner.hi
    window = window_error(sums[1:3], width)
    assert window.lo <= sum(square(a, b)[1:3]) <= window.hi <= window.lo * (1 + Fraction(1, 10**11))
    total = error_of(after, before)
    assert total.total.lo <= sum(square(a, b)) <= total.total.hi


def test_no_difference_is_exactly_zero_and_a_tiny_one_is_not() -> None:
    """Equal arrays give zero; in float64 a difference whose square underflows does not."""
    x = np.ones((2, 5))
    y = x.copy()
    y[1, 2] += 2.0**-52
    assert error_of(x, x).total == (0, 0)
    assert error_of(y, x).total.lo > 0
    small = np.zeros((2, 5))
    small[0, 0] = 1e-200
    other = small.copy()
    other[0, 1] = 1e-300
    assert error_of(other, small).total.lo > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), min_size=3, max_size=6))
@example([[1e-170, 0.0, 0.0], [1.0, 0.0, 0.0], [2e-170, 5e-324, 1e300]])
def test_sums_are_sharp_whatever_the_sizes_of_the_tokens(rows) -> None:
    """Errors of tokens hundreds of orders of magnitude apart: total, largest and each window stay sharp."""
    after, before = np.array(rows), np.array(rows[::-1])
    block = BlockEnergy()
    sums = add_energy(block, before, before, after)
    exact = [
        sum((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(a, b, strict=True))
        for a, b in zip(after.tolist(), before.tolist(), strict=True)
    ]
    sharp = 1 + Fraction(1, 10**11)
    for found, true in (
        (block.error.total, sum(exact)), (block.error.largest, max(exact)), (error_of(after, before).total, sum(exact)),
        *((window_error(sums[t : t + 1], 3), exact[t]) for t in range(len(rows))),
    ):
        assert found.lo <= true <= found.hi <= found.lo * sharp


def test_flushed_subnormal_differences_are_refused() -> None:
    """Under flush-to-zero two states that differ by subnormal numbers would count as equal."""
    x, y = np.full((2, 8), 1e-40, np.float32), np.full((2, 8), 3e-40, np.float32)
    assert error_of(x, y).total.lo > 0
    if not torch.set_flush_denormal(True):  # the processor has no such mode
        return
    try:
        for call in (lambda: error_of(x, y), lambda: add_energy(BlockEnergy(), x, x, y)):
            with pytest.raises(NumericalError, match="gradual underflow"):
                call()
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_states_keep_their_values(dtype) -> None:
    """Reading a state changes no value and refuses what is not finite."""
    state = torch.randn(2, 3, 4).to(dtype)
    assert (torch.from_numpy(as_rows(state).astype(np.float64)) == state.double().reshape(6, 4)).all()
    state[0, 0, 0] = torch.inf
    with pytest.raises(NonFiniteError, match="finite"):
        as_rows(state)


def test_the_split_of_the_logarithm_of_two_is_close() -> None:
    """The two parts of ln2/1024 add up to it within 2**-93; the tangent's squares, in exact arithmetic, decide."""
    step = Fraction(softmax._HIGH) + Fraction(softmax._LOW)
    down, up = (lambda x: dyadic.round_down(x, 400)), (lambda x: dyadic.round_up(x, 400))
    off = Fraction(1, 2**93)
    assert exponential.exp_upper(1024 * (step - off), 180, up) < 2
    assert exponential.exp_lower(1024 * (step + off), 180, down) > 2
    assert (Fraction(softmax._HIGH) * 2**40).denominator == 1 and Fraction(softmax._HIGH) * 2**40 < 2**30
    # so the rest of an argument is: its own rounding, three roundings of the part, and 2**20 times the split's error
    rest = 700 * softmax._UNIT * (1 + softmax._UNIT) + softmax._UNIT * (2 * Fraction(1, 2**10) + Fraction(1, 2**19))
    assert rest + 2**20 * off <= softmax._REST
    assert Fraction(700) / step < 2**20 and step * (Fraction(1, 2) + Fraction(1, 2**20)) + rest < softmax._PART


def test_the_table_is_correctly_rounded() -> None:
    """Every entry's 1024th power, an exact integer, lies within half a unit of a power of two."""
    for j, entry in enumerate(softmax._TABLE):
        middle = Fraction(float(entry))
        low, high = middle - Fraction(1, 2**53), middle + Fraction(1, 2**53)
        assert low**1024 <= 2**j <= high**1024


def test_the_error_of_the_exponential_is_that_of_its_theorem() -> None:
    """Nearly all of it is the rounding of the argument; twice that, by the theorem's form."""
    assert 2 * 701 * Fraction(1, 2**53) < softmax.EXP_ERROR < 1420 * Fraction(1, 2**53)
    assert Fraction(1, 2**1009) > softmax._ABOVE_LOWEST
