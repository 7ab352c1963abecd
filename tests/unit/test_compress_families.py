"""Every supported family: measured, ranked, quantised, pruned, shortened and run with a cache."""

from __future__ import annotations

import pytest
import torch

from peelverify.compress import compress_model, delete_layers, rank_layers
from peelverify.compress.apply import METHODS, Settings
from peelverify.evaluate import divergence
from peelverify.models import FAMILIES, ModelView
from peelverify.rho import measure_rho
from tests.families import untrained_family


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def view(request):
    """A small untrained decoder of each family that peelverify knows."""
    model = untrained_family(request.param, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "emb" not in name:
                parameter.mul_(4)  # freshly initialised blocks hardly do anything
    return ModelView(model)


def test_rho_and_rankings_work(view, ids):
    """Energies are positive and finite, and a removal order comes out."""
    profile = measure_rho(view, ids, draws=2)
    assert (profile.energy > 0).all()
    for criterion in ("rho", "block_influence", "greedy", "skip_score", "taylor"):
        assert sorted(rank_layers(view, ids, criterion).order) == [0, 1, 2]


def test_deletion_equals_skipping_and_generates(view, ids):
    """Bit by bit, and with a cache as without one."""
    trace = view.trace(ids)
    small = delete_layers(view, [1])
    state = trace.block(2, trace.block(0, trace.states[0]))
    with torch.no_grad():
        assert torch.equal(small.model(input_ids=ids, use_cache=False).logits, trace.head(state))
        made = small.model.generate(ids[:1, :24], max_new_tokens=6, do_sample=False)
        slow = ids[:1, :24]
        for _ in range(6):
            token = small.model(input_ids=slow, use_cache=False).logits[:, -1:].argmax(-1)
            slow = torch.cat([slow, token], dim=1)
    assert torch.equal(made, slow)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "delete"])
def test_every_method_changes_all_linear_maps(view, ids, method):
    """All linear maps of all blocks are found, and the model that comes out is finite and another."""
    done = compress_model(view, method, Settings(bits=3, sparsity=0.4), input_ids=ids)
    for t in range(view.depth):
        assert view.linears(t), "no linear map found"
        for name, linear in done.view.linears(t).items():
            assert not torch.equal(linear.weight, view.linears(t)[name].weight), name
    assert 0 < divergence(view, done.view, ids).kl < float("inf")
