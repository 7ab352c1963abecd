"""Verify a certificate: arithmetic anywhere, by the Lean kernel, and anew from models and tokens."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from peelverify.certify import checker
from peelverify.certify.file import Certificate, above
from peelverify.errors import InputError
from peelverify.verdict import Verdict, worst

__all__ = ["LEVELS", "Check", "Verification", "verify"]

LEVELS = ("arithmetic", "lean", "recompute")
_SAME_HOST = ("torch", "transformers", "numpy", "machine", "cpu_capability", "threads")


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    level: str
    name: str
    verdict: Verdict
    detail: str


@dataclass
class Verification:
    """Outcome of `verify`.

    Attributes:
        checks: what was checked, in order.
        certificate: the certificate as read; None if it could not even be parsed consistently.
    """

    checks: list[Check] = field(default_factory=list)
    certificate: Certificate | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks."""
        return worst([check.verdict for check in self.checks])

    @property
    def reached(self) -> tuple[str, ...]:
        """Levels at which something was established and nothing failed."""
        return tuple(
            level for level in LEVELS
            if (found := [c.verdict for c in self.checks if c.level == level])
            and all(v is Verdict.HOLDS for v in found)
        )

    @property
    def summary(self) -> str:
        """What the checks establish, in one line."""
        if self.verdict is Verdict.VIOLATED:
            bad = next(c for c in self.checks if c.verdict is Verdict.VIOLATED)
            return f"REFUTED at level {bad.level}: {bad.detail}"
        if self.verdict is not Verdict.HOLDS:
            bad = next(c for c in self.checks if c.verdict is self.verdict)
            return f"{self.verdict.name} at level {bad.level}: {bad.detail}"
        if "recompute" in self.reached:
            return "HOLDS: every number was computed anew from these models and tokens"
        return "arithmetic consistent, not tied to any model"

    def _add(self, level: str, name: str, verdict: Verdict, detail: str) -> bool:
        self.checks.append(Check(level, name, verdict, detail))
        return verdict is Verdict.HOLDS


def verify(
    path: str | os.PathLike[str],
    *,
    original: Any = None,
    compressed: Any = None,
    tokens: Any = None,
    lean: bool = True,
    on_progress: Any = None,
) -> Verification:
    """Verify a certificate file as far as the arguments allow.

    Args:
        path: the certificate.
        original: model to recompute with, as in `certify`.
        compressed: the compressed model.
        tokens: token ids, needed only if the certificate stores just their hash.
        lean: have the Lean kernel check the arithmetic too.
        on_progress: called with (done, total, text) while recomputing.

    Returns:
        A `Verification`; it never raises because a certificate is wrong.

    Raises:
        ArtifactError: the file or a model cannot be read.
        InputError: only one of the two models was given.
        ToolchainError: Lean is needed and cannot be had.
    """
    if (original is None) != (compressed is None):
        raise InputError("verify needs both models or neither, got one; give --original and --compressed")
    found = Verification()
    try:
        certificate = Certificate.load(path)
        bounds = checker.check(certificate.document)
    except checker.Newer as error:
        found._add("arithmetic", "format", Verdict.INCONCLUSIVE, str(error))
        return found
    except checker.Refuted as error:
        found._add("arithmetic", "exact rationals", Verdict.VIOLATED, str(error))
        return found
    found.certificate = certificate
    found._add(
        "arithmetic", "exact rationals", Verdict.HOLDS,
        f"digests fit; e_T <= {above(bounds['portable'])} (portable), chain {above(bounds['chain'])}",
    )
    if lean:
        _lean_level(found, certificate)
        if found.verdict is Verdict.VIOLATED:
            return found
    if original is not None:
        _recompute_level(found, certificate, original, compressed, tokens, on_progress)
    return found


def _lean_level(found: Verification, certificate: Certificate) -> None:
    from peelverify.certify.kernel import KernelRefused, check_in_kernel
    from peelverify.certify.theorems import compare_hashes

    missing = compare_hashes(certificate.document["theorems"])
    if missing:
        found._add(
            "lean", "theorems", Verdict.INCONCLUSIVE,
            f"these statements are not the ones of this version: {', '.join(missing)}; use the version that wrote it",
        )
    else:
        found._add("lean", "theorems", Verdict.HOLDS, "all theorems named are in this version, statements unchanged")
    try:
        road = check_in_kernel(certificate.document)
    except KernelRefused as error:
        found._add("lean", "check = true by the kernel", Verdict.VIOLATED, str(error))
    else:
        found._add("lean", "check = true by the kernel", Verdict.HOLDS, f"by {road}")


