"""The picture of YES-0 layer by layer, beside what the trained network has reached at each layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from peelverify.report.plots import _finite, _legend, _positive, _say, _scale, _ticks
from peelverify.report.svg import LOSS, YES0, Plot

__all__ = ["layers_plot"]


def layers_plot(
    yes0: Sequence[float], model: Sequence[float], *, quantity: str, name: str = "layers"
) -> Plot:
    """Error after each layer: of the all-last chain and of the trained network, in one unit.

    Args:
        yes0: error of the all-last chain after layers 1, 2, ...
        model: error of the trained network after the same layers.
        quantity: what the error is, for the axis and the description.
        name: prefix of ids.
    """
    chain, own = _finite(yes0), _finite(model)

    def draw(axes: Axes) -> None:
        places = np.arange(len(chain))
        logarithmic = _scale(axes, chain, own)
        axes.step(places, _positive(chain, logarithmic), where="mid", color=YES0, marker="s", markersize=4,
                  linestyle=(0, (4, 2)), label="YES-0 of the layer")
        axes.step(places, _positive(own, logarithmic), where="mid", color=LOSS, marker="o", linewidth=2.0,
                  label="model at the layer")
        axes.margins(x=0.12)
        _ticks(axes, [str(i + 1) for i in places])
        axes.set_xlabel("layer")
        axes.set_ylabel(quantity)
        _legend(axes)

    shown = [*range(len(chain))] if len(chain) <= 16 else [0, len(chain) // 2, len(chain) - 1]
    each = "; ".join(f"layer {i + 1}: YES-0 {_say(chain[i])}, model {_say(own[i])}" for i in shown)
    above = [str(i + 1) for i in range(len(chain)) if own[i] > chain[i]]
    place = f"The model is above YES-0 at {len(above)} of {len(chain)} layers"
    return Plot(
        name, "YES-0 layer by layer",
        f"{quantity} after each layer, last checkpoint. {each}. {place}{': ' + ', '.join(above) if above else ''}.",
        draw,
    )
