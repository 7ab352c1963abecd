"""Findings as workflow commands, which a hosted runner shows beside the line of the file they speak of.

A runner obeys every line of a step's output that begins with ``::``. Names and texts in a certificate come
from strangers, so a message is made one visible line first and then escaped as the grammar of these commands
asks: a certificate can make a message long or ugly, but it cannot start a command of its own.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterable

from peelverify.report.findings import Finding, Subject
from peelverify.report.visible import visible

__all__ = ["annotations", "command", "harmless", "summary_table"]

_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}
_KINDS = {"error": "error", "warning": "warning", "note": "notice"}
_MARK = re.compile(r"##(?=\[)")
_PUNCTUATION = {ord(char): f"&#{ord(char)};" for char in string.punctuation}


def _one_line(text: object) -> str:
    """Visible text without the older form of a command, ``##[name]``, which counts anywhere in a line."""
    return _MARK.sub("## ", visible(text, 1000))


def command(kind: str, message: object, **properties: object) -> str:
    """One workflow command.

    Args:
        kind: ``"error"``, ``"warning"`` or ``"notice"``.
        message: any text.
        properties: for instance ``file``, ``line``, ``title``; any text.

    Raises:
        ValueError: for another kind, or a property name that is no plain word.
    """
    if kind not in _KINDS.values():
        raise ValueError(f"command needs one of {', '.join(_KINDS.values())}, got {kind!r}; name one of them")
    parts = []
    for name, value in properties.items():
        if not name.isalpha() or not name.isascii():
            raise ValueError(f"command needs property names of letters, got {name!r}; rename it")
        parts.append(f"{name}={_one_line(value).translate(str.maketrans(_PROPERTY))}")
    text = _one_line(message).translate(str.maketrans(_DATA))
    return f"::{kind} {','.join(parts)}::{text}" if parts else f"::{kind}::{text}"


def annotations(found: Iterable[Finding]) -> list[str]:
    """One command for each finding."""
    return [
        command(_KINDS[item.severity], item.message, file=item.file, line=item.line, title=f"peelverify {item.title}")
        for item in found
    ]


def harmless(text: object) -> str:
    """One visible line that a runner takes for no command, to log beside the commands."""
    line = _one_line(text)
    return f"| {line}" if line.lstrip().startswith("::") else line


def _cell(text: object) -> str:
    return visible(text, 300).translate(_PUNCTUATION)


def summary_table(subjects: Iterable[Subject]) -> str:
    """Markdown for the summary page of a run: one row for each check, every mark of Markdown escaped."""
    rows = ["| Certificate | Level | Check | Verdict | Detail |", "| --- | --- | --- | --- | --- |"]
    for subject in subjects:
        name = _cell(os.fspath(subject.path))
        if subject.error is not None:
            rows.append(f"| {name} | | | **NOT CHECKED** | {_cell(subject.error)} |")
        for check in subject.verification.checks if subject.verification is not None else ():
            cells = (_cell(check.level), _cell(check.name), check.verdict.name, _cell(check.detail))
            rows.append(f"| {name} | {' | '.join(cells)} |")
        if subject.missing is not None:
            rows.append(f"| {name} | {_cell(subject.missing)} | required level | NOT REACHED | |")
    return "\n".join(rows) + "\n"
