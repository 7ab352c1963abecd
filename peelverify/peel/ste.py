"""Decoders whose block matrices have few bits: trained so, quantised whole afterwards, and chains of the same kind.

Training keeps float weights, computes with their few-bit image and lets the gradient pass straight through. At the
end the image replaces the weights, so the result is an ordinary decoder that can be saved. Embeddings, norms,
biases and head stay float, as in the networks that the peeling paper looks at.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from peelverify.compress.tokenweights import resolve_token_weights
from peelverify.errors import InputError
from peelverify.models.small import train_decoder
from peelverify.models.view import ModelView
from peelverify.peel.least_squares import TriangleSum, as_weights, one_thread
from peelverify.peel.lowbit import fit_binary, fit_ternary, round_to_nearest
from peelverify.peel.maps import Map, all_last
from peelverify.peel.memory import Chunk
from peelverify.peel.solvers import ClosedForm
from peelverify.peel.transformer import TransformerYes, yes_chain
from peelverify.peel.yes import status_of
from peelverify.registry import measured
from peelverify.verdict import Status

__all__ = [
    "KINDS", "BitsYes", "LowBitForm", "check_kind", "few_bits", "quantise_blocks", "train_low_bit", "yes_chain_low_bit",
]

KINDS = ("binary", "binary-row", "ternary", "2-bit", "3-bit", "4-bit", "8-bit")


def check_kind(kind: str) -> str:
    """Refuse a kind that is not in `KINDS`."""
    if kind not in KINDS:
        raise InputError(f"few bits come as {', '.join(KINDS)}, got {kind!r}; name one of them")
    return kind


@measured("a rounding rule; its error is measured where it is used")
def few_bits(weight: Tensor, kind: str) -> Tensor:
    """The few-bit image of a matrix.

    Args:
        weight: (outputs, inputs).
        kind: "binary" and "binary-row": mean magnitude, of the matrix or of each row, times the sign (0 counts as +);
            "ternary": magnitudes rounded to 0 or 1 times the mean magnitude; "k-bit": round to nearest on
            2^k - 1 levels around 0, the largest magnitude of each row on the last level.

    Raises:
        InputError: an unknown kind.

    Source:
        Binary and ternary rules as used by [Eamaz2026].
    """
    check_kind(kind)
    size = weight.abs()
    if kind.startswith("binary"):
        scale = size.mean(dim=1, keepdim=True) if kind.endswith("row") else size.mean()
        return torch.where(weight >= 0, 1.0, -1.0).to(weight) * scale
    if kind == "ternary":
        scale = size.mean()
        return (weight / scale.clamp_min(torch.finfo(weight.dtype).tiny)).round().clamp(-1, 1) * scale
    top = 2 ** (int(kind.partition("-")[0]) - 1) - 1
    scale = size.amax(dim=1, keepdim=True) / top
    return (weight / scale.clamp_min(torch.finfo(weight.dtype).tiny)).round().clamp(-top, top) * scale


class _StraightThrough(nn.Module):
    """Few bits forward, identity backward."""

    def __init__(self, kind: str, transposed: bool) -> None:
        super().__init__()
        self.kind, self.transposed = kind, transposed

    def forward(self, weight: Tensor) -> Tensor:
        """The image of a stored weight, with the gradient of the weight itself."""
        image = few_bits(weight.T, self.kind).T if self.transposed else few_bits(weight, self.kind)
        return weight + (image - weight).detach()


def _linears(view: ModelView) -> Iterable[nn.Module]:
    for index in range(view.depth):
        yield from view.linears(index).values()


def quantise_blocks(view: ModelView, kind: str) -> ModelView:
    """A copy of a decoder with every block matrix replaced by its few-bit image.

    Args:
        view: the decoder; left as it is.
        kind: see `few_bits`.
    """
    check_kind(kind)
    found = ModelView(copy.deepcopy(view.model))
    with torch.no_grad():
        for linear in _linears(found):
            weight = ModelView.weight(linear)
            weight.copy_(few_bits(weight, kind))
    return found


def train_low_bit(
    view: ModelView, ids: Tensor, kind: str, *, steps: int, batch: int = 16, learning_rate: float = 1e-3,
    warmup: int = 20, seed: int = 0, on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a decoder whose block matrices have few bits in every forward pass, and leave it with those weights.

    Args:
        view: the decoder, trained in place.
        ids: token ids (windows, length).
        kind: see `few_bits`.
        steps, batch, learning_rate, warmup, seed, on_step: as for `peelverify.models.small.train_decoder`.

    Returns:
        Training loss of each step, nats a token, of the few-bit network.

    Raises:
        InputError: an unknown kind.
    """
    check_kind(kind)
    linears = list(_linears(view))
    for linear in linears:
        transposed = type(linear).__name__ == "Conv1D"
        # unsafe: the check would compare types that are equal anyway, at the cost of a forward pass
        parametrize.register_parametrization(linear, "weight", _StraightThrough(kind, transposed), unsafe=True)
    try:
        losses = train_decoder(
            view, ids, steps=steps, batch=batch, learning_rate=learning_rate, warmup=warmup, seed=seed, on_step=on_step
        )
    finally:
        for linear in linears:
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        with torch.no_grad():
            for linear in linears:
                weight = ModelView.weight(linear)
                weight.copy_(few_bits(weight, kind))
    return losses


