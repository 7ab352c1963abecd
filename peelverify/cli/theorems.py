"""``peelverify theorems``: what is stated, in which file, and which function computes it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peelverify.cli import console
from peelverify.errors import InputError

if TYPE_CHECKING:
    from peelverify.lean.pages import Binder, Page

__all__ = ["register"]

WIDTH = 100


def theorems(
    name: Annotated[str | None, typer.Argument(help="One theorem or definition; PeelVerify. may be left out.")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of Proofs.lean. Default: the proofs of this package.")
    ] = None,
    definitions: Annotated[bool, typer.Option("--definitions", help="List definitions too.")] = False,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Only those with a Python function.")] = False,
    check_golden: Annotated[
        Path | None,
        typer.Option("--check-golden", metavar="FILE", help="Compare with a reviewed list; exit 1 if not equal."),
    ] = None,
    write_golden: Annotated[
        Path | None, typer.Option("--write-golden", metavar="FILE", help="Write the list of all statements for review.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write all theorems as a page of Markdown.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the public theorems, or show one with what it assumes, an example and the hash to cite.

    The list is read from the sources; `peelverify prove` is what checks them.

    Example: peelverify theorems le_chainBound
    """
    from peelverify.lean.theorems import index

    writes = {"--check-golden": check_golden, "--write-golden": write_golden, "--markdown": markdown}
    asked = [option for option, value in writes.items() if value is not None]
    if len(asked) > 1 or (asked and (name is not None or json or definitions or mirrored)):
        raise InputError(f"peelverify theorems needs {asked[0]} alone, got more; leave out the rest")
    if asked:
        _files(root, check_golden, write_golden, markdown)
    elif name is not None:
        from peelverify.lean.pages import page

        found = page(name, root)
        if json:
            console.emit_json({"schema": "peelverify.theorem/1", **found.to_json()})
        else:
            for line in _page(found):
                console.result(line)
    else:
        entries = [
            entry for entry in index(root)
            if (definitions or entry.kind == "theorem") and (entry.mirror is not None or not mirrored)
        ]
        if json:
            console.emit_json({"schema": "peelverify.theorems/1", "theorems": [asdict(entry) for entry in entries]})
            return
        for entry in entries:
            statement = " ".join(entry.statement.split())
            console.result(f"{entry.name}    {entry.file}:{entry.line}")
            console.result(f"    {entry.doc}")
            console.result(f"    {statement if len(statement) <= 300 else statement[:297] + '...'}")
            console.result(f"    Python: {entry.mirror or f'none ({entry.no_mirror})'}")
        console.say(f"{len(entries)} listed; `peelverify theorems NAME` shows one in full")


def _files(root: Path | None, check: Path | None, write: Path | None, markdown: Path | None) -> None:
    """Check or write one of the generated files."""
    if check is not None:
        from peelverify.lean.golden import compare_golden

        changes = compare_golden(check, root)
        for change in changes:
            console.result(str(change))
        if changes:
            console.say(
                f"{len(changes)} differences; read them, then renew: peelverify theorems --write-golden {check}"
            )
            raise SystemExit(1)
        console.result(f"{check}: every public statement is as reviewed")
    elif write is not None:
        from peelverify.lean.golden import write_golden

        console.result(f"{write}: {write_golden(write, root)} declarations; read the difference before you commit it")
    elif markdown is not None:
        from peelverify.lean.catalog import write_markdown

        write_markdown(markdown, root)
        console.result(f"{markdown}: written")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 4, break_long_words=False, break_on_hyphens=False)


def _binders(found: Iterable[Binder]) -> list[str]:
    lines = []
    for binder in found:
        names = f"{' '.join(binder.names)} : " if binder.names else ""
        first, *more = _wrapped(names + binder.type)
        lines += [first, *(f"    {line}" for line in more)]
    return lines


def _page(page: Page) -> Iterable[str]:
    """The page as lines of text; a part without content is left out."""
    theorem, why = page.theorem, page.reasons
    yield f"{theorem.kind} {theorem.name}"
    yield ""
    yield from (f"  {line}" for line in _wrapped(theorem.doc))
    parts: list[tuple[str, list[str]]] = [
        ("Why" if why.own else "Why this file", _wrapped(why.why)),
        ("Formula (LaTeX)", [why.formula] if why.formula else []),
        ("Statement", [*theorem.variables, *(theorem.definition or theorem.statement).splitlines()]),
        ("Hypotheses", _binders(page.hypotheses) or (["none"] if theorem.kind == "theorem" else [])),
        ("Conclusion" if theorem.kind == "theorem" else "Type", _wrapped(page.conclusion)),
        ("Speaks about", _binders(page.objects)),
        ("Numbers need", _wrapped(", ".join(binder.type for binder in page.instances))),
        ("Assumptions of the file", _wrapped(page.assumptions)),
        ("Example in Python, run now", _python(page)),
        ("Example in Lean, checked by `peelverify prove`", _lean(page)),
        ("Used by" if theorem.kind != "theorem" else "Used in the proof of", _wrapped(_some(page.used_by))),
        ("References", [line for item in page.references for line in _wrapped(item)]),
    ]
    for title, lines in parts:
        if lines:
            yield ""
            yield f"  {title}"
            yield from (f"    {line}".rstrip() for line in lines)
    yield ""
    if page.signature:
        yield f"  Python   {theorem.mirror}"
        yield f"           {page.signature}"
        yield f"           {page.mirror_file}:{page.mirror_line}"
    else:
        yield f"  Python   {theorem.mirror or f'none ({theorem.no_mirror})'}"
    yield f"  source   {theorem.file}:{theorem.line}"
    yield f"  hash     {theorem.statement_hash}  (statement and the definitions it rests on)"
    yield "  check    peelverify prove"


def _some(names: tuple[str, ...], at_most: int = 12) -> str:
    """The first names, and how many more there are; the JSON has them all."""
    short = [name.removeprefix("PeelVerify.") for name in names]
    more = f" and {len(short) - at_most} more" if len(short) > at_most else ""
    return ", ".join(short[:at_most]) + more


def _python(page: Page) -> list[str]:
    lines = []
    for example in page.python_examples:
        first, *more = example.source.splitlines()
        lines += [f">>> {first}", *(f"... {line}" for line in more), *example.result.splitlines()]
    return lines


def _lean(page: Page) -> list[str]:
    lines = []
    for example in page.lean_examples:
        lines += [*example.text.splitlines(), f"-- {example.file}:{example.line}"]
    return lines


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("theorems")(theorems)
