"""One Lean run on one file: start it, wait, read its messages."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peelverify.errors import ToolchainError
from peelverify.lean.pool import PoolDiedError, shared_pool
from peelverify.lean.source import Message
from peelverify.lean.toolchain import LEAN_OPTIONS, Toolchain

__all__ = ["LeanRun", "run_lean"]

# Lazy validation saves the check of functions that never run; the higher tier-up budget keeps the
# optimising compiler away from functions that run too briefly to repay it (17 s -> 14 s of CPU a file).
_RUNTIME_OPTIONS = ("--wasm-lazy-validation", "--wasm-tiering-budget=50000000")
# In WebAssembly the threads of one process hinder each other (47 s -> 27 s of CPU for one file without them);
# the cores are used by one process a file.
_WASM_OPTIONS = ("-DElab.async=false",)


@dataclass(frozen=True)
class LeanRun:
    """How a Lean run ended.

    Attributes:
        status: exit status; negative if it was killed.
        messages: what Lean said, in order, paths as in the call.
        seconds: wall clock.
        tail: last lines that were not messages, for a process that died without a message.
    """

    status: int
    messages: tuple[Message, ...]
    seconds: float
    tail: str

    @property
    def ok(self) -> bool:
        """Exit status 0 and no message worse than information."""
        return self.status == 0 and all(message.severity == "information" for message in self.messages)


def run_lean(
    toolchain: Toolchain,
    file: str,
    *,
    folder: Path,
    search_path: Sequence[Path] = (),
    output: Path | None = None,
    timeout_seconds: float = 1800.0,
    group: object = None,
) -> LeanRun:
    """Check one file.

    Args:
        toolchain: which Lean.
        file: path relative to `folder`; it decides the module name (``Proofs/Field.lean`` -> ``Proofs.Field``).
        folder: working folder; with the WebAssembly build Lean sees this folder, its library and the
            folders of `search_path` and `output`, and nothing else of the machine.
        search_path: folders with compiled modules.
        output: where to write the compiled module.
        timeout_seconds: wall clock after which the run is ended.
        group: a name under which `peelverify.lean.pool.stop_shared` can end the run.

    Raises:
        ToolchainError: if the process cannot be started or does not end in time.
    """
    arguments = ["--json", *LEAN_OPTIONS, *(["-o", str(output)] if output else []), file]
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    search = [*([toolchain.library] if toolchain.library is not None else []), *search_path]
    environment["LEAN_PATH"] = os.pathsep.join(str(path) for path in search)
    begin = time.perf_counter()
    try:
        if toolchain.road == "wasm":
            mounts = {str(path) for path in (folder, *search, *([output.parent] if output else []))}
            environment["PEELVERIFY_MOUNTS"] = json.dumps(_outermost(mounts))
            environment["PEELVERIFY_FOLDER"] = str(folder)
            arguments = [*_WASM_OPTIONS, *arguments]
            status, stdout, stderr = _in_pool(toolchain, arguments, environment, timeout_seconds, group)
        else:
            status, stdout, stderr = _alone([str(toolchain.program), *arguments], environment, folder, timeout_seconds)
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        raise ToolchainError(
            f"run_lean needs {file} to end within {timeout_seconds:.0f} s, and it did not; "
            "split the file or raise the limit",
            file=file,
        ) from error
    except OSError as error:
        raise ToolchainError(
            f"run_lean needs {toolchain.program} to start, got {error}; run `peelverify doctor`"
        ) from error
    messages, rest = _parse(stdout, file)
    tail = "\n".join([*rest, *_without_debug(stderr)][-15:])
    if status and not any(message.severity == "error" for message in messages):
        why = " ".join(tail.split())[-600:] or "no output; it may have run out of memory"
        messages = (*messages, Message(file, 0, 0, "error", f"Lean ended with status {status}: {why}"))
    return LeanRun(status, messages, time.perf_counter() - begin, tail)


def _in_pool(
    toolchain: Toolchain, arguments: Sequence[str], environment: dict[str, str], timeout_seconds: float, group: object
) -> tuple[int, str, str]:
    """Status, output and errors of a run that shares its JavaScript process with others.

    If that process dies, the run gets one of its own, so that none fails for what another did.
    """
    try:
        pool = shared_pool(toolchain.runner, _RUNTIME_OPTIONS, toolchain.program)
        answer = pool.run(arguments, environment, timeout_seconds, group)
    except PoolDiedError:
        command = [str(toolchain.runner), *_RUNTIME_OPTIONS, str(toolchain.program), *arguments]
        return _alone(command, environment, Path(environment["PEELVERIFY_FOLDER"]), timeout_seconds)
    return (1 if answer.status is None else answer.status), "\n".join(answer.lines), answer.trouble


def _alone(
    command: Sequence[str], environment: dict[str, str], folder: Path, timeout_seconds: float
) -> tuple[int, str, str]:
    """Status, output and errors of a process of its own."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_seconds,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _outermost(folders: set[str]) -> list[str]:
    """Folders that lie in no other folder of the set: a mount inside a mount would hide part of it."""
    return sorted(a for a in folders if not any(a != b and a.startswith(b.rstrip("/") + "/") for b in folders))


def _without_debug(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("[DEBUG") and line.strip()]


def _parse(output: str, file: str) -> tuple[tuple[Message, ...], list[str]]:
    """Split the output into Lean's messages, one JSON object a line, and the rest."""
    messages: list[Message] = []
    rest: list[str] = []
    for line in output.splitlines():
        try:
            item = json.loads(line) if line.startswith("{") else None
            message = item and Message(
                _relative(item["fileName"], file),
                item["pos"]["line"],
                item["pos"]["column"] + 1,
                item["severity"],
                item["data"].strip(),
            )
        except (ValueError, KeyError, TypeError):
            message = None
        if message:
            messages.append(message)
        elif line.strip() and not line.startswith("[DEBUG"):
            rest.append(line)
    return tuple(dict.fromkeys(messages)), rest


def _relative(name: str, file: str) -> str:
    return file if name.endswith(file) else name
