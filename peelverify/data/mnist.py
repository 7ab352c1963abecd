"""MNIST from a local folder of IDX files, in the setting published for the YES bounds. Nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peelverify.data.problems import Problem
from peelverify.errors import ArtifactError, InputError

__all__ = ["mnist", "read_idx"]

NAMES = {
    "x": "train-images", "y": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels",
}
SIDE, CLASSES = 20, 10


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzip or plain.

    Raises:
        ArtifactError: a file that is missing, of another kind or type of entry, too short or too long.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); check the file") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != 8 or not 1 <= raw[3] <= 3:
        raise ArtifactError(f"{path} is not an IDX file of unsigned bytes; give the files of MNIST as published")
    start = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4)]
    if len(raw) < start or len(raw) - start != math.prod(shape):
        raise ArtifactError(
            f"{path} is damaged: its header promises {shape} entries, and {max(0, len(raw) - start)} bytes follow; "
            "get it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    found = sorted(p for p in folder.glob(f"{name}*") if p.is_file())
    if not found:
        raise ArtifactError(f"{folder} has no file {name}*; give the folder with the four IDX files of MNIST")
    return found[0]


def mnist(folder: str | os.PathLike[str], *, samples: int = 5000) -> Problem:
    """The first images of MNIST, resized to 20 x 20; the target of class c is ``e_c e_c^T``, flat.

    Args:
        folder: folder with the four IDX files, gzip or plain, under their published names.
        samples: training and as many test images, the first ones, as published.

    Raises:
        ArtifactError: a missing or damaged file.
        InputError: images and labels that do not fit, labels above 9, or no samples.

    Source:
        The task of [Yeganegi2024].
    """
    from scipy.ndimage import zoom

    if samples < 1:
        raise InputError(f"mnist needs at least one sample, got {samples}; the published number is 5000")
    if not Path(folder).is_dir():
        raise ArtifactError(f"{folder} is no folder; give the one with the four IDX files of MNIST")
    parts = {key: read_idx(_find(Path(folder), name))[:samples] for key, name in NAMES.items()}
    arrays = {}
    for images, labels in (("x", "y"), ("x_test", "y_test")):
        pictures, classes = parts[images], parts[labels]
        if pictures.ndim != 3 or classes.ndim != 1 or len(pictures) != len(classes) or not len(classes):
            raise InputError(
                f"mnist needs images (samples, rows, columns) and as many labels, got {pictures.shape} and "
                f"{classes.shape}; the files belong to different sets"
            )
        if classes.max() >= CLASSES:
            raise InputError(f"mnist needs labels 0 to 9, got {classes.max()}; these are other classes")
        factors = [SIDE / n for n in pictures.shape[1:]]
        small = np.array([zoom(p / 255.0, factors, order=1) for p in pictures])
        target = np.zeros((len(classes), SIDE, SIDE))
        target[np.arange(len(classes)), classes, classes] = 1.0
        arrays[images], arrays[labels] = small.reshape(len(small), -1), target.reshape(len(small), -1)
    return Problem(
        "mnist", arrays["x"], arrays["y"], arrays["x_test"], arrays["y_test"], "sgd", 1e-4, 50, 0.7, 100, 500,
        classes=CLASSES,
    )
