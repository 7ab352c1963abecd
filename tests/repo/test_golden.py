"""The reviewed list of statements and the page of theorems agree with the Lean sources.

A proof that is accepted says nothing about what it proves, so every change of a public statement must show up
in ``tests/golden/statements.txt``, where a person reads it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peelverify.errors import ArtifactError, InputError
from peelverify.lean.catalog import markdown, write_markdown
from peelverify.lean.golden import compare_golden, golden_text, write_golden
from peelverify.lean.theorems import find_theorem, index
from peelverify.lean.tree import proofs_root

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "statements.txt"
PAGE = ROOT / "docs" / "theorems.md"


def test_every_statement_is_the_reviewed_one() -> None:
    """No public theorem or definition was changed, added or dropped without a change of the reviewed list."""
    changes = compare_golden(GOLDEN)
    shown = "\n".join(map(str, changes[:20]))
    assert not changes, (
        f"{len(changes)} statements differ from the reviewed list. Read each; if all are meant, renew it:\n"
        f"    peelverify theorems --write-golden tests/golden/statements.txt\n{shown}"
    )


def test_the_page_of_theorems_is_not_stale() -> None:
    """docs/theorems.md is what the sources say."""
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "docs/theorems.md is stale; renew it: peelverify theorems --markdown docs/theorems.md"
    )


def test_every_link_of_the_page_has_its_place() -> None:
    """Each table row leads to exactly one anchor, and every anchor is there once."""
    import re

    text = PAGE.read_text(encoding="utf-8")
    anchors, links = re.findall(r'<a id="([^"]+)">', text), re.findall(r"\]\(#([^)]+)\)", text)
    assert len(anchors) == len(set(anchors))
    assert set(links) == set(anchors)
    assert len(links) > 200


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the whole proof tree that a test may damage."""
    for name in ("Proofs.lean", "lakefile.lean", "lean-toolchain"):
        shutil.copy(proofs_root() / name, tmp_path / name)
    shutil.copytree(proofs_root() / "Proofs", tmp_path / "Proofs")
    return tmp_path


def edit(root: Path, file: str, old: str, new: str) -> None:
    """Replace a text that stands in a file exactly once."""
    path = root / "Proofs" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} no longer has the text that this test changes: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def drop_theorem(root: Path) -> None:
    """Take le_chainBound out of its file."""
    path = root / "Proofs" / "Propagation.lean"
    text = path.read_text(encoding="utf-8")
    entry = find_theorem("le_chainBound", root)
    assert entry.statement in text
    path.write_text(text.replace(entry.statement, "private " + entry.statement), encoding="utf-8")


EDITS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a hypothesis that is weaker": (
        lambda root: edit(root, "Vector.lean", "theorem dot_comm {n : Nat}", "theorem dot_comm {n : Nat} (h : 1 = 1)"),
        "PeelVerify.dot_comm", "changed",
    ),
    "a definition that a theorem rests on": (
        lambda root: edit(root, "Propagation.lean", "chainBound (step.1 * e0 + step.2) rest",
                          "chainBound (step.1 * e0 + 2 * step.2) rest"),
        "PeelVerify.le_chainBound", "rests on a change",
    ),
    "the same definition itself": (
        lambda root: edit(root, "Propagation.lean", "chainBound (step.1 * e0 + step.2) rest",
                          "chainBound (step.1 * e0 + 2 * step.2) rest"),
        "PeelVerify.chainBound", "changed",
    ),
    "a dropped theorem": (drop_theorem, "PeelVerify.le_chainBound", "dropped"),
    "an added theorem": (
        lambda root: edit(root, "Vector.lean", "private abbrev v34",
                          "/-- One.\n\nPython: none (x) -/\ntheorem one_eq_one : (1 : Nat) = 1 := rfl\n\n"
                          "private abbrev v34"),
        "PeelVerify.one_eq_one", "added",
    ),
    "the variables of a section": (
        lambda root: edit(root, "Counting.lean", "universe u\n", "universe u\n\nvariable [Inhabited Nat]\n"),
        "PeelVerify.conformal_count", "changed",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_kind_of_change_goes_red(name: str, copied: Path) -> None:
    """The comparison names the declaration and says how it changed; the copy itself agrees before the change."""
    change, declaration, kind = EDITS[name]
    golden = copied / "golden.txt"
    write_golden(golden, copied)
    assert compare_golden(golden, copied) == ()
    change(copied)
    found = {entry.name: entry for entry in compare_golden(golden, copied)}
    assert declaration in found, found
    assert found[declaration].kind == kind
    assert found[declaration].lines


def test_proofs_and_comments_are_not_reviewed(copied: Path) -> None:
    """Another proof and another doc comment leave the list as it is."""
    golden = copied / "golden.txt"
    write_golden(golden, copied)
    edit(copied, "Vector.lean", "/-- The inner product does not depend on the order of its arguments.",
         "/-- The order of the arguments of an inner product does not matter.")
    edit(copied, "Propagation.lean", "  rw [e, normSq_add, squaredErrorIdentity]",
         "  rw [e]; rw [normSq_add, squaredErrorIdentity]")
    assert compare_golden(golden, copied) == ()


def test_nothing_never_agrees(tmp_path: Path, copied: Path) -> None:
    """An empty list, a list without its head, a list with a name twice and an empty tree are each red."""
    text = golden_text(index(copied))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "Proofs.lean").write_text("module\n")
    for damaged in (golden_text([]), text.partition("\n")[2], text + text.split("\n\n")[1] + "\n", ""):
        path = tmp_path / "list.txt"
        path.write_text(damaged, encoding="utf-8")
        assert compare_golden(path, copied)
    path.write_text(golden_text([]), encoding="utf-8")
    assert compare_golden(path, bare)
    with pytest.raises(ArtifactError, match="cannot be read"):
        compare_golden(tmp_path / "gone.txt", copied)
    with pytest.raises(InputError, match="got none"):
        write_golden(tmp_path / "new.txt", bare)
    with pytest.raises(InputError, match="got none"):
        markdown(bare)
    assert not (tmp_path / "new.txt").exists()


def test_another_file_is_never_replaced(tmp_path: Path) -> None:
    """Only a file that the same command wrote is written over, and nothing is left half done."""
    mine = tmp_path / "notes.md"
    mine.write_text("mine")
    for write in (write_golden, write_markdown):
        with pytest.raises(InputError, match="was not written by this command"):
            write(mine)
        with pytest.raises(ArtifactError, match="cannot be written"):
            write(tmp_path / "gone" / "new.md")
    assert mine.read_text() == "mine"
    write_markdown(tmp_path / "page.md")
    write_markdown(tmp_path / "page.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.md", "page.md"]


def test_a_stale_page_is_noticed(copied: Path) -> None:
    """The text of the page follows the statements."""
    before = markdown(copied)
    edit(copied, "Vector.lean", "theorem dot_comm {n : Nat}", "theorem dot_comm {n : Nat} (h : 1 = 1)")
    assert markdown(copied) != before
