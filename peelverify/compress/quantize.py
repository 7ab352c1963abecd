"""Round to nearest on a uniform grid, one step a row (or a group of a row), stored dequantised.

A row with largest magnitude m gets the grid ``{-q..q} * step`` with ``q = 2^(bits-1) - 1`` and
``step >= m / q``. The step is rounded up to so few significant bits that every grid point is exactly
representable in the dtype of the weights: the stored matrix *is* codes times step, and
``|w - q(w)| <= step / 2`` inside the range holds exactly, not up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.compress.calibrate import BlockWalk, input_gram
from peelverify.compress.copies import Compressed, copy_view, linear_maps, weight_rows, write_rows
from peelverify.compress.record import compression_record
from peelverify.compress.tokenweights import refuse_weights, weights_name
from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.evaluate.stream import check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = [
    "QUANTIZERS", "Quantized", "check_grid", "exact_step", "nearest_codes", "quantize_model", "round_to_nearest",
    "top_code",
]

_SIGNIFICAND = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


@dataclass(frozen=True, eq=False)
class Quantized:
    """A matrix on a grid.

    Attributes:
        weight: (outputs, inputs) grid points, in the dtype of the matrix; equals ``codes * step`` exactly.
        codes: (outputs, inputs) int16 grid indices in [-q, q].
        step: (outputs, groups) float64 distance of neighbouring grid points; 0 for an all-zero group.
        bits: bits a code.
        group: inputs a group; one group a row if it is the number of inputs.
        clipped: number of weights outside the range, whose error may exceed half a step; 0 without clipping.
    """

    weight: Tensor
    codes: Tensor
    step: Tensor
    bits: int
    group: int
    clipped: int

    @property
    def range_end(self) -> Tensor:
        """(outputs, groups) float64 largest grid point: weights beyond it are clipped."""
        return self.step * top_code(self.bits)

    def expanded_step(self) -> Tensor:
        """(outputs, inputs) step of each weight."""
        return self.step.repeat_interleave(self.group, dim=1)


def top_code(bits: int) -> int:
    """Largest code of a symmetric grid."""
    return 2 ** (bits - 1) - 1


def check_grid(bits: int, inputs: int, group: int | None, *, function: str) -> int:
    """Inputs a group, after checking bits and group.

    Raises:
        DomainError: bits outside 2..8.
        ShapeError: a group size that does not divide the inputs.
    """
    if not 2 <= bits <= 8 or bits != int(bits):
        raise DomainError(f"{function} needs a whole number of bits from 2 to 8, got {bits}; 4 is usual")
    if group is None:
        return inputs
    if group < 1 or inputs % group:
        raise ShapeError(
            f"{function} needs groups that divide the {inputs} inputs of a matrix, got {group}; "
            "choose a divisor or one group a row",
            inputs=inputs, group=group,
        )
    return group


@measured("bound: PeelVerify theorems on round to nearest; this computes the matrix they speak of")
@torch.no_grad()
def round_to_nearest(weight: Tensor, bits: int, *, group: int | None = None, clip: float = 1.0) -> Quantized:
    """Put a matrix on a symmetric uniform grid.

    Args:
        weight: (outputs, inputs), float64, float32, float16 or bfloat16, finite.
        bits: 2 to 8.
        group: inputs that share a step; it must divide the inputs. None: one step a row.
        clip: range as a fraction of the largest magnitude, in (0, 1]; below 1 large weights are clipped.

    Returns:
        The grid points and what describes them.

    Raises:
        DomainError: bits or clip out of range, or weights near overflow of their dtype.
        ShapeError: not a matrix, or a group that does not divide the inputs.
        NonFiniteError: NaN or infinity.

    Guarantee:
        ``|w - weight| <= step / 2`` exactly for every w in ``[-range_end, range_end]``; the same matrix is
        returned for its own result (idempotent, without clipping).

    Not for:
        Weights stored in 8-bit codes with a bfloat16 result: exact grid points leave a one-bit step there.
    """
    if weight.ndim != 2 or weight.numel() == 0:
        raise ShapeError(f"round_to_nearest needs a matrix, got shape {tuple(weight.shape)}; reshape it")
    if weight.dtype not in _SIGNIFICAND:
        raise DomainError(f"round_to_nearest needs floating-point weights, got {weight.dtype}; convert them")
    if not 0 < clip <= 1:
        raise DomainError(f"round_to_nearest needs 0 < clip <= 1, got {clip}; 1 clips nothing")
    rows, inputs = weight.shape
    group = check_grid(bits, inputs, group, function="round_to_nearest")
    grid = weight.double().reshape(rows, inputs // group, group)
    if not torch.isfinite(grid).all():
        raise NonFiniteError("round_to_nearest needs finite weights, got NaN or infinity; check the matrix")
    largest = grid.abs().amax(dim=2)
    if float(largest.max()) > torch.finfo(weight.dtype).max / 4:
        raise DomainError(
            f"round_to_nearest needs weights well below overflow of {weight.dtype}, "
            f"got {float(largest.max()):.3g}; scale the matrix or widen the dtype"
        )
    top = top_code(bits)
    step = exact_step(largest * clip / top, weight.dtype, bits)
    codes = nearest_codes(grid, step[:, :, None], top)
    values = (codes * step[:, :, None]).reshape(rows, inputs)
    return Quantized(
        weight=values.to(weight.dtype),
        codes=codes.reshape(rows, inputs).to(torch.int16),
        step=step,
        bits=bits,
        group=group,
        clipped=int((grid.abs() > top * step[:, :, None]).sum()),
    )


def nearest_codes(values: Tensor, step: Tensor, top: int) -> Tensor:
    """Codes of the nearest grid points (ties to even), clamped to [-top, top]; float64 in, float64 out.

    The rounded quotient is on the true side of a tie: with steps from `exact_step`, a tie has at most 54
    significant bits, so a float64 value beside it is at least half a unit in the last place away, and
    dividing by the step, whose significand is below 2, leaves more than half a unit of the quotient.
    """
    return torch.round(values / torch.where(step > 0, step, 1.0)).clamp(-top, top)


def exact_step(step: Tensor, dtype: torch.dtype, bits: int) -> Tensor:
    """Round steps up so that every code times step is exactly a number of ``dtype``."""
    keep = _SIGNIFICAND[dtype] - max(bits - 1, 1)
    _, exponent = torch.frexp(step)
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    unit = torch.ldexp(torch.ones_like(step), exponent - keep).clamp(min=smallest)
    return torch.ceil(step / unit) * unit


QUANTIZERS = ("rtn", "gptq")


@measured("an approximation; peelverify.certify bounds its effect on given text")
def quantize_model(
    model: ModelView | nn.Module,
    bits: int = 4,
    *,
    group: int | None = None,
    clip: float = 1.0,
    method: str = "rtn",
    input_ids: Tensor | None = None,
    token_weights: str | Tensor | np.ndarray | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> Compressed:
    """Quantise every linear map inside the blocks; embedding, norms, biases and head stay.

    Args:
        model: a decoder; it is copied.
        bits: 2 to 8.
        group: inputs that share a step; None: one step a row of outputs.
        clip: see `round_to_nearest`; "rtn" only.
        method: "rtn" rounds to nearest; "gptq" goes column by column and block by block, on inputs from the
            blocks already quantised.
        input_ids: calibration ids (windows, length), needed by "gptq".
        token_weights: how much each calibration token counts, "gptq" only: a name of
            `peelverify.compress.tokenweights.TOKEN_WEIGHTS`, or an array (windows, length); None is uniform.
        on_block: called with (blocks done, in all).

    Returns:
        The model with dequantised weights, the record, and a `Quantized` for each matrix.

    Raises:
        DomainError, ShapeError: see `round_to_nearest`; raised before any matrix is touched.
        InputError: unknown method, or calibration ids missing or unfit.
        ShapeError, DomainError: token weights that do not fit the ids.
    """
    view = copy_view(model)
    maps = linear_maps(view)
    for linear in maps.values():
        check_grid(bits, weight_rows(linear).shape[1], group, function="quantize_model")
    if method not in QUANTIZERS:
        raise InputError(f"quantize_model needs a method among {', '.join(QUANTIZERS)}, got {method!r}; name one")
    walk = None
    refuse_weights(token_weights, method, reads_text=method == "gptq", function="quantize_model")
    if method == "gptq":
        if input_ids is None:
            raise InputError("quantize_model needs input_ids for 'gptq', got none; give calibration windows")
        walk = BlockWalk(view, check_windows(view, input_ids, function="quantize_model"), token_weights)
    matrices: dict[str, Quantized] = {}
    for index in range(view.depth):
        grams = input_gram(walk, index) if walk is not None else {}
        for name, linear in view.linears(index).items():
            rows = weight_rows(linear)
            if walk is None:
                found = round_to_nearest(rows, bits, group=group, clip=clip)
            else:
                found = _gptq(rows, grams[name], bits, group)
            matrices[f"{index}.{name}"] = found
            write_rows(linear, found.weight)
        if walk is not None:
            walk.advance(index)
        if on_block is not None:
            on_block(index + 1, view.depth)
    record = compression_record(
        method, depth=view.depth, bits=bits, group=group, clip_fraction=clip if method == "rtn" else None,
        clipped_weights=sum(m.clipped for m in matrices.values()),
        calibration_shape=list(input_ids.shape) if walk is not None and input_ids is not None else None,
        token_weights=weights_name(token_weights) if walk is not None else None,
    )
    return Compressed(view, record, matrices)


def _gptq(rows: Tensor, gram: Tensor, bits: int, group: int | None) -> Quantized:
    from peelverify.compress.secondorder import gptq_weight

    quantized = gptq_weight(rows, gram, bits, group=group).quantized
    assert quantized is not None
    return quantized
