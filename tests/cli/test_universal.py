"""``peelverify universal``: every block of a pair of model directories, with what a search found beside it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import torch

from peelverify.certify.wholeblock import COVERED
from peelverify.cli.app import main
from peelverify.models import save_model
from peelverify.models.small import small_decoder
from peelverify.models.view import ModelView
from tests.families import untrained_family


def test_every_block_is_bounded_and_searched(tmp_path, capsys):
    """One row a block, the bound above what was found, as a table and as JSON; a deleted block too."""
    view = small_decoder("qwen2", blocks=2, width=16, heads=2, vocabulary=64, seed=0)
    save_model(view, tmp_path / "original")
    with torch.no_grad():
        for parameter in view.model.parameters():
            parameter.mul_(1 + 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_model(view, tmp_path / "compressed")
    pair = (str(tmp_path / "original"), str(tmp_path / "compressed"))
    few = ("--samples", "160", "--ascents", "4", "--length", "4")
    assert main(["universal", *pair, *few, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["blocks"]
    assert [row["kind"] for row in rows] == ["sequential", "sequential"]
    for row in rows:
        assert 0 < row["measured_worst_sampled"] <= row["measured_worst_ascended"]
        assert row["measured_worst_ascended"] <= float(Fraction(row["certified_bound"]))
        assert row["certified_over_measured"] >= 1
    assert main(["universal", *pair, *few]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "For every input" in out and "no proof that the bound cannot be smaller" in out
    assert main(["universal", pair[0], str(tmp_path / "nowhere"), *few]) == 2


def test_what_was_not_searched_or_has_not_changed_has_no_ratio(tmp_path, capsys):
    """No number is made up: words in the table, null in JSON."""
    view = small_decoder("llama", blocks=1, width=16, heads=2, vocabulary=64, seed=0)
    save_model(view, tmp_path / "original")
    with torch.no_grad():
        view.blocks[0].mlp.down_proj.weight.mul_(1.1)
    save_model(view, tmp_path / "compressed")
    one, two = (str(tmp_path / name) for name in ("original", "compressed"))
    nothing, few = ("--samples", "0", "--ascents", "0"), ("--samples", "7", "--ascents", "2")
    for pair, options, text, found in (
        ((one, two), nothing, "not searched", None),
        ((one, one), nothing, "bound is 0", None),
        ((one, one), few, "bound is 0", 0.0),
    ):
        assert main(["universal", *pair, *options]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert text in out and "inf" not in out.replace("input", "")
        assert ("nothing was searched" in out) == (options is nothing)
        assert main(["universal", *pair, *options, "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["blocks"]
        assert row["measured_worst_sampled"] == row["measured_worst_ascended"] == found
        assert row["certified_over_measured"] is None
        assert row["samples"] == int(options[1])


def test_families_without_a_bound_are_refused_before_any_work(tmp_path, capsys):
    """No progress bar for a family that is not covered; help and README list the families."""
    view = small_decoder("llama", blocks=1, width=16, heads=2, vocabulary=64, seed=0)
    save_model(view, tmp_path / "model")
    assert main(["universal", str(tmp_path / "model"), str(tmp_path / "model"), "--samples", "0"]) == 0
    assert "0:00" in capsys.readouterr().err
    save_model(ModelView(untrained_family("gemma2", 0)), tmp_path / "gemma2")
    assert main(["universal", str(tmp_path / "gemma2"), str(tmp_path / "gemma2")]) == 2
    err = capsys.readouterr().err
    assert "gemma2" in err and "0:00" not in err
    assert main(["universal", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for family in (*COVERED, "gemma2"):
        assert family in help_text and f"`{family}`" in readme
