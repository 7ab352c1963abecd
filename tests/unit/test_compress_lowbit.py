"""Binary, ternary, truncated matrices and component sensitivity."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peelverify.compress import component_sensitivity, low_bit_model, low_rank_model, round_to_nearest
from peelverify.compress.components import sensitivity_json
from peelverify.compress.lowbit import binary_weight, low_rank_weight, ternary_weight
from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.evaluate import divergence
from peelverify.models import load_model

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def random_matrix(seed, rows=5, inputs=7):
    """Normal weights off centre."""
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed)) + 0.2


@given(st.integers(0, 10**6), st.booleans())
def test_binary_is_its_formula(seed, per_row):
    """Sign of the centred weight times the mean size, entry by entry."""
    weight = random_matrix(seed)
    found = binary_weight(weight, per_row=per_row).numpy()
    wide = weight.double().numpy()
    for i in range(5):
        part = wide[i] if per_row else wide
        for j in range(7):
            sign = 1 if wide[i, j] >= part.mean() else -1
            assert found[i, j] == pytest.approx(sign * np.abs(part).mean(), rel=1e-6)


@given(st.integers(0, 10**6), st.booleans())
def test_ternary_is_its_formula(seed, per_row):
    """Minus scale, zero or scale by rounding w over the mean size."""
    weight = random_matrix(seed)
    found = ternary_weight(weight, per_row=per_row).numpy()
    wide = weight.double().numpy()
    for i in range(5):
        scale = np.abs(wide[i] if per_row else wide).mean()
        for j in range(7):
            code = 0 if abs(wide[i, j]) < scale / 2 else np.sign(wide[i, j])
            assert found[i, j] == pytest.approx(code * scale, rel=1e-6)


def test_zero_matrices_stay_finite():
    """All-zero weights give zeros."""
    assert binary_weight(torch.zeros(2, 3)).abs().max() == 0
    assert ternary_weight(torch.zeros(2, 3)).abs().max() == 0
    assert low_rank_weight(torch.zeros(2, 3), 1).abs().max() == 0


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_truncation_error_is_the_dropped_singular_values(seed, rank):
    """Frobenius and operator error are those of the singular values left out (Eckart and Young)."""
    weight = random_matrix(seed).double()
    found = low_rank_weight(weight, rank)
    dropped = np.linalg.svd(weight.numpy(), compute_uv=False)[rank:]
    error = (weight - found).numpy()
    assert np.linalg.norm(error) == pytest.approx(np.sqrt((dropped**2).sum()), abs=1e-12)
    assert np.linalg.norm(error, 2) == pytest.approx(dropped.max(initial=0), abs=1e-12)
    assert np.linalg.matrix_rank(found.numpy()) <= rank


@pytest.mark.parametrize("function", [binary_weight, ternary_weight, lambda w: low_rank_weight(w, 1)])
def test_bad_matrices_are_refused(function):
    """Vectors, empties and NaN."""
    for bad, error in ((torch.ones(3), ShapeError), (torch.ones(0, 3), ShapeError),
                       (torch.tensor([[float("nan")]]), NonFiniteError)):
        with pytest.raises(error):
            function(bad)


def test_bad_options_are_refused(view):
    """Ranks, fractions and names."""
    for rank in (0, 6, 1.5):
        with pytest.raises(DomainError, match="a rank from 1 to 5"):
            low_rank_weight(torch.ones(5, 7), rank)
    for fraction in (0, 1.1, float("nan")):
        with pytest.raises(DomainError, match="rank_fraction"):
            low_rank_model(view, fraction)
    with pytest.raises(InputError, match="'binary' or 'ternary'"):
        low_bit_model(view, "quaternary")


def test_models_are_rewritten_by_rows_of_outputs(view):
    """Each map of the copy holds the rewritten rows; the caller's model stays."""
    before = copy.deepcopy(view.model.state_dict())
    for done, rule in (
        (low_bit_model(view, "ternary", per_row=True), lambda w: ternary_weight(w, per_row=True)),
        (low_bit_model(view, "binary"), binary_weight),
        (low_rank_model(view, 0.25), lambda w: low_rank_weight(w, int(min(w.shape) * 0.25))),
    ):
        for t in range(view.depth):
            for name, linear in done.view.linears(t).items():
                rows = view.weight(view.linears(t)[name]).detach()
                assert torch.equal(done.view.weight(linear), rule(rows)), name
        assert done.record["kept"] == [0, 1, 2]
    assert all(torch.equal(before[k], v) for k, v in view.model.state_dict().items())


def test_full_rank_changes_nothing_but_rounding(view, ids):
    """All singular values kept: the same model up to rounding of the product."""
    assert divergence(view, low_rank_model(view, 1.0).view, ids).kl < 1e-9


def test_sensitivity_changes_one_component_at_a_time(view, ids):
    """Each row is the divergence of a model with only that component compressed."""
    def coarse(weight):
        return round_to_nearest(weight, 2).weight

    seen = []
    rows = component_sensitivity(view, ids, coarse, by_block=True, on_step=lambda *x: seen.append(x))
    names = list(view.linears(0))
    assert [r.component for r in rows[: len(names)]] == names
    assert len(rows) == len(names) * (1 + view.depth) == len(seen)
    for row in (rows[1], rows[-1]):
        changed = copy.deepcopy(view)
        for t in range(view.depth) if row.block is None else [row.block]:
            linear = changed.linears(t)[row.component]
            with torch.no_grad():
                changed.weight(linear).copy_(coarse(changed.weight(linear).detach()))
        assert row.effect == divergence(view, changed, ids)
    assert sum(r.weights for r in rows[: len(names)]) == sum(r.weights for r in rows[len(names) :])
    data = json.loads(json.dumps(sensitivity_json(rows), allow_nan=False))
    assert data["schema"] == "peelverify.sensitivity/1" and len(data["rows"]) == len(rows)


def test_no_change_is_not_resolved(view, ids):
    """The identity has no effect and is not reported as one."""
    row = component_sensitivity(view, ids, lambda w: w)[0]
    assert row.effect.kl == 0 and not row.resolved
