"""One and one-and-a-half bits, and few directions: binary, ternary and truncated matrices by closed formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from peelverify.compress.copies import Compressed, copy_view, linear_maps, weight_rows, write_rows
from peelverify.compress.record import compression_record
from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["binary_weight", "low_bit_model", "low_rank_model", "low_rank_weight", "ternary_weight"]

_LEAST_SCALE = 1e-5


def _check(weight: Tensor, function: str) -> None:
    if weight.ndim != 2 or weight.numel() == 0:
        raise ShapeError(f"{function} needs a matrix, got shape {tuple(weight.shape)}; reshape it")
    if not torch.isfinite(weight).all():
        raise NonFiniteError(f"{function} needs finite weights, got NaN or infinity; check the matrix")


def _scale(weight: Tensor, per_row: bool) -> Tensor:
    size = weight.double().abs()
    return size.mean(dim=1, keepdim=True) if per_row else size.mean()


@measured("an approximation; peelverify.certify bounds its effect")
@torch.no_grad()
def binary_weight(weight: Tensor, *, per_row: bool = False) -> Tensor:
    """``sign(W - mean W) * mean |W|``, with sign(0) = 1: the rule of the first BitNet.

    Args:
        weight: (outputs, inputs), finite.
        per_row: mean and scale of each row of outputs instead of the whole matrix.

    Not for:
        The least error at two values a matrix: that needs the mean added back and the scale of the centred
        weights; see `peelverify.peel.fit_binary`.

    Source:
        [Wang2023].
    """
    _check(weight, "binary_weight")
    wide = weight.double()
    mean = wide.mean(dim=1, keepdim=True) if per_row else wide.mean()
    return torch.where(wide >= mean, 1.0, -1.0).mul(_scale(weight, per_row)).to(weight.dtype)


@measured("an approximation; peelverify.certify bounds its effect")
@torch.no_grad()
def ternary_weight(weight: Tensor, *, per_row: bool = False) -> Tensor:
    """``clamp(round(W / s), -1, 1) * s`` with s = max(mean |W|, 1e-5): the absmean rule of BitNet b1.58.

    Args:
        weight: (outputs, inputs), finite.
        per_row: a scale for each row of outputs instead of one for the matrix.

    Source:
        [Ma2024].
    """
    _check(weight, "ternary_weight")
    scale = _scale(weight, per_row).clamp(min=_LEAST_SCALE)
    return (torch.round(weight.double() / scale).clamp(-1, 1) * scale).to(weight.dtype)


@measured("an approximation; peelverify.certify bounds its effect")
@torch.no_grad()
def low_rank_weight(weight: Tensor, rank: int) -> Tensor:
    """Truncated singular value decomposition, multiplied out.

    Args:
        weight: (outputs, inputs), finite.
        rank: singular values to keep, from 1 to the smaller side.

    Returns:
        The nearest matrix of that rank in Frobenius and operator norm, up to float64 rounding, stored dense.
    """
    _check(weight, "low_rank_weight")
    if not 1 <= rank <= min(weight.shape) or int(rank) != rank:
        raise DomainError(f"low_rank_weight needs a rank from 1 to {min(weight.shape)}, got {rank}; lower it")
    u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ v[:rank]).to(weight.dtype)


LOW_BIT: dict[str, Callable[..., Tensor]] = {"binary": binary_weight, "ternary": ternary_weight}


@measured("an approximation; peelverify.certify bounds its effect on given text")
def low_bit_model(model: ModelView | nn.Module, method: str = "ternary", *, per_row: bool = False) -> Compressed:
    """Replace every linear map inside the blocks by its binary or ternary version.

    Args:
        model: a decoder; it is copied.
        method: "binary" or "ternary".
        per_row: a scale for each row of outputs.

    Raises:
        InputError: unknown method.
    """
    if method not in LOW_BIT:
        raise InputError(f"low_bit_model needs 'binary' or 'ternary', got {method!r}; name one of them")
    return _rewrite(model, method, lambda w: LOW_BIT[method](w, per_row=per_row), per_row=per_row)


@measured("an approximation; peelverify.certify bounds its effect on given text")
def low_rank_model(model: ModelView | nn.Module, rank_fraction: float = 0.5) -> Compressed:
    """Truncate every linear map inside the blocks to a fraction of its full rank.

    Args:
        model: a decoder; it is copied.
        rank_fraction: share of the singular values to keep, in (0, 1]; at least one stays.

    Raises:
        DomainError: a fraction outside (0, 1].

    Not for:
        Smaller files: the product is stored dense, so that any program can load it.
    """
    if not 0 < rank_fraction <= 1:
        raise DomainError(f"low_rank_model needs 0 < rank_fraction <= 1, got {rank_fraction}; 0.5 keeps half")

    def truncate(weight: Tensor) -> Tensor:
        return low_rank_weight(weight, max(1, int(min(weight.shape) * rank_fraction)))

    return _rewrite(model, "svd", truncate, rank_fraction=rank_fraction)


def _rewrite(
    model: ModelView | nn.Module, method: str, change: Callable[[Tensor], Tensor], **settings: Any
) -> Compressed:
    view = copy_view(model)
    for linear in linear_maps(view).values():
        write_rows(linear, change(weight_rows(linear)))
    return Compressed(view, compression_record(method, depth=view.depth, **settings))
