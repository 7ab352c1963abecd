"""Index of the definitions and theorems, read from the sources: what is stated, and which function mirrors it.

The index needs no Lean. Each entry carries a hash that a certificate or a report can cite: it covers the
statement, the variables in scope and every definition of the project that the statement rests on, but no
proof and no other theorem, so it stays the same when proofs or unrelated files change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from peelverify.errors import InputError
from peelverify.lean.commands import Command, depth_change, split_commands
from peelverify.lean.source import Source, Token
from peelverify.lean.tree import Tree, load_tree, proofs_root

__all__ = ["Theorem", "find_theorem", "index", "index_tree"]

_KINDS = {"theorem": "theorem", "def": "def", "abbrev": "def", "structure": "structure", "inductive": "structure"}
_DEFINES = frozenset({"def", "abbrev", "structure", "inductive", "instance"})
_MIRROR = re.compile(r"(?:^|\n)\s*Python:\s*(?P<what>[\s\S]*)\Z")
_PATH = re.compile(r"`([A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)+)`")
_NONE = re.compile(r"none\s*\((?P<reason>[\s\S]*)\)\.?\s*\Z")


@dataclass(frozen=True)
class Theorem:
    """One public declaration.

    Attributes:
        name: with namespace, for instance ``PeelVerify.le_chainBound``.
        kind: ``"theorem"``, ``"def"`` or ``"structure"``.
        statement: the source from the keyword to the proof (for a structure: all of it).
        doc: what the doc comment says before its last line, as one paragraph.
        mirror: dotted path of the Python function that computes the same, or None.
        no_mirror: the reason given for having none; None if there is a mirror or nothing is said.
        file: path relative to the root.
        line: 1-based line of the keyword.
        statement_hash: SHA-256, hexadecimal.
    """

    name: str
    kind: str
    statement: str
    doc: str
    mirror: str | None
    no_mirror: str | None
    file: str
    line: int
    statement_hash: str


@dataclass
class _Entry:
    """A declaration before its hash is known."""

    name: str
    command: Command
    source: Source
    scope: tuple[str, ...]
    statement: tuple[Token, ...]
    words: frozenset[str] = field(default_factory=frozenset)

    @property
    def hashed(self) -> str:
        """The text that the hash of this declaration itself covers: a definition counts whole."""
        command = self.command
        tokens = (command.keyword, *command.rest) if command.keyword.text in _DEFINES else self.statement
        prefixes = [" ".join(token.text for token in prefix) for prefix in command.prefixes]
        body = " ".join(token.text for token in tokens if token.kind != "doc")
        return "\n".join([self.name, *self.scope, *prefixes, body])


def index(root: Path | str | None = None) -> tuple[Theorem, ...]:
    """Every public definition and theorem, in the order of the build.

    Args:
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Raises:
        InputError: if the root is not a folder.

    Not for:
        Knowing whether the proofs are accepted; see `peelverify.lean.build.build`.
    """
    return index_tree(load_tree(proofs_root(root)))


def find_theorem(name: str, root: Path | str | None = None) -> Theorem:
    """The entry of this name, with or without ``PeelVerify.`` in front.

    Raises:
        InputError: if there is none; the message names the nearest ones.
    """
    import difflib

    entries = {entry.name: entry for entry in index(root)}
    for candidate in (name, f"PeelVerify.{name}"):
        if candidate in entries:
            return entries[candidate]
    short = {entry.removeprefix("PeelVerify."): entry for entry in entries}
    near = difflib.get_close_matches(name.removeprefix("PeelVerify."), short, n=3, cutoff=0.4)
    raise InputError(
        f"find_theorem needs a name from `peelverify theorems`, got {name!r}; "
        f"{'did you mean ' + ', '.join(near) if near else 'none is similar'}"
    )


def index_tree(tree: Tree) -> tuple[Theorem, ...]:
    """Index of a tree that was read before; files that nothing imports come last."""
    order = [*tree.order(), *(name for name in tree.sources if name not in tree.order())]
    entries = [entry for module in order for entry in _entries(tree.sources[module])]
    rests_on = _closures(entries)
    found = []
    for entry in entries:
        if entry.command.is_private or entry.command.keyword.text not in _KINDS:
            continue
        text = "\n\n".join(["peelverify.statement/1", entry.hashed, *rests_on[id(entry)]])
        doc, mirror, reason = _read_doc(entry.command.doc)
        tokens = entry.statement
        statement = entry.source.text[tokens[0].start : tokens[-1].end]
        found.append(
            Theorem(
                name=entry.name,
                kind=_KINDS[entry.command.keyword.text],
                statement=statement,
                doc=doc,
                mirror=mirror,
                no_mirror=reason,
                file=entry.source.file,
                line=entry.source.place(entry.command.keyword.start)[0],
                statement_hash=hashlib.sha256(text.encode()).hexdigest(),
            )
        )
    return tuple(found)


def _entries(source: Source) -> Iterable[_Entry]:
    """Declarations of a file with the namespace and the variables that hold where they stand."""
    # each open section or namespace: (its namespace part, lines of scope it adds)
    stack: list[tuple[str, list[str]]] = [("", [])]
    for command in split_commands(source):
        keyword = command.keyword.text
        rest = command.rest
        if keyword == "section":
            stack.append(("", []))
        elif keyword == "namespace":
            stack.append((rest[0].text if rest else "", []))
        elif keyword == "end":
            if len(stack) > 1:
                stack.pop()
        elif keyword in ("variable", "open", "attribute", "omit", "include", "universe"):
            stack[-1][1].append(f"{keyword} " + " ".join(token.text for token in rest if token.kind != "doc"))
        elif keyword in _KINDS or (keyword == "instance" and rest):
            namespace = ".".join(part for part, _ in stack if part)
            given = rest[0].text if rest and rest[0].kind == "word" else f"instance_{command.keyword.start}"
            name = f"{namespace}.{given}" if namespace else given
            scope = tuple(line for _, lines in stack for line in lines)
            statement = _statement(command)
            covered = (command.keyword, *rest) if keyword in _DEFINES else statement
            words = frozenset(
                part
                for token in (*covered, *(token for prefix in command.prefixes for token in prefix))
                if token.kind == "word"
                for part in token.text.split(".")
            )
            yield _Entry(name, command, source, scope, statement, words)


def _statement(command: Command) -> tuple[Token, ...]:
    """The tokens from the keyword to the ``:=``, ``|`` or ``where`` that begins the body."""
    tokens = (command.keyword, *command.rest)
    if command.keyword.text in ("structure", "inductive"):
        return tokens
    depth, pending, typed = 0, 0, False
    for at, token in enumerate(tokens):
        depth += depth_change(token)
        if depth:
            continue
        if token.text in ("let", "have"):
            pending += 1
        elif token.text == ":":
            typed = True
        elif token.text == ":=":
            if not pending:
                return tokens[:at]
            pending -= 1
        elif token.text == "where" or (token.text == "|" and typed and tokens[at - 1].text != "|" and _alone(tokens, at)):
            return tokens[:at]
    return tokens


def _alone(tokens: tuple[Token, ...], at: int) -> bool:
    """Whether a bar begins a pattern: an arrow ``=>`` follows it before the next bar at the same depth."""
    depth = 0
    for token in tokens[at + 1 :]:
        depth += depth_change(token)
        if depth < 0:
            return False
        if depth == 0 and token.text == "=>":
            return True
        if depth == 0 and token.text in ("|", ":="):
            return False
    return False


def _closures(entries: list[_Entry]) -> dict[int, list[str]]:
    """For each entry the hashed text of every definition that it rests on, sorted by name.

    A name counts as mentioned if its last part occurs among the parts of the words of the text, so
    ``c.check`` mentions ``Certificate.check``. This can include too much and never too little.
    """
    defined: dict[str, list[_Entry]] = {}
    instances: list[_Entry] = []
    for entry in entries:
        if entry.command.keyword.text == "instance":
            instances.append(entry)
        elif entry.command.keyword.text in _DEFINES:
            defined.setdefault(entry.name.split(".")[-1], []).append(entry)
            if entry.command.keyword.text in ("structure", "inductive"):
                for part in _fields(entry):
                    defined.setdefault(part, []).append(entry)
    closures: dict[int, list[str]] = {}
    for entry in entries:
        reached = {id(entry): entry}
        todo = [entry]
        while todo:
            now = todo.pop()
            words = now.words | {part for line in now.scope for part in re.findall(r"[^\W\d][\w'!?]*", line)}
            for other in (found for word in words for found in defined.get(word, ())):
                if id(other) not in reached:
                    reached[id(other)] = other
                    todo.append(other)
        del reached[id(entry)]
        texts = {other.hashed for other in reached.values()} | {other.hashed for other in instances}
        closures[id(entry)] = sorted(texts)
    return closures


def _fields(entry: _Entry) -> set[str]:
    """Names of fields and constructors: words directly before a colon or behind a bar."""
    rest = entry.command.rest
    found = set()
    for at, token in enumerate(rest[:-1]):
        if token.kind == "word" and rest[at + 1].text == ":" and at:
            found.add(token.text)
        if token.text == "|" and rest[at + 1].kind == "word":
            found.add(rest[at + 1].text)
    return found


def _read_doc(doc: Token | None) -> tuple[str, str | None, str | None]:
    """Text, mirror and reason for none of a doc comment."""
    if doc is None:
        return "", None, None
    text = doc.text.removeprefix("/--").removesuffix("-/").strip()
    match = _MIRROR.search(text)
    if match is None:
        return " ".join(text.split()), None, None
    what = match["what"].strip()
    said = " ".join(text[: match.start()].split())
    none = _NONE.match(what)
    if none:
        return said, None, " ".join(none["reason"].split())
    path = _PATH.match(what)
    return said, path[1] if path else None, None
