"""Enclosures of Frobenius norms, errors and inner products, held to exact rational arithmetic."""

from __future__ import annotations

import warnings
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from peelverify.certify import checker
from peelverify.certify.exact import spell
from peelverify.enclose import arrays as arrays_module
from peelverify.enclose import (
    error_sq,
    exact_sum,
    inner_of_differences,
    norm_fro_lower,
    norm_fro_upper,
    round_down,
    round_up,
    sqrt_lower,
    sqrt_upper,
    sum_sq,
)
from peelverify.enclose import frobenius as frobenius_module
from peelverify.errors import DomainError, InputError, NonFiniteError, NumericalError, ShapeError

FINITE64 = st.floats(allow_nan=False, allow_infinity=False, width=64)
FINITE32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
ARRAYS64 = hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9), elements=FINITE64)
RATIONALS = st.fractions(min_value=0, max_value=10**40)


def exact(array: np.ndarray) -> list[Fraction]:
    """Entries as exact rationals."""
    return [Fraction(float(x)) for x in np.asarray(array, dtype=np.float64).ravel()]


@given(ARRAYS64)
@example(np.zeros((0, 3)))
@example(np.array([5e-324, 5e-324]))
@example(np.array([1.7e308, 1.7e308, -1.7e308]))
@example(np.array([1e300, 1e-300, 1.0]))
@example(np.full(5000, 0.1))
def test_sum_of_squares_lies_inside(array: np.ndarray) -> None:
    """The exact sum of squares is never outside the enclosure, at any magnitude or length."""
    truth = sum((x * x for x in exact(array)), Fraction(0))
    found = sum_sq(array)
    assert found.lo <= truth <= found.hi
    assert norm_fro_lower(array) ** 2 <= truth <= norm_fro_upper(array) ** 2


