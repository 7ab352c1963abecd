"""Degenerate texts and models: the output says so, or they are refused."""

from __future__ import annotations

import re

import pytest

from peelverify.certify import certify
from peelverify.cli.certify import lines
from peelverify.data import builtin_text, windows
from peelverify.errors import PeelverifyError
from peelverify.models import load_model
from peelverify.models.small import byte_tokenizer
from tests.attacks.registry import attacks_of


@pytest.mark.parametrize("attack", attacks_of("on_meaning"), ids=lambda a: a.name)
def test_the_output_says_it(attack, target, timed) -> None:
    """The words that reveal it are printed; what has no finite or repeatable numbers is refused."""
    text = windows(byte_tokenizer(), builtin_text(), length=16, count=20)
    first, second, pool, words = attack.run(load_model(target.original), load_model(target.compressed), text)
    with timed(attack):
        if attack.layer == "loader":
            with pytest.raises(PeelverifyError, match=words):
                certify(first, second, pool=pool, windows=8, lean=False)
            return
        certificate = certify(first, second, pool=pool, windows=8, lean=False)
    assert re.search(words, " ".join(lines(certificate))), lines(certificate)
