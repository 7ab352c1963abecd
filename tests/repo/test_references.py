"""Every source that a docstring names stands in references.bib, and every entry is used."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def keys(bib: str) -> set[str]:
    """Keys of a BibTeX file."""
    return set(re.findall(r"^@\w+\{(\w+),", bib, flags=re.MULTILINE))


def cited(root: Path) -> set[str]:
    """Keys in square brackets in the Python sources below a folder."""
    found: set[str] = set()
    for path in root.rglob("*.py"):
        found |= set(re.findall(r"\[([A-Z][A-Za-z]+\d{4}[a-z]?)\]", path.read_text(encoding="utf-8")))
    return found


def test_sources_and_entries_agree() -> None:
    """No key without an entry and no entry without a use."""
    have, used = keys((ROOT / "references.bib").read_text(encoding="utf-8")), cited(ROOT / "peelverify")
    assert used, "no docstring names a source"
    assert used <= have, used - have
    assert have <= used, have - used


def test_a_missing_entry_is_noticed(tmp_path: Path) -> None:
    """The guard sees a key that no entry has."""
    (tmp_path / "x.py").write_text('"""[Nobody1999]"""')
    assert cited(tmp_path) - keys("@misc{Somebody2000,\n}") == {"Nobody1999"}
