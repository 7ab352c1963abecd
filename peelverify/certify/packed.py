"""Norms of weight matrices, decided by the Lean kernel from the weights themselves.

The entries are written into a Lean file as integers, packed into long numerals. For the distance of two matrices
the kernel sums the squared differences of all entries (`PeelVerify.frobLe_of_packed`). For the operator norm of one
matrix a factor is packed below it, and the kernel checks that the Gram matrix of both has small rows
(`PeelVerify.opNorm2Le_of_packedSpectral`). Nothing about the weights is assumed, and no floating-point operation
takes part in the proof. What the file does not say is where the matrices come from; the numerals are those of the
stored entries, which anyone can unpack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor, log2
from typing import Any

import numpy as np

from peelverify.enclose import sqrt_upper
from peelverify.enclose.arrays import require_finite, require_matrix, stored
from peelverify.errors import InputError, NumericalError, ShapeError, ToolchainError
from peelverify.registry import measured

__all__ = [
    "MAX_COLUMNS",
    "MAX_ENTRIES",
    "PackedProof",
    "PackedSource",
    "pack_difference",
    "pack_operator_norm",
    "prove_difference",
    "prove_operator_norm",
    "prove_packed",
]

MODULES = {"distance_le": "Proofs.Packed", "norm_le": "Proofs.PackedSpectral"}
CHUNK = 1 << 14
"""Entries of one theorem; smaller ones only add start-up of their own, larger ones gain nothing."""

MAX_ENTRIES = 1 << 18
"""Entries of one distance. In the WebAssembly build 65,536 take about half a minute, this many about a minute."""

MAX_COLUMNS = 128
"""Columns of one operator norm: every pair costs a long multiplication. In the WebAssembly build 64 columns take
about 20 seconds, 128 about three minutes, and 256 do not fit in its memory."""

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
        name: the theorem in it: ``distance_le`` (Frobenius) or ``norm_le`` (operator norm).
        bound: the number c of the statement.
        shape: rows and columns of the matrix.
        bits: width of a packed entry; for a distance that of the original and of the compressed matrix.
        theorems: theorems that the entries were split into.
        exact_sq: the squared distance itself, exactly; None for an operator norm.
    """

    text: str
    name: str
    bound: Fraction
    shape: tuple[int, int]
    bits: tuple[int, ...]
    theorems: int
    exact_sq: Fraction | None = None


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


