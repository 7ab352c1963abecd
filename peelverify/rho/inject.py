"""Perturb one block's output, or compare with a compressed model: errors that compression makes, not the embedding's.

`measure_rho` perturbs the embedding; compressing block t disturbs the output of block t. Here the same energies
are followed from there on, for random noise (`inject_noise`) and for the actual residual (`residual_profile`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.errors import DomainError, NumericalError, ShapeError
from peelverify.evaluate.stream import as_view, batches, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.measure import token_noise, token_sq, wide_state

__all__ = ["Injection", "ResidualProfile", "inject_noise", "residual_profile"]


@dataclass(frozen=True, eq=False)
class Injection:
    """Noise put in at each block output, and what is left of it at the last. D draws, L blocks; measured.

    Attributes:
        start_energy: (D, L) relative energy where it was put in: mean over tokens of |e|^2 / |h|^2.
        end_energy: (D, L) relative energy after the last block, by the block where it was put in.
        start_absolute: (D, L) mean over tokens of |e|^2 where it was put in.
        end_absolute: (D, L) mean over tokens of |e|^2 after the last block.
    """

    start_energy: np.ndarray
    end_energy: np.ndarray
    start_absolute: np.ndarray
    end_absolute: np.ndarray

    @property
    def amplification(self) -> np.ndarray:
        """(D, L) relative energy at the end over that at the start: the counterpart of `RhoProfile.amplification`."""
        return self.end_energy / self.start_energy

    @property
    def absolute_amplification(self) -> np.ndarray:
        """(D, L) ratio of root-mean-square errors, not divided by the states."""
        return np.sqrt(self.end_absolute / self.start_absolute)


@measured("a statistic of random perturbations of one model")
@torch.no_grad()
def inject_noise(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    *,
    epsilon: float = 0.01,
    draws: int = 4,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Injection:
    """Add noise to the output of each block in turn and follow it to the last block.

    The noise has standard deviation ``epsilon`` times the root mean square of that output over the tokens of a
    batch. Costs ``draws * L (L - 1) / 2`` block evaluations and one pass.

    Args:
        model: a decoder, float32 or wider.
        input_ids: token ids (windows, length).
        epsilon: relative size of the noise, > 0.
        draws: number of draws, >= 1.
        seed: seed of the noise.
        on_step: called with (windows done, in all).

    Raises:
        DomainError: epsilon or draws out of range.
        InputError: ids that do not fit the model.
    """
    view = as_view(model)
    if not (math.isfinite(epsilon) and epsilon > 0) or draws < 1 or seed < 0:
        raise DomainError(
            f"inject_noise needs epsilon > 0, draws >= 1 and seed >= 0, got {epsilon}, {draws} and {seed}"
        )
    input_ids = check_windows(view, input_ids, function="inject_noise")
    sums = np.zeros((4, draws, view.depth))
    window = 0
    for batch in batches(input_ids, 2048):
        trace = view.trace(batch)
        norms = [token_sq(wide_state(state)) for state in trace.states]
        last = wide_state(trace.states[-1])
        for block in range(view.depth):
            clean = trace.states[block + 1]
            scale = epsilon * math.sqrt(float(norms[block + 1].mean()) / clean.shape[-1])
            for draw in range(draws):
                noise = torch.stack(
                    [
                        token_noise(clean.shape[1], clean.shape[2], seed, draw * view.depth + block, window + w)
                        for w in range(len(batch))
                    ]
                )
                state = clean + (noise * scale).to(device=clean.device, dtype=clean.dtype)
                start = token_sq(wide_state(state) - wide_state(clean))
                end = token_sq(wide_state(trace.run_from(block + 1, state)) - last)
                sums[:, draw, block] += [
                    float((start / norms[block + 1]).sum()), float((end / norms[-1]).sum()),
                    float(start.sum()), float(end.sum()),
                ]
        window += len(batch)
        if on_step is not None:
            on_step(window, len(input_ids))
    sums /= input_ids.numel()
    return Injection(*sums)


@dataclass(frozen=True, eq=False)
class ResidualProfile:
    """Error of a compressed model at every block output, on the same tokens. L blocks; measured.

    Attributes:
        energy: (L,) mean over tokens of |e|^2 / |h|^2 at the original's block outputs.
        absolute_energy: (L,) mean over tokens of |e|^2.
        tokens: number of tokens.
    """

    energy: np.ndarray
    absolute_energy: np.ndarray
    tokens: int

    @property
    def drift(self) -> float:
        """Relative energy after the last block."""
        return float(self.energy[-1])

    @property
    def ratio(self) -> np.ndarray:
        """(L-1,) V_{l+1} / V_l of the actual error; NaN where no error has entered yet."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.energy[1:] / self.energy[:-1]
        return np.where(np.isfinite(found), found, np.nan)

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.residual/1``."""

        def numbers(x: np.ndarray) -> list[float | None]:
            return [float(v) if math.isfinite(v) else None for v in x]

        return {
            "schema": "peelverify.residual/1", "tokens": self.tokens, "energy": numbers(self.energy),
            "absolute_energy": numbers(self.absolute_energy), "ratio": numbers(self.ratio),
        }


@measured("a statistic over sampled text; peelverify.certify encloses the same errors rigorously")
@torch.no_grad()
def residual_profile(
    original: ModelView | nn.Module,
    compressed: ModelView | nn.Module,
    input_ids: Tensor,
    *,
    kept: Sequence[int] | None = None,
) -> ResidualProfile:
    """Energies of the actual error of a compressed model, block by block.

    Args:
        original: the reference.
        compressed: its compression, of the same width.
        input_ids: token ids (windows, length).
        kept: indices of the original's blocks that the compressed model still has; all if None.

    Returns:
        Energies at the outputs of the original's blocks. A deleted block is compared with the identity, that
        is, with the compressed state that entered its place.

    Raises:
        ShapeError: widths differ, or ``kept`` does not fit the two models.
        NumericalError: a state is zero.
    """
    original, compressed = as_view(original), as_view(compressed)
    kept = list(range(original.depth)) if kept is None else list(kept)
    if len(kept) != compressed.depth or sorted(set(kept)) != kept or not set(kept) <= set(range(original.depth)):
        raise ShapeError(
            f"residual_profile needs kept to name {compressed.depth} of {original.depth} blocks in order, "
            f"got {kept}; it is in peelverify.json beside the compressed model"
        )
    if original.width != compressed.width:
        raise ShapeError(
            f"residual_profile needs models of one width, got {original.width} and {compressed.width}"
        )
    input_ids = check_windows(original, input_ids, function="residual_profile")
    check_windows(compressed, input_ids, function="residual_profile")
    sums = np.zeros((2, original.depth))
    for batch in batches(input_ids, 2048):
        one, two = original.trace(batch).states, compressed.trace(batch.to(compressed.device)).states
        place = 0
        for block in range(original.depth):
            place += block in kept
            clean = wide_state(one[block + 1])
            error = token_sq(wide_state(two[place]).to(clean.device) - clean)
            norm = token_sq(clean)
            if not bool((norm > 0).all()):
                raise NumericalError(f"residual_profile needs states other than zero, got zero after block {block}")
            sums[:, block] += [float((error / norm).sum()), float(error.sum())]
    energy, absolute = sums / input_ids.numel()
    return ResidualProfile(energy, absolute, input_ids.numel())
