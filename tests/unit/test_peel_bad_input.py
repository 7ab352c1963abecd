"""What can be wrong with the input of peeling: one test each, all with a sentence that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from peelverify.data import builtin_text, windows
from peelverify.errors import InputError, NonFiniteError, NumericalError, ShapeError
from peelverify.models import ModelView, load_model, save_model
from peelverify.models.small import byte_tokenizer, small_decoder
from peelverify.peel import least_squares, solvers, stream, yes
from peelverify.peel.memory import MemoryWarning, in_chunks
from peelverify.peel.run import peel_checkpoints, thin
from peelverify.peel.solvers import fit_head, token_losses
from peelverify.peel.stream import yes_bounds_streamed
from peelverify.peel.substitute import _slopes
from peelverify.peel.transformer import yes_chain
from peelverify.peel.yes import yes_bounds, yes_network
from peelverify.verdict import Outcome


def network(samples: int = 80, depth: int = 3) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Inputs, labels and hidden outputs of a random ReLU network of width 5."""
    draw = np.random.default_rng(4)
    x = draw.normal(size=(samples, 4))
    hidden, state = [], x
    for _ in range(depth - 1):
        state = np.maximum(state @ draw.normal(size=(state.shape[1], 5)), 0.0)
        hidden.append(state)
    return x, np.abs(draw.normal(size=(samples, 5))), hidden


