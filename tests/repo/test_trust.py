"""docs/trust.md: every theorem, command and file that it names exists, and no kind of claim is left out."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from peelverify.cli.app import COMMANDS
from peelverify.lean.theorems import index

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
CLAIMS = (
    "Direct error", "Portable bound", "Chain bound", "Change of loss", "same top token", "Every input", "Unseen text",
    "YES bounds", "Low-bit identities", "Telescoping of rho", "Packed Lean certificate",
)


def theorems(text: str) -> set[str]:
    """Full names of theorems and definitions in a text."""
    return set(re.findall(r"\bPeelVerify\.[A-Za-z][\w']*(?:\.[A-Za-z][\w']*)*", text))


def commands(text: str) -> set[str]:
    """Words behind ``peelverify`` in code."""
    return set(re.findall(r"`peelverify ([a-z]+)", text))


def paths(text: str) -> set[str]:
    """Files and folders of the repository that a text names in code or links to."""
    named = re.findall(r"`((?:Proofs|peelverify|tests|docs|ci)/[\w./-]+)`", text)
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    return {*named, *(f"docs/{target}" for target in linked)}


def missing(names: Collection[str], known: Collection[str]) -> list[str]:
    """Names that are not known; names must be there at all."""
    return sorted(set(names) - set(known)) if names else ["nothing is named"]


def test_every_theorem_exists() -> None:
    """No theorem on the page is made up or was renamed."""
    assert len(theorems(TEXT)) > 40
    assert missing(theorems(TEXT), {entry.name for entry in index()}) == []


def test_every_command_exists() -> None:
    """Commands on the page are commands of the program."""
    assert missing(commands(TEXT), COMMANDS) == []


def test_every_path_exists() -> None:
    """Files on the page are in the repository."""
    assert [path for path in paths(TEXT) if not (ROOT / path).exists()] == []
    assert paths(TEXT)


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_has_a_section_with_its_theorem(claim: str) -> None:
    """Each kind of claim says what it speaks about, what carries it and what is assumed."""
    sections = re.split(r"^#{2,3} ", TEXT, flags=re.MULTILINE)
    found = [section for section in sections if claim in section.splitlines()[0]]
    assert len(found) == 1, claim
    assert "**Speaks about**" in found[0]
    assert "**Theorem" in found[0]
    assert theorems(found[0])


def test_theorems_of_certificates_are_on_the_page() -> None:
    """Whatever theorem a certificate can name is explained here."""
    folder = ROOT / "peelverify" / "certify"
    named = {n for path in folder.glob("*.py") for n in re.findall(r'"(PeelVerify\.[\w.]+)"', path.read_text("utf-8"))}
    assert missing(named, theorems(TEXT)) == []


def test_what_was_not_run_is_marked() -> None:
    """The part on Mathlib says that it was not compiled."""
    part = TEXT.partition("## For users of Mathlib")[2]
    assert "**Not run here**" in part
    assert part.count("Not compiled here") == len(re.findall(r"^theorem ", part, flags=re.MULTILINE)) > 0


def test_the_checks_go_red() -> None:
    """A made-up theorem, command and file are each noticed, and an empty page too."""
    bad = TEXT.replace("PeelVerify.le_chainBound", "PeelVerify.le_wishfulBound", 1)
    assert missing(theorems(bad), {entry.name for entry in index()}) == ["PeelVerify.le_wishfulBound"]
    assert missing(commands(TEXT.replace("`peelverify prove`", "`peelverify conjure`", 1)), COMMANDS) == ["conjure"]
    gone = TEXT.replace("peelverify/certify/packed.py", "peelverify/certify/gone.py")
    assert not all((ROOT / path).exists() for path in paths(gone))
    assert missing(theorems(""), {"a"}) == ["nothing is named"]
