"""The compiled sums of squares: built where they can be, used where they are right, not missed where absent."""

from __future__ import annotations

import importlib.util
import math
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from peelverify.bounds.rounding import growth
from peelverify.enclose import compiled, frobenius, norm_fro_lower, norm_fro_upper
from peelverify.errors import NonFiniteError

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "peelverify" / "enclose" / "_squares.c"
COMPILER = next(filter(None, map(shutil.which, (str(sysconfig.get_config_var("CC")).split()[0], "cc", "gcc"))), None)
HEADER = Path(sysconfig.get_path("include"), "Python.h")
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
LEAST, LARGEST = np.float32(2.0**-149), np.finfo(np.float32).max
PATHS = {"numpy": lambda: None}
if compiled.compiled_squares() is not None:
    PATHS["compiled"] = compiled.compiled_squares

needs_compiler = pytest.mark.skipif(
    COMPILER is None or not HEADER.exists(), reason="no C compiler, or no Python.h: the routine cannot be built here"
)
needs_routine = pytest.mark.skipif("compiled" not in PATHS, reason="none here; another test tells if that is right")


def exact_sums(array: np.ndarray, block: int) -> list[Fraction]:
    """Sums of squares of the blocks as exact numbers."""
    squares = [Fraction(float(x)) ** 2 for x in array.tolist()]
    return [sum(squares[i : i + block], Fraction(0)) for i in range(0, len(squares), block)]


def loaded(path: Path) -> ModuleType:
    """A compiled module at a path, beside the one of the package."""
    spec = importlib.util.spec_from_file_location("_squares", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The build hook as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_compiler
def test_the_routine_is_there_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can be compiled it is, passes the probe, and sums float32 arrays; nothing else reaches it."""
    found = compiled.compiled_squares()
    assert found is not None, "there is a C compiler but the routine was not built; run ci/setup and read its warnings"
    seen: list[int] = []

    def watched(array: np.ndarray, block: int) -> list[float]:
        seen.append(array.size)
        return found(array, block)

    monkeypatch.setattr(frobenius, "compiled_squares", lambda: watched)
    for size in (1, 5000):
        norm_fro_upper(np.ones(size, np.float32))
        norm_fro_lower(np.ones(size, np.float32)[::-1])
        norm_fro_upper(np.ones(size, np.dtype(np.float32).newbyteorder()))
        norm_fro_upper(np.ones(size, np.float16))
        norm_fro_upper(np.ones(size))
    assert seen == [1, 1, 5000, 5000]


@needs_routine
@given(hnp.arrays(np.float32, st.integers(0, 150), elements=FINITE), st.integers(1, 160))
@example(np.full(33, LEAST), 33)
@example(np.full(97, LARGEST), 96)
@example(np.array([LARGEST, LEAST, 1.0, -1 / 3] * 8, np.float32), 31)
@example(np.zeros(0, np.float32), 1)
@example(np.full(3, 0.1, np.float32), sys.maxsize)
def test_a_block_has_fewer_roundings_than_terms(array: np.ndarray, block: int) -> None:
    """Each sum errs by at most so many roundings as it has terms, less one; blocks shorter than the lanes too."""
    found, truth = PATHS["compiled"]()(array, block), exact_sums(array, block)
    assert len(found) == len(truth)
    for number, (computed, wanted) in enumerate(zip(found, truth, strict=True)):
        terms = min(block, array.size - number * block)
        assert abs(Fraction(computed) - wanted) <= growth(frobenius.UNIT, terms - 1) * wanted


def layouts(flat: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers, a multiple of 6, in every layout that memory knows."""
    wide = np.zeros(2 * flat.size, np.float32)
    wide[::2] = flat
    readonly = flat.copy()
    readonly.flags.writeable = False
    cube = flat.reshape(3, 2, -1)
    return {
        "flat": flat, "fortran": np.asfortranarray(flat.reshape(2, -1)), "strided": wide[::2], "reversed": flat[::-1],
        "readonly": readonly, "permuted": cube.transpose(2, 0, 1), "part": np.vstack([flat, flat])[:1, 1:-1],
        "other byte order": flat.astype(flat.dtype.newbyteorder()), "point": flat[:1].reshape(()),
        "unaligned": np.frombuffer(b"\0" + flat.tobytes(), np.float32, offset=1),
    }


@pytest.mark.parametrize("path", PATHS)
@given(st.integers(1, 12).flatmap(lambda n: hnp.arrays(np.float32, 6 * n, elements=FINITE)))
@example(np.full(6, LEAST))
@example(np.full(66, LARGEST))
@example(np.array([1e38, 1e-38, 1e-45, 1 / 3, 0.0, -1.0], np.float32))
@example(np.full(6 * 700, 0.1, np.float32))
def test_bounds_hold_on_both_paths(path: str, flat: np.ndarray) -> None:
    """With the routine and without it, in every layout, the exact norm lies between sharp bounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frobenius, "compiled_squares", PATHS[path])
        for layout, array in layouts(flat).items():
            truth = sum(exact_sums(np.ascontiguousarray(array, np.float32).ravel(), 4096), Fraction(0))
            low, high = norm_fro_lower(array), norm_fro_upper(array)
            assert low**2 <= truth <= high**2, layout
            assert high - low <= Fraction(1, 10**12) * high, layout


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 4095, 4096, 4097, 40_000])
def test_sizes_around_lanes_and_blocks(path: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry is left out or counted twice, also in a rest, and where other threads may run."""
    monkeypatch.setattr(frobenius, "compiled_squares", PATHS[path])
    array = (np.arange(size) % 1999 - 999).astype(np.float32)
    truth = sum(int(x) ** 2 for x in array.tolist())
    assert norm_fro_lower(array) ** 2 <= truth <= norm_fro_upper(array) ** 2
    assert norm_fro_upper(array) - norm_fro_lower(array) <= Fraction(1, 10**12) * norm_fro_upper(array)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 40, 50_000])
