"""divergence against a slow reference, its identities, and what it refuses."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from peelverify.errors import InputError
from peelverify.evaluate import divergence, perplexity
from peelverify.models import load_model
from peelverify.models.small import small_decoder

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, model_dirs, noisy_dirs):
    """A decoder and the same with noise on its weights."""
    return load_model(model_dirs[request.param]), load_model(noisy_dirs[request.param])


def test_model_against_itself_is_zero(pair, ids):
    """No divergence, all top tokens the same, no change of loss."""
    found = divergence(pair[0], pair[0], ids)
    assert (found.kl, found.kl_max, found.delta_loss, found.delta_p_rms) == (0, 0, 0, 0)
    assert found.same_top_fraction == 1
    assert found.perplexity_factor == 1


def test_figures_equal_a_slow_reference(pair, ids):
    """KL, percentiles, top tokens and change of loss from plain numpy over full logits."""
    def logp(view):
        with torch.no_grad():
            z = view.model(input_ids=ids, use_cache=False).logits[:, :-1].double().numpy()
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))

    p, q = map(logp, pair)
    kl = (np.exp(p) * (p - q)).sum(axis=-1)
    same = p.argmax(-1) == q.argmax(-1)
    target = ids[:, 1:, None].numpy()
    lp, lq = (-np.take_along_axis(x, target, -1)[..., 0] for x in (p, q))
    found = divergence(*pair, ids)
    # log-probabilities carry float32 logits through different kernels: absolute 1e-6 a logit
    assert found.kl == pytest.approx(kl.mean(), rel=1e-2, abs=1e-9)
    assert found.kl_max == pytest.approx(kl.max(), rel=1e-2, abs=1e-9)
    for percentile, value in found.kl_percentiles.items():
        assert value == pytest.approx(np.percentile(kl, percentile), rel=1e-2, abs=1e-9)
    assert found.same_top_fraction == same.mean()
    assert found.delta_loss == pytest.approx((lq - lp).mean(), abs=1e-6)
    assert found.delta_p_rms == pytest.approx(np.sqrt(((np.exp(-lq) - np.exp(-lp)) ** 2).mean()), rel=1e-2)
    by_window = (lq - lp).mean(axis=1)
    assert found.delta_loss_standard_error == pytest.approx(by_window.std(ddof=1) / len(ids) ** 0.5, rel=1e-2)
    # errors of quotients and roots: spread of the figure when each window is left out in turn, to first order
    n = len(ids)
    rms = [np.sqrt(np.delete((np.exp(-lq) - np.exp(-lp)) ** 2, w, axis=0).mean()) for w in range(n)]
    ratio = [np.exp(np.delete(lq - lp, w, axis=0).mean()) for w in range(n)]
    for error, jackknife in (
        (found.delta_p_rms_standard_error, rms), (found.perplexity_factor_standard_error, ratio)
    ):
        assert error == pytest.approx(np.sqrt((n - 1) * np.var(jackknife)), rel=0.25)
    for error, losses in ((found.loss_original_standard_error, lp), (found.loss_compressed_standard_error, lq)):
        assert error == pytest.approx(losses.mean(axis=1).std(ddof=1) / n**0.5, rel=1e-4)
    plain = perplexity(pair[0], ids)
    assert plain.perplexity_standard_error == pytest.approx(plain.perplexity * found.loss_original_standard_error)


def test_the_share_of_top_tokens_has_an_exact_interval(pair, ids):
    """Against tails of the binomial law summed term by term; a share of one has an interval and no empty error."""
    from math import comb

    found = divergence(*pair, ids)
    n, k = found.tokens, round(found.same_top_fraction * found.tokens)
    low, high = found.same_top_interval
    tail = [comb(n, i) * low**i * (1 - low) ** (n - i) for i in range(k, n + 1)]
    assert sum(tail) == pytest.approx(0.025, rel=1e-6)
    if k < n:
        head = [comb(n, i) * high**i * (1 - high) ** (n - i) for i in range(k + 1)]
        assert sum(head) == pytest.approx(0.025, rel=1e-6)
    same = divergence(pair[0], pair[0], ids)
    assert same.same_top_interval == pytest.approx((0.025 ** (1 / n), 1.0))
    assert "100.000 % (95 % interval 97.0" in same.summary() and "100.000 ±" not in same.summary()
    assert "Clopper-Pearson" in same.summary()


def test_summary_has_errors_on_what_is_quoted(pair, ids):
    """Perplexities, their ratio and the RMS change of p each carry one standard error, as figures to quote do."""
    import re

    text = divergence(*pair, ids).summary()
    number = r"[0-9.]+ ± [0-9.]+"
    for part in (f"PPL {number} -> {number}", f"ratio {number}", f"RMS change of p {number} %", "one standard error"):
        assert re.search(part, text), (part, text)


def test_losses_are_those_of_perplexity(pair, ids):
    """Both losses and their difference agree with `perplexity` on each model."""
    found = divergence(*pair, ids)
    assert found.loss_original == pytest.approx(perplexity(pair[0], ids).loss, rel=1e-12)
    assert found.loss_compressed == pytest.approx(perplexity(pair[1], ids).loss, rel=1e-12)
    assert found.delta_loss == pytest.approx(found.loss_compressed - found.loss_original, abs=1e-12)


def test_divergence_has_a_direction(pair, ids):
    """KL is not symmetric: exchanging the models exchanges the losses and changes KL."""
    flat = copy.deepcopy(pair[0])  # a model that is nearly certain against one that knows nothing
    with torch.no_grad():
        pair[0].norm.weight.mul_(8)
        flat.lm_head.weight.zero_()
    try:
        with torch.no_grad():
            z = torch.log_softmax(pair[0].model(input_ids=ids, use_cache=False).logits[:, :-1].double(), dim=-1)
        # against uniform predictions, KL(p || uniform) = log 256 - entropy(p)
        wanted = float((np.log(256) + (z.exp() * z).sum(-1)).mean())
        assert divergence(pair[0], flat, ids).kl == pytest.approx(wanted, rel=1e-6)
    finally:
        with torch.no_grad():
            pair[0].norm.weight.div_(8)
    forth, back = divergence(*pair, ids), divergence(pair[1], pair[0], ids)
    assert forth.delta_loss == pytest.approx(-back.delta_loss)
    assert forth.kl != back.kl
    assert min(forth.kl, back.kl) > 0


def test_summary_and_json_carry_errors(pair, ids):
    """Figures come with their errors; JSON is strict."""
    found = divergence(*pair, ids)
    assert "±" in found.summary() and "same top token" in found.summary() and "99.9%" in found.summary()
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["schema"] == "peelverify.divergence/1"
    assert data["compared_tokens"] == ids.shape[0] * (ids.shape[1] - 1)
    alone = json.loads(json.dumps(divergence(*pair, ids[:1]).to_json(), allow_nan=False))
    assert alone["kl_standard_error_nats"] is None
    assert "±" not in divergence(*pair, ids[:1]).summary()


def test_different_vocabularies_are_refused(pair, ids):
    """Two models must speak of the same tokens."""
    other = small_decoder("llama", blocks=1, width=32, heads=4, vocabulary=300, length=64)
    with pytest.raises(InputError, match="one vocabulary, got 256 and 300"):
        divergence(pair[0], other, ids)
