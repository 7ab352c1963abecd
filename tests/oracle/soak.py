"""Random enclosures and model pairs against exact arithmetic, by the million; stopped and resumed as you like.

    python -m tests.oracle.soak [--cases N] [--pairs M] [--seconds S] [--seed K] [--state FILE] [--page FILE]

A case is one array, pair or triple of arrays of random type, shape, scale and layout; every bound on it is compared
with whole-number arithmetic, and one in 80 also with mpmath at two precisions and with python-flint. A model pair is
a tiny decoder and a changed copy; every enclosed number of its certificate is compared with exact sums. Batch b of
seed s is always the same, so a failure names all that is needed to see it again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from peelverify import enclose as en
from tests.oracle import exactly
from tests.oracle.exactly import integers, value

BATCH = 500
EVERY = 5.0
"""Seconds between two writings of the state."""
SCHEMA = "peelverify.soak/2"
"""States of schema 1 counted a batch that was cut short twice, and are refused."""
DTYPES = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
LAYOUTS = ("C", "F", "strided", "reversed", "swapped", "readonly")


_FAR = 1e300
"""What is said of a distance beyond all floats: the truth is subnormal many times over."""
_SUBNORMAL = Fraction(1, 2**1022)
"""Products below it are subnormal in float64, and their distances are told relative to it."""
Number = tuple[int, int]
"""An exact number as numerator and denominator > 0, not reduced."""


def pair(k: int, e: int) -> Number:
    """The number k 2**e, not reduced."""
    return (k << e, 1) if e >= 0 else (k, 1 << -e)


class Wrong(AssertionError):
    """A bound on the wrong side."""


class Tally:
    """Counts, and the tightest and loosest relative distance between bound and truth, by kind of bound."""

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self.kinds: dict[str, dict[str, Any]] = data or {}

    def add(self, kind: str, distance: float | None) -> None:
        """Count a bound; `distance` is |bound - truth| relative to the truth or its scale, None where that is 0."""
        entry = self.kinds.setdefault(kind, {"bounds": 0, "tightest": None, "loosest": None})
        entry["bounds"] += 1
        if distance is not None:
            if entry["tightest"] is None:
                entry["tightest"] = entry["loosest"] = distance
            elif distance < entry["tightest"]:
                entry["tightest"] = distance
            elif distance > entry["loosest"]:
                entry["loosest"] = distance

    def plus(self, other: Tally) -> Tally:
        """The counts of both, as a new tally; nothing changes in either."""
        kinds = dict(self.kinds)
        for kind, entry in other.kinds.items():
            ours = self.kinds.get(kind, {"bounds": 0, "tightest": None, "loosest": None})
            low, high = ([x for x in (ours[end], entry[end]) if x is not None] for end in ("tightest", "loosest"))
            kinds[kind] = {"bounds": ours["bounds"] + entry["bounds"], "tightest": min(low, default=None),
                           "loosest": max(high, default=None)}
        return Tally(kinds)

    def both(self, kind: str, low: Fraction, truth: Number, high: Fraction, scale: Number | None = None) -> None:
        """Check low <= truth <= high, in whole numbers, and count both; `scale` is what a distance is relative to."""
        tn, td = truth
        sn, sd = (abs(tn), td) if scale is None else scale
        below = tn * low.denominator - low.numerator * td
        above = high.numerator * td - tn * high.denominator
        if below < 0 or above < 0:
            raise Wrong(f"{kind}: {low} <= {Fraction(tn, td)} <= {high} is false")
        self.add(f"{kind} lower", _ratio(below * sd, td * low.denominator * sn))
        self.add(f"{kind} upper", _ratio(above * sd, td * high.denominator * sn))


def _ratio(top: int, bottom: int) -> float | None:
    if bottom == 0:
        return None
    try:
        return top / bottom
    except OverflowError:
        return _FAR


def _bits(rng: np.random.Generator, dtype: np.dtype, size: int) -> np.ndarray:
    """Numbers with random bits: every magnitude of the type, subnormal ones included."""
    width = {8: np.uint64, 4: np.uint32, 2: np.uint16}[dtype.itemsize]
    raw = rng.integers(0, np.iinfo(width).max, size, dtype=width, endpoint=True).view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        raw[~np.isfinite(raw)] = 1
    return raw


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, kind: int) -> np.ndarray:
    """An array of one of ten kinds: magnitudes, cancellation, grading, low rank, whole numbers, zeros."""
    size = int(np.prod(shape))
    normal = rng.standard_normal(size)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if kind == 0:
            flat = _bits(rng, dtype, size)
        elif kind == 1:
            flat = normal * 2.0 ** rng.integers(*((-1060, 1000) if dtype.itemsize == 8 else (-20, 10)))
        elif kind == 2:
            flat = np.where(np.arange(size) % 2, 1e4, -1e4) + normal * 2.0**-30
        elif kind == 3:
            flat = normal * 2.0 ** rng.integers(-12, 12, size)
        elif kind == 4 and len(shape) == 2:
            flat = np.outer(normal[: shape[0]], rng.standard_normal(shape[1])).ravel()
        elif kind == 5:
            flat = rng.integers(-9, 10, size) / 4.0
        elif kind == 6:
            flat = np.where(rng.random(size) < 0.7, 0.0, normal)
        elif kind == 7:
            flat = np.full(size, normal[0] if size else 0.0)
        elif kind == 8:
            flat = np.ldexp(normal, -1070 if dtype.itemsize == 8 else -12)
        else:
            flat = normal
        array = np.asarray(flat).astype(dtype).reshape(shape)
        array[~np.isfinite(array)] = 1
        return array


def lay_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values with another memory layout."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if layout == "reversed":
        back = tuple(slice(None, None, -1) for _ in array.shape)
        return np.ascontiguousarray(array[back])[back]
    if layout == "swapped" and array.dtype != ml_dtypes.bfloat16:
        return array.astype(array.dtype.newbyteorder(">"))
    array = array.copy()
    array.flags.writeable = layout != "readonly"
    return array


def check_fro(tally: Tally, rng: np.random.Generator, make: Callable[..., np.ndarray], deep: bool) -> None:
    """Frobenius norm and sum of squares."""
    shape = rng.integers(0 if rng.random() < 0.02 else 1, 6, rng.integers(1, 4)).tolist()
    if rng.random() < 0.004:  # several blocks and a rest
        shape = [int(rng.integers(4_000, 20_000))]
    array = make(tuple(shape))
    whole, e = integers(array)
    truth = pair(sum(k * k for k in whole), 2 * e)
    low, high = en.norm_fro_lower(array), en.norm_fro_upper(array)
    tally.both("fro squared", low * low, truth, high * high)
    if truth[0] == 0 and high != 0:
        raise Wrong(f"fro: {float(high)!r} for zeros")
    if deep and truth[0]:
        found = en.sum_sq(array)
        tally.both("sum of squares", found.lo, truth, found.hi)
        norm = exactly.agreed_norm(array, "fro")
        tally.both("fro by mpmath", low, (norm.numerator, norm.denominator), high * (1 + Fraction(1, 10**50)))
        if not exactly.flint_contains(array, low, high):
            raise Wrong("fro: the ball of python-flint lies outside")


def check_difference(tally: Tally, rng: np.random.Generator, make: Callable[..., np.ndarray], deep: bool) -> None:
    """Errors, inner products and inner products of differences."""
    shape = (int(rng.integers(1, 12)),)
    x, y, z, w = (make(shape) for _ in range(4))
    if rng.random() < 0.3:
        y = x.copy()
        y[: len(y) // 2] = make(shape)[: len(y) // 2].astype(x.dtype)
    n = len(x)
    whole, e = integers(np.concatenate([a.astype(np.float64) for a in (x, y, z, w)]))
    xs, ys, zs, ws = whole[:n], whole[n : 2 * n], whole[2 * n : 3 * n], whole[3 * n :]
    p, q = ([a - b for a, b in zip(*ends, strict=True)] for ends in ((xs, ys), (zs, ws)))
    found = en.error_sq(x, y)
    tally.both("error squared", found.lo, pair(sum(a * a for a in p), 2 * e), found.hi)
    if rng.random() < 0.5:
        found = en.inner_of_differences(x, y, z, w)
        terms = [a * b for a, b in zip(p, q, strict=True)]
        tally.both("inner of differences", found.lo, pair(sum(terms), 2 * e), found.hi,
                   pair(sum(map(abs, terms)), 2 * e))
    else:
        terms = [a * b for a, b in zip(xs, zs, strict=True)]
        tally.both("inner", en.inner_lower(x, z), pair(sum(terms), 2 * e), en.inner_upper(x, z),
                   pair(sum(map(abs, terms)), 2 * e))


def check_sums(tally: Tally, rng: np.random.Generator, make: Callable[..., np.ndarray], deep: bool) -> None:
    """Row sums or column sums, and the largest entry."""
    array = make(tuple(rng.integers(1, 10, 2).tolist()))
    whole, e = integers(array)
    rows = [whole[i : i + array.shape[1]] for i in range(0, len(whole), array.shape[1])]
    if rng.random() < 0.5:
        tally.both("opinf", en.norm_opinf_lower(array), pair(max(sum(map(abs, r)) for r in rows), e),
                   en.norm_opinf_upper(array))
    else:
        columns = zip(*rows, strict=True)
        tally.both("op1", en.norm_op1_lower(array), pair(max(sum(map(abs, c)) for c in columns), e),
                   en.norm_op1_upper(array))
    tally.both("max", en.norm_max_lower(array), pair(max(map(abs, whole)), e), en.norm_max_upper(array))


def check_product(tally: Tally, rng: np.random.Generator, make: Callable[..., np.ndarray], deep: bool) -> None:
    """Enclosed products and residuals; magnitudes are kept where the product is finite."""
    m, n, p = rng.integers(1, 5, 3).tolist()
    z, w, t = make((m, n), moderate=True), make((n, p), moderate=True), make((m, p), moderate=True)
    (zi, ze), (wi, we) = integers(z), integers(w)
    left = [zi[i : i + n] for i in range(0, m * n, n)]
    right = [wi[j::p] for j in range(p)]
    e = ze + we
    exact = [[sum(a * b for a, b in zip(row, c, strict=True)) for c in right] for row in left]
    size = [[sum(abs(a * b) for a, b in zip(row, c, strict=True)) for c in right] for row in left]
    if rng.random() < 0.3:
        t = np.array([[float(value(k, e)) for k in row] for row in exact])
    if rng.random() < 0.5:
        approx, radius = en.matmul_enclosed(z, w)
        for i in range(m):
            for j in range(p):
                middle, r = Fraction(float(approx[i, j])), Fraction(float(radius[i, j]))
                scale = value(size[i][j], e) + _SUBNORMAL
                tally.both("product", middle - r, pair(exact[i][j], e), middle + r, scale.as_integer_ratio())
        return
    ti, te = integers(t)
    f = min(te, e)
    rest = [(a << (te - f)) - (b << (e - f)) for a, b in zip(ti, (k for row in exact for k in row), strict=True)]
    scale = sum((k << (e - f)) ** 2 for row in size for k in row) + sum((k << (te - f)) ** 2 for k in ti)
    low, high = en.residual_norm_fro_lower(t, z, w), en.residual_norm_fro_upper(t, z, w)
    scale = value(scale, 2 * f) + _SUBNORMAL**2
    tally.both("residual squared", low * low, pair(sum(k * k for k in rest), 2 * f), high * high,
               scale.as_integer_ratio())


def check_op2(tally: Tally, rng: np.random.Generator, make: Callable[..., np.ndarray], deep: bool) -> None:
    """Spectral norm, decided by the leading minors of c^2 I - A A^T."""
    array = make((int(rng.integers(1, 5)), int(rng.integers(1, 7))))
    if rng.random() < 0.5:
        array = array.T
    low, high = en.norm_op2_lower(array), en.norm_op2_upper(array)
    whole, e = integers(array)
    rows = [whole[i : i + array.shape[1]] for i in range(0, len(whole), array.shape[1])]
    if not any(whole):
        if high or low:
            raise Wrong("op2: not zero for zeros")
        tally.add("op2 of zeros", None)
        return
    if not exactly.reaches_op2_sq(rows, e, high * high):
        raise Wrong(f"op2: {float(high)!r} is below the norm")
    if exactly.exceeds_op2_sq(rows, e, low * low):
        raise Wrong(f"op2: {float(low)!r} is above the norm")
    tally.add("op2 upper to lower", float(high / low - 1))
    if exactly.exceeds_op2_sq(rows, e, (high * (1 - Fraction(1, 10**6))) ** 2):
        raise Wrong("op2: the upper bound is not within 1e-6")
    if deep:
        norm = exactly.agreed_norm(array, "op2")
        tally.both("op2 by mpmath", low * (1 - Fraction(1, 10**40)), (norm.numerator, norm.denominator),
                   high * (1 + Fraction(1, 10**40)))


CHECKS = {check_fro: 0.5, check_difference: 0.2, check_sums: 0.2, check_product: 0.06, check_op2: 0.04}


def batch(seed: int, number: int, tally: Tally, size: int = BATCH) -> None:
    """Run one batch of cases."""
    rng = np.random.default_rng([seed, number])
    checks = rng.choice(len(CHECKS), size, p=list(CHECKS.values()))
    for index in range(size):
        check = list(CHECKS)[checks[index]]
        arrays: list[np.ndarray] = []
        dtype, kind = DTYPES[rng.integers(len(DTYPES))], int(rng.integers(10))

        def make(
            shape: tuple[int, ...], *, moderate: bool = False, dtype=dtype, kind=kind, arrays=arrays
        ) -> np.ndarray:
            if moderate and dtype.itemsize == 8 and kind in (0, 1):
                kind = 3
            array = lay_out(draw(rng, shape, dtype, kind), LAYOUTS[rng.integers(len(LAYOUTS))])
            arrays.append(array)
            return array

        try:
            check(tally, rng, make, number % 10 == 0 and index % 8 == 0)
        except (ImportError, MemoryError):  # says nothing about a bound
            raise
        except Exception as error:
            raise Wrong(
                f"seed {seed}, batch {number}, case {index}, {check.__name__}, {dtype}, kind {kind}: {error!r}; arrays "
                + repr([(a.shape, a.astype(np.float64).tolist()) for a in arrays])[:2000]
            ) from error


def save(path: Path, state: dict[str, Any]) -> None:
    """Write the state through a temporary file, so that it is whole at any time."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(state, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: Path | None, seed: int) -> dict[str, Any]:
    """The state to go on with; a file of another seed or schema is refused."""
    if path is None or not path.exists():
        return {"schema": SCHEMA, "seed": seed, "cases": 0, "pairs": 0, "kinds": {}, "seconds": 0.0}
    state = json.loads(path.read_text(encoding="utf-8"))
    if state.get("schema") != SCHEMA or state.get("seed") != seed:
        raise SystemExit(f"{path} is not a state of seed {seed} and schema {SCHEMA}; give another --state or --seed")
    return state


