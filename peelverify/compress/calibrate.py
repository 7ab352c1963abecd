"""Calibration: walk a model block by block, with the inputs that its linear maps see.

The states of all calibration windows move through the blocks together, so memory is one state a token, and a
block that has been compressed feeds its successor: later blocks are calibrated on what they will receive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.compress.tokenweights import resolve_token_weights
from peelverify.errors import NonFiniteError
from peelverify.evaluate.stream import batches
from peelverify.models.view import ModelView, Trace

__all__ = ["BlockWalk", "input_energy", "input_gram", "watch_inputs"]

OnInput = Callable[[str, Tensor], None]
"""Called with (name of a linear map, its input of shape (windows, length, inputs))."""


class BlockWalk:
    """States of calibration windows on their way through the blocks.

    Args:
        view: the model; its blocks may be changed in place between steps.
        input_ids: token ids (windows, length), already checked.
        token_weights: how much each token counts in `input_energy` and `input_gram`; see
            `peelverify.compress.tokenweights.resolve_token_weights`. Taken from the model before any change.
    """

    def __init__(
        self, view: ModelView, input_ids: Tensor, token_weights: str | Tensor | np.ndarray | None = None
    ) -> None:
        self.view = view
        self.windows = input_ids.shape[0]
        weights = resolve_token_weights(view, input_ids, token_weights, function="calibration")
        self._weights = None if weights is None else [w.split(_windows_a_batch(input_ids)) for w in weights]
        self.token_weights: Tensor | None = None  # of the batch that is on its way, (windows, length)
        self._traces: list[Trace] = []
        self._states: list[Tensor] = []
        for batch in batches(input_ids, 2048):
            trace = view.trace(batch)
            self._states.append(trace.states[0])
            trace.states, trace.logits = [], trace.logits[:0]  # only the arguments of the blocks are needed
            self._traces.append(trace)

    def watch(
        self, index: int, receive: OnInput, after_batch: Callable[[], None] | None = None
    ) -> None:
        """Run block ``index`` on the current states and report the inputs of its linear maps; states stay."""
        with watch_inputs(self.view.linears(index), receive):
            for number, (trace, state) in enumerate(zip(self._traces, self._states, strict=True)):
                self.token_weights = None if self._weights is None else self._weights[index][number]
                trace.block(index, state)
                if after_batch is not None:
                    after_batch()

    def advance(self, index: int) -> None:
        """Send the states through block ``index`` as it is now.

        Raises:
            NonFiniteError: if a state becomes NaN or infinite.
        """
        self._states = [t.block(index, s) for t, s in zip(self._traces, self._states, strict=True)]
        if not all(bool(torch.isfinite(s).all()) for s in self._states):
            raise NonFiniteError(
                f"calibration needs finite states, got NaN or infinity after block {index}; compress less"
            )


@contextmanager
def watch_inputs(linears: dict[str, nn.Module], receive: OnInput) -> Iterator[None]:
    """Inside the context, report the input of each linear map."""

    def hook(name: str) -> Callable[..., None]:
        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            receive(name, args[0])

        return before

    handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in linears.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _windows_a_batch(input_ids: Tensor) -> int:
    return len(next(batches(input_ids, 2048)))


def input_energy(walk: BlockWalk, index: int) -> dict[str, Tensor]:
    """For each linear map of a block: sum over tokens of w x_j^2, divided by the number of windows; float64.

    The token weights w are those of the walk, 1 unless given.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, x: Tensor) -> None:
        if walk.token_weights is None:
            squares = torch.linalg.vector_norm(x.flatten(0, -2), dim=0, dtype=torch.float64).square()
        else:
            squares = walk.token_weights.flatten() @ x.flatten(0, -2).double().square()
        sums[name] = sums[name] + squares if name in sums else squares

    walk.watch(index, add)
    return {name: total / walk.windows for name, total in sums.items()}


def _self_product(flat: Tensor) -> Tensor:
    """``flat^T flat``; on a processor by numpy, which sees the symmetry and does half of the work."""
    if flat.device.type != "cpu":
        return flat.T @ flat
    array = flat.numpy()
    return torch.from_numpy(array.T @ array)


def input_gram(walk: BlockWalk, index: int) -> dict[str, Tensor]:
    """For each linear map of a block: sum over tokens of w x x^T, (inputs, inputs), float64.

    The token weights w are those of the walk, 1 unless given. Products of float32 inputs are exact in float64, and
    sums over tokens are additive, so memory does not grow with the text. Maps that read the same tensor share one
    Gram matrix.
    """
    grams: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    previous: list[tuple[str, Tensor]] = []

    def add(name: str, x: Tensor) -> None:
        for other, seen in previous:
            if seen is x:
                shared[name] = other
                return
        previous.append((name, x))
        flat = x.flatten(0, -2).double()
        if walk.token_weights is not None:
            flat = flat * walk.token_weights.flatten()[:, None].sqrt()
        product = _self_product(flat)
        grams[name] = grams[name] + product if name in grams else product

    walk.watch(index, add, after_batch=previous.clear)
    return {name: grams[shared.get(name, name)] for name in (*grams, *shared)}
