"""Rank blocks for removal by published criteria, each from one pass over the same windows where it can be.

``h_l`` enters block l, ``h_{l+1} = h_l + f_l(h_l)`` leaves it. Low score: remove first. Only rho and greedy
look at what happens after the block; the other scores are local to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from peelverify.compress.copies import weight_rows
from peelverify.compress.spectrum import outlier_fraction, powerlaw_alpha
from peelverify.errors import DomainError, InputError, NonFiniteError
from peelverify.evaluate.stream import (
    as_view,
    batches,
    block_outputs,
    check_windows,
    ids_digest,
    keeps_mode,
    summed_gradients,
)
from peelverify.models.view import ModelView, Trace
from peelverify.registry import measured
from peelverify.rho.measure import measure_rho

__all__ = ["CRITERIA", "NO_TEXT", "Ranking", "agreement", "ignore_lists", "mergekit_slices", "rank_layers"]


@dataclass(frozen=True)
class Ranking:
    """Blocks in the order in which a criterion would remove them. Scores are measured.

    Attributes:
        criterion: name of the criterion.
        scores: one a block; low means remove first. Infinite: the criterion never removes it.
        order: all block indices, first to remove first; equal scores by index.
        block_evaluations: blocks run forward, a backward pass counted as two, in units of one pass of one
            block over all windows.
        ids_sha256: digest of the token ids; empty if none were needed.
        runs: for "angular", the first block of the best run of 1, 2, ... blocks; else empty.
        protected: blocks that are not to go, ascending; they end the order.
    """

    criterion: str
    scores: tuple[float, ...]
    order: tuple[int, ...]
    block_evaluations: float
    ids_sha256: str = ""
    runs: tuple[int, ...] = ()
    protected: tuple[int, ...] = ()

    def first(self, count: int) -> list[int]:
        """The ``count`` blocks to remove first, ascending; for "angular" the best run of that many.

        Raises:
            DomainError: unless 1 <= count < number of blocks, with no protected block among them.
        """
        most = min(len(self.order) - 1, len(self.order) - len(self.protected))
        if not 1 <= count <= most:
            raise DomainError(
                f"first needs a count from 1 to {most}, got {count}; at least one block stays, and every protected one"
            )
        if self.runs:
            return list(range(self.runs[count - 1], self.runs[count - 1] + count))
        return sorted(self.order[:count])

    def to_json(self) -> dict[str, Any]:
        """As plain data; an infinite score is None."""
        return {
            "criterion": self.criterion,
            "scores": [s if math.isfinite(s) else None for s in self.scores],
            "order": list(self.order),
            "block_evaluations": self.block_evaluations,
            "protected": list(self.protected),
        } | ({"first_block_of_best_run": list(self.runs)} if self.runs else {})


@dataclass(frozen=True)
class _Task:
    view: ModelView
    ids: Tensor
    seed: int
    weight: float
    count: int | None
    free: list[int]  # blocks that may go
    on_step: Callable[[int, int], None] | None

    def step(self, done: int, total: int) -> None:
        if self.on_step is not None:
            self.on_step(done, total)


class _Scores(NamedTuple):
    scores: np.ndarray
    cost: float
    order: list[int] | None = None  # None: ascending scores
    runs: tuple[int, ...] = ()


def _traces(task: _Task) -> Any:
    done = 0
    for batch in batches(task.ids, 2048):
        yield task.view.trace(batch)
        done += len(batch)
        task.step(done, len(task.ids))


def _mean_over_tokens(task: _Task, score: Callable[[Tensor, Tensor], Tensor]) -> _Scores:
    """Average a token-wise score of (h_l, h_{l+1}) over all tokens that it returns."""
    sums, count = np.zeros(task.view.depth), 0
    for trace in _traces(task):
        for t in range(task.view.depth):
            values = score(trace.states[t].double(), trace.states[t + 1].double())
            sums[t] += float(values.sum())
        count += values.numel()
    return _Scores(sums / count, task.view.depth)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def _block_influence(task: _Task) -> _Scores:
    return _mean_over_tokens(task, lambda a, b: 1 - _cosine(a, b))


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle of the states at the last token, over pi: (windows, length, width) twice to (windows,)."""
    return torch.arccos(_cosine(a[:, -1], b[:, -1]).clamp(-1, 1)) / math.pi


