"""YES bounds of samples that do not fit in memory: one pass over chunks a layer, O(width^2) memory a prefix.

The chains are those of `peelverify.peel.yes`. A prefix of a chain is kept as its fitted layers, and its state is
computed again for each chunk, so nothing grows with the number of samples. L passes fit the L layers of all maps at
once, and one more measures the losses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from peelverify.errors import InputError, NumericalError
from peelverify.peel.least_squares import Fit, Matrix, TriangleSum, one_thread
from peelverify.peel.maps import Map, all_last, check_maps, children, landmarks
from peelverify.peel.yes import YesBounds, _check_widths, _prepare, check_rows
from peelverify.registry import measured
from peelverify.verdict import Outcome

__all__ = ["Chunk", "yes_bounds_streamed"]

Chunk = tuple[Any, ...]


@measured("witnessed by construction, as yes_bounds; summed in another order")
def yes_bounds_streamed(
    chunks: Callable[[], Iterable[Chunk]],
    *,
    bias: bool = True,
    maps: Iterable[Iterable[int]] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> YesBounds:
    """As `yes_bounds`, from chunks of samples.

    Args:
        chunks: called once a pass; gives tuples (x, y, hidden) or (x, y, hidden, row_ids) with the meaning and shapes
            of `yes_bounds`, the same chunks in the same order each time. With row ids, a pass whose rows come in
            another order is refused.
        bias: whether the layers have biases.
        maps: maps to try; as for `yes_bounds`.
        on_progress: called with (passes done, passes in all, what).

    Returns:
        The bounds; they agree with `yes_bounds` but for rounding. Memory: one triangular factor of
        (features + 1 + targets) columns for every prefix of the current layer, plus one chunk.

    Raises:
        ShapeError: as `yes_bounds`, for any chunk.
        InputError: no chunks, or another number of samples in a later pass.
        NumericalError: a chain overflowed; scale the data.

    Source:
        [Yeganegi2024] for the bounds; the triangular factor over chunks is a standard streaming least squares.
    """
    suite: list[Map] = []
    tree: dict[Map, list[int]] = {}
    layers: dict[Map, Fit] = {}
    samples: int | None = None
    first: str | None = None
    depth = 0

    def read() -> Iterator[tuple[Matrix, Matrix, list[Matrix]]]:
        nonlocal suite, tree, depth, samples
        nonlocal first
        count, names = 0, hashlib.sha256()
        for x, y, hidden, *rows in chunks():
            features, labels, states = _prepare(x, y, hidden, "yes_bounds_streamed")
            if rows:
                check_rows(rows[0], len(features), len(states), "yes_bounds_streamed")
                own = rows[0][0]
                names.update(repr(own.tolist() if hasattr(own, "tolist") else list(own)).encode())
            if not suite:
                depth = len(states) + 1
                suite = check_maps(maps, depth)
                tree = dict(children(suite))
            if len(states) + 1 != depth:
                raise InputError(
                    f"yes_bounds_streamed needs {depth - 1} hidden outputs in every chunk, got {len(states)}; "
                    "take them from one network"
                )
            _check_widths(suite, labels, states, "yes_bounds_streamed")
            count += len(features)
            yield features, labels, [*states, labels]
        if not count or (samples is not None and samples != count):
            raise InputError(
                f"yes_bounds_streamed needs the same chunks in every pass, got {count} samples after {samples}; "
                "give a function that starts anew each time, not an iterator"
            )
        samples = count
        if first is not None and first != names.hexdigest():
            raise InputError(
                "yes_bounds_streamed needs the rows of every pass in one order, got other row ids than in the first; "
                "read the data without shuffling"
            )
        first = names.hexdigest()

    def states_of(prefixes: Iterable[Map], x: Matrix, length: int) -> Iterator[tuple[Map, Matrix]]:
        """States of the prefixes of one length on one chunk; common beginnings are computed once."""
        known: dict[Map, Matrix] = {(): x}
        for prefix in prefixes:
            for cut in range(1, length + 1):
                head = prefix[:cut]
                if head not in known:
                    out = layers[head](known[head[:-1]])
                    known[head] = out if cut == depth else np.maximum(out, 0.0)
            yield prefix, known[prefix]

    level: list[Map] = [()]
    per_layer: dict[int, float] = {}
    lost: dict[Map, float] = {}
    layer = 0
    with np.errstate(over="ignore", invalid="ignore"):
        while layer == 0 or layer <= depth:
            sums: dict[Map, TriangleSum] = {}
            lost = dict.fromkeys(level, 0.0) if layer in (0, depth) else {}
            yes0 = 0.0
            for x, labels, targets in read():
                with one_thread(labels.shape[1]):
                    for prefix, state in states_of(level, x, layer):
                        if not np.isfinite(state).all():
                            raise NumericalError(
                                f"yes_bounds_streamed overflowed in layer {layer} of a chain to {list(prefix)}; "
                                "scale the data", outcome=Outcome.FAILED,
                            )
                        if layer and prefix == all_last(depth)[:layer]:
                            yes0 += float(((state - labels) ** 2).sum())
                        if layer == depth:
                            lost[prefix] += float(((state - labels) ** 2).sum())
                        else:
                            goal = np.hstack([targets[aim - 1] for aim in tree[prefix]])
                            sums.setdefault(prefix, TriangleSum(bias=bias)).add(state, goal)
            if layer:
                per_layer[layer] = yes0 / (samples or 1)
            if layer == depth:
                break
            following = []
            for prefix, gathered in sums.items():
                with one_thread(gathered.features):
                    fit = gathered.solve()
                start = 0
                for aim in tree[prefix]:
                    width = len(fit.weight) // len(tree[prefix])
                    rows = slice(start, start + width)
                    layers[(*prefix, aim)] = Fit(
                        fit.weight[rows], None if fit.bias is None else fit.bias[rows], fit.rank, fit.condition,
                        fit.method, fit.outcome,
                    )
                    following.append((*prefix, aim))
                    start += width
            level = following
            layer += 1
            if on_progress is not None:
                on_progress(layer, depth + 1, f"layer {layer}")
    bounds = {m: lost[m] / (samples or 1) for m in suite}
    if not all(math.isfinite(b) for b in bounds.values()):
        raise NumericalError("yes_bounds_streamed overflowed in a loss; scale the data", outcome=Outcome.FAILED)
    order = sorted(bounds, key=lambda m: (len(landmarks(m)), m))
    worst = {m: max(layers[m[:cut]].condition for cut in range(1, depth + 1)) for m in order}
    deficient = any(f.outcome is Outcome.RANK_DEFICIENT for f in layers.values())
    if on_progress is not None:
        on_progress(depth + 1, depth + 1, "losses")
    return YesBounds(
        yes0=bounds[all_last(depth)],
        by_k=tuple(min(bounds[m] for m in order if len(landmarks(m)) <= k) for k in range(1, depth)),
        per_layer_yes0=tuple(per_layer[i] for i in range(1, depth + 1)),
        best_map=min(order, key=bounds.__getitem__),
        bounds={m: bounds[m] for m in order},
        conditions=worst,
        outcome=Outcome.RANK_DEFICIENT if deficient else Outcome.CONVERGED,
    )
