"""GPTQ and SparseGPT: the loss identity, reduction to the plain methods, gain over them, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peelverify.compress import prune_model, prune_weight, quantize_model, round_to_nearest
from peelverify.compress.calibrate import BlockWalk, input_energy, input_gram
from peelverify.compress.secondorder import gptq_weight, gram_factor, sparsegpt_weight
from peelverify.errors import DomainError, InputError, NonFiniteError, NumericalError, ShapeError
from peelverify.models import load_model

FAMILIES = ("llama", "gpt2", "qwen2")


def problem(rows=6, inputs=40, tokens=400, seed=0, dtype=torch.float32):
    """A matrix and the Gram matrix of correlated inputs."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=g, dtype=torch.float64)
    x = torch.randn(tokens, inputs, generator=g, dtype=torch.float64) @ mix
    return torch.randn(rows, inputs, generator=g).to(dtype), x, x.T @ x


def damped_error(weight, new, gram, damping):
    """|(W - W') X|^2 plus the damping term, straight from its definition."""
    delta = (weight.double() - new.double()).numpy()
    loaded = gram.numpy() + damping * np.trace(gram.numpy()) / len(gram) * np.eye(len(gram))
    return float(np.einsum("ri,ij,rj->", delta, loaded, delta))


SWEEPS = {
    "gptq": lambda w, g, d: gptq_weight(w, g, 3, damping=d),
    "gptq groups": lambda w, g, d: gptq_weight(w, g, 3, group=8, damping=d),
    "sparsegpt": lambda w, g, d: sparsegpt_weight(w, g, 0.5, damping=d),
    "sparsegpt 2:4": lambda w, g, d: sparsegpt_weight(w, g, pattern=(2, 4), damping=d),
}


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("inputs", [40, 264])
@pytest.mark.parametrize("damping", [0.01, 0.1])
def test_summed_loss_is_the_output_error(sweep, inputs, damping):
    """The sum of scaled squared changes equals the damped squared output error, computed separately."""
    weight, _, gram = problem(inputs=inputs, tokens=4 * inputs, dtype=torch.float64)
    done = SWEEPS[sweep](weight, gram, damping)
    # both sides in float64; the condition number of the damped Gram is below 1e5 here
    assert done.loss == pytest.approx(damped_error(weight, done.weight, gram, damping), rel=1e-8)


@pytest.mark.parametrize("sweep", ["gptq", "sparsegpt", "sparsegpt 2:4"])
def test_compensation_beats_the_plain_method(sweep):
    """On correlated inputs the output error is below nine tenths of that of rounding or of Wanda."""
    weight, _, gram = problem(rows=16)
    plain = {
        "gptq": lambda: round_to_nearest(weight, 3).weight,
        "sparsegpt": lambda: prune_weight(weight, 0.5, energy=gram.diagonal()),
        "sparsegpt 2:4": lambda: prune_weight(weight, pattern=(2, 4), energy=gram.diagonal()),
    }[sweep]()
    done = SWEEPS[sweep](weight, gram, 0.01)
    assert damped_error(weight, done.weight, gram, 0) < 0.9 * damped_error(weight, plain, gram, 0)


def test_orthogonal_inputs_leave_nothing_to_compensate():
    """With a diagonal Gram matrix GPTQ is round to nearest and SparseGPT is Wanda on the whole matrix."""
    weight, _, gram = problem()
    diagonal = torch.diag(gram.diagonal())
    rounded, done = round_to_nearest(weight, 4), gptq_weight(weight, diagonal, 4)
    assert torch.equal(done.weight, rounded.weight)
    assert torch.equal(done.quantized.codes, rounded.codes)
    pruned = prune_weight(weight, 0.5, energy=diagonal.diagonal(), group="matrix")
    assert torch.equal(sparsegpt_weight(weight, diagonal, 0.5, damping=0).weight, pruned)


def test_compensation_of_one_column_is_least_squares():
    """Dropping one column: the others move to the least-squares optimum, found by another solver."""
    weight, x, gram = problem(rows=1, inputs=5)
    small = weight.clone()
    small[0, 0] = 1e-9  # certain to be the one that goes
    done = sparsegpt_weight(small, gram, count=1, damping=0).weight[0].double()
    target = x @ small[0].double()
    best = torch.linalg.lstsq(x[:, 1:], target[:, None]).solution[:, 0]
    assert done[0] == 0
    torch.testing.assert_close(done[1:], best, rtol=1e-6, atol=1e-6)


def test_codes_are_on_the_grid():
    """GPTQ weights are codes times step exactly, with codes in range."""
    weight, _, gram = problem()
    for group in (None, 8):
        q = gptq_weight(weight, gram, 3, group=group).quantized
        assert int(q.codes.abs().max()) <= 3
        assert torch.equal(q.weight.double(), q.codes.double() * q.expanded_step())