def _recompute_level(
    found: Verification, certificate: Certificate, original: Any, compressed: Any, tokens: Any, on_progress: Any
) -> None:
    from peelverify.certify.build import compute_parts
    from peelverify.certify.identity import as_ids, describe_host, describe_tokens, open_model
    from peelverify.certify.measure import same_shape

    document = certificate.document
    subject, level = document["subject"], "recompute"
    settings = subject["numerics"]
    views = {}
    for role, given in (("original", original), ("compressed", compressed)):
        opened = open_model(given, dtype=subject[role]["dtype"], attention=settings["attention"])
        views[role] = opened
        stated = {k: v for k, v in subject[role].items() if k != "name"}
        actual = {k: v for k, v in opened.facts.items() if k != "name"}
        if stated != actual:
            names = sorted(
                k for k in {*stated.get("files", {}), *actual["files"]}
                if stated.get("files", {}).get(k) != actual["files"].get(k)
            ) or sorted(k for k in actual if stated.get(k) != actual[k])
            text = f"the {role} model is another one: {', '.join(names)} differ"
            found._add(level, f"{role} model", Verdict.VIOLATED, text)
            return
        found._add(level, f"{role} model", Verdict.HOLDS, "all files have the stated SHA-256")
    stored = subject["tokens"].get("ids")
    if stored is None and tokens is None:
        found._add(
            level, "tokens", Verdict.INCONCLUSIVE, "the certificate stores only the hash of its tokens; give them"
        )
        return
    ids = as_ids(tokens if tokens is not None else stored)
    if describe_tokens(ids, external=True) != {k: v for k, v in subject["tokens"].items() if k != "ids"}:
        found._add(level, "tokens", Verdict.VIOLATED, "the tokens are other ones: their hash or shape differs")
        return
    first, second, kept = views["original"], views["compressed"], subject["kept"]
    same_shape(first.view, second.view, kept)
    parts = compute_parts(
        first, second, kept, ids, batch=settings["batch"], pool=subject.get("pool"),
        with_every_input=document.get("every_input") is not None, on_progress=on_progress,
    )
    _compare(found, certificate, parts, describe_host())


def _compare(found: Verification, certificate: Certificate, parts: Any, host: dict[str, Any]) -> None:
    document, level = certificate.document, "recompute"
    old = document["schema"] == "peelverify.certificate/1"
    anew = {
        "numbers": parts.numbers, "measured": parts.measured, "every_input": parts.every_input,
        "unseen": parts.unseen,
    }
    stated = {key: document.get(key) for key in anew}
    if old:
        anew = _shared(anew, stated)
    first = _first_difference(anew, stated)
    if not first:
        found._add(level, "numbers", Verdict.HOLDS, "all numbers are the same to the last bit")
        return
    numbers, recorded = parts.numbers, document.get("host") or {}
    if not old and all(recorded.get(key) == host.get(key) for key in _SAME_HOST):
        text = f"on the same software and machine {first.removeprefix('numbers.')} comes out differently"
        found._add(level, "numbers", Verdict.VIOLATED, text)
        return
    margin = max(checker.parse(document["numbers"]["margin"]), checker.parse(numbers["margin"]))
    _compare_bound(found, "e_T", numbers["blocks"][-1]["error"], certificate.bound, margin)
    if not old:
        margins = (checker.parse(n["token_margin"]) for n in (document["numbers"], numbers))
        _compare_bound(
            found, "largest error of a token", numbers["blocks"][-1]["token_max"], certificate.token_bound, max(margins)
        )
    off = _outside(numbers, document["numbers"], 2 * margin)
    off = off or _outside_matrices(parts.every_input, stated["every_input"])
    if off:
        found._add(level, "numbers", Verdict.VIOLATED, f"{off} is off by more than re-runs differ")
    else:
        found._add(level, "numbers", Verdict.HOLDS, "all block figures agree within the margin, on another platform")


def _compare_bound(found: Verification, what: str, pair: list[str], bound: Fraction, margin: Fraction) -> None:
    lo, hi = (checker.parse(x) for x in pair)
    if hi <= bound:
        verdict, text = Verdict.HOLDS, "is at most the portable bound"
    elif lo <= bound + hi * margin:
        verdict, text = Verdict.INCONCLUSIVE, "is above the portable bound by less than re-runs differ"
    else:
        verdict, text = Verdict.VIOLATED, "is above the portable bound"
    found._add("recompute", "portable bound", verdict, f"{what} = {float(hi):.6g} here {text}")


def _shared(new: Any, old: Any) -> Any:
    """The parts of a value that an older version of the format has too."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {k: _shared(v, old[k]) for k, v in new.items() if k in old}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [_shared(a, b) for a, b in zip(new, old, strict=True)]
    return new


def _outside_matrices(new: dict | None, stated: dict | None) -> str:
    """Name of the first matrix whose bound is off by more than rounding can do; these rest on weights alone."""
    if new is None or stated is None:
        return ""
    if len(new["matrices"]) != len(stated["matrices"]):
        return "the list of matrices"
    for a, b in zip(new["matrices"], stated["matrices"], strict=True):
        x, y = checker.parse(a["bound"]), checker.parse(b["bound"])
        if (a["block"], a["name"]) != (b["block"], b["name"]) or abs(x - y) > Fraction(1, 10**6) * max(x, y):
            return f"bound for every input of {a['name']} in {a['block']}"
    return ""


def _first_difference(a: Any, b: Any, where: str = "") -> str:
    """Path of the first place where two JSON values differ; empty if they are equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if key not in a or key not in b:
                return f"{where}.{key}".strip(".")
            if inside := _first_difference(a[key], b[key], f"{where}.{key}"):
                return inside
        return ""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if inside := _first_difference(x, y, f"{where}[{i}]"):
                return inside
        return ""
    return "" if a == b else where.strip(".")


def _outside(numbers: dict, stated: dict, margin: Fraction) -> str:
    """Name of the first block figure whose relative distance from the recomputed one exceeds the margin."""
    for new, old in zip(numbers["blocks"], stated["blocks"], strict=True):
        for key in ("error", "propagated", "introduced"):
            a, b = checker.parse(new[key][1]), checker.parse(old[key][1])
            if abs(a - b) > margin * max(a, b):
                return f"{new['name']}: {key}"
    for key in ("loss_change_mean", "loss_change_max"):
        a, b = checker.parse(numbers["units"][key]), checker.parse(stated["units"][key])
        if abs(a - b) > 2 * margin * max(a, b):
            return key
    return ""
