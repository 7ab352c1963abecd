"""Run an original and a compressed decoder on the same tokens, block by block, and enclose how far they drift.

For block t, with ``h`` the original's states and ``g`` the compressed model's, both as really computed:
``propagated = f_t(g_{t-1}) - f_t(h_{t-1})`` and ``introduced = F_t(g_{t-1}) - f_t(g_{t-1})``, where ``F_t``
is the compressed block (the identity if it was deleted). Final norm and head count as the last block.

The states are those of each model in its own dtype. Where the dtypes differ, ``f_t`` is given ``g_{t-1}``
converted to the original's dtype; all differences are of stored values, taken exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from peelverify.certify.energy import BlockEnergy, TokenEnergy, TokenSums, add_energy, as_rows, error_of, window_error
from peelverify.certify.softmax import loss_change
from peelverify.enclose import Interval, exact_sum
from peelverify.errors import InputError, InvariantError, ShapeError
from peelverify.models.blockwise import BlockSource, Call
from peelverify.models.view import ModelView

__all__ = ["PairEnergy", "Plan", "WindowUnits", "head_tokens_for", "measure_pair", "same_shape", "state_text"]

_ZERO = Interval(Fraction(0), Fraction(0))
_HEAD_ENTRIES = 1 << 20
_LOGIT_CHUNK = 1 << 15
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Plan:
    """Settings of one run.

    Args:
        attention: attention implementation.
        threads: threads of torch.
        batch: windows a forward pass.
        head_tokens: tokens that the head reads at a time, at most.
    """

    attention: str
    threads: int
    batch: int
    head_tokens: int


@dataclass
class WindowUnits:
    """User units of one window of tokens; a window of n tokens has n - 1 positions with a next token.

    Attributes:
        error_sq: squared error of the logits, enclosed.
        oscillation_max: upper bound on the largest oscillation of the logit change at a scored position.
        oscillation_sum: upper bound on the sum of these oscillations.
        loss_change: sum over positions of the signed change of the loss, nats, enclosed.
        loss_change_theorem: the same, enclosed by smallest and largest logit change alone.
        loss_change_largest: largest signed change at a position, enclosed.
        loss_change_smallest: smallest signed change at a position, enclosed.
        kl: sum over positions of KL(original || compressed), nats, enclosed.
        kl_largest: largest KL at a position, enclosed.
        same_top: positions at which both models have the same top token (ties: lowest id wins).
        tied: positions at which either model has more than one top token.
        loss_original: measured mean loss, nats a token.
        loss_compressed: measured mean loss, nats a token.
    """

    error_sq: Interval
    oscillation_max: Fraction
    oscillation_sum: Fraction
    loss_change: Interval
    loss_change_theorem: Interval
    loss_change_largest: Interval
    loss_change_smallest: Interval
    kl: Interval
    kl_largest: Interval
    same_top: int
    tied: list[int]
    loss_original: float
    loss_compressed: float


@dataclass
class PairEnergy:
    """What one run over all tokens gives; blocks of the original in order, then the head.

    Attributes:
        initial: error of the embeddings.
        blocks: one entry a block, the head last.
        windows: user units, one entry a window.
        reruns: error of the logits in each of the other plans.
        seconds: time spent on ``blocks`` (evaluations and enclosures of the first plan), ``reruns`` and ``read``.
    """

    initial: TokenEnergy = field(default_factory=TokenEnergy)
    blocks: list[BlockEnergy] = field(default_factory=list)
    windows: list[WindowUnits] = field(default_factory=list)
    reruns: list[TokenEnergy] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def same_shape(original: ModelView, compressed: ModelView, kept: Sequence[int]) -> None:
    """Refuse a pair that cannot be compared block by block.

    Raises:
        ShapeError: different family, width, vocabulary, or number of blocks.
        InputError: a list of kept blocks that is out of range or order.
    """
    for what, a, b in (
        ("family", original.config.model_type, compressed.config.model_type),
        ("width", original.width, compressed.width),
        ("vocabulary", original.vocabulary, compressed.vocabulary),
    ):
        if a != b:
            raise ShapeError(f"certify needs models of one {what}, got {a} and {b}; compare a model with its own copy")
    kept = list(kept)
    if kept != sorted(set(kept)) or any(not 0 <= k < original.depth for k in kept):
        raise InputError(
            f"certify needs kept blocks in increasing order within 0..{original.depth - 1}, got {kept}; correct --kept"
        )
    if len(kept) != compressed.depth:
        raise ShapeError(
            f"certify needs to know which {compressed.depth} of {original.depth} blocks were kept, "
            f"got {len(kept)}; give --kept 0,1,..."
        )


def state_text(original: torch.dtype, compressed: torch.dtype) -> str:
    """Which states a certificate compares, in words that do not depend on the run."""
    a, b = (str(d).removeprefix("torch.") for d in (original, compressed))
    if a == b:
        return f"stored {a} values of both models"
    exact = torch.promote_types(original, compressed) == original
    return (
        f"stored {a} values of the original and stored {b} values of the compressed model; a block of the original "
        f"is given the compressed model's state converted to {a} ({'exactly' if exact else 'rounded to nearest'})"
    )


def head_tokens_for(vocabulary: int) -> int:
    """Tokens that the head reads at a time: logits in chunks, so that memory does not grow with the text."""
    return max(64, _HEAD_ENTRIES // vocabulary)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if count != before:
            torch.set_num_threads(count)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class _Run:
    """States of both models under one plan, and what both models give to their blocks."""

    def __init__(self, plan: Plan, parts: Sequence[Tensor], name: str) -> None:
        self.plan, self.parts, self.name = plan, parts, name
        self.h: list[Tensor] = []
        self.g: list[Tensor] = []
        self.calls: dict[tuple[str, int], list[Call]] = {}

    @contextmanager
    def settings(self, source: BlockSource) -> Iterator[None]:
        """The plan's attention and threads inside the context."""
        with source.using_attention(self.plan.attention), _threads(self.plan.threads):
            yield

    @contextmanager
    def timed(self, seconds: dict[str, float]) -> Iterator[None]:
        """Add the time inside the context to the run's part."""
        start = time.perf_counter()
        yield
        seconds[self.name] += time.perf_counter() - start

    def embed(self, role: str, source: BlockSource, states: list[Tensor], embed: Callable) -> None:
        for ids in self.parts:
            state, calls = embed(ids.to(source.device))
            known = self.calls.setdefault((role, len(ids)), calls)
            if known is not calls and not _equal([(c.args, c.kwargs) for c in known],
                                                 [(c.args, c.kwargs) for c in calls], set()):
                raise InvariantError("the arguments of a block depend on the tokens; this variant is not supported")
            states.append(state)

    def block(self, role: str, block: torch.nn.Module, index: int, state: Tensor) -> Tensor:
        return self.calls[role, len(state)][index].run(block, state)


