"""Two ways to fit one fresh decoder block to a state, and the fit of the head.

A solver gets a block of the right architecture with fresh weights, the state that enters it and the states
it should produce. It never sees trained block weights. Both solvers give complete blocks, so whatever they
reach is witnessed; how close it is to the best possible depends on their fixed budget, which results report.

* `ClosedForm`: the block's inner maps stay random (features), the two maps that write into the residual
  stream are least-squares solutions: attention output first, then MLP output on recomputed features.
* `Gradient`: all weights of the block by Adam on the mean squared error.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from peelverify.errors import InputError, NumericalError
from peelverify.models.view import ModelView, Trace
from peelverify.peel.forward import narrow, watched
from peelverify.peel.least_squares import GramSum, one_thread
from peelverify.peel.memory import Chunk, in_chunks
from peelverify.verdict import Outcome

__all__ = [
    "SOLVERS", "BlockProblem", "ClosedForm", "Gradient", "Solver", "check_weighted", "fit_head", "gather",
    "solver_named", "token_losses",
]

#: Logits held in memory at once, as a number of values.
LOGITS = 1 << 25
#: Samples whose features are converted to float64 at once.
ROWS = 8192
#: How a warning names them.
SUMS = ("the sums of a fit", "rows")


@dataclass
class BlockProblem:
    """One block of a chain to be fitted.

    Attributes:
        view: the decoder that the chain imitates; only its family and block arguments are used.
        trace: forward pass whose masks, positions and rotary tables the blocks run under.
        index: block number, from 0.
        fresh: block with fresh weights; solvers copy it.
        state: state that enters the block (windows, length, width).
        seed: seed of everything random in the fit.
        weights: how much each token counts in least squares (windows, length), or None where each counts once.
    """

    view: ModelView
    trace: Trace
    index: int
    fresh: nn.Module
    state: Tensor
    seed: int
    weights: Tensor | None = None

    def run(self, module: nn.Module, state: Tensor | None = None) -> Tensor:
        """Output of a block under the arguments of the forward pass."""
        return self.trace.run_module(module, self.index, self.state if state is None else state)


class Solver(Protocol):
    """Fits fresh blocks to states.

    Attributes:
        name: how users call it.
        budget: reported with every result; optimiser steps of the block fit and of the head.

    A solver that heeds `BlockProblem.weights` says so by an attribute ``weighted = True``; others get none.
    """

    name: str
    budget: dict[str, float]
    head_steps: int
    head_decay: float

    def prepare(self, block: nn.Module, seed: int) -> None:
        """Draw the fresh weights of a block before anything is fitted."""

    def fit(self, problem: BlockProblem, targets: Sequence[Tensor]) -> list[nn.Module]:
        """Fitted copies of the fresh block, one a target."""


@dataclass
class ClosedForm:
    """Least squares on fresh features: fast, no learning rate.

    Args:
        ridge: multiple of the mean diagonal of the Gram matrix that is added to it.
        scale: standard deviation of the fresh matrices times the root of their inputs; 1 keeps the size of
            a signal, where the usual initialisation (0.02) would leave activations almost linear.
        head_steps: L-BFGS steps of the head.
        head_decay: weight of ``||head||^2 / tokens`` in the fit of the head.
    """

    ridge: float = 0.03
    scale: float = 1.0
    head_steps: int = 25
    head_decay: float = 30.0
    name: str = "closed-form"
    #: Whether the weights of a problem are heeded.
    weighted: ClassVar[bool] = True
    rows: Chunk = field(default_factory=lambda: Chunk(ROWS, *SUMS), init=False, repr=False, compare=False)

    @property
    def budget(self) -> dict[str, float]:
        """What a result reports."""
        return {"ridge": self.ridge, "feature_scale": self.scale, "head_steps": self.head_steps}

    @torch.no_grad()
    def prepare(self, block: nn.Module, seed: int) -> None:
        """Draw every matrix anew at the scale of its inputs; norms and biases stay as initialised."""
        generator = torch.Generator().manual_seed(seed)
        for module in block.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2:
                inputs = ModelView.weight(module).shape[1]
                noise = torch.randn(weight.shape, generator=generator) * (self.scale / math.sqrt(inputs))
                weight.copy_(noise)

    @torch.no_grad()
    def fit(self, problem: BlockProblem, targets: Sequence[Tensor]) -> list[nn.Module]:
        """Solve the attention output for all targets at once, then the MLP output for each."""
        family, state = problem.view.family, problem.state
        base = copy_block(problem.fresh)
        _zero(base.get_submodule(family.attention_out))
        _zero(base.get_submodule(family.mlp_out))
        features, _ = _capture(problem, base, family.attention_out)
        attention = self._solve(
            base.get_submodule(family.attention_out), features, [t - state for t in targets], problem.weights
        )
        fitted = []
        for (weight, bias), target in zip(attention, targets, strict=True):
            module = copy_block(base)
            _set(module.get_submodule(family.attention_out), weight, bias)
            inner, middle = _capture(problem, module, family.mlp_out)
            out = module.get_submodule(family.mlp_out)
            (weight, bias), = self._solve(out, inner, [target - middle], problem.weights)
            _set(out, weight, bias)
            if problem.index == 0:
                _check_additive(problem, module, inner, middle, out)
            fitted.append(module)
        return fitted

    def _solve(
        self, linear: nn.Module, features: Tensor, targets: Sequence[Tensor], weights: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Ridge solutions of one linear map for several targets, from one pass over the features."""
        with one_thread(features.shape[-1]):
            bias = getattr(linear, "bias", None) is not None
            total = gather(features, targets, bias=bias, rows=self.rows, weights=weights)
            fit = total.solve(ridge=self.ridge)
        weight = torch.from_numpy(fit.weight).to(features)
        shift = torch.from_numpy(fit.bias).to(features) if fit.bias is not None else None
        width = targets[0].shape[-1]
        return [
            (weight[i : i + width], None if shift is None else shift[i : i + width])
            for i in range(0, len(weight), width)
        ]


