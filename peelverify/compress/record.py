"""What was done to a model: ``peelverify.json`` beside the weights, and saving both together.

The record MUST have ``schema``, ``method`` and ``kept`` (indices, in the original, of the blocks that are
left, ascending). It MAY have ``original`` (weight file name -> SHA-256) and settings of the method. It is a
statement by whoever compressed the model, not evidence: a certificate re-computes what it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peelverify.errors import ArtifactError, InputError
from peelverify.models.load import quiet
from peelverify.models.save import new_directory
from peelverify.models.view import ModelView

__all__ = ["RECORD_NAME", "SCHEMA", "compression_record", "read_record", "save_compressed", "weight_digests",
           "write_compressed"]

SCHEMA = "peelverify.compression/1"
RECORD_NAME = "peelverify.json"


def compression_record(
    method: str,
    *,
    depth: int,
    kept: Sequence[int] | None = None,
    original: dict[str, str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Describe a compression as plain data.

    Args:
        method: name of the method.
        depth: number of blocks of the original.
        kept: indices of the original's blocks that are left; all if None.
        original: weight file name -> SHA-256; see `weight_digests`.
        **settings: options of the method.

    Raises:
        InputError: if ``kept`` is empty, not ascending, or outside the original.
    """
    kept = list(range(depth)) if kept is None else [int(k) for k in kept]
    if not kept or sorted(set(kept)) != kept or kept[0] < 0 or kept[-1] >= depth:
        raise InputError(
            f"compression_record needs ascending block indices within 0..{depth - 1}, got {kept}; "
            "name the blocks that are left"
        )
    return {
        "schema": SCHEMA,
        "method": method,
        "kept": kept,
        "original_blocks": depth,
        "original": dict(original or {}),
        "settings": settings,
    }


def weight_digests(directory: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of each safetensors file of a model directory, by file name."""
    digests = {}
    for path in sorted(Path(directory).glob("*.safetensors")):
        with path.open("rb") as handle:
            digests[path.name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return digests


def write_compressed(view: ModelView, folder: Path, record: dict[str, Any], tokenizer: Any = None) -> None:
    """Write weights, config, tokenizer and record into an existing folder."""
    with quiet():
        view.model.save_pretrained(str(folder))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))
    text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"
    (folder / RECORD_NAME).write_text(text, encoding="utf-8")


def save_compressed(
    view: ModelView, target: str | os.PathLike[str], record: dict[str, Any], tokenizer: Any = None
) -> Path:
    """Write a compressed model as an ordinary Hugging Face directory with its record.

    Args:
        view: the compressed decoder.
        target: folder to make; it must not exist, or be empty.
        record: from `compression_record`.
        tokenizer: tokenizer to save beside it.

    Returns:
        The folder. Plain `transformers` loads it and ignores the record.

    Raises:
        ArtifactError: if the folder exists or cannot be written; no partial folder is left.
    """
    with new_directory(target) as part:
        write_compressed(view, part, record, tokenizer)
    return Path(target)


def read_record(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The record of a compressed model's directory, or None if it has none.

    Raises:
        ArtifactError: if the record is damaged or of another schema.
    """
    path = Path(directory) / RECORD_NAME
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept, depth = record["kept"], record["original_blocks"]
        if record["schema"] != SCHEMA or not isinstance(record["method"], str):
            raise ValueError("another schema")
        whole = isinstance(kept, list) and all(type(k) is int for k in [*kept, depth])
        if not whole or not kept or sorted(set(kept)) != kept or kept[0] < 0 or kept[-1] >= depth:
            raise ValueError("impossible block indices")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}); compress the model again with peelverify compress", path=str(path)
        ) from error
    return record
