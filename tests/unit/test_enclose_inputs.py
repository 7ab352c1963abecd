"""What the enclosures take and refuse: types, layouts, shapes, bad entries, arithmetic that is not IEEE double."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peelverify import enclose
from peelverify.enclose import arrays, frobenius, operator
from peelverify.errors import InputError, NonFiniteError, NumericalError, ShapeError

ONE = {
    name: getattr(enclose, name)
    for name in (
        "norm_fro_lower", "norm_fro_upper", "norm_max_lower", "norm_max_upper", "norm_op1_lower", "norm_op1_upper",
        "norm_op2_lower", "norm_op2_upper", "norm_opinf_lower", "norm_opinf_upper",
    )
}
BASE = np.random.default_rng(0).standard_normal((12, 9))


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same matrix in other memory layouts."""
    wide = np.zeros((24, 18), array.dtype)
    wide[::2, ::2] = array
    readonly = array.copy()
    readonly.flags.writeable = False
    offset = np.frombuffer(b"\0" + array.tobytes(), dtype=np.uint8)[1:].view(array.dtype).reshape(array.shape)
    found = {
        "fortran": np.asfortranarray(array), "strided": wide[::2, ::2], "readonly": readonly, "unaligned": offset,
        "reversed": np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
    }
    if array.dtype != ml_dtypes.bfloat16:
        found["big-endian"] = array.astype(array.dtype.newbyteorder(">"))
    return found


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("name", ONE)
def test_every_norm_reads_every_layout(name: str, dtype) -> None:
    """Layout changes at most the order of additions: bounds agree to 1e-12, and stay bounds of the same matrix."""
    array = BASE.astype(dtype)
    plain = ONE[name](array)
    for layout, other in layouts(array).items():
        assert np.array_equal(other.astype(np.float64), array.astype(np.float64)), layout
        assert abs(ONE[name](other) - plain) <= Fraction(1, 10**7) * plain, layout
    tensor = torch.from_numpy(array.astype(np.float64)).to(
        {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}[
            np.dtype(dtype).name
        ]
    )
    assert ONE[name](tensor) == plain
    assert abs(ONE[name](tensor.T.contiguous().T) - plain) <= Fraction(1, 10**7) * plain


@pytest.mark.parametrize("name", ONE)
def test_bad_entries_are_counted_and_located(name: str) -> None:
    """The message says how many entries are NaN or infinite and where the first is; the error carries both."""
    array = BASE.copy()
    array[3, 4], array[3, 5], array[8, 1] = np.nan, np.inf, -np.inf
    with pytest.raises(NonFiniteError, match=r"got 3 that are NaN or infinite, the first at index \(3, 4\): nan") as at:
        ONE[name](array)
    assert at.value.count == 3
    assert at.value.first == (3, 4)
    for tensor in (torch.tensor([[1.0, torch.inf]], dtype=torch.bfloat16), torch.tensor([[1.0, torch.nan]])):
        with pytest.raises(NonFiniteError, match=r"got 1 that is NaN or infinite, the first at index \(0, 1\)"):
            ONE[name](tensor)


def test_bad_entries_of_pairs_are_located() -> None:
    """Differences, inner products, products, residuals and exact sums of few and many entries refuse NaN too."""
    good, bad = np.ones((2, 2)), np.array([[1.0, 2.0], [np.nan, 3.0]])
    for call in (
        lambda: enclose.error_sq(good, bad), lambda: enclose.inner_upper(bad, good),
        lambda: enclose.inner_of_differences(good, good, bad, good), lambda: enclose.matmul_enclosed(good, bad),
        lambda: enclose.residual_norm_fro_upper(bad, good, good),
        lambda: enclose.residual_norm_fro_lower(good, bad, good),
        lambda: enclose.exact_sum(bad), lambda: enclose.exact_sum(np.pad(bad, ((0, 0), (0, 99)))),
    ):
        with pytest.raises(NonFiniteError, match=r"\(1, 0\)"):
            call()


@pytest.mark.parametrize("bad", [
    np.ones((2, 2), int), np.ones((2, 2), complex), np.ones((2, 2), bool), np.ones((2, 2), np.longdouble),
    np.ma.masked_array(np.ones((2, 2)), mask=[[True, False], [False, False]]), torch.ones(2, 2, dtype=torch.int8),
    torch.eye(2).to_sparse(), torch.ones(2, 2).to(torch.float8_e4m3fn), [["a", "b"]],
])
@pytest.mark.parametrize("name", ["norm_fro_upper", "norm_op2_upper", "norm_op1_upper", "norm_max_upper"])
def test_other_types_are_refused(name: str, bad) -> None:
    """Nothing is converted or unmasked silently; the message says what to do."""
    with pytest.raises(InputError, match=r"yourself|to_dense"):
        ONE[name](bad)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("value", [0.0, 5e-324, 1.5e308, 1e-300, 3.0])
