"""``peelverify theorems``: what is stated, in which file, and which function computes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from peelverify.cli import console

__all__ = ["register"]


def theorems(
    name: Annotated[str | None, typer.Argument(help="One theorem or definition; PeelVerify. may be left out.")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of Proofs.lean. Default: the proofs of this package.")
    ] = None,
    definitions: Annotated[bool, typer.Option("--definitions", help="List definitions too.")] = False,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Only those with a Python function.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the public theorems, or show one with its statement and the hash to cite.

    The list is read from the sources; `peelverify prove` is what checks them.

    Example: peelverify theorems le_chainBound
    """
    from peelverify.lean.theorems import find_theorem, index

    if name is not None:
        entries = (find_theorem(name, root),)
    else:
        entries = tuple(
            entry
            for entry in index(root)
            if (definitions or entry.kind == "theorem") and (entry.mirror is not None or not mirrored)
        )
    if json:
        console.emit_json(
            {
                "schema": "peelverify.theorems/1",
                "theorems": [asdict(entry) for entry in entries],
            }
        )
        return
    for entry in entries:
        mirror = entry.mirror or f"none ({entry.no_mirror or 'no reason given'})"
        if name is None:
            statement = " ".join(entry.statement.split())
            console.result(f"{entry.name}    {entry.file}:{entry.line}")
            console.result(f"    {entry.doc}")
            console.result(f"    {statement if len(statement) <= 300 else statement[:297] + '...'}")
            console.result(f"    Python: {mirror}")
            continue
        console.result(f"{entry.kind} {entry.name}")
        console.result()
        console.result(f"  {entry.doc}")
        console.result()
        for line in (*entry.variables, *entry.statement.splitlines()):
            console.result(f"    {line}")
        console.result()
        console.result(f"  Python   {mirror}")
        console.result(f"  source   {entry.file}:{entry.line}")
        console.result(f"  hash     {entry.statement_hash}  (statement and the definitions it rests on)")
        console.result("  check    peelverify prove")
    if name is None:
        console.say(f"{len(entries)} listed; `peelverify theorems NAME` shows one in full")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("theorems")(theorems)