def test_bad_entries_are_found_on_both_paths(path: str, bad: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One NaN or infinity, wherever it is, is reported and not summed."""
    monkeypatch.setattr(frobenius, "compiled_squares", PATHS[path])
    for place in {0, size // 2, size - 1}:
        array = np.ones(size, np.float32)
        array[place] = bad
        with pytest.raises(NonFiniteError, match=f"the first at index {place}"):
            norm_fro_upper(array)


def by_numpy(array: np.ndarray, block: int) -> list[float]:
    """What the routine computes."""
    return [float(np.dot(*[array[i : i + block].astype(np.float64)] * 2)) for i in range(0, array.size, block)]


def in_float32(array: np.ndarray, block: int) -> list[float]:
    """Sums of less precision."""
    return [float(np.dot(array[i : i + block], array[i : i + block])) for i in range(0, array.size, block)]


def changed(change: Callable[[np.ndarray], np.ndarray]) -> compiled.SumsOfSquares:
    """A routine that sees other entries."""
    return lambda array, block: by_numpy(change(array.copy()), block)


BROKEN = {
    "float32 sums": in_float32,
    "float32 squares": lambda a, b: [math.fsum((a[i : i + b] ** 2).tolist()) for i in range(0, a.size, b)],
    "flushed subnormals": changed(lambda a: np.where(np.abs(a) < 2.0**-126, 0, a).astype(np.float32)),
    "no infinity": changed(lambda a: np.nan_to_num(a, posinf=1.0, neginf=1.0, nan=np.nan)),
    "no NaN": changed(lambda a: np.nan_to_num(a, posinf=np.inf, neginf=-np.inf)),
    "no rest": changed(lambda a: a[: a.size - a.size % 32] if a.size > 32 else a),
    "last bit up": lambda a, b: [math.nextafter(s, math.inf) for s in by_numpy(a, b)],
    "last bit down": lambda a, b: [math.nextafter(s, 0.0) for s in by_numpy(a, b)],
    "one block": lambda a, b: [math.fsum(by_numpy(a, b))],
    "one block more": lambda a, b: [*by_numpy(a, b), 0.0],
    "wrong where threads may run": lambda a, b: by_numpy(a, b) if a.size < 2**15 else [0.0] * -(-a.size // b),
    "other arguments": lambda a: by_numpy(a, 4096),
    "nothing": lambda a, b: None,
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_probe_refuses_a_broken_routine(name: str) -> None:
    """Whatever is off by a bit, or raises, is not used."""
    with np.errstate(all="ignore"):
        assert not compiled.sums_are_right(BROKEN[name])


def test_the_probe_takes_a_right_one() -> None:
    """Any order of additions in float64 passes, whoever makes it."""
    with np.errstate(all="ignore"):
        assert compiled.sums_are_right(by_numpy)


@pytest.mark.parametrize("module", [None, ModuleType("_squares")])
def test_without_a_usable_file_there_is_none(module: ModuleType | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, and one with broken contents, both mean numpy."""
    if module is not None:
        module.sums_of_squares = in_float32
    monkeypatch.setitem(sys.modules, "peelverify.enclose._squares", module)
    monkeypatch.delattr("peelverify.enclose._squares", raising=False)
    with np.errstate(all="ignore"):
        assert compiled.compiled_squares.__wrapped__() is None


@needs_routine
@pytest.mark.parametrize("bad, block, error, message", [
    (np.ones(3), 4, ValueError, "float32 in the byte order of this machine, got format d"),
    (np.ones(3, np.int32), 4, ValueError, "float32"),
    (np.ones(3, np.dtype(np.float32).newbyteorder()), 4, ValueError, "byte order"),
    (b"abcdefgh", 4, ValueError, "float32"),
    (np.ones((4, 4), np.float32)[::2], 4, (ValueError, BufferError), "contiguous"),
    ([1.0], 4, TypeError, "bytes-like"),
    (np.ones(3, np.float32), 0, ValueError, "at least 1 entry, got 0"),
    (np.ones(3, np.float32), 1.5, TypeError, "integer"),
])
def test_other_arguments_are_refused(bad: object, block: object, error: type[Exception], message: str) -> None:
    """The routine reads contiguous float32 of this machine and nothing else."""
    with pytest.raises(error, match=message):
        PATHS["compiled"]()(bad, block)
    with pytest.raises(TypeError, match="got 1 arguments"):
        PATHS["compiled"]()(bad)


@needs_routine
def test_threads_do_not_meet() -> None:
    """Many calls at a time give what one gives."""
    arrays = [np.random.default_rng(k).standard_normal(100_000, dtype=np.float32) for k in range(4)]
    alone = [PATHS["compiled"]()(array, 4096) for array in arrays]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda k: PATHS["compiled"]()(arrays[k % 4], 4096), range(40))) == alone * 10


