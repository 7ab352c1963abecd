"""Check a certificate whole: its shape by the JSON Schema that ships with the package, then its arithmetic.

The schema says which fields there are, of which kinds and how many; a validator from elsewhere enforces it. The
stand-alone checker says whether the numbers follow from each other. Both refuse in the same way.
"""

from __future__ import annotations

import json
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

import jsonschema_rs

from peelverify.certify import checker

__all__ = ["check", "check_shape"]

_SHOWN = 200


@cache
def _validator(known: bool) -> jsonschema_rs.Draft202012Validator:
    """The schema; of a version that is ``known`` objects have no fields but those described."""
    text = (resources.files("peelverify.certify") / "schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    if known:
        for part in (schema["properties"], schema["$defs"]):
            _close(part)
        schema["additionalProperties"] = False
    return jsonschema_rs.Draft202012Validator(schema)


def _close(part: Any) -> None:
    """Let objects have no other fields than those described, wherever a description does not say what others are."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict) and part.get("type") == "object":
            part.setdefault("additionalProperties", False)
        for inside in part.values():
            _close(inside)
    elif isinstance(part, list):
        for inside in part:
            _close(inside)


def _place(path: list[str | int]) -> str:
    """``numbers.blocks[1].gain`` for a path into a document."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".") or "the file"


def check_shape(document: Any) -> None:
    """Check that a parsed certificate has the fields of its version, each of its kind.

    Args:
        document: what `checker.read` gives: its major version is known, and it has no floats.

    Raises:
        checker.Refuted: with the place of the first field that is missing, surplus or of another kind.
    """
    try:
        known = isinstance(document, dict) and document.get("schema") in (checker.OLDEST, checker.SCHEMA)
        error = next(_validator(known).iter_errors(document), None)
    except (ValueError, RecursionError) as failure:  # a lone surrogate, or nesting beyond what can be converted
        raise checker.Refuted(f"a text or a nesting that no reader takes ({type(failure).__name__})") from None
    if error is not None:
        text = f"{_place(error.instance_path)[:_SHOWN]}: {error.message[:_SHOWN]}"
        raise checker.Refuted(text.encode("unicode_escape").decode("ascii"))  # it quotes the file


def check(document: Any) -> dict[str, Fraction]:
    """Check shape and arithmetic of a parsed certificate.

    Args:
        document: what `checker.read` gives.

    Returns:
        Its ``direct`` (upper bound on e_T), ``portable`` and ``chain`` bounds, exact.

    Raises:
        checker.Refuted: if it has another shape, or contradicts itself.
    """
    check_shape(document)
    return checker.check(document)
