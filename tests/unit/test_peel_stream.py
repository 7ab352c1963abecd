"""Streamed YES bounds: the same numbers as in memory, in memory that does not grow with the samples."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peelverify.errors import InputError, NonFiniteError, ShapeError
from peelverify.peel.least_squares import TriangleSum, least_squares
from peelverify.peel.stream import yes_bounds_streamed
from peelverify.peel.yes import yes_bounds
from peelverify.verdict import Outcome


def network(samples: int, depth: int, width: int = 6, inputs: int = 4, seed: int = 0) -> tuple:
    """Inputs, labels and hidden outputs of a random ReLU network."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(samples, inputs))
    hidden, state = [], x
    for _ in range(depth - 1):
        state = np.maximum(state @ draw.normal(size=(state.shape[1], width)), 0.0)
        hidden.append(state)
    return x, np.abs(draw.normal(size=(samples, width))), hidden


def cut(x: np.ndarray, y: np.ndarray, hidden: list[np.ndarray], size: int) -> Iterator[tuple]:
    """Chunks of a size."""
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield x[rows], y[rows], [h[rows] for h in hidden]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize(("samples", "size"), [(200, 33), (200, 1), (5, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_streamed_equals_in_memory(depth: int, samples: int, size: int, bias: bool) -> None:
    """All maps agree to 1e-8 of the labels, for any chunks, also with fewer samples than features."""
    data = network(samples, depth, seed=depth)
    whole = yes_bounds(*data, bias=bias)
    parts = yes_bounds_streamed(lambda: cut(*data, size), bias=bias)
    size_of_labels = float((data[1] ** 2).sum(axis=1).mean())
    assert parts.bounds.keys() == whole.bounds.keys()
    for target, bound in whole.bounds.items():
        assert parts.bounds[target] == pytest.approx(bound, rel=1e-8, abs=1e-8 * size_of_labels), target
    assert parts.per_layer_yes0 == pytest.approx(whole.per_layer_yes0, rel=1e-8, abs=1e-8 * size_of_labels)
    assert len(parts.by_k) == len(whole.by_k)
    assert parts.yes0 == parts.per_layer_yes0[-1] or parts.yes0 == pytest.approx(parts.per_layer_yes0[-1])


def test_dependent_features_are_seen() -> None:
    """A repeated column is rank deficient in both, with equal bounds."""
    x, y, hidden = network(80, 3)
    x = np.hstack([x, x[:, :1]])
    hidden[0][:, 1] = hidden[0][:, 0]
    whole, parts = yes_bounds(x, y, hidden), yes_bounds_streamed(lambda: cut(x, y, hidden, 7))
    assert whole.outcome is parts.outcome is Outcome.RANK_DEFICIENT
    for target, bound in whole.bounds.items():
        assert parts.bounds[target] == pytest.approx(bound, rel=1e-8)


def test_memory_does_not_grow_with_the_samples() -> None:
    """Ten times the samples, made chunk by chunk, need the same memory to within a fifth."""

    def peak(count: int) -> int:
        def chunks() -> Iterator[tuple]:
            for i in range(count):
                yield network(250, 4, width=12, inputs=8, seed=i)

        tracemalloc.start()
        yes_bounds_streamed(chunks)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)
    few, many = peak(4), peak(40)
    assert many < 1.2 * few


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6), st.integers(1, 3), st.integers(1, 12),
       st.booleans())
@example(0, 1, 6, 3, 1, True)
def test_triangle_sum_is_least_squares(
    seed: int, samples: int, features: int, outputs: int, size: int, bias: bool
) -> None:
    """Predictions of the streamed fit are those of the fit in memory, singular or not."""
    draw = np.random.default_rng(seed)
    z = draw.integers(-2, 3, size=(samples, features)).astype(float)
    t = draw.normal(size=(samples, outputs))
    total = TriangleSum(bias=bias)
    for start in range(0, samples, size):
        total.add(z[start : start + size], t[start : start + size])
    ours, theirs = total.solve(), least_squares(z, t, bias=bias)
    assert ours.rank == theirs.rank
    np.testing.assert_allclose(ours(z), theirs(z), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.weight, theirs.weight, rtol=1e-6, atol=1e-8)


def test_nearly_dependent_features_are_resolved() -> None:
    """Columns that differ by 1e-9 are told apart, which a Gram matrix cannot do."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(50, 2))
    z[:, 1] = z[:, 0] + 1e-9 * z[:, 1]
    t = z @ np.array([[1.0], [1.0]])
    total = TriangleSum(bias=False)
    for row in range(0, 50, 5):
        total.add(z[row : row + 5], t[row : row + 5])
    fit = total.solve()
    assert fit.rank == 2
    np.testing.assert_allclose(fit.weight, [[1.0, 1.0]], atol=1e-5)


def test_bad_chunks_are_refused() -> None:
    """An iterator that is empty the second time, no chunks, other widths, NaN, another depth."""
    data = network(20, 3)
    once = cut(*data, 5)
    with pytest.raises(InputError, match="not an iterator"):
        yes_bounds_streamed(lambda: once)
    with pytest.raises(InputError, match="same chunks"):
        yes_bounds_streamed(lambda: iter(()))
    with pytest.raises(ShapeError):
        yes_bounds_streamed(lambda: iter([data, network(20, 3, inputs=5)]))
    with pytest.raises(InputError, match="2 hidden outputs"):
        yes_bounds_streamed(lambda: iter([data, network(20, 4)]))
    x = data[0].copy()
    x[3, 1] = np.nan
    with pytest.raises(NonFiniteError):
        yes_bounds_streamed(lambda: iter([(x, data[1], data[2])]))
    with pytest.raises(InputError, match="call add first"):
        TriangleSum().solve()
    with pytest.raises(ShapeError, match="one width"):
        TriangleSum().add(np.ones((2, 2)), np.ones((2, 1))).add(np.ones((2, 3)), np.ones((2, 1)))
