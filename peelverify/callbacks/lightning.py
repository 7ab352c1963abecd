"""The monitor as a Lightning callback; `lightning` is loaded only when one is made."""

from __future__ import annotations

from typing import Any

from peelverify.callbacks.monitor import PeelMonitor
from peelverify.errors import InputError

__all__ = ["lightning_callback"]


def lightning_callback(monitor: PeelMonitor) -> Any:
    """A ``lightning.pytorch.Callback`` (or one of ``pytorch_lightning``) that calls the monitor.

    It looks at the number of optimiser steps, so accumulated batches count once. The module may be the decoder
    or hold it as its only one.

    Args:
        monitor: the monitor; its writers are closed when training ends.

    Raises:
        InputError: neither package is installed.
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback  # type: ignore[no-redef]
        except ImportError as error:
            raise InputError(
                "lightning_callback needs the package lightning, which is missing; pip install 'peelverify[lightning]'"
            ) from error

    class PeelLightningCallback(Callback):  # type: ignore[misc]
        """Calls the monitor after every optimiser step."""

        def __init__(self) -> None:
            self.monitor = monitor

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            """A batch is over; only a new optimiser step counts."""
            if trainer.global_step:
                self.monitor.step(pl_module, trainer.global_step)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """Close the writers."""
            self.monitor.close()

    return PeelLightningCallback()
