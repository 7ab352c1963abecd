"""Work in chunks that get smaller when memory runs out, and say so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from peelverify.errors import NumericalError
from peelverify.verdict import Outcome

__all__ = ["Chunk", "MemoryWarning", "in_chunks", "joined", "ran_out"]

Result = TypeVar("Result")

#: What torch's allocators say where they raise a plain RuntimeError.
NO_ROOM = ("can't allocate memory", "not enough memory", "out of memory")


class MemoryWarning(UserWarning):
    """Memory ran out and the work goes on in smaller chunks; results change at most in their rounding."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, numpy's, a device's, or torch's on the processor."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_ROOM)


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


class Chunk:
    """How many items go at once. Where memory runs out the number halves, says so, and stays halved.

    Args:
        size: items at once to begin with, at least 1.
        what: named in the warning.
        unit: what is counted, named in the warning.

    Example:
        >>> Chunk(2, "a test").run(5, lambda rows: rows.stop - rows.start)
        [2, 2, 1]
    """

    def __init__(self, size: int, what: str, unit: str = "windows") -> None:
        self.size, self.what, self.unit = size, what, unit

    def run(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """Results of ``work`` on consecutive slices of ``count`` items; a slice that fails is tried again in halves.

        Raises:
            NumericalError: a single item does not fit.
        """
        found: list[Result] = []
        start = 0
        while start < count:
            stop = min(start + self.size, count)
            try:
                found.append(work(slice(start, stop)))
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                self.size = smaller(stop - start, self.what, self.unit)
                continue
            start = stop
        return found

    def anew(self, count: int, work: Callable[[int], Result]) -> Result:
        """Result of ``work`` with so many items at once, begun anew with half of them where it fails.

        Raises:
            NumericalError: a single item does not fit.
        """
        while True:
            size = min(self.size, count)
            try:
                return work(size)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                self.size = smaller(size, self.what, self.unit)


def joined(parts: list[Tensor], what: str) -> Tensor:
    """Parts one after another; a single one as it is.

    Raises:
        NumericalError: the whole does not fit in memory.
    """
    if len(parts) == 1:
        return parts[0]
    try:
        return torch.cat(parts)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise NumericalError(
            f"memory ran out in {what}: its result for all windows does not fit; use fewer tokens or a smaller model",
            outcome=Outcome.FAILED,
        ) from error


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
    return Chunk(chunk, what, unit).run(count, work)
