"""Files that contradict themselves or try to exhaust their reader. Each gives the bytes of a file."""

from __future__ import annotations

import json
from fractions import Fraction

from peelverify.certify.checker import digest, parse
from peelverify.certify.exact import spell
from tests.attacks.forge import seal
from tests.attacks.registry import attack


def _raw(document: dict) -> bytes:
    return json.dumps(seal(document)).encode()


def _step(text: str, up: bool) -> str:
    """One unit of the last of 64 bits up or down: the smallest move in rounding."""
    value = parse(text)
    unit = Fraction(2) ** (value.numerator.bit_length() - value.denominator.bit_length() - 63)
    return spell(value + unit if up else value - unit)


@attack("arithmetic")
def direct_bound_lowered(d):
    """The upper end of the last error is moved down, below the lower end."""
    pair = d["numbers"]["blocks"][-1]["error"]
    pair[1] = spell(parse(pair[0]) / 2)
    return _raw(d)


@attack("arithmetic")
def gain_rounded_down(d):
    """A gain is rounded down instead of up: one unit in the last of 64 bits."""
    block = d["numbers"]["blocks"][1]
    block["gain"] = _step(block["gain"], False)
    return _raw(d)


@attack("arithmetic")
def chain_rounded_down(d):
    """The chain bound is rounded down instead of up."""
    block = d["numbers"]["blocks"][-1]
    block["chain"] = _step(block["chain"], False)
    return _raw(d)


@attack("arithmetic")
def portable_rounded_down(d):
    """The portable bound is rounded down instead of up."""
    d["numbers"]["portable"] = _step(d["numbers"]["portable"], False)
    return _raw(d)


@attack("arithmetic")
def mean_rounded_down(d):
    """The mean change of loss is rounded down instead of up."""
    d["numbers"]["units"]["loss_change_mean"] = _step(d["numbers"]["units"]["loss_change_mean"], False)
    return _raw(d)


@attack("arithmetic")
def margin_below_the_least(d):
    """The margin for other machines is set to zero."""
    d["numbers"]["margin"] = "0x0p+0"
    d["numbers"]["portable"] = d["numbers"]["blocks"][-1]["error"][1]
    return _raw(d)


@attack("arithmetic")
def reruns_dropped(d):
    """All re-runs are removed, so that nothing contradicts a small margin."""
    d["numbers"]["reruns"] = []
    return _raw(d)


@attack("arithmetic")
def block_dropped(d):
    """A block that adds error is left out."""
    del d["numbers"]["blocks"][0]
    return _raw(d)


@attack("arithmetic")
def block_twice(d):
    """A block is listed twice."""
    d["numbers"]["blocks"].insert(1, d["numbers"]["blocks"][1])
    return _raw(d)


@attack("arithmetic")
def blocks_reordered(d):
    """Two blocks change places."""
    blocks = d["numbers"]["blocks"]
    blocks[0], blocks[1] = blocks[1], blocks[0]
    return _raw(d)


@attack("arithmetic")
def window_dropped(d):
    """The worst window is left out of the means."""
    rows = d["numbers"]["units"]["windows"]
    rows.remove(max(rows, key=lambda row: parse(row["oscillation_sum"])))
    return _raw(d)


@attack("arithmetic")
def windows_of_the_draw_reordered(d):
    """The list of drawn windows is sorted, which hides how it was made."""
    d["subject"]["pool"]["drawn"].sort()
    return _raw(d)


@attack("arithmetic")
def level_of_unseen_text_better_than_drawn(d):
    """The bound for unseen text takes the smallest error instead of the k-th largest."""
    rows = d["numbers"]["units"]["windows"]
    d["unseen"]["levels"][0]["error"] = min((row["error"][1] for row in rows), key=parse)
    return _raw(d)


@attack("arithmetic")
def unseen_text_without_a_pool(d):
    """The pool is removed and the claim about unseen text stays."""
    d["subject"]["pool"] = None
    return _raw(d)


