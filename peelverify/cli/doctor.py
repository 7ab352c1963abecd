"""``peelverify doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from typing import Annotated

import typer

from peelverify import __version__
from peelverify.cli import console

__all__ = ["register"]

_PACKAGES = ("numpy", "torch", "transformers", "safetensors", "tokenizers", "mpmath", "scipy", "matplotlib")
_TESTING = ("pytest", "hypothesis", "python-flint", "selenium")


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Say what is installed, which Lean is used, and what is missing.

    Example: peelverify doctor
    """
    rows: list[tuple[str, str, str]] = [
        ("peelverify", __version__, ""),
        ("python", platform.python_version(), "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"),
    ]
    for name in (*_PACKAGES, *_TESTING):
        try:
            rows.append((name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            mend = "pip install 'peelverify[test]'" if name in _TESTING else "pip install peelverify"
            rows.append((name, "missing" if name in _PACKAGES else "missing (tests only)", mend))
    rows.extend(_arithmetic())
    rows.append(_compiled())
    rows.append(_lean())
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    rows.append((
        "browser", "found" if browser else "missing (tests only)",
        "" if browser else "apt-get install chromium chromium-driver",
    ))
    broken = [row for row in rows if row[1] == "missing" or row[1].startswith("broken")]
    if json:
        console.emit_json({
            "schema": "peelverify.doctor/1",
            "healthy": not broken,
            "found": [{"name": a, "state": b, "mend": c} for a, b, c in rows],
        })
    else:
        console.table("peelverify doctor", ("what", "state", "to mend"), rows)
    return 2 if broken else 0


def _arithmetic() -> list[tuple[str, str, str]]:
    from peelverify.enclose.arrays import require_ieee_arithmetic
    from peelverify.errors import NumericalError

    try:
        require_ieee_arithmetic()
    except NumericalError as error:
        found, mend = str(error).split("; ", 1)
        return [("arithmetic", f"broken: {found.split(', got ')[-1]}", mend)]
    return [("arithmetic", "IEEE 754: to nearest, gradual underflow", "")]


def _compiled() -> tuple[str, str, str]:
    from peelverify.enclose.compiled import compiled_squares

    if compiled_squares() is not None:
        return ("float32 norms", "compiled", "")
    return ("float32 norms", "numpy, slower", "for speed only: install again where a C compiler is found")


def _lean() -> tuple[str, str, str]:
    from peelverify.errors import ToolchainError
    from peelverify.lean.toolchain import describe_toolchain

    try:
        return ("lean", describe_toolchain(), "")
    except ToolchainError as error:
        return ("lean", "not installed yet", str(error) or "peelverify prove")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)
