"""Names that try to act where they are printed. Each gives a name for the compressed model."""

from __future__ import annotations

from tests.attacks.registry import attack


@attack("escaping")
def script_of_a_page():
    """HTML that runs a script and loads an image."""
    return "</title><script>alert(1)</script><img src=x onerror=alert(1)>"


@attack("escaping")
def latex_that_reads_a_file():
    """A LaTeX command that reads a file, and one that writes."""
    return r"\input{/etc/passwd}\write18{id}$\catcode`\%=12$"


@attack("escaping")
def bibtex_braces():
    """A brace that ends the entry and starts another."""
    return '}, note = {x}}\n@misc{evil, title = {y" # "'


@attack("escaping")
def formula_of_a_spreadsheet():
    """A formula that a spreadsheet runs."""
    return '=HYPERLINK("http://x","y")'


@attack("escaping")
def terminal_escapes():
    """Sequences that clear the screen, set the title and answer as if typed."""
    return "\x1b[2J\x1b]0;x\x07\x9b31m\x1bP$q\x1b\\ ok\r\b\b"


@attack("escaping")
def reversed_text():
    """Bidirectional marks that turn VIOLATED into something else to the eye."""
    return "\u202eSDLOH\u202c\u2066x\u2069\u200f"


@attack("escaping")
def workflow_commands():
    """Lines that a runner of workflows obeys."""
    return "x\n::set-output name=verdict::HOLDS\n::error::no\r\n##[add-path]/tmp"


@attack("escaping")
def workflow_commands_between_spaces():
    """The same in one line, for outputs that break lines at spaces."""
    return "m" + " ::error::no ##[add-path]/tmp" * 8


@attack("escaping")
def markdown_of_a_summary():
    """Cells, links and images for the table of a summary."""
    return "a|b](http://x)![i](http://y)`<b>"
