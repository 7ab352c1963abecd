"""YES bounds of a ReLU network: the losses of networks fitted layer by layer to targets taken from it.

For a map ``t`` the chain starts at ``Y_0 = x`` and repeats ``Y_l = relu(fit of T_l on Y_{l-1})``, with ``T_l`` the
hidden output ``H_{t(l)}`` or, for ``t(l) = L``, the labels ``y``; the last layer has no ReLU. Its loss is
*witnessed*: a network of the same architecture attains it, so a model with a larger loss on the same samples
is not optimal. A model whose loss is lower has not been refuted, and nothing more is known.

Deviations from the published program, which is full-batch `pinv` in float32:

1. float64 and the rank rule of `peelverify.peel.least_squares`, where `pinv` has its own cut-off.
2. Chains with a common prefix share its layers, so a suite costs one fit a prefix. Where ReLU changes nothing in a
   layer and the next one has the same target, that next layer is the identity: the fit of a target on its own
   projection is this projection.
3. Ties go to the map with fewer landmarks, then to the smaller list.
4. The minimum over epochs is left to `peelverify.peel.cloud`, which also keeps the value of each epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from peelverify.errors import DomainError, InputError, NonFiniteError, NumericalError, ShapeError
from peelverify.peel.least_squares import Factor, Fit, Matrix, as_matrix, one_thread
from peelverify.peel.maps import Map, all_last, check_map, check_maps, children, landmarks
from peelverify.registry import measured
from peelverify.verdict import Outcome, Status

__all__ = ["YesBounds", "YesNetwork", "status_of", "yes_bounds", "yes_network"]

#: Condition number beyond which a bound may change in its eighth digit with the order of summation.
ILL_CONDITIONED = 1e8


def status_of(loss: float, yes0: float, best: float) -> Status:
    """Place a loss against YES-0 and the best witness: RED above YES-0, GREEN at or below the best, else YELLOW.

    GREEN means that this suite of witnesses does not refute the model, not that training has converged.

    Raises:
        NonFiniteError: if one of the numbers is NaN, or a bound is infinite.
    """
    if math.isnan(loss) or not math.isfinite(yes0) or not math.isfinite(best):
        raise NonFiniteError(
            f"status needs numbers, got loss {loss}, YES-0 {yes0}, best {best}; a diverged model has no status"
        )
    if loss > yes0:
        return Status.RED
    return Status.GREEN if loss <= best else Status.YELLOW


@dataclass(frozen=True)
class YesBounds:
    """Bounds of one network at one moment. All numbers are witnessed: sum over outputs, mean over samples.

    Attributes:
        yes0: loss of the all-last chain.
        by_k: YES-1 ... YES-(L-1), each the minimum over all maps with at most k landmarks.
        per_layer_yes0: loss of ``Y_1 ... Y_L`` of the all-last chain against the labels.
        best_map: the map with the smallest loss, layers counted from 1.
        bounds: loss of every map tried.
        conditions: largest condition number met along each chain, counting only directions that were used.
        outcome: RANK_DEFICIENT if a fit along any chain had more than one solution.
    """

    yes0: float
    by_k: tuple[float, ...]
    per_layer_yes0: tuple[float, ...]
    best_map: Map
    bounds: Mapping[Map, float] = field(repr=False)
    conditions: Mapping[Map, float] = field(repr=False)
    outcome: Outcome

    @property
    def best(self) -> float:
        """The smallest bound, YES-(L-1)."""
        return self.bounds[self.best_map]

    @property
    def ill_conditioned(self) -> tuple[Map, ...]:
        """Maps whose bound may differ in the eighth digit between machines (condition above 1e8)."""
        return tuple(m for m, c in self.conditions.items() if c > ILL_CONDITIONED)

    def status(self, loss: float) -> Status:
        """Status of a model whose loss on the same samples, in the same units, is ``loss``."""
        return status_of(float(loss), self.yes0, self.best)


@dataclass(frozen=True)
class YesNetwork:
    """The network behind a bound: affine layers with ReLU between them."""

    target: Map
    layers: tuple[Fit, ...]

    def __call__(self, x: Any) -> Matrix:
        """Outputs (samples, outputs)."""
        state = as_matrix(x, "x", function="YesNetwork")
        last = len(self.layers) - 1
        with one_thread(state.shape[1]):
            columns = _with_ones(state, self.layers[0].bias is not None)
            for index, layer in enumerate(self.layers):
                if layer.method != "identity":
                    columns, _ = _apply(layer, columns, index == last)
        return np.ascontiguousarray(columns[:, : len(self.layers[-1].weight)])

    def loss(self, x: Any, y: Any) -> float:
        """Loss on samples: sum over outputs, mean over samples."""
        return _loss(self(x), as_matrix(y, "y", function="YesNetwork.loss"))


def _loss(out: Matrix, y: Matrix) -> float:
    gap = (out - y).ravel()
    return float(np.dot(gap, gap)) / len(y)


def _prepare(x: Any, y: Any, hidden: Sequence[Any], function: str) -> tuple[Matrix, Matrix, list[Matrix]]:
    features = as_matrix(x, "x", function=function)
    labels = as_matrix(y, "y", function=function)
    if isinstance(hidden, (str, bytes)) or not isinstance(hidden, Sequence):
        raise InputError(
            f"{function} needs hidden as a list of arrays, one a hidden layer, got {type(hidden).__name__}; "
            "wrap a single layer in a list"
        )
    states = [as_matrix(h, f"hidden[{i}]", function=function) for i, h in enumerate(hidden)]
    for name, array in [("y", labels), *((f"hidden[{i}]", h) for i, h in enumerate(states))]:
        if len(array) != len(features):
            raise ShapeError(
                f"{function} needs the same samples in the same order everywhere, got {len(features)} rows in x "
                f"and {len(array)} in {name}; evaluate the network on x without shuffling"
            )
    return features, labels, states


def _check_widths(targets: Iterable[Map], labels: Matrix, states: list[Matrix], function: str) -> None:
    """A layer that is fitted to a target must have the width of that target."""
    width = [h.shape[1] for h in states] + [labels.shape[1]]
    for target in targets:
        for layer, aim in enumerate(target):
            if width[layer] != width[aim - 1]:
                aimed = "the labels" if aim == len(width) else f"hidden layer {aim}"
                raise ShapeError(
                    f"{function} needs layers as wide as their targets, got width {width[layer]} in layer "
                    f"{layer + 1} and {width[aim - 1]} in {aimed}; make all hidden widths equal to the number of "
                    "outputs, or embed the labels in a space of the hidden width",
                    layer=layer + 1,
                    target=aim,
                )


def _with_ones(state: Matrix, bias: bool) -> Matrix:
    """The state with a column of ones for the bias; the state itself without."""
    return np.hstack([state, np.ones((len(state), 1))]) if bias else state


def _apply(fit: Fit, columns: Matrix, last: bool, out: Matrix | None = None) -> tuple[Matrix, bool]:
    """One layer on columns that hold the ones: next columns, and whether ReLU had nothing to do.

    One product gives outputs and the next column of ones, whose weights are (0, ..., 0, 1). The last layer has
    neither ReLU nor that column.
    """
    weight, outputs = fit.weight.T, len(fit.weight)
    if fit.bias is not None:
        whole = np.zeros((len(weight) + 1, outputs + int(not last)))
        whole[:-1, :outputs], whole[-1, :outputs] = weight, fit.bias
        whole[-1, outputs:] = 1.0
        weight = whole
    out = np.dot(columns, np.ascontiguousarray(weight), out=out)
    if last:
        return out, False
    untouched = bool(out.min() >= 0)
    if not untouched:
        np.maximum(out, 0.0, out=out)
    return out, untouched


def _identity(before: Fit) -> Fit:
    """The fit of a target on its own projection, which ReLU has not changed: that projection again."""
    outputs = len(before.weight)
    bias = None if before.bias is None else np.zeros(outputs)
    return Fit(np.eye(outputs), bias, before.rank, before.condition, "identity", before.outcome)


@measured("witnessed by construction: the loss of an explicit network; it bounds the optimum from above")
def yes_bounds(
    x: Any,
    y: Any,
    hidden: Sequence[Any],
    *,
    bias: bool = True,
    maps: Iterable[Iterable[int]] | None = None,
    row_ids: Sequence[Any] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> YesBounds:
    """YES bounds of a ReLU network with a linear last layer, from its outputs on some samples.

    Args:
        x: inputs (samples, features), array or tensor.
        y: labels (samples, outputs).
        hidden: post-activation outputs of the hidden layers, each (samples, width), in the row order of ``x``;
            empty for a network of one layer. Evaluate them without shuffling or noise.
        bias: whether the layers have biases.
        maps: maps to try; all staircases up to 6 layers and the named ones beyond if None.
        row_ids: names of the rows, to be sure that all arrays are in one order: a list of sequences (samples,), for
            ``x``, ``y`` and each array of ``hidden`` in turn. A shuffled pass makes bounds meaningless and is seen by
            nothing else.
        on_progress: called with (fits done, fits in all, prefix) after every layer fit.

    Returns:
        Every bound is the loss of a network that `yes_network` returns. Where memory runs out, a `MemoryWarning` says
        so and the same chains are fitted by `peelverify.peel.stream`.

    Raises:
        ShapeError: different rows, or a layer whose width is not that of its target (the all-last map needs
            every hidden width to equal the number of outputs).
        InputError: row ids that differ.
        NonFiniteError: NaN or infinity in an array.
        InputError: an invalid map.
        NumericalError: a chain overflowed; scale the data.

    Not for:
        A certificate of convergence: a loss below all bounds has not been refuted, nothing else.

    Source:
        [Yeganegi2024]; the published program fits `pinv` once a layer a map.

    Example:
        >>> x = [[0.0], [1.0], [2.0], [3.0]]
        >>> y = [[0.0], [1.0], [0.0], [1.0]]
        >>> found = yes_bounds(x, y, [[[0.0], [1.0], [0.0], [2.0]]])
        >>> found.best_map, [round(b, 6) for b in (found.yes0, *found.by_k)]
        ((2, 2), [0.2, 0.2])
    """
    features, labels, states = _prepare(x, y, hidden, "yes_bounds")
    check_rows(row_ids, len(features), len(states), "yes_bounds")
    suite = check_maps(maps, len(states) + 1)
    try:
        return _in_memory(features, labels, states, bias, suite, on_progress)
    except MemoryError:
        pass  # out of the handler first: it would keep alive what has to go
    return _streamed(features, labels, states, bias, suite, on_progress)


def check_rows(row_ids: Sequence[Any] | None, samples: int, layers: int, function: str) -> None:
    """Refuse names of rows that are not the same, in the same order, for x, y and each of the hidden outputs."""
    if row_ids is None:
        return
    names = ["x", "y", *(f"hidden[{i}]" for i in range(layers))]
    try:
        lists = [r.tolist() if hasattr(r, "tolist") else list(r) for r in row_ids]
        repeated = bool(lists) and len(set(lists[0])) < len(lists[0])
    except TypeError:
        raise InputError(
            f"{function} needs row_ids as a list of sequences of names, got {type(row_ids).__name__}; "
            f"give one each for {', '.join(names)}"
        ) from None
    if len(lists) != len(names) or any(len(r) != samples for r in lists):
        raise InputError(
            f"{function} needs row_ids for {', '.join(names)}, {samples} names each, got lists of "
            f"{[len(r) for r in lists]}; give one name a row"
        )
    if repeated:
        raise InputError(f"{function} needs every row named once, got a name twice in x; name rows by their number")
    for name, found in zip(names, lists, strict=True):
        for row, (ours, theirs) in enumerate(zip(lists[0], found, strict=True)):
            if ours != theirs:
                raise InputError(
                    f"{function} needs the same rows in the same order everywhere, got {theirs!r} in row {row} of "
                    f"{name} where x has {ours!r}; evaluate the network on x without shuffling",
                    row=row,
                    array=name,
                )


def _streamed(
    features: Matrix, labels: Matrix, states: list[Matrix], bias: bool, suite: list[Map],
    on_progress: Callable[[int, int, str], None] | None,
) -> YesBounds:
    """The same bounds from chunks that get smaller until they fit."""
    from peelverify.peel.memory import smaller
    from peelverify.peel.stream import yes_bounds_streamed

    size = len(features)
    while True:
        size = smaller(size, "yes_bounds", "samples")
        cuts = [slice(i, i + size) for i in range(0, len(features), size)]
        try:
            return yes_bounds_streamed(
                lambda cuts=cuts: ((features[c], labels[c], [s[c] for s in states]) for c in cuts),
                bias=bias, maps=suite, on_progress=on_progress,
            )
        except MemoryError:
            continue


def _in_memory(
    features: Matrix, labels: Matrix, states: list[Matrix], bias: bool, suite: list[Map],
    on_progress: Callable[[int, int, str], None] | None,
) -> YesBounds:
    depth = len(states) + 1
    _check_widths(suite, labels, states, "yes_bounds")
    targets = [*states, labels]
    tree = dict(children(suite))
    total = sum(len(follow) for follow in tree.values())
    last_map = all_last(depth)
    bounds: dict[Map, float] = {}
    conditions: dict[Map, float] = {}
    per_layer: dict[int, float] = {}
    done, deficient = 0, False

    # one array a layer, written anew by every chain that comes through
    room = [np.empty((len(features), t.shape[1] + int(bias and i + 1 < depth))) for i, t in enumerate(targets)]

    def visit(prefix: Map, columns: Matrix, worst: float, before: Fit | None) -> None:
        """Fit what follows a prefix; ``before`` is its last layer if ReLU changed nothing there."""
        nonlocal done, deficient
        layer = len(prefix) + 1
        node: Factor | None = None
        for aim in tree[prefix]:
            branch = (*prefix, aim)
            out, idle, fit = columns, True, before
            if fit is None or aim != prefix[-1]:
                node = _factor(columns, bias, layer, branch) if node is None else node
                fit = node.solve(targets[aim - 1])
                out, idle = _apply(fit, columns, layer == depth, room[layer - 1])
            deficient |= fit.outcome is Outcome.RANK_DEFICIENT
            reached = max(worst, fit.condition)
            done += 1
            if on_progress is not None:
                on_progress(done, total, str(list(branch)))
            if layer == depth or branch == last_map[:layer]:
                lost = _loss(out[:, : labels.shape[1]], labels)
            if branch == last_map[:layer]:
                per_layer[layer] = lost
            if layer == depth:
                bounds[branch], conditions[branch] = lost, reached
            else:
                visit(branch, out, reached, fit if idle else None)

    with np.errstate(over="ignore", invalid="ignore"), one_thread(labels.shape[1]):
        visit((), _with_ones(features, bias), 1.0, None)
    if not all(math.isfinite(b) for b in bounds.values()):
        raise NumericalError("yes_bounds overflowed in a loss; scale the data", outcome=Outcome.FAILED)
    marks = {m: len(landmarks(m)) for m in bounds}
    order = sorted(bounds, key=lambda m: (marks[m], m))
    by_k = tuple(min(bounds[m] for m in order if marks[m] <= k) for k in range(1, depth))
    return YesBounds(
        yes0=bounds[last_map],
        by_k=by_k,
        per_layer_yes0=tuple(per_layer[layer] for layer in range(1, depth + 1)),
        best_map=min(order, key=bounds.__getitem__),
        bounds={m: bounds[m] for m in order},
        conditions={m: conditions[m] for m in order},
        outcome=Outcome.RANK_DEFICIENT if deficient else Outcome.CONVERGED,
    )


def yes_network(x: Any, y: Any, hidden: Sequence[Any], target: Iterable[int], *, bias: bool = True) -> YesNetwork:
    """The network behind the bound of one map: the same fits as in `yes_bounds`, bit for bit.

    Args:
        x: inputs, y: labels, hidden: hidden outputs, as in `yes_bounds`.
        target: the map.
        bias: whether the layers have biases.
    """
    features, labels, states = _prepare(x, y, hidden, "yes_network")
    chosen = check_map(target, len(states) + 1)
    _check_widths([chosen], labels, states, "yes_network")
    targets = [*states, labels]
    layers: list[Fit] = []
    idle = False
    with one_thread(labels.shape[1]):
        columns = _with_ones(features, bias)
        for index, aim in enumerate(chosen):
            if idle and aim == chosen[index - 1]:
                layers.append(_identity(layers[-1]))
                continue
            layers.append(_factor(columns, bias, index + 1, chosen).solve(targets[aim - 1]))
            columns, idle = _apply(layers[-1], columns, index + 1 == len(chosen))
    return YesNetwork(chosen, tuple(layers))


def _factor(columns: Matrix, bias: bool, layer: int, branch: Map) -> Factor:
    """Factor of columns that hold the ones already; refuses a chain that overflowed."""
    node = Factor(columns, bias="held" if bias else False)
    if not node.finite and not np.isfinite(columns).all():
        raise NumericalError(
            f"yes_bounds overflowed in layer {layer - 1} of a chain to {list(branch)}; scale the data",
            outcome=Outcome.FAILED,
        )
    return node


@measured("witnessed: the model's own features with its last layer solved anew")
def last_layer_refit(y: Any, features: Any, *, bias: bool = True) -> float:
    """Loss after solving the last layer anew on the model's own last hidden features.

    It reuses the trained model, so it is a line of its own and never part of the suite. It is never above
    the model's loss on the same samples.

    Args:
        y: labels (samples, outputs).
        features: input of the last layer (samples, width).
        bias: whether the last layer has a bias.
    """
    labels = as_matrix(y, "y", function="last_layer_refit")
    z = as_matrix(features, "features", function="last_layer_refit")
    if len(z) != len(labels):
        raise ShapeError(
            f"last_layer_refit needs as many rows in features as in y, got {len(z)} and {len(labels)}; "
            "evaluate the network on the samples of y"
        )
    with one_thread(z.shape[1]):
        return _loss(Factor(z, bias=bias).solve(labels)(z), labels)


def decibel(loss: float) -> float:
    """``10 log10`` of a loss, the unit of the published plots; ``-inf`` for 0.

    Raises:
        DomainError: for a negative or NaN loss.
    """
    if not loss >= 0:
        raise DomainError(f"decibel needs a loss >= 0, got {loss}; a squared error is never negative")
    return 10.0 * math.log10(loss) if loss > 0 else -math.inf
