"""The certificate file: versions, its JSON Schema, and edits of its newer parts."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from importlib import resources
from pathlib import Path

import jsonschema
import mpmath
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from peelverify.bounds import exponential
from peelverify.certify import Certificate, certify, checker, shape, verify
from peelverify.certify.checker import exp_out, parse
from peelverify.certify.exact import round_out, spell
from peelverify.certify.pool import Pool
from peelverify.data import builtin_text, windows
from peelverify.errors import InputError
from peelverify.models import ModelView, load_model
from peelverify.models.small import byte_tokenizer
from peelverify.verdict import Verdict
from tests.unit.test_certify import changed, edited, resealed

OLD = Path(__file__).parents[1] / "data" / "version-1.0.cert.json"


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """The schema that ships with the package."""
    text = (resources.files("peelverify.certify") / "schema.json").read_text(encoding="utf-8")
    found = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.fixture(scope="module")
def drawn(model_dirs, noisy_dirs) -> Certificate:
    """A certificate with all parts: 12 windows drawn from a pool of 200."""
    pool = Pool(windows(byte_tokenizer(), builtin_text(), length=16, count=200), {"topics.txt": "0" * 64})
    return certify(model_dirs["gpt2"], noisy_dirs["gpt2"], pool=pool, windows=12, lean=False, batch=4)


def test_certificates_have_the_shape_of_the_schema(schema, drawn) -> None:
    """New and old certificates are valid, and so is one without the parts that can be left out."""
    bare = copy.deepcopy(drawn.document)
    bare["every_input"] = bare["unseen"] = bare["subject"]["pool"] = None
    for document in (drawn.document, bare, json.loads(OLD.read_text())):
        assert [e.message for e in schema.iter_errors(document)] == []


def leaves(value, where=()):
    """Paths of everything that is neither an object nor a list."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield from leaves(part, (*where, key)) if isinstance(part, (dict, list)) else [(*where, key)]


OPEN = ("files", "host")
"""Objects whose keys are free."""


def test_the_schema_notices_a_wrong_type_anywhere(schema, drawn) -> None:
    """Each value of a certificate replaced by one of another type is an error, outside the notes on the host."""
    tried = 0
    for where in leaves(drawn.document):
        if where[0] == "host" or (len(where) > 5 and where[-1] not in (0, 1)):
            continue
        assert not schema.is_valid(edited(drawn.document, where, 0.5)), where
        tried += 1
    assert tried > 300


def test_the_schema_notices_a_missing_key_anywhere(schema, drawn) -> None:
    """Each key that the checker reads is required."""

    def objects(value, where=()):
        if isinstance(value, dict):
            yield where
            for key, part in value.items():
                yield from objects(part, (*where, key))
        elif isinstance(value, list) and value:
            yield from objects(value[0], (*where, 0))

    optional = {("subject", "tokens", "ids"), ("measured", "every_input_largest_change")}
    for where in objects(drawn.document):
        if where and where[-1] in OPEN:
            continue
        inside = drawn.document
        for key in where:
            inside = inside[key]
        for key in inside:
            if (*where, key) in optional or key == "parts" or where[:1] == ("host",):
                continue
            short = edited(drawn.document, where, {k: v for k, v in inside.items() if k != key}) if where else {
                k: v for k, v in drawn.document.items() if k != key
            }
            assert not schema.is_valid(short), (*where, key)


@pytest.mark.parametrize(
    "text", ["0x10p+0", "0x0p+1", "0x1p+01", "1", "0x1p0", "-0x2p-1", "0x" + "1" * 17 + "p+0", "0x1P+0", ""],
)
def test_schema_and_checker_refuse_the_same_spellings(schema, drawn, text) -> None:
    """A number that the checker does not read is not valid either."""
    assert not schema.is_valid(edited(drawn.document, ("numbers", "margin"), text))
    with pytest.raises(checker.Refuted):
        parse(text)


def test_an_older_minor_version_is_read(tmp_path: Path) -> None:
    """A file of version 1.0 holds at level arithmetic and makes the claims that it has."""
    found = verify(OLD, lean=False)
    assert found.verdict is Verdict.HOLDS
    old = found.certificate
    assert old.bound > 0
    assert old.token_bound is None and old.signed("loss_change_mean") is None and old.ties == []
    assert "by at most" in old.claim
    assert "no pool, unseen text, bounds for every input" in found.older


def test_a_newer_minor_version_is_read(drawn, tmp_path: Path) -> None:
    """Keys that are added later are left alone; what is known is still checked."""
    later = resealed(drawn.document | {"schema": "peelverify.certificate/1.7", "added": {"later": "0x1p+0"}})
    path = tmp_path / "later.json"
    path.write_text(json.dumps(later))
    found = verify(path, lean=False)
    assert (found.verdict, found.older) == (Verdict.HOLDS, "")
    bad = edited(later, ("numbers", "portable"), changed(later["numbers"]["portable"]))
    with pytest.raises(checker.Refuted):
        checker.check(resealed(bad))


