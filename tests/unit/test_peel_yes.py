"""YES bounds: agreement with an independent reference, invariants, witnesses, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peelverify.errors import InputError, NonFiniteError, NumericalError, PeelverifyError, ShapeError
from peelverify.peel import last_layer_refit, status_of, yes_bounds, yes_network
from peelverify.peel.maps import landmarks, staircases
from peelverify.peel.yes import decibel
from peelverify.verdict import Outcome, Status

KINDS = ["absolute", "signed", "one-hot", "repeated", "dead", "interpolating"]


def case(kind: str, depth: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Data and the hidden outputs of a random ReLU network."""
    rng = np.random.default_rng([seed, depth])
    samples, inputs, width = (9 if kind == "interpolating" else 160), 6, 10
    x = rng.normal(size=(samples, inputs))
    y = np.abs(x @ rng.normal(size=(inputs, width)))
    if kind == "signed":
        y = x @ rng.normal(size=(inputs, width)) + rng.normal(size=(samples, width))
    if kind == "one-hot":
        y = np.eye(width)[rng.integers(0, width, samples)]
    hidden, state = [], x
    for layer in range(depth - 1):
        state = np.maximum(state @ rng.normal(size=(state.shape[1], width)) / math.sqrt(state.shape[1]), 0.0)
        if kind == "repeated":
            state[:, width // 2 :] = state[:, : width - width // 2]
        if kind == "dead" and layer == 0:
            state = np.zeros_like(state)
        hidden.append(state)
    return x, y, hidden


def reference(x, y, hidden, target, bias=True) -> float:
    """One chain by numpy's least-squares driver, written from the definition."""
    aims, state = [*hidden, y], x
    for layer, aim in enumerate(target):
        columns = np.hstack([state, np.ones((len(state), 1))]) if bias else state
        state = columns @ np.linalg.lstsq(columns, aims[aim - 1], rcond=None)[0]
        if layer + 1 < len(target):
            state = np.where(state > 0, state, 0.0)
    return float(((state - y) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_every_map_agrees_with_the_reference(kind: str, depth: int) -> None:
    """All staircases agree to 1e-8 relative with an independent float64 chain, singular ones included."""
    x, y, hidden = case(kind, depth)
    for bias in (True, False):
        found = yes_bounds(x, y, hidden, bias=bias)
        assert set(found.bounds) == set(staircases(depth))
        floor = 1e-20 * float((y**2).sum(axis=1).mean())  # a loss of 0 is reached only up to rounding
        for target, bound in found.bounds.items():
            want = reference(x, y, hidden, target, bias)
            assert abs(bound - want) <= 1e-8 * want + floor, (target, bound, want)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_that_change_nothing_are_the_identity(bias: bool) -> None:
    """Labels far above zero: ReLU never acts, later layers aimed at them repeat the first, as the reference finds."""
    x, y, hidden = case("signed", 5)
    y = y + 100.0
    x = np.hstack([x, np.ones((len(x), 1))])  # so that the chain without bias has a constant, too
    found = yes_bounds(x, y, hidden, bias=bias)
    for target, bound in found.bounds.items():
        assert abs(bound - reference(x, y, hidden, target, bias)) <= 1e-8 * bound, target
    assert len(set(found.per_layer_yes0)) == 1
    network = yes_network(x, y, hidden, (5, 5, 5, 5, 5), bias=bias)
    assert [layer.method for layer in network.layers[1:]] == ["identity"] * 4
    state = x
    for layer in network.layers:  # the identity is written out, so the network can be run by anybody
        state = np.maximum(layer(state), 0)
    np.testing.assert_allclose(state, network(x), rtol=1e-12)
    assert "identity" not in {f.method for f in yes_network(x, y, hidden, (1, 2, 3, 4, 5), bias=bias).layers}


def test_singular_chains_are_named() -> None:
    """Chains that repeat directions end with RANK_DEFICIENT, others with CONVERGED."""
    assert yes_bounds(*case("repeated", 4)).outcome is Outcome.RANK_DEFICIENT
    assert yes_bounds(*case("interpolating", 3)).outcome is Outcome.RANK_DEFICIENT
    x, y, _ = case("signed", 1)
    assert yes_bounds(x, y, []).outcome is Outcome.CONVERGED


def test_ill_conditioned_chains_are_named() -> None:
    """A direction that is almost repeated makes the chain ill-conditioned, and the result says which."""
    x, y, hidden = case("absolute", 3)
    x[:, 1] = x[:, 0] + 1e-10 * x[:, 1]
    found = yes_bounds(x, y, hidden)
    assert set(found.ill_conditioned) == set(found.bounds)
    assert yes_bounds(*case("signed", 2)).ill_conditioned == ()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(KINDS), st.booleans())
@example(0, 4, "repeated", True)
@example(0, 3, "interpolating", False)
def test_orders_that_always_hold(seed: int, depth: int, kind: str, bias: bool) -> None:
    """YES-0 >= YES-1 >= ... = the smallest bound, the best map attains it, the last layer of YES-0 is YES-0."""
    x, y, hidden = case(kind, depth, seed)
    found = yes_bounds(x, y, hidden, bias=bias)
    chain = (found.yes0, *found.by_k)
    assert len(found.by_k) == depth - 1 == len(found.per_layer_yes0) - 1
    assert all(a >= b for a, b in zip(chain, chain[1:], strict=False))
    assert chain[-1] == found.best == min(found.bounds.values()) == found.bounds[found.best_map]
    assert found.per_layer_yes0[-1] == found.yes0
    for k, bound in enumerate(found.by_k, start=1):
        assert bound == min(b for m, b in found.bounds.items() if len(landmarks(m)) <= k)
    if (y >= 0).all():  # then ReLU cannot move away from the labels
        steps = found.per_layer_yes0
        assert all(b <= a * (1 + 1e-9) + 1e-12 for a, b in zip(steps, steps[1:], strict=False))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(KINDS), st.data())
def test_every_bound_is_reached_by_a_network(seed: int, depth: int, kind: str, data: st.DataObject) -> None:
    """The network of a map, evaluated anew by hand, has exactly the loss that the bound states."""
    x, y, hidden = case(kind, depth, seed)
    found = yes_bounds(x, y, hidden)
    target = data.draw(st.sampled_from(list(found.bounds)))
    network = yes_network(x, y, hidden, target)
    assert network.loss(x, y) == found.bounds[target]
    state = x
    for index, layer in enumerate(network.layers):
        assert layer.weight.shape == (y.shape[1], state.shape[1])
        state = state @ layer.weight.T + layer.bias
        state = np.maximum(state, 0) if index + 1 < depth else state
    np.testing.assert_allclose(((state - y) ** 2).sum() / len(y), found.bounds[target], rtol=1e-6, atol=1e-18)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["absolute", "signed", "one-hot"]),
       st.integers(-20, 20))
