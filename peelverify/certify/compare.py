"""Two certificates side by side, and a certificate against limits of a pipeline."""

from __future__ import annotations

import decimal
from fractions import Fraction
from typing import Any

from peelverify.certify import checker, shape
from peelverify.certify.checker import above
from peelverify.certify.file import Certificate, between
from peelverify.errors import InputError
from peelverify.verdict import Verdict

__all__ = ["compare", "gate", "limit"]

_BOUNDS = (
    ("logit_error_frobenius_portable_upper", "e_T, portable", "bound"),
    ("chain_upper", "chain", "chain"),
    ("loss_change_mean_absolute_upper_nats_per_token", "mean absolute change of loss, nats a token <=",
     "loss_change_mean"),
    ("loss_change_max_upper_nats", "largest change of loss, nats <=", "loss_change_max"),
)
_TWO_SIDED = (
    ("loss_change_mean_nats_per_token", "mean change of loss, nats a token", "loss_change_mean"),
    ("perplexity_factor", "perplexity factor", "perplexity_factor"),
    ("kl_mean_nats_per_token", "mean KL, nats a token", "kl_mean"),
    ("kl_largest_nats", "largest KL, nats", "kl_largest"),
)


def limit(text: str | None, option: str, low: int = 0, high: int | None = None) -> Fraction | None:
    """Read a decimal limit exactly; None stays None.

    Raises:
        InputError: not a plain decimal, or out of range.
    """
    if text is None:
        return None
    bad = not text.isascii() or len(text) > 30 or not text.replace(".", "", 1).isdigit()
    value = None if bad else Fraction(text)
    if value is None or value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high}"
        raise InputError(f"{option} needs a decimal of at least {low}{upper}, got {text[:40]!r}; write it like "
                         f"{'0.05' if high is None else '0.98'}")
    return value


def _decimal(value: Fraction) -> str:
    """A limit as it was given: `limit` reads at most 30 characters."""
    with decimal.localcontext(prec=40):
        return f"{decimal.Decimal(value.numerator) / decimal.Decimal(value.denominator):f}"


def gate(
    certificate: Certificate, max_loss_change: Fraction | None, min_same_top: Fraction | None
) -> list[tuple[str, Verdict, str]]:
    """Compare the certified figures of the execution with limits.

    Args:
        certificate: accepted by the checker.
        max_loss_change: largest mean change of the loss (signed), nats a token.
        min_same_top: smallest share of positions that keep their top token, in [0, 1].

    Returns:
        Name, verdict and sentence of each limit given. INCONCLUSIVE where the certified figures leave it open.
    """
    found = []
    if max_loss_change is not None:
        pair, name = certificate.signed("loss_change_mean"), "mean change of loss"
        allowed = f"{_decimal(max_loss_change)} nats a token are allowed"
        if pair is not None:
            text = f"certified {between(*pair, 12)}, {allowed}"
            verdict = Verdict.HOLDS if pair[1] <= max_loss_change else Verdict.INCONCLUSIVE
            found.append((name, Verdict.VIOLATED if pair[0] > max_loss_change else verdict, text))
        else:  # version 1.0 has a bound only, which cannot show that a limit is broken
            bound = certificate.loss_change_mean
            verdict = Verdict.HOLDS if bound <= max_loss_change else Verdict.INCONCLUSIVE
            found.append((name, verdict, f"certified at most {above(bound, 12)}, {allowed}"))
    if min_same_top is not None:
        same, positions = certificate.same_top
        verdict = Verdict.HOLDS if same >= min_same_top * positions else Verdict.VIOLATED
        found.append((
            "same top token", verdict,
            f"{same} of {positions} positions ({same / positions:.4%}), {_decimal(100 * min_same_top)} % are needed",
        ))
    return found


def _row(
    key: str, name: str, texts: list[str | None], better: str | None, smaller: str | None = None
) -> dict[str, Any]:
    return {"key": key, "name": name, "a": texts[0], "b": texts[1], "better": better, "smaller_bound": smaller}


