"""The attacks: each a function with a docstring, registered with the layer that must refuse it.

``pytest tests/attacks --table`` prints what refused each attack and how long that took;
``python -m tests.attacks.registry > docs/attacks.md`` renews the page.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

GROUPS = {
    "on_files": "Inconsistent files",
    "on_claims": "Consistent fabrications",
    "on_models": "Model directories",
    "on_configs": "Configurations that say what the model does not do",
    "on_tokenizers": "Tokenizers",
    "on_meaning": "Certificates that are true and mean little",
    "on_output": "Names and texts that try to act",
    "on_lean": "Generated Lean files",
    "on_signatures": "Signatures",
}
LAYERS = {
    "parser": "the file is not read as a certificate",
    "arithmetic": "the stand-alone checker refutes it without models",
    "schema": "the schema that ships refutes it without models, in peelverify verify and in any JSON Schema validator",
    "verify": "peelverify verify refutes it without models: measured losses, and fields that its version does not have",
    "recompute": "consistent, so not refuted alone; refuted with the models, never HOLDS with --require recompute",
    "loader": "one clear line, exit status 2, before the model runs",
    "sound": "accepted, or parts of it refused; every bound covers what the model really does",
    "said": "accepted, and the output says what it means",
    "escaping": "printed as text that is seen and does nothing",
    "generator": "no file is generated",
    "signature": "level signature is VIOLATED, or the envelope is not read",
}


@dataclass(frozen=True)
class Attack:
    """One attack."""

    name: str
    group: str
    layer: str
    text: str
    run: Callable


ATTACKS: list[Attack] = []


def attack(layer: str) -> Callable[[Callable], Callable]:
    """Register a function as an attack that a layer must refuse."""
    assert layer in LAYERS

    def add(run: Callable) -> Callable:
        group = run.__module__.rpartition(".")[2]
        text = " ".join((run.__doc__ or "").split())
        assert text and group in GROUPS and all(a.name != run.__name__ for a in ATTACKS), run
        ATTACKS.append(Attack(run.__name__, group, layer, text, run))
        return run

    return add


def attacks_of(group: str) -> list[Attack]:
    """Attacks of one group, in the order written."""
    importlib.import_module(f"tests.attacks.{group}")
    found = [a for a in ATTACKS if a.group == group]
    assert found, f"no attack in {group}"
    return found


def table(tests: Iterable[tuple[bool, Iterable[tuple[str, str, float]]]]) -> list[str]:
    """The lines of the table.

    Args:
        tests: for each test whether it passed, and (name, layer, seconds) of what it tried.
    """
    seconds: dict[tuple[str, str], float] = {}
    not_refused = set()
    for passed, tried in tests:
        for name, layer, took in tried:
            seconds[name, layer] = max(took, seconds.get((name, layer), 0.0))
            if not passed:
                not_refused.add(name)
    lines = [f"{'attack':<58} {'refused by':<12} seconds"]
    for (name, layer), took in seconds.items():
        by = "NOT REFUSED" if name in not_refused else layer
        lines.append(f"{name.replace('_', ' '):<58} {by:<12} {took:7.3f}")
    return [*lines, f"{len(seconds)} attacks, {len(not_refused)} of them not refused as they should be"]


def page() -> str:
    """docs/attacks.md."""
    lines = [
        "# Attacks that certificates survive",
        "",
        "Each of these is tried in `tests/attacks`, with digests and dependent numbers computed anew by the attacker.",
        "None is accepted and none crashes. `pytest tests/attacks --table` prints the table with times.",
        "This page is generated: `python -m tests.attacks.registry > docs/attacks.md`.",
        "",
        *(f"- **{name}**: {meaning}." for name, meaning in LAYERS.items()),
    ]
    for group, title in GROUPS.items():
        lines += ["", f"## {title}", "", "| Attack | Refused by | What it tries |", "| --- | --- | --- |"]
        lines += [f"| {a.name.replace('_', ' ')} | {a.layer} | {a.text} |" for a in attacks_of(group)]
    lines += [
        "",
        "Every regular expression of the package is also run on 20,000 and more hostile characters, and a clock",
        "stops it if it explodes (`tests/attacks/test_output.py`). Symbolic links as the hub cache makes them, from",
        "`snapshots` into `blobs` of the same model, are followed and work; each file is opened once, hashed and",
        "loaded through that descriptor, and `transformers` is told to stay offline before it is used",
        "(`tests/attacks/test_models.py`).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # under its own name, which is where the attacks register themselves
    sys.stdout.write(importlib.import_module("tests.attacks.registry").page())
