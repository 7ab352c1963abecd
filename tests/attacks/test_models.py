"""Model directories: refused by the loader with one line, or found to be another model."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peelverify.certify import certify, verify
from peelverify.certify.identity import open_model
from peelverify.certify.pool import text_pool
from peelverify.cli.app import main
from peelverify.errors import ArtifactError, PeelverifyError
from peelverify.models import load_model
from peelverify.models.pinned import Pinned
from peelverify.models.small import byte_tokenizer
from peelverify.verdict import Verdict
from tests.attacks.registry import attacks_of

IDS = [[1, 2, 3, 4, 5, 6, 7, 8]] * 2


@pytest.mark.parametrize("attack", attacks_of("on_models"), ids=lambda a: a.name)
def test_it_is_refused(attack, target, tmp_path: Path, timed, capsys) -> None:
    """By the loader whichever way weights are read, or by the hashes of the certificate."""
    bad = tmp_path / "model"
    shutil.copytree(target.original, bad)
    attack.run(bad)
    with timed(attack):
        if attack.layer == "recompute":
            pool = text_pool(byte_tokenizer(), [target.text], length=16)
            found = verify(target.certificate, original=bad, compressed=target.compressed, pool=pool, lean=False)
            assert found.verdict is Verdict.VIOLATED and "another one" in found.summary
            return
        for stream in (None, False):
            with pytest.raises(PeelverifyError) as caught:
                certify(bad, bad, IDS, lean=False, every_input=False, stream=stream)
            assert len(str(caught.value).splitlines()) == 1
            assert "peelverify-pinned" not in str(caught.value)
    capsys.readouterr()
    code = main(["rho", str(bad), "--tokens", "32", "--window", "16", "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert code == 2 and err.count("error: ") == 1 and "internal error" not in err and "Traceback" not in err


def test_links_of_the_hub_cache_work(target, tmp_path: Path) -> None:
    """snapshots/<revision>/file -> ../../blobs/<hash>, as the hub cache makes them."""
    home = tmp_path / "models--a--b"
    blobs, snapshot = home / "blobs", home / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for i, file in enumerate(sorted(target.original.iterdir())):
        shutil.copy(file, blobs / f"{i:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{i:064x}")
    pool = text_pool(byte_tokenizer(), [target.text], length=16)
    found = verify(target.certificate, original=snapshot, compressed=target.compressed, pool=pool, lean=False)
    assert found.reached == ("arithmetic", "recompute"), found.summary
    (snapshot / "model.safetensors").unlink()
    shutil.copy(target.original / "model.safetensors", tmp_path / "elsewhere")
    (snapshot / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="leaves the model"):
        open_model(snapshot)


@pytest.mark.parametrize("stream", [True, False])
def test_a_file_swapped_between_hash_and_load_is_not_loaded(stream, target, tmp_path: Path, monkeypatch) -> None:
    """After hashing, the name points to other weights: what is loaded is what was hashed, and opening is refused."""
    path = tmp_path / "model"
    shutil.copytree(target.original, path)
    honest = open_model(path)
    evil = {n: torch.zeros_like(t) for n, t in load_file(path / "model.safetensors").items()}
    save_file(evil, tmp_path / "evil", metadata={"format": "pt"})
    before, swapped = Pinned._sha256, []

    def swap(self, descriptor):
        found = before(self, descriptor)
        if not swapped:
            os.replace(tmp_path / "evil", path / "model.safetensors")
            swapped.append(1)
        return found

    monkeypatch.setattr(Pinned, "_sha256", swap)
    pinned = Pinned(path)
    assert swapped and pinned.files == honest.facts["files"]
    assert load_model(pinned.path).model.lm_head.weight.abs().max() > 0
    swapped.clear()
    save_file(evil, tmp_path / "evil", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="changed while"):
        open_model(path, stream=stream)
    assert load_model(path).model.lm_head.weight.abs().max() == 0  # the name does point to the other file


def test_a_file_written_to_while_it_is_read_is_noticed(target, tmp_path: Path) -> None:
    """The same file, changed in place after it was hashed."""
    path = tmp_path / "model"
    shutil.copytree(target.original, path)
    opened = open_model(path)
    file = path / "model.safetensors"
    with open(file, "r+b") as handle:
        handle.seek(-4, os.SEEK_END)
        handle.write(b"\0\0\0\0")
    os.utime(file, ns=(1, 1))
    with pytest.raises(ArtifactError, match="changed while"):
        opened.unchanged()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_changed_and_put_back_with_its_times_is_noticed(name, target, tmp_path: Path) -> None:
    """Other bytes for as long as it is read, then the old bytes and the old times: the time of the inode tells."""
    path = tmp_path / "model"
    shutil.copytree(target.original, path)
    opened = open_model(path)
    file, stat = path / name, os.stat(path / name)
    honest = file.read_bytes()
    opened.unchanged()
    with open(file, "r+b") as handle:
        handle.write(b"\0" * len(honest))
    file.open("r+b").write(honest)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.read_bytes() == honest and os.stat(file).st_mtime_ns == stat.st_mtime_ns
    with pytest.raises(ArtifactError, match="changed while"):
        opened.unchanged()


def test_loading_makes_no_connection(target, monkeypatch) -> None:
    """A local model is loaded without a single attempt to reach a network, also where offline flags are not set."""
    from huggingface_hub import constants

    tried = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: tried.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: tried.append(a) or [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    load_model(target.original)
    open_model(target.original)
    assert tried == [] and constants.HF_HUB_OFFLINE is False


def test_no_descriptor_is_left_open(target) -> None:
    """Opening and dropping a model many times holds no files and leaves no folder behind."""
    import gc

    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        pinned = Pinned(target.original)
        folder = pinned.path.parent
        del pinned
        gc.collect()
        assert not folder.exists()
    assert count() <= before
