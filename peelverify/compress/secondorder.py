"""Column by column with compensation: GPTQ and SparseGPT on the Gram matrix of the inputs.

Changing one input column of W costs ``|dW x|`` on the calibration inputs; the columns that follow are shifted
to make up for it as well as they can. With ``G = X^T X`` (damped) and ``U`` the upper Cholesky factor of
``G^-1``, the best shift after setting column j to q is ``-(w_j - q) / U_jj * U[j, j:]``, and

    |(W - W') X|^2 + damping * |W - W'|^2  =  sum over rows and columns of ((w_j - q) / U_jj)^2

exactly (w_j as it stands when its turn comes). `Swept.loss` is the right-hand side; a test holds it against
the left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from peelverify.compress.prune import check_sparsity, drop_mask
from peelverify.compress.quantize import Quantized, check_grid, exact_step, nearest_codes, top_code
from peelverify.errors import DomainError, NonFiniteError, NumericalError, ShapeError
from peelverify.registry import measured

__all__ = ["Swept", "gptq_weight", "gram_factor", "sparsegpt_weight"]

BLOCK = 128
"""Columns whose shifts of later columns are applied together."""


@dataclass(frozen=True, eq=False)
class Swept:
    """Result of a sweep.

    Attributes:
        weight: (outputs, inputs) in the dtype of the matrix.
        loss: sum of squared, scaled changes, which equals the damped squared output error in exact arithmetic.
        quantized: codes and steps, for GPTQ.
    """

    weight: Tensor
    loss: float
    quantized: Quantized | None = None


@torch.no_grad()
def gram_factor(gram: Tensor, damping: float = 0.01) -> tuple[Tensor, Tensor]:
    """Upper Cholesky factor of the inverse of the damped Gram matrix, and the inputs that never fire.

    Args:
        gram: (inputs, inputs) sum over tokens of x x^T.
        damping: added to the diagonal, as a fraction of its mean; >= 0. Dead inputs get a diagonal of their own.

    Returns:
        ``U`` with ``U^T U = (gram + damping * mean * I)^-1``, float64, and a boolean mask of dead inputs.

    Raises:
        DomainError: negative damping. NonFiniteError: NaN or infinite Gram. NumericalError: still singular.
    """
    if not (math.isfinite(damping) and damping >= 0):
        raise DomainError(f"gram_factor needs damping >= 0, got {damping}; 0.01 is the published value")
    gram = gram.double()
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise ShapeError(f"gram_factor needs a square Gram matrix, got shape {tuple(gram.shape)}")
    if not torch.isfinite(gram).all():
        raise NonFiniteError("gram_factor needs a finite Gram matrix, got NaN or infinity; check the model")
    diagonal = gram.diagonal()
    dead = diagonal == 0
    loaded = gram + torch.diag(dead.double())
    loaded.diagonal().add_(damping * float(loaded.diagonal().mean()))
    lower, failed = torch.linalg.cholesky_ex(loaded)
    if int(failed):
        raise NumericalError(
            f"gram_factor needs a positive definite Gram matrix, got rank below {len(gram)} at damping {damping}; "
            "use more text or more damping"
        )
    upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    if int(failed):
        raise NumericalError("gram_factor lost definiteness in the inverse; use more damping")
    return upper, dead


def _sweep(
    weight: Tensor, upper: Tensor, dead: Tensor, choose: Callable[[int, Tensor, Tensor], Tensor], block: int
) -> tuple[Tensor, Tensor, float]:
    """Go through the columns; ``choose(j, column, moving)`` gives the new column j.

    Everything is held transposed, (inputs, outputs), so that a column is contiguous; ``moving[j]`` keeps the value that
    column j had when its turn came.

    Returns:
        The new matrix and ``moving``, both (inputs, outputs), and the summed loss.
    """
    moving = weight.double().T.contiguous()
    moving[dead] = 0
    result = torch.empty_like(moving)
    inverse = upper.diagonal().reciprocal().tolist()
    loss = 0.0
    inputs = len(moving)
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        errors = torch.empty_like(moving[start:stop])
        for j in range(start, stop):
            new = choose(j, moving[j], moving)
            result[j] = new
            error = torch.sub(moving[j], new, out=errors[j - start]).mul_(inverse[j])
            if j + 1 < stop:
                moving[j + 1 : stop].addr_(upper[j, j + 1 : stop], error, alpha=-1)
        loss += float(errors.square().sum())
        if stop < inputs:
            moving[stop:].addmm_(upper[start:stop, stop:].T, errors, alpha=-1)
    return result, moving, loss


@measured("an approximation on given text; peelverify.certify bounds its effect")
@torch.no_grad()
def gptq_weight(
    weight: Tensor, gram: Tensor, bits: int, *, group: int | None = None, damping: float = 0.01
) -> Swept:
    """Round a matrix to a grid, column by column, letting later columns make up for earlier ones.

    Args:
        weight: (outputs, inputs), finite.
        gram: (inputs, inputs) sum over calibration tokens of x x^T.
        bits: 2 to 8, on the grid of `round_to_nearest`.
        group: inputs a group; its step is set from the shifted weights when the sweep reaches it.
        damping: see `gram_factor`.

    Raises:
        DomainError, ShapeError, NonFiniteError, NumericalError: see `round_to_nearest` and `gram_factor`.

    Source:
        [Frantar2023a]. Deviations: (1) symmetric grid whose points are exact in the dtype; (2) float64;
        (3) no activation order.
    """
    rows, inputs = weight.shape
    size = check_grid(bits, inputs, group, function="gptq_weight")
    _finite(weight, gram, "gptq_weight")
    upper, dead = gram_factor(gram, damping)
    top = top_code(bits)
    steps = torch.zeros(inputs // size, rows, dtype=torch.float64, device=weight.device)
    divisors = torch.ones_like(steps)

    def set_step(at: int, largest: Tensor) -> None:
        steps[at] = exact_step(largest / top, weight.dtype, bits)
        divisors[at] = torch.where(steps[at] > 0, steps[at], 1.0)

    if size == inputs:
        set_step(0, weight.double().abs().amax(dim=1))

    def choose(j: int, column: Tensor, moving: Tensor) -> Tensor:
        at = j // size
        if size != inputs and j % size == 0:
            set_step(at, moving[j : j + size].abs().amax(dim=0))
        return (column / divisors[at]).round_().clamp_(-top, top).mul_(steps[at])

    # a block that holds whole groups, so that a group has taken all shifts when its step is set
    block = BLOCK if size == inputs else size * max(1, BLOCK // size)
    result, moving, loss = _sweep(weight, upper, dead, choose, block)
    wide = steps.repeat_interleave(size, dim=0)
    codes = nearest_codes(moving, wide, top)  # the columns as they stood when they were rounded
    quantized = Quantized(
        result.T.contiguous().to(weight.dtype), codes.T.contiguous().to(torch.int16), steps.T.contiguous(), bits, size,
        clipped=int((moving.abs() > top * wide).sum()),
    )
    return Swept(quantized.weight, loss, quantized)


@measured("an approximation on given text; peelverify.certify bounds its effect")
@torch.no_grad()
def sparsegpt_weight(
    weight: Tensor,
    gram: Tensor,
    sparsity: float = 0.5,
    *,
    pattern: tuple[int, int] | None = None,
    count: int | None = None,
    damping: float = 0.01,
) -> Swept:
    """Zero a fraction of a matrix and shift what stays to make up for it.

    Weights are scored by ``w^2 / U_jj^2``, 128 columns at a time over all rows; with a pattern N:M, the N
    smallest of every M columns of a row go.

    Args:
        weight: (outputs, inputs), finite.
        gram: (inputs, inputs) sum over calibration tokens of x x^T.
        sparsity: fraction in (0, 1) to zero.
        pattern: (N, M) in place of a sparsity.
        count: number of weights to zero in place of a sparsity, shared evenly by the column blocks.
        damping: see `gram_factor`.

    Raises:
        DomainError, ShapeError, NonFiniteError, NumericalError: see `drop_mask` and `gram_factor`.

    Source:
        [Frantar2023b]. Deviations: (1) exactly the count asked is dropped, where the published threshold
        drops one more and all ties; (2) float64.
    """
    rows, inputs = weight.shape
    _finite(weight, gram, "sparsegpt_weight")
    if pattern is not None:
        drop_mask(torch.zeros(1, inputs), 0.5, pattern=pattern)
        block = pattern[1]
    else:
        block = BLOCK
        if count is None:
            check_sparsity(sparsity, function="sparsegpt_weight")
            count = int(weight.numel() * sparsity)
        elif not 0 <= count < weight.numel():
            raise DomainError(f"sparsegpt_weight needs 0 <= count < {weight.numel()}, got {count}")
    upper, dead = gram_factor(gram, damping)
    scale = upper.diagonal().square()
    mask = torch.zeros(inputs, rows, dtype=torch.bool, device=weight.device)

    def choose(j: int, column: Tensor, moving: Tensor) -> Tensor:
        if j % block == 0:
            stop = min(j + block, inputs)
            score = moving[j:stop].T.square() / scale[j:stop]
            if pattern is not None:
                mask[j:stop] = drop_mask(score, 0.5, pattern=pattern).T
            else:
                due = round(count * stop / inputs) - round(count * j / inputs)
                mask[j:stop] = drop_mask(score, count=due, group="matrix").T
        return torch.where(mask[j], 0.0, column)

    result, _, loss = _sweep(weight, upper, dead, choose, block)
    return Swept(result.T.contiguous().to(weight.dtype), loss)


def _finite(weight: Tensor, gram: Tensor, function: str) -> None:
    if gram.shape != (weight.shape[1], weight.shape[1]):
        raise ShapeError(
            f"{function} needs a Gram matrix of {weight.shape[1]} inputs, got shape {tuple(gram.shape)}; "
            "pair a map with its own inputs"
        )
    if not torch.isfinite(weight).all():
        raise NonFiniteError(f"{function} needs finite weights, got NaN or infinity; check the matrix")
