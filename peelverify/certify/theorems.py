"""Theorems that a certificate names, each with the hash of its statement and of the definitions below it.

The hash leaves out proofs and everything the statement does not rest on, so a later release that keeps the
statements keeps the citations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from peelverify.lean.theorems import find_theorem, index

__all__ = ["compare_hashes", "theorem_hashes"]


def theorem_hashes(names: Iterable[str]) -> list[dict[str, str]]:
    """Name and statement hash of each theorem, in the order given.

    Raises:
        InputError: if the proofs have no theorem of that name.
    """
    return [{"name": name, "sha256": find_theorem(name).statement_hash} for name in names]


def compare_hashes(stated: Any) -> list[str]:
    """Names of theorems that this version lacks or states differently; all of them if none is stated."""
    here = {entry.name: entry.statement_hash for entry in index()}
    if not isinstance(stated, list) or not stated:
        return ["(none named)"]
    return [
        str(entry.get("name")) if isinstance(entry, dict) else "(damaged)"
        for entry in stated
        if not isinstance(entry, dict) or here.get(str(entry.get("name"))) != entry.get("sha256")
    ]