def gather(
    features: Tensor, targets: Sequence[Tensor], *, bias: bool, rows: Chunk, weights: Tensor | None = None
) -> GramSum:
    """Normal equations of one linear map for several targets side by side, from one pass over the features.

    Args:
        features: (windows, length, inputs).
        targets: (windows, length, outputs) each.
        bias: whether the map has one.
        rows: how many samples are converted to float64 at once.
        weights: how much each sample counts (windows, length); each once if None.
    """
    wide, goals = features.flatten(0, 1), [t.flatten(0, 1) for t in targets]
    counts = None if weights is None else weights.flatten()
    total = GramSum(bias=bias)

    def add(cut: slice) -> None:
        total.add(wide[cut], torch.cat([g[cut] for g in goals], dim=1), None if counts is None else counts[cut])

    rows.run(len(wide), add)
    return total


@dataclass
class Gradient:
    """Adam on the mean squared error to the target, from fresh weights.

    Args:
        steps: Adam steps a block.
        learning_rate: peak rate; it falls to 5 % along a cosine.
        batch: windows a step.
        head_steps: L-BFGS steps of the head.
        head_decay: weight of ``||head||^2 / tokens`` in the fit of the head.
    """

    steps: int = 60
    learning_rate: float = 3e-3
    batch: int = 8
    head_steps: int = 25
    head_decay: float = 30.0
    name: str = "gradient"

    @property
    def budget(self) -> dict[str, float]:
        """What a result reports."""
        return {
            "steps": self.steps, "learning_rate": self.learning_rate, "batch_windows": self.batch,
            "head_steps": self.head_steps,
        }

    def prepare(self, block: nn.Module, seed: int) -> None:
        """The architecture's own initialisation is kept."""

    def fit(self, problem: BlockProblem, targets: Sequence[Tensor]) -> list[nn.Module]:
        """Train one copy a target; the draw of windows is the same for all."""
        return [self._train(problem, target.detach()) for target in targets]

    def _train(self, problem: BlockProblem, target: Tensor) -> nn.Module:
        module = copy_block(problem.fresh).requires_grad_(True)
        size = float(target.var().clamp_min(1e-12))
        adam = torch.optim.Adam(module.parameters(), lr=self.learning_rate)
        generator = torch.Generator().manual_seed(problem.seed)
        windows = len(target)
        chunk = Chunk(self.batch, "the gradient solver")

        def slope(rows: Tensor, at_once: int) -> None:
            adam.zero_grad(set_to_none=True)
            for part in rows.split(at_once):
                out = narrow(problem.trace, part).run_module(module, problem.index, problem.state[part])
                loss = functional.mse_loss(out, target[part]) / size * (len(part) / len(rows))
                loss.backward()

        with torch.enable_grad():
            for step in range(self.steps):
                rate = max(0.05, 0.5 * (1 + math.cos(math.pi * step / self.steps)))
                adam.param_groups[0]["lr"] = self.learning_rate * rate
                rows = torch.randperm(windows, generator=generator)[: self.batch].to(target.device)
                chunk.anew(len(rows), functools.partial(slope, rows))
                adam.step()
        if not all(torch.isfinite(p).all() for p in module.parameters()):
            raise NumericalError(
                f"the gradient solver diverged in block {problem.index}; use a smaller learning rate",
                outcome=Outcome.FAILED,
            )
        return module.requires_grad_(False).eval()


def copy_block(module: nn.Module) -> nn.Module:
    """Copy a block; its config stays shared."""
    configs = {id(m.config): m.config for m in module.modules() if hasattr(m, "config")}
    return copy.deepcopy(module, configs)


SOLVERS: dict[str, type[ClosedForm] | type[Gradient]] = {"closed-form": ClosedForm, "gradient": Gradient}


