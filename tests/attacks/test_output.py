"""Hostile names through verify, diff, cite, SARIF and annotations; and our own patterns on long hostile text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from peelverify.cli.app import main
from tests.attacks.forge import rederive
from tests.attacks.registry import attacks_of

ROOT = Path(__file__).resolve().parents[2]


def dangerous(text: str) -> set[str]:
    """Characters that move the cursor or turn the direction of text."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")}


@pytest.mark.parametrize("attack", attacks_of("on_output"), ids=lambda a: a.name)
def test_it_is_only_text(attack, target, tmp_path: Path, timed, capsys) -> None:
    """In no output does a name keep a character that acts."""
    name = attack.run()
    document = target.copy()
    document["subject"]["compressed"]["name"] = document["subject"]["pool"]["files"][name] = name
    document["subject"]["pool"]["files"][name] = "e" * 64
    document["subject"]["compressed"]["files"][name] = "f" * 64
    path = tmp_path / "x.cert.json"
    path.write_text(json.dumps(rederive(document)))
    pair = ["--original", str(target.original), "--compressed", str(target.compressed)]
    printed = {}
    with timed(attack):
        for words, code in (
            (["diff", str(target.certificate), str(path)], 0),
            (["diff", str(target.certificate), str(path), "--json"], 0),
            (["verify", str(path), "--level", "arithmetic"], 0),
            (["verify", str(path), "--level", "recompute", *pair], None),
            (["cite", str(path), "--format", "text"], 0),
            (["cite", str(path), "--format", "latex"], 0),
            (["cite", str(path), "--format", "bibtex"], 0),
            (["verify", str(path), "--level", "arithmetic", "--format", "sarif"], 0),
            (["verify", str(path), "--level", "arithmetic", "--format", "github"], 0),
        ):
            if code is None:
                continue  # needs the kernel; the words of a refusal are those of the sarif and text forms
            capsys.readouterr()
            assert main(words) == code, words
            seen = capsys.readouterr()
            assert not dangerous(seen.out) and not dangerous(seen.err), words
            assert "Traceback" not in seen.err
            lines = seen.err.splitlines() + ([] if "github" in words else seen.out.splitlines())
            assert not any(line.lstrip().startswith("::") or "##[" in line for line in lines), words
            printed[" ".join([words[0], *words[-1:]])] = seen.out
    latex, bibtex = printed["cite latex"], printed["cite bibtex"]
    assert not re.search(r"\\(input|write|catcode|include)\b", latex + bibtex)
    assert bibtex.count("{") == bibtex.count("}") and len(re.findall("^@", bibtex, re.M)) == 1
    assert latex.replace(r"\$", "").count("$") % 2 == 0
    for line in printed["verify github"].splitlines():
        assert not line.startswith(("::set-output", "##[", "::error::no"))
    assert "<script>" not in json.dumps(json.loads(printed["verify sarif"])["runs"][0]["results"])


PATTERNS = r'''
import ast, pathlib, re, resource, signal, sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
def late(number, frame):
    raise TimeoutError

signal.signal(signal.SIGPROF, late)
root = pathlib.Path(sys.argv[1])
texts = [
    c * 20_000 for c in ("a", "0", " ", "(", "[", "{", "\\", "-", "/", ".", "\n", "`", "'", "_", "<", "|", "A.", "0x",
    "a b", "-/", "/-", "- ", "(a", "a,", "e+", "1.", ":=", "\n ", "theorem ", "end ", "/--", "a\n")
]
texts += [t + "!" for t in texts]
found, slow = set(), []
for file in sorted((root / "peelverify").rglob("*.py")):
    source = file.read_text()
    tree = ast.parse(source)
    names = {id(n.value): n.targets[0].id for n in ast.walk(tree)
             if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)}
    for node in ast.walk(tree):
        ours = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if not ours or getattr(node.func.value, "id", "") != "re" or not node.args:
            continue
        if not isinstance(node.args[0], ast.Constant) or not isinstance(node.args[0].value, str):
            continue
        flags = 0
        for extra in (*node.args[1:], *(k.value for k in node.keywords)):
            for part in ast.walk(extra):
                if isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == "re":
                    flags |= getattr(re, part.attr, 0)
        how = node.func.attr
        if how == "compile" and id(node) in names:  # a pattern that is only ever matched at the start
            used = set(re.findall(rf"\b{names[id(node)]}\.(\w+)", source))
            how = used.pop() if len(used) == 1 else how
        found.add((node.args[0].value, int(flags), how))
for pattern, flags, how in sorted(found):
    compiled = re.compile(pattern, flags)
    signal.setitimer(signal.ITIMER_PROF, 4)
    try:
        for text in texts:
            (compiled.fullmatch if how == "fullmatch" else compiled.match if how == "match" else compiled.search)(text)
    except TimeoutError:
        slow.append((pattern, text[:12]))
    signal.setitimer(signal.ITIMER_PROF, 0)
print(len(found), slow)
'''


def test_no_pattern_of_ours_explodes() -> None:
    """Every pattern of the package on 20,000 and more hostile characters, all of them in a minute of CPU."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", PATTERNS, str(ROOT)], capture_output=True, text=True, check=False, timeout=300,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    count, _, slow = done.stdout.strip().partition(" ")
    assert int(count) > 30 and slow == "[]", done.stdout


def test_the_limit_of_time_stops_a_pattern_that_explodes() -> None:
    """The guard above can fail: a pattern of the known bad kind is killed."""
    code = "import re, resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1)); re.match('(a+)+$', 'a' * 60 + '!')"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode < 0
