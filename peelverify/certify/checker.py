"""Check a peelverify certificate with nothing but the Python standard library.

Run it alone: ``python -I -S checker.py model.cert.json``. It reads the file, checks both digests, and derives
anew every number that follows from others: gains, chain, portable bound, margins, means. It says nothing
about models or tokens, which it never sees; ``peelverify verify`` with models does.

Numbers are dyadic, written ``0x<hex digits>p<exponent>`` with an optional minus sign, at most 64 bits, in
lowest terms, so that each number has one spelling. JSON floats are refused.

Exit status: 0 consistent, 1 refuted, 2 not a certificate or not readable, 3 a newer format.
"""

from __future__ import annotations

import decimal
import hashlib
import json
import re
import sys
from fractions import Fraction

SCHEMA = "peelverify.certificate/1"
MAX_BYTES = 64 << 20
MIN_MARGIN = Fraction(1, 10_000)
WIDTH = Fraction(1, 10**9)
_NUMBER = re.compile(r"(-?)0x([0-9a-f]{1,16})p([+-]\d{1,5})\Z")


class Refuted(Exception):
    """The file contradicts itself."""


class Unreadable(Exception):
    """The file is no certificate."""


class Newer(Exception):
    """The file has another major version of the format."""


def need(condition: bool, message: str) -> None:
    """Refute the certificate unless the condition holds."""
    if not condition:
        raise Refuted(message)


def parse(text: object) -> Fraction:
    """Read one exact number in its only spelling."""
    match = _NUMBER.match(text) if isinstance(text, str) else None
    if match is None:
        raise Refuted(f"not an exact number: {str(text)[:40]!r}")
    exponent = int(match[3])
    need(abs(exponent) <= 20_000, f"exponent out of range: {text[:40]!r}")
    value = Fraction(int(match[2], 16)) * Fraction(2) ** exponent
    value = -value if match[1] else value
    need(spell(value) == text, f"not in lowest terms: {text[:40]!r}")
    return value


def spell(value: Fraction) -> str:
    """Write a dyadic number in lowest terms."""
    if value == 0:
        return "0x0p+0"
    top, exponent = abs(value.numerator), 1 - value.denominator.bit_length()
    while not top & 1:
        low = (top & -top).bit_length() - 1
        top, exponent = top >> low, exponent + low
    return f"{'-' if value < 0 else ''}{top:#x}p{exponent:+d}"