def solver_named(solver: str | Solver, budget: int | None) -> Solver:
    """A solver by name with its budget: head steps for "closed-form", steps a block for "gradient"."""
    if not isinstance(solver, str):
        if budget is not None:
            raise InputError("a solver object carries its own budget; give either the object or a name and a budget")
        return solver
    if solver not in SOLVERS:
        raise InputError(f"a solver is one of {', '.join(SOLVERS)}, got {solver!r}; name one of them")
    if budget is not None and (isinstance(budget, bool) or budget < 1):
        raise InputError(f"the budget of a solver needs to be at least 1 step, got {budget}; give more")
    if budget is None:
        return SOLVERS[solver]()
    return ClosedForm(head_steps=budget) if solver == "closed-form" else Gradient(steps=budget)


def check_weighted(solver: Solver, given: Any) -> None:
    """Refuse token weights for a solver that does not heed them.

    Raises:
        InputError: weights other than uniform for such a solver.
    """
    plain = given is None or (isinstance(given, str) and given == "uniform")
    if not plain and not getattr(solver, "weighted", False):
        raise InputError(
            f"the {solver.name} solver sums no Gram matrix and takes no token weights, got some; use the closed-form "
            "solver, or leave the weights out"
        )


def _zero(linear: nn.Module) -> None:
    for parameter in linear.parameters(recurse=False):
        parameter.zero_()


def _set(linear: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    ModelView.weight(linear).copy_(weight)
    if bias is not None:
        linear.bias.copy_(bias)


def _capture(problem: BlockProblem, module: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Input of the inner map ``name`` and output of the block."""
    inner, _, out = watched(problem.trace, module, problem.index, problem.state, name)
    return inner, out


def _check_additive(
    problem: BlockProblem, module: nn.Module, inner: Tensor, middle: Tensor, out: nn.Module
) -> None:
    """Refuse families that put a norm between the MLP output and the residual stream."""
    expected = middle + functional.linear(inner, ModelView.weight(out), getattr(out, "bias", None))
    got = problem.run(module)
    if float((got - expected).norm()) > 1e-3 * float(expected.norm()):
        raise InputError(
            f"the closed-form solver needs blocks that add their outputs to the residual stream, which "
            f"{problem.view.config.model_type} blocks do not; use the gradient solver"
        )


def token_losses(head: Callable[[Tensor], Tensor], state: Tensor, ids: Tensor, vocabulary: int) -> Tensor:
    """Cross-entropy of every next token in nats, (windows, length - 1), float64, logits made in chunks."""
    def part(rows: slice) -> Tensor:
        logits = head(state[rows])[:, :-1].float()
        goal = ids[rows, 1:]
        loss = functional.cross_entropy(logits.flatten(0, 1), goal.flatten(), reduction="none")
        return loss.double().reshape(goal.shape)

    with torch.no_grad():
        step = max(1, LOGITS // (vocabulary * state.shape[1]))
        return torch.cat(in_chunks(len(state), step, part, "the losses of the tokens"))


def fit_head(
    parameters: Sequence[Tensor],
    logits: Callable[[slice], Tensor],
    ids: Tensor,
    *,
    steps: int,
    decay: float,
    decayed: Sequence[Tensor],
    vocabulary: int,
) -> Outcome:
    """Fit parameters by cross-entropy with a fixed number of L-BFGS steps.

    Args:
        parameters: tensors to change in place.
        logits: logits of some windows, as a function of the parameters.
        ids: token ids (windows, length).
        steps: largest number of L-BFGS steps.
        decay: weight of the squared norm of ``decayed`` over the number of tokens.
        decayed: parameters that are penalised.
        vocabulary: number of logits a position.

    Returns:
        CONVERGED, or BUDGET_SPENT if the steps ran out first (the usual case: stopping early is part of the fit).
    """
    tokens = ids[:, 1:].numel()
    chunk = Chunk(max(1, LOGITS // (4 * vocabulary * ids.shape[1])), "the fit of the head")
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        list(parameters), max_iter=steps, max_eval=2 * steps, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-9,
    )

    def closure() -> float:
        return chunk.anew(len(ids), gradients)

    def gradients(step: int) -> float:
        optimiser.zero_grad()
        total = 0.0
        for start in range(0, len(ids), step):
            rows = slice(start, start + step)
            out = logits(rows)[:, :-1].flatten(0, 1).float()
            loss = functional.cross_entropy(out, ids[rows, 1:].flatten(), reduction="sum") / tokens
            loss.backward()
            total += float(loss.detach())
        if decay > 0 and decayed:
            penalty = decay * sum((p**2).sum() for p in decayed) / tokens
            penalty.backward()
            total += float(penalty.detach())
        return total

    with torch.enable_grad():
        optimiser.step(closure)
    used = optimiser.state[optimiser._params[0]].get("n_iter", steps)
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
    if not all(torch.isfinite(p).all() for p in parameters):
        raise NumericalError("the fit of the head diverged; use more tokens or fewer steps", outcome=Outcome.FAILED)
    return Outcome.BUDGET_SPENT if used >= steps else Outcome.CONVERGED