def _better(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction]) -> str | None:
    """The side whose interval lies wholly below the other's; "same" for one and the same value; None if open."""
    if a == b and a[0] == a[1]:
        return "same"
    return "a" if a[1] < b[0] else "b" if b[1] < a[0] else None


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    one, two = a["subject"], b["subject"]
    found = []
    for role in ("original", "compressed"):
        for key in ("name", "family", "dtype", "config_sha256", "files"):
            if one[role][key] != two[role][key]:
                found.append(f"{role} {key.replace('_sha256', '')}")
    if one["tokens"]["sha256"] != two["tokens"]["sha256"]:
        found.append("tokens")
    if one["kept"] != two["kept"]:
        found.append("kept blocks")
    found += [f"numerics {k}" for k in sorted({*one["numerics"], *two["numerics"]})
              if one["numerics"].get(k) != two["numerics"].get(k)]
    if a["schema"] != b["schema"]:
        found.append("version of the format")
    return found


def compare(a: Certificate, b: Certificate) -> dict[str, Any]:
    """Put two certificates side by side, in the units of the user.

    Args:
        a: accepted by the checker.
        b: the same.

    Returns:
        Plain data: ``incomparable`` (reasons; empty if both speak of one original on the same tokens), ``differs``
        (what differs in the subject), ``rows`` (a figure each), ``blocks`` (share of each block in the chain, both
        sides). A row says which side is ``better`` where a count or an enclosure from both sides shows it, None if
        the enclosures overlap. Of an upper bound it only says which is the ``smaller_bound``: that may come from a
        sharper bound as well as from a better model.

    Raises:
        checker.Refuted: if one of them contradicts itself.
    """
    for certificate in (a, b):
        shape.check(certificate.document)
    one, two = a.document["subject"], b.document["subject"]
    incomparable = []
    if one["tokens"]["sha256"] != two["tokens"]["sha256"]:
        incomparable.append("they speak of different tokens; make one with certify --tokens-of the other")
    if any(one["original"][key] != two["original"][key] for key in ("files", "config_sha256", "dtype")):
        incomparable.append("they have different originals")
    pairs = [c.document["numbers"]["blocks"][-1]["error"] for c in (a, b)]
    ends = [(checker.parse(lo), checker.parse(hi)) for lo, hi in pairs]
    texts: list[str | None] = [above(hi) for _, hi in ends]
    rows = [_row("logit_error_frobenius_upper", "e_T, certified execution", texts, _better(*ends))]
    for key, name, field in _BOUNDS:
        x, y = getattr(a, field), getattr(b, field)
        rows.append(_row(key, name, [above(x), above(y)], None, _better((x, x), (y, y))))
    for key, name, field in _TWO_SIDED:
        pairs = [a.signed(field), b.signed(field)]
        texts = [None if p is None else between(*p) for p in pairs]
        x, y = pairs
        rows.append(_row(key, name, texts, None if x is None or y is None else _better(x, y)))
    shares = [Fraction(*c.same_top) for c in (a, b)]
    texts = ["{} of {}".format(*c.same_top) for c in (a, b)]
    better = "same" if shares[0] == shares[1] else "a" if shares[0] > shares[1] else "b"
    rows.append(_row("same_top_positions", "positions with the same top token", texts, better))
    blocks = []
    left, right = dict(a.shares), dict(b.shares)
    for name in [*left, *(n for n in right if n not in left)]:
        sides = [None if part is None else above(part) for part in (left.get(name), right.get(name))]
        blocks.append({"block": name, "a": sides[0], "b": sides[1]})
    if incomparable:
        for row in rows:
            row["better"] = row["smaller_bound"] = None
    return {
        "incomparable": incomparable, "differs": _differences(a.document, b.document), "rows": rows, "blocks": blocks
    }
