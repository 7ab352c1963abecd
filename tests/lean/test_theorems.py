"""The theorem index: names, statements, mirrors, and hashes that survive what does not matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from peelverify.cli import theorems as command
from peelverify.errors import InputError
from peelverify.lean.theorems import Theorem, find_theorem, index
from tests.lean.conftest import A_LEAN, B_LEAN


def by_name(root: Path) -> dict[str, Theorem]:
    """Index of a project by full name."""
    return {entry.name: entry for entry in index(root)}


def test_the_index_has_what_is_public(project: Callable[..., Path]) -> None:
    """Definitions and theorems are listed in build order with kind, place and mirror; private ones are not."""
    entries = index(project())
    assert [(entry.name, entry.kind, entry.file) for entry in entries] == [
        ("PeelVerify.twice", "def", "Proofs/A.lean"),
        ("PeelVerify.twice_add", "theorem", "Proofs/A.lean"),
        ("PeelVerify.fourTimes", "def", "Proofs/B.lean"),
        ("PeelVerify.fourTimes_eq", "theorem", "Proofs/B.lean"),
    ]
    twice, add, _, _ = entries
    assert twice.mirror == "peelverify.bounds.sample.twice"
    assert (add.mirror, add.no_mirror) == (None, "supporting lemma")
    assert add.statement == "theorem twice_add (a b : α) : twice (a + b) = twice a + twice b"
    assert add.doc == "Twice a sum is the sum of the doubles."
    assert add.variables == ("variable {α : Type u} [Lean.Grind.Field α]",)
    assert A_LEAN.splitlines()[add.line - 1].startswith("theorem twice_add")


@pytest.mark.parametrize(
    ("source", "statement"),
    [
        ("theorem a (x : Nat := 1) : x = x := rfl", "theorem a (x : Nat := 1) : x = x"),
        ("theorem a : let x := 1; x = 1 := rfl", "theorem a : let x := 1; x = 1"),
        ("def a : Nat → Nat\n  | 0 => 1\n  | n + 1 => n", "def a : Nat → Nat"),
        ("theorem a (p : {x : Nat // x = 1}) : p.1 = 1 := p.2", "theorem a (p : {x : Nat // x = 1}) : p.1 = 1"),
        ("theorem a (x : Int) : |x| = |x| := rfl", "theorem a (x : Int) : |x| = |x|"),
        ("structure A where\n  x : Nat", "structure A where\n  x : Nat"),
    ],
)
def test_a_statement_ends_where_the_body_begins(project: Callable[..., Path], source: str, statement: str) -> None:
    """Bracketed and local ``:=`` belong to the statement; patterns and proofs do not."""
    text = f"module\n\nnamespace PeelVerify\n\n{source}\n\nend PeelVerify\n"
    assert index(project(A=text, B="module\n"))[0].statement == statement


UNCHANGED = {
    "a proof": (A_LEAN.replace("unfold twice; grind", "unfold twice\n  grind"), B_LEAN),
    "a comment": (A_LEAN.replace("namespace", "/- remark -/\nnamespace"), B_LEAN),
    "a doc comment": (A_LEAN.replace("Twice a number", "A number twice"), B_LEAN),
    "spacing of the statement": (A_LEAN, B_LEAN.replace("fourTimes a = a", "fourTimes  a\n      = a")),
    "another theorem": (A_LEAN.replace("private", "theorem new : 1 = 1 := rfl\n\nprivate"), B_LEAN),
    "another definition": (A_LEAN.replace("private", "def a' : Nat := 1\n\nprivate"), B_LEAN),
    "another statement": (A_LEAN.replace("(a b : α) :", "(b a : α) :"), B_LEAN),
    "line ends": (A_LEAN, B_LEAN.replace(" := by\n  unfold", " :=\n  by unfold")),
}
CHANGED = {
    "the statement": (A_LEAN, B_LEAN.replace("a + a + a + a := by", "a + a + (a + a) := by")),
    "the definition it mentions": (A_LEAN, B_LEAN.replace("twice (twice a)", "twice a + twice a")),
    "a definition behind that one": (A_LEAN.replace("α := a + a", "α := 2 * a"), B_LEAN),
    "the variables in scope": (A_LEAN, B_LEAN.replace("[Lean.Grind.Field α]", "[Lean.Grind.CommRing α]")),
    "a local instance": (
        A_LEAN,
        B_LEAN.replace("variable", "attribute [local instance] Semiring.natCast\n\nvariable"),
    ),
    "an instance": (A_LEAN.replace("private", "instance : Inhabited Nat := ⟨1⟩\n\nprivate"), B_LEAN),
    "an option before the theorem": (A_LEAN, B_LEAN.replace("/-- Doubling", "open Foo in\n/-- Doubling")),
}


@pytest.mark.parametrize("sources", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_the_hash_survives_what_does_not_matter(project: Callable[..., Path], sources: tuple[str, str]) -> None:
    """Proofs, comments, spacing and unrelated declarations leave a citation valid."""
    assert sources != (A_LEAN, B_LEAN)
    before = by_name(project())["PeelVerify.fourTimes_eq"].statement_hash
    after = by_name(project(A=sources[0], B=sources[1]))["PeelVerify.fourTimes_eq"].statement_hash
    assert before == after


@pytest.mark.parametrize("sources", CHANGED.values(), ids=CHANGED.keys())
def test_the_hash_notices_what_matters(project: Callable[..., Path], sources: tuple[str, str]) -> None:
    """A change of the statement, of what is in scope or of any definition below it breaks the citation."""
    assert sources != (A_LEAN, B_LEAN)
    before = by_name(project())["PeelVerify.fourTimes_eq"].statement_hash
    after = by_name(project(A=sources[0], B=sources[1]))["PeelVerify.fourTimes_eq"].statement_hash
    assert before != after


def test_method_notation_is_followed(project: Callable[..., Path]) -> None:
    """``c.good`` rests on ``Box.good`` although the word before the dot is a variable."""
    text = """module

