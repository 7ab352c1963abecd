"""Prints, after the laws, how near each bound came to being reached."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .checking import RATIOS


def pytest_sessionfinish() -> None:
    """Write the ratios where PEELVERIFY_LAW_RATIOS says, for the table of theorems; in one process only."""
    target = os.environ.get("PEELVERIFY_LAW_RATIOS")
    if target and RATIOS:
        Path(target).write_text(json.dumps({name: float(ratio) for name, ratio in sorted(RATIOS.items())}, indent=1))


def pytest_terminal_summary(terminalreporter) -> None:
    """List the loosest bounds of this run."""
    if RATIOS:
        terminalreporter.section("observed / bound, the loosest first")
        for theorem, ratio in sorted(RATIOS.items(), key=lambda item: item[1])[:12]:
            terminalreporter.write_line(f"{float(ratio):8.4f}  {theorem}")
