"""Regression problems for small ReLU networks, with the settings published for the YES bounds but for `digits`.

In each, every hidden layer is as wide as the target, so that any layer can be fitted to the labels. Digits and the
photograph are real data that ship with scikit-learn; nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peelverify.errors import InputError

__all__ = ["PROBLEMS", "Problem", "problem_named"]

Array = NDArray[np.float64]
DEPTH = 5


@dataclass(frozen=True)
class Problem:
    """Data of a regression task and how to train on it.

    Attributes:
        name: how users call it.
        x, y: training inputs and targets (samples, columns).
        x_test, y_test: held-out inputs and targets.
        optimiser: "adam" or "sgd".
        learning_rate: of the optimiser, on the squared error summed over the batch.
        decay_every, decay: epochs between decays of the rate, and the factor.
        batch: samples a step.
        epochs: number of epochs.
        depth: layers of the network; hidden layers are as wide as the target.
        classes: number of classes if targets stand for classes, else 0.
    """

    name: str
    x: Array
    y: Array
    x_test: Array
    y_test: Array
    optimiser: str
    learning_rate: float
    decay_every: int
    decay: float
    batch: int
    epochs: int
    depth: int = DEPTH
    classes: int = 0

    @property
    def width(self) -> int:
        """Width of target and hidden layers."""
        return self.y.shape[1]


def _split(x: Array, y: Array, rng: np.random.Generator, fraction: float = 0.8) -> tuple[Array, Array, Array, Array]:
    order = rng.permutation(len(x))
    cut = int(fraction * len(x))
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]]


def absolute(seed: int = 0) -> Problem:
    """``y = |A x|``: 1000 Gaussian samples of 20 numbers, 100 targets, entries of A of variance 1/100."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(100, 20)) / math.sqrt(100)
    x = rng.normal(size=(1000, 20))
    parts = _split(x, np.abs(x @ matrix.T), rng)
    return Problem("absolute", *parts, "adam", 1e-3, 50, 0.9, 50, 800)


def denoising(seed: int = 0) -> Problem:
    """Recover 50 Gaussian signals of length 20 from 20 copies each with noise of deviation 0.2."""
    rng = np.random.default_rng(seed)
    clean = np.repeat(rng.normal(size=(50, 20)), 20, axis=0)
    parts = _split(clean + 0.2 * rng.normal(size=clean.shape), clean, rng)
    return Problem("denoising", *parts, "sgd", 1e-4, 50, 0.9, 20, 1800)


def image(seed: int = 0) -> Problem:
    """Recover 8 x 8 patches of a photograph from ``|A patch|^2`` plus noise of deviation 0.1, ten times each."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(seed)
    photo = load_sample_image("china.jpg").mean(axis=2) / 255.0
    rows = np.linspace(0, photo.shape[0] - 1, 128).round().astype(int)
    columns = np.linspace(0, photo.shape[1] - 1, 128).round().astype(int)
    small = photo[np.ix_(rows, columns)]
    patches = np.array([
        small[i : i + 8, j : j + 8].ravel() for i in range(0, 121, 6) for j in range(0, 121, 6)
    ])
    clean = np.repeat(patches, 10, axis=0)
    matrix = rng.normal(size=(64, 64)) / 8.0
    noisy = (clean @ matrix.T) ** 2 + 0.1 * rng.normal(size=clean.shape)
    return Problem("image", *_split(noisy, clean, rng), "adam", 1e-3, 20, 0.9, 90, 1000)


def digits(seed: int = 0) -> Problem:
    """scikit-learn's 1797 handwritten digits, resized to 10 x 10; the target of class c is ``e_c e_c^T``, flat.

    The published task does the same with MNIST at 20 x 20; 10 x 10 is the smallest size whose layers can hold the
    matrices of ten classes. Deviation: Adam at 1e-3 for 100 epochs instead of SGD at 1e-4 for 500, which on a third of
    the samples does not leave its first plateau.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    data = load_digits()
    pictures = np.array([zoom(picture / 16.0, 10 / 8, order=1) for picture in data.images])
    target = np.zeros((len(pictures), 10, 10))
    target[np.arange(len(pictures)), data.target, data.target] = 1.0
    parts = _split(pictures.reshape(len(pictures), -1), target.reshape(len(pictures), -1), rng)
    return Problem("digits", *parts, "adam", 1e-3, 50, 0.7, 100, 100, classes=10)


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "absolute": absolute, "denoising": denoising, "image": image, "digits": digits,
}


def problem_named(name: str, *, seed: int = 0) -> Problem:
    """A problem by name.

    Raises:
        InputError: an unknown name; the message lists those that exist.
    """
    if name not in PROBLEMS:
        raise InputError(f"a problem is one of {', '.join(sorted(PROBLEMS))}, got {name!r}; name one of them")
    return PROBLEMS[name](seed)
