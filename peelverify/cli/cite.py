"""``peelverify cite``: a certificate as a paragraph, LaTeX and BibTeX to paste into a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli import console
from peelverify.errors import InputError, ToolchainError
from peelverify.verdict import Verdict, exit_code

__all__ = ["register"]


def cite_command(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="Certificate file (*.cert.json).")],
    form: Annotated[
        str | None, typer.Option("--format", help="text, latex or bibtex. [default: all three]")
    ] = None,
    original: Annotated[str | None, typer.Option(help="Original model, to compute every number anew first.")] = None,
    compressed: Annotated[str | None, typer.Option(help="Compressed model.")] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Text that the windows were drawn from, only with models; may be repeated."),
    ] = None,
    lean: Annotated[bool, typer.Option("--lean", help="Have the Lean kernel check the arithmetic first.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Cite a certificate: what it claims, by which theorems, and what was not checked.

    The arithmetic is always checked first, and a refuted certificate is not cited (exit status 1).

    Example: peelverify cite base-4bit.cert.json --format latex
    """
    from peelverify.report.cite import FORMATS, cite

    if form is not None and form not in FORMATS:
        raise InputError(f"--format needs one of {', '.join(FORMATS)}, got {form!r}; leave it out for all three")
    if (original is None) != (compressed is None):
        raise InputError("cite needs both models or neither, got one; give --original and --compressed")
    found = _verify(certificate, original, compressed, text, lean)
    if found.verdict is not Verdict.HOLDS or found.certificate is None:
        if json:
            console.emit_json({
                "schema": "peelverify.cite/1", "certificate": str(certificate), "verdict": found.verdict.name,
                "summary": found.summary, "text": None, "latex": None, "bibtex": None,
            })
        console.say(f"not cited: {found.summary}")
        return exit_code(found.verdict)
    from peelverify.certify.theorems import compare_hashes

    document = found.certificate.document
    done = cite(found.certificate, found, road=_road(), changed=compare_hashes(document["theorems"]))
    if json:
        console.emit_json({
            "schema": "peelverify.cite/1",
            "certificate": str(certificate),
            "verdict": found.verdict.name,
            "summary": found.summary,
            "claim_sha256": found.certificate.digest,
            "statements_sha256": done.statements_sha256,
            "levels_reached": list(found.reached),
            "not_checked": list(done.not_checked),
            "key": done.key,
            **{name: done.in_format(name) for name in FORMATS if form in (None, name)},
        })
    else:
        console.result("\n\n".join(done.in_format(name) for name in FORMATS if form in (None, name)))
    return exit_code(found.verdict)


def _road() -> str | None:
    """The Lean of this machine in one line; None if there is none, which only shortens the citation."""
    from peelverify.lean.toolchain import describe_toolchain

    try:
        return describe_toolchain()
    except ToolchainError:
        return None


def _verify(
    certificate: Path, original: str | None, compressed: str | None, text: list[Path] | None, lean: bool
) -> Any:
    from peelverify.certify import verify
    from peelverify.cli.verify import evidence_for

    evidence = evidence_for(certificate, original, text) if original is not None else {}
    with console.progress() as bar:
        tasks: dict[str, Any] = {}

        def on_progress(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"recompute: {what}", total=total)
            bar.update(tasks[what], completed=done)

        return verify(
            certificate, original=original, compressed=compressed, **evidence, lean=lean, on_progress=on_progress
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cite")(cite_command)
