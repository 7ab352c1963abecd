"""Exact Python values as Lean terms, and files of numeric examples for the kernel to confirm.

A term is built from numbers and from names that match an allow-list pattern; no text of a caller reaches
the file in any other way, so an example cannot smuggle in a command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from peelverify.errors import InputError
from peelverify.lean.audit import REFUSED, _words
from peelverify.lean.source import Message

__all__ = ["Call", "Claim", "Mat", "Value", "Vec", "claim_of_message", "kernel_examples", "lean_value"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_']*(\.[A-Za-z][A-Za-z0-9_']*)*")
_MODULE = re.compile(r"(Proofs|Init|Std)(\.[A-Z][A-Za-z0-9]*)*")
_KEYWORDS = REFUSED | _words("""
    at by calc decide deriving do else end example exact forall from fun have if import in let letI
    haveI match module namespace nofun nomatch open rec section set_option show suffices then theorem
    Type Prop Sort unless where with
""")
_RELATIONS = {"=": "=", "<": "<", "<=": "≤", "!=": "≠"}
_PREAMBLE = "module\n\n{imports}\n\nopen PeelVerify\n\nset_option maxRecDepth 100000\n\n"


@dataclass(frozen=True)
class Vec:
    """A vector ``Fin n → Rat`` given by its entries."""

    entries: tuple[Fraction, ...]


@dataclass(frozen=True)
class Mat:
    """A matrix ``Fin m → Fin n → Rat`` given by its rows, which have equal length."""

    rows: tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Call:
    """A Lean function or constant applied to values.

    Args:
        name: for instance ``"chainBound"`` or ``"PeelVerify.dot"``; letters, digits, ``_``, ``'`` and dots.
        arguments: values or further calls.
    """

    name: str
    arguments: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Claim:
    """``left relation right``; the relation is one of ``=``, ``<``, ``<=``, ``!=``."""

    left: Value
    right: Value
    relation: str = "="


Value = Fraction | int | bool | tuple["Value", ...] | list["Value"] | Vec | Mat | Call


def lean_value(value: Value) -> str:
    """Write a value as a Lean term with its type.

    Args:
        value: `Fraction` becomes a ``Rat``; a non-negative int a ``Nat``, a negative one an ``Int``; bool, tuple
            and list what they are in Lean; `Vec` and `Mat` functions on ``Fin``; `Call` an application.

    Returns:
        The term, in parentheses where Lean needs them.

    Raises:
        InputError: for a float (write ``Fraction(x)`` to say that the exact binary value is meant), for a
            name outside the pattern, and for any other type.

    Example:
        >>> lean_value((Fraction(-1, 2), Fraction(3)))
        '((-1/2 : Rat), (3 : Rat))'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"({value} : Nat)" if value >= 0 else f"({value} : Int)"
    if isinstance(value, Fraction):
        return f"({_ratio(value)} : Rat)"
    if isinstance(value, tuple):
        if len(value) < 2:
            raise InputError(f"lean_value needs a tuple of two or more values, got {len(value)}; Lean has no other")
        return "(" + ", ".join(lean_value(item) for item in value) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(lean_value(item) for item in value) + "]"
    if isinstance(value, Vec):
        return f"(vec (n := {len(value.entries)}) {_numbers(value.entries)} : Fin {len(value.entries)} → Rat)"
    if isinstance(value, Mat):
        columns = {len(row) for row in value.rows}
        if len(columns) > 1:
            raise InputError(f"lean_value needs rows of equal length, got lengths {sorted(columns)}; pad or cut them")
        m, n = len(value.rows), columns.pop() if columns else 0
        rows = "[" + ", ".join(_numbers(row) for row in value.rows) + "]"
        return f"(mat (m := {m}) (n := {n}) {rows} : Fin {m} → Fin {n} → Rat)"
    if isinstance(value, Call):
        name = _checked_name(value.name)
        if not value.arguments:
            return name
        return f"({name} {' '.join(lean_value(argument) for argument in value.arguments)})"
    if isinstance(value, float):
        raise InputError(f"lean_value needs an exact value, got the float {value!r}; write Fraction({value!r})")
    raise InputError(f"lean_value needs a number, tuple, list, Vec, Mat or Call, got {type(value).__name__}")


def kernel_examples(claims: Sequence[Claim | tuple[Value, Value]], *, imports: Sequence[str] = ("Proofs",)) -> str:
    """Write a Lean file that states each claim as an example, decided by evaluation in the kernel.

    Args:
        claims: `Claim`, or (left, right) for an equality; at least one, since an empty file confirms nothing.
        imports: modules of the proofs that the names come from.

    Returns:
        The file; give it to `peelverify.lean.build.check_source`. Claim i stands on a line of its own, so that
        `claim_of_message` finds the claim that an error speaks of.

    Raises:
        InputError: for an empty list, an unknown relation, a module or name outside its pattern.
    """
    if not claims:
        raise InputError("kernel_examples needs at least one claim, got none; an empty file confirms nothing")
    for module in imports:
        if not _MODULE.fullmatch(module):
            raise InputError(
                f"kernel_examples needs modules of the proofs, got {module!r}; for instance 'Proofs.Vector'"
            )
    lines = []
    for item in claims:
        claim = item if isinstance(item, Claim) else Claim(*item)
        if claim.relation not in _RELATIONS:
            raise InputError(
                f"kernel_examples needs a relation out of {', '.join(_RELATIONS)}, got {claim.relation!r}; choose one"
            )
        sign = _RELATIONS[claim.relation]
        lines.append(f"example : {lean_value(claim.left)} {sign} {lean_value(claim.right)} := by decide +kernel\n")
    return _preamble(imports) + "".join(lines)


def claim_of_message(message: Message, *, imports: Sequence[str] = ("Proofs",)) -> int | None:
    """Index of the claim that a message of `check_source` speaks of; None if it speaks of none."""
    at = message.line - 1 - _preamble(imports).count("\n")
    return at if at >= 0 else None


def _preamble(imports: Sequence[str]) -> str:
    return _PREAMBLE.format(imports="\n".join(f"public import {module}" for module in imports))


def _ratio(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _numbers(values: Sequence[Fraction]) -> str:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, Fraction)):
            raise InputError(f"lean_value needs exact entries, got {value!r}; write Fraction({value!r})")
    return "[" + ", ".join(_ratio(Fraction(value)) for value in values) + "]"


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or _KEYWORDS & set(name.split(".")):
        raise InputError(f"lean_value needs the name of a definition, got {name!r}; for instance 'chainBound'")
    return name
