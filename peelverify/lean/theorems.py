"""Index of the theorems, read from the sources: what is stated, and which function mirrors it.

The index needs no Lean. Each entry carries a hash that a certificate or a report can cite: it covers the
statement, the variables in scope and every definition of the project that the statement rests on, but no
proof and no other theorem, so it stays the same when proofs or unrelated files change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peelverify.errors import InputError
from peelverify.lean.commands import Command, depth_change, split_commands
from peelverify.lean.source import Source, Token
from peelverify.lean.tree import Tree, load_tree, proofs_root

__all__ = ["Theorem", "find_in", "find_theorem", "index", "index_tree"]

_KINDS = {"theorem": "theorem", "def": "def", "abbrev": "def", "structure": "structure", "inductive": "structure"}
_DEFINES = frozenset({"def", "abbrev", "structure", "inductive", "instance"})
_MIRROR = re.compile(r"(?:^|\n)[ \t]*Python:\s*(?P<what>[\s\S]*)\Z")
_PATH = re.compile(r"`([A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)+)`")
_NONE = re.compile(r"none\s*\((?P<reason>[\s\S]*)\)\.?\s*\Z")


@dataclass(frozen=True)
class Theorem:
    """One public declaration.

    Attributes:
        name: with namespace, for instance ``PeelVerify.le_chainBound``.
        kind: ``"theorem"``, ``"def"`` or ``"structure"``.
        statement: the source from the keyword to the proof (for a structure: all of it).
        variables: the ``variable`` lines in scope, outermost first; they belong to the statement.
        doc: what the doc comment says before its last line, as one paragraph.
        mirror: dotted path of the Python function that computes the same, or None.
        no_mirror: the reason given for having none; None if there is a mirror or nothing is said.
        file: path relative to the root.
        line: 1-based line of the keyword.
        statement_hash: SHA-256, hexadecimal.
        definition: the whole source of a definition or structure without its doc comment; None for a theorem.
    """

    name: str
    kind: str
    statement: str
    variables: tuple[str, ...]
    doc: str
    mirror: str | None
    no_mirror: str | None
    file: str
    line: int
    statement_hash: str
    definition: str | None = None


@dataclass
class _Entry:
    """A declaration before its hash is known."""

    name: str
    command: Command
    source: Source
    scope: tuple[str, ...]
    variables: tuple[str, ...]
    statement: tuple[Token, ...]
    words: frozenset[str]
    namespaces: tuple[str, ...]

    def candidates(self, word: str) -> list[str]:
        """Full names that a word, or the beginning of a dotted word, can mean here."""
        pieces = word.split(".")
        starts = [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
        return [f"{space}.{start}" if space else start for space in self.namespaces for start in starts]

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
    return find_in(index(root), name)


def find_in(entries: Iterable[Theorem], name: str) -> Theorem:
    """As `find_theorem`, in an index that was read before."""
    import difflib

    known = {entry.name: entry for entry in entries}
    for candidate in (name, f"PeelVerify.{name}"):
        if candidate in known:
            return known[candidate]
    short = {entry.removeprefix("PeelVerify."): entry for entry in known}
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
                variables=entry.variables,
                doc=doc,
                mirror=mirror,
                no_mirror=reason,
                file=entry.source.file,
                line=entry.source.place(entry.command.keyword.start)[0],
                statement_hash=hashlib.sha256(text.encode()).hexdigest(),
                definition=_whole(entry) if entry.command.keyword.text in _DEFINES else None,
            )
        )
    return tuple(found)


def _whole(entry: _Entry) -> str:
    """A declaration from its keyword to its end."""
    last = entry.command.rest[-1] if entry.command.rest else entry.command.keyword
    return entry.source.text[entry.command.keyword.start : last.end]


def _entries(source: Source) -> Iterable[_Entry]:
    """Declarations of a file with the namespace and the variables that hold where they stand."""
    # each open section or namespace: (its namespace part, lines of scope it adds)
    stack: list[tuple[str, list[str]]] = [("", [])]
    shown: dict[str, str] = {}
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
            line = f"{keyword} " + " ".join(token.text for token in rest if token.kind != "doc")
            stack[-1][1].append(line)
            if keyword == "variable" and rest:
                shown[line] = " ".join(source.text[command.keyword.start : rest[-1].end].split())
        elif keyword in _KINDS or (keyword == "instance" and rest):
            namespace = ".".join(part for part, _ in stack if part)
            given = rest[0].text if rest and rest[0].kind == "word" else f"instance_{command.keyword.start}"
            name = f"{namespace}.{given}" if namespace else given
            scope = tuple(line for _, lines in stack for line in lines)
            statement = _statement(command)
            covered = (command.keyword, *rest) if keyword in _DEFINES else statement
            words = {token.text for token in (*covered, *sum(command.prefixes, ())) if token.kind == "word"}
            words |= {word for line in scope if not line.startswith("open ") for word in line.split()}
            spaces = name.split(".")
            around = [".".join(spaces[:count]) for count in range(len(spaces))]
            opened = [word for line in scope if line.startswith("open ") for word in line.split()[1:]]
            variables = tuple(shown[line] for line in scope if line in shown)
            namespaces = (*around, *opened, *(f"{space}.{word}" for space in around if space for word in opened))
            yield _Entry(name, command, source, scope, variables, statement, frozenset(words), namespaces)


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
        elif token.text == "where" or (
            token.text == "|" and typed and tokens[at - 1].text != "|" and _alone(tokens, at)
        ):
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
    """For each entry the hashed text of every definition that it rests on, sorted.

    A word names a definition if it does so in one of the namespaces around it or opened there. A part of a
    word (``c.check``) also names a definition below a type that is itself rested on; the type of whatever
    stands before a dot always is, since its own definition or a variable in scope says it.
    Instances count for every entry.
    """
    defined = {entry.name: entry for entry in entries if entry.command.keyword.text in _DEFINES}
    methods: dict[str, list[_Entry]] = {}
    for entry in defined.values():
        methods.setdefault(entry.name.rpartition(".")[2], []).append(entry)
    instances = {entry.hashed for entry in entries if entry.command.keyword.text == "instance"}
    closures: dict[int, list[str]] = {}
    for entry in entries:
        reached = {id(entry): entry}
        todo = [entry]
        parts: set[str] = set()
        while todo:
            now = todo.pop()
            found = [defined[name] for word in now.words for name in now.candidates(word) if name in defined]
            parts |= {part for word in now.words for part in word.split(".")}
            types = {other.name for other in (*reached.values(), *found)}
            found += [m for part in parts for m in methods.get(part, ()) if m.name.rpartition(".")[0] in types]
            for other in found:
                if id(other) not in reached:
                    reached[id(other)] = other
                    todo.append(other)
        del reached[id(entry)]
        closures[id(entry)] = sorted({other.hashed for other in reached.values()} | instances)
    return closures


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
