"""The monitor: it reads the current weights, keeps to its time, and leaves training as it was, bit for bit."""

from __future__ import annotations

import copy
import itertools
import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from peelverify.callbacks import JsonLines, PeelMonitor, TensorBoard, WeightsAndBiases
from peelverify.callbacks.shadow import Shadow, undisturbed, unwrap
from peelverify.data import builtin_text, windows
from peelverify.errors import ArtifactError, InputError
from peelverify.models.small import byte_tokenizer, small_decoder
from peelverify.peel.cloud import GREEN_WORDS
from peelverify.peel.maps import all_last, direct
from peelverify.peel.run import thin
from peelverify.peel.transformer import yes_chain
from peelverify.verdict import Status


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    """Windows of real text, 24 tokens each."""
    return windows(byte_tokenizer(), builtin_text(), length=24, count=200)


def decoder(family: str = "llama", dropout: float = 0.0) -> nn.Module:
    """A fresh decoder of 2 blocks in training mode."""
    model = small_decoder(family, blocks=2, width=16, heads=2, length=32, seed=3).model
    if dropout:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
    return model.train()


def loss_of(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Next-token loss of a decoder."""
    logits = model(input_ids=ids, use_cache=False).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())


def train(model: nn.Module, ids: torch.Tensor, monitor: PeelMonitor | None, *, steps: int = 4, accumulate: int = 2,
          autocast: bool = False) -> nn.Module:
    """A plain loop that draws from all three generators and accumulates gradients."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3)
    done = 0
    for micro in range(steps * accumulate):
        rows = torch.randint(len(ids), (4,)) + random.randrange(2) + int(np.random.randint(2))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(model, ids[rows % len(ids)]) / accumulate
            loss.backward()
            if (micro + 1) % accumulate == 0:
                adam.step()
                adam.zero_grad(set_to_none=True)
                done += 1
            if monitor is not None:
                monitor.step(model, done)
    return model


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models have the same weights, bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("autocast", [False, True])
def test_training_is_bit_identical_with_and_without(tokens, autocast: bool) -> None:
    """Dropout, accumulation, autocast and three generators: the monitored run ends in the same bits."""
    monitor = PeelMonitor(tokens[:8], every=1, time_fraction=None, budget=2)
    watched = train(decoder("gpt2", 0.2), tokens, monitor, autocast=autocast)
    plain = train(decoder("gpt2", 0.2), tokens, None, autocast=autocast)
    other = train(decoder("gpt2", 0.3), tokens, None, autocast=autocast)
    assert len(monitor.readings) == 5  # step 0 (before the first update) and every optimiser step, once
    assert same(watched, plain)
    assert not same(other, plain), "the comparison would not notice a difference"


def test_everything_about_the_model_stays(tokens) -> None:
    """Modes, gradients, requires_grad, hooks and generators are untouched, and user hooks are not called."""
    model = decoder()
    model.model.layers[0].eval()
    model.model.embed_tokens.weight.requires_grad_(False)
    calls: list[int] = []
    model.model.layers[1].register_forward_hook(lambda *a: calls.append(1))
    loss_of(model, tokens[:4]).backward()
    calls.clear()

    def picture() -> list[object]:
        return [
            [m.training for m in model.modules()],
            [(p.requires_grad, p.grad is None) for p in model.parameters()],
            [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
            random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),
            torch.is_grad_enabled(), torch.get_num_threads(),
        ]

    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    before = picture()
    assert PeelMonitor(tokens[:8], every=1, time_fraction=None, budget=2).step(model, 1) is not None
    assert picture() == before
    assert calls == []
    for grad, p in zip(grads, model.parameters(), strict=True):
        assert (grad is None and p.grad is None) or torch.equal(grad, p.grad)


def test_undisturbed_restores_generators() -> None:
    """All generators stand where they stood, also after an error inside."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with pytest.raises(KeyError), undisturbed():
        random.random()
        np.random.rand()
        torch.rand(1)
        torch.manual_seed(7)
        raise KeyError
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_a_reading_is_the_yes_chain_of_the_current_weights(tokens) -> None:
    """Loss and bounds equal those of `yes_chain` on a plain copy of the model at that step."""
    model = decoder()
    monitor = PeelMonitor(tokens[:8], every=1, time_fraction=None, budget=3)
    first = monitor.step(model, 0)
    train(model, tokens, None)
    second = monitor.step(model, 1)
    assert first is not None and second is not None and first.point.loss != second.point.loss
    fit, decide = thin(tokens[:8], 4)
    expected = yes_chain(Shadow(model).take(model), fit, held_out=decide, maps=[direct(2), all_last(2)], budget=3)
    assert second.point.loss == expected.held_out_loss
    assert (second.point.yes0, second.point.best, second.point.refit) == (
        expected.yes0, expected.best, expected.refit
    )
    model.eval()
    with torch.no_grad():
        assert float(loss_of(model, decide)) == pytest.approx(second.point.loss, rel=1e-5)


@pytest.mark.parametrize("how", ["function", "in place", "one block"])
def test_compiled_models_are_read_at_their_current_weights(tokens, how: str) -> None:
    """`torch.compile` in three ways: each reading has the loss of the weights of its own step."""
    torch._dynamo.reset()
    model = decoder()
    if how == "function":
        trained = torch.compile(model, backend="aot_eager")
    elif how == "in place":
        model.compile(backend="aot_eager")
        trained = model
    else:
        model.model.layers[0] = torch.compile(model.model.layers[0], backend="aot_eager")
        trained = model
    monitor = PeelMonitor(tokens[:8], every=1, time_fraction=None, budget=1)
    _, decide = thin(tokens[:8], 4)
    sgd = torch.optim.SGD(trained.parameters(), lr=0.5)
    seen = []
    for step in range(3):
        reading = monitor.step(trained, step)
        eager = decoder()
        eager.load_state_dict({n.replace("_orig_mod.", ""): t for n, t in trained.state_dict().items()})
        with torch.no_grad():
            assert reading.point.loss == pytest.approx(float(loss_of(eager.eval(), decide)), rel=1e-5)
        seen.append(reading.point.loss)
        loss_of(trained, tokens[:8]).backward()
        sgd.step()
        sgd.zero_grad()
    assert len(set(seen)) == 3
    torch._dynamo.reset()


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def _timed(monitor_fraction: float | None, clock: Clock, cost: float, tokens: torch.Tensor,
           monkeypatch: pytest.MonkeyPatch, **more: object) -> PeelMonitor:
    """A monitor whose readings take ``cost`` seconds of the clock, in ten equal fits."""
    from peelverify.callbacks import monitor as module

    real = yes_chain

    def slow(*args: object, on_progress=None, **kwargs: object):
        for i in range(10):
            clock.now += cost / 10
            on_progress(i, 10, "")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "yes_chain", slow)
    return PeelMonitor(tokens[:4], time_fraction=monitor_fraction, budget=1, clock=clock, **more)


@pytest.mark.parametrize("cost", [0.6, 2.0, 7.0])
def test_the_time_share_is_kept(tokens, monkeypatch, cost: float) -> None:
    """Over 1,000 seconds of training the monitor takes at most 3 % and one fit, and does read."""
    clock, model = Clock(), decoder()
    monitor = _timed(0.03, clock, cost, tokens, monkeypatch)
    for step in range(1, 1001):
        clock.now += 1.0
        monitor.step(model, step)
        assert monitor.seconds <= 0.03 * monitor.training_seconds + cost / 10 + 1e-9
    assert monitor.training_seconds == pytest.approx(999.0)
    assert monitor.share_fraction <= 0.03 + cost / 10 / 999
    assert len(monitor.readings) >= 1
    assert monitor.put_off > 0


def test_a_reading_that_takes_too_long_is_given_up(tokens, monkeypatch) -> None:
    """A reading of 1000 s never fits: attempts stop early, are counted, and grow rarer."""
    clock, model = Clock(), decoder()
    monitor = _timed(0.03, clock, 1000.0, tokens, monkeypatch)
    for step in range(1, 401):
        clock.now += 1.0
        monitor.step(model, step)
    assert monitor.readings == []
    assert 1 <= monitor.given_up <= 5


def test_no_limit_and_every(tokens, monkeypatch) -> None:
    """Without a limit, every N steps means steps 0, N, 2N, whatever they cost."""
    clock, model = Clock(), decoder()
    monitor = _timed(None, clock, 50.0, tokens, monkeypatch, every=5)
    for step in range(12):
        clock.now += 1.0
        monitor.step(model, step)
    assert [r.step for r in monitor.readings] == [0, 5, 10]


def test_layers_choose_landmarks_and_scalars(tokens) -> None:
    """A pattern leaves only the blocks it finds; one that finds none is refused with the names."""
    model = small_decoder("llama", blocks=3, width=16, heads=2, length=32, seed=3).model
    reading = PeelMonitor(tokens[:8], every=1, time_fraction=None, budget=1, layers=r"layers\.1$").step(model, 1)
    maps = [tuple(m["map"]) for m in reading.point.extra["maps"]]
    assert set(maps) == {(3, 3, 3), (1, 2, 3), (2, 2, 3)}
    blocks = {n.rsplit("/", 1)[1] for n in reading.scalars if "contribution" in n}
    assert blocks == {"model.layers.1"}
    with pytest.raises(InputError, match=r"blocks are model\.layers\.0 to model\.layers\.2"):
        PeelMonitor(tokens[:8], every=1, time_fraction=None, layers="attention").step(model, 1)


def test_writers_get_the_same_numbers(tokens, tmp_path: Path) -> None:
    """JSON lines and TensorBoard events hold the scalars of the reading at its step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged: list[dict[str, object]] = []
    monitor = PeelMonitor(
        tokens[:8], every=1, time_fraction=None, budget=1,
        writers=[JsonLines(tmp_path / "log.jsonl"), TensorBoard(tmp_path / "events"),
                 WeightsAndBiases(SimpleNamespace(log=logged.append))],
    )
    model = decoder()
    readings = [monitor.step(model, s) for s in (3, 4)]
    monitor.close()
    monitor.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for reading, row, log in zip(readings, rows, logged, strict=True):
        assert row.pop("step") == log.pop("peel/step") == reading.step
        assert row.pop("note") == log.pop("peel/note") == reading.note
        assert row == log == reading.scalars
    for name, value in readings[1].scalars.items():
        last = events.Scalars(name)[-1]
        assert last.step == 4 and last.value == pytest.approx(value, rel=1e-6)
    with pytest.raises(ArtifactError, match="exists already"):
        JsonLines(tmp_path / "log.jsonl")


def test_wandb_missing_or_closed_is_said(monkeypatch) -> None:
    """Without the package, or without an open run, one clear error."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="wandb, which is missing"):
        WeightsAndBiases()
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None))
    with pytest.raises(InputError, match=r"wandb\.init"):
        WeightsAndBiases()


def test_divergence_is_a_reading_not_a_crash(tokens, tmp_path: Path) -> None:
    """NaN weights give a reading without bounds, and advice that says so."""
    model = decoder()
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    monitor = PeelMonitor(tokens[:8], every=1, time_fraction=None, writers=[JsonLines(tmp_path / "log.jsonl")])
    reading = monitor.step(model, 1)
    assert reading.point is None and reading.status is None and reading.scalars["peel/diverged"] == 1.0
    assert "diverged" in monitor.advice().text and not monitor.advice().may_stop
    assert json.loads((tmp_path / "log.jsonl").read_text())["peel/diverged"] == 1.0


def _point(loss: float, yes0: float = 3.0, best: float = 2.0) -> SimpleNamespace:
    status = Status.RED if loss > yes0 else Status.YELLOW if loss > best else Status.GREEN
    return SimpleNamespace(loss=loss, yes0=yes0, best=best, status_now=status)


def test_advice_uses_the_words_of_the_cloud(tokens) -> None:
    """GREEN is 'not refuted'; stopping is only mentioned after enough flat GREEN readings."""
    monitor = PeelMonitor(tokens[:4], patience=3)
    assert not monitor.advice().may_stop

    def feed(*losses: float) -> object:
        monitor.readings = [SimpleNamespace(point=_point(x), note="") for x in losses]
        return monitor.advice()

    assert "0.5000 nats a token above YES-0" in feed(3.5).text
    assert "above the best witness" in feed(2.5).text
    for losses, stop in [((1.5, 1.4), False), ((2.5, 1.4, 1.4), False), ((1.5, 1.4, 1.3), False),
                         ((1.9, 1.3, 1.3, 1.3), True), ((1.3, 1.3, 2.4), False)]:
        advice = feed(*losses)
        assert advice.may_stop == stop, losses
    assert GREEN_WORDS in feed(1.3, 1.3, 1.3).text and "converged" in feed(1.3, 1.3, 1.3).text


def test_steps_must_not_go_back(tokens) -> None:
    """A smaller step is refused; the same step again does nothing."""
    monitor = PeelMonitor(tokens[:4], every=100, time_fraction=None)
    model = decoder()
    assert monitor.step(model, 7) is None
    assert monitor.step(model, 7) is None
    with pytest.raises(InputError, match="do not decrease"):
        monitor.step(model, 6)


def test_unwrap_finds_the_only_decoder() -> None:
    """A module that holds one decoder is opened; none or two are refused."""
    model = decoder()
    assert unwrap(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Sequential(model)})) is model
    for wrong in (nn.Linear(2, 2), nn.ModuleList([model, decoder()])):
        with pytest.raises(InputError, match="one transformers causal language model"):
            unwrap(wrong)


def test_foreign_weights_are_refused(tokens) -> None:
    """An adapter adds weights that the config does not know."""
    model = decoder()
    model.model.layers[0].mlp.adapter = nn.Linear(2, 2)
    with pytest.raises(InputError, match="merge adapters"):
        PeelMonitor(tokens[:4], every=1, time_fraction=None).step(model, 1)


def test_the_probe_is_fixed(tokens) -> None:
    """Changing the tensor given as probe afterwards changes nothing."""
    probe = tokens[:8].clone()
    a = PeelMonitor(probe, every=1, time_fraction=None, budget=1)
    b = PeelMonitor(probe, every=1, time_fraction=None, budget=1)
    model = decoder()
    first = a.step(model, 1)
    probe.zero_()
    assert b.step(model, 1).point.loss == first.point.loss


@pytest.mark.parametrize(
    ("change", "match"),
    [({"probe": torch.zeros(1, 8, dtype=torch.long)}, "at least"), ({"probe": torch.zeros(4, 8)}, "dtype"),
     ({"every": 0}, "every >= 1"), ({"time_fraction": 0.0}, "time_fraction"), ({"time_fraction": 1.5}, "1.5"),
     ({"every": None, "time_fraction": None}, "neither"), ({"layers": "("}, "regular expression"),
     ({"patience": 0}, "patience"), ({"solver": "magic"}, "solver")],
)
def test_bad_arguments_are_refused(change: dict[str, object], match: str) -> None:
    """Each wrong argument has one error that names it."""
    arguments = {"probe": torch.zeros(4, 8, dtype=torch.long), "every": 1, **change}
    with pytest.raises(InputError, match=match):
        PeelMonitor(**arguments)


def test_a_copy_of_the_model_is_a_new_shadow(tokens) -> None:
    """Another model under the same monitor is read with its own weights."""
    monitor = PeelMonitor(tokens[:8], every=1, time_fraction=None, budget=1)
    model = decoder()
    other = train(copy.deepcopy(model), tokens, None)
    losses = [monitor.step(m, s).point.loss for m, s in zip((model, other, model), itertools.count())]
    assert losses[0] == losses[2] != losses[1]
