"""measure_rho against an independent path, its identities, its spread, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from peelverify.bounds.propagation import telescope
from peelverify.errors import DomainError, InputError, InvariantError, NonFiniteError
from peelverify.models import ModelView, load_model
from peelverify.models.small import small_decoder
from peelverify.rho import RhoProfile, measure_rho
from peelverify.rho.measure import PrecisionWarning

FAMILIES = ("llama", "gpt2", "qwen2")
# Published values for GPT-2 Small: thirteen energies give twelve ratios, and the products of the later ones.
GPT2_RHO = (0.2473, 0.5899, 0.8364, 0.9539, 0.957, 0.944, 0.9146, 0.8909, 0.9258, 0.9035, 0.6766, 0.6066)
GPT2_A = (0.1189, 0.2016, 0.2411, 0.2527, 0.2641, 0.2797, 0.3059, 0.3433, 0.3708, 0.4104, 0.6066, 1.0)


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


@pytest.fixture(scope="module")
def llama(model_dirs):
    """A trained Llama."""
    return load_model(model_dirs["llama"])


def profile_of(energy: np.ndarray) -> RhoProfile:
    """A profile with given energies (draws, blocks)."""
    energy = np.asarray(energy, dtype=np.float64)
    return RhoProfile(
        energy_by_window=energy[:, None, :], absolute_energy=energy, entry_energy=energy[:, 0], epsilon=0.01,
        seed=0, tokens=1, dtype="float32", floor=np.zeros(energy.shape[1]), ids_sha256="",
    )


def test_energies_equal_those_of_a_pass_with_perturbed_input_embeddings(view, ids, monkeypatch):
    """The same noise put in through inputs_embeds, and errors summed in plain loops, give the same energies."""
    noises = []
    original = ModelView.embedding_noise
    monkeypatch.setattr(ModelView, "embedding_noise", lambda self, n: (noises.append(n), original(self, n))[1])
    profile = measure_rho(view, ids, draws=2, seed=3)

    def states(embeddings: torch.Tensor) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        handles = [
            b.register_forward_hook(lambda m, a, out: found.append(out.double().numpy())) for b in view.blocks
        ]
        with torch.no_grad():
            view.model(inputs_embeds=embeddings, use_cache=False)
        for handle in handles:
            handle.remove()
        return found

    with torch.no_grad():
        embedded = view.embedding(ids)
    clean = states(embedded)
    for draw in range(2):
        assert noises[draw].shape == embedded.shape
        for t, (h, h2) in enumerate(zip(clean, states(embedded + noises[draw]), strict=True)):
            ratios = [
                ((h2[w, i] - h[w, i]) ** 2).sum() / (h[w, i] ** 2).sum()
                for w in range(ids.shape[0]) for i in range(ids.shape[1])
            ]
            errors = ((h2 - h) ** 2).sum(axis=-1)
            # float32 states differ between two runs by rounding only: error energy ~1e-6, floor ~1e-14
            assert profile.energy[draw, t] == pytest.approx(np.mean(ratios), rel=1e-4)
            assert profile.absolute_energy[draw, t] == pytest.approx(errors.mean(), rel=1e-4)


def test_noise_has_the_published_scale(llama, ids, monkeypatch):
    """The noise has standard deviation epsilon times the root mean square of the embeddings."""
    noises = []
    original = ModelView.embedding_noise
    monkeypatch.setattr(ModelView, "embedding_noise", lambda self, n: (noises.append(n), original(self, n))[1])
    measure_rho(llama, ids, draws=4, epsilon=0.02)
    embedded = llama.embedding(ids).detach()
    wanted = 0.02 * float(embedded.norm()) / embedded.numel() ** 0.5
    sample = torch.stack(noises)
    # standard error of a standard deviation of n normal values is 1/sqrt(2n); five of them
    assert float(sample.std()) == pytest.approx(wanted, rel=5 / (2 * sample.numel()) ** 0.5)
    assert abs(float(sample.mean())) < 5 * wanted / sample.numel() ** 0.5


def test_shapes_and_definitions(view, ids):
    """rho is the ratio of successive energies and A_t the product of the later medians."""
    profile = measure_rho(view, ids, draws=3)
    depth = view.depth
    assert profile.energy.shape == (3, depth)
    assert profile.rho.shape == (3, depth - 1)
    assert profile.rho_into.shape == (3, depth)
    assert np.array_equal(profile.rho, profile.energy[:, 1:] / profile.energy[:, :-1])
    assert np.array_equal(profile.rho_into[:, 1:], profile.rho)
    medians = np.median(profile.rho, axis=0)
    for t in range(depth):
        assert profile.amplification[t] == pytest.approx(np.prod(medians[t:]), rel=1e-14)
    assert profile.energy.dtype == np.float64


def test_telescoping_is_exact_on_fractions(view, ids):
    """V_first times all ratios is V_last, exactly, when the ratios are fractions."""
    profile = measure_rho(view, ids, draws=2)
    for energy in profile.energy:
        exact = [Fraction(float(v)) for v in energy]
        assert telescope(exact[0], [b / a for a, b in zip(exact, exact[1:], strict=False)]) == exact[-1]
    profile.check_telescoping()


def test_telescoping_check_notices_a_shifted_index():
    """A profile whose ratios are not those of its energies is refused."""

    class Shifted(RhoProfile):
        @property
        def rho(self):
            return super().rho[:, ::-1] * (1 + 1e-12)

    base = profile_of([[1.0, 0.5, 0.4, 0.3]])
    base.check_telescoping()
    with pytest.raises(InvariantError, match="V_first"):
        Shifted(**vars(base)).check_telescoping()


def test_energy_grows_with_the_square_of_epsilon(ids):
    """Ten times the noise gives a hundred times the energy, up to second-order terms."""
    view = small_decoder("llama", blocks=3, width=32, heads=4, length=64)
    view.model.double()
    large = measure_rho(view, ids, epsilon=1e-3, draws=1).energy
    small = measure_rho(view, ids, epsilon=1e-4, draws=1).energy
    # V(eps) = a eps^2 (1 + b eps + ...): the quotient misses 100 by about b * 1e-3; b < 10 on such a model
    np.testing.assert_allclose(large / small, 100, rtol=1e-2)


def test_rho_hardly_depends_on_epsilon(llama, ids):
    """rho is a ratio: the published 0.01 and a fifth of it agree where the error is small."""
    a, b = (np.median(measure_rho(llama, ids, epsilon=e, draws=2).rho, axis=0) for e in (0.01, 0.002))
    np.testing.assert_allclose(a, b, rtol=0.05)


def test_seed_decides_everything(llama, ids):
    """Same seed, same numbers to the last bit; another seed, other numbers."""
    a, b, c = (measure_rho(llama, ids, draws=2, seed=s).energy for s in (5, 5, 6))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_draws_do_not_depend_on_how_many_there_are(llama, ids):
    """The first draw of one is the first draw of three."""
    one, three = (measure_rho(llama, ids, draws=d).energy for d in (1, 3))
    assert np.array_equal(one[0], three[0])
    assert not np.array_equal(three[0], three[1]) and not np.array_equal(three[1], three[2])


def test_noise_of_a_window_does_not_depend_on_batching(llama, ids, monkeypatch):
    """Windows measured one at a time see the same noise as windows measured together."""
    together = measure_rho(llama, ids, draws=2).energy_by_window
    monkeypatch.setattr("peelverify.rho.measure.batches", lambda x, tokens=0: iter(x.split(1)))
    apart = measure_rho(llama, ids, draws=2).energy_by_window
    np.testing.assert_allclose(together, apart, rtol=1e-3)  # float32 kernels differ by batch shape


def test_passes_are_one_clean_and_one_a_draw(llama, ids):
    """D draws cost D + 1 passes of the blocks, no more."""
    runs = []
    handle = llama.blocks[0].register_forward_hook(lambda m, a, o: runs.append(1))
    seen = []
    measure_rho(llama, ids, draws=5, on_pass=lambda done, total: seen.append((done, total)))
    handle.remove()
    assert len(runs) == 6
    assert seen == [(i, 6) for i in range(1, 7)]


def test_callers_model_is_left_as_it_was(llama, ids):
    """No weight, hook or flag of the caller's model changes."""
    before = copy.deepcopy(llama.model.state_dict())
    measure_rho(llama.model, ids, draws=1)
    after = llama.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.model.modules())


