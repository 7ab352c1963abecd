"""YES chains of a decoder: fresh blocks fitted to its states, one after another, and a fresh head.

For a map ``t`` the chain starts from the trained embeddings, and block ``l`` is fitted to the residual-stream state
after block ``t(l)`` of the trained model, given what the chain itself produces up to there; final norm and head
are then fitted to the next token. The result is a complete decoder of the same architecture, and its
end-to-end loss is *witnessed*: a trained model with a larger loss on the same tokens is not the best one.

Fitting thousands of tokens with millions of weights memorises them, so a witness must not be judged on its
own tokens: give ``held_out`` windows, and both the model and the chains are compared there. The losses on the
fitted tokens, which the published method compares, are reported beside it.

Models with a tied head keep it tied: the head stays the (frozen) embedding, and final norm and MLP
output of the last block are fitted by cross-entropy instead (the norm alone where the solver keeps to few bits).
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
from peelverify.errors import InputError, InvariantError
from peelverify.models.view import ModelView, Trace
from peelverify.peel.forward import head_with, trace_windows, watched
from peelverify.peel.maps import Map, all_last, check_map, check_maps, children, landmarks
from peelverify.peel.solvers import (
    BlockProblem,
    Solver,
    check_weighted,
    copy_block,
    fit_head,
    solver_named,
    token_losses,
)
from peelverify.peel.yes import status_of
from peelverify.registry import measured
from peelverify.verdict import Status

__all__ = ["ChainLoss", "TransformerYes", "yes_chain"]

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ChainLoss:
    """Losses of one chain, nats a token (witnessed).

    Attributes:
        target: the map.
        fitted: on the tokens that it was fitted to.
        held_out: on the held-out tokens, or None without any.
        residuals: per block, squared distance to its target over the target's variance (measured).
        gap: model loss minus chain loss on the deciding tokens; positive refutes the model there.
        gap_error: standard error of ``gap`` over windows (None for a single window).
    """

    target: Map
    fitted: float
    held_out: float | None
    residuals: tuple[float, ...]
    gap: float
    gap_error: float | None

    @property
    def loss(self) -> float:
        """The deciding loss: held out where there are held-out tokens."""
        return self.fitted if self.held_out is None else self.held_out


@dataclass(frozen=True)
class TransformerYes:
    """YES chains of one checkpoint.

    Attributes:
        loss: model loss on the fitted tokens, nats a token (measured).
        held_out_loss: model loss on the held-out tokens, or None.
        chains: losses of every map, all-last first.
        refit: loss after fitting head and final norm anew on the model's own last states, on the deciding tokens;
            it reuses the model, so it is a line of its own and no part of the suite (witnessed).
        state_residuals: per block, distance of the model's own state after it from its last state, in the unit of
            `ChainLoss.residuals` and on the same tokens (measured); 0 for the last block.
        solver, budget, seed: how the chains were fitted.
        seconds: wall time.
    """

    loss: float
    held_out_loss: float | None
    chains: Mapping[Map, ChainLoss] = field(repr=False)
    refit: float
    state_residuals: tuple[float, ...]
    solver: str
    budget: Mapping[str, float]
    seed: int
    seconds: float
    _parts: Mapping[Map, dict[str, Tensor]] = field(repr=False)
    _view: ModelView = field(repr=False)

    @property
    def deciding_loss(self) -> float:
        """Model loss on the tokens that decide: held out where given."""
        return self.loss if self.held_out_loss is None else self.held_out_loss

    @property
    def yes0(self) -> float:
        """Loss of the all-last chain."""
        return self.chains[all_last(self._view.depth)].loss

    @property
    def best_map(self) -> Map:
        """The map with the smallest deciding loss; ties go to fewer landmarks."""
        return min(self.chains, key=lambda m: (self.chains[m].loss, len(landmarks(m)), m))

    @property
    def best(self) -> float:
        """The smallest deciding loss of the suite."""
        return self.chains[self.best_map].loss

    @property
    def by_k(self) -> tuple[float, ...]:
        """YES-1 ... YES-(L-1): minimum over the maps tried with at most k landmarks."""
        return tuple(
            min(c.loss for m, c in self.chains.items() if len(landmarks(m)) <= k)
            for k in range(1, self._view.depth)
        )

    def per_layer(self) -> dict[str, Any]:
        """YES-0 layer by layer on the fitted tokens, plain values: the all-last chain and the model itself."""
        return {
            "per_layer_yes0": list(self.chains[all_last(self._view.depth)].residuals),
            "per_layer_model": list(self.state_residuals),
            "per_layer_unit": "squared_distance_to_last_state_over_its_variance",
        }

    @property
    def status(self) -> Status:
        """Status on the deciding tokens."""
        return status_of(self.deciding_loss, self.yes0, self.best)

    @property
    def fitted_status(self) -> Status:
        """Status on the fitted tokens, the published comparison; RED by memorisation where they are few."""
        losses = {m: c.fitted for m, c in self.chains.items()}
        return status_of(self.loss, losses[all_last(self._view.depth)], min(losses.values()))

    def witness(self, target: Iterable[int] | None = None) -> ModelView:
        """The complete decoder behind a bound, ready for `peelverify.models.save_model`.

        Args:
            target: the map; the best one if None.

        Raises:
            InputError: a map that was not tried, or whose weights were not kept.
        """
        chosen = self.best_map if target is None else check_map(target, self._view.depth)
        if chosen not in self._parts:
            raise InputError(
                f"witness needs a map whose weights were kept, got {list(chosen)}; kept are "
                f"{[list(m) for m in self._parts]}; run yes_chain with keep='all'"
            )
        module = _fresh(self._view, self.seed)
        module.load_state_dict(self._parts[chosen], strict=True)
        if module.config.tie_word_embeddings:
            module.tie_weights()
        return ModelView(module)


def _fresh(view: ModelView, seed: int) -> nn.Module:
    """A decoder of the same architecture with fresh weights; the global generator is left as it was."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(view.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = AutoModelForCausalLM.from_config(config, attn_implementation=view.config._attn_implementation)
    return module.to(device=view.device, dtype=view.dtype).eval().requires_grad_(False)


