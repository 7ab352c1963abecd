"""docs/attacks.md says what is tried, and every attack is run by a test."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.registry import ATTACKS, GROUPS, page, table

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


def test_an_attack_of_a_failed_test_is_not_called_refused() -> None:
    """The table is made of what the tests found: one failure is enough, and the longest time is shown."""
    lines = table([
        (True, [("a_first", "schema", 0.25)]), (False, [("a_first", "schema", 0.125), ("another", "sound", 1.0)]),
        (True, [("third_of_all", "loader", 2.0)]), (True, []),
    ])
    assert [line.split() for line in lines[1:-1]] == [
        ["a", "first", "NOT", "REFUSED", "0.250"], ["another", "NOT", "REFUSED", "1.000"],
        ["third", "of", "all", "loader", "2.000"],
    ]
    assert lines[-1] == "3 attacks, 2 of them not refused as they should be"
