"""Single-layer substitution: the stated gain is that of a model that can be saved and reloaded."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from peelverify.data import builtin_text, windows
from peelverify.errors import InputError
from peelverify.models import ModelView, load_model, save_model
from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder
from peelverify.peel.substitute import Substitution, _slopes, bootstrap_interval, substitute

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module")
def sets() -> tuple[torch.Tensor, ...]:
    """Three disjoint sets of windows: to fit, to choose, to report."""
    every = windows(byte_tokenizer(), builtin_text(), length=32, count=600)
    return every[:96], every[200:224], every[400:432]


@pytest.fixture(scope="module")
def found(model_dirs, sets) -> dict[str, Substitution]:
    """Substitution in each family; the models were trained for 20 steps only, so there is much to gain."""
    return {f: substitute(load_model(model_dirs[f]), *sets) for f in FAMILIES}


def plain_losses(path: Path, ids: torch.Tensor) -> torch.Tensor:
    """Losses a window by plain `transformers`."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].double()
    loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return loss.reshape(len(ids), -1).mean(dim=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_witness_reloads_to_the_stated_gain(family: str, found, sets, model_dirs, tmp_path: Path) -> None:
    """Plain transformers finds the loss of the model and of the witness as stated, and the interval around it."""
    result = found[family]
    best = result.best
    assert best.gain > 0 and best.maps and best.low > 0, "an under-trained model has something to gain"
    save_model(result.witness(), tmp_path / "witness")
    gains = plain_losses(model_dirs[family], sets[2]) - plain_losses(tmp_path / "witness", sets[2])
    assert float(plain_losses(model_dirs[family], sets[2]).mean()) == pytest.approx(result.loss, rel=1e-6)
    assert float(gains.mean()) == pytest.approx(best.gain, abs=2e-6)
    assert best.error == pytest.approx(float(gains.std()) / math.sqrt(len(gains)), rel=1e-3)
    assert best.low <= best.gain <= best.high


@pytest.mark.parametrize("family", ["gpt_neox", "opt"])
def test_parallel_blocks_and_biased_maps(family: str, sets, tmp_path: Path) -> None:
    """GPT-NeoX and OPT: a saved witness reloads to the stated gain, and only the solved maps differ."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    shared = {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
              "max_position_embeddings": 32, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    if family == "gpt_neox":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**shared, intermediate_size=64))
    else:
        model = OPTForCausalLM(OPTConfig(**shared, ffn_dim=64, word_embed_proj_dim=32, dropout=0.0))
    view = ModelView(model)
    train_decoder(view, sets[0], steps=20, batch=8, learning_rate=3e-3)
    result = substitute(view, *sets)
    best = result.best
    assert best.gain > 0 and best.maps
    save_model(view, tmp_path / "model")
    save_model(result.witness(), tmp_path / "witness")
    gains = plain_losses(tmp_path / "model", sets[2]) - plain_losses(tmp_path / "witness", sets[2])
    assert float(gains.mean()) == pytest.approx(best.gain, abs=2e-6)
    ours, theirs = result.witness().model.state_dict(), view.model.state_dict()
    changed = {n.rsplit(".", 1)[0] for n in ours if not torch.equal(ours[n], theirs[n])}
    assert changed == {f"{best.name}.{m}" for m in best.maps}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_named_maps_of_one_block_change(family: str, found) -> None:
    """The witness differs from the model in the solved maps and nowhere else; the model itself is untouched."""
    result = found[family]
    best = result.best
    ours, theirs = result.witness().model.state_dict(), result._view.model.state_dict()
    changed = {n.rsplit(".", 1)[0] for n in ours if not torch.equal(ours[n], theirs[n])}
    assert changed == {f"{best.name}.{m}" for m in best.maps}


@pytest.mark.parametrize("family", FAMILIES)
def test_slopes_are_those_of_the_whole_model(family: str, model_dirs, sets) -> None:
    """Moving one state a little changes the summed loss as its slope says, also across chunks."""
    view = load_model(model_dirs[family])
    ids = sets[0][:5]
    trace = view.trace(ids)
    slopes = _slopes(view, trace, 2)
    for index in range(view.depth):
        torch.manual_seed(index)
        direction = torch.randn_like(slopes[index])

        def loss(scale: float, at: int = index, along: torch.Tensor = direction) -> float:
            state = trace.run_from(at + 1, trace.states[at + 1] + scale * along)
            logits = view.head(state)[:, :-1].double()
            return float(functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").detach())

        step = 1e-2 * float(trace.states[index + 1].norm()) / float(direction.norm())
        rise = (loss(step) - loss(-step)) / (2 * step)
        assert rise == pytest.approx(float((slopes[index] * direction).sum()), rel=0.03, abs=0.05)


def test_brackets_are_fractions_and_ordered(found) -> None:
    """Every solved block has a certified bracket in [0, 1.x], the head one in nats; both are in the file."""
    for result in found.values():
        for gain in result.gains:
            if gain.maps:
                assert gain.bracket is not None and 0 <= gain.bracket.lower <= gain.bracket.upper <= 1
                assert gain.bracket.lower > 0, "more samples than features: something must remain"
        assert result.head.lower <= result.head.upper <= result.head.start
        data = json.loads(json.dumps(result.to_json(), allow_nan=False))
        assert data["blocks"][0]["bracket"]["word"] == "certified"
        assert data["head"]["word"].startswith("measured")
        assert [b["block"] for b in data["blocks"]] == [0, 1, 2]


def test_a_damaged_block_gains_more_than_it_did(model_dirs, sets) -> None:
    """Scrambling the MLP output of the last block leaves a gain there that is larger than before."""
    view = load_model(model_dirs["llama"])
    healthy = substitute(view, *sets, blocks=[2], brackets=False).gains[0]
    with torch.no_grad():
        weight = view.blocks[2].mlp.down_proj.weight
        torch.manual_seed(0)
        weight.copy_(torch.randn_like(weight) * weight.std() * 8)
    broken = substitute(view, *sets, blocks=[2], brackets=False).gains[0]
    assert broken.gain > healthy.gain and broken.low > 0


def test_no_gain_leaves_the_block(sets) -> None:
    """A head of zeros has no slope: blocks are left, the sentence says so, and there is no witness."""
    view = small_decoder("llama", blocks=2, width=16, heads=2, length=32)
    with torch.no_grad():
        view.lm_head.weight.zero_()
    result = substitute(view, *sets, brackets=False)
    assert all(g.gain == 0 and g.eta == 0 and not g.maps and g.standardised == 0 for g in result.gains)
    assert "left as it is" in result.gains[0].sentence
    with pytest.raises(InputError, match="solved again"):
        result.witness()


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    """Over 300 draws of 40 normal values the 90 % interval covers the true mean in 82 to 96 % of cases."""
    draw = np.random.default_rng(0)
    hits = 0
    for i in range(300):
        low, high = bootstrap_interval(draw.normal(1.0, 2.0, size=40), level=0.9, resamples=400, seed=i)
        hits += low <= 1.0 <= high
    assert 0.82 <= hits / 300 <= 0.96
    for values, more in (([1.0], {}), ([1.0, 2.0], {"level": 1.0}), ([1.0, 2.0], {"resamples": 10})):
        with pytest.raises(InputError, match="bootstrap_interval"):
            bootstrap_interval(values, **more)


def test_bad_input_is_refused(model_dirs, sets) -> None:
    """Common windows, unknown blocks, no steps, half precision, a family with norms after its maps."""
    view = load_model(model_dirs["llama"])
    with pytest.raises(InputError, match="common windows"):
        substitute(view, sets[0], sets[1], sets[1])
    with pytest.raises(InputError, match="blocks in 0 to 2"):
        substitute(view, *sets, blocks=[3])
    with pytest.raises(InputError, match="positive step"):
        substitute(view, *sets, etas=[0.0])
    with pytest.raises(InputError, match="at least 2 windows"):
        substitute(view, sets[0], sets[1], sets[2][:1])
    with pytest.raises(InputError, match="float32"):
        substitute(load_model(model_dirs["llama"], dtype="bfloat16"), *sets)


def test_norms_after_the_maps_are_refused(sets) -> None:
    """Gemma 2 blocks put a norm between map and residual stream, so a closed form does not apply."""
    from transformers import AutoModelForCausalLM, Gemma2Config

    from peelverify.models import ModelView

    config = Gemma2Config(
        vocab_size=256, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
    )
    view = ModelView(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    with pytest.raises(InputError, match="gemma2 blocks do not"):
        substitute(view, *sets)
