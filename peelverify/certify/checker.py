"""Check a peelverify certificate with nothing but the Python standard library.

Run it alone: ``python -I -S checker.py model.cert.json``. It reads the file, checks both digests, and derives
anew every number that follows from others: gains, chain, portable bounds, margins, means, perplexity factor,
the draw of windows from a pool, the bounds for unseen text, the bound of each matrix. It says nothing about
models or tokens, which it never sees; ``peelverify verify`` with models does.

The schema is ``peelverify.certificate/MAJOR[.MINOR]``. Any minor version of this major one is read; parts that
a newer minor version adds are not checked here. Another major version is not read.

Numbers are dyadic, written ``0x<hex digits>p<exponent>`` with an optional minus sign, at most 64 bits, in
lowest terms, so that each number has one spelling. JSON floats are refused.

Exit status: 0 consistent, 1 refuted, 2 not a certificate or not readable, 3 a newer format.

Longer than 500 lines because one file must run alone.
"""

from __future__ import annotations

import decimal
import hashlib
import heapq
import json
import os
import re
import stat
import sys
from fractions import Fraction

SCHEMA = "peelverify.certificate/1.1"
MAX_BYTES = 64 << 20
MAX_VALUES = 4 << 20
MAX_POOL = 1 << 22
MAX_EXPONENT = 4_500  # squares of the smallest float64 need 2,148; a file of larger ones would only cost time
MIN_MARGIN = Fraction(1, 10_000)
WIDTH = Fraction(1, 10**9)
MAX_NATS = 10_000
_NUMBER = re.compile(r"(-?)0x(0|[1-9a-f][0-9a-f]{0,15})p(\+0|[+-][1-9][0-9]{0,4})\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_DECIMAL = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,4})?\Z", re.ASCII)
_VERSION = re.compile(r"peelverify\.certificate/([1-9]\d{0,3})(?:\.([1-9]\d{0,3}))?\Z")


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
    need(abs(exponent) <= MAX_EXPONENT, f"exponent out of range: {text[:40]!r}")
    top = int(match[1] + match[2], 16)
    need(top & 1 or text == "0x0p+0", f"not in lowest terms: {text[:40]!r}")
    return Fraction(top << exponent) if exponent >= 0 else Fraction(top, 1 << -exponent)


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


