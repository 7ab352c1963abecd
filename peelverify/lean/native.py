"""Build with an official Lean: `lake build --wfail`, then the axioms of every public theorem, then `leanchecker`.

The sources are copied to the user's cache folder first, so that the checkout stays as it is and compiled
files that someone left in it are not believed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from peelverify.errors import ToolchainError
from peelverify.lean.build import BuildResult, ModuleBuild, module_keys
from peelverify.lean.source import Message
from peelverify.lean.toolchain import Toolchain, cache_folder
from peelverify.lean.tree import ROOT_MODULE, Tree

__all__ = ["ALLOWED_AXIOMS", "build_native", "parse_axioms", "parse_lake"]

ALLOWED_AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})
_MESSAGE = re.compile(r"(error|warning|info)(?:\([\w.]+\))?: (?:\./)*([^:\n]+\.lean):(\d+):(\d+):\s?(.*)")
_STEP = re.compile(r"[^\w\s]?\s*\[(\d+)/(\d+)\] (?:Built|Building|Replayed|Ran) (\S+)")
_OTHER = re.compile(
    r"(error|warning|info|trace|note): ?(.*)|[✔✖⚠ℹ].*|Some required (?:builds|targets).*|Build completed.*|- Proofs.*"
)
# a name may end in primes; the list may be wrapped; some versions print the place first
_AXIOMS = re.compile(
    r"^(?:\S+:\d+:\d+: (?:info(?:rmation)?: )?)?'(\S+)' "
    r"(?:depends\s+on\s+axioms:\s+\[([^\]]*)\]|does not depend on any axioms)",
    re.MULTILINE,
)
_BUILD_FILES = ("lakefile.lean", "lean-toolchain", "lake-manifest.json")


def build_native(
    tree: Tree,
    toolchain: Toolchain,
    *,
    timeout_seconds: float,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> BuildResult:
    """Run `lake build` on a copy of the tree and audit what came out.

    Raises:
        ToolchainError: if `lake` cannot be started or does not end in time.
    """
    keys = module_keys(tree, toolchain)
    key = hashlib.sha256(f"{keys[ROOT_MODULE]}\n{_lake_files(tree.root)}".encode()).hexdigest()
    folder = cache_folder() / "native" / key[:32]
    objects = folder / ".lake" / "build" / "lib" / "lean"
    if (folder / "DONE").exists():
        modules = tuple(ModuleBuild(name, "cached", 0.0) for name in keys)
        return BuildResult(True, (), modules, objects, key, toolchain, 0, 0.0)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for source in tree.sources.values():
        target = folder / source.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.text, encoding="utf-8")
    for name in _BUILD_FILES:
        if (tree.root / name).exists():
            shutil.copy2(tree.root / name, folder / name)
    begin = time.perf_counter()
    status, output = _lake(
        toolchain, ["build", "--wfail", "--no-ansi"], folder, timeout_seconds, on_progress=on_progress, total=len(keys)
    )
    messages = list(parse_lake(output))
    if status and not any(message.severity == "error" for message in messages):
        tail = " ".join(output.split())[-600:]
        messages.append(Message("lakefile.lean", 0, 0, "error", f"lake build ended with status {status}: {tail}"))
    processes = 1
    ok = status == 0 and all(message.severity == "information" for message in messages)
    if ok:
        found, more = _audit(tree, toolchain, folder, timeout_seconds)
        messages += found
        processes += more
        ok = all(message.severity == "information" for message in messages)
    failed = {message.file for message in messages if message.severity != "information"}
    modules = tuple(
        ModuleBuild(name, "failed" if tree.sources[name].file in failed else "built" if ok else "skipped", 0.0)
        for name in keys
    )
    if ok:
        (folder / "DONE").write_text(key, encoding="utf-8")
    seconds = time.perf_counter() - begin
    return BuildResult(ok, tuple(messages), modules, objects if ok else None, key, toolchain, processes, seconds)


def parse_lake(output: str) -> tuple[Message, ...]:
    """Messages in the output of `lake build`; a message runs on until the next line that lake itself wrote."""
    found: list[Message] = []
    lines: list[str] | None = None
    head: tuple[str, int, int, str] | None = None

    def close() -> None:
        if head is not None and lines is not None:
            found.append(Message(*head, "\n".join(lines).strip()))

    for line in output.splitlines():
        match = _MESSAGE.match(line)
        if match:
            close()
            severity = "information" if match[1] == "info" else match[1]
            head, lines = (match[2], int(match[3]), int(match[4]) + 1, severity), [match[5]]
        elif _OTHER.match(line):
            close()
            head = lines = None
        elif lines is not None:
            lines.append(line)
    close()
    return tuple(dict.fromkeys(found))


def parse_axioms(output: str) -> dict[str, frozenset[str]]:
    """Axioms by theorem, from the output of ``#print axioms``; what is said twice of a name is joined."""
    found: dict[str, frozenset[str]] = {}
    for match in _AXIOMS.finditer(output):
        axioms = frozenset(name.strip() for name in (match[2] or "").split(",") if name.strip())
        found[match[1]] = found.get(match[1], frozenset()) | axioms
    return found


