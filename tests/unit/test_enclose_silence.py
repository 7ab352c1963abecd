"""No answer of the enclosures depends on the caller's numpy error state or warnings filter, and none warns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from peelverify import enclose
from peelverify.enclose import compiled, frobenius
from peelverify.enclose.arrays import as_float64
from peelverify.enclose.operator import Stacked
from peelverify.errors import NonFiniteError
from peelverify.peel.least_squares import one_thread

_ARGUMENTS: dict[Callable[[Any, Any], tuple[Any, ...]], tuple[str, ...]] = {
    lambda x, y: (x,): (
        "exact_sum", "norm_fro_lower", "norm_fro_upper", "norm_max_lower", "norm_max_upper", "norm_op1_lower",
        "norm_op1_upper", "norm_op2_lower", "norm_op2_upper", "norm_opinf_lower", "norm_opinf_upper", "sum_sq",
    ),
    lambda x, y: (x, y): ("error_sq", "inner_lower", "inner_upper", "matmul_enclosed"),
    lambda x, y: (y, x, y): ("residual_norm_fro_lower", "residual_norm_fro_upper"),
    lambda x, y: (x, y, y, x): ("inner_of_differences",),
    lambda x, y: (_first(x),): ("round_down", "round_up", "sqrt_lower", "sqrt_upper"),
}
CALLS = {name: (getattr(enclose, name), choose) for choose, names in _ARGUMENTS.items() for name in names}
CALLS["norm_op2_upper of a stacked matrix"] = (enclose.norm_op2_upper, lambda x, y: (_stacked(x),))


def _first(x: Any) -> float:
    """The magnitude of an entry as a number of Python."""
    with np.errstate(all="ignore"):
        return abs(float(x.reshape(-1)[0])) if len(x) else 0.0


def _stacked(x: Any) -> Stacked:
    """Rows that are made as float64, as far as that goes without a warning."""
    with np.errstate(all="ignore"):
        wide = np.asarray(x.double() if isinstance(x, torch.Tensor) else x).astype(np.float64)
    return Stacked(wide.shape, lambda start, stop: wide[start:stop])


TYPES = {
    "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64,
    "swapped float16": ">f2", "swapped float32": ">f4", "swapped float64": ">f8",
}
TENSORS = {"torch.float16": torch.float16, "torch.bfloat16": torch.bfloat16, "torch.float32": torch.float32,
           "torch.float64": torch.float64}
_WORDS = {2: np.uint16, 4: np.uint32, 8: np.uint64}
_SIGNALLING = {"float16": 0x7C01, "bfloat16": 0x7F81, "float32": 0x7F800001, "float64": 0x7FF0000000000001}
KINDS = ("normal", "zero", "subnormal", "tiny", "huge", "far apart", "opposite", "NaN", "signalling NaN", "infinite",
         "infinite both ways")


def made(kind: str, dtype: Any, side: int, seed: int) -> np.ndarray:
    """A square matrix of one kind of numbers."""
    dtype = np.dtype(dtype)
    native, info = dtype.newbyteorder("="), ml_dtypes.finfo(dtype.newbyteorder("="))
    rng = np.random.default_rng(seed)
    shape = (side, side)
    with np.errstate(all="ignore"):
        x = rng.standard_normal(shape).astype(native)
        least, most = (np.array(float(end)).astype(native) for end in (info.smallest_subnormal, info.max))
        if kind == "zero":
            x[:] = 0
        elif kind == "subnormal":
            x = (rng.integers(-3, 4, shape) * float(least)).astype(native)
        elif kind == "tiny":
            x = (x.astype(np.float64) * float(info.smallest_normal) * 16).astype(native)
        elif kind == "huge":
            x = (np.sign(x.astype(np.float64)) * float(most)).astype(native)
        elif kind == "far apart" and side:
            x[0], x[-1, 1:] = most, least
        elif kind == "opposite":
            x[:] = most if seed else -most
    if side:
        if kind == "NaN":
            x[1, 2] = np.nan
        elif kind == "signalling NaN":
            x.view(_WORDS[native.itemsize])[1, 2] = _SIGNALLING[native.name]
        elif kind.startswith("infinite"):
            x[1, 2] = np.inf
            x[2, 1] = -np.inf if kind == "infinite both ways" else np.inf
    return x if native == dtype else x.byteswap().view(dtype)


def given(kind: str, name: str, side: int, seed: int) -> Any:
    """The matrix as an array or as a tensor of that name."""
    if name in TYPES:
        return made(kind, TYPES[name], side, seed)
    plain = made(kind, TYPES[name.removeprefix("torch.")], side, seed)
    words = {2: np.int16, 4: np.int32, 8: np.int64}[plain.itemsize]
    return torch.from_numpy(plain.view(words)).view(TENSORS[name])


class Called(Exception):
    """The caller's handler of floating-point events was called."""