@needs_compiler
@given(hnp.arrays(np.float32, st.integers(0, 150), elements=FINITE), st.integers(1, 160))
@example(np.random.default_rng(0).standard_normal(5000, dtype=np.float32), 4096)
def test_plain_c_and_the_wide_version_agree(plain: compiled.SumsOfSquares, array: np.ndarray, block: int) -> None:
    """Both add in one order, so that every machine computes the same bits."""
    assert plain(array, block) == PATHS["compiled"]()(array, block)


@pytest.fixture(scope="module")
def plain(hook: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> compiled.SumsOfSquares:
    """The routine without instructions that not every processor has."""
    found = loaded(hook.compile_squares(SOURCE, tmp_path_factory.mktemp("plain"), "-DPEELVERIFY_PLAIN")).sums_of_squares
    assert compiled.sums_are_right(found)
    return found


@needs_compiler
@pytest.mark.parametrize("flags", ["-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-O0"])
def test_flags_for_inexact_arithmetic_do_no_harm(
    flags: str, hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are taken back, or nothing is built; no subnormal number is lost in the process that loads the routine."""
    monkeypatch.setenv("CFLAGS", flags)
    try:
        built = hook.compile_squares(SOURCE, tmp_path)
    except RuntimeError as error:
        assert "does not work here" in str(error)
    else:
        assert compiled.sums_are_right(loaded(built).sums_of_squares)
    assert 0.0 < 2.0**-1022 * 0.5


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is made from, without anything compiled."""
    target = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore", "Proofs.lean",
                 "lakefile.lean", "lean-toolchain", "lake-manifest.json"):
        shutil.copy2(ROOT / name, target / name)
    shutil.copytree(ROOT / "Proofs", target / "Proofs")
    shutil.copytree(ROOT / "peelverify", target / "peelverify",
                    ignore=shutil.ignore_patterns("__pycache__", "_squares*.so", "_squares*.pyd"))
    return target


def wheel(tree: Path, target: Path) -> tuple[Path, str, set[str]]:
    """Build a wheel: its path, what the build said, and the files in it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = target.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        assert archive.testzip() is None
        return built, done.stdout + done.stderr, set(archive.namelist())


@needs_compiler
def test_a_wheel_holds_the_routine(tree: Path, tmp_path: Path, hook: ModuleType) -> None:
    """Its name says for which Pythons and systems, its routine works, and the tree it was built from is as before."""
    before = sorted(tree.rglob("*"))
    built, _, names = wheel(tree, tmp_path)
    assert built.name.endswith(f"-cp311-abi3-{hook.platform_tag()}.whl")
    assert hook.BUILT.as_posix() in names
    assert {"peelverify/lean/_proofs/Proofs.lean", "peelverify/lean/_proofs/lakefile.lean"} <= names
    assert sorted(tree.rglob("*")) == before
    with zipfile.ZipFile(built) as archive:
        archive.extract(hook.BUILT.as_posix(), tmp_path)
    assert compiled.sums_are_right(loaded(tmp_path / hook.BUILT).sums_of_squares)


def test_without_a_compiler_the_wheel_is_pure(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that fails is a warning, and the wheel serves every system."""
    monkeypatch.setenv("CC", "no-such-compiler")
    built, said, names = wheel(tree, tmp_path)
    assert built.name.endswith("-py3-none-any.whl")
    assert "peelverify works without it" in said
    assert not [name for name in names if name.endswith((".so", ".pyd"))]
    assert "peelverify/enclose/compiled.py" in names