@attack("arithmetic")
def newer_claims_under_an_older_version(d):
    """The file calls itself version 1.0, so that its newer parts are not checked but still printed."""
    d["schema"] = "peelverify.certificate/1"
    for row in d["numbers"]["units"]["windows"]:
        row["tied"] = len(row["tied_at"])
    d["numbers"]["units"]["signed"]["loss_change_mean"] = ["-0x1p+0", "-0x1p+0"]
    return _raw(d)


@attack("arithmetic")
def digest_of_another_file(d):
    """A number is changed and the old digest is kept."""
    d = json.loads(_raw(d))
    d["numbers"]["units"]["same_top"] += 1
    return json.dumps(d).encode()


@attack("arithmetic")
def field_missing(d):
    """The enclosure of a block is removed."""
    del d["numbers"]["blocks"][1]["introduced"]
    return _raw(d)


@attack("schema")
def name_of_a_model_is_a_list(d):
    """A name is a nested list, to break whoever prints it."""
    d["subject"]["original"]["name"] = [["x"]]
    return _raw(d)


@attack("schema")
def settings_of_the_wrong_type(d):
    """The batch is negative, so that whoever recomputes fails."""
    d["subject"]["numerics"]["batch"] = -1
    return _raw(d)


@attack("schema")
def measured_figure_is_markup(d):
    """A measured loss is text with markup in place of a decimal."""
    d["measured"]["loss_original"] = "1<script>"
    return _raw(d)


@attack("schema")
def entropy_of_the_tokens_left_out(d):
    """The entropy of the tokens, low where a text is degenerate, is not stated."""
    del d["measured"]["token_entropy_nats"]
    return _raw(d)


@attack("arithmetic")
def repeated_key(d):
    """A key appears twice: readers differ in which one they take."""
    return _raw(d).replace(b'"margin":', b'"margin": "0x1p-1", "margin":', 1)


@attack("arithmetic")
def json_float(d):
    """A number is a JSON float."""
    return _raw(d).replace(b'"positions": ', b'"positions": 1.0, "positions2": ', 1)


@attack("arithmetic")
def not_a_number(d):
    """NaN in place of a number."""
    return _raw(d).replace(b'"positions": ', b'"positions": NaN, "positions2": ', 1)


@attack("arithmetic")
def infinity(d):
    """Infinity in place of a number."""
    return _raw(d).replace(b'"positions": ', b'"positions": -Infinity, "positions2": ', 1)


@attack("arithmetic")
def gate_of_one_part(d):
    """The radius behind a gated product from one part instead of two, to break whoever takes them apart."""
    next(row for row in d["every_input"]["matrices"] if row["input"] == "gate")["parts"].pop()
    return _raw(d)


@attack("arithmetic")
def bound_of_a_matrix_lowered(d):
    """The bound of a matrix for every input is halved, and its norm and radius stay."""
    row = d["every_input"]["matrices"][0]
    row["bound"] = spell(parse(row["bound"]) / 2)
    return _raw(d)


@attack("arithmetic")
def no_windows(d):
    """Zero windows: a mean with denominator zero."""
    d["subject"]["tokens"]["shape"] = [0, 16]
    return _raw(d)


@attack("arithmetic")
def one_token_a_window(d):
    """Windows of one token have no scored position: a mean with denominator zero."""
    d["subject"]["tokens"]["shape"] = [12, 1]
    return _raw(d)


@attack("arithmetic")
def negative_windows(d):
    """A negative count turns a mean round."""
    d["subject"]["tokens"]["shape"] = [-12, 16]
    return _raw(d)


@attack("arithmetic")
def error_of_zero_with_a_gain(d):
    """An error of zero that propagates: a quotient with denominator zero."""
    d["numbers"]["initial_error"] = ["0x0p+0", "0x0p+0"]
    return _raw(d)


@attack("arithmetic")
def number_of_tokens_beyond_all_text(d):
    """A million million tokens."""
    d["subject"]["tokens"]["shape"] = [10**6, 10**6]
    return _raw(d)


@attack("arithmetic")
def exponent_of_ten_thousands(d):
    """A number with the exponent 99,999."""
    d["numbers"]["margin"] = "0x1p+99999"
    return _raw(d)


