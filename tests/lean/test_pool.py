"""Runs of Lean that share a JavaScript process: one warm process, runs apart from each other, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peelverify.errors import ToolchainError
from peelverify.lean import run as run_module
from peelverify.lean.pool import LeanPool, PoolDiedError, shared_pool, stop_shared
from peelverify.lean.run import run_lean
from peelverify.lean.toolchain import Toolchain, find_toolchain
from peelverify.lean.tree import proofs_root

GOOD = "module\ntheorem fact : 1 + 1 = 2 := rfl\n"
WRONG = "module\ntheorem fact : 1 + 1 = 3 := rfl\n"


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    """The WebAssembly build."""
    return find_toolchain(proofs_root(), road="wasm")


@pytest.fixture
def pool(toolchain: Toolchain) -> Iterator[LeanPool]:
    """The pool of this Python process, ended afterwards."""
    pool = shared_pool(toolchain.runner, run_module._RUNTIME_OPTIONS, toolchain.program)
    yield pool
    pool.close()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for a condition; its last value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def write(folder: Path, **files: str) -> None:
    """Write Lean files."""
    for name, text in files.items():
        (folder / f"{name}.lean").write_text(text, encoding="utf-8")


def test_runs_share_a_process_and_keep_their_verdicts_apart(
    toolchain: Toolchain, pool: LeanPool, tmp_path: Path
) -> None:
    """One process serves all runs, and a refused file does not touch the verdict on another."""
    write(tmp_path, Good=GOOD, Wrong=WRONG)
    results: dict[str, bool] = {}
    threads = [
        threading.Thread(
            target=lambda n=name: results.update({n: run_lean(toolchain, f"{n}.lean", folder=tmp_path).ok})
        )
        for name in ("Good", "Wrong")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = pool.pid
    assert results == {"Good": True, "Wrong": False}
    again = run_lean(toolchain, "Good.lean", folder=tmp_path)
    assert again.ok and first is not None and pool.pid == first


def test_a_run_sees_its_own_folders_only(toolchain: Toolchain, pool: LeanPool, tmp_path: Path) -> None:
    """A file that only another run was shown cannot be imported."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir(), other.mkdir()
    write(other, Fact=GOOD)
    write(mine, Use="module\nimport Fact\n")
    compiled = run_lean(toolchain, "Fact.lean", folder=other, output=other / "Fact.olean")
    assert compiled.ok and (other / "Fact.olean").is_file()
    assert not run_lean(toolchain, "Use.lean", folder=mine).ok
    assert run_lean(toolchain, "Use.lean", folder=mine, search_path=[other]).ok


def test_a_run_survives_the_death_of_the_process(toolchain: Toolchain, pool: LeanPool, tmp_path: Path) -> None:
    """A killed process costs time, not the verdict."""
    write(tmp_path, Good=GOOD, Wrong=WRONG)
    assert run_lean(toolchain, "Good.lean", folder=tmp_path).ok
    before = pool.pid
    assert before is not None
    verdicts: list[bool] = []
    thread = threading.Thread(
        target=lambda: verdicts.append(run_lean(toolchain, "Wrong.lean", folder=tmp_path).ok)
    )
    thread.start()
    time.sleep(0.3)
    os.kill(before, signal.SIGKILL)
    thread.join()
    assert verdicts == [False]
    assert run_lean(toolchain, "Good.lean", folder=tmp_path).ok and pool.pid != before


def test_a_run_over_its_time_is_ended_and_the_next_one_is_not_hindered(
    toolchain: Toolchain, pool: LeanPool, tmp_path: Path
) -> None:
    """The limit of time ends one run and leaves the process in order."""
    write(tmp_path, Good=GOOD)
    assert run_lean(toolchain, "Good.lean", folder=tmp_path).ok
    before = pool.pid
    with pytest.raises(ToolchainError, match=r"needs Good\.lean to end within 0 s"):
        run_lean(toolchain, "Good.lean", folder=tmp_path, timeout_seconds=0.4)
    assert run_lean(toolchain, "Good.lean", folder=tmp_path).ok and pool.pid == before


def test_runs_are_stopped_by_group(toolchain: Toolchain, pool: LeanPool, tmp_path: Path) -> None:
    """As Ctrl-C does with a build: its runs end at once and refused, those of others go on."""
    write(tmp_path, Good=GOOD)
    assert run_lean(toolchain, "Good.lean", folder=tmp_path).ok
    results: dict[str, run_module.LeanRun] = {}
    threads = [
        threading.Thread(
            target=lambda g=group: results.update({g: run_lean(toolchain, "Good.lean", folder=tmp_path, group=g)})
        )
        for group in ("ours", "other")
    ]
    for thread in threads:
        thread.start()
    assert until(lambda: len(pool._waiting) == 2)
    begin = time.monotonic()
    stop_shared("ours")
    threads[0].join()
    assert time.monotonic() - begin < 1 and not results["ours"].ok and "stopped" in str(results["ours"].messages)
    threads[1].join()
    assert results["other"].ok


def test_an_idle_process_is_ended_and_comes_back(toolchain: Toolchain, tmp_path: Path) -> None:
    """Nothing stays in memory when no more proofs are asked for."""
    write(tmp_path, Good=GOOD)
    pool = LeanPool(toolchain.runner, run_module._RUNTIME_OPTIONS, toolchain.program, idle_seconds=0.2)
    environment = {
        "LEAN_PATH": str(toolchain.library),
        "PEELVERIFY_MOUNTS": f'["{tmp_path}", "{toolchain.library}"]',
        "PEELVERIFY_FOLDER": str(tmp_path),
    }
    assert pool.run(["--json", "Good.lean"], environment, 120).status == 0
    assert until(lambda: pool.pid is None)
    assert pool.run(["--json", "Good.lean"], environment, 120).status == 0
    pool.close()
    assert pool.pid is None


def test_a_runtime_that_cannot_start_is_reported(tmp_path: Path, toolchain: Toolchain) -> None:
    """The pool says that it failed; `run_lean` then starts a process of its own."""
    with pytest.raises(PoolDiedError):
        LeanPool(tmp_path / "missing", (), toolchain.program).run([], {}, 10)
    with pytest.raises(PoolDiedError):
        LeanPool(toolchain.runner, (), tmp_path / "missing.js").run([], {}, 30)


def test_the_process_ends_with_python_even_when_that_is_killed(toolchain: Toolchain, tmp_path: Path) -> None:
    """A killed Python leaves no process behind."""
    write(tmp_path, Good=GOOD)
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from peelverify.lean import run
        from peelverify.lean.pool import shared_pool
        from peelverify.lean.toolchain import find_toolchain
        tool = find_toolchain(Path({str(proofs_root())!r}), road="wasm")
        assert run.run_lean(tool, "Good.lean", folder=Path({str(tmp_path)!r})).ok
        print(shared_pool(tool.runner, run._RUNTIME_OPTIONS, tool.program).pid, flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as python:
        assert python.stdout is not None
        child = int(python.stdout.readline())
        assert alive(child)
        python.kill()
    assert until(lambda: not alive(child))
