"""Checks of arguments, shared by the bounds: a wrong call raises before any arithmetic.

Every check takes the calling function's name, the argument's name and its value, and returns the value.
`>=` is tested as ``not value >= 0``, so a NaN and a ball that straddles zero are refused as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from peelverify.errors import DomainError, NonFiniteError, ShapeError

__all__ = [
    "Matrix",
    "Number",
    "Vector",
    "count",
    "divide",
    "fraction_of_one",
    "larger",
    "mask",
    "matrix",
    "nonnegative",
    "nonnegatives",
    "number",
    "numbers",
    "positive",
    "same_length",
    "same_shape",
    "smaller",
]

Number: TypeAlias = Any
"""`fractions.Fraction`, `int`, `float`, `mpmath.mpf` or `flint.arb`."""

Vector: TypeAlias = Sequence[Number]
Matrix: TypeAlias = Sequence[Sequence[Number]]


def number(function: str, name: str, value: Number) -> Number:
    """Refuse what is not a finite number."""
    if isinstance(value, int | Fraction):
        return value
    try:
        is_finite = getattr(value, "is_finite", None)
        finite = bool(is_finite()) if callable(is_finite) else bool(value - value == 0)
    except (TypeError, ValueError):
        raise DomainError(
            f"{function} needs a number for {name}, got {value!r}; pass Fraction, int, float, mpf or arb",
            argument=name,
            value=value,
        ) from None
    if not finite:
        raise NonFiniteError(
            f"{function} needs finite {name}, got {value}; find the NaN or infinity where it was computed",
            argument=name,
            value=value,
        )
    return value


def nonnegative(function: str, name: str, value: Number) -> Number:
    """Refuse what is not a finite number >= 0."""
    number(function, name, value)
    if not value >= 0:
        raise DomainError(
            f"{function} needs {name} >= 0, got {value}; pass a size, not a signed difference",
            argument=name,
            value=value,
        )
    return value


def positive(function: str, name: str, value: Number) -> Number:
    """Refuse what is not a finite number > 0."""
    number(function, name, value)
    if not value > 0:
        raise DomainError(
            f"{function} needs {name} > 0, got {value}; the formula divides by it",
            argument=name,
            value=value,
        )
    return value


def fraction_of_one(function: str, name: str, value: Number, *, advice: str) -> Number:
    """Refuse what does not lie in [0, 1)."""
    nonnegative(function, name, value)
    if not value < 1:
        raise DomainError(
            f"{function} needs {name} < 1, got {value}; {advice}",
            argument=name,
            value=value,
        )
    return value


def count(function: str, name: str, value: object, *, least: int = 0) -> int:
    """Refuse what is not a whole number >= `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise DomainError(
            f"{function} needs a whole number for {name}, got {value!r}; pass an int",
            argument=name,
            value=value,
        )
    if value < least:
        raise DomainError(
            f"{function} needs {name} >= {least}, got {value}; count again",
            argument=name,
            value=value,
        )
    return value


def _entries(function: str, name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ShapeError(
            f"{function} needs a sequence for {name}, got {type(values).__name__}; pass a list or a tuple",
            argument=name,
        )
    return tuple(values)


def numbers(function: str, name: str, values: Iterable[Number], *, least: int = 1) -> tuple[Number, ...]:
    """Refuse what is not a sequence of at least `least` finite numbers."""
    entries = _entries(function, name, values)
    if len(entries) < least:
        raise ShapeError(
            f"{function} needs at least {least} entries in {name}, got {len(entries)}; fill it",
            argument=name,
            length=len(entries),
        )
    return tuple(number(function, f"{name}[{i}]", value) for i, value in enumerate(entries))


def nonnegatives(function: str, name: str, values: Iterable[Number], *, least: int = 1) -> tuple[Number, ...]:
    """Refuse what is not a sequence of finite numbers >= 0."""
    entries = numbers(function, name, values, least=least)
    return tuple(nonnegative(function, f"{name}[{i}]", value) for i, value in enumerate(entries))


def matrix(function: str, name: str, rows: Iterable[Iterable[Number]]) -> tuple[tuple[Number, ...], ...]:
    """Refuse what is not a rectangle of finite numbers with at least one row and one column."""
    outer = _entries(function, name, rows)
    if not outer:
        raise ShapeError(f"{function} needs at least one row in {name}, got none; pass a filled matrix", argument=name)
    table = tuple(numbers(function, f"{name}[{i}]", row) for i, row in enumerate(outer))
    widths = sorted({len(row) for row in table})
    if len(widths) > 1:
        raise ShapeError(
            f"{function} needs rows of equal length in {name}, got lengths {widths}; pad or cut the rows",
            argument=name,
            lengths=widths,
        )
    return table


def mask(function: str, name: str, values: Iterable[Any], *, length: int) -> tuple[bool, ...]:
    """Refuse what is not one truth value for each of `length` entries."""
    entries = _entries(function, name, values)
    for i, value in enumerate(entries):
        if not (value is True or value is False or (type(value).__name__ == "bool" and value in (0, 1))):
            raise DomainError(
                f"{function} needs True or False in {name}[{i}], got {value!r}; pass a mask, not indices",
                argument=name,
                value=value,
            )
    same_length(function, **{name: len(entries), "entries": length})
    return tuple(bool(value) for value in entries)


def same_length(function: str, **sizes: int) -> None:
    """Refuse sizes that differ."""
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ShapeError(f"{function} needs equal lengths, got {listed}; align the arguments", lengths=dict(sizes))


def same_shape(function: str, **tables: Sequence[Sequence[Any]]) -> None:
    """Refuse matrices whose shapes differ."""
    shapes = {name: (len(table), len(table[0])) for name, table in tables.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {rows}x{columns}" for name, (rows, columns) in shapes.items())
        raise ShapeError(f"{function} needs equal shapes, got {listed}; align the arguments", shapes=shapes)


def divide(numerator: Number, denominator: Number) -> Number:
    """Divide; two ints give a `Fraction`, because their float quotient would be rounded."""
    if isinstance(numerator, int) and isinstance(denominator, int):
        return Fraction(numerator, denominator)
    return numerator / denominator


def larger(a: Number, b: Number) -> Number:
    """The larger of two numbers; of two overlapping balls a ball that contains it."""
    if a <= b:
        return b
    return a if b <= a else a.max(b)


def smaller(a: Number, b: Number) -> Number:
    """The smaller of two numbers; of two overlapping balls a ball that contains it."""
    if a <= b:
        return a
    return b if b <= a else a.min(b)
