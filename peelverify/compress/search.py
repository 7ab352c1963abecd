"""Search for the best set of blocks to remove, counting every block that is run.

Greedy removal [Song2024] looks one step ahead. Here a beam keeps several sets, and swaps exchange a removed block for a
kept one until nothing improves. All share prefixes: two sets that agree up to block t share the state there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from peelverify.errors import DomainError
from peelverify.evaluate.stream import as_view, batches, check_windows, ids_digest, keeps_mode
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["Removal", "RemovalLosses", "removal_path", "removal_within_budget", "search_removal"]


@dataclass(frozen=True)
class Removal:
    """A set of blocks to remove, and what it cost to find; measured.

    Attributes:
        removed: block indices, ascending.
        loss: nats a token without them, on the windows that the search saw.
        block_evaluations: blocks run, in units of one block over all windows.
        path: best loss after 1, 2, ... removals, then after each swap that improved.
        ids_sha256: digest of the token ids; figures to quote need disjoint text.
    """

    removed: tuple[int, ...]
    loss: float
    block_evaluations: int
    path: tuple[float, ...]
    ids_sha256: str

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.removal/1``."""
        return {
            "schema": "peelverify.removal/1", "removed": list(self.removed), "loss_nats_per_token": self.loss,
            "block_evaluations": self.block_evaluations, "path_loss_nats_per_token": list(self.path),
            "ids_sha256": self.ids_sha256,
        }


class RemovalLosses:
    """Losses of a model without some blocks, each set evaluated once, shared prefixes run once.

    Args:
        view: the decoder.
        input_ids: token ids (windows, length).
        memory: states to keep between evaluations, as a multiple of the depth; the oldest are forgotten.
        known: losses that an earlier search found on the same windows, added to in place. They are not run again,
            but `evaluations` counts them as if they were, so that the cost of a search does not depend on what ran
            before it.
    """

    def __init__(
        self, view: ModelView, input_ids: Tensor, *, memory: int = 4, known: dict[frozenset[int], float] | None = None
    ) -> None:
        self.view = view
        self.evaluations = 0
        self._scored = input_ids.shape[0] * (input_ids.shape[1] - 1)
        self._traces = [view.trace(batch) for batch in batches(input_ids, 2048)]
        self._keep = memory * view.depth
        self._losses: dict[frozenset[int], float] = {}  # asked of this object
        self._known = {} if known is None else known
        self._counted: dict[tuple[int, ...], None] = {}  # prefixes that a search on its own would hold
        self._states: dict[tuple[int, ...], list[Tensor]] = {}
        full = tuple(range(view.depth))
        for t in range(view.depth + 1):  # the first pass gave all states of the whole model
            self._states[full[:t]] = [trace.states[t] for trace in self._traces]
            self._counted[full[:t]] = None
        self._pinned = set(self._states)
        self.evaluations += view.depth
        for trace in self._traces:
            trace.states, trace.logits = [], trace.logits[:0]

    @torch.no_grad()
    def __call__(self, removed: Iterable[int]) -> float:
        """Mean loss, nats a token, without the blocks ``removed``."""
        gone = frozenset(removed)
        if gone not in self._losses:
            kept = tuple(t for t in range(self.view.depth) if t not in gone)
            start = self._longest(kept, self._counted)
            self.evaluations += len(kept) - start
            self._counted.update(dict.fromkeys(kept[:n] for n in range(start + 1, len(kept) + 1)))
            self._forget(self._counted)
            if gone not in self._known:
                self._known[gone] = self._run(kept)
            self._losses[gone] = self._known[gone]
        return self._losses[gone]

    def _run(self, kept: tuple[int, ...]) -> float:
        start = self._longest(kept, self._states)
        states = self._states[kept[:start]]
        for n in range(start, len(kept)):
            states = [trace.block(kept[n], s) for trace, s in zip(self._traces, states, strict=True)]
            self._states[kept[: n + 1]] = states
        self._forget(self._states)
        total = 0.0
        for trace, state in zip(self._traces, states, strict=True):
            logits = self.view.head(state)[:, :-1].flatten(0, 1).float()
            targets = trace.input_ids[:, 1:].flatten()
            total += float(functional.cross_entropy(logits, targets, reduction="sum"))
        return total / self._scored

    @staticmethod
    def _longest(kept: tuple[int, ...], held: dict[tuple[int, ...], Any]) -> int:
        """Length of the longest prefix of ``kept`` that is held."""
        return next(n for n in range(len(kept), -1, -1) if kept[:n] in held)

    def _forget(self, held: dict[tuple[int, ...], Any]) -> None:
        """Drop the oldest prefixes beyond the memory; those of the whole model stay."""
        while len(held) - len(self._pinned) > self._keep:
            del held[next(key for key in held if key not in self._pinned)]


