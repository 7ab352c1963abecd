"""YES-0 layer by layer: the numbers against independent ones, and the picture against the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from peelverify.data import builtin_text, windows
from peelverify.models import load_model
from peelverify.models.small import byte_tokenizer
from peelverify.peel.classic import watch
from peelverify.peel.run import peel_checkpoints, thin
from peelverify.peel.yes import yes_bounds
from peelverify.report.layerplot import layers_plot
from peelverify.report.results import layers_drawing
from peelverify.report.svg import LOSS, YES0, to_svg
from tests.unit.test_peel_classic import tiny


def lines(drawing) -> dict[str, np.ndarray]:
    """Heights of the lines of a picture by colour."""
    axes = Figure().add_subplot()
    drawing.draw(axes)
    assert len(axes.get_legend().get_texts()) == 2
    return {line.get_color(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def test_layers_of_a_relu_network_are_those_of_plain_least_squares() -> None:
    """YES-0 of every layer from numpy's lstsq; the last layer shows YES-0 and the loss."""
    task = tiny()
    point = watch(task, epochs=3, points=1).points[-1]
    state, expected = task.x, []
    for layer in range(task.depth):
        columns = np.hstack([state, np.ones((len(state), 1))])
        state = columns @ np.linalg.lstsq(columns, task.y, rcond=None)[0]
        state = state if layer + 1 == task.depth else np.maximum(state, 0)
        expected.append(((state - task.y) ** 2).sum() / len(task.y))
    np.testing.assert_allclose(point.extra["per_layer_yes0"], expected, rtol=1e-9)
    assert point.extra["per_layer_yes0"][-1] == point.yes0
    assert len(point.extra["per_layer_model"]) == task.depth
    assert point.extra["per_layer_model"][-1] == pytest.approx(point.loss, rel=1e-12)


def test_an_untrained_layer_is_not_the_loss() -> None:
    """Hidden outputs are judged as they are, after ReLU: zeros for labels of norm 1 give 1."""
    found = yes_bounds(np.eye(3), np.eye(3), [np.zeros((3, 3))])
    assert found.per_layer_yes0 == pytest.approx((0.0, 0.0), abs=1e-20)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_layers_of_a_decoder_are_distances_of_its_states(family: str, model_dirs) -> None:
    """Both lines come from the states of two complete models: the checkpoint and the all-last witness."""
    from peelverify.peel.transformer import yes_chain

    fit, held = thin(windows(byte_tokenizer(), builtin_text(), length=32), 6)
    view = load_model(model_dirs[family])
    found = yes_chain(view, fit, held_out=held, maps=[(3, 3, 3)])
    states = [s.double() for s in view.trace(fit).states]
    witness = [s.double() for s in found.witness().trace(fit).states]
    spread = ((states[-1] - states[-1].mean(dim=(0, 1))) ** 2).sum()
    own = [float(((s - states[-1]) ** 2).sum() / spread) for s in states[1:]]
    theirs = [float(((s - states[-1]) ** 2).sum() / spread) for s in witness[1:]]
    shown = found.per_layer()
    assert shown["per_layer_model"] == pytest.approx(own, rel=1e-4) and own[-1] == 0 < own[0]
    # a tied head moves the last block after the fit
    assert shown["per_layer_yes0"][:-1] == pytest.approx(theirs[:-1], rel=1e-3)
    series = peel_checkpoints([view], fit, held_out=held, maps=[(3, 3, 3)])
    entry = series.to_json()["checkpoints"][0]
    assert entry["per_layer_yes0"] == shown["per_layer_yes0"] and entry["per_layer_model"] == shown["per_layer_model"]


def test_the_picture_carries_the_numbers() -> None:
    """The two lines are the lists of the file, in the colours of YES-0 and of the loss, and the words say them."""
    yes0, model = [3.0, 2.5, 2.25], [4.0, 2.75, 0.125]
    entry = {"per_layer_yes0": yes0, "per_layer_model": model, "per_layer_unit": "squared_error_per_sample"}
    drawing = layers_drawing(entry)
    drawn = lines(drawing)
    assert drawn[YES0].tolist() == yes0 and drawn[LOSS].tolist() == model
    for number in (*yes0, *model):
        assert f"{number:g}" in drawing.description
    assert "squared error per sample" in drawing.description and "at 2 of 3 layers: 1, 2" in drawing.description
    svg = to_svg(drawing)
    assert f"<desc id=\"layers-desc\">{drawing.description}</desc>" in svg
    assert "YES-0 of the layer" in svg and "model at the layer" in svg


def test_no_picture_without_every_number() -> None:
    """A file that lacks a layer, or has something else there, has no picture."""
    good = {"per_layer_yes0": [1.0, 2.0], "per_layer_model": [1.0, 0.0]}
    assert layers_drawing(good) is not None
    for key, bad in (("per_layer_model", [1.0]), ("per_layer_model", None), ("per_layer_yes0", ["1", 2.0]),
                     ("per_layer_yes0", [1.0, float("inf")]), ("per_layer_yes0", [])):
        assert layers_drawing(good | {key: bad}) is None


def test_a_decoder_ends_at_zero_and_many_layers_stay_readable() -> None:
    """A zero on a logarithmic scale is left out and said; of 48 layers the words name three."""
    drawing = layers_plot([1.0, 0.5, 0.01], [2.0, 1.0, 0.0], quantity="distance")
    assert np.isnan(lines(drawing)[LOSS][-1]) and "layer 3: YES-0 0.01, model 0" in drawing.description
    deep = layers_plot(torch.linspace(2, 1, 48).tolist(), torch.linspace(3, 0.5, 48).tolist(), quantity="distance")
    assert deep.description.count("layer ") == 3 and len(lines(deep)[YES0]) == 48
