"""The shape of a certificate: the schema beside the checker, and who must ask both."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import peelverify
from peelverify.certify import checker, shape

ROOT = Path(peelverify.__file__).parent
OLD = Path(__file__).parents[1] / "data" / "version-1.0.cert.json"
SCHEMA = json.loads((ROOT / "certify" / "schema.json").read_text(encoding="utf-8"))


def callers(root: Path) -> set[str]:
    """Files in which `checker.check` is called, the arithmetic without the shape."""
    files = list(root.rglob("*.py"))
    if not files:
        raise ValueError(f"no Python files in {root}")
    found = set()
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "check" and ast.unparse(node.value).endswith("checker"):
                found.add(file.name)
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("certify.checker"):
                found |= {file.name for alias in node.names if alias.name == "check"}
    return found


def test_the_package_never_checks_arithmetic_without_the_shape() -> None:
    """Whoever prints a name or a note relies on its being a text: only `shape.check` calls the bare checker."""
    assert callers(ROOT) == {"shape.py"}


@pytest.mark.parametrize("line", [
    "from peelverify.certify import checker\nchecker.check({})", "from peelverify.certify.checker import check",
    "import peelverify.certify.checker as checker\nf = checker.check",
])
def test_a_bare_call_is_noticed(line: str, tmp_path: Path) -> None:
    """The guard above goes red, and nothing to look at is not a pass."""
    with pytest.raises(ValueError, match="no Python files"):
        callers(tmp_path)
    (tmp_path / "bad.py").write_text(line)
    assert callers(tmp_path) == {"bad.py"}


def test_the_message_names_the_place() -> None:
    """Objects by name, lists by number, in one short line."""
    document = json.loads(OLD.read_text())
    document["numbers"]["blocks"][1]["deleted"] = "x" * 10_000
    with pytest.raises(checker.Refuted, match=r"^numbers\.blocks\[1\]\.deleted: ") as caught:
        shape.check(document)
    assert len(str(caught.value)) < 500
    del document["subject"]
    with pytest.raises(checker.Refuted, match=r'^the file: "subject" is a required property$'):
        shape.check_shape(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10**19, 10**19) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8,
)


@given(JSON)
@example("\ud800")
@example({"\ud800": 1})
@example(10**20 - 1)
def test_any_json_is_answered(value) -> None:
    """Put anywhere it is read or refuted, never a crash, and the two validators say the same."""
    document = json.loads(OLD.read_text())
    other = jsonschema.Draft202012Validator(SCHEMA)
    places = (("measured", "added"), ("measured",), ("subject", "original", "files"), ("numbers", "units", "windows"))
    for where in places:
        inside = document
        for key in where[:-1]:
            inside = inside[key]
        before = inside.get(where[-1], inside)
        inside[where[-1]] = value
        try:
            shape.check_shape(document)
            accepted = True
        except checker.Refuted:
            accepted = False
        if "\\ud" not in json.dumps(value):
            assert accepted is other.is_valid(document)
        if before is inside:
            del inside[where[-1]]
        else:
            inside[where[-1]] = before


@pytest.mark.parametrize("where", [(), ("numbers",), ("subject", "tokens"), ("numbers", "blocks", 1), ("integrity",)])
def test_only_a_newer_version_has_fields_that_are_not_known(where) -> None:
    """A field of another name is refused in a version whose fields are all known, wherever it stands."""
    document = json.loads(OLD.read_text())
    inside = document
    for key in where:
        inside = inside[key]
    inside["added"] = 1
    with pytest.raises(checker.Refuted, match="added"):
        shape.check_shape(document)


def test_linear_regular_expressions_are_enough() -> None:
    """No pattern looks ahead, so that validators of every kind take the schema."""
    options = jsonschema_rs.RegexOptions()
    assert jsonschema_rs.Draft202012Validator(SCHEMA, pattern_options=options).is_valid(json.loads(OLD.read_text()))


def test_nesting_beyond_the_validator_is_refuted() -> None:
    """What is nested deeper than the validator converts is not accepted; the strict reader takes it."""
    deep = b'{"schema": "peelverify.certificate/1.1", "x": ' + b"[" * 900 + b"]" * 900 + b"}"
    with pytest.raises(checker.Refuted):
        shape.check(checker.read(deep))


def test_numbers_have_one_spelling_in_schema_and_checker() -> None:
    """The pattern of the schema is that of the checker."""
    pattern = jsonschema.Draft202012Validator(SCHEMA["$defs"]["number"])
    for text in ("0x0p+0", "0x1p+0", "-0x1p-5", "0xffffffffffffffffp+2500", "0x1p-2500"):
        assert pattern.is_valid(text) and isinstance(checker.parse(text).numerator, int)
    for text in ("-0x0p+0", "0x0p+1", "0x00p+0", "0x2p+0", "0x01p+0", "0x1p+0 ", "0x1p0", "0x1p-0", "0xFp+0",
                 "0x1p+01", "0x1p+٣", "0x" + "f" * 17 + "p+0"):
        assert not pattern.is_valid(text), text
        with pytest.raises(checker.Refuted):
            checker.parse(text)
