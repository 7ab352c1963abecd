"""Save a decoder so that a directory is either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peelverify.errors import ArtifactError
from peelverify.models.load import quiet
from peelverify.models.view import ModelView

__all__ = ["new_directory", "save_model"]


@contextmanager
def new_directory(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a temporary sibling folder and give it the name ``target`` only when the block ends well.

    Raises:
        ArtifactError: if ``target`` exists and is not an empty folder, or cannot be written.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ArtifactError(f"{target} exists already; choose another folder or remove it first", path=str(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise ArtifactError(f"{target} cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield part
        part.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        part.rename(target)
    finally:
        if part.exists():
            shutil.rmtree(part, ignore_errors=True)


def save_model(view: ModelView, target: str | os.PathLike[str], *, tokenizer: Any = None) -> Path:
    """Write an ordinary Hugging Face directory: config, safetensors, tokenizer.

    Args:
        view: the decoder.
        target: folder to make; it must not exist, or be empty.
        tokenizer: tokenizer to save beside it.

    Returns:
        The folder, which plain `transformers` loads.

    Raises:
        ArtifactError: if the folder exists or cannot be written. No partial folder is left behind.
    """
    with new_directory(target) as part, quiet():
        view.model.save_pretrained(str(part))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(part))
    return Path(target)
