"""Compiles the optional routine of the enclosures when the package is built; where that fails, the package is pure.

Hatchling runs it for wheels and for editable installs, whose compiled file lands beside the source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("peelverify", "enclose", "_squares.c")
SUFFIX = ".pyd" if os.name == "nt" else ".abi3.so"
BUILT = SOURCE.with_name("_squares" + SUFFIX)


CHECK = """
import sys
from array import array
sys.path.insert(0, sys.argv[1])
from _squares import sums_of_squares
raise SystemExit(sums_of_squares(array("f", [3, 4, 5]), 2) != [25.0, 25.0] or not 0.0 < 2.0**-1022 * 0.5 < 2.0**-1022)
"""
"""Run in a process of its own: code linked with -ffast-math makes whoever loads it lose subnormal numbers."""


def compile_squares(source: Path, room: Path, *arguments: str) -> Path:
    """Compile the routine with the compiler that setuptools finds.

    Args:
        source: the C file.
        room: a folder for everything that is written.
        arguments: more of them for the compiler.

    Returns:
        The compiled module, for every CPython from 3.11 on.

    Raises:
        Exception: of setuptools or of the compiler; there are many kinds.
        RuntimeError: if what was compiled cannot be loaded, or changes the arithmetic of the process that loads it.
    """
    from setuptools import Distribution, Extension

    # the last word wins, so flags for inexact arithmetic in the environment are taken back
    own, exact = (["-O3", "-g0"], ["-fno-fast-math"]) if os.name == "posix" else ([], [])
    extension = Extension(
        "_squares", [source.name], py_limited_api=True, extra_compile_args=[*own, *exact, *arguments],
        extra_link_args=exact,
    )
    command = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(room / "lib"), str(room / "temp")
    command.ensure_finalized()
    before = Path.cwd()
    os.chdir(source.parent)  # setuptools puts objects where the source is, seen from here
    try:
        command.run()
    finally:
        os.chdir(before)
    built = Path(command.get_outputs()[0])
    check = [sys.executable, "-I", "-c", CHECK, str(built.parent)]
    loaded = subprocess.run(check, capture_output=True, text=True, check=False)
    if loaded.returncode:
        raise RuntimeError(f"what was compiled does not work here; {loaded.stderr.strip() or 'check the flags'}")
    return built


def platform_tag() -> str:
    """The last part of a wheel's name on this system."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


class CustomBuildHook(BuildHookInterface):
    """The hook under the name that hatchling looks for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say so in the wheel; or warn, and leave the wheel as it is."""
        beside = Path(self.root) / BUILT
        if version == "editable":
            beside.unlink(missing_ok=True)  # a new file, since another process may have the old one loaded
        self.room = Path(tempfile.mkdtemp(prefix="peelverify-"))
        try:
            built = compile_squares(Path(self.root) / SOURCE, self.room)
        except Exception as error:
            self.app.display_warning(
                f"no routine for float32 norms could be compiled ({type(error).__name__}: {error}); "
                "peelverify works without it, only such norms take up to five times as long"
            )
            return
        if version == "editable":
            shutil.copy2(built, beside)
            return
        build_data["force_include"][str(built)] = BUILT.as_posix()
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled, once it is in the wheel."""
        shutil.rmtree(self.room, ignore_errors=True)