@attack("arithmetic")
def exponents_that_make_sums_long(d):
    """A thousand blocks that fit, whose numbers span 4,000 binary places, to make exact sums slow."""
    top = Fraction((1 << 63) + 1)
    big, small = top * 2**1900, top * Fraction(1, 2**1990)
    blocks, before, chain = [], small, small
    from peelverify.certify.checker import round_up

    for t in range(1024):
        a, i, e = (big, small, big) if t % 2 else (small, big, big)
        gain = round_up(a / before)
        chain, before = round_up(gain * chain + i), e
        e, a, i = ([spell(x)] * 2 for x in (e, a, i))
        blocks.append({"name": f"block {t}" if t < 1023 else "head", "deleted": False, "error": e, "propagated": a,
                       "introduced": i, "token_max": e, "inner": ["-0x1p-2000", "0x1p-2000"], "gain": spell(gain),
                       "chain": spell(chain)})
    d["numbers"] |= {"blocks": blocks, "initial_error": [spell(small)] * 2, "initial_token_max": [spell(small)] * 2}
    d["subject"]["kept"] = list(range(1023))
    return _raw(d)


@attack("arithmetic")
def mean_so_small_that_its_exponential_is_long(d):
    """Changes of loss near 2**-4400, whose powers would fill the exponential with millions of digits."""
    row = ["0x1p-4400", "0x1p-4400"]
    for window in d["numbers"]["units"]["windows"]:
        window |= {"loss_change": row, "loss_change_largest": row, "loss_change_smallest": row}
    return _raw(d)


@attack("arithmetic")
def integer_of_ten_million_digits(d):
    """An integer with ten million digits, which takes minutes to convert."""
    return _raw(d).replace(b'"positions": ', b'"positions": ' + b"9" * 10**7 + b', "positions2": ', 1)


@attack("arithmetic")
def number_of_ten_million_digits(d):
    """The same as an exact number."""
    d["numbers"]["margin"] = "0x" + "f" * 10**7 + "p+0"
    return _raw(d)


@attack("arithmetic")
def digits_of_other_scripts(d):
    """Arabic digits, which are digits to Python."""
    d["numbers"]["margin"] = "0x1p+٣"
    return _raw(d)


def _seed(d, **drawn):
    """Give the pool the seed that follows from models, text and number of windows."""
    pool, subject = d["subject"]["pool"], d["subject"]
    pool["seed"] = digest({"original": subject["original"]["files"], "compressed": subject["compressed"]["files"],
                           "pool": pool["sha256"], "windows": pool["windows"], **drawn})


def _pool_of(d, windows):
    """Another number of windows in the pool, with the seed that fits it."""
    d["subject"]["pool"]["windows"] = windows
    _seed(d, drawn=d["subject"]["tokens"]["shape"][0])
    return _raw(d)


@attack("arithmetic")
def pool_of_four_thousand_million_windows(d):
    """The draw from a pool of 2**32 windows would take an hour to repeat."""
    return _pool_of(d, 1 << 32)


@attack("arithmetic")
def a_million_million_ties_in_the_oldest_version(d):
    """Version 1.0 counts ties instead of listing them; the windows are said to be as long as 2**24 tokens allow."""
    rows = d["numbers"]["units"]["windows"]
    d = {"schema": "peelverify.certificate/1"} | {k: d[k] for k in d if k not in ("schema", "unseen", "every_input")}
    d["subject"]["tokens"] = {"shape": [len(rows), 1 << 24], "sha256": "a" * 64}
    d["numbers"]["units"]["windows"] = [row | {"tied": 1 << 24} for row in rows]
    return _raw(d)


def _whole_pool(d):
    """The draw takes all windows of the pool, so that no text is unseen."""
    from tests.attacks.forge import rederive

    d["subject"]["pool"]["windows"], d["unseen"] = d["subject"]["tokens"]["shape"][0], None
    return rederive(d)


