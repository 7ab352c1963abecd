"""Schedules: exactly matched totals, directions, formulas, bad input; and the spectra behind one of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peelverify.compress import prune_model
from peelverify.compress.prune import drop_mask
from peelverify.compress.schedule import SCHEDULES, apportion, match_total, sparsity_schedule
from peelverify.compress.spectrum import outlier_fraction, powerlaw_alpha, powerlaw_fit
from peelverify.errors import DomainError, InputError, NonFiniteError, NumericalError, ShapeError
from peelverify.models import load_model
from peelverify.rho import measure_rho

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=8), st.floats(0, 1))
def test_apportioned_counts_sum_exactly(parts, share):
    """Whatever is wanted, the counts are within their limits and sum to the total."""
    limits = [n for _, n in parts]
    total = round(share * sum(limits))
    counts = apportion([p * n for p, n in parts], total, limits)
    assert sum(counts) == total
    assert all(0 <= c <= n for c, n in zip(counts, limits, strict=True))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 30), st.integers(0, 10**6))
def test_apportioned_counts_are_near_what_is_wanted(whole, extra, seed):
    """If the wants sum to the total, each count is within one of its want."""
    rng = np.random.default_rng(seed)
    wanted = np.array(whole) + rng.dirichlet(np.ones(len(whole))) * extra
    total = sum(whole) + extra
    counts = apportion(wanted.tolist(), total, [100] * len(whole))
    assert sum(counts) == total
    assert (np.abs(np.array(counts) - wanted) <= 1 + 1e-9).all()


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=10), st.floats(0.02, 0.98), st.integers(0, 10**6)
)
def test_matched_mean_is_the_total(preference, total, seed):
    """After the shift the weighted mean is the total, order is kept, and all values are inside the clips."""
    preference = np.array(preference)
    sizes = np.random.default_rng(seed).integers(1, 100, len(preference)).astype(float)
    shares = match_total(preference, sizes, total)
    assert float(sizes @ shares / sizes.sum()) == pytest.approx(total, abs=1e-9)
    assert (shares >= 0.01).all() and (shares <= 0.99).all()
    order = np.argsort(preference)
    assert (np.diff(shares[order]) >= 0).all()


@given(st.integers(0, 24), st.sampled_from(["row", "matrix"]), st.integers(0, 10**6))
def test_masks_of_a_count_have_that_count(count, group, seed):
    """An exact count is reached; rows differ by at most one."""
    score = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)).abs()
    mask = drop_mask(score, group=group, count=count)
    assert int(mask.sum()) == count
    if group == "row":
        rows = mask.sum(dim=1)
        assert int(rows.max() - rows.min()) <= 1


@pytest.mark.parametrize("kind", list(SCHEDULES))
@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_every_schedule_zeroes_the_same_number_of_weights(view, ids, kind, method):
    """All schedules and methods reach the same total, to the unit."""
    schedule = sparsity_schedule(view, 0.63, kind, input_ids=ids)
    done = prune_model(view, method=method, counts=schedule.counts(), input_ids=ids)
    zeros = total = 0
    for t in range(view.depth):
        for name, linear in done.view.linears(t).items():
            found = int((linear.weight == 0).sum())
            assert found == schedule.counts()[f"{t}.{name}"]
            zeros, total = zeros + found, total + linear.weight.numel()
    assert zeros == round(0.63 * total)
    json.dumps(schedule.to_json(), allow_nan=False)


def test_directions(view, ids):
    """Uniform is level, increasing and decreasing mirror each other, the rest follow their scores."""
    uniform, up, down = (sparsity_schedule(view, 0.5, k) for k in ("uniform", "increasing", "decreasing"))
    assert len(set(uniform.by_block)) == 1
    np.testing.assert_allclose(np.diff(up.by_block), 0.08)
    np.testing.assert_allclose(up.by_block, down.by_block[::-1])
    owl, alpha, rho = (sparsity_schedule(view, 0.5, k, input_ids=ids) for k in ("owl", "alpha", "rho"))
    for schedule, sign in ((owl, -1), (alpha, 1), (rho, -1)):
        assert np.array_equal(np.argsort(np.array(schedule.scores) * sign), np.argsort(schedule.by_block))
        assert len(set(schedule.by_block)) > 1
    np.testing.assert_allclose(rho.scores, np.log(measure_rho(view, ids).amplification))


def test_owl_is_its_formula(view, ids):
    """Density within 2 strength by outlier share, then centred: from the published lines, in plain numpy."""
    schedule = sparsity_schedule(view, 0.7, "owl", input_ids=ids, strength=0.08)
    share = np.array(schedule.scores)
    density = (share - share.min()) / (share.max() - share.min()) * 2 * 0.08
    density += (1 - 0.7) - density.mean()
    np.testing.assert_allclose(schedule.by_block, 1 - density, atol=1e-12)  # blocks are equally large


def test_outlier_share_is_counted_by_hand(view, ids):
    """The first block's share from its own inputs: scores above five times their mean."""
    x = {}
    handles = [
        m.register_forward_pre_hook(lambda mod, a, n=n: x.__setitem__(n, a[0].detach().double().numpy()))
        for n, m in view.linears(0).items()
    ]
    with torch.no_grad():
        view.model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    scores = []
    for name, linear in view.linears(0).items():
        weight = linear.weight.detach().double().numpy()
        weight = weight.T if type(linear).__name__ == "Conv1D" else weight
        scores.append((np.abs(weight) * np.sqrt((x[name] ** 2).sum(axis=(0, 1)) / len(ids))).ravel())
    flat = np.concatenate(scores)
    wanted = 100 * (flat > 5 * flat.mean()).mean()
    assert sparsity_schedule(view, 0.5, "owl", input_ids=ids).scores[0] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"total": 0.0}, DomainError), ({"total": 1.0}, DomainError), ({"total": 0.005}, DomainError),
        ({"total": 0.5, "strength": -1}, DomainError), ({"total": 0.5, "kind": "best"}, InputError),
        ({"total": 0.5, "kind": "owl"}, InputError), ({"total": 0.5, "kind": "rho"}, InputError),
    ],
)
def test_impossible_schedules_are_refused(view, options, error):
    """Totals, strengths, kinds and missing text."""
    with pytest.raises(error, match="sparsity_schedule needs"):
        sparsity_schedule(view, **options)


