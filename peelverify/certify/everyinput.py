"""Bounds for every input: how far a compressed linear map can be from the original one, whatever the text.

Claims about real arithmetic on the weights as converted to the dtype that is run: what that conversion takes away is in
no bound. Both maps get the same input. Behind a norm that input is
``scale * z + shift`` with ``|z| <= sqrt(d)``, so the change is at most
``|W' diag(scale') - W diag(scale)| sqrt(d) + |W' shift' + b' - W shift - b|``. The maps that do not follow a norm
get what the original model can produce: attention outputs lie in the convex hull of the values, head by head,
and gated products are no longer than the largest gate input times the length of the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from peelverify.certify.checker import round_up
from peelverify.certify.exact import spell
from peelverify.certify.layout import (
    LAYOUTS,
    Heads,
    Layout,
    activation_of,
    differences,
    heads_of,
    norm_epsilon,
    unbounded_norm,
)
from peelverify.enclose import norm_fro_upper, norm_op2_upper, sqrt_upper
from peelverify.enclose.operator import Stacked
from peelverify.errors import NonFiniteError
from peelverify.models.blockwise import BlockSource, StoredMatrix
from peelverify.models.view import ModelView

__all__ = ["LAYOUTS", "Layout", "every_input"]

_U = Fraction(1, 2**53)
_UNIT = 2.0**-53
_TINY = Fraction(1, 2**1074)
"""Smallest positive float64; a product below the normal ones is off by no more."""
_SLAB = 1 << 18
"""Entries of a matrix converted to float64 at a time."""
ACTIVATIONS = frozenset({
    "relu", "silu", "swish", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "quick_gelu", "tanh",
})
"""Activations with ``|act z| <= |z|``."""

THEOREMS = {
    "norm": "PeelVerify.every_input_error",
    "attention": "PeelVerify.attention_norm_le",
    "gate": "PeelVerify.gated_norm_le",
    "activation": "PeelVerify.weight_error",
}


@dataclass
class _Affine:
    """A linear map with the scale and shift of the norm before it folded in; float64 parts of it are made on demand.

    Each entry of a part is within ``4 u`` of the exact one, relative, and ``tiny``; ``offset`` within ``slack`` of the
    exact offset. Products of float64 numbers can fall below the normal ones, and only then ``tiny`` is not zero.
    """

    weight: Tensor | StoredMatrix
    scale: np.ndarray | None
    offset: np.ndarray
    slack: np.ndarray
    source: tuple[Tensor | StoredMatrix, ...]
    exact: bool = False
    tiny: Fraction = Fraction(0)

    def underflow(self) -> Fraction:
        """Bound on what underflow in the folding adds to the Frobenius norm of the error."""
        return self.tiny * sum(self.weight.shape)  # not below the root of rows times columns

    def part(self, index: Any, *, transposed: bool = False) -> np.ndarray:
        """Some rows in float64; of the transposed map if asked."""
        weight = self.weight[:, index].T if transposed else self.weight[index]
        found = weight.detach().to(torch.float64, copy=True).cpu().numpy()
        if self.scale is not None:
            with np.errstate(over="ignore", under="ignore"):
                found *= self.scale[index][:, None] if transposed else self.scale
            if self.tiny:
                _require_range(found)
        return found

    @property
    def matrix(self) -> np.ndarray:
        """All of it in float64."""
        return self.part(slice(None))

    def stacked(self, minus: _Affine | None = None) -> Stacked:
        """The map, or its difference to another, with the longer side as rows."""
        rows, columns = self.weight.shape
        wide = rows < columns

        def make(start: int, stop: int) -> np.ndarray:
            found = self.part(slice(start, stop), transposed=wide)
            return found if minus is None else found - minus.part(slice(start, stop), transposed=wide)

        return Stacked((columns, rows) if wide else (rows, columns), make)

    def rows(self, index: Any) -> _Affine:
        """The map to some of the outputs."""
        return _Affine(self.weight[index], self.scale, self.offset[index], self.slack[index], (), self.exact, self.tiny)

    def radius(self, root: Fraction) -> Fraction:
        """Bound on the length of the output for inputs of length ``root`` before the scales."""
        matrix = self.stacked()
        fold = 4 * _U * matrix.frobenius() + self.underflow()
        return round_up((norm_op2_upper(matrix) + fold) * root + _length(np.abs(self.offset) + self.slack))

    def largest(self, root: Fraction) -> Fraction:
        """Bound on the size of any single output."""
        outputs, inputs = self.weight.shape
        rows, powers = np.empty(outputs), np.empty(outputs, np.int64)
        for index in _slabs(self.weight):
            part = self.part(index)
            # a row is divided by a power of two, so that no square leaves the range of float64
            power = np.frexp(np.abs(part).max(axis=1))[1]
            part = np.ldexp(part, -power[:, None])
            rows[index] = np.sqrt(np.vecdot(part, part)) * (1 + (inputs + 16) * _UNIT)
            powers[index] = power
        ends = np.abs(self.offset) + self.slack
        top = int(max(powers.max(), np.frexp(ends.max())[1]))
        rows = np.ldexp(rows, (powers - top).clip(-4000))
        scaled = rows * (float(root) * (1 + 4 * _UNIT)) + np.ldexp(ends, -top)
        found = Fraction(float(scaled.max() * (1 + 16 * _UNIT))) * Fraction(2) ** top
        if self.tiny:  # of the folding, and of the entries and rows that vanish beside the largest
            found = round_up(found * (1 + _U) + inputs * self.tiny * root)
        return found


def _require_range(array: np.ndarray) -> None:
    """Refuse float64 numbers that became infinite."""
    if not np.isfinite(array).all():
        raise NonFiniteError(
            "bounds for every input need norms and weights whose products fit in float64, got one that does not; "
            "scale the weights down"
        )


def _slabs(weight: Tensor | StoredMatrix) -> Iterator[slice]:
    """Some rows of a matrix at a time."""
    step = max(1, _SLAB // weight.shape[1])
    return (slice(start, start + step) for start in range(0, weight.shape[0], step))


def _length(vector: np.ndarray) -> Fraction:
    return norm_fro_upper(vector)


def _wide(tensor: Tensor | None, size: int, fill: float) -> np.ndarray:
    if tensor is None:
        return np.full(size, fill)
    return tensor.detach().to(torch.float64).cpu().numpy()


def _affine(
    linear: nn.Module, norm: nn.Module | None, unit_offset: bool, weight: Tensor | StoredMatrix | None = None
) -> _Affine:
    weight = ModelView.weight(linear) if weight is None else weight
    outputs, inputs = weight.shape
    bias = getattr(linear, "bias", None)
    offset, slack = _wide(bias, outputs, 0.0), np.zeros(outputs)
    scale_tensor = getattr(norm, "weight", None)
    shift_tensor = getattr(norm, "bias", None)
    scale = None if scale_tensor is None else _wide(scale_tensor, inputs, 1.0) + (1.0 if unit_offset else 0.0)
    exact = not unit_offset and not any(
        t is not None and t.dtype == torch.float64 for t in (weight, scale_tensor)
    )
    tensors = tuple(t for t in (weight, bias, scale_tensor, shift_tensor) if t is not None)
    wide = any(t.dtype == torch.float64 for t in tensors)
    plain = _Affine(weight, None, offset, slack, tensors, exact)
    if shift_tensor is not None:
        shift, b = _wide(shift_tensor, inputs, 0.0), offset
        offset, slack = np.empty(outputs), np.empty(outputs)
        for index in _slabs(weight):
            w = plain.part(index)
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                offset[index] = w @ shift + b[index]
                size = np.abs(w) @ np.abs(shift) + np.abs(b[index])
            slack[index] = (inputs + 8) * _UNIT * 1.01 * size
        if wide:
            slack += 2 * (inputs + 8) * float(_TINY)
            _require_range(offset)
            _require_range(slack)
    return _Affine(weight, scale, offset, slack, tensors, exact, _TINY if wide and scale is not None else Fraction(0))


def _same(first: _Affine, second: _Affine) -> bool:
    """Whether two whole maps were made from the same tensors, entry by entry."""
    return bool(first.source) and len(first.source) == len(second.source) and all(
        a.shape == b.shape and all(torch.equal(a[i], b[i]) for i in (_slabs(a) if len(a.shape) > 1 else [slice(None)]))
        for a, b in zip(first.source, second.source, strict=True)
    )


def _change(first: _Affine, second: _Affine) -> tuple[Fraction, Fraction]:
    """Bounds on the operator norm and on the length of the offset of the difference."""
    if _same(first, second):
        return Fraction(0), Fraction(0)
    # each folding rounds at most twice (1 + weight, product), the difference once; products of narrow types are exact
    difference = second.stacked(first)
    if first.exact and second.exact:
        rounded = 2 * _U * difference.frobenius()
    else:
        rounded = 4 * _U * (first.stacked().frobenius() + second.stacked().frobenius())
    operator = norm_op2_upper(difference) + rounded + first.underflow() + second.underflow()
    size = np.abs(first.offset) + np.abs(second.offset)
    offset = np.abs(second.offset - first.offset) + (first.slack + second.slack + 2 * _UNIT * size) * 1.01
    if np.array_equal(first.offset, second.offset) and not (first.slack.any() or second.slack.any()):
        return round_up(operator), Fraction(0)
    return round_up(operator), round_up(_length(offset))


def _root(dimension: int) -> Fraction:
    return sqrt_upper(Fraction(dimension))


def _value_rows(layout: Layout, heads: Heads, outputs: int) -> list[Any]:
    """Row numbers of the values of each key-value head."""
    size = heads.size
    if layout.interleaved:
        return [np.arange(3 * size * h + 2 * size, 3 * size * (h + 1)) for h in range(heads.count)]
    start = outputs - heads.shared * size  # the values are the last rows, or all of them
    return [np.arange(start + size * h, start + size * (h + 1)) for h in range(heads.shared)]


def _entry(
    block: Any, name: str, kind: str, first: _Affine, second: _Affine, radius: Fraction, **more: Any
) -> dict[str, Any]:
    operator, shift = _change(first, second)
    return {
        "block": block, "name": name, "input": kind, "theorem": THEOREMS[kind],
        "operator": spell(operator), "radius": spell(radius), "shift": spell(shift),
        "bound": spell(round_up(operator * radius + shift)), **more,
    }


class _Seen:
    """What the norms and the output maps of a block are given on one window."""

    def __init__(self, f: nn.Module, layout: Layout) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.handles = [
            f.get_submodule(name).register_forward_pre_hook(self._remember(name))
            for name in (layout.attention_norm, layout.mlp_norm, layout.attention_out, layout.mlp_out)
        ]

    def _remember(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self.inputs[name] = args[0].detach()

        return hook

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def largest_change(
    x: Tensor, first: tuple[nn.Module, nn.Module | None], second: tuple[nn.Module, nn.Module | None], *,
    unit_offset: bool, weights: tuple[Tensor | StoredMatrix, ...] | None = None,
) -> str:
    """Largest 2-norm over tokens of the difference of two maps behind their norms on one input, in float64.

    Args:
        x: input (..., width) of the norms, or of the maps where there is none.
        first: linear map and norm before it.
        second: the same of the other model.
        unit_offset: whether the norm multiplies by ``1 + weight``.
        weights: matrices of the two maps, if not those of the modules.

    Returns:
        Decimal text.
    """
    weights = weights or tuple(ModelView.weight(linear) for linear, _ in (first, second))
    x = x.detach().to(torch.float64)
    inputs = []
    for _, norm in (first, second):
        y = x
        if norm is not None:
            shift = getattr(norm, "bias", None)
            layer = isinstance(norm, nn.LayerNorm)
            y = y - y.mean(-1, keepdim=True) if layer else y
            y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + norm_epsilon(norm))
            if getattr(norm, "weight", None) is not None:
                y = y * (norm.weight.double() + (1.0 if unit_offset else 0.0))
            y = y if shift is None else y + shift.double()
        inputs.append(y)

    def longest(power: int) -> tuple[float, float]:
        """Largest length and largest entry of the change divided by ``2**power``."""
        total, top = torch.zeros(x.shape[:-1], dtype=torch.float64), 0.0
        for index in _slabs(weights[0]):
            outputs = []
            for y, weight, (linear, _) in zip(inputs, weights, (first, second), strict=True):
                bias = getattr(linear, "bias", None)
                outputs.append(functional.linear(
                    y, weight[index].double(), None if bias is None else bias[index].double()
                ).cpu())
            change = torch.ldexp(outputs[1] - outputs[0], torch.tensor(-power)) if power else outputs[1] - outputs[0]
            total += change.square().sum(-1)
            top = max(top, float(change.abs().max()))
        return float(total.max().sqrt()), top

    found, top = longest(0)
    if 0 < top < math.inf and not 1e-100 < top < 1e100:  # squares leave the range of float64
        power = math.frexp(top)[1]
        found = math.ldexp(longest(power)[0], power)
    return f"{found:.9g}"


@torch.no_grad()
def every_input(
    original: BlockSource,
    compressed: BlockSource,
    kept: Sequence[int],
    window: Tensor,
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Bound the change of every linear map, for every input.

    Args:
        original: the reference model.
        compressed: the model under test.
        kept: indices of the original's blocks that the compressed model still has.
        window: token ids (1, length) on which the largest changes are also measured.
        on_progress: called with (blocks done, blocks, text).

    Returns:
        The part of a certificate, and for each matrix the largest change of its output at a token of ``window``,
        both maps given the same input, as decimal strings.

    A pair that differs in more than weights, or has norms without a radius, gets no bounds but the reason.

    Guarantee:
        Upper bounds in real arithmetic on the weights as converted to the dtype that is run, by the theorem named in
        each row with
        `PeelVerify.rmsNorm_radius` or `PeelVerify.layerNorm_radius` for the radius behind a norm.
    """
    view = original.view
    layout = LAYOUTS.get(view.config.model_type)
    rows: list[dict[str, Any]] = []
    seen: list[str] = []
    left_out: list[dict[str, Any]] = []
    if layout is None:
        reason = f"the matrices of {view.config.model_type} are not described"
    else:
        reason = _not_alike(original, compressed, kept, layout)
    if layout is None or reason is not None:
        left_out = [
            {"block": t, "name": "all", "reason": reason if t in kept else "the block was deleted"}
            for t in range(view.depth)
        ]
        left_out.append({"block": "head", "name": view.family.head, "reason": reason})
        if on_progress is not None:
            on_progress(view.depth + 1, view.depth + 1, "every input")
        return {"matrices": rows, "not_covered": left_out}, seen
    with original.front(window[:1]) as embed:
        state, calls = embed(window[:1].to(original.device))
    for t in range(view.depth):
        with original.block(t) as f:
            if t not in kept:
                left_out.append({"block": t, "name": "all", "reason": "the block was deleted"})
                state = calls[t].run(f, state)
            else:
                watch = _Seen(f, layout)
                try:
                    state = calls[t].run(f, state)
                finally:
                    watch.close()
        if t in kept:
            places = ((original, t), (compressed, list(kept).index(t)))
            _block_rows(t, places, layout, view, watch.inputs, rows, seen, left_out)
        if on_progress is not None:
            on_progress(t + 1, view.depth + 1, "every input")
    _head_row(original, compressed, layout, state, rows, seen, left_out)
    if on_progress is not None:
        on_progress(view.depth + 1, view.depth + 1, "every input")
    return {"matrices": rows, "not_covered": left_out}, seen


