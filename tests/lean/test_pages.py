"""The page of a theorem: taken apart rightly, with a live example, a reason and a formula that can be typeset."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from latex2mathml.converter import convert
from typer.testing import CliRunner

from peelverify.cli import theorems as command
from peelverify.errors import InputError
from peelverify.lean import pages
from peelverify.lean.pages import Binder, binders, page, reasons
from peelverify.lean.theorems import find_in, index

TABLE = tomllib.loads(Path(pages.__file__).with_name("why.toml").read_text(encoding="utf-8"))
ENTRIES = index()
#: What a statement may speak about: numbers, vectors, lists and the project's own types.
DATA = re.compile(
    r"[\s()→×+:]|\b(Fin|Nat|Rat|Int|Bool|List|Type|Prop|Network|RoundTree|Packed\w+|\w+Certificate|Enclosure|Option)\b"
    r"|α|\b[a-zA-Z](\.\w+)?\b|\d|\bsize\b"
)


def test_every_public_theorem_has_a_reason() -> None:
    """Each says why it matters, by its own text or that of its file, and no text is about nothing."""
    assert TABLE["theorems"]
    assert [e.name for e in ENTRIES if not reasons(e).why] == []
    names = {e.name.removeprefix("PeelVerify.") for e in ENTRIES}
    assert set(TABLE["theorems"]) <= names
    assert set(TABLE["files"]) == {Path(e.file).stem for e in ENTRIES}


def test_a_missing_reason_is_noticed() -> None:
    """The check above can fail."""
    entry = find_in(ENTRIES, "le_chainBound")
    assert reasons(entry, {}).why == ""
    assert reasons(entry, {"files": {"Propagation": "x"}}) == pages.Reasons("x", False, None)
    own = {"theorems": {"le_chainBound": {"why": "y", "formula": "z"}}}
    assert reasons(entry, own) == pages.Reasons("y", True, "z")


@pytest.mark.parametrize("name", sorted(TABLE["theorems"]))
def test_each_own_text_is_short_and_its_formula_can_be_typeset(name: str) -> None:
    """One or two sentences; the formula becomes MathML in which no LaTeX command is left."""
    entry = TABLE["theorems"][name]
    assert set(entry) <= {"why", "formula"}
    assert 1 <= len(re.findall(r"[.!?](?=\s|$)", entry["why"])) <= 3
    assert len(entry["why"]) <= 240
    made = convert(entry["formula"], display="block")
    assert made.startswith("<math")
    assert "\\" not in made


def test_certificates_rest_on_theorems_with_formulas() -> None:
    """Every theorem that a certificate names has a reason and a formula of its own."""
    folder = Path(pages.__file__).parents[1] / "certify"
    names = {name for path in folder.glob("*.py") for name in re.findall(r'"(PeelVerify\.[\w.]+)"', path.read_text())}
    assert len(names) > 8
    for name in names:
        found = reasons(find_in(ENTRIES, name))
        assert found.own, name
        assert found.formula, name


def test_every_statement_is_taken_apart() -> None:
    """No text is lost between binders and conclusion, and what is no hypothesis speaks about data."""
    for entry in ENTRIES:
        if entry.kind != "theorem":
            continue
        found, conclusion = binders(entry, ENTRIES)
        assert conclusion, entry.name
        own = "".join(entry.statement.split()[2:])
        for binder in found:
            text = "".join(f"{' '.join(binder.names)} : {binder.type}".split()) if binder.names else binder.type
            assert "".join(text.split()) in own + "".join("".join(v.split()) for v in entry.variables), entry.name
            if binder.kind == "object":
                assert DATA.sub("", binder.type) == "", (entry.name, binder)
        assert own.endswith("".join(conclusion.split())), entry.name


def test_hypotheses_objects_and_instances_are_told_apart() -> None:
    """A page lists what is assumed apart from what is spoken about and what the numbers need."""
    found = page("witness_gap")
    assert [b.names for b in found.hypotheses] == [("witness_mem",), ("is_lower_bound",)]
    assert Binder(("inClass",), "Network → Prop", "object", True) in found.objects
    chain = page("le_chainBound")
    assert [b.names[0] for b in chain.hypotheses] == ["start", "gain_nonneg", "recurrence"]
    assert chain.conclusion == "e steps.length ≤ chainBound e0 steps"
    assert "OrderedRing α" in {b.type for b in chain.instances}
    assert [b.names for b in page("sum_error").hypotheses][1:] == [
        ("any_order",), ("once",), ("no_underflow",), ("computed",)
    ]


def test_a_page_has_a_live_example_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror is run when the page is made: a broken function shows its broken answer."""
    found = page("OpNorm2Le.mul")
    assert found.python_examples[-1].result == "10"
    assert found.signature == "op_norm2_mul_upper(a: Number, b: Number) -> Number"
    line = (Path(pages.__file__).parents[2] / found.mirror_file).read_text().splitlines()[found.mirror_line - 1 :]
    assert any("def op_norm2_mul_upper" in text for text in line[:3])
    from peelverify.bounds import matrix

    def broken(a: int, b: int) -> int:
        return -1

    broken.__doc__ = matrix.op_norm2_mul_upper.__doc__
    monkeypatch.setattr(matrix, "op_norm2_mul_upper", broken)
    assert page("OpNorm2Le.mul").python_examples[-1].result == "-1"


