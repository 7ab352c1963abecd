"""The files of a proof project and the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peelverify.errors import InputError
from peelverify.lean.source import Message, Source

__all__ = ["ROOT_MODULE", "Tree", "is_core", "load_tree", "proofs_root"]

ROOT_MODULE = "Proofs"
_PACKAGE = Path(__file__).resolve().parent


def proofs_root(root: Path | str | None = None) -> Path:
    """Find the folder that holds ``Proofs.lean``.

    Args:
        root: a folder named by the user; otherwise the checkout that this package belongs to,
            otherwise the copy that ships inside the package.

    Raises:
        InputError: if the named folder does not exist or no copy of the proofs is at hand.
    """
    if root is not None:
        folder = Path(root).expanduser().resolve()
        if not folder.is_dir():
            raise InputError(f"proofs_root needs a folder, got {str(root)!r}; name the one that holds Proofs.lean")
        return folder
    checkout = _PACKAGE.parent.parent
    for folder in (checkout, _PACKAGE / "_proofs"):
        if (folder / "Proofs.lean").is_file() and (folder / "lakefile.lean").is_file():
            return folder
    raise InputError(
        "proofs_root needs the Lean sources, found none beside the package or inside it; "
        "pass --root with the folder that holds Proofs.lean"
    )


def is_core(module: str) -> bool:
    """Whether a module belongs to Lean's own `Init` or `Std`."""
    return module.split(".", maxsplit=1)[0] in ("Init", "Std")


@dataclass(frozen=True)
class Tree:
    """The sources below a root.

    Attributes:
        root: folder of ``Proofs.lean``.
        sources: every Lean file of the project by module name, sorted by file.
        problems: why the graph cannot be built: missing or cyclic imports, unreachable files, no files.
    """

    root: Path
    sources: dict[str, Source]
    problems: tuple[Message, ...]

    def needs(self, module: str) -> tuple[str, ...]:
        """Project modules that a module imports directly."""
        return tuple(item.module for item in self.sources[module].imports if item.module in self.sources)

    def order(self, goal: str = ROOT_MODULE) -> tuple[str, ...]:
        """Modules that a goal rests on and the goal itself, imports first (in a cycle: in some order)."""
        done: dict[str, None] = {}
        entered: set[str] = set()
        # explicit stack: (module, whether its imports are done)
        stack = [(goal, False)]
        while stack:
            module, ready = stack.pop()
            if module in done or module not in self.sources:
                continue
            if ready:
                done[module] = None
                continue
            if module in entered:
                continue
            entered.add(module)
            stack.append((module, True))
            stack.extend((name, False) for name in reversed(self.needs(module)) if name not in done)
        return tuple(done)


def load_tree(root: Path) -> Tree:
    """Read ``Proofs.lean`` and ``Proofs/**/*.lean`` and check the graph between them.

    Never raises for what stands in the files: each defect is a `Message` in `Tree.problems`.
    """
    sources: dict[str, Source] = {}
    problems: list[Message] = []
    for path in sorted([root / "Proofs.lean", *root.glob("Proofs/**/*.lean")]):
        if not path.is_file():
            continue
        try:
            source = Source.read(root, path)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Message(path.relative_to(root).as_posix(), 0, 0, "error", f"cannot be read: {error}"))
            continue
        sources[source.module] = source
    tree = Tree(root, sources, ())
    if ROOT_MODULE not in sources:
        problems.append(Message("Proofs.lean", 0, 0, "error", "there is no such file, so nothing is proved"))
        return Tree(root, sources, tuple(problems))
    problems += _missing(sources.values(), sources)
    problems += _cycles(tree)
    reachable = set(tree.order())
    if reachable == {ROOT_MODULE}:
        problems.append(Message("Proofs.lean", 0, 0, "error", "it imports no file of Proofs/, so nothing is proved"))
    problems += [
        Message(source.file, 1, 1, "error", "not imported from Proofs.lean, so nothing builds or checks it")
        for module, source in sources.items()
        if module not in reachable
    ]
    return Tree(root, sources, tuple(problems))


def _missing(sources: Iterable[Source], known: dict[str, Source]) -> list[Message]:
    return [
        source.error(item.token.start, f"imports {item.module}, but there is no {item.module.replace('.', '/')}.lean")
        for source in sources
        for item in source.imports
        if item.module.split(".")[0] == ROOT_MODULE and item.module not in known
    ]


def _cycles(tree: Tree) -> list[Message]:
    """One message for each cycle found by a depth-first walk."""
    state: dict[str, int] = {}
    trail: list[str] = []
    found: list[Message] = []

    def walk(module: str) -> None:
        state[module] = 1
        trail.append(module)
        for item in tree.sources[module].imports:
            name = item.module
            if name not in tree.sources:
                continue
            if state.get(name) == 1:
                cycle = " -> ".join([*trail[trail.index(name) :], name])
                found.append(tree.sources[module].error(item.token.start, f"import cycle: {cycle}"))
            elif name not in state:
                walk(name)
        trail.pop()
        state[module] = 2

    for module in tree.sources:
        if module not in state:
            walk(module)
    return found
