"""Citations: the facts of the certificate in three forms, safe to paste, and none of what does not hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from peelverify.certify import checker
from peelverify.certify.file import Certificate
from peelverify.cli import cite as command
from peelverify.errors import ArtifactError, InputError
from peelverify.report.cite import FORMATS, Citation, cite, latex
from peelverify.report.visible import upwards, visible
from peelverify.verdict import Verdict
from tests.unit.test_report_samples import THEOREMS, sample_certificate, sample_document, sample_verification, save

COMMANDS = {
    "textbackslash", "textbraceleft", "textbraceright", "textasciitilde", "textasciicircum", "textless",
    "textgreater", "textbar", "textasciigrave", "symbol", "ldots",
}
HOSTILE = [
    r"\input{/etc/passwd}", r"\write18{x}", "a}b{c", "100% of $x_1^2$ & #1 ~ ^^M", "line\nbreak", "@misc{x,", '"',
    "\\", "{", "}", "%", "\u202eabc", "“quoted”", "模型-é", "a,,b--c", "?`!`", "\x00", "\ud800",
]


def citation(certificate: Certificate | None = None, *levels: str, **options: Any) -> Citation:
    """The citation of a sample whose checks hold."""
    certificate = certificate or sample_certificate()
    return cite(certificate, sample_verification(certificate, *(levels or ("arithmetic",))), **options)


def tex_tokens(text: str) -> list[tuple[str, str]]:
    """A small TeX reader: commands, characters, groups. Raises ValueError for anything that acts unescaped."""
    found, depth, i = [], 0, 0
    while i < len(text):
        char = text[i]
        if char == "\\":
            match = re.match(r"\\([A-Za-z]+|.)", text[i:], re.DOTALL)
            if match is None:
                raise ValueError("backslash at the end")
            found.append(("command", match[1]))
            i += len(match[0])
            continue
        if char in "{}":
            depth += 1 if char == "{" else -1
            if depth < 0:
                raise ValueError("closing brace")
        elif char in "%#&~^_$" or (ord(char) < 32 and char != "\n"):
            raise ValueError(f"active character {char!r}")
        else:
            found.append(("char", char))
        i += 1
    if depth:
        raise ValueError("open brace")
    return found


def read_back(text: str) -> str:
    """What TeX would print for escaped text."""
    plain = text.replace("{-}", "-").replace("{,}", ",").replace("{'}", "'").replace(r"\symbol{34}", '"')
    for name, char in {
        "textbackslash": "\\", "textbraceleft": "{", "textbraceright": "}", "textasciitilde": "~",
        "textasciicircum": "^", "textless": "<", "textgreater": ">", "textbar": "|", "textasciigrave": "`",
    }.items():
        plain = plain.replace(f"\\{name}{{}}", char)
    return re.sub(r"\\([#$%&_])", r"\1", plain)


def parse_bibtex(text: str) -> tuple[str, str, dict[str, str]]:
    """A small BibTeX reader: one entry, values in braces, braces counted as BibTeX counts them."""
    head = re.match(r"@([a-z]+)\{([A-Za-z0-9:_-]+),\s*", text)
    if head is None:
        raise ValueError("no entry")
    fields, i = {}, head.end()
    while (match := re.compile(r"([a-z]+) = \{").match(text, i)) is not None:
        depth, start = 1, match.end()
        i = start
        while depth:
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            i += 1
        fields[match[1]] = text[start : i - 1]
        i = re.compile(r",\s*").match(text, i).end()
    if text[i:].strip() != "}":
        raise ValueError(f"left over: {text[i:][:40]!r}")
    return head[1], head[2], fields


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)))
@example("a\\")
def test_latex_leaves_nothing_that_acts(name: str) -> None:
    """Every special character is written out, only known commands appear, braces balance, no line ends."""
    escaped = latex(name)
    for kind, value in tex_tokens(escaped):
        assert kind == "char" or value in COMMANDS or value in "#$%&_"
    assert "\n" not in escaped
    if not {"“", "”"} & set(name):  # these two are meant to become ligatures
        assert not re.search(r"--|,,|''|``|[?!]`|<<|>>", escaped)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_latex_loses_nothing_of_ascii(name: str) -> None:
    """Two different ASCII names stay different: the escaped text reads back as the name."""
    assert read_back(latex(name)) == name


@pytest.mark.parametrize("bad", ["a_b", "50%", "\\input{x", "}", "a$b", "x^2", "a~b", "#1", "a&b", "\\"])
def test_the_tex_reader_goes_red(bad: str) -> None:
    """The reader of the tests refuses each special character on its own."""
    with pytest.raises(ValueError, match=r"active|brace|backslash"):
        tex_tokens(bad)


@given(st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=60)))
def test_hostile_names_stay_inside_their_citation(name: str) -> None:
    """With any names and file names, the BibTeX entry parses to the same fields and the LaTeX has no new command."""
    made = citation(sample_certificate(original=name, compressed=name, files=(name + ".safetensors",)))
    kind, key, fields = parse_bibtex(made.bibtex)
    assert (kind, key) == ("misc", made.key)
    assert list(fields) == ["author", "title", "howpublished", "year", "note"]
    known = COMMANDS | {"texttt", "allowbreak", "cite", "hat", "leq", "times", "|"} | set("#$%&_")
    math_free = re.sub(r"\$[^$]*\$", "", made.latex.replace(r"\$", "")).replace("~\\cite", "\\cite")
    for token, value in tex_tokens(math_free):
        assert token == "char" or value in known
    tex_tokens(fields["title"])
    assert latex(visible(name, 120)) in made.bibtex
    assert "\n" not in made.text


@pytest.mark.parametrize("bad", ["@misc{x,\n a = {b},\n", "@misc{x,\n  a = {b}},\n}", "misc{}"])
def test_the_bibtex_reader_goes_red(bad: str) -> None:
    """The reader of the tests refuses entries that are cut, closed twice, or none."""
    with pytest.raises((ValueError, AttributeError, IndexError)):
        parse_bibtex(bad)


def test_all_forms_state_the_facts() -> None:
    """Bound, hashes of models and data, theorems, Lean, statement hash, date and digest are in every form."""
    certificate = sample_certificate()
    made = citation(certificate, road="Lean 4.28.0, native")
    flat = {name: re.sub(r"\s+|\\allowbreak\{\}|\\", "", made.in_format(name)) for name in FORMATS}
    subject = certificate.document["subject"]
    for fact in (
        upwards(certificate.bound), upwards(certificate.loss_change_mean), upwards(certificate.chain), "7of8positions",
        subject["original"]["files"]["model.safetensors"], subject["tokens"]["sha256"], certificate.digest,
        checker.digest(certificate.document["theorems"]), *THEOREMS, "Lean4.28.0,native", "peelverify0.1.0",
        "Notchecked:", "arithmeticconsistent,nottiedtoanymodel",
    ):
        for name, text in flat.items():
            assert fact in text, (fact, name)
    assert "2026-03-04" in made.text
    assert "2026-03-04" in made.latex
    assert parse_bibtex(made.bibtex)[2]["year"] == "2026"


def test_citation_says_what_was_not_checked() -> None:
    """Each level that was not reached is named as such, and a level that was reached is not."""
    low = citation(None, "arithmetic")
    assert any("not by the Lean kernel" in point for point in low.not_checked)
    assert any("not tied to any model" in point for point in low.not_checked)
    high = citation(None, "arithmetic", "lean", "recompute")
    assert not any("Lean kernel" in point or "tied" in point for point in high.not_checked)
    assert "every number was computed anew" in high.text
    assert "arithmetic consistent" not in high.text
    assert any("neither weights nor execution" in point for point in high.not_checked)
    assert (low.level, high.level) == ("arithmetic", "recompute")
    changed = citation(None, "arithmetic", changed=("PeelVerify.check_sound",))
    assert any("PeelVerify.check_sound" in point for point in changed.not_checked)


def test_models_of_several_files_have_one_hash() -> None:
    """A sharded model is named by one hash over the list of its files."""
    certificate = sample_certificate(files=("a.safetensors", "b.safetensors", "config.json"))
    made = citation(certificate)
    assert checker.digest(certificate.document["subject"]["original"]["files"]) in made.text
    assert "list of 3 file hashes" in made.text


@pytest.mark.parametrize("verdict", [Verdict.VIOLATED, Verdict.INCONCLUSIVE])
def test_what_does_not_hold_is_not_cited(verdict: Verdict) -> None:
    """A refuted or open certificate, or one that nobody checked, gives an error instead of a citation."""
    certificate = sample_certificate()
    with pytest.raises(InputError, match="checks hold"):
        cite(certificate, sample_verification(certificate, "arithmetic", verdict=verdict))
    empty = sample_verification(certificate)
    empty.checks.clear()
    with pytest.raises(InputError, match="checks hold"):
        cite(certificate, empty)


@pytest.mark.parametrize("change", [{"theorems": None}, {"theorems": [{}]}, {"subject": {"tokens": {"shape": [2, 4]}}}])
def test_consistent_but_foreign_certificates_give_one_line(change: dict[str, Any]) -> None:
    """A file that the checker accepts but that lacks what a citation needs is an ArtifactError, not a crash."""
    certificate = Certificate({**sample_document(), **change})
    with pytest.raises(ArtifactError, match="lacks a field"):
        citation(certificate)


def test_date_and_host_may_be_missing() -> None:
    """Host notes lie outside the claim: without them the citation only loses its date."""
    document = sample_document()
    body = {k: v for k, v in document.items() if k not in ("host", "integrity")}
    made = citation(Certificate.seal(body, {}))
    assert "2026" not in made.text
    assert "year" not in parse_bibtex(made.bibtex)[2]


# The command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs ``cite`` alone and gives exit status, stdout and stderr; no Lean is looked for."""
    monkeypatch.setattr(command, "_road", lambda: "Lean 4.28.0, native")
    app = typer.Typer(pretty_exceptions_enable=False)
    command.register(app)
    app.command("other")(lambda: None)

    def call(*arguments: object) -> tuple[int, str, str]:
        status = app([str(a) for a in ("cite", *arguments)], standalone_mode=False)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def test_command_prints_all_forms_or_one(run, tmp_path: Path) -> None:
    """Without --format all three forms are printed in order, with it only that one; exit status 0."""
    path = save(sample_certificate(), tmp_path / "a.cert.json")
    status, out, _ = run(path)
    assert status == 0
    assert out.index("On 2 windows") < out.index(r"\texttt") < out.index("@misc{")
    for name in FORMATS:
        status, part, _ = run(path, "--format", name)
        assert status == 0
        assert part.strip() in out
    assert parse_bibtex(part.strip())[0] == "misc"


