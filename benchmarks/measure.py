"""Interleaved timings with spread, peak memory, and a report of them: the frame of every benchmark here."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROUNDS = 7


@dataclass(frozen=True)
class Ratio:
    """Times of one contestant, and its ratios to the reference within each round.

    Attributes:
        name: of the contestant.
        seconds: one sample a round; empty if it cannot do this size.
        median: of the ratios; None if it cannot do this size.
        low: lower quartile of the ratios.
        high: upper quartile of the ratios.
    """

    name: str
    seconds: list[float]
    median: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """One comparison: what was done, at which size, with how many threads; the reference comes first."""

    what: str
    size: str
    threads: int
    ratios: list[Ratio]
    aim: float | None = None


@dataclass
class Report:
    """All results of one file, with the machine they come from."""

    title: str
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Keep a row and print it."""
        self.rows.append(row)
        reference, *others = row.ratios
        time_ms = statistics.median(reference.seconds) * 1e3
        cells = [
            f"{r.name} {'cannot' if r.median is None else f'{r.median:.2f} ({r.low:.2f} to {r.high:.2f})'}"
            for r in others
        ]
        aim = "" if row.aim is None else f"   aim {row.aim:g}"
        print(f"{row.what:24} {row.size:14} {row.threads} threads  {reference.name} {time_ms:.3f} ms   "
              f"{'   '.join(cells)}{aim}", flush=True)

    def note(self, name: str, value: Any) -> None:
        """Keep a single figure and print it."""
        self.facts[name] = value
        print(f"{name}: {value}", flush=True)


def compare(
    contestants: Mapping[str, Callable[[], Any] | None], *, rounds: int = ROUNDS, calls: int = 1
) -> list[Ratio]:
    """Time contestants in turn.

    Args:
        contestants: name -> function without arguments, or None if it cannot do this size; the first is the
            reference.
        rounds: how often each runs, at least 7 for a figure that is kept.
        calls: calls a run, for functions so short that a single one is below what the clock shows.

    Returns:
        One `Ratio` each, in order; seconds are those of one call.
    """
    running = {name: run for name, run in contestants.items() if run is not None}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for run in running.values():
        run()
    for _ in range(rounds):
        for name, run in running.items():
            begin = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - begin) / calls)
    reference = seconds[next(iter(contestants))]
    found = []
    for name, samples in seconds.items():
        ratios = [a / b for a, b in zip(samples, reference, strict=True)] if samples else []
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (None, None, None)
        found.append(Ratio(name, samples, middle, low, high))
    return found


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _give_back() -> None:
    """Return freed memory to the system, so that what is used again counts as used (glibc; elsewhere nothing)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _peak(make: Callable[[], Any], run: Callable[[Any], Any], pipe: Any) -> None:
    argument = make()
    _give_back()
    before = highest = _resident_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, _resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    run(argument)
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    pipe.send((highest - before, seconds))


def peak_memory(make: Callable[[], Any], run: Callable[[Any], Any]) -> tuple[int, float] | None:
    """Peak of the resident set while ``run(make())`` runs in a fresh process.

    Args:
        make: builds the argument; not counted.
        run: what is measured.

    Returns:
        Bytes above the value before the call, and seconds; None where the system does not tell (no /proc).
    """
    if not Path("/proc/self/statm").exists():
        return None
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(make, run, there))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def machine() -> dict[str, Any]:
    """Processor, system and versions."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = {}
    for package in ("peelverify", "numpy", "scipy", "torch", "python-flint", "mpmath", "transformers"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": model, "cores": os.cpu_count(), "system": platform.system(), "machine": platform.machine(),
        "python": platform.python_version(), "versions": versions,
    }


def main(title: str, body: Callable[[Report, argparse.Namespace], None], argv: list[str] | None = None) -> int:
    """Read the arguments, run the benchmark, write the JSON after each part that finished.

    Args:
        title: of the report.
        body: fills the report.
        argv: arguments, by default those of the process.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes and 3 rounds, to see that it runs")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds, default {ROUNDS}")
    parser.add_argument("--only", default="", help="run only parts whose name contains this")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="numbers of threads, default 1 2")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rounds = 3
    report = Report(title)
    facts = machine()
    print(f"{title}: {facts['processor']}, {facts['cores']} cores, Python {facts['python']}, {facts['versions']}")
    try:
        body(report, arguments)
    finally:
        if arguments.json:
            text = json.dumps({
                "schema": "peelverify.benchmark/1", "title": title, "rounds": arguments.rounds,
                "quick": arguments.quick, "machine": facts, "rows": [asdict(row) for row in report.rows],
                "facts": report.facts,
            }, indent=1)
            partial = arguments.json.with_name(arguments.json.name + ".part")
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(arguments.json)
            print(f"wrote {arguments.json}", file=sys.stderr)
    return 0
