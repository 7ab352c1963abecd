"""From arrays and tensors of any layout and float type to float64 without changing a value."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from peelverify.errors import InputError, NonFiniteError, NumericalError

__all__ = ["as_float64", "require_gradual_underflow"]

_NARROW = {"float16", "float32", "bfloat16"}


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
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        array = array.detach()
        if array.dtype is torch.bfloat16:
            wide, narrow = array.to(device="cpu", dtype=torch.float64).numpy(), True
        elif array.is_floating_point():
            raw = array.cpu().numpy()
            wide, narrow = raw.astype(np.float64, copy=False), raw.dtype.name in _NARROW
        else:
            raise InputError(f"{name} needs a floating-point tensor, got {array.dtype}; convert it yourself")
    else:
        raw = np.asarray(array)
        if raw.dtype.name not in _NARROW and raw.dtype != np.float64:
            raise InputError(
                f"{name} needs float16, bfloat16, float32 or float64, got {raw.dtype}; convert it yourself"
            )
        wide, narrow = raw.astype(np.float64, copy=False), raw.dtype.name in _NARROW
    if not np.isfinite(wide).all():
        raise NonFiniteError(f"{name} needs finite entries, got NaN or infinity; check where it comes from")
    return wide, narrow


def require_gradual_underflow() -> None:
    """Refuse a processor mode that flushes subnormal numbers to zero: the error terms would not hold.

    Raises:
        NumericalError: if flush-to-zero or denormals-are-zero is on in this thread.
    """
    # compare bit patterns: where subnormals count as zero, comparing the numbers themselves tells nothing
    tiny = np.array([2.0**-1022, 2.0**-1074]) * np.array([0.5, 1.0])
    bits = np.append(tiny, tiny[1:] + tiny[1:]).view(np.int64)
    if bits.tolist() != [1 << 51, 1, 2]:
        raise NumericalError(
            "enclosures need gradual underflow, got flush-to-zero arithmetic; "
            "call torch.set_flush_denormal(False) and do not load libraries built with -ffast-math"
        )
