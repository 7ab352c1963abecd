"""compare_speed with a clock under control: pairs, medians, ideals."""

from __future__ import annotations

import json

import pytest
import torch

from peelverify.compress import delete_layers
from peelverify.errors import DomainError
from peelverify.evaluate.clock import Speed, compare_speed
from peelverify.models import load_model


@pytest.fixture(scope="module")
def llama(model_dirs):
    """A trained Llama."""
    return load_model(model_dirs["llama"])


def test_repeats_are_pairs_after_warming_up(llama, ids):
    """Warm-up is not timed, both models are timed as often, and who goes first alternates."""
    small = delete_layers(llama, [1])
    runs = []
    handles = [
        v.blocks[0].register_forward_hook(lambda m, a, o, name=name: runs.append(name))
        for name, v in (("one", llama), ("two", small))
    ]
    ticks = iter(range(10_000))
    found = compare_speed(llama, small, ids, repeats=6, warmup=2, clock=lambda: next(ticks))
    for handle in handles:
        handle.remove()
    assert runs == ["two", "one", "one", "two"] * 4
    assert found.original_seconds == found.compressed_seconds == (1,) * 6
    assert found.speedup == 1 and found.ideal_speedup == 1.5 and not found.exceeds_ideal
    assert found.compressed_parameter_bytes < found.original_parameter_bytes
    json.dumps(found.to_json(), allow_nan=False)


def test_figures_come_from_pairs():
    """The speed-up is the median of ratios of pairs; above the ideal even at the lower quartile it is noise."""
    found = Speed((2.0, 4.0, 6.0, 8.0), (1.0, 2.0, 2.0, 2.0), 4, 2, 10, 5)
    assert found.speedup == 2.5
    assert found.quartiles[0] <= 2.5 <= found.quartiles[1]
    assert found.ideal_speedup == 2 and not found.exceeds_ideal
    assert Speed((3.0,) * 4, (1.0,) * 4, 4, 2, 1, 1).exceeds_ideal


def test_too_few_repeats_are_refused(llama, ids):
    """Spread needs repeats."""
    for options in ({"repeats": 3}, {"warmup": -1}):
        with pytest.raises(DomainError, match="compare_speed needs"):
            compare_speed(llama, llama, ids, **options)
    assert torch.is_grad_enabled()
