"""Contraction and worst case: each figure against numpy, the condition against the prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from peelverify.cli.app import main
from peelverify.errors import InputError
from peelverify.models import load_model
from peelverify.models.small import small_decoder
from peelverify.models.view import ModelView
from peelverify.rho.lyapunov import lyapunov_report, operator_gains
from peelverify.rho.measure import measure_rho
from tests.conftest import FAMILIES
from tests.families import small_family, untrained_family

INNER = {
    "llama": (["self_attn.v_proj"], "self_attn.o_proj", ["mlp.gate_proj", "mlp.up_proj"], "mlp.down_proj"),
    "qwen2": (["self_attn.v_proj"], "self_attn.o_proj", ["mlp.gate_proj", "mlp.up_proj"], "mlp.down_proj"),
    "gpt2": (["attn.c_attn"], "attn.c_proj", ["mlp.c_fc"], "mlp.c_proj"),
}
NORMS = {"llama": ("input_layernorm", "post_attention_layernorm"), "gpt2": ("ln_1", "ln_2")}
NORMS["qwen2"] = NORMS["llama"]


def spectral(linear) -> float:
    """Largest singular value by numpy."""
    return float(np.linalg.norm(linear.weight.detach().double().numpy(), 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_gains_are_products_of_spectral_norms(family, model_dirs) -> None:
    """Against numpy's singular values and the largest weight of the norm; never below them."""
    view = load_model(model_dirs[family])
    for t, norm in enumerate((1.0, 3.0, 0.5)):  # norms whose weights are not all one
        for name in NORMS[family]:
            getattr(view.blocks[t], name).weight.data.mul_(norm)
    found = operator_gains(view)
    for t in range(view.depth):
        linears = view.linears(t)
        attention, o, mlp, down = INNER[family]
        for place, (inner, out) in enumerate(((attention, o), (mlp, down))):
            scale = float(getattr(view.blocks[t], NORMS[family][place]).weight.detach().abs().max())
            expected = max(spectral(linears[n]) for n in inner) * spectral(linears[out]) * scale
            assert expected * (1 - 1e-6) <= found[t, place] <= expected * (1 + 1e-5)


@pytest.mark.parametrize("family", ["opt", "gpt_neox", "mistral", "phi3", "qwen3"])
def test_other_families_have_gains(family, ids) -> None:
    """Fused and flat blocks are found by the names of the family."""
    gains = operator_gains(small_family(family, ids, steps=2))
    assert gains.shape == (3, 2)
    assert (gains > 0).all()


def test_norms_with_weights_about_one_count_with_one_added(ids) -> None:
    """Gemma multiplies by 1 + w: the gain is that of the same model with plain weights, and is never zero."""
    gemma = ModelView(untrained_family("gemma", 0, head_dim=8))
    fresh = operator_gains(gemma)
    assert (fresh > 0).all()
    for t, block in enumerate(gemma.blocks):
        block.input_layernorm.weight.data.fill_(-0.5 - t)
        block.post_attention_layernorm.weight.data.fill_(2.0)
    scaled = operator_gains(gemma)
    for t in range(gemma.depth):
        assert scaled[t] == pytest.approx(fresh[t] * [abs(0.5 - t), 3.0], rel=1e-5)
    for block in gemma.blocks:
        block.input_layernorm.weight.data.fill_(0.0)
    report = lyapunov_report(gemma, ids, measure_rho(gemma, ids, draws=1))
    assert (report.gain > 0).all() and np.isfinite(report.log10_vacuity).all()


def test_norms_of_another_kind_are_refused() -> None:
    """A norm that multiplies by neither its weight nor one more is not guessed at."""
    view = small_decoder("llama", blocks=2, width=32)
    view.blocks[1].input_layernorm.forward = lambda x: x**2
    with pytest.raises(InputError, match="operator_gains needs norms"):
        operator_gains(view)


@pytest.mark.parametrize("family", FAMILIES)
def test_report_is_its_formulas(family, model_dirs, ids) -> None:
    """Scales, prediction and condition recomputed from hidden states."""
    view = load_model(model_dirs[family])
    profile = measure_rho(view, ids, draws=2)
    report = lyapunov_report(view, ids, profile)
    with torch.no_grad():
        states = view.trace(ids).states
    for t in range(view.depth):
        sigma = float(states[t].double().norm(dim=-1).mean()) / np.sqrt(view.width)
        assert report.gain[t] == pytest.approx(operator_gains(view)[t] / sigma, rel=1e-6)
    ratio = (1 + report.gain) / (1 + report.contribution)
    assert report.predicted == pytest.approx((ratio**2).prod(axis=1))
    assert (report.contraction == (ratio < 1)).all()
    assert report.log10_vacuity == pytest.approx(np.log10(report.predicted / np.median(profile.rho_into, axis=0)))
    chain = np.log10((1 + report.gain[1:]) ** 2).sum()
    grown = np.log10(np.median(profile.absolute_energy[:, -1] / profile.absolute_energy[:, 0]))
    assert report.log10_chain == pytest.approx(chain - grown)
    json.dumps(report.to_json(), allow_nan=False)


def test_silent_sub_layers_contract_nothing(model_dirs, ids) -> None:
    """With all outputs zero the prediction is exactly one: errors pass unchanged, and rho is one."""
    view = load_model(model_dirs["llama"])
    for t in range(view.depth):
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            view.linears(t)[name].weight.data.zero_()
    report = lyapunov_report(view, ids, measure_rho(view, ids, draws=1))
    assert (report.predicted == 1).all()
    assert not report.contraction.any()
    assert report.log10_vacuity == pytest.approx(np.zeros(view.depth), abs=1e-6)


def test_profiles_of_other_models_are_refused(model_dirs, ids) -> None:
    """A profile must have the depth of the model; Gemma's sub-layers cannot be separated."""
    view = load_model(model_dirs["llama"])
    other = measure_rho(small_decoder("llama", blocks=2, width=32), ids, draws=1)
    with pytest.raises(InputError, match="profile of 3 blocks"):
        lyapunov_report(view, ids, other)
    gemma = small_family("gemma2", ids, steps=2)
    with pytest.raises(InputError, match="gemma2"):
        lyapunov_report(gemma, ids, measure_rho(gemma, ids, draws=1))


def test_the_command_reports_the_worst_case(model_dirs, tmp_path, capsys) -> None:
    """--worst-case adds a table and a part of rho.json; amplification has intervals there."""
    out = tmp_path / "rho"
    call = ["rho", str(model_dirs["gpt2"]), "--tokens", "128", "--window", "32", "--draws", "2", "--worst-case"]
    assert main([*call, "--out", str(out)]) == 0
    assert "orders too large" in capsys.readouterr().out.replace("\n", " ")
    data = json.loads((out / "rho.json").read_text())
    assert data["lyapunov"]["schema"] == "peelverify.lyapunov/1"
    ends = (data["amplification_interval_95_low"], data["amplification_interval_95_high"])
    assert all(low <= a <= high for low, a, high in zip(ends[0], data["amplification"], ends[1], strict=True))
    assert data["least_energy_over_noise_floor"] > 100
