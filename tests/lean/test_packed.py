"""Packed files through the real kernel: what is right is accepted, one digit less is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from peelverify.certify import packed
from peelverify.errors import ToolchainError


def one_less(text: str, pattern: str) -> str:
    """The file with the number that the pattern finds lowered by one."""
    found = re.search(pattern, text)
    return text[: found.start(1)] + str(int(found[1]) - 1) + text[found.end(1) :]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A weight and its copy on a grid of four bits."""
    weight = (np.random.default_rng(3).standard_normal((6, 12)) * 0.05).astype(np.float32)
    return weight, (np.round(weight * 32) / 32).astype(np.float32)


def test_a_distance_is_proved_and_a_smaller_one_is_not(pair, monkeypatch):
    """The bound of the file is accepted; a row that claims one unit less, or a smaller end bound, is refused."""
    monkeypatch.setattr(packed, "CHUNK", 48)  # three rows a theorem, so that two are joined
    proof = packed.prove_difference(*pair)
    assert proof.source.theorems == 2
    assert float(proof.source.bound) == pytest.approx(
        float(np.linalg.norm(pair[0].astype(float) - pair[1])), rel=1e-12
    )
    row = replace(proof.source, text=one_less(proof.source.text, r"⟨0x[0-9a-f]+, 0x[0-9a-f]+, (\d+)⟩"))
    end = replace(proof.source, text=one_less(proof.source.text, r"allRows i j\) \((\d+) /"))
    for changed in (row, end):
        with pytest.raises(ToolchainError, match="does not accept"):
            packed.prove_packed(changed)


def test_an_operator_norm_is_proved_and_a_smaller_one_is_not(pair):
    """The bound of the file is accepted; a smaller total of a row, or another digit of a column, is refused."""
    proof = packed.prove_operator_norm(pair[1], minus=pair[0])
    norm = np.linalg.norm(pair[1].astype(float) - pair[0], 2)
    assert norm <= float(proof.source.bound) <= norm * (1 + 2.0**-9)
    text = proof.source.text
    row = one_less(text, r"packedGramRow \d+ \d+ \d+ d columns\) (\d+) = true")
    column = one_less(text, r"⟨0x[0-9a-f]+, 0x[0-9a-f]+, (\d+)⟩")
    for changed in (row, column):
        with pytest.raises(ToolchainError, match="does not accept"):
            packed.prove_packed(replace(proof.source, text=changed))
