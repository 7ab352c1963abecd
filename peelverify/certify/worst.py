"""A search for inputs that a compressed block answers as wrongly as possible: what bounds on whole blocks are held to.

Random inputs come nowhere near the worst. The norms make a block see directions, not lengths, but for one place: what
attention adds to a token may cancel it, and then the second norm enlarges every change. Such inputs have tokens of
the length of what attention adds, which differs from block to block. So each token has a scale of its own, drawn over
five decades, and a step of the ascent is a share of that token's length. Each window aims at its last token, which
sees all others: an aim that jumps between tokens keeps the moments of the ascent from settling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from peelverify.models.blockwise import Call
from peelverify.registry import measured

__all__ = ["Found", "search_block"]

_SCALES = (-3.0, 2.0)
"""Powers of ten between which the scale of a token is drawn."""
_FIRST_STEPS = 60
"""Steps of every ascent before the better ones go on."""
_LARGEST_STEP = 0.3
"""First step of an ascent, as a share of the token's length; the last one is near zero."""


@dataclass(frozen=True)
class Found:
    """The largest changes at a token that a search found; measured.

    Attributes:
        sampled: over random inputs; None if none was drawn.
        ascended: over random inputs and those improved by gradient ascent; None if none was improved.
        samples: how many token states were drawn.
        ascents: how many windows were improved.
    """

    sampled: float | None
    ascended: float | None
    samples: int
    ascents: int

    @property
    def worst(self) -> float | None:
        """The larger of both; None if nothing was searched."""
        return self.sampled if self.ascended is None else self.ascended


class _InFloat64(TorchFunctionMode):
    """Inside, float32 means float64: norms and softmaxes that ask for float32 by name get float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` with float64 wherever its arguments say float32."""
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(_wide, args), **{name: _wide(value) for name, value in (kwargs or {}).items()})


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def _double(value: Any) -> Any:
    """The same with float64 for every floating-point tensor."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(map(_double, value))
    return value


def _double_answer(block: nn.Module, call: Call, x: Tensor) -> Tensor:
    """A block's answer in float64 throughout; its weights are read as stored."""
    weights = {name: _double(t.detach()) for name, t in (*block.named_parameters(), *block.named_buffers())}
    args, kwargs = _double(call.args), {name: _double(value) for name, value in call.kwargs.items()}
    with _InFloat64():
        output = functional_call(block, weights, (x.double(), *args), kwargs)
    return output[0] if isinstance(output, tuple) else output


def _climb(change: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Raise the change at the last token of each window.

    Args:
        change: from inputs (windows, length, width) to changes (windows, length).
        start: inputs (windows, length, width).
        steps: of Adam on the logarithm of the change; a step is a share of a token's length that falls along a cosine.

    Returns:
        For each window the best input and its change.
    """
    x = start.clone().requires_grad_(True)
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    best, worst = start.clone(), start.new_full(start.shape[:1], -1.0)
    for step in range(steps + 1):
        found = change(x)[:, -1]
        with torch.no_grad():
            better = found > worst
            worst = torch.where(better, found, worst)
            best = torch.where(better[:, None, None], x, best)
        if step == steps:
            break
        share = found / found.detach().clamp_min(torch.finfo(found.dtype).tiny)
        (gradient,) = torch.autograd.grad(share.sum(), x)
        with torch.no_grad():
            lengths = x.norm(dim=-1, keepdim=True)
            gradient = (gradient * lengths).nan_to_num(0.0, 0.0, 0.0)  # of a change by a share of the length
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.95 * square + 0.05 * gradient**2
            move = (mean / (1 - 0.9 ** (step + 1))) / ((square / (1 - 0.95 ** (step + 1))).sqrt() + 1e-18)
            size = _LARGEST_STEP * (1 + math.cos(math.pi * step / steps)) / 2
            x += size * lengths / math.sqrt(x.shape[-1]) * move
    return best, worst


@measured("a search, which shows that a bound is not vacuous and never that it is sharp")
def search_block(
    f: nn.Module,
    own: nn.Module | None,
    call: Call,
    shape: tuple[int, int, int],
    *,
    samples: int = 10_000,
    ascents: int = 100,
    steps: int = 200,
    seed: int = 0,
) -> Found:
    """Look for inputs that a compressed block answers as wrongly as possible.

    Args:
        f: the original's block, float32 or float64.
        own: the compressed block; None if it was deleted.
        call: masks and positions for inputs of this shape.
        shape: (windows, length, width) of one evaluation.
        samples: token states to draw, Gaussian, each at a scale of its own from 1/1000 to 100.
        ascents: how many windows to improve by gradient ascent; a quarter of them the worst that were drawn, the others
            drawn for it.
        steps: of the ascents that go on: a first short climb of every window picks as many as one evaluation holds.
        seed: of the draw.

    Returns:
        The largest 2-norms of the change at a token. They are looked for in the blocks' own dtype and computed again
        in float64 throughout for the inputs that are worst, so that rounding does not count as change.
    """
    generator = torch.Generator().manual_seed(seed)
    parameter = next(f.parameters())
    windows, length, width = shape

    def change(x: Tensor) -> Tensor:
        answer = x if own is None else call.run(own, x)
        return (answer - call.run(f, x)).norm(dim=-1)

    def draw() -> Tensor:
        powers = torch.empty(windows, length, 1).uniform_(*_SCALES, generator=generator)
        return (torch.randn(windows, length, width, generator=generator) * 10**powers).to(parameter)

    def full(group: Sequence[Tensor]) -> Tensor:
        return torch.stack([*group, *[group[0]] * (windows - len(group))])

    @torch.no_grad()
    def exact(group: Sequence[Tensor], tokens: int) -> float:
        """Largest change in float64 of a few windows, at their first tokens."""
        x = full(group)
        answer = x.double() if own is None else _double_answer(own, call, x)
        return float((answer - _double_answer(f, call, x)).norm(dim=-1)[: len(group), :tokens].max())

    sampled: tuple[float, Tensor, int] | None = None
    kept: list[tuple[float, Tensor]] = []
    for begin in range(0, samples, windows * length):
        x, left = draw(), samples - begin
        with torch.no_grad():
            found = change(x).nan_to_num(0.0, 0.0, 0.0)
        counted = torch.arange(windows * length, device=found.device).view(windows, length) < left
        each, ends = torch.where(counted, found, -1.0).amax(dim=1).tolist(), found[:, -1].tolist()
        for i in range(min(windows, -(-left // length))):
            if sampled is None or each[i] > sampled[0]:
                sampled = each[i], x[i], min(length, left - i * length)
            if left >= (i + 1) * length:
                kept.append((ends[i], x[i]))
        kept = sorted(kept, key=lambda pair: -pair[0])[: -(-ascents // 4)]
    worst = None if sampled is None else exact([sampled[1]], sampled[2])
    if not ascents:
        return Found(worst, None, samples, 0)

    starts = [x for _, x in kept]
    while len(starts) < ascents:
        starts += draw()[: ascents - len(starts)]
    climbed: list[tuple[float, Tensor]] = []
    for begin in range(0, ascents, windows):
        group = starts[begin : begin + windows]
        inputs, changes = _climb(change, full(group), min(_FIRST_STEPS, steps))
        climbed += list(zip(changes.tolist()[: len(group)], inputs, strict=False))
    chosen = [x for _, x in sorted(climbed, key=lambda pair: -pair[0])[:windows]]
    inputs, _ = _climb(change, full(chosen), steps)
    return Found(worst, max(exact(list(inputs[: len(chosen)]), length), worst or 0.0), samples, ascents)
