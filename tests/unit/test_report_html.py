"""The page: stands alone, obeys no name, says of each number what it is, and is whole or not there."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peelverify.certify import checker
from peelverify.certify.exact import spell
from peelverify.errors import ArtifactError
from peelverify.report import plots
from peelverify.report.html import Pair, render_report, write_report
from peelverify.report.picture import save_picture
from peelverify.report.present import WORDS, relative_link
from peelverify.report.visible import visible
from peelverify.verdict import Verdict
from tests.unit.test_report_samples import (
    sample_certificate,
    sample_ranking,
    sample_rho,
    sample_theorems,
    sample_verification,
)
from tests.unit.test_report_visible import read

VOID = {"meta", "br", "img", "link", "input", "base", "embed", "hr"}
ALL_LEVELS = ("arithmetic", "lean", "recompute")


class Page(HTMLParser):
    """A page as a flat list of elements, with the text inside each."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[int] = []
        self.inside: dict[int, str] = {}
        self.parent: dict[int, int | None] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and, unless it is void, what it stands in."""
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        index = len(self.elements) - 1
        self.parent[index] = self.open[-1] if self.open else None
        self.inside[index] = ""
        if tag not in VOID:
            self.open.append(index)

    def handle_endtag(self, tag: str) -> None:
        """Close the nearest element of this name, which must be the innermost one."""
        assert self.elements[self.open[-1]][0] == tag, f"</{tag}> closes <{self.elements[self.open[-1]][0]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        """Add text to all open elements."""
        self.text += data
        for index in self.open:
            self.inside[index] += data

    def all(self, *tags: str) -> list[tuple[int, dict[str, str]]]:
        """Index and attributes of all elements of some names."""
        return [(i, attrs) for i, (tag, attrs) in enumerate(self.elements) if tag in tags]

    def within(self, index: int, tag: str) -> int | None:
        """The nearest element of this name around another."""
        place = self.parent[index]
        while place is not None and self.elements[place][0] != tag:
            place = self.parent[place]
        return place


def dependencies(text: str) -> list[str]:
    """Everything through which a page could run code or reach a network."""
    page, found = Page(text), []
    for tag, attrs in page.elements:
        if tag in {"script", "link", "iframe", "object", "embed", "base", "form", "img", "image", "audio", "video"}:
            found.append(f"<{tag}>")
        for name, value in attrs.items():
            if name.startswith("on"):
                found.append(f"{tag} {name}")
            if name in {"href", "src", "xlink:href", "action", "srcset", "data"} and not re.fullmatch(
                r"#[\w.-]+|(?:\.\./)?[\w.%~-]+(?:/[\w.%~-]+)*/?", value
            ):
                found.append(f"{name}={value}")
            if name == "http-equiv" and value != "Content-Security-Policy":
                found.append(f"http-equiv={value}")
    found += re.findall(r"(?:https?|ftp|file|javascript|data):[^\s;]{1,20}", text)
    found += re.findall(r"@import|url\((?!#)[^)]*\)|expression\(", text)
    return found


def peel(name: str = "step-100") -> dict[str, Any]:
    """Two checkpoints, the second GREEN."""
    return {
        "schema": "peelverify.peel/1", "unit": "nats_per_token",
        "about": {"solver": "closed-form", "fitted_tokens": 64, "deciding_tokens": 64, "decided_on": "held-out tokens"},
        "checkpoints": [
            {"name": "first", "step": 0, "loss": 5.0, "yes0": 4.0, "best": 3.5, "best_map": [3, 3, 3],
             "yes0_running": 4.0, "best_running": 3.5, "refit": 4.5, "status": "RED", "status_running": "RED"},
            {"name": name, "step": 100, "loss": 2.5, "yes0": 4.0, "best": 3.0, "best_map": [1, 2, 3],
             "yes0_running": 4.0, "best_running": 2.75, "refit": None, "status": "GREEN", "status_running": "GREEN",
             "gap_of_best": -0.5, "gap_of_best_standard_error": 0.125,
             "maps": [{"map": [1, 2, 3], "loss": 3.0}, {"map": [3, 3, 3], "loss": 4.0}]},
        ],
    }


def page(**changes: Any) -> str:
    """A report with everything in it; keywords replace parts."""
    certificate = sample_certificate()
    parts: dict[str, Any] = {
        "model": {"name": "base", "family": "llama", "parameters": 12345},
        "peel": peel(), "rho": sample_rho(), "ranking": sample_ranking(),
        "pairs": [
            Pair(certificate, sample_verification(certificate, *ALL_LEVELS), {"method": "delete", "kept": [0, 2]},
                 "../small.cert.json")
        ],
        "theorems": sample_theorems(), "lean": {"version": "4.28.0", "road": "native"},
    }
    return render_report(**(parts | changes))


@pytest.fixture(scope="module")
def full() -> str:
    """The full page, made once."""
    return page()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots replaced by their titles: names never reach a plot, and drawing takes seconds."""
    monkeypatch.setattr(plots, "to_svg", lambda plot: f'<svg class="plot" id="{plot.name}"></svg>')