def _called(*arguments: object) -> None:
    raise Called(*arguments)


@contextmanager
def caller(state: str) -> Iterator[None]:
    """A caller's error state and warnings filter."""
    with warnings.catch_warnings():
        if state == "errors raise":
            warnings.simplefilter("ignore")
            with np.errstate(all="raise"):
                yield
        elif state == "handler":
            with np.errstate(all="call", call=_called):
                yield
        else:
            warnings.simplefilter("error")
            with np.errstate(all="ignore" if state == "quiet" else "warn"):
                yield


def outcome(name: str, x: Any, y: Any) -> Any:
    """The value, or the type and message of the error."""
    try:
        function, choose = CALLS[name]
        found = function(*choose(x, y))
    except Exception as error:
        return type(error), str(error)
    return [part.tolist() for part in found] if isinstance(found, enclose.Product) else found


@pytest.fixture(scope="module", autouse=True)
def no_threads() -> Iterator[None]:
    """Tens of thousands of small products: threads would only wait for each other."""
    with one_thread(1):
        yield


def test_every_public_function_is_here() -> None:
    """All of `peelverify.enclose` but the two records."""
    assert {name.split()[0] for name in CALLS} == set(enclose.__all__) - {"Interval", "Product"}


@pytest.mark.parametrize("routine", [True, False], ids=["compiled", "numpy"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*TYPES, *TENSORS])
def test_the_caller_sees_no_floating_point_event(
    name: str, kind: str, routine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value or error are the same for every caller, be the array empty, small or of several blocks."""
    if not routine:
        monkeypatch.setattr(frobenius, "compiled_squares", lambda: None)
    wrong = []
    for side in (0, 3, 67):
        for second in (name, "float64"):
            x, y = given(kind, name, side, 0), given(kind, second, side, 1)
            for call in CALLS:
                with caller("quiet"):
                    expected = outcome(call, x, y)
                for state in ("errors raise", "warnings are errors", "handler"):
                    with caller(state):
                        found = outcome(call, x, y)
                    if found != expected:
                        wrong.append((call, side, second, state, str(expected)[:80], str(found)[:80]))
    assert not wrong, wrong


@pytest.mark.parametrize("state", ["errors raise", "warnings are errors", "handler"])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_bad_entries_are_named_to_every_caller(name: str, state: str) -> None:
    """Reading an array with a signalling NaN says where it is, as other parts of the package need it too."""
    with caller(state), pytest.raises(NonFiniteError, match=r"index \(1, 2\)"):
        as_float64(given("signalling NaN", name, 3, 0))


@pytest.mark.parametrize("state", ["errors raise", "warnings are errors", "handler"])
def test_the_compiled_routine_is_judged_alike(state: str) -> None:
    """A first call under any caller keeps the routine that a quiet one keeps."""
    with caller("quiet"):
        expected = compiled.compiled_squares.__wrapped__()
    with caller(state):
        assert compiled.compiled_squares.__wrapped__() is expected


def test_the_test_goes_red() -> None:
    """An overflow that is not silenced is seen by each of the callers."""
    for state, error in (("errors raise", FloatingPointError), ("warnings are errors", RuntimeWarning),
                         ("handler", Called)):
        with pytest.raises(error), caller(state):
            np.array([1e300]) * np.array([1e300])
