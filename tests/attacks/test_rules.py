"""Every rule of the stand-alone checker refutes a file of its own: without the rule, that file would be accepted."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from peelverify.certify import checker, verify
from peelverify.certify.checker import parse, round_down, round_up
from peelverify.certify.exact import spell
from peelverify.report.findings import Subject, find_line, findings
from tests.attacks.forge import rederive, seal

TINY = Fraction(1, 10**12)


def block(d: dict) -> dict:
    """The first block."""
    return d["numbers"]["blocks"][0]


def window(d: dict) -> dict:
    """The first window."""
    return d["numbers"]["units"]["windows"][0]


def ends(part: dict, key: str) -> list[Fraction]:
    """Both ends of an enclosure."""
    return [parse(x) for x in part[key]]


def matrix(d: dict, kind: str = "norm") -> dict:
    """The first matrix behind an input of this kind."""
    return next(row for row in d["every_input"]["matrices"] if row["input"] == kind)


def along(d: dict, by: Fraction, error: Fraction) -> None:
    """Both errors of the first block point the same way: their product is so much above what that allows."""
    a, own = ends(block(d), "propagated")[1], ends(block(d), "introduced")[1]
    block(d)["inner"] = [spell(round_up(a * own * (1 + by)))] * 2
    low = round_up((a + own) * (1 + error))
    block(d)["error"] = [spell(low), spell(round_down(low * (1 + Fraction(9, 10**10))))]


def from_nothing(d: dict) -> None:
    """No error of the embeddings, yet one that the first block propagates."""
    d["numbers"]["initial_error"] = d["numbers"]["initial_token_max"] = ["0x0p+0"] * 2


def spread_of_kl(d: dict) -> None:
    """A divergence known to 1e-5 only."""
    low, high = ends(window(d), "kl")
    window(d)["kl"] = [spell(low), spell(round_up(high + Fraction(1, 10**5)))]


def times(part: dict, key: str, by: Fraction | int) -> None:
    """A number or an enclosure so many times as large."""
    value = part[key]
    part[key] = spell(parse(value) * by) if isinstance(value, str) else [spell(parse(x) * by) for x in value]


def negative_factors(d: dict) -> None:
    """An operator norm below zero."""
    times(matrix(d), "operator", -1)


def oldest_with_new_parts(d: dict) -> None:
    """The version is lowered, the parts stay."""
    d["schema"] = checker.OLDEST
    for row in d["numbers"]["units"]["windows"]:
        row["tied"] = len(row["tied_at"])


def ids_of_another_shape(d: dict) -> None:
    """One token more in a window, with its digest."""
    tokens = d["subject"]["tokens"]
    tokens["ids"][0].append(tokens["ids"][0][0])
    tokens["sha256"] = checker.digest(tokens["ids"])


def other_ids(d: dict) -> None:
    """Two tokens change places."""
    ids = d["subject"]["tokens"]["ids"]
    i = next(i for i in range(15) if ids[0][i] != ids[0][i + 1])
    ids[0][i], ids[0][i + 1] = ids[0][i + 1], ids[0][i]


# What a rule says, and an edit after which all numbers that follow from others are made to fit again.
RULES: list[tuple[str, Callable[[dict], object]]] = [
    ("numbers.reruns: bad number", lambda d: d["numbers"].update(reruns=d["numbers"]["reruns"] * 300)),
    ("subject.kept out of order or range", lambda d: d["subject"]["kept"].append(2)),
    ("subject.kept out of order or range", lambda d: d["subject"]["kept"].reverse()),
    ("there was no error before", from_nothing),
    ("no triangle", lambda d: along(d, Fraction(8, 10**10), TINY)),
    ("breaks the Cauchy-Schwarz inequality", lambda d: along(d, Fraction(15, 10**10), -TINY)),
    ("breaks the squared identity", lambda d: block(d).update(inner=["0x0p+0"] * 2)),
    ("negative norm, or enclosure too wide", lambda d: block(d)["error"].__setitem__(
        0, spell(round_down(ends(block(d), "error")[1] * (1 - 2 * checker.WIDTH))))),
    ("oscillation_sum does not fit", lambda d: times(window(d), "oscillation_sum", 32)),
    ("tied_at out of order or range", lambda d: window(d).update(tied_at=[3, 3])),
    ("tied_at out of order or range", lambda d: window(d).update(tied_at=[16])),
    ("loss_change beyond its theorem", lambda d: window(d).update(loss_change_theorem=["0x0p+0"] * 2)),
    ("loss_change or kl too wide", spread_of_kl),
    ("loss_change_largest does not fit", lambda d: window(d).update(
        loss_change_largest=[spell(2 * parse(window(d)["oscillation_max"]))] * 2)),
    ("kl does not fit", lambda d: window(d).update(kl=["-0x1p-80"] * 2)),
    ("errors do not add up", lambda d: times(window(d), "error", 2)),
    ("unseen.levels: bad number", lambda d: d["unseen"].update(levels=d["unseen"]["levels"] * 65)),
    ("unseen.levels: bad number", lambda d: d["unseen"].update(levels=[])),
    ("unseen does not fit subject.pool", lambda d: d.update(unseen=None)),
    ("too many matrices", lambda d: d["every_input"].update(matrices=d["every_input"]["matrices"] * 400)),
    ("stands beside it, is negative", negative_factors),
    ("theorem is not among", lambda d: matrix(d).update(theorem="PeelVerify.another")),
    ("radius does not fit", lambda d: times(matrix(d), "radius", Fraction(1, 2))),
    ("radius does not fit", lambda d: times(matrix(d), "radius", 2)),
    ("radius does not fit", lambda d: times(matrix(d, "attention"), "radius", Fraction(1, 2))),
    ("radius does not fit", lambda d: times(matrix(d, "gate"), "radius", Fraction(1, 2))),
    ("ids do not fit their shape", ids_of_another_shape),
    ("ids do not fit their digest", other_ids),
    ("one appears twice", lambda d: d["theorems"].append(d["theorems"][0])),
    ("schema is too old", oldest_with_new_parts),
    ("token_max does not fit", lambda d: times(d["numbers"], "initial_token_max", 1024)),
    ("token_max does not fit", lambda d: times(d["numbers"], "initial_token_max", Fraction(1, 1024))),
]

# Edits after which nothing is made to fit but the digests.
LATE_RULES: list[tuple[str, Callable[[dict], object]]] = [
    ("distinct_tokens does not fit", lambda d: d["unseen"].update(distinct_tokens=d["unseen"]["distinct_tokens"] + 1)),
]

# What cannot be read as it is meant; without these rules something else would fail.
UNREAD: list[tuple[str, Callable[[dict], object]]] = [
    ("not an exact number", lambda d: d["numbers"].update(margin="0x2p+0")),
    ("not an exact number", lambda d: d["numbers"].update(margin=1)),
    ("exponent out of range", lambda d: d["numbers"].update(portable="0x1p+2501")),
    ("enclosure turned round", lambda d: block(d)["inner"].reverse()),
    ("not an integer from", lambda d: d["unseen"]["levels"][0].update(k=True)),
    ("not an integer from", lambda d: d["unseen"]["levels"][0].update(k=13)),
    ("subject.tokens.shape out of range", lambda d: d["subject"]["tokens"].update(shape=[12, 1])),
    ("one row of figures a window", lambda d: d["numbers"]["units"]["windows"].pop()),
    ("does not follow from the other numbers", lambda d: d["numbers"]["blocks"][0].update(gain="0x1p-40")),
]

BYTES: list[tuple[str, type[Exception], Callable[[bytes], bytes]]] = [
    ("larger than 16 MiB", checker.Unreadable, lambda raw: raw + b" " * checker.MAX_BYTES),
    ("more than 262144 values", checker.Unreadable, lambda raw: b"[" + b"1," * checker.MAX_VALUES + b"1]"),
    ("not JSON", checker.Unreadable, lambda raw: raw[:-1]),
    ("no peelverify certificate", checker.Unreadable, lambda raw: b"{}"),
    ("use a matching peelverify", checker.Newer, lambda raw: raw.replace(b"certificate/1.1", b"certificate/2")),
    ("a key appears twice", checker.Refuted, lambda raw: b'{"schema": 1, ' + raw[1:]),
    ("more than 20 digits", checker.Refuted, lambda raw: b'{"x": 100000000000000000000, ' + raw[1:]),
    ("a JSON float", checker.Refuted, lambda raw: b'{"x": 0.5, ' + raw[1:]),
    ("a JSON float", checker.Refuted, lambda raw: b'{"x": NaN, ' + raw[1:]),
]


# Where an annotation of the file should stand, by the first words of what the checker says.
PLACES = {
    "numbers.blocks[0].inner": ("numbers", "blocks", 0, "inner"),
    "numbers.blocks[0].gain": ("numbers", "blocks", 0, "gain"),
    "numbers.margin": ("numbers", "margin"),
    "numbers.units.windows[0].oscillation_sum": ("numbers", "units", "windows", 0, "oscillation_sum"),
    "numbers.units.loss_change_max": ("numbers", "units", "loss_change_max"),
    "numbers.units.signed.kl_mean": ("numbers", "units", "signed", "kl_mean"),
    "subject.pool.seed": ("subject", "pool", "seed"),
    "subject.kept": ("subject", "kept"),
    "unseen.levels[0].error": ("unseen", "levels", 0, "error"),
    "unseen.distinct_tokens": ("unseen", "distinct_tokens"),
    "every_input.matrices[1].bound": ("every_input", "matrices", 1, "bound"),
    "every_input.matrices[1].theorem": ("every_input", "matrices", 1, "theorem"),
    "the digest": ("integrity", "claim_sha256"),
    "theorems": ("theorems",),
}


def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one rule out of the checker."""
    need = checker.need

    def lenient(condition: object, message: str, kind: type[Exception] = checker.Refuted) -> None:
        if message != rule:
            need(condition, message, kind)

    monkeypatch.setattr(checker, "need", lenient)


