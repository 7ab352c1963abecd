"""Whether a certificate says what a recomputation gives.

Keys, lengths of lists, texts, truth values and integers must be the same. Only numbers that rounding can move may
differ, and only on another platform: by a room that comes from the numbers and re-runs of the recomputation, never
from those that the file states. Which positions have the same top token can also differ there; that is not settled
either way.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from peelverify.certify import checker
from peelverify.certify.checker import parse

__all__ = ["NARROW", "difference", "known", "older", "outside", "tops_differ", "windows_differ"]

_MATRIX = Fraction(1, 100_000)
"""Room for bounds of matrices, relative: the search for a certificate of a norm may stop a step later."""
NARROW = Fraction(1, 4)
"""Room, relative, within which figures of models run in bfloat16 or float16 are left open, neither accepted nor
refuted: kernels of another platform round such states in other places, which re-runs on one platform do not show, and
of a small error that is a large part."""
_COUNTED = ("same_top", "tied", "tied_at")
_SIGNED = ("loss_change_mean", "loss_change_theorem_mean", "kl_mean", "loss_change_largest", "loss_change_smallest",
           "kl_largest")


def difference(a: Any, b: Any, where: str = "") -> str:
    """Path of the first place where two JSON values differ, ``true`` and 1 told apart; empty if they are equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if key not in a or key not in b:
                return f"{where}.{key}".strip(".")
            if inside := difference(a[key], b[key], f"{where}.{key}"):
                return inside
        return ""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if inside := difference(x, y, f"{where}[{i}]"):
                return inside
        return ""
    return "" if type(a) is type(b) and a == b else where.strip(".") or "all"


def known(stated: Any, anew: Any, where: str = "") -> tuple[Any, list[str]]:
    """What is stated, without keys that the recomputation lacks; and the paths of those keys."""
    if isinstance(stated, dict) and isinstance(anew, dict):
        found, extra = {}, [f"{where}.{key}".strip(".") for key in sorted(stated) if key not in anew]
        for key in stated:
            if key in anew:
                found[key], more = known(stated[key], anew[key], f"{where}.{key}")
                extra += more
        return found, extra
    if isinstance(stated, list) and isinstance(anew, list) and len(stated) == len(anew):
        pairs = [known(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(stated, anew, strict=True))]
        return [value for value, _ in pairs], [path for _, extra in pairs for path in extra]
    return stated, []


