"""Single-layer substitution: how much one block alone, solved again, would lower the loss of the whole model.

One backward pass gives the slope of the loss at every block output. Block ``l`` is then asked to move its output to
``h_l - eta dloss/dh_l``; the maps that write into the residual stream are solved for that move in closed form,
everything else stays. The move is linear in eta, so one solution serves every step size. Three disjoint sets of
windows: the first gives slopes and solutions, the second chooses eta and the maps, the third gives the number that
is reported. Its gain is *witnessed*: a complete model that can be saved. The interval around it is *measured*.

The local problem (features and asked move fixed) has a *certified* bracket, see `peelverify.peel.bracket`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from peelverify.compress.tokenweights import resolve_token_weights
from peelverify.errors import InputError, NonFiniteError
from peelverify.models.view import ModelView, Trace
from peelverify.peel.bracket import HeadBracket, LayerBracket, bracket_head, bracket_layer
from peelverify.peel.forward import narrow, trace_windows, watched
from peelverify.peel.least_squares import one_thread
from peelverify.peel.memory import Chunk, in_chunks
from peelverify.peel.solvers import ROWS, SUMS, copy_block, gather, token_losses
from peelverify.registry import measured

__all__ = ["ETAS", "BlockGain", "Substitution", "bootstrap_interval", "substitute"]

Progress = Callable[[int, int, str], None]
Moves = dict[str, tuple[Tensor, Tensor | None]]

#: Step sizes tried: the asked move of the state, as a fraction of its norm.
ETAS = (0.003, 0.01, 0.03, 0.1, 0.3)
#: Multiple of the mean diagonal of the Gram matrix added to it in the solves.
RIDGE = 0.1


@dataclass(frozen=True)
class BlockGain:
    """What one block alone, solved again, does to the loss of the whole model.

    Attributes:
        block: number, from 0.
        name: name of the block in the model.
        gain: loss before less loss after on the third set, nats a token (witnessed); 0 where no step helped on the
            second set, so that the block was left as it is.
        low, high: bootstrap interval of ``gain`` over windows (measured).
        error: standard error of ``gain`` over windows (measured).
        eta: asked move of the state as a fraction of its norm; 0 if the block was left.
        maps: names of the maps that were solved.
        chosen_gain: gain on the second set, where eta was chosen; optimistic.
        bracket: of the local problem of the last map, in fractions of the asked squared move (certified), or None.
    """

    block: int
    name: str
    gain: float
    low: float
    high: float
    error: float
    eta: float
    maps: tuple[str, ...]
    chosen_gain: float
    bracket: LayerBracket | None
    _moves: Moves = field(repr=False)

    @property
    def standardised(self) -> float:
        """Gain over its standard error; 0 for a block that was left."""
        return self.gain / self.error if self.error > 0 else 0.0

    @property
    def sentence(self) -> str:
        """The result in words."""
        if not self.maps:
            return f"block {self.block}: no step lowered the loss on the second set; left as it is"
        if self.low <= 0 <= self.high:
            return (
                f"block {self.block} alone, solved again, changes the loss by {-self.gain:+.4f} nats a token "
                f"(interval {-self.high:+.4f} to {-self.low:+.4f}): not told apart from no change"
            )
        how = "lowers" if self.gain > 0 else "raises"
        return (
            f"block {self.block} alone can be solved again; that {how} the loss by {abs(self.gain):.4f} nats a token "
            f"(interval {min(abs(self.low), abs(self.high)):.4f} to {max(abs(self.low), abs(self.high)):.4f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "block": self.block, "name": self.name, "gain_nats_per_token": self.gain, "low": self.low,
            "high": self.high, "error": self.error, "standardised": self.standardised, "eta_fraction": self.eta,
            "maps": list(self.maps), "chosen_gain_nats_per_token": self.chosen_gain,
            "bracket": None if self.bracket is None else self.bracket.to_json(), "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Substitution:
    """Gains of all blocks of one model.

    Attributes:
        loss: of the model on the third set, nats a token (measured).
        gains: one a block tried.
        head: bracket of the head on the fitted set, or None.
        level: of the intervals.
        seconds: wall time.
    """

    loss: float
    gains: tuple[BlockGain, ...]
    head: HeadBracket | None
    level: float
    seconds: float
    _view: ModelView = field(repr=False)

    @property
    def best(self) -> BlockGain:
        """The block with the largest gain."""
        return max(self.gains, key=lambda g: g.gain)

    def witness(self, block: int | None = None) -> ModelView:
        """The complete model with one block solved again, ready for `peelverify.models.save_model`.

        Args:
            block: number from 0; the best one if None.

        Raises:
            InputError: a block that was not tried or was left as it is.
        """
        wanted = self.best.block if block is None else block
        found = [g for g in self.gains if g.block == wanted and g.maps]
        if not found:
            raise InputError(
                f"witness needs a block that was solved again, got {wanted}; those are "
                f"{[g.block for g in self.gains if g.maps]}"
            )
        view = ModelView(copy.deepcopy(self._view.model))
        with torch.no_grad():
            _move(view.blocks[wanted], found[0]._moves, 1.0)
        return view

    def to_json(self) -> dict[str, Any]:
        """Plain values for the file of `peelverify peel`."""
        return {
            "loss_nats_per_token": self.loss, "level_fraction": self.level,
            "words": {"gain": "witnessed: a complete model that was built and evaluated",
                      "interval": "measured: bootstrap over windows", "bracket": "certified, local problem only"},
            "blocks": [g.to_json() for g in self.gains],
            "head": None if self.head is None else self.head.to_json(),
        }


@measured("a bootstrap interval; no theorem covers it")
def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of values, resampled with replacement.

    Args:
        values: one a window.
        level: in (0, 1).
        resamples: draws, at least 100.
        seed: seed of the draws.

    Raises:
        InputError: fewer than 2 values, or a wrong level or number of draws.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or len(data) < 2 or not 0 < level < 1 or resamples < 100:
        raise InputError(
            f"bootstrap_interval needs at least 2 values, a level in (0, 1) and 100 resamples, got "
            f"{data.shape}, {level} and {resamples}; give more windows"
        )
    draw = np.random.default_rng(seed)
    means = np.array([data[draw.integers(len(data), size=len(data))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _move(block: nn.Module, moves: Mapping[str, tuple[Tensor, Tensor | None]], scale: float) -> None:
    """Add moves to the maps of a block."""
    for name, (weight, bias) in moves.items():
        linear = block.get_submodule(name)
        ModelView.weight(linear).add_(weight * scale)
        if bias is not None:
            linear.bias.add_(bias * scale)


def _slopes(view: ModelView, trace: Trace, chunk: int) -> list[Tensor]:
    """Gradient of the summed next-token loss at every block output, (windows, length, width) each."""

    def part(rows: slice) -> list[Tensor]:
        ids = trace.input_ids[rows]
        local = narrow(trace, rows)
        with torch.enable_grad():
            states = []
            state = trace.states[0][rows].detach()
            for index in range(view.depth):
                state = local.block_with_grad(index, state if index == 0 else states[-1])
                if not state.requires_grad:
                    state.requires_grad_(True)
                states.append(state)
            logits = view.head(states[-1])[:, :-1].float()
            loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
            return [slope.detach() for slope in torch.autograd.grad(loss, states)]

    parts = in_chunks(len(trace.input_ids), chunk, part, "the slopes of the loss")
    return [torch.cat(rows) for rows in zip(*parts, strict=True)]


def _inputs(trace: Trace, block: nn.Module, index: int, name: str) -> tuple[Tensor, Tensor]:
    """Input of an inner map and output of the block on the trace's own states."""
    inner, _, out = watched(trace, block, index, trace.states[index], name)
    return inner.detach(), out


