"""Long proofs say why they are long, and a `simp` without `only` closes its goal, so that it cannot rot unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest

from peelverify.lean.tree import proofs_root

LONGEST = 40
REASON = "-- more lines than usual: "
START = re.compile(r"(private )?(theorem|lemma|instance|example)\b")
LOOSE = re.compile(r"(?<![\w.])simpa?(?! only\b)(?![\w.])")


def proofs(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """First line and proof lines of every declaration with a tactic proof."""
    for number, line in enumerate(lines):
        if not START.match(line):
            continue
        end = number + 1
        while end < len(lines) and (not lines[end] or lines[end].startswith((" ", ":"))):
            end += 1
        text = lines[number:end]
        opening = next((i for i, part in enumerate(text) if part.endswith(":= by")), None)
        if opening is not None:
            yield line, [part for part in text[opening + 1 :] if part.strip()]


def complaints(text: str) -> list[str]:
    """What is wrong with the proofs of one file."""
    lines = text.split("\n")
    found = list(proofs(lines))
    long = [
        f"{name}: {len(proof)} lines and no reason"
        for name, proof in found
        if len(proof) > LONGEST and not proof[0].strip().startswith(REASON)
    ]
    for name, proof in found:
        for here, after in zip(proof, [*proof[1:], ""], strict=True):
            code = here.split("--")[0]
            if not LOOSE.search(code) or "simpa" in code:
                continue
            closes = len(after) - len(after.lstrip()) < len(here) - len(here.lstrip()) or "by simp" in code
            if not closes and not after.lstrip().startswith(("·", "|")):
                long.append(f"{name}: {here.strip()} does not close its goal")
    return long


def sources() -> dict[str, str]:
    """Every Lean file of the proofs."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(proofs_root().glob("Proofs/*.lean"))}


def test_there_are_proofs_to_look_at() -> None:
    """The parser finds hundreds of proofs, and a long one among them."""
    lengths = [len(proof) for text in sources().values() for _, proof in proofs(text.split("\n"))]
    assert len(lengths) > 250
    assert max(lengths) > LONGEST


@pytest.mark.parametrize("name", sources())
def test_the_style_of_each_file(name: str) -> None:
    """No long proof without a reason, no loose `simp` in the middle."""
    assert not complaints(sources()[name])


LONG = "theorem a : True := by\n" + "  skip\n" * 41 + "  trivial\n"


def test_it_goes_red() -> None:
    """A long proof, and a `simp` that is followed by another step, are found; with a reason or `only` they are not."""
    assert complaints(LONG)
    assert not complaints(LONG.replace("  skip\n", f"  {REASON}a sample\n", 1))
    assert complaints("theorem a : True := by\n  simp [h]\n  trivial\n")
    assert not complaints("theorem a : True := by\n  simp only [h]\n  trivial\n")
    assert not complaints("theorem a : True := by\n  have : True := by\n    simp [h]\n  trivial\n")
