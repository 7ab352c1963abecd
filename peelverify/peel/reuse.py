"""Chains that start from the model's own blocks: a line of their own, never part of the cloud.

Each block is the trained one; its map into the residual stream after attention is solved anew towards the assigned
state, features are computed again, then the map after the MLP is, for a few rounds. Where the MLP does not see what
attention wrote (parallel blocks, as in GPT-NeoX), both maps are one least-squares problem and are solved together.
A solution is kept only where the error that the block really makes falls. On the direct map every error is zero from
the start, so that chain is the model itself: it cannot refute anything there, which is why these losses stay apart
from the YES bounds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.compress.tokenweights import resolve_token_weights
from peelverify.errors import InputError
from peelverify.models.view import ModelView
from peelverify.peel.forward import trace_windows
from peelverify.peel.maps import Map, check_map, check_maps, direct
from peelverify.peel.solvers import BlockProblem, ClosedForm, _capture, _check_additive, _set, copy_block, token_losses
from peelverify.registry import measured

__all__ = ["ReusedChains", "reused_chains"]


@dataclass(frozen=True)
class ReusedChains:
    """Losses of chains that reuse a model's blocks, nats a token.

    Attributes:
        loss: of the model on the deciding tokens (measured).
        losses: of each chain there (witnessed).
        accepted: solutions kept, of each chain, out of two a round and block, or one where both are solved together.
        joint: whether the two maps of a block were solved together.
    """

    loss: float
    losses: dict[Map, float]
    accepted: dict[Map, int]
    joint: bool
    _view: ModelView = field(repr=False)
    _blocks: dict[Map, list[dict[str, Tensor]]] = field(repr=False)

    @property
    def best_map(self) -> Map:
        """The map with the smallest loss but for the direct one, which gives the model itself; that one if alone."""
        others = {m: v for m, v in self.losses.items() if m != direct(self._view.depth)} or self.losses
        return min(others, key=others.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the file of `peelverify peel`, nats a token."""
        best = self.best_map
        return {
            "words": "witnessed: complete decoders made from the model's own blocks; no part of the cloud. The direct "
                     "map gives the model itself and is left out of best",
            "solved_together": self.joint, "loss_nats_per_token": self.loss,
            "best": self.losses[best], "best_map": list(best),
            "maps": [{"map": list(m), "loss": v, "accepted_solutions": self.accepted[m]}
                     for m, v in self.losses.items()],
        }

    def witness(self, target: Iterable[int]) -> ModelView:
        """The complete decoder of one chain.

        Raises:
            InputError: a map that was not tried.
        """
        chosen = check_map(target, self._view.depth)
        if chosen not in self._blocks:
            raise InputError(f"witness needs a map that was tried, got {list(chosen)}; those are {list(self._blocks)}")
        view = ModelView(copy.deepcopy(self._view.model))
        for block, weights in zip(view.blocks, self._blocks[chosen], strict=True):
            block.load_state_dict(weights)
        return view


def _parallel(problem: BlockProblem, block: nn.Module, names: tuple[str, str]) -> bool:
    """Whether the input of the map after the MLP stays, to the last bit, when attention writes something else."""
    other = copy_block(block)
    linear = other.get_submodule(names[0])
    _set(linear, ModelView.weight(linear) * 0.5, None)
    return torch.equal(_capture(problem, block, names[1])[0], _capture(problem, other, names[1])[0])


def _check_writes(problem: BlockProblem, block: nn.Module, name: str) -> None:
    """Refuse a block whose map does not write into the residual stream as it is."""
    features, _ = _capture(problem, block, name)
    base = copy_block(block)
    linear = base.get_submodule(name)
    _set(linear, torch.zeros_like(ModelView.weight(linear)), None)
    rest = problem.run(base)
    if getattr(linear, "bias", None) is not None:
        rest = rest - linear.bias
    _check_additive(problem, block, features, rest, block.get_submodule(name))


def _error(problem: BlockProblem, block: nn.Module, target: Tensor) -> float:
    """Norm of what a block misses of its target, tokens by their weights."""
    missed = problem.run(block) - target
    if problem.weights is not None:
        missed = missed * problem.weights.sqrt()[..., None].to(missed)
    return float(missed.norm())


def _solve_one(problem: BlockProblem, block: nn.Module, name: str, target: Tensor, solver: ClosedForm) -> nn.Module:
    """A copy of a block with one map moved towards a target."""
    trial = copy_block(block)
    features, out = _capture(problem, trial, name)
    linear = trial.get_submodule(name)
    (weight, bias), = solver._solve(linear, features, [target - out], problem.weights)
    _set(linear, ModelView.weight(linear) + weight, None if bias is None else linear.bias + bias)
    return trial