@attack("arithmetic")
def seed_of_a_pool_that_is_drawn_whole(d):
    """Nothing is unseen, and the seed of the draw is made up."""
    d = _whole_pool(d)
    d["subject"]["pool"]["seed"] = "0" * 64
    return _raw(d)


@attack("arithmetic")
def windows_of_a_pool_that_is_drawn_whole(d):
    """Nothing is unseen, and a window far outside the pool is said to be drawn: whoever looks it up fails."""
    d = _whole_pool(d)
    d["subject"]["pool"]["drawn"][0] = 1 << 40
    return _raw(d)


@attack("verify")
def measured_losses_that_contradict_the_change(d):
    """The copy is said to have a lower loss than the original, by less than losses differ between platforms."""
    d["measured"]["loss_compressed"] = f"{float(d['measured']['loss_compressed']) - 2e-4:.9f}"
    return _raw(d)


@attack("verify")
def measured_losses_below_zero(d):
    """Both losses are lowered by 50 nats, which leaves their difference as it is."""
    for name in ("loss_original", "loss_compressed"):
        d["measured"][name] = f"{float(d['measured'][name]) - 50:.9f}"
    return _raw(d)


@attack("schema")
def parts_are_the_keys_of_an_object(d):
    """The parts of a radius stand as keys, which look like the entries of a list to who only goes through them."""
    row = next(row for row in d["every_input"]["matrices"] if row["input"] == "attention")
    row["parts"] = dict.fromkeys(row["parts"])
    return _raw(d)


@attack("schema")
def parts_where_nothing_uses_them(d):
    """Parts that no rule looks at, behind a norm."""
    next(row for row in d["every_input"]["matrices"] if row["input"] == "norm")["parts"] = ["0x1p+0"]
    return _raw(d)


@attack("arithmetic")
def truth_values_in_the_draw(d):
    """``true`` in place of 1 in the number of distinct tokens and in the draw."""
    pool = d["subject"]["pool"]
    pool["drawn"] = [bool(i) if i < 2 else i for i in pool["drawn"]]
    d["unseen"]["distinct_tokens"] = True
    return _raw(d)


@attack("schema")
def line_break_behind_a_hash(d):
    """Some patterns end before the last line break."""
    d["theorems"][0]["sha256"] += "\n"
    return _raw(d)


@attack("verify")
def field_that_the_version_does_not_have(d):
    """A claim under a name of its own, in a file of a version all of whose fields are known."""
    d["proved"] = "the model is safe"
    return _raw(d)


@attack("parser")
def nested_a_million_deep(d):
    """A million brackets."""
    return b"[" * 10**6


@attack("parser")
def objects_nested_deep(d):
    """A hundred thousand objects inside each other."""
    return b'{"a":' * 10**5 + b"1" + b"}" * 10**5


@attack("parser")
def millions_of_empty_lists(d):
    """Twenty million lists that fit the size limit and take gigabytes as objects."""
    return b'{"schema":"peelverify.certificate/1.1","x":[' + b"[]," * (20 * 10**6) + b"[]]}"


@attack("parser")
def millions_of_keys(d):
    """More than four million keys."""
    keys = ",".join(map('"{}":0'.format, range(1_000)))  # they repeat, but who counts values never gets to see that
    return b'{"schema":"peelverify.certificate/1.1",' + b",".join([keys.encode()] * 4_300) + b"}"


@attack("parser")
def larger_than_the_limit(d):
    """65 MiB of white space behind a certificate."""
    return _raw(d) + b" " * (65 << 20)


@attack("parser")
def not_text(d):
    """Bytes that are no Unicode."""
    return b"\xff\xfe\xfa" * 1000


@attack("parser")
def empty_file(d):
    """Nothing."""
    return b""


@attack("parser")
def lone_surrogates(d):
    """A schema of lone surrogates, which cannot be printed."""
    return b'{"schema": "\\ud800"}'


@attack("schema")
def lone_surrogate_in_a_field(d):
    """A theorem whose hash is a lone surrogate, which cannot be printed."""
    d["theorems"][0]["sha256"] = "\ud800"
    return _raw(d)


