"""Certificates of another platform: honest ones are not refuted, whatever the dtype; moved figures are not accepted."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from peelverify.certify import agree, verify
from peelverify.certify.checker import parse, round_up
from peelverify.certify.exact import spell
from peelverify.certify.file import Certificate
from peelverify.models import load_model, save_model
from peelverify.verdict import Verdict

MAKE = """
import sys, torch
torch.set_num_threads(1)
from peelverify.certify import certify
original, compressed, dtype, out = sys.argv[1:]
ids = torch.arange(12 * 24).reshape(12, 24) * 7 % 256
certify(original, compressed, ids, dtype=dtype, lean=False, every_input=False).save(out)
"""


@pytest.fixture(scope="module")
def pair(model_dirs, tmp_path_factory) -> tuple[Path, Path]:
    """A GPT-2 and a copy with larger matrices, whose error stands out from the rounding of bfloat16."""
    view = load_model(model_dirs["gpt2"])
    with torch.no_grad():
        for parameter in view.model.parameters():
            if parameter.ndim == 2:
                parameter *= 1.1
    return model_dirs["gpt2"], save_model(view, tmp_path_factory.mktemp("platform") / "compressed")


def made_elsewhere(pair: tuple[Path, Path], dtype: str, out: Path) -> Path:
    """A certificate made with torch's plainest kernels, as a processor without wide vectors runs them."""
    done = subprocess.run(
        [sys.executable, "-c", MAKE, *map(str, pair), dtype, str(out)], capture_output=True, text=True, check=False,
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_honest_certificate_of_another_platform_is_not_refuted(dtype: str, pair, tmp_path: Path) -> None:
    """In float32 it holds; in bfloat16, whose states round in other places there, it holds or is left open."""
    path = made_elsewhere(pair, dtype, tmp_path / "there.cert.json")
    found = verify(path, original=pair[0], compressed=pair[1], lean=False)
    allowed = {Verdict.HOLDS} if dtype == "float32" else {Verdict.HOLDS, Verdict.INCONCLUSIVE}
    assert found.verdict in allowed, found.checks[-1].detail


def test_room_for_narrow_types_has_an_end(pair, tmp_path: Path) -> None:
    """A figure moved by more than the margin of the re-runs can be inside that room; moved by a half it is not."""
    document = Certificate.load(made_elsewhere(pair, "bfloat16", tmp_path / "there.cert.json")).document
    anew = {key: document[key] for key in ("numbers", "measured", "every_input", "unseen")}
    assert agree.outside(anew, anew) == ""
    margin = 2 * parse(anew["numbers"]["margin"])
    assert margin < agree.NARROW
    for factor, wide in ((1 + (margin + agree.NARROW) / 2, ""), (Fraction(3, 2), "block 1: error")):
        stated = copy.deepcopy(anew)
        block = stated["numbers"]["blocks"][1]
        block["error"] = [spell(round_up(parse(x) * factor)) for x in block["error"]]
        assert agree.outside(anew, stated) == "block 1: error"
        assert agree.outside(anew, stated, least=agree.NARROW) == wide
