"""Turn results into what the page shows: every number with its word, its side and its exact value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from peelverify.certify import checker
from peelverify.certify.exact import spell
from peelverify.certify.file import Certificate
from peelverify.certify.verification import LEVELS, Verification
from peelverify.report import plots
from peelverify.report.visible import below, nearest, perplexity_factor_upper, pretty, upwards
from peelverify.verdict import Verdict

__all__ = ["WORDS", "Shown", "base_name", "compression_label", "present_pair", "relative_link", "verdict_badge"]

WORDS = {
    "proved": "a theorem that the Lean kernel has checked, for every linearly ordered field",
    "certified": "bounded from the stated side by exact or outward-rounded arithmetic, by a named theorem",
    "witnessed": "reached by a complete network that was built and evaluated: it can refute, never confirm",
    "measured": "a floating-point observation, true of the run that made it",
}
ZERO = Fraction(0)


@dataclass(frozen=True)
class Shown:
    """A number on the page.

    Attributes:
        text: typeset decimal, rounded towards the side it is claimed from.
        word: one of `WORDS`.
        sign: "≤", "≥", "=" or nothing.
        unit: unit in words; may be empty.
        exact: the exact number in the spelling of the certificate, or the float in full.
        field: name under which a program finds it.
    """

    text: str
    word: str
    sign: str = ""
    unit: str = ""
    exact: str = ""
    field: str = ""


def _spelled(value: Fraction) -> str:
    """The exact value: as the certificate spells it, or as a fraction where a quotient is no dyadic number."""
    dyadic = not value.denominator & (value.denominator - 1)
    return spell(value) if dyadic else f"{value.numerator}/{value.denominator}"


def at_most(value: Fraction, *, digits: int = 6, unit: str = "", field: str = "") -> Shown:
    """A certified upper bound."""
    return Shown(pretty(upwards(value, digits)), "certified", "≤", unit, _spelled(value), field)


def at_least(value: Fraction, *, digits: int = 6, unit: str = "", field: str = "") -> Shown:
    """A certified lower bound."""
    return Shown(pretty(below(value, digits)), "certified", "≥", unit, _spelled(value), field)


def seen(value: float, word: str = "measured", *, digits: int = 4, unit: str = "", field: str = "") -> Shown:
    """A measured or witnessed number."""
    if not math.isfinite(value):
        return Shown("not finite", word, "", unit, str(value), field)
    return Shown(pretty(nearest(value, digits)), word, "", unit, repr(value), field)


def change_seen(value: float, *, unit: str = "") -> Shown:
    """A measured change, with its sign."""
    shown = seen(value, unit=unit)
    return Shown(f"+{shown.text}", shown.word, "", unit, shown.exact) if value > 0 else shown


def seen_or_none(value: Any, word: str = "measured", **options: Any) -> Shown | None:
    """As `seen`; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return seen(float(value), word, **options)


def as_float(value: Fraction) -> float:
    """Nearest float for a drawing; infinite if it does not fit."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def decimal_or_none(text: Any) -> float | None:
    """A measured decimal string of a certificate, or None if it is none."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def base_name(name: object) -> str:
    """Last part of a path or hub id: pages are shown to others, folders of this machine are not."""
    text = str(name).replace("\\", "/").rstrip("/")
    return text.rsplit("/", 1)[-1] or text


def relative_link(path: str) -> str | None:
    """A link that can only lead to a file beside the page; None for anything else."""
    text = str(path).replace("\\", "/")
    if not 0 < len(text) <= 255 or text.startswith("/") or PurePosixPath(text).is_absolute():
        return None
    return quote(text.encode("utf-8", "replace"), safe="/.-_~")


def verdict_badge(verification: Verification) -> dict[str, str]:
    """Word, colour class and sentence of a verification."""
    if not verification.checks:
        return {"word": "not verified", "kind": "open", "sentence": "nothing was checked"}
    verdict = verification.verdict
    kind = {Verdict.HOLDS: "good", Verdict.VIOLATED: "bad"}.get(verdict, "open")
    word = {Verdict.HOLDS: "holds", Verdict.VIOLATED: "refuted", Verdict.INCONCLUSIVE: "inconclusive"}
    if verdict is Verdict.HOLDS and "recompute" not in verification.reached:
        return {"word": "consistent", "kind": "open", "sentence": verification.summary}
    return {
        "word": word.get(verdict, verdict.name.lower().replace("_", " ")),
        "kind": kind,
        "sentence": verification.summary.removeprefix("HOLDS: "),
    }


def compression_label(record: Mapping[str, Any] | None, certificate: Certificate) -> str:
    """What was done to the model, in a few words."""
    deleted = [b["name"] for b in certificate.document["numbers"]["blocks"] if b["deleted"]]
    parts = []
    if record:
        settings = record.get("settings")
        details = ""
        if isinstance(settings, Mapping):
            plain = {k: v for k, v in settings.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}
            details = ", ".join(f"{k} {v}" for k, v in sorted(plain.items()))
        method = str(record.get("method", "unknown")).replace("_", " ")
        parts.append(f"{method} ({details})" if details else method)
    if deleted:
        parts.append(f"without {', '.join(deleted)}")
    return "; ".join(parts) or "compression not recorded"


