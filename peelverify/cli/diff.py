"""``peelverify diff``: two certificates side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.cli import console

__all__ = ["register"]


def diff_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Certificate file (*.cert.json).")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same original on the same text.")],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Compare two certificates in the units of the user: loss, perplexity, KL, top token, error, blocks.

    Only their arithmetic is checked first. A side is called better where counts or two-sided figures show it; of an
    upper bound only the smaller one is named, since a sharper bound is not a better model.

    Exit status: 0 compared, 1 one of them is refuted, 2 bad input, 3 they cannot be compared.

    Both have to speak of the same tokens: make the second with `peelverify certify ... --tokens-of FIRST`.

    Example: peelverify diff base-4bit.cert.json base-3bit.cert.json
    """
    from peelverify.certify import checker, shape
    from peelverify.certify.compare import compare
    from peelverify.certify.file import Certificate

    sides = []
    for path in (a, b):
        try:
            certificate = Certificate.load(path)
            shape.check(certificate.document)
        except (checker.Newer, checker.Refuted) as error:
            word = "cannot be read" if isinstance(error, checker.Newer) else "is refuted"
            if json:
                console.emit_json({"schema": "peelverify.diff/1", "a": str(a), "b": str(b),
                                   "incomparable": [f"{path} {word}: {error}"], "differs": None, "rows": None,
                                   "blocks": None})
            console.say(f"not compared: {path} {word}: {error}")
            return 3 if isinstance(error, checker.Newer) else 1
        sides.append(certificate)
    found = compare(*sides)
    if json:
        console.emit_json({"schema": "peelverify.diff/1", "a": str(a), "b": str(b), **found})
    else:
        _print(found, sides)
    return 3 if found["incomparable"] else 0


def _print(found: dict[str, Any], sides: list[Any]) -> None:
    from peelverify.report.visible import visible

    for letter, side in zip("AB", sides, strict=True):
        subject = side.document["subject"]
        console.result(f"{letter}  {visible(subject['compressed']['name'])} against "
                       f"{visible(subject['original']['name'])}, claim {side.digest[:16]}")
    console.result(f"differs: {', '.join(found['differs']) or 'nothing in the subject'}")
    better = {"a": "A better", "b": "B better", "same": "same", None: ""}
    smaller = {"a": "bound of A smaller", "b": "bound of B smaller", "same": "same bound", None: ""}
    console.table(
        "certified figures", ["figure", "A", "B", "shows"],
        [[row["name"], row["a"] or "-", row["b"] or "-", better[row["better"]] or smaller[row["smaller_bound"]]]
         for row in found["rows"]],
    )
    console.table(
        "share of each block in the chain", ["block", "A", "B"],
        [[row["block"], row["a"] or "-", row["b"] or "-"] for row in found["blocks"]],
    )
    for reason in found["incomparable"]:
        console.result(f"cannot be compared: {reason}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff")(diff_command)
