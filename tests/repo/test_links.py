"""Theorem, Python function and test class name each other, in both directions.

Each guard is a function from data to a list of complaints, so that it can be fed a sound sample, a broken one,
and nothing at all: a guard that has nothing to look at complains too.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType

import pytest

import peelverify.bounds
import peelverify.enclose
from peelverify.lean.theorems import Theorem, index
from tests import laws
from tests.laws.checking import Law

TESTS = ("test_holds", "test_not_vacuous", "test_needs_its_hypothesis", "test_notices_a_broken_answer")
NOT_APPLICABLE_AT_MOST = 0.1
"""Share of the tests that may be declared not applicable; more would be a way out."""


LINKED = ("peelverify.bounds.", "peelverify.enclose.")
"""Packages whose every public function names its theorems or says why there are none."""
NOT_NUMERIC = ("peelverify.enclose.arrays",)
"""Modules that only read and refuse arrays."""


def bounds_functions() -> dict[str, FunctionType]:
    """Every public function of the packages in `LINKED`, by dotted path."""
    found = {}
    for package in (peelverify.bounds, peelverify.enclose):
        for module_info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module_info.name.rpartition(".")[2].startswith("_") or module_info.name in NOT_NUMERIC:
                continue
            module = importlib.import_module(module_info.name)
            for name in module.__all__:
                member = getattr(module, name)
                if inspect.isfunction(member):
                    found[f"{module.__name__}.{name}"] = member
    return found


def resolve(path: str) -> object:
    """The object at a dotted path, None if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def law_classes() -> dict[str, type]:
    """Every law, by the name of its class."""
    found = {}
    for module_info in pkgutil.iter_modules(laws.__path__):
        if module_info.name.startswith("test_"):
            module = importlib.import_module(f"{laws.__name__}.{module_info.name}")
            members = inspect.getmembers(module, inspect.isclass)
            found |= {name: member for name, member in members if name.startswith("Test_") and issubclass(member, Law)}
    return found


def law_name(theorem: str) -> str:
    """Name of the test class of a theorem."""
    return "Test_" + theorem.removeprefix("PeelVerify.").replace(".", "_")


def silent(entries: Sequence[Theorem]) -> list[str]:
    """Public declarations whose doc comment does not end with a Python line."""
    if not entries:
        return ["there is no declaration to look at"]
    return [f"{e.file}:{e.line} {e.name} has no Python line" for e in entries if not (e.mirror or e.no_mirror)]


def without_a_mirror(entries: Sequence[Theorem], find: Callable[[str], object] = resolve) -> list[str]:
    """Declarations whose Python function is missing, or does not name them back."""
    named = [entry for entry in entries if entry.mirror]
    if not named:
        return ["no declaration names a Python function"]
    complaints = []
    for entry in named:
        function = find(entry.mirror)
        if function is None:
            complaints.append(f"{entry.name} names {entry.mirror}, which is not there")
        elif entry.name not in getattr(function, "__peelverify_theorems__", ()):
            complaints.append(f"{entry.name} names {entry.mirror}, which does not mirror it")
    return complaints


def without_a_theorem(functions: Mapping[str, object], entries: Sequence[Theorem]) -> list[str]:
    """Functions that mirror what is not there or does not name them back, or carry no mark at all."""
    if not functions or not entries:
        return ["there is no function or no declaration to look at"]
    by_name = {entry.name: entry for entry in entries}
    complaints = []
    for path, function in functions.items():
        names = getattr(function, "__peelverify_theorems__", ())
        if not names and not getattr(function, "__peelverify_measured__", ""):
            complaints.append(f"{path} has neither @mirrors nor @measured")
        for name in names:
            if name not in by_name:
                complaints.append(f"{path} mirrors {name}, which is not a public declaration")
            elif by_name[name].mirror != path:
                complaints.append(f"{path} mirrors {name}, which names {by_name[name].mirror}")
        doc = inspect.getdoc(function) or ""
        complaints += [f"the docstring of {path} does not name {name}" for name in cited(names, by_name, doc)]
    return complaints


