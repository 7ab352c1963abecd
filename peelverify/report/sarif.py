"""Findings as a SARIF 2.1.0 log, the exchange format that code-scanning services read.

Checks that hold are no results: a service would show each as an alert. They are listed with all others under
``properties`` of the run, so that the file also says what was established.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peelverify import __version__
from peelverify.report.findings import Finding, Subject, findings
from peelverify.report.visible import visible
from peelverify.verdict import Verdict, worst

__all__ = ["SCHEMA_URI", "sarif_log"]

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_HELP = {
    "arithmetic": "The numbers of the certificate must follow from each other in exact arithmetic and fit its digests.",
    "lean": "The Lean kernel must accept the same arithmetic, by the theorems that the certificate names.",
    "signature": "The stated key must have signed the in-toto statement of this very certificate.",
    "gate": "The certified figures must stay within the limits that the caller gave.",
    "recompute": "Computed again from both models and the tokens, the numbers must be the stated ones.",
    "file": "The file must be a certificate that this version can read.",
    "level": "The level that the caller requires must be reached.",
}


def _text(text: str) -> str:
    """Plain text of a message: braces doubled and no link, as section 3.11 of the format asks."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")


def _location(file: str, root: Path) -> dict[str, str]:
    path = Path(os.path.abspath(root / file))
    try:
        inside = path.relative_to(root)
    except ValueError:
        return {"uri": path.as_uri()}
    return {"uri": quote(inside.as_posix()), "uriBaseId": "%SRCROOT%"}


def _rules(found: Sequence[Finding]) -> list[dict[str, Any]]:
    rules = {}
    for item in found:
        about = _HELP.get(item.rule.partition("/")[0], "A check of the certificate.")
        rules.setdefault(item.rule, {
            "id": item.rule,
            "name": "".join(word.capitalize() for word in item.rule.replace("/", "-").split("-")),
            "shortDescription": {"text": _text(visible(item.title))},
            "fullDescription": {"text": about},
            "help": {"text": f"{about} `peelverify verify --help` says how to check it."},
        })
    return list(rules.values())


def sarif_log(subjects: Sequence[Subject], root: Path | str = ".") -> dict[str, Any]:
    """A log with one run for all certificates.

    Args:
        subjects: what was verified.
        root: folder that paths in the log are relative to; a file outside it gets an absolute URI.

    Returns:
        A JSON object. VIOLATED is an ``error``, INCONCLUSIVE a ``warning``; the run failed
        (``executionSuccessful`` false) if a certificate could not be checked.
    """
    base = Path(os.path.abspath(root))
    found = findings(subjects)
    rules = _rules(found)
    position = {rule["id"]: at for at, rule in enumerate(rules)}
    results = []
    for item in found:
        place = _location(item.file, base)
        seen = hashlib.sha256(f"{item.rule}\n{place['uri']}".encode()).hexdigest()
        results.append({
            "ruleId": item.rule,
            "ruleIndex": position[item.rule],
            "level": item.severity,
            "message": {"text": _text(item.message)},
            "locations": [{"physicalLocation": {"artifactLocation": place, "region": {"startLine": item.line}}}],
            "partialFingerprints": {"peelverifyRuleAndFile/v1": seen},
        })
    errors = [subject for subject in subjects if subject.error is not None]
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "peelverify", "semanticVersion": __version__, "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The folder that was checked."}}},
            "invocations": [{
                "executionSuccessful": not errors,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": _text(visible(subject.error, 1000))}} for subject in errors
                ],
            }],
            "artifacts": [{"location": _location(os.fspath(subject.path), base)} for subject in subjects],
            "results": results,
            "properties": {"certificates": [_established(subject) for subject in subjects]},
        }],
    }


def _established(subject: Subject) -> dict[str, Any]:
    """Everything that was checked in one certificate, with what it came to."""
    made = subject.verification
    verdicts = [check.verdict for check in made.checks] if made is not None else []
    return {
        "file": visible(os.fspath(subject.path), 1000),
        "verdict": (worst(verdicts) if verdicts else Verdict.INCONCLUSIVE).name,
        "levelsReached": list(made.reached) if made is not None else [],
        "checks": [
            {"level": c.level, "name": c.name, "verdict": c.verdict.name, "detail": visible(c.detail, 1000)}
            for c in (made.checks if made is not None else ())
        ],
    }