namespace PeelVerify

structure Box where
  size : Nat

def Box.good (b : Box) : Prop := b.size = 1

theorem a (c : Box) (h : c.good) : c.size = 1 := h

end PeelVerify
"""
    before = by_name(project(A=text, B="module\n"))["PeelVerify.a"].statement_hash
    after = by_name(project(A=text.replace("b.size = 1", "b.size = 2"), B="module\n"))["PeelVerify.a"].statement_hash
    assert before != after


def test_a_name_is_found_with_and_without_the_namespace(project: Callable[..., Path]) -> None:
    """Short names work, and a wrong one is answered with the nearest."""
    root = project()
    assert find_theorem("twice_add", root) == find_theorem("PeelVerify.twice_add", root)
    with pytest.raises(InputError, match=r"got 'twice_ad'; did you mean twice_add"):
        find_theorem("twice_ad", root)


def test_every_public_declaration_of_the_project_says_what_it_is() -> None:
    """Each entry has a doc comment and either a mirror or a reason for none."""
    silent = [entry.name for entry in index() if not entry.doc or not (entry.mirror or entry.no_mirror)]
    assert silent == []
    assert len({entry.name for entry in index()}) == len(index())


def test_the_command_prints_a_list_a_page_and_json(project: Callable[..., Path]) -> None:
    """The list names file and line, the page adds statement and hash, JSON has a schema."""
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    root = str(project())
    run = CliRunner()
    listed = run.invoke(app, ["theorems", "--root", root])
    assert "PeelVerify.fourTimes_eq    Proofs/B.lean:" in listed.stdout
    assert "PeelVerify.twice " not in listed.stdout
    page = run.invoke(app, ["theorems", "fourTimes_eq", "--root", root])
    assert find_theorem("fourTimes_eq", root).statement_hash in page.stdout
    printed = json.loads(run.invoke(app, ["theorems", "--root", root, "--json", "--definitions"]).stdout)
    assert printed["schema"] == "peelverify.theorems/1"
    assert [entry["name"] for entry in printed["theorems"]] == [entry.name for entry in index(root)]
