"""Signatures: a good one is accepted for what it is, everything else is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner

from peelverify.certify import Certificate
from peelverify.certify.statement import statement_bytes
from peelverify.cli.app import main
from tests.attacks.on_signatures import envelope
from tests.attacks.registry import attacks_of


def keys(path: Path, kind: str = "ed25519"):
    """A signer and the file of its public key."""
    private = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    public = path / f"{kind}.pem"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return CryptoSigner(private), public


def check(target, made: object, public: Path, tmp_path: Path, *more: str) -> int:
    """``peelverify verify`` with an envelope."""
    file = tmp_path / "envelope.json"
    file.write_text(json.dumps(made))
    return main(["verify", str(target.certificate), "--signature", str(file), "--key", str(public), "--level",
                 "signature", "--json", *more])


@pytest.fixture(autouse=True)
def _without_lean(monkeypatch) -> None:
    """The kernel has its own attacks; signatures are checked without it."""
    monkeypatch.setattr("peelverify.certify.verification._lean_level", lambda *a: None)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("named", [True, False])
def test_a_signature_over_the_statement_holds(kind, named, target, tmp_path: Path, capsys) -> None:
    """Written by --statement, signed, verified; with or without a key id; it is not tied to a model."""
    signer, public = keys(tmp_path, kind)
    out = tmp_path / "statement.json"
    assert main(["verify", str(target.certificate), "--level", "arithmetic", "--statement", str(out)]) == 0
    stated = json.loads(out.read_bytes())
    assert stated["_type"] == "https://in-toto.io/Statement/v1"
    assert {"certificate", "original/model.safetensors", "compressed/model.safetensors"} <= {
        s["name"] for s in stated["subject"]
    }
    made = envelope(out.read_bytes(), signer)
    if not named:
        made["signatures"][0]["keyid"] = ""
    capsys.readouterr()
    assert check(target, made, public, tmp_path, "--require", "signature") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["levels_reached"] == ["arithmetic", "signature"]
    assert found["summary"] == "arithmetic consistent and signed; tied to the holder of the key, not to any model"
    assert check(target, made, public, tmp_path, "--require", "recompute") == 3


@pytest.mark.parametrize("attack", attacks_of("on_signatures"), ids=lambda a: a.name)
def test_it_is_not_accepted(attack, target, tmp_path: Path, timed, capsys) -> None:
    """VIOLATED, or no envelope at all; level signature is never reached."""
    signer, public = keys(tmp_path)
    other, _ = keys(tmp_path, "ecdsa")
    payload = statement_bytes(Certificate.load(target.certificate))
    with timed(attack):
        code = check(target, attack.run(payload, signer, other), public, tmp_path, "--require", "signature")
    seen = capsys.readouterr()
    assert code in (1, 2) and "Traceback" not in seen.err and "internal error" not in seen.err
    assert code == 2 or json.loads(seen.out)["levels_reached"] == ["arithmetic"]


@pytest.mark.parametrize("text", [b"", b"{}", b"x" * 100, b"-----BEGIN PUBLIC KEY-----\nAAAA"])
def test_a_bad_key_is_one_line(text, target, tmp_path: Path, capsys) -> None:
    """Exit status 2 and what to do; a private key is no public key."""
    signer, _ = keys(tmp_path)
    bad = tmp_path / "bad.pem"
    bad.write_bytes(text)
    payload = statement_bytes(Certificate.load(target.certificate))
    assert check(target, envelope(payload, signer), bad, tmp_path) == 2
    assert "no public key" in capsys.readouterr().err


def test_the_libraries_are_named_if_they_are_missing(target, tmp_path: Path, monkeypatch, capsys) -> None:
    """Without the extra there is one line that names it."""
    import sys

    _, public = keys(tmp_path)
    monkeypatch.setitem(sys.modules, "securesystemslib.signer", None)
    assert check(target, {}, public, tmp_path) == 2
    assert "peelverify[sign]" in capsys.readouterr().err
