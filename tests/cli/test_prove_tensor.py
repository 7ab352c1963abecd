"""``peelverify prove --tensor``: a bound on one weight of a real model directory, by the kernel."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import torch

from peelverify.cli.app import main
from peelverify.models import save_model
from peelverify.models.small import small_decoder

NAME = "model.layers.0.self_attn.o_proj.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small decoder and a copy with one weight on a coarse grid."""
    folder = tmp_path_factory.mktemp("models")
    view = small_decoder("llama", blocks=1, width=16, heads=2, vocabulary=64, seed=0)
    save_model(view, folder / "original")
    weight = view.model.get_parameter(NAME)
    old = weight.detach().clone()
    with torch.no_grad():
        weight.copy_((weight * 64).round() / 64)
    new = weight.detach().clone()
    save_model(view, folder / "compressed")
    return folder / "original", folder / "compressed", old, new


def run(*arguments) -> int:
    """The command in this process; its exit status."""
    return main(["prove", *map(str, arguments)])


def test_the_distance_of_a_weight_is_proved(models, tmp_path, capsys):
    """The bound is just above the distance, the Lean file is kept, and a second run does not overwrite it."""
    original, compressed, old, new = models
    kept = tmp_path / "distance.lean"
    arguments = ("--tensor", NAME, "--of", original, "--against", compressed, "--lean-file", kept, "--json")
    assert run(*arguments) == 0
    found = json.loads(capsys.readouterr().out)
    distance = torch.linalg.norm(new.double() - old.double()).item()
    assert distance <= float(Fraction(found["bound"])) <= distance * (1 + 1e-12)
    assert found["theorem"] == "PeelVerify.frobLe_of_packed"
    assert "theorem distance_le" in kept.read_text()
    assert run(*arguments) == 2
    assert "exists already" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_proved_is_refused(models, capsys):
    """An unknown weight names near ones; options must come together; a vector is no matrix."""
    original = models[0]
    for arguments, words in (
        (("--tensor", NAME[:-1], "--of", original), "did you mean"),
        (("--tensor", NAME), "--of MODEL"),
        (("--of", original), "--tensor NAME"),
        (("--tensor", NAME, "--of", original, "--norm", "fro"), "--against"),
        (("--tensor", "model.norm.weight", "--of", original), "a matrix"),
    ):
        assert run(*arguments) == 2
        assert words in " ".join(capsys.readouterr().err.split())