def round_up(value: Fraction, bits: int = 64) -> Fraction:
    """Smallest dyadic of at most ``bits`` bits that is not below ``value`` >= 0."""
    if value == 0:
        return Fraction(0)
    e = value.numerator.bit_length() - value.denominator.bit_length() - bits
    scaled = value / Fraction(2) ** e
    q = -(-scaled.numerator // scaled.denominator)
    while q.bit_length() > bits:
        q, e = -(-q >> 1), e + 1
    return Fraction(q) * Fraction(2) ** e


def above(value: Fraction, digits: int = 6) -> str:
    """Decimal text of a number >= 0, rounded up, so that it never claims more than the exact value."""
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    return f"{context.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator)).normalize():g}"


def enclosure(pair: object, *, signed: bool = False) -> tuple[Fraction, Fraction]:
    """Read ``[lo, hi]``; a magnitude must be non-negative and sharp to 1e-9."""
    need(isinstance(pair, list) and len(pair) == 2, "an enclosure needs two numbers")
    lo, hi = parse(pair[0]), parse(pair[1])
    need(lo <= hi, f"enclosure turned round: {pair}")
    need(signed or lo >= 0, f"negative norm: {pair}")
    need(signed or hi - lo <= WIDTH * hi, f"enclosure too wide: {pair}")
    return lo, hi


def whole(value: object, what: str, low: int = 0, high: int = 1 << 40) -> int:
    """Read a JSON integer in a range."""
    need(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high, f"bad {what}")
    return value  # type: ignore[return-value]


def digest(part: object) -> str:
    """SHA-256 of a JSON value with sorted keys and no white space."""
    text = json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _no_float(text: str) -> object:
    raise Refuted(f"a JSON float where an exact number is needed: {text[:40]}")


def _short_int(text: str) -> int:
    need(len(text) <= 20, "an integer with more than 20 digits")
    return int(text)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    need(len(found) == len(pairs), "a key appears twice")
    return found


def read(raw: bytes) -> dict:
    """Parse a certificate file; numbers are checked later.

    Raises:
        Unreadable: not JSON, not an object, or too large.
        Newer: another major version.
        Refuted: floats, repeated keys or huge integers.
    """
    if len(raw) > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
    try:
        found = json.loads(
            raw, parse_float=_no_float, parse_int=_short_int, parse_constant=_no_float, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON ({type(error).__name__})") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if not isinstance(schema, str) or not schema.startswith("peelverify.certificate/"):
        raise Unreadable("no peelverify certificate")
    if schema.split(".")[1] != SCHEMA.split(".")[1]:
        raise Newer(f"format {schema[:60]!r}, this checker reads {SCHEMA}; use a matching peelverify")
    return found


def check_digests(cert: dict) -> None:
    """Check the digest of the claim and that of the notes on the host."""
    body = {key: value for key, value in cert.items() if key not in ("integrity", "host")}
    integrity = cert.get("integrity")
    need(isinstance(integrity, dict) and set(integrity) == {"claim_sha256", "host_sha256"}, "no digests")
    need(integrity["claim_sha256"] == digest(body), "the digest does not fit: the file was edited or damaged")
    need(integrity["host_sha256"] == digest(cert.get("host")), "the host digest does not fit: edited or damaged")


def check_numbers(numbers: dict, subject: dict) -> dict[str, Fraction]:
    """Derive every dependent number anew and compare.

    Returns:
        ``direct`` (upper bound on e_T), ``portable``, ``chain``, for display.
    """
    before = enclosure(numbers["initial_error"])
    chain = before[1]
    kept = subject["kept"]
    need(isinstance(kept, list) and all(whole(k, "kept block") >= 0 for k in kept), "bad list of kept blocks")
    blocks = numbers["blocks"]
    need(isinstance(blocks, list) and 2 <= len(blocks) <= 10_000, "needs at least one block and the head")
    depth = len(blocks) - 1
    need(kept == sorted(set(kept)) and all(k < depth for k in kept), "kept blocks out of order or range")
    for t, block in enumerate(blocks):
        where = f"block {t}"
        need(block["name"] == ("head" if t == depth else where), f"{where}: name out of order")
        need(block["deleted"] is (t < depth and t not in kept), f"{where}: deletion does not fit the kept blocks")
        e, a, d = (enclosure(block[key]) for key in ("error", "propagated", "introduced"))
        inner = enclosure(block["inner"], signed=True)
        need(before[1] > 0 or a[1] == 0, f"{where}: an error that nothing propagated")
        need(before[0] > 0 or before[1] == 0, f"{where}: the error before it is not separated from zero")
        gain = round_up(a[1] / before[0]) if before[1] > 0 else Fraction(0)
        need(parse(block["gain"]) == gain, f"{where}: gain is not propagated / previous error, rounded up")
        chain = round_up(gain * chain + d[1])
        need(parse(block["chain"]) == chain, f"{where}: chain is not gain * chain + introduced, rounded up")
        for x, y, z in ((e, a, d), (a, e, d), (d, e, a)):
            need(x[0] <= y[1] + z[1], f"{where}: the triangle inequality fails")
        need(max(abs(inner[0]), abs(inner[1])) <= a[1] * d[1] * (1 + WIDTH) or a[1] * d[1] == 0 == inner[1],
             f"{where}: the Cauchy-Schwarz inequality fails")
        low = a[0] ** 2 + 2 * inner[0] + d[0] ** 2
        high = a[1] ** 2 + 2 * inner[1] + d[1] ** 2
        need(low <= e[1] ** 2 and e[0] ** 2 <= high, f"{where}: the squared identity fails")
        before = e
    last = before
    spread = Fraction(0)
    for rerun in numbers["reruns"]:
        lo, hi = enclosure(rerun["error"])
        spread = max(spread, abs(hi - last[0]), abs(last[1] - lo))
    need(len(numbers["reruns"]) >= 1, "no re-run, so no portable claim")
    margin = max(MIN_MARGIN, round_up(2 * spread / last[0])) if last[1] > 0 else MIN_MARGIN
    need(parse(numbers["margin"]) == round_up(margin), "margin is not twice the largest change between re-runs")
    portable = round_up(last[1] * (1 + parse(numbers["margin"]))) if last[1] > 0 else round_up(2 * spread)
    need(parse(numbers["portable"]) == portable, "portable bound is not error * (1 + margin)")
    check_units(numbers["units"], subject["tokens"]["shape"])
    return {"direct": last[1], "portable": portable, "chain": chain}


def check_units(units: dict, shape: list) -> None:
    """Derive loss and top-token figures from the figures of the windows."""
    need(isinstance(shape, list) and len(shape) == 2, "tokens need shape (windows, length)")
    count, length = whole(shape[0], "windows", 1, 1 << 20), whole(shape[1], "length", 2, 1 << 24)
    rows = units["windows"]
    need(isinstance(rows, list) and len(rows) == count, "one row of figures a window is needed")
    worst, total, same, ties = Fraction(0), Fraction(0), 0, 0
    for row in rows:
        largest, part = parse(row["oscillation_max"]), parse(row["oscillation_sum"])
        need(0 <= largest <= part <= largest * (length - 1) * (1 + WIDTH), "oscillations of a window do not fit")
        worst, total = max(worst, largest), total + part
        same += whole(row["same_top"], "count of same top tokens", 0, length)
        ties += whole(row["tied"], "count of ties", 0, length)
    need(parse(units["loss_change_max"]) == worst, "largest change of loss does not fit the windows")
    mean = round_up(total / (count * (length - 1)))
    need(parse(units["loss_change_mean"]) == mean, "mean change of loss does not fit the windows")
    need(units["same_top"] == same and units["tied"] == ties, "count of same top tokens does not fit the windows")
    need(units["positions"] == count * length, "count of positions does not fit the tokens")


def check_tokens(tokens: dict) -> None:
    """Check token ids against their shape and hash."""
    ids = tokens.get("ids")
    if ids is not None:
        need(isinstance(ids, list) and len(ids) == tokens["shape"][0], "token ids do not fit their shape")
        need(all(isinstance(row, list) and len(row) == tokens["shape"][1] for row in ids), "ragged token ids")
        need(all(whole(i, "token id") >= 0 for row in ids for i in row), "bad token id")
        need(tokens["sha256"] == digest(ids), "token ids do not fit their hash")


def check(cert: dict) -> dict[str, Fraction]:
    """Check a parsed certificate; return its bounds.

    Raises:
        Refuted: with the first contradiction found.
    """
    try:
        check_digests(cert)
        check_tokens(cert["subject"]["tokens"])
        return check_numbers(cert["numbers"], cert["subject"])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Refuted(f"a field is missing or has the wrong type ({type(error).__name__}: {error})") from None


def main(argv: list[str]) -> int:
    """Check one file and print one line."""
    if len(argv) != 2:
        print("usage: checker.py CERTIFICATE", file=sys.stderr)
        return 2
    try:
        with open(argv[1], "rb") as handle:
            bounds = check(read(handle.read(MAX_BYTES + 1)))
    except OSError as error:
        print(f"cannot read {argv[1]}: {error.strerror}", file=sys.stderr)
        return 2
    except Unreadable as error:
        print(f"not a certificate: {error}", file=sys.stderr)
        return 2
    except Newer as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return 3
    except Refuted as error:
        print(f"REFUTED: {error}")
        return 1
    print("arithmetic consistent, not tied to any model: "
          f"e_T <= {above(bounds['portable'])} (portable), chain {above(bounds['chain'])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
