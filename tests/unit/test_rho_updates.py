"""Tokenwise fits and gradient norms, against hand-made blocks, numpy least squares and the loss of transformers."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from peelverify.compress import DIAGNOSTICS, layer_diagnostics, powerlaw_alpha
from peelverify.compress.copies import weight_rows
from peelverify.errors import DomainError, InputError
from peelverify.models import load_model
from peelverify.rho import depth_use, gradient_norms, tokenwise_fit

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def by_hand(states, updates, k, form, ridge):
    """The prediction for each token with scipy's distances and numpy's solver, one token at a time."""
    found = np.empty_like(updates)
    for i, here in enumerate(states):
        order = np.argsort(cdist(here[None], states)[0], kind="stable")  # repeated tokens are tied at zero
        near = [n for n in order if n != i][:k]
        x, y = states[near], updates[near]
        if form == "diagonal":
            slopes = [np.linalg.lstsq(x[:, [j]], y[:, j], rcond=None)[0][0] for j in range(x.shape[1])]
            found[i] = np.array(slopes) * here
        else:  # ridge regression as least squares on stacked rows
            load = ridge * (x**2).sum() / k
            stacked = np.vstack([x, np.sqrt(load) * np.eye(x.shape[1])])
            target = np.vstack([y, np.zeros((x.shape[1], y.shape[1]))])
            found[i] = here @ np.linalg.lstsq(stacked, target, rcond=None)[0]
    return found


@pytest.mark.parametrize("form", ["diagonal", "low_rank"])
def test_fit_is_that_of_least_squares(view, ids, form):
    """Errors and alignments are those of a separate fit with other neighbours' search and another solver."""
    few = ids[:2]
    found = tokenwise_fit(view, few, neighbours=5, form=form, ridge=0.01)
    states = [s.flatten(0, 1).double().numpy() for s in view.trace(few).states]
    for t in range(view.depth):
        update = states[t + 1] - states[t]
        fitted = by_hand(states[t], update, 5, form, 0.01)
        size = np.linalg.norm(update, axis=1)
        assert found.error[t] == pytest.approx((np.linalg.norm(update - fitted, axis=1) / size).mean(), rel=1e-5)
        cosine = (update * fitted).sum(1) / (size * np.linalg.norm(fitted, axis=1))
        assert found.alignment[t] == pytest.approx(cosine.mean(), rel=1e-4, abs=1e-6)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_linear_block_is_tokenwise_and_attention_is_not(model_dirs, ids):
    """A block that only scales its input is fitted to the last digits; one that only mixes tokens is not."""
    view = copy.deepcopy(load_model(model_dirs["llama"]))
    view.blocks[0].forward = lambda hidden_states, *args, **kwargs: 1.5 * hidden_states
    view.blocks[1].forward = lambda hidden_states, *args, **kwargs: hidden_states + hidden_states.flip(1)
    for form in ("diagonal", "low_rank"):
        found = tokenwise_fit(view, ids, neighbours=8, form=form, ridge=1e-8)
        if form == "diagonal":
            assert found.error[0] < 1e-5
            assert found.alignment[0] == pytest.approx(1, abs=1e-6)
        assert found.error[1] > 10 * found.error[0]
        assert found.error[1] > 0.3


def test_a_block_that_adds_nothing_is_fitted(model_dirs, ids):
    """No update anywhere: error and alignment are zero, not the quotient of zeros."""
    view = copy.deepcopy(load_model(model_dirs["llama"]))
    view.blocks[0].forward = lambda hidden_states, *args, **kwargs: hidden_states
    for form in ("diagonal", "low_rank"):
        found = tokenwise_fit(view, ids, neighbours=4, form=form)
        assert found.error[0] == found.alignment[0] == 0
        assert np.isfinite(found.error).all()


