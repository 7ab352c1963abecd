"""The frame of the benchmarks does what its README says; nothing here judges a time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch):
    """The shared module, imported as the benchmarks import it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("measure")


def test_contestants_run_in_turn_and_ratios_are_within_a_round(measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warm-up each, then round after round; the ratio is that of the same round, quartiles around its median."""
    order: list[str] = []
    clock = iter(float(k * k) for k in range(1000))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    found = measure.compare({"a": lambda: order.append("a"), "b": lambda: order.append("b"), "c": None}, rounds=7)
    assert order == ["a", "b"] * 8
    first, second, missing = found
    assert first.median == 1
    ratios = [y / x for x, y in zip(first.seconds, second.seconds, strict=True)]
    assert second.low <= second.median == sorted(ratios)[3] <= second.high
    assert missing.median is None
    assert missing.seconds == []


def test_memory_is_the_peak_above_the_start(measure) -> None:
    """A function that holds 64 MiB for a moment is seen to; one that holds nothing is not."""
    held = measure.peak_memory(lambda: 1 << 23, lambda n: [np.ones(n).sum() for _ in range(5)])
    idle = measure.peak_memory(lambda: 1, lambda n: [sum(range(100_000)) for _ in range(20)])
    if held is None:  # no /proc on this system: the figure is left out, as the README says
        assert idle is None
        return
    assert 48 << 20 <= held[0] <= 160 << 20
    assert idle[0] <= 16 << 20


def test_a_quick_run_prints_and_writes_every_sample(tmp_path: Path) -> None:
    """`--quick` runs through, and the JSON carries machine, versions, samples and nulls."""
    out = tmp_path / "out.json"
    options = ["--quick", "--only", "op2", "--threads", "1", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "enclose.py"), *options],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert document["schema"] == "peelverify.benchmark/1"
    assert document["machine"]["versions"]["numpy"] == np.__version__
    reference, *others = document["rows"][0]["ratios"]
    assert reference["name"] == "numpy svd"
    assert all(len(r["seconds"]) == 3 for r in [reference, *others])
    assert [r["median"] for r in document["rows"][1]["ratios"] if r["name"] == "mpmath svd"] == [None]
    assert "norm_op2_upper" in done.stdout
