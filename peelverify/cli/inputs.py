"""What several commands read in the same way: text cut into windows, lists of blocks, output files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from peelverify.errors import ArtifactError, DomainError, InputError

__all__ = [
    "DeviceOption", "DtypeOption", "block_list", "check_device", "new_output", "protected_ends", "result_folder",
    "text_windows", "window_pool",
]

DeviceOption = Annotated[str, typer.Option(help="Device of torch: cpu, cuda, cuda:1, mps.")]
DtypeOption = Annotated[
    str, typer.Option(help="Weights are converted to float32, float64, bfloat16 or float16; float32 is for figures.")
]


def check_device(device: str, dtype: str) -> dict[str, str]:
    """Check before long work that torch can use a device in a dtype; both as options of `load_model`.

    Raises:
        InputError: unknown dtype, or a device that is not there.
    """
    import torch

    from peelverify.models.load import DTYPES

    if dtype not in DTYPES:
        raise InputError(f"--dtype needs one of {', '.join(DTYPES)}, got {dtype!r}; name one")
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("meta holds no numbers")
        float(torch.ones(1, dtype=DTYPES[dtype], device=device) + 1)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(
            f"--device needs a device that torch can use here in {dtype}, got {device!r} ({reason}); cpu is "
            "always there"
        ) from None
    return {"device": device, "dtype": dtype}


def text_windows(
    model: str | os.PathLike[str], text: str | os.PathLike[str] | None, *, tokens: int, window: int,
    part: str = "held-out",
) -> Any:
    """Tokenise a text with the tokenizer of a model and cut it into windows.

    Args:
        model: model directory, for its tokenizer and its longest position.
        text: UTF-8 file; None for the text that ships with Python.
        tokens: about how many tokens; rounded down to whole windows, at least one.
        window: tokens a window; shortened to the longest position of the model.
        part: "held-out" or "train", which part of the built-in text; a given file is used whole.

    Returns:
        int64 ids (windows, window).
    """
    from peelverify.data import builtin_text, read_text, split_text, windows
    from peelverify.models import load_tokenizer
    from peelverify.models.load import read_config, resolve_model

    if tokens < 2:
        raise InputError(f"--tokens needs at least 2, got {tokens}; give a larger number")
    content = read_text(text) if text is not None else split_text(builtin_text())[part == "held-out"]
    directory = resolve_model(model)
    config = read_config(directory, known=False)
    longest = config.get("max_position_embeddings") or config.get("n_positions") or window
    length = min(window, int(longest), tokens)
    return windows(load_tokenizer(directory), content, length=length, count=max(1, tokens // length))


def window_pool(
    model: str | os.PathLike[str], texts: list[Path] | None, *, tokens: int, window: int
) -> tuple[Any, int]:
    """All windows of the given texts, and how many of them make about ``tokens`` tokens.

    Args:
        model: model directory, for its tokenizer and its longest position.
        texts: UTF-8 files; None for the held-out part of the text that ships with Python.
        tokens: about how many tokens to draw; rounded down to whole windows, at least one.
        window: tokens a window; shortened to the longest position of the model.
    """
    from peelverify.certify.pool import Pool, text_pool
    from peelverify.data import builtin_text, split_text, windows
    from peelverify.models import load_tokenizer
    from peelverify.models.load import read_config, resolve_model

    if tokens < 2:
        raise InputError(f"--tokens needs at least 2, got {tokens}; give a larger number")
    directory = resolve_model(model)
    config = read_config(directory)
    longest = config.get("max_position_embeddings") or config.get("n_positions") or window
    length = min(window, int(longest), tokens)
    tokenizer = load_tokenizer(directory)
    if texts:
        pool = text_pool(tokenizer, texts, length=length)
    else:
        pool = Pool(windows(tokenizer, split_text(builtin_text())[1], length=length), {})
    count = max(1, tokens // length)
    if count > len(pool.ids):
        raise InputError(
            f"--tokens {tokens} needs {count} windows of {length} tokens, got text for {len(pool.ids)}; "
            "give a longer text, or fewer tokens"
        )
    return pool, count


def block_list(text: str | None, option: str = "--kept") -> list[int] | None:
    """Read ``0,1,3``; None stays None."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} needs block numbers such as 0,1,3, got {text!r}; separate them by commas") from None


def protected_ends(first: int, last: int) -> tuple[int, int]:
    """Read ``--keep-first`` and ``--keep-last``."""
    for option, number in (("--keep-first", first), ("--keep-last", last)):
        if number < 0:
            raise DomainError(f"{option} needs a whole number from 0 on, got {number}; it counts blocks that stay")
    return first, last


def new_output(path: Path) -> Path:
    """Check before long work that a new file can be made; the file is not made yet.

    Raises:
        ArtifactError: if it exists or its folder cannot be written.
    """
    if path.exists():
        raise ArtifactError(f"{path} exists already; choose another name or remove it first")
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ArtifactError(f"{path} cannot be written: no permission in {parent}; choose another folder")
    return path


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """A new folder for results that are written as they arrive; it goes again if nothing was written.

    Raises:
        ArtifactError: if it exists and is not an empty folder, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"{out} exists already; choose another folder or remove it first")
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ArtifactError(f"{out} cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield out
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()
