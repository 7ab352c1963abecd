"""The benchmark's independent contestants do the same work: they agree with the package."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from peelverify.compress import prune_model, quantize_model, rank_layers
from peelverify.compress.copies import linear_maps, weight_rows
from peelverify.compress.spectrum import powerlaw_alpha
from peelverify.models import load_model
from tests.conftest import FAMILIES

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def compress(monkeypatch: pytest.MonkeyPatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "compress", raising=False)
    return importlib.import_module("compress")


@pytest.mark.parametrize("family", FAMILIES)
def test_wanda_masks_agree(compress, family, model_dirs, ids) -> None:
    """The same weights are zero, but for scores that rounding in float32 cannot tell apart."""
    view = load_model(model_dirs[family])
    ours, theirs = prune_model(view, 0.5, method="wanda", input_ids=ids).view, compress.independent_wanda(view, ids)
    for (name, a), b in zip(linear_maps(ours).items(), linear_maps(theirs).values(), strict=True):
        differ = float(((weight_rows(a) == 0) != (weight_rows(b) == 0)).double().mean())
        assert differ < 2e-3, name


@pytest.mark.parametrize("family", FAMILIES)
def test_gptq_agrees_in_the_first_block(compress, family, model_dirs, ids) -> None:
    """Where inputs are still the same: the same codes but for near ties, and the same error of the output."""
    view = load_model(model_dirs[family])
    ours = quantize_model(view, 4, method="gptq", input_ids=ids).view
    theirs = compress.independent_gptq(view, ids)
    for name, linear in ours.linears(0).items():
        a, b, w = (weight_rows(x) for x in (linear, theirs.linears(0)[name], view.linears(0)[name]))
        assert float((a - b).abs().gt(1e-6).double().mean()) < 0.05, name
        assert float((a - w).norm()) == pytest.approx(float((b - w).norm()), rel=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_block_influence_agrees(compress, family, model_dirs, ids) -> None:
    """Hidden states of `transformers` give the same scores."""
    view = load_model(model_dirs[family])
    expected = compress.independent_block_influence(view, ids)
    assert rank_layers(view, ids, "block_influence").scores == pytest.approx(expected, rel=1e-5)


def test_spectral_fits_agree(compress) -> None:
    """The same start and exponent on random matrices of several shapes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for shape in ((40, 40), (60, 30), (30, 90)):
        weight = torch.randn(shape, generator=generator) * torch.rand(shape[0], 1, generator=generator) ** 2
        assert powerlaw_alpha(weight, fit="search").alpha == pytest.approx(compress.independent_alpha(weight), rel=1e-5)


def test_spectral_fits_are_those_of_weightwatcher() -> None:
    """Exponents that weightwatcher 0.7.7 gave for the same matrices (analyze with min_evals=10)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    expected = {(100, 100): 1.7815661387818467, (120, 60): 1.9897435567842807, (64, 200): 4.117191463982415}
    for shape, alpha in expected.items():
        weight = torch.randn(shape, generator=generator) * torch.rand(shape[0], 1, generator=generator) ** 2
        assert powerlaw_alpha(weight, fit="search").alpha == pytest.approx(alpha, rel=1e-9)


def test_the_benchmark_runs_and_names_what_is_missing(tmp_path) -> None:
    """Five rows with ratios; tools that are not installed are named, and have no ratio."""
    out, page = tmp_path / "out.json", tmp_path / "page.md"
    subprocess.run(
        [sys.executable, str(BENCHMARKS / "compress.py"), "--quick", "--json", str(out), "--page", str(page)],
        check=True, capture_output=True,
    )
    data = json.loads(out.read_text())
    assert len(data["rows"]) == 5
    for row in data["rows"]:
        by_name = {r["name"]: r for r in row["ratios"]}
        assert np.isfinite(by_name["peelverify"]["median"])
    assert {"llmcompressor", "weightwatcher"} <= set(data["facts"])
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]] == [row["what"] for row in data["rows"]]


def test_the_published_table_is_that_of_the_published_samples(compress) -> None:
    """docs/compress-speed.md is what the benchmark writes of docs/compress-speed.json, both tools among them."""
    docs = BENCHMARKS.parent / "docs"
    data = json.loads((docs / "compress-speed.json").read_text())
    assert (docs / "compress-speed.md").read_text() == compress.page(data)
    assert data["rounds"] >= 7 and not data["quick"]
    by_row = {row["what"]: {r["name"]: r for r in row["ratios"]} for row in data["rows"]}
    for what, name in (
        ("wanda 50 %", "llm-compressor"), ("gptq 4 bits", "llm-compressor"), ("alpha, one block", "weightwatcher"),
        ("block influence (ShortGPT)", "peelverify"),
    ):
        found = by_row[what][name]
        ratios = [a / b for a, b in zip(found["seconds"], by_row[what]["independent"]["seconds"], strict=True)]
        assert np.median(ratios) == pytest.approx(found["median"])
