"""``peelverify verify``: check a certificate as far as the arguments allow."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from peelverify.cli import console
from peelverify.errors import InputError
from peelverify.verdict import Verdict, exit_code

__all__ = ["LEVELS", "register", "tokens_for"]

LEVELS = ("arithmetic", "lean", "recompute")


class Format(enum.StrEnum):
    """How the result is printed."""

    text = "text"
    json = "json"
    sarif = "sarif"
    github = "github"


def tokens_for(certificate: Path | str, original: str, text: Path) -> object:
    """Token ids of a text in the shape that a certificate states; it stores only their hash."""
    from peelverify.certify import Certificate
    from peelverify.cli.inputs import text_windows

    windows, length = Certificate.load(certificate).document["subject"]["tokens"]["shape"]
    return text_windows(original, text, tokens=windows * length, window=length)


def verify_command(
    certificate: Annotated[Path, typer.Argument(help="Certificate file (*.cert.json).")],
    original: Annotated[str | None, typer.Option(help="Original model, to compute every number anew.")] = None,
    compressed: Annotated[str | None, typer.Option(help="Compressed model.")] = None,
    text: Annotated[
        Path | None, typer.Option(help="Text, needed only if the certificate holds no tokens.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Stop after this level: arithmetic, lean or recompute.")
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="Exit 3 unless this level was reached.")
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", help="Print text, JSON, a SARIF 2.1.0 log, or workflow annotations.")
    ] = Format.text,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Verify a certificate: arithmetic (exact), lean (by the kernel), recompute (with both models).

    Exit status: 0 every check holds, 1 refuted, 2 bad input, 3 nothing refuted but something is open.

    Example: peelverify verify base-4bit.cert.json --original models/base --compressed models/base-4bit
    """
    for option, value in (("--level", level), ("--require", require)):
        if value is not None and value not in LEVELS:
            raise InputError(f"{option} needs one of {', '.join(LEVELS)}, got {value!r}; name one of them")
    if json and format not in (Format.text, Format.json):
        raise InputError(f"--json and --format {format} exclude each other; give one of them")
    if level == "recompute" and original is None:
        raise InputError("--level recompute needs --original and --compressed; give both models")
    from peelverify.certify import verify

    with_models = level in (None, "recompute")
    ids = tokens_for(certificate, original, text) if text is not None and with_models and original else None
    with console.progress() as bar:
        tasks: dict[str, int] = {}

        def on_progress(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"recompute: {what}", total=total)
            bar.update(tasks[what], completed=done)

        found = verify(
            certificate,
            original=original if with_models else None,
            compressed=compressed if with_models else None,
            tokens=ids,
            lean=level != "arithmetic",
            on_progress=on_progress,
        )
    missing = require is not None and require not in found.reached
    code = exit_code(found.verdict) or (3 if missing else 0)
    if json or format is Format.json:
        console.emit_json({
            "schema": "peelverify.verify/1",
            "certificate": str(certificate),
            "verdict": found.verdict.name,
            "summary": found.summary,
            "levels_reached": list(found.reached),
            "required_level_missing": missing,
            "checks": [
                {"level": c.level, "name": c.name, "verdict": c.verdict.name, "detail": c.detail}
                for c in found.checks
            ],
        })
        return code
    if format is not Format.text:
        from peelverify.report.findings import Subject

        subject = Subject(certificate, found, missing=require if missing else None)
        if format is Format.sarif:
            from peelverify.report.sarif import sarif_log

            console.emit_log(sarif_log([subject]))
        else:
            from peelverify.report.annotations import annotations, harmless
            from peelverify.report.findings import findings

            for line in (*annotations(findings([subject])), harmless(found.summary)):
                console.result(line)
        return code
    for c in found.checks:
        console.result(f"{c.verdict.name:<13} {c.level:<11} {c.name}: {c.detail}")
    console.result(found.summary)
    if missing and found.verdict is Verdict.HOLDS:
        console.result(f"level {require} was not reached; give what it needs (see peelverify verify --help)")
    return code


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify_command)