def test_an_example_that_fails_is_shown() -> None:
    """An error in an example stands on the page as its result, and what is marked to be skipped is not run."""
    ran = pages._run(">>> 1 / 0\n>>> undefined  # doctest: +SKIP\n>>> 2 + 2\n4\n", {})
    assert [example.result for example in ran] == ["ZeroDivisionError: division by zero", "4"]


def test_every_mirrored_theorem_has_an_example_that_runs() -> None:
    """Each mirror's own examples run and print what their docstring says."""
    import doctest
    import importlib
    import inspect

    paths = sorted({e.mirror for e in ENTRIES if e.mirror and e.mirror.startswith("peelverify.bounds.")})
    assert len(paths) > 80
    for path in paths:
        _, _, line, ran = pages._mirror(path)
        module, _, name = path.rpartition(".")
        doc = inspect.getdoc(getattr(importlib.import_module(module), name))
        wanted = [e.want.strip() for e in doctest.DocTestParser().get_examples(doc)]
        assert wanted, path
        assert [e.result for e in ran] == wanted, path
        assert line


def test_lean_examples_and_users_are_found(project: Callable[..., Path]) -> None:
    """An `example` that applies a theorem and a theorem whose proof names it are listed with their places."""
    found = page("le_chainBound")
    assert any("le_chainBound twoSteps" in e.text for e in found.lean_examples)
    for example in found.lean_examples:
        line = (Path(pages.__file__).parents[2] / example.file).read_text().splitlines()[example.line - 1]
        assert line.startswith("example")
    assert "PeelVerify.chainBound_eq_sum_shares" in page("chainBound_eq_closedForm").used_by
    assert page("twice", project()).used_by == ("PeelVerify.twice_add", "PeelVerify.fourTimes_eq")
    assert page("twice", project()).reasons.why == ""


def test_the_command_shows_a_page(project: Callable[..., Path]) -> None:
    """Text and JSON hold the same parts; a wrong name is answered with near ones; options do not mix."""
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    run = CliRunner()
    text = run.invoke(app, ["theorems", "PeelVerify.le_chainBound"]).stdout
    for part in (
        "Why", "Formula (LaTeX)", r"\prod_{t=1}^{T} g_t", "Hypotheses", "gain_nonneg : ∀ p ∈ steps, 0 ≤ p.1",
        "Conclusion", "Numbers need", "Fraction(3, 2)", "Example in Lean", "References", "2603.20991",
        "chain_bound(e0: Number", "peelverify/bounds/propagation.py:", "Proofs/Propagation.lean:", "peelverify prove",
        find_in(ENTRIES, "le_chainBound").statement_hash,
    ):
        assert part in text, part
    printed = json.loads(run.invoke(app, ["theorems", "le_chainBound", "--json"]).stdout)
    assert printed["schema"] == "peelverify.theorem/1"
    assert printed["name"] == "PeelVerify.le_chainBound"
    assert printed["own"] is True
    assert [b["names"] for b in printed["hypotheses"]] == [["start"], ["gain_nonneg"], ["recurrence"]]
    assert printed["python_examples"][-1]["result"] == "Fraction(3, 2)"
    with pytest.raises(InputError, match="did you mean le_chainBound"):
        page("le_chainBond")
    mixed = run.invoke(app, ["theorems", "le_chainBound", "--markdown", "x.md"])
    assert isinstance(mixed.exception, InputError)


def test_the_command_checks_and_writes_the_reviewed_list(project: Callable[..., Path], tmp_path: Path) -> None:
    """Equal: exit 0. Different: the change, the command that renews the list, and exit 1."""
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    run, root, file = CliRunner(), project(), tmp_path / "list.txt"
    assert run.invoke(app, ["theorems", "--root", str(root), "--write-golden", str(file)]).exit_code == 0
    assert run.invoke(app, ["theorems", "--root", str(root), "--check-golden", str(file)]).exit_code == 0
    source = root / "Proofs" / "A.lean"
    source.write_text(source.read_text().replace("twice a + twice b", "twice b + twice a"))
    red = run.invoke(app, ["theorems", "--root", str(root), "--check-golden", str(file)])
    assert red.exit_code == 1
    assert "PeelVerify.twice_add: changed" in red.stdout
    assert "--write-golden" in red.output
