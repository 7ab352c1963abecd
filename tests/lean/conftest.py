"""One small proof project, built once, and the Lean that builds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

A_LEAN = """module

@[expose] public section

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

private theorem helper (a : α) : a = a := rfl

end PeelVerify
"""

B_LEAN = """module

public import Proofs.A

@[expose] public section

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


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write a project from (file -> text); None leaves a file of the small project out."""
    made = 0

    def write(**changes: str | None) -> Path:
        nonlocal made
        made += 1
        root = tmp_path / f"project{made}"
        files = {"Proofs.lean": ROOT_LEAN, "Proofs/A.lean": A_LEAN, "Proofs/B.lean": B_LEAN}
        files |= {
            ("Proofs.lean" if name == "root" else f"Proofs/{name}.lean"): text  # type: ignore[misc]
            for name, text in changes.items()
        }
        for name, text in files.items():
            if text is not None:
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        return root

    return write
