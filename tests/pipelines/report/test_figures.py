import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from pipelines.report import figures


def test_data_uri_holds_the_bytes():
    uri = figures.data_uri(b"abc")
    assert base64.b64decode(uri.removeprefix("data:image/png;base64,")) == b"abc"


def test_png_has_no_metadata_and_gives_the_pixels_back():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.open(io.BytesIO(figures.png(pixels)))
    assert image.info == {}
    assert np.array_equal(np.array(image), pixels)


def test_grid_places_tiles_row_by_row_with_transparent_gaps():
    tiles = np.stack([np.full((4, 5), 10 * i, np.uint8) for i in range(1, 4)])
    sheet = figures.grid(tiles, columns=2, gap=1)
    assert sheet.shape == (9, 11, 2)
    assert sheet[0, 0].tolist() == [10, 255]
    assert sheet[0, 6].tolist() == [20, 255]
    assert sheet[5, 0].tolist() == [30, 255]
    assert sheet[4, 0, 1] == sheet[0, 5, 1] == sheet[8, 10, 1] == 0


def test_large_tiles_are_reduced():
    assert figures.grid(np.zeros((1, 256, 128), np.uint8), columns=3, tile=64)[: 64 + 1].shape[0] == 64


@pytest.mark.parametrize(("count", "wanted"), [(3, 5), (100, 7), (8, 8), (9, 8)])
def test_evenly_keeps_both_ends(count, wanted):
    places = figures.evenly(count, wanted)
    assert places[0] == 0
    assert places[-1] == count - 1
    assert len(places) == min(count, wanted)
    assert len(set(places)) == len(places)


def test_running_mean_by_hand():
    values = np.array([0.0, 3.0, 6.0, 9.0])
    assert figures.running_mean(values, share=0.5).tolist() == [1.5, 3.0, 6.0, 7.5]
    assert figures.running_mean(values, share=0.0).tolist() == values.tolist()


def test_charts_repeat_and_share_no_names():
    curve = {"both-0": [(step, 1.0 / (step + 1)) for step in range(5)]}
    first, second = (figures.curve_chart(curve, title) for title in ("One", "Two"))
    assert figures.curve_chart(curve, "One") == first
    ids = [set(re.findall(r' id="([^"]+)"', chart)) for chart in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "currentColor" in first
    assert figures.TEXT not in first
    for reference in re.findall(r"url\(#([^)]+)\)", first):
        assert reference in ids[0]


def test_score_chart_names_every_arm():
    chart = figures.score_chart({"real": ([0.2, 0.9], 0.55, 0.4, 0.7), "both": ([0.5], 0.5, 0.5, 0.5)}, "Dice")
    assert ">real<" in chart
    assert ">both<" in chart
