"""Check a peelverify certificate with nothing but the Python standard library.

Run it alone: ``python -I -S checker.py model.cert.json``. It reads the file, checks both digests, and derives
anew every number that follows from others: gains, chain, portable bounds, margins, means, perplexity factor,
the draw of windows from a pool, the bounds for unseen text, the bound of each matrix. It says nothing about
models or tokens, which it never sees; ``peelverify verify`` with models does. Names, hashes of files, notes and
surplus fields are left to ``schema.json``, for which any JSON Schema validator will do, and decimals that were
measured to a reader; ``peelverify check`` asks a validator, and compares the measured losses as well.

The schema is ``peelverify.certificate/MAJOR[.MINOR]``. Any minor version of this major one is read; parts that
a newer minor version adds are not checked here. Another major version is not read.

Numbers are dyadic, written ``0x<hex digits>p<exponent>`` with an optional minus sign, at most 64 bits, in
lowest terms, so that each number has one spelling. JSON floats are refused.

Exit status: 0 consistent, 1 refuted, 2 not a certificate or not readable, 3 a newer format.
"""

import decimal
import hashlib
import heapq
import json
import os
import re
import struct
import sys
from fractions import Fraction

OLDEST, SCHEMA = "peelverify.certificate/1", "peelverify.certificate/1.1"
MAX_BYTES, MAX_VALUES, MAX_EXPONENT = 16 << 20, 1 << 18, 2_500  # any file within the limits takes about a second
MAX_POOL, MAX_WINDOWS, MAX_BLOCKS, MAX_PARTS = 1 << 20, 1 << 12, 1 << 10, 1 << 14
MIN_MARGIN, WIDTH, MAX_NATS = Fraction(1, 10_000), Fraction(1, 10**9), 1_600  # whose exponential can be written
NUMBER = re.compile(r"(0x0(?=p\+0\Z)|-?0x(?:[1-9a-f][\da-f]{0,14})?[13579bdf])p(\+0|[+-][1-9]\d{0,3})\Z", re.ASCII)
TOTALS = ("loss_change", "loss_change_theorem", "kl")
EXTREMES = {"loss_change_largest": max, "kl_largest": max, "loss_change_smallest": min}


class Refuted(Exception):
    """The file contradicts itself."""


class Unreadable(Exception):
    """The file is no certificate."""


class Newer(Exception):
    """The file has another major version of the format."""


def need(condition: object, message: str, kind: type[Exception] = Refuted) -> None:
    """Refute the certificate, or refuse to read it, unless the condition holds."""
    if not condition:
        raise kind(message)


# Exact numbers


def parse(text: object) -> Fraction:
    """Read one exact number in its only spelling."""
    match = NUMBER.match(text) if isinstance(text, str) else None
    need(match, f"not an exact number: {str(text)[:40]!a}")
    top, exponent = int(match[1], 16), int(match[2])
    need(abs(exponent) <= MAX_EXPONENT, f"exponent out of range: {text}")
    return Fraction(top << exponent) if exponent >= 0 else Fraction(top, 1 << -exponent)


def span(pair: object) -> tuple[Fraction, Fraction]:
    """Read ``[lo, hi]``."""
    lo, hi = map(parse, pair)
    need(lo <= hi, f"enclosure turned round: {pair}")
    return lo, hi


def norm(pair: object) -> tuple[Fraction, Fraction]:
    """Read ``[lo, hi]`` around a norm: not negative, and sharp to 1e-9."""
    lo, hi = span(pair)
    need(lo >= 0 and hi - lo <= WIDTH * hi, f"negative norm, or enclosure too wide: {pair}")
    return lo, hi


def whole(value: object, low: int = 0, high: int = 1 << 40) -> int:
    """Read a JSON integer in a range."""
    need(type(value) is int and low <= value <= high, f"not an integer from {low} to {high}: {str(value)[:40]!a}")
    return value