def _require_pair(function: str, raws: dict[str, np.ndarray]) -> None:
    """Refuse what is not one matrix, or two of one shape, with finite entries and at least one of them."""
    for name, raw in raws.items():
        require_matrix(raw, name=name)
        require_finite(raw, name=name)
    shapes = {name: raw.shape for name, raw in raws.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(
            f"{function} needs two matrices of one shape, got {' and '.join(map(str, shapes.values()))}; "
            "pair the matrices by name"
        )
    if 0 in next(iter(shapes.values())):
        raise ShapeError(f"{function} needs at least one entry, got shape {next(iter(shapes.values()))}")


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
    parts = list(row)
    step = 1
    while len(parts) > 1:  # join neighbours, so that the work is that of a few long shifts
        parts = [
            parts[i] | (parts[i + 1] << (width * step)) if i + 1 < len(parts) else parts[i]
            for i in range(0, len(parts), 2)
        ]
        step *= 2
    return f"0x{parts[0]:x}"


def _dyadic(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator} / {value.denominator}"


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
    _require_pair("pack_difference", raws)
    rows, columns = raws["original"].shape
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
    bound = sqrt_upper(exact_sq)
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
    return PackedSource(
        text, "distance_le", bound, (rows, columns), (old.width, new.width), len(chunks), exact_sq=exact_sq
    )


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
        f"public import {MODULES['distance_le']}\n",
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
    return prove_packed(pack_difference(original, compressed), on_progress)


def prove_packed(
    source: PackedSource, on_progress: Callable[[int, int, str], None] | None = None
) -> PackedProof:
    """Have the Lean kernel check a packed file.

    Args:
        source: from `pack_difference` or `pack_operator_norm`.
        on_progress: called with (done, total, text).

    Raises:
        ToolchainError: Lean cannot be had, the proofs do not build, or the kernel does not accept the file.
    """
    from peelverify.lean.build import build, check_source

    base = build(goal=MODULES[source.name], on_progress=on_progress)
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


@measured("exact integer arithmetic; the Lean kernel repeats all of it")
def pack_operator_norm(matrix: Any, *, minus: Any = None, slack: float = 2.0**-10) -> PackedSource:
    """Write the Lean file that bounds the operator norm of a matrix, or of the difference of two.

    Args:
        matrix: float array or tensor (float16, bfloat16, float32, float64), rows x columns.
        minus: another of the same shape, subtracted exactly, for instance the original weight; or None.
        slack: how far above the norm the bound may lie, relative; a smaller slack needs longer numerals.

    Returns:
        The file and the bound it states.

    Raises:
        ShapeError: not a matrix, an empty one, or two shapes.
        NonFiniteError: NaN or infinite entries.
        InputError: more than `MAX_COLUMNS` columns or `MAX_ENTRIES` entries, a slack outside (0, 1], or exponents
            that are too far apart.
        NumericalError: no factor was found; use a larger slack.

    Guarantee:
        If Lean accepts the file, |A x| <= bound |x| for every x, where A are the stored entries, or their exact
        difference. `PeelVerify.opNorm2Le_of_packedSpectral`.
    """
    raws = {"matrix": stored(matrix, name="matrix")}
    if minus is not None:
        raws["minus"] = stored(minus, name="minus")
    _require_pair("pack_operator_norm", raws)
    rows, columns = raws["matrix"].shape
    if columns > MAX_COLUMNS or rows * columns > MAX_ENTRIES:
        raise InputError(
            f"pack_operator_norm needs at most {MAX_COLUMNS} columns and {MAX_ENTRIES} entries, "
            f"got {rows} x {columns}; use peelverify.enclose.norm_op2_upper, "
            "whose rounding errors are bounded by theorems instead"
        )
    if not 0 < slack <= 1:
        raise InputError(f"pack_operator_norm needs 0 < slack <= 1, got {slack}; 2**-10 is the default")
    top, unit_exponent = _stacked(*_difference(raws), slack)
    size = len(top)
    offset = max(0, -min(min(line) for line in top))
    stored_rows = [[entry + offset for entry in line] for line in top]
    largest = max(max(line) for line in stored_rows)
    width = max(1, (size * largest * largest).bit_length())
    packed_columns = list(zip(*stored_rows, strict=True))
    gram = _gram(top)
    total = max(sum(abs(x) for x in line) for line in gram)
    unit = Fraction(2) ** unit_exponent
    bound = sqrt_upper(unit * unit * total)
    lines = [
        f"⟨{_numeral(column, width)}, {_numeral(reversed(column), width)}, {sum(column)}⟩" for column in packed_columns
    ]
    text = "\n".join(
        [
            "module\n",
            f"public import {MODULES['norm_le']}\n",
            "@[expose] public noncomputable section\n",
            "open PeelVerify\n",
            "/-- The columns of the matrix with a factor below it. -/",
            "def columns : List PackedColumn := [\n  " + ",\n  ".join(lines) + "]\n",
            "theorem columns_sound : ∀ d ∈ columns,",
            f"    packedColumnCheck {width} {size - 1} {largest} d = true := by decide +kernel\n",
            "theorem rows_small : ∀ d ∈ columns,",
            f"    Nat.ble (packedGramRow {width} {size - 1} {offset} d columns) {total} = true := by decide +kernel\n",
            "theorem norm_le : OpNorm2Le",
            f"    (packedMatrix {width} {offset} ({_dyadic(unit)} : Rat) columns (m := {rows})) ({_dyadic(bound)}) :=",
            f"  opNorm2Le_of_packedSpectral (n := {size - 1}) (p := {size - rows}) (largest := {largest})",
            f"    (total := {total}) rfl (by decide +kernel) columns_sound rows_small (by decide +kernel)",
            "    (by decide +kernel)\n",
        ]
    )
    return PackedSource(text, "norm_le", bound, (rows, columns), (width,), 2)


def _gram(rows: list[list[int]]) -> list[list[int]]:
    """The exact Gram matrix of the columns."""
    table = np.array(rows, dtype=object)
    return (table.T @ table).tolist()


def _difference(raws: dict[str, np.ndarray]) -> tuple[list[list[int]], int]:
    """The entries of the first matrix, minus those of the second if there is one, as integers times a power of two."""
    found = [_exact_integers(raw, name) for name, raw in raws.items()]
    exponent = min(place for _, place in found)
    tables = [[[entry << (place - exponent) for entry in line] for line in table] for table, place in found]
    if len(tables) == 1:
        return tables[0], exponent
    pairs = zip(*tables, strict=True)
    return [[x - y for x, y in zip(one, two, strict=True)] for one, two in pairs], exponent


def _stacked(entries: list[list[int]], exponent: int, slack: float) -> tuple[list[list[int]], int]:
    """The entries as integers with a factor below them, and the exponent of the common unit."""
    columns = len(entries[0])
    # all of the search happens at size one, where no square overflows or vanishes
    scale = max((abs(entry).bit_length() for line in entries for entry in line), default=0) + exponent
    if not any(any(line) for line in entries):
        return [*entries, [0] * columns], exponent
    unit = Fraction(2) ** (exponent - scale)
    scaled = np.array([[float(entry * unit) for entry in line] for line in entries])
    norm = float(np.linalg.norm(scaled, 2))
    square = norm * norm * (1 + slack)
    for _ in range(4):
        try:
            factor = np.linalg.cholesky(square * np.eye(columns) - scaled.T @ scaled).T
            break
        except np.linalg.LinAlgError:
            square *= 1 + slack
    else:
        raise NumericalError(
            f"pack_operator_norm found no factor for a norm of {norm * 2.0**scale:.6g}; pass a larger slack"
        )
    # the factor is rounded so finely that the rows of the Gram matrix move by a quarter of the slack at most
    step = floor(log2(slack * norm / (8 * columns * columns)))
    whole = np.rint(np.ldexp(factor, -step))
    place = min(exponent, step + scale)
    return (
        [[entry << (exponent - place) for entry in line] for line in entries]
        + [[int(entry) << (step + scale - place) for entry in line] for line in whole],
        place,
    )


def prove_operator_norm(
    matrix: Any,
    *,
    minus: Any = None,
    slack: float = 2.0**-10,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> PackedProof:
    """Have the Lean kernel check a bound on the operator norm of a matrix, or of the difference of two.

    Args:
        matrix: float array or tensor, rows x columns.
        minus: another of the same shape, subtracted exactly; or None.
        slack: how far above the norm the bound may lie, relative.
        on_progress: called with (done, total, text).

    Raises:
        InputError, ShapeError, NonFiniteError, NumericalError: see `pack_operator_norm`.
        ToolchainError: Lean cannot be had, the proofs do not build, or the kernel does not accept the file.
    """
    return prove_packed(pack_operator_norm(matrix, minus=minus, slack=slack), on_progress)