def _environment() -> dict[str, str]:
    """The environment without what would point lake or Lean at other files, and without lake's shared artifacts."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LEAN_", "LAKE")) or name == "LEAN_NUM_THREADS"
    }
    return kept | {"LAKE_ARTIFACT_CACHE": "false"}


def _lake_files(root: Path) -> str:
    return "\n".join(
        hashlib.sha256((root / name).read_bytes()).hexdigest()
        for name in _BUILD_FILES
        if (root / name).exists()
    )


def _lake(
    toolchain: Toolchain,
    arguments: list[str],
    folder: Path,
    timeout_seconds: float,
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
    total: int = 0,
) -> tuple[int, str]:
    """Run lake and read its output line by line, so that progress can be told."""
    begin = time.monotonic()
    lines: list[str] = []
    try:
        with subprocess.Popen(
            [str(toolchain.runner), *arguments],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line)
                    step = _STEP.match(line)
                    if on_progress and step:
                        on_progress(min(int(step[1]), total), total, f"prove {step[3]}")
                    if time.monotonic() - begin > timeout_seconds:
                        raise ToolchainError(
                            f"build_native needs lake to end within {timeout_seconds:.0f} s; raise the limit"
                        )
            except BaseException:
                process.kill()
                raise
        return process.returncode, "".join(lines)
    except OSError as error:
        raise ToolchainError(f"build_native needs {toolchain.runner} to start, got {error}") from error


def _audit(tree: Tree, toolchain: Toolchain, folder: Path, timeout_seconds: float) -> tuple[list[Message], int]:
    """Axioms of every public theorem, and a second run of the kernel over the compiled files."""
    from peelverify.lean.theorems import index_tree

    names = [theorem.name for theorem in index_tree(tree) if theorem.kind == "theorem"]
    audit = folder / "Audit.lean"
    audit.write_text("import Proofs\n" + "".join(f"#print axioms {name}\n" for name in names), encoding="utf-8")
    # no `module` line: Lean prints axioms only outside of modules, where an import brings in every proof
    status, output = _lake(toolchain, ["env", str(toolchain.program), "Audit.lean"], folder, timeout_seconds)
    found: list[Message] = []
    axioms = parse_axioms(output)
    tail = " ".join(output.split())[-300:]
    if not names:
        found.append(Message("Audit.lean", 0, 0, "error", "there is no public theorem whose axioms could be printed"))
    if status:
        found.append(Message("Audit.lean", 0, 0, "error", f"printing axioms ended with status {status}: {tail}"))
    missing = [name for name in names if name not in axioms]
    if missing:
        text = f"no axiom report for {', '.join(missing[:5])} ({len(missing)} missing, status {status}): {tail}"
        found.append(Message("Audit.lean", 0, 0, "error", text))
    for name in names:
        foreign = sorted(axioms.get(name, frozenset()) - ALLOWED_AXIOMS)
        if foreign:
            found.append(Message("Audit.lean", 0, 0, "error", f"{name} depends on {', '.join(foreign)}"))
    checker = toolchain.program.parent / "leanchecker"
    if not checker.exists():
        text = f"there is no leanchecker beside {toolchain.program}; use the official release, which brings it"
        found.append(Message("Proofs.lean", 0, 0, "error", text))
        return found, 1
    # a module name stands for itself and for every module below it
    status, output = _lake(toolchain, ["env", str(checker), ROOT_MODULE], folder, timeout_seconds)
    if status:
        tail = " ".join(output.split())[-400:]
        found.append(Message("Proofs.lean", 0, 0, "error", f"leanchecker ended with status {status}: {tail}"))
    if not found:
        used = ", ".join(sorted(frozenset().union(*axioms.values()))) or "no axiom"
        text = f"{len(names)} theorems rest on {used}; leanchecker replayed every file"
        found.append(Message("Audit.lean", 0, 0, "information", text))
    return found, 2
