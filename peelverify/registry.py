"""Links between public functions and Lean theorems.

``@mirrors("PeelVerify.le_chainBound")`` says that a function computes what a theorem bounds;
``@measured("reason")`` says that no theorem stands behind a function and why. `links` and `unproved`
list them; a test compares them with the doc comments in ``Proofs/`` in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

__all__ = ["links", "measured", "mirrors", "unproved"]

F = TypeVar("F", bound=Callable[..., object])
_LINKS: dict[str, tuple[str, ...]] = {}
_UNPROVED: dict[str, str] = {}
_NAME = re.compile(r"PeelVerify(\.[A-Za-z_][A-Za-z0-9_']*)+\Z")


def _path(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def mirrors(*theorems: str) -> Callable[[F], F]:
    """Tie a function to the theorems whose bound it computes.

    Args:
        *theorems: full Lean names, for instance ``"PeelVerify.le_chainBound"``; at least one.

    Raises:
        ValueError: if no name is given or a name is not one of `PeelVerify`.
    """
    if not theorems or not all(_NAME.match(name) for name in theorems):
        raise ValueError(f"mirrors needs full names such as 'PeelVerify.le_chainBound', got {theorems!r}")

    def tie(function: F) -> F:
        function.__peelverify_theorems__ = theorems  # type: ignore[attr-defined]
        _LINKS[_path(function)] = theorems
        return function

    return tie


def measured(reason: str) -> Callable[[F], F]:
    """Mark a public numeric function that no theorem covers, with the reason why."""
    if not reason.strip():
        raise ValueError("measured needs a reason, got an empty string; say why there is no theorem")

    def mark(function: F) -> F:
        function.__peelverify_measured__ = reason  # type: ignore[attr-defined]
        _UNPROVED[_path(function)] = reason
        return function

    return mark


def links() -> dict[str, tuple[str, ...]]:
    """Dotted path of each mirrored function -> names of its theorems (for the modules imported so far)."""
    return dict(_LINKS)


def unproved() -> dict[str, str]:
    """Dotted path of each measured function -> why no theorem covers it."""
    return dict(_UNPROVED)
