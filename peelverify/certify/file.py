"""The certificate file: sealed, written in one step, read with every check that needs no model."""

from __future__ import annotations

import decimal
import hashlib
import json
import os
import stat
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from peelverify.certify import checker
from peelverify.certify.checker import above
from peelverify.errors import ArtifactError

__all__ = ["Certificate", "above", "between", "exact_decimal", "load_bytes"]


def load_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a regular file, at most one byte more than a certificate may have.

    Raises:
        checker.Unreadable: if it is a pipe, device or folder; none of them is waited for.
        OSError: as `os.open` and `read` do.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        checker.need(stat.S_ISREG(os.fstat(stream.fileno()).st_mode), "not a regular file", checker.Unreadable)
        return stream.read(checker.MAX_BYTES + 1)


def exact_decimal(value: Fraction, up: bool, digits: int = 17) -> str:
    """Decimal text of a number of any sign, rounded up or down."""
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING if up else decimal.ROUND_FLOOR)
    found = context.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator))
    return f"{found.normalize():+g}" if value else "0"


def between(lo: Fraction, hi: Fraction, digits: int = 6) -> str:
    """Decimal text of an enclosure, each end rounded outwards: ``-0.0012..+0.0034``; one number if they agree."""
    low, high = exact_decimal(lo, False, digits), exact_decimal(hi, True, digits)
    return low if low == high else f"{low}..{high}"


