"""Table of the theorems: lines of proof, and how much of each bound its laws reach.

    python benchmarks/theorem_table.py             runs the laws first, some minutes
    python benchmarks/theorem_table.py --ratios F  takes the ratios of an earlier run

The ratio is the smallest observed / bound that the not-vacuous tests of ``tests/laws`` saw: 1 where a hard case
reaches the bound, small where the bound is loose on some drawn case; ``-`` where no law records one. It also lists
long proofs whose doc comment or first lines give no reason, every ``simp`` without ``only`` that does not close its
goal, and the linter options that are switched off. With ``--markdown`` the table is Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peelverify.lean.commands import Command, split_commands
from peelverify.lean.source import Source, Token
from peelverify.lean.theorems import index_tree
from peelverify.lean.tree import Tree, load_tree, proofs_root

ROOT = Path(__file__).resolve().parents[1]
LONG = 40
"""Lines of proof above which a comment must say why."""


@dataclass(frozen=True)
class Proof:
    """One proof: where it stands and how long it is.

    Attributes:
        name: of the theorem, private ones too.
        public: whether it is public.
        place: file:line of its keyword.
        lines: from the line of its ``:=`` or first ``|`` to its end.
        reason: whether a comment before or in its first lines says ``long`` or ``lines``.
    """

    name: str
    public: bool
    place: str
    lines: int
    reason: bool


def proofs(tree: Tree) -> list[Proof]:
    """Every proof of the tree, in the order of the files."""
    ends = {(entry.file, entry.line): entry for entry in index_tree(tree)}
    found = []
    for source in tree.sources.values():
        for command in split_commands(source):
            if command.keyword.text != "theorem" or not command.rest:
                continue
            line = source.place(command.keyword.start)[0]
            body = _body(command)
            if body is None:
                continue
            first, last = (source.place(offset)[0] for offset in (body.start, command.rest[-1].start))
            comment = (command.doc.text if command.doc else "") + source.text[command.keyword.start : body.end + 400]
            entry = ends.get((source.file, line))
            name = entry.name if entry else f"PeelVerify.{command.rest[0].text}"
            reason = bool(re.search(r"(?i)\blong\b|\blines\b", comment))
            found.append(Proof(name, not command.is_private, f"{source.file}:{line}", last - first + 1, reason))
    return found


def _body(command: Command) -> Token | None:
    """The ``:=`` or ``|`` at which a proof begins, outside brackets."""
    depth = 0
    for token in command.rest:
        depth += (token.text in "([{⟨") - (token.text in ")]}⟩")
        if depth == 0 and token.text in (":=", "|"):
            return token
    return None


def open_simps(source: Source) -> list[str]:
    """Places of ``simp`` without ``only`` behind which the same block goes on, by indentation.

    ``simpa`` closes its goal by itself. A ``simp`` at the end of its block closes the goal or the proof fails.
    """
    found = []
    lines = source.text.splitlines()
    tokens = source.tokens
    for at, token in enumerate(tokens[:-1]):
        if token.text not in ("simp", "simp_all") or token.kind != "word" or tokens[at + 1].text == "only":
            continue
        if at and tokens[at - 1].text in ("@[", ","):
            continue
        line, column = source.place(token.start)
        rest = lines[line - 1][column - 1 :]
        if re.match(r"simp(_all)?\b[^;]*;", rest) or _goes_on(lines, line, column):
            found.append(f"{source.file}:{line}")
    return found


def _goes_on(lines: Sequence[str], line: int, column: int) -> bool:
    """Whether the next tactic behind a line stands in the same column, so in the same block."""
    for text in lines[line:]:
        if not text.strip() or text.lstrip().startswith("--"):
            continue
        indent = len(text) - len(text.lstrip()) + 1
        if indent > column:
            continue
        return indent == column
    return False


def linters(tree: Tree) -> Counter[str]:
    """How many files switch off each linter, and other options in use."""
    found: Counter[str] = Counter()
    for source in tree.sources.values():
        words = [token for token in source.tokens if token.kind != "doc"]
        for at, token in enumerate(words[:-2]):
            if token.text == "set_option":
                found[f"{words[at + 1].text} {words[at + 2].text}"] += 1
    return found


def run_laws(target: Path) -> None:
    """Run the laws in one process and let them write their ratios."""
    environment = os.environ | {"PEELVERIFY_LAW_RATIOS": str(target)}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(ROOT / "tests" / "laws")]
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
    if done.returncode or not target.exists():
        raise SystemExit(f"the laws did not pass (pytest ended with {done.returncode}); no table was made")


def table(tree: Tree, ratios: dict[str, float], *, markdown: bool) -> list[str]:
    """Rows of the table, one a public theorem."""
    rows = [("theorem", "file:line", "lines of proof", "least observed / bound")]
    for proof in proofs(tree):
        if proof.public:
            ratio = ratios.get(proof.name, ratios.get(proof.name.removeprefix("PeelVerify.")))
            shown = "-" if ratio is None else f"{ratio:.4f}" if ratio >= 1e-4 else f"{ratio:.1e}"
            rows.append((proof.name.removeprefix("PeelVerify."), proof.place, str(proof.lines), shown))
    if markdown:
        head, *body = ("| " + " | ".join(row) + " |" for row in rows)
        return [head, "| --- | --- | ---: | ---: |", *body]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        f"{name:<{widths[0]}}  {place:<{widths[1]}}  {lines:>{widths[2]}}  {ratio:>{widths[3]}}"
        for name, place, lines, ratio in rows
    ]


def main() -> None:
    """Print the table and what to look at."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ratios", type=Path, help="JSON of an earlier run of the laws")
    parser.add_argument("--no-ratios", action="store_true", help="do not run the laws")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--root", type=Path, help="folder of Proofs.lean")
    given = parser.parse_args()
    tree = load_tree(proofs_root(given.root))
    ratios: dict[str, float] = {}
    if not given.no_ratios:
        with tempfile.TemporaryDirectory() as folder:
            file = given.ratios or Path(folder) / "ratios.json"
            if given.ratios is None:
                run_laws(file)
            ratios = json.loads(file.read_text(encoding="utf-8"))
    found = proofs(tree)
    print("\n".join(table(tree, ratios, markdown=given.markdown)))
    print(f"\n{sum(p.public for p in found)} public theorems, {sum(not p.public for p in found)} private ones, "
          f"{sum(p.lines for p in found)} lines of proof, {len(ratios)} ratios")
    unexplained = [f"{p.place} {p.name} ({p.lines} lines)" for p in found if p.lines > LONG and not p.reason]
    simps = [place for source in tree.sources.values() for place in open_simps(source)]
    options = [f"{name}: {count}" for name, count in sorted(linters(tree).items())]
    for title, places in (
        (f"Proofs of more than {LONG} lines without a reason", unexplained),
        ("`simp` without `only` that does not close its goal", simps),
        ("Options in use, and in how many places", options),
    ):
        print(f"\n{title}: {'none' if not places else ''}")
        for place in places:
            print(f"  {place}")


if __name__ == "__main__":
    main()
