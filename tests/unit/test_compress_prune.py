"""Pruning: exact counts, Wanda against a slow reference, N:M, whole models, bad input."""

from __future__ import annotations

import copy
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from peelverify.compress import prune_model, prune_weight
from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.models import load_model

FAMILIES = ("llama", "gpt2", "qwen2")
SMALL = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.integers(-4, 4).map(float),
)


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def rows_of(view, linear):
    """Weight with outputs as rows, without help from the code under test."""
    weight = linear.weight.detach()
    return weight.T if type(linear).__name__ == "Conv1D" else weight


@given(SMALL, st.floats(0.05, 0.95), st.sampled_from(["row", "matrix"]))
def test_as_many_weights_go_as_were_asked(weight, sparsity, group):
    """Exactly int(n s) positions of each group become zero, ties or not; all others stay."""
    weight = np.abs(weight) + 1.0  # no zeros before
    found = prune_weight(torch.from_numpy(weight), sparsity, group=group).numpy()
    zeros = found == 0
    if group == "row":
        assert (zeros.sum(axis=1) == int(weight.shape[1] * sparsity)).all()
    else:
        assert zeros.sum() == int(weight.size * sparsity)
    assert (found[~zeros] == weight[~zeros]).all()


@given(hnp.arrays(np.float32, (1, 6), elements=st.integers(-3, 3).map(float)), st.integers(1, 5))
def test_magnitude_is_optimal_among_masks_that_drop_as_many(weight, count):
    """No other choice of as many weights has a smaller exact sum of squares."""
    found = prune_weight(torch.from_numpy(weight.copy()), (count + 0.5) / 6, group="row").numpy()[0]
    squares = [Fraction(float(w)) ** 2 for w in weight[0]]
    dropped = sum(s for s, w, f in zip(squares, weight[0], found, strict=True) if w != f)
    assert dropped == min(sum(squares[j] for j in pick) for pick in combinations(range(6), count))


@given(st.integers(1, 3), st.integers(0, 10**6))
def test_pattern_leaves_few_enough_in_every_group(n, seed):
    """N of every 4 consecutive inputs are zero, and they are the smallest."""
    weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(seed))
    found = prune_weight(weight, pattern=(n, 4))
    for row, new in zip(weight, found, strict=True):
        for j in range(0, 16, 4):
            kept = new[j : j + 4] != 0
            assert int(kept.sum()) == 4 - n
            assert row[j : j + 4][kept].abs().min() >= row[j : j + 4][~kept].abs().max()


def test_ties_go_by_position():
    """Of equal scores the earlier weights go."""
    assert prune_weight(torch.ones(2, 4), 0.5, group="row").tolist() == [[0, 0, 1, 1]] * 2
    assert prune_weight(torch.ones(2, 4), 0.5, group="matrix").tolist() == [[0] * 4, [1] * 4]


def test_wanda_looks_at_the_inputs():
    """A small weight on a loud input stays, a large one on a silent input goes."""
    weight, energy = torch.tensor([[3.0, 1.0]]), torch.tensor([0.01, 100.0], dtype=torch.float64)
    assert prune_weight(weight, 0.5).tolist() == [[3, 0]]
    assert prune_weight(weight, 0.5, energy=energy).tolist() == [[0, 1]]


def slow_wanda(view, ids, sparsity, n_m=None):
    """Wanda by whole forward passes and loops over rows: weights by name."""
    model = copy.deepcopy(view.model)
    blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    result = {}
    for t, block in enumerate(blocks):
        inputs: dict[str, np.ndarray] = {}
        linears = {
            n: m for n, m in block.named_modules() if type(m).__name__ in ("Linear", "Conv1D")
        }

        def catch(name, inputs=inputs):
            def hook(module, args):
                inputs[name] = args[0].detach().double().numpy()
            return hook

        handles = [m.register_forward_pre_hook(catch(n)) for n, m in linears.items()]
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        for handle in handles:
            handle.remove()
        for name, linear in linears.items():
            x = inputs[name]
            scaler = np.zeros(x.shape[-1])
            for s, sequence in enumerate(x):  # running mean over sequences, as in the reference
                scaler = scaler * s / (s + 1) + (sequence**2).sum(axis=0) / (s + 1)
            weight = rows_of(view, linear).double().numpy().copy()
            for row in weight:
                score = np.abs(row) * np.sqrt(scaler)
                if n_m is None:
                    row[np.argsort(score, kind="stable")[: int(len(row) * sparsity)]] = 0
                else:
                    for j in range(0, len(row), n_m[1]):
                        row[j + np.argsort(score[j : j + n_m[1]], kind="stable")[: n_m[0]]] = 0
            result[f"{t}.{name}"] = weight
            new = torch.from_numpy(weight).float()
            with torch.no_grad():
                linear.weight.copy_(new.T if type(linear).__name__ == "Conv1D" else new)
    return result


