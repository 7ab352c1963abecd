"""Every public theorem holds for a real object, and for the two smallest sizes; Lean checks each example.

`tests/lean/examples` has one file for each file of `Proofs`. Section ``NonTrivial`` applies theorems that no
example of `Proofs` applies. Section ``Smallest`` applies each theorem with a dimension twice, and says the
sizes as named arguments, which Lean checks against the objects: ``sum_add (n := 0) f0 f0``.

A dimension is an argument that is a `Nat`, a `List` or a record of the project. The two sizes are 0 and 1 in
every dimension. Where that cannot be, or an argument is no dimension, a comment says the sizes and why::

    -- sizes flip_identity: m = 0, n = 1 and m = 1, n = 2; k picks the sign that flips

The size of a list is its length. The size of a record is given by a field, ``c.rows = 1``, and an example in
the same file proves it of the record: ``example : matrix1.rows = 1 := rfl``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest

from peelverify.lean.audit import audit_source
from peelverify.lean.build import BuildResult, build, check_source
from peelverify.lean.commands import Command, depth_change, split_commands
from peelverify.lean.pages import binders
from peelverify.lean.source import Message, Source, Token
from peelverify.lean.theorems import Theorem, index
from peelverify.lean.tree import load_tree, proofs_root

FOLDER = Path(__file__).parent / "examples"
HEADER = "module\n\npublic import Proofs\n"
SPACE = "PeelVerify."

Sizes = dict[str, int]


# ----------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Example:
    """One ``example``: the section in which it stands, what it states and how it proves that."""

    section: str
    states: tuple[Token, ...]
    body: tuple[Token, ...]


@dataclass(frozen=True)
class SizesLine:
    """A ``-- sizes`` comment: the two sizes of a theorem."""

    file: str
    line: int
    name: str
    sizes: tuple[Sizes, Sizes] | None
    reason: str


def example_files() -> dict[str, Source]:
    """The example files by name."""
    return {path.stem: Source(path.stem, path.name, path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.lean"))}


@cache
def proof_files() -> list[Source]:
    """The files of the proofs."""
    return list(load_tree(proofs_root()).sources.values())


@cache
def declared() -> tuple[Theorem, ...]:
    """The index: definitions and theorems."""
    return index()


def theorems() -> list[Theorem]:
    """The public theorems."""
    return [entry for entry in declared() if entry.kind == "theorem"]


@cache
def examples_of(source: Source) -> tuple[Example, ...]:
    """The examples of a file with the section in which each stands."""
    section, found = "", []
    for command in split_commands(source):
        word = command.keyword.text
        if word == "section" and command.rest:
            section = command.rest[0].text
        elif word == "end" and command.rest and command.rest[0].text == section:
            section = ""
        elif word == "example":
            states, body = _halves(command)
            found.append(Example(section, states, body))
    return tuple(found)


def _halves(command: Command) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """What an example states and how it proves it."""
    depth = 0
    for at, token in enumerate(command.rest):
        depth += depth_change(token)
        if depth == 0 and token.text == ":=":
            return command.rest[:at], command.rest[at + 1 :]
    return command.rest, ()


def short(name: str) -> str:
    """A name as it is written inside the namespace."""
    return name.removeprefix(SPACE)


def applied(example: Example) -> Iterator[tuple[str, dict[str, tuple[Token, ...]]]]:
    """Every name that a proof uses, with the named arguments directly behind it; ``a_iff.mp`` uses ``a_iff`` too."""
    for at, token in enumerate(example.body):
        if token.kind == "word":
            name = short(token.text)
            yield name, _named(example.body[at + 1 :])
            if name.endswith((".mp", ".mpr")):
                yield name.rpartition(".")[0], {}


def _named(tokens: Sequence[Token]) -> dict[str, tuple[Token, ...]]:
    """The arguments ``(n := 0) (m := 1)`` at the front."""
    found: dict[str, tuple[Token, ...]] = {}
    while len(tokens) > 3 and tokens[0].text == "(" and tokens[1].kind == "word" and tokens[2].text == ":=":
        depths = accumulate(depth_change(token) for token in tokens)
        end = next(at for at, depth in enumerate(depths) if depth == 0)
        found[tokens[1].text] = tuple(tokens[3:end])
        tokens = tokens[end + 1 :]
    return found


def size_of(tokens: Sequence[Token]) -> int | str | None:
    """A numeral, the length of a list literal or the name of an object."""
    texts = [token.text for token in tokens]
    if len(tokens) == 1:
        return int(texts[0]) if tokens[0].kind == "number" else texts[0]
    if texts[:1] == ["("] and ":" in texts:  # ([3] : List Rat)
        return size_of(tokens[1 : len(texts) - 1 - texts[::-1].index(":")])
    if texts[:1] == ["["] and texts[-1:] == ["]"]:
        depth = commas = 0
        for token in tokens[1:-1]:
            depth += depth_change(token)
            commas += depth == 0 and token.text == ","
        return commas + 1 if len(tokens) > 2 else 0
    return None


def stated_sizes(examples: Iterable[Example]) -> dict[str, int]:
    """What examples such as ``c.rows = 1 ∧ c.columns = 2`` prove about fields of records."""
    found: dict[str, int] = {}
    for example in examples:
        text = " ".join(token.text for token in example.states)
        if re.fullmatch(r": [\w.]+ = \d+(?: ∧ [\w.]+ = \d+)*", text):
            found |= {name: int(value) for name, value in re.findall(r"([\w.]+) = (\d+)", text)}
    return found


def sizes_lines(source: Source) -> Iterator[SizesLine]:
    """The ``-- sizes`` comments of a file; one that does not end in its line goes on in the next."""
    lines = source.text.splitlines()
    for at, line in enumerate(lines):
        if not line.startswith("-- sizes "):
            continue
        text, after = line.removeprefix("-- sizes "), at + 1
        while after < len(lines) and lines[after].startswith("-- ") and not lines[after].startswith("-- sizes "):
            text, after = f"{text} {lines[after].removeprefix('-- ')}", after + 1
        name, _, rest = text.partition(":")
        said, _, reason = rest.partition(";")
        cases = [_sizes(part) for part in said.split(" and ")]
        both = (cases[0], cases[1]) if len(cases) == 2 and cases[0] and cases[1] else None
        yield SizesLine(source.file, at + 1, name.strip(), both, reason.strip())


def _sizes(text: str) -> Sizes | None:
    items = [re.fullmatch(r"([\w.']+) = (\d+)", item.strip()) for item in text.split(",")]
    return {item[1]: int(item[2]) for item in items if item} if all(items) else None


@cache
def dimensions(theorem: Theorem) -> dict[str, bool]:
    """Arguments with a size; True for a record, whose size a field says."""
    records = {short(entry.name) for entry in declared() if entry.kind == "structure"}
    entries = tuple(entry for entry in declared() if entry.kind != "theorem" and "Prop" in entry.statement)
    found = {}
    for binder in binders(theorem, entries)[0]:
        head = binder.type.split()[0]
        if binder.kind == "object" and "→" not in binder.type and head in {"Nat", "List"} | records:
            found |= dict.fromkeys(binder.names, head in records)
    return found


# ---------------------------------------------------------------------------------------------- judging


def missing(proofs: Iterable[Source], files: Iterable[Source], wanted: Iterable[Theorem]) -> list[str]:
    """What has to be added, one line for each gap."""
    inside = [example for source in proofs for example in examples_of(source)]
    files = list(files)
    beside = {source.file: examples_of(source) for source in files}
    said = {source.file: list(sizes_lines(source)) for source in files}
    general = {name for example in inside for name, _ in applied(example)}
    small: dict[str, list[Sizes]] = {}
    for file, examples in beside.items():
        facts = stated_sizes(examples)
        keys = {key for line in said[file] for case in line.sizes or () for key in case}
        for example in examples:
            for name, arguments in applied(example):
                if example.section != "Smallest":
                    general.add(name)
                elif arguments:
                    small.setdefault(name, []).append(_reached(arguments, keys, facts))
    lines: dict[str, SizesLine] = {}
    problems = []
    for line in sorted((line for found in said.values() for line in found), key=lambda line: (line.file, line.line)):
        place = f"tests/lean/examples/{line.file}:{line.line}"
        if line.name in lines:
            problems.append(f"{place}: the sizes of {line.name} are said twice")
        elif line.sizes is None or not line.reason:
            problems.append(f"{place}: write `-- sizes {line.name}: n = 1 and n = 2; why not 0 and 1`")
        lines[line.name] = line
    for theorem in wanted:
        name = short(theorem.name)
        file = f"tests/lean/examples/{Path(theorem.file).name}"
        if name not in general:
            problems.append(
                f"{name}: no example applies it by name; add one with numbers that are not trivial to section "
                f"Examples of {theorem.file} or to section NonTrivial of {file}"
            )
        problems += _small_gaps(name, file, dimensions(theorem), lines.pop(name, None), small.get(name, []))
    for name, line in lines.items():
        problems.append(f"tests/lean/examples/{line.file}:{line.line}: there is no public theorem {name}")
    return problems


def _reached(arguments: dict[str, tuple[Token, ...]], keys: set[str], facts: dict[str, int]) -> Sizes:
    """The sizes that named arguments give, those of records through what is proved of them."""
    found: Sizes = {}
    for argument, tokens in arguments.items():
        size = size_of(tokens)
        if isinstance(size, int):
            found[argument] = size
        elif size is not None:
            fields = (key.removeprefix(argument) for key in keys if key.startswith(f"{argument}."))
            found |= {f"{argument}{field}": facts[f"{size}{field}"] for field in fields if f"{size}{field}" in facts}
    return found


def _small_gaps(
    name: str, file: str, dims: dict[str, bool], line: SizesLine | None, reached: list[Sizes]
) -> Iterator[str]:
    """What is missing of the two smallest sizes of one theorem."""
    cases: tuple[Sizes, Sizes] = (dict.fromkeys(dims, 0), dict.fromkeys(dims, 1))
    if line is None and not dims:
        return
    if line is not None and line.sizes is not None:
        unknown = {key.partition(".")[0] for case in line.sizes for key in case} - set(dims)
        first, second = line.sizes
        if unknown:
            yield f"{name}: {', '.join(sorted(unknown))} of its sizes line is no dimension of it"
        elif line.sizes == cases:
            yield f"{name}: its sizes line says what holds without it; take it out"
        elif set(first) != set(second) or first == second or any(second[key] < first[key] for key in first):
            yield f"{name}: the second size of its sizes line must be larger than the first"
        cases = line.sizes
    elif line is None and any(dims.values()):
        record = next(dim for dim, is_record in dims.items() if is_record)
        yield f"{name}: say in {file} how large {record} is: `-- sizes {name}: {record}.field = 0 and ...; why`"
        return
    for case in cases:
        if not any(case.items() <= sizes.items() for sizes in reached):
            said = ", ".join(f"{key} = {value}" for key, value in case.items())
            call = "".join(f" ({key} := ...)" for key in dict.fromkeys(key.partition(".")[0] for key in case))
            yield (
                f"{name}: no example with {said}; add `example := {name}{call} ...` to section Smallest of {file}, "
                f"or a comment `-- sizes {name}: ... and ...; why` if other sizes are the smallest ones"
            )


# --------------------------------------------------------------------------------------------- with Lean


def joined(sources: Iterable[Source]) -> tuple[str, list[tuple[int, Source]]]:
    """Several example files as one, and the line before the first line of each."""
    text, starts = HEADER, []
    for source in sources:
        assert source.text.startswith(HEADER), f"{source.file} must start with module and public import Proofs alone"
        starts.append((text.count("\n") - HEADER.count("\n"), source))
        text += source.text.removeprefix(HEADER) + "\nend\n"
    return text, starts


def place(message: Message, starts: list[tuple[int, Source]]) -> tuple[str, int]:
    """File and line of a message about joined files."""
    shift, source = [item for item in starts if message.line > item[0] + HEADER.count("\n")][-1]
    return source.file, message.line - shift


@pytest.fixture(scope="module")
def built() -> BuildResult:
    """The proofs, built once."""
    return build()


def test_lean_accepts_every_example(built, capsys):
    """One Lean process over all files: no error and no warning."""
    text, starts = joined(example_files().values())
    result = check_source(text, base=built)
    told = [f"{place(message, starts)}: {message.text[:500]}" for message in result.messages]
    assert result.ok and not told, "\n".join(told)
    with capsys.disabled():
        print(f"\n{sum(len(examples_of(source)) for _, source in starts)} examples accepted in {result.seconds:.1f} s")


DAMAGES = [
    ("Field", "(3 / 2 : Rat) * (3 / 2) ≤ 2 * 2", "(3 / 2 : Rat) * (3 / 2) ≤ 2 * 1", "another number in the statement"),
    ("Sum", "sum_add (n := 1) f1 g1", "sum_add (n := 2) f1 g1", "another size than the objects have"),
    ("Sum", "(f := f1) (c := 2)", "(f := f1) (c := 1)", "a hypothesis that does not hold"),
    ("Certificate", "chain1.blocks.length = 1", "chain1.blocks.length = 2", "another size of a record"),
    ("Certificate", "(c := dual2)", "(c := { dual2 with lower := 3 })", "a record that does not pass"),
    ("Pruning", "keptCount_scoreMask (n := 1) (kept := 1)", "keptCount_scoreMask (n := 1) (kept := 2)", "too many"),
    ("Pruning", "exists_mask (n := 0)", "exists_masks (n := 0)", "a theorem that does not exist"),
]


def damaged(source: Source, changes: Sequence[tuple[str, str]]) -> tuple[Source, list[range]]:
    """A file with its objects, the examples to be damaged and behind each its damaged copy; lines of the copies."""
    text, wrong = HEADER, []
    for command in split_commands(source):
        begin = source.text.rfind("\n", 0, command.keyword.start) + 1
        kept = source.text[begin : (command.rest[-1] if command.rest else command.keyword).end] + "\n"
        found = [change for change in changes if change[0] in kept] if command.keyword.text == "example" else []
        if command.keyword.text != "example" or found:
            text += kept
        for change in found[:1]:
            first = text.count("\n") + 1
            text += kept.replace(*change)
            wrong.append(range(first, text.count("\n") + 1))
    assert len(wrong) == len(changes), f"{source.file}: an example to damage is not there, or more than once"
    return Source(source.module, source.file, text), wrong


def test_lean_refuses_what_is_damaged(built):
    """Sound examples with one damaged copy behind each: Lean objects to every copy, and to nothing else."""
    files = example_files()
    pairs = [
        damaged(files[name], [(old, new) for file, old, new, _ in DAMAGES if file == name])
        for name in dict.fromkeys(file for file, *_ in DAMAGES)
    ]
    text, starts = joined(source for source, _ in pairs)
    result = check_source(text, base=built)
    assert not result.ok
    copies = {(source.file, lines) for source, ranges in pairs for lines in ranges}
    hit = set()
    for message in result.messages:
        file, line = place(message, starts)
        known = [copy for copy in copies if copy[0] == file and line in copy[1]]
        assert known, f"{file}:{line} is sound and was refused: {message.text[:500]}"
        hit.update(known)
    assert hit == copies


# ------------------------------------------------------------------------------------------ without Lean


def test_every_theorem_has_its_examples():
    """Each public theorem is applied to a real object, and each with a dimension at its two smallest sizes."""
    gaps = missing(proof_files(), example_files().values(), theorems())
    assert not gaps, f"{len(gaps)} to do:\n" + "\n".join(gaps)


def test_the_examples_assume_nothing():
    """The audit of the proofs accepts every file, and no file has a name that hides a theorem."""
    names = {short(theorem.name) for theorem in theorems()}
    for source in example_files().values():
        assert audit_source(source) == [], source.file
        assert (proofs_root() / "Proofs" / source.file).exists(), f"{source.file} belongs to no file of Proofs"
        own = {c.rest[0].text for c in split_commands(source) if c.keyword.text in ("abbrev", "def", "theorem")}
        assert not own & names, f"{source.file} gives the name of a theorem to something else"


@pytest.mark.parametrize(
    "line", ["example : 1 = 2 := by sorry", "axiom a : 1 = 2", "example : 1 = 1 := by native_decide"]
)
def test_the_audit_refuses_what_proves_nothing(line):
    """An example that is assumed or run as a program is refused."""
    source = example_files()["Sum"]
    text = source.text.replace("section NonTrivial\n", f"section NonTrivial\n\n{line}\n")
    assert text != source.text
    assert audit_source(Source("Sum", "Sum.lean", text))


def changed(name: str, old: str, new: str) -> list[Source]:
    """The example files with one change."""
    files = example_files()
    assert files[name].text.count(old) == 1, f"{old!r} must stand once in {name}.lean"
    files[name] = Source(name, f"{name}.lean", files[name].text.replace(old, new))
    return list(files.values())


SIZES = "sum_ite_eq: n = 1 and n = 2; k picks a term"
GAPS = [
    ("Sum", ":= sum_neg f3", ":= rfl", "sum_neg: no example applies it by name"),
    ("Sum", "sum_neg (n := 0) f0", "trivial", "sum_neg: no example with n = 0; add `example := sum_neg (n := ...)"),
    ("Sum", "sum_neg (n := 1) f1", "sum_neg f1", "sum_neg: no example with n = 1;"),
    ("Sum", "-- sizes sum_ite_eq", "-- sum_ite_eq", "sum_ite_eq: no example with n = 0;"),
    ("Sum", SIZES, SIZES.replace("n =", "k ="), "sum_ite_eq: k of its sizes line is no dimension of it"),
    ("Sum", SIZES, SIZES.replace("1 and n = 2", "0 and n = 1"), "sum_ite_eq: its sizes line says what"),
    ("Sum", SIZES, SIZES.replace("1 and n = 2", "2 and n = 1"), "sum_ite_eq: the second size of its sizes line"),
    ("Sum", SIZES, SIZES.partition(";")[0], "Sum.lean: write `-- sizes sum_ite_eq: n = 1 and n = 2; why"),
    ("Sum", SIZES, SIZES.replace(" and n = 2", ""), "Sum.lean: write `-- sizes sum_ite_eq: n = 1 and n = 2; why"),
    ("Sum", SIZES, "sum_of_all: n = 1 and n = 2; it is gone", "Sum.lean: there is no public theorem sum_of_all"),
    ("Propagation", "length_chainShares (steps := [])", "length_chainShares (steps := [(1, 2), (3, 4)])",
     "length_chainShares: no example with steps = 0;"),
    ("Matrix", "mulVec_matMul (m := 1) (n := 1) (p := 1)", "mulVec_matMul (m := 1) (n := 1) (p := 2)",
     "mulVec_matMul: no example with m = 1, n = 1, p = 1;"),
    ("Certificate", "example : matrix1.rows = 1 ∧ matrix1.columns = 1 ∧ matrix1.factorRows = 1 := ⟨rfl, rfl, rfl⟩\n",
     "", "matrixCheck_sound: no example with c.rows = 1, c.columns = 1, c.factorRows = 1; add `example"),
    ("Certificate", "-- sizes unitsCheck_sound", "-- unitsCheck_sound",
     "unitsCheck_sound: say in tests/lean/examples/Certificate.lean how large c is"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "gap"), GAPS, ids=[gap for *_, gap in GAPS])
def test_a_gap_is_named(file, old, new, gap):
    """One example or one line less, and the list names the theorem and says what to add where."""
    found = missing(proof_files(), changed(file, old, new), theorems())
    assert any(gap in re.sub(r":\d+:", ":", line) for line in found), found
    name = "sum_ite_eq" if gap.startswith("Sum.lean") else gap.split(":")[0]
    assert all(name in line or "sum_of_all" in line for line in found), "a gap elsewhere"


def test_a_new_theorem_is_asked_for():
    """A theorem without examples is listed with its file, and once for each thing that it lacks."""
    known = theorems()
    new = replace(next(t for t in known if t.name == "PeelVerify.sum_neg"), name="PeelVerify.sum_twice")
    found = missing(proof_files(), example_files().values(), [*known, new])
    assert len(found) == 3
    assert all(line.startswith("sum_twice: ") and "tests/lean/examples/Sum.lean" in line for line in found)
    assert "section Examples of Proofs/Sum.lean" in found[0]


def test_an_example_of_a_small_size_is_no_example_of_a_real_object():
    """What stands in section Smallest, in a comment or in a statement does not count as applied."""
    text = HEADER + "section Smallest\nexample := sum_neg (n := 3) f\nend Smallest\n"
    text += "-- example := sum_neg f\nexample : sum_neg = 1 := rfl\n"
    found = missing([], [Source("Sum", "Sum.lean", text)], [t for t in theorems() if short(t.name) == "sum_neg"])
    assert "no example applies it by name" in found[0]


@pytest.mark.parametrize(
    ("text", "size"),
    [("3", 3), ("[]", 0), ("[1, 2]", 2), ("[(1, 2)]", 1), ("([3] : List Rat)", 1), ("([] : List Rat)", 0),
     ("chain0", "chain0"), ("fun _ => 0", None), ("(1 / 8 : Rat)", None), ("[[1, 2], [3]]", 2)],
)  # fmt: skip
def test_sizes_are_read(text, size):
    """A numeral, a list and an object; anything else has no size."""
    assert size_of(Source("A", "A.lean", f"module\n{text}").tokens[1:]) == size