@pytest.fixture(scope="module")
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to fit on and windows that decide."""
    return thin(windows(byte_tokenizer(), builtin_text(), length=32), 8)


def test_mismatched_rows_are_seen_by_their_names() -> None:
    """Shuffled hidden outputs change the bounds silently; with row ids the first wrong row is named."""
    x, y, hidden = network()
    names = np.arange(80)
    order = np.random.default_rng(0).permutation(80)
    plain = yes_bounds(x, y, hidden)
    assert yes_bounds(x, y, hidden, row_ids=[names] * 4).bounds == plain.bounds
    assert yes_bounds(x, y, [hidden[0], hidden[1][order]]).bounds != plain.bounds, "nothing else would notice"
    row = int(np.flatnonzero(order != names)[0])
    with pytest.raises(InputError, match=f"row {row} of hidden\\[1\\].*without shuffling") as caught:
        yes_bounds(x, y, [hidden[0], hidden[1][order]], row_ids=[names, torch.tensor(names), list(names), order])
    assert caught.value.row == row
    with pytest.raises(InputError, match="80 names each"):
        yes_bounds(x, y, hidden, row_ids=[names] * 3)
    with pytest.raises(InputError, match="twice"):
        yes_bounds(x, y, hidden, row_ids=[names // 2] * 4)
    with pytest.raises(InputError, match="list of sequences"):
        yes_bounds(x, y, hidden, row_ids=5)


def test_passes_in_another_order_are_seen_when_streaming() -> None:
    """A loader that shuffles anew for every pass is refused, if it says which rows it gives."""
    x, y, hidden = network()
    draw = np.random.default_rng(1)

    def shuffled():
        order = draw.permutation(80)
        for rows in np.split(order, 4):
            yield x[rows], y[rows], [h[rows] for h in hidden], [rows] * 4

    with pytest.raises(InputError, match="one order"):
        yes_bounds_streamed(shuffled)


def test_rank_deficient_features_are_solved_and_said() -> None:
    """A repeated column of the input changes no bound; the result says that a fit was not unique."""
    x, y, hidden = network()
    plain, doubled = yes_bounds(x, y, hidden), yes_bounds(np.hstack([x, x[:, :1]]), y, hidden)
    assert doubled.outcome is Outcome.RANK_DEFICIENT
    np.testing.assert_allclose(list(doubled.bounds.values()), list(plain.bounds.values()), rtol=1e-8)


def test_fewer_samples_than_features_interpolate() -> None:
    """Three samples are fitted exactly and the result says that it is one of many."""
    found = yes_bounds(*network(samples=3))
    assert found.outcome is Outcome.RANK_DEFICIENT and found.best < 1e-20


def test_widths_that_cannot_hold_the_target() -> None:
    """The message names layer, widths and the two ways out."""
    x, y, hidden = network()
    with pytest.raises(ShapeError, match=r"width 5 in layer 1 and 4 in the labels.*embed the labels"):
        yes_bounds(x, y[:, :4], hidden)


def test_constant_targets_are_reached() -> None:
    """Labels without variance give bounds of zero, a status, and no division by it."""
    x, y, hidden = network()
    found = yes_bounds(x, np.full_like(y, 2.0), hidden)
    assert found.yes0 < 1e-24 and found.status(1.0).name == "RED" and found.status(0.0).name == "GREEN"


def test_nan_activations(tokens) -> None:
    """A hidden output with NaN, and a decoder whose block gives NaN, are refused with the place."""
    x, y, hidden = network()
    hidden[1][7, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"hidden\[1\] \(row 7\)"):
        yes_bounds(x, y, hidden)
    view = small_decoder("llama", blocks=2, width=16, heads=2, length=32)
    with torch.no_grad():
        ModelView.weight(view.linears(0)["mlp.down_proj"])[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="block 1"):
        yes_chain(view, tokens[0])


def test_one_layer(tokens) -> None:
    """L = 1: one map, which is YES-0; RED above it, GREEN at it, never YELLOW. The same for a decoder of one block."""
    x, y, _ = network(depth=1)
    found = yes_bounds(x, y, [])
    assert found.bounds == {(1,): found.yes0} and found.by_k == () and found.best == found.yes0
    assert found.status(found.yes0).name == "GREEN" and found.status(found.yes0 * 1.01).name == "RED"
    assert yes_network(x, y, [], (1,)).loss(x, y) == found.yes0
    chain = yes_chain(small_decoder("llama", blocks=1, width=16, heads=2, length=32), tokens[0], held_out=tokens[1])
    assert list(chain.chains) == [(1,)] and chain.best == chain.yes0 and chain.status.name in ("RED", "GREEN")


def test_a_checkpoint_of_another_architecture_in_the_list(tokens, tmp_path: Path) -> None:
    """It is refused with both shapes; what came before it went to the caller."""
    first = save_model(small_decoder("llama", blocks=2, width=16, heads=2, length=32), tmp_path / "step-1")
    other = save_model(small_decoder("llama", blocks=2, width=24, heads=2, length=32), tmp_path / "step-2")
    seen = []
    with pytest.raises(InputError, match=re.escape("(2, 24, 256) after (2, 16, 256)")):
        peel_checkpoints([first, other], tokens[0], on_point=lambda series, found: seen.append(found))
    assert len(seen) == 1


def test_memory_that_runs_out_gives_smaller_chunks(monkeypatch, model_dirs, tokens) -> None:
    """Losses, slopes, head fit and bounds go on in halves, say so, and give the same numbers."""
    view = load_model(model_dirs["llama"])
    trace = view.trace(tokens[0])
    whole = token_losses(view.head, trace.states[-1], tokens[0], view.vocabulary)

    def narrow(state: torch.Tensor) -> torch.Tensor:
        if len(state) > 4:
            raise torch.OutOfMemoryError("no room")
        return view.head(state)

    with pytest.warns(MemoryWarning, match="8 windows at once; going on with 4"):
        parts = token_losses(narrow, trace.states[-1], tokens[0], view.vocabulary)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)

    def fitted(limit: int) -> torch.Tensor:
        weight = torch.zeros(view.vocabulary, view.width)

        def logits(rows: slice) -> torch.Tensor:
            if len(range(*rows.indices(8))) > limit:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried too much")
            return trace.states[-1][rows] @ weight.T

        fit_head([weight], logits, tokens[0], steps=3, decay=1.0, decayed=[weight], vocabulary=view.vocabulary)
        return weight

    with pytest.warns(MemoryWarning, match="fit of the head"):
        small = fitted(2)
    torch.testing.assert_close(small, fitted(8), rtol=1e-3, atol=1e-4)

    slopes = _slopes(view, trace, 8)
    plain = type(view.blocks[0]).forward

    def cramped(block: torch.nn.Module, state: torch.Tensor, *args: object, **more: object):
        if len(state) > 2:
            raise MemoryError
        return plain(block, state, *args, **more)

    monkeypatch.setattr(type(view.blocks[0]), "forward", cramped)
    with pytest.warns(MemoryWarning, match="slopes"):
        again = _slopes(view, trace, 4)
    for ours, theirs in zip(again, slopes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_bounds_that_do_not_fit_are_streamed(monkeypatch) -> None:
    """No room for all samples: the warning counts them, the bounds are those of memory, any map list is read once."""
    data = network()
    maps = [(1, 2, 3), (2, 2, 3)]
    plain = yes_bounds(*data, maps=maps)

    def no_room(*args: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr(yes, "Factor", no_room)
    with pytest.warns(MemoryWarning, match="80 samples at once; going on with 40"):
        found = yes_bounds(*data, maps=(iter(m) for m in maps))
    assert found.bounds.keys() == plain.bounds.keys()
    np.testing.assert_allclose(list(found.bounds.values()), list(plain.bounds.values()), rtol=1e-9)
    assert stream.TriangleSum is least_squares.TriangleSum
    monkeypatch.setattr(stream, "TriangleSum", no_room)
    with pytest.warns(MemoryWarning), pytest.raises(NumericalError, match="single one of the samples"):
        yes_bounds(*data)


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    """A wrong shape inside the work stays what it is, and one item that does not fit is an error."""
    def broken(rows: slice) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_chunks(4, 2, broken, "a test")

    def full(rows: slice) -> None:
        raise MemoryError

    with pytest.warns(MemoryWarning), pytest.raises(NumericalError, match="shorter windows"):
        in_chunks(4, 2, full, "a test")
    assert solvers.in_chunks is in_chunks and in_chunks(5, 2, lambda r: r.stop - r.start, "a test") == [2, 2, 1]