class Certificate:
    """A sealed certificate.

    Args:
        document: the JSON object, sealed by `seal` or read by `load`.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.file_sha256: str | None = None
        """SHA-256 of the file that it was read from; None if it was not read from one."""
        self.seconds: dict[str, float] = {}
        """Seconds by part, of the run that made it; not in the file."""
        self.kernel: str | None = None
        """The Lean that accepted its arithmetic when it was made; None if none was asked. Not in the file."""

    @classmethod
    def seal(cls, body: dict[str, Any], host: dict[str, Any]) -> Certificate:
        """Add host notes and digests to the body of a certificate, and make it what a reader of the file gets."""
        integrity = {"claim_sha256": checker.digest(body), "host_sha256": checker.digest(host)}
        return cls(json.loads(json.dumps({**body, "host": host, "integrity": integrity})))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Read a file without judging its numbers; see `peelverify.certify.verify`.

        Raises:
            ArtifactError: if it cannot be read or is no certificate.
            checker.Newer: if its format is of another major version.
            checker.Refuted: if it holds floats or repeated keys.
        """
        try:
            raw = load_bytes(path)
            found = cls(checker.read(raw))
        except OSError as error:
            raise ArtifactError(f"the certificate {path} cannot be read ({error.strerror}); check the path") from error
        except checker.Unreadable as error:
            raise ArtifactError(f"{path} is not a certificate: {error}; give a file written by certify") from error
        found.file_sha256 = hashlib.sha256(raw).hexdigest()
        return found

    def text(self) -> str:
        """The file's text: JSON, keys sorted, ASCII only."""
        return json.dumps(self.document, indent=1, sort_keys=True, ensure_ascii=True) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file in one step: a reader sees the old file, none, or the whole new one.

        Raises:
            ArtifactError: if it exists already or cannot be written.
        """
        path = Path(path)
        text = self.text()
        if path.exists():
            raise ArtifactError(f"{path} exists already; choose another name or remove it first")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(part, 0o644)
            os.link(part, path)  # fails if another process made the file meanwhile
        except OSError as error:
            raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
        finally:
            os.unlink(part)
        return path

    @property
    def digest(self) -> str:
        """SHA-256 of the claim, without host notes."""
        return self.document["integrity"]["claim_sha256"]

    @property
    def bound(self) -> Fraction:
        """Portable upper bound on the Frobenius error of the logits over all tokens."""
        return checker.parse(self.document["numbers"]["portable"])

    @property
    def token_bound(self) -> Fraction | None:
        """Portable upper bound on the largest 2-norm error of the logits of a token; None before version 1.1."""
        text = self.document["numbers"].get("token_portable")
        return None if text is None else checker.parse(text)

    @property
    def token_direct(self) -> Fraction | None:
        """Upper bound on the largest 2-norm error of the logits of a token, in the certified execution."""
        pair = self.document["numbers"]["blocks"][-1].get("token_max")
        return None if pair is None else checker.parse(pair[1])

    def signed(self, name: str) -> tuple[Fraction, Fraction] | None:
        """Enclosure of a signed figure in the certified execution; None if the file is of version 1.0.

        Args:
            name: "loss_change_mean", "loss_change_theorem_mean", "loss_change_largest", "loss_change_smallest"
                (nats a token), "kl_mean", "kl_largest" (nats) or "perplexity_factor".
        """
        pair = self.document["numbers"]["units"].get("signed", {}).get(name)
        return None if pair is None else (checker.parse(pair[0]), checker.parse(pair[1]))

    @property
    def ties(self) -> list[tuple[int, int]]:
        """Positions (window, place) at which either model has more than one top token; empty before version 1.1."""
        rows = self.document["numbers"]["units"]["windows"]
        return [(w, i) for w, row in enumerate(rows) for i in row.get("tied_at", ())]

    @property
    def direct(self) -> Fraction:
        """Upper bound on the Frobenius error of the logits in the certified execution."""
        return checker.parse(self.document["numbers"]["blocks"][-1]["error"][1])

    @property
    def measured(self) -> float:
        """Frobenius error of the logits as measured, within 1e-12 relative."""
        lo, hi = (checker.parse(x) for x in self.document["numbers"]["blocks"][-1]["error"])
        return float((lo + hi) / 2)

    @property
    def chain(self) -> Fraction:
        """Bound on the same error from the blocks' gains and introduced errors."""
        return checker.parse(self.document["numbers"]["blocks"][-1]["chain"])

    @property
    def loss_change_mean(self) -> Fraction:
        """Certified bound on the mean absolute change of the loss, nats a token, in this execution."""
        return checker.parse(self.document["numbers"]["units"]["loss_change_mean"])

    @property
    def loss_change_max(self) -> Fraction:
        """Certified bound on the largest change of the loss at a position, nats, in this execution."""
        return checker.parse(self.document["numbers"]["units"]["loss_change_max"])

    @property
    def same_top(self) -> tuple[int, int]:
        """Positions with the same top token in this execution, and all positions: exact counts."""
        units = self.document["numbers"]["units"]
        return units["same_top"], units["positions"]

    @property
    def shares(self) -> list[tuple[str, Fraction]]:
        """Share of each block in the chain bound: introduced error times all later gains, each step rounded up."""
        least = Fraction(1, 2**checker.MAX_EXPONENT)  # smaller numbers have no spelling, and cost time to print

        def times(text: str, gains: Fraction) -> Fraction:
            found = checker.round_up(checker.parse(text) * gains)
            return max(found, least) if found else found

        numbers, rows, gains = self.document["numbers"], [], Fraction(1)
        for block in reversed(numbers["blocks"]):
            rows.append((block["name"], times(block["introduced"][1], gains)))
            gains = times(block["gain"], gains)
        rows.append(("embedding", times(numbers["initial_error"][1], gains)))
        return rows[::-1]

    @property
    def claim(self) -> str:
        """The claim in one sentence."""
        subject = self.document["subject"]
        windows, length = subject["tokens"]["shape"]
        same, positions = self.same_top
        change = self.signed("loss_change_mean")
        loss = (
            f"the mean loss changes by {between(*change)} nats a token" if change is not None
            else f"the mean loss changes by at most {above(self.loss_change_mean)} nats a token"
        )
        return (
            f"On {windows} windows of {length} tokens the logits of {subject['compressed']['name']} differ from those "
            f"of {subject['original']['name']} by at most {above(self.bound)} in Frobenius norm (portable bound); "
            f"in the certified execution {loss} "
            f"and {same} of {positions} positions keep their top token."
        )

