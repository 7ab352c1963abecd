"""Split a Lean file into commands.

The house style is what makes this possible without Lean: every command starts in the first column and
nothing else does. The audit refuses files that break the rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from peelverify.lean.source import Source, Token

__all__ = ["Command", "split_commands"]

#: Words that may stand before the keyword of a declaration.
MODIFIERS = frozenset({"private", "protected", "public", "noncomputable", "local", "scoped", "meta", "nonrec"})
_OPEN, _CLOSE = frozenset("([{⟨⦃") | {"@[", "#["}, frozenset(")]}⟩⦄")


@dataclass(frozen=True)
class Command:
    """One command with what stands before it.

    Attributes:
        doc: its doc comment, or None.
        attributes: tokens of the ``@[...]`` lists before it, without brackets.
        prefixes: commands that end in ``in`` and hold for this one only.
        modifiers: words such as ``private``.
        keyword: the token that names the command, for instance ``theorem``.
        rest: the tokens behind the keyword.
    """

    doc: Token | None
    attributes: tuple[Token, ...]
    prefixes: tuple[tuple[Token, ...], ...]
    modifiers: tuple[str, ...]
    keyword: Token
    rest: tuple[Token, ...]

    @property
    def is_private(self) -> bool:
        """Whether the declaration can be used in its own file only."""
        return "private" in self.modifiers


def split_commands(source: Source) -> tuple[Command, ...]:
    """Commands behind the header, in order."""
    tokens = source.tokens
    last_import = source.imports[-1].token.end if source.imports else 0
    body = [token for token in tokens if token.start >= last_import and token.text not in ("module", "prelude")]
    chunks: list[list[Token]] = []
    for token in body:
        first_column = source.place(token.start)[1] == 1
        if not chunks or (first_column and not _is_open(chunks[-1])):
            chunks.append([])
        chunks[-1].append(token)
    return tuple(command for chunk in chunks if (command := _read(chunk)) is not None)


def _is_open(chunk: list[Token]) -> bool:
    """Whether a chunk so far holds only what stands before a keyword."""
    return _skip(chunk, [], [], []) >= len(chunk)


def _skip(chunk: list[Token], attributes: list[Token], modifiers: list[str], prefixes: list[tuple[Token, ...]]) -> int:
    """Offset behind doc comment, attributes, modifiers and ``... in`` prefixes; fills the three lists."""
    at = 0
    while at < len(chunk):
        token = chunk[at]
        if token.kind == "doc":
            at += 1
        elif token.text == "@[":
            depth, at = 1, at + 1
            while at < len(chunk) and depth:
                depth += (chunk[at].text in _OPEN) - (chunk[at].text in _CLOSE)
                if depth:
                    attributes.append(chunk[at])
                at += 1
        elif token.text in MODIFIERS:
            modifiers.append(token.text)
            at += 1
        elif token.text in ("set_option", "open", "omit", "include", "variable", "universe"):
            end = next((i for i in range(at, len(chunk)) if chunk[i].text == "in"), None)
            if end is None:
                return at
            prefixes.append(tuple(chunk[at:end]))
            at = end + 1
        else:
            break
    return at


def _read(chunk: list[Token]) -> Command | None:
    attributes: list[Token] = []
    modifiers: list[str] = []
    prefixes: list[tuple[Token, ...]] = []
    at = _skip(chunk, attributes, modifiers, prefixes)
    doc = next((token for token in chunk[:at] if token.kind == "doc"), None)
    if at >= len(chunk):
        # a doc comment or attribute with no command behind it
        token = chunk[-1]
        return Command(doc, tuple(attributes), tuple(prefixes), tuple(modifiers), token, ())
    return Command(doc, tuple(attributes), tuple(prefixes), tuple(modifiers), chunk[at], tuple(chunk[at + 1 :]))


def depth_change(token: Token) -> int:
    """+1 for an opening bracket, -1 for a closing one, else 0."""
    return (token.text in _OPEN) - (token.text in _CLOSE)