@dataclass(frozen=True)
class _Depth:
    """Errors at each place: index 0 is the embedding, the last the logits."""

    labels: list[str]
    lower: list[Fraction]
    upper: list[Fraction]
    chain: list[Fraction]
    shares: list[Fraction]


def _depth(certificate: Certificate) -> _Depth:
    numbers = certificate.document["numbers"]
    low, high = (checker.parse(x) for x in numbers["initial_error"])
    labels, lower, upper, chain = ["emb"], [low], [high], [high]
    for block in numbers["blocks"]:
        labels.append(block["name"].removeprefix("block "))
        low, high = (checker.parse(x) for x in block["error"])
        lower.append(low)
        upper.append(high)
        chain.append(checker.parse(block["chain"]))
    shares = [value for _, value in certificate.shares]
    total = sum(shares, ZERO)
    fractions = [s / total for s in shares] if total else []
    return _Depth(labels, lower, upper, chain, fractions)


def _middle(pair: Sequence[str]) -> Fraction:
    return (checker.parse(pair[0]) + checker.parse(pair[1])) / 2


def _decomposition(certificate: Certificate) -> list[dict[str, Any]]:
    rows = []
    for block in certificate.document["numbers"]["blocks"]:
        whole = _middle(block["error"]) ** 2
        parts = (_middle(block["propagated"]) ** 2, 2 * _middle(block["inner"]), _middle(block["introduced"]) ** 2)
        rows.append({
            "name": block["name"],
            "label": block["name"].removeprefix("block "),
            "fractions": [part / whole for part in parts] if whole else None,
        })
    return rows


def _percent(fraction: Fraction, field: str = "") -> Shown:
    return Shown(pretty(f"{float(100 * fraction):.2f}"), "certified", "", "%", _spelled(fraction), field)


def _share_text(same: int, positions: int) -> str:
    """Percentage rounded down, so that one changed token in a million never reads 100 %."""
    return f"{pretty(below(Fraction(100 * same, positions), 4))} %"


