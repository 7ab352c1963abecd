"""Model files that are opened once: hashed and loaded through the same descriptor.

A file that is checked under its path and then opened again under its path can be another file by then. Here every
file that decides what a model computes is opened once. Where the system can name open descriptors as paths
(``/proc/self/fd``), a private folder of links to them stands for the directory, so that whatever loads from it gets
the very files that were hashed; elsewhere the directory itself is used. On every system `Pinned.unchanged` compares
identity, size and times of all files, that of the inode included, with those at the time of opening. What it cannot
see: a write through a mapping whose page was dirty before, or within the same tick of the file system's clock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import weakref
from pathlib import Path

from peelverify.errors import ArtifactError
from peelverify.models.load import PINNED_FOLDERS, inside_model, model_files

__all__ = ["Pinned"]

_DESCRIPTORS = Path("/proc/self/fd")


def _state(found: os.stat_result) -> tuple[int, ...]:
    # The time of the inode is the one that a writer cannot put back. A rename or a new link changes it too, harmlessly;
    # that is refused all the same, because it could hide a write.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _close(descriptors: dict[str, int], folder: str | None) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
    if folder is not None:
        PINNED_FOLDERS.difference_update([p for p in PINNED_FOLDERS if p.parent == Path(folder)])
        shutil.rmtree(folder, ignore_errors=True)


class Pinned:
    """The deciding files of a model directory, held open.

    Args:
        directory: model directory.

    Attributes:
        path: folder to load from; it shows the pinned files under their names.
        files: name -> SHA-256 of each file, read through the descriptor that is loaded from.

    Raises:
        ArtifactError: a file is missing, is no regular file, or is a link that leaves the model.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, int] = {}
        folder = tempfile.mkdtemp(prefix="peelverify-pinned-") if _DESCRIPTORS.is_dir() else None
        self._finalizer = weakref.finalize(self, _close, self._open, folder)
        try:
            for path in model_files(directory):
                self._open[path.name] = self._pin(path)
            self._states = {name: _state(os.fstat(descriptor)) for name, descriptor in self._open.items()}
            self.files = {name: self._sha256(descriptor) for name, descriptor in self._open.items()}
            self.path = directory if folder is None else Path(folder) / directory.resolve().name
            if folder is not None:
                self.path.mkdir()
                PINNED_FOLDERS.add(self.path)
                for name, descriptor in self._open.items():
                    (self.path / name).symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
        except BaseException:
            self.close()
            raise

    def _pin(self, path: Path) -> int:
        real = inside_model(path, self.directory)
        try:
            flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(real, os.O_RDONLY | flags)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read ({error.strerror}); check the file") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ArtifactError(f"{path} is not a regular file; give a model saved on disk")
        return descriptor

    def _sha256(self, descriptor: int) -> str:
        total, at = hashlib.sha256(), 0
        while piece := os.pread(descriptor, 1 << 20, at):
            total.update(piece)
            at += len(piece)
        return total.hexdigest()

    def unchanged(self) -> None:
        """Confirm that no pinned file was written to, renamed or linked since it was opened.

        Raises:
            ArtifactError: if one was.
        """
        for name, descriptor in self._open.items():
            now = _state(os.fstat(descriptor))
            if now != self._states[name]:
                raise ArtifactError(
                    f"{self.directory / name} was changed while it was read; leave it alone and try again"
                )

    def close(self) -> None:
        """Close the files; what was loaded from them stays."""
        self._finalizer()
