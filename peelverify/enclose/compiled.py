"""The compiled sums of squares of float32 arrays, where they were built and a probe finds them right.

They are optional: without them `frobenius.py` does the same with numpy, up to five times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isfinite

import numpy as np

from peelverify.registry import measured

__all__ = ["SumsOfSquares", "compiled_squares", "sums_are_right"]

SumsOfSquares = Callable[[np.ndarray, int], list[float]]
"""Float64 sums of squares of a contiguous float32 array over blocks of so many entries, the last one shorter."""


def _fine(start: int, count: int) -> float:
    """Sum of squares of count numbers 1 + k 2^-23 from k = start, exact: a multiple of 2^-46 below 2^7."""
    return sum((2**23 + k) ** 2 for k in range(start, start + count)) * 2.0**-46


@measured("a probe: it looks at what a compiled function makes of known arrays, and bounds nothing")
@np.errstate(all="ignore")  # whatever the caller set
def sums_are_right(sums_of_squares: SumsOfSquares) -> bool:
    """Whether sums whose answer float64 holds exactly come out so, and infinity and NaN are not lost.

    In any order of additions no answer is rounded, so a routine that is right must give it to the last bit. Lengths
    go round the lanes of the routine and past the size from which it lets other threads run.
    """
    steps = (1 + np.arange(100) * 2.0**-23).astype(np.float32)
    least = np.full(5, 2.0**-149, np.float32)
    probes: list[tuple[np.ndarray, int, list[float]]] = [
        (steps[1:2], 4096, [_fine(1, 1)]),
        (steps[:77], 77, [_fine(0, 77)]),
        (steps[1:98], 33, [_fine(1, 33), _fine(34, 33), _fine(67, 31)]),
        (least, 3, [3 * 2.0**-298, 2 * 2.0**-298]),
        (np.full(40_000, 2.0**127, np.float32), 4096, [4096 * 2.0**254] * 9 + [3136 * 2.0**254]),
        (least[:0], 3, []),
    ]
    lost = [np.array([1.0, bad, 1.0], np.float32) for bad in (np.inf, -np.inf, np.nan)]
    try:
        return all(sums_of_squares(array, block) == sums for array, block, sums in probes) and not any(
            isfinite(sums_of_squares(array, 4096)[0]) for array in lost
        )
    except Exception:  # a routine of another version may raise anything; what cannot be called is not right
        return False


@cache
def compiled_squares() -> SumsOfSquares | None:
    """The compiled function, or None where it was not built or is not right; looked for once."""
    try:
        from peelverify.enclose._squares import sums_of_squares
    except ImportError:  # no compiler at installation, or a file for another system
        return None
    return sums_of_squares if sums_are_right(sums_of_squares) else None
