"""Certificates of real pairs: what they say, that they verify, and that edits are found."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from peelverify.certify import Certificate, certify, checker, verify
from peelverify.certify.checker import parse
from peelverify.certify.exact import spell
from peelverify.certify.file import above
from peelverify.certify.measure import Plan, measure_pair
from peelverify.errors import ArtifactError, InputError, ShapeError
from peelverify.models import ModelView, load_model, save_model
from peelverify.models.blockwise import WholeModel
from peelverify.models.load import load_tokenizer
from peelverify.verdict import Verdict
from tests.conftest import FAMILIES


@pytest.fixture(scope="session")
def certificates(model_dirs, noisy_dirs, ids, tmp_path_factory) -> dict[str, Path]:
    """One saved certificate a family."""
    root = tmp_path_factory.mktemp("certificates")
    return {
        family: certify(model_dirs[family], noisy_dirs[family], ids, lean=False, batch=2).save(root / f"{family}.json")
        for family in FAMILIES
    }


def resealed(document: dict) -> dict:
    """The document with both digests computed anew, as an attacker would."""
    body = {k: v for k, v in document.items() if k not in ("integrity", "host")}
    return Certificate.seal(body, document["host"]).document


@pytest.mark.parametrize("family", FAMILIES)
def test_the_direct_bound_is_the_float64_error_of_the_logits(family, certificates, model_dirs, noisy_dirs, ids) -> None:
    """e_T agrees with the error of two plain forward passes, computed in exact rationals."""
    z = load_model(model_dirs[family]).trace(ids[:2]).logits, load_model(model_dirs[family]).trace(ids[2:]).logits
    w = load_model(noisy_dirs[family]).trace(ids[:2]).logits, load_model(noisy_dirs[family]).trace(ids[2:]).logits
    difference = torch.cat(w).double() - torch.cat(z).double()
    truth = sum((Fraction(float(x)) ** 2 for x in difference.flatten()), Fraction(0))
    certificate = Certificate.load(certificates[family])
    assert truth <= certificate.direct**2 * (1 + Fraction(1, 10**12))
    assert certificate.direct**2 <= truth * (1 + Fraction(2, 10**12))


@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_are_ordered_and_not_vacuous(family, certificates) -> None:
    """measured <= direct <= portable, and the chain is above the direct bound but below twenty times it."""
    found = Certificate.load(certificates[family])
    assert found.measured <= float(found.direct) * (1 + 1e-12)
    assert found.direct <= found.bound <= found.direct * Fraction(102, 100)
    assert found.direct <= found.chain * (1 + Fraction(1, 10**11)) <= 20 * found.direct
    assert sum(share for _, share in found.shares) <= found.chain * (1 + Fraction(1, 2**50))


def test_shares_of_a_thousand_blocks_are_quick_and_rounded_up() -> None:
    """Gains near the ends of the format: each step is rounded up to 64 bits, so numbers do not grow without end."""
    top = Fraction((1 << 63) + 1, 1 << 63)
    pair = lambda x: [spell(x)] * 2  # noqa: E731
    blocks = [{"name": f"block {t}", "gain": spell(top * Fraction(2) ** (2400 if t > 1020 else -2400)),
               "introduced": pair(top * Fraction(1, 2**2000))} for t in range(1024)]
    found = dict(Certificate({"numbers": {"initial_error": pair(top), "blocks": blocks}}).shares)
    assert min(found.values()) == Fraction(1, 2**checker.MAX_EXPONENT)
    exact = parse(blocks[-3]["introduced"][1]) * parse(blocks[-2]["gain"]) * parse(blocks[-1]["gain"])
    assert exact <= found["block 1021"] <= exact * (1 + Fraction(1, 2**60))
    assert all(share.numerator.bit_length() - (share.numerator & -share.numerator).bit_length() < 64
               for share in found.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_certified_loss_change_covers_the_measured_one(family, certificates) -> None:
    """The measured change of the mean loss is below the certified bound of its absolute value."""
    found = Certificate.load(certificates[family])
    measured = found.document["measured"]
    change = abs(float(measured["loss_compressed"]) - float(measured["loss_original"]))
    assert change <= float(found.loss_change_mean) + 2e-9
    assert found.loss_change_mean <= found.loss_change_max


@pytest.mark.parametrize("family", FAMILIES)
def test_verify_holds_at_arithmetic_and_recompute(family, certificates, model_dirs, noisy_dirs) -> None:
    """The same models and tokens give every number again to the last bit."""
    found = verify(certificates[family], original=model_dirs[family], compressed=noisy_dirs[family], lean=False)
    assert found.verdict is Verdict.HOLDS, found.summary
    assert found.reached == ("arithmetic", "recompute")
    assert "last bit" in found.checks[-1].detail


def test_without_models_the_verdict_says_so(certificates) -> None:
    """Arithmetic alone is not tied to any model, and the summary says it."""
    found = verify(certificates["llama"], lean=False)
    assert found.verdict is Verdict.HOLDS
    assert found.summary == "arithmetic consistent, not tied to any model"


def test_the_same_run_gives_the_same_digest(certificates, model_dirs, noisy_dirs, ids) -> None:
    """Dates and hosts stay outside the digest."""
    again = certify(model_dirs["llama"], noisy_dirs["llama"], ids, lean=False, batch=2)
    assert again.digest == Certificate.load(certificates["llama"]).digest


def numbers_in(value, where=()):
    """Paths of all exact numbers, counts and decimal strings that a certificate states."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from numbers_in(inside, (*where, key))
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from numbers_in(inside, (*where, index))
    elif isinstance(value, bool):
        return
    elif isinstance(value, int) or (isinstance(value, str) and value.startswith("0x")) or "measured" in where:
        yield where, value


