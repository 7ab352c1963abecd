"""Where the scalars of a monitor go: JSON lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from peelverify.errors import ArtifactError, InputError

__all__ = ["JsonLines", "TensorBoard", "WeightsAndBiases", "Writer"]


class Writer(Protocol):
    """Takes the scalars of a reading."""

    def write(self, step: int, scalars: Mapping[str, float], note: str) -> None:
        """Keep the scalars of one step and a sentence about them."""

    def close(self) -> None:
        """Finish the output; called once at the end of training."""


class JsonLines:
    """One JSON object a reading: ``step``, ``note`` and the scalars; written out at once.

    Args:
        path: file to write.
        resume: continue an existing file instead of refusing it.

    Raises:
        ArtifactError: the file exists, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("a" if resume else "x", encoding="utf-8")
        except FileExistsError as error:
            raise ArtifactError(
                f"{self.path} exists already; choose another file, or resume=True to continue it"
            ) from error
        except OSError as error:
            raise ArtifactError(f"{self.path} cannot be written ({error.strerror}); choose another folder") from error

    def write(self, step: int, scalars: Mapping[str, float], note: str) -> None:
        """Append a line; a number that is not finite becomes null."""
        row = {"step": step, "note": note, **{k: v if math.isfinite(v) else None for k, v in scalars.items()}}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Scalars and notes as TensorBoard events; needs the extra ``tensorboard``.

    Args:
        folder: folder of the event file.

    Raises:
        InputError: the package is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "TensorBoard needs the package tensorboard, which is missing; pip install 'peelverify[tensorboard]'"
            ) from error
        self._events = SummaryWriter(str(folder))

    def write(self, step: int, scalars: Mapping[str, float], note: str) -> None:
        """Add the scalars and the sentence at ``step``."""
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)
        self._events.add_text("peel/note", note, step)
        self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        self._events.close()


class WeightsAndBiases:
    """Scalars to a run of Weights & Biases, where that package is installed.

    Args:
        run: an open run; the current one (``wandb.run``) if None.

    Raises:
        InputError: the package is missing, or no run is open.
    """

    def __init__(self, run: Any = None) -> None:
        if run is None:
            try:
                import wandb
            except ImportError as error:
                raise InputError(
                    "WeightsAndBiases needs the package wandb, which is missing; install it or pass a run"
                ) from error
            run = wandb.run
        if run is None:
            raise InputError("WeightsAndBiases needs an open run, got none; call wandb.init first")
        self._run = run

    def write(self, step: int, scalars: Mapping[str, float], note: str) -> None:
        """Log beside the training's own step counter, which is left alone."""
        self._run.log({**scalars, "peel/step": step, "peel/note": note})

    def close(self) -> None:
        """The run belongs to the caller and stays open."""