def test_edges(shape: tuple[int, int], value: float) -> None:
    """Empty, one row, one column; zero, subnormal, huge: exact facts about a constant matrix stay inside."""
    m, n = shape
    array = np.full(shape, value)
    v = Fraction(value) if array.size else Fraction(0)
    assert enclose.norm_max_upper(array) == enclose.norm_max_lower(array) == v
    assert enclose.norm_op1_lower(array) <= m * v <= enclose.norm_op1_upper(array)
    assert enclose.norm_opinf_lower(array) <= n * v <= enclose.norm_opinf_upper(array)
    for kind in ("fro", "op2"):
        low, high = ONE[f"norm_{kind}_lower"](array), ONE[f"norm_{kind}_upper"](array)
        assert low**2 <= m * n * v**2 <= high**2
        assert high - low <= Fraction(1, 10**12) * high


def test_products_at_the_edges() -> None:
    """Empty factors give zeros, or an empty product; the residual of nothing is the target."""
    found = enclose.matmul_enclosed(np.zeros((2, 0)), np.zeros((0, 3)))
    assert found.approx.shape == found.radius.shape == (2, 3)
    assert not found.approx.any()
    assert enclose.matmul_enclosed(np.ones((0, 4)), np.ones((4, 3))).approx.shape == (0, 3)
    target = np.array([[3.0, 4.0]])
    assert enclose.residual_norm_fro_upper(target, np.zeros((1, 0)), np.zeros((0, 2))) >= 5
    assert enclose.residual_norm_fro_lower(target, np.zeros((1, 0)), np.zeros((0, 2))) <= 5
    with pytest.raises(ShapeError, match="shape of the product"):
        enclose.residual_norm_fro_upper(target.T, np.zeros((1, 1)), np.zeros((1, 2)))
    with pytest.raises(ShapeError, match="needs a matrix"):
        enclose.matmul_enclosed(np.ones(2), np.ones((2, 2)))


def test_products_of_low_bit_weights_are_exact() -> None:
    """Weights on a grid times integers have radius zero in every type; one entry off the grid ends that."""
    rng = np.random.default_rng(1)
    x, w = rng.integers(-127, 128, (30, 200)), rng.integers(-7, 8, (200, 40)) / 8
    for dtype in (np.float32, np.float64, ml_dtypes.bfloat16):
        assert not enclose.matmul_enclosed(x.astype(dtype), w.astype(dtype)).radius.any()
    assert (enclose.matmul_enclosed(x.astype(np.float64), w).approx == x @ w).all()
    w[0, 0] += 2.0**-50
    assert enclose.matmul_enclosed(x.astype(np.float64), w).radius.any()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10))
