"""The kernel's check of many windows, a part at a time; what Lean says of a check, told apart from what ends Lean."""

from __future__ import annotations

import re

import pytest

from peelverify.certify import certify, kernel
from peelverify.errors import ToolchainError


@pytest.fixture(scope="module")
def document(model_dirs, noisy_dirs, ids) -> dict:
    """A certificate of eight windows."""
    return certify(model_dirs["gpt2"], noisy_dirs["gpt2"], ids.reshape(8, 16), lean=False, every_input=False).document


def test_parts_of_the_windows_are_put_together(document, monkeypatch) -> None:
    """Three parts of three windows at most: the kernel accepts them and that together they are the whole."""
    assert "unitsCheck_append" not in kernel.lean_source(document)
    monkeypatch.setattr(kernel, "_PART", 3)
    source = kernel.lean_source(document)
    assert source.count("unitsCheck_append part0 part1") == source.count("unitsCheck_append upto1 part2") == 1
    units = document["numbers"]["units"]
    assert f", {units['positions']}, " in source.split("upto2 : UnitsCertificate Rat :=")[1].split("⟩")[0]
    assert "Lean" in kernel.check_in_kernel(document)


@pytest.mark.parametrize("where", ["part1", "upto2"])
def test_a_false_figure_is_refused_in_every_part(where, document, monkeypatch) -> None:
    """A sum that is too small by one unit, of a part and of the whole: the kernel says so."""
    monkeypatch.setattr(kernel, "_PART", 3)
    source = kernel.lean_source(document)
    head, mark, tail = source.partition(f"private noncomputable def {where} : ")
    own, rest = tail[: tail.index("private theorem")], tail[tail.index("private theorem") :]
    found = list(re.finditer(r"\((\d+) / (\d+)\), \d+⟩", own))[-1]
    less = own[: found.start(1)] + str(int(found[1]) - 1) + own[found.end(1) :]
    monkeypatch.setattr(kernel, "lean_source", lambda document: head + mark + less + rest)
    with pytest.raises(kernel.KernelRefused, match="decide"):
        kernel.check_in_kernel(document)


def test_a_lean_that_does_not_answer_refutes_nothing(document, monkeypatch) -> None:
    """A file that Lean cannot read, or a process that ends early, is an error of the tool, not of the certificate."""
    source = kernel.lean_source(document)
    monkeypatch.setattr(kernel, "lean_source", lambda document: source.replace("example :", "exemple :"))
    with pytest.raises(ToolchainError, match="did not come to an answer"):
        kernel.check_in_kernel(document)
