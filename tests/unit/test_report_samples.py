"""Made-up but consistent results for the tests of the report, and the proof that they are consistent."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from peelverify.certify import checker
from peelverify.certify.checker import round_up
from peelverify.certify.exact import spell
from peelverify.certify.file import Certificate
from peelverify.certify.verification import Verification, verify
from peelverify.verdict import Verdict

THEOREMS = ("PeelVerify.le_chainBound", "PeelVerify.check_sound")


def _exact(value: int | Fraction) -> list[str]:
    return [spell(Fraction(value))] * 2


def sample_document(
    original: str = "base", compressed: str = "small", *, files: tuple[str, ...] = ("model.safetensors",),
    zero: bool = False, scale: int = 0,
) -> dict[str, Any]:
    """A certificate of three blocks and a head whose numbers are whole and can be checked by hand.

    Args:
        original: name of the original.
        compressed: name of the compressed model.
        files: file names of both models.
        zero: two models that do not differ at all.
        scale: every error is multiplied by 2 to this power.
    """
    # error, propagated, introduced, inner: error² = propagated² + 2 inner + introduced²
    rows = [(5, 0, 5, 0), (5, 3, 4, 0), (6, 5, 5, -7), (10, 6, 8, 0)]
    unit = Fraction(0 if zero else 1) * Fraction(2) ** scale
    blocks, before, chain = [], Fraction(0), Fraction(0)
    for t, (error, propagated, introduced, inner) in enumerate(rows):
        gain = round_up(propagated * unit / before) if before else Fraction(0)
        chain = round_up(gain * chain + introduced * unit)
        before = error * unit
        blocks.append({
            "name": "head" if t == 3 else f"block {t}", "deleted": t == 1, "error": _exact(before),
            "propagated": _exact(propagated * unit), "introduced": _exact(introduced * unit),
            "inner": _exact(inner * unit * unit), "gain": spell(gain), "chain": spell(chain),
        })
    margin = round_up(checker.MIN_MARGIN)
    windows = [
        {"oscillation_max": spell(unit / 4), "oscillation_sum": spell(unit / 2), "same_top": 3, "tied": 0},
        {"oscillation_max": spell(unit / 2), "oscillation_sum": spell(unit), "same_top": 4, "tied": 1},
    ]
    ids = [[1, 2, 3, 4], [5, 6, 7, 8]]
    model = {"family": "llama", "files": {f: f"{i:064x}" for i, f in enumerate(files)}, "config_sha256": "c" * 64,
             "dtype": "float32"}
    body = {
        "schema": "peelverify.certificate/1",  # the oldest version that is read; the newer parts are left out
        "subject": {
            "original": {"name": original, **model}, "compressed": {"name": compressed, **model},
            "kept": [0, 2], "tokens": {"shape": [2, 4], "sha256": checker.digest(ids), "ids": ids},
            "numerics": {"attention": "sdpa", "batch": 8},
        },
        "numbers": {
            "initial_error": _exact(0), "blocks": blocks, "margin": spell(margin),
            "portable": spell(round_up(before * (1 + margin))),
            "reruns": [{"attention": "eager", "batch": 8, "threads": "same", "error": _exact(before)}],
            "units": {
                "windows": windows, "loss_change_max": spell(unit / 2),
                "loss_change_mean": spell(round_up(unit * Fraction(3, 2) / 6)), "same_top": 7, "tied": 1,
                "positions": 8,
            },
        },
        "measured": {"loss_original": "2.500000000", "loss_compressed": "2.562500000"},
        "theorems": [{"name": name, "sha256": f"{i + 1:064x}"} for i, name in enumerate(THEOREMS)],
    }
    host = {"date": "2026-03-04T05:06:07+00:00", "peelverify": "0.1.0", "torch": "2.9.0", "threads": 2}
    return Certificate.seal(body, host).document


def sample_certificate(**options: Any) -> Certificate:
    """`sample_document` as a certificate."""
    return Certificate(sample_document(**options))


def sample_verification(certificate: Certificate, *levels: str, verdict: Verdict = Verdict.HOLDS) -> Verification:
    """A verification that reached some levels."""
    found = Verification(certificate=certificate)
    for level in levels or ("arithmetic",):
        found._add(level, "a check", verdict, f"details of {level}")
    return found


def sample_theorems() -> list[dict[str, str]]:
    """Entries of a theorem index."""
    return [
        {"name": name, "kind": "theorem", "statement": f"theorem {name} : True", "doc": f"Sentence on {name}.",
         "statement_hash": f"{i + 1:064x}"}
        for i, name in enumerate([*THEOREMS, "PeelVerify.another"])
    ]


def sample_rho(blocks: int = 3, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    """A rho profile whose energies double at each block."""
    return {
        "schema": "peelverify.rho/1", "blocks": blocks, "draws": 2, "windows": 2, "tokens": 8, "epsilon": 0.01,
        "seed": 0, "dtype": "float32",
        "energy": [[1e-4 * 2**t * (1 + d / 10) for t in range(blocks)] for d in range(2)],
        "rho_median": [2.0] * (blocks - 1), "rho_interval_95_low": [1.9] * (blocks - 1),
        "rho_interval_95_high": [2.1] * (blocks - 1), "rho_absolute_median": [2.5] * (blocks - 1),
        "amplification": [2.0 ** (blocks - 1 - t) for t in range(blocks)],
        "noise_floor_energy": [1e-14] * blocks, "warnings": list(warnings),
    }


def sample_ranking(criterion: str = "skip_score") -> dict[str, Any]:
    """A ranking of three blocks; the score of the first is not defined."""
    return {"criterion": criterion, "scores": [None, 0.25, -0.5], "order": [2, 1, 0]}


def save(certificate: Certificate, path: Path) -> Path:
    """Write a certificate as its own format asks for."""
    path.write_text(json.dumps(certificate.document), encoding="ascii")
    return path


@pytest.mark.parametrize("options", [{}, {"zero": True}, {"scale": 900}, {"scale": -900}, {"compressed": "<b>"}])
def test_sample_certificates_pass_the_checker(options: dict[str, Any], tmp_path: Path) -> None:
    """The samples are consistent certificates, so a test that uses one tests the report and not a rejection."""
    found = verify(save(sample_certificate(**options), tmp_path / "a.cert.json"), lean=False)
    assert found.verdict is Verdict.HOLDS


def test_sample_certificate_is_refuted_when_a_number_changes(tmp_path: Path) -> None:
    """The check above can fail: a larger chain bound is refuted even with fresh digests."""
    document = sample_document()
    document["numbers"]["blocks"][-1]["chain"] = spell(Fraction(1 << 20))
    body = {k: v for k, v in document.items() if k not in ("host", "integrity")}
    forged = Certificate.seal(body, document["host"])
    assert verify(save(forged, tmp_path / "a.cert.json"), lean=False).verdict is Verdict.VIOLATED