def test_three_variants():
    """Relative is the root of squared relative; absolute ignores the growth of the state."""
    profile = profile_of([[4.0, 1.0, 9.0]])
    assert profile.variant("squared_relative").tolist() == [[0.25, 9.0]]
    assert profile.variant("relative").tolist() == [[0.5, 3.0]]
    assert profile.variant("absolute").tolist() == [[0.5, 3.0]]
    with pytest.raises(InputError, match="variant needs"):
        profile.variant("cubed")


def test_published_product_reproduced_from_the_published_ratios():
    """The products of the later ratios of GPT-2 Small are those published, within their four digits."""
    energy = np.cumprod([1.0, *GPT2_RHO])[1:]  # block outputs; the first ratio starts at the embedding
    amplification = profile_of([energy]).amplification
    for t, published in enumerate(GPT2_A):
        later = len(GPT2_RHO) - 1 - t
        slack = later * 5e-5 / min(GPT2_RHO[1:]) * published + 5e-5  # every factor is rounded to 4 digits
        assert abs(amplification[t] - published) <= slack


def test_intervals_hold_the_median_and_are_reproducible(llama, ids):
    """The bootstrap interval contains the median, is not a point, and repeats with its seed."""
    profile = measure_rho(llama, ids, draws=6)
    for quantity, centre in (("rho", np.median(profile.rho, axis=0)), ("amplification", profile.amplification)):
        low, high = profile.interval(quantity, resamples=300)
        assert (low <= centre).all() and (centre <= high).all()
        assert (low[:-1] < high[:-1]).all()
        assert np.array_equal(profile.interval(quantity, resamples=300), (low, high))