def present_pair(
    certificate: Certificate, verification: Verification, record: Mapping[str, Any] | None, path: str, index: int
) -> dict[str, Any]:
    """Everything that the page says about one certificate.

    Args:
        certificate: of a pair of models.
        verification: what was checked of it.
        record: ``peelverify.json`` of the compressed model, or None.
        path: where the certificate lies, relative to the page.
        index: number of the pair, from 1.
    """
    document = certificate.document
    subject, numbers, extra = document["subject"], document["numbers"], document.get("measured") or {}
    depth, split = _depth(certificate), _decomposition(certificate)
    units = numbers["units"]
    same, positions = certificate.same_top
    before, after = (decimal_or_none(extra.get(k)) for k in ("loss_original", "loss_compressed"))
    change = after - before if before is not None and after is not None else None
    margin = checker.parse(numbers["margin"])
    ratio = depth.chain[-1] / depth.lower[-1] if depth.lower[-1] else None
    windows, length = subject["tokens"]["shape"]
    mean, largest = certificate.loss_change_mean, certificate.loss_change_max
    factor = perplexity_factor_upper(mean, 5)
    key = f"pair-{index}"
    drawings = [
        plots.depth_plot(
            depth.labels, [as_float(x) for x in depth.lower], [as_float(x) for x in depth.upper],
            [as_float(x) for x in depth.chain], name=f"{key}-depth",
            deleted=[t + 1 for t, b in enumerate(numbers["blocks"]) if b["deleted"]],
        )
    ]
    if depth.shares:
        drawings.append(
            plots.shares_plot(depth.labels, [as_float(x) for x in depth.shares], name=f"{key}-shares")
        )
    if any(row["fractions"] for row in split):
        known = [row["fractions"] or (ZERO, ZERO, ZERO) for row in split]
        drawings.append(
            plots.decomposition_plot(
                [row["label"] for row in split], *([as_float(f[i]) for f in known] for i in range(3)),
                name=f"{key}-split",
            )
        )
    drawings.append(
        plots.windows_plot(
            [as_float(checker.parse(row["oscillation_sum"]) / (length - 1)) for row in units["windows"]],
            [as_float(checker.parse(row["oscillation_max"])) for row in units["windows"]],
            name=f"{key}-windows",
        )
    )
    return {
        "key": key,
        "original": base_name(subject["original"]["name"]),
        "compressed": base_name(subject["compressed"]["name"]),
        "label": compression_label(record, certificate),
        "record": _record_rows(record),
        "badge": verdict_badge(verification),
        "verification": verification,
        "levels": _levels(verification),
        "link": relative_link(path),
        "path": path,
        "digest": certificate.digest,
        "claim": certificate.claim,
        "windows": windows, "length": length, "positions": positions,
        "direct": at_most(certificate.direct, field=f"{key}.direct"),
        "direct_low": at_least(depth.lower[-1], digits=15, field=f"{key}.direct_low"),
        "direct_high": at_most(certificate.direct, digits=15, field=f"{key}.direct_high"),
        "portable": at_most(certificate.bound, field=f"{key}.bound"),
        "margin": pretty(upwards(100 * margin, 3)),
        "reruns": [
            {
                "settings": ", ".join(f"{k} {v}" for k, v in sorted(run.items()) if k != "error"),
                "error": at_most(checker.parse(run["error"][1]), digits=12),
            }
            for run in numbers["reruns"]
        ],
        "chain": at_most(certificate.chain, field=f"{key}.chain"),
        "ratio": at_most(ratio, digits=4, field=f"{key}.ratio") if ratio is not None else None,
        "loss_mean": at_most(mean, digits=4, unit="nats a token", field=f"{key}.loss_change_mean"),
        "loss_max": at_most(largest, digits=4, unit="nats", field=f"{key}.loss_change_max"),
        "loss_original": seen_or_none(before, digits=6, unit="nats a token"),
        "loss_compressed": seen_or_none(after, digits=6, unit="nats a token"),
        "loss_measured": change_seen(change, unit="nats a token") if change is not None else None,
        "factor": Shown(pretty(factor), "certified", "≤", "", factor, f"{key}.perplexity_factor"),
        "factor_measured": seen_or_none(math.exp(min(change, 700.0)) if change is not None else None, digits=5),
        "same": Shown(_share_text(same, positions), "certified", "", "", f"{same}/{positions}", f"{key}.same_top"),
        "same_count": same,
        "tied": units["tied"],
        "depth": [
            {
                "name": "embedding" if i == 0 else numbers["blocks"][i - 1]["name"],
                "deleted": i > 0 and numbers["blocks"][i - 1]["deleted"],
                "lower": at_least(depth.lower[i], digits=13),
                "upper": at_most(depth.upper[i], digits=13, field=f"{key}.error.{i}"),
                "gain": at_most(checker.parse(numbers["blocks"][i - 1]["gain"]), digits=5) if i else None,
                "introduced": at_most(checker.parse(numbers["blocks"][i - 1]["introduced"][1])) if i else None,
                "chain": at_most(depth.chain[i], field=f"{key}.chain.{i}"),
                "share": _percent(depth.shares[i], f"{key}.share.{i}") if depth.shares else None,
            }
            for i in range(len(depth.labels))
        ],
        "split": [
            {"name": row["name"], "parts": [_percent(f) for f in row["fractions"]] if row["fractions"] else None}
            for row in split
        ],
        "plots": drawings,
        "files": _files(subject),
        "tokens": subject["tokens"],
        "numerics": ", ".join(
            [f"dtype {subject['original']['dtype']} and {subject['compressed']['dtype']}"]
            + [f"{k} {v}" for k, v in sorted(subject["numerics"].items())]
        ),
        "host": _host(document.get("host")),
        "theorems": document["theorems"],
    }


def _record_rows(record: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not record:
        return []
    rows = [("method", str(record.get("method", "unknown")))]
    kept = record.get("kept")
    if isinstance(kept, list):
        rows.append(("blocks kept", ", ".join(map(str, kept))))
    settings = record.get("settings")
    if isinstance(settings, Mapping):
        rows += [(str(k), str(v)) for k, v in sorted(settings.items(), key=lambda item: str(item[0]))]
    return rows


def _levels(verification: Verification) -> list[dict[str, str]]:
    meaning = {
        "arithmetic": "exact rational arithmetic on the numbers of the file, standard library only",
        "lean": "the same arithmetic by the Lean kernel, and the named statements unchanged",
        "signature": "a key signed the statement of this very file: it ties the claims to a person, not to a model",
        "recompute": "hashes of all files, then every number anew from both models and the tokens",
    }
    rows = []
    for level in LEVELS:
        ran = [c for c in verification.checks if c.level == level]
        if not ran:
            state, kind = "not run", "none"
        elif level in verification.reached:
            state, kind = "reached", "good"
        elif any(c.verdict is Verdict.VIOLATED for c in ran):
            state, kind = "refuted", "bad"
        else:
            state, kind = "open", "open"
        rows.append({"level": level, "meaning": meaning[level], "state": state, "kind": kind})
    return rows


def _files(subject: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for role in ("original", "compressed"):
        rows += [(role, name, sha) for name, sha in sorted(subject[role]["files"].items())]
        rows.append((role, "configuration as it takes effect", subject[role]["config_sha256"]))
    rows.append(("text", "token ids", subject["tokens"]["sha256"]))
    return rows


def _host(host: Any) -> list[tuple[str, str]]:
    return sorted((str(k), str(v)) for k, v in host.items()) if isinstance(host, Mapping) else []
