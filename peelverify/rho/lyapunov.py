"""Does a residual network shrink errors, and what do operator norms say about it? Measured against the worst case.

With ``h`` entering a sub-layer ``f``, ``L_f`` a product of operator norms, ``sigma = |h| / sqrt(width)`` the scale
that its norm divides by and ``g = |f(h)| / |h|``, the usual account of contraction asks for ``L_f / sigma < g`` and
predicts a ratio of squared relative errors of ``((1 + L_f / sigma) / (1 + g))^2``. Both are reported beside what was
measured, with the factor between them: how vacuous the account is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.bounds.propagation import gain_product
from peelverify.enclose import norm_op2_upper
from peelverify.errors import InputError
from peelverify.evaluate.stream import as_view, batches, block_outputs, check_windows, run_backbone
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.depthuse import depth_use
from peelverify.rho.measure import RhoProfile, token_sq, wide_state

__all__ = ["LyapunovReport", "lyapunov_report", "operator_gains"]


@dataclass(frozen=True, eq=False)
class LyapunovReport:
    """Measured energies beside the prediction from operator norms; L blocks, two sub-layers each. Measured.

    Attributes:
        energy: (L,) median over draws of V_t, relative energy at block outputs.
        rho: (L,) median ratio across each block, its input to its output.
        gain: (L, 2) ``L_f / sigma`` of attention and MLP.
        contribution: (L, 2) ``g``: mean over tokens of |f(h)| / |h|.
        contraction: (L, 2) whether ``L_f / sigma < g``.
        predicted: (L,) product over the two sub-layers of ``((1 + L_f / sigma) / (1 + g))^2``.
        log10_vacuity: (L,) decimal logarithm of ``predicted / rho``: how many orders of magnitude it is off.
        log10_chain: decimal logarithm of the product of all ``1 + L_f / sigma``, squared and divided by the measured
            growth of the squared error: the same for the whole chain of blocks, in absolute errors.
    """

    energy: np.ndarray
    rho: np.ndarray
    gain: np.ndarray
    contribution: np.ndarray
    contraction: np.ndarray
    predicted: np.ndarray
    log10_vacuity: np.ndarray
    log10_chain: float

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.lyapunov/1``."""
        return {"schema": "peelverify.lyapunov/1"} | {
            k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()
        }


@measured("operator norms are enclosed; that they bound a block with attention and a gate is not claimed")
def operator_gains(model: ModelView | nn.Module) -> np.ndarray:
    """Product of operator norms of each sub-layer: largest norm among its inner maps, times that of its output map.

    For attention the inner map is that of the values (the whole matrix where queries, keys and values share one). A
    norm counts with the largest factor by which it multiplies: its weight, or in some families one more than its
    weight (Gemma). Which of the two is seen by running it.

    Args:
        model: a decoder.

    Returns:
        (L, 2) attention and MLP; float64, each factor rounded up by less than 1e-6 relative.

    Raises:
        InputError: a block without the maps that its family names, or with norms that do something else.
    """
    view = as_view(model)
    found = np.empty((view.depth, 2))
    for t in range(view.depth):
        linears = view.linears(t)
        for place, out in enumerate((view.family.attention_out, view.family.mlp_out)):
            prefix = out.rpartition(".")[0]
            others = [n for n in linears if n != out and n.rpartition(".")[0] == prefix]
            if place == 0:
                others = [n for n in others if not n.endswith(("q_proj", "k_proj"))]
            if out not in linears or not others:
                raise InputError(
                    f"operator_gains needs {out} and the maps before it in block {t}, got {', '.join(linears)}; "
                    "this variant is not supported"
                )
            inner = max(float(norm_op2_upper(view.weight(linears[n]).detach())) for n in others)
            found[t, place] = inner * float(norm_op2_upper(view.weight(linears[out]).detach()))
        plain = [m for m in view.blocks[t].children() if getattr(m, "weight", None) is not None]
        norms = [m for m in plain if m.weight.ndim == 1]
        if len(norms) > 2:
            raise InputError(
                f"operator_gains needs one norm before attention and one before the MLP in block {t}, got {len(norms)} "
                f"norms in {view.config.model_type}; this family is not supported here"
            )
        if norms:  # those before attention and MLP, in the order of the block; one where both share it
            found[t] *= [_largest_factor(m, t) for m in (norms[0], norms[-1])]
    return found


