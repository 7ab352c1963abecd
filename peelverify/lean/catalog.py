"""The theorems as a page of Markdown, grouped by Lean file: ``docs/theorems.md``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from peelverify.errors import InputError
from peelverify.lean.golden import write_generated
from peelverify.lean.pages import reasons
from peelverify.lean.theorems import Theorem, index_tree
from peelverify.lean.tree import load_tree, proofs_root

__all__ = ["markdown", "write_markdown"]

_FIRST = "<!-- Written by `peelverify theorems --markdown FILE`; change the Lean sources, not this file. -->"


def _title(text: str, file: str) -> str:
    found = re.search(r"/-!\s*# (.+)", text)
    return found[1].strip() if found else file


def _anchor(name: str) -> str:
    return name.removeprefix("PeelVerify.").replace(".", "-").replace("'", "-").lower()


def _short(theorem: Theorem) -> str:
    return theorem.name.removeprefix("PeelVerify.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def markdown(root: Path | str | None = None) -> str:
    """The page: for each file a table, then each theorem with its statement.

    Args:
        root: folder of ``Proofs.lean``; default: the proofs of this package.

    Raises:
        InputError: if there is no theorem.
    """
    tree = load_tree(proofs_root(root))
    entries = index_tree(tree)
    theorems = [entry for entry in entries if entry.kind == "theorem"]
    if not theorems:
        raise InputError("markdown needs theorems, got none; name the folder of Proofs.lean by --root")
    titles = {source.file: _title(source.text, source.file) for source in tree.sources.values()}
    files = list(dict.fromkeys(entry.file for entry in theorems))
    lines = [
        _FIRST, "", "# Theorems", "",
        f"{len(theorems)} public theorems and {len(entries) - len(theorems)} definitions, checked by the Lean kernel "
        "with `peelverify prove`.",
        "Each holds for every linearly ordered field, so for the rationals and the reals, unless its statement says "
        "otherwise.",
        "`peelverify theorems NAME` shows one with its hypotheses, examples and hash; "
        "[trust.md](trust.md) says which claim rests on which.", "",
        *(f"- [{titles[file]}](#{_anchor(Path(file).stem)}-file)" for file in files), "",
    ]
    for file in files:
        lines += _section(file, titles[file], [entry for entry in theorems if entry.file == file])
    return "\n".join(lines).rstrip() + "\n"


def _section(file: str, title: str, theorems: Sequence[Theorem]) -> list[str]:
    lines = [
        f'<a id="{_anchor(Path(file).stem)}-file"></a>', "", f"## {title}", "", f"[`{file}`](../{file})", "",
        "| Theorem | What it says | Python |", "| --- | --- | --- |",
    ]
    for theorem in theorems:
        mirror = f"`{theorem.mirror.removeprefix('peelverify.')}`" if theorem.mirror else "none"
        lines.append(f"| [`{_short(theorem)}`](#{_anchor(theorem.name)}) | {_cell(theorem.doc)} | {mirror} |")
    lines.append("")
    for theorem in theorems:
        why = reasons(theorem)
        lines += [f'<a id="{_anchor(theorem.name)}"></a>', "", f"### {_short(theorem)}", "", theorem.doc, ""]
        if why.own:
            lines += [why.why, ""]
        if why.formula:
            lines += [f"$${' '.join(why.formula.split())}$$", ""]
        lines += ["```lean", theorem.statement, "```", ""]
    return lines


def write_markdown(path: Path | str, root: Path | str | None = None) -> None:
    """Write the page in one step.

    Raises:
        InputError: if there is no theorem, or the file is there and is no such page.
        ArtifactError: if it cannot be written.
    """
    write_generated(Path(path), markdown(root), _FIRST)
