"""`benchmarks/families.py` writes certificates that verify, says so a row a family, and says when one does not."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from peelverify.certify import Certificate, checker, verify
from peelverify.models import FAMILIES
from peelverify.verdict import Verdict
from tests.unit.test_certify import resealed

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "families", raising=False)
    return importlib.import_module("families")


def rows(text: str) -> list[dict[str, str]]:
    """The printed table: one object a row."""
    title, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return [dict(zip(title, line, strict=True)) for line in lines]


def test_two_families_are_certified_and_verified(tmp_path: Path) -> None:
    """As a command: a row and a file each, whose figures are those of the row and which hold on their own."""
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "families.py"), "--out", str(out), "--steps", "2", "--only", "opt", "phi3"],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert [row["family"] for row in found] == ["opt", "phi3"]
    for row in found:
        path = out / f"{row['family']}.cert.json"
        certificate = Certificate.load(path)
        bounds = checker.check(certificate.document)
        assert certificate.document["subject"]["original"]["family"] == row["family"]
        assert row["bound"] == checker.above(bounds["portable"])
        assert float(row["measured"]) == pytest.approx(certificate.measured, rel=1e-5)
        assert 1 < float(row["ratio"]) < float(row["chain"])
        assert int(row["claims"]) > len(certificate.document["every_input"]["matrices"])
        assert row["checker"] == row["recompute"] == "HOLDS"
        pair = {role: out / row["family"] / role for role in ("original", "compressed")}
        assert verify(path, **pair, lean=False).verdict is Verdict.HOLDS


def test_a_certificate_that_does_not_hold_shows_in_the_row_and_the_status(families, tmp_path, monkeypatch, capsys):
    """A file edited on its way: both verdicts are VIOLATED, exit status 1."""
    save = Certificate.save

    def damaged(self: Certificate, path: Path) -> Path:
        document = json.loads(json.dumps(self.document))
        document["numbers"]["portable"] = document["numbers"]["blocks"][0]["error"][0]
        return save(Certificate(resealed(document)), path)

    monkeypatch.setattr(Certificate, "save", damaged)
    assert families.main(["--out", str(tmp_path / "out"), "--steps", "1", "--only", "opt"]) == 1
    (row,) = rows(capsys.readouterr().out)
    assert row["checker"] == row["recompute"] == "VIOLATED"


def test_a_used_folder_and_an_unknown_family_are_refused(families, tmp_path, capsys) -> None:
    """Nothing is overwritten; the message names what to change."""
    (tmp_path / "kept").write_text("x")
    for argv, message in ((["--out", str(tmp_path)], "empty folder"), (["--only", "bert"], "invalid choice")):
        with pytest.raises(SystemExit) as raised:
            families.main(argv)
        assert raised.value.code == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "kept").read_text() == "x"


def test_every_family_is_in_the_page() -> None:
    """The table of the documentation has a row for each family that is supported, and each holds."""
    page = (BENCHMARKS.parent / "docs" / "families.md").read_text(encoding="utf-8")
    found = rows("\n".join(line for line in page.splitlines() if line.startswith("|")))
    assert {row["family"] for row in found} == set(FAMILIES)
    assert all(row["checker"] == row["recompute"] == "HOLDS" for row in found)