def _solve(
    linear: nn.Module, features: Tensor, asked: Tensor, ridge: float, rows: Chunk, weights: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Move of a map's weights (outputs, inputs) and bias that fits an asked move of its output."""
    with one_thread(features.shape[-1]):
        total = gather(features, [asked], bias=getattr(linear, "bias", None) is not None, rows=rows, weights=weights)
        fit = total.solve(ridge=ridge)
    return (
        torch.from_numpy(fit.weight).to(features),
        None if fit.bias is None else torch.from_numpy(fit.bias).to(features),
    )


def _additive(trace: Trace, block: nn.Module, index: int, name: str) -> bool:
    """Whether the map's output is added to the residual stream as it is."""
    _, before = _inputs(trace, block, index, name)
    other = copy_block(block)
    linear = other.get_submodule(name)
    shift = torch.linspace(-1.0, 1.0, before.shape[-1], device=before.device, dtype=before.dtype)
    shift = shift * float(before.std())
    handle = linear.register_forward_hook(lambda m, args, out: out + shift.reshape(*[1] * (out.ndim - 1), -1))
    try:
        after = trace.run_module(other, index, trace.states[index])
    finally:
        handle.remove()
    return float((after - before - shift).norm()) <= 1e-3 * float(shift.norm()) * math.sqrt(before[..., 0].numel())


@measured("witnessed gains of explicit models with a measured interval; no theorem says how large they can be")
@torch.no_grad()
def substitute(
    view: ModelView,
    fit: Tensor,
    choose: Tensor,
    report: Tensor,
    *,
    blocks: Iterable[int] | None = None,
    etas: Sequence[float] = ETAS,
    ridge: float = RIDGE,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    brackets: bool = True,
    head_steps: int = 50,
    chunk: int = 8,
    token_weights: str | Tensor | np.ndarray | None = None,
    on_progress: Progress | None = None,
) -> Substitution:
    """Solve each block again on its own and report what that does to the loss of the whole model.

    Args:
        view: a decoder, float32 or float64.
        fit: token ids (windows, length) for slopes and solutions.
        choose: token ids that choose eta and the maps.
        report: token ids of the reported gain, at least 2 windows.
        blocks: numbers from 0; all if None.
        etas: step sizes to try, as fractions of the norm of the state, > 0.
        ridge: multiple of the mean diagonal of the Gram matrix that is added to it; holds the move small.
        level, resamples, seed: of the bootstrap over windows.
        brackets: whether to certify the local problems and bracket the head.
        head_steps: steps of the head's bracket.
        chunk: windows of one backward pass.
        token_weights: how much each token of ``fit`` counts in the solutions; as for `yes_chain`. Slopes, gains and
            brackets count every token once, so a bracket then holds a weighted solution against the unweighted best.
        on_progress: called with (blocks done, blocks in all, name).

    Raises:
        InputError: half-precision weights, sets that share a window, blocks that do not exist, or a family with a
            norm between its maps and the residual stream.
        NonFiniteError: the model gives NaN.

    Not for:
        Blaming a layer by its gain alone: raw gains tend to grow towards the last block. See `BlockGain.standardised`.

    Source:
        The target is that of TrAct, [Petersen2024], there for the first layer only.
    """
    if view.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"substitute needs float32 or float64 weights, got {view.dtype}; load the model with dtype='float32'"
        )
    if not etas or not all(e > 0 and math.isfinite(e) for e in etas):
        raise InputError(f"substitute needs positive step sizes, got {list(etas)}; for instance {list(ETAS)}")
    if len(report) < 2:
        raise InputError(f"substitute needs at least 2 windows to report on, got {len(report)}; give more")
    wanted = list(range(view.depth)) if blocks is None else list(dict.fromkeys(blocks))
    if not wanted or not all(isinstance(b, int) and 0 <= b < view.depth for b in wanted):
        raise InputError(f"substitute needs blocks in 0 to {view.depth - 1}, got {wanted}; name some of them")
    seen: set[tuple[int, ...]] = set()
    for ids in (fit, choose, report):
        own = {tuple(row) for row in ids.tolist()}
        if own & seen:
            raise InputError("substitute needs three sets without common windows, got some in two; split the text")
        seen |= own
    started = time.perf_counter()
    rows = Chunk(ROWS, *SUMS)
    counts = resolve_token_weights(view, fit, token_weights, function="substitute")
    traces = [trace_windows(view, ids) for ids in (fit, choose, report)]
    slopes = _slopes(view, traces[0], chunk)
    before = [token_losses(view.head, t.states[-1], t.input_ids, view.vocabulary) for t in traces]
    family = view.family
    first = view.blocks[wanted[0]]
    if not _additive(traces[0], first, wanted[0], family.mlp_out):
        raise InputError(
            f"substitute needs blocks that add the outputs of their maps to the residual stream, which "
            f"{view.config.model_type} blocks do not; use another family"
        )

    def losses(which: int, index: int, moves: Moves, scale: float) -> Tensor:
        block = copy_block(view.blocks[index])
        _move(block, moves, scale)
        trace = traces[which]
        state = trace.run_from(index + 1, trace.run_module(block, index, trace.states[index]))
        if not torch.isfinite(state).all():
            return torch.full_like(before[which], math.inf)
        return token_losses(view.head, state, trace.input_ids, view.vocabulary)

    gains = []
    for count, index in enumerate(wanted):
        if on_progress is not None:
            on_progress(count, len(wanted), f"solving block {index} again")
        block, trace = view.blocks[index], traces[0]
        slope = slopes[index]
        how = (ridge, rows, None if counts is None else counts[index])
        size, state = float(slope.norm()), float(trace.states[index + 1].norm())
        best: tuple[float, float, Moves] = (0.0, 0.0, {})
        kept: tuple[Tensor, Tensor] | None = None
        if size > 0:
            asked = slope * (-state / size)  # the move for eta = 1
            inner, _ = _inputs(trace, block, index, family.mlp_out)
            down = {family.mlp_out: _solve(block.get_submodule(family.mlp_out), inner, asked, *how)}
            features, _ = _inputs(trace, block, index, family.attention_out)
            attention = block.get_submodule(family.attention_out)
            up = {family.attention_out: _solve(attention, features, asked, *how)}
            for eta in etas:
                both = dict(up)
                middle = copy_block(block)
                _move(middle, up, eta)
                again, out = _inputs(trace, middle, index, family.mlp_out)
                rest = trace.states[index + 1] + eta * asked - out
                second = _solve(middle.get_submodule(family.mlp_out), again, rest / eta, *how)
                both[family.mlp_out] = second
                for moves in (down, both):
                    gain = float((before[1] - losses(1, index, moves, eta)).mean())
                    if gain > best[0]:
                        best = (gain, eta, moves)
                        kept = (inner, asked) if moves is down else (again, rest / eta)
        chosen, eta, moves = best
        scaled = {n: (w * eta, None if b is None else b * eta) for n, (w, b) in moves.items()}
        bracket = None
        if moves:
            after = losses(2, index, scaled, 1.0)
            windows = (before[2] - after).mean(dim=1).cpu().numpy()
            if not np.isfinite(windows).all():
                raise NonFiniteError(f"block {index} solved again gives NaN on the third set; use a larger ridge")
            low, high = bootstrap_interval(windows, level=level, resamples=resamples, seed=seed)
            gain, error = float(windows.mean()), float(windows.std(ddof=1) / math.sqrt(len(windows)))
            if brackets and kept is not None:
                weight, bias = moves[family.mlp_out]
                bracket = bracket_layer(
                    kept[0].flatten(0, 1), kept[1].flatten(0, 1), weight, bias=bias, has_bias=bias is not None
                )
        else:
            gain = low = high = error = 0.0
        gains.append(BlockGain(
            index, f"{family.blocks}.{index}", gain, low, high, error, eta, tuple(moves), chosen, bracket, scaled,
        ))
    head = None
    if brackets and view.soft_cap is None:
        last = traces[0].states[-1]
        normed = last if view.norm is None else view.norm(last)
        if view.project is not None:
            normed = view.project(normed)
        head = bracket_head(
            normed[:, :-1].flatten(0, 1), traces[0].input_ids[:, 1:].flatten(), view.lm_head.weight,
            bias=getattr(view.lm_head, "bias", None), steps=head_steps,
        )
    if on_progress is not None:
        on_progress(len(wanted), len(wanted), "substitution")
    return Substitution(
        float(before[2].mean()), tuple(gains), head, level, time.perf_counter() - started, view
    )