@torch.no_grad()
def _largest_factor(norm: nn.Module, block: int) -> float:
    """Largest |factor| of a norm, whose weight is read as it is or with one added, whichever the norm itself does."""
    weight = norm.weight.detach()  # type: ignore[union-attr,operator]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, len(weight), generator=generator).to(weight)
    odd = ((norm(x) - norm(-x)) / 2).double()[0, 0]  # without a bias
    wide = x.double()[0, 0]
    tolerance = 8 * torch.finfo(weight.dtype).eps ** 0.5
    for centred in (wide, wide - wide.mean()):
        plain = centred / centred.square().mean().sqrt()
        for factor in (weight.double(), 1 + weight.double()):
            if torch.allclose(odd, plain * factor, rtol=tolerance, atol=tolerance * float(factor.abs().max())):
                return float(factor.abs().max())
    raise InputError(
        f"operator_gains needs norms that multiply by their weight or by one more, got another kind in block {block}, "
        f"{type(norm).__name__}; this family is not supported here",
        block=block,
    )


@measured("statistics over sampled text beside products of operator norms")
@torch.no_grad()
def lyapunov_report(model: ModelView | nn.Module, input_ids: Tensor, profile: RhoProfile) -> LyapunovReport:
    """Put a measured profile beside the contraction condition and the worst case of the operator norms.

    Args:
        model: the decoder that was measured.
        input_ids: token ids (windows, length) for the sizes of states and updates.
        profile: from `measure_rho` on the same model.

    Raises:
        InputError: ids that do not fit, a profile of another depth, a family whose sub-layers cannot be separated.

    Not for:
        A bound on the effect of compression; see `peelverify.certify`. Attention moves errors between tokens and a
        gate multiplies two maps, which a product of operator norms does not cover.

    Source:
        [Basu2026]. Deviations: norms are enclosed from above instead of estimated; the weight of the norm before a
        sub-layer counts.
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="lyapunov_report")
    if profile.depth != view.depth:
        raise InputError(
            f"lyapunov_report needs a profile of {view.depth} blocks, got one of {profile.depth}; measure this model"
        )
    use = depth_use(view, input_ids)
    contribution = np.stack([use.attention, use.mlp], axis=1)
    sigma = _scales(view, input_ids)
    gain = operator_gains(view) / sigma[:, None]
    rho = np.median(profile.rho_into, axis=0)
    predicted = np.prod(((1 + gain) / (1 + contribution)) ** 2, axis=1)
    # the chain itself: gains of both sub-layers of every block, by the bound of the propagation theorems
    chain = float(gain_product([(1 + float(x), 0.0) for x in gain.ravel()]))
    grown = float(np.median(profile.absolute_energy[:, -1] / profile.absolute_energy[:, 0]))
    first = 2 * math.log10((1 + gain[0, 0]) * (1 + gain[0, 1]))  # the profile starts after block 0
    return LyapunovReport(
        energy=np.median(profile.energy, axis=0),
        rho=rho,
        gain=gain,
        contribution=contribution,
        contraction=gain < contribution,
        predicted=predicted,
        log10_vacuity=np.log10(predicted / rho),
        log10_chain=2 * math.log10(chain) - first - math.log10(grown),
    )


def _scales(view: ModelView, input_ids: Tensor) -> np.ndarray:
    """(L,) mean over tokens of |h| / sqrt(width) at the input of each block."""
    sums = np.zeros(view.depth)
    for batch in batches(input_ids, 2048):
        states: list[Tensor] = []

        def enter(module: nn.Module, args: Any, kwargs: Any, states: list[Tensor] = states) -> None:
            states.append(args[0] if args else kwargs["hidden_states"])

        handle = view.blocks[0].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with block_outputs(view, lambda index, state, s=states: s.append(state)):
                run_backbone(view, batch)
        finally:
            handle.remove()
        for t in range(view.depth):
            sums[t] += float(token_sq(wide_state(states[t])).sqrt().sum()) / math.sqrt(view.width)
    return sums / input_ids.numel()
