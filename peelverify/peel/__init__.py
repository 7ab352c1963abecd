"""Peeling: networks fitted layer by layer whose losses a trained model should beat (witnessed numbers)."""

from peelverify.peel.least_squares import Fit, GramSum
from peelverify.peel.lowbit import LowBitFit, fit_binary, fit_ternary, round_to_nearest
from peelverify.peel.yes import YesBounds, YesNetwork, last_layer_refit, status_of, yes_bounds, yes_network

__all__ = [
    "Fit",
    "GramSum",
    "LowBitFit",
    "YesBounds",
    "YesNetwork",
    "fit_binary",
    "fit_ternary",
    "last_layer_refit",
    "round_to_nearest",
    "status_of",
    "yes_bounds",
    "yes_network",
]
