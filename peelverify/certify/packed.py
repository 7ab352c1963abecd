"""The exact distance of two weight matrices, decided by the Lean kernel from the weights themselves.

The entries of both matrices are written into a Lean file as integers, packed row by row into one numeral each.
The kernel sums the squared differences and `PeelVerify.frobLe_of_packed` turns that into a statement about the
matrices: nothing about the weights is assumed, and no floating-point operation takes part. What the file does not
say is where the matrices come from; the numerals are those of the stored entries, which anyone can unpack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np

from peelverify.enclose.arrays import require_finite, require_matrix, stored
from peelverify.errors import InputError, ShapeError, ToolchainError
from peelverify.registry import measured

__all__ = ["MAX_ENTRIES", "PackedProof", "PackedSource", "pack_difference", "prove_difference"]

MODULE = "Proofs.Packed"
CHUNK = 8192
"""Entries of one theorem; the kernel's time for one theorem grows faster than its entries."""

MAX_ENTRIES = 1 << 18
"""Entries of one proof. In the WebAssembly build 65,536 take about half a minute and memory grows with the file."""

MAX_BITS = 320
"""Bits of one packed entry: float32 weights fit whatever their exponents are, float64 ones seldom."""


@dataclass(frozen=True)
class _Packing:
    """Integers that stand for entries: entry = 2**exponent * (stored integer - offset)."""

    integers: list[list[int]]
    exponent: int
    offset: int
    width: int


@dataclass(frozen=True)
class PackedSource:
    """A Lean file that states one bound.

    Attributes:
        text: the Lean module.
        bound: the number c of the statement ``|compressed - original|_F <= c``.
        exact_sq: the squared distance itself, exactly.
        shape: rows and columns.
        bits: width of a packed entry of the original and of the compressed matrix.
        theorems: theorems that the entries were split into.
    """

    text: str
    bound: Fraction
    exact_sq: Fraction
    shape: tuple[int, int]
    bits: tuple[int, int]
    theorems: int


@dataclass(frozen=True)
class PackedProof:
    """What the kernel accepted.

    Attributes:
        source: the file.
        seconds: wall clock of the Lean process, 0 if the same file was accepted before.
        toolchain: which Lean.
    """

    source: PackedSource
    seconds: float
    toolchain: str


def _exact_integers(raw: np.ndarray, name: str) -> tuple[list[list[int]], int]:
    """Entries as integers times one power of two."""
    mantissa, exponent = np.frexp(raw.astype(np.float64))
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    trailing = np.zeros(raw.shape, dtype=np.int64)
    some = whole != 0
    lowest_bit = whole[some] & -whole[some]
    trailing[some] = np.log2(lowest_bit.astype(np.float64)).astype(np.int64)
    place = exponent.astype(np.int64) - 53 + trailing
    least = int(place[some].min()) if some.any() else 0
    spread = int(place[some].max()) + 53 - least if some.any() else 0
    if spread > 4 * MAX_BITS:
        raise InputError(
            f"pack_difference needs entries that fit in {MAX_BITS} bits on one grid, got exponents {spread} bits apart "
            f"in {name}; use peelverify.enclose.norm_fro_upper for such matrices"
        )
    odd = np.where(some, whole >> trailing, 0)
    shift = np.where(some, place - least, 0)
    return [[int(w) << int(s) for w, s in zip(*line, strict=True)] for line in zip(odd, shift, strict=True)], least


def _pack(raw: np.ndarray, name: str) -> _Packing:
    rows, exponent = _exact_integers(raw, name)
    low = min(min(row) for row in rows)
    high = max(max(row) for row in rows)
    offset = max(0, -low)
    width = max(1, (high + offset).bit_length())
    if width > MAX_BITS:
        raise InputError(
            f"pack_difference needs entries that fit in {MAX_BITS} bits on one grid, got {width} for {name}; "
            "use peelverify.enclose.norm_fro_upper for such matrices"
        )
    return _Packing([[entry + offset for entry in row] for row in rows], exponent, offset, width)


