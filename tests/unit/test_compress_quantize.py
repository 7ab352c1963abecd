"""Round to nearest: exact error bound, idempotence, groups, clipping, whole models, bad input."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from peelverify.compress import quantize_model, round_to_nearest
from peelverify.errors import DomainError, NonFiniteError, ShapeError
from peelverify.models import ModelView, load_model

FAMILIES = ("llama", "gpt2", "qwen2")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def matrices(width: int, limit: float) -> st.SearchStrategy[np.ndarray]:
    """Small matrices with zeros, subnormals and repeated values."""
    return hnp.arrays(
        np.float64 if width == 64 else np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-limit, limit, width=width, allow_subnormal=True),
    )


def check_exactly(weight: torch.Tensor, bits: int, group: int | None = None) -> None:
    """Every weight is within half a step of its grid point, as fractions."""
    found = round_to_nearest(weight, bits, group=group)
    top = 2 ** (bits - 1) - 1
    steps = found.expanded_step()
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            w, q = (Fraction(float(m[i, j].double())) for m in (weight, found.weight))
            step, code = Fraction(float(steps[i, j])), int(found.codes[i, j])
            assert q == code * step, "the stored weight is not codes times step"
            assert abs(code) <= top
            assert abs(w) <= top * step, "without clipping the range covers every weight"
            assert abs(w - q) <= step / 2
    assert found.clipped == 0


@given(matrices(32, 2.0**100), st.integers(2, 8))
@example(np.float32([[0, 0], [1e-45, 3e-45]]), 4)
@example(np.float32([[7, 3.5, 0.5, 2.5, -6.5]]), 4)
@example(np.float32([[1.1754944e-38, -1e-40, 5e-39]]), 8)
@example(np.float32([[127, 63.5, 0.49999997, 126.5]]), 8)
def test_error_is_at_most_half_a_step_exactly(weight, bits):
    """float32 weights: error at most step/2 and stored weight equal to code times step, as fractions."""
    check_exactly(torch.from_numpy(weight.copy()), bits)


@given(matrices(64, 1e200), st.integers(2, 8))
@example(np.array([[7.0, 3.5000000000000004, 0.49999999999999994, -2.5]]), 4)
def test_error_is_at_most_half_a_step_exactly_in_float64(weight, bits):
    """float64 weights, where the quotient alone can round across a tie."""
    check_exactly(torch.from_numpy(weight.copy()), bits)


@given(st.integers(2**49, 2**50 - 1), st.integers(0, 5), st.sampled_from([-1, 1]))
def test_no_quotient_rounds_across_a_tie(significand, k, side):
    """float64 values right beside a tie of a step with 50 significant bits go to their own side, exactly."""
    step = math.ldexp(significand, -49)
    tie = Fraction(step) * (2 * k + 1) / 2
    value = float(tie)
    while not (Fraction(value) - tie) * side > 0:
        value = math.nextafter(value, side * math.inf)
    found = round_to_nearest(torch.tensor([[7 * step, value]], dtype=torch.float64), 4)
    assert float(found.step[0, 0]) == step
    assert int(found.codes[0, 1]) == (k + 1 if side > 0 else k)


def test_ties_go_to_even_codes():
    """Exactly half-way weights go to the even code."""
    found = round_to_nearest(torch.tensor([[7, 0.5, 1.5, 2.5, -0.5, -1.5]]), 4)
    assert found.codes.tolist() == [[7, 0, 2, 2, 0, -2]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_low_precision_weights_stay_exact(dtype, bits):
    """float16 and bfloat16 hold every grid point exactly too."""
    weight = torch.randn(8, 12, generator=torch.Generator().manual_seed(bits)).to(dtype)
    check_exactly(weight, bits)
    assert round_to_nearest(weight, bits).weight.dtype is dtype


@given(matrices(32, 2.0**100), st.integers(2, 8))
def test_quantised_matrix_is_its_own_result(weight, bits):
    """Quantising twice changes nothing, not even a step."""
    once = round_to_nearest(torch.from_numpy(weight.copy()), bits)
    twice = round_to_nearest(once.weight, bits)
    assert torch.equal(once.weight, twice.weight)
    assert torch.equal(once.step, twice.step)


def test_bound_is_not_slack():
    """Random weights reach nearly half a step, and the step is within 2^-16 of the smallest possible."""
    weight = torch.randn(16, 500, generator=torch.Generator().manual_seed(0))
    found = round_to_nearest(weight, 4)
    error = (weight.double() - found.weight.double()).abs() / found.expanded_step()
    assert float(error.max()) > 0.49
    assert (found.step[:, 0] <= weight.abs().amax(dim=1).double() / 7 * (1 + 2**-16)).all()


def test_more_bits_never_lose():
    """The error falls by about half with every bit."""
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    errors = [float((round_to_nearest(weight, b).weight - weight).norm()) for b in range(2, 9)]
    assert all(b < 0.7 * a for a, b in zip(errors, errors[1:], strict=False))


def test_groups_are_rows_of_their_own():
    """A group size splits each row, and each part is quantised as if alone."""
    weight = torch.randn(4, 12, generator=torch.Generator().manual_seed(2))
    check_exactly(weight, 4, group=3)
    found = round_to_nearest(weight, 4, group=3)
    assert found.step.shape == (4, 4)
    assert torch.equal(found.weight[:, 3:6], round_to_nearest(weight[:, 3:6], 4).weight)


def test_clipping_is_counted_and_bounded():
    """Weights beyond the range go to its end; all others keep the bound of half a step."""
    weight = torch.tensor([[1.0, 0.9, 0.1, -1.0, 0.3]])
    found = round_to_nearest(weight, 4, clip=0.5)
    end = float(found.range_end[0, 0])
    assert found.clipped == 3
    for w, q in zip(weight[0].double(), found.weight[0].double(), strict=True):
        if abs(w) > end:
            assert abs(q) == end
        else:
            assert abs(w - q) <= found.step[0, 0] / 2


@pytest.mark.parametrize("bits", [1, 0, -1, 9, 2.5])
def test_impossible_bits_are_refused(bits):
    """Bits from 2 to 8 only."""
    with pytest.raises(DomainError, match="bits from 2 to 8"):
        round_to_nearest(torch.ones(2, 2), bits)


@pytest.mark.parametrize("clip", [0, -0.5, 1.5, float("nan")])
def test_impossible_clips_are_refused(clip):
    """A range is a fraction of the largest weight."""
    with pytest.raises(DomainError, match="0 < clip <= 1"):
        round_to_nearest(torch.ones(2, 2), 4, clip=clip)


@pytest.mark.parametrize("group", [0, -1, 5, 24])
def test_groups_that_do_not_divide_are_refused(group):
    """A group must divide the inputs."""
    with pytest.raises(ShapeError, match="groups that divide the 12 inputs"):
        round_to_nearest(torch.ones(2, 12), 4, group=group)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(value):
    """NaN and infinity are errors."""
    with pytest.raises(NonFiniteError):
        round_to_nearest(torch.tensor([[1.0, value]]), 4)


def test_other_shapes_and_dtypes_are_refused():
    """Only floating-point matrices, not near overflow."""
    with pytest.raises(ShapeError):
        round_to_nearest(torch.ones(3), 4)
    with pytest.raises(DomainError, match="floating-point"):
        round_to_nearest(torch.ones(2, 2, dtype=torch.int64), 4)
    with pytest.raises(DomainError, match="below overflow"):
        round_to_nearest(torch.full((1, 2), 3e38), 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_is_quantised_by_rows_of_outputs(family, model_dirs, ids):
    """Every linear map of every block, outputs as rows (GPT-2 stores the transpose); nothing else moves."""
    view = load_model(model_dirs[family])
    before = copy.deepcopy(view.model.state_dict())
    done = quantize_model(view, 3)
    assert all(torch.equal(before[k], v) for k, v in view.model.state_dict().items()), "caller's model changed"
    names = {f"{i}.{n}" for i in range(view.depth) for n in view.linears(i)}
    assert set(done.matrices) == names
    changed = {k for k, v in done.view.model.state_dict().items() if not torch.equal(before[k], v)}
    assert len(changed) == len(names)
    for i in range(view.depth):
        for name, linear in view.linears(i).items():
            rows = linear.weight.T if family == "gpt2" else linear.weight
            new = done.view.linears(i)[name].weight
            new = new.T if family == "gpt2" else new
            assert torch.equal(new, round_to_nearest(rows.detach(), 3).weight)
            assert all(len(row.unique()) <= 7 for row in new)
    assert done.record["method"] == "rtn" and done.record["settings"]["bits"] == 3
    assert done.record["kept"] == list(range(view.depth))


def test_groups_are_checked_before_any_work(model_dirs, monkeypatch):
    """A group that fits one matrix and not another is refused before the first is touched."""
    view = load_model(model_dirs["llama"])
    monkeypatch.setattr("peelverify.compress.quantize.round_to_nearest", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(ShapeError, match="groups that divide"):
        quantize_model(view, 4, group=24)


def test_more_bits_give_a_closer_model(model_dirs, ids):
    """The logits come closer to the original's with every two bits."""
    view = load_model(model_dirs["llama"])
    logits = view.trace(ids).logits
    errors = [float((quantize_model(view, b).view.trace(ids).logits - logits).norm()) for b in (2, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True)
    assert isinstance(quantize_model(view.model, 4).view, ModelView)
