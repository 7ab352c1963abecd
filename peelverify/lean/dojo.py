"""The theorems in LeanDojo's own types, for tools of machine-learned proving that build on it.

LeanDojo is an extra of its own: ``pip install 'peelverify[dojo]'``, some 400 MB, Python up to 3.12. Its
`LeanGitRepo` asks the network as soon as it is made for a URL, and copies the whole folder for a local
path. So the proof sources alone are put into a small git repository of their own. Its one commit has a fixed
author and date: the commit hash depends on the sources and on nothing else, and no network is needed.

Tracing (`trace`) runs `lake`, `lean` and LeanDojo's own extractor, and asks GitHub for the commit of Lean
itself: it needs a native toolchain and a network.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from peelverify.errors import ArtifactError, InputError, ToolchainError
from peelverify.lean.commands import Command, split_commands
from peelverify.lean.theorems import Theorem, index_tree
from peelverify.lean.tree import Tree, load_tree, proofs_root

__all__ = ["DojoTheorem", "check_ready", "export", "git_repository", "theorems", "trace"]

_BUILD_FILES = ("lakefile.lean", "lean-toolchain", "lake-manifest.json")
_DATE = "2000-01-01T00:00:00+0000"
_PERSON = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "peelverify"), ("EMAIL", "peelverify@invalid"), ("DATE", _DATE))
}


@dataclass(frozen=True)
class DojoTheorem:
    """One theorem as LeanDojo sees it, with what this project knows of it.

    Attributes:
        theorem: `lean_dojo.Theorem`.
        start: `lean_dojo.Pos` of the keyword, 1-based.
        end: `lean_dojo.Pos` behind the last character of the proof, 1-based.
        entry: the entry of `peelverify.lean.theorems.index`.
    """

    theorem: Any
    start: Any
    end: Any
    entry: Theorem


def _lean_dojo(*, online: bool = False) -> ModuleType:
    """Import `lean_dojo` so that the import itself asks nothing of the network.

    Raises:
        ToolchainError: if it is not installed.
    """
    hidden = {} if online else {"GITHUB_ACCESS_TOKEN": None, "DISABLE_REMOTE_CACHE": "1"}
    with _environment(hidden):
        try:
            return importlib.import_module("lean_dojo")
        except ImportError as error:
            raise ToolchainError(
                f"peelverify.lean.dojo needs the package lean-dojo, got {error}; "
                "install it with: pip install 'peelverify[dojo]' (Python 3.11 or 3.12)"
            ) from error


def check_ready(*outputs: Path | str | None) -> None:
    """Check before long work that lean-dojo is there and that nothing would be overwritten.

    Raises:
        ArtifactError: if an output exists.
        ToolchainError: if lean-dojo is not installed.
    """
    for out in outputs:
        if out is not None and Path(out).exists():
            raise ArtifactError(f"the output for LeanDojo must be new, got {out}, which exists; name another")
    _lean_dojo()


@contextlib.contextmanager
def _environment(values: dict[str, str | None]) -> Iterator[None]:
    """Environment variables for a while; None takes one away."""
    before = {name: os.environ.get(name) for name in values}
    try:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _git(folder: Path, *words: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, env=kept | _PERSON | quiet, capture_output=True, text=True, check=True,
            stdin=subprocess.DEVNULL, timeout=120,
        )
    except OSError as error:
        raise ToolchainError(f"git_repository needs git, got {error}; install it") from error
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", "") or ""
        raise ToolchainError(f"git_repository needs git to work, got {error} {said.strip()[-300:]}") from error
    return done.stdout.strip()


def git_repository(folder: Path | str, root: Path | str | None = None) -> str:
    """Put the proof sources into a git repository with one commit.

    Args:
        folder: where to make it; it must not exist yet.
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Returns:
        The commit hash; the same sources always give the same one.

    Raises:
        ArtifactError: if the folder exists or cannot be made.
        ToolchainError: if git is missing or fails.
    """
    return _write(Path(folder), load_tree(proofs_root(root)))


def _write(folder: Path, tree: Tree) -> str:
    try:
        folder.mkdir(parents=True)
        for source in tree.sources.values():
            target = folder / source.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.text.encode("utf-8"))
        for name in _BUILD_FILES:
            if (tree.root / name).is_file():
                (folder / name).write_bytes((tree.root / name).read_bytes())
    except OSError as error:
        raise ArtifactError(f"git_repository needs a new folder, got {folder} ({error}); name another") from error
    _git(folder, "-c", "init.defaultBranch=main", "init", "-q", "--template=")
    for name, value in (("core.autocrlf", "false"), ("core.fileMode", "false"), ("gc.auto", "0")):
        _git(folder, "config", name, value)
    _git(folder, "add", "--all", "--force", ".")
    _git(folder, "-c", "commit.gpgSign=false", "commit", "-q", "--no-verify", "-m", "Lean sources of peelverify")
    return _git(folder, "rev-parse", "HEAD")


def _ends(tree: Tree) -> dict[tuple[str, int], tuple[tuple[int, int], tuple[int, int]]]:
    """Start and end of every command by file and line of its keyword."""
    found = {}
    for source in tree.sources.values():
        for command in split_commands(source):
            start = source.place(command.keyword.start)
            found[source.file, start[0]] = (start, source.place(_last(command)))
    return found


def _last(command: Command) -> int:
    return command.rest[-1].end if command.rest else command.keyword.end


def theorems(repository: Path | str, root: Path | str | None = None) -> tuple[DojoTheorem, ...]:
    """Every public theorem in LeanDojo's types.

    LeanDojo keeps a copy of the repository in its own cache folder (``CACHE_DIR``).

    Args:
        repository: where to make the git repository of the sources, as for `git_repository`.
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Raises:
        ArtifactError: if the folder exists or cannot be made.
        InputError: if the root has no file ``lean-toolchain``.
        ToolchainError: if lean-dojo or git is missing.

    Not for:
        Tactic states and premises; see `trace`.
    """
    dojo = _lean_dojo()
    tree = load_tree(proofs_root(root))
    if not (tree.root / "lean-toolchain").is_file():
        raise InputError(f"LeanDojo needs the file lean-toolchain in {tree.root}, got none; write one")
    folder = Path(repository).resolve()
    commit = _write(folder, tree)
    repo = dojo.LeanGitRepo(str(folder), commit)
    ends = _ends(tree)
    found = []
    for entry in index_tree(tree):
        if entry.kind != "theorem":
            continue
        start, end = ends[entry.file, entry.line]
        theorem = dojo.Theorem(repo, Path(entry.file), entry.name)
        found.append(DojoTheorem(theorem, dojo.Pos(*start), dojo.Pos(*end), entry))
    return tuple(found)


def export(out: Path | str, root: Path | str | None = None) -> int:
    """Write the theorems as JSON, each entry with the keys of LeanDojo's benchmark files.

    ``traced_tactics`` is empty, since nothing was traced; ``statement``, ``statement_hash`` and ``python`` are
    additions. The ``url`` is ``peelverify-proofs``: clone what `git_repository` makes to get that commit.

    Args:
        out: file to write; it must not exist yet.
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Returns:
        The number of theorems.

    Raises:
        ArtifactError: if the file exists or cannot be written.
        ToolchainError: if lean-dojo or git is missing.
    """
    out = Path(out)
    if out.exists():
        raise ArtifactError(f"export needs a new file, got {out}, which exists; remove it or name another")
    with tempfile.TemporaryDirectory(prefix="peelverify-dojo-") as room:
        found = theorems(Path(room) / "peelverify-proofs", root)
    entries = [
        {
            "url": "peelverify-proofs",
            "commit": item.theorem.repo.commit,
            "file_path": str(item.theorem.file_path),
            "full_name": item.theorem.full_name,
            "start": list(item.start),
            "end": list(item.end),
            "traced_tactics": [],
            "statement": item.entry.statement,
            "statement_hash": item.entry.statement_hash,
            "python": item.entry.mirror,
        }
        for item in found
    ]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(entries, stream, indent=1, ensure_ascii=False)
                stream.write("\n")
            os.chmod(part, 0o644)
            os.link(part, out)
        finally:
            os.unlink(part)
    except OSError as error:
        raise ArtifactError(f"export needs a file that can be written, got {out} ({error}); name another") from error
    return len(entries)


def trace(out: Path | str, root: Path | str | None = None) -> Any:
    """Trace the proofs with LeanDojo: syntax trees, tactic states, premises.

    Args:
        out: folder for the traced repository; it must not exist yet.
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Returns:
        `lean_dojo.TracedRepo`.

    Raises:
        ArtifactError: if the folder exists.
        ToolchainError: if there is no native Lean, lean-dojo is missing, or tracing fails.
    """
    from peelverify.lean.toolchain import find_toolchain

    out = Path(out)
    if out.exists():
        raise ArtifactError(f"trace needs a new folder, got {out}, which exists; remove it or name another")
    tree = load_tree(proofs_root(root))
    toolchain = find_toolchain(tree.root, road="native")
    dojo = _lean_dojo(online=True)
    path = f"{toolchain.program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory(prefix="peelverify-dojo-") as room, _environment({"PATH": path}):
        folder = Path(room) / "peelverify-proofs"
        commit = _write(folder, tree)
        try:
            return dojo.trace(dojo.LeanGitRepo(str(folder), commit), dst_dir=out, build_deps=False)
        except Exception as error:  # LeanDojo raises whatever its programs and GitHub answer
            raise ToolchainError(
                f"trace needs lean_dojo.trace to end well, got {type(error).__name__}: {error}; "
                "it needs GitHub and a Lean that this version of LeanDojo knows"
            ) from error
