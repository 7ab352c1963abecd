"""True certificates that mean little. Each gives two models, a pool of text, and what the output must say."""

from __future__ import annotations

import copy

import torch

from peelverify.certify.pool import Pool
from tests.attacks.registry import attack


def _changed(view, change):
    from peelverify.models import ModelView

    model = copy.deepcopy(view.model)
    with torch.no_grad():
        change(model)
    return ModelView(model)


def _times(name: str, factor: float):
    def change(model) -> None:
        for key, parameter in model.named_parameters():
            if name in key:
                parameter.mul_(factor)

    return change


def _pool(text) -> Pool:
    return Pool(text, {})


@attack("said")
def constant_text(first, second, text):
    """A pool of one token over and over: any model is good at that."""
    return first, second, _pool(torch.full_like(text, 32)), "1 distinct tokens, entropy 0"


@attack("said")
def cherry_picked_text(first, second, text):
    """A pool of the window on which the models agree best, over and over: no other text was ever tried."""
    with torch.no_grad():
        apart = [float((first.model(w[None]).logits - second.model(w[None]).logits).norm()) for w in text]
    best = text[min(range(len(text)), key=apart.__getitem__)]
    return first, second, _pool(best.repeat(len(text), 1)), rf"the text: {len(set(best.tolist()))} distinct tokens"


@attack("said")
def original_with_equal_logits(first, second, text):
    """The head of the original is zero: all tokens tie, and no top token can be lost."""
    bare = _changed(first, _times("lm_head", 0.0))
    return bare, second, _pool(text), r"(128) with ties"


@attack("said")
def original_that_knows_nothing(first, second, text):
    """An original with the loss of a coin for every token: its loss shows that closeness is worth little."""
    bare = _changed(first, _times("lm_head", 1e-3))
    return bare, _changed(bare, _times("up_proj", 1.01)), _pool(text), r"loss of the original 5\.54"


@attack("said")
def weights_that_vanish(first, second, text):
    """Weights so tiny that float32 rounds their effect to nothing: no error here, and still a bound for every input."""
    tiny = _changed(first, lambda m: (_times("up_proj", 1e-25)(m), _times("down_proj", 1e-25)(m)))
    other = _changed(tiny, _times("up_proj", -3.0))
    return tiny, other, _pool(text), r"e_T <= 0 .*for every input .* changes by <= [1-9]"


@attack("said")
def changes_below_the_dtype(first, second, text):
    """A change of the stored weights that bfloat16 rounds away: bounds of 0, for the weights as converted."""
    def narrow(model) -> None:
        model.to(torch.bfloat16)

    def change(model) -> None:
        _times("proj", 1 + 1e-5)(model.to(torch.bfloat16).to(torch.float32))
        narrow(model)

    words = r"e_T <= 0 .*weights as converted to bfloat16\): .* changes by <= 0"
    return _changed(first, narrow), _changed(first, change), _pool(text), words


@attack("loader")
def weights_that_overflow(first, second, text):
    """A compressed model whose states become infinite."""
    return first, _changed(first, _times("proj", 1e30)), _pool(text), "finite|NaN|infinite"


@attack("loader")
def model_that_differs_between_runs(first, second, text):
    """A forward pass with noise: its certificate would be of one roll of the dice."""
    noisy = _changed(first, lambda m: None)
    noisy.blocks[0].mlp.register_forward_hook(lambda m, a, out: out + 1e-2 * torch.randn_like(out))
    return first, noisy, _pool(text), "same input|deterministic|re-runs|differ"
