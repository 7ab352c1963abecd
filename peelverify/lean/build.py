"""Build the proofs: every file through the Lean kernel, in parallel, nothing twice.

A compiled module is kept in the user's cache folder under a key made of its text, the keys of its imports,
the toolchain and the options. The key decides everything, so what is found under it need not be checked
again. A tree whose files are all known is answered without starting Lean.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from peelverify.errors import InputError
from peelverify.lean import run
from peelverify.lean.pool import stop_shared
from peelverify.lean.source import Message, Source
from peelverify.lean.toolchain import LEAN_OPTIONS, Say, Toolchain, cache_folder, find_toolchain
from peelverify.lean.tree import ROOT_MODULE, Tree, load_tree, proofs_root

__all__ = ["BuildResult", "ModuleBuild", "build", "check_source", "default_jobs"]

#: Name of the module that `check_source` compiles.
CHECK_MODULE = "Check"
_FORMAT = "peelverify.lean-object/1"
_PROCESS_BYTES = 3 * 2**30
_KEEP_SECONDS = 30 * 86400
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ModuleBuild:
    """What became of one module.

    Attributes:
        state: ``"built"``, ``"cached"``, ``"failed"`` or ``"skipped"`` (an import failed).
        seconds: wall clock of its Lean process; 0 if there was none.
    """

    module: str
    state: str
    seconds: float


@dataclass(frozen=True)
class BuildResult:
    """Result of a build.

    Attributes:
        ok: whether the kernel accepted every module.
        messages: errors and warnings (a warning is as bad as an error), then information.
        modules: each module in build order.
        objects: folder with the compiled tree if `ok`, else None.
        key: hash that decides the outcome: sources, toolchain, options.
        toolchain: which Lean.
        processes: Lean processes started.
        seconds: wall clock.
    """

    ok: bool
    messages: tuple[Message, ...]
    modules: tuple[ModuleBuild, ...]
    objects: Path | None
    key: str
    toolchain: Toolchain
    processes: int
    seconds: float


def default_jobs() -> int:
    """Processes that fit: one a core, 3 GiB each, at most eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        memory = 2 * _PROCESS_BYTES
    return max(1, min(cores, memory // _PROCESS_BYTES, 8))


def build(
    root: Path | str | None = None,
    *,
    goal: str = ROOT_MODULE,
    jobs: int | None = None,
    toolchain: Toolchain | None = None,
    road: str = "auto",
    timeout_seconds: float = 1800.0,
    on_progress: Progress | None = None,
    say: Say | None = None,
) -> BuildResult:
    """Check every file of a proof project with the Lean kernel.

    Args:
        root: folder of ``Proofs.lean``; default: the proofs of this package.
        goal: build only this module and what it imports; a native toolchain always builds everything.
        jobs: Lean runs at a time, >= 1; default `default_jobs`.
        toolchain: which Lean; default: the one that `find_toolchain` finds.
        road: passed to `find_toolchain` if no toolchain is given.
        timeout_seconds: limit of each process, wall clock.
        on_progress: called with (done, total, what).
        say: called with one line of news.

    Returns:
        A `BuildResult`; ``ok`` is False for missing or cyclic imports, unreachable files and failed proofs.

    Raises:
        InputError: if jobs is not at least 1, the root is not a folder, or there is no such goal.
        ToolchainError: if there is no usable Lean.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"build needs jobs >= 1, got {jobs}; leave it out for one a core")
    begin = time.perf_counter()
    tree = load_tree(proofs_root(root))
    if not tree.problems and goal not in tree.sources:
        raise InputError(f"build needs a goal among {', '.join(sorted(tree.sources))}, got {goal!r}; name one")
    toolchain = toolchain or find_toolchain(tree.root, road=road, on_progress=on_progress, say=say)
    if tree.problems:
        return BuildResult(False, tree.problems, (), None, "", toolchain, 0, time.perf_counter() - begin)
    if toolchain.road == "native":
        from peelverify.lean.native import build_native

        result = build_native(tree, toolchain, timeout_seconds=timeout_seconds, on_progress=on_progress)
    else:
        result = _build_modules(tree, goal, toolchain, jobs or default_jobs(), timeout_seconds, on_progress)
    return replace(result, seconds=time.perf_counter() - begin)


def check_source(
    text: str,
    *,
    root: Path | str | None = None,
    base: BuildResult | None = None,
    jobs: int | None = None,
    toolchain: Toolchain | None = None,
    timeout_seconds: float = 1800.0,
    on_progress: Progress | None = None,
    say: Say | None = None,
) -> BuildResult:
    """Check one generated Lean file against the built proofs.

    The text goes through the same audit as the proofs, so it cannot prove by assumption. Messages name
    the file ``Check.lean``. A text that was accepted before is not checked again.

    Args:
        text: the file; it may import ``Proofs`` and its parts.
        root: folder of the proofs, as for `build`.
        base: an earlier result of `build` that is to be used instead of building again.
        jobs, toolchain, timeout_seconds, on_progress, say: as for `build`.

    Returns:
        A `BuildResult` about the one file, or the failed build of the proofs below it.

    Raises:
        ToolchainError: if there is no usable Lean.
    """
    from peelverify.lean.audit import audit_source

    begin = time.perf_counter()
    below = base or build(
        root, jobs=jobs, toolchain=toolchain, timeout_seconds=timeout_seconds, on_progress=on_progress, say=say
    )
    if not below.ok or below.objects is None:
        return below
    source = Source(CHECK_MODULE, f"{CHECK_MODULE}.lean", text)
    refused = audit_source(source)
    known = below.toolchain
    key = _key(source.text, {ROOT_MODULE: below.key}, known, CHECK_MODULE)
    kept = _object_folder(key)
    if not refused and (kept / "DONE").exists():
        module = ModuleBuild(CHECK_MODULE, "cached", 0.0)
        return BuildResult(True, (), (module,), below.objects, key, known, 0, time.perf_counter() - begin)
    if refused:
        module = ModuleBuild(CHECK_MODULE, "failed", 0.0)
        return BuildResult(False, tuple(refused), (module,), None, key, known, 0, time.perf_counter() - begin)
    if on_progress:
        on_progress(0, 1, "check with Lean")
    outcome = _compile(source, known, below.objects, key, timeout_seconds)
    if on_progress:
        on_progress(1, 1, "check with Lean")
    ok = outcome.ok and (kept / "DONE").exists()
    module = ModuleBuild(CHECK_MODULE, "built" if ok else "failed", outcome.seconds)
    seconds = time.perf_counter() - begin
    return BuildResult(ok, outcome.messages, (module,), below.objects if ok else None, key, known, 1, seconds)


def _key(text: str, imports: dict[str, str], toolchain: Toolchain, module: str) -> str:
    """Hash of everything that decides whether a module compiles, and to what."""
    parts = [_FORMAT, module, toolchain.digest, *LEAN_OPTIONS]
    parts += [f"{name}={imports[name]}" for name in sorted(imports)]
    parts.append(hashlib.sha256(text.encode()).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def module_keys(tree: Tree, toolchain: Toolchain, goal: str = ROOT_MODULE) -> dict[str, str]:
    """Cache key of the goal and of every module below it, imports first."""
    keys: dict[str, str] = {}
    for module in tree.order(goal):
        needs = {name: keys[name] for name in tree.needs(module)}
        keys[module] = _key(tree.sources[module].text, needs, toolchain, module)
    return keys


def _object_folder(key: str) -> Path:
    return cache_folder() / "objects" / key[:32]


def _module_path(module: str, suffix: str) -> str:
    return module.replace(".", "/") + suffix


def _work_behind(tree: Tree, order: Sequence[str]) -> dict[str, int]:
    """Longest way from each module to the end, in characters of source; the longest should start first."""
    behind = dict.fromkeys(order, 0)
    for name in reversed(order):
        behind[name] += len(tree.sources[name].text)
        for need in tree.needs(name):
            behind[need] = max(behind[need], behind[name])
    return behind


def _build_modules(
    tree: Tree, goal: str, toolchain: Toolchain, jobs: int, timeout_seconds: float, on_progress: Progress | None
) -> BuildResult:
    """Compile what is not known yet, each module as soon as its imports are there."""
    keys = module_keys(tree, toolchain, goal)
    order = list(keys)
    key = keys[goal]
    folder = cache_folder() / "trees" / key[:32]
    done: dict[str, ModuleBuild] = {
        name: ModuleBuild(name, "cached", 0.0) for name in order if (_object_folder(keys[name]) / "DONE").exists()
    }
    if len(done) == len(order) and (folder / "DONE").exists():
        for used in (folder, *(_object_folder(keys[name]) for name in order)):
            os.utime(used)
        return BuildResult(True, (), tuple(done[name] for name in order), folder, key, toolchain, 0, 0.0)
    messages: dict[str, tuple[Message, ...]] = {}
    processes = 0
    with _scratch("build-") as room:
        for name in done:
            _link(_object_folder(keys[name]), room)
        behind = _work_behind(tree, order)
        waiting = sorted((name for name in order if name not in done), key=behind.__getitem__, reverse=True)
        running: dict[Future[run.LeanRun], str] = {}
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while waiting or running:
                    for name in list(waiting):
                        needs = tree.needs(name)
                        if any(need in done and done[need].state in ("failed", "skipped") for need in needs):
                            done[name] = ModuleBuild(name, "skipped", 0.0)
                            waiting.remove(name)
                        elif len(running) < jobs and all(need in done for need in needs):
                            waiting.remove(name)
                            processes += 1
                            job = pool.submit(
                                _compile, tree.sources[name], toolchain, room, keys[name], timeout_seconds
                            )
                            running[job] = name
                    _report(on_progress, done, order, running)
                    if not running:
                        continue
                    for job in wait(running, return_when=FIRST_COMPLETED).done:
                        name = running.pop(job)
                        outcome = job.result()
                        messages[name] = outcome.messages
                        ok = outcome.ok and (_object_folder(keys[name]) / "DONE").exists()
                        done[name] = ModuleBuild(name, "built" if ok else "failed", outcome.seconds)
                        if ok:
                            _link(_object_folder(keys[name]), room)
            except BaseException:
                for job in running:
                    job.cancel()
                stop_shared(room)
                raise
        _report(on_progress, done, order, {})
        modules = tuple(done[name] for name in order)
        ok = all(item.state in ("built", "cached") for item in modules)
        said = [message for name in order for message in messages.get(name, ())]
        said += [
            Message(tree.sources[item.module].file, 0, 0, "error", "not checked, because a file that it imports failed")
            for item in modules
            if item.state == "skipped"
        ]
        if ok:
            (room / "DONE").write_text(key, encoding="utf-8")
            _publish(room, folder)
            _forget_old()
    said.sort(key=lambda message: message.severity == "information")
    return BuildResult(ok, tuple(said), modules, folder if ok else None, key, toolchain, processes, 0.0)


def _report(
    on_progress: Progress | None,
    done: dict[str, ModuleBuild],
    order: list[str],
    running: dict[Future[run.LeanRun], str],
) -> None:
    if on_progress:
        now = ", ".join(sorted(running.values()))
        on_progress(len(done), len(order), f"prove {now}" if now else "prove")


def _compile(source: Source, toolchain: Toolchain, objects: Path, key: str, timeout_seconds: float) -> run.LeanRun:
    """Run Lean on one module; its output is kept under its key only if Lean accepted it."""
    with _scratch("module-") as room:
        staged = room / "src" / source.file
        output = room / "out" / _module_path(source.module, ".olean")
        staged.parent.mkdir(parents=True)
        output.parent.mkdir(parents=True)
        staged.write_text(source.text, encoding="utf-8")
        outcome = run.run_lean(
            toolchain,
            source.file,
            folder=room / "src",
            search_path=[objects],
            output=output,
            timeout_seconds=timeout_seconds,
            group=objects,
        )
        if outcome.ok and output.exists():
            (room / "out" / "DONE").write_text(key, encoding="utf-8")
            _publish(room / "out", _object_folder(key))
    return outcome


@contextmanager
def _scratch(prefix: str) -> Iterator[Path]:
    """A temporary folder on the same file system as the cache, so that a rename publishes it."""
    base = cache_folder() / "work"
    base.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _publish(room: Path, folder: Path) -> None:
    """Move a finished folder to its final name; if another process was first, its copy is as good."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not (folder / "DONE").exists():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(room, folder)
    except OSError:
        if not (folder / "DONE").exists():
            raise


_LINK_LOCK = threading.Lock()


def _link(objects: Path, room: Path) -> None:
    """Put the compiled files of one module into a tree, as hard links where the file system has them."""
    with _LINK_LOCK:
        os.utime(objects)
        for path in objects.rglob("*"):
            if path.is_dir() or path.name == "DONE":
                continue
            target = room / path.relative_to(objects)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copy2(path, target)


def _forget_old() -> None:
    """Remove what no build has used for a month."""
    limit = time.time() - _KEEP_SECONDS
    for kind in ("objects", "trees", "work"):
        for path in (cache_folder() / kind).glob("*"):
            try:
                if path.stat().st_mtime < limit:
                    shutil.rmtree(path, ignore_errors=True)
            except OSError:
                continue
