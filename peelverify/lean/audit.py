"""Audit of Lean sources by allow-list: nothing may be assumed, skipped, or made to look like something else.

Lean checks proofs; it does not object to an axiom, to an option that switches the kernel off, or to an
order on the rationals that makes a bound trivial. This audit reads the tokens outside comments and accepts
only the commands, attributes, options, imports and instances that the proofs need. It is textual: it needs
no Lean and runs before every build. With a native Lean, `#print axioms` and `leanchecker` are run as well.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peelverify.lean.commands import Command, depth_change, split_commands
from peelverify.lean.source import Message, Source, Token
from peelverify.lean.tree import ROOT_MODULE, Tree, is_core, load_tree, proofs_root

__all__ = ["AuditReport", "audit", "audit_source", "audit_tree"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMANDS = _words("""
    abbrev attribute def end example include inductive instance namespace omit open section set_option
    structure theorem universe variable
""")
#: Commands that may stand nowhere but at the start of a line; inside a proof they would be hidden.
_HEADS_ONLY = COMMANDS - {"open", "set_option"}
_NAMING = frozenset({"abbrev", "def", "inductive", "structure", "theorem"})
ATTRIBUTES = _words("""
    elab_as_elim expose ext grind inline irreducible no_expose reducible simp
""")
OPTIONS = _words("""
    exponentiation.threshold maxHeartbeats maxRecDepth synthInstance.maxHeartbeats synthInstance.maxSize
""")
DERIVABLE = frozenset({"BEq", "DecidableEq", "Inhabited", "Repr"})
INSTANCE_CLASSES = frozenset({"BEq", "Decidable", "DecidableEq", "Inhabited", "Nonempty", "Repr"})
LOCAL_INSTANCES = _words("""
    Semiring.natCast Ring.intCast Lean.Grind.Semiring.natCast Lean.Grind.Ring.intCast
""")
#: Classes that a statement may ask of its numbers; any other could be one that nothing satisfies.
ASKED_CLASSES = _words("""
    DecidableEq DecidableLE Field LE LT OrderedRing Std.IsLinearOrder Std.LawfulOrderLT
    Lean.Grind.Field Lean.Grind.OrderedRing
""")
#: Namespaces that may be opened; any other could bring in notation or another meaning of a name.
OPENED = frozenset({"Lean.Grind", "PeelVerify"})
#: Names of core that no declaration may bear, since a statement could then mean something else by them.
CORE_NAMES = _words("""
    Add And BEq Bool Decidable DecidableEq DecidableLE Div Eq Exists False Field Fin HAdd HDiv HEq HMul HSub Iff
    Int LE LT Lean List Membership Mul Nat Ne Neg Not Option Or OrderedRing Prod Prop Rat Real Ring Semiring Std
    String Sub Subtype Sum True Type Unit absurd id ite dite not and or
""")
#: Characters other than ASCII that code may contain; many others look like one of these or like a letter.
SIGNS = frozenset("αβγδεηθλμπρστφψω ΓΔΣΦΨΩ →←↔⇒≤≥≠∀∃∈∉∧∨¬×·∘⟨⟩⊢▸⁻¹²³₀₁₂₃₄₅₆₇₈₉ᵀ‖√∑∏") - {" "}
#: Parts of Lean's own namespace that proofs may name.
LEAN_NAMESPACES = frozenset({"Grind", "Order"})
#: Names and keywords refused wherever they stand, also as a part of a dotted name.
REFUSED = _words("""
    addAndCompile addDecl admit axiom binder_predicate builtin_initialize bv_check bv_decide by_elab
    byAsSorry class csimp dbg_trace declare_syntax_cat dsimproc elab elab_rules export extends extern haveI
    hint implemented_by include_str infix infixl infixr init_quot initialize inferInstanceAs lcAny lcInv
    lcProof lcUnreachable letI macro macro_rules meta mutual native native_decide notation notation3
    ofReduceBool ofReduceNat opaque panic panic! partial postfix prefix prelude run_cmd run_elab run_meta
    run_tac seal simproc skipKernelTC sorry sorryAx stop syntax todo! trustCompiler unif_hint unreachable!
    unsafe unsafeCast unseal _root_
""")
_TOOLCHAIN = re.compile(r"leanprover/lean4:v\d+\.\d+\.\d+(-rc\d+)?\s*\Z")
_LAKE_WORDS = _words("""
    import Lake open DSL package peelverify where version v! description leanOptions autoImplicit
    relaxedAutoImplicit false default_target lean_lib moreLeanArgs