def _equal(a: object, b: object, done: set[tuple[int, int]]) -> bool:
    """Whether two structures of arguments are equal; blocks share tensors, so each pair is looked at once."""
    if (id(a), id(b)) in done:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        same = torch.equal(a, b)
    elif isinstance(a, dict) and isinstance(b, dict):
        same = a.keys() == b.keys() and all(_equal(a[k], b[k], done) for k in a)
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        same = len(a) == len(b) and all(_equal(x, y, done) for x, y in zip(a, b, strict=True))
    else:
        return type(a) is type(b)
    if same and isinstance(a, Tensor):
        done.add((id(a), id(b)))
    return same


@torch.no_grad()
def measure_pair(
    original: BlockSource,
    compressed: BlockSource,
    kept: Sequence[int],
    ids: Tensor,
    *,
    plans: Sequence[Plan],
    on_progress: Progress | None = None,
) -> PairEnergy:
    """Enclose every error, propagated and introduced change over all tokens.

    Args:
        original: the reference model.
        compressed: the model under test, same family, width and vocabulary.
        kept: indices of the original's blocks that the compressed model still has.
        ids: token ids (windows, length).
        plans: settings; the first is the certified execution, of the others only the error of the logits is kept.
        on_progress: called with (blocks done, blocks, text).

    Returns:
        Sums of squares with bounds. In memory are one block of one model and, for each plan, the states of both
        models for all tokens; at the end the heads of both, each whole only if it is no larger than a block, and
        logits for ``head_tokens`` tokens.
    """
    same_shape(original.view, compressed.view, kept)
    depth = original.view.depth
    found = PairEnergy(blocks=[BlockEnergy() for _ in range(depth + 1)])
    found.reruns = [TokenEnergy() for _ in plans[1:]]
    read = original.read_seconds + compressed.read_seconds
    seconds = found.seconds = {"blocks": 0.0, "reruns": 0.0, "read": 0.0}
    total = depth + 2

    def report(done: int) -> None:
        if on_progress is not None:
            on_progress(done, total, "blocks")

    report(0)
    runs = [_Run(plan, ids.split(plan.batch), "reruns" if i else "blocks") for i, plan in enumerate(plans)]
    for role, source in (("original", original), ("compressed", compressed)):
        with source.front(ids) as embed:
            for run in runs:
                with run.timed(seconds), run.settings(source):
                    run.embed(role, source, run.h if role == "original" else run.g, embed)
    for h, g in zip(runs[0].h, runs[0].g, strict=True):
        found.initial += error_of(as_rows(g), as_rows(h))
    report(1)
    wanted, places = original.view.dtype, {t: i for i, t in enumerate(kept)}
    for t in range(depth):
        middle: list[Tensor] = []
        with original.block(t) as f:
            for run in runs:
                with run.timed(seconds), run.settings(original):
                    if run is runs[0]:
                        middle = [run.block("original", f, t, g.to(wanted)) for g in run.g]
                    for i in range(len(run.h)):  # a state is let go as soon as the next one is there
                        run.h[i] = run.block("original", f, t, run.h[i])
        with compressed.block(places[t]) if t in places else nullcontext() as own:
            for run in runs:
                with run.timed(seconds), run.settings(compressed):
                    for i in range(len(run.g)):
                        if own is not None:
                            run.g[i] = run.block("compressed", own, places[t], run.g[i])
                        if run is runs[0]:
                            add_energy(found.blocks[t], as_rows(run.h[i]), as_rows(middle.pop(0)), as_rows(run.g[i]))
        report(t + 2)
    with original.head() as f, compressed.head() as own:
        for run, rerun in zip(runs, (None, *found.reruns), strict=True):
            with run.timed(seconds), _threads(run.plan.threads):
                for part, h, g in zip(run.parts, run.h, run.g, strict=True):
                    if rerun is None:
                        found.windows += _head(found.blocks[depth], part, h, g, f, own, run.plan.head_tokens, wanted)
                        continue
                    for x, y in _chunks(h, g, run.plan.head_tokens):
                        rerun += error_of(as_rows(*own(y)), as_rows(*f(x)))
    report(depth + 2)
    seconds["read"] = original.read_seconds + compressed.read_seconds - read
    return found


