"""Evaluation: loss and perplexity, divergence of two models on the same text."""

from peelverify.evaluate.divergence import Divergence, divergence
from peelverify.evaluate.loss import Perplexity, perplexity
from peelverify.evaluate.stream import as_view

__all__ = ["Divergence", "Perplexity", "as_view", "divergence", "perplexity"]
