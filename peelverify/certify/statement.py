"""A certificate as an in-toto statement, and the signature around one.

The statement (in-toto Statement v1) names the certificate file and every file of both models by SHA-256 and
repeats the claims, so that signing tools can sign it inside a DSSE envelope. A valid signature says who vouches
for a certificate. It does not say that the certificate is true of a model; recomputing does.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from peelverify.certify import checker, shape
from peelverify.certify.agree import difference
from peelverify.certify.file import Certificate, load_bytes
from peelverify.errors import ArtifactError, InputError
from peelverify.verdict import Verdict

__all__ = ["PAYLOAD_TYPE", "PREDICATE_TYPE", "check_signature", "statement", "statement_bytes", "write_statement"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "tag:peelverify,2026:certificate/v1"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_MAX_SIGNATURES = 100


def statement(certificate: Certificate) -> dict[str, Any]:
    """The in-toto statement of a certificate that was read from a file and that its checker accepts.

    Raises:
        InputError: if the certificate was not read from a file, so that there is no file to name.
        checker.Refuted: if the certificate contradicts itself.
    """
    if certificate.file_sha256 is None:
        raise InputError("statement needs a certificate read from its file, got one in memory; save and load it first")
    shape.check(certificate.document)
    document = certificate.document
    numbers = document["numbers"]
    subject = [{"name": "certificate", "digest": {"sha256": certificate.file_sha256}}]
    for role in ("original", "compressed"):
        files = document["subject"][role]["files"]
        subject += [{"name": f"{role}/{name}", "digest": {"sha256": sha}} for name, sha in sorted(files.items())]
    units = numbers["units"]
    same, positions = certificate.same_top
    return {
        "_type": _STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "claimSha256": certificate.digest,
            "schema": document["schema"],
            "tokens": {k: document["subject"]["tokens"][k] for k in ("shape", "sha256")},
            "keptBlocks": document["subject"]["kept"],
            "exactNumbers": {
                "logitErrorFrobeniusUpper": numbers["blocks"][-1]["error"][1],
                "logitErrorFrobeniusPortableUpper": numbers["portable"],
                "chainUpper": numbers["blocks"][-1]["chain"],
                "lossChangeMeanAbsoluteUpperNatsPerToken": units["loss_change_mean"],
                "lossChangeMeanNatsPerToken": units.get("signed", {}).get("loss_change_mean"),
                "klMeanNatsPerToken": units.get("signed", {}).get("kl_mean"),
            },
            "sameTopPositions": same,
            "positions": positions,
            "theorems": document["theorems"],
        },
    }


def statement_bytes(certificate: Certificate) -> bytes:
    """The statement as JSON with sorted keys: the payload to sign."""
    return json.dumps(statement(certificate), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def write_statement(certificate: Certificate, path: str | os.PathLike[str]) -> Path:
    """Write the statement in one step.

    Raises:
        ArtifactError: if the file exists already or cannot be written.
    """
    path = Path(path)
    payload = statement_bytes(certificate)
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(payload)
            os.chmod(part, 0o644)
            os.link(part, path)  # fails if the file exists
        finally:
            os.unlink(part)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another file") from error
    return path


def _read(path: str | os.PathLike[str], what: str) -> bytes:
    try:
        raw = load_bytes(path)
    except OSError as error:
        raise ArtifactError(f"the {what} {path} cannot be read ({error.strerror}); check the path") from error
    except checker.Unreadable as error:
        raise ArtifactError(f"the {what} {path} cannot be read ({error}); give a file") from error
    if len(raw) > checker.MAX_BYTES:
        raise ArtifactError(f"the {what} {path} is larger than {checker.MAX_BYTES >> 20} MiB; give another file")
    return raw


def _json(raw: bytes) -> Any:
    found, floats = checker.load_json(raw)
    checker.need(not floats, "a JSON float, which is not exact")
    return found


def _base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("not text")
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)


def _public_key(path: str | os.PathLike[str]) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey
    except ImportError as error:
        raise InputError(
            "verify --signature needs securesystemslib and cryptography, which are not installed; "
            "pip install 'peelverify[sign]'"
        ) from error
    raw = _read(path, "public key")
    try:
        return SSlibKey.from_crypto(load_pem_public_key(raw))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ArtifactError(
            f"{path} is no public key in PEM form of a kind that can be used (Ed25519, ECDSA, RSA); "
            "give the public half of the signing key"
        ) from error


def check_signature(
    certificate: Certificate, signature: str | os.PathLike[str], key: str | os.PathLike[str]
) -> tuple[Verdict, str]:
    """Check a DSSE envelope around the statement of a certificate.

    Args:
        certificate: read from a file, accepted by the checker.
        signature: envelope (JSON) with the statement as payload.
        key: public key, PEM.

    Returns:
        HOLDS if the key signed the statement of exactly this file; VIOLATED otherwise; and a sentence.

    Raises:
        ArtifactError: envelope or key cannot be read.
        InputError: the libraries for signatures are not installed.
    """
    public = _public_key(key)
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error
    from securesystemslib.signer import Signature

    raw = _read(signature, "signature")
    try:
        envelope = _json(raw)
        payload, kind, entries = _base64(envelope["payload"]), envelope["payloadType"], envelope["signatures"]
        if not isinstance(kind, str) or not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_SIGNATURES:
            raise ValueError("not an envelope")
        kind.encode("utf-8")  # a lone surrogate is no text
        signatures = [_base64(entry["sig"]) for entry in entries]
    except (ValueError, KeyError, TypeError, checker.Unreadable, checker.Refuted) as error:
        raise ArtifactError(
            f"{signature} is no DSSE envelope ({type(error).__name__}); give what the signing tool wrote"
        ) from error
    signed = Envelope(payload, kind, {}).pae()
    for value in signatures:  # the key decides, not the key id that the envelope states
        try:
            public.verify_signature(Signature(public.keyid, value.hex()), signed)
            break
        except (Error, ValueError):
            continue
    else:
        return Verdict.VIOLATED, "no signature in the envelope was made by this key over this payload"
    name = f"the key {public.keyid[:16]}"
    if kind != PAYLOAD_TYPE:
        return Verdict.VIOLATED, f"{name} signed something that is no in-toto statement"
    try:
        stated = _json(payload)
    except (checker.Unreadable, checker.Refuted):
        return Verdict.VIOLATED, f"{name} signed something that is no in-toto statement"
    wanted = statement(certificate)
    if difference(stated, wanted):
        if not isinstance(stated, dict) or stated.get("subject") != wanted["subject"]:
            return Verdict.VIOLATED, f"{name} signed the statement of another certificate file"
        return Verdict.VIOLATED, f"{name} signed a statement that says something else than this certificate"
    return Verdict.HOLDS, (
        f"{name} signed the statement of this very file; that ties it to the holder of the key, not to a model"
    )
