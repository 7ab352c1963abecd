"""What a certificate is about: files by hash, settings, tokens, host."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peelverify import __version__
from peelverify.certify.checker import digest
from peelverify.errors import ArtifactError, InputError, PeelverifyError, ShapeError
from peelverify.models import load_model
from peelverify.models.blockwise import BlockSource, NotStreamable, StreamedModel, WholeModel
from peelverify.models.load import read_config, resolve_model
from peelverify.models.pinned import Pinned
from peelverify.models.plain import sha256_of, unsaved_buffers
from peelverify.models.view import ModelView

__all__ = ["Subject", "as_ids", "describe_host", "describe_tokens", "file_sha256", "open_model", "recorded_kept"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); check the file") from error


def _config_sha256(view: ModelView) -> str:
    """Hash of the configuration as it takes effect, without names and versions."""
    config = view.config.to_dict()
    for key in ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype"):
        config.pop(key, None)
    return digest(json.loads(json.dumps(config, default=str), parse_float=str))


class Subject:
    """A model that a certificate speaks of.

    Attributes:
        source: its parts, one after the other.
        facts: name, hashes of the deciding files, hash of the effective config, dtype.
        directory: where it lies; None for a model given in memory.
    """

    def __init__(
        self, source: BlockSource, facts: dict[str, Any], directory: Path | None, pinned: Pinned | None = None
    ) -> None:
        self.source = source
        self.facts = facts
        self.directory = directory
        self._pinned = pinned

    def unchanged(self) -> None:
        """Confirm that no file was written to since it was opened and hashed.

        Raises:
            ArtifactError: if one was.
        """
        if self._pinned is not None:
            self._pinned.unchanged()

    @property
    def view(self) -> ModelView:
        """The decoder; its parameters may be without data if it is read block by block."""
        return self.source.view


def _open_directory(
    directory: Path, dtype: str, attention: str, stream: bool | None, note: Callable[[str], None]
) -> BlockSource:
    if stream is not False:
        try:
            return StreamedModel(directory, dtype=dtype, attention=attention)
        except NotStreamable as error:
            if stream:
                raise
            note(f"not read block by block: {error}; the whole model is loaded")
    return WholeModel(load_model(directory, dtype=dtype, attention=attention))


def open_model(
    model: Any,
    *,
    dtype: str = "float32",
    attention: str = "auto",
    stream: bool | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Subject:
    """Load a model and hash what decides its function.

    Args:
        model: directory, hub id, `ModelView` or ``...ForCausalLM`` module. A model in memory is identified
            by the hash of its tensors.
        dtype: dtype to run in (directories only).
        attention: attention implementation (directories only).
        stream: read weights block by block: True, False, or None for wherever it can be done.
        on_note: called with the reason if a model cannot be read block by block.

    Raises:
        NotStreamable: if ``stream`` is True and it cannot be done.
        InputError: a model in memory whose own logits are not those of its parts.
    """
    pinned = None
    if isinstance(model, (str, os.PathLike)):
        directory = resolve_model(model)
        read_config(directory)
        pinned = Pinned(directory)
        try:
            source = _open_directory(pinned.path, dtype, attention, stream, on_note or (lambda text: None))
            pinned.unchanged()
        except PeelverifyError as error:  # speak of the directory that was given, not of the folder of links
            error.args = (str(error).replace(str(pinned.path), str(directory)), *error.args[1:])
            raise
        view, files, name = source.view, pinned.files, directory.resolve().name
    else:
        view = model if isinstance(model, ModelView) else ModelView(model)
        source, directory, name = WholeModel(view), None, "in memory"
        total = hashlib.sha256()
        for key, tensor in sorted({**view.model.state_dict(), **dict(unsaved_buffers(view.model))}.items()):
            total.update(f"{key}:{sha256_of(tensor)}\n".encode())
        files = {"state_dict": total.hexdigest()}
        if source.attention not in source.attention_choices:
            raise InputError(
                f"certify needs attention {' or '.join(source.attention_choices)} in a model in memory, got "
                f"{source.attention!r}; call its set_attn_implementation first"
            )
    if isinstance(source, WholeModel):
        source.check_logits()
    facts = {
        "name": name,
        "family": view.config.model_type,
        "files": files,
        "config_sha256": _config_sha256(view),
        "dtype": str(view.dtype).removeprefix("torch."),
    }
    return Subject(source, facts, directory, pinned)


def recorded_kept(subject: Subject, depth: int) -> list[int] | None:
    """Kept blocks that ``peelverify compress`` recorded beside a model; None if there is no record.

    Raises:
        ArtifactError: if the record is damaged or speaks of a model of another depth.
    """
    from peelverify.compress.record import read_record

    record = read_record(subject.directory) if subject.directory is not None else None
    if record is None:
        return None
    if record["original_blocks"] != depth:
        raise ArtifactError(
            f"{subject.directory} was made from a model of {record['original_blocks']} blocks, got an original of "
            f"{depth}; give the model that it was made from"
        )
    return record["kept"]


def as_ids(tokens: Any) -> Tensor:
    """Token ids as an int64 tensor (windows, length); a flat list is one window.

    Raises:
        InputError: not integers, or empty.
        ShapeError: ragged, or windows of fewer than two tokens.
    """
    try:
        ids = torch.as_tensor(tokens)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ShapeError(
            f"certify needs token ids as a (windows, length) array ({str(error)[:80]}); see peelverify.data.windows"
        ) from error
    if ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool:
        raise InputError(f"certify needs integer token ids, got {ids.dtype}; tokenise the text first")
    ids = ids.reshape(1, -1) if ids.ndim == 1 else ids
    if ids.ndim != 2 or ids.numel() == 0 or ids.shape[1] < 2:
        raise ShapeError(
            f"certify needs token ids of shape (windows, length >= 2), got {tuple(ids.shape)}; give more text"
        )
    return ids.to(torch.int64)


def describe_tokens(ids: Tensor, *, external: bool) -> dict[str, Any]:
    """Shape, hash and, unless they are kept outside, the ids themselves."""
    rows = ids.tolist()
    found: dict[str, Any] = {"shape": list(ids.shape), "sha256": digest(rows)}
    if not external:
        found["ids"] = rows
    return found


def describe_host() -> dict[str, Any]:
    """Date, software and machine; none of it belongs to the claim."""
    import numpy
    import transformers

    return {
        "date": datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat(),
        "peelverify": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