def _numeral(row: Iterable[int], width: int) -> str:
    """One numeral with the entries of a row, the first one lowest."""
    data = 0
    parts = list(row)
    step = 1
    while len(parts) > 1:  # join neighbours, so that the work is that of a few long shifts
        parts = [
            parts[i] | (parts[i + 1] << (width * step)) if i + 1 < len(parts) else parts[i]
            for i in range(0, len(parts), 2)
        ]
        step *= 2
    data = parts[0]
    return f"0x{data:x}"


def _dyadic(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator} / {value.denominator}"


def _root_upper(square: Fraction, bits: int = 53) -> Fraction:
    """A dyadic number with about that many bits whose square is at least `square`."""
    if square == 0:
        return Fraction(0)
    shift = 2 * bits - square.numerator.bit_length() + square.denominator.bit_length()
    shift += shift % 2
    scaled = square * Fraction(2) ** shift
    root = isqrt(-(-scaled.numerator // scaled.denominator) - 1) + 1
    return Fraction(root) / Fraction(2) ** (shift // 2)


@measured("exact integer arithmetic; the Lean kernel repeats all of it")
def pack_difference(original: Any, compressed: Any) -> PackedSource:
    """Write the Lean file that states how far apart two matrices are.

    Args:
        original: float array or tensor (float16, bfloat16, float32, float64), rows x columns.
        compressed: another of the same shape; its type may differ.

    Returns:
        The file and the bound it states, at most one part in 2**50 above the exact distance.

    Raises:
        ShapeError: not two matrices of one shape, or an empty one.
        NonFiniteError: NaN or infinite entries.
        InputError: more than `MAX_ENTRIES` entries, or entries whose exponents are too far apart.

    Guarantee:
        If Lean accepts the file, |compressed - original|_F <= bound for the stored entries, and no input of length
        r moves the output by more than bound r. `PeelVerify.frobLe_of_packed`, `PeelVerify.packed_output_error`.
    """
    raws = {"original": stored(original, name="original"), "compressed": stored(compressed, name="compressed")}
    for name, raw in raws.items():
        require_matrix(raw, name=name)
        require_finite(raw, name=name)
    shapes = {name: raw.shape for name, raw in raws.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(
            f"pack_difference needs two matrices of one shape, got {shapes['original']} and {shapes['compressed']}; "
            "pair the matrices by name"
        )
    rows, columns = raws["original"].shape
    if not rows * columns:
        raise ShapeError(f"pack_difference needs at least one entry, got shape {rows} x {columns}")
    if rows * columns > MAX_ENTRIES:
        raise InputError(
            f"pack_difference needs at most {MAX_ENTRIES} entries for one proof, got {rows * columns}; "
            "prove slices of rows and add the squared bounds, or use peelverify.enclose.norm_fro_upper"
        )
    old, new = (_pack(raw, name) for name, raw in raws.items())
    unit_exponent = min(old.exponent, new.exponent)
    scales = [1 << (packing.exponent - unit_exponent) for packing in (old, new)]
    distances = [
        sum(
            (scales[0] * (a - old.offset) - scales[1] * (b - new.offset)) ** 2
            for a, b in zip(x, y, strict=True)
        )
        for x, y in zip(old.integers, new.integers, strict=True)
    ]
    unit = Fraction(2) ** unit_exponent
    exact_sq = unit * unit * sum(distances)
    bound = _root_upper(exact_sq)
    levels = (columns - 1).bit_length()
    # missing entries up to the power of two are zero in both numerals, and their difference must be zero as well
    pad = (1 << levels) - columns
    lines = []
    for x, y, distance in zip(old.integers, new.integers, distances, strict=True):
        left = _numeral([*x, *[old.offset] * pad], old.width)
        right = _numeral([*y, *[new.offset] * pad], new.width)
        lines.append(f"⟨{left}, {right}, {distance}⟩")
    per = max(1, CHUNK >> levels)
    chunks = [lines[i : i + per] for i in range(0, len(lines), per)]
    text = _module(chunks, (old, new), scales, unit, levels, columns, bound)
    return PackedSource(text, bound, exact_sq, (rows, columns), (old.width, new.width), len(chunks))


def _module(
    chunks: list[list[str]],
    packings: tuple[_Packing, _Packing],
    scales: list[int],
    unit: Fraction,
    levels: int,
    columns: int,
    bound: Fraction,
) -> str:
    formats = [f"⟨{p.width}, {p.offset}, {scale}⟩" for p, scale in zip(packings, scales, strict=True)]
    parts = [
        "module\n",
        f"public import {MODULE}\n",
        "@[expose] public noncomputable section\n",
        "open PeelVerify\n",
        f"/-- How the original is packed. -/\ndef originalFormat : PackedFormat := {formats[0]}\n",
        f"/-- How the compressed matrix is packed. -/\ndef compressedFormat : PackedFormat := {formats[1]}\n",
    ]
    for number, chunk in enumerate(chunks):
        rows = ",\n  ".join(chunk)
        parts.append(f"/-- Some rows. -/\ndef rows{number} : List PackedRow := [\n  {rows}]\n")
        parts.append(
            f"theorem rows{number}_pass : ∀ r ∈ rows{number},\n"
            f"    packedRowCheck originalFormat compressedFormat {levels} r = true := by decide +kernel\n"
        )
    names = [f"rows{number}" for number in range(len(chunks))]
    proof = f"{names[-1]}_pass"
    for name in reversed(names[:-1]):
        proof = f"List.forall_mem_append.mpr ⟨{name}_pass, {proof}⟩"
    joined = names[-1]
    for name in reversed(names[:-1]):
        joined = f"{name} ++ ({joined})"
    parts.append(f"/-- All rows. -/\ndef allRows : List PackedRow := {joined}\n")
    parts.append(
        "theorem allRows_pass : ∀ r ∈ allRows,\n"
        f"    packedRowCheck originalFormat compressedFormat {levels} r = true :=\n  {proof}\n"
    )
    parts.append(
        f"theorem distance_le : FrobLe (fun (i : Fin allRows.length) (j : Fin {columns}) =>\n"
        f"    packedCompressed compressedFormat ({_dyadic(unit)} : Rat) allRows i j -\n"
        f"      packedOriginal originalFormat ({_dyadic(unit)}) allRows i j) ({_dyadic(bound)}) :=\n"
        f"  frobLe_of_packed originalFormat compressedFormat ({_dyadic(unit)}) {levels} allRows (by decide)\n"
        "    (by decide +kernel) allRows_pass (by decide +kernel)\n"
    )
    return "\n".join(parts)


def prove_difference(
    original: Any, compressed: Any, *, on_progress: Callable[[int, int, str], None] | None = None
) -> PackedProof:
    """Have the Lean kernel check how far apart two matrices are.

    Args:
        original: float array or tensor, rows x columns.
        compressed: another of the same shape.
        on_progress: called with (done, total, text).

    Raises:
        InputError, ShapeError, NonFiniteError: see `pack_difference`.
        ToolchainError: Lean cannot be had, the proofs do not build, or the kernel does not accept the file.
    """
    from peelverify.lean.build import build, check_source

    source = pack_difference(original, compressed)
    base = build(goal=MODULE, on_progress=on_progress)
    if not base.ok:
        first = base.messages[0] if base.messages else "no message"
        raise ToolchainError(f"the proofs do not build ({first}); run peelverify prove", messages=base.messages)
    begin = time.perf_counter()
    found = check_source(source.text, base=base, on_progress=on_progress)
    if not found.ok:
        first = str(found.messages[0]).splitlines()[0] if found.messages else "no message"
        raise ToolchainError(f"the Lean kernel does not accept the packed file: {first}", messages=found.messages)
    seconds = time.perf_counter() - begin if found.processes else 0.0
    return PackedProof(source, seconds, found.toolchain.description)
