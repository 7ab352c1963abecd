"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from peelverify.verdict import Verdict, exit_code

__all__ = ["command", "emit_json", "emit_log", "finish", "plain", "progress", "result", "say", "table"]

# all of C0 but tab and newline, DEL, C1, and the marks that turn the direction of text
_CONTROL = dict.fromkeys(
    (*(i for i in range(32) if i not in (9, 10)), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
     0x200E, 0x200F)
)


_COMMAND = re.compile(r"^([^\S\n]*)(?=::)", re.MULTILINE)
_OLD_COMMAND = re.compile(r"##(?=\[)")


def plain(text: object) -> str:
    """Text that is safe to print to a terminal or a log.

    Control, escape and bidirectional characters go. A line that begins with ``::``, or holds ``##[``, would be taken
    by the runner of a CI service for a command; the one gets a bar in front, the other a space.
    """
    return _OLD_COMMAND.sub("## ", _COMMAND.sub(r"\1| ", str(text).translate(_CONTROL)))


def _console(stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str) -> None:
    """Print one line of news to stderr."""
    _console(True).print(plain(text))


def result(text: str = "") -> None:
    """Print a result to stdout."""
    _console(False).print(plain(text))


def command(line: str) -> None:
    """Print a workflow command, which `peelverify.report.annotations` has escaped, to stdout."""
    _console(False).print(line.translate(_CONTROL))


def emit_json(obj: dict[str, Any]) -> None:
    """Print one JSON object with a ``schema`` key to stdout."""
    if "schema" not in obj:
        raise ValueError("emit_json needs a 'schema' key; name the format of the object")
    _write(obj)


def emit_log(obj: dict[str, Any]) -> None:
    """Print one JSON object of a foreign format, whose version is its own key, to stdout."""
    _write(obj)


def _write(obj: dict[str, Any]) -> None:
    text = json.dumps(obj, indent=2, ensure_ascii=True)
    sys.stdout.write(text.replace("##[", "#\\u0023[") + "\n")  # only inside strings, where both read alike
    sys.stdout.flush()


def table(title: str, headers: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table to stdout; numbers are formatted by the caller."""
    grid = Table(title=plain(title), title_justify="left", box=None, pad_edge=False)
    for header in headers:
        grid.add_column(plain(header), overflow="fold")
    for row in rows:
        grid.add_row(*(plain(cell) for cell in row))
    console = _console(False)
    if console.is_terminal:
        console.print(grid)
        return
    console.width = 160
    with console.capture() as text:
        console.print(grid)
    sys.stdout.write(plain(text.get()))  # a cell that was folded may begin a line
    sys.stdout.flush()


class _Description(ProgressColumn):
    """What is being done, in one line; names of files may be part of it."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        return Text(plain(" ".join(task.description.split())))


def progress() -> Progress:
    """A progress display on stderr with totals and elapsed time."""
    return Progress(
        SpinnerColumn(), _Description(), BarColumn(bar_width=24), MofNCompleteColumn(),
        TimeElapsedColumn(), console=_console(True), transient=False,
    )


def finish(verdict: Verdict) -> None:
    """End the command with the exit status of a verdict."""
    raise SystemExit(exit_code(verdict))