def cited(names: Sequence[str], by_name: Mapping[str, Theorem], doc: str) -> list[str]:
    """The only theorem of a function, if its docstring does not name it; of several, none if one is named."""
    theorems = [name for name in names if name in by_name and by_name[name].kind == "theorem"]
    return theorems[:1] if theorems and not any(f"`{name}`" in doc for name in theorems) else []


def without_a_law(entries: Sequence[Theorem], classes: Mapping[str, type]) -> list[str]:
    """Mirrored theorems of `peelverify.bounds` and `enclose` without a class of four tests or reasons."""
    theorems = [e for e in entries if e.kind == "theorem" and (e.mirror or "").startswith(LINKED)]
    if not theorems or not classes:
        return ["there is no mirrored theorem or no law to look at"]
    complaints = []
    for entry in theorems:
        law = classes.get(law_name(entry.name))
        if law is None:
            complaints.append(f"{entry.name} has no class {law_name(entry.name)}")
            continue
        reasons = getattr(law, "not_applicable", {})
        for test in TESTS:
            if test in reasons:
                if not str(reasons[test]).strip():
                    complaints.append(f"{law.__name__}.{test} is not applicable without a reason")
            elif not callable(getattr(law, test, None)):
                complaints.append(f"{law.__name__} has no {test}")
            elif not inspect.getdoc(getattr(law, test)):
                complaints.append(f"{law.__name__}.{test} has no docstring")
        complaints += [f"{law.__name__} excuses {name}" for name in reasons if name not in TESTS]
        if "test_notices_a_broken_answer" not in reasons and not (law.mutants and law.hard):
            complaints.append(f"{law.__name__} has no mutants or no hard cases")
    return complaints


def orphans(entries: Sequence[Theorem], classes: Mapping[str, type]) -> list[str]:
    """Laws of theorems that do not exist."""
    if not classes:
        return ["there is no law to look at"]
    known = {law_name(entry.name) for entry in entries}
    return [f"{name} belongs to no declaration" for name in classes if name not in known]


@pytest.fixture(scope="module")
def entries() -> tuple[Theorem, ...]:
    """Every public declaration of the proofs."""
    return index()


def test_every_declaration_says_what_mirrors_it(entries):
    """Each public theorem and definition names a Python function, or says why there is none."""
    assert silent(entries) == []


def test_every_named_function_is_there_and_names_back(entries):
    """From Lean to Python: the function exists and carries the theorem's name."""
    assert without_a_mirror(entries) == []


def test_every_function_of_bounds_and_enclose_is_linked_or_says_why_not(entries):
    """From Python to Lean: each function mirrors declarations that name it back, or says why there is none."""
    assert without_a_theorem(bounds_functions(), entries) == []


def test_every_mirrored_theorem_has_its_four_tests(entries):
    """Each theorem that `peelverify.bounds` or `enclose` mirrors has its class, each of the four tests or a reason."""
    assert without_a_law(entries, law_classes()) == []


def test_every_law_belongs_to_a_declaration(entries):
    """No law outlives its theorem."""
    assert orphans(entries, law_classes()) == []


def test_excuses_are_few_and_listed(capsys):
    """Tests that do not apply are printed with their reasons, and stay a small part."""
    classes = law_classes()
    excuses = [
        (name, test, reason) for name, law in sorted(classes.items()) for test, reason in law.not_applicable.items()
    ]
    with capsys.disabled():
        print(f"\n{len(excuses)} of {4 * len(classes)} tests of {len(classes)} laws do not apply")
    for name, test, reason in excuses:
        print(f"{name}.{test}: {reason}")
    assert len(excuses) <= NOT_APPLICABLE_AT_MOST * 4 * len(classes)


SOUND = Theorem(
    name="PeelVerify.T.sound",
    kind="theorem",
    statement="theorem T.sound : 1 = 1",
    variables=(),
    doc="One is one.",
    mirror="peelverify.bounds.sample.sound",
    no_mirror=None,
    file="Proofs/Sample.lean",
    line=1,
    statement_hash="0" * 64,
)


def marked(**marks):
    """The marks of `mirrors` and `measured`, without an entry in the registry."""

    def mark(function):
        for name, value in marks.items():
            setattr(function, f"__peelverify_{name}__", value)
        return function

    return mark


