"""Lean runs that share one JavaScript process, for the WebAssembly build.

A process of its own for each file compiles the same 137 MB of WebAssembly again and warms it up again. Runs in
one process share the compiled code and nothing else: each has its own instance, memory and view of the files.
The process is started by the first run and ends when none was asked for in `IDLE_SECONDS`, or with Python.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["IDLE_SECONDS", "STOPPED", "Answer", "LeanPool", "PoolDiedError", "shared_pool", "stop_shared"]

#: Seconds without a run after which the process of the shared pool is ended.
IDLE_SECONDS = 20.0
#: Status of a run that was stopped, as of a process that Ctrl-C ended.
STOPPED = -signal.SIGINT
_SCRIPT = Path(__file__).with_name("pool.js")


class PoolDiedError(Exception):
    """The JavaScript process ended under a run, for instance for want of memory."""


@dataclass(frozen=True)
class Answer:
    """How a run in the pool ended.

    Attributes:
        status: exit status of Lean; None if it did not come to its end.
        lines: what it printed, both streams in order.
        trouble: what went wrong if it did not come to its end.
    """

    status: int | None
    lines: tuple[str, ...]
    trouble: str


@dataclass
class _Waiting:
    process: subprocess.Popen[str]
    group: object
    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] | None = None


class LeanPool:
    """One JavaScript process for any number of Lean runs; usable from several threads.

    Args:
        runner: JavaScript runtime.
        options: options of the runtime.
        loader: ``lean.js`` of the WebAssembly build, with ``lean.wasm`` beside it.
        idle_seconds: the process is ended after so long without a run.
    """

    def __init__(
        self, runner: Path, options: Sequence[str], loader: Path, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._command = [str(runner), *options, str(_SCRIPT), str(loader)]
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._numbers = itertools.count()
        self._timer: threading.Timer | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the JavaScript process; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        timeout_seconds: float,
        group: object = None,
    ) -> Answer:
        """Run Lean once.

        Args:
            arguments: command line of Lean.
            environment: environment of the run; the loader's ``PEELVERIFY_*`` and ``LEAN_PATH`` belong here.
            timeout_seconds: wall clock after which the run is ended.
            group: a name under which `stop` can end it.

        Raises:
            PoolDiedError: the process ended under the run, or could not be started.
            TimeoutError: the run did not end in time.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            process = self._started()
            waiting = _Waiting(process, group)
            number = next(self._numbers)
            self._waiting[number] = waiting
            self._send(process, {"id": number, "arguments": list(arguments), "environment": dict(environment)})
        try:
            in_time = waiting.done.wait(timeout_seconds)
        finally:
            with self._lock:
                if self._waiting.pop(number, None) is not None:
                    self._send(process, {"cancel": number})
                if not self._waiting:
                    self._timer = threading.Timer(self._idle_seconds, self._close_if_idle)
                    self._timer.daemon = True
                    self._timer.start()
        if not in_time:
            raise TimeoutError(f"no end after {timeout_seconds:.0f} s")
        if waiting.answer is None:
            raise PoolDiedError("the JavaScript process ended under the run")
        return Answer(waiting.answer["status"], tuple(waiting.answer["lines"]), waiting.answer["trouble"])

    def stop(self, group: object) -> None:
        """End the runs of a group; each answers that it was stopped."""
        with self._lock:
            ours = [number for number, waiting in self._waiting.items() if waiting.group == group]
            for number in ours:
                waiting = self._waiting.pop(number)
                self._send(waiting.process, {"cancel": number})
                waiting.answer = {"status": STOPPED, "lines": [], "trouble": "stopped"}
                waiting.done.set()

    def close(self) -> None:
        """End the process; runs under way fail with `PoolDiedError`. The next run starts another."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _close_if_idle(self) -> None:
        with self._lock:
            idle = not self._waiting
            process = self._process
            if idle:
                self._process = None
        if idle and process is not None:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        """The process, started if there is none; under the lock."""
        if self._process is None or self._process.poll() is not None:
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,  # Ctrl-C is for Python, which then stops what it started
                )
            except OSError as error:
                raise PoolDiedError(str(error)) from error
            threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self._process

    @staticmethod
    def _send(process: subprocess.Popen[str], request: Mapping[str, object]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended: the listener tells the run
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Hand answers to the runs that wait for them; at the end of output each that still waits failed."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                answer = json.loads(line)
                number = answer["id"]
            except (ValueError, KeyError, TypeError):
                continue
            with self._lock:
                waiting = self._waiting.pop(number, None)
            if waiting is not None:
                waiting.answer = answer
                waiting.done.set()
        with self._lock:
            if self._process is process:
                self._process = None
            lost = [number for number, waiting in self._waiting.items() if waiting.process is process]
            ended = [self._waiting.pop(number) for number in lost]
        process.wait()
        for waiting in ended:
            waiting.done.set()


_shared: dict[tuple[int, tuple[str, ...]], LeanPool] = {}
_shared_lock = threading.Lock()


def shared_pool(runner: Path, options: Sequence[str], loader: Path) -> LeanPool:
    """The pool of this Python process for a runtime and a loader."""
    key = (os.getpid(), (str(runner), *options, str(loader)))
    with _shared_lock:
        if key not in _shared:
            _shared[key] = LeanPool(runner, options, loader)
            atexit.register(_shared[key].close)
        return _shared[key]


def stop_shared(group: object) -> None:
    """End the runs of a group in every shared pool of this Python process."""
    with _shared_lock:
        pools = [pool for (pid, _), pool in _shared.items() if pid == os.getpid()]
    for pool in pools:
        pool.stop(group)
