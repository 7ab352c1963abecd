"""Bounds as plain arithmetic: each function computes the number that a theorem in ``Proofs/`` bounds.

One module a topic, named like the Lean file. The functions use addition, multiplication, the odd division
and comparisons, so they take `fractions.Fraction`, `int`, `float`, `mpmath.mpf` and `flint.arb`, and answer
in the type they were given. What the answer is worth depends on that type:

- `Fraction` and `int` are exact, so the theorem applies to the answer as it stands;
- `arb` encloses the exact answer; take the ball's upper end where an upper bound is meant;
- `float` and `mpf` round to nearest, so the answer *estimates* the bound. Convert with `Fraction(x)`, which
  is exact for a float, whenever the number is to be certified.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "activations",
    "certificate",
    "compression",
    "counting",
    "exponential",
    "layers",
    "matrix",
    "peeling",
    "propagation",
    "rounding",
    "universal",
    "vector",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
