"""Chains that reuse the model's blocks: the direct one is the model; the others are complete decoders."""

from __future__ import annotations

import pytest
import torch

from peelverify.data import builtin_text, windows
from peelverify.errors import InputError
from peelverify.models import load_model, save_model
from peelverify.models.small import byte_tokenizer
from peelverify.peel.reuse import reused_chains
from peelverify.peel.run import thin


@pytest.fixture(scope="module")
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to fit on and windows that decide."""
    return thin(windows(byte_tokenizer(), builtin_text(), length=32), 12)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_direct_is_the_model_and_the_rest_are_witnesses(family: str, model_dirs, tokens, tmp_path) -> None:
    """Nothing is accepted on the direct map, something elsewhere; each stated loss is that of a saved decoder."""
    view = load_model(model_dirs[family])
    found = reused_chains(view, tokens[0], held_out=tokens[1])
    assert found.losses[1, 2, 3] == found.loss and found.accepted[1, 2, 3] == 0
    assert found.accepted[3, 3, 3] > 0
    save_model(found.witness((3, 3, 3)), tmp_path / "chain")
    logits = load_model(tmp_path / "chain").trace(tokens[1]).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), tokens[1][:, 1:].flatten())
    assert float(loss) == pytest.approx(found.losses[3, 3, 3], rel=1e-6)
    ours, theirs = found.witness((1, 2, 3)).model.state_dict(), view.model.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_errors_only_fall(model_dirs, tokens) -> None:
    """On the fitted tokens the first block of a chain is nearer to its target than the model's own block."""
    view = load_model(model_dirs["llama"])
    found = reused_chains(view, tokens[0], maps=[(3, 3, 3)])
    trace = view.trace(tokens[0])
    chain = found.witness((3, 3, 3)).trace(tokens[0])
    before, after = ((t.states[1] - trace.states[3]).norm() for t in (trace, chain))
    assert after < before


def test_bad_input_is_refused(model_dirs, tokens) -> None:
    """Half precision, no round, an unknown map."""
    view = load_model(model_dirs["llama"])
    with pytest.raises(InputError, match="one round"):
        reused_chains(view, tokens[0], rounds=0)
    with pytest.raises(InputError, match="float32"):
        reused_chains(load_model(model_dirs["llama"], dtype="bfloat16"), tokens[0])
    with pytest.raises(InputError, match="was tried"):
        reused_chains(view, tokens[0], maps=[(3, 3, 3)]).witness((1, 2, 3))
