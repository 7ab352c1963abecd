"""``peelverify doctor`` and interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peelverify.cli import doctor as doctor_module
from peelverify.cli.app import main
from peelverify.enclose.compiled import compiled_squares
from peelverify.errors import ToolchainError


def test_doctor_names_what_is_there(capsys) -> None:
    """In the test environment everything is found and the Lean road is named."""
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"]
    states = {row["name"]: row["state"] for row in found["found"]}
    assert "torch" in states
    assert "Lean 4.28.0" in states["lean"]
    assert states["float32 norms"] == ("compiled" if compiled_squares() else "numpy, slower")


def test_doctor_says_that_the_compiled_routine_is_missing(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It is for speed only, so its absence is no fault."""
    monkeypatch.setattr("peelverify.enclose.compiled.compiled_squares", lambda: None)
    assert main(["doctor"]) == 0
    assert "for speed only" in " ".join(capsys.readouterr().out.split())


def test_doctor_names_what_is_missing_and_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A missing package is exit 2 with the command that installs it."""
    monkeypatch.setattr(doctor_module, "_PACKAGES", ("no-such-package",))
    assert main(["doctor"]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "no-such-package missing pip install peelverify" in out


def test_doctor_says_how_to_get_lean(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Without Lean the row says so and names the command."""
    def absent(*_: object) -> str:
        raise ToolchainError("run peelverify prove to install it")

    monkeypatch.setattr("peelverify.lean.toolchain.describe_toolchain", absent)
    assert main(["doctor"]) == 0
    assert "run peelverify prove" in " ".join(capsys.readouterr().out.split())


def test_ctrl_c_is_one_line_and_keeps_what_was_done(tmp_path: Path) -> None:
    """An interrupted demo exits 130, says so, and leaves only whole checkpoints."""
    out = tmp_path / "demo"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and its children
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "peelverify.cli.app", "demo", "--out", str(out), "--no-lean", "--width", "16"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    limit = time.monotonic() + 120
    while not (out / "checkpoints" / "step-0020").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "error: stopped" in stderr
    assert "Traceback" not in stderr
    from peelverify.models import load_model

    for path in (out / "checkpoints").iterdir():
        assert "partial" not in path.name
        load_model(path)
