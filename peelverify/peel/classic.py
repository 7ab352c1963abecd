"""Train a small ReLU network and watch it among its YES bounds, as first published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.data.problems import Problem
from peelverify.errors import InputError, NumericalError
from peelverify.peel.cloud import CloudSeries
from peelverify.peel.yes import last_layer_refit, yes_bounds
from peelverify.verdict import Outcome

__all__ = ["ReluNetwork", "watch"]


class ReluNetwork(nn.Module):
    """Affine layers with ReLU between them; the last one is linear.

    Args:
        inputs: number of inputs.
        width: width of every hidden layer and of the output.
        depth: number of affine layers.
    """

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (samples, width)."""
        return self.trace(x)[-1]

    def trace(self, x: Tensor) -> list[Tensor]:
        """Outputs of every layer: hidden ones after ReLU, then the last."""
        states: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            x = torch.relu(x) if index + 1 < len(self.layers) else x
            states.append(x)
        return states


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Layers of a hundred units gain nothing from threads, and on a busy machine lose a lot."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_torch_thread()
def watch(
    problem: Problem,
    *,
    epochs: int | None = None,
    points: int = 16,
    seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
    on_point: Callable[[CloudSeries], None] | None = None,
) -> CloudSeries:
    """Train with the problem's settings and evaluate all staircases on the whole training set, unshuffled.

    Args:
        problem: data and settings.
        epochs: epochs; the problem's own number if None.
        points: evaluations after the start, at even distances.
        seed: seed of weights and batches.
        on_progress: called with (epoch, epochs, what) after every epoch.
        on_point: called with the series after every evaluation.

    Returns:
        The series, in squared error a sample (summed over outputs). Every point also has the loss on held-out samples
        and, for classes, the fraction of held-out samples whose nearest class target is the right one.

    Raises:
        InputError: no epochs or no points.
        NumericalError: training diverged; the series so far went to ``on_point``.
    """
    total = problem.epochs if epochs is None else epochs
    if total < 1 or points < 1:
        raise InputError(f"watch needs at least one epoch and one point, got {total} and {points}; give more")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ReluNetwork(problem.x.shape[1], problem.width, problem.depth)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (problem.x, problem.y))
    rule = torch.optim.Adam if problem.optimiser == "adam" else torch.optim.SGD
    optimiser = rule(network.parameters(), lr=problem.learning_rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, problem.decay_every, problem.decay)
    generator = torch.Generator().manual_seed(seed)
    series = CloudSeries("squared_error_per_sample", {
        "problem": problem.name, "samples": len(x), "layers": problem.depth, "width": problem.width, "seed": seed,
        "epochs": total, "optimiser": problem.optimiser, "learning_rate": problem.learning_rate,
        "batch_samples": problem.batch, "maps": "all staircases",
    })
    stops = {round(i * total / points) for i in range(points + 1)}
    _evaluate(series, problem, network, 0)
    if on_point is not None:
        on_point(series)
    for epoch in range(1, total + 1):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(problem.batch):
            loss = ((network(x[rows]) - y[rows]) ** 2).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        schedule.step()
        if not torch.isfinite(loss.detach()):
            raise NumericalError(
                f"training on {problem.name} diverged in epoch {epoch}; use a smaller learning rate",
                outcome=Outcome.FAILED,
            )
        if on_progress is not None:
            on_progress(epoch, total, f"{problem.name}: {float(loss.detach()) / len(rows):.3f} a sample")
        if epoch in stops:
            _evaluate(series, problem, network, epoch)
            if on_point is not None:
                on_point(series)
    return series


@torch.no_grad()
def _evaluate(series: CloudSeries, problem: Problem, network: ReluNetwork, epoch: int) -> None:
    network.eval()
    states = [s.double().numpy() for s in network.trace(torch.tensor(problem.x, dtype=torch.float32))]
    unseen = network(torch.tensor(problem.x_test, dtype=torch.float32)).double().numpy()
    network.train()
    loss = float(((states[-1] - problem.y) ** 2).sum(axis=1).mean())
    bounds = yes_bounds(problem.x, problem.y, states[:-1])
    extra: dict[str, object] = {
        "loss_test": float(((unseen - problem.y_test) ** 2).sum(axis=1).mean()),
        "per_layer_yes0": list(bounds.per_layer_yes0),
        "per_layer_model": [float(((s - problem.y) ** 2).sum(axis=1).mean()) for s in states],
        "per_layer_unit": "squared_error_per_sample",
        "maps": [{"map": list(m), "loss": b} for m, b in bounds.bounds.items()],
        "ill_conditioned_maps": len(bounds.ill_conditioned),
    }
    if problem.classes:
        # The nearest of the targets e_c e_c^T is the one with the largest diagonal entry.
        side = round(problem.width**0.5)
        diagonal = np.arange(problem.classes) * (side + 1)
        right = unseen[:, diagonal].argmax(axis=1) == problem.y_test[:, diagonal].argmax(axis=1)
        extra["accuracy_test_fraction"] = float(right.mean())
    series.add(f"epoch {epoch}", loss, bounds, step=epoch, extra=extra,
               refit=last_layer_refit(problem.y, states[-2]) if len(states) > 1 else None)
