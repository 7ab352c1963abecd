"""perplexity against transformers' own loss, its error, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch

from peelverify.errors import InputError
from peelverify.evaluate import perplexity, stream
from peelverify.models import load_model

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


@pytest.fixture(scope="module")
def llama(model_dirs):
    """A trained Llama."""
    return load_model(model_dirs["llama"])


def test_loss_is_that_of_transformers(view, ids):
    """The mean over windows equals the loss that the model itself reports for each window."""
    with torch.no_grad():
        own = [float(view.model(input_ids=w[None], labels=w[None]).loss) for w in ids]
    found = perplexity(view, ids)
    assert found.loss == pytest.approx(sum(own) / len(own), rel=1e-5)  # own losses are float32
    assert found.by_window == pytest.approx(own, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))


def test_uniform_predictions_have_loss_log_vocabulary(llama, ids):
    """A head of zeros predicts all tokens alike: log 256 nats, without spread."""
    import copy

    from peelverify.models import ModelView

    flat = ModelView(copy.deepcopy(llama.model))
    with torch.no_grad():
        flat.lm_head.weight.zero_()
    found = perplexity(flat, ids)
    assert found.loss == pytest.approx(math.log(256), rel=1e-14)
    assert found.standard_error == 0


def test_standard_error_has_windows_as_units(llama, ids):
    """The error is the spread of window means over the root of their number."""
    found = perplexity(llama, ids)
    means = torch.tensor(found.by_window, dtype=torch.float64)
    assert found.standard_error == pytest.approx(float(means.std()) / len(means) ** 0.5)


def test_single_window_has_no_error_bar(llama, ids):
    """One window: the error is NaN, and null in JSON."""
    found = perplexity(llama, ids[:1])
    assert math.isnan(found.standard_error)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["standard_error_nats_per_token"] is None


def test_chunks_and_batches_do_not_change_the_loss(llama, ids, monkeypatch):
    """Logits a token at a time and windows one at a time give the same loss up to float32 kernels."""
    whole = perplexity(llama, ids).loss
    monkeypatch.setattr(stream, "_CHUNK_ENTRIES", 1)
    monkeypatch.setattr("peelverify.evaluate.loss.batches", lambda x: iter(x.split(1)))
    assert perplexity(llama, ids).loss == pytest.approx(whole, rel=1e-5)


def test_protocol_names_what_was_scored(llama, ids):
    """Windows, length, scored tokens and digest are in the result; other tokens, other digest."""
    found = perplexity(llama, ids)
    assert (found.windows, found.length, found.tokens) == (*ids.shape, ids.shape[0] * (ids.shape[1] - 1))
    assert f"{found.tokens} tokens scored" in found.protocol
    assert found.ids_sha256 != perplexity(llama, ids.flip(0)).ids_sha256
    assert stream.ids_digest(ids) != stream.ids_digest(ids.reshape(2, -1))


def test_progress_counts_windows(llama, ids):
    """The callback ends at all windows."""
    seen = []
    perplexity(llama, ids, on_step=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(ids), len(ids))


@pytest.mark.parametrize("shape", [(2, 1), (1, 65)], ids=["one token", "too long"])
def test_windows_that_do_not_fit_are_refused(llama, shape):
    """A window needs a next token and a place in the model."""
    with pytest.raises(InputError, match="perplexity needs windows"):
        perplexity(llama, torch.zeros(shape, dtype=torch.int64))
