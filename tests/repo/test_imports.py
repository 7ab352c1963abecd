"""The import direction of the package, read from the sources with `ast`."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import peelverify

ROOT = Path(peelverify.__file__).parent
RANK = {
    "errors": 0, "verdict": 0, "registry": 0, "bounds": 1, "enclose": 2, "models": 3, "data": 3,
    "peel": 4, "rho": 4, "compress": 4, "evaluate": 4, "certify": 5, "lean": 5, "report": 6, "callbacks": 6, "cli": 7,
}


def imported(path: Path, module: str) -> list[str]:
    """Dotted names of the package that a file imports, relative ones resolved."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(module.split(".")[: -node.level] + ([base] if base else []))
            found += [f"{base}.{alias.name}" for alias in node.names]
    return [name for name in found if name.startswith("peelverify.")]


def breaches(root: Path) -> list[str]:
    """Imports that point down the list of layers; raises if there is nothing to look at."""
    files = sorted(root.rglob("*.py"))
    if not files:
        raise ValueError(f"no Python files below {root}")
    found = []
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in RANK:
            if parts != ("__init__",):
                found.append(f"{path.name}: the layer {parts[0]} is not in the list")
            continue
        for name in imported(path, ".".join(("peelverify", *parts))):
            target = name.split(".")[1]
            if target in RANK and RANK[target] > RANK[parts[0]]:
                found.append(f"{'/'.join(parts)} imports {name}")
    return found


def test_imports_point_upwards_only() -> None:
    """No module imports from a layer below its own."""
    assert breaches(ROOT) == []


def test_a_breach_is_found(tmp_path: Path) -> None:
    """The check goes red on each way to write a wrong import."""
    (tmp_path / "bounds").mkdir()
    for line in ("import peelverify.cli.app", "from peelverify.certify import verify", "from ..models import view",
                 "def f():\n    from peelverify.enclose import dyadic"):
        (tmp_path / "bounds" / "bad.py").write_text(line)
        assert len(breaches(tmp_path)) == 1, line


def test_an_unknown_layer_is_found(tmp_path: Path) -> None:
    """A new folder must be placed in the list."""
    (tmp_path / "utils.py").write_text("")
    assert breaches(tmp_path) == ["utils.py: the layer utils is not in the list"]


def test_an_empty_tree_is_an_error(tmp_path: Path) -> None:
    """Nothing to check is not a pass."""
    with pytest.raises(ValueError, match="no Python files"):
        breaches(tmp_path)


@pytest.mark.parametrize(
    "module", ["peelverify", "peelverify.bounds", "peelverify.enclose", "peelverify.certify",
               "peelverify.certify.file", "peelverify.certify.checker", "peelverify.cli.app"],
)
def test_light_modules_do_not_load_torch(module: str) -> None:
    """What promises to work without torch does not import it, nor transformers."""
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_checker_imports_only_the_standard_library() -> None:
    """The stand-alone checker names nothing outside the standard library."""
    tree = ast.parse((ROOT / "certify" / "checker.py").read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= set(sys.stdlib_module_names)


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank nor a comment nor a docstring."""
    documented, lines = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            documented |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines |= {*range(token.start[0], token.end[0] + 1)}
    return len(lines - documented)


def test_the_checker_stays_short_enough_to_read() -> None:
    """What the README says of it; who audits it reads every line."""
    assert code_lines('"""Text."""\n\n# remark\nx = [\n    1,\n]\n') == 3
    assert 200 < code_lines((ROOT / "certify" / "checker.py").read_text(encoding="utf-8")) <= 231


def test_no_file_is_too_long() -> None:
    """Files stay below 500 lines, or their docstring says why not."""
    long = {
        str(p.relative_to(ROOT)): n
        for p in ROOT.rglob("*.py")
        if (n := len(p.read_text().splitlines())) > 500
        and "Longer than 500 lines because" not in " ".join((ast.get_docstring(ast.parse(p.read_text())) or "").split())
    }
    assert long == {}


def test_public_names_exist() -> None:
    """Everything in ``__all__`` can be imported."""
    import importlib

    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "_proofs" in parts or parts == ("__init__",):
            continue
        module = importlib.import_module(".".join(("peelverify", *(p for p in parts if p != "__init__"))))
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{module.__name__}.{name}"
