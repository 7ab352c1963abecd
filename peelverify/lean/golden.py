"""The reviewed list of all public statements: a text that a person reads, and a check that nothing else is stated.

A proof that is accepted says nothing about what it proves. So every public theorem, with its variables, and
every public definition, whole, stands in one file in the repository. Whoever changes a statement changes that
file too, and the difference shows up in review. The hash beside each entry also covers what it rests on.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peelverify.errors import ArtifactError, InputError
from peelverify.lean.pages import reasons
from peelverify.lean.theorems import Theorem, index

__all__ = ["Change", "compare_golden", "golden_text", "write_generated", "write_golden"]

_FIRST = "# Every public statement of the proofs, reviewed by reading."
_HEAD = f"""{_FIRST}
# Written by `peelverify theorems --write-golden FILE`; checked by `peelverify theorems --check-golden FILE`.
# A definition stands here whole, a theorem up to its proof. `hash` covers the entry and what it rests on.
"""


@dataclass(frozen=True)
class Change:
    """One difference between the reviewed list and the sources.

    Attributes:
        name: of the declaration; empty if the file itself is damaged.
        kind: ``"added"``, ``"dropped"``, ``"changed"`` (its own text), ``"rests on a change"`` (only its hash
            differs) or ``"damaged"``.
        lines: what differs, as lines that start with ``-`` or ``+``.
    """

    name: str
    kind: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {self.kind}", *(f"    {line}" for line in self.lines)])


def _entry(theorem: Theorem) -> str:
    """The entry of one declaration; its first line names it."""
    body = theorem.definition or theorem.statement
    lines = [f"{theorem.kind} {theorem.name}    {theorem.file}", *(f"    {line}" for line in theorem.variables)]
    lines += [f"    {line}".rstrip() for line in body.splitlines()]
    formula = reasons(theorem).formula
    if formula:
        lines.append(f"  formula {' '.join(formula.split())}")
    lines.append(f"  hash {theorem.statement_hash}")
    return "\n".join(lines)


def golden_text(entries: Sequence[Theorem]) -> str:
    """The list as it is written to a file, in the order of the build."""
    return "\n".join([_HEAD, *(f"{_entry(entry)}\n" for entry in entries)])


def compare_golden(path: Path | str, root: Path | str | None = None) -> tuple[Change, ...]:
    """What the sources state otherwise than the reviewed list.

    Args:
        path: the list.
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Returns:
        One `Change` a declaration; empty if both agree. An empty list or an empty tree never agrees.

    Raises:
        ArtifactError: if the list cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); write it with `peelverify theorems --write-golden {path}`"
        ) from error
    reviewed, damage = _parse(text)
    stated = {f"{entry.kind} {entry.name}": _entry(entry) for entry in index(root)}
    changes = [Change("", "damaged", (line,)) for line in damage]
    if not stated:
        changes.append(Change("", "damaged", ("the tree states nothing",)))
    for name in {**reviewed, **stated}:
        old, new = reviewed.get(name), stated.get(name)
        if old == new:
            continue
        short = name.partition(" ")[2]
        if old is None or new is None:
            kind = "added" if old is None else "dropped"
            sign = "+" if old is None else "-"
            changes.append(Change(short, kind, tuple(f"{sign} {line}" for line in (new or old or "").splitlines())))
            continue
        lines = [
            line for line in difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
            if not line.startswith(("---", "+++", "@@"))
        ]
        own = any(not line[1:].startswith("  hash ") for line in lines)
        changes.append(Change(short, "changed" if own else "rests on a change", tuple(lines)))
    return tuple(changes)


def _parse(text: str) -> tuple[dict[str, str], list[str]]:
    """Entries by kind and name, and what is wrong with the file."""
    entries: dict[str, str] = {}
    damage = [] if text.startswith(_HEAD) else ["the head of the file is not the one that is written"]
    body = text.removeprefix(_HEAD).strip("\n")
    for block in body.split("\n\n") if body else ():
        # a definition may hold an empty line: what starts with a blank belongs to the entry before it
        if block.startswith(" ") and entries:
            entries[next(reversed(entries))] += "\n\n" + block
            continue
        name = " ".join(block.split()[:2])
        if name in entries:
            damage.append(f"{name} stands there twice")
        entries[name] = block
    if not entries:
        damage.append("the list is empty, so nothing was reviewed")
    return entries, damage


def write_golden(path: Path | str, root: Path | str | None = None) -> int:
    """Write the list, in one step.

    Returns:
        How many declarations it holds.

    Raises:
        InputError: if the tree states nothing, or the file is there and is no such list.
        ArtifactError: if it cannot be written.
    """
    entries = index(root)
    if not entries:
        raise InputError("write_golden needs public declarations, got none; name the folder of Proofs.lean by --root")
    write_generated(Path(path), golden_text(entries), _FIRST)
    return len(entries)


def write_generated(path: Path, text: str, first: str) -> None:
    """Write a generated file in one step; only a file with the same first line is replaced.

    Raises:
        InputError: if another file stands there.
        ArtifactError: if it cannot be written.
    """
    try:
        if path.exists() and not path.read_bytes().startswith(first.encode()):
            raise InputError(f"{path} is there and was not written by this command; choose another name")
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
            os.chmod(part, 0o644)
            os.replace(part, path)
        finally:
            Path(part).unlink(missing_ok=True)
    except InputError:
        raise
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
