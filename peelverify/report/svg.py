"""Drawings as SVG text for a page, or as a file for a document: same numbers in, same bytes out.

No global state of matplotlib is used or changed, no window system, no dates. Colours are written as CSS
variables with a fallback, so that a plot follows the light or dark theme of the page it stands in and still
looks right alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from peelverify.errors import ArtifactError

__all__ = ["Plot", "save_plot", "to_svg"]

#: Colour in the drawing -> CSS variable of the page.
THEME = {
    "#1c2430": "--ink",
    "#566070": "--muted",
    "#dde1e7": "--rule",
    "#fefefe": "--paper",
    "#1b5cb8": "--direct",
    "#b04a06": "--chain",
    "#0b7565": "--propagated",
    "#7446b0": "--cross",
    "#b0460a": "--introduced",
    "#000080": "--loss",
    "#c4001a": "--yes0",
    "#0a6e36": "--best",
    "#b8860b": "--gold",
}
INK, MUTED, RULE, PAPER, DIRECT, CHAIN, PROPAGATED, CROSS, INTRODUCED, LOSS, YES0, BEST, GOLD = THEME

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True, "axes.edgecolor": MUTED, "axes.facecolor": "none", "axes.grid": True,
    "axes.grid.axis": "y", "axes.labelcolor": MUTED, "axes.labelsize": 9.5, "axes.linewidth": 0.7,
    "axes.spines.right": False, "axes.spines.top": False, "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "grid.color": RULE, "grid.linewidth": 0.7,
    "hatch.linewidth": 0.7, "legend.fontsize": 9.0, "legend.frameon": False, "legend.handlelength": 1.8,
    "lines.linewidth": 1.8, "lines.markersize": 4.5, "mathtext.fontset": "dejavusans", "path.simplify": False,
    "savefig.facecolor": "none", "svg.fonttype": "none", "text.color": INK, "text.parse_math": False,
    "xtick.color": MUTED, "xtick.labelsize": 9.0, "xtick.major.size": 3.0, "ytick.color": MUTED,
    "ytick.labelsize": 9.0, "ytick.major.size": 0.0,
}


@dataclass(frozen=True)
class Plot:
    """A drawing that has not been rendered.

    Attributes:
        name: prefix of every id inside, ASCII; unique on a page.
        title: what it shows, for people who cannot see it and as its caption.
        description: what can be read off it, in a sentence.
        draw: draws on empty axes.
        height: height in inches; the width is 5.2.
    """

    name: str
    title: str
    description: str
    draw: Callable[[Axes], None]
    height: float = 3.1


def _render(plots: Sequence[Plot], *, columns: int = 1, titles: bool = False) -> Figure:
    rows = -(-len(plots) // columns)
    height = max(p.height for p in plots) + (0.3 if titles else 0.0)
    figure = Figure(figsize=(5.2 * columns, height * rows), layout="constrained")
    for index, plot in enumerate(plots):
        axes = figure.add_subplot(rows, columns, index + 1)
        plot.draw(axes)
        if titles:
            legend = axes.get_legend()
            lines = -(-len(legend.get_texts()) // 3) if legend is not None else 0
            axes.set_title(plot.title, loc="left", fontsize=10.5, fontweight="bold", pad=10 + 16 * lines)
    if titles:
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.04)
    return figure


def _raw_svg(plots: Sequence[Plot], *, salt: str, columns: int = 1, titles: bool = False) -> str:
    with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "svg.hashsalt": salt}):
        figure = _render(plots, columns=columns, titles=titles)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return buffer.getvalue()


def _themed(svg: str) -> str:
    for colour, variable in THEME.items():
        svg = svg.replace(colour, f"var({variable}, {colour})")
    return svg


def to_svg(plot: Plot) -> str:
    """An ``<svg>`` element for the inside of a page.

    It has a title and a description, ids that begin with the plot's name, no size of its own beyond its
    ``viewBox``, and no address of any kind.
    """
    svg = _raw_svg([plot], salt=plot.name)
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', body)
    inner = body[body.index(">") + 1 :]
    inner = re.sub(r'\bid="([^"]+)"', rf'id="{plot.name}-\1"', inner)
    inner = re.sub(r"url\(#([^)]+)\)", rf"url(#{plot.name}-\1)", inner)
    inner = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{plot.name}-\1"', inner)
    inner = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", inner)
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r"<style\b.*?</style>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"\s*\n\s*", "\n", inner)
    assert box is not None
    return (
        f'<svg class="plot" viewBox="{box[1]}" role="img" aria-labelledby="{plot.name}-title {plot.name}-desc" '
        f'stroke-linejoin="round">\n<title id="{plot.name}-title">{escape(plot.title)}</title>\n'
        f'<desc id="{plot.name}-desc">{escape(plot.description)}</desc>{_themed(inner).rstrip()}\n'
    )


def save_plot(plots: Sequence[Plot], path: str | os.PathLike[str], *, columns: int = 2, dpi: int = 160) -> Path:
    """Write plots side by side as one PNG or SVG on white, for a document.

    Raises:
        ArtifactError: another suffix, or a place that cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg") or not plots:
        raise ArtifactError(f"save_plot needs plots and a name ending in .png or .svg, got {path}; change it")
    part = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "svg.hashsalt": path.stem, "svg.fonttype": "path"}):
            figure = _render(plots, columns=columns, titles=True)
            if path.suffix == ".png":
                FigureCanvasAgg(figure)
                figure.savefig(part, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
            else:
                FigureCanvasSVG(figure)
                figure.savefig(part, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
        os.replace(part, path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return path
