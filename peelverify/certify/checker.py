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
"""

from __future__ import annotations

import array
import decimal
import functools
import hashlib
import heapq
import json
import os
import re
import stat
import sys
from fractions import Fraction

OLDEST, SCHEMA = "peelverify.certificate/1", "peelverify.certificate/1.1"
MAX_BYTES, MAX_VALUES = 16 << 20, 1 << 18  # within these limits any file is read and judged in about a second
MAX_POOL, MAX_WINDOWS, MAX_MATRICES = 1 << 21, 1 << 12, 1 << 12
MAX_PARTS, ALL_PARTS = 1 << 10, 1 << 15  # heads of a block, and of all blocks
MAX_EXPONENT = 2_500  # squares of the smallest float64 need 2,212; larger ones would only cost time
MIN_MARGIN, WIDTH, MAX_NATS = Fraction(1, 10_000), Fraction(1, 10**9), 10_000
_NUMBER = re.compile(r"(-?)0x(0|[1-9a-f][0-9a-f]{0,15})p(\+0|[+-][1-9][0-9]{0,4})\Z")
_VERSION = re.compile(r"peelverify\.certificate/(1(?:\.[1-9]\d{0,3})?)\Z", re.ASCII)


class Refuted(Exception):
    """The file contradicts itself."""


class Unreadable(Exception):
    """The file is no certificate."""


class Newer(Exception):
    """The file has another major version of the format."""


def need(condition: bool, message: str, kind: type[Exception] = Refuted) -> None:
    """Refute the certificate, or refuse to read it, unless the condition holds."""
    if not condition:
        raise kind(message)


def newer_parts(schema: str) -> str:
    """What to say of a newer minor version; empty for a version whose parts are all checked here."""
    version = schema.rpartition("/")[2]
    return "" if schema in (OLDEST, SCHEMA) else f"parts that format {version} adds to 1.1 were not checked"


# Exact numbers


def parse(text: object) -> Fraction:
    """Read one exact number in its only spelling."""
    match = _NUMBER.match(text) if isinstance(text, str) else None
    need(match, f"not an exact number: {str(text)[:40]!r}")
    top, exponent = int(match[1] + match[2], 16), int(match[3])
    need(abs(exponent) <= MAX_EXPONENT, f"exponent out of range: {text}")
    need(top & 1 or text == "0x0p+0", f"not in lowest terms: {text}")
    return Fraction(top << exponent) if exponent >= 0 else Fraction(top, 1 << -exponent)


def spell(value: Fraction) -> str:
    """Write a dyadic number in lowest terms."""
    if value == 0:
        return "0x0p+0"
    top, exponent = abs(value.numerator), 1 - value.denominator.bit_length()
    low = (top & -top).bit_length() - 1
    return f"{'-' if value < 0 else ''}{top >> low:#x}p{exponent + low:+d}"


def round_up(value: Fraction, bits: int = 64) -> Fraction:
    """Smallest dyadic of at most ``bits`` bits that is not below ``value``, of any sign."""
    unit = Fraction(2) ** (abs(value.numerator).bit_length() - value.denominator.bit_length() - bits)
    top = -(-value // unit)  # of one bit too many at most, half of the time
    if abs(top).bit_length() > bits:
        top, unit = -(-top // 2), 2 * unit
    return top * unit


def round_down(value: Fraction, bits: int = 64) -> Fraction:
    """Largest dyadic of at most ``bits`` bits that is not above ``value``, of any sign."""
    return -round_up(-value, bits)


def round_out(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """The interval with ends of at most 64 bits that contains ``[lo, hi]``."""
    return round_down(lo), round_up(hi)


def total(values: object) -> Fraction:
    """Exact sum of dyadic numbers; Python's own looks for common factors at each step."""
    values = list(values)
    unit = max(x.denominator for x in values)
    return Fraction(sum(x.numerator * (unit // x.denominator) for x in values), unit)


def exp_out(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """64-bit numbers below ``exp(lo)`` and above ``exp(hi)``: a tangent, squared up again, rounded outward."""
    ends = []
    for x, rounded in ((lo, round_down), (hi, round_up)):
        halvings = 160 + 2 * max(0, abs(x.numerator).bit_length() - x.denominator.bit_length() + 1)
        piece = x / 2**halvings  # 1 + y <= exp(y) <= 1 / (1 - y), and x^2 / 2^halvings is the relative gap
        value = 1 + piece if rounded is round_down else round_up(1 / (1 - piece), 384)
        for _ in range(halvings):
            value = rounded(value * value, 384)
        ends.append(rounded(value))
    return ends[0], ends[1]


def above(value: Fraction, digits: int = 6) -> str:
    """Decimal text of a number >= 0, rounded up, so that it never claims more than the exact value."""
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    return f"{context.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator)).normalize():g}"


# Reading the file


def digest(part: object) -> str:
    """SHA-256 of a JSON value with sorted keys and no white space."""
    return hashlib.sha256(json.dumps(part, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def load_bytes(path: str) -> bytes:
    """Read a regular file, at most one byte more than the limit; a pipe or device is refused, not waited for."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        need(stat.S_ISREG(os.fstat(stream.fileno()).st_mode), "not a regular file", Unreadable)
        return stream.read(MAX_BYTES + 1)


def no_floats(texts: list[str]) -> None:
    """Refuse JSON floats, given as texts: they are not exact."""
    need(not texts, f"a JSON float where an exact number is needed: {texts and texts[0][:40]}")


def _short_int(text: str) -> int:
    need(len(text) <= 20, "an integer with more than 20 digits")
    return int(text)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    need(len(found) == len(pairs), "a key appears twice")
    return found


def load_json(raw: bytes) -> tuple[object, list[str]]:
    """Strict JSON in UTF-8, within the limits of a certificate, and the floats in it as texts."""
    need(len(raw) <= MAX_BYTES, f"larger than {MAX_BYTES >> 20} MiB", Unreadable)
    need(sum(map(raw.count, (b",", b"[", b"{"))) <= MAX_VALUES, f"more than {MAX_VALUES} values", Unreadable)
    floats: list[str] = []
    try:
        return json.loads(raw.decode("utf-8"), parse_float=floats.append, parse_int=_short_int,
                          parse_constant=floats.append, object_pairs_hook=_unique), floats
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON ({type(error).__name__})") from None


def read(raw: bytes) -> dict:
    """Parse a certificate file; numbers are checked later."""
    found, floats = load_json(raw)
    schema = str(found.get("schema") if isinstance(found, dict) else None)
    need(schema.startswith("peelverify.certificate/"), "no peelverify certificate", Unreadable)
    need(_VERSION.match(schema), f"format {schema[:60]!r}; this one reads {SCHEMA}; use a matching peelverify", Newer)
    no_floats(floats)
    return found


# The fields of the format. A description is a function that reads a value; an object of descriptions, where "*" is any
# name; [description, least, most] for a list of so many; (description,) for what may be null; ABSENT for no such key.

ABSENT = object()


def fit(shape: object, value: object) -> object:
    """The value as its description reads it, without keys that the description lacks."""
    if isinstance(shape, tuple):
        return None if value is None else fit(shape[0], value)
    if isinstance(shape, list):
        need(isinstance(value, list) and shape[1] <= len(value) <= shape[2], "bad list, or number of its entries")
        return [fit(shape[0], part) for part in value]
    if not isinstance(shape, dict):
        return shape(value)
    need(isinstance(value, dict) and bool(value), "an object is needed")
    found = {}
    for key, part in (dict.fromkeys(value, shape["*"]) if "*" in shape else shape).items():
        need((key in value) is (part is not ABSENT), f"{key} is missing, or not in this version of the format")
        if part is not ABSENT:
            try:
                found[key] = fit(part, value[key])
            except Refuted as error:
                raise Refuted(f"{key}: {error}") from None
    return found


def enclosure(pair: object, *, signed: bool = False) -> tuple[Fraction, Fraction]:
    """Read ``[lo, hi]``; a magnitude must be non-negative and sharp to 1e-9."""
    need(isinstance(pair, list) and len(pair) == 2, "an enclosure needs two numbers")
    lo, hi = parse(pair[0]), parse(pair[1])
    need(lo <= hi, f"enclosure turned round: {pair}")
    need(signed or (lo >= 0 and hi - lo <= WIDTH * hi), f"negative norm, or enclosure too wide: {pair}")
    return lo, hi


def size(text: object) -> Fraction:
    """Read an exact number that is not negative."""
    value = parse(text)
    need(value >= 0, f"negative: {text}")
    return value


def value_that(passes: object) -> object:
    """Reader of a value that passes a test."""
    return lambda value: value if passes(value) else need(False, f"bad value: {str(value)[:40]!r}")


def whole(low: int = 0, high: int = 1 << 40) -> object:
    """Reader of a JSON integer in a range."""
    return value_that(lambda x: type(x) is int and low <= x <= high)


def words(pattern: str = "") -> object:
    """Reader of a text of at most 4,096 characters that matches."""
    return value_that(lambda x: type(x) is str and len(x) <= 4096 and re.match(pattern, x, re.ASCII))


_PLACE = {"name": words(), "block": value_that(lambda x: x == "head" or (type(x) is int and x >= 0))}


def matrix(value: dict) -> object:
    """Read a bound for every input; what the radius comes from depends on the kind of input."""
    sources = {"norm": {"dimension": whole(1, 1 << 24)}, "attention": {"parts": [size, 1, MAX_PARTS]},
               "gate": {"parts": [size, 2, 2]}, "activation": {}}
    same = dict.fromkeys(("operator", "radius", "shift", "bound"), size)
    return fit({"input": words(), "theorem": words(), **_PLACE, **same, **sources[value["input"]]}, value)


CHANGES = {"loss_change": total, "loss_change_theorem": total, "kl": total,
           "loss_change_largest": max, "loss_change_smallest": min, "kl_largest": max}
MEANS = {name: f"{name}_mean" if combine is total else name for name, combine in CHANGES.items()}


def fields(full: bool) -> dict:
    """What is read of a certificate of version 1.1 and later if ``full``, else of version 1.0."""

    def new(part: object) -> object:
        return part if full else ABSENT

    text, sha, change = words(), words(r"[0-9a-f]{64}\Z"), functools.partial(enclosure, signed=True)
    decimals = [words(r"-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,4})?\Z"), 0, MAX_VALUES]
    model = {"name": text, "family": text, "dtype": text, "config_sha256": sha, "files": {"*": sha}}
    few = value_that(lambda rows: sum(len(row.get("parts", ())) for row in rows) <= ALL_PARTS)
    signed = {**dict.fromkeys(MEANS.values(), change), "perplexity_factor": (change,)}
    state = {"error": enclosure, "token_max": new(enclosure)}
    rerun = {**state, "attention": text, "threads": words(r"(same|other)\Z"), "batch": whole(1, 1 << 20)}
    window = {
        "same_top": whole(), "oscillation_max": size, "oscillation_sum": size, "error": new(enclosure),
        **dict.fromkeys(CHANGES, new(change)), "tied_at": new([whole(), 0, MAX_VALUES]),
        **({} if full else {"tied": whole()}),
    }
    return {
        "subject": {
            "original": model, "compressed": model, "kept": [whole(), 0, 1024],
            "tokens": {"shape": [whole(1, 1 << 24), 2, 2], "sha256": sha},
            "pool": new(({"sha256": sha, "seed": sha, "windows": whole(1, MAX_POOL), "drawn": [whole(), 1, MAX_WINDOWS],
                          "files": lambda x: x == {} or fit({"*": sha}, x)},)),
            "numerics": {"attention": text, "batch": whole(1, 1 << 20), "head_tokens": new(whole(1)),
                         "states": new(text)},
        },
        "theorems": [{"name": text, "sha256": sha}, 0, 1000],
        "measured": {"*": lambda x: fit(decimals, x if isinstance(x, list) else [x])},
        "numbers": {
            "initial_error": enclosure, "initial_token_max": new(enclosure), "reruns": [rerun, 1, 1024],
            "blocks": [{"name": text, "deleted": value_that(lambda x: type(x) is bool), "propagated": enclosure,
                        "introduced": enclosure, "inner": change, "gain": size, "chain": size, **state}, 2, 1024],
            "margin": size, "portable": size, "token_margin": new(size), "token_portable": new(size),
            "units": {  # of the signed figures there are no others in any version
                "windows": [window, 1, MAX_WINDOWS], "loss_change_max": size, "loss_change_mean": size,
                "same_top": whole(), "tied": whole(), "positions": whole(),
                "signed": new(lambda x: fit(signed, value_that(lambda y: y.keys() == signed.keys())(x))),
            },
        },
        "host": {"*": value_that(lambda x: isinstance(x, (str, int)))},
        "every_input": new(({"matrices": lambda rows: fit([matrix, 0, MAX_MATRICES], few(rows)),
                             "not_covered": [{**_PLACE, "reason": text}, 0, MAX_MATRICES]},)),
        "unseen": new(({"distinct_tokens": whole(), "levels": [
            {"k": whole(1), "of": whole(), "error": size, "loss_change": parse}, 1, 64]},)),
    }


# The checks


def check_chain(numbers: dict, kept: list) -> Fraction:
    """Derive gains and chain of all blocks; return the chain bound."""
    before, blocks, chain = numbers["initial_error"], numbers["blocks"], numbers["initial_error"][1]
    depth = len(blocks) - 1
    need(kept == sorted(set(kept)) and all(k < depth for k in kept), "kept blocks out of order or range")
    for t, block in enumerate(blocks):
        where = f"block {t}"
        need(block["name"] == ("head" if t == depth else where), f"{where}: name out of order")
        need(block["deleted"] is (t < depth and t not in kept), f"{where}: deletion does not fit the kept blocks")
        e, a, d, inner = (block[key] for key in ("error", "propagated", "introduced", "inner"))
        need(before[1] > 0 or a[1] == 0, f"{where}: an error that nothing propagated")
        gain = round_up(a[1] / before[0]) if before[1] > 0 else Fraction(0)
        need(block["gain"] == gain, f"{where}: gain is not propagated / previous error, rounded up")
        chain = round_up(gain * chain + d[1])
        need(block["chain"] == chain, f"{where}: chain is not gain * chain + introduced, rounded up")
        for x, y, z in ((e, a, d), (a, e, d), (d, e, a)):
            need(x[0] <= y[1] + z[1], f"{where}: the triangle inequality fails")
        need(max(map(abs, inner)) <= a[1] * d[1] * (1 + WIDTH) or a[1] * d[1] == 0 == inner[1],
             f"{where}: the Cauchy-Schwarz inequality fails")
        low, high = (a[i] ** 2 + 2 * inner[i] + d[i] ** 2 for i in (0, 1))
        need(low <= e[1] ** 2 and e[0] ** 2 <= high, f"{where}: the squared identity fails")
        before = e
    return chain


def check_portable(numbers: dict, field: str, prefix: str) -> Fraction:
    """Derive a margin and its portable bound from the re-runs; return the bound."""
    lo, hi = numbers["blocks"][-1][field]
    spread = max(max(abs(run[field][1] - lo), abs(hi - run[field][0])) for run in numbers["reruns"])
    margin = round_up(max(MIN_MARGIN, round_up(2 * spread / lo)) if hi > 0 else MIN_MARGIN)
    need(numbers[f"{prefix}margin"] == margin, "margin is not twice the largest change between re-runs")
    bound = round_up(hi * (1 + margin)) if hi > 0 else round_up(2 * spread)
    need(numbers[f"{prefix}portable"] == bound, "portable bound is not error * (1 + margin)")
    return bound


def check_units(units: dict, windows: int, length: int) -> None:
    """Derive loss and top-token figures from the figures of the windows."""
    rows, scored, ties = units["windows"], length - 1, 0
    need(len(rows) == windows, "one row of figures a window is needed")
    for row in rows:
        largest, part, at = row["oscillation_max"], row["oscillation_sum"], row.get("tied_at")
        need(largest <= part <= largest * scored * (1 + WIDTH), "oscillations of a window do not fit")
        need(max(row["same_top"], row.get("tied", 0)) <= length, "counts of a window do not fit")
        need(at is None or (at == sorted(set(at)) and at[-1:] < [length]), "tied positions out of order or range")
        ties += row["tied"] if at is None else len(at)
    need(units["loss_change_max"] == max(row["oscillation_max"] for row in rows), "largest change of loss is wrong")
    mean = round_up(total(row["oscillation_sum"] for row in rows) / (windows * scored))
    need(units["loss_change_mean"] == mean, "mean change of loss does not fit the windows")
    need(units["same_top"] == sum(row["same_top"] for row in rows) and units["tied"] == ties
         and units["positions"] == windows * length, "counts of positions do not fit the windows")


def check_changes(units: dict, scored: int, error: tuple) -> None:
    """Derive the signed changes of loss, the divergence and the perplexity factor from those of the windows."""
    rows = units["windows"]
    for row in rows:
        own, theorem, kl, most, least, kl_most = map(row.get, CHANGES)
        worst, osc = row["oscillation_max"], row["oscillation_sum"] * (1 + WIDTH)
        need(-osc <= theorem[0] <= own[0] and own[1] <= theorem[1] <= osc, "change of loss beyond its theorem")
        need(all(x[1] - x[0] <= WIDTH * scored * (1 + worst) for x in (own, kl, most, least, kl_most)),
             "enclosure too wide")
        need(scored * least[0] <= own[1] and own[0] <= scored * most[1] and least[0] <= most[1]
             and max(map(abs, (*most, *least))) <= worst, "largest change of loss does not fit its window")
        need(0 <= kl[0] <= scored * kl_most[1] and 0 <= kl_most[0] <= kl[1] and kl_most[1] <= worst,
             "divergence does not fit its window")
    low, high = (total(row["error"][i] ** 2 for row in rows) for i in (0, 1))
    need(low <= error[1] ** 2 and error[0] ** 2 <= high, "errors of the windows do not add up to e_T")

    derived, count = {}, len(rows) * scored
    for name, combine in CHANGES.items():
        ends = [combine(row[name][i] for row in rows) for i in (0, 1)]
        derived[MEANS[name]] = round_out(*(x / count for x in ends)) if combine is total else tuple(ends)
    mean = derived["loss_change_mean"]
    derived["perplexity_factor"] = exp_out(*mean) if max(map(abs, mean)) <= MAX_NATS else None
    for name, value in derived.items():
        need(units["signed"][name] == value, f"{name} does not fit the windows")


def draw(seed: str, pool: int, count: int) -> list[int]:
    """``count`` of ``pool`` window numbers: those where SHAKE-256 of the seed has its smallest 8-byte numbers."""
    keys = array.array("Q", hashlib.shake_256(seed.encode("ascii")).digest(8 * pool))
    if sys.byteorder == "big":  # the numbers are little-endian
        keys.byteswap()
    return heapq.nsmallest(count, range(pool), key=keys.__getitem__)


def check_unseen(unseen: dict, subject: dict, rows: list, ids: list | None) -> None:
    """Derive the seed, the draw and each bound for unseen windows of the pool."""
    pool, (windows, length) = subject["pool"], subject["tokens"]["shape"]
    named = {"original": subject["original"]["files"], "compressed": subject["compressed"]["files"],
             "pool": pool["sha256"], "windows": pool["windows"], "drawn": windows}
    need(pool["seed"] == digest(named), "the seed of the draw is not the hash of models, pool and number of windows")
    need(pool["windows"] > windows == len(pool["drawn"]), "no unseen window, or bad list of drawn ones")
    need(pool["drawn"] == draw(pool["seed"], pool["windows"], windows), "the windows are not those that the seed draws")
    errors, changes = (sorted((row[name][1] for row in rows), reverse=True) for name in ("error", "loss_change"))
    need(ids is None or unseen["distinct_tokens"] == len({i for row in ids for i in row}),
         "number of distinct tokens is wrong")
    for level in unseen["levels"]:
        k = level["k"]
        need(k <= windows and level["of"] == windows + 1, "probability is not k / (n + 1)")
        need(level["error"] == errors[k - 1], "bound for unseen text is not the k-th largest error")
        need(level["loss_change"] == round_up(changes[k - 1] / (length - 1)),
             "bound for unseen text is not the k-th largest change of loss")


def check_every_input(rows: list, theorems: set) -> None:
    """Derive the bound of each matrix from its operator norm, radius and shift."""
    for row in rows:
        kind, square = row["input"], row["radius"] ** 2
        need(row["theorem"] in theorems, "the theorem of a matrix is not among those named")
        if kind == "norm":
            d = row["dimension"]
            need(d <= square <= d * (1 + WIDTH), "radius is not the root of the dimension")
        elif kind == "attention":
            need(total(x**2 for x in row["parts"]) <= square, "radius below that of its heads")
        elif kind == "gate":
            need(row["parts"][0] * row["parts"][1] <= row["radius"], "radius below gate times value")
        need(row["bound"] == round_up(row["operator"] * row["radius"] + row["shift"]),
             "bound of a matrix is not norm * radius + shift")


def check(cert: dict) -> dict[str, Fraction]:
    """Check a parsed certificate; return its ``direct`` (upper bound on e_T), ``portable`` and ``chain`` bounds."""
    try:
        body = {key: value for key, value in cert.items() if key not in ("integrity", "host")}
        stated = {"claim_sha256": digest(body), "host_sha256": digest(cert.get("host"))}
        need(cert.get("integrity") == stated, "the digest does not fit: the file was edited or damaged")
        full = cert["schema"] != OLDEST
        found, ids = fit(fields(full), cert), cert["subject"]["tokens"].get("ids")
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Refuted(f"a field is missing or has the wrong type ({type(error).__name__}: {error})") from None
    subject, numbers = found["subject"], found["numbers"]
    windows, length = subject["tokens"]["shape"]
    need(windows <= MAX_WINDOWS and length >= 2, "bad number or length of windows")
    if ids is not None:
        ids = fit([[whole(), length, length], windows, windows], ids)
        need(subject["tokens"]["sha256"] == digest(ids), "token ids do not fit their hash")
    theorems = {theorem["name"] for theorem in found["theorems"]}
    need(len(theorems) == len(found["theorems"]), "a theorem appears twice")
    chain, last = check_chain(numbers, subject["kept"]), numbers["blocks"][-1]["error"]
    portable = check_portable(numbers, "error", "")
    check_units(numbers["units"], windows, length)
    if full:
        first = {"error": numbers["initial_error"], "token_max": numbers["initial_token_max"]}
        for state in (first, *numbers["blocks"], *numbers["reruns"]):  # at most the error of all, at least its mean
            (low, high), (e_low, e_high) = state["token_max"], state["error"]
            need(low <= e_high and e_low**2 <= windows * length * high**2, "largest error of a token does not fit")
        check_portable(numbers, "token_max", "token_")
        check_changes(numbers["units"], length - 1, last)
        pool, unseen = subject["pool"], found["unseen"]
        need((unseen is None) == (pool is None or pool["windows"] == windows), "unseen text and pool do not fit")
        if unseen is not None:
            check_unseen(unseen, subject, numbers["units"]["windows"], ids)
        check_every_input((found["every_input"] or {"matrices": []})["matrices"], theorems)
    return {"direct": last[1], "portable": portable, "chain": chain}


def main(argv: list[str]) -> int:
    """Check one file and print one line."""
    if len(argv) != 2:
        print("usage: checker.py CERTIFICATE", file=sys.stderr)
        return 2
    try:
        cert = read(load_bytes(argv[1]))
        bounds = check(cert)
    except Refuted as error:
        print(f"REFUTED: {error}")
        return 1
    except Newer as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return 3
    except (OSError, MemoryError, Unreadable) as error:
        reason = getattr(error, "strerror", None) or str(error) or "more memory is needed than allowed"
        print(f"not a certificate that can be read: {reason}", file=sys.stderr)
        return 2
    later = newer_parts(cert["schema"])
    print("arithmetic consistent, not tied to any model: "
          f"e_T <= {above(bounds['portable'])} (portable), chain {above(bounds['chain'])}{later and '; ' + later}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
