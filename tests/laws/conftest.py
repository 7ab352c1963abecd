"""Prints, after the laws, how near each bound came to being reached."""

from __future__ import annotations

from .checking import RATIOS


def pytest_terminal_summary(terminalreporter) -> None:
    """List the loosest bounds of this run."""
    if RATIOS:
        terminalreporter.section("observed / bound, the loosest first")
        for theorem, ratio in sorted(RATIOS.items(), key=lambda item: item[1])[:12]:
            terminalreporter.write_line(f"{float(ratio):8.4f}  {theorem}")
