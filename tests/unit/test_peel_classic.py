"""The published problems and the training runs that are watched among their bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from peelverify.data.problems import PROBLEMS, Problem, problem_named
from peelverify.errors import InputError, NumericalError
from peelverify.peel.classic import ReluNetwork, watch
from peelverify.verdict import Status


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_problems_are_what_they_say(name: str) -> None:
    """Sizes, splits and finiteness of each problem; the same seed gives the same data, another does not."""
    task = problem_named(name, seed=3)
    samples = {"absolute": 1000, "denoising": 1000, "image": 4410, "digits": 1797}[name]
    assert len(task.x) + len(task.x_test) == samples and len(task.x) == int(0.8 * samples)
    assert task.width == {"absolute": 100, "denoising": 20, "image": 64, "digits": 100}[name]
    assert all(np.isfinite(a).all() for a in (task.x, task.y, task.x_test, task.y_test))
    again, other = problem_named(name, seed=3), problem_named(name, seed=4)
    assert np.array_equal(task.x, again.x) and not np.array_equal(task.x, other.x)


def test_targets_of_the_digits_are_matrix_units() -> None:
    """The target of class c is the matrix with a single 1 at (c, c), and all ten classes occur."""
    task = problem_named("digits")
    matrices = task.y.reshape(-1, 10, 10)
    assert (matrices.sum(axis=(1, 2)) == 1).all()
    assert set(matrices.diagonal(axis1=1, axis2=2).argmax(axis=1)) == set(range(10))
    assert (matrices - matrices * np.eye(10) == 0).all()


def test_unknown_problems_are_refused() -> None:
    """The message names the problems that exist."""
    with pytest.raises(InputError, match="denoising"):
        problem_named("chess")


def tiny(rate: float = 1e-2, optimiser: str = "adam") -> Problem:
    """A problem of width 6 that trains in a second."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    y = np.abs(x @ rng.normal(size=(4, 6)))
    return Problem("tiny", x[:60], y[:60], x[60:], y[60:], optimiser, rate, 50, 0.9, 10, 60, depth=3)


def test_training_goes_from_red_to_better_and_the_series_is_sound() -> None:
    """The loss falls below YES-0, YES-0 stays, running bounds never rise, the refit never exceeds the loss."""
    seen: list[int] = []
    series = watch(tiny(), points=4, on_progress=lambda done, total, what: seen.append(done))
    points = series.points
    assert seen == list(range(1, 61))
    assert [p.step for p in points] == [0, 15, 30, 45, 60]
    assert points[0].status_now is Status.RED and points[-1].status_now is not Status.RED
    assert len({p.yes0 for p in points}) == 1
    running = [p.best_running for p in points]
    assert running == sorted(running, reverse=True)
    for point in points:
        assert point.refit is not None and point.refit <= point.loss * (1 + 1e-6)
        assert point.best == min(m["loss"] for m in point.extra["maps"])


def test_same_seed_same_run() -> None:
    """A run depends on its seed only and leaves torch's generator and threads alone."""
    torch.manual_seed(9)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again, other = (watch(tiny(), epochs=2, points=1, seed=s).points[-1].loss for s in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_network_keeps_its_hidden_outputs() -> None:
    """Hidden outputs are after ReLU, the last one is the output."""
    network = ReluNetwork(4, 6, 3)
    x = torch.randn(5, 4)
    states = network.trace(x)
    assert [tuple(s.shape) for s in states] == [(5, 6)] * 3
    assert torch.equal(states[-1], network(x)) and all((s >= 0).all() for s in states[:-1])


def test_divergence_and_bad_counts() -> None:
    """A rate that is far too large ends with an error that says so; no epochs and no points are refused."""
    kept: list[int] = []
    with pytest.raises(NumericalError, match="smaller learning rate"):
        watch(tiny(1e6, "sgd"), on_point=lambda series: kept.append(len(series.points)))
    assert kept[0] == 1
    for options in ({"epochs": 0}, {"points": 0}):
        with pytest.raises(InputError):
            watch(tiny(), **options)


def test_classes_are_decoded() -> None:
    """Problems with classes report the held-out fraction that is right; others do not."""
    task = problem_named("digits")
    small = dataclasses.replace(task, x=task.x[:300], y=task.y[:300], depth=2)
    last = watch(small, epochs=12, points=1).points[-1]
    assert 0.3 < last.extra["accuracy_test_fraction"] <= 1
    assert "accuracy_test_fraction" not in watch(tiny(), epochs=1, points=1).points[-1].extra