@pytest.mark.parametrize(("axis", "what"), [(0, "windows"), (1, "draws")])
def test_intervals_resample_draws_and_windows(llama, ids, axis, what):
    """With all draws alike the windows still give a spread, and the other way round; with both alike there is none."""
    profile = measure_rho(llama, ids, draws=6)
    energy = profile.energy_by_window
    alike = np.repeat(energy.take([0], axis=axis), energy.shape[axis], axis=axis)
    low, high = dataclasses.replace(profile, energy_by_window=alike).interval(resamples=200)
    assert (low < high).all(), what
    point = np.broadcast_to(energy[:1, :1], energy.shape)
    low, high = dataclasses.replace(profile, energy_by_window=point).interval(resamples=50)
    assert low == pytest.approx(high, rel=1e-12)


def test_wider_level_gives_a_wider_interval(llama, ids):
    """A 99 % interval contains the 50 % interval."""
    profile = measure_rho(llama, ids, draws=6)
    (low, high), (lower, higher) = (profile.interval(level=p, resamples=400) for p in (0.5, 0.99))
    assert (lower <= low).all() and (high <= higher).all()


def test_one_draw_of_one_window_has_no_interval(llama, ids):
    """No spread can be had from a single number."""
    profile = measure_rho(llama, ids[:1], draws=1)
    with pytest.raises(InputError, match="at least two draws or windows"):
        profile.interval()
    assert profile.to_json()["rho_interval_95_low"] is None


@pytest.mark.parametrize("options", [{"level": 0}, {"level": 1}, {"resamples": 0}])
def test_impossible_intervals_are_refused(options):
    """Levels outside (0, 1) and zero resamples are wrong calls."""
    with pytest.raises(DomainError, match="interval needs"):
        profile_of([[1.0, 2.0], [1.0, 3.0]]).interval(**options)


def test_json_is_plain_and_strict(view, ids):
    """The profile survives strict JSON and names its schema."""
    data = json.loads(json.dumps(measure_rho(view, ids, draws=2).to_json(), allow_nan=False))
    assert data["schema"] == "peelverify.rho/1"
    assert len(data["rho"]) == 2 and len(data["rho"][0]) == view.depth - 1
    assert len(data["amplification"]) == data["blocks"] == view.depth


def test_one_block_model_has_no_ratio(ids):
    """One block: no step, amplification 1."""
    view = small_decoder("gpt2", blocks=1, width=32, heads=4, length=64)
    profile = measure_rho(view, ids, draws=2)
    assert profile.rho.shape == (2, 0)
    assert profile.amplification.tolist() == [1.0]
    assert profile.rho_into.shape == (2, 1)
    assert profile.to_json()["rho_median"] == []


def test_bfloat16_is_reported_as_below_its_noise_floor(llama, ids):
    """With the published noise, bfloat16 cannot resolve the energies, and the profile says so."""
    low = ModelView(copy.deepcopy(llama.model).bfloat16())
    with pytest.warns(PrecisionWarning, match="rounding floor of bfloat16"):
        profile = measure_rho(low, ids, draws=1)
    assert profile.warnings
    assert not measure_rho(llama, ids, draws=1).warnings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws >= 1, got 0"),
        ({"epsilon": 0.0}, "epsilon > 0, got 0.0"),
        ({"epsilon": -1.0}, "epsilon > 0"),
        ({"epsilon": float("nan")}, "epsilon > 0"),
        ({"epsilon": float("inf")}, "epsilon > 0"),
        ({"seed": -1}, "seed >= 0"),
    ],
)
def test_impossible_options_are_refused(llama, ids, options, message):
    """Wrong options are refused before any pass."""
    with pytest.raises(DomainError, match=message):
        measure_rho(llama, ids, **options)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(3, dtype=torch.int64), torch.zeros(0, 4, dtype=torch.int64), torch.zeros(1, 4),
        torch.full((1, 4), 256), torch.full((1, 4), -1), torch.zeros(1, 65, dtype=torch.int64),
    ],
    ids=["rank", "empty", "float", "above", "below", "too long"],
)
def test_ids_that_do_not_fit_are_refused(llama, bad):
    """Token ids of a wrong rank, dtype, range or length are refused."""
    with pytest.raises(InputError):
        measure_rho(llama, bad)


def test_non_finite_weights_are_refused(llama, ids):
    """A NaN in the weights is an error, not a NaN in the profile."""
    broken = ModelView(copy.deepcopy(llama.model))
    with torch.no_grad():
        broken.blocks[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError):
        measure_rho(broken, ids, draws=1)