def _share_embeddings(view: ModelView, module: nn.Module) -> None:
    """Copy everything before the first block from the trained model: what is neither block, norm nor head."""
    blocks = f"{view.family.blocks}."
    trained = view.model.state_dict()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not name.startswith(blocks) and not _is_ending(view, name):
                tensor.copy_(trained[name])


def _is_ending(view: ModelView, name: str) -> bool:
    """Whether a weight belongs to what follows the blocks."""
    family = view.family
    ends = (family.norm, family.head, *([family.project] if family.project else []))
    return name.startswith(tuple(f"{prefix}." for prefix in ends))


def _tied(view: ModelView) -> bool:
    weight = getattr(view.lm_head, "weight", None)
    return weight is not None and weight.data_ptr() == view.embedding.weight.data_ptr()


def _mean(losses: Tensor) -> float:
    return float(losses.mean())


def _missed(out: Tensor, target: Tensor) -> float:
    """Squared distance of a state from its target over the target's variance."""
    spread = float(((target - target.mean(dim=(0, 1))) ** 2).sum())
    return float(((out - target) ** 2).sum()) / max(spread, 1e-30)


class _Chains:
    """The walk through the tree of prefixes."""

    def __init__(
        self,
        view: ModelView,
        fit: Trace,
        held: Trace | None,
        *,
        suite: Sequence[Map],
        solver: Solver,
        seed: int,
        keep: str,
        weights: Tensor | None,
        on_progress: Progress | None,
    ) -> None:
        self.view, self.fit, self.held, self.solver, self.seed = view, fit, held, solver, seed
        self.keep, self.weights, self.on_progress = keep, weights, on_progress
        self.tree = dict(children(suite))
        self.total = sum(len(follow) for follow in self.tree.values()) + len(suite) + 1
        self.done = 0
        self.tied = _tied(view)
        self.module = _fresh(view, seed)
        _share_embeddings(view, self.module)
        self.fresh = ModelView(self.module)
        fixed = (f"{view.family.blocks}.", *(("lm_head.",) if self.tied else ()))
        self.ending = {
            name: tensor.clone() for name, tensor in self.module.state_dict().items()
            if _is_ending(view, name) and not name.startswith(fixed)
        }
        for index, block in enumerate(self.fresh.blocks):
            solver.prepare(block, seed * 1009 + index)
        self.model_losses = self._losses(view, fit, fit.states[-1])
        self.held_losses = self._losses(view, held, held.states[-1]) if held is not None else None
        self.chains: dict[Map, ChainLoss] = {}
        self.parts: dict[Map, dict[str, Tensor]] = {}

    @staticmethod
    def _losses(view: ModelView, trace: Trace, state: Tensor) -> Tensor:
        return token_losses(view.head, state, trace.input_ids, view.vocabulary)

    def _tick(self, what: str) -> None:
        self.done += 1
        if self.on_progress is not None:
            self.on_progress(self.done, self.total, what)

    @torch.no_grad()
    def visit(
        self, prefix: Map, state: Tensor, held: Tensor | None, blocks: list[nn.Module], residuals: list[float]
    ) -> None:
        """Fit the blocks that follow ``prefix`` and walk on; a full map ends in a head."""
        if prefix not in self.tree:
            self._finish(prefix, state, held, blocks, residuals)
            return
        index = len(prefix)
        problem = BlockProblem(
            self.view, self.fit, index, self.fresh.blocks[index], state, self.seed,
            None if self.weights is None else self.weights[index],
        )
        targets = [self.fit.states[aim] for aim in self.tree[prefix]]
        for aim, target, block in zip(self.tree[prefix], targets, self.solver.fit(problem, targets), strict=True):
            out = problem.run(block)
            held_out = None
            if self.held is not None and held is not None:
                held_out = self.held.run_module(block, index, held)
            branch = (*prefix, aim)
            self._tick("block " + ",".join(str(a) for a in branch))
            self.visit(branch, out, held_out, [*blocks, block], [*residuals, _missed(out, target)])

    def _finish(
        self, target: Map, state: Tensor, held: Tensor | None, blocks: list[nn.Module], residuals: list[float]
    ) -> None:
        witness = self.fresh
        with torch.no_grad():
            for name, tensor in self.ending.items():
                self.module.state_dict()[name].copy_(tensor)
        if self.tied:
            blocks = [*blocks[:-1], copy_block(blocks[-1])]
            state, held = self._fit_tied(witness, blocks)
        else:
            self._fit_untied(witness, state)
        fitted = self._losses(witness, self.fit, state)
        unseen = self._losses(witness, self.held, held) if self.held is not None and held is not None else None
        ours, theirs = (fitted, self.model_losses) if unseen is None else (unseen, self.held_losses)
        assert theirs is not None
        gaps = (theirs - ours).mean(dim=1)
        error = float(gaps.std() / math.sqrt(len(gaps))) if len(gaps) > 1 else None
        result = ChainLoss(
            target, _mean(fitted), None if unseen is None else _mean(unseen), tuple(residuals),
            float(gaps.mean()), error,
        )
        if self.keep == "all" or not self.chains or result.loss < min(c.loss for c in self.chains.values()):
            if self.keep == "best":
                self.parts.clear()
            self.parts[target] = self._weights(blocks)
        self.chains[target] = result
        self._tick("head " + ",".join(str(a) for a in target))

    def _weights(self, blocks: list[nn.Module]) -> dict[str, Tensor]:
        """State dict of the complete witness: fitted blocks, everything else from the working copy."""
        prefix = self.view.family.blocks
        found = {n: t.clone() for n, t in self.module.state_dict().items() if not n.startswith(f"{prefix}.")}
        for index, block in enumerate(blocks):
            found.update({f"{prefix}.{index}.{n}": t for n, t in block.state_dict().items()})
        return found

    def _last_inputs(self, blocks: list[nn.Module]) -> tuple[Tensor, Tensor | None]:
        """States that enter the last block of a chain, computed anew."""
        state, held = self.fit.states[0], self.held.states[0] if self.held is not None else None
        for index, block in enumerate(blocks[:-1]):
            state = self.fit.run_module(block, index, state)
            if self.held is not None and held is not None:
                held = self.held.run_module(block, index, held)
        return state, held

    def _fit_untied(self, witness: ModelView, state: Tensor) -> None:
        """Head by cross-entropy, from zero; the norm keeps scale 1, which the head's columns absorb."""
        weight = witness.lm_head.weight
        weight.zero_()
        normed = state if witness.norm is None else witness.norm(state)
        if witness.project is not None:
            normed = witness.project(normed)

        def logits(rows: slice) -> Tensor:
            return witness.cap(witness.lm_head(normed[rows]))

        bias = [] if getattr(witness.lm_head, "bias", None) is None else [witness.lm_head.bias]
        fit_head(
            [weight, *bias], logits, self.fit.input_ids, steps=self.solver.head_steps, decay=self.solver.head_decay,
            decayed=[weight], vocabulary=witness.vocabulary,
        )

    def _fit_tied(
        self, witness: ModelView, blocks: list[nn.Module]
    ) -> tuple[Tensor, Tensor | None]:
        """Final norm and the last MLP output by cross-entropy; embedding and head stay the frozen embedding."""
        last, block = len(blocks) - 1, blocks[-1]
        before = self._last_inputs(blocks)
        out = block.get_submodule(witness.family.mlp_out)
        inner, written, full = watched(self.fit, block, last, before[0], witness.family.mlp_out)
        rest = full - written
        weight, bias = ModelView.weight(out), getattr(out, "bias", None)
        move = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
        norm = [] if witness.norm is None else list(witness.norm.parameters())

        def logits(rows: slice) -> Tensor:
            return witness.head(rest[rows] + functional.linear(inner[rows], weight + move, bias))

        moved = [] if getattr(self.solver, "few_bits", False) else [move]
        free = [*moved, *norm]
        if free:
            fit_head(
                free, logits, self.fit.input_ids, steps=self.solver.head_steps,
                decay=self.solver.head_decay, decayed=moved, vocabulary=witness.vocabulary,
            )
        weight.add_(move)
        state = self.fit.run_module(block, last, before[0])
        held = None
        if self.held is not None and before[1] is not None:
            held = self.held.run_module(block, last, before[1])
        return state, held

    @torch.no_grad()
    def refit(self) -> float:
        """Head and final norm moved on from their trained values, on the model's own last states.

        The penalty is on the distance from the trained values, so the loss on the fitted tokens cannot rise.
        """
        trained = {} if self.view.norm is None else dict(self.view.norm.named_parameters(prefix="norm"))
        if not self.tied:
            trained.update(self.view.lm_head.named_parameters(prefix="head"))
        moves = {name: torch.zeros_like(p) for name, p in trained.items()}
        state = self.fit.states[-1]

        def head(hidden: Tensor) -> Tensor:
            moved = {name: trained[name].detach() + moves[name] for name in trained}
            return head_with(self.view, moved, hidden)

        if moves:
            fit_head(
                list(moves.values()), lambda rows: head(state[rows]), self.fit.input_ids,
                steps=self.solver.head_steps, decay=self.solver.head_decay, decayed=list(moves.values()),
                vocabulary=self.view.vocabulary,
            )
        self._tick("last-layer refit")
        where = self.fit if self.held is None else self.held
        return _mean(token_losses(head, where.states[-1], where.input_ids, self.view.vocabulary))