@pytest.mark.parametrize("pattern", [None, (2, 4)], ids=["rows", "2:4"])
def test_wanda_equals_a_slow_reference(view, ids, pattern):
    """Blocks in order, inputs from pruned predecessors, rows of outputs: the same zeros as plain loops."""
    done = prune_model(view, 0.5, method="wanda", input_ids=ids, pattern=pattern)
    reference = slow_wanda(view, ids, 0.5, pattern)
    for t in range(view.depth):
        for name, linear in done.view.linears(t).items():
            found = rows_of(view, linear).double().numpy()
            assert np.array_equal(found, reference[f"{t}.{name}"]), f"block {t} {name}"


def test_wanda_depends_on_pruned_predecessors(view, ids):
    """Later blocks are calibrated on pruned inputs: on dense inputs some masks would differ."""
    done = prune_model(view, 0.7, method="wanda", input_ids=ids)
    last = view.depth - 1
    from peelverify.compress.calibrate import BlockWalk, input_energy

    walk = BlockWalk(view, ids)
    for t in range(last):
        walk.advance(t)
    dense = input_energy(walk, last)
    differ = sum(
        int((prune_weight(rows_of(view, m), 0.7, energy=dense[n]) != rows_of(view, done.view.linears(last)[n])).sum())
        for n, m in view.linears(last).items()
    )
    assert differ > 0


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_model_is_pruned_in_a_copy(view, ids, method):
    """Only the linear maps of the copy change, by the fraction that the record states."""
    before = copy.deepcopy(view.model.state_dict())
    done = prune_model(view, 0.5, method=method, input_ids=ids)
    assert all(torch.equal(before[k], v) for k, v in view.model.state_dict().items())
    changed = {k for k, v in done.view.model.state_dict().items() if not torch.equal(before[k], v)}
    assert len(changed) == sum(len(view.linears(t)) for t in range(view.depth))
    zeros = total = 0
    for t in range(view.depth):
        for linear in done.view.linears(t).values():
            zeros += int((linear.weight == 0).sum())
            total += linear.weight.numel()
    assert done.record["settings"]["zero_fraction"] == zeros / total == 0.5
    assert done.record["method"] == method
    assert not any(m._forward_pre_hooks for m in done.view.model.modules())


def test_sparsity_by_block(view):
    """Each block can have its own sparsity."""
    done = prune_model(view, {0: 0.25, 1: 0.5, 2: 0.75})
    for t, wanted in enumerate((0.25, 0.5, 0.75)):
        for linear in done.view.linears(t).values():
            assert float((linear.weight == 0).double().mean()) == wanted


@pytest.mark.parametrize("sparsity", [0, 1, -0.1, 1.5, float("nan"), {0: 0.5}, {0: 0.5, 1: 0.5, 2: 1.0}])
def test_impossible_sparsities_are_refused(view, sparsity):
    """0, 1, beyond, NaN and incomplete lists are refused."""
    with pytest.raises(DomainError, match="needs"):
        prune_model(view, sparsity)


def test_bad_calls_are_refused(view, ids):
    """Wanda without text, unknown methods, patterns that do not fit, non-finite weights."""
    with pytest.raises(InputError, match="needs input_ids for 'wanda'"):
        prune_model(view, method="wanda")
    with pytest.raises(InputError, match="a method among magnitude"):
        prune_model(view, method="other")
    with pytest.raises(InputError, match="at most 64 tokens"):
        prune_model(view, method="wanda", input_ids=ids.reshape(1, -1))
    with pytest.raises(ShapeError, match="M that divides"):
        prune_model(view, pattern=(3, 7))
    with pytest.raises(DomainError, match="0 < N < M"):
        prune_model(view, pattern=(4, 4))
    with pytest.raises(NonFiniteError):
        prune_weight(torch.tensor([[1.0, float("nan")]]), 0.5)
