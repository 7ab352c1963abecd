"""``peelverify universal``: every block of a pair of model directories, with what a search found beside it."""

from __future__ import annotations

import json
from fractions import Fraction

import torch

from peelverify.cli.app import main
from peelverify.models import save_model
from peelverify.models.small import small_decoder


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
