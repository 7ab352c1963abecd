"""Measure rho: the block-to-block ratio of relative error energies after noise on the token embedding.

With states ``h_l`` of a clean pass and ``h~_l`` of a perturbed one, at the output of block ``l`` (from 0),

    V_l = mean over tokens of |h~_l - h_l|^2 / |h_l|^2        rho[i] = V_{i+1} / V_i

so ``rho[i]`` belongs to the step *into* block ``i + 1``. It is a ratio of squared, relative, token-averaged
energies: measured, not a gain, and never an argument of `peelverify.bounds.propagation.chain_bound`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.bounds.propagation import telescope
from peelverify.errors import DomainError, InputError, InvariantError, NonFiniteError, NumericalError
from peelverify.evaluate.stream import (
    as_view,
    batches,
    block_outputs,
    check_windows,
    ids_digest,
    run_backbone,
)
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = [
    "PrecisionWarning", "RhoProfile", "Variant", "measure_rho", "noise_floor", "token_noise", "token_sq", "wide_state",
]

Variant = Literal["squared_relative", "relative", "absolute"]
_FLOOR_MARGIN = 100.0


class PrecisionWarning(UserWarning):
    """A measured energy is so small that rounding of the states may have made it."""


def noise_floor(dtype: torch.dtype, block: int) -> float:
    """Relative energy that rounding alone leaves after ``block`` blocks, an estimate.

    Each block adds to the residual stream twice; a rounding error spread evenly over one unit in the last
    place has mean square ``eps^2 / 12``.
    """
    return 2 * (block + 1) * torch.finfo(dtype).eps ** 2 / 12


@dataclass(frozen=True, eq=False)
class RhoProfile:
    """Energies of a perturbation at every block output, and what follows from them. All numbers are measured.

    D draws, W windows, L blocks.

    Attributes:
        energy_by_window: (D, W, L) mean over the tokens of a window of |e|^2 / |h|^2 at block outputs.
        absolute_energy: (D, L) mean over all tokens of |e|^2.
        entry_energy: (D,) as ``energy``, at the input of block 0.
        epsilon: noise scale relative to the root mean square of the token embeddings.
        seed: seed of the noise.
        tokens: tokens perturbed in each draw.
        dtype: dtype of the states.
        floor: (L,) estimate of the energy that rounding alone leaves; see `noise_floor`.
        ids_sha256: digest of the token ids.
        warnings: what makes the profile doubtful, in sentences.
    """

    energy_by_window: np.ndarray
    absolute_energy: np.ndarray
    entry_energy: np.ndarray
    epsilon: float
    seed: int
    tokens: int
    dtype: str
    floor: np.ndarray
    ids_sha256: str
    warnings: tuple[str, ...] = field(default=())

    @property
    def energy(self) -> np.ndarray:
        """(D, L) mean over all tokens of |e|^2 / |h|^2 at block outputs: V_l of each draw."""
        return self.energy_by_window.mean(axis=1)

    @property
    def draws(self) -> int:
        """Number of noise draws."""
        return self.energy_by_window.shape[0]

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.energy_by_window.shape[2]

    @property
    def rho(self) -> np.ndarray:
        """(D, L-1) ``rho[:, i] = V_{i+1} / V_i``: from the output of block i to the output of block i + 1."""
        return _steps(self.energy)

    @property
    def rho_into(self) -> np.ndarray:
        """(D, L) ratio across each block, from input to output; block 0 starts at ``entry_energy``."""
        return _steps(np.concatenate([self.entry_energy[:, None], self.energy], axis=1))

    @property
    def amplification(self) -> np.ndarray:
        """(L,) ``A_t`` = product of the median rho of all later steps; the last entry is 1."""
        return _later_products(np.median(self.rho, axis=0))

    def variant(self, name: Variant) -> np.ndarray:
        """(D, L-1) step ratios by one of three definitions in use.

        Args:
            name: "squared_relative" is `rho`; "relative" its square root, a ratio of norms; "absolute" the
                ratio of root-mean-square errors without division by the state, which shows growth of the
                error where a growing state hides it.
        """
        if name == "squared_relative":
            return self.rho
        if name == "relative":
            return np.sqrt(self.rho)
        if name == "absolute":
            return np.sqrt(_steps(self.absolute_energy))
        raise InputError(
            f"variant needs 'squared_relative', 'relative' or 'absolute', got {name!r}; name one of them"
        )

    def interval(
        self,
        quantity: Literal["rho", "amplification"] = "rho",
        *,
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Percentile bootstrap interval of the medians, over draws and windows together.

        Args:
            quantity: "rho", (L-1,) medians over draws, or "amplification", (L,).
            level: coverage aimed at, in (0, 1).
            resamples: bootstrap samples.
            seed: seed of the resampling.

        Returns:
            Lower and upper ends.

        Raises:
            InputError: a single draw of a single window, which has no spread; unknown quantity.

        Not for:
            Other texts than these: windows of one document are not a sample of all documents.
        """
        draws, windows, _ = self.energy_by_window.shape
        if quantity not in ("rho", "amplification"):
            raise InputError(f"interval needs 'rho' or 'amplification', got {quantity!r}; name one of them")
        if not 0 < level < 1 or resamples < 1:
            raise DomainError(
                f"interval needs 0 < level < 1 and resamples >= 1, got {level}, {resamples}; see the defaults"
            )
        if draws * windows < 2:
            raise InputError("interval needs at least two draws or windows, got one of each; raise draws")
        rng = np.random.default_rng(seed)
        samples = []
        for _ in range(resamples):
            some = self.energy_by_window[rng.integers(draws, size=draws)]
            picked = some[:, rng.integers(windows, size=windows)]
            median = np.median(_steps(picked.mean(axis=1)), axis=0)
            samples.append(median if quantity == "rho" else _later_products(median))
        tail = (1 - level) / 2
        low, high = np.quantile(np.asarray(samples), [tail, 1 - tail], axis=0)
        return low, high

    def check_telescoping(self) -> None:
        """Confirm on exact fractions that first energy times all steps gives the last energy.

        The identity is `PeelVerify.energy_eq_mul_prod`. A stored step is a quotient rounded once, so the
        exact product of L-1 of them is within ``(1 + u)^(L-1) - 1`` of the exact ratio, u = 2^-53.

        Raises:
            InvariantError: if it fails.
        """
        slack = (1 + Fraction(1, 2**53)) ** (self.depth - 1) - 1
        for draw, (energy, rho) in enumerate(zip(self.energy, self.rho, strict=True)):
            last = Fraction(float(energy[-1]))
            product = telescope(Fraction(float(energy[0])), [Fraction(float(r)) for r in rho])
            if abs(product - last) > slack * last:
                raise InvariantError(
                    "rho needs V_first * product(rho) = V_last, got a difference beyond rounding; report this",
                    draw=draw, product=product, last=last,
                )

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.rho/1``."""
        low: list[float] | None
        high: list[float] | None
        low = high = below = above = None
        if self.draws * self.energy_by_window.shape[1] > 1 and self.depth > 1:
            low, high = (end.tolist() for end in self.interval())
            below, above = (end.tolist() for end in self.interval("amplification"))
        return {
            "schema": "peelverify.rho/1",
            "blocks": self.depth,
            "draws": self.draws,
            "windows": self.energy_by_window.shape[1],
            "tokens": self.tokens,
            "epsilon": self.epsilon,
            "seed": self.seed,
            "dtype": self.dtype,
            "ids_sha256": self.ids_sha256,
            "definition": "rho[i] = V[i+1]/V[i]; V = mean over tokens of |e|^2/|h|^2 at block outputs",
            "energy": self.energy.tolist(),
            "absolute_energy": self.absolute_energy.tolist(),
            "entry_energy": self.entry_energy.tolist(),
            "rho": self.rho.tolist(),
            "rho_median": np.median(self.rho, axis=0).tolist(),
            "rho_interval_95_low": low,
            "rho_interval_95_high": high,
            "rho_absolute_median": np.median(self.variant("absolute"), axis=0).tolist(),
            "amplification": self.amplification.tolist(),
            "amplification_interval_95_low": below,
            "amplification_interval_95_high": above,
            "noise_floor_energy": self.floor.tolist(),
            "least_energy_over_noise_floor": float((self.energy / self.floor).min()),
            "warnings": list(self.warnings),
        }


def _steps(energy: np.ndarray) -> np.ndarray:
    return energy[:, 1:] / energy[:, :-1]


def _later_products(steps: np.ndarray) -> np.ndarray:
    return np.append(np.cumprod(steps[::-1])[::-1], 1.0)


@measured("a statistic of random perturbations of one model; no theorem ties it to the effect of compression")
@torch.no_grad()
def measure_rho(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    *,
    epsilon: float = 0.01,
    draws: int = 8,
    seed: int = 0,
    on_pass: Callable[[int, int], None] | None = None,
) -> RhoProfile:
    """Perturb the token embeddings and follow the error through the blocks.

    Gaussian noise of standard deviation ``epsilon * |E|_F / sqrt(numel(E))`` is added once to the output
    ``E`` of the token-embedding module. One clean pass, then one pass a draw; energies are accumulated in
    float64.

    Args:
        model: a decoder; float32 or wider, else see *Raises* and the profile's ``warnings``.
        input_ids: token ids (windows, length); the published routine takes one window of 512 tokens.
        epsilon: relative size of the noise, > 0.
        draws: number of noise draws, >= 1; the published figures come from one.
        seed: seed of the noise. Window ``w`` of draw ``d`` has its own stream, so the result does not depend
            on how windows are batched.
        on_pass: called with (forward passes done, in all).

    Raises:
        DomainError: epsilon not positive and finite, draws < 1.
        InputError: ids that do not fit the model.
        NonFiniteError: NaN or infinite states.
        NumericalError: the perturbation vanished in rounding.

    Warns:
        PrecisionWarning: if an energy is less than 100 times the rounding floor of the dtype (bfloat16 with
            the published epsilon is there).

    Not for:
        The error of a compressed model: that is `peelverify.certify`. A perturbation of the embedding is not
        the perturbation that compressing a block makes.

    Source:
        [Basu2026]. Deviations: (1) several draws, each returned; (2) a vanishing energy is an error, where
        the published routine reports rho = 0; (3) the energy entering block 0 is kept too.
    """
    view = as_view(model)
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise DomainError(f"measure_rho needs a finite epsilon > 0, got {epsilon}; 0.01 is the published one")
    if draws < 1:
        raise DomainError(f"measure_rho needs draws >= 1, got {draws}; 8 is the default")
    if seed < 0:
        raise DomainError(f"measure_rho needs seed >= 0, got {seed}; name a stream of noise")
    input_ids = check_windows(view, input_ids, function="measure_rho")
    scale = epsilon * _embedding_rms(view, input_ids)
    parts = list(batches(input_ids, 2048))
    total = len(parts) * (draws + 1)
    done = 0
    relative: list[list[np.ndarray]] = [[] for _ in range(draws)]  # per draw: (L+1, windows of the part)
    absolute: list[list[np.ndarray]] = [[] for _ in range(draws)]
    window = 0
    for part in parts:
        clean = _States(view, part)
        done += 1
        if on_pass is not None:
            on_pass(done, total)
        for draw in range(draws):
            noise = torch.stack(
                [token_noise(part.shape[1], clean.width, seed, draw, window + w) for w in range(len(part))]
            )
            with view.embedding_noise((noise * scale).to(device=view.device, dtype=view.dtype)):
                of_states, of_errors = clean.energies(part)
            relative[draw].append(of_states)
            absolute[draw].append(of_errors)
            done += 1
            if on_pass is not None:
                on_pass(done, total)
        window += len(part)
    energies = np.stack([np.concatenate(row, axis=1).T for row in relative])  # (D, W, L+1)
    errors = np.stack([np.concatenate(row, axis=1).mean(axis=1) for row in absolute])  # (D, L+1)
    if not np.isfinite(energies).all():
        raise NonFiniteError("measure_rho needs finite states, got NaN, infinity or zero; check the weights")
    if not (energies.mean(axis=1) > 0).all():
        raise NumericalError(
            f"measure_rho needs a perturbation that survives rounding, got none at epsilon {epsilon} in "
            f"{view.dtype}; raise epsilon or load the model in float32"
        )
    floor = np.array([noise_floor(view.dtype, t) for t in range(view.depth)])
    profile = RhoProfile(
        energy_by_window=energies[:, :, 1:],
        absolute_energy=errors[:, 1:],
        entry_energy=energies[:, :, 0].mean(axis=1),
        epsilon=float(epsilon),
        seed=seed,
        tokens=input_ids.numel(),
        dtype=str(view.dtype).removeprefix("torch."),
        floor=floor,
        ids_sha256=ids_digest(input_ids),
        warnings=_doubts(energies[:, :, 1:].mean(axis=1), floor, view.dtype),
    )
    for sentence in profile.warnings:
        warnings.warn(sentence, PrecisionWarning, stacklevel=3)
    profile.check_telescoping()
    return profile


def _doubts(energy: np.ndarray, floor: np.ndarray, dtype: torch.dtype) -> tuple[str, ...]:
    ratio = energy / floor
    if ratio.min() >= _FLOOR_MARGIN:
        return ()
    block = int(ratio.min(axis=0).argmin())
    return (
        f"the energy after block {block} is only {ratio.min():.1f} times the rounding floor of "
        f"{str(dtype).removeprefix('torch.')}; measure in float32 or raise epsilon",
    )


def _embedding_rms(view: ModelView, input_ids: Tensor) -> float:
    squares, count = 0.0, 0
    for part in batches(input_ids):
        embedded = view.embedding(part)
        squares += float(torch.linalg.vector_norm(embedded, dtype=torch.float64)) ** 2
        count += embedded.numel()
    return math.sqrt(squares / count)


def token_noise(length: int, width: int, seed: int, draw: int, window: int) -> Tensor:
    """Standard normal (length, width), float32, made on the CPU so that every device sees the same noise."""
    state = int(np.random.SeedSequence([seed, draw, window]).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(state & (2**63 - 1))
    return torch.randn(length, width, generator=generator)


class _States:
    """Clean states of a batch: the input of block 0, then the output of every block."""

    def __init__(self, view: ModelView, input_ids: Tensor) -> None:
        self.view = view
        self.states: list[Tensor] = []
        self.norms: list[Tensor] = []

        def keep(state: Tensor) -> None:
            self.states.append(wide_state(state))
            self.norms.append(token_sq(self.states[-1]))

        self._follow(input_ids, lambda index, state: keep(state))
        self.width = int(view.embedding(input_ids[:1, :1]).shape[-1])

    def _follow(self, input_ids: Tensor, receive: Callable[[int, Tensor], None]) -> None:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            receive(0, args[0] if args else kwargs["hidden_states"])

        handle = self.view.blocks[0].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with block_outputs(self.view, lambda index, state: receive(index + 1, state)):
                run_backbone(self.view, input_ids)
        finally:
            handle.remove()

    def energies(self, input_ids: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Run again and compare: (L+1, windows) token means of |e|^2/|h|^2 and of |e|^2."""
        relative: list[Tensor] = []
        absolute: list[Tensor] = []

        def compare(index: int, state: Tensor) -> None:
            error = token_sq(wide_state(state) - self.states[index])
            relative.append((error / self.norms[index]).mean(dim=1))
            absolute.append(error.mean(dim=1))

        self._follow(input_ids, compare)
        return torch.stack(relative).cpu().numpy(), torch.stack(absolute).cpu().numpy()


def wide_state(state: Tensor) -> Tensor:
    """The state in float32 or wider, so that differences carry no coarser rounding."""
    return state if state.dtype == torch.float64 else state.float()


def token_sq(x: Tensor) -> Tensor:
    """Squared norms along the width, summed in float64."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).square()
