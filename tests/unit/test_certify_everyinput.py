"""Bounds for every input: hostile inputs stay below them, and come close where the bound is sharp."""

from __future__ import annotations

import copy
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from peelverify.certify import certify
from peelverify.certify.checker import parse
from peelverify.certify.everyinput import LAYOUTS, _affine, _change, _root, every_input, largest_change
from peelverify.errors import NonFiniteError
from peelverify.models import FAMILIES, ModelView, load_model, save_model
from peelverify.models.blockwise import WholeModel
from tests.families import small_family

ALL = sorted(FAMILIES)


def damaged(view: ModelView) -> ModelView:
    """A copy in which every parameter moved, norms and biases too."""
    model = copy.deepcopy(view.model)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    return ModelView(model)


@pytest.fixture(scope="module")
def pairs(ids) -> dict[str, tuple[ModelView, ModelView]]:
    """Every family with a damaged copy."""
    found = {family: small_family(family, ids, steps=2) for family in ALL}
    return {family: (view, damaged(view)) for family, view in found.items()}


def folded(block: nn.Module, name: str, norm: str, unit_offset: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrix and offset of a map behind its norm, in float64."""
    linear, before = block.get_submodule(name), block.get_submodule(norm)
    weight = ModelView.weight(linear).double()
    scale = before.weight.double() + (1.0 if unit_offset else 0.0)
    shift = torch.zeros_like(scale) if getattr(before, "bias", None) is None else before.bias.double()
    bias = torch.zeros(len(weight)).double() if linear.bias is None else linear.bias.double()
    return weight * scale, weight @ shift + bias


@pytest.mark.parametrize("family", ALL)
@torch.no_grad()
def test_no_input_of_a_norm_exceeds_the_bound_and_one_comes_close(family, pairs, ids) -> None:
    """The top singular direction with the length that a norm can give reaches over half of the bound."""
    first, second = pairs[family]
    part, seen = every_input(WholeModel(first), WholeModel(second), range(3), ids[:1])
    layout = LAYOUTS[family]
    assert len(seen) == len(part["matrices"])
    for row in part["matrices"]:
        if row["input"] != "norm" or row["block"] == "head":
            continue
        norm = layout.attention_norm if row["name"] in layout.projections else layout.mlp_norm
        (a, s), (b, t) = (
            folded(v.blocks[row["block"]], row["name"], norm, layout.unit_offset) for v in (first, second)
        )
        change, offset = b - a, t - s
        direction = torch.linalg.svd(change).Vh[0] * math.sqrt(first.width)
        generator = torch.Generator().manual_seed(row["block"])
        random = functional.normalize(torch.randn(200, first.width, generator=generator).double()) * math.sqrt(32)
        inputs = torch.cat([direction[None], -direction[None], random])
        reached = (inputs @ change.T + offset).norm(dim=1).max()
        bound = float(parse(row["bound"]))
        assert reached <= bound
        assert reached > bound / 2


@pytest.mark.parametrize("family", ALL)
@torch.no_grad()
def test_radii_cover_what_attention_and_activation_can_make(family, pairs, ids) -> None:
    """Inputs of the output maps, on wild states of all sizes, are no longer than the stated radius."""
    view = pairs[family][0]
    part, _ = every_input(WholeModel(view), WholeModel(pairs[family][1]), range(3), ids[:1])
    trace, layout = view.trace(ids), LAYOUTS[family]
    radius = {(row["block"], row["name"]): float(parse(row["radius"])) for row in part["matrices"]}
    for t, block in enumerate(view.blocks):
        for name in (layout.attention_out, layout.mlp_out):
            longest = []
            handle = block.get_submodule(name).register_forward_pre_hook(
                lambda module, args, kept=longest: kept.append(float(args[0].flatten(0, -2).norm(dim=-1).max()))
            )
            try:
                for scale in (1e-3, 1.0, 1e3, 1e6):
                    generator = torch.Generator().manual_seed(t)
                    trace.block(t, scale * torch.randn(trace.states[0].shape, generator=generator))
                trace.block(t, trace.states[t])
            finally:
                handle.remove()
            assert 0 < max(longest) <= radius[t, name] * (1 + 1e-5)
            if name == layout.attention_out:
                assert max(longest) > radius[t, name] / 8


def test_equal_maps_have_no_change_and_unequal_offsets_count() -> None:
    """Zero is exact; with equal weights and another bias only the shift is left."""
    torch.manual_seed(0)
    linear, norm = nn.Linear(8, 5), nn.LayerNorm(8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    other = copy.deepcopy(linear)
    assert _change(_affine(linear, norm, False), _affine(other, norm, False)) == (0, 0)
    with torch.no_grad():
        other.bias += 1
    operator, shift = _change(_affine(linear, norm, False), _affine(other, norm, False))
    assert operator < 1e-12 and float(shift) == pytest.approx(math.sqrt(5), rel=1e-6)


def test_a_scale_of_one_plus_weight_is_not_taken_for_weight() -> None:
    """Gemma-2 multiplies by 1 + weight: with weight 0 the map is the matrix itself."""
    norm = nn.RMSNorm(4)
    nn.init.zeros_(norm.weight)
    linear = nn.Linear(4, 3, bias=False)
    assert np.array_equal(_affine(linear, norm, True).matrix, linear.weight.detach().double().numpy())
    assert not _affine(linear, norm, False).matrix.any()


def test_the_measured_change_is_that_of_the_modules() -> None:
    """Norm and map in float64 by hand agree with the modules themselves."""
    torch.manual_seed(1)
    norm, other = nn.LayerNorm(6), nn.LayerNorm(6)
    nn.init.normal_(other.weight)
    first, second = nn.Linear(6, 3), nn.Linear(6, 3)
    x = torch.randn(2, 4, 6)
    moved = (second(other(x)) - first(norm(x))).detach()
    assert float(largest_change(x, (first, norm), (second, other), unit_offset=False)) == pytest.approx(
        float(moved.norm(dim=-1).max()), rel=1e-5
    )


def test_what_is_not_covered_is_listed_with_its_reason(ids) -> None:
    """Norms after the maps, activations without a bound, projections before the head."""
    late = small_family("opt", ids, steps=1, do_layer_norm_before=False, word_embed_proj_dim=16)
    part, _ = every_input(WholeModel(late), WholeModel(late), range(3), ids[:1])
    assert part["matrices"] == []
    assert {row["reason"] for row in part["not_covered"]} == {
        "this model normalises after its maps, not before", "no norm stands right before the head",
    }
    odd = small_family("llama", ids, steps=1, hidden_act="sigmoid")
    part, _ = every_input(WholeModel(odd), WholeModel(odd), range(3), ids[:1])
    assert [row["name"] for row in part["not_covered"]] == ["mlp.down_proj"] * 3
    assert "sigmoid" in part["not_covered"][0]["reason"]


def test_blocks_without_a_description_are_left_out_by_name(ids, tmp_path) -> None:
    """A Mistral whose layers differ in attention is another family to transformers: certified, without these bounds."""
    view = small_family("mistral", ids, steps=0)
    paths = []
    for name, changed in (("original", view), ("compressed", damaged(view))):
        path = save_model(changed, tmp_path / name)
        config = json.loads((path / "config.json").read_text())
        config["layer_types"] = ["sliding_attention", "full_attention", "full_attention"]
        (path / "config.json").write_text(json.dumps(config))
        paths.append(path)
    document = certify(*paths, ids[:2], lean=False).document
    assert document["subject"]["original"]["family"] == "ministral"
    part = document["every_input"]
    assert part["matrices"] == []
    assert {row["reason"] for row in part["not_covered"]} == {"the matrices of ministral are not described"}
    with torch.no_grad():
        z, w = (load_model(path).model(input_ids=ids[:2], use_cache=False).logits.double() for path in paths)
    low, high = map(parse, document["numbers"]["blocks"][-1]["error"])
    assert low <= float((w - z).norm()) * (1 + 1e-9) and float((w - z).norm()) <= high * (1 + 1e-9)


def test_the_root_of_the_dimension_is_rounded_up() -> None:
    """Its square is at least the dimension, and hardly more."""
    for dimension in (1, 2, 3, 768, 4096, 5120):
        assert dimension <= _root(dimension) ** 2 <= dimension * (1 + Fraction(1, 2**58))


def exact_rows(linear: nn.Module, norm: nn.Module) -> list[list[Fraction]]:
    """The folded matrix in rationals."""
    scale = [Fraction(s) for s in norm.weight.tolist()]
    return [[Fraction(w) * s for w, s in zip(row, scale, strict=True)] for row in linear.weight.tolist()]


@pytest.mark.parametrize("size", [1e-165, 1e-170, 1e-200, 1e-300, 1e150, 1e170, 1e250, 1e300, 3.0])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-200, 1e10])
@torch.no_grad()
def test_float64_weights_far_from_one_keep_their_bounds(size, scale) -> None:
    """Squares and products that leave the range of float64: bounds stay above the exact norms, and close to them."""
    torch.manual_seed(3)
    linear, other = (nn.Linear(6, 4, dtype=torch.float64) for _ in range(2))
    norm = nn.LayerNorm(6, dtype=torch.float64)
    norm.weight.copy_(torch.randn(6) * scale)
    norm.bias.copy_(torch.randn(6) * scale)
    for one in (linear, other):
        one.weight.mul_(size)
        one.bias.mul_(size)
    if size * scale > 1e308:
        with pytest.raises(NonFiniteError, match="float64"):
            _affine(linear, norm, False).largest(_root(6))
        return
    first, second = _affine(linear, norm, False), _affine(other, norm, False)
    old, new = exact_rows(linear, norm), exact_rows(other, norm)
    shift = [Fraction(s) for s in norm.bias.tolist()]
    offsets = [
        [sum((Fraction(w) * s for w, s in zip(row, shift, strict=True)), Fraction(b))
         for row, b in zip(one.weight.tolist(), one.bias.tolist(), strict=True)]
        for one in (linear, other)
    ]
    root, floor = _root(6), Fraction(1, 2**1060)
    largest = first.largest(root)
    squares = [sum(x * x for x in row) * 6 for row in old]
    ends = [(abs(b), q) for q, b in zip(squares, offsets[0], strict=True)]
    assert all(largest >= b and (largest - b) ** 2 >= q for b, q in ends)
    less = largest * Fraction(999, 1000) - floor
    assert any(less < b or (less - b) ** 2 < q for b, q in ends)
    frobenius = sum(x * x for row in old for x in row)
    assert first.radius(root) ** 2 * 4 >= frobenius * 6
    operator, moved = _change(first, second)
    apart = [[b - a for a, b in zip(x, y, strict=True)] for x, y in zip(old, new, strict=True)]
    longest = max(sum(x * x for x in row) for row in apart)
    assert longest <= operator**2 <= 4 * (sum(x * x for row in apart for x in row) + floor**2)
    exact = sum((b - a) ** 2 for a, b in zip(*offsets, strict=True))
    assert exact <= moved**2 <= exact * Fraction(101, 100) + floor**2


def test_products_below_the_smallest_number_do_not_vanish() -> None:
    """Two numbers of 1e-200 folded into one: the bound is not zero, for single precision nothing is added."""
    linear, norm = nn.Linear(3, 2, bias=False, dtype=torch.float64), nn.RMSNorm(3, dtype=torch.float64)
    nn.init.constant_(linear.weight, 1e-200)
    nn.init.constant_(norm.weight, 1e-200)
    affine = _affine(linear, norm, False)
    other = copy.deepcopy(linear)
    nn.init.constant_(other.weight, -1e-200)
    exact = Fraction(1e-200) ** 2
    assert affine.largest(_root(3)) >= 3 * exact and affine.radius(_root(3)) >= 3 * exact
    assert _change(affine, _affine(other, norm, False))[0] >= 2 * exact
    assert _affine(linear.float(), norm.float(), False).underflow() == 0


@pytest.mark.parametrize("size", [1e-165, 1e-200, 1e160])
@torch.no_grad()
def test_the_measured_change_of_extreme_weights_is_a_number(size) -> None:
    """Squares of the change leave the range of float64; its length does not."""
    torch.manual_seed(2)
    first, second = (nn.Linear(6, 3, dtype=torch.float64) for _ in range(2))
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    plain = float(largest_change(x, (first, None), (second, None), unit_offset=False))
    for one in (first, second):
        one.weight.mul_(size)
        one.bias.mul_(size)
    found = float(largest_change(x, (first, None), (second, None), unit_offset=False))
    assert found == pytest.approx(plain * size, rel=1e-8)