def refuted_by_one_rule(document: dict, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule refutes it, and it alone does."""
    with pytest.raises(checker.Refuted, match=says) as caught:
        checker.check(document)
    without(str(caught.value), monkeypatch)
    checker.check(document)


@pytest.mark.parametrize(("says", "edit"), RULES, ids=[f"{says} {i}" for i, (says, _) in enumerate(RULES)])
def test_a_rule_refutes_what_no_other_does(says, edit, target, monkeypatch) -> None:
    """An edit with everything that depends on it, which one rule refuses and the checker without it accepts."""
    document = target.copy()
    edit(document)
    refuted_by_one_rule(rederive(document), says, monkeypatch)


@pytest.mark.parametrize(("says", "edit"), LATE_RULES)
def test_a_rule_refutes_a_number_that_nothing_depends_on(says, edit, target, monkeypatch) -> None:
    """The same for the last numbers."""
    document = target.copy()
    edit(document)
    refuted_by_one_rule(seal(document), says, monkeypatch)


def test_the_digest_refutes_what_no_other_rule_does(target, monkeypatch) -> None:
    """A note on the host is changed and nothing else."""
    document = target.copy()
    document["host"]["machine"] = "another"
    refuted_by_one_rule(document, "the digest does not fit", monkeypatch)


@pytest.mark.parametrize(("says", "edit"), UNREAD, ids=[f"{says} {i}" for i, (says, _) in enumerate(UNREAD)])
def test_what_cannot_be_read_is_refused_in_these_words(says, edit, target) -> None:
    """Numbers in another spelling, of another type or out of range, and lists of another length."""
    document = target.copy()
    edit(document)
    with pytest.raises(checker.Refuted, match=says):
        checker.check(seal(document))


@pytest.mark.parametrize(("says", "kind", "edit"), BYTES, ids=[f"{says} {i}" for i, (says, *_) in enumerate(BYTES)])
def test_bytes_are_refused_in_these_words(says, kind, edit, target) -> None:
    """Files that a lenient reader would take, in whole or in part."""
    raw = json.dumps(target.copy()).encode("ascii")
    checker.check(checker.read(raw))
    with pytest.raises(kind, match=says):
        checker.read(edit(raw))


def at(document: Any, place: tuple[str | int, ...]) -> Any:
    """The part of a document at a place."""
    for key in place:
        document = document[key]
    return document


@pytest.mark.parametrize(("says", "place"), PLACES.items(), ids=PLACES)
def test_an_annotation_stands_at_the_line_that_is_wrong(says, place, target, tmp_path: Path) -> None:
    """The words of the checker lead to the line of the field, in the file as it is written."""
    document, path = target.copy(), tmp_path / "bad.cert.json"
    owner, key = at(document, place[:-1]), place[-1]
    if says == "the digest":
        document["host"]["machine"] = "another"
    elif isinstance(owner[key], list) and owner[key] and not isinstance(owner[key][0], str):
        owner[key].append(owner[key][0])
    elif key == "inner":
        owner[key] = ["0x1p+60"] * 2
    elif key == "theorem":
        owner[key] = "PeelVerify.another"
    elif key == "seed":
        owner[key] = "0" * 64
    elif isinstance(owner[key], int):
        owner[key] += 1
    else:
        times(owner, key, 2 if key != "oscillation_sum" else 64)
    text = json.dumps(document if says == "the digest" else seal(document), indent=1)
    path.write_text(text)
    found = verify(path, lean=False)
    assert found.checks[0].detail.startswith(says), found.checks[0].detail
    [finding] = findings([Subject(path, found)])
    assert (len(place), finding.line) == find_line(text, place)


def test_no_rule_is_left_out() -> None:
    """Every message of the checker's source is provoked by one of the edits above; `main` has tests of its own."""
    tree = ast.parse(Path(checker.__file__).read_text(encoding="utf-8"))
    body = [part for part in tree.body if getattr(part, "name", "") != "main"]
    calls = [node for part in body for node in ast.walk(part) if isinstance(node, ast.Call)]
    messages = [ast.unparse(node.args[1]) for node in calls if ast.unparse(node.func) in ("need", "Unreadable")
                if len(node.args) > 1]
    assert len(messages) > 30
    says = {rule[0] for rule in (*RULES, *LATE_RULES, *UNREAD, *BYTES)} | {"the digest does not fit"}
    words = [re.sub(r"16 MiB|262144 values|\^", "", text).strip() for text in says]
    left = [message for message in messages if not any(word in message for word in words)]
    assert left == []
