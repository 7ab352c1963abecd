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

LEVELS = ("arithmetic", "lean", "signature", "recompute")
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
            if bad.level == "gate":
                return f"LIMIT BROKEN: {bad.name}: {bad.detail}"
            return f"REFUTED at level {bad.level}: {bad.detail}"
        if self.verdict is not Verdict.HOLDS:
            bad = next(c for c in self.checks if c.verdict is self.verdict)
            return f"{self.verdict.name} at level {bad.level}: {bad.detail}"
        if "recompute" in self.reached:
            return "HOLDS: every number was computed anew from these models and tokens"
        if "signature" in self.reached:
            return "arithmetic consistent and signed; tied to the holder of the key, not to any model"
        return "arithmetic consistent, not tied to any model"

    def gate(self, max_loss_change: Fraction | None, min_same_top: Fraction | None) -> None:
        """Add the limits of a pipeline as checks of level "gate"; nothing if the certificate was refuted."""
        from peelverify.certify.compare import gate

        if self.certificate is not None:
            for name, verdict, detail in gate(self.certificate, max_loss_change, min_same_top):
                self._add("gate", name, verdict, detail)

    def _add(self, level: str, name: str, verdict: Verdict, detail: str) -> bool:
        self.checks.append(Check(level, name, verdict, detail))
        return verdict is Verdict.HOLDS


def verify(
    path: str | os.PathLike[str],
    *,
    original: Any = None,
    compressed: Any = None,
    tokens: Any = None,
    pool: Any = None,
    signature: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    lean: bool = True,
    on_progress: Any = None,
) -> Verification:
    """Verify a certificate file as far as the arguments allow.

    Args:
        path: the certificate.
        original: model to recompute with, as in `certify`.
        compressed: the compressed model.
        tokens: token ids, needed only if the certificate stores just their hash and names no pool.
        pool: the `peelverify.certify.pool.Pool` that the windows were drawn from, if the certificate names one.
        signature: DSSE envelope around the in-toto statement of this certificate.
        key: public key (PEM) that must have signed it.
        lean: have the Lean kernel check the arithmetic too.
        on_progress: called with (done, total, text) while recomputing.

    Returns:
        A `Verification`; it never raises because a certificate is wrong.

    Raises:
        ArtifactError: the file or a model cannot be read.
        InputError: only one of the two models was given, or only one of signature and key.
        ToolchainError: Lean is needed and cannot be had.
    """
    if (original is None) != (compressed is None):
        raise InputError("verify needs both models or neither, got one; give --original and --compressed")
    if (signature is None) != (key is None):
        raise InputError("verify needs a signature and a key, got one of them; give --signature and --key")
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
    if signature is not None and key is not None:
        from peelverify.certify.statement import check_signature

        verdict, detail = check_signature(certificate, signature, key)
        found._add("signature", "in-toto statement", verdict, detail)
    if original is not None:
        _recompute_level(found, certificate, original, compressed, tokens, pool, on_progress)
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
    found: Verification, certificate: Certificate, original: Any, compressed: Any, tokens: Any, pool: Any,
    on_progress: Any,
) -> None:
    from peelverify.certify.build import compute_parts, theorems_for
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
    if subject.get("pool") is not None:
        if pool is None:
            found._add(
                level, "pool", Verdict.INCONCLUSIVE,
                "the windows were drawn from a pool of text that was not given; give it (--text)",
            )
        elif not _pool_level(found, subject, pool):
            return
        else:
            tokens = pool.ids[subject["pool"]["drawn"]]
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
    first.unchanged()
    second.unchanged()
    if document["schema"] == checker.SCHEMA:
        from peelverify.certify.measure import head_tokens_for, state_text

        derived = {
            "theorems": theorems_for(parts),
            "states": state_text(first.view.dtype, second.view.dtype),
            "head_tokens": head_tokens_for(first.view.vocabulary),
            "attention": first.source.attention,
        }
        said = settings | {"theorems": [t["name"] for t in document["theorems"]]}
        wrong = [name for name, value in derived.items() if said.get(name) != value]
        if wrong:
            found._add(level, "settings", Verdict.VIOLATED, f"{', '.join(wrong)}: not those of this computation")
            return
    _compare(found, certificate, parts, describe_host())


