"""The newer parts of a certificate for the page: signed changes of loss, largest token, every input, unseen text."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from peelverify.certify import checker
from peelverify.certify.exact import spell
from peelverify.certify.file import Certificate, exact_decimal
from peelverify.report.present import Shown, at_most, decimal_or_none, seen_or_none
from peelverify.report.visible import pretty, upwards

__all__ = ["present_parts"]


def _span(pair: tuple[Fraction, Fraction] | None, unit: str = "", digits: int = 6, signed: bool = True) -> Shown | None:
    """An enclosure in one cell, each end rounded outwards."""
    if pair is None:
        return None
    if pair[0] == pair[1]:
        low = high = exact_decimal(pair[1], True, digits)
    else:
        low, high = (exact_decimal(x, up, digits) for x, up in zip(pair, (False, True), strict=True))
    if not signed:
        low, high = low.removeprefix("+"), high.removeprefix("+")
    text = pretty(low) if low == high else f"{pretty(low)} to {pretty(high)}"
    return Shown(text, "certified", "", unit, f"{spell(pair[0])} {spell(pair[1])}")


def present_parts(certificate: Certificate) -> dict[str, Any] | None:
    """Rows for the page; None for a certificate of version 1.0, which has none of these parts."""
    change = certificate.signed("loss_change_mean")
    if change is None or certificate.token_direct is None or certificate.token_bound is None:
        return None
    document = certificate.document
    signed = certificate.signed
    before, after = (decimal_or_none(document["measured"].get(k)) for k in ("loss_original", "loss_compressed"))
    seen_change = after - before if before is not None and after is not None else None
    rows = [
        ("Mean change of loss, signed", _span(change, "nats a token"), seen_or_none(seen_change, digits=6),
         "From the executed logits by outward arithmetic; theorems bound its exponential and logarithm."),
        ("The same from logits alone", _span(signed("loss_change_theorem_mean"), "nats a token"), None,
         "Between smallest and largest change of a logit, each minus that of the next token."),
        ("Change of loss at a token, from", _span(signed("loss_change_smallest"), "nats"), None,
         "The largest decrease, or the smallest increase."),
        ("Change of loss at a token, to", _span(signed("loss_change_largest"), "nats"), None, "The largest increase."),
        ("Perplexity factor", _span(signed("perplexity_factor"), signed=False), None,
         "exp of the signed mean change of loss."),
        ("Mean KL divergence", _span(signed("kl_mean"), "nats a token", signed=False), None,
         "Of the compressed model's prediction from the original's."),
        ("Largest KL divergence", _span(signed("kl_largest"), "nats", signed=False), None, "At any single position."),
        ("Logit error at the worst token", at_most(certificate.token_direct), None,
         f"Largest 2-norm over tokens; portable: at most {pretty(upwards(certificate.token_bound))}."),
    ]
    return {
        "rows": [{"name": n, "bound": b, "seen": s, "meaning": m} for n, b, s, m in rows],
        "states": document["subject"]["numerics"]["states"],
        "ties": [f"window {w}, position {i}" for w, i in certificate.ties[:20]],
        "more_ties": max(0, len(certificate.ties) - 20),
        "matrices": _matrices(document),
        "not_covered": (document["every_input"] or {}).get("not_covered", []),
        "unseen": _unseen(document),
    }


def _matrices(document: dict[str, Any]) -> list[dict[str, Any]]:
    part = document["every_input"]
    if part is None:
        return []
    seen = document["measured"].get("every_input_largest_change", [])
    found = []
    for t, row in enumerate(part["matrices"]):
        bound = checker.parse(row["bound"])
        value = decimal_or_none(seen[t]) if t < len(seen) else None
        found.append({
            "block": row["block"], "name": row["name"],
            "bound": at_most(bound, digits=5), "seen": seen_or_none(value, digits=5),
            "loose": seen_or_none(float(bound) / value, digits=3) if value else None,
            "theorem": row["theorem"].removeprefix("PeelVerify."),
        })
    return found


def _unseen(document: dict[str, Any]) -> dict[str, Any] | None:
    part, pool = document["unseen"], document["subject"].get("pool")
    if part is None or pool is None:
        return None
    measured = document["measured"]
    return {
        "levels": [
            {
                "chance": f"{level['k']} in {level['of']}",
                "error": at_most(checker.parse(level["error"])),
                "loss": _span((checker.parse(level["loss_change"]),) * 2, "nats a token"),
            }
            for level in part["levels"]
        ],
        "windows": document["subject"]["tokens"]["shape"][0],
        "pool": pool["windows"], "sha256": pool["sha256"], "files": len(pool["files"]),
        "distinct": part["distinct_tokens"],
        "entropy": seen_or_none(decimal_or_none(measured.get("token_entropy_nats")), unit="nats"),
        "loss": seen_or_none(decimal_or_none(measured.get("loss_original")), unit="nats a token"),
    }
