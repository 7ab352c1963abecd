"""Workflows, the action, and the workflow in the documentation: valid, pinned, least rights, no shell injection."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = sorted(path for path in (ROOT / "ci").iterdir() if path.read_bytes().startswith(b"#!/usr/bin/env bash"))
USES = re.compile(r"uses:\s*(\S+)(?:\s+#\s*(\S+))?")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
UNFILLED = "OWNER/peelverify@COMMIT"


def documented() -> list[str]:
    """Workflows shown in the documentation, with its owner and commit filled in."""
    found = []
    for name in ("README.md", "docs/ci.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found += re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block.replace(UNFILLED, f"owner/peelverify@{'0' * 40} # v0.1.0") for block in found]


@pytest.fixture
def shown(tmp_path: Path) -> list[Path]:
    """The documented workflows as files."""
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    paths = []
    for at, block in enumerate(documented()):
        paths.append(folder / f"shown{at}.yml")
        paths[-1].write_text(block, encoding="utf-8")
    return paths


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a linter of this environment."""
    name, *rest = words
    return subprocess.run(
        [BIN / str(name), *map(str, rest)], capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
    )


def problems(text: str) -> list[str]:
    """What this project's own rules find wrong in a workflow."""
    found = []
    workflow = yaml.safe_load(text)
    if workflow.get("permissions") != {}:
        found.append("rights are not taken away at the top")
    if "concurrency" not in workflow:
        found.append("no concurrency group")
    for name, job in workflow["jobs"].items():
        if "timeout-minutes" not in job:
            found.append(f"{name}: no time limit")
        if "permissions" not in job:
            found.append(f"{name}: no rights named")
        found += [f"{name}: an expression in shell text" for step in job["steps"] if "${{" in step.get("run", "")]
    return found + pins(text)


def pins(text: str) -> list[str]:
    """Uses of actions that are not pinned by commit with the version beside it."""
    uses = USES.findall(text)
    return [
        name for name, version in uses
        if not name.startswith("./") and not (PINNED.fullmatch(name) and re.fullmatch(r"v\d+\.\d+\.\d+", version))
    ]


def test_there_is_something_to_check(shown: list[Path]) -> None:
    """Empty lists would make every test below pass."""
    assert [path.name for path in WORKFLOWS] == ["lean.yml", "test.yml"]
    assert {path.name for path in SCRIPTS} >= {"action", "demo", "setup", "test"}
    assert len(shown) >= 1


def test_the_schemas_accept_them(shown: list[Path]) -> None:
    """The published schemas of workflows, actions and dependabot files."""
    done = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS, *shown)
    assert done.returncode == 0, done.stdout
    done = run("check-jsonschema", "--builtin-schema", "custom.github-workflows-require-timeout", *WORKFLOWS, *shown)
    assert done.returncode == 0, done.stdout
    done = run("check-jsonschema", "--builtin-schema", "vendor.github-actions", ROOT / "action.yml")
    assert done.returncode == 0, done.stdout
    done = run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ROOT / ".github/dependabot.yml")
    assert done.returncode == 0, done.stdout


def test_the_security_linter_finds_nothing(shown: list[Path]) -> None:
    """zizmor in its pedantic setting: injection, credentials, rights, pins."""
    done = run("zizmor", "--offline", "--persona", "pedantic", "--no-progress", *WORKFLOWS, ROOT / "action.yml", *shown)
    assert done.returncode == 0, done.stdout + done.stderr


def test_our_own_rules_hold(shown: list[Path]) -> None:
    """Least rights, a time limit, a concurrency group, pins with versions, no expression in shell text."""
    for path in (*WORKFLOWS, *shown):
        assert problems(path.read_text(encoding="utf-8")) == [], path.name
    action = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert pins(action) == []
    assert all("${{" not in step.get("run", "") for step in yaml.safe_load(action)["runs"]["steps"])