def _not_alike(original: BlockSource, compressed: BlockSource, kept: Sequence[int], layout: Layout) -> str | None:
    """Why bounds from weights alone say nothing about a pair; None if they do."""
    view, other = original.view, compressed.view
    apart = differences(view, other, kept)
    if apart:
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        return f"the models differ in more than weights: {apart[0]}{more}"
    if view.norm is not None and not 0 <= norm_epsilon(view.norm) < math.inf:
        return f"the final norm has the epsilon {norm_epsilon(view.norm)}"
    return next((why for t in kept if (why := unbounded_norm(view.blocks[t], layout))), None)


def _block_rows(
    t: int, places: tuple[tuple[BlockSource, int], ...], layout: Layout, view: ModelView, inputs: dict[str, Tensor],
    rows: list[dict[str, Any]], seen: list[str], left_out: list[dict[str, Any]],
) -> None:
    root, block = _root(view.width), view.blocks[t]
    if getattr(block, "do_layer_norm_before", True) is False:
        left_out.append({"block": t, "name": "all", "reason": "this model normalises after its maps, not before"})
        return

    @contextmanager
    def maps(name: str, norm: str | None) -> Iterator[tuple[_Affine, _Affine]]:
        """One map of both models, in memory inside the context only; its largest change on the window is noted."""
        names = (name,) if norm is None else (name, norm)
        with ExitStack() as held:
            blocks = [held.enter_context(source.modules(index, names)) for source, index in places]
            pairs = [(b.get_submodule(name), b.get_submodule(norm) if norm else None) for b in blocks]
            first, second = (_affine(*pair, layout.unit_offset and norm is not None) for pair in pairs)
            yield first, second
            seen.append(largest_change(inputs[norm or name], *pairs, unit_offset=layout.unit_offset))

    heads = heads_of(block, layout)
    cut: list[Fraction] = []
    hidden: list[Fraction] = []
    for norm, names in ((layout.attention_norm, layout.projections), (layout.mlp_norm, layout.hidden)):
        for name in names:
            with maps(name, norm) as (first, second):
                rows.append(_entry(t, name, "norm", first, second, root, dimension=view.width))
                if name == layout.values:
                    cut = [first.rows(i).radius(root) for i in _value_rows(layout, heads, len(first.weight))]
                if norm == layout.mlp_norm:
                    hidden += _hidden_bounds(first, name, layout, root)
    copies = heads.count // len(cut)
    parts = [radius for radius in cut for _ in range(copies)]
    radius = sqrt_upper(sum((p**2 for p in parts), Fraction(0)))
    with maps(layout.attention_out, None) as (first, second):
        rows.append(
            _entry(t, layout.attention_out, "attention", first, second, radius, parts=[spell(p) for p in parts])
        )
    name = layout.mlp_out
    act = activation_of(block, layout)
    if act not in ACTIVATIONS:
        left_out.append({"block": t, "name": name, "reason": f"no bound |act z| <= |z| is known for {act}"})
        return
    with maps(name, None) as (first, second):
        if layout.gated:
            m, c = hidden
            rows.append(_entry(t, name, "gate", first, second, round_up(m * c), parts=[spell(m), spell(c)]))
        else:
            rows.append(_entry(t, name, "activation", first, second, hidden[0]))


