"""The arithmetic of a certificate as a Lean file, decided by the kernel.

The file states ``check c = true`` and ``unitsCheck u = true`` for the numbers of the certificate; together
with `PeelVerify.check_sound` and `PeelVerify.unitsCheck_sound` that is what "verified at level lean" means.
Only numbers that the stand-alone checker has parsed are written into it, never names or other text.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from peelverify.certify import checker
from peelverify.certify.checker import parse
from peelverify.errors import ToolchainError

__all__ = ["PROOFS", "KernelRefused", "check_in_kernel", "lean_source"]

PROOFS = "Proofs.Certificate"  # the check of a certificate rests on this file and what it imports


class KernelRefused(Exception):
    """The Lean kernel does not accept the arithmetic of a certificate."""


def _rat(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    return f"{sign}{top}" if bottom == 1 else f"({sign}{top} / {bottom})"


def _enclosure(pair: list[str]) -> str:
    return f"⟨{_rat(parse(pair[0]))}, {_rat(parse(pair[1]))}⟩"


def lean_source(document: dict[str, Any]) -> str:
    """The Lean file for a certificate that `peelverify.certify.checker.check` has accepted.

    Args:
        document: a parsed certificate.

    Returns:
        Text of a Lean module that imports the proofs and states two examples.
    """
    bounds = checker.check(document)
    numbers = document["numbers"]
    blocks = ",\n     ".join(
        f"⟨{_enclosure(b['propagated'])}, {_enclosure(b['introduced'])}, {_enclosure(b['error'])}, "
        f"{_rat(parse(b['gain']))}, {_rat(parse(b['chain']))}⟩"
        for b in numbers["blocks"]
    )
    units = numbers["units"]
    windows = ",\n     ".join(
        f"⟨{_rat(parse(w['oscillation_max']))}, {_rat(parse(w['oscillation_sum']))}, {int(w['same_top'])}⟩"
        for w in units["windows"]
    )
    count, length = document["subject"]["tokens"]["shape"]
    return f"""module

public import {PROOFS}

open PeelVerify

/-- The chain certificate passes its check. -/
example : check (α := Rat)
    ⟨{_enclosure(numbers["initial_error"])},
    [{blocks}],
    {_rat(bounds["direct"])}, {_rat(bounds["portable"])}, {_rat(bounds["chain"])}⟩ = true := by
  decide +kernel

/-- The figures in the units of the user pass their check. -/
example : unitsCheck (α := Rat)
    ⟨[{windows}],
    {int(count) * (int(length) - 1)}, {int(units["positions"])},
    {_rat(parse(units["loss_change_max"]))}, {_rat(parse(units["loss_change_mean"]))},
    {int(units["same_top"])}⟩ = true := by
  decide +kernel
"""


def check_in_kernel(document: dict[str, Any], *, on_progress: Callable[[int, int, str], None] | None = None) -> str:
    """Have the Lean kernel check the arithmetic of a certificate.

    Args:
        document: a parsed certificate that the stand-alone checker accepts.
        on_progress: called with (done, total, text).

    Returns:
        Which Lean checked it, in one line.

    Raises:
        KernelRefused: the kernel says that a check is false.
        ToolchainError: Lean cannot be had, or the proofs themselves do not build.
    """
    from peelverify.lean.build import CHECK_MODULE, build, check_source

    base = build(goal=PROOFS, on_progress=on_progress)
    if not base.ok:
        first = base.messages[0] if base.messages else "no message"
        raise ToolchainError(f"the proofs do not build ({first}); run peelverify prove", messages=base.messages)
    found = check_source(lean_source(document), base=base, on_progress=on_progress)
    if not found.ok:
        mine = [m for m in found.messages if m.file.startswith(CHECK_MODULE)] or list(found.messages)
        raise KernelRefused(f"the Lean kernel refuses it: {str(mine[0]).splitlines()[0]}")
    return found.toolchain.description