def _chunks(h: Tensor, g: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Flattened states (tokens, width) of both models, ``size`` tokens at a time."""
    yield from zip(h.flatten(0, 1).split(size), g.flatten(0, 1).split(size), strict=True)


@dataclass
class _Positions:
    """Figures of positions in the order of the tokens; each a list of arrays."""

    sums: list[TokenSums] = field(default_factory=list)
    columns: list[list[np.ndarray]] = field(default_factory=lambda: [[] for _ in range(11)])


def _head(
    energy: BlockEnergy, ids: Tensor, h: Tensor, g: Tensor, f: Callable, own: Callable, size: int, wanted: torch.dtype
) -> list[WindowUnits]:
    """Add the head's sums of a batch of windows and give the figures of each window."""
    windows, length = ids.shape
    # the last position of a window has no next token; token 0 stands in and its figures are not used
    targets = torch.cat([ids[:, 1:], ids.new_zeros(windows, 1)], dim=1).flatten().cpu().numpy()
    found, start = _Positions(), 0
    for x, y in _chunks(h, g, size):
        before, middle, after = (as_rows(logits) for logits in (*f(x, y.to(wanted)), *own(y)))
        found.sums.append(add_energy(energy, before, middle, after))
        step = max(1, _LOGIT_CHUNK // before.shape[1])
        for low in range(0, len(before), step):
            rows = slice(low, low + step)
            _positions(found, before[rows], after[rows], targets[start + low : start + low + len(before[rows])])
        start, vocabulary = start + len(before), before.shape[1]
        del before, middle, after  # before the next ones are made
    sums = TokenSums.join(found.sums)
    columns = [np.concatenate(column).reshape(windows, length) for column in found.columns]
    return [
        _window(sums[w * length : (w + 1) * length], vocabulary, *(column[w] for column in columns))
        for w in range(windows)
    ]


def _positions(found: _Positions, before: np.ndarray, after: np.ndarray, target: np.ndarray) -> None:
    z, w = before.astype(np.float64, copy=False), after.astype(np.float64, copy=False)
    change = loss_change(z, w, target)
    top_z, top_w = z.argmax(axis=1), w.argmax(axis=1)
    rows = np.arange(len(z))
    tied = ((z == z[rows, top_z, None]).sum(axis=1) > 1) | ((w == w[rows, top_w, None]).sum(axis=1) > 1)
    loss_after = change.loss_before + (change.low + change.high) / 2
    values = (
        change.low, change.high, change.kl_low, change.kl_high, change.theorem_low, change.theorem_high,
        change.oscillation, top_z == top_w, tied, change.loss_before, loss_after,
    )
    for column, value in zip(found.columns, values, strict=True):
        column.append(value)


def _window(sums: TokenSums, vocabulary: int, *columns: np.ndarray) -> WindowUnits:
    same, tied = columns[7], columns[8]
    low, high, kl_low, kl_high, theorem_low, theorem_high, osc = (c[:-1] for c in columns[:7])

    def exact(x: np.floating) -> Fraction:
        return Fraction(float(x))

    return WindowUnits(
        error_sq=window_error(sums, vocabulary),
        oscillation_max=exact(osc.max()),
        oscillation_sum=exact_sum(osc),
        loss_change=Interval(exact_sum(low), exact_sum(high)),
        loss_change_theorem=Interval(exact_sum(theorem_low), exact_sum(theorem_high)),
        loss_change_largest=Interval(exact(low.max()), exact(high.max())),
        loss_change_smallest=Interval(exact(low.min()), exact(high.min())),
        kl=Interval(exact_sum(kl_low), exact_sum(kl_high)),
        kl_largest=Interval(exact(kl_low.max()), exact(kl_high.max())),
        same_top=int(same.sum()),
        tied=[int(i) for i in np.flatnonzero(tied)],
        loss_original=float(columns[9][:-1].mean()),
        loss_compressed=float(columns[10][:-1].mean()),
    )