@measured("a search on sampled text; another text may prefer another set")
@keeps_mode
def search_removal(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    count: int,
    *,
    beam: int = 1,
    swaps: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Removal:
    """Choose blocks to remove by the loss of the model that is left.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length), at least two tokens a window.
        count: blocks to remove, from 1 to depth - 1.
        beam: sets kept after each removal, >= 1; 1 is greedy.
        swaps: rounds of exchanging one removed block for one kept, while that lowers the loss; >= 0.
        on_step: called with (removals and swap rounds done, at most in all).

    Raises:
        DomainError: count, beam or swaps out of range.
        InputError: ids that do not fit the model.

    Not for:
        Choosing by scores that need one pass; see `rank_layers`.

    Example:
        >>> search_removal(view, ids, 2, beam=3, swaps=2).removed  # doctest: +SKIP
        (3, 5)
    """
    view = as_view(model)
    if not 1 <= count < view.depth:
        raise DomainError(f"search_removal needs 1 <= count < {view.depth}, got {count}; at least one block stays")
    if beam < 1 or swaps < 0:
        raise DomainError(f"search_removal needs beam >= 1 and swaps >= 0, got {beam} and {swaps}")
    input_ids = check_windows(view, input_ids, function="search_removal", least=2)
    losses = RemovalLosses(view, input_ids)
    sets: list[frozenset[int]] = [frozenset()]
    path = []
    for removal in range(count):
        sets = _one_more(losses, sets, beam)
        path.append(losses(sets[0]))
        if on_step is not None:
            on_step(removal + 1, count + swaps)
    best = sets[0]
    for swap in range(swaps):
        neighbours = [best - {out} | {t} for out in sorted(best) for t in range(view.depth) if t not in best]
        challenger = min(neighbours, key=losses)
        if on_step is not None:
            on_step(count + swap + 1, count + swaps)
        if losses(challenger) >= losses(best):
            break
        best = challenger
        path.append(losses(best))
    return Removal(tuple(sorted(best)), losses(best), losses.evaluations, tuple(path), ids_digest(input_ids))


def _one_more(
    losses: RemovalLosses,
    sets: list[frozenset[int]],
    beam: int,
    *,
    step: int = 1,
    within: frozenset[int] | None = None,
) -> list[frozenset[int]]:
    """The best sets with ``step`` blocks more, best first."""
    depth = losses.view.depth
    free = set(range(depth)) if within is None else within
    # candidates in the order of their kept blocks, so that neighbours share prefixes
    candidates = sorted(
        {gone.union(more) for gone in sets for more in itertools.combinations(sorted(free - gone), step)},
        key=lambda gone: [t in gone for t in range(depth)],
    )
    return sorted(candidates, key=losses)[:beam]


@measured("a search on sampled text; another text may prefer another set")
@keeps_mode
def removal_path(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    count: int,
    *,
    beam: int = 1,
    swaps: int = 0,
    step: int = 1,
    within: Iterable[int] | None = None,
    known: dict[frozenset[int], float] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Removal]:
    """The best set found for each number of removed blocks, 1 to ``count``, in one search.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length), at least two tokens a window.
        count: most blocks to remove, from 1 to depth - 1.
        beam: sets kept after each removal, >= 1.
        swaps: rounds of exchanging after each removal, >= 0; the sets that go on are the exchanged ones.
        step: blocks removed together; 2 tries all pairs. Smaller numbers are searched on the way.
        within: blocks that may go, e.g. the first of a cheap ranking; all if None. At least ``count``.
        known: losses shared by several searches on the same windows, see `RemovalLosses`; costs are counted in full.
        on_step: called with (removals done, in all).

    Returns:
        One `Removal` a number of blocks; ``block_evaluations`` is the cost of the search up to there.

    Raises:
        DomainError: an option out of range.
        InputError: ids that do not fit the model.
    """
    view = as_view(model)
    if not 1 <= count < view.depth:
        raise DomainError(f"removal_path needs 1 <= count < {view.depth}, got {count}; at least one block stays")
    if beam < 1 or swaps < 0 or step < 1:
        raise DomainError(f"removal_path needs beam, step >= 1 and swaps >= 0, got {beam}, {step} and {swaps}")
    free = frozenset(range(view.depth)) if within is None else frozenset(within)
    if not free <= set(range(view.depth)) or len(free) < count:
        raise DomainError(
            f"removal_path needs at least {count} different blocks of 0 to {view.depth - 1} to choose from, "
            f"got {sorted(free)}; name more of them"
        )
    input_ids = check_windows(view, input_ids, function="removal_path", least=2)
    losses = RemovalLosses(view, input_ids, known=known)
    digest = ids_digest(input_ids)
    found: list[Removal] = []
    path: list[float] = []
    kept: dict[int, list[frozenset[int]]] = {0: [frozenset()]}
    for removed in range(1, count + 1):
        # a step of two starts from the sets two removals ago; the first removal is a single one
        size = min(step, removed)
        sets = _one_more(losses, kept[removed - size], beam, step=size, within=free)
        for _ in range(swaps):
            best = sets[0]
            neighbours = [best - {out} | {t} for out in sorted(best) for t in sorted(free - best)]
            challenger = min([best, *neighbours], key=losses)
            if losses(challenger) >= losses(best):
                break
            sets = [challenger, *(s for s in sets if s != challenger)][:beam]
        kept[removed] = sets
        path.append(losses(sets[0]))
        found.append(Removal(tuple(sorted(sets[0])), path[-1], losses.evaluations, tuple(path), digest))
        if on_step is not None:
            on_step(removed, count)
    return found


@measured("a search on sampled text; certify the model that comes out for a bound")
@keeps_mode
def removal_within_budget(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    budget: float,
    *,
    beam: int = 1,
    within: Iterable[int] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Removal:
    """As many blocks as can go while the loss rises by no more than a budget.

    Blocks are added to the set one by one, best first, until the next would break the budget.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length), at least two tokens a window.
        budget: allowed rise of the loss on these windows, nats a token, >= 0.
        beam: sets kept after each removal.
        within: blocks that may go; all if None. [Song2024] keeps the first and the last.
        on_step: called with (removals tried, at most in all).

    Returns:
        The largest set found; empty if no block can go.

    Raises:
        DomainError: budget, beam or within out of range. InputError: ids that do not fit the model.
    """
    view = as_view(model)
    if not (math.isfinite(budget) and budget >= 0) or beam < 1:
        raise DomainError(f"removal_within_budget needs budget >= 0 and beam >= 1, got {budget} and {beam}")
    free = frozenset(range(view.depth)) if within is None else frozenset(within)
    if not free <= set(range(view.depth)):
        raise DomainError(
            f"removal_within_budget needs blocks of 0 to {view.depth - 1} in within, got {sorted(free)}; name others"
        )
    input_ids = check_windows(view, input_ids, function="removal_within_budget", least=2)
    losses = RemovalLosses(view, input_ids)
    limit = losses(()) + budget
    sets, best, path = [frozenset()], frozenset(), []
    most = min(len(free), view.depth - 1)
    for removal in range(most):
        sets = _one_more(losses, sets, beam, within=free)
        if on_step is not None:
            on_step(removal + 1, most)
        if losses(sets[0]) > limit:
            break
        best = sets[0]
        path.append(losses(best))
    return Removal(tuple(sorted(best)), losses(best), losses.evaluations, tuple(path), ids_digest(input_ids))
