"""Fixtures that several folders share: small real models, trained a little, saved and loaded again."""

from __future__ import annotations

import copy
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads of small models sleep; read as torch starts

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "peelverify", deadline=None, derandomize=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("peelverify")

torch.set_num_threads(1)  # two test processes run side by side; small models gain nothing from threads

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="session")
def ids() -> torch.Tensor:
    """Four windows of 32 byte tokens of real text."""
    from peelverify.data import builtin_text, windows
    from peelverify.models.small import byte_tokenizer

    return windows(byte_tokenizer(), builtin_text(), length=32, count=4)


@pytest.fixture(scope="session")
def model_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One saved model directory a family: 3 blocks, width 32, 20 training steps."""
    from peelverify.data import builtin_text, windows
    from peelverify.models import save_model
    from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder

    root = tmp_path_factory.mktemp("models")
    tokenizer = byte_tokenizer()
    train = windows(tokenizer, builtin_text(), length=64, count=200)
    found = {}
    for family in FAMILIES:
        view = small_decoder(family, blocks=3, width=32, heads=4, length=64, seed=1)
        train_decoder(view, train, steps=20, batch=8, learning_rate=3e-3)
        found[family] = save_model(view, root / family, tokenizer=tokenizer)
    return found


@pytest.fixture(scope="session")
def noisy_dirs(model_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each model with one percent of noise on its matrices: a stand-in for any compression tool."""
    from peelverify.models import ModelView, load_model, load_tokenizer, save_model

    root = tmp_path_factory.mktemp("noisy")
    found = {}
    for family, path in model_dirs.items():
        model = copy.deepcopy(load_model(path).model)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter += 0.01 * parameter.std() * torch.randn(parameter.shape, generator=generator)
        found[family] = save_model(ModelView(model), root / family, tokenizer=load_tokenizer(path))
    return found