def _angular_single(task: _Task) -> _Scores:
    return _mean_over_tokens(task, _angle)


def _angular(task: _Task) -> _Scores:
    """One contiguous run of n blocks, from block l on: the least angle between h_l and h_{l+n}; ties to the first."""
    depth, free = task.view.depth, task.free
    sums = np.zeros((depth + 1, depth + 1))  # [l, l + n]
    for trace in _traces(task):
        states = [state[:, -1:].double() for state in trace.states]
        for start in range(depth):
            for stop in range(start + 1, depth + 1):
                sums[start, stop] += float(_angle(states[start], states[stop]).sum())
    mean = sums / len(task.ids)
    longest = min(depth - 1, len(free))
    starts = [np.diagonal(mean, n)[free[0] : free[-1] + 2 - n] for n in range(1, longest + 1)]
    runs = tuple(free[0] + int(distances.argmin()) for distances in starts)
    single = np.diagonal(mean, 1).copy()
    count = task.count or 1
    run = list(range(runs[count - 1], runs[count - 1] + count)) if runs else []
    rest = [t for t in np.argsort(single, kind="stable").tolist() if t not in run]
    return _Scores(single, depth, [*run, *rest], runs)


def _residual_change(task: _Task) -> _Scores:
    return _mean_over_tokens(task, lambda a, b: (b - a).norm(dim=-1) / a.norm(dim=-1))


def _rho_medians(task: _Task) -> np.ndarray:
    profile = measure_rho(task.view, task.ids, seed=task.seed, on_pass=task.on_step)
    return np.median(profile.rho_into, axis=0)


def _rho(task: _Task) -> _Scores:
    return _Scores(np.abs(_rho_medians(task) - 1), 9 * task.view.depth)


def _rho_out(task: _Task) -> _Scores:
    out = np.abs(_rho_medians(task)[1:] - 1)
    return _Scores(np.append(out, out[-1:] if len(out) else [0.0]), 9 * task.view.depth)


def _blend(task: _Task) -> _Scores:
    influence, rho = _block_influence(task), _rho(task)
    mixed = (1 - task.weight) * _unit(influence.scores) + task.weight * _unit(rho.scores)
    return _Scores(mixed, influence.cost + rho.cost)


def _unit(x: np.ndarray) -> np.ndarray:
    """Stretch to [0, 1]; all zeros if the values are equal."""
    spread = x.max() - x.min()
    return (x - x.min()) / spread if spread > 0 else np.zeros_like(x)


def _weights(task: _Task, statistic: Callable[[list[Tensor]], float]) -> _Scores:
    """A statistic of the matrices of each block; it needs no text."""
    view = task.view
    found = [statistic([weight_rows(m) for m in view.linears(t).values()]) for t in range(view.depth)]
    return _Scores(np.array(found), 0.0)


def _zd(task: _Task) -> _Scores:
    return _weights(task, lambda matrices: -outlier_fraction(matrices))


def _alpha(task: _Task) -> _Scores:
    return _weights(task, lambda matrices: -float(np.mean([powerlaw_alpha(m).alpha for m in matrices])))


def _lim(task: _Task) -> _Scores:
    return _mean_over_tokens(task, lambda a, b: -_cosine(a, b))


def _last(task: _Task) -> _Scores:
    depth = task.view.depth
    return _Scores(np.arange(depth - 1, -1, -1, dtype=np.float64), 0)


def _random(task: _Task) -> _Scores:
    return _Scores(np.random.default_rng(task.seed).permutation(task.view.depth).astype(np.float64), 0)


def _loss(view: ModelView, trace: Trace, state: Tensor) -> Tensor:
    """Summed next-token loss of a batch, nats, from its last residual-stream state."""
    logits = view.head(state)[:, :-1].flatten(0, 1).float()
    return functional.cross_entropy(logits, trace.input_ids[:, 1:].flatten(), reduction="sum")


