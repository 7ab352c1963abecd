"""Sub-layer contributions and the effect of skips, against hand-made blocks and plain passes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from peelverify.compress import rank_layers
from peelverify.errors import InputError
from peelverify.models import ModelView, load_model
from peelverify.rho.depthuse import depth_use, skip_effect

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


def test_update_is_the_residual_change(view, ids):
    """|a + m| / |h| is the score of the ranking criterion, computed there from states alone."""
    found = depth_use(view, ids)
    assert found.update == pytest.approx(rank_layers(view, ids, "residual_change").scores, rel=1e-4)
    assert (np.abs(found.alignment) <= 1).all()
    json.dumps(found.to_json(), allow_nan=False)


def test_contributions_are_their_formulas(view, ids):
    """Means over tokens of |a| / |h|, |m| / |h + a| and the cosine of a + m and h, in numpy from hooks on the maps."""
    from operator import attrgetter

    for t, block in enumerate(view.blocks):
        written, entered = {}, []
        handles = [
            attrgetter(path)(block).register_forward_hook(
                lambda m, a, out, path=path, written=written: written.__setitem__(path, out.double().numpy())
            )
            for path in (view.family.attention_out, view.family.mlp_out)
        ]
        handles.append(block.register_forward_pre_hook(
            lambda m, a, k, entered=entered: entered.append((a[0] if a else k["hidden_states"]).double().numpy()),
            with_kwargs=True,
        ))
        with torch.no_grad():
            view.model(input_ids=ids, use_cache=False)
        for handle in handles:
            handle.remove()
        h, a, m = entered[0], written[view.family.attention_out], written[view.family.mlp_out]

        def size(x):
            return np.sqrt((x**2).sum(axis=-1))

        found = depth_use(view, ids)
        assert found.attention[t] == pytest.approx((size(a) / size(h)).mean(), rel=1e-5)
        assert found.mlp[t] == pytest.approx((size(m) / size(h + a)).mean(), rel=1e-5)
        cosine = ((a + m) * h).sum(axis=-1) / (size(a + m) * size(h))
        assert found.alignment[t] == pytest.approx(cosine.mean(), rel=1e-4, abs=1e-7)
        assert abs((size(m) / size(h)).mean() / found.mlp[t] - 1) > 1e-4  # the other divisor would be seen


def test_silenced_sub_layers_add_nothing(view, ids):
    """With the MLP's last map at zero its share is zero and attention is the whole update; and the reverse."""
    import copy
    from operator import attrgetter

    for path, silent, loud in (
        (view.family.mlp_out, "mlp", "attention"), (view.family.attention_out, "attention", "mlp"),
    ):
        changed = copy.deepcopy(view)
        for block in changed.blocks:
            for parameter in attrgetter(path)(block).parameters():
                torch.nn.init.zeros_(parameter)
        found = depth_use(changed, ids)
        assert np.abs(getattr(found, silent)).max() == 0
        assert getattr(found, loud) == pytest.approx(found.update, rel=1e-5)


def test_families_that_rescale_sub_layers_are_refused(ids):
    """Gemma 2 normalises what attention and MLP write, so the sums do not hold and the family is named."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "gemma2", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, vocab_size=256, max_position_embeddings=64, pad_token_id=None,
        bos_token_id=None, eos_token_id=None,
    )
    with pytest.raises(InputError, match=r"got a gap of .* of gemma2"):
        depth_use(ModelView(AutoModelForCausalLM.from_config(config, attn_implementation="eager")), ids)


def test_skips_change_later_updates_only(view, ids):
    """Entries above the diagonal are those of a pass with the block patched out; the rest is zero."""
    found = skip_effect(view, ids)
    assert not np.tril(found).any()
    clean = [s.double().numpy() for s in view.trace(ids).states]
    block = view.blocks[0]
    forward = block.forward
    block.forward = lambda *args, **kwargs: args[0] if args else kwargs["hidden_states"]
    outputs = []
    handles = [b.register_forward_hook(lambda m, a, o: outputs.append(o.double().numpy())) for b in view.blocks]
    with torch.no_grad():
        view.model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    block.forward = forward
    for t in (1, 2):
        update, other = clean[t + 1] - clean[t], outputs[t] - outputs[t - 1]
        wanted = (np.linalg.norm(other - update, axis=-1) / np.linalg.norm(update, axis=-1)).mean()
        assert found[0, t] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("function", [depth_use, skip_effect])
def test_ids_that_do_not_fit_are_refused(view, function):
    """Too long windows and foreign ids."""
    for bad in (torch.zeros(1, 65, dtype=torch.int64), torch.full((1, 4), 256)):
        with pytest.raises(InputError):
            function(view, bad)
