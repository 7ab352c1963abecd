"""Inconsistent files against the stand-alone checker, in little memory and one second."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from peelverify.certify import checker
from tests.attacks.registry import attacks_of

CODES = {"arithmetic": 1, "parser": 2}


def run(path: Path) -> subprocess.CompletedProcess[str]:
    """The checker alone: standard library, isolated, one second of CPU, 512 MiB."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))

    return subprocess.run(
        [sys.executable, "-I", "-S", checker.__file__, path], capture_output=True, text=True, check=False,
        preexec_fn=limits, timeout=60,
    )


def test_the_untouched_certificate_is_accepted(target) -> None:
    """Within the same limits: the refusals below are not for want of memory or time."""
    done = run(target.certificate)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("attack", attacks_of("on_files"), ids=lambda a: a.name)
def test_it_is_refused_offline(attack, target, tmp_path: Path, timed) -> None:
    """The exit status of its layer, one line, no traceback."""
    path = tmp_path / "bad.cert.json"
    path.write_bytes(attack.run(target.copy()))
    with timed(attack):
        done = run(path)
    assert done.returncode == CODES[attack.layer], (done.returncode, done.stdout, done.stderr)
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe, a device and a folder in place of the file."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        done = run(path)
        assert done.returncode == 2 and "Traceback" not in done.stderr, path


def test_more_memory_than_allowed_is_no_crash(target, tmp_path: Path) -> None:
    """Where even the limits of the format need more than there is, the checker says so."""
    path = tmp_path / "big.json"
    path.write_bytes(b'{"schema":"peelverify.certificate/1.1","x":[' + b"[]," * 4_100_000 + b"[]]}")
    done = run(path)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, (done.returncode, done.stderr[-300:])
