"""One certificate for each decoder family: built from a config, trained a little, rounded, certified, verified.

    python benchmarks/families.py [--out DIR] [--only FAMILY ...] [--steps 40] [--bits 4]

Models and certificates stay in DIR: ``DIR/FAMILY/original``, ``DIR/FAMILY/compressed``, ``DIR/FAMILY.cert.json``.
Without ``--out`` they are removed. Each certificate is checked by the stand-alone checker in a process of its own, and
computed anew from the two folders and the tokens. One row a family is printed:

- claims: bounds in the file: the error at each depth, portable bound and chain, signed figures, and one a matrix.
- measured, bound: the Frobenius error of the logits in this execution, and its portable bound.
- ratio: bound / measured; chain: the bound by the chain of blocks / measured.
- matrices: the bound for every input / the largest change seen, median over matrices.
- checker, recompute: verdicts. seconds: certifying and recomputing, without building and training.

Exit status: 0 if all verdicts are HOLDS, 1 if one is not, 2 for a folder that is not empty or an unknown family.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads of small models sleep; read as torch starts
sys.path.append(str(Path(__file__).resolve().parents[1]))  # the small models are those of the tests

import torch

from peelverify.certify import Certificate, certify, checker, verify
from peelverify.compress import quantize_model
from peelverify.data import builtin_text, windows
from peelverify.models import FAMILIES, save_model
from peelverify.models.small import byte_tokenizer
from tests.families import small_family

TITLE = ("family", "claims", "measured", "bound", "ratio", "chain", "matrices", "checker", "recompute", "seconds")
LENGTH = 32


def count_claims(document: dict[str, Any]) -> int:
    """Bounds that a certificate states, each by a theorem."""
    numbers = document["numbers"]
    signed = sum(pair is not None for pair in numbers["units"]["signed"].values())
    return len(numbers["blocks"]) + len(("portable", "token_portable", "chain")) + signed + len(_matrices(document))


def _matrices(document: dict[str, Any]) -> list[dict[str, Any]]:
    return (document["every_input"] or {"matrices": []})["matrices"]


def looseness(document: dict[str, Any]) -> float | None:
    """Median over matrices of the bound for every input / the largest change that was seen; None if nothing changed."""
    seen = map(float, document["measured"].get("every_input_largest_change", ()))
    ratios = [float(checker.parse(m["bound"])) / s for m, s in zip(_matrices(document), seen, strict=True) if s]
    return statistics.median(ratios) if ratios else None


def check_alone(path: Path) -> str:
    """What the checker says without anything else of this package."""
    done = subprocess.run([sys.executable, "-I", "-S", checker.__file__, str(path)], capture_output=True, check=False)
    return {0: "HOLDS", 1: "VIOLATED"}.get(done.returncode, "UNREADABLE")


def certify_family(family: str, folder: Path, *, steps: int, bits: int) -> tuple[str, ...]:
    """Build, compress, save, certify and verify a pair of one family; give its row."""
    text = windows(byte_tokenizer(), builtin_text(), length=LENGTH, count=208)
    view = small_family(family, text[:200], steps=steps)
    places = [
        save_model(v, folder / family / role, tokenizer=byte_tokenizer())
        for role, v in (("original", view), ("compressed", quantize_model(view, bits).view))
    ]
    start = time.perf_counter()
    path = certify(*places, text[200:], lean=False, batch=4).save(folder / f"{family}.cert.json")
    found = verify(path, original=places[0], compressed=places[1], lean=False)
    seconds = time.perf_counter() - start
    alone, certificate = check_alone(path), Certificate.load(path)
    loose, measured = looseness(certificate.document), certificate.measured
    recomputed = found.verdict.name if found.verdict.name != "HOLDS" or "recompute" in found.reached else "NOT REACHED"
    return (
        family, str(count_claims(certificate.document)), f"{measured:.6g}", checker.above(certificate.bound),
        *(f"{float(x) / measured:.6f}" if measured else "-" for x in (certificate.bound, certificate.chain)),
        "-" if loose is None else f"{loose:.2f}", alone, recomputed, f"{seconds:.1f}",
    )


def main(argv: list[str] | None = None) -> int:
    """Read the arguments, print one row a family."""
    parser = argparse.ArgumentParser(description="One certificate for each decoder family, verified.")
    parser.add_argument("--out", type=Path, help="folder for models and certificates, new or empty")
    parser.add_argument("--only", nargs="+", default=sorted(FAMILIES), choices=sorted(FAMILIES), metavar="FAMILY")
    parser.add_argument("--steps", type=int, default=40, help="training steps, default 40")
    parser.add_argument("--bits", type=int, default=4, help="bits of the rounded weights, default 4")
    arguments = parser.parse_args(argv)
    if arguments.out is not None and arguments.out.exists() and (
        not arguments.out.is_dir() or any(arguments.out.iterdir())
    ):
        parser.error(f"--out needs a new or empty folder, got {arguments.out}; choose another or remove it first")
    good = True
    torch.set_num_threads(1)
    print("| " + " | ".join(TITLE) + " |\n|" + "---|" * len(TITLE), flush=True)
    with tempfile.TemporaryDirectory(prefix="peelverify-families-") as scratch:
        for family in arguments.only:
            folder = arguments.out or Path(scratch)
            row = certify_family(family, folder, steps=arguments.steps, bits=arguments.bits)
            good = good and row[-3:-1] == ("HOLDS", "HOLDS")
            print("| " + " | ".join(row) + " |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