def test_page_stands_alone(full: str) -> None:
    """No script, no event handler, no address: nothing that runs or loads, and a policy that would stop it."""
    assert dependencies(full) == []
    policies = [a["content"] for _, a in Page(full).all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


@pytest.mark.parametrize(
    "bad",
    [
        "<script>x</script>", "<p onclick='x'>", "<img src='data:image/png;base64,'>", "<a href='//host/x'>x</a>",
        "<a href='javascript:x'>x</a>", "<style>@import 'x'</style>", "<style>p{background:url(x.png)}</style>",
        "<link rel='stylesheet' href='x.css'>", "<meta http-equiv='refresh' content='0'>", "<p>https://host</p>",
    ],
)
def test_the_check_for_dependencies_goes_red(bad: str) -> None:
    """The check above finds each kind of dependency; without this it might find none."""
    assert dependencies(bad)


SPECIAL = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "{{ 7*7 }}{% raw %}", "a\u202egnp.exe", "&lt;b&gt;",
    "</title></style></svg><b>", "javascript:alert(1)", "\x00\x1b[31m\x7f", "\ud83d", "' onmouseover='x", "x" * 5000,
    "\u2066a\u2069\u200b\ufeff", "]]>--><!--", "..\\..\\secret", "/etc/passwd", "https:x",
]


@settings(max_examples=40)
@given(name=st.one_of(st.sampled_from(SPECIAL), st.text(min_size=1, max_size=40)))
@example(name="/")
def test_no_name_is_obeyed(quick: None, name: str) -> None:
    """Wherever a stranger's text stands, the page has the same elements as with a plain name, and shows the text."""

    def build(text: str) -> str:
        certificate = sample_certificate(original=text, compressed=text, files=(text + ".safetensors",))
        verification = sample_verification(certificate, "arithmetic")
        verification._add("lean", text, Verdict.INCONCLUSIVE, text)
        record = {"method": text, "kept": [0], "settings": {text: text}}
        return page(
            model={"name": text, "family": text}, peel=peel(text), rho=sample_rho(warnings=(text,)),
            ranking=sample_ranking(text),
            pairs=[Pair(certificate, verification, record, "a" + text[:99])],
            theorems=[{"name": text, "doc": text, "statement": text}], lean={"road": text},
        )

    shown, plain = build(name), build("plain")
    assert [t for t, _ in Page(shown).elements] == [t for t, _ in Page(plain).elements]
    schemes = ("https:", "http:", "javascript:", "data:", "file:", "ftp:")  # as text they are harmless
    assert [d for d in dependencies(shown) if not d.startswith(schemes)] == []
    for attrs in (a for t, a in Page(shown).elements if t == "a"):
        assert relative_link(attrs["href"]) or attrs["href"].startswith("#")
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c != "\n"]
    last = visible(name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name.replace("\\", "/"), 4000).strip()
    assert " ".join(last.split()) in " ".join(Page(shown).text.split())


@given(st.text(max_size=60))
@example("//host/x")
@example("javascript:alert(1)")
@example("https://host/x")
@example("..//host")
@example("a\nb")
@example("\ud800")
def test_a_link_leads_only_to_a_file_beside_the_page(path: str) -> None:
    """A path becomes a relative address without a scheme and without a host, or no link at all."""
    link = relative_link(path)
    if link is not None:
        assert re.fullmatch(r"[A-Za-z0-9_.~%-][A-Za-z0-9_.~%/-]*", link)
        assert not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", link)


def exactly(value: str) -> Fraction:
    """The number behind a `value` attribute: dyadic, a fraction or a decimal."""
    return checker.parse(value) if "0x" in value else Fraction(value)


def test_numbers_are_those_of_the_certificate(full: str) -> None:
    """Every number with a field name carries the exact number of the certificate."""
    certificate = sample_certificate()
    fields = {a["data-field"]: a["value"] for _, a in Page(full).all("data") if "data-field" in a}
    spelled = spell
    assert fields["pair-1.bound"] == spelled(certificate.bound)
    assert fields["pair-1.direct"] == spelled(certificate.direct)
    assert fields["pair-1.chain"] == spelled(certificate.chain)
    assert fields["pair-1.loss_change_mean"] == spelled(certificate.loss_change_mean)
    assert fields["pair-1.loss_change_max"] == spelled(certificate.loss_change_max)
    assert fields["pair-1.same_top"] == "7/8"
    for i, block in enumerate(certificate.document["numbers"]["blocks"], start=1):
        assert fields[f"pair-1.error.{i}"] == block["error"][1]
        assert fields[f"pair-1.chain.{i}"] == block["chain"]
    total = sum(value for _, value in certificate.shares)
    for i, (_, value) in enumerate(certificate.shares):
        assert exactly(fields[f"pair-1.share.{i}"]) == value / total


