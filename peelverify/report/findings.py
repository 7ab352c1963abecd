"""What a verification found, as findings with a rule, a severity and a line of the certificate file.

SARIF files and annotations of a continuous-integration service are both written from these findings. Text
that came out of a certificate is made visible here, once: no control, format or bidirectional character is
left in a message.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peelverify.certify.verification import Check, Verification
from peelverify.report.visible import visible
from peelverify.verdict import Verdict

__all__ = ["Finding", "Subject", "find_line", "findings"]

Key = str | int
_LIMIT = 1000
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_DOTTED = re.compile(r"\b(?:[a-z]\w*(?:(?:\.\w+|\[\d+\])+)|[a-z]+(?:_[a-z0-9]+)+)")
_BLOCK = re.compile(r"\bblock (\d+)\b(.*)", re.DOTALL)
_BLOCK_KEYS = ("gain", "chain", "propagated", "introduced", "inner", "name", "deleted", "error")
_ROOTS: tuple[tuple[Key, ...], ...] = ((), ("numbers",), ("measured",), ("subject",), ("numbers", "units"))
#: Words of a detail and the field they speak of, the more telling ones first.
_WORDS: tuple[tuple[str, tuple[Key, ...]], ...] = (
    ("digest", ("integrity", "claim_sha256")),
    ("schema", ("schema",)),
    ("theorems", ("theorems",)),
    ("statements", ("theorems",)),
    ("measured losses", ("measured",)),
    ("matrices", ("every_input",)),
    ("unseen text", ("unseen",)),
    ("re-run", ("numbers", "reruns")),
    ("positions", ("numbers", "units", "positions")),
    ("window", ("numbers", "units", "windows")),
    ("token", ("subject", "tokens")),
)
_NAMES: dict[str, tuple[Key, ...]] = {
    "original model": ("subject", "original"),
    "compressed model": ("subject", "compressed"),
    "tokens": ("subject", "tokens"),
    "theorems": ("theorems",),
    "format": ("schema",),
    "numbers": ("numbers",),
    "portable bound": ("numbers", "portable"),
    "check = true by the kernel": ("numbers",),
    "exact rationals": ("numbers",),
}


@dataclass(frozen=True)
class Finding:
    """One thing to say about one line of a file.

    Attributes:
        rule: identifier such as ``arithmetic/exact-rationals``; the same check has the same rule everywhere.
        title: the rule in words.
        severity: ``"error"``, ``"warning"`` or ``"note"``.
        message: one line of visible text.
        file: path as given.
        line: 1-based.
    """

    rule: str
    title: str
    severity: str
    message: str
    file: str
    line: int


@dataclass
class Subject:
    """One certificate that was to be verified.

    Attributes:
        path: the file.
        verification: what was checked; None if nothing could be.
        error: why nothing could be checked, if so.
        missing: a level that was required and not reached, if so.
    """

    path: str | os.PathLike[str]
    verification: Verification | None = None
    error: str | None = None
    missing: str | None = None
    _text: str | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The file as text; empty if it cannot be read."""
        if self._text is None:
            try:
                self._text = Path(self.path).read_bytes().decode("utf-8", "replace")
            except OSError:
                self._text = ""
        return self._text


def find_line(text: str, path: Sequence[Key]) -> tuple[int, int]:
    """Where a field of a JSON text stands.

    Args:
        text: JSON, possibly damaged; it is read as far as it makes sense.
        path: keys and positions from the outermost value inwards.

    Returns:
        (depth, line): how many steps of the path were found, and the 1-based line of the last of them.
    """
    wanted, kinds, now = list(path), [], []
    best, where = 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "}]":
            if not kinds:
                break
            kinds.pop()
            now.pop()
            continue
        if token == ",":
            if not kinds:
                break
            now[-1] = now[-1] + 1 if kinds[-1] == "[" else None
            continue
        if token == ":":
            continue
        if token[0] == '"' and kinds and kinds[-1] == "{" and now[-1] is None:
            try:
                now[-1] = json.loads(token, strict=False)
            except ValueError:
                now[-1] = token
        if len(now) > best and len(now) <= len(wanted) and now == wanted[: len(now)]:
            best, where = len(now), match.start()
            if best == len(wanted):
                break
        if token in "{[":
            kinds.append(token)
            now.append(None if token == "{" else 0)
    return best, text.count("\n", 0, where) + 1


def _fields(check: Check) -> Iterable[tuple[Key, ...]]:
    """Fields that a check may speak of, the most telling first."""
    for match in _DOTTED.finditer(check.detail):
        steps = tuple(int(x) if x.isdigit() else x for x in re.findall(r"\w+", match[0]))
        yield from ((*root, *steps) for root in _ROOTS)
    block = _BLOCK.search(check.detail)
    if block:
        base: tuple[Key, ...] = ("numbers", "blocks", int(block[1][:9]))
        said = [key for key in _BLOCK_KEYS if re.search(rf"\b{key}\b", block[2])]
        said.sort(key=block[2].index)
        yield from ((*base, key) for key in said)
        yield base
    yield from (steps for words, steps in _WORDS if words in check.detail)
    if check.name in _NAMES:
        yield _NAMES[check.name]


def _line(check: Check, text: str) -> int:
    """Line of the first field that the file really has; 1 if it has none of them."""
    for steps in dict.fromkeys(_fields(check)):
        depth, line = find_line(text, steps)
        if depth == len(steps):
            return line
    return 1


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


_SEVERITY = {Verdict.VIOLATED: "error", Verdict.INCONCLUSIVE: "warning"}


def findings(subjects: Iterable[Subject]) -> list[Finding]:
    """What is wrong or open in each certificate, in the order of the checks; checks that hold say nothing.

    A claim that is false is an error. A claim that stays open, and a required level that was not reached, is a
    warning. A file that could not be checked at all is an error.
    """
    found = []
    for subject in subjects:
        file = os.fspath(subject.path)
        if subject.error is not None:
            message = visible(subject.error, _LIMIT)
            found.append(Finding("file/not-checked", "the certificate can be checked", "error", message, file, 1))
        if subject.verification is not None:
            for check in subject.verification.checks:
                severity = _SEVERITY.get(check.verdict)
                if severity is None:
                    continue
                rule, title = f"{_slug(check.level)}/{_slug(check.name)}", f"{check.level}: {check.name}"
                message = visible(f"{check.verdict.name} at level {check.level}, {check.name}: {check.detail}", _LIMIT)
                found.append(Finding(rule, title, severity, message, file, _line(check, subject.text)))
        if subject.missing is not None:
            message = visible(f"level {subject.missing} was required and was not reached", _LIMIT)
            found.append(Finding("level/required", "the required level is reached", "warning", message, file, 1))
    return found
