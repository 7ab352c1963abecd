"""The table of theorems counts what it says: proofs, open `simp`s, options, ratios."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from peelverify.lean.source import Source
from peelverify.lean.theorems import index
from peelverify.lean.tree import load_tree, proofs_root
from tests.lean.conftest import A_LEAN, write_project

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "theorem_table.py"
_SPEC = importlib.util.spec_from_file_location("theorem_table", FILE)
made = importlib.util.module_from_spec(_SPEC)
sys.modules["theorem_table"] = made  # its dataclass looks itself up
_SPEC.loader.exec_module(made)


def test_every_public_theorem_has_one_row_and_a_proof() -> None:
    """No theorem is missing from the table, and no proof is empty."""
    found = {proof.name: proof for proof in made.proofs(load_tree(proofs_root())) if proof.public}
    assert set(found) == {entry.name for entry in index() if entry.kind == "theorem"}
    assert all(proof.lines >= 1 for proof in found.values())
    assert found["PeelVerify.dot_comm"].lines < 10


def test_the_proofs_keep_their_style() -> None:
    """No proof of more than 40 lines without a reason, and no `simp` without `only` in the middle of a block."""
    tree = load_tree(proofs_root())
    assert not [f"{p.place} {p.name}" for p in made.proofs(tree) if p.lines > made.LONG and not p.reason]
    assert not [place for source in tree.sources.values() for place in made.open_simps(source)]


def test_lines_and_reasons_are_counted(tmp_path: Path) -> None:
    """A proof ends at its last line; a long one is excused only by a comment that says so."""
    body = "  unfold twice\n" * 41 + "  grind\n"
    long = A_LEAN.replace("  unfold twice; grind\n", body)
    tree = load_tree(write_project(tmp_path / "a", A=long))
    proof = next(p for p in made.proofs(tree) if p.name == "PeelVerify.twice_add")
    assert (proof.lines, proof.reason) == (43, False)
    excused = long.replace("  unfold twice\n", "  -- long: one case each\n  unfold twice\n", 1)
    tree = load_tree(write_project(tmp_path / "b", A=excused))
    assert next(p for p in made.proofs(tree) if p.name == "PeelVerify.twice_add").reason


@pytest.mark.parametrize(
    ("proof", "places"),
    [
        ("  simp [h]\n  grind\n", 1),
        ("  simp [h]; grind\n", 1),
        ("  constructor <;> simp [h] <;> grind\n", 1),
        ("  simp at h\n  exact h\n", 1),
        ("  simp [h]\n", 0),
        ("  simp only [h]\n  grind\n", 0),
        ("  · simp [h]\n  · grind\n", 0),
        ("  have : a = b := by simp [h]\n  grind\n", 0),
        ("  simpa using h\n", 0),
    ],
)
def test_open_simps_are_found(proof: str, places: int) -> None:
    """A `simp` behind which the same block goes on is found; one that ends its block is not."""
    assert len(made.open_simps(Source("A", "A.lean", f"module\n\ntheorem a : 1 = 1 := by\n{proof}"))) == places


def test_options_are_listed(tmp_path: Path) -> None:
    """Each linter that is switched off is counted."""
    text = A_LEAN.replace("universe u\n", "universe u\n\nset_option linter.unusedVariables false\n")
    assert made.linters(load_tree(write_project(tmp_path, A=text))) == {"linter.unusedVariables false": 1}


def test_ratios_reach_their_rows() -> None:
    """A ratio stands in the row of its theorem, and a missing one is a dash."""
    rows = made.table(load_tree(proofs_root()), {"PeelVerify.le_chainBound": 0.25}, markdown=True)
    assert next(row for row in rows if row.startswith("| le_chainBound |")).endswith("| 0.2500 |")
    assert next(row for row in rows if row.startswith("| dot_comm |")).endswith("| - |")
