"""Certificates: build, save, cite and verify how far a compressed decoder drifts from its original.

Importing this package loads neither torch nor `transformers`; the functions do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peelverify.certify.build import certify
    from peelverify.certify.file import Certificate
    from peelverify.certify.verification import Verification, verify

__all__ = ["Certificate", "Verification", "certify", "verify"]

_HOME = {"Certificate": "file", "Verification": "verification", "certify": "build", "verify": "verification"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
