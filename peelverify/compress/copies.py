"""A private copy of a model to compress, so that the caller's model stays as it was."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from peelverify.errors import InputError
from peelverify.evaluate.stream import as_view
from peelverify.models.view import ModelView

__all__ = ["Compressed", "copy_view", "linear_maps", "weight_rows", "write_rows"]


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed model and what was done to it.

    Attributes:
        view: the compressed decoder; it shares no tensor with the original.
        record: plain data for ``peelverify.json``; see `peelverify.compress.record`.
        matrices: what was stored for each matrix, by ``"block.name"``; empty where nothing is.
    """

    view: ModelView
    record: dict[str, Any]
    matrices: dict[str, Any] = field(default_factory=dict)


def copy_view(model: ModelView | nn.Module) -> ModelView:
    """A deep copy of a model, in evaluation mode; gradients are not copied."""
    view = as_view(model)
    gradients = [(p, p.grad) for p in view.model.parameters() if p.grad is not None]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        return ModelView(copy.deepcopy(view.model))
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


def linear_maps(view: ModelView) -> dict[str, nn.Module]:
    """All linear maps inside the blocks, by ``"block.name"``; embedding and head are not among them.

    Raises:
        InputError: if there is none.
    """
    maps = {f"{i}.{name}": m for i in range(view.depth) for name, m in view.linears(i).items()}
    if not maps:
        raise InputError("compression needs linear maps inside the blocks, got none; this model has none")
    return maps


def weight_rows(linear: nn.Module) -> Tensor:
    """Weight of a linear map as (outputs, inputs), detached; a view of the parameter."""
    return ModelView.weight(linear).detach()


@torch.no_grad()
def write_rows(linear: nn.Module, weight: Tensor) -> None:
    """Overwrite the weight of a linear map with ``weight`` (outputs, inputs)."""
    ModelView.weight(linear).copy_(weight)
