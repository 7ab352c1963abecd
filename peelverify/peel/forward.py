"""Forward passes over all windows that go on in smaller chunks where memory runs out.

Peeling needs the states of every window at once, but neither all logits nor the inside of a block for all windows.
A `WindowTrace` is a `Trace` without logits whose block calls run on as many windows as fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from peelverify.errors import InvariantError
from peelverify.models.view import ModelView, Trace
from peelverify.peel.memory import Chunk, joined

__all__ = ["WindowTrace", "head_with", "narrow", "trace_windows", "watched"]

FORWARD = "the forward pass of a block"


@dataclass
class WindowTrace(Trace):
    """States and block arguments of a forward pass over many windows, without logits.

    Attributes:
        chunk: how many windows a block gets at once.
    """

    chunk: Chunk = field(repr=False)

    def run_module(self, module: nn.Module, index: int, state: Tensor) -> Tensor:
        """As `Trace.run_module`, in chunks of windows; ``state`` has all windows."""
        found = self.chunk.run(len(state), lambda rows: narrow(self, rows).run_module(module, index, state[rows]))
        return joined(found, FORWARD)


def narrow(trace: Trace, rows: Tensor | slice) -> Trace:
    """The same forward pass for some of its windows, without states and logits.

    Tensors with one entry a window are cut; those with a single axis belong to positions and stay whole.
    """
    count = len(trace.input_ids)

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == count and count > 1:
            return value[rows]
        if isinstance(value, (tuple, list)):
            return type(value)(cut(v) for v in value)
        return value

    calls = [(cut(args), {k: cut(v) for k, v in kwargs.items()}) for args, kwargs in trace._calls]
    return Trace(trace.view, trace.input_ids[rows], [], trace.logits[:0], calls)


def watched(trace: Trace, module: nn.Module, index: int, state: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Run a block and look inside.

    Args:
        trace: forward pass whose arguments the block gets.
        module: the block, run in place of block ``index``.
        index: from 0.
        state: state that enters it (windows, length, width).
        name: inner map to watch.

    Returns:
        Input and output of the inner map, (windows, length, its width) each, and output of the block.
    """

    def part(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        seen: list[Tensor] = []
        handle = module.get_submodule(name).register_forward_hook(lambda m, args, out: seen.extend((args[0], out)))
        try:
            out = narrow(trace, rows).run_module(module, index, state[rows])
        finally:
            handle.remove()
        inner, written = (t.reshape(*out.shape[:2], -1) for t in seen)
        return inner, written, out

    parts = trace.chunk.run(len(state), part) if isinstance(trace, WindowTrace) else [part(slice(None))]
    inner, written, out = (joined(list(p), FORWARD) for p in zip(*parts, strict=True))
    return inner, written, out


def _merged(values: Sequence[Any], counts: Sequence[int]) -> Any:
    """One argument of a block for all windows, from those of consecutive chunks of windows."""
    first = values[0]
    if isinstance(first, (tuple, list)):
        return type(first)(_merged(v, counts) for v in zip(*values, strict=True))
    if not isinstance(first, Tensor):
        return first
    if all(v.shape == first.shape and torch.equal(v, first) for v in values[1:]) and (
        first.ndim < 2 or first.shape[0] == 1 or first.shape[0] != counts[0]
    ):
        return first  # the same for every window
    if first.ndim < 2 or any(v.shape[0] != c for v, c in zip(values, counts, strict=True)):
        raise InvariantError(
            "a forward pass in chunks needs block arguments that are the same for all windows or hold one entry a "
            f"window, got one of shape {tuple(first.shape)} for {counts[0]} windows that changes; use fewer tokens"
        )
    return torch.cat(list(values))


def trace_windows(view: ModelView, ids: Tensor) -> WindowTrace:
    """As `ModelView.trace`, in chunks of windows where memory runs out, and without logits.

    Args:
        view: the decoder.
        ids: token ids (windows, length).

    Raises:
        InputError, NonFiniteError, InvariantError: as `ModelView.trace`.
        NumericalError: a single window, or the states of all of them, do not fit; a `MemoryWarning` says each time
            that a chunk gets smaller.
    """
    chunk = Chunk(len(ids), "the forward pass")

    def part(rows: slice) -> Trace:
        found = view.trace(ids[rows])
        found.logits = found.logits[:0].clone()  # a view would keep all of them
        return found

    # an empty or misshapen array is refused by the first trace
    parts = chunk.run(len(ids), part) if ids.ndim == 2 and len(ids) else [part(slice(None))]
    states = []
    for index in range(view.depth + 1):
        states.append(joined([p.states[index] for p in parts], "the forward pass"))
        for p in parts:
            p.states[index] = p.states[index][:0]
    counts = [len(p.input_ids) for p in parts]
    calls = parts[0]._calls
    if len(parts) > 1:
        calls = []
        for index in range(view.depth):
            args, kwargs = zip(*(p._calls[index] for p in parts), strict=True)
            calls.append((
                _merged(args, counts), {k: _merged([other[k] for other in kwargs], counts) for k in kwargs[0]},
            ))
    chunk.what = FORWARD
    return WindowTrace(view, ids, states, parts[0].logits, calls, chunk)


def head_with(view: ModelView, moved: Mapping[str, Tensor], state: Tensor) -> Tensor:
    """Logits with some parameters of final norm and head replaced."""
    from torch.func import functional_call

    def call(module: nn.Module, prefix: str, value: Tensor) -> Tensor:
        own = {n.removeprefix(f"{prefix}."): p for n, p in moved.items() if n.startswith(f"{prefix}.")}
        return functional_call(module, own, (value,)) if own else module(value)

    out = state if view.norm is None else call(view.norm, "norm", state)
    if view.project is not None:
        out = view.project(out)
    return view.cap(call(view.lm_head, "head", out))
