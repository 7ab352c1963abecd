"""Work in chunks that get smaller when memory runs out, and say so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

from peelverify.errors import NumericalError
from peelverify.verdict import Outcome

__all__ = ["MemoryWarning", "in_chunks", "ran_out"]

Result = TypeVar("Result")


class MemoryWarning(UserWarning):
    """Memory ran out and the work goes on in smaller chunks; results change at most in their rounding."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, numpy's, a device's, or torch's on the processor."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def smaller(chunk: int, what: str, unit: str = "windows") -> int:
    """Half a chunk, said aloud.

    Raises:
        NumericalError: the chunk is a single one already.
    """
    if chunk <= 1:
        raise NumericalError(
            f"memory ran out in {what} with a single one of the {unit}; use shorter windows, fewer tokens or a "
            "smaller model", outcome=Outcome.FAILED,
        )
    half = chunk // 2
    warnings.warn(f"memory ran out in {what} with {chunk} {unit} at once; going on with {half}", MemoryWarning,
                  stacklevel=3)
    return half


def in_chunks(
    count: int, chunk: int, work: Callable[[slice], Result], what: str, unit: str = "windows"
) -> list[Result]:
    """Results of ``work`` on consecutive slices; a slice that runs out of memory is tried again in halves.

    Args:
        count: number of items.
        chunk: items a slice, at least 1.
        work: pure function of a slice.
        what: named in the warning.
        unit: what is counted, named in the warning.

    Raises:
        NumericalError: a single item does not fit.
    """
    found: list[Result] = []
    start = 0
    while start < count:
        try:
            found.append(work(slice(start, min(start + chunk, count))))
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            chunk = smaller(min(chunk, count - start), what, unit)
            continue
        start += chunk
    return found
