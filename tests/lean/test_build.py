"""Building: real proofs pass, false ones go red with file and line, and nothing is checked twice.

The whole file starts six Lean processes. Compiled files go to a temporary cache; Lean itself is the real
install, which `find_toolchain` makes if it is not there yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import peelverify.lean.build as building
from peelverify.cli import prove as command
from peelverify.errors import InputError, ToolchainError
from peelverify.lean import native, run
from peelverify.lean import tree as forest
from peelverify.lean.audit import audit_source
from peelverify.lean.build import BuildResult, build, check_source
from peelverify.lean.examples import Call, Claim, Mat, Vec, claim_of_message, kernel_examples, lean_value
from peelverify.lean.source import Message, Source
from peelverify.lean.toolchain import Toolchain, find_toolchain
from peelverify.lean.tree import proofs_root
from tests.lean.conftest import B_LEAN, ROOT_LEAN, write_project
from tests.lean.test_toolchain import VERSION_LINE, program

FORGED = """module

public import Proofs.A

public section

namespace PeelVerify

/-- False. -/
theorem forged : (1 : Nat) = 2 := by decide

/-- Unfinished. -/
theorem unfinished (a : Nat) : a + 1 = 1 + a := sorry

example : twice (1/3 : Rat) = (3/4 : Rat) := by decide +kernel

/-- True. -/
theorem fine (a : Nat) : a = a := rfl

end PeelVerify
"""
FORGED_ROOT = ROOT_LEAN.replace("Proofs.B", "Proofs.Forged")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of compiled files that only this module uses."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def lean() -> Toolchain:
    """The Lean of this machine."""
    return find_toolchain(proofs_root())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def built(root: Path, cache: Path, lean: Toolchain) -> BuildResult:
    """The small project, built by the real kernel: three processes."""
    return build(root, toolchain=lean, jobs=1)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting Lean fails the test."""
    monkeypatch.setattr(run, "run_lean", lambda *_, **__: pytest.fail("a Lean process was started"))


def test_real_proofs_pass(built: BuildResult) -> None:
    """The kernel accepts the small project, file by file in the order of its imports."""
    assert built.ok
    assert [item.module for item in built.modules] == ["Proofs.A", "Proofs.B", "Proofs"]
    assert built.messages == ()
    assert built.objects is not None
    assert (built.objects / "Proofs" / "A.olean").exists()


def test_an_unchanged_tree_starts_no_process(built: BuildResult, root: Path, lean: Toolchain, no_process: None) -> None:
    """The second build of the same text answers from the cache, also from a copy elsewhere."""
    again = build(root, toolchain=lean)
    assert again.ok
    assert again.processes == 0
    assert again.objects == built.objects
    assert {item.state for item in again.modules} == {"cached"}


def test_a_change_rebuilds_what_depends_on_it_and_nothing_else(built: BuildResult, project: Callable[..., Path],
                                                               lean: Toolchain) -> None:
    """Keys change for the edited file and for what imports it; a comment is a change of text too."""
    from peelverify.lean.build import module_keys
    from peelverify.lean.tree import load_tree

    before = module_keys(load_tree(project()), lean)
    after = module_keys(load_tree(project(B=B_LEAN + "-- end\n")), lean)
    assert {name for name in before if before[name] != after[name]} == {"Proofs.B", "Proofs"}


@pytest.mark.usefixtures("cache")
def test_forged_unfinished_and_wrong_turn_prove_red(
    built: BuildResult, project: Callable[..., Path], lean: Toolchain
) -> None:
    """A false theorem, a sorry and a false number each give an error at their own line; the rest is skipped."""
    result = build(project(B=None, Forged=FORGED, root=FORGED_ROOT), toolchain=lean, jobs=1)
    assert not result.ok
    assert result.objects is None
    lines = FORGED.splitlines()
    places = {lines[message.line - 1].split()[1] for message in result.messages if message.line}
    assert places == {"forged", "unfinished", ":"}
    assert {message.file for message in result.messages if message.line} == {"Proofs/Forged.lean"}
    assert str(result.messages[0]).startswith("Proofs/Forged.lean:10:")
    assert {item.module: item.state for item in result.modules} == {
        "Proofs.A": "cached", "Proofs.Forged": "failed", "Proofs": "skipped",
    }


CLAIMS: list[Claim] = [
    Claim(Call("twice", (Fraction(1, 3),)), Fraction(2, 3)),
    Claim(Call("fourTimes", (Fraction(-3, 7),)), Fraction(-12, 7)),
    Claim(Call("PeelVerify.twice", (Fraction(10**40 + 1, 3),)), Fraction(2 * 10**40 + 2, 3)),
    Claim(Call("twice", (Fraction(1, 3),)), Fraction(1), "<="),
    Claim(Call("twice", (Fraction(1, 3),)), Fraction(3, 5), "!="),
    Claim([Call("twice", (Fraction(1),)), Fraction(3)], [Fraction(2), Fraction(3)]),
    Claim((True, 3), (True, 3)),
]


