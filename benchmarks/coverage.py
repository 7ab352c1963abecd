"""How often windows that were not drawn exceed what a certificate says of them, on the standard library's text.

    python benchmarks/coverage.py [--json FILE] [--quick]

The pool is every ``.py`` file of the standard library, cut into windows of bytes. A small decoder, trained on it a
little, is compared with a 4-bit copy. Error and change of loss are enclosed for thousands of windows drawn from the
pool; then calibration windows and one more are drawn from these, again and again.
"""

from __future__ import annotations

import argparse
import random
import sysconfig
from fractions import Fraction
from pathlib import Path

import measure
import torch

from peelverify.bounds.counting import kth_largest
from peelverify.certify.measure import Plan, head_tokens_for, measure_pair
from peelverify.certify.pool import Pool, draw_windows, text_pool
from peelverify.compress import quantize_model
from peelverify.models.blockwise import WholeModel
from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder

CASES = ((19, 1), (32, 1), (32, 3), (99, 1), (99, 5), (99, 10))


def _pool(quick: bool) -> tuple[Pool, int]:
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in sorted(folder.rglob("*.py")) if "site-packages" not in p.parts and p.stat().st_size > 64]
    paths = paths[:60] if quick else paths
    usable = []
    for path in paths:
        raw = path.read_bytes()
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            continue  # a few test files are in other encodings on purpose
        if b"\0" not in raw:
            usable.append(path)
    return text_pool(byte_tokenizer(), usable, length=64), sum(p.stat().st_size for p in usable)


def _distance(trials: int, p: float, seen: int) -> str:
    spread = (trials * p * (1 - p)) ** 0.5
    return f"{(seen - trials * p) / spread:+.1f} standard deviations"


def body(report: measure.Report, arguments: argparse.Namespace) -> None:
    """Enclose the windows, then simulate."""
    windows, draws = (600, 1000) if arguments.quick else (8000, 20000)
    pool, size = _pool(arguments.quick)
    report.note("pool, MB of text", round(size / 1e6, 1))
    report.note("pool, windows of 64 bytes", len(pool.ids))
    view = small_decoder("llama", blocks=2, width=64, heads=4, length=64, seed=0)
    train_decoder(view, pool.ids[:: max(1, len(pool.ids) // 2000)], steps=60, batch=16, learning_rate=3e-3)
    other = quantize_model(view, 4).view
    ids, _ = draw_windows(pool, windows, original={"model": "0" * 64}, compressed={"model": "1" * 64})
    plan = Plan("sdpa", torch.get_num_threads(), 256, head_tokens_for(view.vocabulary))
    found = measure_pair(WholeModel(view), WholeModel(other), range(view.depth), ids, plans=[plan])
    for what, exact in (
        ("error", [w.error_sq.hi for w in found.windows]), ("change of loss", [w.loss_change.hi for w in found.windows])
    ):
        place = {value: i for i, value in enumerate(sorted(set(exact)))}  # the order is all that counts
        values = [place[value] for value in exact]
        report.note(f"{what}: distinct values of {windows} windows", len(place))
        for n, k in CASES:
            rng, exceeded = random.Random(1000 * n + k), 0
            for _ in range(draws):
                drawn = rng.sample(range(windows), n + 1)
                exceeded += values[drawn[-1]] > kth_largest([values[i] for i in drawn[:-1]], k)
            p = Fraction(k, n + 1)
            report.note(
                f"{what}: n {n}, k {k}",
                f"exceeded {exceeded / draws:.4f}, stated <= {float(p):.4f} ({_distance(draws, float(p), exceeded)})",
            )


if __name__ == "__main__":
    raise SystemExit(measure.main("coverage for unseen windows", body))