@pytest.mark.parametrize("scale", [0, -30, 40, 900, -900])
def test_bounds_are_rounded_to_their_side(quick: None, scale: int) -> None:
    """What is shown after ≤ is not below the exact value and after ≥ not above it, at any magnitude."""
    certificate = sample_certificate(scale=scale)
    found = Page(page(pairs=[Pair(certificate, sample_verification(certificate))]))
    sides = Counter()
    for index, attrs in found.all("data"):
        sign = found.inside[found.parent[index]].strip()[0]
        if sign in "≤≥":
            if found.inside[index] == "∞":
                continue
            exact, shown = exactly(attrs["value"]), read(found.inside[index])
            assert (shown >= exact) if sign == "≤" else (shown <= exact), attrs
            sides[sign] += 1
    assert sides["≤"] > 20
    assert sides["≥"] >= 5


def test_every_number_carries_one_of_the_four_words(full: str) -> None:
    """In a table its column says the word, elsewhere the number itself does; the legend explains all four."""
    found = Page(full)
    tags = {i: found.inside[i] for i, a in found.all("span") if a.get("class", "").startswith("tag ")}
    assert set(tags.values()) <= set(WORDS)

    def words_in(index: int) -> set[str]:
        return {word for i, word in tags.items() if _inside(found, i, index)}

    for index, _ in found.all("data"):
        cell = found.within(index, "td")
        if cell is None:
            holder = next(p for p in (found.within(index, t) for t in ("dd", "p", "li")) if p is not None)
            assert words_in(holder), found.inside[holder]
        else:
            row, table = found.within(cell, "tr"), found.within(cell, "table")
            place = [i for i, _ in found.all("th", "td") if found.parent[i] == row].index(cell)
            heads = [i for i, _ in found.all("th") if found.within(i, "table") == table and found.within(i, "thead")]
            assert words_in(heads[place]) | words_in(table), found.inside[heads[place]]
    for word, meaning in WORDS.items():
        assert word in tags.values()
        assert meaning in found.text


def _inside(found: Page, index: int, outer: int | None) -> bool:
    place: int | None = index
    while place is not None and place != outer:
        place = found.parent[place]
    return place == outer


def test_page_is_accessible(full: str) -> None:
    """One h1, no heading level skipped, captions and scopes in tables, ids unique, every label resolves."""
    found = Page(full)
    assert found.open == []
    levels = [int(t[1]) for t, _ in found.elements if re.fullmatch(r"h[1-6]", t)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attrs in found.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attrs.get(name, "").split()) <= set(ids)
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
    tables = found.all("table")
    assert len([1 for i, _ in found.all("caption") if found.inside[i].strip()]) == len(tables) > 5
    assert all(a.get("scope") in ("col", "row") for _, a in found.all("th"))
    figures = found.all("figure")
    assert len(found.all("svg")) == len(found.all("figcaption")) == len(figures) > 7
    assert found.elements[0][1].get("lang") == "en"


def test_page_says_what_green_means_and_what_it_does_not_say(full: str) -> None:
    """GREEN is explained where it is shown, and the section on limits is there."""
    text = " ".join(Page(full).text.split())
    assert "GREEN means “not refuted by this suite of witnesses”" in text
    assert "What this does not say" in text
    assert "never sees a model's weights or its execution" in text
    assert "4.28.0" in text
    for theorem in sample_theorems():
        assert theorem["name"] in text
        assert theorem["statement_hash"] in text or theorem["name"].endswith("another")


@pytest.mark.parametrize(
    ("levels", "verdict", "word"),
    [
        (ALL_LEVELS, Verdict.HOLDS, "holds"), (("arithmetic",), Verdict.HOLDS, "consistent"),
        (("arithmetic", "lean"), Verdict.HOLDS, "consistent"), (("arithmetic",), Verdict.VIOLATED, "refuted"),
        (("arithmetic",), Verdict.INCONCLUSIVE, "inconclusive"), ((), Verdict.HOLDS, "not verified"),
    ],
)
def test_verdict_is_never_better_than_the_checks(quick: None, levels, verdict: Verdict, word: str) -> None:
    """Only numbers recomputed from the models hold; arithmetic alone is consistent; the rest is said as it is."""
    certificate = sample_certificate()
    verification = sample_verification(certificate, *levels, verdict=verdict)
    if not levels:
        verification.checks.clear()
    found = Page(page(pairs=[Pair(certificate, verification)]))
    shown = [found.inside[i] for i, a in found.all("p") if a.get("class") == "word"]
    assert shown == [word]
    assert ("not tied to any model" in found.text) is (word != "holds")


