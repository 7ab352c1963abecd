"""The newer parts of a certificate on the page and in a citation: what they say, with its word and its side."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from peelverify.certify import Certificate, certify
from peelverify.certify.checker import parse
from peelverify.certify.pool import Pool
from peelverify.data import builtin_text, windows
from peelverify.models.small import byte_tokenizer
from peelverify.report.cite import cite
from peelverify.report.html import Pair, write_report
from peelverify.report.parts import present_parts
from tests.unit.test_report_samples import sample_certificate, sample_verification


@pytest.fixture(scope="module")
def certificate(model_dirs, noisy_dirs) -> Certificate:
    """A certificate with all parts."""
    pool = Pool(windows(byte_tokenizer(), builtin_text(), length=16, count=100), {"topics.txt": "0" * 64})
    return certify(model_dirs["llama"], noisy_dirs["llama"], pool=pool, windows=20, lean=False)


def test_every_row_has_its_word_and_contains_the_measured_value(certificate) -> None:
    """Bounds are certified, what was seen is measured, and the signed change lies in its enclosure."""
    found = present_parts(certificate)
    assert all(row["bound"].word == "certified" for row in found["rows"])
    change = found["rows"][0]
    assert change["seen"].word == "measured"
    low, high = (parse(x) for x in change["bound"].exact.split())
    assert low - Fraction(2, 10**9) <= float(change["seen"].exact) <= high + Fraction(2, 10**9)
    assert len(found["matrices"]) == 22
    assert all(float(row["loose"].exact) >= 1 - 1e-9 for row in found["matrices"])
    assert [level["chance"] for level in found["unseen"]["levels"]] == ["1 in 21", "2 in 21"]


def test_the_page_shows_all_parts_with_their_caveats(certificate, tmp_path: Path) -> None:
    """Signed change, unseen windows with the text's figures, and a row for each matrix."""
    pair = Pair(certificate=certificate, verification=sample_verification(certificate), record=None, path="a.cert.json")
    model = {"name": "m", "family": "llama", "blocks": 3, "width": 32, "parameters": 1, "tokens": 320}
    page = write_report(tmp_path, model=model, pairs=[pair])
    text = page.read_text(encoding="utf-8")
    for words in (
        "Mean change of loss, signed", "Perplexity factor", "Largest KL divergence", "Logit error at the worst token",
        "Windows that were not seen", "distinct tokens", "nor about one window in particular", "1 in 21",
        "For every input, in real arithmetic", "self_attn.q_proj", "every_input_error",
        "stored float32 values of both models",
    ):
        assert words in text, words
    assert text.count("<code>every_input_error</code>") == 16


def test_old_certificates_have_none_of_it(tmp_path: Path) -> None:
    """A certificate of version 1.0 shows what it has and claims nothing more."""
    old = sample_certificate()
    assert present_parts(old) is None
    pair = Pair(certificate=old, verification=sample_verification(old), record=None, path="a.cert.json")
    text = write_report(tmp_path, model={"name": "m"}, pairs=[pair]).read_text(encoding="utf-8")
    assert "Windows that were not seen" not in text and "Mean change of loss, signed" not in text


def test_a_citation_states_the_sharp_figures(certificate) -> None:
    """The enclosure of the mean change, KL, the largest token and the pool stand in all three forms."""
    made = cite(certificate, sample_verification(certificate))
    for form in (made.text, made.latex, made.bibtex):
        flat = form.replace("\\allowbreak{}", "").replace("\n", "").replace(" ", "")
        assert certificate.document["subject"]["pool"]["sha256"] in flat
        assert "meanKLdivergence" in flat and "2/21" in flat and "22linearmaps" in flat