@pytest.mark.parametrize("version", ["2", "2.1", "10", "1.0", "1.01", "01", "1.", "1.1.1", "x", ""])
def test_another_major_version_exits_3_with_advice(version, tmp_path: Path, capsys) -> None:
    """An unknown version is neither confirmed nor refuted."""
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"schema": f"peelverify.certificate/{version}"}))
    assert checker.main(["checker.py", str(path)]) == 3
    assert "use a matching peelverify" in capsys.readouterr().err
    assert verify(path, lean=False).verdict is Verdict.INCONCLUSIVE


def test_a_newer_file_called_an_old_one_makes_no_new_claim(drawn) -> None:
    """Relabelled as version 1.0, the newer parts are not read as claims: the checker refuses the ties at least."""
    with pytest.raises(checker.Refuted):
        checker.check(resealed(drawn.document | {"schema": "peelverify.certificate/1"}))


DERIVED = [
    *(("numbers", "units", "signed", name, end) for name in
      ("loss_change_mean", "loss_change_theorem_mean", "kl_mean", "loss_change_largest", "loss_change_smallest",
       "kl_largest", "perplexity_factor") for end in (0, 1)),
    ("numbers", "token_portable"), ("numbers", "token_margin"),
    ("unseen", "levels", 0, "k"), ("unseen", "levels", 0, "of"), ("unseen", "levels", 0, "error"),
    ("unseen", "levels", 0, "loss_change"), ("unseen", "distinct_tokens"),
    ("subject", "pool", "drawn", 3), ("subject", "pool", "windows"),
    ("every_input", "matrices", 0, "bound"), ("every_input", "matrices", 0, "operator"),
    ("every_input", "matrices", 0, "dimension"), ("every_input", "matrices", 2, "shift"),
]


@pytest.mark.parametrize("where", DERIVED, ids=str)
def test_newer_derived_numbers_are_refuted_offline_with_new_digests(where, drawn) -> None:
    """Signed means, extremes, perplexity factor, draw, levels and matrix bounds follow from other numbers."""
    value = drawn.document
    for key in where:
        value = value[key]
    with pytest.raises(checker.Refuted):
        checker.check(resealed(edited(drawn.document, where, changed(value))))


@pytest.mark.parametrize("change", [
    lambda d: d["subject"]["pool"].update(seed="0" * 64),
    lambda d: d["subject"]["pool"].update(sha256="1" * 64),
    lambda d: d["subject"]["original"]["files"].update({"model.safetensors": "2" * 64}),
    lambda d: d["subject"]["pool"]["drawn"].reverse(),
    lambda d: d["unseen"]["levels"].clear(),
    lambda d: d["numbers"]["units"].pop("signed"),
    lambda d: d["every_input"]["matrices"][0].update(theorem="PeelVerify.check"),
    lambda d: d["every_input"]["matrices"][0].update(input="other"),
    lambda d: d["numbers"]["units"]["windows"][0].update(tied_at=[3, 3]),
    lambda d: d["numbers"]["units"]["windows"][0].update(tied_at=[16]),
    lambda d: d["numbers"]["units"]["windows"][0].update(error=["0x0p+0", "0x0p+0"]),
    lambda d: d["numbers"]["blocks"][1].update(token_max=["0x1p+40", "0x1p+40"]),
    lambda d: d["numbers"]["blocks"][1].update(token_max=["0x1p-40", "0x1p-40"]),
    lambda d: d["numbers"]["units"]["windows"][0].update(kl=["-0x1p-4", "0x1p-4"]),
    lambda d: d["numbers"]["units"]["windows"][0].update(loss_change=["0x1p+9", "0x1p+9"]),
])
def test_inconsistent_parts_are_refuted_offline(change, drawn) -> None:
    """A seed that fits nothing, a draw in another order, figures that contradict each other."""
    bad = copy.deepcopy(drawn.document)
    change(bad)
    with pytest.raises(checker.Refuted):
        checker.check(resealed(bad))


def test_nothing_propagated_has_no_inner_product(model_dirs, ids) -> None:
    """Where the propagated error is exactly zero, so is its product with any other, at both ends."""
    view = load_model(model_dirs["gpt2"])
    other = copy.deepcopy(view.model)
    with torch.no_grad():
        other.transformer.h[0].mlp.c_fc.weight *= 1.001
    document = certify(view, ModelView(other), ids, lean=False).document
    block = document["numbers"]["blocks"][0]
    zero = ["0x0p+0"] * 2
    assert block["propagated"] == block["inner"] == zero and block["introduced"] != zero
    checker.check(document)
    bad = copy.deepcopy(document)
    bad["numbers"]["blocks"][0]["inner"] = ["-0x1p-60", "0x0p+0"]
    with pytest.raises(checker.Refuted, match="Cauchy"):
        checker.check(resealed(bad))