@dataclass
class LowBitForm(ClosedForm):
    """Least squares on fresh few-bit features: every matrix of a fitted block has few bits.

    Args:
        kind: see `few_bits`.
        refine: False for the published fit (rounded least squares with the best scale), True to change single
            entries as long as the error falls.
    """

    kind: str = "binary"
    refine: bool = True
    name: str = "low-bit"
    #: A tied head must not move the last block's matrix off its grid.
    few_bits: bool = True
    samples: Chunk = field(
        default_factory=lambda: Chunk(sys.maxsize, "a fit with few bits", "rows"), init=False, repr=False,
        compare=False,
    )

    def __post_init__(self) -> None:
        check_kind(self.kind)

    @property
    def budget(self) -> dict[str, float]:
        """What a result reports."""
        return {"feature_scale": self.scale, "head_steps": self.head_steps, "refined": float(self.refine)}

    @torch.no_grad()
    def prepare(self, block: nn.Module, seed: int) -> None:
        """Draw every matrix anew, then take its few-bit image."""
        super().prepare(block, seed)
        for module in block.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2:
                rows = ModelView.weight(module)
                rows.copy_(few_bits(rows, self.kind))

    def _solve(
        self, linear: nn.Module, features: Tensor, targets: Sequence[Tensor], weights: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Few-bit fits for each target; with a bias, on centred features and targets."""
        has_bias = getattr(linear, "bias", None) is not None
        wide = features.flatten(0, 1)
        counts = None if weights is None else weights.flatten()
        found = []
        for target in targets:
            work = functools.partial(self._centred, wide, target.flatten(0, 1), counts, has_bias)
            with one_thread(wide.shape[1]):
                z, t, middle, level = self.samples.anew(len(wide), work)
                matrix = self._pattern(z, t)
            weight = torch.from_numpy(np.ascontiguousarray(matrix)).to(features)
            bias = torch.from_numpy(level - matrix @ middle).to(features) if has_bias else None
            found.append((weight, bias))
        return found

    @staticmethod
    def _centred(
        wide: Tensor, goal: Tensor, counts: Tensor | None, has_bias: bool, size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Features and targets of the fit, and the means taken off them.

        Rows are scaled by the roots of their weights. Of more than ``size`` samples only the triangular factor comes
        back: it has the same products, so the same fits.
        """
        cuts = [slice(i, i + size) for i in range(0, len(wide), size)]

        def read(cut: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            z, t = (a[cut].double().cpu().numpy() for a in (wide, goal))
            count = np.ones(len(z)) if counts is None else as_weights(counts[cut], len(z), function="LowBitForm")
            return z, t, count[:, None]

        middle, level = np.zeros(wide.shape[1]), np.zeros(goal.shape[1])
        if has_bias:
            sums = [((n * z).sum(axis=0), (n * t).sum(axis=0), n.sum()) for z, t, n in map(read, cuts)]
            total = sum(s[2] for s in sums) or 1.0
            middle, level = sum(s[0] for s in sums) / total, sum(s[1] for s in sums) / total
        gathered = TriangleSum(bias=False)
        for cut in cuts:
            z, t, count = read(cut)
            root = np.sqrt(count)
            z, t = root * (z - middle), root * (t - level)
            if len(cuts) == 1:
                return z, t, middle, level
            gathered.add(z, t)
        return gathered.triangle[:, : wide.shape[1]], gathered.triangle[:, wide.shape[1] :], middle, level

    def _pattern(self, z: np.ndarray, t: np.ndarray) -> np.ndarray:
        if not t.any() or not z.any():
            return np.zeros((t.shape[1], z.shape[1]))
        if self.kind.startswith("binary"):
            return fit_binary(z, t, per_row=self.kind.endswith("row"), refine=self.refine).matrix
        if self.kind == "ternary":
            return fit_ternary(z, t, refine=self.refine).matrix
        return round_to_nearest(z, t, int(self.kind.partition("-")[0]), refine=self.refine).matrix


@dataclass(frozen=True)
class BitsYes:
    """Chains of one decoder in float, few bits as published, and few bits refined: same maps, windows and seed."""

    kind: str
    float_chains: TransformerYes
    published: TransformerYes
    refined: TransformerYes

    def distortion(self, target: Map) -> float:
        """Loss of the refined few-bit chain less that of the float chain, nats a token (witnessed).

        What the few bits cost. A gap of the model to the *few-bit* chain beyond it is one of optimisation.
        """
        return self.refined.chains[target].loss - self.float_chains.chains[target].loss

    @property
    def status(self) -> Status:
        """Status of the model among the few-bit chains alone, the smaller of published and refined for each map."""
        best = {m: min(self.published.chains[m].loss, c.loss) for m, c in self.refined.chains.items()}
        return status_of(self.refined.deciding_loss, best[all_last(len(next(iter(best))))], min(best.values()))

    def to_json(self) -> dict[str, Any]:
        """Plain values for the file of `peelverify peel`, nats a token."""
        refined = self.refined
        return {
            "kind": self.kind,
            "words": {"maps": "witnessed: complete decoders whose block matrices have few bits, or float ones",
                      "distortion": "refined few-bit chain less the float chain of the same map and features"},
            "loss_nats_per_token": refined.deciding_loss,
            "status_among_few_bits": self.status.name,
            "best_float": self.float_chains.best, "best_published": self.published.best, "best_refined": refined.best,
            "best_map_refined": list(refined.best_map),
            "distortion_of_best_map": self.distortion(refined.best_map),
            "gap_to_best_refined": refined.deciding_loss - refined.best,
            "maps": [
                {
                    "map": list(m), "float": self.float_chains.chains[m].loss,
                    "published": self.published.chains[m].loss, "refined": c.loss, "distortion": self.distortion(m),
                }
                for m, c in refined.chains.items()
            ],
        }


@measured("witnessed losses of complete decoders with few bits")
def yes_chain_low_bit(
    view: ModelView, ids: Tensor, kind: str, *, maps: Iterable[Iterable[int]] | None = None, seed: int = 0,
    held_out: Tensor | None = None, budget: int = 25, token_weights: str | Tensor | np.ndarray | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> BitsYes:
    """Chains of a decoder with few bits, beside the float ones.

    Args:
        view: a decoder, trained in few bits or quantised afterwards (a float one is compared with few-bit chains too).
        ids, maps, seed, held_out, token_weights, on_progress: as for `yes_chain`.
        kind: see `few_bits`.
        budget: L-BFGS steps of the heads.

    Raises:
        InputError: an unknown kind; else as `yes_chain`.

    Source:
        [Eamaz2026] for the binary fit.
    """
    check_kind(kind)
    chosen = None if maps is None else [tuple(m) for m in maps]
    weights = resolve_token_weights(view, ids, token_weights, function="yes_chain_low_bit")
    found = [
        yes_chain(
            view, ids, maps=chosen, solver=solver, seed=seed, held_out=held_out, token_weights=weights,
            on_progress=on_progress,
        )
        for solver in (
            ClosedForm(head_steps=budget), LowBitForm(head_steps=budget, kind=kind, refine=False),
            LowBitForm(head_steps=budget, kind=kind, refine=True),
        )
    ]
    return BitsYes(kind, *found)