def test_page_without_parts_says_so(quick: None) -> None:
    """What was not run is named with the command that runs it, and never shown as zero."""
    text = Page(render_report(model={}, peel=None, rho=None, ranking=None, pairs=[], theorems=[], lean={})).text
    assert "peelverify peel" in text
    assert "peelverify rho" in text
    assert "peelverify certify" in text
    assert "No certificate belongs to this report" in text


@pytest.mark.parametrize("options", [{"zero": True}, {"scale": 1100}, {"scale": -1100}])
def test_extreme_certificates_have_a_page(options: dict[str, Any]) -> None:
    """Equal models, and errors that no float holds, give a page instead of an error."""
    certificate = sample_certificate(**options)
    text = page(pairs=[Pair(certificate, sample_verification(certificate))])
    assert dependencies(text) == []
    assert ("no error here" in text) is bool(options.get("zero"))


def test_strange_results_have_a_page(quick: None) -> None:
    """Empty or foreign fields in the result files leave gaps on the page and break nothing."""
    strange = {
        "checkpoints": [{"name": 1, "loss": None, "yes0": "x", "best": float("nan"), "status": "PURPLE"}, "x", {}],
    }
    text = page(peel=strange, rho={"energy": [[1.0], [1.0, 2.0]]}, ranking={"scores": "x"}, lean={"a": [1]})
    assert "unknown" in Page(text).text
    assert "nan" not in Page(text).text.split()


def test_folders_of_this_machine_are_not_shown(quick: None) -> None:
    """A page is shown to others: of a path only the last part is on it."""
    certificate = sample_certificate(original="/home/someone/models/base", compressed="C:\\users\\someone\\small")
    text = page(
        model={"name": "/home/someone/models/base", "path": "/home/someone/x"}, peel=peel("/home/someone/step-1"),
        pairs=[Pair(certificate, sample_verification(certificate), None, "../a.cert.json")],
    )
    found = Page(text)
    assert found.inside[found.all("h1")[0][0]] == "base"
    assert text.count("someone") == 2, "only in the claim, which quotes the certificate"


def test_report_is_written_whole_or_not_at_all(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last step of writing fails, the older report is still there and nothing half-written beside it."""
    parts: dict[str, Any] = {"model": {"name": "one"}}
    target = write_report(tmp_path, **parts)
    assert target == tmp_path / "report" / "index.html"
    before = target.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_report(tmp_path, model={"name": "two"})
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["index.html"]


def test_report_refuses_a_folder_that_is_a_file(quick: None, tmp_path: Path) -> None:
    """An output that cannot be a folder gives one clear line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="choose another folder"):
        write_report(tmp_path / "file", model={})


def test_same_results_give_the_same_page(full: str) -> None:
    """No date, no random id: a report can be compared byte by byte."""
    assert page() == full


def test_picture_of_a_run_is_reproducible(tmp_path: Path) -> None:
    """The picture for a document has the same bytes each time, and nothing to draw is an error."""
    certificate = sample_certificate()
    pair = Pair(certificate, sample_verification(certificate))
    first = save_picture(tmp_path / "a.png", peel=peel(), rho=sample_rho(), pair=pair, dpi=50).read_bytes()
    assert first.startswith(b"\x89PNG")
    assert save_picture(tmp_path / "b.png", peel=peel(), rho=sample_rho(), pair=pair, dpi=50).read_bytes() == first
    with pytest.raises(ArtifactError, match="needs plots"):
        save_picture(tmp_path / "c.png")


def test_gains_of_blocks_are_shown(quick) -> None:
    """The last checkpoint's substitution has a row a block; a file without it has no such table."""
    data = peel()
    assert "solved again on its own" not in page(peel=data)
    data["checkpoints"][-1]["substitution"] = {"blocks": [
        {"block": 1, "gain_nats_per_token": 0.021, "low": 0.017, "high": 0.025,
         "bracket": {"upper_fraction": 0.75, "lower_fraction": 0.625, "scope": "all weights"}},
        {"block": 2, "gain_nats_per_token": 0.0, "low": 0.0, "high": 0.0, "bracket": None},
    ]}
    text = page(peel=data)
    assert "solved again on its own" in text
    for shown in ("0.021", "0.017", "0.025", "0.75", "0.625", "all weights"):
        assert shown in text
    data["checkpoints"][-1]["substitution"] = {"blocks": [3, {"block": "<b>", "bracket": 5}]}
    assert "<b>" not in page(peel=data)