def test_pieces_and_chunks_do_not_change_what_is_bounded(rows: int, columns: int, seed: int) -> None:
    """However the matrix is cut into pieces, bounds are those of the whole."""
    array = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    plain = [f(array) for f in ONE.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK", 7)
        patch.setattr(operator, "_PIECE", 11)
        patch.setattr(operator, "_BLOCK", 3)
        patch.setattr(enclose.sums, "_PIECE", 5)
        patch.setattr(frobenius, "BLOCK", 4)
        patch.setattr(frobenius, "_PASS", 3)
        patch.setattr(frobenius, "_rooms", [])
        cut = [f(array) for f in ONE.values()]
    for a, b in zip(plain, cut, strict=True):
        assert abs(a - b) <= Fraction(1, 10**7) * max(a, b)


def test_reduced_precision_products_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in float32, or with a flushed subnormal, are refused before any bound is stated."""
    monkeypatch.setattr(arrays, "_probe_product", lambda a, b: (a.astype(np.float32) @ b).astype(np.float64))
    with pytest.raises(NumericalError, match="full float64"):
        enclose.norm_op2_upper(BASE)
    monkeypatch.setattr(arrays, "_probe_product", lambda a, b: np.where(abs(a @ b) < 2.0**-1022, 0.0, a @ b))
    with pytest.raises(NumericalError, match="flush-to-zero"):
        enclose.matmul_enclosed(BASE, BASE.T)


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    """Another rounding mode of the processor, by the C library."""
    library = ctypes.CDLL(None)
    assert library.fesetround(mode) == 0
    try:
        yield
    finally:
        library.fesetround(0)


def directed_modes() -> list[int]:
    """Numbers of the three directed rounding modes on this processor: FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO."""
    return [0x800000, 0x400000, 0xC00000] if platform.machine() == "aarch64" else [0x400, 0x800, 0xC00]


@pytest.mark.parametrize("mode", directed_modes())
def test_directed_rounding_is_refused(mode: int) -> None:
    """Error terms are those of rounding to nearest; sums that were rounded upwards crossed their bounds."""
    answers = {}
    for call in (enclose.sum_sq, *ONE.values()):
        if call in (enclose.norm_max_lower, enclose.norm_max_upper):  # no arithmetic, no error
            continue
        with rounding(mode):
            try:
                answers[call.__name__] = call(BASE)
            except NumericalError as error:
                answers[call.__name__] = str(error)
    assert all("rounding to nearest" in str(answer) for answer in answers.values()), answers


@pytest.mark.parametrize("mode", directed_modes())
def test_directed_rounding_inside_a_product_is_refused(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library whose threads round in another way: the probe of products sees it."""

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with rounding(mode):
            return a @ b

    monkeypatch.setattr(arrays, "_probe_product", product)
    with pytest.raises(NumericalError, match="directed rounding"):
        enclose.matmul_enclosed(BASE, BASE.T)


@pytest.mark.parametrize("array", [
    np.array([[5e-324, 1.0], [2e-310, 3.0]]), np.full((6, 5), 3e-320), np.full((6, 5), 1e300),
    np.array([[1e-300, 1e300], [1e-160, 1e160]]), np.full((4, 4), 1e-45, np.float32),
])
def test_answers_do_not_depend_on_what_numpy_was_told_to_raise(array: np.ndarray) -> None:
    """Underflow and overflow inside are covered by the bounds; a caller's np.errstate does not see them."""
    square = np.zeros((len(array), len(array)), array.dtype)

    def all_of_them() -> list[object]:
        found = [
            *(call(array) for call in (*ONE.values(), enclose.sum_sq)), enclose.error_sq(array, array[::-1]),
            enclose.inner_upper(array, array[::-1]),
        ]
        if float(np.abs(array).max()) > 1e200:  # the product is beyond float64, which is an error of its own
            return found
        product = enclose.matmul_enclosed(array, array.T)
        return [*found, product[1].tolist(), enclose.residual_norm_fro_upper(square, array, array.T)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = all_of_them()
        with np.errstate(all="raise"):
            assert all_of_them() == plain


class Unwilling:
    """An object whose conversion to an array fails."""

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        """Fail."""
        raise RuntimeError("no")


@pytest.mark.parametrize("array", [
    lambda: torch.empty(3, 4, device="meta"), lambda: torch.nested.nested_tensor([torch.randn(2), torch.randn(3)]),
    lambda: [[1.0], [1.0, 2.0]], Unwilling, lambda: torch.quantize_per_tensor(torch.randn(3, 4), 0.1, 0, torch.qint8),
], ids=["meta", "nested", "ragged", "unwilling", "quantized"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, on nested and quantized tensors
def test_what_has_no_values_is_refused_in_one_line(array: Callable[[], object]) -> None:
    """Tensors without data, ragged lists and failing conversions are bad input, not an internal error."""
    for call in ONE.values():
        with pytest.raises(InputError):
            call(array())


def test_a_tensor_inside_a_transform_is_refused() -> None:
    """Under vmap a tensor has no values of its own."""
    with pytest.raises(InputError, match="outside transforms"):
        torch.func.vmap(enclose.norm_fro_upper)(torch.randn(2, 3, 4))


def test_flush_to_zero_in_this_thread_is_refused() -> None:
    """The same by the processor's own mode, in a process of its own."""
    code = (
        "import torch, numpy as np\n"
        "from peelverify import enclose\n"
        "from peelverify.errors import NumericalError\n"
        "if not torch.set_flush_denormal(True): raise SystemExit(0)\n"
        "for call in (enclose.norm_fro_upper, enclose.norm_op2_upper, enclose.norm_op1_upper):\n"
        "    try:\n        call(np.ones((3, 3)))\n"
        "    except NumericalError as error:\n        assert 'gradual underflow' in str(error)\n"
        "    else:\n        raise SystemExit(call.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gram_errors_of_rows_of_any_size_are_covered() -> None:
    """Rows that differ by 600 orders of magnitude, where products underflow, keep the bound on its side."""
    rng = np.random.default_rng(2)
    array = rng.standard_normal((20, 30)) * np.logspace(-300, 0, 20)[:, None]
    for scale in (1.0, 1e300, 1e-20):
        high, low = enclose.norm_op2_upper(array * scale), enclose.norm_op2_lower(array * scale)
        assert low <= high <= low * (1 + Fraction(1, 10**6))


@pytest.mark.parametrize("steps", [2, 8])
def test_a_poor_estimate_is_sharpened_by_the_factor(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too few steps of the iteration the first certificate is loose, and inverse iteration makes it sharp."""
    array = np.random.default_rng(3).standard_normal((80, 90))
    sharp = enclose.norm_op2_upper(array)
    monkeypatch.setattr(operator, "_STEPS", steps)
    assert abs(enclose.norm_op2_upper(array) - sharp) <= Fraction(1, 10**6) * sharp
