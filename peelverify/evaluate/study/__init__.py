"""The study: measure, predict, rank and compress several trained models, stage by stage, and join the results."""
