"""The page of one theorem: what it says, why it matters, what it assumes, an example, and how to check it.

Everything but two fields is read from the sources: the statement is taken apart by brackets, the example of
the Python mirror is run when the page is made, and examples in Lean are those which the kernel checks. Only
``why`` and ``formula`` come from ``why.toml`` beside this file.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import importlib
import inspect
import io
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peelverify.errors import ArtifactError
from peelverify.lean.commands import Command, depth_change, split_commands
from peelverify.lean.source import Source, Token
from peelverify.lean.theorems import Theorem, find_in, index_tree
from peelverify.lean.tree import Tree, load_tree, proofs_root

__all__ = ["Binder", "LeanExample", "Page", "PythonExample", "Reasons", "binders", "formula", "page", "reasons"]

_RELATIONS = frozenset(["≤", "<", "=", "≠", "≥", ">", "↔", "∧", "∨", "∈", "∉", "⊆", "∣", "∀", "∃", "¬"])
#: Propositions of Lean core that hypotheses use as a method, for instance ``l.Perm m``.
_CORE_PROPOSITIONS = frozenset({"Perm", "Nodup", "Sublist", "Pairwise", "True", "False"})
_CLOSERS = {"(": ")", "{": "}", "[": "]", "⦃": "⦄"}


@dataclass(frozen=True)
class Binder:
    """Some names of one type in a statement, or one instance.

    Attributes:
        names: as written; empty for an instance without a name.
        type: as written, on one line.
        kind: ``"hypothesis"`` (a proposition), ``"object"`` (what the statement speaks about) or
            ``"instance"`` (what the number type must have).
        explicit: whether it stands in round brackets.
    """

    names: tuple[str, ...]
    type: str
    kind: str
    explicit: bool


@dataclass(frozen=True)
class LeanExample:
    """An ``example`` that applies a declaration; the kernel checks it with the proofs."""

    text: str
    file: str
    line: int


@dataclass(frozen=True)
class PythonExample:
    """One call from the docstring of a mirror, with what it returned when the page was made."""

    source: str
    result: str


@dataclass(frozen=True)
class Reasons:
    """Why a declaration matters, and its formula.

    Attributes:
        why: one or two sentences.
        own: whether they are about this declaration; otherwise they are about its file.
        formula: LaTeX; None where none is given.
    """

    why: str
    own: bool
    formula: str | None


@dataclass(frozen=True)
class Page:
    """What `peelverify theorems NAME` shows.

    Attributes:
        theorem: the entry of the index.
        reasons: why it matters, and its formula.
        hypotheses: propositions that it assumes, in order.
        objects: what it speaks about, in order, those of ``variable`` lines first.
        instances: what it asks of the number type.
        conclusion: what it claims, on one line; the type of a definition.
        python_examples: calls of the mirror with live results.
        lean_examples: examples that apply it.
        used_by: public theorems whose proof names it, in order.
        signature: of the mirror, with its name; None if there is none.
        mirror_file, mirror_line: where the mirror stands, relative to the folder of the package.
        references: entries of the file's own list.
        assumptions: of the file, as one paragraph.
    """

    theorem: Theorem
    reasons: Reasons
    hypotheses: tuple[Binder, ...]
    objects: tuple[Binder, ...]
    instances: tuple[Binder, ...]
    conclusion: str
    python_examples: tuple[PythonExample, ...]
    lean_examples: tuple[LeanExample, ...]
    used_by: tuple[str, ...]
    signature: str | None
    mirror_file: str | None
    mirror_line: int | None
    references: tuple[str, ...]
    assumptions: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the entry of the index and the reasons are laid flat."""
        data = asdict(self)
        return {**data.pop("theorem"), **data.pop("reasons"), **data, "check": "peelverify prove"}


@functools.cache
def _table() -> Mapping[str, Any]:
    path = Path(__file__).with_name("why.toml")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path.name} of the package cannot be read ({error}); install peelverify anew") from error


