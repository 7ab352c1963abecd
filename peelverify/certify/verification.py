"""Verify a certificate: arithmetic anywhere, by the Lean kernel, and anew from models and tokens."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from peelverify.certify import agree, checker, shape
from peelverify.certify.file import Certificate, above
from peelverify.errors import InputError
from peelverify.verdict import Verdict, worst

__all__ = ["LEVELS", "Check", "Verification", "verify"]

LEVELS = ("arithmetic", "lean", "signature", "recompute")
_FIRST_THEOREMS = (
    "PeelVerify.Norm2Le.add", "PeelVerify.le_chainBound", "PeelVerify.chainBound_eq_sum_shares",
    "PeelVerify.sq_error_decomposition", "PeelVerify.abs_loss_change_le_osc", "PeelVerify.check_sound",
)
"""Theorems that every certificate of version 1.0 names."""
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
            broken = [c for c in self.checks if c.verdict is Verdict.VIOLATED]
            bad = broken[0]
            if bad.level == "gate":
                return "LIMIT BROKEN: " + "; ".join(f"{c.name}: {c.detail}" for c in broken)
            return f"REFUTED at level {bad.level}: {bad.detail}"
        if self.verdict is not Verdict.HOLDS:
            bad = next(c for c in self.checks if c.verdict is self.verdict)
            return f"{self.verdict.name} at level {bad.level}: {bad.detail}"
        if "recompute" in self.reached:
            if self.newer:
                return f"HOLDS as far as this version reads the file: {self.newer}; all else was computed anew"
            found = "HOLDS: every number was computed anew from these models and tokens"
            return f"{found}; {self.older}" if self.older else found
        if "signature" in self.reached:
            text = "arithmetic consistent and signed; tied to the holder of the key, not to any model"
        else:
            text = "arithmetic consistent, not tied to any model"
        return f"{text}; {self.newer}" if self.newer else text

    @property
    def newer(self) -> str:
        """What to say of a file of a newer minor version: its own parts were not checked; empty for all others."""
        return "" if self.certificate is None else shape.newer_parts(self.certificate.document["schema"])

    @property
    def older(self) -> str:
        """What to say of a file of the first version, which claims less; empty for all others."""
        if self.certificate is None or self.certificate.document["schema"] != checker.OLDEST:
            return ""
        return "format 1.0 has no pool, unseen text, bounds for every input or enclosed change of loss"

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
        bounds = shape.check(certificate.document)
    except checker.Newer as error:
        found._add("arithmetic", "format", Verdict.INCONCLUSIVE, str(error))
        return found
    except checker.Refuted as error:
        found._add("arithmetic", "exact rationals", Verdict.VIOLATED, str(error))
        return found
    found.certificate = certificate
    found._add(
        "arithmetic", "exact rationals", Verdict.HOLDS,
        f"digests fit; e_T <= {above(bounds['portable'])} (portable), chain {above(bounds['chain'])}"
        + (f"; {found.newer}" if found.newer else ""),
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
        actual = {k: v for k, v in opened.facts.items() if k != "name"}
        stated = {k: subject[role][k] for k in actual}
        if stated != actual:
            names = sorted(
                k for k in {*stated["files"], *actual["files"]} if stated["files"].get(k) != actual["files"].get(k)
            ) or sorted(k for k in actual if stated[k] != actual[k])
            text = f"the {role} model is another one: {', '.join(names)} differ"
            found._add(level, f"{role} model", Verdict.VIOLATED, text)
            return
        found._add(level, f"{role} model", Verdict.HOLDS, "all files have the stated SHA-256; its name is not verified")
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
    if describe_tokens(ids, external=True) != {k: subject["tokens"][k] for k in ("shape", "sha256")}:
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
    if _settings_level(found, document, theorems_for(parts), first, second, ids):
        _compare(found, certificate, parts, describe_host())


def _settings_level(
    found: Verification, document: dict[str, Any], theorems: list[str], first: Any, second: Any, ids: Any
) -> bool:
    """Whether all that a certificate states outside its numbers is what this computation would state; says so if not.

    Names of models and files are taken as stated, and hashes of statements are for the level lean.
    """
    from peelverify.certify.identity import describe_tokens
    from peelverify.certify.measure import head_tokens_for, state_text

    subject, stated, level = document["subject"], document["theorems"], "recompute"
    old = document["schema"] == checker.OLDEST
    theorems = [*_FIRST_THEOREMS] if old else theorems
    numerics = {"attention": first.source.attention, "batch": subject["numerics"]["batch"]}
    anew: dict[str, Any] = {
        "subject": {
            "original": first.facts | {"name": subject["original"]["name"]},
            "compressed": second.facts | {"name": subject["compressed"]["name"]},
            "kept": subject["kept"], "tokens": describe_tokens(ids, external="ids" not in subject["tokens"]),
            "numerics": numerics,
        },
        "theorems": [{"name": a, "sha256": b["sha256"]} for a, b in zip(theorems, stated, strict=False)],
    }
    if not old:
        numerics |= {
            "head_tokens": head_tokens_for(first.view.vocabulary),
            "states": state_text(first.view.dtype, second.view.dtype),
        }
        pool = subject["pool"]
        keys = ("files", "sha256", "windows", "seed", "drawn")
        anew["subject"]["pool"] = pool and {key: pool[key] for key in keys}
    keys = ["host", "integrity", "measured", "numbers", "schema", "subject", "theorems"]
    anew |= dict.fromkeys(keys if old else [*keys, "every_input", "unseen"], "elsewhere") | anew
    said = {key: value if key in ("subject", "theorems") else "elsewhere" for key, value in document.items()}
    if found.newer:
        said, _ = agree.known(said, anew)
        names = [entry["name"] for entry in stated]
        if not {*theorems} - {*names} and len(names) > len(theorems):
            text = "it names theorems that this version does not; use the version that wrote it"
            return found._add(level, "settings", Verdict.INCONCLUSIVE, text)
    where = agree.difference(anew, said)
    if not where and len(theorems) == len(stated):
        return True
    return found._add(level, "settings", Verdict.VIOLATED, f"{where or 'theorems'}: not that of this computation")


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
    old = document["schema"] == checker.OLDEST
    anew = {
        "numbers": parts.numbers, "measured": parts.measured, "every_input": parts.every_input,
        "unseen": parts.unseen,
    }
    if old:
        anew = agree.older(anew, document)
    stated = {key: document[key] for key in anew}
    if found.newer:
        stated, _ = agree.known(stated, anew)
    first = agree.difference(anew, stated)
    if not first:
        found._add(level, "numbers", Verdict.HOLDS, "all numbers are the same to the last bit")
        return
    recorded = document["host"]
    if not old and all(recorded.get(key) == host.get(key) for key in _SAME_HOST):
        text = f"on the same software and machine {first.removeprefix('numbers.')} comes out differently"
        found._add(level, "numbers", Verdict.VIOLATED, text)
        return
    off = agree.outside(anew, stated)
    if off:
        text = f"{off.removeprefix('numbers.')} is off by more than re-runs differ"
        narrow = {document["subject"][role]["dtype"] for role in ("original", "compressed")} & {"bfloat16", "float16"}
        if narrow and not agree.outside(anew, stated, least=agree.NARROW):
            text += f", as {narrow.pop()} may on another platform; verify on the one that the file names"
            found._add(level, "numbers", Verdict.INCONCLUSIVE, text)
        else:
            found._add(level, "numbers", Verdict.VIOLATED, text)
        return
    numbers = parts.numbers
    margin = checker.parse(numbers["margin"])  # of the re-runs here: a stated one must not widen what is accepted
    _compare_bound(found, "e_T", numbers["blocks"][-1]["error"], certificate.bound, margin)
    if not old:
        own = checker.parse(numbers["token_margin"])
        _compare_bound(
            found, "largest error of a token", numbers["blocks"][-1]["token_max"], certificate.token_bound, own
        )
    if agree.tops_differ(anew, stated):
        found._add(level, "numbers", Verdict.INCONCLUSIVE, "positions with the same top token are other ones here")
    elif single := agree.windows_differ(anew, stated):
        text = f"{single} is off by more than the totals may be; verify on the platform that the file names"
        found._add(level, "numbers", Verdict.INCONCLUSIVE, text)
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
