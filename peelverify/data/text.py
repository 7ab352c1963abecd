"""Text to token windows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peelverify.errors import ArtifactError, InputError

__all__ = ["builtin_text", "read_text", "split_text", "token_ids", "windows"]


def builtin_text() -> str:
    """English text that ships with Python: the language reference of ``pydoc_data.topics`` (about 466 kB)."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[key] for key in sorted(topics))


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a UTF-8 text file.

    Raises:
        ArtifactError: if it is missing or cannot be read.
        InputError: if it is empty or binary.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"the text {path} cannot be read ({error.strerror}); check the path") from error
    if b"\0" in raw:
        raise InputError(f"the text {path} is binary; give a plain UTF-8 text file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the text {path} is not UTF-8 (byte {error.start}); convert it, e.g. iconv -t utf-8"
        ) from error
    if not text.strip():
        raise InputError(f"the text {path} is empty; give a file with text")
    return text


def split_text(text: str, held_out: float = 0.1) -> tuple[str, str]:
    """Cut a text into disjoint training and held-out parts, the held-out part last.

    Args:
        text: any text.
        held_out: fraction in (0, 1) that is held out, by characters.
    """
    if not 0 < held_out < 1:
        raise InputError(f"split_text needs 0 < held_out < 1, got {held_out}; give a fraction")
    cut = int(len(text) * (1 - held_out))
    return text[:cut], text[cut:]


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, no special tokens added.

    Raises:
        ArtifactError: if the tokenizer fails on it.
    """
    try:
        return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the compiled tokenizer is no Exception
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ArtifactError(
            f"the tokenizer failed on this text ({reason}); use the tokenizer that the model was trained with"
        ) from error


def windows(tokenizer: Any, text: str, *, length: int, count: int | None = None) -> Tensor:
    """Cut a text into consecutive windows of tokens, no special tokens added, the rest dropped.

    Args:
        tokenizer: a `transformers` tokenizer.
        text: any text.
        length: tokens a window, at least 2.
        count: number of windows; all that fit if None.

    Returns:
        int64 token ids of shape (windows, length).

    Raises:
        ArtifactError: if the tokenizer fails on the text.
        InputError: if the text is shorter than one window, or than ``count`` windows.
    """
    if length < 2:
        raise InputError(f"windows needs length >= 2, got {length}; a loss needs a next token")
    if count is not None and count < 1:
        raise InputError(f"windows needs count >= 1, got {count}; ask for at least one window")
    ids = token_ids(tokenizer, text)
    fit = len(ids) // length
    if fit < (count or 1):
        raise InputError(
            f"windows needs text of at least {(count or 1) * length} tokens ({count or 1} windows of {length}), "
            f"got {len(ids)}; give a longer text, or ask for at most so many tokens (--tokens)",
            tokens=len(ids),
        )
    take = fit if count is None else count
    return torch.tensor(ids[: take * length], dtype=torch.int64).reshape(take, length)