def test_an_action_has_one_pin(shown: list[Path]) -> None:
    """The same action is used at the same commit and under the same version everywhere."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for path in (*WORKFLOWS, ROOT / "action.yml", *shown):
        for name, version in USES.findall(path.read_text(encoding="utf-8")):
            seen.setdefault(name.partition("@")[0], set()).add((name.partition("@")[2], version))
    assert len(seen) >= 4
    assert all(len(pinned) == 1 for pinned in seen.values()), seen


def test_the_shell_linter_finds_nothing(tmp_path: Path) -> None:
    """Every script of ci/ and every shell step of the workflows and of the action."""
    steps = []
    for path in (*WORKFLOWS, ROOT / "action.yml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        groups = [job["steps"] for job in content["jobs"].values()] if "jobs" in content else [content["runs"]["steps"]]
        for at, text in enumerate(step["run"] for group in groups for step in group if "run" in step):
            steps.append(tmp_path / f"{path.stem}{at}.sh")
            steps[-1].write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    assert len(steps) >= 4
    done = run("shellcheck", *SCRIPTS, *steps)
    assert done.returncode == 0, done.stdout


def test_the_workflows_run_the_scripts_that_people_run() -> None:
    """Each script that a workflow or the action names exists, and so does each command and option of peelverify."""
    from peelverify.cli.app import COMMANDS, main

    text = "".join(path.read_text(encoding="utf-8") for path in (*WORKFLOWS, ROOT / "action.yml"))
    scripts = set(re.findall(r"bash \S*?(ci/[a-z]+)\b", text))
    assert scripts == {"ci/action", "ci/test"}
    assert all((ROOT / script).is_file() for script in scripts)
    assert "build-args: --wfail" in text
    assert re.search(r"peelverify\.cli\.app (\w+)", text)[1] in COMMANDS
    shown_words = re.findall(r"^peelverify (\w+)(.*)$", (ROOT / "docs/ci.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(shown_words) >= 5
    for command, rest in shown_words:
        assert command in COMMANDS
        help_text = subprocess.run(
            [sys.executable, "-m", "peelverify.cli.app", command, "--help"], capture_output=True, text=True, check=True,
            env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "TERM": "dumb"},
        ).stdout
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_text, (command, option)
    assert main(["prove", "--help"]) == 0


def test_the_documented_inputs_are_those_of_the_action() -> None:
    """The table of inputs and the list of outputs name what action.yml has, and nothing else."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    table = [re.findall(r"`([a-z-]+)`", row.split("|")[1]) for row in text.splitlines() if row.startswith("| `")]
    assert [name for row in table for name in row] == list(action["inputs"])
    outputs = re.search(r"^Outputs: (.*)\.$", text, re.MULTILINE)[1]
    assert set(re.findall(r"`([a-z]+)`", outputs)) == set(action["outputs"])
    used = [step for job in yaml.safe_load(documented()[0])["jobs"].values() for step in job["steps"]]
    given = next(step["with"] for step in used if step.get("id") == "peelverify")
    assert set(given) <= set(action["inputs"])


GOOD = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("old", "new"), [
    ("permissions: {}", "permissions: write-all"),
    ("@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7"),
    ("    timeout-minutes: 120\n", ""),
    ("run: bash ci/test", "run: echo ${{ github.event.pull_request.title }}"),
    ("concurrency:\n  group: test-${{ github.ref }}\n  cancel-in-progress: true\n", ""),
])
def test_our_rules_go_red(old: str, new: str) -> None:
    """Each rule notices its breach."""
    assert old in GOOD
    assert problems(GOOD) == []
    assert problems(GOOD.replace(old, new)) != []


def test_the_linters_go_red(tmp_path: Path) -> None:
    """The linters are really run: each refuses a bad sample."""
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    bad = folder / "bad.yml"
    bad.write_text(GOOD.replace("runs-on:", "run-on:"), encoding="utf-8")
    assert run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", bad).returncode == 1
    bad.write_text(GOOD.replace("    timeout-minutes: 120\n", ""), encoding="utf-8")
    assert run("check-jsonschema", "--builtin-schema", "custom.github-workflows-require-timeout", bad).returncode == 1
    bad.write_text(GOOD.replace("bash ci/test", "echo ${{ github.event.issue.title }}"), encoding="utf-8")
    assert "template-injection" in run("zizmor", "--offline", bad).stdout
    action = tmp_path / "action.yml"
    action.write_text((ROOT / "action.yml").read_text(encoding="utf-8").replace("using: composite", "using: magic"))
    assert run("check-jsonschema", "--builtin-schema", "vendor.github-actions", action).returncode == 1
    script = tmp_path / "bad.sh"
    script.write_text("#!/usr/bin/env bash\nrm -rf $1/*\n", encoding="utf-8")
    assert run("shellcheck", script).returncode == 1
