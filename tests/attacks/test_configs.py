"""Configurations that lie about the model: what is certified still covers what plain `transformers` computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from peelverify.certify import certify
from peelverify.certify.checker import parse
from peelverify.certify.identity import open_model
from peelverify.certify.wholeblock import bound_blocks
from peelverify.compress import quantize_model
from peelverify.data import builtin_text, windows
from peelverify.errors import PeelverifyError
from peelverify.models import save_model
from peelverify.models.small import byte_tokenizer
from tests.attacks.registry import attacks_of
from tests.families import small_family

ROUNDED = 1 + 1e-5
"""What is compared with a bound was itself computed in floating point."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, Path]:
    """An original and its 4-bit copy of several families."""
    root, found = tmp_path_factory.mktemp("configs"), {}
    train = windows(byte_tokenizer(), builtin_text(), length=32, count=200)
    for family in ("llama", "gpt2", "gpt_neox", "opt"):
        view = small_family(family, train, steps=15)
        save_model(view, root / family / "original")
        save_model(quantize_model(view, 4).view, root / family / "compressed")
        found[family] = root / family
    return found


def plain_logits(path: Path, ids: torch.Tensor) -> torch.Tensor:
    """What plain `transformers` computes."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32, attn_implementation="sdpa").eval()
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits.double()


@pytest.mark.parametrize("attack", attacks_of("on_configs"), ids=lambda a: a.name)
def test_bounds_cover_what_the_model_does(attack, pairs, tmp_path: Path, timed) -> None:
    """The error of the logits, of each matrix on the window, of each block on any input that a search finds."""

    def make(family: str) -> tuple[Path, Path]:
        shutil.copytree(pairs[family], tmp_path / family)
        return tmp_path / family / "original", tmp_path / family / "compressed"

    first, second = attack.run(make)
    ids = windows(byte_tokenizer(), builtin_text(), length=16, count=3)
    true = float((plain_logits(first, ids) - plain_logits(second, ids)).norm())
    with timed(attack):
        for stream in (True, False):
            certificate = certify(first, second, ids, lean=False, stream=stream)
            assert true <= float(certificate.direct) * ROUNDED
            assert float(certificate.direct) <= true * ROUNDED + 1e-4
            part, seen = certificate.document["every_input"], certificate.document["measured"]
            rows = zip(part["matrices"], seen["every_input_largest_change"], strict=True)
            for row, change in rows:
                assert float(change) <= float(parse(row["bound"])) * ROUNDED, (row["block"], row["name"])
            assert part["matrices"] or part["not_covered"]
        opened = [open_model(path) for path in (first, second)]
        try:
            found = bound_blocks(*(one.source for one in opened), range(3), samples=320, ascents=4, length=4, windows=4)
        except PeelverifyError as error:
            assert len(str(error).splitlines()) == 1
            return
        for bound, search in found:
            assert max(search.sampled, search.ascended) <= float(bound.bound) * ROUNDED, bound