def test_counts_for_other_models_are_refused(view):
    """Counts must name every matrix; totals must be reachable."""
    with pytest.raises(DomainError, match="a count for each"):
        prune_model(view, counts={"0.x": 1})
    with pytest.raises(DomainError, match="apportion needs a total"):
        apportion([1.0], 3, [2])
    with pytest.raises(NumericalError):
        match_total(np.array([np.nan]), np.ones(1), 0.5)


@pytest.mark.parametrize("alpha", [1.5, 2.5, 4.0])
def test_alpha_of_a_true_power_law_is_found(alpha):
    """On draws of a Pareto law the exponent is found within four standard errors."""
    u = np.random.default_rng(0).random(4000)
    found = powerlaw_fit((1 - u) ** (-1 / (alpha - 1)))
    assert abs(found.alpha - alpha) < 4 * found.standard_error
    assert found.tail > 400


def test_distance_is_that_of_scipy():
    """The Kolmogorov-Smirnov distance agrees with scipy's to within the 1/n of its two conventions."""
    from scipy.stats import kstest, pareto

    x = np.random.default_rng(1).pareto(2.0, 500) + 1
    found = powerlaw_fit(x, fit="median")
    tail = np.sort(x)[-found.tail :]
    wanted = kstest(tail, pareto(found.alpha - 1, scale=found.xmin).cdf).statistic
    assert found.distance == pytest.approx(wanted, abs=1 / found.tail)
    assert found.alpha == pytest.approx(1 + 1 / np.mean(np.log(tail / found.xmin)))


@given(st.floats(0.01, 100), st.integers(0, 10**6))
def test_alpha_does_not_depend_on_scale(scale, seed):
    """Multiplying all eigenvalues leaves the exponent."""
    x = np.random.default_rng(seed).pareto(1.5, 60) + 1
    a, b = powerlaw_fit(x, fit="median"), powerlaw_fit(x * scale, fit="median")
    assert a.alpha == pytest.approx(b.alpha, rel=1e-9)


