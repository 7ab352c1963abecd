"""Text of a study: Python's own sources and English topics, cut into disjoint documents for each purpose."""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peelverify.data import read_text, windows
from peelverify.errors import InputError
from peelverify.evaluate.stream import ids_digest

__all__ = ["Texts", "builtin_documents", "study_windows"]

_PARTS = ("train", "rank", "final")


@dataclass(frozen=True, eq=False)
class Texts:
    """Token windows for each purpose, from disjoint documents.

    Attributes:
        train: (windows, length) for training, always of the text that ships with Python; empty if none were asked.
        rank: for measuring, ranking and calibrating.
        final: for the figures.
        draws: (draws, windows, length), further windows like ``rank``, disjoint from it and from each other, to see
            how much a choice owes to the windows that it was made on. Fewer than asked where the text ends.
        facts: sources, digests and numbers of windows, as plain data.
    """

    train: Tensor
    rank: Tensor
    final: Tensor
    draws: Tensor
    facts: dict[str, Any]


def _part(name: str) -> str:
    """Which purpose a document serves: 8 in 10 train, 1 in 10 each rank and final, by a digest of its name."""
    place = hashlib.sha256(name.encode()).digest()[0] % 10
    return _PARTS[max(0, place - 7)]


def builtin_documents(part: str) -> tuple[list[str], list[str]]:
    """Documents of one purpose that ship with Python: source files of the standard library, and English topics.

    Args:
        part: "train", "rank" or "final".

    Returns:
        Sources and topics, each in the order of a digest of their names, so that any prefix is a mixture.
    """
    from pydoc_data.topics import topics

    root = Path(sysconfig.get_path("stdlib"))
    names = [
        p
        for p in root.rglob("*.py")
        if not {"site-packages", "dist-packages", "pydoc_data"} & set(p.relative_to(root).parts)
    ]
    kept = [p for p in names if _part(p.relative_to(root).as_posix()) == part]
    kept.sort(key=lambda p: hashlib.sha256(p.relative_to(root).as_posix().encode()).digest())
    sources = []
    for path in kept:
        try:
            sources.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue  # a few test files are in other encodings on purpose
    chosen = sorted((k for k in topics if _part(k) == part), key=lambda k: hashlib.sha256(k.encode()).digest())
    return sources, [topics[k] for k in chosen]


def _mixture(tokenizer: Any, part: str, length: int, count: int, draws: int = 1) -> tuple[Tensor, int]:
    """Draws of windows, each half of source and half of English where there is enough English, and how many English.

    Each draw takes consecutive windows of both, so the next one is of other files and topics, but for the one it
    begins in. Where the text ends there are fewer draws, at least one. Returns (draws, count, length).
    """
    sources, english = builtin_documents(part)
    half = max(1, count // 2)
    # one token has at most a few characters; reading more documents than needed costs time only
    budget = 6 * count * length * draws
    joined = []
    for document in sources:
        joined.append(document)
        budget -= len(document)
        if budget < 0:
            break
    text = windows(tokenizer, "\n\n".join(english), length=length)
    code = windows(tokenizer, "\n\n".join(joined), length=length)
    for n in range(draws, 0, -1):
        each = min(half, len(text) // n)
        if len(code) >= n * (count - each):
            break
    else:
        raise InputError(
            f"a study needs {count} windows of {length} tokens for {part}, got {len(code) + each} from the text that "
            "ships with Python; ask for fewer tokens, or give --text"
        )
    found = torch.cat(
        [code[: n * (count - each)].reshape(n, -1, length), text[: n * each].reshape(n, each, length)], dim=1
    )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return found[:, order], each


def study_windows(
    tokenizer: Any,
    *,
    length: int,
    rank_tokens: int,
    final_tokens: int,
    train_windows: int = 0,
    text: str | None = None,
    draws: int = 1,
) -> Texts:
    """Windows for training, ranking and final figures, from disjoint documents.

    Args:
        tokenizer: a `transformers` tokenizer.
        length: tokens a window.
        rank_tokens, final_tokens: about how many tokens; rounded down to whole windows, at least one.
        train_windows: windows for training, of the built-in text; 0 for none.
        text: a UTF-8 file to rank and judge on; its first part ranks, the next gives the figures, and what follows
            the further draws.
        draws: draws of windows to rank on, the first of which is ``rank``.

    Raises:
        InputError: too little text.
    """
    ranks, finals = max(1, rank_tokens // length), max(1, final_tokens // length)
    english: dict[str, int] = {}
    train = torch.zeros(0, length, dtype=torch.int64)
    if train_windows:
        (train,), english["train"] = _mixture(tokenizer, "train", length, train_windows)
    if text is not None:
        content = read_text(text)
        every = windows(tokenizer, content, length=length)
        if len(every) < ranks + finals:
            windows(tokenizer, content, length=length, count=ranks + finals)  # says what is missing
        rank, final = every[:ranks], every[ranks : ranks + finals]
        rest = every[ranks + finals :][: (draws - 1) * ranks]
        more = rest[: len(rest) // ranks * ranks].reshape(-1, ranks, length)
        source = "a given file: its first windows rank, the next give the figures"
        source += "; training on the text that ships with Python" if train_windows else ""
    else:
        (rank, *others), english["rank"] = _mixture(tokenizer, "rank", length, ranks, draws)
        more = torch.stack(others) if others else torch.zeros(0, ranks, length, dtype=torch.int64)
        (final,), english["final"] = _mixture(tokenizer, "final", length, finals)
        source = "standard library of Python, source files and English topics; disjoint documents"
    facts = {
        "source": source,
        "window": length,
        "windows": {"train": len(train), "rank": len(rank), "final": len(final)},
        "english_windows": english,
        "draws": 1 + len(more),
        "ids_sha256": {"rank": ids_digest(rank), "final": ids_digest(final)}
        | ({"train": ids_digest(train)} if len(train) else {}),
    }
    return Texts(train, rank, final, more, facts)
