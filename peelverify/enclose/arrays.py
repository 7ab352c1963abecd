"""Arrays and tensors of any layout and float type, read as float64 without changing a value.

Also the probes: enclosures assume IEEE double precision with gradual underflow, and refuse anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from peelverify.errors import InputError, NonFiniteError, NumericalError, ShapeError

__all__ = ["as_float64", "flat_chunks", "is_narrow", "require_exact_products", "require_finite",
           "require_ieee_arithmetic", "require_matrix", "stored"]

CHUNK = 1 << 18
"""Entries converted to float64 at a time, so that memory does not grow with the array."""

_NARROW = {"float16", "float32", "bfloat16"}
_TYPES = frozenset(np.dtype(kind) for kind in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16))


def stored(array: Any, *, name: str = "array") -> np.ndarray:
    """The stored values of an array or tensor as a numpy array of the same type, without a copy where possible.

    Args:
        array: numpy array (float16, float32, float64, `ml_dtypes.bfloat16`) or torch tensor of those types.
        name: what to call it in messages.

    Raises:
        InputError: other types (integers and complex numbers are not converted silently), masked or sparse arrays,
            tensors without values, what numpy cannot read.
    """
    if type(array) is np.ndarray and array.dtype in _TYPES:
        return array
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _of_tensor(array, torch, name)
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name} needs an array without a mask, got a masked array; fill or compress it yourself")
    try:
        raw = np.asarray(array)
    except Exception as error:  # ragged lists, and whatever an object's own conversion raises
        raise InputError(
            f"{name} needs an array of numbers, got {type(array).__name__} that numpy cannot read "
            f"({type(error).__name__}); convert it yourself"
        ) from error
    if raw.dtype.name not in _NARROW | {"float64"}:
        raise InputError(f"{name} needs float16, bfloat16, float32 or float64, got {raw.dtype}; convert it yourself")
    return raw


def _of_tensor(tensor: Any, torch: Any, name: str) -> np.ndarray:
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "a nested tensor" if tensor.is_nested else f"layout {tensor.layout}"
        raise InputError(f"{name} needs a dense tensor, got {kind}; call .to_dense() or to_padded_tensor()")
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise InputError(
            f"{name} needs a floating-point tensor (float16, bfloat16, float32 or float64), got {tensor.dtype}; "
            "convert it yourself"
        )
    try:
        tensor = tensor.detach().cpu().resolve_neg()
        if tensor.dtype is torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()
    except (RuntimeError, TypeError) as error:  # on the meta device, fake, or inside a transform
        raise InputError(
            f"{name} needs a tensor with values, got one on {tensor.device} whose values cannot be read "
            f"({type(error).__name__}); pass it outside transforms and with data"
        ) from error


def is_narrow(raw: np.ndarray) -> bool:
    """Whether the type is narrower than float64, so that products are exact there and no square overflows."""
    return raw.dtype.name in _NARROW


def flat_chunks(*raws: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Matching pieces of arrays of one shape as flat float64 arrays of at most `CHUNK` entries.

    The order is the same for all arrays; for one array alone it is the order in memory. A piece is valid until the
    next one is asked for.
    """
    flats = [np.ravel(raws[0], order="K")] if len(raws) == 1 else [np.ravel(raw) for raw in raws]
    buffers = [None if flat.dtype == np.float64 else np.empty(min(flat.size, CHUNK)) for flat in flats]
    for start in range(0, flats[0].size, CHUNK):
        pieces = []
        for flat, buffer in zip(flats, buffers, strict=True):
            piece = flat[start : start + CHUNK]
            if buffer is not None:
                np.copyto(buffer[: piece.size], piece)
                piece = buffer[: piece.size]
            pieces.append(piece)
        yield tuple(pieces)


@np.errstate(all="ignore")  # of a signalling NaN the caller hears by name
def require_finite(raw: np.ndarray, *, name: str = "array") -> None:
    """Refuse NaN and infinity, and say how many there are and where the first is.

    Raises:
        NonFiniteError: with attributes `count` and `first` (an index into the array).
    """
    bad = ~np.isfinite(raw)
    count = int(bad.sum())
    if count:
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), raw.shape))
        where = str(first[0]) if len(first) == 1 else str(first)
        raise NonFiniteError(
            f"{name} needs finite entries, got {count} that {'is' if count == 1 else 'are'} NaN or infinite, "
            f"the first at index {where}: {float(raw[first])}; check where it comes from",
            count=count, first=first,
        )