def _pool_level(found: Verification, subject: dict[str, Any], pool: Any) -> bool:
    """Whether a pool is the stated one and the tokens are the windows drawn from it; says so."""
    from peelverify.certify.identity import describe_tokens
    from peelverify.certify.pool import pool_sha256

    stated = subject["pool"]
    same = len(pool.ids) == stated["windows"] and pool_sha256(pool.ids) == stated["sha256"]
    if not same or sorted(pool.files.values()) != sorted(stated["files"].values()):
        return found._add("recompute", "pool", Verdict.VIOLATED, "the pool is another text: its hash differs")
    if describe_tokens(pool.ids[stated["drawn"]], external=True)["sha256"] != subject["tokens"]["sha256"]:
        return found._add("recompute", "pool", Verdict.VIOLATED, "the tokens are not the windows drawn from the pool")
    return found._add("recompute", "pool", Verdict.HOLDS, "the windows are those that the seed draws from this text")


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
    margin = checker.parse(numbers["margin"])  # of the re-runs here: a stated one must not widen what is accepted
    _compare_bound(found, "e_T", numbers["blocks"][-1]["error"], certificate.bound, margin)
    if not old:
        own = checker.parse(numbers["token_margin"])
        _compare_bound(
            found, "largest error of a token", numbers["blocks"][-1]["token_max"], certificate.token_bound, own
        )
    off = _outside(numbers, document["numbers"], 2 * margin) or _outside_measured(parts.measured, stated["measured"])
    off = off or _outside_unseen(parts.unseen, stated["unseen"], numbers["units"], 2 * margin)
    off = off or _outside_matrices(parts.every_input, stated["every_input"])
    if off:
        found._add(level, "numbers", Verdict.VIOLATED, f"{off} is off by more than re-runs differ")
    elif any(numbers["units"][k] != document["numbers"]["units"][k] for k in ("same_top", "tied")):
        found._add(level, "numbers", Verdict.INCONCLUSIVE, "positions with the same top token are other ones here")
    else:
        found._add(level, "numbers", Verdict.HOLDS, "all figures agree within the margin, on another platform")


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


def _apart(new: Any, stated: Any, room: Fraction) -> bool:
    """Whether two enclosures or numbers differ by more than ``room`` at an end."""
    a, b = (([x] if isinstance(x, str) else x) for x in (new, stated))
    return any(abs(checker.parse(x) - checker.parse(y)) > room for x, y in zip(a, b, strict=True))


def _size(pair: Any) -> Fraction:
    return max(abs(checker.parse(x)) for x in ([pair] if isinstance(pair, str) else pair))


def _outside(numbers: dict, stated: dict, margin: Fraction) -> str:
    """Name of the first figure whose distance from the recomputed one exceeds the margin, relative to its scale."""
    if len(numbers["blocks"]) != len(stated["blocks"]):
        return "the list of blocks"
    for new, old in zip(numbers["blocks"], stated["blocks"], strict=True):
        for key in ("error", "propagated", "introduced", "token_max"):
            if key in new and key in old and _apart(new[key], old[key], margin * max(_size(new[key]), _size(old[key]))):
                return f"{new['name']}: {key}"
        if _apart(new["inner"], old["inner"], 3 * margin * _size(new["propagated"]) * _size(new["introduced"])):
            return f"{new['name']}: inner"
    units, old_units = numbers["units"], stated["units"]
    for key in ("loss_change_mean", "loss_change_max"):
        if _apart(units[key], old_units[key], 2 * margin * max(_size(units[key]), _size(old_units[key]))):
            return key
    for key in ("same_top", "tied"):
        if abs(units[key] - old_units[key]) > max(1, units["positions"] // 1000):
            return key
    for key in ("loss_change_mean", "loss_change_theorem_mean", "kl_mean", "loss_change_largest",
                "loss_change_smallest", "kl_largest"):
        if key in old_units.get("signed", {}):
            new, old = units["signed"][key], old_units["signed"][key]
            if key.startswith("kl"):  # of second order in the change of the logits, far below their oscillation
                scale = 2 * max(_size(new), _size(old))
            else:
                scale = _size(units["loss_change_mean" if key.endswith("_mean") else "loss_change_max"])
            if _apart(new, old, 2 * margin * scale):
                return key
    return ""


def _outside_measured(new: dict[str, Any], stated: dict[str, Any]) -> str:
    """Name of the first measured figure that is off by more than one in a thousand."""
    for key, value in stated.items():
        if key not in new:
            return key
        a, b = ([x] if isinstance(x, str) else x for x in (new[key], value))
        pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=False)]
        if len(a) != len(b) or any(abs(x - y) > 1e-3 * max(1.0, abs(x)) for x, y in pairs):
            return key
    return ""


def _outside_unseen(new: dict | None, stated: dict | None, units: dict, margin: Fraction) -> str:
    """Name of the first bound for unseen text that is off by more than the margin."""
    if new is None or stated is None:
        return "" if new is stated else "unseen text"
    if [x["k"] for x in new["levels"]] != [x["k"] for x in stated["levels"]]:
        return "the levels for unseen text"
    scale = _size(units["loss_change_max"])
    for a, b in zip(new["levels"], stated["levels"], strict=True):
        if _apart(a["error"], b["error"], margin * _size(a["error"])) or _apart(
            a["loss_change"], b["loss_change"], 2 * margin * scale
        ):
            return "a bound for unseen text"
    return ""