def test_scaling_the_labels_scales_the_bounds(seed: int, depth: int, kind: str, power: int) -> None:
    """Labels and hidden outputs times 2^p give bounds times 4^p, exactly: powers of two do not round."""
    x, y, hidden = case(kind, depth, seed)
    scale = 2.0**power
    plain = yes_bounds(x, y, hidden, bias=False)
    scaled = yes_bounds(x * scale, y * scale, [h * scale for h in hidden], bias=False)
    assert scaled.best_map == plain.best_map
    np.testing.assert_allclose(
        list(scaled.bounds.values()), [b * scale**2 for b in plain.bounds.values()], rtol=1e-9
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["absolute", "signed", "repeated"]))
def test_order_of_samples_does_not_matter(seed: int, depth: int, kind: str) -> None:
    """Reordering all rows in the same way leaves every bound; reordering the hidden rows alone does not."""
    x, y, hidden = case(kind, depth, seed)
    order = np.random.default_rng(seed).permutation(len(x))
    plain = yes_bounds(x, y, hidden)
    moved = yes_bounds(x[order], y[order], [h[order] for h in hidden])
    np.testing.assert_allclose(list(moved.bounds.values()), list(plain.bounds.values()), rtol=1e-7)
    if depth > 1:
        mixed = yes_bounds(x, y, [h[order] for h in hidden])
        assert mixed.yes0 == plain.yes0
        assert any(abs(mixed.bounds[m] / b - 1) > 1e-6 for m, b in plain.bounds.items() if landmarks(m))


def test_known_numbers() -> None:
    """One layer is affine regression; a second that the first cannot improve leaves it."""
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.0], [1.0], [0.0], [1.0]])
    single = yes_bounds(x, y, [])
    assert single.yes0 == pytest.approx(0.2) and single.by_k == () and single.best_map == (1,)
    # (1,2): relu(fit of h on x) = max(0.6 x - 0.15, 0), then affine to y; by hand 2/11 at these four points.
    found = yes_bounds(x, y, [np.array([[0.0], [1.0], [0.0], [2.0]])])
    z = np.maximum(np.polyval(np.polyfit(x[:, 0], [0, 1, 0, 2], 1), x[:, 0]), 0)
    by_hand = np.mean((np.polyval(np.polyfit(z, y[:, 0], 1), z) - y[:, 0]) ** 2)
    assert found.bounds[(1, 2)] == pytest.approx(by_hand, rel=1e-12)


