"""Inconsistent files against the stand-alone checker, in little memory and one second."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from peelverify.certify import checker, verify
from peelverify.errors import ArtifactError
from peelverify.verdict import Verdict
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


@pytest.mark.parametrize("attack", [a for a in attacks_of("on_files") if a.layer in CODES], ids=lambda a: a.name)
def test_it_is_refused_offline(attack, target, tmp_path: Path, timed) -> None:
    """The exit status of its layer, one line, no traceback."""
    path = tmp_path / "bad.cert.json"
    path.write_bytes(attack.run(target.copy()))
    with timed(attack):
        done = run(path)
    assert done.returncode == CODES[attack.layer], (done.returncode, done.stdout, done.stderr)
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("attack", attacks_of("on_files"), ids=lambda a: a.name)
def test_verify_refuses_it_without_models(attack, target, tmp_path: Path, timed) -> None:
    """Schema, arithmetic and measured losses together refute all of them; what is no certificate is an error."""
    path = tmp_path / "bad.cert.json"
    path.write_bytes(attack.run(target.copy()))
    with timed(attack):
        if attack.layer == "parser":
            with pytest.raises(ArtifactError):
                verify(path, lean=False)
            return
        found = verify(path, lean=False)
    assert found.verdict is Verdict.VIOLATED and found.certificate is None
    assert "\n" not in found.summary and len(found.summary) < 500


@pytest.mark.parametrize("attack", [a for a in attacks_of("on_files") if a.layer == "schema"], ids=lambda a: a.name)
def test_any_validator_refuses_it(attack, target) -> None:
    """The schema alone does it, in the validator that most Python programs use."""
    schema = json.loads((resources.files("peelverify.certify") / "schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(target.copy()) and not validator.is_valid(json.loads(attack.run(target.copy())))


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