""") | {ROOT_MODULE}
_LAKE_ARGUMENTS = frozenset({'"-DwarningAsError=true"'})


@dataclass(frozen=True)
class AuditReport:
    """What the audit saw.

    Attributes:
        ok: whether nothing was refused.
        messages: one for each refusal.
        files: names of the files read.
        tokens: number of tokens outside comments.
        commands: how often each command occurs.
        imports, options, attributes: what is used of each, sorted.
    """

    ok: bool
    messages: tuple[Message, ...]
    files: tuple[str, ...]
    tokens: int
    commands: dict[str, int]
    imports: tuple[str, ...]
    options: tuple[str, ...]
    attributes: tuple[str, ...]


def audit(root: Path | str | None = None) -> AuditReport:
    """Audit every Lean file of a proof project, and the build files beside them.

    Args:
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Returns:
        An `AuditReport`; not ok for an empty tree, since nothing checked is nothing proved.

    Raises:
        InputError: if the root is not a folder.

    Not for:
        Judging whether a theorem says what its name promises. Read the statements: `peelverify theorems`.
    """
    return audit_tree(load_tree(proofs_root(root)))


def audit_tree(tree: Tree) -> AuditReport:
    """Audit a tree that was read before."""
    messages = list(tree.problems)
    commands: Counter[str] = Counter()
    seen: dict[str, set[str]] = {"imports": set(), "options": set(), "attributes": set()}
    tokens = 0
    for source in tree.sources.values():
        messages += audit_source(source)
        tokens += sum(token.kind != "doc" for token in source.tokens)
        for command in split_commands(source):
            commands[command.keyword.text] += 1
            seen["attributes"] |= {item[0].text for item in _items(command.attributes)}
        seen["imports"] |= {item.module for item in source.imports}
        seen["options"] |= {name.text for name, _ in _options(source)}
    if not commands["theorem"] and not any(message.severity == "error" for message in messages):
        messages.append(Message("Proofs.lean", 0, 0, "error", "there is no theorem in the tree, so nothing is proved"))
    messages += _build_files(tree.root)
    return AuditReport(
        ok=not messages,
        messages=tuple(dict.fromkeys(messages)),
        files=tuple(source.file for source in tree.sources.values()),
        tokens=tokens,
        commands=dict(sorted(commands.items())),
        imports=tuple(sorted(seen["imports"])),
        options=tuple(sorted(seen["options"])),
        attributes=tuple(sorted(seen["attributes"])),
    )


def audit_source(source: Source) -> list[Message]:
    """Audit one file; also used for files that this package generates.

    Returns:
        One message for each refusal; empty if there is none.
    """
    found = [*_characters(source), *_header(source), *_tokens(source)]
    for name, value in _options(source):
        if not (name.text.startswith("linter.") or name.text in OPTIONS):
            found.append(source.error(name.start, f"option {name.text} is not on the list of options"))
        elif value is None or not (value.kind == "number" or value.text in ("true", "false")):
            found.append(source.error(name.start, f"option {name.text} needs a plain value"))
    for command in split_commands(source):
        found += _command(source, command)
    return sorted(dict.fromkeys(found), key=lambda message: (message.line, message.column))


def _characters(source: Source) -> Iterator[Message]:
    """Characters that hide text, and comments that Lean and this lexer could read differently."""
    for offset, character in enumerate(source.text):
        if character not in " \n" and unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"):
            yield source.error(offset, f"character U+{ord(character):04X} can hide text")
    for token in source.tokens:
        for offset, character in enumerate(token.text if token.kind != "doc" else "", start=token.start):
            if not character.isascii() and character not in SIGNS:
                name = unicodedata.name(character, "no name").lower()
                yield source.error(offset, f"character U+{ord(character):04X} ({name}) is not on the list for code")
    for offset in source.unclosed:
        yield source.error(offset, "this comment or string never ends")
    for offset in source.comments:
        before = source.text[offset - 1 : offset]
        if before and not (before.isspace() or before.isalnum() or before in "_'()[]{}⟨⟩,;"):
            yield source.error(offset, f"a comment directly behind {before!r}; put a space between them")
        if source.text.startswith("/--/", offset):
            yield source.error(offset, "/--/ can be read in two ways")


def _header(source: Source) -> Iterator[Message]:
    if not source.is_module:
        yield source.error(0, "the file must start with `module`")
    header = source.imports[-1].token.start if source.imports else 0
    modules = [token for token in source.tokens if token.text == "module"]
    for token in modules[1:]:
        yield source.error(token.start, "`module` stands twice")
    for token in source.tokens:
        if token.start < header and token.text == "all":
            yield source.error(token.start, "`import all` reaches into what other files keep private")
    for item in source.imports:
        if item.module.split(".")[0] != ROOT_MODULE and not is_core(item.module):
            yield source.error(item.token.start, f"import of {item.module}; only Proofs, Init and Std are allowed")


def _tokens(source: Source) -> Iterator[Message]:
    """Words and signs that are refused wherever they stand outside comments."""
    kinds = {"string": "a string", "raw": "a raw string", "char": "a character literal", "quoted": "a quoted name"}
    for token in source.tokens:
        if token.kind in kinds:
            yield source.error(token.start, f"{kinds[token.kind]}; proofs need none, and text can hide in it")
        elif token.kind == "symbol" and token.text[0] == "#" and token.text not in ("#[",):
            yield source.error(token.start, f"{token.text}: commands that run or print are not allowed")
        elif token.kind == "symbol" and token.text in ("`(", "`", "'"):
            yield source.error(token.start, f"{token.text} starts a quotation; proofs need none")
        elif token.kind == "word":
            parts = token.text.split(".")
            refused = next((part for part in parts if part in REFUSED or part.startswith("register_")), None)
            if refused:
                yield source.error(token.start, f"{refused} is not allowed")
            elif "Lean" in parts and not (parts[0] == "Lean" and len(parts) > 1 and parts[1] in LEAN_NAMESPACES):
                yield source.error(token.start, f"{token.text}: of Lean's own names only Lean.Grind and Lean.Order")


def _options(source: Source) -> Iterator[tuple[Token, Token | None]]:
    """Name and value behind every ``set_option``."""
    tokens = source.tokens
    for at, token in enumerate(tokens[:-1]):
        if token.text == "set_option" and token.kind == "word":
            yield tokens[at + 1], tokens[at + 2] if at + 2 < len(tokens) else None


def _items(tokens: tuple[Token, ...]) -> list[list[Token]]:
    """An attribute list at its commas, without ``local``, ``scoped`` and a minus in front."""
    items: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == ",":
            items.append([])
        elif items[-1] or token.text not in ("local", "scoped", "-"):
            items[-1].append(token)
    return [item for item in items if item]


def _command(source: Source, command: Command) -> Iterator[Message]:
    keyword = command.keyword
    place = keyword.start
    if keyword.text not in COMMANDS:
        yield source.error(place, f"a line starts with {keyword.text!r}, which is not on the list of commands")
        return
    for item in _items(command.attributes):
        if item[0].text not in ATTRIBUTES:
            yield source.error(item[0].start, f"attribute {item[0].text} is not on the list of attributes")
    for word in command.modifiers:
        if word not in ("private", "protected", "public", "noncomputable"):
            yield source.error(place, f"{word} {keyword.text} is not allowed")
    yield from _hidden(source, command)
    yield from _opened(source, command)
    yield from _asked(source, command)
    if keyword.text in _NAMING and command.rest:
        yield from _shadows(source, command.rest[0])
    if keyword.text == "namespace":
        if not command.rest or command.rest[0].text.split(".")[0] != "PeelVerify":
            yield source.error(place, "only the namespace PeelVerify may be opened for new names")
        else:
            yield from _shadows(source, command.rest[0])
    if keyword.text == "attribute":
        yield from _attribute(source, command)
    if keyword.text == "instance":
        yield from _instance(source, command)


def _opened(source: Source, command: Command) -> Iterator[Message]:
    """``open``: whole namespaces of the list only, as a command, before another one and inside a proof."""
    tokens = (command.keyword, *command.rest)
    for chunk in (*command.prefixes, tokens):
        for at, token in enumerate(chunk):
            if token.text != "open" or token.kind != "word":
                continue
            for name in chunk[at + 1 :]:
                if name.text == "in":
                    break
                if name.text not in OPENED:
                    yield source.error(name.start, f"open {name.text}: only {', '.join(sorted(OPENED))} may be opened")
                    break


def _asked(source: Source, command: Command) -> Iterator[Message]:
    """Instances in brackets, of statements and of ``variable`` lines: classes of the list only."""
    if command.keyword.text not in _NAMING | {"variable", "example", "instance"}:
        return
    depth, at, rest = 0, 0, command.rest
    while at < len(rest):
        token = rest[at]
        if depth == 0 and token.text in (":", ":=", "|", "where"):
            break
        if depth == 0 and token.text == "[" and at + 1 < len(rest):
            inside = rest[at + 1 : at + 3]
            name = rest[at + 3] if len(inside) == 2 and inside[1].text == ":" and at + 3 < len(rest) else inside[0]
            if name.text not in ASKED_CLASSES:
                yield source.error(name.start, f"a statement asks for {name.text}, which is not on the list of classes")
        depth += depth_change(token)
        at += 1
    for before, token in zip(rest, rest[1:], strict=False):
        if before.text == "@" and token.kind == "word" and token.text.split(".")[0] in CORE_NAMES:
            yield source.error(token.start, f"@{token.text} could be given another order or operation")


def _shadows(source: Source, name: Token) -> Iterator[Message]:
    """A declaration that bears a name of core."""
    for part in name.text.split("."):
        if part in CORE_NAMES and name.kind == "word":
            yield source.error(name.start, f"{name.text} bears the name {part} of Lean's core")


def _hidden(source: Source, command: Command) -> Iterator[Message]:
    """Commands inside the text of another command, and what is derived."""
    rest = () if command.keyword.text == "attribute" else command.rest
    for at, token in enumerate(rest):
        if token.text == "@[":
            yield source.error(token.start, "an attribute must stand at the start of a line")
        if token.kind != "word":
            continue
        if token.text in _HEADS_ONLY:
            yield source.error(token.start, f"{token.text} must stand at the start of a line")
        if token.text == "deriving":
            for name in rest[at + 1 :]:
                if name.text not in DERIVABLE and name.text != ",":
                    yield source.error(name.start, f"deriving {name.text} is not on the list")


def _attribute(source: Source, command: Command) -> Iterator[Message]:
    """``attribute [local instance] Semiring.natCast`` and the plain attributes."""
    texts = [token.text for token in command.rest]
    if "]" not in texts:
        yield source.error(command.keyword.start, "attribute needs a list in brackets")
        return
    close = texts.index("]")
    names = command.rest[close + 1 :]
    for item in _items(tuple(command.rest[1:close])):
        if item[0].text == "instance" and "local" in texts[:close]:
            for name in names:
                if len(item) > 1:
                    yield source.error(item[1].start, "a local instance may have no priority")
                if name.text not in LOCAL_INSTANCES:
                    yield source.error(name.start, f"local instance {name.text} is not on the list")
        elif item[0].text not in ATTRIBUTES:
            yield source.error(item[0].start, f"attribute {item[0].text} is not on the list of attributes")


def _instance(source: Source, command: Command) -> Iterator[Message]:
    """An instance of an order or algebra class could make a theorem say less than it seems to."""
    depth, colon = 0, None
    for at, token in enumerate(command.rest):
        depth += (token.text in "([{⟨") - (token.text in ")]}⟩")
        if depth == 0 and token.text == ":":
            colon = at
            break
    head = command.rest[colon + 1].text if colon is not None and colon + 1 < len(command.rest) else ""
    if head not in INSTANCE_CLASSES:
        yield source.error(
            command.keyword.start,
            f"an instance of {head or 'an unknown class'}; allowed are {', '.join(sorted(INSTANCE_CLASSES))}",
        )


def _build_files(root: Path) -> Iterator[Message]:
    """``lakefile.lean``, ``lean-toolchain``, ``lake-manifest.json``: they decide what a native build runs."""
    manifest = root / "lake-manifest.json"
    if manifest.exists():
        try:
            packages = json.loads(manifest.read_text(encoding="utf-8"))["packages"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Message(manifest.name, 0, 0, "error", f"cannot be read: {error}")
        else:
            if packages != []:
                yield Message(manifest.name, 1, 1, "error", "it names other packages; the proofs rest on Lean alone")
    for name in ("lakefile.lean", "lean-toolchain"):
        path = root / name
        if not path.exists():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield Message(name, 0, 0, "error", f"cannot be read: {error}")
            continue
        source = Source("lakefile", name, text)
        if name == "lean-toolchain":
            if not _TOOLCHAIN.match(text):
                yield Message(name, 1, 1, "error", "it must name a release of leanprover/lean4 and nothing else")
            continue
        for offset in source.unclosed:
            yield source.error(offset, "this comment or string never ends")
        for token in source.tokens:
            if token.kind == "word" and token.text not in _LAKE_WORDS:
                yield source.error(token.start, f"{token.text} is not on the list of words of the build file")
            if token.kind == "string" and token.text.startswith('"-') and token.text not in _LAKE_ARGUMENTS:
                yield source.error(token.start, f"argument {token.text} is not on the list of the build file")
            if token.kind in ("raw", "quoted", "char"):
                yield source.error(token.start, f"{token.text} is not allowed in the build file")