def test_statuses() -> None:
    """RED above YES-0, YELLOW between, GREEN at or below the best; equality counts for the model."""
    x, y, hidden = case("absolute", 4)
    found = yes_bounds(x, y, hidden)
    assert found.best < found.yes0
    assert found.status(found.yes0 * 1.001) is Status.RED
    assert found.status(found.yes0) is Status.YELLOW
    assert found.status(np.nextafter(found.best, math.inf)) is Status.YELLOW
    assert found.status(found.best) is Status.GREEN
    assert found.status(0.0) is Status.GREEN
    assert found.status(math.inf) is Status.RED
    with pytest.raises(NonFiniteError):
        found.status(math.nan)
    with pytest.raises(NonFiniteError):
        status_of(1.0, math.inf, 0.0)


def test_a_trained_network_can_be_refuted() -> None:
    """A network whose last layer is bad has a larger loss than a witness; one with a solved last layer need not."""
    x, y, hidden = case("absolute", 3)
    found = yes_bounds(x, y, hidden)
    bad = float((y**2).sum(axis=1).mean())  # a network that answers 0
    assert found.status(bad) is Status.RED
    good = last_layer_refit(y, hidden[-1])
    assert good < bad
    assert good == pytest.approx(reference(hidden[-1], y, [], (1,)), rel=1e-12)


def test_tensors_count_like_arrays() -> None:
    """Torch tensors, also with gradients, give the same bounds as arrays."""
    x, y, hidden = case("signed", 3)
    want = yes_bounds(x, y, hidden)
    got = yes_bounds(torch.tensor(x), torch.tensor(y, requires_grad=True), [torch.tensor(h) for h in hidden])
    assert got.bounds == want.bounds


def test_chosen_maps_and_progress() -> None:
    """Only the asked maps and all-last are fitted, with the bounds that the whole suite gives."""
    x, y, hidden = case("signed", 5)
    seen: list[tuple[int, int, str]] = []
    some = yes_bounds(x, y, hidden, maps=[(1, 2, 3, 4, 5)], on_progress=lambda *args: seen.append(args))
    whole = yes_bounds(x, y, hidden)
    assert list(some.bounds) == [(5, 5, 5, 5, 5), (1, 2, 3, 4, 5)]
    assert all(whole.bounds[m] == b for m, b in some.bounds.items())
    assert [s[0] for s in seen] == list(range(1, 11)) and {s[1] for s in seen} == {10}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("rows of y", ShapeError), ("rows of hidden", ShapeError), ("width", ShapeError), ("nan in x", NonFiniteError),
        ("nan in hidden", NonFiniteError), ("vector y", ShapeError), ("empty", ShapeError),
        ("array hidden", InputError), ("text", InputError),
    ],
)
def test_bad_input(change: str, error: type[PeelverifyError]) -> None:
    """Each wrong argument is refused before any fit, with an error that is also a ValueError."""
    x, y, hidden = case("signed", 3)
    if change == "rows of y":
        y = y[:-1]
    elif change == "rows of hidden":
        hidden[1] = hidden[1][:-1]
    elif change == "width":
        hidden[0] = hidden[0][:, :-1]
    elif change == "nan in x":
        x[3, 2] = np.nan
    elif change == "nan in hidden":
        hidden[1][5, 0] = np.inf
    elif change == "vector y":
        y = y[:, 0]
    elif change == "empty":
        x, y, hidden = x[:0], y[:0], [h[:0] for h in hidden]
    elif change == "array hidden":
        hidden = hidden[0]  # type: ignore[assignment]
    elif change == "text":
        y = y.astype(str)
    with pytest.raises(error) as caught:
        yes_bounds(x, y, hidden)
    assert isinstance(caught.value, ValueError)
    assert ";" in str(caught.value)


def test_constant_labels_and_overflow() -> None:
    """Constant labels are fitted exactly; numbers whose squares overflow are a NumericalError, not NaN."""
    x, y, hidden = case("signed", 3)
    assert yes_bounds(x, np.full_like(y, 3.0), hidden).yes0 <= 1e-24
    with pytest.raises(NumericalError):
        yes_bounds(x, y * 1e200, hidden)


def test_wide_hidden_layers_are_allowed_where_nothing_is_projected() -> None:
    """The all-last map projects every layer on the labels, so other widths are refused with the way out."""
    x, y, hidden = case("signed", 3)
    with pytest.raises(ShapeError, match="embed the labels"):
        yes_bounds(x, y, [np.hstack([h, h]) for h in hidden])
    wide = [np.hstack([h, h]) for h in hidden]
    assert yes_network(x, y, wide, (1, 2, 3)).loss(x, y) > 0


def test_decibel() -> None:
    """The unit of the published plots, with its limit at 0."""
    assert decibel(10.0) == pytest.approx(10.0) and decibel(0.0) == -math.inf
    with pytest.raises(InputError):
        decibel(-1.0)
