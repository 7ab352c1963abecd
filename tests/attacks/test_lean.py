"""Names cannot become commands, certificates write only numbers, and the kernel refuses a chain that is too small."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from peelverify.certify.checker import Refuted
from peelverify.certify.kernel import lean_source
from peelverify.errors import InputError
from peelverify.lean.examples import Call, Claim, kernel_examples
from tests.attacks.forge import rederive
from tests.attacks.registry import attacks_of


@pytest.mark.parametrize("attack", attacks_of("on_lean"), ids=lambda a: a.name)
def test_no_file_is_generated(attack, timed) -> None:
    """As a function, inside a function, and as a module."""
    name = attack.run()
    with timed(attack):
        for value in (Call(name), Call(name, (1,)), Call("dot", (Call(name),)), [Call(name)], (1, Call(name))):
            with pytest.raises(InputError):
                kernel_examples([Claim(value, Fraction(1))])
        with pytest.raises((InputError, TypeError)):
            kernel_examples([Claim(1, 1)], imports=[name])
        with pytest.raises((InputError, TypeError)):
            kernel_examples([Claim(1, 1, name)])


def test_only_numbers_of_a_certificate_reach_lean(target) -> None:
    """Hostile names and settings change not one character of the file for the kernel; theorems have no such names."""
    document = target.copy()
    evil = "-/ axiom evil : False\n#eval 1 --"
    for role in ("original", "compressed"):
        document["subject"][role]["name"] = document["subject"][role]["family"] = evil
    document["subject"]["numerics"]["states"] = document["subject"]["numerics"]["attention"] = evil
    document["every_input"]["matrices"][0]["name"] = evil
    forged = rederive(document)
    source = lean_source(forged)
    assert source == lean_source(json.loads(json.dumps(target.document)))
    assert not re.search(r"axiom|sorry|#eval|native|unsafe|macro|elab|evil", source)
    document["theorems"][0]["name"] = evil
    with pytest.raises(Refuted, match=r"^theorems\[0\]\.name: "):
        lean_source(rederive(document))


def test_the_kernel_refuses_a_chain_that_is_too_small(target, tmp_path: Path) -> None:
    """One Lean run: the last chain bound of the generated file, made half as large by hand."""
    from peelverify.certify.kernel import PROOFS
    from peelverify.lean.build import build, check_source

    source = lean_source(target.document)
    tail = re.search(r", \((\d+) / (\d+)\)⟩\],\n", source)
    assert tail is not None
    bad = source.replace(tail[0], f", ({int(tail[1]) // 2} / {tail[2]})⟩],\n", 1)
    base = build(goal=PROOFS)
    assert base.ok
    assert not check_source(bad, base=base).ok