def round_out(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """The interval with ends of at most 64 bits, of any sign, that contains ``[lo, hi]``."""

    def up(x: Fraction) -> Fraction:
        return round_up(x) if x >= 0 else -round_down(-x)

    return -up(-lo), up(hi)


def round_down(value: Fraction, bits: int = 64) -> Fraction:
    """Largest dyadic of at most ``bits`` bits that is not above ``value`` >= 0."""
    if value == 0:
        return Fraction(0)
    e = value.numerator.bit_length() - value.denominator.bit_length() - bits
    scaled = value / Fraction(2) ** e
    q = scaled.numerator // scaled.denominator
    while q.bit_length() > bits:
        q, e = q >> 1, e + 1
    return Fraction(q) * Fraction(2) ** e


def exp_out(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """64-bit numbers below ``exp(lo)`` and above ``exp(hi)``: a Taylor sum with remainder, squared up again."""
    ends = []
    for x, up in ((lo, False), (hi, True)):
        if 0 < abs(x) < Fraction(1, 1 << 66):  # 1 + x - x^2 <= exp(x) <= 1 + x + x^2
            ends.append(round_up(1 + x + x * x) if up else round_down(1 + x - x * x))
            continue
        halvings = max(0, abs(x.numerator).bit_length() - x.denominator.bit_length() + 2)
        y = x / 2**halvings  # at most 1/2 in size
        term = total = Fraction(1)
        for i in range(1, 24):
            term = term * y / i
            total += term
        total += abs(term) if up else -abs(term)  # the terms left out add up to less than the last one
        for _ in range(halvings):
            total = round_up(total * total, 128) if up else round_down(total * total, 128)
        ends.append(round_up(total) if up else round_down(total))
    return ends[0], ends[1]


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


def load_bytes(path: str) -> bytes:
    """Read a regular file, at most one byte more than the limit; a pipe or device is refused, not waited for.

    Raises:
        OSError: it cannot be read.
        Unreadable: not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise Unreadable("not a regular file")
        return stream.read(MAX_BYTES + 1)


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
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise Unreadable(f"more than {MAX_VALUES} values")
    try:
        found = json.loads(
            raw, parse_float=_no_float, parse_int=_short_int, parse_constant=_no_float, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON ({type(error).__name__})") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if not isinstance(schema, str) or not schema.startswith("peelverify.certificate/"):
        raise Unreadable("no peelverify certificate")
    version = _VERSION.match(schema)
    if version is None or version[1] != "1":
        raise Newer(f"format {schema[:60]!r}, this checker reads {SCHEMA}; use a matching peelverify")
    return found


def check_digests(cert: dict) -> None:
    """Check the digest of the claim and that of the notes on the host."""
    body = {key: value for key, value in cert.items() if key not in ("integrity", "host")}
    integrity = cert.get("integrity")
    need(isinstance(integrity, dict) and set(integrity) == {"claim_sha256", "host_sha256"}, "no digests")
    need(integrity["claim_sha256"] == digest(body), "the digest does not fit: the file was edited or damaged")
    need(integrity["host_sha256"] == digest(cert.get("host")), "the host digest does not fit: edited or damaged")


def check_subject(cert: dict, full: bool) -> None:
    """Check the types of what a certificate says in words, so that whoever prints or uses them need not."""
    subject = cert["subject"]
    for role in ("original", "compressed"):
        model = subject[role]
        need(all(isinstance(model[key], str) and len(model[key]) <= 4096 for key in ("name", "family", "dtype")),
             f"bad description of the {role} model")
        need(bool(_HEX.match(model["config_sha256"])), "bad hash of a configuration")
        need(isinstance(model["files"], dict) and bool(model["files"]), f"the {role} model has no files")
        need(all(bool(_HEX.match(sha)) for sha in model["files"].values()), "bad hash of a file")
    need(bool(_HEX.match(subject["tokens"]["sha256"])), "bad hash of the tokens")
    numerics = subject["numerics"]
    need(isinstance(numerics["attention"], str), "bad name of the attention")
    whole(numerics["batch"], "batch", 1, 1 << 20)
    theorems = cert["theorems"]
    need(isinstance(theorems, list) and len(theorems) <= 1000, "bad list of theorems")
    need(all(isinstance(t["name"], str) and bool(_HEX.match(t["sha256"])) for t in theorems), "bad list of theorems")
    need(len({t["name"] for t in theorems}) == len(theorems), "a theorem appears twice")
    figures = [x for value in cert["measured"].values() for x in (value if isinstance(value, list) else [value])]
    need(all(isinstance(x, str) and bool(_DECIMAL.match(x)) for x in figures), "a measured figure is no decimal")
    if full:
        whole(numerics["head_tokens"], "tokens that the head reads", 1)
        need(isinstance(numerics["states"], str), "bad description of the states")
        need((cert["unseen"] is None) == (subject["pool"] is None or subject["pool"]["windows"]
             == subject["tokens"]["shape"][0]), "unseen text without a pool, or a pool without unseen text")
    else:
        newer = {"every_input", "unseen"} & cert.keys() | {"pool"} & subject.keys()
        newer |= {"signed"} & cert["numbers"]["units"].keys() | {"token_portable"} & cert["numbers"].keys()
        newer |= {"tied_at"} & {key for row in cert["numbers"]["units"]["windows"] for key in row}
        newer |= {"token_max"} & {key for block in cert["numbers"]["blocks"] for key in block}
        need(not newer, f"version 1.0 of the format has no {', '.join(sorted(newer))}")


def check_numbers(numbers: dict, subject: dict, full: bool) -> dict[str, Fraction]:
    """Derive every dependent number anew and compare; ``full`` if the file is of version 1.1 or later.

    Returns:
        ``direct`` (upper bound on e_T), ``portable``, ``chain``, for display.
    """
    before = enclosure(numbers["initial_error"])
    shape = subject["tokens"]["shape"]
    need(isinstance(shape, list) and len(shape) == 2, "tokens need shape (windows, length)")
    tokens = whole(shape[0], "windows", 1, 1 << 16) * whole(shape[1], "length", 2, 1 << 24)
    token_max = check_largest(numbers["initial_token_max"], before, tokens) if full else before
    chain = before[1]
    kept = subject["kept"]
    need(isinstance(kept, list) and all(whole(k, "kept block") >= 0 for k in kept), "bad list of kept blocks")
    blocks = numbers["blocks"]
    need(isinstance(blocks, list) and 2 <= len(blocks) <= 1024, "needs at least one block and the head")
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
        token_max = check_largest(block["token_max"], e, tokens) if full else token_max
        before = e
    need(isinstance(numbers["reruns"], list) and numbers["reruns"], "no re-run, so no portable claim")
    portable = check_portable(numbers, before, "error", "margin", "portable")
    if full:
        check_portable(numbers, token_max, "token_max", "token_margin", "token_portable")
        for rerun in numbers["reruns"]:
            check_largest(rerun["token_max"], enclosure(rerun["error"]), tokens)
    check_units(numbers["units"], shape, full, before)
    return {"direct": before[1], "portable": portable, "chain": chain}


def check_largest(pair: object, error: tuple[Fraction, Fraction], tokens: int) -> tuple[Fraction, Fraction]:
    """The largest error of a token is at most the error of all, and at least the root of its mean square."""
    lo, hi = enclosure(pair)
    need(lo <= error[1] and error[0] ** 2 <= tokens * hi**2, "largest error of a token does not fit the error")
    return lo, hi


def check_portable(numbers: dict, last: tuple, field: str, margin_field: str, bound_field: str) -> Fraction:
    """Derive a margin and its portable bound from the re-runs."""
    spread = Fraction(0)
    for rerun in numbers["reruns"]:
        lo, hi = enclosure(rerun[field])
        spread = max(spread, abs(hi - last[0]), abs(last[1] - lo))
    margin = round_up(max(MIN_MARGIN, round_up(2 * spread / last[0])) if last[1] > 0 else MIN_MARGIN)
    need(parse(numbers[margin_field]) == margin, "margin is not twice the largest change between re-runs")
    bound = round_up(last[1] * (1 + margin)) if last[1] > 0 else round_up(2 * spread)
    need(parse(numbers[bound_field]) == bound, "portable bound is not error * (1 + margin)")
    return bound


def check_units(units: dict, shape: list, full: bool, error: tuple[Fraction, Fraction]) -> None:
    """Derive loss and top-token figures from the figures of the windows."""
    count, length = shape
    rows = units["windows"]
    need(isinstance(rows, list) and len(rows) == count, "one row of figures a window is needed")
    worst, total, same, ties = Fraction(0), Fraction(0), 0, 0
    for row in rows:
        largest, part = parse(row["oscillation_max"]), parse(row["oscillation_sum"])
        need(0 <= largest <= part <= largest * (length - 1) * (1 + WIDTH), "oscillations of a window do not fit")
        worst, total = max(worst, largest), total + part
        same += whole(row["same_top"], "count of same top tokens", 0, length)
        if full:
            at = row["tied_at"]
            need(isinstance(at, list) and all(whole(i, "tied position", 0, length - 1) >= 0 for i in at)
                 and at == sorted(set(at)), "tied positions out of order or range")
        ties += len(row["tied_at"]) if full else whole(row["tied"], "count of ties", 0, length)
    need(parse(units["loss_change_max"]) == worst, "largest change of loss does not fit the windows")
    mean = round_up(total / (count * (length - 1)))
    need(parse(units["loss_change_mean"]) == mean, "mean change of loss does not fit the windows")
    need(units["same_top"] == same and units["tied"] == ties, "count of same top tokens does not fit the windows")
    need(units["positions"] == count * length, "count of positions does not fit the tokens")
    if full:
        check_changes(units, rows, length - 1, error)


def check_changes(units: dict, rows: list, scored: int, error: tuple[Fraction, Fraction]) -> None:
    """Derive the signed changes of loss, the divergence and the perplexity factor from those of the windows."""
    names = ("loss_change", "loss_change_theorem", "kl", "loss_change_largest", "loss_change_smallest", "kl_largest")
    sums = {name: [Fraction(0), Fraction(0)] for name in names[:3]}
    ends: dict[str, list] = {name: [] for name in names[3:]}
    squares = [Fraction(0), Fraction(0)]
    for row in rows:
        change, theorem, kl, most, least, kl_most = (enclosure(row[name], signed=True) for name in names)
        own = enclosure(row["error"])
        worst, osc = parse(row["oscillation_max"]), parse(row["oscillation_sum"])
        slack = WIDTH * scored * (1 + worst)
        need(theorem[0] <= change[0] and change[1] <= theorem[1] and -osc * (1 + WIDTH) <= theorem[0]
             and theorem[1] <= osc * (1 + WIDTH), "change of loss outside what its theorem allows")
        need(all(x[1] - x[0] <= slack for x in (change, kl, most, least, kl_most)), "enclosure too wide")
        need(scored * least[0] <= change[1] and change[0] <= scored * most[1] and least[0] <= most[1]
             and max(abs(x) for x in (*most, *least)) <= worst, "largest change of loss does not fit its window")
        need(kl[0] >= 0 and 0 <= kl_most[0] <= kl[1] and kl[0] <= scored * kl_most[1] and kl_most[1] <= worst,
             "divergence does not fit its window")
        for name, value in (("loss_change", change), ("loss_change_theorem", theorem), ("kl", kl)):
            sums[name] = [sums[name][0] + value[0], sums[name][1] + value[1]]
        for name, value in (("loss_change_largest", most), ("loss_change_smallest", least), ("kl_largest", kl_most)):
            ends[name].append(value)
        squares = [squares[0] + own[0] ** 2, squares[1] + own[1] ** 2]
    need(squares[0] <= error[1] ** 2 and error[0] ** 2 <= squares[1], "errors of the windows do not add up to e_T")
    count = len(rows) * scored
    derived = {
        **{f"{name}_mean": round_out(sums[name][0] / count, sums[name][1] / count) for name in names[:3]},
        "loss_change_largest": tuple(max(v[i] for v in ends["loss_change_largest"]) for i in (0, 1)),
        "loss_change_smallest": tuple(min(v[i] for v in ends["loss_change_smallest"]) for i in (0, 1)),
        "kl_largest": tuple(max(v[i] for v in ends["kl_largest"]) for i in (0, 1)),
    }
    stated = units["signed"]
    largest = max(abs(x) for x in derived["loss_change_mean"])
    factor = exp_out(*derived["loss_change_mean"]) if largest <= MAX_NATS else None
    need(isinstance(stated, dict) and stated.keys() == {*derived, "perplexity_factor"}, "signed figures are missing")
    if factor is None:
        need(stated["perplexity_factor"] is None, "a perplexity factor beyond all numbers")
    else:
        derived["perplexity_factor"] = factor
    for name, value in derived.items():
        need(enclosure(stated[name], signed=True) == value, f"{name} does not fit the windows")


def draw(seed: str, pool: int, count: int) -> list[int]:
    """``count`` of ``pool`` window numbers without replacement: those with the smallest SHA-256 of seed and number."""
    keyed = ((hashlib.sha256(f"{seed}:{i}".encode("ascii")).digest(), i) for i in range(pool))
    return [i for _, i in heapq.nsmallest(count, keyed)]


def check_unseen(unseen: dict, cert: dict) -> None:
    """Derive the seed, the draw and each bound for unseen windows of the pool."""
    subject, pool = cert["subject"], cert["subject"]["pool"]
    windows, length = subject["tokens"]["shape"]
    total = whole(pool["windows"], "windows of the pool", windows, MAX_POOL)
    named = {"original": subject["original"]["files"], "compressed": subject["compressed"]["files"],
             "pool": pool["sha256"], "windows": total}
    need(pool["seed"] == digest(named), "the seed of the draw is not the hash of models and pool")
    need(isinstance(pool["drawn"], list) and len(pool["drawn"]) == windows
         and all(whole(i, "number of a window", 0, total - 1) >= 0 for i in pool["drawn"]), "bad list of drawn windows")
    need(pool["drawn"] == draw(pool["seed"], total, windows), "the windows are not those that the seed draws")
    rows = cert["numbers"]["units"]["windows"]
    errors = sorted((parse(row["error"][1]) for row in rows), reverse=True)
    changes = sorted((parse(row["loss_change"][1]) for row in rows), reverse=True)
    ids = subject["tokens"].get("ids")
    if ids is not None:
        need(unseen["distinct_tokens"] == len({i for row in ids for i in row}), "number of distinct tokens is wrong")
    levels = unseen["levels"]
    need(isinstance(levels, list) and total > windows and levels, "no unseen window, or no level")
    for level in levels:
        k = whole(level["k"], "k", 1, windows)
        need(level["of"] == windows + 1, "probability is not k / (n + 1)")
        need(parse(level["error"]) == errors[k - 1], "bound for unseen text is not the k-th largest error")
        mean = round_out(changes[k - 1] / (length - 1), changes[k - 1] / (length - 1))[1]
        need(parse(level["loss_change"]) == mean, "bound for unseen text is not the k-th largest change of loss")


def check_every_input(part: dict, named: set) -> None:
    """Derive the bound of each matrix from its operator norm, radius and shift."""
    for row in part["matrices"]:
        where = f"{str(row['block'])[:20]} {str(row['name'])[:60]}"
        need(row["theorem"] in named, f"{where}: its theorem is not among those named")
        operator, radius, shift = (parse(row[key]) for key in ("operator", "radius", "shift"))
        need(min(operator, radius, shift) >= 0, f"{where}: negative norm")
        if row["input"] == "norm":
            d = whole(row["dimension"], "dimension", 1, 1 << 24)
            need(d <= radius**2 <= d * (1 + WIDTH), f"{where}: radius is not the root of the dimension")
        elif row["input"] == "attention":
            need(sum(parse(x) ** 2 for x in row["parts"]) <= radius**2, f"{where}: radius below that of its heads")
        elif row["input"] == "gate":
            gate, value = (parse(x) for x in row["parts"])
            need(gate >= 0 and value >= 0 and gate * value <= radius, f"{where}: radius below gate times value")
        else:
            need(row["input"] == "activation", f"{where}: unknown kind of input")
        need(parse(row["bound"]) == round_up(operator * radius + shift), f"{where}: bound is not norm * radius + shift")


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
        full = cert["schema"] != "peelverify.certificate/1"
        check_subject(cert, full)
        bounds = check_numbers(cert["numbers"], cert["subject"], full)
        if full and cert["every_input"] is not None:
            check_every_input(cert["every_input"], {t["name"] for t in cert["theorems"]})
        if full and cert["unseen"] is not None:
            check_unseen(cert["unseen"], cert)
        return bounds
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Refuted(f"a field is missing or has the wrong type ({type(error).__name__}: {error})") from None


def main(argv: list[str]) -> int:
    """Check one file and print one line."""
    if len(argv) != 2:
        print("usage: checker.py CERTIFICATE", file=sys.stderr)
        return 2
    try:
        bounds = check(read(load_bytes(argv[1])))
    except OSError as error:
        print(f"cannot read {argv[1]!a}: {error.strerror}", file=sys.stderr)
        return 2
    except MemoryError:
        print("not a certificate that fits the memory allowed", file=sys.stderr)
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
