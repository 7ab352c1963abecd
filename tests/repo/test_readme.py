"""The README: its Python runs, its commands run, what it names exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Bodies of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(model_dirs, tmp_path_factory) -> Path:
    """A working folder with the files that the README speaks of: ./model and heldout.txt."""
    from peelverify.data import builtin_text

    path = tmp_path_factory.mktemp("readme")
    shutil.copytree(model_dirs["llama"], path / "model")
    (path / "heldout.txt").write_text(builtin_text()[-20_000:], encoding="utf-8")
    return path


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in the folder."""
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=900)


def test_the_commands_run_in_order(folder: Path) -> None:
    """Every peelverify line of the README exits 0, one after the other, on a real model; then its Python runs."""
    lines = [
        line for block in blocks(README, "sh") for line in block.splitlines() if line.startswith("peelverify ")
    ]
    assert len(lines) >= 6
    for line in lines:
        done = run([sys.executable, "-m", "peelverify.cli.app", *shlex.split(line)[1:]], folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    programs = blocks(README, "python")
    assert programs
    for program in programs:
        assert len([x for x in program.splitlines() if x.strip()]) <= 5
        done = run([sys.executable, "-c", program], folder)
        assert done.returncode == 0, done.stderr
        assert "Frobenius" in done.stdout


def test_commands_named_in_text_exist() -> None:
    """Every `peelverify NAME` in the text is a command, every ci/ script exists and can be run."""
    from peelverify.cli.app import COMMANDS

    named = set(re.findall(r"peelverify ([a-z]+)\b", README)) - {"prints"}
    assert named <= set(COMMANDS), named - set(COMMANDS)
    scripts = set(re.findall(r"\bci/[a-z]+\b", README))
    assert scripts >= {"ci/demo", "ci/test"}
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_links_and_pictures_exist() -> None:
    """Every relative link of the README leads to a file of the repository."""
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert any(t.startswith("docs/") for t in targets)
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_five_words_have_their_sections() -> None:
    """proved, certified, witnessed, measured and not covered are each explained."""
    for word in ("Proved.", "Certified.", "Witnessed.", "Measured.", "Not covered."):
        assert f"**{word}**" in README


def test_the_block_finder_notices_a_bad_command() -> None:
    """The guard can fail: a command that does not exist is found."""
    bad = README.replace("peelverify prove", "peelverify conjure")
    from peelverify.cli.app import COMMANDS

    assert "conjure" in set(re.findall(r"peelverify ([a-z]+)\b", bad)) - set(COMMANDS)