def changed(value):
    """The number with its last digit changed."""
    if isinstance(value, int):
        return value + 1
    if value.startswith("0x"):
        number = parse(value)
        lowest = Fraction(1) if number == 0 else Fraction(2) ** (1 - number.denominator.bit_length())
        return spell(number + 2 * lowest)
    return value[:-1] + str((int(value[-1]) + 1) % 10)


def edited(document: dict, where, value) -> dict:
    """A copy with one value replaced."""
    found = copy.deepcopy(document)
    inside = found
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = value
    return found


def test_every_changed_number_is_refuted_without_models(certificates, tmp_path: Path) -> None:
    """One digit of any number changed, digest left as it was: refuted offline, each of them."""
    document = Certificate.load(certificates["llama"]).document
    places = list(numbers_in(document))
    assert len(places) > 200
    for where, value in places:
        with pytest.raises(checker.Refuted):
            checker.check(edited(document, where, changed(value)))
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(edited(document, ("numbers", "portable"), changed(document["numbers"]["portable"]))))
    assert verify(path, lean=False).verdict is Verdict.VIOLATED


def test_derived_numbers_are_refuted_offline_even_with_a_new_digest(certificates) -> None:
    """Gains, chain, margin, portable bound, totals: a resealed edit contradicts the numbers they follow from."""
    document = Certificate.load(certificates["llama"]).document
    for where, value in numbers_in(document["numbers"]):
        if where[-1] in ("gain", "chain", "margin", "portable", "loss_change_max", "loss_change_mean", "positions"):
            with pytest.raises(checker.Refuted):
                checker.check(resealed(edited(document, ("numbers", *where), changed(value))))


def test_resealed_edits_are_refuted_with_models(certificates, model_dirs, noisy_dirs, tmp_path: Path) -> None:
    """One digit of a number changed and the digest computed anew: refuted with the models, each place tried."""
    document = Certificate.load(certificates["llama"]).document
    tried = [
        ("numbers", "blocks", 1, "error", 0), ("numbers", "blocks", 3, "error", 1),
        ("numbers", "blocks", 2, "introduced", 1), ("numbers", "blocks", 2, "inner", 0),
        ("numbers", "portable"), ("numbers", "units", "same_top"), ("measured", "loss_original"),
        ("numbers", "units", "windows", 1, "oscillation_sum"), ("subject", "tokens", "ids", 0, 5),
        ("subject", "numerics", "batch"),
    ]
    for number, where in enumerate(tried):
        value = document
        for key in where:
            value = value[key]
        bad = edited(document, where, changed(value))
        if where[1] == "tokens":
            bad["subject"]["tokens"]["sha256"] = checker.digest(bad["subject"]["tokens"]["ids"])
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(resealed(bad)))
        found = verify(path, original=model_dirs["llama"], compressed=noisy_dirs["llama"], lean=False)
        assert found.verdict is not Verdict.HOLDS, where
        assert found.verdict is Verdict.VIOLATED or where[-1] == "batch", where


def test_other_models_are_refuted_by_hash(certificates, model_dirs, noisy_dirs) -> None:
    """Models swapped, or another file: the hash names what differs."""
    found = verify(certificates["llama"], original=noisy_dirs["llama"], compressed=model_dirs["llama"], lean=False)
    assert found.verdict is Verdict.VIOLATED
    assert "model.safetensors" in found.summary


def test_a_deleted_block_is_certified_as_identity(model_dirs, ids) -> None:
    """With one block deleted the introduced change of that block is its whole update."""
    view = load_model(model_dirs["llama"])
    short = copy.deepcopy(view.model)
    del short.model.layers[1]
    short.config.num_hidden_layers = 2
    for index, block in enumerate(short.model.layers):
        block.self_attn.layer_idx = index
    certificate = certify(view, ModelView(short), ids, kept=[0, 2], lean=False)
    blocks = certificate.document["numbers"]["blocks"]
    assert [b["deleted"] for b in blocks] == [False, True, False, False]
    assert parse(blocks[0]["error"][1]) == 0
    trace = view.trace(ids)
    update = (trace.states[2].double() - trace.states[1].double()).norm()
    assert float(parse(blocks[1]["introduced"][1])) == pytest.approx(float(update), rel=1e-12)
    with pytest.raises(ShapeError, match="--kept"):
        certify(view, ModelView(short), ids, lean=False)


