from dataclasses import replace

import pytest

from pipelines.report.gather import Gathered
from pipelines.report.render import (
    COLORS,
    arms_note,
    charts,
    curve_tables,
    numbers,
    page,
    sharing,
    simulated,
    tiles,
    title,
)
from pipelines.report.table import AVERAGED, ArmRow, SiteScore
from pipelines.runtime.bootstrap import Interval
from segmentation import overlays
from tests.support.report_world import gathered, line

ROW = ArmRow(
    "both", "refine", "lesion", (0,), (), 5, 3, Interval(0.7, 0.6, 0.8), means={"iou": 0.5, "hd95_mm": None}, missed=1.0
)


@pytest.fixture
def found() -> Gathered:
    known = gathered({("both", 0): [line("a1", 0.5)]}, ("both",), (0,))
    known.dataset = {"name": "phantom", "phantom": True}
    return known


def test_legend_has_the_colors_of_the_overlays():
    """The page cannot import the segmenters' code, so the colors are written twice."""
    assert {name: "#{:02x}{:02x}{:02x}".format(*getattr(overlays, name.upper())) for name in COLORS} == COLORS


@pytest.mark.parametrize(
    ("name", "phantom", "expected"),
    [
        ("phantom", True, "SonoSynth on phantom images (no patients)"),
        ("folder", True, "SonoSynth on folder (phantom)"),
        ("busi", False, "SonoSynth on busi"),
    ],
)
def test_title_says_phantom(found, name, phantom, expected):
    found.dataset = {"name": name, "phantom": phantom}
    assert title(found) == expected


def test_numbers_for_dvc(found):
    direct, missing = replace(ROW, mode="direct"), ArmRow("real", "", "", missing=(0,))
    table = numbers(found, [ROW, direct, missing])
    assert table["both"] == {
        "dice": 0.7,
        "dice_low": 0.6,
        "dice_high": 0.8,
        "missed": 1.0,
        "images": 5,
        "groups": 3,
        "seeds": 1,
        "iou": 0.5,
    }
    assert table["both_direct"]["dice"] == 0.7
    assert table["real"] == "not run"
    assert table["verdict"] == "not run"
    assert (table["protocol"], table["leaked"]) == ("clean", 0)


def test_leaks_and_sites_stand_beside_the_score(found):
    sites = (SiteScore("", 3, 2, Interval(0.75, 0.7, 0.8), 0, None), SiteScore("B", 0, 0, None, 2, 0.5))
    row = replace(ROW, leaked=2, clean=Interval(0.65, 0.5, 0.7), sites=sites)
    entry = numbers(found, [row])["both"]
    assert (entry["leaked"], entry["dice_clean"], entry["clean_low"], entry["clean_high"]) == (2, 0.65, 0.5, 0.7)
    assert entry["sites"] == {"unnamed": {"dice": 0.75, "images": 3}}
    (tile,) = tiles(found, [row])
    assert tile["note"] == "0.600 to 0.800, 5 images, 2 of them known to train or val: 0.650 without them"
    assert tiles(found, [replace(row, clean=None)])[0]["note"].endswith("known to train or val: no other")


def test_vanished_lesions_are_counted_beside_the_score(found):
    row = replace(ROW, vanished=2, means=dict.fromkeys(AVERAGED, 0.5))
    assert numbers(found, [row])["both"]["vanished"] == 2
    assert "vanished" not in numbers(found, [ROW])["both"]
    assert tiles(found, [row])[0]["note"] == "0.600 to 0.800, 3 images"
    assert "Lesions that vanish at the working size have no score there" in arms_note([row])
    assert "vanish" not in arms_note([ROW])
    none = replace(ROW, dice=None, images=2, vanished=2)
    assert numbers(found, [none])["both"] == "all lesions vanish"
    found.selection = replace(found.selection, blocks={"segmenter.system": "unet"})
    found.dataset |= {"terms": "none", "citation": "nobody"}
    assert "2 of 5 vanish" in page(found, [row], partial=False)
    assert "every lesion vanishes at the working size" in page(found, [none], partial=False)


def test_a_system_without_diffusion_keeps_its_plain_name(found):
    assert "both" in numbers(found, [replace(ROW, mode="direct")])


def test_one_seed_is_said_to_be_one():
    assert "One seed" in arms_note([ROW])
    assert "One seed" not in arms_note([replace(ROW, seeds=(0, 1))])
    assert arms_note([ArmRow("real", "", "", missing=(0,))]) == "No arm of params was run."


def test_long_curves_are_thinned_and_empty_ones_not_drawn(found):
    found.curves = {"diffusion": [(step, 1.0) for step in range(5000)], "autoencoder": []}
    rows = curve_tables(found)["diffusion"]
    assert len(rows) == 400
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 4999)
    assert [chart["caption"].split(":")[0] for chart in charts(found, "")] == ["Diffusion model"]


def test_real_images_of_a_further_set_are_patients(found):
    found.dataset = {"name": "phantom", "phantom": True}
    for phantom, expected in (
        (True, "SonoSynth on phantom images (no patients)"),
        (False, "SonoSynth on phantom images"),
    ):
        found.pool = {"sources": [{"phantom": True}, {"phantom": phantom}], "images": 2}
        assert simulated(found) == phantom
        assert title(found) == expected
    found.dataset, found.pool = {"name": "busi", "phantom": False}, {"sources": [{"phantom": True}], "images": 2}
    assert not simulated(found)


def test_sharing_differs_for_patients():
    assert "may be shared" in sharing(True)[0]
    assert "derive from images of patients" in sharing(False)[0]
