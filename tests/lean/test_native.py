"""The native road in detail: how lake is called, and everything that turns its audit red.

The programs are shell scripts that print what lake, lean and leanchecker print.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peelverify.lean import native
from peelverify.lean.audit import audit
from peelverify.lean.build import BuildResult, build
from peelverify.lean.tree import proofs_root

VERSION_LINE = "Lean (version 4.28.0, x86_64-unknown-linux-gnu, commit 0000000, Release)"
REPORT = "sed -n \"s/^#print axioms \\(.*\\)/'\\1' depends on axioms: [propext, Quot.sound]/p\" Audit.lean"
Run = Callable[..., BuildResult]


def program(path: Path, script: str) -> None:
    """A shell script that can be started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def run(project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Build the small project with a stand-in for lake: ``run(report=..., checker=..., lake=...)``."""

    def start(report: str = REPORT, checker: str | None = "exit 0", lake: str = "exit 0") -> BuildResult:
        folder = tmp_path / "bin"
        program(folder / "lean", f"if [ \"$1\" = --version ]; then echo '{VERSION_LINE}'; else {report}; fi")
        if checker is not None:
            program(folder / "leanchecker", checker)
        calls = f'echo "$@" >> {tmp_path}/calls; env > {tmp_path}/environment'
        program(folder / "lake", f'{calls}; if [ "$1" = env ]; then shift; exec "$@"; fi; {lake}')
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "cache")
        return build(project(), road="native")

    return start


def errors(result: BuildResult) -> str:
    """All messages that are not mere information, as one text."""
    return "\n".join(str(message) for message in result.messages if message.severity != "information")


def test_lake_is_called_as_its_help_says(run: Run, tmp_path: Path) -> None:
    """Warnings fail the build; axioms and replay run inside lake's environment; every module is replayed."""
    result = run()
    assert result.ok, errors(result)
    build_line, axioms_line, replay_line = (tmp_path / "calls").read_text().splitlines()
    assert build_line.split() == ["build", "--wfail", "--no-ansi"]
    assert re.fullmatch(r"env \S+/bin/lean Audit\.lean", axioms_line)
    assert re.fullmatch(r"env \S+/bin/leanchecker Proofs", replay_line)
    [text] = [message.text for message in result.messages]
    assert text == "2 theorems rest on Quot.sound, propext; leanchecker replayed every file"


def test_the_file_that_prints_axioms_is_no_module(run: Run, tmp_path: Path) -> None:
    """Lean refuses to print axioms in a module, so the file has no `module` line and a plain import."""
    run()
    [audit_file] = (tmp_path / "cache").rglob("Audit.lean")
    assert audit_file.read_text().splitlines() == [
        "import Proofs", "#print axioms PeelVerify.twice_add", "#print axioms PeelVerify.fourTimes_eq",
    ]


def test_nothing_outside_points_lake_elsewhere(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search paths and lake's shared artifacts are kept out; the number of threads may be chosen."""
    for name in ("LEAN_PATH", "LEAN_SYSROOT", "LEAN_SRC_PATH", "LAKE_OVERRIDE_LEAN", "LAKE", "LAKE_CACHE_DIR"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("LAKE_ARTIFACT_CACHE", "true")
    monkeypatch.setenv("LEAN_NUM_THREADS", "2")
    run()
    seen = (tmp_path / "environment").read_text()
    assert "/elsewhere" not in seen
    assert "LAKE_ARTIFACT_CACHE=false" in seen
    assert "LEAN_NUM_THREADS=2" in seen


@pytest.mark.parametrize(("stand_ins", "words"), [
    ({"report": REPORT.replace("Quot.sound", "sorryAx")}, "depends on sorryAx"),
    ({"report": REPORT.replace("Quot.sound", "Lean.ofReduceBool, Lean.trustCompiler")},
     "depends on Lean.ofReduceBool, Lean.trustCompiler"),
    ({"report": REPORT.replace("Quot.sound", "PeelVerify.mine")}, "depends on PeelVerify.mine"),
    ({"report": REPORT + " | head -1"}, "no axiom report for PeelVerify.fourTimes_eq (1 missing, status 0)"),
    ({"report": "true"}, "(2 missing, status 0)"),
    ({"report": REPORT + "; echo 'Audit.lean:9:0: error: unknown constant'; exit 1"}, "ended with status 1"),
    ({"report": f"{REPORT}; echo \"'PeelVerify.twice_add' depends on axioms: [sorryAx]\""}, "depends on sorryAx"),
    ({"report": f"echo \"'PeelVerify.twice_add' depends on axioms: [sorryAx]\"; {REPORT}"}, "depends on sorryAx"),
    ({"checker": "echo 'leanchecker found a problem in Proofs.A' >&2; exit 1"}, "found a problem in Proofs.A"),
    ({"checker": None}, "there is no leanchecker beside"),
    ({"lake": "echo 'warning: Proofs/A.lean:3:0: unused variable'; exit 0"}, "unused variable"),
    ({"lake": "echo 'error(lean.unknownIdentifier): Proofs/A.lean:3:0: Unknown identifier'; exit 1"},
     "Unknown identifier"),
])
def test_the_audit_goes_red(run: Run, stand_ins: dict[str, str | None], words: str) -> None:
    """A foreign axiom, a missing report, a failed run, a failed or missing replay: each refuses the proofs."""
    result = run(**stand_ins)
    assert not result.ok
    assert words in errors(result)
    assert result.objects is None


def test_a_red_audit_is_not_remembered(run: Run) -> None:
    """After a refusal the same sources are built again, and a refusal is never turned into a cached success."""
    assert not run(checker="exit 1").ok
    again = run()
    assert again.ok
    assert again.processes == 3


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_']{0,6}(\.[A-Za-zα-ω_][A-Za-z0-9_']{0,6}){0,3}", fullmatch=True)


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=8), max_size=6), st.integers(20, 200), st.booleans())
@example({"foo'": ["propext"], "foo": []}, 40, False)
def test_reports_are_read_back(found: dict[str, list[str]], width: int, placed: bool) -> None:
    """Names with primes, lists wrapped at any width, with or without a place in front."""
    said = ""
    for name, axioms in found.items():
        said += "Audit.lean:3:0: info: " if placed else ""
        if not axioms:
            said += f"'{name}' does not depend on any axioms\n"
            continue
        one_line = f"'{name}' depends on axioms: [{', '.join(axioms)}]\n"
        said += one_line if len(one_line) <= width else one_line.replace(", ", ",\n ")
    assert native.parse_axioms(said) == {name: frozenset(axioms) for name, axioms in found.items()}


def test_the_build_files_fit_lake() -> None:
    """The manifest that the official action asks for is there, names this package and no other."""
    manifest = json.loads((proofs_root() / "lake-manifest.json").read_text(encoding="utf-8"))
    lakefile = (proofs_root() / "lakefile.lean").read_text(encoding="utf-8")
    assert manifest["packages"] == []
    assert f"package {manifest['name']} where" in lakefile
    assert "@[default_target]\nlean_lib Proofs where" in lakefile
    assert "require" not in lakefile


@pytest.mark.parametrize("text", ['{"version": "1.1.0"}', "no json", '{"packages": [{"name": "other"}]}', "[]"])
def test_a_manifest_with_anything_in_it_is_refused(project: Callable[..., Path], text: str) -> None:
    """Another package would bring its own code into the build; a damaged manifest says nothing."""
    root = project()
    (root / "lake-manifest.json").write_text('{"packages": []}', encoding="utf-8")
    assert audit(root).ok
    (root / "lake-manifest.json").write_text(text, encoding="utf-8")
    report = audit(root)
    assert not report.ok
    assert any(message.file == "lake-manifest.json" for message in report.messages)
