"""Token weights: explicit weighted sums, tokens seen twice or not at all, attention by hand, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from peelverify.cli.app import main
from peelverify.compress import (
    Settings,
    compress_model,
    prune_model,
    quantize_model,
    read_record,
    sparsity_schedule,
    token_weights,
)
from peelverify.compress.calibrate import BlockWalk, input_energy, input_gram, watch_inputs
from peelverify.compress.copies import linear_maps, weight_rows
from peelverify.errors import DomainError, InputError, ShapeError
from peelverify.models import load_model

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


@pytest.fixture(scope="module")
def weights(ids):
    """Arbitrary weights, a different one for every token, some zero."""
    found = torch.rand(ids.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return found * (found > 0.2)


def explicit(view, ids, index, weights):
    """Weighted sums over tokens, token by token in numpy, from the inputs of one plain pass."""
    seen = {}
    with watch_inputs(view.linears(index), seen.setdefault), torch.no_grad():
        view.model(input_ids=ids, use_cache=False)
    found = {}
    for name, x in seen.items():
        x = x.double().numpy()
        gram = np.zeros((x.shape[2], x.shape[2]))
        for window in range(x.shape[0]):
            for token in range(x.shape[1]):
                gram += float(weights[window, token]) * np.outer(x[window, token], x[window, token])
        found[name] = gram
    return found


def test_statistics_are_the_explicit_weighted_sums(view, ids, weights):
    """Gram matrices and energies equal sum w x x^T and sum w x_j^2, whatever the batch they came in."""
    ids, weights = ids[:, :40], weights[:, :40]
    walk = BlockWalk(view, ids, weights)
    walk.advance(0)
    grams, energies = input_gram(walk, 1), input_energy(walk, 1)
    for name, wanted in explicit(view, ids, 1, weights).items():
        np.testing.assert_allclose(grams[name].numpy(), wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
        np.testing.assert_allclose(energies[name].numpy(), np.diag(wanted) / len(ids), rtol=1e-6)


def compressed(view, ids, weights):
    """Weights of every map under each method that calibrates."""
    made = {
        "gptq": quantize_model(view, 3, method="gptq", input_ids=ids, token_weights=weights).view,
        "wanda": prune_model(view, 0.5, method="wanda", input_ids=ids, token_weights=weights).view,
        "sparsegpt": prune_model(view, 0.5, method="sparsegpt", input_ids=ids, token_weights=weights).view,
    }
    return {kind: {n: weight_rows(m) for n, m in linear_maps(v).items()} for kind, v in made.items()}


def test_a_window_of_weight_zero_is_not_there(view, ids):
    """Weights 0 and 1 over windows: the compressed model is that of the windows of weight 1 alone."""
    ids = ids[:6]
    weights = torch.zeros(ids.shape)
    weights[:3] = 1
    with_weights, alone = compressed(view, ids, weights), compressed(view, ids[:3], None)
    for kind, maps in alone.items():
        for name, rows in maps.items():
            if kind == "wanda":  # scores are compared only; sums over windows differ by a common factor
                assert torch.equal(with_weights[kind][name] == 0, rows == 0)
            else:
                torch.testing.assert_close(with_weights[kind][name], rows, rtol=1e-4, atol=1e-5)


def test_weights_change_every_method_and_equal_weights_none(view, ids, weights):
    """One weight for all tokens is uniform; other weights give another model, and the record names them."""
    plain = compressed(view, ids, None)
    same = compressed(view, ids, torch.full(ids.shape, 1.0))
    other = compressed(view, ids, weights)
    for kind, maps in plain.items():
        assert all(torch.allclose(same[kind][n], rows, rtol=1e-4, atol=1e-5) for n, rows in maps.items())
        assert any(not torch.equal(other[kind][n], rows) for n, rows in maps.items())
    for given, name in ((None, "uniform"), ("attention", "attention"), (weights, "given")):
        done = prune_model(view, 0.5, method="wanda", input_ids=ids, token_weights=given)
        assert done.record["settings"]["token_weights"] == name


def test_attention_weights_are_those_of_the_formula(model_dirs, ids):
    """Attention received, from queries and keys worked out by hand for GPT-2, stretched and squared."""
    view = load_model(model_dirs["gpt2"])
    found = token_weights(view, ids, "attention", least=0.1)
    assert found.shape == (view.depth, *ids.shape)
    heads = view.config.n_head
    states = view.trace(ids).states
    for t, block in enumerate(view.blocks):
        mixed = block.attn.c_attn(block.ln_1(states[t])).detach().double().numpy()
        q, k, _ = np.split(mixed, 3, axis=-1)
        n, length, width = q.shape
        q, k = (x.reshape(n, length, heads, width // heads).transpose(0, 2, 1, 3) for x in (q, k))
        logits = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
        logits[..., np.triu(np.ones((length, length), bool), 1)] = -np.inf
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        received = (shares / shares.sum(-1, keepdims=True)).sum(axis=(1, 2))
        low, high = received.min(-1, keepdims=True), received.max(-1, keepdims=True)
        wanted = (0.1 + 0.9 * (received - low) / (high - low)) ** 2
        np.testing.assert_allclose(found[t].numpy(), wanted, rtol=1e-3, atol=1e-5)


def test_every_kind_is_in_range_and_leaves_the_model_alone(view, ids):
    """Weights lie in (0, 1], reach 1 in every window, and the model computes as before."""
    before = view.trace(ids[:2]).logits
    attention = view.config._attn_implementation
    for kind in ("uniform", "activation_norm", "attention"):
        found = token_weights(view, ids, kind)
        assert found.min() > 0
        assert torch.all(found.amax(dim=2) == 1)
    assert view.config._attn_implementation == attention
    assert torch.equal(view.trace(ids[:2]).logits, before)
    norms = torch.stack([s.double().norm(dim=-1) for s in view.trace(ids).states[:-1]])
    found = token_weights(view, ids, "activation_norm")
    assert torch.equal(found.argmax(dim=2), norms.argmax(dim=2))


def test_schedule_and_settings_take_them(view, ids):
    """OWL counts outliers under the weights; the entry for all methods passes them on."""
    plain = sparsity_schedule(view, 0.5, "owl", input_ids=ids)
    assert plain.scores != sparsity_schedule(view, 0.5, "owl", input_ids=ids, token_weights="attention").scores
    direct = prune_model(view, 0.5, method="wanda", input_ids=ids, token_weights="attention").view
    passed = compress_model(view, "wanda", Settings(token_weights="attention"), input_ids=ids).view
    for a, b in zip(linear_maps(direct).values(), linear_maps(passed).values(), strict=True):
        assert torch.equal(weight_rows(a), weight_rows(b))


def test_bad_weights_are_refused(view, ids):
    """Wrong shapes, negative or empty weights, unknown names, methods without calibration."""
    good = torch.ones(ids.shape)
    with pytest.raises(ShapeError, match="one for each calibration token"):
        prune_model(view, method="wanda", input_ids=ids, token_weights=good[:, 1:])
    for bad in (-good, good * 0, good * float("nan")):
        with pytest.raises(DomainError, match="not all zero"):
            quantize_model(view, method="gptq", input_ids=ids, token_weights=bad)
    with pytest.raises(InputError, match="attention"):
        token_weights(view, ids, "surprise")
    with pytest.raises(DomainError, match="least"):
        token_weights(view, ids, least=0.0)
    for call in (
        lambda: prune_model(view, method="magnitude", token_weights="attention"),
        lambda: quantize_model(view, method="rtn", token_weights=good),
        lambda: compress_model(view, "svd", Settings(token_weights="attention")),
    ):
        with pytest.raises(InputError, match="no use for token weights"):
            call()


def test_the_command_records_them(model_dirs, tmp_path, capsys):
    """``--token-weights`` reaches the saved record; foreign names and methods are refused before any work."""
    call = ["compress", str(model_dirs["llama"]), "--method", "gptq", "--tokens", "512", "--window", "64", "--json"]
    assert main([*call, "--token-weights", "attention", "--out", str(tmp_path / "a")]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["token_weights"] == "attention"
    assert read_record(tmp_path / "a")["settings"]["token_weights"] == "attention"
    assert main([*call, "--token-weights", "luck", "--out", str(tmp_path / "b")]) == 2
    assert "--token-weights" in capsys.readouterr().err
    svd = ["compress", str(model_dirs["llama"]), "--method", "svd", "--token-weights", "attention"]
    assert main([*svd, "--out", str(tmp_path / "b")]) == 2
    assert not (tmp_path / "b").exists()