def _hidden_bounds(map_: _Affine, name: str, layout: Layout, root: Fraction) -> list[Fraction]:
    """Largest gate input and length of the value, as far as this map makes them; length alone if nothing is gated."""
    if not layout.gated:
        return [map_.radius(root)]
    if len(layout.hidden) == 2:
        return [map_.largest(root) if name == layout.hidden[0] else map_.radius(root)]
    half = len(map_.weight) // 2
    return [map_.rows(slice(0, half)).largest(root), map_.rows(slice(half, None)).radius(root)]


def _head_row(
    original: BlockSource, compressed: BlockSource, layout: Layout, state: Tensor,
    rows: list[dict[str, Any]], seen: list[str], left_out: list[dict[str, Any]],
) -> None:
    view, other = original.view, compressed.view
    if view.norm is None or view.project is not None:
        left_out.append({"block": "head", "name": view.family.head, "reason": "no norm stands right before the head"})
        return
    with original.head_matrix() as old, compressed.head_matrix() as new:
        maps = [(v.lm_head, v.norm) for v in (view, other)]
        first, second = (_affine(*m, layout.unit_offset, w) for m, w in zip(maps, (old, new), strict=True))
        rows.append(_entry("head", view.family.head, "norm", first, second, _root(view.width), dimension=view.width))
        seen.append(largest_change(state, *maps, unit_offset=layout.unit_offset, weights=(old, new)))

