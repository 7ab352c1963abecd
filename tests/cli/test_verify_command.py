"""``peelverify verify`` and ``check`` on real certificates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peelverify.certify import Certificate
from peelverify.cli.app import main
from tests.conftest import FAMILIES
from tests.unit.test_certify import changed, edited, resealed


@pytest.fixture(scope="module")
def certificate(model_dirs, noisy_dirs, tmp_path_factory) -> Path:
    """A certificate made by the command itself."""
    path = tmp_path_factory.mktemp("made") / "llama.cert.json"
    code = main([
        "certify", str(model_dirs["llama"]), str(noisy_dirs["llama"]), "--tokens", "128", "--window", "32",
        "--no-lean", "--out", str(path),
    ])
    assert code == 0
    return path


def models(model_dirs, noisy_dirs) -> list[str]:
    """Options that name both models."""
    return ["--original", str(model_dirs["llama"]), "--compressed", str(noisy_dirs["llama"])]


def test_a_good_certificate_exits_0_at_every_level(certificate, model_dirs, noisy_dirs, capsys) -> None:
    """Arithmetic, the Lean kernel and recomputation hold, and the summary says what was established."""
    assert main(["verify", str(certificate), *models(model_dirs, noisy_dirs), "--require", "recompute", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["levels_reached"] == ["arithmetic", "lean", "recompute"]
    assert found["verdict"] == "HOLDS"


def test_without_models_it_is_not_tied_to_any(certificate, capsys) -> None:
    """Exit 0, but the words say that no model was looked at; requiring recompute exits 3."""
    assert main(["verify", str(certificate), "--level", "arithmetic"]) == 0
    assert "not tied to any model" in capsys.readouterr().out
    assert main(["verify", str(certificate), "--level", "arithmetic", "--require", "recompute"]) == 3


def test_a_changed_digit_exits_1_without_models(certificate, tmp_path: Path, capsys) -> None:
    """One digit of the direct bound changed, the file otherwise as it was."""
    document = Certificate.load(certificate).document
    where = ("numbers", "blocks", -1, "error", 1)
    path = tmp_path / "edited.cert.json"
    path.write_text(json.dumps(edited(document, where, changed(document["numbers"]["blocks"][-1]["error"][1]))))
    assert main(["verify", str(path), "--level", "arithmetic"]) == 1
    assert "REFUTED" in capsys.readouterr().out


def test_a_changed_digit_with_a_new_digest_exits_1_with_models(
    certificate, model_dirs, noisy_dirs, tmp_path: Path, capsys
) -> None:
    """A forger who computes the digest anew is refuted by recomputing."""
    document = Certificate.load(certificate).document
    path = tmp_path / "forged.cert.json"
    path.write_text(json.dumps(resealed(
        edited(document, ("numbers", "units", "windows", 0, "oscillation_sum"),
               changed(document["numbers"]["units"]["windows"][0]["oscillation_sum"]))
    )))
    assert main(["verify", str(path), *models(model_dirs, noisy_dirs), "--level", "recompute"]) == 1
    assert "REFUTED" in capsys.readouterr().out


def test_the_kernel_refuses_a_false_chain(certificate) -> None:
    """A chain bound lowered below what the gains give is refused by Lean itself, not only by Python."""
    from peelverify.certify import checker, kernel

    document = Certificate.load(certificate).document
    good = kernel.lean_source(document)
    chain = checker.parse(document["numbers"]["blocks"][-1]["chain"])
    text = f"({chain.numerator} / {chain.denominator})"
    assert text in good
    from peelverify.lean.build import check_source

    found = check_source(good.replace(text, f"({chain.numerator - 1} / {chain.denominator})"))
    assert not found.ok
    assert any("Check.lean" in m.file and m.severity == "error" for m in found.messages)


@pytest.mark.parametrize("family", FAMILIES)
def test_check_does_everything_for_each_family(family: str, model_dirs, tmp_path: Path, capsys) -> None:
    """One command peels, measures, compresses two ways, certifies, verifies and reports."""
    out = tmp_path / "out"
    code = main([
        "check", str(model_dirs[family]), "--out", str(out), "--tokens", "256", "--window", "32", "--no-lean",
        "--draws", "2", "--json",
    ])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    assert [pair["label"] for pair in found["pairs"]] == ["quantised", "shortened"]
    for pair in found["pairs"]:
        assert pair["levels_reached"] == ["arithmetic", "recompute"]
        assert float(pair["logit_error_frobenius_upper"]) > 0
        from transformers import AutoModelForCausalLM

        AutoModelForCausalLM.from_pretrained(pair["directory"])
    assert (out / "report" / "index.html").stat().st_size > 10_000
    assert {"peel.json", "rho.json", "check.json"} <= {p.name for p in out.iterdir()}
    assert found["peel"]["checkpoints"]
    assert all(pair["limits"] == [] for pair in found["pairs"])


def test_check_names_every_limit_and_what_became_of_it(model_dirs, tmp_path: Path, capsys) -> None:
    """As a gate it says which limits were kept and which were broken, for each copy."""
    words = ["check", str(model_dirs["gpt2"]), "--out", str(tmp_path / "out"), "--tokens", "64", "--window", "32",
             "--no-lean", "--draws", "2", "--max-loss-change", "9", "--min-same-top", "1"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert out.count("limit      HOLDS: mean change of loss: ") == 2 and "9 nats a token are allowed" in out
    assert "limit      VIOLATED: same top token: " in out and "LIMIT BROKEN: same top token" in out
