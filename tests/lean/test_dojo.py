"""LeanDojo: the theorems in its own types, made without a network; lean-dojo itself lives in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from peelverify.cli.app import main
from peelverify.errors import ArtifactError, ToolchainError
from peelverify.lean import dojo, toolchain
from peelverify.lean.theorems import index
from peelverify.lean.toolchain import Toolchain, cache_folder

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "ci/dojo.txt"

NO_NETWORK = """
import socket
def refuse(*a, **k):
    raise AssertionError(f"the network was asked for {a}")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""

USE_TYPES = NO_NETWORK + """
import json, sys
from pathlib import Path
from peelverify.lean import dojo
out, repository, root = sys.argv[1:]
count = dojo.export(out, root)
found = dojo.theorems(repository, root)
import lean_dojo
from lean_dojo.data_extraction.lean import RepoType
assert count == len(found)
rows = []
for item in found:
    assert type(item.theorem) is lean_dojo.Theorem
    assert type(item.theorem.repo) is lean_dojo.LeanGitRepo
    assert item.theorem.repo.repo_type is RepoType.LOCAL
    assert type(item.start) is type(item.end) is lean_dojo.Pos
    text = lean_dojo.LeanFile(Path(repository), item.theorem.file_path)[item.start:item.end]
    rows.append([item.theorem.full_name, str(item.theorem.file_path), text, item.theorem.uid])
print(json.dumps({"rows": rows, "exists": found[0].theorem.repo.exists(), "lean": found[0].theorem.repo.lean_version}))
"""


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python that has lean-dojo, pinned by hash; made once and kept in the user's cache folder."""
    if sys.version_info >= (3, 13):
        pytest.skip("lean-dojo itself is for Python up to 3.12")
    pinned = sys.version_info[:2] == (3, 11) and sys.platform == "linux" and os.uname().machine == "x86_64"
    key = hashlib.sha256(f"{sys.version}\n{LOCK.read_text(encoding='utf-8')}".encode()).hexdigest()[:16]
    folder = cache_folder().parent / "lean-dojo" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "DONE").exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            if pinned:
                words = ["--no-deps", "--require-hashes", "-r", str(LOCK)]
            else:
                words = re.findall(r"^[a-z][\w.-]*==\S+", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
            done = subprocess.run(
                [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *words],
                capture_output=True, text=True, check=False, timeout=1200,
            )
            assert done.returncode == 0, done.stderr[-2000:]
            (folder / "DONE").touch()
    return folder / "bin/python"


def run_python(python: Path, script: str, cache: Path, *words: object) -> str:
    """Run a script with lean-dojo and this package's sources; its caches go to a folder of this test."""
    done = subprocess.run(
        [python, "-c", script, *map(str, words)], capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CACHE_DIR": str(cache), "GITHUB_ACCESS_TOKEN": "not-a-token"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_theorem_in_leandojos_types(python: Path, tmp_path: Path) -> None:
    """All theorems of this package, each at its place, made with the network refused."""
    out, repository = tmp_path / "theorems.json", tmp_path / "repository"
    said = json.loads(run_python(python, USE_TYPES, tmp_path / "cache", out, repository, ROOT).splitlines()[-1])
    entries = [entry for entry in index(ROOT) if entry.kind == "theorem"]
    assert len(entries) > 100
    assert [row[0] for row in said["rows"]] == [entry.name for entry in entries]
    for (_, file, text, uid), entry in zip(said["rows"], entries, strict=True):
        assert file == entry.file
        assert text.startswith(entry.statement)
        assert text.removeprefix(entry.statement).lstrip().startswith((":=", "|", "where"))
        assert entry.name in uid
    assert said["exists"] is True
    assert said["lean"] == (ROOT / "lean-toolchain").read_text(encoding="utf-8").strip().rpartition(":")[2]
    written = json.loads(out.read_text(encoding="utf-8"))
    assert [item["full_name"] for item in written] == [entry.name for entry in entries]
    keys = {"url", "commit", "file_path", "full_name", "start", "end", "traced_tactics"}
    assert all(keys <= set(item) for item in written)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert {item["commit"] for item in written} == {head}


def test_the_command_writes_what_was_proved(python: Path, project: Callable[..., Path], tmp_path: Path) -> None:
    """`prove --dojo` builds first: a proof that fails leaves no file."""
    script = "import sys\nfrom peelverify.cli.app import main\nsys.exit(main(sys.argv[1:]))"
    # the command line needs typer and rich, which are in this environment
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    environment = {**os.environ, "PYTHONPATH": path, "CACHE_DIR": str(tmp_path / "cache")}
    broken = project()
    (broken / "Proofs/B.lean").write_text(
        (broken / "Proofs/B.lean").read_text().replace("a + a + a + a", "a + a"), encoding="utf-8"
    )
    unnamed, good = project(), project()
    for root in (broken, good):
        (root / "lean-toolchain").write_text("leanprover/lean4:v4.28.0\n", encoding="utf-8")
    for root, status in ((broken, 1), (unnamed, 2), (good, 0)):
        out = tmp_path / "theorems.json"
        done = subprocess.run(
            [python, "-c", script, "prove", "--road", "wasm", "--root", root, "--dojo", out],
            capture_output=True, text=True, check=False, timeout=400, env=environment,
        )
        assert done.returncode == status, done.stderr[-2000:]
        assert out.exists() is (status == 0)
        assert ("needs the file lean-toolchain" in done.stderr) is (status == 2)
    assert [item["full_name"] for item in json.loads(out.read_text(encoding="utf-8"))] == [
        "PeelVerify.twice_add", "PeelVerify.fourTimes_eq",
    ]


def test_the_network_guard_is_not_blind(python: Path, tmp_path: Path) -> None:
    """The same guard stops LeanDojo from making a repository of a URL."""
    script = NO_NETWORK + (
        "import lean_dojo\n"
        "try:\n    lean_dojo.LeanGitRepo('https://github.com/nobody/nothing', 'main')\n"
        "except BaseException as error:\n    print('refused', type(error).__name__)\n"
    )
    script = script.replace("import lean_dojo", "import os; os.environ.pop('GITHUB_ACCESS_TOKEN')\nimport lean_dojo", 1)
    assert "refused" in run_python(python, script, tmp_path / "cache")


def test_the_commit_depends_on_the_sources_alone(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same sources, same hash, whatever git is told by its environment; one changed letter, another hash."""
    root = project()
    first = dojo.git_repository(tmp_path / "one", root)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\nname = Other\nemail = o@example.org\n[core]\nautocrlf = true\n[commit]\ngpgSign = true\n"
        "[init]\ntemplateDir = /nowhere\n", encoding="utf-8",
    )
    for name, value in (
        ("HOME", str(home)), ("GIT_AUTHOR_DATE", "2020-01-01T00:00:00Z"), ("GIT_DIR", str(tmp_path / "elsewhere")),
        ("GIT_AUTHOR_NAME", "Other"), ("GIT_CONFIG_GLOBAL", str(home / ".gitconfig")),
    ):
        monkeypatch.setenv(name, value)
    assert dojo.git_repository(tmp_path / "two", root) == first
    assert re.fullmatch(r"[0-9a-f]{40}", first)
    (root / "Proofs/B.lean").write_text((root / "Proofs/B.lean").read_text().replace("Doubling", "doubling"))
    assert dojo.git_repository(tmp_path / "three", root) != first
    with pytest.raises(ArtifactError, match="needs a new folder"):
        dojo.git_repository(tmp_path / "one", root)


def test_without_lean_dojo_the_error_says_what_to_install(tmp_path: Path, capsys) -> None:
    """Before anything is built: exit 2, the command to run, and no file."""
    with pytest.raises(ToolchainError, match=r"pip install 'peelverify\[dojo\]'"):
        dojo.export(tmp_path / "a.json")
    assert main(["prove", "--dojo", str(tmp_path / "a.json")]) == 2
    said = capsys.readouterr()
    assert "pip install 'peelverify[dojo]'" in said.err
    assert "proved" not in said.out
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """An output that exists is refused before lean-dojo is even looked for."""
    (tmp_path / "a.json").write_text("mine", encoding="utf-8")
    for call in (dojo.export, dojo.trace, dojo.check_ready):
        with pytest.raises(ArtifactError, match="exists"):
            call(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "mine"


def test_tracing_needs_a_native_lean(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WebAssembly build cannot run LeanDojo's extractor, so it is not even tried."""
    root = project()
    (root / "lean-toolchain").write_text("leanprover/lean4:v4.28.0\n", encoding="utf-8")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("ELAN_HOME", str(tmp_path / "no-elan"))
    with pytest.raises(ToolchainError, match=r"needs Lean 4\.28\.0 installed"):
        dojo.trace(tmp_path / "traced", root)


@pytest.mark.parametrize("fails", [False, True])
def test_tracing_hands_leandojo_the_right_things(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The repository of the sources, the native Lean first on PATH; whatever LeanDojo raises is one clear error."""
    native = Toolchain("native", "4.28.0", tmp_path / "lean/bin/lean", tmp_path / "lean/bin/lake", None, "", "")
    monkeypatch.setattr(toolchain, "find_toolchain", lambda *_, **__: native)
    seen: dict[str, object] = {}

    def record(repo: tuple[str, str], dst_dir: Path, build_deps: bool) -> str:
        seen.update(repo=repo, out=dst_dir, deps=build_deps, path=os.environ["PATH"])
        seen["files"] = sorted(p.name for p in Path(repo[0]).rglob("*.lean"))
        if fails:
            raise AssertionError("no such Lean")
        return "traced"

    monkeypatch.setattr(dojo, "_lean_dojo", lambda **_: SimpleNamespace(trace=record, LeanGitRepo=lambda *a: a))
    before = os.environ["PATH"]
    root = project()
    if fails:
        with pytest.raises(ToolchainError, match="AssertionError: no such Lean"):
            dojo.trace(tmp_path / "out", root)
    else:
        assert dojo.trace(tmp_path / "out", root) == "traced"
    assert os.environ["PATH"] == before
    assert seen["path"] == f"{tmp_path}/lean/bin{os.pathsep}{before}"
    assert seen["files"] == ["A.lean", "B.lean", "Proofs.lean"]
    assert seen["deps"] is False
    assert seen["repo"][1] == dojo.git_repository(tmp_path / "again", root)
