r"""A certificate as something to paste into a paper: plain text, LaTeX and BibTeX.

The three forms state the same facts in the same order and end with what was *not* checked. Names come from
strangers: `latex` leaves no character with a meaning to TeX, so a model called ``\input{x}`` stays a name.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peelverify.certify import checker
from peelverify.certify.file import Certificate, exact_decimal
from peelverify.certify.verification import Verification
from peelverify.errors import ArtifactError, InputError
from peelverify.report.visible import upwards, visible
from peelverify.verdict import Verdict

__all__ = ["FORMATS", "Citation", "cite", "latex"]

FORMATS = ("text", "latex", "bibtex")

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\symbol{34}", "'": "{'}", "`": r"\textasciigrave{}", "-": "{-}", ",": "{,}",
    "#": r"\#", "$": r"\$", "%": r"\%", "&": r"\&", "_": r"\_",
    "“": "``", "”": "''", "⟨": r"\textless{}", "⟩": r"\textgreater{}", "…": r"\ldots{}",
}


def latex(text: object) -> str:
    """Text for LaTeX and for a value in BibTeX: every character with a meaning to TeX is written out.

    Braces never appear on their own, because BibTeX counts them even after a backslash. Letters of
    Latin-1 stay; every other character outside ASCII becomes ``[U+4E2D]``, since plain LaTeX may lack it.
    """
    parts = []
    for char in visible(text):
        if char in _TEX:
            parts.append(_TEX[char])
        elif char.isascii() or ("À" <= char <= "ÿ" and char not in "×÷"):
            parts.append(char)
        else:
            parts.append(f"[U+{ord(char):04X}]")
    return "".join(parts).replace("::", ":{:}")  # at the start of a wrapped line, a CI service obeys two colons


class _Plain:
    """How the parts of the paragraph look as plain text."""

    def name(self, text: object) -> str:
        return f"“{visible(text, 120)}”"

    def words(self, text: object) -> str:
        return visible(text)

    def code(self, text: object) -> str:
        return visible(text)

    def at_most(self, symbol: str, value: str) -> str:
        return f"{symbol} <= {value}"


class _Latex(_Plain):
    """The same in LaTeX; needs no package."""

    def name(self, text: object) -> str:
        return f"``{latex(visible(text, 120))}''"

    def words(self, text: object) -> str:
        return latex(text).replace("{-}", "-").replace("{,}", ",")

    def code(self, text: object) -> str:
        pieces = re.findall(r".{1,8}", visible(text)) if re.fullmatch(r"[0-9a-f]{64}", str(text)) else [text]
        return r"\texttt{" + r"\allowbreak{}".join(latex(p) for p in pieces) + "}"

    def at_most(self, symbol: str, value: str) -> str:
        mantissa, _, power = value.partition("e")
        number = rf"{mantissa}\times 10^{{{int(power)}}}" if power else mantissa
        symbols = {"||z' - z||_F": r"\|\hat z-z\|_F", "chain": r"\mathrm{chain}"}
        return rf"${symbols[symbol]}\leq {number}$"


@dataclass(frozen=True)
class Citation:
    """A certificate in three forms.

    Attributes:
        text: paragraph.
        latex: the same paragraph for LaTeX, without packages.
        bibtex: one ``@misc`` entry.
        key: key of the entry.
        level: highest level of verification that was reached.
        not_checked: what nobody checked for this citation, one sentence each.
        statements_sha256: one hash over the names and statement hashes of all theorems named.
    """

    text: str
    latex: str
    bibtex: str
    key: str
    level: str
    not_checked: tuple[str, ...]
    statements_sha256: str

    def in_format(self, name: str) -> str:
        """One form by name.

        Raises:
            InputError: for another name than those in `FORMATS`.
        """
        if name not in FORMATS:
            raise InputError(f"cite needs a format out of {', '.join(FORMATS)}, got {name!r}; choose one of them")
        return getattr(self, name)


def _open_points(verification: Verification, changed: Sequence[str]) -> tuple[str, ...]:
    points = []
    if "lean" not in verification.reached:
        points.append("the arithmetic of this certificate was checked exactly, but not by the Lean kernel")
    if "recompute" not in verification.reached:
        points.append("the models and the text were not opened, so the numbers are not tied to any model")
    if verification.newer:
        points.append(verification.newer)
    if changed:
        points.append(f"these theorem statements are not those of the version that wrote this: {', '.join(changed)}")
    return (
        *points,
        "a proof assistant checked the theorems and no model: neither weights nor execution",
        "other text, other inputs and the performance on tasks",
    )


def _level(verification: Verification) -> str:
    if "recompute" in verification.reached:
        if verification.newer:
            return "what this version reads of it was computed anew from these models and this text"
        return "every number was computed anew from these models and this text"
    return "arithmetic consistent, not tied to any model"


def cite(
    certificate: Certificate, verification: Verification, *, road: str | None = None, changed: Sequence[str] = ()
) -> Citation:
    """Write the citation of a certificate that was verified.

    Args:
        certificate: to cite.
        verification: what `peelverify.certify.verify` established; it must hold.
        road: the Lean in use, with its version; None if it is not known.
        changed: theorems whose statements differ from those of this version of peelverify.

    Raises:
        InputError: if the certificate was refuted or not verified.
        ArtifactError: if the certificate lacks a field that a citation needs.
    """
    if not verification.checks or verification.verdict is not Verdict.HOLDS:
        raise InputError("cite needs a certificate whose checks hold, got another one; run peelverify verify on it")
    try:
        return _cite(certificate, verification, road, tuple(changed))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(
            f"the certificate lacks a field that a citation needs ({type(error).__name__}: {visible(error, 80)}); "
            "use a certificate written by peelverify certify"
        ) from error


def _files(subject: Mapping[str, Any]) -> tuple[str, str]:
    """Label and hash of the weights: the file if there is one, else one hash over the list of all files."""
    weights = {k: v for k, v in subject["files"].items() if k.endswith(".safetensors") or k == "state_dict"}
    if len(weights) == 1:
        return next(iter(weights.items()))
    return f"list of {len(subject['files'])} file hashes", checker.digest(subject["files"])


def _date(certificate: Certificate) -> str | None:
    host = certificate.document.get("host")
    date = host.get("date") if isinstance(host, dict) else None
    found = re.match(r"(\d{4}-\d{2}-\d{2})T", date) if isinstance(date, str) else None
    return found[1] if found else None


def _maker(certificate: Certificate) -> str:
    host = certificate.document.get("host")
    version = host.get("peelverify") if isinstance(host, dict) else None
    return f"peelverify {version}" if isinstance(version, str) else "peelverify"


def _sentences(
    style: _Plain, certificate: Certificate, *, level: str, road: str | None, points: Sequence[str], theorems: str
) -> list[str]:
    document = certificate.document
    subject, numbers = document["subject"], document["numbers"]
    windows, length = subject["tokens"]["shape"]
    same, positions = certificate.same_top
    original, compressed = subject["original"], subject["compressed"]
    named = [style.code(entry["name"]) for entry in document["theorems"]]
    margin = upwards(100 * checker.parse(numbers["margin"]), 3)
    date = _date(certificate)
    percent = style.words("%")
    hashes = "; ".join(
        f"{role} {style.code(label)} {style.code(sha)}"
        for role, (label, sha) in (("original", _files(original)), ("compressed", _files(compressed)))
    )
    error = style.at_most("||z' - z||_F", upwards(certificate.bound))
    return [
        f"On {windows} windows of {length} tokens, the logits z' of the compressed model "
        f"{style.name(compressed['name'])} and z of the original {style.name(original['name'])} satisfy "
        f"{error} over all positions "
        f"(certified; {upwards(certificate.direct)} in the certified execution, plus a measured margin of "
        f"{margin} {percent} for other machines).",
        *_sharp(style, certificate),
        f"In that execution the mean loss changes by at most {upwards(certificate.loss_change_mean)} nats a token, the "
        f"loss at any position by at most {upwards(certificate.loss_change_max)} nats, and {same} of {positions} "
        f"positions keep their top token (certified).",
        f"The error budget over the blocks gives {style.at_most('chain', upwards(certificate.chain))} (certified).",
        f"SHA-256 of models and text: {hashes}; token ids {style.code(subject['tokens']['sha256'])}.",
        f"The bounds follow from the theorems {', '.join(named)} (proved; SHA-256 of their statements "
        f"{style.code(theorems)}{'; ' + style.words(road) if road else ''}).",
        f"Certificate of {style.words(_maker(certificate))}{', ' + date if date else ''}, claim SHA-256 "
        f"{style.code(certificate.digest)}.",
        f"Verified for this citation: {style.words(level)}.",
        f"Not checked: {'; '.join(style.words(point) for point in points)}.",
    ]


def _sharp(style: _Plain, certificate: Certificate) -> list[str]:
    """What certificates from version 1.1 on say beyond the chain: signed changes, unseen text, every input."""
    change, kl = certificate.signed("loss_change_mean"), certificate.signed("kl_mean")
    if change is None or kl is None or certificate.token_direct is None:
        return []
    low, high = (exact_decimal(x, up, 6) for x, up in zip(change, (False, True), strict=True))
    kl_most = exact_decimal(kl[1], True, 6).removeprefix("+")
    found = [
        f"Enclosed from the executed logits, the mean loss changes by {style.words(low)} to {style.words(high)} nats a "
        f"token, the mean KL divergence is at most {style.words(kl_most)} nats, and no token's logits differ "
        f"by more than {upwards(certificate.token_direct)} in 2-norm (certified).",
    ]
    document = certificate.document
    if document["unseen"] is not None:
        level, pool = document["unseen"]["levels"][-1], document["subject"]["pool"]
        found.append(
            f"A window drawn uniformly from the rest of the pool of {pool['windows']} windows (SHA-256 "
            f"{style.code(pool['sha256'])}) has a logit error above {upwards(checker.parse(level['error']))} with "
            f"probability at most {level['k']}/{level['of']}, over the draw (certified)."
        )
    if document["every_input"] is not None:
        count = len(document["every_input"]["matrices"])
        found.append(
            f"The certificate also bounds the change of {count} linear maps for every input, in real arithmetic on the "
            "weights as converted to the dtype that is run (certified)."
        )
    return found


def _wrap(tex: str, indent: str = "") -> str:
    """Break lines at spaces only, which TeX and BibTeX read as the spaces they were."""
    return textwrap.fill(
        tex, 100, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _cite(
    certificate: Certificate, verification: Verification, road: str | None, changed: tuple[str, ...]
) -> Citation:
    document = certificate.document
    points = _open_points(verification, changed)
    theorems, level = checker.digest(document["theorems"]), _level(verification)
    text, tex = (
        " ".join(_sentences(style, certificate, level=level, road=road, points=points, theorems=theorems))
        for style in (_Plain(), _Latex())
    )
    tex = tex.replace("the logits z' of", r"the logits $\hat z$ of").replace("and z of the", "and $z$ of the", 1)
    key = f"peelverify-{certificate.digest[:16]}"
    names = [document["subject"][role]["name"] for role in ("compressed", "original")]
    date = _date(certificate)
    fields = {
        "author": "{peelverify}",
        "title": "{Certified error bound: " + " against ".join(latex(visible(n, 120)) for n in names) + "}",
        "howpublished": f"Certificate of {latex(_maker(certificate))}",
        **({"year": date[:4]} if date else {}),
        "note": "\n" + _wrap(tex, indent="    ") + "\n  ",
    }
    bibtex = f"@misc{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items()) + "}"
    return Citation(
        text=text,
        latex=_wrap(f"{tex}~\\cite{{{key}}}"),
        bibtex=bibtex,
        key=key,
        level=verification.reached[-1] if verification.reached else "none",
        not_checked=points,
        statements_sha256=theorems,
    )