def older(anew: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """The parts of a recomputation that version 1.0 of the format has."""
    units = anew["numbers"]["units"]
    rows = [row | {"tied": len(row["tied_at"])} for row in units["windows"]]
    numbers = anew["numbers"] | {"units": units | {"windows": rows}}
    measured = {key: anew["measured"][key] for key in ("loss_original", "loss_compressed")}
    return {"numbers": _shared(numbers, stated["numbers"]), "measured": measured}


def _shared(new: Any, old: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):
        return {k: _shared(v, old[k]) for k, v in new.items() if k in old}  # the checker says which keys there must be
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [_shared(a, b) for a, b in zip(new, old, strict=True)]
    return new


def outside(anew: dict[str, Any], stated: dict[str, Any], *, least: Fraction = Fraction(0)) -> str:
    """Name of the first thing that differs by more than another platform can make of it; empty if there is none.

    Args:
        anew: the parts "numbers", "measured" and, from version 1.1 on, "every_input" and "unseen", as recomputed.
        stated: the same parts as the certificate states them, without keys that are not in ``anew``.
        least: least room for figures of the run, relative, where twice the margin of the re-runs is less.
    """
    first = difference(_frame(anew), _frame(stated))
    if first:
        return first
    numbers, old = anew["numbers"], stated["numbers"]
    margin = max(2 * parse(numbers["margin"]), least)  # of the re-runs here: a stated one must not widen it
    off = _outside_numbers(numbers, old, margin) or _outside_counts(numbers["units"], old["units"], least)
    off = off or _outside_measured(anew["measured"], stated["measured"])
    off = off or _outside_unseen(anew.get("unseen"), stated.get("unseen"), numbers["units"], margin)
    return off or _outside_matrices(anew.get("every_input"), stated.get("every_input"))


def tops_differ(anew: dict[str, Any], stated: dict[str, Any]) -> bool:
    """Whether another position has the same top token, or is tied, in any window."""
    a, b = (([units[key] for key in _COUNTED if key in units],
             [[row[key] for key in _COUNTED if key in row] for row in units["windows"]])
            for units in (anew["numbers"]["units"], stated["numbers"]["units"]))
    return a != b


def _frame(value: Any, key: str = "", measured: bool = False) -> Any:
    """What rounding cannot move: keys, lengths, texts and integers; all other numbers are one word."""
    if key in _COUNTED or key == "perplexity_factor":  # counts are looked at apart, and the factor follows from a mean
        return "looked at elsewhere"
    if isinstance(value, dict):
        return {k: _frame(v, k, measured or k == "measured") for k, v in value.items()}
    if isinstance(value, list):
        return [_frame(v, "", measured) for v in value]
    moves = isinstance(value, str) and (measured or checker.NUMBER.match(value))
    return "a number" if moves else value


def _apart(new: Any, stated: Any, room: Fraction) -> bool:
    """Whether two enclosures or numbers differ by more than ``room`` at an end."""
    a, b = (([x] if isinstance(x, str) else x) for x in (new, stated))
    return any(abs(parse(x) - parse(y)) > room for x, y in zip(a, b, strict=True))


def _size(pair: Any) -> Fraction:
    return max(abs(parse(x)) for x in ([pair] if isinstance(pair, str) else pair))


def _outside_numbers(numbers: dict, stated: dict, margin: Fraction) -> str:
    """Name of the first figure whose distance from the recomputed one exceeds the margin, relative to its scale."""

    def off(new: Any, old: Any) -> bool:
        return _apart(new, old, margin * _size(new))

    for key in ("initial_error", "initial_token_max"):
        if key in numbers and off(numbers[key], stated[key]):
            return key
    for new, old in zip(numbers["blocks"], stated["blocks"], strict=True):
        for key in ("error", "propagated", "introduced", "token_max"):
            if key in new and off(new[key], old[key]):
                return f"{new['name']}: {key}"
        if _apart(new["inner"], old["inner"], 3 * margin * _size(new["propagated"]) * _size(new["introduced"])):
            return f"{new['name']}: inner"
    for i, (new, old) in enumerate(zip(numbers["reruns"], stated["reruns"], strict=True)):
        for key in ("error", "token_max"):
            if key in new and off(new[key], old[key]):
                return f"re-run {i}: {key}"
    units, old_units = numbers["units"], stated["units"]
    for key in ("loss_change_mean", "loss_change_max"):
        if _apart(units[key], old_units[key], 2 * margin * _size(units[key])):
            return key
    for key in _SIGNED if "signed" in units else ():
        new, old = units["signed"][key], old_units["signed"][key]
        if key.startswith("kl"):  # of second order in the change of the logits, far below their oscillation
            scale = 2 * _size(new)
        else:
            scale = _size(units["loss_change_mean" if key.endswith("_mean") else "loss_change_max"])
        if _apart(new, old, 2 * margin * scale):
            return key
    return ""


def _outside_counts(units: dict, stated: dict, least: Fraction) -> str:
    """Whether more positions than one in a thousand, or a fifth of ``least``, have another top token or tie."""
    moved = 0
    for new, old in zip(units["windows"], stated["windows"], strict=True):
        moved += abs(new["same_top"] - old["same_top"])
        moved += (len({*new["tied_at"]} ^ {*old["tied_at"]}) if "tied_at" in new else abs(new["tied"] - old["tied"]))
    room = max(1, units["positions"] * max(Fraction(1, 1000), least / 5))
    return "positions with the same top token" if moved > room else ""


def windows_differ(anew: dict[str, Any], stated: dict[str, Any]) -> str:
    """Name of the first figure of one window that is further off than the total may be; empty if there is none.

    A single window moves more between platforms than the total, so this alone refutes nothing.
    """
    units, margin = anew["numbers"]["units"], 2 * parse(anew["numbers"]["margin"])
    rows = units["windows"]
    scales = {}
    for key in rows[0]:
        if key not in _COUNTED:
            most = "oscillation_max" if key.endswith("est") else "oscillation_sum"
            by = most if key.startswith("loss_change") else key
            scales[key] = max(_size(row[by]) for row in rows)
    for w, (new, old) in enumerate(zip(rows, stated["numbers"]["units"]["windows"], strict=True)):
        for key, scale in scales.items():
            if _apart(new[key], old[key], 4 * margin * scale * (2 if key.startswith("kl") else 1)):
                return f"window {w}: {key}"
    return ""


def _outside_measured(new: dict[str, Any], stated: dict[str, Any]) -> str:
    """Name of the first measured figure off by more than one in a thousand; a largest change rests on a few tokens."""
    for key, value in new.items():
        a, b = ([x] if isinstance(x, str) else x for x in (value, stated[key]))
        pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=True)]
        room = 5e-2 if key == "every_input_largest_change" else 1e-3
        if key == "token_entropy_nats":  # of the tokens alone
            room = 1e-6
        if any(abs(x - y) > room * abs(x) + 1e-9 for x, y in pairs):
            return key
    return ""


def _outside_unseen(new: dict | None, stated: dict | None, units: dict, margin: Fraction) -> str:
    """Name of the first bound for unseen text that is off by more than the margin."""
    scale = _size(units["loss_change_max"])
    for a, b in zip(*(part["levels"] if part else () for part in (new, stated)), strict=True):
        if _apart(a["error"], b["error"], margin * _size(a["error"])) or _apart(
            a["loss_change"], b["loss_change"], 2 * margin * scale
        ):
            return "a bound for unseen text"
    return ""


def _outside_matrices(new: dict | None, stated: dict | None) -> str:
    """Name of the first matrix whose figures are off by more than rounding can do; these rest on weights alone."""
    for a, b in zip(*(part["matrices"] if part else () for part in (new, stated)), strict=True):
        rooms = {key: _MATRIX * _size(a[key]) for key in ("operator", "radius", "bound")}
        rooms["shift"] = rooms["bound"]  # of equal shifts only rounding is left, which has no scale of its own
        if "parts" in a:
            rooms["parts"] = _MATRIX * _size(a["parts"])
        for key, room in rooms.items():
            if _apart(a[key], b[key], room):
                return f"{key} for every input of {a['name']} in {a['block']}"
    return ""
