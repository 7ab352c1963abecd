"""Evaluation: loss and perplexity, divergence of two models on the same text, wall clock."""

from peelverify.evaluate.clock import Speed, compare_speed, memory
from peelverify.evaluate.divergence import Divergence, divergence
from peelverify.evaluate.loss import Perplexity, perplexity
from peelverify.evaluate.stream import as_view
from peelverify.evaluate.tasks import task_scores

__all__ = [
    "Divergence", "Perplexity", "Speed", "as_view", "compare_speed", "divergence", "memory", "perplexity",
    "task_scores",
]