@given(hnp.arrays(np.float64, st.integers(1, 5000), elements=st.floats(-1e6, 1e6)))
@example(np.full(4096, 1 / 3))
@example(np.array([1e-300] * 3))
def test_norm_is_sharp(array: np.ndarray) -> None:
    """Upper and lower bound differ by at most 1e-12 relative wherever squares do not all underflow."""
    if np.max(np.abs(array)) == 0:
        assert norm_fro_upper(array) == norm_fro_lower(array) == 0
    else:
        assert norm_fro_upper(array) - norm_fro_lower(array) <= Fraction(1, 10**12) * norm_fro_upper(array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed"])
def test_any_float_type_and_layout(dtype, layout: str) -> None:
    """The bound speaks of the stored values whatever their type and memory layout."""
    base = np.random.default_rng(3).standard_normal((40, 30)).astype(dtype)
    array = {
        "C": base, "F": np.asfortranarray(base), "strided": base[::3, ::2], "reversed": base[::-1, ::-1],
    }[layout]
    truth = sum((x * x for x in exact(array.astype(np.float64))), Fraction(0))
    assert norm_fro_lower(array) ** 2 <= truth <= norm_fro_upper(array) ** 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_tensors_mean_their_stored_values(dtype: torch.dtype) -> None:
    """A torch tensor is bounded like the array of the same values, with or without gradient."""
    tensor = torch.randn(17, 9, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    same = tensor.detach().double().numpy()
    assert norm_fro_lower(tensor) ** 2 <= sum((x * x for x in exact(same)), Fraction(0)) <= norm_fro_upper(tensor) ** 2


@given(hnp.arrays(np.float32, 7, elements=FINITE32), hnp.arrays(np.float32, 7, elements=FINITE32))
@example(np.zeros(7, np.float32), np.full(7, 1e-45, np.float32))
@example(np.full(7, 3e38, np.float32), np.full(7, -3e38, np.float32))
def test_error_of_float32_arrays_lies_inside(x: np.ndarray, y: np.ndarray) -> None:
    """The difference is that of the stored values, taken exactly; zero only for equal arrays."""
    truth = sum(((a - b) ** 2 for a, b in zip(exact(x), exact(y), strict=True)), Fraction(0))
    found = error_sq(x, y)
    assert found.lo <= truth <= found.hi
    assert (found.hi == 0) == bool((x == y).all())
    assert truth == 0 or found.hi - found.lo <= Fraction(1, 10**12) * truth


@given(*(hnp.arrays(np.float32, 5, elements=st.floats(-1e10, 1e10, width=32)) for _ in range(4)))
@example(*(np.array([1, -1, 1e10, -1e10, 0], np.float32) for _ in range(4)))
def test_inner_product_lies_inside(x, y, z, w) -> None:
    """Cancelling inner products stay inside their enclosure."""
    truth = sum(
        ((a - b) * (c - d) for a, b, c, d in zip(exact(x), exact(y), exact(z), exact(w), strict=True)), Fraction(0)
    )
    found = inner_of_differences(x, y, z, w)
    assert found.lo <= truth <= found.hi


def test_a_plain_float_sum_would_be_outside() -> None:
    """The law can fail: numpy's own norm lies outside the enclosure for some array."""
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(50):
        array = rng.standard_normal(3000).astype(np.float32)
        naive = Fraction(float(np.linalg.norm(array)))
        outside += not norm_fro_lower(array) <= naive <= norm_fro_upper(array)
    assert outside > 0


def test_a_missing_error_term_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rounding term the enclosure misses the truth: the tests above would go red."""
    monkeypatch.setattr(frobenius_module, "relative_error", lambda roundings: Fraction(0))
    monkeypatch.setattr(frobenius_module, "ETA", Fraction(0))
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(20):
        array = rng.standard_normal(500)
        truth = sum((x * x for x in exact(array)), Fraction(0))
        missed += not sum_sq(array).lo <= truth <= sum_sq(array).hi
    assert missed > 0


@given(st.lists(FINITE64, max_size=30))
@example([1e308, -1e308, 5e-324])
def test_exact_sum_is_exact(values: list[float]) -> None:
    """The sum of floats has no rounding at all."""
    assert exact_sum(np.array(values)) == sum(map(Fraction, values), Fraction(0))


def test_exact_sum_of_many_equal_exponents_does_not_overflow() -> None:
    """A million mantissas of full length are added without wrapping round."""
    values = np.full(1_000_000, np.nextafter(2.0, 0.0))
    assert exact_sum(values) == 1_000_000 * Fraction(float(values[0]))


@given(RATIONALS, st.integers(8, 80))
@example(Fraction(2**64 - 1, 3), 64)
@example(Fraction(1, 3), 8)
def test_outward_rounding(value: Fraction, bits: int) -> None:
    """Down is not above, up is not below, both fit in the bits and are within two units of the last."""
    down, up = round_down(value, bits), round_up(value, bits)
    assert down <= value <= up
    assert up - down <= Fraction(4, 2**bits) * value
    for x in (down, up):
        odd = x.numerator // (x.numerator & -x.numerator) if x else 0
        assert odd.bit_length() <= bits


@given(RATIONALS)
@example(Fraction(4))
@example(Fraction(1, 10**300))
def test_square_roots(value: Fraction) -> None:
    """The enclosed root is on the right side and sharp to 2**-61."""
    lo, hi = sqrt_lower(value), sqrt_upper(value)
    assert lo * lo <= value <= hi * hi
    assert hi - lo <= Fraction(1, 2**61) * hi


@given(RATIONALS)
def test_checker_rounds_as_the_product_does(value: Fraction) -> None:
    """The stand-alone checker, which shares no code, rounds up to the same number and spells it once."""
    up = round_up(value)
    assert checker.round_up(value) == up
    assert checker.parse(spell(up)) == up


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_entries_are_refused(bad: float) -> None:
    """NaN and infinity raise; no bound is made up."""
    with pytest.raises(NonFiniteError, match="finite"):
        norm_fro_upper(np.array([1.0, bad]))


@pytest.mark.parametrize("bad", [np.arange(3), np.ones(2, complex), torch.arange(3), np.array(["a"])])
def test_other_types_are_refused(bad) -> None:
    """Integers, complex numbers and strings are not converted silently."""
    with pytest.raises(InputError):
        norm_fro_upper(bad)


def test_shapes_must_agree() -> None:
    """Differences of arrays of different shapes are not broadcast."""
    with pytest.raises(ShapeError):
        error_sq(np.ones(3), np.ones((3, 1)))


def test_negative_numbers_have_no_root() -> None:
    """Roots and magnitudes of negative numbers are refused."""
    for function in (sqrt_lower, sqrt_upper, round_up, round_down):
        with pytest.raises(DomainError):
            function(Fraction(-1))


def test_flush_to_zero_is_refused() -> None:
    """With subnormal numbers flushed to zero the error terms do not hold, so enclosures refuse to run."""
    if not torch.set_flush_denormal(True):  # the processor has no such mode
        return
    try:
        with pytest.raises(NumericalError, match="gradual underflow"):
            arrays_module.require_ieee_arithmetic()
    finally:
        torch.set_flush_denormal(False)
    arrays_module.require_ieee_arithmetic()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("blocks", [1, 3, frobenius_module._PASS, frobenius_module._PASS + 2])
@pytest.mark.parametrize("rest", [0, 1, 4095])
def test_blocks_and_passes_are_put_together(dtype, blocks: int, rest: int) -> None:
    """Sums over whole blocks, several passes and a rest stay sharp and on their side."""
    size = blocks * frobenius_module.BLOCK + rest
    array = np.random.default_rng(size).standard_normal(size).astype(dtype)
    array = np.round(array.astype(np.float64) * 2.0**20) * 2.0**-20  # so that integer sums of squares are exact
    array = array.astype(dtype)
    truth = Fraction(sum(int(x) ** 2 for x in np.ldexp(array.astype(np.float64), 40).tolist()), 2**80)
    low, high = norm_fro_lower(array), norm_fro_upper(array)
    assert low**2 <= truth <= high**2
    assert high - low <= Fraction(1, 10**12) * high


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_magnitudes_at_the_ends_give_no_warning(dtype, size: int) -> None:
    """Squares that overflow or vanish are met by scaling, in silence."""
    info = np.finfo(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (info.max, info.tiny, info.smallest_subnormal):
            array = np.full(size, value, dtype)
            truth = size * Fraction(float(value)) ** 2
            assert norm_fro_lower(array) ** 2 <= truth <= norm_fro_upper(array) ** 2
        signalling = np.full(size, 1, dtype)
        signalling.view(f"u{signalling.itemsize}")[1] = 0x7F800001 if dtype == np.float32 else 0x7FF0000000000001
        with pytest.raises(NonFiniteError):
            norm_fro_upper(signalling)


@pytest.mark.parametrize("action", ["error", "always"])
@pytest.mark.parametrize("size", [3, 5000])
def test_the_other_byte_order_gives_no_warning(size: int, action: str) -> None:
    """The same where each number has to be turned round first, whether warnings are errors or not."""
    array = np.full(size, 1e300).astype(np.dtype(np.float64).newbyteorder())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        assert norm_fro_lower(array) ** 2 <= size * Fraction(1e300) ** 2 <= norm_fro_upper(array) ** 2
    assert not seen