def reasons(theorem: Theorem, table: Mapping[str, Any] | None = None) -> Reasons:
    """Why a declaration matters: its own text, else that of its file, else nothing.

    Args:
        theorem: an entry of the index.
        table: what ``why.toml`` holds; default: that of this package.
    """
    table = _table() if table is None else table
    entry = table.get("theorems", {}).get(theorem.name.removeprefix("PeelVerify."), {})
    own = bool(entry.get("why"))
    stem = Path(theorem.file).stem
    return Reasons(entry.get("why") or table.get("files", {}).get(stem, ""), own, entry.get("formula"))


def formula(name: str) -> str | None:
    """LaTeX of a theorem of this package, with or without ``PeelVerify.`` in its name; None where none is given."""
    return _table().get("theorems", {}).get(name.removeprefix("PeelVerify."), {}).get("formula")


def page(name: str, root: Path | str | None = None) -> Page:
    """The page of a theorem or definition, with or without ``PeelVerify.`` in its name.

    Raises:
        InputError: if there is none of this name; the message names the nearest ones.
    """
    tree = load_tree(proofs_root(root))
    entries = index_tree(tree)
    theorem = find_in(entries, name)
    parsed, conclusion = binders(theorem, entries)
    signature, file, line, calls = _mirror(theorem.mirror)
    source = next(source for source in tree.sources.values() if source.file == theorem.file)
    return Page(
        theorem=theorem,
        reasons=reasons(theorem),
        hypotheses=tuple(b for b in parsed if b.kind == "hypothesis"),
        objects=tuple(b for b in parsed if b.kind == "object"),
        instances=tuple(b for b in parsed if b.kind == "instance"),
        conclusion=conclusion,
        python_examples=calls,
        lean_examples=_lean_examples(theorem, tree),
        used_by=_used_by(theorem, entries, tree),
        signature=signature,
        mirror_file=file,
        mirror_line=line,
        references=_references(source),
        assumptions=" ".join(_part(source, "Assumptions").split()),
    )


def binders(theorem: Theorem, entries: tuple[Theorem, ...]) -> tuple[tuple[Binder, ...], str]:
    """What stands before the colon of a statement, and what stands behind it.

    Args:
        theorem: an entry of the index.
        entries: the whole index; it says which definitions are propositions.

    Returns:
        The binders, those of ``variable`` lines first, and the conclusion.
    """
    propositions = _CORE_PROPOSITIONS | {
        entry.name.rpartition(".")[2] for entry in entries if _result(entry).endswith("Prop")
    }
    found: list[Binder] = []
    mentioned: set[str] = set()
    if theorem.kind != "structure":
        mentioned = set(re.findall(r"[^\W\d][\w'!?]*", theorem.statement))
    for line in theorem.variables:
        found += [
            binder for binder in _read(_lex(line)[1:], propositions, ())[0]
            if binder.kind == "instance" or mentioned & set(binder.names) or not mentioned
        ]
    own, rest = _read(_lex(theorem.statement)[2:], propositions, found)
    return (*found, *own), rest


def _lex(text: str) -> list[Token]:
    return [token for token in Source("Text", "", text).tokens if token.kind != "doc"]


def _result(entry: Theorem) -> str:
    """Type of a definition without its binders."""
    if entry.kind == "theorem":
        return ""
    text = entry.statement.partition(" where")[0] if entry.kind == "structure" else entry.statement
    return _read(_lex(text)[2:], frozenset(), ())[1]


def _read(tokens: list[Token], propositions: frozenset[str], known: Any) -> tuple[list[Binder], str]:
    """Binders from the front, then the text behind the colon at depth 0."""
    found: list[Binder] = []
    at = 0
    while at < len(tokens) and tokens[at].text in _CLOSERS:
        depth, end = 0, at
        while end < len(tokens):
            depth += depth_change(tokens[end])
            if depth == 0:
                break
            end += 1
        inside = tokens[at + 1 : end]
        colon = _colon(inside)
        names = tuple(token.text for token in inside[:colon]) if colon is not None else ()
        kind = inside[colon + 1 :] if colon is not None else inside
        text = _join(kind)
        if tokens[at].text == "[":
            found.append(Binder(names, text, "instance", False))
        else:
            predicates = {n for b in (*known, *found) if b.type.endswith("→ Prop") for n in b.names}
            is_fact = _is_proposition(kind, propositions | predicates)
            found.append(Binder(names, text, "hypothesis" if is_fact else "object", tokens[at].text == "("))
        at = end + 1
    if at < len(tokens) and tokens[at].text == ":":
        at += 1
    return found, _join(tokens[at:])


