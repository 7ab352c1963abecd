"""Few-bit decoders: images on their grids, training through them, chains that stay on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peelverify.data import builtin_text, windows
from peelverify.errors import InputError
from peelverify.models import ModelView, load_model, save_model
from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder
from peelverify.peel.run import thin
from peelverify.peel.ste import KINDS, few_bits, quantise_blocks, train_low_bit, yes_chain_low_bit


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    """Windows of real text, 32 tokens each."""
    return windows(byte_tokenizer(), builtin_text(), length=32, count=200)


def levels(weight: torch.Tensor, kind: str) -> bool:
    """Whether a matrix lies on the grid of its kind, up to rounding."""
    rows = weight.double() if kind.endswith(("row", "bit")) else weight.double().reshape(1, -1)
    for row in rows:
        size = row.abs().max()
        if size == 0:
            continue
        if kind.startswith("binary"):
            top = 1
        else:
            top = 1 if kind == "ternary" else 2 ** (int(kind[0]) - 1) - 1
        found = [
            m for m in range(1, top + 1)
            if (((row / size * m) - (row / size * m).round()).abs() < 1e-4).all()
        ]
        if not found or (kind.startswith("binary") and (row == 0).any()):
            return False
    return True


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6))
def test_images_lie_on_their_grid_and_stay(kind: str, seed: int, outputs: int, inputs: int) -> None:
    """An image is on the grid; its signs and order are those of the weights; another kind's grid is told apart."""
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    image = few_bits(weight, kind)
    assert levels(image, kind)
    assert (image * weight >= 0).all()
    if kind in ("binary", "binary-row", "8-bit"):
        torch.testing.assert_close(few_bits(image, kind), image, rtol=1e-4, atol=1e-7)
    if outputs * inputs > 3 and kind.startswith("binary"):
        assert not levels(weight, kind)


def test_zero_matrices_have_images() -> None:
    """A matrix of zeros gives finite zeros in every kind."""
    for kind in KINDS:
        assert torch.equal(few_bits(torch.zeros(2, 3), kind).abs(), torch.zeros(2, 3))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["binary", "ternary"])
def test_training_in_few_bits_leaves_a_plain_few_bit_decoder(family: str, kind: str, tokens, tmp_path: Path) -> None:
    """The weights are on the grid, learned something, lose what they lost in training, and reload to that loss."""
    views = [small_decoder(family, blocks=2, width=32, heads=4, length=32, seed=1) for _ in range(2)]
    losses = train_low_bit(views[0], tokens, kind, steps=60, batch=8, learning_rate=3e-3)
    train_decoder(views[1], tokens, steps=60, batch=8, learning_rate=3e-3)
    assert losses[-1] < losses[0] - 0.5
    later = quantise_blocks(views[1], kind)
    for view in (views[0], later):
        for index in range(2):
            for linear in view.linears(index).values():
                assert levels(ModelView.weight(linear), kind)
    assert not levels(ModelView.weight(next(iter(views[1].linears(0).values()))), kind), "the original is untouched"
    assert not any("parametr" in n for n in views[0].model.state_dict())

    def loss(view: ModelView) -> float:
        logits = view.trace(tokens[:32]).logits[:, :-1]
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:32, 1:].flatten()))

    assert loss(views[0]) == pytest.approx(sum(losses[-5:]) / 5, abs=0.25), "the image is what was trained"
    save_model(views[0], tmp_path / "few")
    assert loss(load_model(tmp_path / "few")) == pytest.approx(loss(views[0]), rel=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["binary", "binary-row", "ternary", "2-bit"])
def test_chains_stay_on_the_grid(family: str, kind: str, tokens, model_dirs) -> None:
    """Every block matrix of a few-bit witness is on the grid, in families with and without tied heads and biases."""
    fit, held = thin(tokens, 12)
    view = quantise_blocks(load_model(model_dirs[family]), kind)
    found = yes_chain_low_bit(view, fit, kind, maps=[(1, 2, 3)], held_out=held, budget=5)
    assert set(found.refined.chains) == set(found.float_chains.chains) == {(3, 3, 3), (1, 2, 3)}
    for result in (found.published, found.refined):
        for target in result.chains:
            witness = result.witness(target)
            for index in range(3):
                for name, linear in witness.linears(index).items():
                    assert levels(ModelView.weight(linear), kind), (index, name)
    direct = found.float_chains.witness((1, 2, 3))
    assert not levels(ModelView.weight(direct.linears(1)[view.family.mlp_out]), kind)
    assert found.distortion((1, 2, 3)) == (
        found.refined.chains[1, 2, 3].loss - found.float_chains.chains[1, 2, 3].loss
    )
    first = [r.chains[1, 2, 3].residuals[0] for r in (found.published, found.refined)]
    assert all(r > 0 for r in first)


def test_unknown_kinds_are_refused(tokens) -> None:
    """Each entry point names the kinds."""
    view = small_decoder("llama", blocks=1, width=16, heads=2, length=32)
    for call in (lambda: few_bits(torch.ones(2, 2), "1-bit"), lambda: quantise_blocks(view, "int4"),
                 lambda: train_low_bit(view, tokens, "x", steps=1), lambda: yes_chain_low_bit(view, tokens, "x")):
        with pytest.raises(InputError, match="ternary"):
            call()
