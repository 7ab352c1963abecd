"""All staircases of a ReLU network against one pseudo-inverse chain a map, and streamed against in memory.

    python benchmarks/peel.py [--json FILE] [--quick] [--only maps|stream|memory] [--threads 1 2]
"""

from __future__ import annotations

import argparse
import sys

import measure
import numpy as np
from threadpoolctl import threadpool_limits

from peelverify.peel.maps import staircases
from peelverify.peel.stream import yes_bounds_streamed
from peelverify.peel.yes import yes_bounds

Data = tuple[np.ndarray, np.ndarray, list[np.ndarray]]


def network(samples: int, width: int, depth: int) -> Data:
    """Inputs, labels and hidden outputs of a random ReLU network, float64."""
    draw = np.random.default_rng(width)
    x = draw.normal(size=(samples, width))
    hidden, state = [], x
    for _ in range(depth - 1):
        state = np.maximum(state @ draw.normal(size=(width, width)) * (2 / width) ** 0.5, 0.0)
        hidden.append(state)
    return x, np.abs(draw.normal(size=(samples, width))), hidden


def one_chain_a_map(data: Data, depth: int) -> float:
    """The published way: for every map a chain of its own, a pseudo-inverse a layer."""
    x, y, hidden = data
    best = np.inf
    for target in staircases(depth):
        state = x
        for layer, aim in enumerate(target, 1):
            wide = np.hstack([state, np.ones((len(state), 1))])
            state = wide @ (np.linalg.pinv(wide) @ (y if aim == depth else hidden[aim - 1]))
            state = state if layer == depth else np.maximum(state, 0.0)
        best = min(best, float(((state - y) ** 2).sum()) / len(y))
    return best


def maps(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """All maps; the aim is that of L = 8, an eighth of the time."""
    cases = [(200, 10, 4)] if arguments.quick else [(1000, 20, 5), (1000, 20, 8), (1000, 50, 8), (2000, 100, 8)]
    for samples, width, depth in cases:
        data = network(samples, width, depth)
        ours, theirs = yes_bounds(*data, maps=staircases(depth)).best, one_chain_a_map(data, depth)
        if abs(ours - theirs) > 1e-8 * theirs:
            raise SystemExit(f"the contestants disagree: {ours} and {theirs}")
        rounds = arguments.rounds if samples * width < 100_000 else max(3, min(arguments.rounds, 5))
        found = measure.compare({
            "one pinv chain a map": lambda data=data, depth=depth: one_chain_a_map(data, depth),
            "yes_bounds": lambda data=data, depth=depth: yes_bounds(*data, maps=staircases(depth)),
        }, rounds=rounds)
        report.add(measure.Row("all maps", f"L={depth} d={width} N={samples}", threads, found,
                               aim=1 / 8 if depth == 8 else None))


def chunked(data: Data, size: int = 500) -> list[Data]:
    """Chunks of a size."""
    x, y, hidden = data
    return [(x[i : i + size], y[i : i + size], [h[i : i + size] for h in hidden]) for i in range(0, len(x), size)]


def stream(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """Streamed against in memory, all maps of five layers."""
    for samples, width in [(1000, 10)] if arguments.quick else [(4000, 20), (20000, 50)]:
        data = network(samples, width, 5)
        parts = chunked(data)
        found = measure.compare({
            "yes_bounds": lambda data=data: yes_bounds(*data),
            "streamed": lambda parts=parts: yes_bounds_streamed(lambda: parts),
        }, rounds=arguments.rounds)
        report.add(measure.Row("streamed", f"L=5 d={width} N={samples}", threads, found))


def memory(report: measure.Report, arguments: argparse.Namespace, threads: int) -> None:
    """Peak memory above the data, in memory and streamed."""
    for samples in [2000] if arguments.quick else [20_000, 80_000]:
        data = network(samples, 50, 5)
        for name, run in (
            ("in memory", lambda d: yes_bounds(*d)),
            ("streamed", lambda d: yes_bounds_streamed(lambda: chunked(d))),
        ):
            found = measure.peak_memory(lambda data=data: data, run)
            report.note(f"peak MiB, {name}, N={samples}, {threads} threads",
                        None if found is None else round(found[0] / 2**20, 1))


def body(report: measure.Report, arguments: argparse.Namespace) -> None:
    """Every part with every number of threads."""
    for threads in arguments.threads:
        with threadpool_limits(limits=threads):
            for part in (maps, stream, memory):
                if arguments.only in part.__name__:
                    part(report, arguments, threads)


if __name__ == "__main__":
    sys.exit(measure.main("peelverify peel benchmark", body))
