"""Evaluation: loss and perplexity, divergence of two models on the same text, wall clock."""

from peelverify.evaluate.clock import Speed, compare_speed
from peelverify.evaluate.divergence import Divergence, divergence
from peelverify.evaluate.loss import Perplexity, perplexity
from peelverify.evaluate.stream import as_view

__all__ = ["Divergence", "Perplexity", "Speed", "as_view", "compare_speed", "divergence", "perplexity"]
