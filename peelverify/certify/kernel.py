"""The arithmetic of a certificate as a Lean file, decided by the kernel.

The file states ``check c = true`` and ``unitsCheck u = true`` for the numbers of the certificate, the latter from
parts of the windows where there are many (`PeelVerify.unitsCheck_append`); together
with `PeelVerify.check_sound` and `PeelVerify.unitsCheck_sound` that is what "verified at level lean" means.
Only numbers that the stand-alone checker has parsed are written into it, never names or other text.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from peelverify.certify import checker, shape
from peelverify.certify.checker import parse
from peelverify.errors import ToolchainError

__all__ = ["PROOFS", "KernelRefused", "check_in_kernel", "lean_source"]

PROOFS = "Proofs.Certificate"  # the check of a certificate rests on this file and what it imports


_PART = 64
"""Windows that the kernel looks at in one evaluation; some hundreds exhaust its stack."""
_FALSE = "Tactic `decide` failed"
"""How Lean begins to say that a check does not come out true; other messages are about Lean itself."""


class KernelRefused(Exception):
    """The Lean kernel does not accept the arithmetic of a certificate."""


def _rat(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    return f"{sign}{top}" if bottom == 1 else f"({sign}{top} / {bottom})"


def _enclosure(pair: list[str]) -> str:
    return f"⟨{_rat(parse(pair[0]))}, {_rat(parse(pair[1]))}⟩"


def lean_source(document: dict[str, Any]) -> str:
    """The Lean file for a certificate that `peelverify.certify.shape.check` has accepted.

    Args:
        document: a parsed certificate.

    Returns:
        Text of a Lean module that imports the proofs and states two examples.
    """
    bounds = shape.check(document)
    numbers = document["numbers"]
    blocks = ",\n     ".join(
        f"⟨{_enclosure(b['propagated'])}, {_enclosure(b['introduced'])}, {_enclosure(b['error'])}, "
        f"{_rat(parse(b['gain']))}, {_rat(parse(b['chain']))}⟩"
        for b in numbers["blocks"]
    )
    units, (count, length) = numbers["units"], document["subject"]["tokens"]["shape"]
    return f"""module

public import {PROOFS}

open PeelVerify

/-- The chain certificate passes its check. -/
example : check (α := Rat)
    ⟨{_enclosure(numbers["initial_error"])},
    [{blocks}],
    {_rat(bounds["direct"])}, {_rat(bounds["portable"])}, {_rat(bounds["chain"])}⟩ = true := by
  decide +kernel
{_units(units, int(count) * (int(length) - 1))}"""


def _units(units: dict[str, Any], scored: int) -> str:
    """Lean text for the figures of the windows, put together from parts by `PeelVerify.unitsCheck_append`."""
    rows = [
        (parse(w["oscillation_max"]), parse(w["oscillation_sum"]), int(w["same_top"])) for w in units["windows"]
    ]
    largest, mean = parse(units["loss_change_max"]), parse(units["loss_change_mean"])
    whole = (scored, int(units["positions"]), _rat(largest), _rat(mean), int(units["same_top"]))
    pieces = [rows[i : i + _PART] for i in range(0, len(rows), _PART)]
    if len(pieces) == 1:
        windows = _windows(rows)
        return f"""
/-- The figures in the units of the user pass their check. -/
example : unitsCheck (α := Rat)
    ⟨[{windows}],
    {whole[0]}, {whole[1]}, {whole[2]}, {whole[3]}, {whole[4]}⟩ = true := by
  decide +kernel
"""
    text, done, tops = [], Fraction(0), 0
    for i, piece in enumerate(pieces):
        own, same = checker.total(row[1] for row in piece), sum(row[2] for row in piece)
        done, tops = checker.total([done, own]), tops + same
        text.append(f"""
private noncomputable def part{i} : UnitsCertificate Rat :=
    ⟨[{_windows(piece)}],
    1, {same}, {_rat(largest)}, {_rat(own)}, {same}⟩

private theorem part{i}_passes : unitsCheck part{i} = true := by
  decide +kernel
""")
        if i == 0:
            continue
        before = "part0" if i == 1 else f"upto{i - 1}"
        last = i == len(pieces) - 1
        stated = whole if last else (1, tops, _rat(largest), _rat(done), tops)
        text.append(f"""
private noncomputable def upto{i} : UnitsCertificate Rat :=
    ⟨{before}.windows ++ part{i}.windows, {stated[0]}, {stated[1]}, {stated[2]}, {stated[3]}, {stated[4]}⟩

private theorem upto{i}_passes : unitsCheck upto{i} = true :=
  unitsCheck_append {before} part{i} upto{i} {before}_passes part{i}_passes rfl
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
""")
    return "".join(text)


def _windows(rows: list[tuple[Fraction, Fraction, int]]) -> str:
    return ",\n     ".join(f"⟨{_rat(most)}, {_rat(whole)}, {same}⟩" for most, whole, same in rows)


def check_in_kernel(document: dict[str, Any], *, on_progress: Callable[[int, int, str], None] | None = None) -> str:
    """Have the Lean kernel check the arithmetic of a certificate.

    Args:
        document: a parsed certificate that the stand-alone checker accepts.
        on_progress: called with (done, total, text).

    Returns:
        Which Lean checked it, in one line.

    Raises:
        KernelRefused: the kernel says that a check is false.
        ToolchainError: Lean cannot be had, the proofs themselves do not build, or it ends without an answer.
    """
    from peelverify.lean.build import CHECK_MODULE, build, check_source

    base = build(goal=PROOFS, on_progress=on_progress)
    if not base.ok:
        first = base.messages[0] if base.messages else "no message"
        raise ToolchainError(f"the proofs do not build ({first}); run peelverify prove", messages=base.messages)
    found = check_source(lean_source(document), base=base, on_progress=on_progress)
    if not found.ok:
        mine = [m for m in found.messages if m.file.startswith(CHECK_MODULE)] or list(found.messages)
        first = str(mine[0]).splitlines()[0] if mine else "no message"
        if any(m.line and m.text.startswith(_FALSE) for m in mine):
            raise KernelRefused(f"the Lean kernel refuses it: {first}")
        raise ToolchainError(
            f"Lean did not come to an answer on this certificate ({first}); give it more memory or a native Lean",
            messages=found.messages,
        )
    return found.toolchain.description
