"""What ``peelverify check`` and ``demo`` print of the loss."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from peelverify.certify import certify
from peelverify.cli.certify import summary
from peelverify.cli.check import _loss


def test_the_signed_enclosure_comes_before_the_bound_by_oscillation(model_dirs, noisy_dirs, ids) -> None:
    """The sharp line names mean, both extremes and the perplexity factor, rounded outwards; the loose one follows."""
    made = certify(model_dirs["llama"], noisy_dirs["llama"], ids[:2], lean=False, batch=2)
    measured = made.document["measured"]
    change = float(measured["loss_compressed"]) - float(measured["loss_original"])
    sharp, loose = _loss(summary(made, Path("x")), change)
    low, high = made.signed("loss_change_mean")
    shown = sharp.partition("mean ")[2].partition(" (measured")[0].split("..")
    assert Fraction(shown[0]) <= low <= high <= Fraction(shown[-1])
    assert f"(measured {change:+.9f})" in sharp and "perplexity factor" in sharp
    assert "oscillation alone" in loose