def follows(stated: dict, where: str = "", /, **derived: object) -> None:
    """Refute stated values that are not the ones derived from other values, or of another type."""
    for name, value in derived.items():
        read = {Fraction: parse, tuple: span}.get(type(value))
        same = read(stated[name]) == value if read else json.dumps(stated[name]) == json.dumps(value)
        need(same, f"{where}{name} does not follow from the other numbers")


def round_up(value: Fraction, bits: int = 64) -> Fraction:
    """Smallest dyadic of at most ``bits`` bits that is not below ``value``, of any sign."""
    unit = Fraction(2) ** (abs(value.numerator).bit_length() - value.denominator.bit_length() - bits)
    top = -(-value // unit)  # of one bit too many at most, half of the time
    return top * unit if abs(top).bit_length() <= bits else -(-top // 2) * 2 * unit


def round_down(value: Fraction, bits: int = 64) -> Fraction:
    """Largest dyadic of at most ``bits`` bits that is not above ``value``, of any sign."""
    return -round_up(-value, bits)


def total(values: object) -> Fraction:
    """Exact sum of dyadic numbers; Python's own looks for common factors at each step."""
    values = list(values)
    unit = max(x.denominator for x in values)
    return Fraction(sum(x.numerator * (unit // x.denominator) for x in values), unit)


def exp_below(x: Fraction) -> Fraction:
    """Below ``exp(x)`` by at most 2^-150 of it: ``1 + y <= exp(y)`` for a small part of x, squared up again."""
    halvings = 160 + 2 * max(0, abs(x.numerator).bit_length() - x.denominator.bit_length() + 1)
    value = 1 + x / 2**halvings  # x^2 / 2^halvings is the relative gap
    for _ in range(halvings):
        value = round_down(value * value, 384)
    return value


def exp_out(lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """64-bit numbers below ``exp(lo)`` and above ``exp(hi)``."""
    return round_down(exp_below(lo)), round_up(1 / exp_below(-hi))


def above(value: Fraction, digits: int = 6) -> str:
    """Decimal text of a number >= 0, rounded up, so that it never claims more than the exact value."""
    divide = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING).divide
    return f"{divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator)).normalize():g}"


# Reading the file


def digest(part: object) -> str:
    """SHA-256 of a JSON value with sorted keys and no white space."""
    return hashlib.sha256(json.dumps(part, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    need(len(dict(pairs)) == len(pairs), "a key appears twice")
    return dict(pairs)


def _short_int(text: str) -> int:
    need(len(text) <= 20, "an integer with more than 20 digits")
    return int(text)


def load_json(raw: bytes) -> tuple[object, list[str]]:
    """Strict JSON in UTF-8, within the limits of a certificate, and the floats in it as texts."""
    need(len(raw) <= MAX_BYTES, f"larger than {MAX_BYTES >> 20} MiB", Unreadable)
    need(sum(map(raw.count, (b",", b"[", b"{"))) <= MAX_VALUES, f"more than {MAX_VALUES} values", Unreadable)
    floats: list[str] = []
    try:
        return json.loads(raw.decode("utf-8"), parse_float=floats.append, parse_constant=floats.append,
                          parse_int=_short_int, object_pairs_hook=_unique), floats
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON ({type(error).__name__})") from None


def read(raw: bytes) -> dict:
    """Parse a certificate file; numbers are checked later."""
    found, floats = load_json(raw)
    schema = str(found.get("schema") if isinstance(found, dict) else None)
    need(schema.startswith("peelverify.certificate/"), "no peelverify certificate", Unreadable)
    need(re.match(r"peelverify\.certificate/1(\.[1-9]\d{0,3})?\Z", schema, re.ASCII),
         f"format {schema[:60]!a}; this one reads {SCHEMA}; use a matching peelverify", Newer)
    need(not floats, f"a JSON float where an exact number is needed: {floats and floats[0][:40]!a}")
    return found


# The checks


def check_chain(numbers: dict, kept: list) -> Fraction:
    """Derive gains and chain of all blocks; return the chain bound."""
    before, depth = norm(numbers["initial_error"]), len(numbers["blocks"]) - 1
    chain = before[1]
    need(1 <= depth < MAX_BLOCKS >= len(numbers["reruns"]), "numbers.blocks or numbers.reruns: bad number of them")
    need(kept == sorted(set(kept)) and all(whole(k) < depth for k in kept), "subject.kept out of order or range")
    for t, block in enumerate(numbers["blocks"]):
        where, inner = f"numbers.blocks[{t}].", span(block["inner"])
        e, a, d = (norm(block[key]) for key in ("error", "propagated", "introduced"))
        need(before[1] > 0 or a[1] == 0, f"{where}propagated, though there was no error before")
        gain = round_up(a[1] / before[0]) if before[1] > 0 else Fraction(0)
        chain, before = round_up(gain * chain + d[1]), e
        follows(block, where, name="head" if t == depth else f"block {t}", gain=gain, chain=chain,
                deleted=t < depth and t not in kept)
        need(all(x[0] <= y[1] + z[1] for x, y, z in ((e, a, d), (a, e, d), (d, e, a))), f"{where}error: no triangle")
        need(max(map(abs, inner)) <= a[1] * d[1] * (1 + WIDTH), f"{where}inner breaks the Cauchy-Schwarz inequality")
        low, high = (a[i] ** 2 + 2 * inner[i] + d[i] ** 2 for i in (0, 1))
        need(low <= e[1] ** 2 and e[0] ** 2 <= high, f"{where}error breaks the squared identity")
    return chain


def check_portable(numbers: dict, field: str, prefix: str) -> Fraction:
    """Derive a margin, twice the largest change between re-runs, and its portable bound; return the bound."""
    (lo, hi), *reruns = (norm(state[field]) for state in (numbers["blocks"][-1], *numbers["reruns"]))
    spread = max(max(abs(high - lo), abs(hi - low)) for low, high in reruns)
    margin = round_up(max(MIN_MARGIN, 2 * spread / lo if hi > 0 else 0))
    bound = round_up(max(hi * (1 + margin), 2 * spread))
    follows(numbers, "numbers.", **{f"{prefix}margin": margin, f"{prefix}portable": bound})
    return bound


def check_units(units: dict, windows: int, length: int, *, full: bool) -> None:
    """Derive loss and top-token figures from the figures of the windows."""
    rows, scored, tied, same_top = units["windows"], length - 1, 0, 0
    need(len(rows) == windows, "numbers.units.windows: one row of figures a window is needed")
    largest, sums = ([parse(row[name]) for row in rows] for name in ("oscillation_max", "oscillation_sum"))
    for i, (row, worst, part) in enumerate(zip(rows, largest, sums, strict=True)):
        where, at = f"numbers.units.windows[{i}].", row["tied_at"] if full else []
        need(0 <= worst <= part <= worst * scored * (1 + WIDTH), f"{where}oscillation_sum does not fit the largest")
        need(at == sorted(set(at)) and all(whole(k) < length for k in at), f"{where}tied_at out of order or range")
        tied += len(at) if full else whole(row["tied"], 0, length)
        same_top += whole(row["same_top"], 0, length)
    follows(units, "numbers.units.", loss_change_mean=round_up(total(sums) / (windows * scored)), tied=tied,
            loss_change_max=max(largest), same_top=same_top, positions=windows * length)


def check_changes(units: dict, scored: int, error: tuple) -> None:
    """Derive the signed changes of loss, the divergence and the perplexity factor from those of the windows."""
    rows, count = units["windows"], len(units["windows"]) * scored
    ends = {name: [span(row[name]) for row in rows] for name in (*TOTALS, *EXTREMES)}
    for i, (row, own, theorem, kl, most, kl_most, least) in enumerate(zip(rows, *ends.values(), strict=True)):
        where, worst = f"numbers.units.windows[{i}].", parse(row["oscillation_max"])
        osc, wide = parse(row["oscillation_sum"]) * (1 + WIDTH), WIDTH * scored * (1 + worst)
        need(-osc <= theorem[0] <= own[0] and own[1] <= theorem[1] <= osc, f"{where}loss_change beyond its theorem")
        need(all(hi - lo <= wide for lo, hi in (own, kl, most, least, kl_most)), f"{where}loss_change or kl too wide")
        need(scored * least[0] <= own[1] and own[0] <= scored * most[1] and least[0] <= most[1]
             and max(map(abs, (*most, *least))) <= worst, f"{where}loss_change_largest does not fit")
        need(0 <= kl[0] <= scored * kl_most[1] and 0 <= kl_most[0] <= kl[1] and kl_most[1] <= worst,
             f"{where}kl does not fit")
    low, high = (total(x**2 for x in end) for end in zip(*(norm(row["error"]) for row in rows), strict=True))
    need(low <= error[1] ** 2 and error[0] ** 2 <= high, "numbers.units.windows: errors do not add up to e_T")
    sums = {name: [*map(total, zip(*ends[name], strict=True))] for name in TOTALS}
    means = {f"{name}_mean": (round_down(low / count), round_up(high / count)) for name, (low, high) in sums.items()}
    most = {name: tuple(map(combine, zip(*ends[name], strict=True))) for name, combine in EXTREMES.items()}
    mean = means["loss_change_mean"]
    factor = exp_out(*mean) if max(map(abs, mean)) <= MAX_NATS else None
    follows(units["signed"], "numbers.units.signed.", **means, **most, perplexity_factor=factor)


def draw(seed: str, pool: int, count: int) -> list[int]:
    """``count`` of ``pool`` window numbers: those where SHAKE-256 of the seed has its smallest 8-byte numbers."""
    keys = struct.unpack(f"<{pool}Q", hashlib.shake_256(seed.encode("ascii")).digest(8 * pool))
    return heapq.nsmallest(count, range(pool), key=keys.__getitem__)


def check_pool(pool: dict, subject: dict, windows: int) -> None:
    """Derive the seed and the draw of windows from the pool."""
    seed = digest({"original": subject["original"]["files"], "compressed": subject["compressed"]["files"],
                   "pool": pool["sha256"], "windows": pool["windows"], "drawn": windows})
    follows(pool, "subject.pool.", seed=seed, drawn=draw(seed, whole(pool["windows"], windows, MAX_POOL), windows))


def check_unseen(unseen: dict, rows: list, windows: int, length: int, ids: list | None) -> None:
    """Derive the number of different tokens, where the file has them, and each bound for unseen windows."""
    distinct = whole(unseen["distinct_tokens"], 1, windows * length)
    need(ids is None or distinct == len({i for row in ids for i in row}), "unseen.distinct_tokens does not fit")
    errors = sorted((norm(row["error"])[1] for row in rows), reverse=True)
    changes = sorted((span(row["loss_change"])[1] for row in rows), reverse=True)
    need(1 <= len(unseen["levels"]) <= 64, "unseen.levels: bad number of them")
    for i, level in enumerate(unseen["levels"]):
        k = whole(level["k"], 1, windows)
        follows(level, f"unseen.levels[{i}].", of=windows + 1, error=errors[k - 1],
                loss_change=round_up(changes[k - 1] / (length - 1)))


def check_every_input(rows: list, theorems: set) -> None:
    """Derive the bound of each matrix from its operator norm, radius and shift."""
    need(len(rows) <= MAX_WINDOWS and sum(len(row.get("parts", [])) for row in rows) <= MAX_PARTS, "too many matrices")
    for i, row in enumerate(rows):
        where, d = f"every_input.matrices[{i}].", whole(row.get("dimension", 0))
        op, radius, shift, *parts = map(parse, (row["operator"], row["radius"], row["shift"], *row.get("parts", [])))
        need(min(op, radius, shift, *parts) >= 0, f"{where}operator, or what stands beside it, is negative")
        need(row["theorem"] in theorems, f"{where}theorem is not among those named")
        fits = {"norm": 1 <= d <= radius**2 <= d * (1 + WIDTH), "activation": True,
                "attention": parts and total(x**2 for x in parts) <= radius**2,
                "gate": len(parts) == 2 and parts[0] * parts[1] <= radius}
        need(fits[row["input"]], f"{where}radius does not fit its input")
        follows(row, where, bound=round_up(op * radius + shift))


def _check(cert: dict) -> dict[str, Fraction]:
    body = {key: value for key, value in cert.items() if key not in ("integrity", "host")}
    stated = {"claim_sha256": digest(body), "host_sha256": digest(cert["host"])}
    need(cert["integrity"] == stated, "the digest does not fit: the file was edited or damaged")
    subject, numbers, units, full = cert["subject"], cert["numbers"], cert["numbers"]["units"], cert["schema"] != OLDEST
    (windows, length), ids = map(whole, subject["tokens"]["shape"]), subject["tokens"].get("ids")
    need(1 <= windows <= MAX_WINDOWS and 2 <= length <= 1 << 24, "subject.tokens.shape out of range")
    need(ids is None or [len(row) for row in ids] == [length] * windows, "subject.tokens.ids do not fit their shape")
    need(ids is None or subject["tokens"]["sha256"] == digest([[*map(whole, row)] for row in ids]),
         "subject.tokens.ids do not fit their digest")
    theorems = {theorem["name"] for theorem in cert["theorems"]}
    need(len(theorems) == len(cert["theorems"]), "theorems: one appears twice")
    bounds = {"direct": norm(numbers["blocks"][-1]["error"])[1], "portable": check_portable(numbers, "error", ""),
              "chain": check_chain(numbers, subject["kept"])}
    check_units(units, windows, length, full=full)
    need(full or not {"pool", "unseen", "every_input", "signed"} & {*subject, *cert, *units}, "schema is too old")
    if full:
        first = {"error": numbers["initial_error"], "token_max": numbers["initial_token_max"]}
        for state in (first, *numbers["blocks"], *numbers["reruns"]):  # at most the error of all, at least its mean
            (low, high), (e_low, e_high) = norm(state["token_max"]), norm(state["error"])
            need(low <= e_high and e_low**2 <= windows * length * high**2, "token_max does not fit its error")
        check_portable(numbers, "token_max", "token_")
        check_changes(units, length - 1, norm(numbers["blocks"][-1]["error"]))
        pool, unseen = subject["pool"], cert["unseen"]
        need((unseen is None) == (pool is None or pool["windows"] == windows), "unseen does not fit subject.pool")
        if pool is not None:
            check_pool(pool, subject, windows)
        if unseen is not None:
            check_unseen(unseen, units["windows"], windows, length, ids)
        if cert["every_input"] is not None:
            check_every_input(cert["every_input"]["matrices"], theorems)
    return bounds


def check(cert: dict) -> dict[str, Fraction]:
    """Check a parsed certificate; return its ``direct`` (upper bound on e_T), ``portable`` and ``chain`` bounds."""
    try:
        return _check(cert)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as error:
        raise Refuted(f"a field is missing or has the wrong type ({type(error).__name__}: {error!a})") from None


def main(argv: list[str]) -> int:
    """Check one file and print one line."""
    try:
        need(len(argv) == 2, "usage: checker.py CERTIFICATE", Unreadable)
        need(os.path.isfile(argv[1]), "no such file, or not a regular one", Unreadable)
        with open(argv[1], "rb") as stream:
            cert = read(stream.read(MAX_BYTES + 1))
        bounds = check(cert)
    except (Refuted, Newer, Unreadable, OSError, MemoryError) as error:
        status = {Refuted: 1, Newer: 3}.get(type(error), 2)
        reason = getattr(error, "strerror", None) or str(error) or "more memory is needed than allowed"
        print("REFUTED:" if status == 1 else "cannot check:", reason, file=sys.stdout if status == 1 else sys.stderr)
        return status
    later = "" if cert["schema"] in (OLDEST, SCHEMA) else "; parts newer than those of 1.1 were not checked"
    print("arithmetic consistent, not tied to any model: "
          f"e_T <= {above(bounds['portable'])} (portable), chain {above(bounds['chain'])}{later}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
