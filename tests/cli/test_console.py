"""What is printed: no line that a CI service takes for a command, and names as they are."""

from __future__ import annotations

import json

import pytest

from peelverify.cli import console

NAMES = [
    "::error::x", " \t::add-mask::y", "a\n::error::b", "m" + " ::error::z" * 40, "##[error]q", "[bold]w", "a:b:c",
    "##\\[e]",
]


def obeyed(text: str) -> list[str]:
    """Lines that a runner would take for a command."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_printed_is_a_command(name, capsys) -> None:
    """News, results, tables, progress and JSON, with a name that a stranger chose."""
    console.say(name)
    console.result(name)
    console.table(name, [name, "b"], [[name, name], ["", name]])
    with console.progress() as bars:
        bars.add_task(name, total=1)
    console.emit_json({"schema": "x", "name": name})
    seen = capsys.readouterr()
    assert obeyed(seen.out) == [] and obeyed(seen.err) == []


def test_names_are_printed_as_they_are(capsys) -> None:
    """No word of a name is taken for a colour or a picture; JSON gives back every name."""
    console.result("[bold]w a:b:c :warning:")
    with console.progress() as bars:
        bars.add_task("[bold]w a:b:c", total=1)
    seen = capsys.readouterr()
    assert seen.out == "[bold]w a:b:c :warning:\n"
    assert "[bold]w a:b:c" in seen.err
    for name in NAMES:
        console.emit_json({"schema": "x", "name": name})
        assert json.loads(capsys.readouterr().out)["name"] == name
