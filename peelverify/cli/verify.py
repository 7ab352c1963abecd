"""``peelverify verify``: check a certificate as far as the arguments allow."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli import console
from peelverify.errors import InputError
from peelverify.verdict import Verdict, exit_code

__all__ = ["LEVELS", "evidence_for", "register"]

LEVELS = ("arithmetic", "lean", "signature", "recompute")


class Format(enum.StrEnum):
    """How the result is printed."""

    text = "text"
    json = "json"
    sarif = "sarif"
    github = "github"


def evidence_for(certificate: Path | str, original: str, texts: list[Path] | None) -> dict[str, Any]:
    """Tokens or pool of a certificate, cut from the texts given (or the built-in one), as `verify` takes them.

    Empty if the certificate needs neither, or contradicts itself, which `verify` reports.
    """
    from peelverify.certify import Certificate, checker, shape
    from peelverify.cli.inputs import text_windows, window_pool

    try:
        document = Certificate.load(certificate).document
        shape.check(document)
    except (checker.Newer, checker.Refuted):
        return {}
    windows, length = document["subject"]["tokens"]["shape"]
    pool = document["subject"].get("pool")
    if pool is not None and (texts or not pool["files"]):
        return {"pool": window_pool(original, texts, tokens=length, window=length)[0]}
    if pool is None and texts:
        if len(texts) > 1:
            raise InputError(f"the certificate names no pool, so its tokens come from one --text, got {len(texts)}")
        return {"tokens": text_windows(original, texts[0], tokens=windows * length, window=length)}
    return {}


def verify_command(
    certificate: Annotated[Path, typer.Argument(help="Certificate file (*.cert.json).")],
    original: Annotated[str | None, typer.Option(help="Original model, to compute every number anew.")] = None,
    compressed: Annotated[str | None, typer.Option(help="Compressed model.")] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Text that the windows were drawn from; may be repeated. Not needed for the built-in one."),
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(help="DSSE envelope around the in-toto statement of the certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Public key (PEM) that must have signed it.")] = None,
    statement: Annotated[
        Path | None, typer.Option(help="Write the in-toto statement, to be signed, if every check holds.")
    ] = None,
    max_loss_change: Annotated[
        str | None, typer.Option(help="Exit 1 if the mean loss grows by more, nats a token.", metavar="NATS")
    ] = None,
    min_same_top: Annotated[
        str | None, typer.Option(help="Exit 1 if fewer positions keep their top token.", metavar="SHARE")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Stop after this level: arithmetic, lean, signature or recompute.")
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="Exit 3 unless this level was reached.")
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", help="Print text, JSON, a SARIF 2.1.0 log, or workflow annotations.")
    ] = Format.text,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Verify a certificate: arithmetic (exact), lean (by the kernel), signature, recompute (with both models).

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
    if (signature is None) != (key is None) or (level == "signature" and signature is None):
        raise InputError("a signature needs --signature and --key; give both")
    from peelverify.certify import verify
    from peelverify.certify.compare import limit
    from peelverify.cli.inputs import new_output

    limits = limit(max_loss_change, "--max-loss-change"), limit(min_same_top, "--min-same-top", high=1)
    if statement is not None:
        new_output(statement)

    with_models = level in (None, "recompute")
    with_signature = level not in ("arithmetic", "lean")
    evidence = evidence_for(certificate, original, text) if with_models and original else {}
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
            **evidence,
            signature=signature if with_signature else None,
            key=key if with_signature else None,
            lean=level != "arithmetic",
            on_progress=on_progress,
        )
    found.gate(*limits)
    if statement is not None and found.verdict is Verdict.HOLDS and found.certificate is not None:
        from peelverify.certify.statement import write_statement

        write_statement(found.certificate, statement)
        console.say(f"written {statement}")
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
                console.command(line)
        return code
    from peelverify.report.visible import visible

    for c in found.checks:
        console.result(f"{c.verdict.name:<13} {c.level:<11} {c.name}: {visible(c.detail, 1000)}")
    console.result(visible(found.summary, 1000))
    if missing and found.verdict is Verdict.HOLDS:
        console.result(f"level {require} was not reached; give what it needs (see peelverify verify --help)")
    return code


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify_command)
