"""Theorems that a certificate names, each with the hash of its statement and of the definitions below it.

The hash leaves out proofs and everything the statement does not rest on, so a later release that keeps the
statements keeps the citations.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from peelverify.lean.theorems import Theorem, find_in, index
from peelverify.lean.tree import proofs_root

__all__ = ["compare_hashes", "theorem_hashes"]


@lru_cache(maxsize=2)
def _index_of(files: tuple[tuple[str, int, int], ...]) -> tuple[Theorem, ...]:
    return index()


def _index() -> tuple[Theorem, ...]:
    """The index of the proofs, read again only if a file changed."""
    root = Path(proofs_root())
    stats = ((path, path.stat()) for path in sorted([root / "Proofs.lean", *root.glob("Proofs/**/*.lean")]))
    return _index_of(tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats))


def theorem_hashes(names: Iterable[str]) -> list[dict[str, str]]:
    """Name and statement hash of each theorem, in the order given.

    Raises:
        InputError: if the proofs have no theorem of that name.
    """
    entries = _index()
    return [{"name": name, "sha256": find_in(entries, name).statement_hash} for name in names]


def compare_hashes(stated: Any) -> list[str]:
    """Names of theorems that this version lacks or states differently; all of them if none is stated."""
    here = {entry.name: entry.statement_hash for entry in _index()}
    if not isinstance(stated, list) or not stated:
        return ["(none named)"]
    return [
        str(entry.get("name")) if isinstance(entry, dict) else "(damaged)"
        for entry in stated
        if not isinstance(entry, dict) or here.get(str(entry.get("name"))) != entry.get("sha256")
    ]