@marked(theorems=("PeelVerify.T.sound",))
def sound() -> int:
    """Says `PeelVerify.T.sound`."""
    return 1


@marked(theorems=("PeelVerify.T.gone",))
def astray() -> int:
    """Says nothing."""
    return 1


def unmarked() -> int:
    """Carries no mark."""
    return 1


@marked(measured="a sample")
def excused() -> int:
    """Says why there is no theorem."""
    return 1


class SampleLaw(Law):
    """A law with everything that is asked for."""

    hard = ((1,),)
    mutants = (unmarked,)
    not_applicable = {"test_not_vacuous": "a sample"}

    def test_holds(self):
        """Holds."""

    def test_needs_its_hypothesis(self):
        """Needs it."""


class LawWithoutATest(SampleLaw):
    """A law that lost a test."""

    test_holds = None


class LawWithoutAReason(SampleLaw):
    """A law with an empty reason."""

    not_applicable = {"test_not_vacuous": " "}


class LawWithoutMutants(SampleLaw):
    """A law that can notice nothing."""

    mutants = ()


PATH = "peelverify.bounds.sample.sound"
LAW = law_name(SOUND.name)


@dataclass(frozen=True)
class Sample:
    """What a guard is shown, and whether it must complain."""

    guard: Callable[..., list[str]]
    arguments: tuple
    red: bool


SAMPLES = {
    "silent: sound": Sample(silent, ([SOUND],), False),
    "silent: no line": Sample(silent, ([replace(SOUND, mirror=None)],), True),
    "silent: empty": Sample(silent, ([],), True),
    "mirror: sound": Sample(without_a_mirror, ([SOUND], {PATH: sound}.get), False),
    "mirror: missing function": Sample(without_a_mirror, ([SOUND], {}.get), True),
    "mirror: another theorem": Sample(without_a_mirror, ([SOUND], {PATH: astray}.get), True),
    "mirror: missing module": Sample(without_a_mirror, ([SOUND],), True),
    "mirror: empty": Sample(without_a_mirror, ([],), True),
    "mirror: none named": Sample(without_a_mirror, ([replace(SOUND, mirror=None)],), True),
    "theorem: sound": Sample(without_a_theorem, ({PATH: sound, "a.b": excused}, [SOUND]), False),
    "theorem: unknown": Sample(without_a_theorem, ({"a.b": astray}, [SOUND]), True),
    "theorem: unmarked": Sample(without_a_theorem, ({"a.b": unmarked}, [SOUND]), True),
    "theorem: names another": Sample(without_a_theorem, ({"a.b": sound}, [SOUND]), True),
    "theorem: not in the docstring": Sample(
        without_a_theorem, ({PATH: astray}, [replace(SOUND, name="PeelVerify.T.gone")]), True
    ),
    "theorem: no functions": Sample(without_a_theorem, ({}, [SOUND]), True),
    "theorem: no theorems": Sample(without_a_theorem, ({PATH: sound}, []), True),
    "law: sound": Sample(without_a_law, ([SOUND], {LAW: SampleLaw}), False),
    "law: no class": Sample(without_a_law, ([SOUND], {"Test_other": SampleLaw}), True),
    "law: no test": Sample(without_a_law, ([SOUND], {LAW: LawWithoutATest}), True),
    "law: no reason": Sample(without_a_law, ([SOUND], {LAW: LawWithoutAReason}), True),
    "law: no mutants": Sample(without_a_law, ([SOUND], {LAW: LawWithoutMutants}), True),
    "law: empty": Sample(without_a_law, ([], {}), True),
    "orphans: sound": Sample(orphans, ([SOUND], {LAW: SampleLaw}), False),
    "orphans: unknown": Sample(orphans, ([SOUND], {"Test_gone": SampleLaw}), True),
    "orphans: empty": Sample(orphans, ([SOUND], {}), True),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_guards_go_red_on_bad_and_on_empty_samples(name):
    """Each guard accepts a sound sample and complains about a broken one and about nothing."""
    sample = SAMPLES[name]
    assert bool(sample.guard(*sample.arguments)) == sample.red
