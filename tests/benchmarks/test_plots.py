"""Plots: the same figures give the same bytes; a plot without its figures is not drawn."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from benchmarks.errors import NoFigure
from benchmarks.plots import PLOTS, draw
from tests.benchmarks.made_up import full

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures():
    return full().figures()


def texts(svg):
    return [text for element in ET.fromstring(svg).iter(f"{SVG}text") if (text := "".join(element.itertext()).strip())]


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.file_name)
def test_the_same_figures_give_the_same_modest_picture_without_a_date(plot, figures):
    svg = draw(plot, figures)
    assert svg == draw(plot, figures)
    assert len(svg) < 150_000
    assert b"dc:date" not in svg
    assert b"fill: #ffffff" in svg  # opaque: black text reads on a dark page too
    assert plot.title in texts(svg)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.file_name)
def test_a_picture_follows_its_figures(plot, figures):
    changed = [
        replace(figure, spread=replace(figure.spread, median=1.1 * figure.spread.median), series=figure.series[1:])
        for figure in figures
    ]
    assert draw(plot, changed) != draw(plot, figures)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.file_name)
def test_a_plot_whose_figures_were_not_measured_says_which(plot, figures):
    with pytest.raises(NoFigure, match="no figure"):
        draw(plot, [replace(figure, key="another") for figure in figures])


def test_peers_are_named_in_the_legend(figures):
    by_name = {plot.file_name: plot for plot in PLOTS}
    legend = texts(draw(by_name["batch.svg"], figures))
    for name in ("Hashwacht, lookup", "set", "LMDB get", "pybloom-live"):
        assert name in legend
    assert "sort -u" in texts(draw(by_name["compile.svg"], figures))
    bars = texts(draw(by_name["throughput.svg"], figures))
    assert {"packed, 10,000: Hashwacht", "JSON, 1,000: bare", "26 M", "35 k"} <= set(bars)