def test_command_speaks_json(run, tmp_path: Path) -> None:
    """--json prints one object with a schema, the level and the forms asked for."""
    path = save(sample_certificate(), tmp_path / "a.cert.json")
    status, out, _ = run(path, "--json", "--format", "latex")
    data = json.loads(out)
    assert status == 0
    assert data["schema"] == "peelverify.cite/1"
    assert data["verdict"] == "HOLDS"
    assert data["levels_reached"] == ["arithmetic"]
    assert "latex" in data
    assert "bibtex" not in data


def test_command_refuses_a_refuted_certificate(run, tmp_path: Path) -> None:
    """One digit of one number changed: exit status 1, nothing to paste on stdout, the reason on stderr."""
    document = sample_document()
    document["numbers"]["units"]["same_top"] = 8
    path = save(Certificate(document), tmp_path / "a.cert.json")
    status, out, err = run(path)
    assert (status, out) == (1, "")
    assert "REFUTED" in err
    status, out, _ = run(path, "--json")
    assert status == 1
    assert json.loads(out)["text"] is None


def test_command_leaves_newer_formats_open(run, tmp_path: Path) -> None:
    """A certificate of a later major version is neither cited nor refuted: exit status 3."""
    document = sample_document()
    document["schema"] = "peelverify.certificate/2"
    status, out, err = run(save(Certificate(document), tmp_path / "a.cert.json"))
    assert (status, out) == (3, "")
    assert "INCONCLUSIVE" in err


def test_command_names_wrong_options(run, tmp_path: Path) -> None:
    """An unknown format, one model of two, a file that is no certificate or not there: one clear line each."""
    path = save(sample_certificate(), tmp_path / "a.cert.json")
    with pytest.raises(InputError, match="text, latex, bibtex"):
        run(path, "--format", "word")
    with pytest.raises(InputError, match="both models"):
        run(path, "--original", "x")
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ArtifactError, match="not a certificate"):
        run(tmp_path / "b.json")
    with pytest.raises(ArtifactError, match="cannot be read"):
        run(tmp_path / "missing.json")
