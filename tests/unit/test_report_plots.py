"""Plots: the same bytes every time, whole at the edges of their domain, readable without seeing them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest

from peelverify.errors import ArtifactError
from peelverify.report import plots
from peelverify.report.layerplot import layers_plot
from peelverify.report.plots import Plot, save_plot, to_svg
from peelverify.verdict import Status

SAMPLES: dict[str, Plot] = {
    "cloud": plots.cloud_plot([0, 5, 9], [5, 3, 2], [4, 4, 4], [3.5, 3.1, 2.5], x_label="step", y_label="loss"),
    "gains": plots.gains_plot([0, 1], [0.02, 0.0], [0.01, -0.01], [0.03, 0.01]),
    "cloud of own blocks": plots.cloud_plot(
        [0, 5], [5, 3], [4, 4], [3.5, 3.1], x_label="step", y_label="loss", reuse=[3.6, 3.3]),
    "cloud of one": plots.cloud_plot([7], [2], [4], [3], x_label="step", y_label="loss"),
    "cloud of equal losses": plots.cloud_plot([0, 1], [2, 2], [2, 2], [2, 2], x_label="step", y_label="loss"),
    "heat": plots.heat_plot(["1-2", "2-2"], ["0", "5"], [[3, 2], [4, float("nan")]], x_label="step", quantity="loss"),
    "energy": plots.energy_plot([[1e-4, 2e-4], [1.1e-4, 2.2e-4]], [1e-14, 2e-14]),
    "energy over decades": plots.energy_plot([[1e-9, 1e-2], [2e-9, 3e-2]], [1e-12, 1e-12]),
    "energy of one block": plots.energy_plot([[1e-4]], None),
    "rho": plots.rho_plot([0.9, 1.2], [0.8, 1.1], [1.0, 1.3]),
    "rho without interval": plots.rho_plot([0.9], None, None),
    "amplification": plots.amplification_plot([2, 1.5, 1]),
    "amplification over decades": plots.amplification_plot([1e6, 1e3, 1]),
    "depth": plots.depth_plot(["emb", "0", "head"], [0, 1, 2], [0, 1, 2], [0, 1, 3], deleted=[1]),
    "depth of no error": plots.depth_plot(["emb", "0", "head"], [0, 0, 0], [0, 0, 0], [0, 0, 0]),
    "depth out of range": plots.depth_plot(["emb", "0"], [0, 1e300], [0, float("inf")], [0, float("inf")]),
    "depth near the end": plots.depth_plot(["emb", "0"], [1.7e308, 1.7e308], [1.7e308] * 2, [1.7e308] * 2),
    "depth of 80 blocks": plots.depth_plot([str(i) for i in range(82)], [1.0] * 82, [1.0] * 82, [2.0] * 82),
    "shares": plots.shares_plot(["emb", "0", "head"], [0, 0.25, 0.75]),
    "decomposition": plots.decomposition_plot(["0", "head"], [0, 0.9], [0, -0.2], [1, 0.3]),
    "windows": plots.windows_plot([0.1, 0.2], [0.3, 0.4]),
    "layers": layers_plot([3, 2, 1.5], [4, 1, 0], quantity="squared error per sample"),
    "scores": plots.scores_plot([float("nan"), 0.2, -0.1], quantity="score"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_plot_is_the_same_every_time(name: str) -> None:
    """The same numbers give the same bytes, whatever matplotlib is set to outside."""
    first = to_svg(SAMPLES[name])
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red", "svg.hashsalt": "x"}):
        assert to_svg(SAMPLES[name]) == first


@pytest.mark.parametrize("name", SAMPLES)
def test_plot_is_accessible_and_self_contained(name: str) -> None:
    """Each plot parses, has a title and a description, a viewBox, unique ids, and no address or style sheet."""
    plot = SAMPLES[name]
    svg = to_svg(plot)
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == ["title", "desc"]
    assert root.find("title").text == plot.title
    assert len(root.find("desc").text) > 40
    assert all(float(v) >= 0 for v in root.get("viewBox").split())
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(i.startswith(plot.name) for i in ids)
    assert not re.search(r"https?:|<script|<style|@import|xlink|font-family|<metadata", svg)
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)
    assert "nan" not in svg.lower().replace("dominant", "")


def test_plot_follows_the_theme() -> None:
    """Ink, lines and bounds use the variables of the page, so that dark mode reaches them."""
    svg = to_svg(SAMPLES["depth"])
    for variable in ("--ink", "--muted", "--rule", "--direct", "--chain"):
        assert f"var({variable}, #" in svg or variable == "--ink"
    assert "#000000" not in svg


def test_cloud_has_the_published_colours_and_hatches() -> None:
    """The three regions are filled in the published colours, red and yellow with hatches."""
    svg = to_svg(SAMPLES["cloud"])
    for status in Status:
        assert status.colour.lower() in svg
    assert svg.count("<pattern") == 2


@pytest.mark.parametrize("count", [1, 2, 13, 14, 15, 16, 27, 28, 29, 82, 200])
def test_first_and_last_place_are_always_labelled(count: int) -> None:
    """However deep the model, at most 16 places are labelled, and the ends always are."""
    labels = [f"b{i}" for i in range(count)]
    svg = to_svg(plots.shares_plot(labels, [1 / count] * count))
    shown = re.findall(r">(b\d+)</text>", svg)
    assert shown[0] == "b0"
    assert shown[-1] == labels[-1]
    assert len(shown) <= 16


def test_text_in_the_heat_map_can_be_read_on_every_colour() -> None:
    """Black or white, the label of a cell has a contrast of at least 4.5 against it."""
    for i in range(256):
        grey = i / 255
        text = plots._readable_on((grey, grey, grey, 1.0))
        linear = grey / 12.92 if grey <= 0.04045 else ((grey + 0.055) / 1.055) ** 2.4
        high, low = (1.05, linear + 0.05) if text == "#ffffff" else (linear + 0.05, 0.05)
        assert high / low >= 4.5


def test_hostile_caption_stays_text() -> None:
    """A title is escaped in the title element."""
    plot = plots.cloud_plot([0], [2], [4], [3], x_label="<b>&", y_label="</svg><script>", title='"><script>x</script>')
    root = ET.fromstring(to_svg(plot))
    assert root.find("title").text == '"><script>x</script>'
    assert not root.findall(".//script")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_save_plot_writes_the_same_file_twice(suffix: str, tmp_path: Path) -> None:
    """A picture for a document is reproducible, and nothing is left beside it."""
    shown = [SAMPLES["cloud"], SAMPLES["depth"], SAMPLES["shares"]]
    first = save_plot(shown, tmp_path / f"a.{suffix}", dpi=60).read_bytes()
    assert save_plot(shown, tmp_path / f"a.{suffix}", dpi=60).read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_save_plot_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    """Another format, no plots, or a folder that is a file: one clear line."""
    with pytest.raises(ArtifactError, match=r"\.png or \.svg"):
        save_plot([SAMPLES["cloud"]], tmp_path / "a.pdf")
    with pytest.raises(ArtifactError, match="needs plots"):
        save_plot([], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        save_plot([SAMPLES["cloud"]], tmp_path / "file" / "a.png")