@pytest.mark.usefixtures("cache")
def test_true_numbers_are_confirmed_and_remembered(built: BuildResult) -> None:
    """Exact values pass the kernel, all in one process, and the same file is not checked twice."""
    source = kernel_examples(CLAIMS)
    first = check_source(source, base=built)
    assert first.ok, [str(message) for message in first.messages]
    assert first.processes == 1
    assert check_source(source, base=built).processes == 0


@pytest.mark.usefixtures("cache")
def test_a_wrong_number_is_refused_and_named(built: BuildResult) -> None:
    """One claim off by the smallest step is refused, and the message leads back to it."""
    wrong = Claim(CLAIMS[2].left, Fraction(2 * 10**40 + 3, 3))
    result = check_source(kernel_examples([*CLAIMS[:2], wrong, *CLAIMS[3:]]), base=built)
    assert not result.ok
    assert [claim_of_message(message) for message in result.messages if message.severity == "error"] == [2]


@pytest.mark.usefixtures("cache", "no_process")
def test_generated_files_pass_through_the_audit(built: BuildResult) -> None:
    """A generated file that assumes something is refused before Lean sees it."""
    result = check_source("module\n\npublic import Proofs\n\naxiom foo : False\n", base=built)
    assert not result.ok
    assert result.messages[0].line == 5


def prove(*arguments: str) -> tuple[int, str]:
    """Exit status and standard output of the command."""
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["prove", *arguments])
    return result.exit_code, result.stdout


@pytest.mark.usefixtures("built", "no_process")
def test_prove_prints_what_was_proved(root: Path) -> None:
    """Status 0, with the number of theorems, the Lean used and its road; JSON has a schema."""
    status, printed = prove("--root", str(root), "--audit")
    assert status == 0
    assert "2 public theorems, 2 definitions" in printed
    assert "imports     Proofs.A, Proofs.B" in printed
    status, printed = prove("--root", str(root), "--json")
    record = json.loads(printed)
    assert (status, record["schema"], record["ok"], record["theorems"]) == (0, "peelverify.prove/1", True, 2)
    assert record["lean_processes"] == 0


@pytest.mark.usefixtures("cache", "no_process")
@pytest.mark.parametrize("line", ["axiom foo : False", "theorem foo : False := sorry", "#eval 1", "-- \u202e"])
def test_prove_refuses_before_it_builds(project: Callable[..., Path], line: str) -> None:
    """An axiom, which Lean would accept, is status 1 with file and line; no process is started for it."""
    status, printed = prove("--root", str(project(B=f"{B_LEAN}\n{line}\n")))
    assert status == 1
    assert f"Proofs/B.lean:{B_LEAN.count(chr(10)) + 2}:" in printed
    assert "nothing counts as proved" in printed


@pytest.mark.usefixtures("cache", "no_process")
def test_prove_is_red_on_an_empty_folder(tmp_path: Path) -> None:
    """Nothing to prove is not a proof."""
    status, printed = prove("--root", str(tmp_path), "--json")
    assert status == 1
    assert json.loads(printed)["ok"] is False


