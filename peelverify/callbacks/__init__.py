"""Monitoring while a decoder trains: plain loops, the Hugging Face `Trainer`, Lightning."""

from typing import Any

from peelverify.callbacks.lightning import lightning_callback
from peelverify.callbacks.monitor import Advice, PeelMonitor, Reading
from peelverify.callbacks.writers import JsonLines, TensorBoard, WeightsAndBiases

__all__ = [
    "Advice", "JsonLines", "PeelMonitor", "PeelTrainerCallback", "Reading", "TensorBoard", "WeightsAndBiases",
    "lightning_callback",
]


def __getattr__(name: str) -> Any:
    """`PeelTrainerCallback`, loaded with the trainer of `transformers` when it is asked for."""
    if name == "PeelTrainerCallback":
        from peelverify.callbacks.huggingface import PeelTrainerCallback

        return PeelTrainerCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
