"""``peelverify prove``: every theorem through the Lean kernel."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from peelverify.cli import console

__all__ = ["follow", "register"]


class Road(enum.StrEnum):
    """Which Lean to use."""

    auto = "auto"
    native = "native"
    wasm = "wasm"


class Norm(enum.StrEnum):
    """Which norm of a weight."""

    fro = "fro"
    op2 = "op2"


def prove(
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of Proofs.lean. Default: the proofs of this package.")
    ] = None,
    road: Annotated[
        Road, typer.Option(help="Which Lean: installed (native), fetched (wasm), or what is there.")
    ] = Road.auto,
    jobs: Annotated[
        int | None, typer.Option(help="Lean runs at a time. Default: one a core, 3 GiB each.", min=1)
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", help="Print what the audit of the sources saw.")] = False,
    dojo: Annotated[
        Path | None, typer.Option(help="Write the proved theorems for LeanDojo to this JSON file.")
    ] = None,
    dojo_trace: Annotated[
        Path | None, typer.Option(help="Trace the proofs with LeanDojo into this folder; needs a native Lean.")
    ] = None,
    tensor: Annotated[
        str | None, typer.Option(help="Prove a bound on this weight, from its entries; needs --of.")
    ] = None,
    of: Annotated[Path | None, typer.Option("--of", help="Model directory of the weight.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Model directory of its compression: bound the difference.")
    ] = None,
    norm: Annotated[
        Norm | None, typer.Option("--norm", help="With --tensor: Frobenius (default with --against) or operator norm.")
    ] = None,
    lean_file: Annotated[
        Path | None, typer.Option("--lean-file", help="Also write the proved Lean file here; must not exist.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the Lean proofs and audit their sources. Exit status 1 if anything is refused.

    Without Lean on the machine, a WebAssembly build of it is fetched once (116 MiB) and its hash checked. With
    --tensor, the kernel bounds a norm of one weight matrix from its stored entries instead.

    Example: peelverify prove
    """
    if tensor is not None or of is not None or against is not None or norm is not None or lean_file is not None:
        from peelverify.cli.tensor import prove_tensor

        prove_tensor(tensor, of, against, None if norm is None else norm.value, lean_file, json=json)
        return
    begin = time.perf_counter()
    console.say("prove: reading the sources")
    if dojo is not None or dojo_trace is not None:
        from peelverify.lean import dojo as leandojo

        leandojo.check_ready(dojo, dojo_trace)
    from peelverify.lean.audit import audit_tree
    from peelverify.lean.build import build
    from peelverify.lean.theorems import index_tree
    from peelverify.lean.tree import load_tree, proofs_root

    tree = load_tree(proofs_root(root))
    report = audit_tree(tree)
    messages = list(report.messages)
    result = None
    if report.ok:
        with console.progress() as bar:
            result = build(tree.root, jobs=jobs, road=road.value, on_progress=follow(bar), say=console.say)
        for note in result.toolchain.notes:
            console.say(f"note: {note}")
        messages += result.messages
    ok = result is not None and result.ok
    entries = index_tree(tree) if report.ok else ()
    theorems = sum(entry.kind == "theorem" for entry in entries)
    if ok and dojo is not None:
        console.say(f"dojo: {leandojo.export(dojo, tree.root)} theorems in {dojo}")
    if ok and dojo_trace is not None:
        console.say(f"dojo: tracing into {dojo_trace}")
        leandojo.trace(dojo_trace, tree.root)
    seconds = time.perf_counter() - begin
    if json:
        console.emit_json(
            {
                "schema": "peelverify.prove/1",
                "ok": ok,
                "root": str(tree.root),
                "road": result.toolchain.road if result else None,
                "lean_version": result.toolchain.version if result else None,
                "toolchain": result.toolchain.description if result else None,
                "toolchain_sha256": result.toolchain.digest if result else None,
                "theorems": theorems,
                "definitions": len(entries) - theorems,
                "modules": [
                    {"module": item.module, "state": item.state, "lean_seconds": round(item.seconds, 3)}
                    for item in (result.modules if result else ())
                ],
                "lean_processes": result.processes if result else 0,
                "messages": [
                    {"file": m.file, "line": m.line, "column": m.column, "severity": m.severity, "text": m.text}
                    for m in messages
                ],
                "audit": {
                    "ok": report.ok,
                    "files": list(report.files),
                    "tokens": report.tokens,
                    "commands": report.commands,
                    "imports": list(report.imports),
                    "options": list(report.options),
                    "attributes": list(report.attributes),
                },
                "wall_seconds": round(seconds, 3),
            }
        )
        raise typer.Exit(0 if ok else 1)
    for message in messages:
        console.result(str(message))
    if audit:
        _print_audit(report)
    if result is not None:
        console.result(f"lean        {result.toolchain.description}")
        console.result(f"road        {result.toolchain.road}")
        states = [item.state for item in result.modules]
        counted = ", ".join(
            f"{states.count(state)} {state}" for state in ("built", "cached", "failed", "skipped") if state in states
        )
        console.result(f"files       {counted}; {result.processes} Lean processes")
    refused = sum(message.severity != "information" for message in messages)
    if ok:
        console.result(
            f"proved      {theorems} public theorems, {len(entries) - theorems} definitions; audit found nothing"
        )
    else:
        console.result(f"refused     {refused} finding{'' if refused == 1 else 's'}; nothing counts as proved")
    console.result(f"time        {seconds:.1f} s")
    raise typer.Exit(0 if ok else 1)


def follow(bar: object) -> Callable[[int, int, str], None]:
    """Show (done, total, what) reports as one bar for each total."""
    tasks: dict[str, object] = {}

    def on_progress(done: int, total: int, what: str) -> None:
        kind = what.split(maxsplit=1)[0]
        if kind not in tasks:
            tasks[kind] = bar.add_task(what, total=total)  # type: ignore[attr-defined]
        bar.update(tasks[kind], completed=done, total=total, description=what)  # type: ignore[attr-defined]

    return on_progress


def _print_audit(report: object) -> None:
    console.result(f"audit       {len(report.files)} files, {report.tokens} tokens outside comments")  # type: ignore[attr-defined]
    console.result("commands    " + ", ".join(f"{count} {name}" for name, count in report.commands.items()))  # type: ignore[attr-defined]
    for what in ("imports", "options", "attributes"):
        console.result(f"{what:<12}" + (", ".join(getattr(report, what)) or "none"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prove")(prove)