def test_gradients_are_those_of_the_loss_of_transformers(view, ids):
    """Norms by block from ``labels=`` and ``backward``, a separate path through the model's own loss."""
    found = gradient_norms(view, ids)
    other = copy.deepcopy(view.model)
    other.requires_grad_(True)
    loss = other(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    twin = type(view)(other)
    for t, block in enumerate(twin.blocks):
        squares = sum(float(p.grad.double().square().sum()) for p in block.parameters())
        assert found.norm[t] == pytest.approx(squares**0.5, rel=1e-4)
        size = sum(float(p.detach().double().square().sum()) for p in block.parameters()) ** 0.5
        assert found.relative[t] == pytest.approx(squares**0.5 / size, rel=1e-4)
    assert all(p.grad is None for p in view.model.parameters())
    json.dumps(found.to_json(), allow_nan=False)


def test_gradient_predicts_a_small_step(view, ids):
    """A step of length s against the gradient of one block lowers the loss by s times its norm, to first order."""
    few = ids[:4]
    before = gradient_norms(view, few)
    model = copy.deepcopy(view.model).double()
    model.requires_grad_(True)
    loss = model(input_ids=few, labels=few, use_cache=False).loss
    block = type(view)(model).blocks[1]
    gradients = torch.autograd.grad(loss, list(block.parameters()))
    step = 1e-3 / before.norm[1]
    with torch.no_grad():
        for p, g in zip(block.parameters(), gradients, strict=True):
            p -= step * g / before.norm[1]
        after = model(input_ids=few, labels=few, use_cache=False).loss
    assert float(loss.detach() - after) == pytest.approx(step * before.norm[1], rel=0.05)


def test_every_diagnostic_has_a_number_a_block(view, ids):
    """All columns are there, equal to the functions they come from."""
    found = layer_diagnostics(view, ids)
    assert set(found["columns"]) == set(DIAGNOSTICS)
    assert not found["not_measured"]
    assert all(len(values) == view.depth for values in found["columns"].values())
    assert found["columns"]["update"] == pytest.approx(depth_use(view, ids).update)
    weights = [weight_rows(m) for m in view.linears(1).values()]
    assert found["columns"]["alpha"][1] == pytest.approx(np.mean([powerlaw_alpha(w).alpha for w in weights]))
    json.dumps(found, allow_nan=False)


def test_what_a_family_does_not_allow_is_named(ids):
    """Gemma 2 rescales its sub-layers: those columns are None with the reason, the others are there."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from peelverify.models import ModelView

    config = AutoConfig.for_model(
        "gemma2", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, vocab_size=256, max_position_embeddings=64, pad_token_id=None,
        bos_token_id=None, eos_token_id=None,
    )
    torch.manual_seed(0)
    found = layer_diagnostics(ModelView(AutoModelForCausalLM.from_config(config, attn_implementation="eager")), ids)
    assert set(found["not_measured"]) == {"attention", "mlp", "update", "alignment"}
    assert "gemma2" in found["not_measured"]["mlp"]
    assert found["columns"]["mlp"] is None
    assert len(found["columns"]["tokenwise_error"]) == 2


def test_bad_input_is_refused(view, ids):
    """Too few tokens, foreign forms and loads."""
    with pytest.raises(DomainError, match="neighbours"):
        tokenwise_fit(view, ids[:1, :8], neighbours=8)
    with pytest.raises(DomainError, match="ridge"):
        tokenwise_fit(view, ids, ridge=0.0)
    with pytest.raises(InputError, match="form"):
        tokenwise_fit(view, ids, form="full")
    with pytest.raises(InputError, match="next token"):
        gradient_norms(view, ids[:, :1])


def test_the_command_prints_them(model_dirs, tmp_path, capsys):
    """``peelverify rho --diagnostics``: a table, and the same numbers in JSON."""
    from peelverify.cli.app import main

    arguments = ["rho", str(model_dirs["gpt2"]), "--draws", "1", "--tokens", "256", "--window", "64", "--diagnostics"]
    assert main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["diagnostics"]
    assert set(data["columns"]) == set(DIAGNOSTICS)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "tokenwise" in out
    assert f"{data['columns']['zd'][0]:.3g}" in out
