"""Packed Lean files: their numbers are those of the stored entries, whatever the format, and their bounds hold."""

from __future__ import annotations

import re
from fractions import Fraction as F

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peelverify.certify.packed import (
    MAX_COLUMNS,
    MAX_ENTRIES,
    pack_difference,
    pack_operator_norm,
)
from peelverify.errors import InputError, NonFiniteError, ShapeError

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


def unpack(numeral: str, width: int, count: int) -> list[int]:
    """Oracle: the digits of a numeral, the lowest first."""
    data = int(numeral, 16)
    return [(data >> (width * i)) & ((1 << width) - 1) for i in range(count)]


def rational(text: str) -> F:
    """Oracle: a number of the file."""
    return F(text.replace(" ", ""))


def read_difference(text: str, shape: tuple[int, int]) -> tuple[list[list[F]], list[list[F]], F]:
    """Oracle: the two matrices and the bound that a file of a distance speaks of, read from its text alone."""
    formats = [tuple(map(int, found)) for found in re.findall(r"PackedFormat := ⟨(\d+), (\d+), (\d+)⟩", text)]
    unit = rational(re.search(r"packedCompressed compressedFormat \(([^:]+) : Rat\)", text)[1])
    bound = rational(re.findall(r"\(([^()]+)\) :=\n  frobLe_of_packed", text)[0])
    tables = []
    for which, (width, offset, scale) in enumerate(formats):
        numerals = [found[which] for found in re.findall(r"⟨(0x[0-9a-f]+), (0x[0-9a-f]+), \d+⟩", text)]
        assert len(numerals) == shape[0]
        tables.append([[unit * scale * (x - offset) for x in unpack(n, width, shape[1])] for n in numerals])
    return tables[0], tables[1], bound


def exact(array) -> list[list[F]]:
    """Oracle: the stored entries."""
    return [[F(float(x)) for x in row] for row in array]


def small_matrices(dtype):
    """Pairs of matrices of one shape in a format, zeros and subnormal entries among them."""
    finfo = ml_dtypes.finfo(dtype)
    entries = st.sampled_from([0.0, -0.0, float(finfo.smallest_subnormal), -1.0]) | st.floats(-4, 4, width=16)
    shape = st.tuples(st.integers(1, 3), st.integers(1, 5))
    return shape.flatmap(
        lambda s: st.tuples(
            *[
                st.lists(st.lists(entries, min_size=s[1], max_size=s[1]), min_size=s[0], max_size=s[0])
                for _ in range(2)
            ]
        )
    ).map(lambda pair: tuple(np.array(rows, dtype=np.float64).astype(dtype) for rows in pair))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name)
def test_a_distance_file_speaks_of_the_stored_entries(dtype):
    """What the file packs is what is stored, and its bound is just above the exact distance."""

    @PROPERTY
    @given(small_matrices(dtype))
    def holds(pair):
        source = pack_difference(*pair)
        old, new, bound = read_difference(source.text, pair[0].shape)
        assert old == exact(pair[0]) and new == exact(pair[1])
        distance = sum((a - b) ** 2 for x, y in zip(old, new, strict=True) for a, b in zip(x, y, strict=True))
        assert distance == source.exact_sq
        assert bound == source.bound
        assert distance <= bound**2 <= distance * (1 + F(1, 2**50))

    holds()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_an_operator_norm_file_speaks_of_the_stored_entries(dtype):
    """The columns of the file are the entries above a factor, forwards and backwards, and the bound is sharp."""
    rng = np.random.default_rng(7)
    matrix = rng.standard_normal((5, 4)).astype(dtype)
    source = pack_operator_norm(matrix)
    offset, unit = re.search(r"packedMatrix \d+ (\d+) \(([^:]+) : Rat\)", source.text).groups()
    (width,) = source.bits
    size = int(re.search(r"\(n := (\d+)\)", source.text)[1]) + 1
    found = re.findall(r"⟨(0x[0-9a-f]+), (0x[0-9a-f]+), (\d+)⟩", source.text)
    assert len(found) == 4
    for j, (forward, backward, total) in enumerate(found):
        digits = unpack(forward, width, size)
        assert digits == unpack(backward, width, size)[::-1]
        assert sum(digits) == int(total)
        assert [rational(unit) * (x - int(offset)) for x in digits[:5]] == [row[j] for row in exact(matrix)]
    norm = np.linalg.norm(matrix.astype(np.float64), 2)
    assert norm <= float(source.bound) <= norm * (1 + 2.0**-9)


def test_the_difference_of_two_is_taken_exactly():
    """A difference that float64 would round away is still in the file."""
    one, two = np.array([[1.0, 2.0**60]]), np.array([[1.0, 2.0**60 - 256.0]])
    tiny = np.array([[2.0**-30, 0.0]]) + one
    assert float(pack_operator_norm(one, minus=two).bound) == pytest.approx(256, rel=2e-3)
    assert float(pack_operator_norm(tiny, minus=one).bound) == pytest.approx(2.0**-30, rel=2e-3)
    assert pack_difference(tiny, one).exact_sq == F(2) ** -60


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 8), (2, 9)])
def test_every_shape_packs(shape):
    """Rows that are no power of two long are filled up, and the filling adds nothing."""
    rng = np.random.default_rng(1)
    pair = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    source = pack_difference(*pair)
    old, new, _ = read_difference(source.text, shape)
    assert old == exact(pair[0]) and new == exact(pair[1])
    assert pack_operator_norm(pair[0]).shape == shape


def test_zero_matrices_have_the_bound_zero():
    """Equal matrices are at distance zero, and the zero matrix has norm zero."""
    w = np.ones((2, 3), dtype=np.float32)
    assert pack_difference(w, w).bound == 0
    assert pack_operator_norm(w, minus=w).bound == 0


def test_tensors_and_arrays_of_two_formats_are_taken():
    """A bfloat16 tensor beside a float32 array."""
    w = torch.tensor([[0.1, -0.2], [0.3, 0.4]])
    source = pack_difference(w, w.to(torch.bfloat16))
    assert source.exact_sq == sum(
        (F(a) - F(b)) ** 2 for a, b in zip(w.flatten().tolist(), w.bfloat16().flatten().tolist(), strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([[1.0, 2.0]], [[1.0]]), ShapeError, "one shape"),
        (([1.0], [1.0]), ShapeError, "matrix"),
        ((np.zeros((0, 3)), np.zeros((0, 3))), ShapeError, "at least one entry"),
        (([[np.nan]], [[1.0]]), NonFiniteError, "finite"),
        (([[1e-300, 1e300]], [[0.0, 0.0]]), InputError, "320 bits"),
        ((np.zeros((2, MAX_ENTRIES)), np.zeros((2, MAX_ENTRIES))), InputError, "at most"),
        ((np.array([[1]]), np.array([[1]])), InputError, "float"),
    ],
)
def test_what_cannot_be_packed_is_refused(arguments, error, words):
    """Each refusal says why."""
    arrays = [np.asarray(a) if not isinstance(a, np.ndarray) else a for a in arguments]
    with pytest.raises(error, match=words):
        pack_difference(*arrays)


def test_norms_that_cannot_be_packed_are_refused():
    """Too many columns, a slack outside its range."""
    with pytest.raises(InputError, match="columns"):
        pack_operator_norm(np.zeros((1, MAX_COLUMNS + 1)))
    for slack in (0.0, -1.0, 2.0):
        with pytest.raises(InputError, match="slack"):
            pack_operator_norm(np.ones((2, 2)), slack=slack)
