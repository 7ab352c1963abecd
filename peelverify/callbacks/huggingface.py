"""The monitor as a callback of the Hugging Face `Trainer`."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from peelverify.callbacks.monitor import PeelMonitor

__all__ = ["PeelTrainerCallback"]


class PeelTrainerCallback(TrainerCallback):
    """Call the monitor after every optimiser step of a `transformers.Trainer`.

    It never asks the trainer to stop, save or log: processes of rank above 0 have no readings, and one that stopped
    alone would leave the others waiting. Read `PeelMonitor.advice` and decide.

    Args:
        monitor: the monitor; its writers are closed when training ends.

    Example:
        Trainer(model, args, train_dataset=data, callbacks=[PeelTrainerCallback(PeelMonitor(probe))])
    """

    def __init__(self, monitor: PeelMonitor) -> None:
        self.monitor = monitor

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """One optimiser step is over; micro-steps of accumulation do not come here."""
        self.monitor.step(model, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the writers."""
        self.monitor.close()
