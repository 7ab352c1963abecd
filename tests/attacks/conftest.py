"""One tiny pair of models, one certificate of it, and the table of attacks."""

from __future__ import annotations

import copy
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.attacks.registry import Attack, table


@dataclass(frozen=True)
class Target:
    """What is attacked."""

    original: Path
    compressed: Path
    certificate: Path
    text: Path
    document: dict

    def copy(self) -> dict:
        """The certificate as data, to be changed."""
        return copy.deepcopy(self.document)


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A decoder of two blocks, a noisy copy, and a certificate with all parts."""
    from peelverify.certify import certify
    from peelverify.certify.pool import text_pool
    from peelverify.data import builtin_text, windows
    from peelverify.models import ModelView, save_model
    from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder

    root = tmp_path_factory.mktemp("attacks")
    tokenizer = byte_tokenizer()
    view = small_decoder("llama", blocks=2, width=16, heads=2, length=32, seed=3)
    train_decoder(view, windows(tokenizer, builtin_text(), length=32, count=40), steps=6, batch=8, learning_rate=3e-3)
    original = save_model(view, root / "original", tokenizer=tokenizer)
    noisy = copy.deepcopy(view.model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in noisy.parameters():
            if parameter.ndim == 2:
                parameter += 0.02 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    compressed = save_model(ModelView(noisy), root / "compressed", tokenizer=tokenizer)
    text = root / "text.txt"
    text.write_text(builtin_text()[:1600])
    pool = text_pool(tokenizer, [text], length=16)
    certificate = certify(original, compressed, pool=pool, windows=12, lean=False, batch=4)
    path = certificate.save(root / "model.cert.json")
    return Target(original, compressed, path, text, json.loads(path.read_text()))


@pytest.fixture
def timed(record_property: Callable[[str, object], None]) -> Callable[[Attack], object]:
    """Measure one attack for the table, whatever becomes of it, and stop it if it hangs."""

    @contextmanager
    def measure(attack: Attack, seconds: int = 30) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            raise TimeoutError(f"{attack.name} hangs")

        before, start = signal.signal(signal.SIGALRM, stop), time.perf_counter()
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            record_property("attack", (attack.name, attack.layer, time.perf_counter() - start))

    return measure


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that prints the table."""
    parser.addoption("--table", action="store_true", help="print the attacks, what refused them, and the seconds")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    if not config.getoption("--table", default=False):
        return
    stats = terminalreporter.stats
    reports = [r for r in (*stats.get("passed", ()), *stats.get("failed", ())) if r.when == "call"]
    terminalreporter.section("attacks")
    for line in table((r.passed, [tried for key, tried in r.user_properties if key == "attack"]) for r in reports):
        terminalreporter.write_line(line)