@measured("witnessed by construction: the loss of a complete decoder; it bounds the optimum from above")
def yes_chain(
    view: ModelView,
    ids: Tensor,
    *,
    maps: Iterable[Iterable[int]] | None = None,
    solver: str | Solver = "closed-form",
    budget: int | None = None,
    seed: int = 0,
    held_out: Tensor | None = None,
    keep: str = "all",
    token_weights: str | Tensor | np.ndarray | None = None,
    on_progress: Progress | None = None,
) -> TransformerYes:
    """Fit YES chains to one checkpoint of a decoder.

    Args:
        view: the trained decoder, float32 or float64.
        ids: token ids to fit on (windows, length).
        maps: maps to try; all staircases up to 6 blocks, the named ones beyond, if None. All-last is always tried.
        solver: "closed-form", "gradient", or an object with the interface of `peelverify.peel.solvers.Solver`.
        budget: steps of the named solver: L-BFGS steps of the head, or Adam steps a block. Default of the solver
            if None; every result reports it.
        seed: seed of the fresh weights.
        held_out: token ids (windows, length) that decide the status, disjoint from ``ids``.
        keep: "all" keeps the weights of every chain for `TransformerYes.witness`, "best" those of the best.
        token_weights: how much each fitted token counts in the least squares of the blocks: a name of
            `peelverify.compress.tokenweights.TOKEN_WEIGHTS`, or an array (windows, length), or one with a leading
            axis for blocks; None is uniform. Heads and losses count every token once.
        on_progress: called with (done, total, what) after every fit.

    Returns:
        Losses of all chains, with the status of the model among them.

    Raises:
        InputError: unknown solver or map, half-precision weights, ids that do not fit, unknown or unfit token
            weights, or a solver that takes none.
        NonFiniteError: the model gives NaN.
        NumericalError: a fit diverged, or memory ran out with a single window; before that, a `MemoryWarning` says
            that chunks of windows or rows get smaller.

    Not for:
        A proof of good training. GREEN means that this suite of witnesses does not refute the model.

    Source:
        [Eamaz2026], whose fits use gradients; the closed form on fresh features is ours.
    """
    if keep not in ("all", "best"):
        raise InputError(f"yes_chain needs keep 'all' or 'best', got {keep!r}; name one")
    if view.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"yes_chain needs float32 or float64 weights, got {view.dtype}; load the model with dtype='float32'"
        )
    suite = check_maps(maps, view.depth)
    chosen = solver_named(solver, budget)
    check_weighted(chosen, token_weights)
    started = time.perf_counter()
    with torch.no_grad():
        fit = trace_windows(view, ids)
        held = None if held_out is None else trace_windows(view, held_out)
        chains = _Chains(
            view, fit, held, suite=suite, solver=chosen, seed=seed, keep=keep, on_progress=on_progress,
            weights=resolve_token_weights(view, ids, token_weights, function="yes_chain"),
        )
        chains.visit((), fit.states[0], None if held is None else held.states[0], [], [])
        refit = chains.refit()
    if set(chains.chains) != set(suite):
        raise InvariantError("yes_chain lost a map on its way through the tree")
    return TransformerYes(
        loss=_mean(chains.model_losses),
        held_out_loss=None if chains.held_losses is None else _mean(chains.held_losses),
        chains={m: chains.chains[m] for m in sorted(suite, key=lambda m: (len(landmarks(m)), m))},
        refit=refit,
        state_residuals=tuple(_missed(state, fit.states[-1]) for state in fit.states[1:]),
        solver=chosen.name,
        budget=chosen.budget,
        seed=seed,
        seconds=time.perf_counter() - started,
        _parts=chains.parts,
        _view=view,
    )