@given(st.fractions(-30, 30), st.fractions(0, 1))
@example(Fraction(0), Fraction(0))
@example(Fraction(1, 2), Fraction(0))
@example(Fraction(-9_000), Fraction(18_000))
def test_the_exponential_encloses_and_is_sharp(low: Fraction, width: Fraction) -> None:
    """Compared with mpmath at 60 digits; the width beyond that of the argument is below 1e-18."""
    lo, hi = exp_out(low, low + width)
    with mpmath.workdps(60):
        for end, number, up in ((low, lo, False), (low + width, hi, True)):
            true = mpmath.exp(mpmath.mpf(end.numerator) / end.denominator)
            found = mpmath.mpf(number.numerator) / number.denominator
            slack = true * mpmath.mpf(10) ** -50
            assert found >= true - slack if up else found <= true + slack
            assert abs(found - true) <= true * mpmath.mpf(10) ** -18


@given(st.fractions(-30, 30))
def test_the_exponential_is_the_one_of_the_theorems(x: Fraction) -> None:
    """The checker stands alone: its own `exp_below` is `exp_lower`, and its inverse at -x is `exp_upper`."""
    halvings = 160 + 2 * max(0, abs(x.numerator).bit_length() - x.denominator.bit_length() + 1)
    low = exponential.exp_lower(x, halvings, lambda v: checker.round_down(v, 384))
    high = exponential.exp_upper(x, halvings, lambda v: checker.round_up(v, 384))
    assert exp_out(x, x) == round_out(low, high)


@given(st.fractions(), st.fractions(0, 10))
def test_outward_rounding_contains_and_is_sharp(lo: Fraction, width: Fraction) -> None:
    """Both ends move outwards, by at most 2**-63 of themselves, and have one spelling."""
    low, high = round_out(lo, lo + width)
    assert low <= lo and lo + width <= high
    assert lo - low <= abs(lo) / 2**62 and high - lo - width <= abs(lo + width) / 2**62
    assert parse(spell(low)) == low and parse(spell(high)) == high


def test_other_json_is_no_certificate_rather_than_a_refuted_one(tmp_path: Path) -> None:
    """A model's config.json holds floats: it is not a certificate, whatever its numbers are."""
    path = tmp_path / "config.json"
    path.write_text('{"initializer_range": 0.02}')
    assert checker.main(["checker.py", str(path)]) == 2
    path.write_text('{"schema": "peelverify.certificate/1.1", "numbers": 0.02}')
    assert checker.main(["checker.py", str(path)]) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_perplexity_factor_can_be_written(sign: int) -> None:
    """Where the factor is stated at all, its exponent is one that readers take."""
    for mean in (checker.MAX_NATS, checker.MAX_NATS - 1):
        for end in exp_out(Fraction(sign * mean), Fraction(sign * mean)):
            assert parse(spell(end)) == end


def test_a_change_of_thousands_of_nats_has_no_perplexity_factor(model_dirs) -> None:
    """A copy with all weights a thousand times as large: the file is written, and says nothing of the factor."""
    view, ids = load_model(model_dirs["llama"]), windows(byte_tokenizer(), builtin_text(), length=16, count=4)
    large = copy.deepcopy(view.model)
    with torch.no_grad():
        for parameter in large.parameters():
            parameter *= 1000
    found = certify(view, ModelView(large), ids, lean=False)
    low, _ = found.signed("loss_change_mean")
    assert low > checker.MAX_NATS
    assert found.document["numbers"]["units"]["signed"]["perplexity_factor"] is None
    shape.check(found.document)


def test_matrices_whose_numbers_cannot_be_written_are_left_out_by_name(model_dirs) -> None:
    """Weights of 1e-200 in float64 give bounds below every exponent of the format."""
    view = load_model(model_dirs["llama"], dtype="float64")
    ids = windows(byte_tokenizer(), builtin_text(), length=16, count=2)
    tiny = copy.deepcopy(view.model)
    with torch.no_grad():
        for model, share in ((view.model, 1e-200), (tiny, 2e-200)):
            for parameter in model.parameters():
                parameter *= share
    part = certify(view, ModelView(tiny), ids, lean=False).document["every_input"]
    assert any("to be written" in row["reason"] for row in part["not_covered"])


def test_windows_longer_than_a_model_takes_are_one_clear_error(model_dirs) -> None:
    """Whatever the tokens come from."""
    view = load_model(model_dirs["gpt2"])
    longest = view.config.max_position_embeddings
    with pytest.raises(InputError, match=f"at most {longest} tokens for this model, got {longest + 1}"):
        certify(view, view, torch.zeros((1, longest + 1), dtype=torch.int64), lean=False)