@attack("schema")
def pool_without_its_files(d):
    """The files of the pool are not named, so that whoever looks for them fails."""
    del d["subject"]["pool"]["files"]
    return _raw(d)


@attack("schema")
def files_of_the_pool_are_a_list(d):
    """The files of the pool are an empty list."""
    d["subject"]["pool"]["files"] = []
    return _raw(d)


@attack("schema")
def files_of_the_pool_of_two_kinds(d):
    """One hash of a file is a number and one a text, which cannot be sorted."""
    d["subject"]["pool"]["files"] = {"x": 1, "y": "a"}
    return _raw(d)


@attack("schema")
def host_is_a_list(d):
    """The notes on the host are a list, so that whoever looks something up in them fails."""
    d["host"] = ["x"]
    return _raw(d)


@attack("arithmetic")
def host_is_missing(d):
    """There are no notes on the host."""
    del d["host"]
    return _raw(d)


@attack("schema")
def name_of_a_matrix_is_an_object(d):
    """The name of a matrix is an object."""
    d["every_input"]["matrices"][0]["name"] = {"a": [1]}
    return _raw(d)


@attack("schema")
def block_of_a_matrix_is_a_truth_value(d):
    """The block of a matrix is ``false``, which is 0 to Python."""
    d["every_input"]["matrices"][0]["block"] = False
    return _raw(d)


@attack("schema")
def reason_is_not_text(d):
    """Why a matrix has no bound is a number."""
    d["every_input"]["not_covered"] = [{"block": 0, "name": "all", "reason": 1}]
    return _raw(d)


def _many(d, name, count):
    """An exact sum of numbers that span all exponents allowed, ``count`` of them in one matrix."""
    row = next(row for row in d["every_input"]["matrices"] if row["input"] == name)
    top = Fraction((1 << 63) + 1)
    return row, [spell(top * Fraction(2) ** (i * 977 % 4400 - 2200)) for i in range(count)]


@attack("arithmetic")
def more_heads_than_any_model_has(d):
    """Ten thousand parts of one radius, whose squares span 9,000 binary places: an earlier checker took a minute."""
    row, row["parts"] = _many(d, "attention", 10_000)
    return _raw(d)


@attack("arithmetic")
def a_thousand_heads_in_each_of_many_blocks(d):
    """As many parts as a block may have, in 200 matrices."""
    row, parts = _many(d, "attention", 1024)
    d["every_input"]["matrices"] += [row | {"parts": parts}] * 200
    return _raw(d)


@attack("arithmetic")
def as_many_heads_as_allowed_and_a_radius_below(d):
    """All the parts that the format allows, of all exponents, and the last radius too small."""
    row, parts = _many(d, "attention", 1024)
    rows = d["every_input"]["matrices"]
    rows += [row | {"parts": parts, "radius": "0x1p+2400", "bound": "0x1p+2500"}] * 31
    return _raw(d)


@attack("arithmetic")
def as_many_windows_as_allowed(d):
    """4,096 rows of figures that fit, and a mean that does not."""
    units, length = d["numbers"]["units"], d["subject"]["tokens"]["shape"][1]
    units["windows"] = (units["windows"] * 342)[:4096]
    d["subject"]["tokens"] = {"shape": [4096, length], "sha256": "a" * 64}
    d["subject"]["pool"] = d["unseen"] = None
    return _raw(d)


@attack("arithmetic")
def more_windows_than_allowed(d):
    """Twice as many."""
    d = json.loads(as_many_windows_as_allowed(d))
    d["numbers"]["units"]["windows"] *= 2
    d["subject"]["tokens"]["shape"][0] = 8192
    return _raw(d)


@attack("arithmetic")
def as_large_a_pool_as_allowed(d):
    """The draw from a million windows is repeated, and is another one."""
    return _pool_of(d, 1 << 20)


@attack("arithmetic")
def a_seed_without_the_number_of_windows(d):
    """The seed of the draw leaves out how many windows are drawn, so that trying some numbers picks a lucky draw."""
    _seed(d)
    return _raw(d)
