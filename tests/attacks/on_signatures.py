"""Envelopes that should not count. Each gives an envelope as data, from a statement, a signer and another signer."""

from __future__ import annotations

import base64
import json

from tests.attacks.registry import attack


def envelope(payload: bytes, signer, kind: str = "application/vnd.in-toto+json") -> dict:
    """A DSSE envelope as signing tools write it."""
    from securesystemslib.dsse import Envelope

    made = Envelope(payload, kind, {})
    made.sign(signer)
    return made.to_dict()


@attack("signature")
def signed_by_another_key(payload, signer, other):
    """The right statement under a key that nobody trusts."""
    return envelope(payload, other)


@attack("signature")
def key_id_of_the_trusted_key(payload, signer, other):
    """Another key's signature that states the id of the trusted key."""
    made = envelope(payload, other)
    made["signatures"][0]["keyid"] = signer.public_key.keyid
    return made


@attack("signature")
def no_signature(payload, signer, other):
    """An envelope without signatures."""
    return envelope(payload, signer) | {"signatures": []}


@attack("signature")
def payload_changed_after_signing(payload, signer, other):
    """The claim is improved and the signature kept."""
    made = envelope(payload, signer)
    bad = payload.replace(b'"sameTopPositions":', b'"sameTopPositions":1')
    return made | {"payload": base64.b64encode(bad).decode()}


@attack("signature")
def statement_of_another_certificate(payload, signer, other):
    """A statement that the trusted key really signed, of another file."""
    stated = json.loads(payload)
    stated["subject"][0]["digest"]["sha256"] = "0" * 64
    return envelope(json.dumps(stated).encode(), signer)


@attack("signature")
def better_claim_signed_for_this_file(payload, signer, other):
    """The trusted key signed the digest of this file with figures that it does not hold."""
    stated = json.loads(payload)
    stated["predicate"]["sameTopPositions"] += 1
    return envelope(json.dumps(stated).encode(), signer)


@attack("signature")
def another_kind_of_payload(payload, signer, other):
    """The statement signed as a payload of another type, where it may mean something else."""
    return envelope(payload, signer, "application/json")


@attack("signature")
def payload_type_changed_after_signing(payload, signer, other):
    """The type of the payload is part of what is signed."""
    return envelope(payload, signer, "text/plain") | {"payloadType": "application/vnd.in-toto+json"}


@attack("signature")
def repeated_keys_in_the_payload(payload, signer, other):
    """A payload in which a key appears twice: readers differ in which one they take."""
    return envelope(payload.replace(b'"predicate":', b'"predicate":{},"predicate":', 1), signer)


@attack("signature")
def payload_that_is_no_base64(payload, signer, other):
    """Damaged base64."""
    return envelope(payload, signer) | {"payload": "%%%"}


@attack("signature")
def lone_surrogate_in_the_payload_type(payload, signer, other):
    """A type that is no text in any encoding, so that what was signed cannot be formed."""
    return envelope(payload, signer) | {"payloadType": "\ud800"}


@attack("signature")
def millions_of_lists_beside_the_signature(payload, signer, other):
    """An envelope within the limit of size that takes seconds and hundreds of megabytes to read."""
    return envelope(payload, signer) | {"more": [[]] * 2_000_000}


@attack("signature")
def millions_of_lists_in_what_is_signed(payload, signer, other):
    """The same inside the payload."""
    return envelope(b"[" + b"[]," * 2_000_000 + b"[]]", signer)


@attack("signature")
def truth_values_for_block_numbers(payload, signer, other):
    """Python takes true for 1, other readers do not."""
    stated = json.loads(payload)
    kept = stated["predicate"]["keptBlocks"]
    stated["predicate"]["keptBlocks"] = [bool(k) if k < 2 else k for k in kept]
    return envelope(json.dumps(stated).encode(), signer)


@attack("signature")
def payload_in_another_encoding(payload, signer, other):
    """The statement in UTF-16, which other readers refuse."""
    return envelope(payload.decode().encode("utf-16"), signer)


@attack("signature")
def payload_with_a_byte_order_mark(payload, signer, other):
    """The statement behind a byte order mark, which other readers refuse."""
    return envelope(b"\xef\xbb\xbf" + payload, signer)
