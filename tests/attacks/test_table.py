"""docs/attacks.md says what is tried, and every attack is run by a test."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.registry import ATTACKS, GROUPS, page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_not_stale() -> None:
    """Names, layers and explanations on the page are those of the code."""
    text = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    assert text == page(), "docs/attacks.md is stale; renew it: python -m tests.attacks.registry > docs/attacks.md"
    assert len(ATTACKS) > 100


def test_every_group_is_run() -> None:
    """A test reads each group, so that no attack is only listed."""
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    for group in GROUPS:
        assert f'attacks_of("{group}")' in tests, group
