"""Every kind of compression that the package makes: saved, certified, verified, and told from another."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from peelverify.certify import Certificate, certify, verify
from peelverify.cli.app import main
from peelverify.cli.verify import evidence_for
from peelverify.compress import Settings, compress_model, save_compressed, weight_digests
from peelverify.models import load_model, load_tokenizer
from peelverify.verdict import Verdict

KINDS = {
    "int8": ("rtn", Settings(bits=8)),
    "int4 in groups of 16": ("rtn", Settings(bits=4, group=16)),
    "gptq 4 bits": ("gptq", Settings(bits=4, token_weights="attention")),
    "ternary": ("ternary", Settings()),
    "binary a row": ("binary", Settings(per_row=True)),
    "magnitude 50 %": ("magnitude", Settings(sparsity=0.5)),
    "wanda 50 %": ("wanda", Settings(sparsity=0.5)),
    "sparsegpt 2:4": ("sparsegpt", Settings(pattern=(2, 4))),
    "svd half": ("svd", Settings(rank_fraction=0.5)),
    "delete a block": ("delete", Settings(layers=(1,))),
}


@pytest.fixture(scope="module")
def original(model_dirs):
    """A trained Llama directory."""
    return model_dirs["llama"]


@pytest.fixture(scope="module")
def compressed(original, ids, tmp_path_factory):
    """One saved directory a kind."""
    view, tokenizer = load_model(original), load_tokenizer(original)
    root = tmp_path_factory.mktemp("kinds")
    found = {}
    for number, (kind, (method, settings)) in enumerate(KINDS.items()):
        done = compress_model(view, method, settings, input_ids=ids)
        record = done.record | {"original": weight_digests(original)}
        found[kind] = save_compressed(done.view, root / f"{number}-{method}", record, tokenizer)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_certified_and_verified(kind, original, compressed, ids, tmp_path):
    """The bound holds for the saved model's own logits; arithmetic and recomputation agree to the last bit."""
    path = certify(original, compressed[kind], ids[:2], lean=False).save(tmp_path / "a.cert.json")
    certificate = Certificate.load(path)
    a, b = (load_model(p).trace(ids[:2]).logits.double() for p in (original, compressed[kind]))
    squared = sum((Fraction(float(x)) ** 2 for x in (a - b).flatten()), Fraction(0))
    assert 0 < squared <= certificate.bound**2
    found = verify(path, original=original, compressed=compressed[kind], lean=False)
    assert found.verdict is Verdict.HOLDS, found.summary
    assert {"arithmetic", "recompute"} <= set(found.reached)


def test_kinds_are_not_taken_for_each_other(original, compressed, ids, tmp_path):
    """A certificate of one compressed model is refuted by another one."""
    path = certify(original, compressed["wanda 50 %"], ids[:2], lean=False).save(tmp_path / "a.cert.json")
    for kind in ("magnitude 50 %", "int8"):
        assert verify(path, original=original, compressed=compressed[kind], lean=False).verdict is Verdict.VIOLATED


def test_the_commands_do_the_same_from_end_to_end(original, tmp_path, capsys):
    """compress, certify and verify as commands, on a model without a block."""
    small, file = tmp_path / "small", tmp_path / "small.cert.json"
    assert main(["compress", str(original), "--method", "delete", "--layers", "1", "--out", str(small)]) == 0
    options = ["--tokens", "128", "--window", "32", "--no-lean"]
    assert main(["certify", str(original), str(small), *options, "--out", str(file)]) == 0
    capsys.readouterr()
    assert main(["verify", str(file), "--level", "arithmetic", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "HOLDS"
    evidence = evidence_for(file, str(original), None)
    assert verify(file, original=original, compressed=small, lean=False, **evidence).verdict is Verdict.HOLDS
