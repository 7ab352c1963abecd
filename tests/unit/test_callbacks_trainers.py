"""The monitor inside the Hugging Face Trainer, Lightning, and two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from peelverify.callbacks import JsonLines, PeelMonitor, PeelTrainerCallback, lightning_callback
from peelverify.data import builtin_text, windows
from peelverify.errors import InputError
from peelverify.models.small import byte_tokenizer, small_decoder


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    """Windows of real text, 24 tokens each."""
    return windows(byte_tokenizer(), builtin_text(), length=24, count=64)


def decoder() -> torch.nn.Module:
    """A fresh decoder of 2 blocks with dropout, in training mode."""
    model = small_decoder("gpt2", blocks=2, width=16, heads=2, length=32, seed=3).model
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    return model.train()


def monitor(tokens: torch.Tensor, path: Path | None = None) -> PeelMonitor:
    """A monitor that reads every second step."""
    return PeelMonitor(
        tokens[:8], every=2, time_fraction=None, budget=1, writers=[] if path is None else [JsonLines(path)]
    )


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """Copies of all weights."""
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("bf16", [False, True])
def test_hugging_face_trainer(tokens, tmp_path: Path, bf16: bool) -> None:
    """Six updates of two accumulated batches: readings at 2, 4, 6; the weights are those without the monitor."""
    from transformers import Trainer, TrainingArguments

    data = [{"input_ids": row, "labels": row} for row in tokens]

    def run(callbacks: list[object]) -> list[torch.Tensor]:
        model = decoder()
        arguments = TrainingArguments(
            str(tmp_path / "out"), max_steps=6, per_device_train_batch_size=4, gradient_accumulation_steps=2, bf16=bf16,
            use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=5,
        )
        Trainer(model, arguments, train_dataset=data, callbacks=callbacks).train()
        return weights(model)

    watch = monitor(tokens, tmp_path / "log.jsonl")
    with_it, without = run([PeelTrainerCallback(watch)]), run([])
    assert [r.step for r in watch.readings] == [2, 4, 6]
    assert [json.loads(x)["step"] for x in (tmp_path / "log.jsonl").read_text().splitlines()] == [2, 4, 6]
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(with_it, weights(decoder()), strict=True))


def test_lightning(tokens, tmp_path: Path) -> None:
    """The real package: accumulation counts once, and the weights are those without the monitor."""
    import lightning.pytorch as lightning
    from torch.utils.data import DataLoader

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = decoder()

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.inner(input_ids=batch, labels=batch, use_cache=False).loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def run(callbacks: list[object]) -> list[torch.Tensor]:
        lightning.seed_everything(5, verbose=False)
        module = Module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                max_steps=6, accumulate_grad_batches=2, accelerator="cpu", devices=1, logger=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                callbacks=callbacks, default_root_dir=str(tmp_path),
            )
            trainer.fit(module, DataLoader(tokens, batch_size=4, shuffle=True))
        return weights(module)

    watch = monitor(tokens, tmp_path / "log.jsonl")
    with_it, without = run([lightning_callback(watch)]), run([])
    assert [r.step for r in watch.readings] == [2, 4, 6]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))


def test_lightning_missing_is_said(tokens, monkeypatch) -> None:
    """Without the package, one clear error."""
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"peelverify\[lightning\]"):
        lightning_callback(monitor(tokens))


WORKER = '''
import sys, torch
import torch.distributed as dist
from pathlib import Path
from peelverify.callbacks import JsonLines, PeelMonitor
from tests.unit.test_callbacks_trainers import decoder
rank, watched, folder = int(sys.argv[1]), sys.argv[2] == "1", Path(sys.argv[3])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
tokens = torch.load(folder / "tokens.pt", weights_only=True)
model = decoder()
wrapped = torch.nn.parallel.DistributedDataParallel(model)
monitor = None
if watched:
    writers = [JsonLines(folder / "log.jsonl")] if rank == 0 else []
    monitor = PeelMonitor(tokens[:8], every=2, time_fraction=None, budget=1, writers=writers)
adam = torch.optim.AdamW(wrapped.parameters(), lr=1e-3)
torch.manual_seed(rank)
for step in range(1, 5):
    for micro in range(2):
        rows = tokens[torch.randint(len(tokens), (4,))]
        if micro == 0:
            with wrapped.no_sync():
                (wrapped(input_ids=rows, labels=rows, use_cache=False).loss / 2).backward()
        else:
            (wrapped(input_ids=rows, labels=rows, use_cache=False).loss / 2).backward()
        if monitor is not None:
            monitor.step(wrapped, step - 1 + micro)
    adam.step()
    adam.zero_grad()
    if monitor is not None:
        monitor.step(wrapped, step)
torch.save({"weights": [p.detach() for p in model.parameters()],
            "readings": [] if monitor is None else [r.step for r in monitor.readings]}, folder / f"end-{rank}.pt")
dist.destroy_process_group()
'''


def test_two_processes(tokens, tmp_path: Path) -> None:
    """Data parallel on gloo with accumulation: only rank 0 reads, both ranks end in the bits of an unwatched run."""
    ends = {}
    for watched in ("0", "1"):
        folder = tmp_path / watched
        folder.mkdir()
        torch.save(tokens, folder / "tokens.pt")
        (folder / "work.py").write_text(WORKER)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        jobs = [
            subprocess.Popen(
                [sys.executable, str(folder / "work.py"), str(rank), watched, str(folder)],
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for rank in range(2)
        ]
        for job in jobs:
            said, _ = job.communicate(timeout=240)
            assert job.returncode == 0, said
        ends[watched] = [torch.load(folder / f"end-{rank}.pt", weights_only=True) for rank in range(2)]
    assert [e["readings"] for e in ends["1"]] == [[0, 2, 4], []]
    assert [json.loads(x)["step"] for x in (tmp_path / "1" / "log.jsonl").read_text().splitlines()] == [0, 2, 4]
    for rank in range(2):
        for a, b in zip(ends["0"][0]["weights"], ends["1"][rank]["weights"], strict=True):
            assert torch.equal(a, b)
