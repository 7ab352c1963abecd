"""A certificate as deep as the deepest models goes through the kernel in one run, and a wrong digit in it does not."""

from __future__ import annotations

import random
from fractions import Fraction as F

import pytest

from peelverify.certify.checker import round_up
from peelverify.certify.kernel import PROOFS, _rat
from peelverify.lean.build import BuildResult, build, check_source

BLOCKS = 200


@pytest.fixture(scope="module")
def proofs() -> BuildResult:
    """The proofs that a certificate rests on."""
    built = build(goal=PROOFS)
    assert built.ok, built.messages[:1]
    return built


def chain(blocks: int) -> str:
    """A chain certificate with numbers of 64 bits, as a Lean term."""
    rng = random.Random(5)

    def about(x: F) -> F:
        return round_up(x * (1 + F(rng.getrandbits(50), 2**62)))

    def enclosure(x: F) -> str:
        return f"⟨{_rat(x)}, {_rat(round_up(x * (1 + F(1, 2**42))))}⟩"

    error = about(F(1, 3))
    first, bound, rows = error, round_up(error * (1 + F(1, 2**42))), []
    initial = bound
    for _ in range(blocks):
        propagated, introduced = about(error * F(9, 10)), about(F(1, 7))
        high = round_up(propagated * (1 + F(1, 2**42)))
        gain = round_up(high / error)
        bound = round_up(gain * bound + round_up(introduced * (1 + F(1, 2**42))))
        error = about((propagated + introduced) * F(7, 10))
        rows.append(
            f"⟨{enclosure(propagated)}, {enclosure(introduced)}, {enclosure(error)}, {_rat(gain)}, {_rat(bound)}⟩"
        )
    assert initial >= first
    direct = round_up(error * (1 + F(1, 2**40)))
    return (
        f"⟨{enclosure(first)},\n  [{', '.join(rows)}],\n"
        f"  {_rat(direct)}, {_rat(round_up(direct * F(11, 10)))}, {_rat(bound)}⟩"
    )


def lowered(term: str) -> str:
    """The certificate with its chain bound a hair too small."""
    head, _, last = term.rpartition(", ")
    top, bottom = (int(part) for part in last.strip("⟩()").split(" / "))
    return f"{head}, {_rat(F(top, bottom) * (1 - F(1, 2**30)))}⟩"


def test_a_chain_of_200_blocks_passes_and_a_wrong_digit_does_not(proofs: BuildResult) -> None:
    """The kernel finds the check true; of a shorter chain it finds it false once the bound is a hair smaller."""
    claims = [
        f"example : check (α := Rat)\n  {certificate} = {answer} := by\n  decide +kernel\n"
        for certificate, answer in ((chain(BLOCKS), "true"), (chain(10), "true"), (lowered(chain(10)), "false"))
    ]
    text = "\n".join(["module\n", f"public import {PROOFS}\n", "open PeelVerify\n", *claims])
    found = check_source(text, base=proofs)
    assert found.ok, [str(message)[:300] for message in found.messages]