def _solve_both(
    problem: BlockProblem, block: nn.Module, names: tuple[str, str], target: Tensor, solver: ClosedForm
) -> nn.Module:
    """A copy of a parallel block with both maps into the residual stream solved as one problem."""
    trial = copy_block(block)
    maps = [trial.get_submodule(name) for name in names]
    features, out = [], target
    for name in names:
        found, out = _capture(problem, block, name)
        features.append(found)
    biased = [m for m in maps if getattr(m, "bias", None) is not None]
    holder = biased[0] if biased else maps[0]  # one shift of the output is all that the biases are together
    (weight, bias), = solver._solve(holder, torch.cat(features, dim=-1), [target - out], problem.weights)
    start = 0
    for linear, found in zip(maps, features, strict=True):
        columns = slice(start, start + found.shape[-1])
        start += found.shape[-1]
        _set(linear, ModelView.weight(linear) + weight[:, columns], None)
    if bias is not None:
        holder.bias.add_(bias)
    return trial


@measured("witnessed losses of complete decoders that reuse the model's weights")
@torch.no_grad()
def reused_chains(
    view: ModelView, ids: Tensor, *, held_out: Tensor | None = None, maps: Iterable[Iterable[int]] | None = None,
    rounds: int = 2, ridge: float = 1e-3, token_weights: str | Tensor | np.ndarray | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> ReusedChains:
    """Fit chains that start from the model's own blocks and keep its norm and head.

    Args:
        view: a decoder, float32 or float64.
        ids: token ids to fit on (windows, length).
        held_out: token ids that decide; ``ids`` if None.
        maps: as for `yes_chain`.
        rounds: largest number of rounds a block, at least 1.
        ridge: multiple of the mean diagonal of the Gram matrix that is added to it.
        token_weights: how much each fitted token counts in the solutions and in the error that they must lower; as
            for `yes_chain`.
        on_progress: called with (chains done, chains in all, map).

    Raises:
        InputError: half-precision weights, no round, or a family with a norm between its maps and the residual stream.
    """
    if view.dtype not in (torch.float32, torch.float64) or rounds < 1:
        raise InputError(
            f"reused_chains needs float32 or float64 weights and at least one round, got {view.dtype} and {rounds}; "
            "load the model with dtype='float32'"
        )
    suite = check_maps(maps, view.depth)
    trace = trace_windows(view, ids)
    held = trace if held_out is None else trace_windows(view, held_out)
    counts = resolve_token_weights(view, ids, token_weights, function="reused_chains")
    solver = ClosedForm(ridge=ridge)
    names = (view.family.attention_out, view.family.mlp_out)
    losses, accepted, kept = {}, {}, {}
    first = BlockProblem(view, trace, 0, view.blocks[0], trace.states[0], 0)
    joint = _parallel(first, view.blocks[0], names)
    model = float(token_losses(view.head, held.states[-1], held.input_ids, view.vocabulary).mean())
    for count, chosen in enumerate(suite):
        if on_progress is not None:
            on_progress(count, len(suite), str(list(chosen)))
        state, unseen, weights = trace.states[0], held.states[0], []
        accepted[chosen] = 0
        for index, aim in enumerate(chosen):
            block = copy_block(view.blocks[index])
            problem = BlockProblem(
                view, trace, index, block, state, 0, None if counts is None else counts[index]
            )
            target = trace.states[aim]
            error = _error(problem, block, target)
            for _ in range(rounds if error > 0 else 0):
                before = error
                for step in [names] if joint else [names[:1], names[1:]]:
                    if index == 0 and names[1] in step:
                        _check_writes(problem, block, names[1])
                    trial = (_solve_both(problem, block, names, target, solver) if joint
                             else _solve_one(problem, block, step[0], target, solver))
                    now = _error(problem, trial, target)
                    if now < error:
                        block, error = trial, now
                        accepted[chosen] += 1
                if error >= before:
                    break
            state = problem.run(block)
            unseen = held.run_module(block, index, unseen)
            weights.append({n: t.clone() for n, t in block.state_dict().items()})
        losses[chosen] = float(token_losses(view.head, unseen, held.input_ids, view.vocabulary).mean())
        kept[chosen] = weights
    if on_progress is not None:
        on_progress(len(suite), len(suite), "reused chains")
    return ReusedChains(model, losses, accepted, joint, view, kept)