@pytest.mark.usefixtures("cache")
def test_prove_is_red_when_lean_refuses(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof that passes the audit and not the kernel is status 1 with Lean's message."""
    said = Message("Proofs/B.lean", 19, 3, "error", "unsolved goals")
    monkeypatch.setattr(run, "run_lean", lambda *_, **__: run.LeanRun(1, (said,), 0.1, ""))
    status, printed = prove("--root", str(project(B=B_LEAN.replace("a + a + a + a", "a + a + a"))))
    assert status == 1
    assert "Proofs/B.lean:19:3: error: unsolved goals" in printed


def test_the_proofs_ship_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a checkout the copy inside the package is found; without both, the call says what to pass."""
    package = tmp_path / "peelverify" / "lean"
    monkeypatch.setattr(forest, "_PACKAGE", package)
    with pytest.raises(InputError, match="pass --root"):
        proofs_root()
    write_project(package / "_proofs")
    (package / "_proofs" / "lakefile.lean").touch()
    assert proofs_root() == package / "_proofs"


def test_wrong_calls_are_refused_before_any_work(root: Path) -> None:
    """No processes at all is not a number of processes."""
    with pytest.raises(InputError, match="build needs jobs >= 1, got 0"):
        build(root, jobs=0)


@pytest.mark.parametrize("status", [1, 137])
def test_a_process_that_dies_without_a_word_is_an_error(
    lean: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A non-zero status is never a success, also when no message was printed."""
    program(tmp_path / "dies", f"exit {status}")
    broken = Toolchain("native", "1", tmp_path / "dies", tmp_path / "dies", None, "", "")
    outcome = run.run_lean(broken, "A.lean", folder=tmp_path)
    assert not outcome.ok
    assert f"status {status}" in outcome.messages[0].text


def test_messages_keep_place_and_lines(tmp_path: Path) -> None:
    """Lean counts columns from 0 and a message may run over lines; both reach the user right."""
    item = {"fileName": "A.lean", "pos": {"line": 3, "column": 4}, "severity": "error", "data": "one\ntwo"}
    (tmp_path / "said").write_text("[DEBUG:A] noise\n" + json.dumps(item) + "\n")
    program(tmp_path / "lean", f"cat {tmp_path}/said; exit 1")
    broken = Toolchain("native", "1", tmp_path / "lean", tmp_path / "lean", None, "", "")
    outcome = run.run_lean(broken, "A.lean", folder=tmp_path)
    assert [str(message) for message in outcome.messages] == ["A.lean:3:5: error: one\ntwo"]


LAKE_OK = "echo '✔ [2/3] Built Proofs.A'; exit 0"
LAKE_BAD = (
    "echo '✖ [2/3] Building Proofs.A'; echo 'error: ././Proofs/A.lean:12:4: unsolved goals'; echo 'a : Nat'; "
    "echo 'error: Lean exited with code 1'; exit 1"
)


@pytest.mark.parametrize(
    "case",
    [
        (LAKE_OK, "propext, Quot.sound", "exit 0", None),
        (LAKE_BAD, "", "exit 0", "Proofs/A.lean:12:5: error: unsolved goals\na : Nat"),
        (LAKE_OK, "propext, sorryAx", "exit 0", "depends on sorryAx"),
        (LAKE_OK, "propext", "exit 1", "leanchecker ended with status 1"),
        ("echo broken; exit 1", "", "exit 0", "lake build ended with status 1: broken"),
    ],
)
def test_the_native_road(
    project: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, str, str | None],
) -> None:
    """`lake build` is run, its messages are read, axioms and replay are checked, and a success is remembered."""
    build_script, axioms, checker, expected = case
    report = f"sed -n \"s/^#print axioms \\(.*\\)/'\\1' depends on axioms: [{axioms}]/p\" Audit.lean"
    program(tmp_path / "bin/lean", f"if [ \"$1\" = --version ]; then echo '{VERSION_LINE}'; else {report}; fi")
    program(tmp_path / "bin/leanchecker", checker)
    program(tmp_path / "bin/lake", f'if [ "$1" = env ]; then shift; exec "$@"; fi; {build_script}')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path / "cache")
    root = project()
    result = build(root, road="native")
    assert result.toolchain.road == "native"
    if expected is None:
        assert result.ok
        assert result.processes == 3
        assert build(root, road="native").processes == 0
    else:
        assert not result.ok
        assert any(expected in str(message) for message in result.messages)


def test_axioms_are_read_over_line_ends() -> None:
    """A long list of axioms is wrapped by Lean; a theorem without any is reported as such."""
    said = "'A.b' depends on axioms: [propext,\n Classical.choice]\n'A.c' does not depend on any axioms\n"
    assert native.parse_axioms(said) == {"A.b": frozenset({"propext", "Classical.choice"}), "A.c": frozenset()}


@given(st.fractions())
def test_a_fraction_is_written_exactly(value: Fraction) -> None:
    """What is written for a fraction reads back as the same number and passes the audit."""
    term = lean_value(value)
    assert Fraction(term.removeprefix("(").removesuffix(" : Rat)")) == value
    assert audit_source(Source("Check", "Check.lean", kernel_examples([(value, value)]))) == []


@given(st.text(max_size=30))
def test_no_name_smuggles_anything(name: str) -> None:
    """A name is either refused or a plain dotted identifier; what is written passes the audit."""
    try:
        source = kernel_examples([(Call(name), Fraction(1))])
    except InputError:
        return
    assert name.replace(".", "").replace("_", "").replace("'", "").isalnum()
    assert audit_source(Source("Check", "Check.lean", source)) == []


@pytest.mark.parametrize("name", ["sorry", "A.sorry", "x\naxiom", "a b", "«a»", "", "by", "1a", "a.", "Lean\u200b"])
def test_bad_names_are_refused(name: str) -> None:
    """Keywords, spaces, quotes and empty names are wrong calls."""
    with pytest.raises(InputError):
        lean_value(Call(name))


@pytest.mark.parametrize("value", [0.5, None, (Fraction(1),), Vec((0.5,)), Mat(((Fraction(1),), ()))])
def test_values_that_are_not_exact_are_refused(value: object) -> None:
    """Floats are never turned into something else, and shapes must fit."""
    with pytest.raises(InputError):
        lean_value(value)  # type: ignore[arg-type]


def test_an_empty_list_of_claims_is_refused() -> None:
    """A file with no example would pass and confirm nothing."""
    with pytest.raises(InputError, match="at least one claim"):
        kernel_examples([])
    with pytest.raises(InputError, match="modules of the proofs"):
        kernel_examples([(Fraction(1), Fraction(1))], imports=["Lean"])
    with pytest.raises(InputError, match="relation"):
        kernel_examples([Claim(Fraction(1), Fraction(1), ":= sorry --")])


def test_a_process_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """A limit in seconds holds, and its error names the file."""
    program(tmp_path / "slow", "exec sleep 60")
    slow = Toolchain("native", "1", tmp_path / "slow", tmp_path / "slow", None, "", "")
    with pytest.raises(ToolchainError, match=r"run_lean needs A\.lean to end within 0 s"):
        run.run_lean(slow, "A.lean", folder=tmp_path, timeout_seconds=0.2)
