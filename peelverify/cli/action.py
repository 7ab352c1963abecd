"""What the GitHub action of this repository runs: ``python -I -m peelverify.cli.action verify``.

Every setting comes from an environment variable, so that no shell ever reads it as text:

    PEELVERIFY_CERTIFICATE   paths or glob patterns, one a line
    PEELVERIFY_ORIGINAL, PEELVERIFY_COMPRESSED, PEELVERIFY_TEXT   as for ``peelverify verify``; may be empty
    PEELVERIFY_SIGNATURE, PEELVERIFY_KEY   envelope and public key of the only certificate; may be empty
    PEELVERIFY_LEVEL, PEELVERIFY_REQUIRE   arithmetic, lean, signature or recompute; may be empty
    PEELVERIFY_FAIL_ON       violated (default), inconclusive or never
    PEELVERIFY_SARIF         file to write; may be empty
    GITHUB_OUTPUT, GITHUB_STEP_SUMMARY   files of the runner; left alone if not set

Exit status: 0 passed, 1 a claim is violated, 2 a certificate could not be checked or a setting is wrong,
3 something is open and ``PEELVERIFY_FAIL_ON`` says that this counts, or a required level was not reached.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from peelverify.cli.verify import LEVELS, evidence_for
from peelverify.errors import ArtifactError, InputError, PeelverifyError
from peelverify.report.annotations import annotations, command, harmless, summary_table
from peelverify.report.findings import Subject, findings
from peelverify.report.sarif import sarif_log
from peelverify.verdict import Verdict, worst

__all__ = ["cache_key", "main"]

_FAIL_ON = ("violated", "inconclusive", "never")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _choice(environ: Mapping[str, str], name: str, among: Sequence[str], default: str | None) -> str | None:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if value not in among:
        raise InputError(f"{name} needs one of {', '.join(among)}, got {value!r}; name one of them")
    return value


def _certificates(environ: Mapping[str, str]) -> list[str]:
    """Files that the patterns match, sorted, each once."""
    patterns = [line.strip() for line in environ.get("PEELVERIFY_CERTIFICATE", "").splitlines() if line.strip()]
    found: set[str] = set()
    for pattern in patterns:
        matches = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)
        files = {os.path.normpath(match) for match in matches if Path(match).is_file()}
        if not files:
            raise InputError(f"the action needs certificates, got no file for {pattern!r}; correct `certificate`")
        found |= files
    if not found:
        raise InputError("the action needs certificates, got no pattern; set `certificate`")
    return sorted(found)


def _verify(path: str, environ: Mapping[str, str], level: str | None) -> Subject:
    from peelverify.certify import verify

    subject = Subject(path)
    original = environ.get("PEELVERIFY_ORIGINAL", "") or None
    compressed = environ.get("PEELVERIFY_COMPRESSED", "") or None
    text = environ.get("PEELVERIFY_TEXT", "") or None
    if level not in (None, "recompute"):
        original = compressed = text = None
    signature, key = (environ.get(f"PEELVERIFY_{name}", "") or None for name in ("SIGNATURE", "KEY"))
    if level in ("arithmetic", "lean"):
        signature = key = None
    try:
        texts = [Path(line.strip()) for line in text.splitlines() if line.strip()] if text else None
        evidence = evidence_for(path, original, texts) if original else {}
        subject.verification = verify(
            path, original=original, compressed=compressed, **evidence, signature=signature, key=key,
            lean=level != "arithmetic",
        )
    except PeelverifyError as error:
        subject.error = str(error)
    except Exception as error:  # one file must not keep the others from being verified
        subject.error = f"internal error ({type(error).__name__}: {error}); report it"
    return subject


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet, in one step."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(part, 0o644)
            os.link(part, path)
        finally:
            os.unlink(part)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another `sarif` file") from error


def _append(file: str | None, text: str) -> None:
    if file:
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(text)


def _outputs(environ: Mapping[str, str], **values: str) -> None:
    """Hand values to later steps; a fresh delimiter keeps a value from starting another one."""
    for name, value in values.items():
        end = f"end-{secrets.token_hex(16)}"
        _append(environ.get("GITHUB_OUTPUT"), f"{name}<<{end}\n{value}\n{end}\n")


def _status(subjects: Sequence[Subject], verdict: Verdict, fail_on: str) -> int:
    if verdict is Verdict.VIOLATED and fail_on != "never":
        return 1
    if any(subject.error is not None for subject in subjects):
        return 2
    if any(subject.missing is not None for subject in subjects) and fail_on != "never":
        return 3
    return 3 if verdict is not Verdict.HOLDS and fail_on == "inconclusive" else 0


def verify_all(environ: Mapping[str, str]) -> int:
    """Verify every certificate, annotate, and hand the outcome to the runner.

    Raises:
        InputError: for a wrong setting; nothing was verified.
        ArtifactError: if the SARIF file exists already or cannot be written.
    """
    level = _choice(environ, "PEELVERIFY_LEVEL", LEVELS, None)
    require = _choice(environ, "PEELVERIFY_REQUIRE", LEVELS, None)
    fail_on = _choice(environ, "PEELVERIFY_FAIL_ON", _FAIL_ON, "violated") or "violated"
    given = [bool(environ.get(f"PEELVERIFY_{role}", "")) for role in ("ORIGINAL", "COMPRESSED")]
    if given[0] != given[1] or (level == "recompute" and not all(given)):
        raise InputError("the action needs both models or neither, got one side; set `original` and `compressed`")
    certificates = _certificates(environ)
    signed = [bool(environ.get(f"PEELVERIFY_{name}", "")) for name in ("SIGNATURE", "KEY")]
    if signed[0] != signed[1] or (level == "signature" and not all(signed)):
        raise InputError("the action needs envelope and key or neither, got one side; set `signature` and `key`")
    if signed[0] and len(certificates) > 1:
        raise InputError(f"the action needs one certificate for a signature, got {len(certificates)}; use a step each")
    sarif = environ.get("PEELVERIFY_SARIF", "")
    if sarif and Path(sarif).exists():
        raise ArtifactError(f"{sarif} exists already; choose another `sarif` file or remove it first")
    subjects = []
    # until the token comes back, the runner obeys no command: what a model or a library prints stays text
    token = secrets.token_hex(16)
    _say(f"::stop-commands::{token}")
    try:
        for path in certificates:
            subject = _verify(path, environ, level)
            reached = subject.verification.reached if subject.verification is not None else ()
            if subject.error is None and require is not None and require not in reached:
                subject.missing = require
            summary = subject.verification.summary if subject.verification is not None else subject.error
            _say(harmless(f"{path}: {summary}"))
            subjects.append(subject)
    finally:
        _say(f"::{token}::")
    for line in annotations(findings(subjects)):
        _say(line)
    verdicts = [
        check.verdict
        for subject in subjects
        for check in (subject.verification.checks if subject.verification is not None else ())
    ]
    verdicts += [Verdict.INCONCLUSIVE for subject in subjects if subject.error is not None]
    verdict = worst(verdicts)
    levels = [
        name
        for name in LEVELS
        if all(subject.verification is not None and name in subject.verification.reached for subject in subjects)
    ]
    if sarif:
        _write_new(Path(sarif), json.dumps(sarif_log(subjects), indent=1, ensure_ascii=True) + "\n")
    _append(environ.get("GITHUB_STEP_SUMMARY"), f"### peelverify: {verdict.name}\n\n{summary_table(subjects)}\n")
    _outputs(environ, verdict=verdict.name, levels=",".join(levels), sarif=sarif, certificates=str(len(subjects)))
    _say(f"verdict {verdict.name}; {len(subjects)} certificates; levels reached by all: {', '.join(levels) or 'none'}")
    return _status(subjects, verdict, fail_on)


def cache_key() -> str:
    """Hash of everything that decides what is kept between runs: the proofs, and the Lean that checks them."""
    from peelverify.lean.install import INTEGRITY
    from peelverify.lean.toolchain import LEAN_OPTIONS
    from peelverify.lean.tree import load_tree, proofs_root

    tree = load_tree(proofs_root())
    parts = [INTEGRITY, sys.platform, *LEAN_OPTIONS]
    parts += [f"{name}\n{source.text}" for name, source in sorted(tree.sources.items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run ``verify`` or print the ``key`` of the cache."""
    environ = os.environ if environ is None else environ
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words == ["key"]:
            _say(cache_key())
            return 0
        if words != ["verify"]:
            raise InputError("peelverify.cli.action needs `verify` or `key` as its only argument; give one of them")
        return verify_all(environ)
    except PeelverifyError as error:
        _say(command("error", str(error), title="peelverify"))
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
