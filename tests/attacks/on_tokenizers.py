"""Tokenizers that try to act or to be another one. Each changes a copy of the original's directory in place."""

from __future__ import annotations

import json
from pathlib import Path

from tests.attacks.registry import attack


def _change(path: Path, file: str, **changes) -> None:
    found = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(found | changes))


@attack("loader")
def pattern_that_explodes(path):
    """A pattern in tokenizer.json that needs exponential time: the compiled tokenizer panics, which is no Exception."""
    pattern = {"Regex": r"(a+)+\z|(x+x+)+y"}
    _change(path, "tokenizer.json", pre_tokenizer={
        "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False,
    })


@attack("loader")
def another_file_for_a_version(path):
    """A tokenizer for newer versions of the library, under a name that nobody hashes."""
    found = json.loads((path / "tokenizer.json").read_text())
    vocabulary = found["model"]["vocab"]
    found["model"]["vocab"] = {word: (number + 1) % len(vocabulary) for word, number in vocabulary.items()}
    (path / "tokenizer.4.0.0.json").write_text(json.dumps(found))
    _change(path, "tokenizer_config.json", fast_tokenizer_files=["tokenizer.json", "tokenizer.4.0.0.json"])


@attack("loader")
def settings_that_are_a_list(path):
    """tokenizer_config.json is a list."""
    (path / "tokenizer_config.json").write_text("[1]")


@attack("loader")
def settings_nested_deep(path):
    """tokenizer_config.json with 100,000 brackets."""
    (path / "tokenizer_config.json").write_text("[" * 100_000)


@attack("loader")
def vocabulary_that_is_no_vocabulary(path):
    """tokenizer.json with numbers where words are needed."""
    _change(path, "tokenizer.json", model={"type": "BPE", "vocab": [1, 2], "merges": "x"})
