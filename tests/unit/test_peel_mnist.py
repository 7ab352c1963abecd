"""MNIST from IDX files: generated ones, plain and compressed, whole and damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from peelverify.data.mnist import mnist, read_idx
from peelverify.errors import ArtifactError, InputError
from peelverify.peel.classic import watch


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def folder(root: Path, *, count: int = 24, compress: bool = False, labels: int = 10) -> Path:
    """Four small files; image c is bright in row c, so that it can be told apart."""
    for name, seed in (("train", 0), ("t10k", 1)):
        draw = np.random.default_rng(seed)
        classes = draw.integers(labels, size=count)
        images = draw.integers(0, 60, size=(count, 28, 28))
        images[np.arange(count), classes + 9, :] = 255
        for part, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", classes)):
            raw = idx(array)
            (root / f"{name}-{part}{'.gz' if compress else ''}").write_bytes(gzip.compress(raw) if compress else raw)
    return root


@pytest.mark.parametrize("compress", [False, True])
def test_problem_of_the_published_shape(tmp_path: Path, compress: bool) -> None:
    """20 x 20 images between 0 and 1, 400 targets with a single one on the diagonal at the class."""
    problem = mnist(folder(tmp_path, compress=compress), samples=20)
    assert problem.x.shape == problem.y.shape == problem.x_test.shape == (20, 400)
    assert problem.x.min() >= 0 and problem.x.max() <= 1
    classes = read_idx(next(tmp_path.glob("train-labels*")))[:20]
    assert problem.y.sum() == 20
    assert np.array_equal(problem.y[:, np.arange(10) * 21].argmax(axis=1), classes)
    assert (problem.optimiser, problem.learning_rate, problem.batch, problem.epochs) == ("sgd", 1e-4, 100, 500)


def test_it_can_be_watched(tmp_path: Path) -> None:
    """One epoch gives two points with an accuracy."""
    series = watch(mnist(folder(tmp_path)), epochs=1, points=1)
    assert len(series.points) == 2 and 0 <= series.points[-1].extra["accuracy_test_fraction"] <= 1


def test_the_command_takes_a_folder(tmp_path: Path, capsys) -> None:
    """--problem mnist --data FOLDER runs; without the folder, or with it for another problem, it says so."""
    from peelverify.cli.app import main

    place = str(folder(tmp_path))
    assert main(["peel", "--problem", "mnist", "--data", place, "--epochs", "1"]) == 0
    assert "epoch 1" in capsys.readouterr().out
    for arguments, words in ((["mnist"], "--data"), (["digits", "--data", place], "only mnist"),
                             (["mnist", "--data", str(tmp_path / "no")], "no folder")):
        assert main(["peel", "--problem", *arguments, "--epochs", "1"]) == 2
        assert words in capsys.readouterr().err


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Missing, truncated, too long, foreign, other labels, other lengths: one error each."""
    place = folder(tmp_path)
    images, labels = place / "train-images-idx3-ubyte", place / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    for raw, words in ((whole[:-1], "damaged"), (whole + b"x", "damaged"), (b"", "not an IDX"), (whole[:9], "damaged"),
                       (b"PNG" + whole, "not an IDX"), (gzip.compress(whole)[:-20], "cannot be read")):
        images.write_bytes(raw)
        with pytest.raises(ArtifactError, match=words):
            mnist(place)
    images.write_bytes(whole)
    for wrong in (np.full(24, 10), np.zeros(23)):
        labels.write_bytes(idx(wrong))
        with pytest.raises(InputError, match="mnist needs"):
            mnist(place)
    labels.unlink()
    with pytest.raises(ArtifactError, match="train-labels"):
        mnist(place)
    with pytest.raises(InputError, match="at least one sample"):
        mnist(place, samples=0)