def matrix_with_decaying_columns(seed):
    """96 x 256; half of the seeds at a small scale, so that the mode of the spectrum lies below and above 1."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.diag(torch.rand(256, generator=generator) ** 2 * 2 + 0.1)
    return torch.randn(96, 256, generator=generator) @ scales / (8 if seed % 2 else 1)


def alpha_near_the_mode(weight, *, lower):
    """Independent account of both fits: starts between ``lower(mode)`` and 1.5 times the mode, least distance."""
    values = sorted(float(s) ** 2 for s in np.linalg.svd(weight.double().numpy(), compute_uv=False))
    logs = [math.log10(v) for v in values]
    width = (logs[-1] - logs[0]) / 100
    counts = [0] * 100
    for x in logs:
        counts[min(99, int((x - logs[0]) / width))] += 1
    mode = 10 ** (logs[0] + width * counts.index(max(counts)))
    found = []
    for i, start in enumerate(values[:-1]):
        if not lower(mode) <= start <= 1.5 * mode:
            continue
        tail = values[i:]
        alpha = 1 + len(tail) / sum(math.log(v / start) for v in tail)
        distance = max(abs(1 - (v / start) ** (1 - alpha) - k / len(tail)) for k, v in enumerate(tail))
        found.append((distance, alpha))
    return min(found)[1]


@pytest.mark.parametrize("seed", range(12))
def test_alpha_near_the_mode_is_its_rule(seed):
    """Both fits against an independent account: candidate starts from 0.95 of the mode on, or, as AlphaPruning released
    it, from the logarithm of that."""
    weight = matrix_with_decaying_columns(seed)
    wanted = {
        "peak": alpha_near_the_mode(weight, lower=lambda mode: 0.95 * mode),
        "alphapruning": alpha_near_the_mode(weight, lower=lambda mode: math.log10(0.95 * mode)),
    }
    for fit, alpha in wanted.items():
        assert powerlaw_alpha(weight, fit=fit).alpha == pytest.approx(alpha, rel=1e-6)


def test_the_limits_of_the_fit_near_the_mode_matter():
    """Over these matrices the two lower limits differ, and a wider upper limit would give another exponent."""
    weights = [matrix_with_decaying_columns(seed) for seed in range(12)]
    both = [(powerlaw_alpha(w, fit="peak").alpha, powerlaw_alpha(w, fit="alphapruning").alpha) for w in weights]
    assert sum(abs(a - b) > 0.1 for a, b in both) >= 2
    # a mode at 1 and a second, better power law from 2 on, which is out of reach
    values = np.concatenate([np.full(40, 1.0) + np.arange(40) * 1e-4, 2.0 * (1 - np.arange(60) / 60) ** -0.5])
    near, free = powerlaw_fit(values, fit="peak"), powerlaw_fit(values)
    assert near.xmin < 1.5 < free.xmin


def test_alphapruning_schedule_is_as_published(view):
    """Block means of the released fit, mapped to factors 1 -+ strength, scaled to the total; from plain numpy."""
    schedule = sparsity_schedule(view, 0.5, "alphapruning", strength=0.3)
    alphas, sizes = [], []
    for t in range(view.depth):
        weights = [m.weight.detach() for m in view.linears(t).values()]
        found = [alpha_near_the_mode(w, lower=lambda mode: math.log10(0.95 * mode)) for w in weights]
        alphas.append(np.mean(found))
        sizes.append(sum(w.numel() for w in weights))
    alphas, sizes = np.array(alphas), np.array(sizes)
    factors = (alphas - alphas.min()) / (alphas.max() - alphas.min()) * 0.6 + 0.7
    wanted = factors * 0.5 * sizes.sum() / (sizes @ factors)
    np.testing.assert_allclose(schedule.scores, alphas, rtol=1e-5)
    np.testing.assert_allclose(schedule.by_block, wanted, rtol=1e-4)
    shifted = sparsity_schedule(view, 0.5, "alpha", strength=0.3)
    np.testing.assert_allclose(np.ptp(shifted.by_block), 0.3)  # 0.5 times twice the strength, whatever the sizes


def test_heavier_tails_have_smaller_alpha():
    """A matrix with a few strong directions has a smaller exponent than noise."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(120, 120, generator=g)
    u, _, v = torch.linalg.svd(noise)
    strong = u @ torch.diag(torch.arange(1, 121).double().pow(-1.0).float()) @ v
    assert powerlaw_alpha(strong).alpha < powerlaw_alpha(noise).alpha


def test_bad_spectra_are_refused():
    """Too few, non-positive or equal values, and things that are no matrix."""
    for values, error in (([1.0, 2.0], InputError), ([1.0, 0.0, 2.0], DomainError), ([1.0] * 5, DomainError)):
        with pytest.raises(error, match="powerlaw_fit needs"):
            powerlaw_fit(np.array(values))
    with pytest.raises(InputError, match="'search', 'median', 'peak' or 'alphapruning'"):
        powerlaw_fit(np.array([1.0, 2.0, 3.0]), fit="other")
    with pytest.raises(ShapeError):
        powerlaw_alpha(torch.ones(3))
    with pytest.raises(NonFiniteError):
        powerlaw_alpha(torch.tensor([[math.nan]]))


def test_outlier_fraction_of_normal_weights():
    """About 15.9 % of normal values lie a standard deviation above their mean."""
    x = torch.randn(40000, generator=torch.Generator().manual_seed(0))
    assert outlier_fraction([x[:10000], x[10000:]]) == pytest.approx(0.1587, abs=4 * (0.1587 * 0.84 / 40000) ** 0.5)