@torch.no_grad()
def _greedy(task: _Task) -> _Scores:
    """Remove, again and again, the block whose loss costs least.

    A candidate shares the states before it with the model at hand, and the winner's states become those of
    the next round, so a round over n blocks costs n (n - 1) / 2 block evaluations instead of n (n - 1).
    """
    view, alive, removed = task.view, list(range(task.view.depth)), []
    scored = task.ids.shape[0] * (task.ids.shape[1] - 1)
    scores, cost, done = np.full(view.depth, np.inf), view.depth, 0
    rounds = min(task.count or view.depth, view.depth - 1, len(task.free))
    total = sum(len(task.free) - r for r in range(rounds))
    traces = [view.trace(batch) for batch in batches(task.ids, 2048)]
    entering = [trace.states[:-1] for trace in traces]  # per batch: the state entering each block still there
    for trace in traces:
        trace.states, trace.logits = [], trace.logits[:0]
    for _ in range(rounds):
        losses, winner = np.full(len(alive), np.inf), []
        for place, candidate in enumerate(alive):
            if candidate not in task.free:
                continue
            loss, paths = 0.0, []
            for trace, states in zip(traces, entering, strict=True):
                path = [*states[: place + 1]]
                for block in alive[place + 1 :]:
                    path.append(trace.block(block, path[-1]))
                loss += float(_loss(view, trace, path[-1]))
                paths.append(path[:-1])
            if math.isnan(loss):
                raise NonFiniteError(f"greedy needs finite losses, got NaN without block {candidate}; {_WIDER}")
            if not winner or loss < losses.min():
                winner = paths
            losses[place] = loss
            cost += len(alive) - place - 1
            done += 1
            task.step(done, total)
        place = int(losses.argmin())
        for block, loss in zip(alive, losses, strict=True):
            scores[block] = loss / scored
        removed.append(alive.pop(place))
        entering = winner
    rest = sorted(alive, key=lambda block: scores[block])
    if len(alive) == 1:
        scores[rest[0]] = np.inf
    return _Scores(scores, cost, [*removed, *rest])


def _taylor(task: _Task) -> _Scores:
    """Sum over the weights of a block of |w dloss/dw|, biases left out."""
    view, depth = task.view, task.view.depth
    names = [[p for n, p in view.blocks[t].named_parameters() if n.endswith("weight")] for t in range(depth)]
    weights = [p for block in names for p in block]
    totals, _, scored = summed_gradients(view, task.ids, weights, task.step)
    products = iter(
        float((g * p.detach().double()).abs().sum()) / scored
        for g, p in zip(totals, weights, strict=True)
    )
    return _Scores(np.array([sum(next(products) for _ in block) for block in names]), 3 * depth)