@pytest.mark.parametrize("inputs", [40, 264])
@pytest.mark.parametrize("count", [0, 1, 17, 100, 239])
def test_sparsegpt_drops_exactly_the_count(inputs, count):
    """Across column blocks, the number of zeros is the number asked."""
    weight, _, gram = problem(inputs=inputs, tokens=2 * inputs)
    assert int((sparsegpt_weight(weight, gram, count=count).weight == 0).sum()) == count


def test_silent_inputs_lose_their_weights():
    """An input that never fires gets zeros, and the rest is solved without it."""
    weight, _, gram = problem()
    gram[3], gram[:, 3] = 0, 0
    assert gptq_weight(weight, gram, 4).weight[:, 3].abs().sum() == 0


def test_singular_gram_needs_damping():
    """More inputs than tokens: an error without damping, a result with it."""
    weight, _, gram = problem(tokens=10)
    with pytest.raises(NumericalError, match="more damping"):
        gram_factor(gram, 0)
    assert torch.isfinite(gptq_weight(weight, gram, 4).weight).all()


def test_factor_is_that_of_the_inverse():
    """U^T U times the damped Gram matrix is the identity, and U is upper triangular."""
    _, _, gram = problem()
    upper, dead = gram_factor(gram, 0.01)
    loaded = gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    torch.testing.assert_close(upper.T @ upper @ loaded, torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-8)
    assert torch.equal(upper, upper.triu()) and not dead.any()


def test_bad_input_is_refused():
    """Damping, shapes, NaN, counts and bits that cannot be."""
    weight, _, gram = problem()
    with pytest.raises(DomainError, match="damping >= 0"):
        gram_factor(gram, -1)
    with pytest.raises(ShapeError, match="square Gram"):
        gram_factor(gram[:3])
    with pytest.raises(ShapeError, match="of 40 inputs"):
        gptq_weight(weight, gram[:3, :3], 4)
    with pytest.raises(NonFiniteError):
        gram_factor(gram * float("nan"))
    with pytest.raises(NonFiniteError):
        sparsegpt_weight(weight * float("inf"), gram)
    with pytest.raises(DomainError, match="0 <= count < 240"):
        sparsegpt_weight(weight, gram, count=240)
    with pytest.raises(DomainError, match="0 < sparsity < 1"):
        sparsegpt_weight(weight, gram, 1.0)
    with pytest.raises(DomainError, match="bits from 2 to 8"):
        gptq_weight(weight, gram, 1)


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def test_gram_has_the_input_energies_on_its_diagonal(view, ids):
    """Two statistics of the same inputs agree, and all maps have one."""
    walk = BlockWalk(view, ids)
    for t in range(view.depth):
        grams, energies = input_gram(walk, t), input_energy(walk, t)
        assert set(grams) == set(energies) == set(view.linears(t))
        for name, gram in grams.items():
            torch.testing.assert_close(gram.diagonal() / len(ids), energies[name], rtol=1e-6, atol=0)
            torch.testing.assert_close(gram, gram.T, rtol=0, atol=0)
        walk.advance(t)


def test_statistics_add_up_over_batches(view, ids, monkeypatch):
    """Windows one at a time give the same Gram matrices as all together."""
    together = input_gram(BlockWalk(view, ids), 0)
    monkeypatch.setattr("peelverify.compress.calibrate.batches", lambda x, tokens=0: iter(x.split(1)))
    apart = input_gram(BlockWalk(view, ids), 0)
    for name, gram in together.items():
        scale = float(gram.diagonal().max())  # float32 kernels differ by batch shape: 1e-6 of the largest entry
        torch.testing.assert_close(apart[name], gram, rtol=0, atol=1e-5 * scale)


def test_models_are_compressed_on_their_own_inputs(view, ids):
    """GPTQ and SparseGPT on a whole model: right count, right grid, and closer than the plain method."""
    sparse = prune_model(view, 0.5, method="sparsegpt", input_ids=ids)
    assert sparse.record["settings"]["zero_fraction"] == pytest.approx(0.5, abs=1e-3)
    gptq = quantize_model(view, 3, method="gptq", input_ids=ids)
    assert gptq.record["method"] == "gptq" and set(gptq.matrices)
    grams = input_gram(BlockWalk(view, ids), 0)
    plain = quantize_model(view, 3).view, prune_model(view, 0.5, method="wanda", input_ids=ids).view
    for done, other in zip((gptq.view, sparse.view), plain, strict=True):
        for name, gram in grams.items():
            weight, new, rival = (view.weight(v.linears(0)[name]).detach() for v in (view, done, other))
            assert damped_error(weight, new, gram, 0) < damped_error(weight, rival, gram, 0), name
    with pytest.raises(InputError, match="needs input_ids for 'gptq'"):
        quantize_model(view, 4, method="gptq")
    with pytest.raises(InputError, match="a method among rtn"):
        quantize_model(view, 4, method="other")
