"""Lean source text as tokens: what stands outside comments, with places that people and editors understand.

The lexer knows nested block comments, doc comments, strings, raw strings and quoted names. It is used by
the import graph, the audit and the theorem index, so that all three read the same text the same way.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

__all__ = ["Import", "Message", "Source", "Token"]

_WORD = r"[^\W\d][\w'!?]*"
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    |(?P<line>--[^\n]*)
    |(?P<block>/-)
    |(?P<raw>\br(?P<hashes>\#*)"(?s:.*?)"(?P=hashes))
    |(?P<string>"(?:[^"\\]|\\(?s:.))*")
    |(?P<char>'(?:[^'\\\n]|\\[^\n]{{1,8}}?)')
    |(?P<quoted>«[^»\n]*»)
    |(?P<word>{_WORD}(?:\.{_WORD})*)
    |(?P<number>0[xX][0-9A-Fa-f_]+|\d[\d_]*)
    |(?P<symbol>:=|@\[|=>|\#[^\W\d][\w!?]*|\#\[|`\(|\S)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Message:
    """One finding of Lean, of the import graph or of the audit.

    Attributes:
        file: path relative to the root of the proofs, with ``/``.
        line: 1-based; 0 where the finding belongs to no line.
        column: 1-based; 0 where the finding belongs to no line.
        severity: ``"error"``, ``"warning"`` or ``"information"``.
        text: what is wrong, possibly over several lines.
    """

    file: str
    line: int
    column: int
    severity: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.severity}: {self.text}"


@dataclass(frozen=True)
class Token:
    """A word, number, symbol, string, quoted name or doc comment; ``start`` and ``end`` are offsets."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Import:
    """One import line of a header."""

    module: str
    public: bool
    token: Token


@dataclass(frozen=True)
class Source:
    """A Lean file.

    Args:
        module: Lean name, for instance ``Proofs.Field``.
        file: path relative to the root of the proofs, with ``/``.
        text: the whole file.
    """

    module: str
    file: str
    text: str = field(repr=False)

    @classmethod
    def read(cls, root: Path, path: Path) -> Source:
        """Read a file below the root; its module name is its path."""
        relative = path.relative_to(root)
        return cls(".".join(relative.with_suffix("").parts), relative.as_posix(), path.read_text(encoding="utf-8"))

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both 1-based, counted in characters."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def error(self, offset: int, text: str) -> Message:
        """An error at an offset."""
        return Message(self.file, *self.place(offset), "error", text)

    @cached_property
    def _scan(self) -> tuple[tuple[Token, ...], tuple[int, ...], tuple[int, ...]]:
        tokens: list[Token] = []
        unclosed: list[int] = []
        comments: list[int] = []
        at, text = 0, self.text
        while at < len(text):
            match = _TOKEN.match(text, at)
            assert match is not None  # the last alternative takes any character
            kind = match.lastgroup or "raw"
            if kind in ("line", "block"):
                comments.append(at)
            if kind == "block":
                end = _block_end(text, at)
                if end is None:
                    unclosed.append(at)
                    break
                if text.startswith("/--", at):
                    tokens.append(Token("doc", text[at:end], at, end))
                at = end
                continue
            if kind == "hashes":
                kind = "raw"
            if kind == "symbol" and match.group() == '"':
                unclosed.append(at)
                break
            if kind not in ("space", "line"):
                tokens.append(Token(kind, match.group(), at, match.end()))
            at = match.end()
        return tuple(tokens), tuple(unclosed), tuple(comments)

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Everything outside comments, doc comments included (as tokens of kind ``doc``)."""
        return self._scan[0]

    @property
    def unclosed(self) -> tuple[int, ...]:
        """Offsets of a block comment or string that never ends; what follows was not read."""
        return self._scan[1]

    @property
    def comments(self) -> tuple[int, ...]:
        """Offsets at which comments start, doc comments included."""
        return self._scan[2]

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """The import lines of the header, in order."""
        return self._header[0]

    @property
    def is_module(self) -> bool:
        """Whether the header starts with ``module``."""
        return self._header[1]

    @cached_property
    def _header(self) -> tuple[tuple[Import, ...], bool]:
        words = [token for token in self.tokens if token.kind != "doc"]
        found: list[Import] = []
        at = 0
        is_module = bool(words) and words[0].text == "module"
        while at < len(words) and words[at].text in ("module", "prelude"):
            at += 1
        while at < len(words):
            step = at
            public = words[step].text == "public"
            while step < len(words) and words[step].text in ("public", "meta"):
                step += 1
            if step + 1 >= len(words) or words[step].text != "import":
                break
            step += 1
            if words[step].text == "all" and step + 1 < len(words):
                step += 1
            found.append(Import(words[step].text, public, words[step]))
            at = step + 1
        return tuple(found), is_module


def _block_end(text: str, start: int) -> int | None:
    """Offset behind a block comment that may contain others; None if it never ends."""
    depth = 1
    body = start + (3 if text.startswith("/--", start) else 2)
    for match in re.compile(r"/-|-/").finditer(text, body):
        depth += 1 if match.group() == "/-" else -1
        if depth == 0:
            return match.end()
    return None