def test_a_model_against_itself_has_error_zero(model_dirs, ids) -> None:
    """No compression, no error: every bound of the execution is exactly zero and all top tokens agree."""
    found = certify(model_dirs["gpt2"], model_dirs["gpt2"], ids, lean=False)
    assert found.direct == found.chain == found.bound == found.loss_change_max == 0
    assert found.same_top == (ids.numel(), ids.numel())


def test_batches_do_not_change_the_numbers(model_dirs, noisy_dirs, ids) -> None:
    """Sums over batches are exact: the errors of one and of many batches agree as re-runs do."""
    a, b = (WholeModel(load_model(d["qwen2"])) for d in (model_dirs, noisy_dirs))
    one, many = (
        measure_pair(a, b, range(3), ids, plans=[Plan("sdpa", 1, size, chunk)]) for size, chunk in ((4, 500), (1, 17))
    )
    for x, y in zip(one.blocks, many.blocks, strict=True):
        assert float(x.error.total.hi) == pytest.approx(float(y.error.total.hi), rel=1e-4)


def test_models_that_do_not_match_are_refused(model_dirs, ids) -> None:
    """Different families cannot be compared, and the message says what differs."""
    with pytest.raises(ShapeError, match="family"):
        certify(model_dirs["llama"], model_dirs["gpt2"], ids, lean=False)


@pytest.mark.parametrize(
    "bad", [[], [[1]], [[1, 2], [3]], [[0.5, 1.0]], [[1, 999]], [[-1, 3]], np.zeros((2, 2, 2), int)],
)
def test_bad_tokens_are_refused(model_dirs, bad) -> None:
    """Empty, ragged, float, too short or foreign token ids are refused."""
    with pytest.raises(InputError):
        certify(model_dirs["llama"], model_dirs["llama"], bad, lean=False)


def test_saving_never_overwrites(certificates) -> None:
    """An existing certificate is left as it is."""
    before = certificates["llama"].read_bytes()
    with pytest.raises(ArtifactError, match="exists already"):
        Certificate.load(certificates["llama"]).save(certificates["llama"])
    assert certificates["llama"].read_bytes() == before


def test_external_tokens_must_be_given_to_recompute(model_dirs, noisy_dirs, ids, tmp_path: Path) -> None:
    """With only the hash stored, recomputing needs the tokens, and other tokens are refuted."""
    path = certify(
        model_dirs["llama"], noisy_dirs["llama"], ids, lean=False, tokens_external=True
    ).save(tmp_path / "external.json")
    assert "ids" not in json.loads(path.read_text())["subject"]["tokens"]
    models = {"original": model_dirs["llama"], "compressed": noisy_dirs["llama"], "lean": False}
    assert verify(path, **models).verdict is Verdict.INCONCLUSIVE
    assert verify(path, tokens=ids, **models).verdict is Verdict.HOLDS
    assert verify(path, tokens=ids.flip(0), **models).verdict is Verdict.VIOLATED


def test_the_checker_runs_alone(certificates, tmp_path: Path) -> None:
    """The checker needs only the standard library, isolated and without site packages."""
    script = shutil.copy(checker.__file__, tmp_path / "alone.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, certificates["llama"]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "not tied to any model" in done.stdout
    assert f"<= {above(Certificate.load(certificates['llama']).bound)} (portable)" in done.stdout


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 2), ("{", 2), ("[]", 2), ('{"schema": "x"}', 2), ('{"schema": "peelverify.certificate/2"}', 3),
     ('{"schema": "peelverify.certificate/1"}', 1), ('{"schema": "peelverify.certificate/1", "x": 1.5}', 1),
     ("[" * 100_000, 2), ('{"schema": "peelverify.certificate/1", "x": ' + "9" * 5000 + "}", 1)],
)
def test_damaged_files_exit_as_documented(text: str, code: int, tmp_path: Path, capsys) -> None:
    """Damaged, foreign and newer files each give their exit status and one line."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    assert checker.main(["checker.py", str(path)]) == code
    out = capsys.readouterr()
    assert len((out.out + out.err).strip().splitlines()) == 1


def test_decimal_texts_are_rounded_up() -> None:
    """A printed bound is never below the exact one."""
    for value in (Fraction(1, 3), Fraction(2, 3) * 10**20, Fraction(1, 7 * 10**30), Fraction(0)):
        assert Fraction(above(value)) >= value


def test_a_witness_directory_saved_by_us_is_certified_by_path(model_dirs, ids, tmp_path: Path) -> None:
    """bfloat16 weights saved by another tool are compared in float32 with their own values."""
    view = load_model(model_dirs["llama"], dtype="bfloat16")
    path = save_model(view, tmp_path / "bf16", tokenizer=load_tokenizer(model_dirs["llama"]))
    found = certify(model_dirs["llama"], path, ids, lean=False)
    assert 0 < found.measured < 10