def run(
    *, cases: int, pairs: int, seconds: float | None, seed: int, state_file: Path | None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Go on until the counts or the time are reached.

    Args:
        cases: enclosure cases in all, earlier runs included; rounded up to whole batches.
        pairs: model pairs in all, earlier runs included.
        seconds: wall clock of this run; None for no limit.
        seed: decides every case.
        state_file: where the state is kept; None keeps none.
        say: called with progress.

    Returns:
        The state: counts, and for each kind of bound the tightest and loosest distance.

    Raises:
        Wrong: the first bound on the wrong side.
    """
    state = load(state_file, seed)
    if state["pairs"] < pairs:
        from tests.oracle.pairs import check_pair  # a missing module shows before the long work
    begin = told = time.perf_counter()
    before = state["seconds"]

    def count(unit: str, size: int, tally: Tally) -> bool:
        """Take a finished piece into the state; True once the time is up."""
        nonlocal state, told
        now = time.perf_counter()
        # one assignment: whenever the run is stopped, a piece is counted with its bounds or not at all
        state = {**state, unit: state[unit] + size, "kinds": Tally(state["kinds"]).plus(tally).kinds,
                 "seconds": round(before + now - begin, 1)}
        if now - told > EVERY:
            told = now
            if state_file:
                save(state_file, state)
            say(f"{state['cases']} cases, {state['pairs']} pairs, {state['seconds']:.0f} s")
        return seconds is not None and now - begin > seconds

    late = False
    try:
        while state["cases"] < cases and not late:
            found = Tally()
            batch(seed, state["cases"] // BATCH, found)
            late = count("cases", BATCH, found)
        while state["pairs"] < pairs and not late:
            found = Tally()
            check_pair(found, np.random.default_rng([seed, 1, state["pairs"]]))
            late = count("pairs", 1, found)
    finally:
        if state_file:
            save(state_file, state)
    return state


def table(state: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of kind, number of bounds, tightest and loosest distance, with a head."""
    rows = [("kind", "bounds", "tightest", "loosest")]
    for kind, entry in state["kinds"].items():
        ends = ["-" if entry[k] is None else f"{entry[k]:.2e}" for k in ("tightest", "loosest")]
        rows.append((kind, str(entry["bounds"]), *ends))
    return rows


def summary(state: dict[str, Any]) -> str:
    """What was run, in a line."""
    return (f"{state['cases']} cases and {state['pairs']} model pairs, {state['seconds']} s, seed {state['seed']}: "
            "every bound on its side")


_HOW_TO_READ = """
A case is one array, pair or triple of arrays of random type, shape, scale and layout, and every bound on it
is compared with whole-number arithmetic; one in 80 also with mpmath at two precisions and with python-flint.
A model pair is a tiny decoder of one of the nine families, in one of four dtypes, and a changed copy; every
number of its certified run is compared with exact sums, losses and divergences with balls of 300 bits and
with mpmath. A distance is |bound - truth| relative to the truth; for figures that may cancel, relative to the
sizes of what is added up; for those of the loss, relative to the oscillation of the logits; *chain over
error* is the ratio of the two. A bound on the wrong side ends the run.
"""


def page(state: dict[str, Any]) -> str:
    """The table as Markdown, with how to read it."""
    head, *rows = table(state)
    sizes = " ".join(f"--{name} {state[name]}" for name in ("cases", "pairs", "seed"))
    return "\n".join([
        "# Random cases against exact arithmetic", "", f"{summary(state)}. This page is written by",
        f"`bash ci/soak {sizes} --page docs/soak.md`.", _HOW_TO_READ,
        *("| " + " | ".join(row) + " |" for row in (head, ("---", "---:", "---:", "---:"), *rows)),
        "",
    ])


def main(argv: list[str] | None = None) -> int:
    """Command line; 0 if every bound was on its side, 1 if one was not, 2 for what is missing, 130 when stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000, help="enclosure cases in all (default 1,000,000)")
    parser.add_argument("--pairs", type=int, default=1_000, help="model pairs in all (default 1,000)")
    parser.add_argument("--seconds", type=float, help="stop after so long; run again to go on")
    parser.add_argument("--seed", type=int, default=0, help="decides every case (default 0)")
    parser.add_argument("--state", type=Path, default=Path("soak-state.json"), help="state file (soak-state.json)")
    parser.add_argument("--page", type=Path, help="write the table as Markdown too")
    arguments = parser.parse_args(argv)
    try:
        state = run(cases=arguments.cases, pairs=arguments.pairs, seconds=arguments.seconds, seed=arguments.seed,
                    state_file=arguments.state, say=lambda text: print(text, file=sys.stderr, flush=True))
    except Wrong as error:
        print(f"WRONG: {error}")
        return 1
    except ImportError as error:
        print(f"soak needs all of the development requirements, got {error}; install them and run the same command",
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {arguments.state}", file=sys.stderr)
        return 130
    print(summary(state))
    for row in table(state):
        print("{:36} {:>9} {:>10} {:>10}".format(*row))
    if arguments.page:
        arguments.page.write_text(page(state))
    return 0


if __name__ == "__main__":
    sys.exit(main())
