"""Check a certificate whole: its shape by the JSON Schema that ships with the package, then its arithmetic.

The schema says which fields there are, of which kinds and how many; a validator from elsewhere enforces it. The
stand-alone checker says whether the numbers follow from each other. What was measured besides is compared with
them here. All refuse in the same way.
"""

from __future__ import annotations

import json
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

import jsonschema_rs

from peelverify.certify import checker

__all__ = ["check", "check_shape", "newer_parts"]

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


def check_measured(document: Any) -> None:
    """Check that measured losses are not negative, and apart by the certified mean change up to the printed digits.

    Args:
        document: a certificate whose shape and arithmetic are checked.

    Raises:
        checker.Refuted: if they are not, so that losses of other models stand beside the certified change.
    """
    signed = document["numbers"]["units"].get("signed")
    if signed is None:  # version 1.0 has no signed change to compare with
        return
    low, high = map(checker.parse, signed["loss_change_mean"])
    old, new = (Fraction(document["measured"][name]) for name in ("loss_original", "loss_compressed"))
    room = 10 * checker.WIDTH * (1 + abs(old) + abs(new))
    fit = min(old, new) >= 0 and low - room <= new - old <= high + room
    checker.need(fit, "measured losses do not fit the certified change of the loss")


def newer_parts(schema: str) -> str:
    """What to say of a newer minor version; empty for a version whose parts are all checked."""
    known = schema in (checker.OLDEST, checker.SCHEMA)
    return "" if known else f"parts that format {schema.rpartition('/')[2]} adds to 1.1 were not checked"


def check(document: Any) -> dict[str, Fraction]:
    """Check shape, arithmetic and measured losses of a parsed certificate.

    Args:
        document: what `checker.read` gives.

    Returns:
        Its ``direct`` (upper bound on e_T), ``portable`` and ``chain`` bounds, exact.

    Raises:
        checker.Refuted: if it has another shape, or contradicts itself.
    """
    check_shape(document)
    bounds = checker.check(document)
    check_measured(document)
    return bounds