def as_float64(array: Any, *, name: str = "array") -> tuple[np.ndarray, bool]:
    """Read an array as float64; the real numbers meant are exactly the stored values.

    Args:
        array: numpy array (float16, float32, float64, `ml_dtypes.bfloat16`) or torch tensor of those types.
        name: what to call it in messages.

    Returns:
        A float64 array of the same shape, and whether the stored type is narrower than float64 (then
        products and differences have headroom: no overflow and no underflow in float64).

    Raises:
        InputError: other types (integers and complex numbers are not converted silently).
        NonFiniteError: NaN or infinity.
    """
    raw = stored(array, name=name)
    require_finite(raw, name=name)
    return raw.astype(np.float64, copy=False), is_narrow(raw)


def require_matrix(raw: np.ndarray, *, name: str = "matrix") -> None:
    """Refuse what does not have two axes.

    Raises:
        ShapeError: not a matrix.
    """
    if raw.ndim != 2:
        raise ShapeError(f"an operator norm or product needs a matrix, got {name} of shape {raw.shape}; "
                         "reshape it yourself")


_PROBE = (2.0**-1022, 0.5, 2.0**-1074, 1.0, 2.0**-53, 2.0**-54)


def require_ieee_arithmetic() -> None:
    """Refuse a processor mode under which the error terms would not hold.

    Raises:
        NumericalError: if flush-to-zero or denormals-are-zero is on in this thread, or rounding is not to nearest.
    """
    # Python's own arithmetic obeys the same control register as numpy's, and costs less to ask; a subnormal number
    # that counts as zero is not above zero
    normal, half, least, one, tie, quarter = _PROBE
    if not (0.0 < normal * half < normal and 0.0 < least < least + least):
        raise NumericalError(
            "enclosures need gradual underflow, got flush-to-zero arithmetic; "
            "call torch.set_flush_denormal(False) and do not load libraries built with -ffast-math"
        )
    # upwards 1 + 2^-53 grows, downwards and towards zero 1 - 2^-54 shrinks; to nearest both are ties to 1
    if not (one + tie == one == one - quarter and -one - tie == -one):
        raise NumericalError(
            "enclosures need rounding to nearest, got another rounding mode of the processor; "
            "restore it with fesetround(FE_TONEAREST) where it was changed"
        )


_SMALL, _LARGE = 24, 128
"""Sides of the probes: a product of the large one is shared between threads, one of the small one is not."""


def _probe_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left @ right


@cache
def _probes(side: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    left, right, tiny = (np.zeros((side, side)) for _ in range(3))
    left[:, 0], left[:, 7], left[:, -1] = 1 + 2.0**-26, 1.0, 1.0
    right[0], right[-1] = 1 - 2.0**-26, -1.0
    right[0, 1::2], right[-1, 1::2], right[7, 1::4], right[7, 3::4] = 0.0, 1.0, 2.0**-53, -(2.0**-54)
    tiny[:, 5] = 2.0**-537
    return (left, right), (tiny, np.ascontiguousarray(tiny.T))


def require_exact_products(multiplications: int) -> None:
    """Refuse matrix products that are less exact than float64 or flush subnormals, in any thread they use.

    Args:
        multiplications: of the largest product that is coming; small ones use one thread, and so does their probe.

    Every entry of the probe is an inner product whose answer needs the last bit: with s = 2^-26,
    (1 + s)(1 - s) - 1 = -2^-52; 1 + 2^-53 and 1 - 2^-54, which round to 1; and 2^-537 2^-537 = 2^-1074, the smallest
    positive number.

    Raises:
        NumericalError: if an entry of the probe is off.
    """
    require_ieee_arithmetic()
    pairs = _probes(_SMALL if multiplications <= _SMALL**3 else _LARGE)
    full, small = (_probe_product(left, right) for left, right in pairs)
    if (full[:, ::2] != -(2.0**-52)).any() or (full[:, 1::2] != 1.0).any() or (small.view(np.int64) != 1).any():
        raise NumericalError(
            "enclosures need matrix products in full float64, to nearest and with gradual underflow, got less from "
            "this BLAS; turn off reduced-precision and emulated modes, flush-to-zero and directed rounding"
        )