def _skip_score(task: _Task) -> _Scores:
    """First-order change of the loss when a block is skipped: <dloss/dh_{l+1}, -f_l(h_l)>."""
    view, depth = task.view, task.view.depth
    scored = task.ids.shape[0] * (task.ids.shape[1] - 1)
    sums, done = np.zeros(depth), 0
    for batch in batches(task.ids, 1024):
        states: list[Tensor] = []

        def enter(module: nn.Module, args: Any, kwargs: Any, states: list[Tensor] = states) -> Any:
            first = args[0] if args else kwargs["hidden_states"]
            if not first.requires_grad:
                first = first.detach().requires_grad_(True)
            states.append(first)
            return ((first, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": first})

        handle = view.blocks[0].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with torch.enable_grad(), block_outputs(view, lambda index, state, s=states: s.append(state)):
                logits = view.model(input_ids=batch, use_cache=False).logits[:, :-1].flatten(0, 1).float()
                loss = functional.cross_entropy(logits, batch[:, 1:].flatten(), reduction="sum")
                gradients = torch.autograd.grad(loss, states[1:])
        finally:
            handle.remove()
        for t in range(depth):
            change = states[t].detach().double() - states[t + 1].detach().double()
            sums[t] += float((gradients[t].double() * change).sum())
        done += len(batch)
        task.step(done, len(task.ids))
    return _Scores(sums / scored, 3 * depth)


CRITERIA: dict[str, tuple[Callable[[_Task], _Scores], str]] = {
    "rho": (_rho, "|rho into the block - 1|: the error energy passes through unchanged"),
    "rho_out": (_rho_out, "|rho out of the block - 1|, last value repeated: the other reading of the index"),
    "block_influence": (_block_influence, "1 - mean cosine of input and output [Men2024]"),
    "blend": (_blend, "(1 - w) unit(block influence) + w unit(|rho - 1|), w = 1/2"),
    "angular": (_angular, "one run of blocks: least angle of its input and output at the last token [Gromov2024]"),
    "angular_single": (_angular_single, "angle of input and output of each block alone, at the last token, over pi"),
    "residual_change": (_residual_change, "mean |f(h)| / |h|"),
    "last": (_last, "the deepest block first"),
    "greedy": (_greedy, "least loss after removal, one block after another [Song2024]"),
    "taylor": (_taylor, "sum of |w dloss/dw| over the weights of the block [Kim2024]"),
    "skip_score": (_skip_score, "first-order change of the loss: <dloss/dh', -f(h)>"),
    "lim": (_lim, "-mean cosine of input and output: block influence less one [Dumitru2024]"),
    "zd": (_zd, "-share of weights more than one standard deviation above the mean [Dumitru2024]"),
    "alpha": (_alpha, "-mean power-law exponent of the spectra: least heavy-tailed first [Martin2021]"),
    "random": (_random, "a random permutation"),
}
"""Criterion -> (score function, one line on it)."""

_WIDER = "check the weights, or load the model in a wider dtype"

NO_TEXT = ("last", "random", "zd", "alpha")
"""Criteria that look at no text."""


@measured("heuristics; none of them has a theorem about the model that is left")
@keeps_mode
def rank_layers(
    model: ModelView | nn.Module,
    input_ids: Tensor | None = None,
    criterion: str = "rho",
    *,
    weight: float = 0.5,
    seed: int = 0,
    count: int | None = None,
    protect: tuple[int, int] = (0, 0),
    on_step: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Order the blocks of a decoder for removal.

    Args:
        model: a decoder; it is not changed, and a training one goes on training.
        input_ids: token ids (windows, length); "last", "random", "zd" and "alpha" need none.
        criterion: a key of `CRITERIA`.
        weight: share of rho in "blend", in [0, 1].
        seed: seed of "random" and of the noise of "rho".
        count: "greedy" stops after this many removals and orders the rest by their last losses; "angular" puts the
            best run of this many blocks first, 1 if None.
        protect: how many blocks at the beginning and at the end are not to go; (0, 0), the default, keeps none.
            Published: (1, 1) for "greedy" [Song2024], (4, 2) for "taylor" [Kim2024].
        on_step: called with (steps done, in all).

    Returns:
        Scores and order, protected blocks last. For "greedy" a score is the loss, nats a token, when the block was
        last tried on top of the removals before it; a block that is left alone at the end has an infinite score. For
        "angular" the scores are those of single blocks. Its runs for two numbers of blocks need not be nested, so
        `Ranking.first` gives the run of each length, and the order fits ``count`` only.

    Raises:
        InputError: unknown criterion, ids missing or not fit for the model.
        DomainError: weight, count or protect out of range.
        NonFiniteError: a weight, a state or a score that is NaN or infinite.

    Not for:
        A promise about the smaller model: certify it, or compare losses on disjoint text.

    Source:
        The keys named in `CRITERIA`. [Gromov2024] removes one run of n blocks, from l on, with the least angle between
        h_l and h_{l+n}: that is "angular", over all runs, those with the first and the last block included, with the
        state before the final norm as the last. "angular_single" takes the n blocks with the least angles of their
        own, which is not the published rule for n > 1.
    """
    view = as_view(model)
    if criterion not in CRITERIA:
        raise InputError(
            f"rank_layers needs a criterion among {', '.join(CRITERIA)}, got {criterion!r}; name one of them"
        )
    if not 0 <= weight <= 1:
        raise DomainError(f"rank_layers needs 0 <= weight <= 1, got {weight}; 0 is block influence, 1 is rho")
    if criterion in NO_TEXT:
        ids, digest = torch.zeros(0, 0), ""
    else:
        if input_ids is None:
            raise InputError(f"rank_layers needs input_ids for {criterion!r}, got none; give token windows")
        ids = check_windows(view, input_ids, function="rank_layers", least=2)
        digest = ids_digest(ids)
    free = _free(view.depth, protect)
    if count is not None and not 1 <= count < view.depth:
        raise DomainError(f"rank_layers needs 1 <= count < {view.depth}, got {count}; one block has to stay")
    if count is not None and count > len(free):
        raise DomainError(f"rank_layers needs count <= {len(free)} with protect {protect}, got {count}; protect fewer")
    result = CRITERIA[criterion][0](_Task(view, ids, seed, weight, count, free, on_step))
    for t, score in enumerate(result.scores):
        if not math.isfinite(score) and not (criterion == "greedy" and score == math.inf):
            raise NonFiniteError(
                f"rank_layers needs finite scores, got {score} of {criterion} for block {t}; {_WIDER}", block=t
            )
    order = result.order if result.order is not None else np.argsort(result.scores, kind="stable").tolist()
    kept = tuple(sorted(set(range(view.depth)) - set(free)))
    order = (*(t for t in order if t in free), *kept)
    return Ranking(
        criterion, tuple(result.scores.tolist()), order, float(result.cost), digest, result.runs, kept
    )


def _free(depth: int, protect: tuple[int, int]) -> list[int]:
    """Blocks that may go."""
    if len(protect) != 2 or not all(isinstance(n, int) and n >= 0 for n in protect) or sum(protect) >= max(depth, 1):
        raise DomainError(
            f"rank_layers needs protect = (first, last) that leaves one of {depth} blocks, got {protect}; protect fewer"
        )
    return list(range(protect[0], depth - protect[1]))


def mergekit_slices(kept: list[int], name: str, *, dtype: str = "float32") -> str:
    """A mergekit configuration that keeps the given blocks: consecutive ones become one slice.

    Args:
        kept: block indices, ascending.
        name: path or hub id of the model; written in quotes.
        dtype: of the weights to write, e.g. that of the model's files.
    """
    lines, quoted = ["slices:"], json.dumps(name, ensure_ascii=False)  # a JSON string is one in YAML
    start = kept[0]
    for here, following in zip(kept, [*kept[1:], None], strict=True):
        if following != here + 1:
            lines += ["  - sources:", f"      - model: {quoted}", f"        layer_range: [{start}, {here + 1}]"]
            start = following if following is not None else start
    return "\n".join([*lines, "merge_method: passthrough", f"dtype: {dtype}", ""])


def ignore_lists(view: ModelView, blocks: Iterable[int]) -> dict[str, str]:
    """Text to paste that keeps blocks in full precision in two quantisation tools.

    Args:
        view: the decoder, for the names of its modules.
        blocks: indices of the blocks to leave alone.

    Returns:
        "llm-compressor": the ``ignore`` line of a recipe. "modelopt": entries for ``quant_cfg``. The head is in both.

    Raises:
        DomainError: a block that the model does not have.
    """
    chosen = sorted(set(blocks))
    if not all(0 <= t < view.depth for t in chosen):
        raise DomainError(f"ignore_lists needs blocks 0 to {view.depth - 1}, got {chosen}; name blocks of this model")
    place, head = view.family.blocks, view.family.head
    patterns = [rf"re:{place.replace('.', chr(92) + '.')}\.{t}\..*" for t in chosen]
    entries = {f"*{head}*": {"enable": False}} | {f"{place}.{t}.*": {"enable": False} for t in chosen}
    return {"llm-compressor": "ignore: " + json.dumps([head, *patterns]), "modelopt": _python(entries)}


def _python(entries: dict[str, dict[str, bool]]) -> str:
    return "{" + ", ".join(f"{json.dumps(k)}: {v!r}" for k, v in entries.items()) + "}"


def agreement(rankings: list[Ranking]) -> list[list[float | None]]:
    """Kendall's tau between the removal orders of every two rankings; None for models of one block."""
    from scipy.stats import kendalltau

    places = [np.argsort(r.order) for r in rankings]
    if any(len(p) < 2 for p in places):
        return [[None] * len(places) for _ in places]
    return [[float(kendalltau(a, b).statistic) for b in places] for a in places]
