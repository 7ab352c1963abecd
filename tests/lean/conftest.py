"""One small proof project, built once, and the Lean that builds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

A_LEAN = """module

@[expose] public noncomputable section

namespace PeelVerify

universe u

variable {α : Type u} [Lean.Grind.Field α]

/-- Twice a number.

Python: `peelverify.bounds.sample.twice` -/
def twice (a : α) : α := a + a

/-- Twice a sum is the sum of the doubles.

Python: none (supporting lemma) -/
theorem twice_add (a b : α) : twice (a + b) = twice a + twice b := by
  unfold twice; grind

private theorem helper (a : α) : a + 0 = a := by grind

end PeelVerify
"""

B_LEAN = """module

public import Proofs.A

@[expose] public noncomputable section

namespace PeelVerify

variable {α : Type} [Lean.Grind.Field α]

/-- Four times a number.

Python: `peelverify.bounds.sample.four_times` -/
def fourTimes (a : α) : α := twice (twice a)

/-- Doubling twice is four times.

Python: `peelverify.bounds.sample.four_times` -/
theorem fourTimes_eq (a : α) : fourTimes a = a + a + a + a := by
  unfold fourTimes twice; grind

end PeelVerify
"""

ROOT_LEAN = "module\n\npublic import Proofs.A\npublic import Proofs.B\n"


def write_project(root: Path, /, **changes: str | None) -> Path:
    """Write the small project below a folder; a change replaces, adds or (None) leaves out a file."""
    files = {"root": ROOT_LEAN, "A": A_LEAN, "B": B_LEAN} | changes
    for name, text in files.items():
        if text is not None:
            path = root / ("Proofs.lean" if name == "root" else f"Proofs/{name}.lean")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write a project into a fresh folder: ``project(A=text, B=None)``."""
    made = 0

    def write(**changes: str | None) -> Path:
        nonlocal made
        made += 1
        return write_project(tmp_path / f"project{made}", **changes)

    return write