def _colon(tokens: list[Token]) -> int | None:
    depth = 0
    for at, token in enumerate(tokens):
        depth += depth_change(token)
        if depth == 0 and token.text == ":":
            return at
    return None


def _is_proposition(tokens: list[Token], propositions: frozenset[str]) -> bool:
    depth = 0
    for at, token in enumerate(tokens):
        depth += depth_change(token)
        if depth == 0 and token.text in _RELATIONS:
            return True
        if at == 0 and token.kind == "word" and token.text.rpartition(".")[2] in propositions:
            return True
    return False


def _join(tokens: list[Token]) -> str:
    """Tokens as written, each gap as one blank or none."""
    out = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        out += (" " if before is not None and token.start > before.end else "") + token.text
    return out


def _names(command: Command, wanted: str) -> bool:
    short = wanted.removeprefix("PeelVerify.")
    return any(token.kind == "word" and token.text in (short, wanted) for token in command.rest)


def _lean_examples(theorem: Theorem, tree: Tree) -> tuple[LeanExample, ...]:
    """Examples that name a declaration; those of its own file first, at most three."""
    found = []
    for source in sorted(tree.sources.values(), key=lambda source: source.file != theorem.file):
        for command in split_commands(source):
            if command.keyword.text == "example" and _names(command, theorem.name):
                text = source.text[command.keyword.start : command.rest[-1].end]
                found.append(LeanExample(text, source.file, source.place(command.keyword.start)[0]))
    return tuple(found[:3])


def _used_by(theorem: Theorem, entries: tuple[Theorem, ...], tree: Tree) -> tuple[str, ...]:
    places = {(entry.file, entry.line): entry.name for entry in entries if entry.kind == "theorem"}
    found = []
    for source in tree.sources.values():
        for command in split_commands(source):
            name = places.get((source.file, source.place(command.keyword.start)[0]))
            if name and name != theorem.name and _names(command, theorem.name):
                found.append(name)
    return tuple(found)


def _mirror(path: str | None) -> tuple[str | None, str | None, int | None, tuple[PythonExample, ...]]:
    """Signature, file, line and run examples of a mirror; nothing where it cannot be imported."""
    if path is None:
        return None, None, None, ()
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, name)
    except (ImportError, AttributeError):
        return None, None, None, ()
    function = inspect.unwrap(function)
    package = Path(__file__).resolve().parents[2]
    file = Path(inspect.getsourcefile(function) or module.__file__ or "").resolve()
    shown = file.relative_to(package).as_posix() if file.is_relative_to(package) else file.name
    line = inspect.getsourcelines(function)[1]
    # annotations are kept as text, in quotes
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", f"{name}{inspect.signature(function)}")
    return signature, shown, line, _run(inspect.getdoc(function) or "", dict(vars(module)))


def _run(doc: str, names: dict[str, Any]) -> tuple[PythonExample, ...]:
    """Run the examples of a docstring, one after the other, and keep what each printed."""
    found = []
    for example in doctest.DocTestParser().get_examples(doc):
        if example.options.get(doctest.SKIP):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(example.source, "<example>", "single"), names)
            except Exception as error:  # an example may show an error on purpose; a page must not die of one
                print(f"{type(error).__name__}: {error}")
        found.append(PythonExample(example.source.strip(), printed.getvalue().strip()))
    return tuple(found)


def _part(source: Source, title: str) -> str:
    """One section of the module docstring."""
    head = re.search(r"/-!(.*?)-/", source.text, flags=re.DOTALL)
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", head[1] if head else "", flags=re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def _references(source: Source) -> tuple[str, ...]:
    """References of a file: paragraphs or list items of its last section."""
    text = _part(source, "References")
    if not text or text.strip(" .").lower() == "none":
        return ()
    items = re.split(r"\n\s*\n|\n(?=[*-] )", text)
    return tuple(" ".join(item.lstrip("*- ").split()) for item in items if item.strip())
