"""Noise at block outputs and actual residuals of compression, against slow references."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from peelverify.compress import delete_layers, quantize_model
from peelverify.errors import DomainError, InputError, ShapeError
from peelverify.models import load_model
from peelverify.models.small import small_decoder
from peelverify.rho import inject_noise, measure_rho, residual_profile

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def outputs(view, ids):
    """States after each block, float64, by hooks on a plain forward pass."""
    found = []
    handles = [b.register_forward_hook(lambda m, a, out: found.append(out.double().numpy())) for b in view.blocks]
    with torch.no_grad():
        view.model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def energy(h, h2):
    """Mean over tokens of |e|^2 / |h|^2."""
    return float((((h2 - h) ** 2).sum(-1) / (h**2).sum(-1)).mean())


def test_noise_keeps_its_size_at_the_last_block(view, ids):
    """Noise after the last block is what was put in: epsilon squared, amplification one."""
    found = inject_noise(view, ids, epsilon=0.01, draws=2)
    assert found.amplification.shape == (2, view.depth)
    assert np.array_equal(found.amplification[:, -1], [1, 1])
    width, tokens = view.width, ids.numel()
    # mean square of n normal values has relative standard error sqrt(2/n)
    np.testing.assert_allclose(
        np.sqrt(found.start_absolute[:, -1] / np.mean((outputs(view, ids)[-1] ** 2).sum(-1))), 0.01,
        rtol=5 / (2 * width * tokens) ** 0.5,
    )


def test_injection_equals_a_hooked_forward_pass(view, ids, monkeypatch):
    """The energy at the end is that of a whole pass in which a hook adds the same noise to the block's output."""
    noises = {}
    from peelverify.rho import inject

    original = inject.token_noise

    def record(length, width, seed, stream, window):
        noises[stream, window] = original(length, width, seed, stream, window)
        return noises[stream, window]

    monkeypatch.setattr(inject, "token_noise", record)
    found = inject_noise(view, ids, draws=1, seed=4)
    clean = outputs(view, ids)
    for block in range(view.depth - 1):
        noise = torch.stack([noises[block, w] for w in range(len(ids))])
        scale = 0.01 * np.sqrt((clean[block] ** 2).mean())
        handle = view.blocks[block].register_forward_hook(lambda m, a, out, n=noise * scale: out + n)
        disturbed = outputs(view, ids)
        handle.remove()
        assert found.end_energy[0, block] == pytest.approx(energy(clean[-1], disturbed[-1]), rel=1e-3)


def test_injections_are_reproducible_and_refuse_bad_options(view, ids):
    """Same seed, same numbers; impossible options are errors."""
    a, b, c = (inject_noise(view, ids, draws=1, seed=s).end_energy for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    for options in ({"epsilon": 0}, {"epsilon": float("nan")}, {"draws": 0}, {"seed": -1}):
        with pytest.raises(DomainError, match="inject_noise needs"):
            inject_noise(view, ids, **options)
    with pytest.raises(InputError):
        inject_noise(view, torch.zeros(1, 65, dtype=torch.int64))


def test_one_block_has_amplification_one(ids):
    """With one block there is nothing behind it."""
    assert inject_noise(small_decoder("llama", blocks=1, width=32, heads=4, length=64), ids).amplification.max() == 1


def test_residuals_equal_differences_of_hidden_states(view, ids):
    """Energies of a quantised model's error, from plain forward passes of both models."""
    small = quantize_model(view, 3).view
    found = residual_profile(view, small, ids)
    for t, (h, h2) in enumerate(zip(outputs(view, ids), outputs(small, ids), strict=True)):
        assert found.energy[t] == pytest.approx(energy(h, h2), rel=1e-4)
        assert found.absolute_energy[t] == pytest.approx(((h2 - h) ** 2).sum(-1).mean(), rel=1e-4)
    np.testing.assert_allclose(found.ratio, found.energy[1:] / found.energy[:-1])
    assert found.drift == found.energy[-1]


def test_error_of_one_block_starts_there(view, ids):
    """Only block 1 changed: no error before it, some from there on; null before in JSON."""
    changed = copy.deepcopy(view)
    with torch.no_grad():
        next(iter(changed.linears(1).values())).weight.mul_(1.1)
    found = residual_profile(view, changed, ids)
    assert found.energy[0] == 0 and found.energy[1] > 0
    assert np.isnan(found.ratio[0]) or np.isinf(found.ratio[0])
    json.dumps(found.to_json(), allow_nan=False)


def test_deleted_block_is_the_identity(view, ids):
    """At a deleted block the error is that block's own update; before it there is none."""
    found = residual_profile(view, delete_layers(view, [1]), ids, kept=[0, 2])
    states = view.trace(ids).states
    h, h2 = states[2].double().numpy(), states[1].double().numpy()
    assert found.energy[0] == 0
    assert found.energy[1] == pytest.approx(energy(h, h2), rel=1e-6)
    first = residual_profile(view, delete_layers(view, [0]), ids, kept=[1, 2])
    assert first.energy[0] == pytest.approx(
        energy(states[1].double().numpy(), states[0].double().numpy()), rel=1e-6
    )


def test_models_that_do_not_fit_are_refused(view, ids):
    """Kept blocks must be those of the smaller model; widths must agree."""
    small = delete_layers(view, [1])
    for kept in (None, [0], [2, 0], [0, 3]):
        with pytest.raises(ShapeError, match="needs kept to name 2 of 3"):
            residual_profile(view, small, ids, kept=kept)
    with pytest.raises(ShapeError, match="one width"):
        residual_profile(view, small_decoder("llama", blocks=3, width=16, heads=4, length=64), ids)


def test_product_of_rho_is_not_the_amplification_of_injected_noise(view, ids):
    """Two different quantities: both finite, and their ranks need not agree; only the last entry is the same."""
    product = measure_rho(view, ids).amplification
    injected = np.median(inject_noise(view, ids).amplification, axis=0)
    assert product[-1] == injected[-1] == 1
    assert not np.allclose(product, injected, rtol=1e-3)


def test_the_command_shows_injections_and_the_actual_error(model_dirs, tmp_path, capsys):
    """``peelverify rho --inject --against``: the figures of the library, for a quantised and for a shortened model."""
    import os

    from peelverify.cli.app import main
    from peelverify.cli.inputs import text_windows

    model = str(model_dirs["llama"])
    ids = text_windows(model, os.__file__, tokens=128, window=32)
    whole = load_model(model)
    fast = ["--tokens", "128", "--window", "32", "--text", os.__file__, "--draws", "2"]
    for method, kept in (["rtn", "--bits", "3"], None), (["delete", "--layers", "1"], [0, 2]):
        small = tmp_path / method[0]
        assert main(["compress", model, "--method", *method, "--out", str(small)]) == 0
        capsys.readouterr()
        assert main(["rho", model, *fast, "--inject", "--against", str(small), "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        wanted = residual_profile(whole, load_model(small), ids, kept=kept)
        assert data["against"]["energy"] == wanted.energy.tolist()
        noise = inject_noise(whole, ids, draws=2)
        assert data["injected"]["amplification_median"] == np.median(noise.amplification, axis=0).tolist()
        assert len(data["against"]["rho_of_compressed_median"]) == (3 if kept is None else 2) - 1
        assert main(["rho", model, *fast, "--inject", "--against", str(small)]) == 0
        out = capsys.readouterr().out
        assert "actual error of" in out and "noise put in after each block" in out and "measured again" in out
